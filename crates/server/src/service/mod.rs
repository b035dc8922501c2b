//! The session service over the program's sessions: it finds out where a session works, wakes it when somebody wants something of it, and tells it.

mod create;
mod import;
mod mail;
mod makers;
mod manage;
mod parts;
mod peers;
mod reading;
mod skills;
mod tools;
mod turns;
mod uploads;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::event::Event;
use oarlock_core::ids::SessionId;
use oarlock_core::ports::journal::TenantFilter;
use oarlock_core::service::{
    CreateSessionRequest, Cursor, ErrorCode, InterruptRequest, RunResult, SessionError,
    SessionPage, SessionParts, SessionQuery, SessionService, SessionView, StartTurnRequest,
    StreamError,
};
use oarlock_core::spec::SessionSpec;
use oarlock_core::{DefaultSession, EventStream};

use crate::host::{Host, HostError, Workspace};
pub use mail::peer_tools;
use makers::Makers;
pub(crate) use reading::BLOB_BYTES_MAX;

/// How long one answer waits for a turn at most; whoever wants to know more asks again.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);

/// How long the store may take to answer one question.
const STORE_WITHIN: Duration = Duration::from_secs(10);

/// How long it may take to read what a folder is configured as.
const FOLDER_WITHIN: Duration = Duration::from_secs(10);

/// The store's answer, or that there was none in time.
pub(crate) async fn in_time<T, E>(
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, SessionError>
where
    SessionError: From<E>,
{
    match tokio::time::timeout(STORE_WITHIN, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            let words = "the store did not answer within 10 seconds; try again";
            let error = SessionError::new(ErrorCode::SessionStoreError, words);
            Err(SessionError { retry_after_ms: Some(1_000), ..error })
        }
    }
}

/// What a caller may do. Each includes nothing of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Read sessions, their events and their blobs.
    Read,
    /// Give sessions inputs and answers, and stop their turns.
    Turn,
    /// Make, change, archive and remove sessions.
    Manage,
}

/// Who wants something of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The surface that it uses: `rest`, `rpc`, `cli`, `library`.
    pub surface: &'static str,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Whose sessions it sees and makes; all of them when absent.
    pub tenant: Option<TenantFilter>,
    /// The folders, by their true names, that its sessions work in and below; it has no others, whoever made them. All when absent.
    pub within: Option<Arc<[PathBuf]>>,
}

impl Caller {
    /// Somebody at this surface who may do everything.
    #[must_use]
    pub fn trusted(surface: &'static str) -> Self {
        let scopes = vec![Scope::Read, Scope::Turn, Scope::Manage];
        Self { surface, scopes, tenant: None, within: None }
    }

    /// Whether sessions in these folders are ones that it may have.
    fn is_within(&self, cwd: &Path, roots: &[PathBuf]) -> bool {
        let Some(within) = &self.within else { return true };
        let mut paths = std::iter::once(cwd).chain(roots.iter().map(PathBuf::as_path));
        paths.all(|path| within.iter().any(|root| path.starts_with(root)))
    }
}

/// The sessions of this program, as one caller may have them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    host: Arc<dyn Host>,
    /// Where sessions work that name no folder.
    cwd: Arc<PathBuf>,
    caller: Arc<Caller>,
    makers: Arc<Makers>,
    uploads: Arc<uploads::Uploads>,
    brought: Arc<parts::Brought>,
}

impl Sessions {
    /// The sessions of a program; those that name no folder work in `cwd`.
    #[must_use]
    pub fn new(host: Arc<dyn Host>, cwd: PathBuf, caller: Caller) -> Self {
        let (makers, uploads, brought) = (Arc::default(), Arc::default(), Arc::default());
        Self { host, cwd: Arc::new(cwd), caller: Arc::new(caller), makers, uploads, brought }
    }

    /// The same sessions for somebody else.
    #[must_use]
    pub fn with_caller(&self, caller: Caller) -> Self {
        Self { caller: Arc::new(caller), ..self.clone() }
    }

    /// Who wants something.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// A runtime over the store.
    pub(crate) fn core(&self) -> &oarlock_core::DefaultAgentCore {
        self.host.core()
    }

    /// Whether the caller may do this.
    ///
    /// # Errors
    /// `FORBIDDEN`.
    pub fn allow(&self, scope: Scope) -> Result<(), SessionError> {
        if self.caller.scopes.contains(&scope) {
            return Ok(());
        }
        let needed = match scope {
            Scope::Read => "read",
            Scope::Turn => "turn",
            Scope::Manage => "manage",
        };
        Err(SessionError::new(
            ErrorCode::Forbidden,
            format!("this token lacks the scope `{needed}`; use one that has it"),
        ))
    }

    /// Whether no session is awake in this process.
    pub(crate) fn are_asleep(&self) -> bool {
        self.host.all_awake().is_empty()
    }

    /// How many sessions are awake in this process.
    pub(crate) fn awake(&self) -> usize {
        self.host.all_awake().len()
    }

    /// Cancels every turn of this process and lets go of its sessions, whoever has them. What cannot be let go of is taken up by whoever wakes it.
    pub(crate) async fn let_go_of_all(&self) {
        let awake = self.host.all_awake();
        let closing = awake.iter().map(async |session| {
            if let Err(error) = session.close().await {
                tracing::warn!(session = %session.id(), %error, "a session did not end in good order");
            }
        });
        futures::future::join_all(closing).await;
    }

    /// What a session was made as. It is not woken. One that is not the caller's is none.
    async fn birth(&self, id: &SessionId) -> Result<SessionSpec, SessionError> {
        let journal = &self.host.core().ports().journal;
        let frames = in_time(journal.read(id, 0, 1)).await?;
        let first = match frames.first() {
            Some(frame) => frame.entries(id)?.into_iter().next(),
            None => None,
        };
        let spec = match first.map(|entry| entry.event) {
            Some(Event::SessionCreated(created)) => created.spec,
            // The first entry of long settings lies in a blob.
            Some(_) => Arc::unwrap_or_clone(in_time(self.host.core().state(id)).await?.spec),
            None => return Err(SessionError::not_found(id.as_str())),
        };
        let is_of_tenant = match &self.caller.tenant {
            None => true,
            Some(TenantFilter::Nobody) => spec.tenant.is_none(),
            Some(TenantFilter::Of(tenant)) => spec.tenant.as_ref() == Some(tenant),
        };
        if is_of_tenant && self.caller.is_within(&spec.cwd, &spec.roots) {
            Ok(spec)
        } else {
            Err(SessionError::not_found(id.as_str()))
        }
    }

    /// What a session works with: what it is awake with, else what its folder is configured as.
    async fn workspace(&self, id: &SessionId) -> Result<Arc<dyn Workspace>, SessionError> {
        let spec = self.birth(id).await?;
        match self.host.awake(id) {
            Some(workspace) => Ok(workspace),
            None => self.folder(&spec.cwd).await,
        }
    }

    /// What sessions of a folder work with.
    async fn folder(&self, cwd: &Path) -> Result<Arc<dyn Workspace>, SessionError> {
        match tokio::time::timeout(FOLDER_WITHIN, self.host.workspace(cwd)).await {
            Ok(workspace) => workspace.map_err(|error| refused(&error)),
            Err(_) => Err(SessionError::new(
                ErrorCode::AgentError,
                format!(
                    "the configuration of {} could not be read within {} seconds",
                    cwd.display(),
                    FOLDER_WITHIN.as_secs()
                ),
            )),
        }
    }

    /// A session that exists, to be looked at, closed or removed: nothing of its folder is wanted for that, which may be broken or silent.
    async fn present(&self, id: &SessionId) -> Result<DefaultSession, SessionError> {
        self.birth(id).await?;
        let awake = self.host.awake(id);
        let core = awake.as_ref().map_or_else(|| self.host.core(), |workspace| workspace.core());
        Ok(core.handle(id.clone()).with_backends(self.brought.parts(id).backends()))
    }

    /// A session with what was brought to it.
    fn handle(&self, workspace: &dyn Workspace, id: &SessionId) -> DefaultSession {
        workspace.core().handle(id.clone()).with_backends(self.brought.parts(id).backends())
    }

    /// A session that exists, to be told something.
    async fn session(&self, id: &SessionId) -> Result<DefaultSession, SessionError> {
        let workspace = self.workspace(id).await?;
        Ok(self.handle(&*workspace, id))
    }
}

/// What the program around the service says.
fn refused(error: &HostError) -> SessionError {
    let kind = match error {
        HostError::Invalid(_) => ErrorCode::InvalidRequest,
        HostError::Unauthenticated(_) => ErrorCode::ProviderError,
        HostError::Failed(_) => ErrorCode::AgentError,
    };
    SessionError::new(kind, error.to_string())
}

impl SessionService for Sessions {
    fn create_session(
        &self,
        request: CreateSessionRequest,
    ) -> BoxFuture<'_, Result<RunResult, SessionError>> {
        self.create(request, SessionParts::default()).boxed()
    }

    fn start_turn<'a>(
        &'a self,
        id: &'a SessionId,
        request: StartTurnRequest,
    ) -> BoxFuture<'a, Result<RunResult, SessionError>> {
        self.start(id, request).boxed()
    }

    fn interrupt<'a>(&'a self, id: &'a SessionId) -> BoxFuture<'a, Result<(), SessionError>> {
        self.interrupt_turn(id, InterruptRequest::default()).boxed()
    }

    fn read<'a>(&'a self, id: &'a SessionId) -> BoxFuture<'a, Result<SessionView, SessionError>> {
        async {
            self.allow(Scope::Read)?;
            self.view(id).await
        }
        .boxed()
    }

    fn list(&self, query: SessionQuery) -> BoxFuture<'_, Result<SessionPage, SessionError>> {
        self.page(query).boxed()
    }

    fn archive<'a>(&'a self, id: &'a SessionId) -> BoxFuture<'a, Result<(), SessionError>> {
        self.put_away(id).boxed()
    }

    fn subscribe_session_events<'a>(
        &'a self,
        id: &'a SessionId,
        after: Cursor,
    ) -> BoxFuture<'a, Result<EventStream, StreamError>> {
        self.events(id, after).boxed()
    }
}
