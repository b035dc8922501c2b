//! What a call is about, as its name and its arguments tell: its kind, the places that it touches, and what it changes there.

use std::path::{Path, PathBuf};

use agent_client_protocol::v1::schema::{Diff, ToolCallLocation, ToolKind};
use oarlock_core::event::Effect;
use oarlock_core::ports::tool::Place;
use serde_json::Value;

/// Bytes of argument text that a client is shown; of a call with more it is shown the title alone.
const ARGUMENTS_MAX: usize = 256 * 1024;

/// What a client can be shown of a call before it runs.
#[derive(Debug)]
pub(super) struct Look {
    /// The name of its tool.
    pub(super) tool: String,
    /// What it does, for an icon.
    pub(super) kind: ToolKind,
    /// The arguments; text that is no JSON as a string.
    pub(super) input: Option<Value>,
    /// The file or folder that it is about.
    path: Option<PathBuf>,
}

impl Look {
    /// Of a call of the tool `name`, in a session that works in this place.
    pub(super) fn of(place: &Place, name: &str, arguments: &str, effect: Effect) -> Self {
        let kind = kind_of(name, effect);
        let mut look = Self { tool: name.to_owned(), kind, input: None, path: None };
        look.rewritten(place, arguments);
        look
    }

    /// The call has these arguments.
    pub(super) fn rewritten(&mut self, place: &Place, arguments: &str) {
        (self.input, self.path) = (None, None);
        if arguments.len() > ARGUMENTS_MAX {
            return;
        }
        let input = serde_json::from_str(arguments).ok();
        let input = input.unwrap_or_else(|| Value::String(arguments.to_owned()));
        self.path = path_of(&self.tool, &input).map(|path| place.absolute(path));
        self.input = Some(input);
    }

    /// Where it reads or writes.
    pub(super) fn location(&self) -> Option<ToolCallLocation> {
        let offset = self.input.as_ref().and_then(|input| input.get("offset"));
        let line = line_of(offset).filter(|_| self.tool == "read_file");
        self.path.as_ref().map(|path| ToolCallLocation::new(path).line(line))
    }

    /// What it is to change.
    pub(super) fn diff(&self) -> Option<Diff> {
        let (input, path) = (self.input.as_ref()?, self.path.as_ref()?);
        let text = |key: &str| input.get(key).and_then(Value::as_str);
        match self.tool.as_str() {
            "write_file" => Some(Diff::new(path, text("content")?)),
            "edit_file" => {
                Some(Diff::new(path, text("new_string")?).old_text(text("old_string")?.to_owned()))
            }
            _ => None,
        }
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
