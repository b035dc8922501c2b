//! Changing what sessions are, putting them away and removing them.

use oarlock_core::ids::{SessionId, TaskId};
use oarlock_core::ports::journal::JournalError;
use oarlock_core::service::{
    CompactRequest, ConfigureRequest, ErrorCode, SessionError, SessionView,
};
use oarlock_core::spec::SettingsChange;
use oarlock_core::{Command, CompactionReport, Rejection, SessionError as HandleError};

use super::{Scope, Sessions, refused};

/// How often a turn that began again meanwhile is cancelled before a session is put away.
const CANCELS_MAX: u32 = 64;
/// Milliseconds between two looks at whether a cancelled turn has ended.
const LOOK_AGAIN_MS: u64 = 10;

impl Sessions {
    /// Changes settings from the next turn on, and tells how the session stands then.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a model or mode that is not there; nothing changed then.
    pub async fn configure(
        &self,
        id: &SessionId,
        request: ConfigureRequest,
    ) -> Result<SessionView, SessionError> {
        self.allow(Scope::Manage)?;
        let workspace = self.workspace(id).await?;
        let ConfigureRequest { model, mode, effort, limits, title, labels, .. } = request;
        let (external_tools, expected) = (request.external_tools, request.expected_generation);
        let model = model
            .map(|name| workspace.model(&name))
            .transpose()
            .map_err(|error| refused(&error))?;
        let change = SettingsChange {
            model,
            mode,
            effort,
            limits,
            title,
            labels,
            external_tools,
            ..SettingsChange::default()
        };
        let session = workspace.core().handle(id.clone());
        session.tell(Command::Configure { change: Box::new(change), expected }).await?;
        self.view(id).await
    }

    pub(super) async fn put_away(&self, id: &SessionId) -> Result<(), SessionError> {
        self.allow(Scope::Manage)?;
        let session = self.session(id).await?;
        let clock = std::sync::Arc::clone(&session.core().ports().clock);
        for _ in 0..CANCELS_MAX {
            match session.tell(Command::Archive).await {
                Ok(_) => return Ok(()),
                Err(HandleError::Rejected(Rejection::Busy)) => {}
                Err(error) => return Err(error.into()),
            }
            match session.tell(Command::Cancel { turn: None }).await {
                Ok(_) | Err(HandleError::Rejected(Rejection::NotRunning)) => {}
                Err(error) => return Err(error.into()),
            }
            clock.sleep_until(clock.now().after(LOOK_AGAIN_MS)).await;
        }
        Err(SessionError::new(
            ErrorCode::SessionBusy,
            format!("session {id} begins turn after turn; withdraw what waits, then archive it"),
        ))
    }

    /// Makes an archived session take turns again. Once more is the same.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    pub async fn restore(&self, id: &SessionId) -> Result<(), SessionError> {
        self.allow(Scope::Manage)?;
        self.session(id).await?.tell(Command::Restore).await?;
        Ok(())
    }

    /// Replaces the beginning of what the model sees by a summary, and waits for it. Nothing where there is too little.
    ///
    /// # Errors
    /// `SESSION_BUSY` while a turn runs; `AGENT_ERROR` when the summary could not be used.
    pub async fn compact(
        &self,
        id: &SessionId,
        request: CompactRequest,
    ) -> Result<Option<CompactionReport>, SessionError> {
        self.allow(Scope::Turn)?;
        Ok(self.session(id).await?.compact(request.instructions).await?)
    }

    /// Cancels the running turn if there is one, and lets the session go from memory. The journal stays, and whoever wants something of it wakes it.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    pub async fn close(&self, id: &SessionId) -> Result<(), SessionError> {
        self.allow(Scope::Manage)?;
        Ok(self.session(id).await?.close().await?)
    }

    /// Removes a session for good, after its turn was cancelled. Once more is `SESSION_NOT_FOUND`.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_MOVED` while another process holds it, `SESSION_STORE_ERROR`.
    pub async fn purge(&self, id: &SessionId) -> Result<(), SessionError> {
        self.allow(Scope::Manage)?;
        let session = self.session(id).await?;
        match session.close().await {
            // What cannot be written can be removed.
            Ok(()) | Err(HandleError::Store(_) | HandleError::Open(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let core = self.host.core();
        match core.ports().catalog.purge(id, core.node()).await {
            Ok(()) => Ok(()),
            Err(error @ JournalError::NotFound { .. }) => Err(error.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells a background task to stop, or all of them; their end is an entry soon after.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a task that is not known.
    pub async fn cancel_task(
        &self,
        id: &SessionId,
        task: Option<TaskId>,
    ) -> Result<(), SessionError> {
        self.allow(Scope::Turn)?;
        match self.session(id).await?.cancel_task(task.as_ref()).await? {
            Some(_) => Ok(()),
            None => Err(SessionError::invalid("there is no such task")),
        }
    }
}
