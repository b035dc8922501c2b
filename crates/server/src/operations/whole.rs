//! Requests as JSON means them: `2.0` is 2 wherever an integer is wanted, and a list is no object.

use oarlock_core::service::SessionError;
use serde_json::{Number, Value};

use super::{Params, shapes};
use crate::quote::cut;

/// From here on a number with a point may stand for another one.
const EXACT_MAX: u64 = 1 << 53;

/// Writes the whole numbers of an operation's request without a point. What is any JSON, such as a schema, stays as it is.
///
/// # Errors
/// `INVALID_REQUEST` for a list in the place of an object, which would be taken for its members in order.
pub(super) fn settled(operation: &str, mut params: Params) -> Result<Params, SessionError> {
    settle_fields(shapes::request(operation), &mut params).map_err(SessionError::invalid)?;
    Ok(params)
}

fn settle_fields(schema: &'static Value, fields: &mut Params) -> Result<(), String> {
    choices(schema).try_for_each(|choice| settle_fields(choice, fields))?;
    let (known, other) = (&schema["properties"], &schema["additionalProperties"]);
    fields.iter_mut().try_for_each(|(name, value)| {
        let below = known.get(name).unwrap_or(other);
        // A field that takes nothing is refused with its own reason.
        if value.is_array() && below["type"] != "null" && !takes_lists(below) {
            return Err(format!("`{}` is no list", cut(name)));
        }
        settle(below, value)
    })
}

fn settle(schema: &'static Value, value: &mut Value) -> Result<(), String> {
    if let Value::Object(fields) = value {
        return settle_fields(schema, fields);
    }
    choices(schema).try_for_each(|choice| settle(choice, value))?;
    match value {
        Value::Number(number) if is_integer(schema) => {
            if let Some(whole) = without_point(number) {
                *number = whole;
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| {
            if item.is_array() && !takes_lists(&schema["items"]) {
                return Err("a list stands where an object is wanted".to_owned());
            }
            settle(&schema["items"], item)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Ok(())
        }
    }
}

/// The schemas that one is made of.
fn choices(schema: &'static Value) -> impl Iterator<Item = &'static Value> {
    let lists = ["anyOf", "oneOf", "allOf"].into_iter();
    let chosen = lists.flat_map(|list| schema[list].as_array().into_iter().flatten());
    shapes::named(schema).into_iter().chain(chosen)
}

/// Whether a list may stand where a schema is, or what stands there is left to whoever reads it.
fn takes_lists(schema: &'static Value) -> bool {
    let mut choices = choices(schema).peekable();
    match &schema["type"] {
        Value::String(kind) => kind == "array",
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "array"),
        _ if choices.peek().is_none() => true,
        _ => choices.any(takes_lists),
    }
}
fn is_integer(schema: &Value) -> bool {
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "integer"),
        kind => kind == "integer",
    }
}

/// The whole number that a number with a point is.
pub(crate) fn without_point(number: &Number) -> Option<Number> {
    let text = number.to_string();
    let digits = if text == "-0.0" { "0" } else { text.strip_suffix(".0")? };
    digits.parse().ok().filter(|whole: &u64| *whole < EXACT_MAX).map(Number::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settled(operation: &str, mut request: Value) -> Value {
        settle(shapes::request(operation), &mut request).unwrap();
        request
    }

    #[test]
    fn integers_are_whole_however_deep_they_stand_and_whatever_is_any_json_stays() {
        let schema = json!({ "type": "object", "minProperties": 1.0 });
        let request = |seven: Value, none: Value| {
            json!({
                "wait_ms": none, "max_tokens": seven, "title": 1.0,
                "limits": { "turn": { "steps": seven, "tokens": 1.5 }, "other": 1.0 },
                "prompt": [{ "type": "image", "media_type": "image/png", "blob": "b", "bytes": seven }],
                "build": {
                    "external_tools": [{ "name": "a", "deadline_ms": seven, "input_schema": schema }],
                    "budget_limits": { "max_tokens": -1.0, "max_tool_calls": seven },
                    "output_schema": schema,
                },
            })
        };
        let asked = request(json!(7.0), json!(0.0));
        assert_eq!(settled("session/create", asked), request(json!(7), json!(0)));
        let output = |retries: Value| json!({ "output": { "structured": { "schema": schema, "retries": retries } } });
        assert_eq!(settled("session/configure", output(json!(2.0))), output(json!(2)));
        let answer = |bytes: Value| {
            let picture =
                json!({ "type": "image", "media_type": "image/png", "blob": "b", "bytes": bytes });
            json!({ "kind": "external_tool", "call": "c", "outcome": "failed", "content": [picture] })
        };
        assert_eq!(settled("session/answer", answer(json!(5.0))), answer(json!(5)));
        for kept in [json!(1e300), json!(9_007_199_254_740_992.0), json!(0.5), json!("1.0")] {
            let asked = json!({ "wait_ms": kept });
            assert_eq!(settled("turn/start", asked.clone()), asked);
        }
    }
}
