//! What a call is about, as its name and its arguments tell: its kind, the places that it touches, and what it changes there.

use std::path::Path;

use agent_client_protocol::v1::schema::{Diff, ToolCallLocation, ToolKind};
use oarlock_core::event::Effect;
use oarlock_core::ports::tool::Place;
use serde_json::Value;

/// Bytes of argument text that a client is shown; of a call with more it is shown the title alone.
const ARGUMENTS_MAX: usize = 256 * 1024;

/// What a client can be shown of a call before it runs.
#[derive(Debug, PartialEq)]
pub(super) struct Look {
    /// What it does, for an icon.
    pub(super) kind: ToolKind,
    /// The arguments; text that is no JSON as a string.
    pub(super) input: Option<Value>,
    /// Where it reads or writes.
    pub(super) location: Option<ToolCallLocation>,
    /// What it is to change.
    pub(super) diff: Option<Diff>,
}

impl Look {
    /// Of a call of this tool, in a session that works in this place.
    pub(super) fn of(place: &Place, name: &str, arguments: &str, effect: Effect) -> Self {
        let kind = kind_of(name, effect);
        if arguments.len() > ARGUMENTS_MAX {
            return Self { kind, input: None, location: None, diff: None };
        }
        let input = serde_json::from_str(arguments).ok();
        let input = input.unwrap_or_else(|| Value::String(arguments.to_owned()));
        let (location, diff) = match path_of(name, &input) {
            Some(path) => {
                let path = place.absolute(path);
                let diff = diff_of(name, &input, &path);
                let line = line_of(input.get("offset")).filter(|_| name == "read_file");
                (Some(ToolCallLocation::new(path).line(line)), diff)
            }
            None => (None, None),
        };
        Self { kind, input: Some(input), location, diff }
    }
}

fn kind_of(name: &str, effect: Effect) -> ToolKind {
    match name {
        "bash" => ToolKind::Execute,
        "write_file" | "edit_file" => ToolKind::Edit,
        "search" => ToolKind::Search,
        "fetch" => ToolKind::Fetch,
        "update_plan" | "goal_done" => ToolKind::Think,
        "read_file" | "skill" | "inspect_background_task" => ToolKind::Read,
        // Those of subagents and background tasks are about work, and not about what a kind names.
        "ask_user" | "spawn_agent" | "cancel_background_task" | "send_background_input" => {
            ToolKind::Other
        }
        _ => match effect {
            Effect::Pure => ToolKind::Read,
            Effect::Network => ToolKind::Fetch,
            Effect::Idempotent | Effect::Mutating => ToolKind::Edit,
            Effect::Destructive => ToolKind::Other,
        },
    }
}

/// The path among the arguments. What a tool of somebody else calls a path is one if it is absolute.
fn path_of<'a>(name: &str, input: &'a Value) -> Option<&'a str> {
    let path = input.get("path")?.as_str().filter(|path| !path.is_empty())?;
    let is_own = matches!(name, "read_file" | "write_file" | "edit_file" | "search");
    (is_own || Path::new(path).is_absolute()).then_some(path)
}

/// A number of a line, from 1.
pub(super) fn line_of(value: Option<&Value>) -> Option<u32> {
    value?.as_u64().and_then(|line| u32::try_from(line).ok()).filter(|line| *line > 0)
}

fn diff_of(name: &str, input: &Value, path: &Path) -> Option<Diff> {
    let text = |key: &str| input.get(key).and_then(Value::as_str);
    match name {
        "write_file" => Some(Diff::new(path, text("content")?)),
        "edit_file" => {
            Some(Diff::new(path, text("new_string")?).old_text(text("old_string")?.to_owned()))
        }
        _ => None,
    }
}
