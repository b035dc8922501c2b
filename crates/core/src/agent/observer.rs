//! What others are told of a session that was opened.

use std::sync::Arc;

use std::error::Error;
use std::fmt;

use crate::agent::handle::DefaultSession;
use crate::ids::{SessionId, Timestamp};
use crate::session::state::State;
use crate::spec::SessionSpec;

/// What a session was made as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCreateInfo {
    /// Its id.
    pub id: SessionId,
    /// What it is, with its settings as they stand.
    pub spec: Arc<SessionSpec>,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it was made this moment; else it came from the store.
    pub is_new: bool,
}

impl SessionCreateInfo {
    /// What is known of a session from the store.
    pub(crate) fn of(state: &State) -> Self {
        Self {
            id: state.id.clone(),
            spec: state.spec.clone(),
            created: state.created,
            is_new: false,
        }
    }
}

/// Hears of every session that is created or loaded, before anybody gets its handle. Not of one that wakes, nor of a second load of one that
/// lives: there is one call for each life that a door has begun.
pub trait SessionObserver: Send + Sync + fmt::Debug {
    /// A session is live. Must not wait for it: it is told in the middle of opening. The handle may be kept; it does not keep the session awake.
    ///
    /// # Errors
    /// Whatever it refuses the session for. The session is let go then and stays in the store, and whoever opened it gets
    /// [`crate::AgentError::Observer`]. A panic counts as a refusal.
    fn on_session_created(
        &self,
        session: &DefaultSession,
        info: &SessionCreateInfo,
    ) -> Result<(), Box<dyn Error + Send + Sync>>;
}
