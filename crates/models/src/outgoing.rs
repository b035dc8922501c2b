//! What goes out in one form over several wires: names of tools, arguments of calls, texts.

use std::borrow::Cow;

use oarlock_core::message::Part;
use serde_json::json;
use serde_json::value::RawValue;

/// Characters of a tool's name that every endpoint takes.
const NAME_CHARS_MAX: usize = 64;

/// A tool's name in the letters that the wires take.
pub(crate) fn tool_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name: String =
        name.chars().map(|c| if fits(c) { c } else { '_' }).take(NAME_CHARS_MAX).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// The arguments as they came. Those that are no JSON object are quoted in one, since many endpoints parse them and refuse the whole
/// conversation otherwise.
pub(crate) fn object_of(arguments: &str) -> Cow<'_, str> {
    let is_object = arguments.trim_start().starts_with('{')
        && serde_json::from_str::<&RawValue>(arguments).is_ok();
    match arguments.trim() {
        _ if is_object => arguments.into(),
        "" => "{}".into(),
        _ => json!({ "unparsable_arguments": arguments }).to_string().into(),
    }
}

/// The texts among these parts.
pub(crate) fn joined<'a>(parts: impl IntoIterator<Item = &'a Part>) -> String {
    parts.into_iter().filter_map(Part::as_text).collect::<Vec<_>>().join("\n\n")
}
