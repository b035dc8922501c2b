//! The handle of a session: the way to its task while it is awake, and what wakes it.

use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};

use crate::agent::error::{AgentError, SessionError};
use crate::agent::origin::{Backends, LoadSession, Origin};
use crate::command::{Admit, Command, NOTHING_TO_COMPACT, Rejection, Reply, Status};
use crate::event::{
    AgentEvent, CompactionCause, ContextCompacted, Delivery, Event, InputSource, TurnEnded,
};
use crate::ids::{Seq, SessionId, TaskId};
use crate::message::Part;
use crate::ports::bus::BusError;
use crate::ports::journal::JournalError;
use crate::ports::model::Models;
use crate::runtime::{DefaultAgentCore, Entrance};
use crate::session::context::ToolsDigest;
use crate::session::follow::{EventStream, Whom};
use crate::session::forget::CompactionReport;
use crate::session::gate::PermissionGate;
use crate::session::recover::Recovery;
use crate::session::state::State;
use crate::session::status::status;
use crate::session::tasks::Tasks;

/// How often a command is sent again when its session was going to sleep that moment.
const WAKES_MAX: u32 = 5;

/// A handle of a session: it may be awake or asleep. Cheap to clone; dropping it does nothing to the session.
#[derive(Debug, Clone)]
pub struct DefaultSession {
    core: DefaultAgentCore,
    id: SessionId,
    /// What the session works with whenever this handle wakes it.
    backends: Option<Arc<Backends>>,
}

impl DefaultSession {
    pub(crate) fn new(core: DefaultAgentCore, id: SessionId, backends: Backends) -> Self {
        let backends = (!backends.are_none()).then(|| Arc::new(backends));
        Self { core, id, backends }
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Tells the session something; wakes it if it sleeps, except to be stopped or closed. A turn that a crash had left open is ended as `interrupted` then.
    ///
    /// # Errors
    /// [`SessionError`]; `Bus(Lost)` alone leaves it open whether the command was done.
    pub async fn tell(&self, command: Command) -> Result<Reply, SessionError> {
        let core = &self.core;
        for _ in 0..WAKES_MAX {
            match self.ask(command.clone()).await {
                Ok(Reply::Rejected(rejection)) => return Err(rejection.into()),
                Ok(reply) => return Ok(reply),
                // What sleeps does nothing that could be stopped.
                Err(BusError::NoOwner { .. }) if command == Command::Close => {
                    return Ok(Reply::Done);
                }
                Err(BusError::NoOwner { .. }) if matches!(command, Command::Cancel { .. }) => {
                    return Err(Rejection::NotRunning.into());
                }
                Err(BusError::NoOwner { .. }) => {}
                Err(BusError::Lost { session }) => {
                    core.ended(&self.id).await?;
                    return Err(BusError::Lost { session }.into());
                }
                Err(error @ BusError::Overloaded { .. }) => return Err(error.into()),
            }
            let load = LoadSession {
                backends: self.backends.as_deref().cloned().unwrap_or_default(),
                ..LoadSession::new(self.id.clone(), Recovery::Interrupt)
            };
            // Boxed, since whoever tells a session something would have room for all of it otherwise.
            match Box::pin(core.enter(Origin::Resume(load), Entrance::Wake)).await {
                // Somebody else was faster, and the session lives with what they brought.
                Ok(_) | Err(AgentError::LiveElsewhere { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BusError::NoOwner { session: self.id.clone() }.into())
    }

    /// The open questions of the session.
    #[must_use]
    pub fn permissions(&self) -> PermissionGate {
        PermissionGate::new(self.clone())
    }

    /// The runtime that this handle belongs to.
    #[must_use]
    pub fn core(&self) -> &DefaultAgentCore {
        &self.core
    }

    /// The models that the session can use when this handle wakes it.
    #[must_use]
    pub fn models(&self) -> Arc<dyn Models> {
        let models = &self.core.ports().models;
        self.backends.as_ref().map_or_else(|| Arc::clone(models), |own| own.models(models))
    }

    /// The same session, to be woken with this.
    #[must_use]
    pub fn with_backends(self, backends: Backends) -> Self {
        Self::new(self.core, self.id, backends)
    }

    /// Tells the session something if it is awake.
    pub(crate) async fn ask(&self, command: Command) -> Result<Reply, BusError> {
        self.core.ports().bus.request(&self.id, command).await
    }

    /// Everything that happened and happens after the entry `after` (0 for all).
    #[must_use]
    pub fn events(&self, after: Seq) -> EventStream {
        self.core.events(&self.id, after)
    }

    /// The handle of a subagent, to answer what it asks.
    #[must_use]
    pub fn child(&self, id: &SessionId) -> Self {
        Self { id: id.clone(), ..self.clone() }
    }

    /// The same, without subagents.
    pub(crate) fn own_events(&self, after: Seq) -> EventStream {
        self.core.follow(&self.id, after, Whom::Alone)
    }

    /// How the session is doing, from its owner, or from the journal when it sleeps. It is not woken.
    ///
    /// # Errors
    /// When neither can be read.
    pub async fn status(&self) -> Result<Status, SessionError> {
        match self.ask(Command::Look).await {
            Ok(Reply::Status(status)) => return Ok(*status),
            Ok(Reply::Rejected(rejection)) => return Err(rejection.into()),
            Ok(Reply::Done | Reply::Admitted(_) | Reply::Attached(_))
            | Err(BusError::NoOwner { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let state = self.state().await?;
        let model = self.models().resolve(&state.spec.settings.model).ok();
        // What its tools are is known while it is awake.
        let model = model.as_ref().map(|model| model.info());
        let waits = self.core.seen_from_here(&state, None);
        Ok(Status { waits, ..status(&state, &ToolsDigest::of(&[]), model) })
    }

    /// The session as its journal folds. It is not woken.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn state(&self) -> Result<State, SessionError> {
        self.core.state(&self.id).await.map_err(|error| match error {
            JournalError::NotFound { session } => AgentError::SessionNotFound { session }.into(),
            error => error.into(),
        })
    }

    /// Admits an input for a turn that starts at once.
    ///
    /// # Errors
    /// `Rejected(Busy)` when a turn is running, and the other [`SessionError`]s.
    pub async fn prompt(&self, content: Vec<Part>) -> Result<Seq, SessionError> {
        self.admit(Delivery::Now, content).await
    }

    /// Admits an input of the user.
    pub(crate) async fn admit(
        &self,
        delivery: Delivery,
        content: Vec<Part>,
    ) -> Result<Seq, SessionError> {
        let admit = Admit {
            key: None,
            source: InputSource::User,
            delivery,
            content,
            goal: None,
            output: None,
            peer: None,
        };
        match self.tell(Command::Admit(admit)).await? {
            Reply::Admitted(seq) => Ok(seq),
            Reply::Done | Reply::Attached(_) | Reply::Status(_) | Reply::Rejected(_) => {
                Err(BusError::Lost { session: self.id.clone() }.into())
            }
        }
    }

    /// Runs one turn to its end. Dropping the future does not stop the turn: [`Command::Cancel`] does.
    ///
    /// # Errors
    /// Those of [`DefaultSession::prompt`], and the session's own when it ends before the turn does.
    pub async fn run_turn(&self, content: Vec<Part>) -> Result<TurnEnded, SessionError> {
        let input = self.prompt(content).await?;
        self.turn_of(input).await
    }

    /// Replaces the beginning of what the model sees by a summary that pays attention to `instructions`, and waits for its end. Nothing when
    /// there is nothing to summarise. Dropping the future does not stop the summary.
    ///
    /// # Errors
    /// `Rejected(Busy)` while a turn runs; [`AgentError::Compaction`] when the summary could not be used.
    pub async fn compact(
        &self,
        instructions: Option<String>,
    ) -> Result<Option<CompactionReport>, AgentError> {
        // Nothing but a summary by hand is followed, and whoever asked for one before is done with it when the next begins.
        let after = self.status().await?.tip;
        match self.tell(Command::Compact { instructions }).await {
            Ok(_) => {}
            Err(SessionError::Rejected(Rejection::Invalid { what }))
                if what == NOTHING_TO_COMPACT =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        let mut events = self.own_events(after);
        loop {
            let AgentEvent::Entry(entry) = self.next_event(&mut events).await? else { continue };
            match &entry.event {
                Event::ContextCompacted(done) if done.cause == CompactionCause::Manual => {
                    let ContextCompacted { tokens_before, tokens_after, .. } = *done;
                    return Ok(Some(CompactionReport { tokens_before, tokens_after }));
                }
                Event::SummaryFailed(failed) if failed.cause == CompactionCause::Manual => {
                    let (session, why) = (self.id.clone(), failed.why.clone());
                    return Err(AgentError::Compaction { session, why });
                }
                _ => {}
            }
        }
    }

    /// The next event, or the session's error when its task ends with one.
    ///
    /// # Errors
    /// When the journal cannot be read or the session's task has ended: there will be no further event until somebody wakes it.
    pub async fn next_event(&self, events: &mut EventStream) -> Result<AgentEvent, SessionError> {
        let lost = async {
            match self.core.ended(&self.id).await {
                Err(error) => error,
                // What it committed before it ended is still to be read.
                Ok(()) => std::future::pending().await,
            }
        };
        match select(pin!(events.next()), pin!(lost)).await {
            Either::Left((event, _)) => Ok(event?),
            Either::Right((error, _)) => Err(error.into()),
        }
    }

    /// What runs in its background and what ended there last, oldest first, from its owner or its journal. It is not woken.
    ///
    /// # Errors
    /// As [`DefaultSession::status`].
    pub async fn background_tasks(&self) -> Result<Tasks, SessionError> {
        Ok(self.status().await?.tasks)
    }

    /// Tells a running background task to stop, or all of them; its end is an entry soon after. `None` for a task that is not known, `false`
    /// for one that has ended.
    ///
    /// # Errors
    /// When neither the session's owner nor the store answers.
    pub async fn cancel_task(&self, task: Option<&TaskId>) -> Result<Option<bool>, SessionError> {
        match self.ask(Command::CancelTask { task: task.cloned() }).await {
            Ok(Reply::Rejected(Rejection::Stale { .. })) | Err(BusError::NoOwner { .. }) => {}
            Ok(Reply::Rejected(rejection)) => return Err(rejection.into()),
            Ok(_) => return Ok(Some(true)),
            Err(error) => return Err(error.into()),
        }
        // Nothing runs in a session that sleeps.
        let tasks = self.background_tasks().await?;
        let ended = |task: &TaskId| tasks.finished.iter().any(|finished| finished.task == *task);
        Ok(task.is_none_or(ended).then_some(false))
    }

    /// Gives a running background task words that it waits for, such as a line for a command.
    ///
    /// # Errors
    /// `Rejected(Stale)` when it does not run, `Rejected(Invalid)` when it takes no input.
    pub async fn send_to_task(&self, task: &TaskId, text: String) -> Result<(), SessionError> {
        self.tell(Command::SendToTask { task: task.clone(), text }).await.map(drop)
    }

    /// Cancels the running turn if there is one, lets go of the session and ends its task.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn close(&self) -> Result<(), SessionError> {
        match self.tell(Command::Close).await {
            Ok(_) => Ok(self.core.ended(&self.id).await?),
            Err(error) => Err(error),
        }
    }
}
