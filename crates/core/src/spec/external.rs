//! Tools that the client of a session runs: data in its settings, offered to the model beside the session's own.

use std::collections::HashSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Effect;
use crate::spec::OutputSchema;

/// External tools that a session may have.
pub const EXTERNAL_TOOLS_MAX: usize = 128;
/// The longest name of a tool, in bytes: what every provider takes.
pub const TOOL_NAME_MAX: usize = 64;
/// The longest that a call may wait for its client: seven days.
pub const EXTERNAL_DEADLINE_MAX_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// JSON that all external tools of a session may have together, in bytes.
pub const EXTERNAL_TOOLS_BYTES: usize = 256 * 1024;

/// A tool that the client runs. A call of it waits as `input_requested` until somebody answers, or its deadline passes; it goes on waiting when the
/// process dies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalTool {
    /// Its name: 1 to 64 letters, digits, `_` and `-`; none that the session has otherwise.
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{1,64}$"))]
    pub name: String,
    /// What it does and when to use it, for the model.
    pub description: String,
    /// JSON Schema of its arguments: an object's, bounded as an [`OutputSchema`]'s. A call whose arguments do not keep to it fails, and the client does not hear
    /// of it.
    #[schemars(schema_with = "of_objects")]
    pub input_schema: Value,
    /// What a call does to the world, for the mode to judge; `mutating` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Until a call without an answer fails, in milliseconds, up to seven days; ten minutes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = EXTERNAL_DEADLINE_MAX_MS))]
    pub deadline_ms: Option<u64>,
}

/// The schema of a schema of objects.
fn of_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "required": ["type"], "properties": { "type": { "const": "object" } },
    })
}

impl ExternalTool {
    /// What a call does to the world.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect.unwrap_or(Effect::Mutating)
    }

    /// What its arguments are held against.
    pub(crate) fn form(&self) -> OutputSchema {
        OutputSchema::new(self.input_schema.clone())
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || name.len() > TOOL_NAME_MAX || !name.bytes().all(is_word) {
            let shown: String = name.chars().take(80).collect();
            return Err(format!(
                "`{shown}` cannot name an external tool; a name has 1 to {TOOL_NAME_MAX} letters, digits, `_` and `-`"
            ));
        }
        if !self.input_schema.is_object() {
            return Err(format!(
                "`input_schema` of the external tool `{name}` is no JSON object; give it a JSON Schema"
            ));
        }
        match self.input_schema.get("type") {
            Some(Value::String(kind)) if kind == "object" => {}
            _ => {
                return Err(format!(
                    "`input_schema` of the external tool `{name}` lacks `\"type\": \"object\"`; arguments are objects"
                ));
            }
        }
        self.form().check().map_err(|error| {
            format!("`input_schema` of the external tool `{name}` cannot be had: {error}")
        })?;
        match self.deadline_ms {
            Some(ms) if ms == 0 || ms > EXTERNAL_DEADLINE_MAX_MS => Err(format!(
                "`deadline_ms` of the external tool `{name}` is {ms}; it lies from 1 to {EXTERNAL_DEADLINE_MAX_MS}"
            )),
            _ => Ok(()),
        }
    }
}

/// Whether these tools can be had beside those of these names.
///
/// # Errors
/// Words that name the tool and say what to do.
pub fn check_external(tools: &[ExternalTool], own: &HashSet<&str>) -> Result<(), String> {
    if tools.len() > EXTERNAL_TOOLS_MAX {
        return Err(format!(
            "a session has at most {EXTERNAL_TOOLS_MAX} external tools; these are {}",
            tools.len()
        ));
    }
    let mut seen = HashSet::new();
    for tool in tools {
        tool.check()?;
        if own.contains(tool.name.as_str()) {
            return Err(format!(
                "the session has a tool `{}` of its own; give the external one another name",
                tool.name
            ));
        }
        if !seen.insert(tool.name.as_str()) {
            return Err(format!("two external tools are named `{}`; leave one out", tool.name));
        }
    }
    let bytes = serde_json::to_vec(tools).expect("tools have string keys").len();
    match bytes > EXTERNAL_TOOLS_BYTES {
        true => Err(format!(
            "the external tools have {bytes} bytes of JSON; at most {EXTERNAL_TOOLS_BYTES} are taken"
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(name: &str) -> ExternalTool {
        ExternalTool {
            name: name.to_owned(),
            description: "looks things up".to_owned(),
            input_schema: json!({ "type": "object" }),
            effect: None,
            deadline_ms: None,
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name() {
        let own = HashSet::from(["bash"]);
        let cases = [
            (vec![tool("lookup"), tool("look-up_2")], None),
            (vec![tool("")], Some("cannot name")),
            (vec![tool("look up")], Some("cannot name")),
            (vec![tool(&"x".repeat(65))], Some("cannot name")),
            (vec![tool("bash")], Some("of its own")),
            (vec![tool("lookup"), tool("lookup")], Some("two external tools")),
            (vec![ExternalTool { input_schema: json!([]), ..tool("a") }], Some("no JSON object")),
            (vec![ExternalTool { input_schema: json!({}), ..tool("a") }], Some("lacks")),
            (
                vec![ExternalTool {
                    input_schema: json!({ "type": "object", "required": 1 }),
                    ..tool("a")
                }],
                Some("cannot be had"),
            ),
            (vec![ExternalTool { deadline_ms: Some(0), ..tool("a") }], Some("from 1 to")),
            (vec![ExternalTool { deadline_ms: Some(u64::MAX), ..tool("a") }], Some("from 1 to")),
            (
                vec![ExternalTool { description: "x".repeat(EXTERNAL_TOOLS_BYTES), ..tool("a") }],
                Some("bytes of JSON"),
            ),
            ((0..129).map(|n| tool(&format!("t{n}"))).collect(), Some("at most 128")),
        ];
        for (tools, wrong) in cases {
            let found = check_external(&tools, &own).err();
            let is_said = match (&found, wrong) {
                (None, None) => true,
                (Some(found), Some(wrong)) => found.contains(wrong),
                _ => false,
            };
            assert!(is_said, "{wrong:?} {found:?}");
        }
    }
}
