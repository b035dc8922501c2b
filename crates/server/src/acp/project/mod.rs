//! What a client is shown of a session: entries and deltas as updates. Pure; the same for what happened long ago and for what happens now.

mod call;

use std::collections::HashMap;

use agent_client_protocol::v1::schema::{
    ContentChunk, MessageId, Plan, PlanEntry, PlanEntryPriority, PlanEntryStatus, SessionUpdate,
    TerminalId,
};
use oarlock_core::event::{
    AgentEvent, AssistantMessage, Delta, DeltaItem, Entry, Event, InputAdmitted, PlanItem,
    PlanPriority, PlanStatus,
};
use oarlock_core::ids::{CallId, Seq, SessionId};
use oarlock_core::message::{Content, Part};

use super::content::text;
use call::Calls;
pub(super) use call::{announced, name_of};

/// From a session's events to a client's updates.
#[derive(Debug, Default)]
pub(super) struct Projector {
    /// Bytes of each block of the answer under way that were shown.
    shown: HashMap<DeltaItem, usize>,
    /// The attempt that they belong to.
    attempt: (u32, u32, u32),
    calls: Calls,
    /// Inputs that the client itself sent over this connection, whose words it shows by itself.
    own: Vec<Seq>,
}

impl Projector {
    /// The input of this number is the client's own: its words are not repeated to it.
    pub(super) fn is_own(&mut self, input: Seq) {
        self.own.push(input);
    }

    /// The update that shows a terminal in its call, which stays shown there; `None` while the call is not announced. `of` is the subagent whose
    /// call it is.
    pub(super) fn embed(
        &mut self,
        of: Option<&SessionId>,
        call: &CallId,
        terminal: &TerminalId,
    ) -> Option<SessionUpdate> {
        self.calls.embed(of, call, terminal)
    }

    /// The updates that an event makes, in order.
    pub(super) fn updates(&mut self, event: &AgentEvent) -> Vec<SessionUpdate> {
        let mut updates = Vec::new();
        match event {
            AgentEvent::Entry(entry) => self.entry(entry, &mut updates),
            AgentEvent::Delta(delta) => self.delta(delta, &mut updates),
            AgentEvent::Scoped { scope, event } => self.scoped(scope, event, &mut updates),
            AgentEvent::CaughtUp { .. } => {}
        }
        updates
    }

    fn entry(&mut self, entry: &Entry, updates: &mut Vec<SessionUpdate>) {
        match &entry.event {
            Event::InputAdmitted(input) => self.input(entry.seq, input, updates),
            Event::AssistantMessage(message) => self.answer(entry, message, updates),
            Event::ModelFailed(_) => self.shown.clear(),
            Event::PlanChanged(plan) => updates.push(SessionUpdate::Plan(plan_of(&plan.items))),
            Event::TurnEnded(_) => {
                self.shown.clear();
                self.calls.end(updates);
            }
            event => self.calls.entry(&[], event, updates),
        }
    }

    /// Subagents show themselves by their calls.
    fn scoped(
        &mut self,
        scope: &[SessionId],
        event: &AgentEvent,
        updates: &mut Vec<SessionUpdate>,
    ) {
        if let AgentEvent::Entry(entry) = event {
            self.calls.entry(scope, &entry.event, updates);
        }
    }

    fn input(&mut self, seq: Seq, input: &InputAdmitted, updates: &mut Vec<SessionUpdate>) {
        if let Some(at) = self.own.iter().position(|own| *own == seq) {
            self.own.swap_remove(at);
            return;
        }
        for part in &input.content {
            if let Part::Text { text: words } = part {
                let chunk =
                    ContentChunk::new(text(words)).message_id(MessageId::new(format!("u{seq}")));
                updates.push(SessionUpdate::UserMessageChunk(chunk));
            }
        }
    }

    fn delta(&mut self, delta: &Delta, updates: &mut Vec<SessionUpdate>) {
        let attempt = (delta.turn, delta.step, delta.attempt);
        match &delta.item {
            DeltaItem::Text { .. } | DeltaItem::Thinking { .. } => {
                if self.attempt != attempt {
                    self.shown.clear();
                    self.attempt = attempt;
                }
                let shown = self.shown.entry(delta.item.clone()).or_default();
                // What was dropped for a slow reader comes with the entry; what was shown is not shown twice.
                let Some(skipped) =
                    usize::try_from(delta.offset).ok().and_then(|offset| shown.checked_sub(offset))
                else {
                    return;
                };
                let Some(new) = delta.text.get(skipped..).filter(|new| !new.is_empty()) else {
                    return;
                };
                *shown += new.len();
                updates.push(said(&delta.item, attempt, new));
            }
            DeltaItem::Output { call } => self.calls.output(call, &delta.text, updates),
            DeltaItem::Arguments { .. } | DeltaItem::Task { .. } => {}
        }
    }

    /// What of the answer was not shown while it was made.
    fn answer(
        &mut self,
        entry: &Entry,
        message: &AssistantMessage,
        updates: &mut Vec<SessionUpdate>,
    ) {
        let attempt = (entry.turn.unwrap_or(0), message.step, message.attempt);
        if self.attempt != attempt {
            self.shown.clear();
            self.attempt = attempt;
        }
        for (at, block) in (0u32..).zip(&message.blocks) {
            let (item, words) = match &block.content {
                Content::Text { text } => (DeltaItem::Text { block: at }, text),
                Content::Thinking { text } => (DeltaItem::Thinking { block: at }, text),
                Content::ToolCall { .. } | Content::Opaque { .. } => continue,
            };
            let shown = self.shown.get(&item).copied().unwrap_or(0);
            if let Some(rest) = words.get(shown..).filter(|rest| !rest.is_empty()) {
                updates.push(said(&item, attempt, rest));
            }
        }
        self.shown.clear();
    }
}

/// A piece of an answer or of a thought. Its message is named by where it stands in the journal, so that it has the same name whenever it is shown.
fn said(item: &DeltaItem, (turn, step, attempt): (u32, u32, u32), words: &str) -> SessionUpdate {
    let chunk = ContentChunk::new(text(words));
    match item {
        DeltaItem::Thinking { .. } => SessionUpdate::AgentThoughtChunk(
            chunk.message_id(MessageId::new(format!("t{turn}.{step}.{attempt}"))),
        ),
        _ => SessionUpdate::AgentMessageChunk(
            chunk.message_id(MessageId::new(format!("m{turn}.{step}.{attempt}"))),
        ),
    }
}

fn plan_of(items: &[PlanItem]) -> Plan {
    let entries = items.iter().map(|item| {
        let priority = match item.priority {
            PlanPriority::High => PlanEntryPriority::High,
            PlanPriority::Medium => PlanEntryPriority::Medium,
            PlanPriority::Low => PlanEntryPriority::Low,
        };
        let status = match item.status {
            PlanStatus::Pending => PlanEntryStatus::Pending,
            PlanStatus::InProgress => PlanEntryStatus::InProgress,
            PlanStatus::Completed => PlanEntryStatus::Completed,
        };
        PlanEntry::new(item.content.clone(), priority, status)
    });
    Plan::new(entries.collect())
}
