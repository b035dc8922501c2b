//! Tool calls as a client is shown them: announced once, then what changes, and at last how they ended.

use std::collections::BTreeMap;

use agent_client_protocol::v1::schema::{
    Meta, SessionUpdate, Terminal, TerminalId, ToolCall, ToolCallContent, ToolCallStatus,
    ToolCallUpdate, ToolCallUpdateFields,
};
use oarlock_core::event::{Outcome, ToolCalled, ToolSettled};
use oarlock_core::ids::{CallId, SessionId, Timestamp};
use oarlock_core::ports::tool::Place;
use serde_json::Value;

use super::give_back;
use super::look::{Look, line_of};
use super::output::{Tail, fenced, result, words};
use super::pictures::Pictures;

/// Between two updates about the output of a running call there are at least so many milliseconds.
pub(super) const OUTPUT_EVERY_MS: u64 = 200;

/// The calls that were announced and have not ended, by the name that the client knows them by.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Boxed, since a map makes room for eleven at once, and keeps it.
    open: BTreeMap<String, Box<Open>>,
}

#[derive(Debug)]
struct Open {
    scope: Vec<SessionId>,
    title: String,
    look: Look,
    output: Tail,
    /// Where the client itself shows what the call's command says.
    terminal: Option<TerminalId>,
    /// When the client was told of the output.
    told: Option<Timestamp>,
    /// Whether there is more than it was told.
    is_behind: bool,
}

impl Calls {
    /// Announces a call; `whose` names the subagent that makes it.
    pub(super) fn called(
        &mut self,
        (scope, place): (&[SessionId], &Place),
        called: &ToolCalled,
        whose: Option<&str>,
    ) -> SessionUpdate {
        let id = name_of(scope, &called.call);
        let look = Look::of(place, &called.name, &called.arguments, called.effect);
        let title = match whose {
            Some(whose) => format!("{whose}: {}", called.title),
            None => called.title.clone(),
        };
        let open = Open {
            scope: scope.to_vec(),
            title,
            look,
            output: Tail::default(),
            terminal: None,
            told: None,
            is_behind: false,
        };
        let announced = open
            .call(&id)
            .name(called.name.clone())
            .status(ToolCallStatus::Pending)
            .content(open.look.diff().map(ToolCallContent::Diff).into_iter().collect::<Vec<_>>())
            .meta(meta_of(scope));
        self.open.insert(id, Box::new(open));
        SessionUpdate::ToolCall(announced)
    }

    /// A hook gave the call other arguments.
    pub(super) fn rewritten(
        &mut self,
        (scope, place): (&[SessionId], &Place),
        call: &CallId,
        arguments: &str,
    ) -> Option<SessionUpdate> {
        let id = name_of(scope, call);
        let open = self.open.get_mut(&id)?;
        open.look.rewritten(place, arguments);
        let fields = ToolCallUpdateFields::new()
            .raw_input(open.look.input.clone())
            .content(open.content())
            .locations(open.look.location().into_iter().collect::<Vec<_>>());
        Some(changed(id, fields))
    }

    /// What a call that has not ended is about, by the name that the client knows.
    pub(super) fn announced(&self, id: &str) -> Option<ToolCall> {
        self.open.get(id).map(|open| open.call(id))
    }

    /// The call runs.
    pub(super) fn started(&mut self, scope: &[SessionId], call: &CallId) -> Option<SessionUpdate> {
        let id = name_of(scope, call);
        let status = ToolCallUpdateFields::new().status(ToolCallStatus::InProgress);
        self.open.contains_key(&id).then(|| changed(id, status))
    }

    /// The call is over.
    pub(super) fn settled(
        &mut self,
        scope: &[SessionId],
        settled: &ToolSettled,
        pictures: &Pictures,
    ) -> Option<SessionUpdate> {
        let id = name_of(scope, &settled.call);
        let open = *self.open.remove(&id)?;
        give_back(&mut self.open);
        let is_done = settled.outcome == Outcome::Completed;
        let shown_in = open.terminal.map(shown_in);
        let mut content: Vec<_> =
            open.look.diff().into_iter().map(ToolCallContent::Diff).chain(shown_in).collect();
        // A change that was made speaks for itself, and so does a command in its terminal; why a call failed is said.
        if !is_done || content.is_empty() {
            content.extend(result(&open.look.tool, settled, pictures));
        }
        let mut fields = ToolCallUpdateFields::new()
            .status(if is_done { ToolCallStatus::Completed } else { ToolCallStatus::Failed })
            .content(content);
        if !settled.detail.is_empty() {
            fields = fields.raw_output(Value::Object(settled.detail.clone()));
        }
        if let (Some(location), line @ Some(_)) =
            (open.look.location(), line_of(settled.detail.get("line")))
        {
            fields = fields.locations(vec![location.line(line)]);
        }
        Some(changed(id, fields))
    }

    /// A running call said something: `offset` is where it begins in all of the call's output.
    pub(super) fn output(
        &mut self,
        (scope, call): (&[SessionId], &CallId),
        (offset, text): (u64, &str),
        now: Timestamp,
    ) -> Option<SessionUpdate> {
        let id = name_of(scope, call);
        let open = self.open.get_mut(&id)?;
        open.output.add(offset, text).then(|| open.told(id, now)).flatten()
    }

    /// Somebody below the call said something.
    pub(super) fn said(&mut self, id: &str, text: &str, now: Timestamp) -> Option<SessionUpdate> {
        let open = self.open.get_mut(id)?;
        open.output.append(text).then(|| open.told(id.to_owned(), now)).flatten()
    }

    /// Shows a terminal in its call, from now on; nothing while the call is not announced. `of` is the subagent whose call it is.
    pub(super) fn embed(
        &mut self,
        of: Option<&SessionId>,
        call: &CallId,
        terminal: &TerminalId,
    ) -> Option<SessionUpdate> {
        let name = name_of(of.map(std::slice::from_ref).unwrap_or_default(), call);
        // A subagent may stand below others.
        let below = format!("/{name}");
        let is_it = |id: &String| *id == name || (of.is_some() && id.ends_with(&below));
        let (id, open) = self.open.iter_mut().find(|(id, _)| is_it(id))?;
        open.terminal = Some(terminal.clone());
        open.is_behind = false;
        Some(changed(id.clone(), ToolCallUpdateFields::new().content(open.content())))
    }

    /// When the client is to be told of what it does not know yet.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let behind = self.open.values().filter(|open| open.is_behind);
        behind.map(|open| open.told.unwrap_or_default().after(OUTPUT_EVERY_MS)).min()
    }

    /// What is due.
    pub(super) fn behind(&mut self, now: Timestamp) -> Vec<SessionUpdate> {
        let behind = self.open.iter_mut().filter(|(_, open)| open.is_behind);
        behind.filter_map(|(id, open)| open.told(id.clone(), now)).collect()
    }

    /// Ends what a client would otherwise show as running for ever: the calls of this session, or of it and all below it.
    pub(super) fn end(&mut self, scope: &[SessionId], reach: Reach) -> Vec<SessionUpdate> {
        let ends = |open: &Open| match reach {
            Reach::Own => open.scope == scope,
            Reach::Below => open.scope.starts_with(scope),
        };
        let ended: Vec<String> =
            self.open.iter().filter(|(_, open)| ends(open)).map(|(id, _)| id.clone()).collect();
        let failed = |id: String| {
            self.open.remove(&id);
            changed(id, ToolCallUpdateFields::new().status(ToolCallStatus::Failed))
        };
        let updates = ended.into_iter().map(failed).collect();
        give_back(&mut self.open);
        updates
    }
}

/// Whose calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Own,
    Below,
}

impl Open {
    /// What it is about.
    fn call(&self, id: &str) -> ToolCall {
        ToolCall::new(id.to_owned(), self.title.clone())
            .kind(self.look.kind)
            .raw_input(self.look.input.clone())
            .locations(self.look.location().into_iter().collect::<Vec<_>>())
    }

    /// Tells of the output, unless the client was told a moment ago.
    fn told(&mut self, id: String, now: Timestamp) -> Option<SessionUpdate> {
        if self.terminal.is_some() {
            return None;
        }
        self.is_behind = self.told.is_some_and(|told| now < told.after(OUTPUT_EVERY_MS));
        if self.is_behind {
            return None;
        }
        self.told = Some(now);
        Some(changed(id, ToolCallUpdateFields::new().content(self.content())))
    }

    /// What it is to change, and the end of what it said.
    fn content(&self) -> Vec<ToolCallContent> {
        let diff = self.look.diff().map(ToolCallContent::Diff);
        if let Some(terminal) = &self.terminal {
            return diff.into_iter().chain([shown_in(terminal.clone())]).collect();
        }
        let output = Some(self.output.shown()).filter(|shown| !shown.is_empty());
        let output = output.map(|shown| match self.look.tool.as_str() {
            "bash" => words(fenced(&shown)),
            _ => words(shown),
        });
        diff.into_iter().chain(output).collect()
    }
}

/// The name of a call towards the client: its own, below the sessions that lead to it.
pub(crate) fn name_of(scope: &[SessionId], call: &CallId) -> String {
    let path = scope.iter().map(SessionId::as_str);
    path.chain(std::iter::once(&*call.0)).collect::<Vec<_>>().join("/")
}

/// Where the call of a subagent comes from.
fn meta_of(scope: &[SessionId]) -> Option<Meta> {
    let path: Vec<Value> = scope.iter().map(|id| Value::from(id.as_str())).collect();
    (!path.is_empty()).then(|| Meta::from_iter([(SCOPE.to_owned(), Value::from(path))]))
}

/// Under which name a client finds the sessions that lead from the followed one to the one that makes a call.
const SCOPE: &str = "oarlock/scope";

fn shown_in(terminal: TerminalId) -> ToolCallContent {
    ToolCallContent::Terminal(Terminal::new(terminal))
}

fn changed(id: String, fields: ToolCallUpdateFields) -> SessionUpdate {
    SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id, fields))
}
