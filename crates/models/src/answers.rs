//! The schemas that each wire takes in its field for the form of an answer, as its vendor documents them: data.

use oarlock_core::spec::SchemaSubset;

use crate::provider::Wire;

/// What both wires take.
const COMMON: [&str; 12] = [
    "$defs",
    "$ref",
    "anyOf",
    "const",
    "definitions",
    "description",
    "enum",
    "items",
    "properties",
    "required",
    "title",
    "type",
];
/// Of numbers, texts and lists: `openai-chat` takes them.
const BOUNDS: [&str; 9] = [
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "multipleOf",
    "pattern",
];
const FORMATS: [&str; 9] =
    ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"];

/// The schemas that a wire takes.
pub(crate) fn subset(wire: Wire) -> SchemaSubset {
    let owned = |words: &[&[&str]]| words.concat().into_iter().map(str::to_owned).collect();
    match wire {
        Wire::AnthropicMessages => SchemaSubset {
            keywords: owned(&[&COMMON, &["default", "format"]]),
            formats: owned(&[&FORMATS, &["uri"]]),
            optional_max: Some(24),
            unions_max: Some(16),
            all_required: false,
            recursive: false,
            loose: false,
        },
        Wire::OpenAiChat => SchemaSubset {
            keywords: owned(&[&COMMON, &BOUNDS]),
            formats: owned(&[&FORMATS]),
            optional_max: None,
            unions_max: None,
            all_required: true,
            recursive: true,
            loose: true,
        },
    }
}
