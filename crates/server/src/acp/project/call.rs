//! Tool calls as a client is shown them: announced once, then what changes, and at last how they ended.

use std::collections::HashMap;
use std::path::PathBuf;

use agent_client_protocol::v1::schema::{
    Content, SessionUpdate, Terminal, TerminalId, ToolCall, ToolCallContent, ToolCallLocation,
    ToolCallStatus, ToolCallUpdate, ToolCallUpdateFields, ToolKind,
};
use oarlock_core::event::{Effect, Event, Outcome, ToolCalled, ToolSettled};
use oarlock_core::ids::{CallId, SessionId};
use oarlock_core::message::Part;

use super::text;

/// Bytes of a running call's output that are shown, the last ones.
const OUTPUT_MAX: usize = 8 * 1024;

/// The calls that were announced and have not ended, by the name that the client knows them by.
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: HashMap<String, Open>,
}

#[derive(Debug, Default)]
struct Open {
    output: String,
    /// Where the client itself shows what the call's command says.
    terminal: Option<TerminalId>,
}

impl Calls {
    pub(super) fn entry(
        &mut self,
        scope: &[SessionId],
        event: &Event,
        updates: &mut Vec<SessionUpdate>,
    ) {
        match event {
            Event::ToolCalled(called) => {
                let id = name_of(scope, &called.call);
                updates.push(SessionUpdate::ToolCall(announced(id.clone(), called)));
                self.open.insert(id, Open::default());
            }
            Event::ToolStarted(started) => {
                let id = name_of(scope, &started.call);
                if self.open.contains_key(&id) {
                    let fields = ToolCallUpdateFields::new().status(ToolCallStatus::InProgress);
                    updates.push(changed(id, fields));
                }
            }
            Event::ToolSettled(settled) => {
                let id = name_of(scope, &settled.call);
                if let Some(open) = self.open.remove(&id) {
                    updates.push(changed(id, ended(settled, open.terminal.as_ref())));
                }
            }
            _ => {}
        }
    }

    pub(super) fn output(&mut self, call: &CallId, added: &str, updates: &mut Vec<SessionUpdate>) {
        let id = name_of(&[], call);
        let Some(open) = self.open.get_mut(&id) else { return };
        open.output.push_str(added);
        if open.output.len() > 2 * OUTPUT_MAX {
            let cut = open.output.ceil_char_boundary(open.output.len() - OUTPUT_MAX);
            open.output.drain(..cut);
        }
        if open.terminal.is_some() {
            return;
        }
        let content = vec![content_of(&open.output)];
        updates.push(changed(id, ToolCallUpdateFields::new().content(content)));
    }

    pub(super) fn embed(
        &mut self,
        of: Option<&SessionId>,
        call: &CallId,
        terminal: &TerminalId,
    ) -> Option<SessionUpdate> {
        let name = name_of(of.map(std::slice::from_ref).unwrap_or_default(), call);
        // A subagent may stand below others.
        let below = format!("/{name}");
        let is_it = |id: &&String| **id == name || (of.is_some() && id.ends_with(&below));
        let id = self.open.keys().find(is_it)?.clone();
        self.open.get_mut(&id)?.terminal = Some(terminal.clone());
        Some(changed(id, ToolCallUpdateFields::new().content(vec![shown_in(terminal)])))
    }

    /// Ends what a client would otherwise show as running for ever.
    pub(super) fn end(&mut self, updates: &mut Vec<SessionUpdate>) {
        for (id, _) in self.open.drain() {
            let fields = ToolCallUpdateFields::new().status(ToolCallStatus::Failed);
            updates.push(changed(id, fields));
        }
    }
}

/// The name of a call towards the client: its own, below the sessions that lead to it.
pub(crate) fn name_of(scope: &[SessionId], call: &CallId) -> String {
    let path = scope.iter().map(SessionId::as_str);
    path.chain(std::iter::once(&*call.0)).collect::<Vec<_>>().join("/")
}

/// A call as it is first shown.
pub(crate) fn announced(id: String, called: &ToolCalled) -> ToolCall {
    let arguments: Option<serde_json::Value> = serde_json::from_str(&called.arguments).ok();
    let path = arguments.as_ref().and_then(|arguments| arguments.get("path")?.as_str());
    let locations = path.map(|path| ToolCallLocation::new(PathBuf::from(path)));
    ToolCall::new(id, called.title.clone())
        .name(called.name.clone())
        .kind(kind_of(called))
        .status(ToolCallStatus::Pending)
        .raw_input(arguments)
        .locations(locations.into_iter().collect::<Vec<_>>())
}

fn kind_of(called: &ToolCalled) -> ToolKind {
    match (called.name.as_str(), called.effect) {
        ("bash", _) => ToolKind::Execute,
        (_, Effect::Pure) => ToolKind::Read,
        (_, Effect::Idempotent | Effect::Mutating) => ToolKind::Edit,
        (_, Effect::Network) => ToolKind::Fetch,
        (_, Effect::Destructive) => ToolKind::Other,
    }
}

/// A terminal says what its command said, but not why the call failed.
fn ended(settled: &ToolSettled, terminal: Option<&TerminalId>) -> ToolCallUpdateFields {
    let status = match settled.outcome {
        Outcome::Completed => ToolCallStatus::Completed,
        Outcome::Failed | Outcome::Denied | Outcome::Cancelled | Outcome::Indeterminate => {
            ToolCallStatus::Failed
        }
    };
    let words = settled.content.iter().filter_map(|part| match part {
        Part::Text { text } => Some(content_of(text)),
        Part::Image { .. } => None,
    });
    let words = words.filter(|_| terminal.is_none() || status != ToolCallStatus::Completed);
    let content = terminal.map(shown_in).into_iter().chain(words);
    ToolCallUpdateFields::new().status(status).content(content.collect::<Vec<_>>())
}

fn shown_in(terminal: &TerminalId) -> ToolCallContent {
    ToolCallContent::Terminal(Terminal::new(terminal.clone()))
}

fn content_of(words: &str) -> ToolCallContent {
    ToolCallContent::Content(Content::new(text(words)))
}

fn changed(id: String, fields: ToolCallUpdateFields) -> SessionUpdate {
    SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id, fields))
}
