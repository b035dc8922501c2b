//! What requests look like, as far as reading them needs it: which fields are integers, lists, objects or texts.
//!
//! The program carries the text, not what would write it from the types. A test holds the one to the other.

use std::sync::LazyLock;

use schemars::SchemaGenerator;
use serde_json::{Map, Value};

use super::described;

/// What is kept of a schema, beside the names of fields.
const KEPT: [&str; 10] = [
    "$ref",
    "type",
    "const",
    "enum",
    "properties",
    "additionalProperties",
    "items",
    "anyOf",
    "oneOf",
    "allOf",
];

static AGREED: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("shapes.json")).expect("a test holds the text to the types")
});

/// The shape of an operation's request; null, which says nothing, for a name that no operation has.
pub(crate) fn request(operation: &str) -> &'static Value {
    &AGREED["requests"][operation]
}

/// The definition that a schema refers to.
pub(crate) fn named(schema: &Value) -> Option<&'static Value> {
    AGREED.pointer(schema["$ref"].as_str()?.strip_prefix('#')?)
}

/// The text from the types, a request or definition a line.
#[must_use]
pub fn of_the_types() -> String {
    let mut schemas = SchemaGenerator::default();
    let requests = described().into_iter().map(|of| {
        let request = (of.request)(&mut schemas);
        (of.name.to_owned(), shape(request.as_value()))
    });
    let requests = requests.collect();
    let definitions = schemas.take_definitions(true).into_iter();
    let definitions = definitions.map(|(name, schema)| (name, shape(&schema))).collect();
    format!("{{\"requests\":{},\"$defs\":{}}}\n", lines(&requests), lines(&definitions))
}

fn lines(of: &Map<String, Value>) -> String {
    let lines: Vec<String> =
        of.iter().map(|(name, shape)| format!("{}:{shape}", Value::from(name.as_str()))).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

/// A schema without what is not kept.
fn shape(schema: &Value) -> Value {
    let each = |of: &Map<String, Value>| {
        of.iter().map(|(name, below)| (name.clone(), shape(below))).collect::<Map<_, _>>()
    };
    match schema {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| KEPT.contains(&name.as_str()));
            let kept = kept.map(|(name, value)| match (name.as_str(), value) {
                ("properties", Value::Object(properties)) => {
                    (name.clone(), each(properties).into())
                }
                _ => (name.clone(), shape(value)),
            });
            kept.collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}
