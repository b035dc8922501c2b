//! Reads a session from the store without opening it.

use crate::agent::error::AgentError;
use crate::agent::history::VecHistory;
use crate::agent::observer::SessionCreateInfo;
use crate::ids::SessionId;
use crate::ports::journal::JournalError;
use crate::runtime::DefaultAgentCore;

/// Reads sessions from a core's store. It opens, claims and wakes none.
#[derive(Debug, Clone)]
pub struct SessionLoader {
    core: DefaultAgentCore,
}

/// A session as its journal folds: what it is, and what its model would be shown.
#[derive(Debug)]
pub struct LoadedSession {
    /// What it is.
    pub info: SessionCreateInfo,
    /// What its model would be shown. It is detached: what is changed here changes nothing there.
    pub history: VecHistory,
}

impl SessionLoader {
    pub(crate) fn new(core: DefaultAgentCore) -> Self {
        Self { core }
    }

    /// Reads a session, asleep or not.
    ///
    /// # Errors
    /// [`AgentError::SessionNotFound`], or [`AgentError::Restore`] when its journal cannot be read.
    pub async fn load_session(&self, id: &SessionId) -> Result<LoadedSession, AgentError> {
        let state = self.core.state(id).await.map_err(|source| match source {
            JournalError::NotFound { session } => AgentError::SessionNotFound { session },
            source => AgentError::Restore { session: id.clone(), source },
        })?;
        let info = SessionCreateInfo::of(&state);
        Ok(LoadedSession { info, history: state.conversation.into() })
    }
}
