//! Changing what sessions are, putting them away and removing them.

use oarlock_core::command::Status;
use oarlock_core::ids::{SessionId, TaskId};
use oarlock_core::service::{
    CompactRequest, ConfigureRequest, ForkRequest, SessionError, SessionView,
};
use oarlock_core::spec::SettingsChange;
use oarlock_core::{Command, CompactionReport, ForkSession, Origin, SessionError as HandleError};

use super::create::chain;
use super::{Scope, Sessions, in_time, refused};

/// How often it is looked whether the turn of an archived session has ended.
const LOOKS_MAX: u32 = 100;
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
        let output = request.output;
        let model = model
            .map(|name| match self.brought.parts(id).model {
                Some(own) if own.info().selection.to_string() == name => {
                    Ok(own.info().selection.clone())
                }
                Some(_) | None => workspace.model(&name).map_err(|error| refused(&error)),
            })
            .transpose()?;
        let fallback = request.fallback.map(|names| chain(&*workspace, &names)).transpose()?;
        let change = SettingsChange {
            model,
            fallback,
            mode,
            effort,
            limits,
            title,
            labels,
            external_tools,
            output,
            ..SettingsChange::default()
        };
        let session = self.handle(&*workspace, id);
        session.tell(Command::Configure { change: Box::new(change), expected }).await?;
        self.view(id).await
    }

    /// Begins a session as another one stood, of the same tenant. The source is neither woken nor written.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`; `INVALID_REQUEST` for a place that the source has not, or a subagent as its source.
    pub async fn fork(
        &self,
        id: &SessionId,
        request: ForkRequest,
    ) -> Result<SessionView, SessionError> {
        self.allow(Scope::Manage)?;
        let workspace = self.workspace(id).await?;
        let change = request.title.map(|title| {
            Box::new(SettingsChange { title: Some(title), ..SettingsChange::default() })
        });
        let at = request.at.map(|cursor| cursor.0);
        let fork = ForkSession { at, change, ..ForkSession::new(id.clone()) };
        let fork = workspace.core().open(Origin::Fork(Box::new(fork))).await?;
        self.view(fork.id()).await
    }

    pub(super) async fn put_away(&self, id: &SessionId) -> Result<(), SessionError> {
        self.allow(Scope::Manage)?;
        let (session, is_lent) = match self.session(id).await {
            Ok(session) => (session, false),
            // Nothing of its folder is wanted to archive it.
            Err(_) => (self.present(id).await?, true),
        };
        let named = self.has_name(&session).await?;
        session.tell(Command::Archive).await?;
        // It is archived, whatever becomes of the turn that ran; whoever looks next should find it ended all the same.
        let clock = std::sync::Arc::clone(&session.core().ports().clock);
        for _ in 0..LOOKS_MAX {
            match session.status().await {
                Ok(Status { turn: None, .. }) | Err(_) => break,
                Ok(Status { turn: Some(_), .. }) => {
                    clock.sleep_until(clock.now().after(LOOK_AGAIN_MS)).await;
                }
            }
        }
        self.brought.hush(id).await;
        if is_lent {
            // Whoever wakes it next does so with what its folder is by then.
            session.close().await?;
        }
        if let Some(named) = named {
            self.announce(id, named, "has gone").await;
        }
        Ok(())
    }

    /// Makes an archived session take turns again. Once more is the same.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`; `INVALID_REQUEST` when another session has its name by now.
    pub async fn restore(&self, id: &SessionId) -> Result<(), SessionError> {
        self.allow(Scope::Manage)?;
        let session = self.session(id).await?;
        self.check_name(&session).await?;
        let had_name = self.has_name(&session).await?.is_some();
        let after = match self.brought.parts(id).checkpointer {
            Some(_) => in_time(session.state()).await?.tip,
            None => 0,
        };
        let told = session.tell(Command::Restore).await;
        if told.is_ok() {
            self.brought.tell_again(&session, after);
        }
        match told {
            Ok(_) if had_name => Ok(()),
            Ok(_) => {
                if let Some(named) = self.has_name(&session).await? {
                    self.announce(id, named, "is here").await;
                }
                Ok(())
            }
            // Another one took the name meanwhile: the store has decided, and the session stays archived.
            Err(error) => match self.check_name(&session).await {
                Ok(()) => Err(error.into()),
                Err(taken) => Err(taken),
            },
        }
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
        Ok(self.present(id).await?.close().await?)
    }

    /// Removes a session for good, after its turn was cancelled. Once more is `SESSION_NOT_FOUND`.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_MOVED` while another process holds it, `SESSION_STORE_ERROR`.
    pub async fn purge(&self, id: &SessionId) -> Result<(), SessionError> {
        self.allow(Scope::Manage)?;
        let session = self.present(id).await?;
        // One that cannot be read can be removed all the same.
        let named = self.has_name(&session).await.ok().flatten();
        match session.close().await {
            // What cannot be written can be removed.
            Ok(()) | Err(HandleError::Store(_) | HandleError::Open(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let core = self.host.core();
        in_time(core.ports().catalog.purge(id, core.node())).await?;
        // Whoever woke it meanwhile has a session without a journal; its task ends by that.
        drop(session.close().await);
        self.brought.forget(id);
        if let Some(named) = named {
            self.announce(id, named, "has gone").await;
        }
        Ok(())
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
