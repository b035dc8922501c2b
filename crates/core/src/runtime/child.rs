//! Running a subagent: the parent's word first, then the child's journal, its task, its end; and ending one that nobody waits for.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{DefaultAgentCore, Entrance};
use crate::agent::background::{AttachTask, TaskStart};
use crate::agent::error::{AgentError, SessionError};
use crate::agent::handle::DefaultSession;
use crate::agent::origin::{Backends, ChildOrder, LoadSession, NewSession, Origin};
use crate::agent::registry::{ToolRegistry, match_tool_allowlist};
use crate::agent::session::Session;
use crate::agent::subagent::{
    AgentOrder, AgentReport, AgentsDoor, Begun, SUBAGENT_TOOLS, SubagentError, or_cancelled,
};
use crate::command::{Admit, Command, Reply};
use crate::event::{
    AgentEvent, Delivery, Event, InputSource, SubagentClosed, TaskKind, TaskStarted, TurnEnded,
};
use crate::ids::{Seq, SessionId};
use crate::message::{Content, Message, Part};
use crate::ports::bus::BusError;
use crate::ports::journal::JournalError;
use crate::session::children::{ChildWanted, Lease, Waits, closed};
use crate::session::inbox::Signal;
use crate::session::recover::Recovery;
use crate::session::state::State;
use crate::session::trace::Trace;
use crate::spec::{Limits, SessionSpec};

/// The key of a subagent's task in its own journal: it has one.
const TASK_KEY: &str = "task";
/// Sessions above one another that are looked at.
const ANCESTORS_MAX: usize = 64;

impl AgentsDoor {
    /// Runs a subagent to the end of its turn.
    pub(crate) async fn run(&self, order: AgentOrder) -> Result<AgentReport, SubagentError> {
        let begun = self.begin(order, Waits::Call).await?;
        self.finish(&begun.child, begun.input).await
    }

    /// Opens a subagent, or the one that the call has, and gives it its task.
    pub(crate) async fn begin(
        &self,
        order: AgentOrder,
        waits: Waits,
    ) -> Result<Begun, SubagentError> {
        let core = self.core.upgrade().ok_or_else(gone)?;
        let tools = names(self.tools.as_ref(), order.tools.as_deref())?;
        let wanted = ChildWanted {
            call: self.call.clone(),
            child: core.ports().ids.session(),
            profile: order.profile.clone(),
            bounds: order.bounds.clone(),
            waits,
        };
        let leased = self.outbox.ask(wanted).await.ok_or_else(gone)?;
        let lease = leased.map_err(SubagentError::Refused)?;
        if let (Waits::Task, Some(task)) = (waits, &lease.task) {
            // It runs by itself, or has ended.
            let child = core.handle(lease.child);
            return Ok(Begun { child, input: 0, task: Some(task.clone()) });
        }
        let (task, of_task) = (order.task.clone(), lease.task.clone());
        let child = ChildOrder {
            id: lease.child.clone(),
            of: self.of.clone(),
            spec: child_spec(&self.of, lease, order, tools),
            backends: self.backends(),
        };
        let child = core.open(Origin::Child(Box::new(child))).await.map_err(failed)?;
        let input = give(&child, task).await.map_err(failed)?;
        Ok(Begun { child, input, task: of_task })
    }

    /// Waits for the end of the turn that takes the task, and lets the child go.
    pub(crate) async fn finish(
        &self,
        child: &DefaultSession,
        input: Seq,
    ) -> Result<AgentReport, SubagentError> {
        let ended = child.turn_of(input).await.map_err(failed)?;
        child.close().await.map_err(failed)?;
        let state = child.state().await.map_err(failed)?;
        let closed = closed(&state);
        self.outbox.send(Signal::ChildClosed(closed.clone())).await;
        let SubagentClosed { child, steps, usage, cost_micros, cost_unknown, .. } = closed;
        let cost_micros = cost_micros.filter(|_| !cost_unknown);
        let error = ended.error.map(|failure| failure.message);
        let text = last_words(&state);
        Ok(AgentReport { child, stop: ended.stop, error, text, steps, usage, cost_micros })
    }

    /// Goes on with a subagent whose parent's process died. Its journal has its task.
    async fn go_on(&self, child: SessionId) -> Result<AgentReport, SubagentError> {
        let core = self.core.upgrade().ok_or_else(gone)?;
        let state = core.state(&child).await.map_err(failed)?;
        let input = state.keys.input(TASK_KEY).ok_or_else(gone)?;
        let order = ChildOrder {
            id: child,
            of: self.of.clone(),
            spec: Arc::unwrap_or_clone(state.spec),
            backends: self.backends(),
        };
        let child = core.open(Origin::Child(Box::new(order))).await.map_err(failed)?;
        self.finish(&child, input).await
    }

    fn backends(&self) -> Backends {
        Backends {
            files: Some(Arc::clone(&self.files)),
            shell: Some(Arc::clone(&self.shell)),
            tools: Some(Arc::clone(&self.tools)),
            // What a dispatcher brought is among the tools.
            dispatcher: None,
            model: self.model.clone(),
        }
    }
}

impl AttachTask for AgentsDoor {
    fn attach(&self, started: &TaskStarted) -> Option<TaskStart> {
        let TaskKind::Subagent { child } = &started.work else { return None };
        let (door, child) = (self.clone(), child.clone());
        Some(Box::new(move |cancel, handle| {
            let work = async move {
                if let Some(core) = door.core.upgrade() {
                    handle.attach_history(core.handle(child.clone()).history());
                }
                let report = or_cancelled(&cancel, door.go_on(child)).await;
                report?.outcome()
            };
            work.boxed()
        }))
    }
}

fn gone() -> SubagentError {
    SubagentError::Refused("the session that wants the subagent is gone".to_owned())
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> SubagentError {
    SubagentError::Failed(Box::new(error))
}

/// The names of a child's tools, so that it has no others wherever it is opened. Of the usual ones those count that there are; any other pattern
/// that matches nothing is an error.
fn names(pool: &dyn ToolRegistry, wanted: Option<&[String]>) -> Result<Vec<String>, SubagentError> {
    let Some(wanted) = wanted else {
        let there = SUBAGENT_TOOLS.iter().filter(|name| pool.get(name).is_some());
        return Ok(there.map(|name| (*name).to_owned()).collect());
    };
    let names: Vec<&str> = pool.schemas().iter().map(|schema| schema.name.as_str()).collect();
    let found = match_tool_allowlist(&names, wanted)
        .map_err(|error| SubagentError::Refused(format!("of the profile's tools, {error}")))?;
    Ok(found.tools)
}

/// What the child is: its parent as it stands, but for what the order says. It may never do more than its parent.
fn child_spec(of: &SessionId, lease: Lease, order: AgentOrder, tools: Vec<String>) -> SessionSpec {
    let Lease { reserved, parent, granted, .. } = lease;
    let mut settings = Arc::unwrap_or_clone(parent.settings);
    let same_model = order.model.as_ref().is_none_or(|model| *model == settings.model);
    if !same_model {
        settings.capabilities = crate::spec::SessionCapabilitiesConfig::default();
    }
    settings.effort = order.effort.or(settings.effort.filter(|_| same_model));
    settings.model = order.model.unwrap_or(settings.model);
    settings.rules.allow.extend(granted.allow);
    settings.rules.grant(&granted.grants);
    settings.rules.refuse(&granted.deny);
    settings.limits = Limits { session: reserved, ..settings.limits };
    settings.limits.turn = crate::spec::Bounds::default();
    settings.turn.sampling = order.sampling.unwrap_or(settings.turn.sampling);
    settings.turn.request_limit = order.request_limit.unwrap_or(settings.turn.request_limit);
    settings.external_tools = Vec::new();
    // Its answer is for its parent, which asks for what it needs.
    settings.output = None;
    (settings.title, settings.labels) = (None, std::collections::BTreeMap::new());
    SessionSpec {
        system: order.prompt.system.into(),
        overlays: order.prompt.overlays,
        settings: Arc::new(settings),
        parent: Some(of.clone()),
        // Nobody asked for it by a key of its own.
        request: None,
        depth: parent.depth + 1,
        tools: Some(tools),
        ..parent
    }
}

/// Gives the child its task, once.
async fn give(child: &DefaultSession, task: Vec<Part>) -> Result<Seq, SessionError> {
    let admit = Admit {
        key: Some(TASK_KEY.to_owned()),
        goal: None,
        output: None,
        peer: None,
        source: InputSource::External,
        delivery: Delivery::Queue,
        content: task,
    };
    match child.tell(Command::Admit(admit)).await? {
        Reply::Admitted(seq) => Ok(seq),
        Reply::Done | Reply::Attached(_) | Reply::Status(_) | Reply::Rejected(_) => {
            Err(BusError::Lost { session: child.id().clone() }.into())
        }
    }
}

/// What the model said last.
fn last_words(state: &State) -> String {
    let said = state.conversation.messages.iter().rev().find_map(|message| match message {
        Message::Assistant { blocks } => {
            let texts = blocks.iter().filter_map(|block| match &block.content {
                Content::Text { text } => Some(text.as_str()),
                Content::Thinking { .. } | Content::ToolCall { .. } | Content::Opaque { .. } => {
                    None
                }
            });
            let text: Vec<&str> = texts.collect();
            (!text.is_empty()).then(|| text.join("\n"))
        }
        Message::User { .. } | Message::Tool { .. } => None,
    });
    said.unwrap_or_default()
}

impl DefaultAgentCore {
    /// Opens a subagent: the one of the store, where it was begun before, with its turn going on; else a new one.
    pub(super) async fn child(&self, order: ChildOrder) -> Result<super::Started, AgentError> {
        self.check_ancestors(&order).await?;
        let load = LoadSession {
            backends: order.backends.clone(),
            ..LoadSession::new(order.id.clone(), Recovery::Continue)
        };
        match self.resume(load).await {
            Err(AgentError::SessionNotFound { .. }) => {
                self.create(&order.id, NewSession { backends: order.backends, ..order.spec.into() })
                    .await
            }
            opened => opened,
        }
    }

    /// A session below itself would wait for itself.
    async fn check_ancestors(&self, order: &ChildOrder) -> Result<(), AgentError> {
        let mut above = Some(order.of.clone());
        for _ in 0..ANCESTORS_MAX {
            let Some(id) = above else { return Ok(()) };
            if id == order.id {
                break;
            }
            above = self.parent(&id).await.map_err(|source| match source {
                JournalError::NotFound { session } => AgentError::SessionNotFound { session },
                source => AgentError::Store(source),
            })?;
        }
        Err(AgentError::Invalid(format!(
            "session {} stands above {} and cannot be its subagent",
            order.id, order.of
        )))
    }

    /// What stands above a session; its first entry says so for good.
    async fn parent(&self, id: &SessionId) -> Result<Option<SessionId>, JournalError> {
        let store = self.store(Trace::default());
        let mut frames = store.journal.read(id, 0, 1).await?;
        frames.truncate(1);
        let first = store.entries(id, frames).await?.into_iter().next();
        Ok(first.and_then(|entry| match entry.event {
            Event::SessionCreated(created) if created.spec.depth > 0 => created.spec.parent,
            _ => None,
        }))
    }

    /// Ends a subagent that nobody waits for, and says what it used.
    pub(crate) fn end_child<'a>(
        &'a self,
        child: &'a SessionId,
    ) -> BoxFuture<'a, Result<SubagentClosed, SessionError>> {
        self.find_end(child).boxed()
    }

    async fn find_end(&self, child: &SessionId) -> Result<SubagentClosed, SessionError> {
        let none = SubagentClosed {
            child: child.clone(),
            stop: None,
            steps: 0,
            tool_calls: 0,
            usage: crate::message::Usage::default(),
            cost_micros: Some(0),
            cost_unknown: false,
        };
        if let Some(ending) = self.ending(child).await {
            // One that lives in this process is told to end; one that was going to has ended.
            drop(self.handle(child.clone()).ask(Command::Close).await);
            drop(ending.wait().await);
        }
        let state = match self.state(child).await {
            Err(JournalError::NotFound { .. }) => return Ok(none),
            state => state?,
        };
        if state.turn.is_none() && state.children.is_empty() && state.hooks.is_empty() {
            return Ok(closed(&state));
        }
        let load = LoadSession::new(child.clone(), Recovery::Interrupt);
        let session = self.enter(Origin::Resume(load), Entrance::Wake).await?;
        session.close().await?;
        Ok(closed(&session.state().await?))
    }
}

impl DefaultSession {
    /// Follows the session until the turn ends that takes an input.
    pub(crate) async fn turn_of(&self, input: Seq) -> Result<TurnEnded, SessionError> {
        let mut events = self.own_events(input);
        let mut ours = None;
        loop {
            let AgentEvent::Entry(entry) = self.next_event(&mut events).await? else { continue };
            match &entry.event {
                Event::TurnStarted(started) if started.inputs.contains(&input) => ours = entry.turn,
                Event::TurnEnded(ended) if ours.is_some() && entry.turn == ours => {
                    return Ok(ended.clone());
                }
                _ => {}
            }
        }
    }
}
