//! How each wire is told the form of an answer: the schemas that its field takes, as its vendor documents them, and words where that is not enough.

use oarlock_core::ports::model::ModelRequest;
use oarlock_core::spec::{SchemaCompat, SchemaWarning};

use crate::codec::Target;
use crate::gemini::family::is_third;
use crate::lower::{LoweredSchema, References, SchemaSubset, lower};
use crate::provider::Wire;

/// The schemas that the field of `anthropic-messages` takes.
pub(crate) const ANTHROPIC: SchemaSubset = SchemaSubset {
    keywords: &[
        "$defs",
        "$ref",
        "anyOf",
        "const",
        "default",
        "definitions",
        "description",
        "enum",
        "format",
        "items",
        "properties",
        "required",
        "title",
        "type",
    ],
    formats: &[
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uri",
        "uuid",
    ],
    optional_max: Some(24),
    unions_max: Some(16),
    all_required: false,
    references: References::Acyclic,
    loose: false,
};

/// The schemas that the fields of `openai-chat` and `openai-responses` take.
pub(crate) const OPENAI: SchemaSubset = SchemaSubset {
    keywords: &[
        "$defs",
        "$ref",
        "anyOf",
        "const",
        "definitions",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "multipleOf",
        "pattern",
        "properties",
        "required",
        "title",
        "type",
    ],
    formats: &[
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uuid",
    ],
    optional_max: None,
    unions_max: None,
    all_required: true,
    references: References::Any,
    loose: true,
};

/// The schemas that the field of `gemini` takes, but for lists of several types and anchors.
const GEMINI: SchemaSubset = SchemaSubset {
    keywords: &[
        "$defs",
        "$ref",
        "anyOf",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "oneOf",
        "properties",
        "required",
        "title",
        "type",
    ],
    formats: &["date", "date-time", "time"],
    optional_max: None,
    unions_max: None,
    all_required: false,
    references: References::Alone,
    loose: false,
};

/// The field of a wire.
fn field(wire: Wire) -> &'static SchemaSubset {
    match wire {
        Wire::AnthropicMessages => &ANTHROPIC,
        // AWS documents the same limits for all models of the wire.
        Wire::BedrockConverse => &ANTHROPIC,
        Wire::OpenAiChat | Wire::OpenAiResponses => &OPENAI,
        Wire::Gemini => &GEMINI,
    }
}

/// Puts the form of the answer where the endpoint reads it: `output` is what its field is sent, or nothing, and then `system` ends with words. What is
/// not sent is told.
///
/// # Errors
/// Why the model must not be called: the provider takes the schema in part, and that is not enough.
pub(crate) fn prepare(
    request: &mut ModelRequest,
    (wire, target): (Wire, &Target),
) -> Result<Vec<SchemaWarning>, String> {
    let Some(mut asked) = request.output.take() else { return Ok(Vec::new()) };
    // A provider that searches by itself quotes its sources within the text, which a field for the form forbids.
    // Before Gemini 3 it cannot stand beside tools.
    let is_alone = request.tools.is_empty() && !request.capabilities.web_search;
    let beside = wire != Wire::Gemini || is_third(&target.family) || is_alone;
    let has_field = target.quirks.answer_schemas.by(&target.family)
        && !request.capabilities.web_search
        && beside;
    let LoweredSchema { sent, warnings } = match has_field {
        true => lower(&asked, field(wire), &target.endpoint),
        false => LoweredSchema::default(),
    };
    if asked.compat == SchemaCompat::Strict
        && let Some(SchemaWarning { provider, path, message }) = warnings.first()
    {
        return Err(format!(
            "{provider} takes the output schema in part, and its `compat` is \"strict\": at `{path}`, {message}; change the schema, or let `compat` be \"lossy\""
        ));
    }
    match sent {
        None => asked.tell(&mut request.system),
        Some(schema) => {
            asked.schema = schema;
            request.output = Some(asked);
        }
    }
    Ok(warnings)
}
