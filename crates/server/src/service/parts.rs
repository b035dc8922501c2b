//! What programs brought to sessions: kept while the service is, so that a session that slept has it again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oarlock_core::ids::{Seq, SessionId};
use oarlock_core::runtime::SESSIONS_MAX;
use oarlock_core::service::{
    CheckpointFigures, Checkpoints, CreateSessionRequest, ErrorCode, RunResult, SessionError,
    SessionParts, SessionView,
};
use oarlock_core::{DefaultSession, LoadSession, Origin, Recovery};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Scope, Sessions, in_time};

/// How long the call of a checkpointer is waited for that was dropped.
const ENDS_WITHIN: Duration = Duration::from_millis(250);

/// What was brought to each session.
#[derive(Debug, Default)]
pub(super) struct Brought(Mutex<HashMap<SessionId, Held>>);

/// What was brought to one session.
#[derive(Debug, Default)]
struct Held {
    parts: SessionParts,
    figures: Arc<Mutex<CheckpointFigures>>,
    /// What tells the checkpointer; empty while the session is archived.
    telling: JoinSet<()>,
}

impl Brought {
    fn all(&self) -> MutexGuard<'_, HashMap<SessionId, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was brought to this session.
    pub(super) fn parts(&self, id: &SessionId) -> SessionParts {
        self.all().get(id).map(|held| held.parts.clone()).unwrap_or_default()
    }

    /// Whether parts of one more session are kept.
    pub(super) fn check(&self, parts: &SessionParts) -> Result<(), SessionError> {
        if parts.is_empty() || self.all().len() < SESSIONS_MAX {
            return Ok(());
        }
        let words = format!(
            "parts of {SESSIONS_MAX} sessions are kept, as many as may be; let go of some by `release_parts`"
        );
        Err(SessionError::new(ErrorCode::Overloaded, words))
    }

    /// Keeps parts in the place of those that were brought before, and tells the checkpointer of turns that end behind an entry.
    pub(super) fn keep(&self, session: &DefaultSession, parts: SessionParts, after: Seq) {
        if parts.is_empty() {
            return;
        }
        let mut held = Held { parts, ..Held::default() };
        held.tell(session, after);
        self.all().insert(session.id().clone(), held);
    }

    /// Ends telling of an archived session: no call of its checkpointer is under way afterwards.
    pub(super) async fn hush(&self, id: &SessionId) {
        let telling = self.all().get_mut(id).map(|held| std::mem::take(&mut held.telling));
        if let Some(mut telling) = telling {
            // One that does not give way blocks its thread.
            drop(timeout(ENDS_WITHIN, telling.shutdown()).await);
        }
    }

    /// Lets go of what was brought to a session.
    pub(super) fn forget(&self, id: &SessionId) {
        self.all().remove(id);
    }

    fn figures(&self, id: &SessionId) -> Option<CheckpointFigures> {
        let all = self.all();
        let held = all.get(id).filter(|held| held.parts.checkpointer.is_some())?;
        Some(*held.figures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells again of a session that is restored.
    pub(super) fn tell_again(&self, session: &DefaultSession, after: Seq) {
        if let Some(held) = self.all().get_mut(session.id())
            && held.telling.is_empty()
        {
            held.tell(session, after);
        }
    }
}

impl Held {
    fn tell(&mut self, session: &DefaultSession, after: Seq) {
        if let Some(checkpointer) = &self.parts.checkpointer {
            let (checkpointer, figures) = (Arc::clone(checkpointer), Arc::clone(&self.figures));
            let telling = Checkpoints { session: session.clone(), checkpointer, figures };
            self.telling.spawn(telling.tell(after));
        }
    }
}

impl Sessions {
    /// Makes a session with what only a program can bring: no wire has an operation for it. With an idempotency key that made a session before, what is
    /// brought goes to that one, as by [`Sessions::resume_session_with`].
    ///
    /// # Errors
    /// As [`oarlock_core::service::SessionService::create_session`]; `INVALID_REQUEST` for a tool that cannot be had, and where `model` is not the model
    /// that was brought; `OVERLOADED` when parts of too many sessions are kept.
    pub async fn create_session_with(
        &self,
        request: CreateSessionRequest,
        parts: SessionParts,
    ) -> Result<RunResult, SessionError> {
        self.create(request, parts).await
    }

    /// Takes up a session with what a program brings to it, after a restart for example. A turn that a crash left open is ended as `interrupted`.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`; `SESSION_MOVED` when it is awake with other parts: close it first; `INVALID_REQUEST` for a tool that cannot be had;
    /// `OVERLOADED` when parts of too many sessions are kept.
    pub async fn resume_session_with(
        &self,
        id: &SessionId,
        parts: SessionParts,
    ) -> Result<SessionView, SessionError> {
        self.allow(Scope::Manage)?;
        self.taken_up(id, parts).await?;
        self.view(id).await
    }

    pub(super) async fn taken_up(
        &self,
        id: &SessionId,
        parts: SessionParts,
    ) -> Result<DefaultSession, SessionError> {
        self.brought.check(&parts)?;
        let workspace = self.workspace(id).await?;
        let after = in_time(workspace.core().state(id)).await?.tip;
        let load = LoadSession::new(id.clone(), Recovery::Interrupt);
        let load = LoadSession { backends: parts.backends(), ..load };
        let session = workspace.core().open(Origin::Resume(load)).await?;
        self.brought.keep(&session, parts, after);
        Ok(session)
    }

    /// Lets go of what was brought to a session: it has it until it sleeps, and its checkpointer is not told any more.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    pub async fn release_parts(&self, id: &SessionId) -> Result<(), SessionError> {
        self.allow(Scope::Manage)?;
        self.birth(id).await?;
        self.brought.forget(id);
        Ok(())
    }

    /// What came of telling the checkpointer of a session; nothing where none was brought.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    pub async fn checkpoints(
        &self,
        id: &SessionId,
    ) -> Result<Option<CheckpointFigures>, SessionError> {
        self.allow(Scope::Read)?;
        self.birth(id).await?;
        Ok(self.brought.figures(id))
    }
}
