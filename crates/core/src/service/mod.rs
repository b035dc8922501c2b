//! The session service: one contract for programs, whatever wire they speak.

mod asked;
mod checkpointer;
mod error;
mod options;
mod parts;
mod request;
mod run;
mod scoped;
mod view;

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

pub use crate::service::checkpointer::{
    CHECKPOINT_MS, Checkpoint, CheckpointFigures, Checkpoints, SessionCheckpointer,
};
pub use crate::service::error::{ErrorCode, ErrorRow, SessionError, StreamError, with_causes};
pub use crate::service::options::{BudgetLimits, HooksOverride, SessionBuildOptions};
pub use crate::service::parts::SessionParts;
pub use crate::service::request::{
    AnswerRequest, CompactRequest, ConfigureRequest, CreateSessionRequest, ForkRequest,
    ImportRequest, InitialTurnPolicy, InputDelivery, InputRequest, InterruptRequest, PeersRequest,
    Prompt, SearchHit, SearchRequest, SendRequest, SessionQuery, StartTurnRequest, WaitRequest,
    WithdrawRequest,
};
pub use crate::service::run::Run;
pub use crate::service::scoped::{ScopedAgentEvent, ScopedEventStream, Scopes, StreamScopeFrame};
pub use crate::service::view::{
    Cursor, PeerInfo, PeerPage, Pending, RunResult, RunState, SessionInfo, SessionPage,
    SessionSummary, SessionUsage, SessionView, UnreadableSession,
};

use crate::ids::SessionId;
use crate::session::follow::EventStream;

/// Sessions as a service: made, run, looked at and put away by programs. Dropping a future of it stops nothing that was begun: a turn runs in its
/// session's task and is saved whoever waits for it.
pub trait SessionService: Send + Sync + fmt::Debug {
    /// Makes a session, and runs its first turn unless that is deferred.
    ///
    /// # Errors
    /// Nothing was made, but for `AGENT_ERROR` of a first turn that failed: its `details` have the session, which goes on living.
    fn create_session(
        &self,
        request: CreateSessionRequest,
    ) -> BoxFuture<'_, Result<RunResult, SessionError>>;

    /// Runs a turn. Of two callers at the same time exactly one gets it.
    ///
    /// # Errors
    /// `SESSION_BUSY` at once while a turn runs, `SESSION_ARCHIVED`, `SESSION_NOT_FOUND`; `AGENT_ERROR` when the turn failed.
    fn start_turn<'a>(
        &'a self,
        id: &'a SessionId,
        request: StartTurnRequest,
    ) -> BoxFuture<'a, Result<RunResult, SessionError>>;

    /// Ends the running turn as cancelled. Returns when that is accepted; the end is an entry within 250 ms. It never waits for the turn. It
    /// hits the turn that runs when it arrives; who means one in particular names it in the operation `turn/interrupt`.
    ///
    /// # Errors
    /// `SESSION_NOT_RUNNING` when none runs, `SESSION_NOT_FOUND`.
    fn interrupt<'a>(&'a self, id: &'a SessionId) -> BoxFuture<'a, Result<(), SessionError>>;

    /// How a session stands. It is not woken, and its turn is not waited for.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    fn read<'a>(&'a self, id: &'a SessionId) -> BoxFuture<'a, Result<SessionView, SessionError>>;

    /// Sessions, those that were used last first.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a cursor that was not given out, `SESSION_STORE_ERROR`.
    fn list(&self, query: SessionQuery) -> BoxFuture<'_, Result<SessionPage, SessionError>>;

    /// Makes a session refuse turns; a running one is cancelled. Once more is the same. It stays readable.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    fn archive<'a>(&'a self, id: &'a SessionId) -> BoxFuture<'a, Result<(), SessionError>>;

    /// Everything that happened and happens to a session after a cursor: each entry once and in order, from the store and then live. Whoever reads
    /// slowly delays nobody and misses no entry.
    ///
    /// # Errors
    /// [`StreamError::NotFound`], or [`StreamError::InvalidCursor`] for one beyond the end.
    fn subscribe_session_events<'a>(
        &'a self,
        id: &'a SessionId,
        after: Cursor,
    ) -> BoxFuture<'a, Result<EventStream, StreamError>>;

    /// The same events, each with the place of whoever it is of: the session itself, or a subagent below it. Places are below `path`, or below the
    /// session when that is empty.
    ///
    /// # Errors
    /// As [`SessionService::subscribe_session_events`].
    fn subscribe_scoped_events<'a>(
        &'a self,
        id: &'a SessionId,
        after: Cursor,
        path: Vec<StreamScopeFrame>,
    ) -> BoxFuture<'a, Result<ScopedEventStream, StreamError>> {
        async move {
            let events = self.subscribe_session_events(id, after).await?;
            Ok(ScopedEventStream { events, scopes: Scopes::new(id, path) })
        }
        .boxed()
    }

    /// The service, shared.
    fn into_arc(self) -> Arc<dyn SessionService>
    where
        Self: Sized + 'static,
    {
        Arc::new(self)
    }
}
