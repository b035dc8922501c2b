//! The open questions of a session, for whoever asks a person on its behalf. It never wakes a session: one that sleeps asks nothing.

use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};

use crate::agent::error::SessionError;
use crate::agent::handle::DefaultSession;
use crate::command::{Command, Rejection, Reply, Status};
use crate::event::{AgentEvent, AnsweredBy, Event, PermissionAsked, PermissionKind};
use crate::ids::{CallId, Seq};
use crate::ports::bus::BusError;

/// What the end of a question that passed its deadline may take to be told, in milliseconds.
const GRACE_MS: u64 = 10_000;

/// How a question was, or is to be, answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermissionResolution {
    /// By this choice.
    Selected(PermissionKind),
    /// By the end of its turn.
    Cancelled,
}

/// The questions of one session: several may be open at a time, and several parties may try to answer each. The first answer wins; every
/// other one, an early, late or foreign one too, is told `Rejected(Stale)` and changes nothing. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PermissionGate {
    session: DefaultSession,
}

impl PermissionGate {
    pub(crate) fn new(session: DefaultSession) -> Self {
        Self { session }
    }

    /// The open questions with their choices, deadlines and defaults, in the order of their calls. None while the session sleeps.
    ///
    /// # Errors
    /// When the way to the session fails.
    pub async fn questions(&self) -> Result<Vec<PermissionAsked>, SessionError> {
        Ok(self.look().await?.map_or_else(Vec::new, |status| status.questions))
    }

    /// Answers a question. [`PermissionResolution::Cancelled`] cancels its turn, as [`Command::Cancel`] does, provided it is still open.
    ///
    /// # Errors
    /// `Rejected(Stale)` when nobody asks about this call (any more), `Rejected(Invalid)` when the choice was not offered; nothing changed
    /// then. `Bus(Lost)` alone leaves it open whether the answer counted: [`PermissionGate::questions`] tells.
    pub async fn resolve(
        &self,
        call: &CallId,
        resolution: PermissionResolution,
    ) -> Result<(), SessionError> {
        let call = call.clone();
        let command = match resolution {
            PermissionResolution::Selected(choice) => Command::Answer { call, choice },
            PermissionResolution::Cancelled => Command::Dismiss { call },
        };
        match self.session.ask(command).await {
            Ok(Reply::Rejected(rejection)) => Err(rejection.into()),
            Ok(_) => Ok(()),
            Err(BusError::NoOwner { session }) => {
                Err(stale(format!("session {session} sleeps and asks nothing")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the answer to an open question, whoever gives it; its deadline ends the wait. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `Rejected(Stale)` when nobody asks about this call (any more); otherwise when the session ends or cannot be reached.
    pub async fn wait(&self, call: &CallId) -> Result<PermissionResolution, SessionError> {
        let none = || stale(format!("nobody is asked about call {call}"));
        let status = self.look().await?.ok_or_else(none)?;
        let asked = status.questions.iter().find(|asked| asked.call == *call).ok_or_else(none)?;
        let clock = Arc::clone(&self.session.core().ports().clock);
        let deadline = clock.sleep_until(asked.deadline.after(GRACE_MS));
        match select(pin!(self.answer(call, status.tip)), deadline).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), _)) => Err(stale(format!(
                "the question about call {call} passed its deadline, and nobody told how it ended"
            ))),
        }
    }

    async fn answer(
        &self,
        call: &CallId,
        after: Seq,
    ) -> Result<PermissionResolution, SessionError> {
        let mut events = self.session.own_events(after);
        loop {
            let AgentEvent::Entry(entry) = self.session.next_event(&mut events).await? else {
                continue;
            };
            match &entry.event {
                Event::PermissionAnswered(answered) if answered.call == *call => {
                    return Ok(match answered.by {
                        AnsweredBy::Person
                        | AnsweredBy::Deadline
                        | AnsweredBy::Grant
                        | AnsweredBy::Hook => PermissionResolution::Selected(answered.choice),
                        AnsweredBy::Cancel => PermissionResolution::Cancelled,
                    });
                }
                // A crash voids the questions of its turn.
                Event::TurnRecovered(_) | Event::TurnEnded(_) => {
                    return Ok(PermissionResolution::Cancelled);
                }
                _ => {}
            }
        }
    }

    /// How the session is doing, when it is awake.
    async fn look(&self) -> Result<Option<Status>, SessionError> {
        match self.session.ask(Command::Look).await {
            Ok(Reply::Status(status)) => Ok(Some(*status)),
            Ok(Reply::Rejected(rejection)) => Err(rejection.into()),
            Ok(Reply::Done | Reply::Admitted(_) | Reply::Attached(_))
            | Err(BusError::NoOwner { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn stale(what: String) -> SessionError {
    Rejection::Stale { what }.into()
}
