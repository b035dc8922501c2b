//! Why a session could not be opened, did not do what it was told, or gave no turn.

use std::path::PathBuf;

use crate::command::Rejection;
use crate::event::{FailureClass, OutputFailure, StopReason, TurnEnded};
use crate::ids::SessionId;
use crate::ports::bus::BusError;
use crate::ports::journal::JournalError;
use crate::ports::model::ModelError;
use crate::spec::UnknownMode;

/// Why a core did not give a session, or a session did not change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// What it is told to be cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Its folder cannot be worked in.
    #[error("cannot work in {}: {why}", cwd.display())]
    InvalidCwd {
        /// The folder.
        cwd: PathBuf,
        /// Why not.
        why: String,
    },
    /// A server that has tools for it did not start.
    #[error("the tools of `{server}` did not start: {why}")]
    McpStartup {
        /// The server's configured name.
        server: String,
        /// Why not.
        why: String,
    },
    /// Making its tools took too long.
    #[error("the session's tools were not ready within {within_ms} ms")]
    ToolsTimeout {
        /// The deadline.
        within_ms: u64,
    },
    /// There is a session of that id already.
    #[error("there is a session {session} already; load it, or choose another id")]
    DuplicateSessionId {
        /// The id.
        session: SessionId,
    },
    /// An observer refused it. It is in the store and not live.
    #[error("an observer refused session {session}")]
    Observer {
        /// The session.
        session: SessionId,
        /// Why, in the observer's words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is live with files or commands other than those that were brought.
    #[error(
        "session {session} is live with files or commands of somebody else; close it first, or load it without bringing any"
    )]
    LiveElsewhere {
        /// The session.
        session: SessionId,
    },
    /// There is no such session.
    #[error("there is no session {session}")]
    SessionNotFound {
        /// The id.
        session: SessionId,
    },
    /// It is the beginning of a fork, whose making was cut.
    #[error(
        "session {session} is the beginning of a fork of {from} that was not finished; delete it, and fork again"
    )]
    ForkCut {
        /// The beginning.
        session: SessionId,
        /// What was to be forked.
        from: SessionId,
    },
    /// There is no such mode.
    #[error(transparent)]
    ModeNotFound(#[from] UnknownMode),
    /// It is in the store and cannot be taken from there.
    #[error("cannot restore session {session}")]
    Restore {
        /// The session.
        session: SessionId,
        /// What went wrong.
        source: JournalError,
    },
    /// What it is told to be, and what there is, do not go together.
    #[error(transparent)]
    Init(#[from] SessionInitError),
    /// This process keeps as many sessions as it may.
    #[error("{max} sessions are open in this process; close some first")]
    OverCapacity {
        /// How many it may.
        max: usize,
    },
    /// A summary that was asked for could not be used; what the model sees stays as it is.
    #[error("session {session} was not compacted: {why}")]
    Compaction {
        /// The session.
        session: SessionId,
        /// Why, in words for a person.
        why: String,
    },
    /// It refused; nothing happened.
    #[error(transparent)]
    Rejected(Rejection),
    /// The way to it.
    #[error(transparent)]
    Bus(BusError),
    /// The store.
    #[error(transparent)]
    Store(#[from] JournalError),
}

/// Why a session cannot be what it is told to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionInitError {
    /// The provider does not do what the session delegates to it.
    #[error("provider `{provider}` does not offer {capability}; {remedy}")]
    CapabilityUnsatisfied {
        /// What was delegated, for example `web search`.
        capability: String,
        /// The provider's configured name.
        provider: String,
        /// What to change, in words for a person.
        remedy: String,
    },
    /// Its model is not there, may not be chosen, or cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The models that are to take over from its model cannot.
    #[error("{0}")]
    Fallback(String),
    /// The session names no model, and the core has none to fall back to.
    #[error("the session names no model and the core has no default; name one")]
    NoModel,
}

/// Why a session did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It was refused; nothing happened.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The session could not be woken.
    #[error(transparent)]
    Open(Box<AgentError>),
    /// The way to it.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Its store failed, or another writer took it over.
    #[error(transparent)]
    Store(#[from] JournalError),
}

impl From<AgentError> for SessionError {
    fn from(error: AgentError) -> Self {
        Self::Open(Box::new(error))
    }
}

impl From<SessionError> for AgentError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Rejected(rejection) => Self::Rejected(rejection),
            SessionError::Open(error) => *error,
            SessionError::Bus(error) => Self::Bus(error),
            SessionError::Store(error) => Self::Store(error),
        }
    }
}

/// Why a turn has no end that could be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TurnError {
    /// Another turn is running; nothing happened.
    #[error(
        "a turn is running in session {session}; wait for its end, queue the input, or cancel the turn"
    )]
    TurnInProgress {
        /// The session.
        session: SessionId,
    },
    /// The model's provider failed. What the turn had done is kept.
    #[error(transparent)]
    Provider(#[from] ModelError),
    /// The turn was ended by a defect, or crashed its process too often. What it had done is kept.
    #[error("{why}")]
    Internal {
        /// In words for a person.
        why: String,
    },
    /// The model's answers were not of the form that was asked for. What the turn had done is kept.
    #[error("no answer of {} was of the form that was asked for: {}", .0.attempts, .0.reason)]
    StructuredOutput(Box<OutputFailure>),
    /// The session did not take the input, or went away before the turn's end.
    #[error(transparent)]
    Session(SessionError),
}

impl TurnEnded {
    /// The published form of a turn's end: why it stopped, and a failure as an error.
    ///
    /// # Errors
    /// [`TurnError::Provider`] and [`TurnError::Internal`] for turns that ended as `failed`.
    pub fn outcome(&self) -> Result<StopReason, TurnError> {
        let StopReason::Failed(class) = self.stop else { return Ok(self.stop) };
        let message = self.error.as_ref().map_or_else(String::new, |error| error.message.clone());
        Err(match class {
            FailureClass::Model(kind) => {
                TurnError::Provider(ModelError { kind, message, retry_after_ms: None })
            }
            FailureClass::StructuredOutput => TurnError::StructuredOutput(Box::new(
                self.error
                    .as_ref()
                    .and_then(|error| error.output.as_deref())
                    .cloned()
                    .unwrap_or_default(),
            )),
            FailureClass::CrashLoop | FailureClass::Internal => {
                TurnError::Internal { why: message }
            }
        })
    }
}
