//! Reads the arguments of a call: every key is known, every value is of its kind and in its range, or the call is refused in words that help.

use serde_json::{Map, Value};

/// The arguments of one call, checked against the names in the tool's schema.
pub(crate) struct Arguments<'a>(&'a Map<String, Value>);

impl<'a> Arguments<'a> {
    /// Takes an object whose keys are all named in `schema`.
    pub(crate) fn new(value: &'a Value, schema: &Value) -> Result<Self, String> {
        let Value::Object(map) = value else {
            return Err("the arguments must be a JSON object".to_owned());
        };
        let known = schema.get("properties").and_then(Value::as_object);
        let names: Vec<&str> = known.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        match map.keys().find(|key| !names.contains(&key.as_str())) {
            Some(key) => Err(unknown(key, &names)),
            None => Ok(Self(map)),
        }
    }

    /// A text that must be there.
    pub(crate) fn text(&self, name: &str) -> Result<&'a str, String> {
        self.optional_text(name)?.ok_or_else(|| format!("`{name}` is missing"))
    }

    /// A text that may be absent or null.
    pub(crate) fn optional_text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("`{name}` must be a string, not {}", kind(other))),
        }
    }

    /// A whole number from `min` to `max`, or `default` when absent or null.
    pub(crate) fn number(
        &self,
        name: &str,
        range: (u64, u64),
        default: u64,
    ) -> Result<u64, String> {
        let (min, max) = range;
        let number = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(default),
            Some(value) => value.as_u64(),
        };
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(format!("`{name}` must be a whole number from {min} to {max}")),
        }
    }

    /// Yes or no, or `default` when absent or null.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(format!("`{name}` must be true or false, not {}", kind(other))),
        }
    }

    /// One of `choices`, or `None` when absent or null.
    pub(crate) fn choice(
        &self,
        name: &str,
        choices: &[&'static str],
    ) -> Result<Option<&'static str>, String> {
        let Some(text) = self.optional_text(name)? else { return Ok(None) };
        match choices.iter().find(|choice| **choice == text) {
            Some(choice) => Ok(Some(choice)),
            None => Err(format!("`{name}` must be one of {}, not `{text}`", choices.join(", "))),
        }
    }

    /// A list of texts, empty when absent or null.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<&'a str>, String> {
        let wrong = || format!("`{name}` must be a list of strings");
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }
}

fn unknown(key: &str, names: &[&str]) -> String {
    let near = names.iter().map(|name| (strsim::damerau_levenshtein(key, name), name)).min();
    let shown: String = key.chars().take(80).collect();
    match near {
        Some((distance, name)) if distance <= 1 + name.len() / 3 => {
            format!("there is no argument `{shown}`; did you mean `{name}`?")
        }
        _ => format!("there is no argument `{shown}`; there are {}", names.join(", ")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_name() {
        let schema = json!({"properties": {"path": {}, "offset": {}, "limit": {}}});
        let refused = |value: Value| Arguments::new(&value, &schema).err().unwrap();
        assert_eq!(
            refused(json!({"file_path": 1})),
            "there is no argument `file_path`; there are path, offset, limit"
        );
        assert_eq!(refused(json!({"pth": 1})), "there is no argument `pth`; did you mean `path`?");
        assert_eq!(refused(json!([])), "the arguments must be a JSON object");
    }

    #[test]
    fn a_value_of_the_wrong_kind_or_range_is_refused_by_name() {
        let schema = json!({"properties": {"a": {}}});
        let value = json!({"a": 7});
        let arguments = Arguments::new(&value, &schema).unwrap();
        assert_eq!(arguments.text("a").unwrap_err(), "`a` must be a string, not a number");
        assert_eq!(arguments.text("b").unwrap_err(), "`b` is missing");
        assert_eq!(
            arguments.number("a", (8, 9), 8).unwrap_err(),
            "`a` must be a whole number from 8 to 9"
        );
        assert_eq!(arguments.number("a", (0, 9), 8), Ok(7));
        assert_eq!(
            arguments.flag("a", true).unwrap_err(),
            "`a` must be true or false, not a number"
        );
    }
}
