//! A session as a program drives it: what it is, what it shall be, its turns and its questions.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::agent::error::{AgentError, SessionError, TurnError};
use crate::agent::handle::DefaultSession;
use crate::agent::history::{History, LiveHistory};
use crate::command::{Command, ContextStatus, Rejection, Reply, Status};
use crate::event::{Delivery, TurnEnded};
use crate::ids::{CallId, Seq, SessionId};
use crate::message::{Message, Part};
use crate::ports::bus::BusError;
use crate::ports::model::{ModelCandidate, ModelInfo, ProviderInfo};
use crate::session::follow::EventStream;
use crate::session::forget::CompactionReport;
use crate::session::gate::PermissionResolution;
use crate::spec::{
    EffortChange, Mode, ModeDescriptor, ModelSelection, ReasoningEffort, SettingsChange,
};

/// A session. What reads never wakes it and never waits for a turn; what changes it wakes it and is committed when it returns. A change of model,
/// mode or effort is in force with the next turn. Dropping a future of it, or the session itself, stops nothing.
pub trait Session: Send + Sync + fmt::Debug {
    /// Its id.
    fn id(&self) -> &SessionId;

    /// How it is doing: its settings, its turn, its waiting inputs and open questions, what it used.
    ///
    /// # Errors
    /// When neither its owner nor the store answers.
    fn status(&self) -> BoxFuture<'_, Result<Status, AgentError>>;

    /// Which model the next turn uses.
    ///
    /// # Errors
    /// As [`Session::status`].
    fn current_model(&self) -> BoxFuture<'_, Result<ModelSelection, AgentError>>;

    /// Who provides that model.
    ///
    /// # Errors
    /// As [`Session::status`].
    fn provider_info(&self) -> BoxFuture<'_, Result<ProviderInfo, AgentError>>;

    /// What its provider has to choose from, as far as is known without asking it.
    ///
    /// # Errors
    /// As [`Session::status`].
    fn list_models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, AgentError>>;

    /// What all providers have to choose from, in a stable order, as far as is known without asking them.
    fn list_candidates(&self) -> Vec<ModelCandidate>;

    /// Chooses a model for the next turn and those after it.
    ///
    /// # Errors
    /// When there is no such model, or the session cannot be changed.
    fn set_model(&self, model: ModelSelection) -> BoxFuture<'_, Result<(), AgentError>>;

    /// The mode of the next turn.
    ///
    /// # Errors
    /// As [`Session::status`].
    fn current_mode(&self) -> BoxFuture<'_, Result<Mode, AgentError>>;

    /// The modes it can be in.
    ///
    /// # Errors
    /// As [`Session::status`].
    fn available_modes(&self) -> BoxFuture<'_, Result<Vec<ModeDescriptor>, AgentError>>;

    /// Chooses a mode for the next turn and those after it.
    ///
    /// # Errors
    /// [`AgentError::ModeNotFound`] when it is not among [`Session::available_modes`].
    fn set_mode(&self, mode: Mode) -> BoxFuture<'_, Result<(), AgentError>>;

    /// How hard the model is asked to think; absent where that is left to its provider.
    ///
    /// # Errors
    /// As [`Session::status`].
    fn current_reasoning_effort(
        &self,
    ) -> BoxFuture<'_, Result<Option<ReasoningEffort>, AgentError>>;

    /// Chooses how hard the model thinks in the next turn and those after it.
    ///
    /// # Errors
    /// When the session cannot be changed.
    fn set_reasoning_effort(
        &self,
        effort: ReasoningEffort,
    ) -> BoxFuture<'_, Result<(), AgentError>>;

    /// Everything that happened and happens after the entry `after` (0 for all): each entry once and in order, deltas in between.
    fn subscribe(&self, after: Seq) -> EventStream;

    /// What its model is shown, changed through the journal.
    fn history(&self) -> Arc<dyn History>;

    /// What its model is shown, as of the last committed entry.
    ///
    /// # Errors
    /// When the store does not answer.
    fn history_snapshot(&self) -> BoxFuture<'_, Result<Arc<Vec<Message>>, AgentError>>;

    /// Runs one turn and tells how it ended; its events go to subscribers. Dropping the future does not stop the turn.
    ///
    /// # Errors
    /// [`TurnError::TurnInProgress`] at once when one runs. A turn that a model's failure ended is no error here, so that what it used
    /// is told, too: [`TurnEnded::outcome`] makes it one.
    fn run_turn(&self, content: Vec<Part>) -> BoxFuture<'_, Result<TurnEnded, TurnError>>;

    /// Ends the running turn as cancelled; the same when none runs.
    ///
    /// # Errors
    /// When neither its owner nor the store answers.
    fn cancel_turn(&self) -> BoxFuture<'_, Result<(), AgentError>>;

    /// Gives an input to the running turn at its next step, or to the next turn. Returns its name for [`Session::withdraw`].
    ///
    /// # Errors
    /// When it is refused: empty, too long, or too many wait.
    fn steer(&self, content: Vec<Part>) -> BoxFuture<'_, Result<Seq, AgentError>>;

    /// Gives an input for a turn of its own after the running one. Returns its name for [`Session::withdraw`].
    ///
    /// # Errors
    /// As [`Session::steer`].
    fn queue(&self, content: Vec<Part>) -> BoxFuture<'_, Result<Seq, AgentError>>;

    /// Takes back an input that no turn has taken.
    ///
    /// # Errors
    /// `Rejected(Stale)` when it does not wait.
    fn withdraw(&self, input: Seq) -> BoxFuture<'_, Result<(), AgentError>>;

    /// Answers an open question.
    ///
    /// # Errors
    /// `Rejected(Stale)` when nobody asks about this call (any more); nothing changed then.
    fn resolve_permission<'a>(
        &'a self,
        call: &'a CallId,
        resolution: PermissionResolution,
    ) -> BoxFuture<'a, Result<(), AgentError>>;

    /// How full the model's window is.
    ///
    /// # Errors
    /// As [`Session::status`].
    fn context_status(&self) -> BoxFuture<'_, Result<ContextStatus, AgentError>>;

    /// Replaces the beginning of what the model sees by a summary, and waits for it. Nothing when there is too little to summarise.
    ///
    /// # Errors
    /// `Rejected(Busy)` while a turn runs; [`AgentError::Compaction`] when the summary could not be used.
    fn compact_now(&self) -> BoxFuture<'_, Result<Option<CompactionReport>, AgentError>>;

    /// Cancels the running turn if there is one, and lets the session go: its task, history and tools. The journal stays, and the next command
    /// wakes it.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn close(&self) -> BoxFuture<'_, Result<(), AgentError>>;
}

impl Session for DefaultSession {
    fn id(&self) -> &SessionId {
        Self::id(self)
    }

    fn status(&self) -> BoxFuture<'_, Result<Status, AgentError>> {
        async { Ok(Self::status(self).await?) }.boxed()
    }

    fn current_model(&self) -> BoxFuture<'_, Result<ModelSelection, AgentError>> {
        async { Ok(Self::status(self).await?.settings.model.clone()) }.boxed()
    }

    fn provider_info(&self) -> BoxFuture<'_, Result<ProviderInfo, AgentError>> {
        async {
            let current = Self::status(self).await?.settings.model.provider.clone();
            let mut known = self.list_candidates().into_iter().map(|candidate| candidate.provider);
            let found = known.find(|provider| provider.name == current);
            Ok(found.unwrap_or_else(|| ProviderInfo::named(&current)))
        }
        .boxed()
    }

    fn list_models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, AgentError>> {
        async {
            let current = Self::status(self).await?.settings.model.provider.clone();
            let all = self.list_candidates().into_iter();
            let ours = all.filter(|candidate| candidate.provider.name == current);
            Ok(ours.map(|candidate| candidate.model).collect())
        }
        .boxed()
    }

    fn list_candidates(&self) -> Vec<ModelCandidate> {
        self.models().candidates()
    }

    fn set_model(&self, model: ModelSelection) -> BoxFuture<'_, Result<(), AgentError>> {
        let change = SettingsChange { model: Some(model), ..SettingsChange::default() };
        configure(self, change)
    }

    fn current_mode(&self) -> BoxFuture<'_, Result<Mode, AgentError>> {
        async { Ok(Self::status(self).await?.settings.mode.clone()) }.boxed()
    }

    fn available_modes(&self) -> BoxFuture<'_, Result<Vec<ModeDescriptor>, AgentError>> {
        async {
            let modes = Self::status(self).await?.modes;
            Ok(modes.descriptors().cloned().collect())
        }
        .boxed()
    }

    fn set_mode(&self, mode: Mode) -> BoxFuture<'_, Result<(), AgentError>> {
        async {
            Self::status(self).await?.modes.policy(&mode)?;
            let change = SettingsChange { mode: Some(mode), ..SettingsChange::default() };
            configure(self, change).await
        }
        .boxed()
    }

    fn current_reasoning_effort(
        &self,
    ) -> BoxFuture<'_, Result<Option<ReasoningEffort>, AgentError>> {
        async { Ok(Self::status(self).await?.settings.effort) }.boxed()
    }

    fn set_reasoning_effort(
        &self,
        effort: ReasoningEffort,
    ) -> BoxFuture<'_, Result<(), AgentError>> {
        let change =
            SettingsChange { effort: Some(EffortChange::To(effort)), ..SettingsChange::default() };
        configure(self, change)
    }

    fn subscribe(&self, after: Seq) -> EventStream {
        self.events(after)
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::new(LiveHistory::new(self.clone()))
    }

    fn history_snapshot(&self) -> BoxFuture<'_, Result<Arc<Vec<Message>>, AgentError>> {
        async { Ok(self.state().await?.conversation.messages) }.boxed()
    }

    fn run_turn(&self, content: Vec<Part>) -> BoxFuture<'_, Result<TurnEnded, TurnError>> {
        async {
            Self::run_turn(self, content).await.map_err(|error| match error {
                SessionError::Rejected(Rejection::Busy) => {
                    TurnError::TurnInProgress { session: self.id().clone() }
                }
                error => TurnError::Session(error),
            })
        }
        .boxed()
    }

    fn cancel_turn(&self) -> BoxFuture<'_, Result<(), AgentError>> {
        async {
            match self.ask(Command::Cancel { turn: None }).await {
                // A session that sleeps runs no turn; one that was cancelled has none left to cancel.
                Ok(_) | Err(BusError::NoOwner { .. }) => Ok(()),
                Err(error) => Err(AgentError::Bus(error)),
            }
        }
        .boxed()
    }

    fn steer(&self, content: Vec<Part>) -> BoxFuture<'_, Result<Seq, AgentError>> {
        async { Ok(self.admit(Delivery::Steer, content).await?) }.boxed()
    }

    fn queue(&self, content: Vec<Part>) -> BoxFuture<'_, Result<Seq, AgentError>> {
        async { Ok(self.admit(Delivery::Queue, content).await?) }.boxed()
    }

    fn withdraw(&self, input: Seq) -> BoxFuture<'_, Result<(), AgentError>> {
        async move { done(self.tell(Command::Withdraw { input }).await) }.boxed()
    }

    fn resolve_permission<'a>(
        &'a self,
        call: &'a CallId,
        resolution: PermissionResolution,
    ) -> BoxFuture<'a, Result<(), AgentError>> {
        async move { Ok(self.permissions().resolve(call, resolution).await?) }.boxed()
    }

    fn context_status(&self) -> BoxFuture<'_, Result<ContextStatus, AgentError>> {
        async { Ok(Self::status(self).await?.context) }.boxed()
    }

    fn compact_now(&self) -> BoxFuture<'_, Result<Option<CompactionReport>, AgentError>> {
        async { self.compact(None).await }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), AgentError>> {
        async { Ok(Self::close(self).await?) }.boxed()
    }
}

fn configure(
    session: &DefaultSession,
    change: SettingsChange,
) -> BoxFuture<'_, Result<(), AgentError>> {
    async {
        done(session.tell(Command::Configure { change: Box::new(change), expected: None }).await)
    }
    .boxed()
}

fn done(reply: Result<Reply, SessionError>) -> Result<(), AgentError> {
    reply.map(drop).map_err(AgentError::from)
}
