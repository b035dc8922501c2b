//! Errors as the protocol knows them: a code, one line for a person, and what it is about.

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::SessionId;
use oarlock_core::agent::error::{AgentError, SessionError, SessionInitError};
use oarlock_core::ids;
use oarlock_core::ports::journal::JournalError;
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::service::with_causes;
use serde_json::json;

use crate::host::HostError;
use crate::place::PlaceError;

/// A resource that does not exist.
const NOT_FOUND: i32 = -32002;

/// One line of words under a code of the protocol.
pub(super) fn worded(error: &Error, words: &str) -> Error {
    Error::new(error.code, words.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Parameters that make no sense.
pub(super) fn invalid(words: impl AsRef<str>) -> Error {
    worded(&Error::invalid_params(), words.as_ref())
}

/// A request that cannot be had now.
pub(super) fn refused(words: impl AsRef<str>) -> Error {
    worded(&Error::invalid_request(), words.as_ref())
}

/// Something on this side failed.
pub(super) fn failed(words: impl AsRef<str>) -> Error {
    worded(&Error::internal_error(), words.as_ref())
}

/// There is no such session.
pub(super) fn no_session(session: &SessionId) -> Error {
    Error::new(NOT_FOUND, format!("there is no session {session}"))
        .data(json!({ "sessionId": session }))
}

/// The session's id, or that there is none of this form.
pub(super) fn id(session: &SessionId) -> Result<ids::SessionId, Error> {
    ids::SessionId::parse(&*session.0).map_err(|_| no_session(session))
}

impl From<HostError> for WireError {
    fn from(error: HostError) -> Self {
        let words = error.to_string();
        Self(match error {
            HostError::Invalid(_) => invalid(words),
            HostError::Unauthenticated(_) => worded(&Error::auth_required(), &words),
            HostError::Failed(_) => failed(words),
        })
    }
}

impl From<PlaceError> for WireError {
    fn from(error: PlaceError) -> Self {
        let words = error.to_string();
        Self(match error {
            PlaceError::Invalid(_) => invalid(words),
            PlaceError::Silent(_) => failed(words),
        })
    }
}

impl From<AgentError> for WireError {
    fn from(error: AgentError) -> Self {
        let words = with_causes(&error);
        Self(match error {
            AgentError::SessionNotFound { session } => {
                no_session(&SessionId::new(session.as_str()))
            }
            AgentError::Rejected(_) => refused(words),
            AgentError::Init(SessionInitError::Model(error))
                if error.kind == ModelErrorKind::Auth =>
            {
                worded(&Error::auth_required(), &words)
            }
            _ => failed(words),
        })
    }
}

impl From<SessionError> for WireError {
    fn from(error: SessionError) -> Self {
        AgentError::from(error).into()
    }
}

impl From<JournalError> for WireError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::NotFound { session } => {
                Self(no_session(&SessionId::new(session.as_str())))
            }
            error => Self(failed(error.to_string())),
        }
    }
}

impl From<Error> for WireError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// An error on its way to a client.
#[derive(Debug)]
pub(super) struct WireError(pub(super) Error);
