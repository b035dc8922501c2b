//! What a client is shown of a session: entries and deltas as updates. Pure; the same for what happened long ago and for what happens now.

mod call;
mod compaction;
mod look;
mod notice;
mod output;
mod pictures;
mod standing;
mod talk;

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_client_protocol::v1::schema::{
    ClientCapabilities, Plan, PlanEntry, PlanEntryPriority, PlanEntryStatus, SessionUpdate,
    TerminalId, ToolCall, Usage,
};
use oarlock_core::DefaultSession;
use oarlock_core::event::{
    AgentEvent, Delta, DeltaItem, Entry, Event, PlanItem, PlanPriority, PlanStatus, SubagentOpened,
};
use oarlock_core::ids::{CallId, Seq, SessionId, Timestamp};
use oarlock_core::message::Content;
use oarlock_core::ports::model::Model;
use oarlock_core::ports::tool::Place;
use oarlock_core::session::context;
use oarlock_core::session::state::State;
use oarlock_core::spec::Settings;

use call::{Calls, Reach};
use compaction::Compaction;
use notice::Notices;
use standing::{Changed, Standing};
use talk::Talk;

pub(super) use call::name_of;
pub(super) use notice::warning;
pub(super) use pictures::Pictures;

/// Tokens of the window of the model that works under these settings, where it is known.
type Window = Box<dyn Fn(&Settings) -> Option<u64> + Send>;

/// What a client can be shown, and what is known of models.
pub(super) struct View {
    /// It shows words that are not part of the conversation.
    notices: bool,
    /// It shows summaries that take the place of a conversation's beginning.
    compaction: bool,
    window: Window,
}

impl View {
    /// What this client can be shown of this session.
    pub(super) fn of(client: &ClientCapabilities, session: &DefaultSession) -> Self {
        let able = client.session.as_ref();
        let models = Arc::clone(&session.core().ports().models);
        let window = move |settings: &Settings| {
            let model = models.resolve(&settings.model).ok();
            context::window(settings, model.as_deref().map(Model::info))
        };
        Self {
            notices: able.is_some_and(|able| able.notices.is_some()),
            compaction: able.is_some_and(|able| able.compaction.is_some()),
            window: Box::new(window),
        }
    }
}

/// From a session's events to a client's updates.
pub(super) struct Projector {
    view: View,
    /// Where the session works.
    place: Arc<Place>,
    talk: Talk,
    calls: Calls,
    /// Boxed, since a map makes room for eleven at once.
    agents: BTreeMap<SessionId, Box<Agent>>,
    compaction: Compaction,
    notices: Notices,
    standing: Standing,
    /// Inputs that the client itself sent over this connection, whose words it shows by itself.
    own: Vec<Seq>,
    /// Whether it has caught up.
    is_live: bool,
}

/// A subagent.
struct Agent {
    /// The call of its parent that it works for, as the client knows it.
    call: String,
    /// What it is called.
    whose: String,
    /// Where it works.
    place: Arc<Place>,
}

impl Projector {
    /// For a client that is shown everything from the first entry on of a session that works in `place`.
    pub(super) fn new(view: View, place: Arc<Place>) -> Self {
        Self {
            view,
            place,
            talk: Talk::default(),
            calls: Calls::default(),
            agents: BTreeMap::new(),
            compaction: Compaction::default(),
            notices: Notices::default(),
            standing: Standing::default(),
            own: Vec::new(),
            is_live: false,
        }
    }

    /// For a client that knows the session as far as this state: it is shown what comes later.
    pub(super) fn since(view: View, place: Arc<Place>, state: &State) -> Self {
        let mut this = Self::new(view, place);
        this.standing = Standing::of(state, (this.view.window)(&state.spec.settings));
        for input in &state.pending {
            this.talk.admitted(input.seq, &input.admitted, &Pictures::default());
        }
        for task in &state.tasks.running {
            this.notices.runs(task.started.task.clone(), task.started.label.clone());
        }
        for child in &state.children {
            this.opened(&[], &child.opened);
        }
        this
    }

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

    /// What the call of this name is about, as the client knows it. One that began before anybody looked is known by its name alone.
    pub(super) fn call(&self, name: &str) -> ToolCall {
        let known = self.calls.announced(name);
        known.unwrap_or_else(|| ToolCall::new(name.to_owned(), "a call that was made before"))
    }

    /// The tokens of the session as far as the client has been told of it; none when none were counted.
    pub(super) fn spent(&self) -> Option<Usage> {
        self.standing.spent()
    }

    /// When something is to be told although nothing happens.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.calls.due().filter(|_| self.is_live)
    }

    /// What is to be told by now although nothing happened.
    pub(super) fn overdue(&mut self, now: Timestamp) -> Vec<SessionUpdate> {
        self.calls.behind(now)
    }

    /// The updates that an event makes, in order.
    pub(super) fn updates(
        &mut self,
        event: &AgentEvent,
        pictures: &Pictures,
        now: Timestamp,
    ) -> Vec<SessionUpdate> {
        let mut updates = Vec::new();
        match event {
            AgentEvent::Entry(entry) => self.entry(entry, pictures, &mut updates),
            AgentEvent::Delta(delta) => updates.extend(self.delta(&[], delta, now)),
            AgentEvent::Scoped { scope, event } => match &**event {
                AgentEvent::Entry(entry) => {
                    self.scoped(scope, entry, (pictures, now), &mut updates);
                }
                AgentEvent::Delta(delta) => updates.extend(self.delta(scope, delta, now)),
                AgentEvent::Scoped { .. } | AgentEvent::CaughtUp { .. } => {}
            },
            AgentEvent::CaughtUp { .. } => self.caught_up(&mut updates),
        }
        updates
    }

    fn caught_up(&mut self, updates: &mut Vec<SessionUpdate>) {
        if !std::mem::replace(&mut self.is_live, true) {
            updates.extend(self.standing.info());
            updates.extend(self.standing.usage());
        }
    }

    fn entry(&mut self, entry: &Entry, pictures: &Pictures, updates: &mut Vec<SessionUpdate>) {
        let (seq, turn) = (entry.seq, entry.turn.unwrap_or(0));
        match &entry.event {
            Event::InputAdmitted(input) => match self.own.iter().position(|own| *own == seq) {
                Some(at) => {
                    self.own.swap_remove(at);
                }
                None => self.talk.admitted(seq, input, pictures),
            },
            Event::InputWithdrawn(gone) => self.talk.leave_out(gone.input),
            Event::TurnStarted(started) => {
                self.standing.window((self.view.window)(&started.settings));
                self.talk.taken(&started.inputs, updates);
            }
            Event::StepStarted(started) => self.talk.taken(&started.inputs, updates),
            Event::AssistantMessage(message) => self.talk.answered(turn, message, updates),
            // The last failure ends the turn, unless another model takes over.
            Event::ModelFailed(failed) if failed.retry_in_ms.is_none() => {}
            Event::ModelFailed(_) | Event::ModelReplaced(_) | Event::TurnRecovered(_) => {
                updates.extend(self.talk.broke_off());
            }
            Event::PlanChanged(plan) => updates.push(SessionUpdate::Plan(plan_of(&plan.items))),
            Event::TurnEnded(_) => {
                self.talk.broke_off();
                updates.append(&mut self.calls.end(&[], Reach::Own));
            }
            event => self.work(&[], event, pictures, updates),
        }
        if self.view.compaction {
            updates.append(&mut self.compaction.entry(seq, &entry.event));
        }
        let notice = self.notices.entry(&entry.event);
        updates.extend(notice.filter(|_| self.is_live && self.view.notices));
        let told = match self.standing.entry(entry.at, &entry.event) {
            Changed::Title => self.standing.info(),
            Changed::Usage => self.standing.usage(),
            Changed::Nothing => None,
        };
        updates.extend(told.filter(|_| self.is_live));
    }

    /// Subagents show themselves by their calls, and by what they say to the call of their parent.
    fn scoped(
        &mut self,
        scope: &[SessionId],
        entry: &Entry,
        (pictures, now): (&Pictures, Timestamp),
        updates: &mut Vec<SessionUpdate>,
    ) {
        let Some(child) = scope.last() else { return };
        match &entry.event {
            Event::SessionCreated(created) => {
                if let Some(agent) = self.agents.get_mut(child) {
                    agent.place = Arc::new(Place::of(&created.spec));
                }
            }
            Event::AssistantMessage(message) => {
                let texts = message.blocks.iter().filter_map(|block| match &block.content {
                    Content::Text { text } if !text.trim().is_empty() => Some(text.trim()),
                    _ => None,
                });
                let said = texts.fold(String::new(), |said, text| format!("{said}{text}\n\n"));
                if let Some(agent) = self.agents.get(child) {
                    updates.extend(self.calls.said(&agent.call, &said, now));
                }
            }
            Event::TurnEnded(_) => updates.append(&mut self.calls.end(scope, Reach::Own)),
            event => self.work(scope, event, pictures, updates),
        }
    }

    /// Calls and subagents of whomever.
    fn work(
        &mut self,
        scope: &[SessionId],
        event: &Event,
        pictures: &Pictures,
        updates: &mut Vec<SessionUpdate>,
    ) {
        let agent = scope.last().and_then(|child| self.agents.get(child));
        let place = &**agent.map_or(&self.place, |agent| &agent.place);
        match event {
            Event::ToolCalled(called) => {
                let whose = agent.map(|agent| agent.whose.as_str());
                let whose = whose.or((!scope.is_empty()).then_some("subagent"));
                updates.push(self.calls.called((scope, place), called, whose));
            }
            Event::HookRan(ran) => {
                if let (Some(call), Some(arguments)) = (&ran.call, &ran.change.arguments) {
                    updates.extend(self.calls.rewritten((scope, place), call, arguments));
                }
            }
            Event::ToolStarted(started) => updates.extend(self.calls.started(scope, &started.call)),
            Event::ToolSettled(settled) => {
                updates.extend(self.calls.settled(scope, settled, pictures));
            }
            Event::SubagentOpened(opened) => self.opened(scope, opened),
            Event::SubagentClosed(closed) => {
                let below: Vec<SessionId> = scope.iter().chain([&closed.child]).cloned().collect();
                updates.append(&mut self.calls.end(&below, Reach::Below));
                self.agents.remove(&closed.child);
                give_back(&mut self.agents);
            }
            _ => {}
        }
    }

    fn opened(&mut self, scope: &[SessionId], opened: &SubagentOpened) {
        let parent = scope.last().and_then(|parent| self.agents.get(parent));
        let whose = match parent {
            Some(parent) => format!("{} › {}", parent.whose, opened.profile),
            None => opened.profile.clone(),
        };
        let place = parent.map_or(&self.place, |parent| &parent.place).clone();
        let call = name_of(scope, &opened.call);
        self.agents.insert(opened.child.clone(), Box::new(Agent { call, whose, place }));
    }

    fn delta(
        &mut self,
        scope: &[SessionId],
        delta: &Delta,
        now: Timestamp,
    ) -> Option<SessionUpdate> {
        match &delta.item {
            DeltaItem::Text { .. } | DeltaItem::Thinking { .. } if scope.is_empty() => {
                self.talk.grows(delta)
            }
            DeltaItem::Wait if scope.is_empty() && self.is_live && self.view.notices => {
                Some(notice::waits(&delta.text))
            }
            DeltaItem::Output { call } => {
                self.calls.output((scope, call), (delta.offset, &delta.text), now)
            }
            DeltaItem::Text { .. }
            | DeltaItem::Thinking { .. }
            | DeltaItem::Arguments { .. }
            | DeltaItem::Wait
            | DeltaItem::Task { .. } => None,
        }
    }
}

/// Gives back the room of a map that is empty: it would keep that of eleven.
fn give_back<K, V>(map: &mut BTreeMap<K, V>) {
    if map.is_empty() {
        *map = BTreeMap::new();
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

#[cfg(test)]
mod tests;
