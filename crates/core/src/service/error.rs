//! The error table: what can go wrong with a session, under one code, HTTP status, JSON-RPC code and exit code for every surface.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::error::{AgentError, SessionError as HandleError, SessionInitError};
use crate::command::Rejection;
use crate::ids::InvalidId;
use crate::ports::bus::BusError;
use crate::ports::journal::JournalError;

/// Kinds of errors. Each is a row of the table that [`ErrorCode::row`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// There is no such session, or none that the caller may know of.
    SessionNotFound,
    /// A turn is running.
    SessionBusy,
    /// The store does not keep sessions.
    SessionPersistenceDisabled,
    /// There is nothing that makes summaries.
    SessionCompactionDisabled,
    /// No turn is running, or not the one that was named.
    SessionNotRunning,
    /// The session is archived.
    SessionArchived,
    /// The store failed.
    SessionStoreError,
    /// Another process has the session.
    SessionMoved,
    /// This process has as much to do as it may.
    Overloaded,
    /// A body or value is over its limit.
    TooLarge,
    /// Too many requests in too short a time.
    RateLimited,
    /// The request makes no sense; nothing happened.
    InvalidRequest,
    /// Nobody knows who asks.
    Unauthenticated,
    /// Whoever asks may not do this.
    Forbidden,
    /// A turn, a summary or another work of the agent failed for a reason of its own.
    AgentError,
    /// The same, because of the model's provider.
    ProviderError,
}

/// A row of the error table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorRow {
    /// The code on every wire.
    pub code: &'static str,
    /// HTTP status.
    pub http: u16,
    /// JSON-RPC code.
    pub rpc: i32,
    /// Exit code of a command.
    pub exit: u8,
}

impl ErrorCode {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 16] = [
        Self::SessionNotFound,
        Self::SessionBusy,
        Self::SessionPersistenceDisabled,
        Self::SessionCompactionDisabled,
        Self::SessionNotRunning,
        Self::SessionArchived,
        Self::SessionStoreError,
        Self::SessionMoved,
        Self::Overloaded,
        Self::TooLarge,
        Self::RateLimited,
        Self::InvalidRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::AgentError,
        Self::ProviderError,
    ];

    /// How surfaces say it.
    #[must_use]
    pub const fn row(self) -> ErrorRow {
        let (code, http, rpc, exit) = match self {
            Self::SessionNotFound => ("SESSION_NOT_FOUND", 404, -32001, 1),
            Self::SessionBusy => ("SESSION_BUSY", 409, -32002, 1),
            Self::SessionPersistenceDisabled => ("SESSION_PERSISTENCE_DISABLED", 501, -32003, 1),
            Self::SessionCompactionDisabled => ("SESSION_COMPACTION_DISABLED", 501, -32004, 1),
            Self::SessionNotRunning => ("SESSION_NOT_RUNNING", 409, -32005, 1),
            Self::SessionArchived => ("SESSION_ARCHIVED", 409, -32011, 1),
            Self::SessionStoreError => ("SESSION_STORE_ERROR", 500, -32006, 1),
            Self::SessionMoved => ("SESSION_MOVED", 421, -32007, 1),
            Self::Overloaded => ("OVERLOADED", 503, -32008, 1),
            Self::TooLarge => ("TOO_LARGE", 413, -32012, 1),
            Self::RateLimited => ("RATE_LIMITED", 429, -32013, 1),
            Self::InvalidRequest => ("INVALID_REQUEST", 400, -32602, 2),
            Self::Unauthenticated => ("UNAUTHENTICATED", 401, -32009, 1),
            Self::Forbidden => ("FORBIDDEN", 403, -32010, 1),
            Self::AgentError => ("AGENT_ERROR", 500, -32000, 1),
            Self::ProviderError => ("AGENT_ERROR", 502, -32000, 1),
        };
        ErrorRow { code, http, rpc, exit }
    }
}

/// Why the service did not do it. `Display` is one line for a person that names the object and says what to do; never a secret.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct SessionError {
    /// Its kind.
    pub kind: ErrorCode,
    /// One line for a person.
    pub message: String,
    /// What a program may want to know: the class of a failure, the session of a first turn that failed…
    pub details: Option<Value>,
    /// When trying again makes sense, in milliseconds, where that is known.
    pub retry_after_ms: Option<u64>,
}

impl SessionError {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: ErrorCode, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), details: None, retry_after_ms: None }
    }

    /// A request that makes no sense.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// There is no such session, or none that the caller may know of: the same words for both.
    #[must_use]
    pub fn not_found(session: &str) -> Self {
        Self::new(ErrorCode::SessionNotFound, format!("there is no session {session}"))
    }

    /// The stable code, for example `SESSION_BUSY`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind.row().code
    }

    /// The same with something for programs.
    #[must_use]
    pub fn with_details(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }
}

impl From<InvalidId> for SessionError {
    fn from(error: InvalidId) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<Rejection> for SessionError {
    fn from(rejection: Rejection) -> Self {
        let kind = match rejection {
            Rejection::Busy => ErrorCode::SessionBusy,
            Rejection::NotRunning => ErrorCode::SessionNotRunning,
            Rejection::Archived => ErrorCode::SessionArchived,
            Rejection::TooLarge { .. } => ErrorCode::TooLarge,
            Rejection::Stale { .. } | Rejection::Invalid { .. } => ErrorCode::InvalidRequest,
        };
        Self::new(kind, rejection.to_string())
    }
}

impl From<BusError> for SessionError {
    fn from(error: BusError) -> Self {
        let kind = match error {
            BusError::NoOwner { .. } | BusError::Lost { .. } => ErrorCode::SessionMoved,
            BusError::Overloaded { .. } => ErrorCode::Overloaded,
        };
        Self { retry_after_ms: Some(1_000), ..Self::new(kind, error.to_string()) }
    }
}

impl From<JournalError> for SessionError {
    fn from(error: JournalError) -> Self {
        let kind = match &error {
            JournalError::NotFound { session } => return Self::not_found(session.as_str()),
            JournalError::BlobNotFound { .. } | JournalError::NameTaken { .. } => {
                ErrorCode::InvalidRequest
            }
            JournalError::Held { .. }
            | JournalError::Fenced { .. }
            | JournalError::Conflict { .. } => ErrorCode::SessionMoved,
            JournalError::TooLarge { .. } => ErrorCode::TooLarge,
            JournalError::Ambiguous { .. }
            | JournalError::Unavailable { .. }
            | JournalError::BlobCorrupt { .. }
            | JournalError::Corrupt { .. } => ErrorCode::SessionStoreError,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<HandleError> for SessionError {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Rejected(rejection) => rejection.into(),
            HandleError::Open(error) => (*error).into(),
            HandleError::Bus(error) => error.into(),
            HandleError::Store(error) => error.into(),
        }
    }
}

impl From<AgentError> for SessionError {
    fn from(error: AgentError) -> Self {
        let kind = match error {
            AgentError::SessionNotFound { session } => return Self::not_found(session.as_str()),
            AgentError::Rejected(rejection) => return rejection.into(),
            AgentError::Bus(error) => return error.into(),
            AgentError::Store(error) => return error.into(),
            AgentError::Restore { source, .. } => return source.into(),
            AgentError::Invalid(_)
            | AgentError::InvalidCwd { .. }
            | AgentError::DuplicateSessionId { .. }
            | AgentError::ModeNotFound(_)
            | AgentError::ForkCut { .. }
            | AgentError::Init(
                SessionInitError::CapabilityUnsatisfied { .. }
                | SessionInitError::Fallback(_)
                | SessionInitError::NoModel,
            ) => ErrorCode::InvalidRequest,
            AgentError::LiveElsewhere { .. } => ErrorCode::SessionMoved,
            AgentError::OverCapacity { .. } => ErrorCode::Overloaded,
            AgentError::Init(SessionInitError::Model(_)) => ErrorCode::ProviderError,
            AgentError::McpStartup { .. }
            | AgentError::ToolsTimeout { .. }
            | AgentError::Observer { .. }
            | AgentError::Compaction { .. } => ErrorCode::AgentError,
        };
        Self::new(kind, with_causes(&error))
    }
}

/// What an error says, and what it says of its causes, in one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !words.contains(&said) {
            words.push_str(": ");
            words.push_str(&said);
        }
        cause = error.source();
    }
    words
}

/// Why events of a session are not to be had.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StreamError {
    /// There is no such session, or none that the caller may know of.
    #[error("{0}")]
    NotFound(String),
    /// The caller may not read.
    #[error("{0}")]
    PermissionDenied(String),
    /// The cursor lies beyond the session's end, or is none.
    #[error("{0}")]
    InvalidCursor(String),
    /// The session went away for good.
    #[error("{0}")]
    Closed(String),
    /// The store failed.
    #[error("{0}")]
    Internal(String),
}

impl From<StreamError> for SessionError {
    fn from(error: StreamError) -> Self {
        let kind = match error {
            StreamError::NotFound(_) => ErrorCode::SessionNotFound,
            StreamError::PermissionDenied(_) => ErrorCode::Forbidden,
            StreamError::InvalidCursor(_) => ErrorCode::InvalidRequest,
            StreamError::Closed(_) => ErrorCode::SessionMoved,
            StreamError::Internal(_) => ErrorCode::SessionStoreError,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<SessionError> for StreamError {
    fn from(error: SessionError) -> Self {
        match error.kind {
            ErrorCode::SessionNotFound => Self::NotFound(error.message),
            ErrorCode::Forbidden | ErrorCode::Unauthenticated => {
                Self::PermissionDenied(error.message)
            }
            ErrorCode::InvalidRequest => Self::InvalidCursor(error.message),
            ErrorCode::SessionMoved => Self::Closed(error.message),
            ErrorCode::SessionBusy
            | ErrorCode::SessionPersistenceDisabled
            | ErrorCode::SessionCompactionDisabled
            | ErrorCode::SessionNotRunning
            | ErrorCode::SessionArchived
            | ErrorCode::SessionStoreError
            | ErrorCode::Overloaded
            | ErrorCode::TooLarge
            | ErrorCode::RateLimited
            | ErrorCode::AgentError
            | ErrorCode::ProviderError => Self::Internal(error.message),
        }
    }
}
