//! How a session gets its lane: made, or taken from the store, with the folders that the client names.

use std::path::PathBuf;
use std::sync::Arc;

use agent_client_protocol::Error;
use agent_client_protocol::v1::Responder;
use agent_client_protocol::v1::schema::{
    CloseSessionResponse, LoadSessionResponse, McpServer, NewSessionResponse,
    ResumeSessionResponse, SessionId,
};
use oarlock_core::ids;
use oarlock_core::ports::tool::Place;
use oarlock_core::session::state::State;
use oarlock_core::spec::SessionSpec;
use oarlock_core::{AgentError, Backends, DefaultSession, LoadSession, NewSession, Origin};

use super::backends::{backends, frontend};
use super::error::{WireError, invalid, no_session};
use super::lane::{Lane, Order};
use super::outbound::Outbound;
use super::terminals::Terminals;
use super::{elicitation, joining};
use crate::host::{Host, Workspace};

/// Which session a client wants.
pub(super) struct Wanted {
    /// Its id; that of a new one is drawn before it is made.
    pub(super) id: ids::SessionId,
    /// Where it works.
    pub(super) cwd: PathBuf,
    /// Further folders.
    pub(super) roots: Vec<PathBuf>,
    /// Servers of tools that the client brings.
    pub(super) servers: Vec<McpServer>,
    /// The request, which says how it is opened.
    pub(super) answer: Answer,
}

/// A request about a whole session, to be answered once.
pub(super) enum Answer {
    New(Responder<NewSessionResponse>),
    Load(Responder<LoadSessionResponse>),
    Resume(Responder<ResumeSessionResponse>),
    Close(Responder<CloseSessionResponse>),
}

impl Answer {
    /// Says that it was not done. A client that has gone is told nothing.
    pub(super) fn refuse(self, error: Error) {
        drop(match self {
            Self::New(responder) => responder.respond_with_error(error),
            Self::Load(responder) => responder.respond_with_error(error),
            Self::Resume(responder) => responder.respond_with_error(error),
            Self::Close(responder) => responder.respond_with_error(error),
        });
    }

    /// Says that it was done.
    pub(super) fn give(self, session: &SessionId) {
        drop(match self {
            Self::New(responder) => responder.respond(NewSessionResponse::new(session.clone())),
            Self::Load(responder) => responder.respond(LoadSessionResponse::new()),
            Self::Resume(responder) => responder.respond(ResumeSessionResponse::new()),
            Self::Close(responder) => responder.respond(CloseSessionResponse::new()),
        });
    }
}

/// Opens the session and gives it a lane; its first order is that it was opened. A refusal answers the request.
pub(super) async fn open(host: &dyn Host, out: Outbound, wanted: Wanted) -> Option<Lane> {
    let Wanted { id, cwd, roots, servers, answer } = wanted;
    let is_new = matches!(answer, Answer::New(_));
    let name = SessionId::new(id.as_str());
    let (terminals, shows) = Terminals::new();
    let guest = Guest { out: &out, name: &name, terminals: &terminals };
    let opened = match is_new {
        true => create(host, &id, (cwd, roots), guest).await,
        false => load(host, &id, cwd, guest).await,
    };
    match opened {
        Ok((workspace, session, state)) => {
            let seat = host.audience().join(&id, elicitation::is_possible(&out));
            let since = (session, state.as_deref());
            let mut lane = Lane::new((out, name), since, workspace, seat, (terminals, shows));
            lane.brought(&servers);
            let resumed = state.filter(|_| matches!(answer, Answer::Resume(_)));
            lane.take(Order::Opened(answer)).await;
            if let Some(state) = resumed {
                lane.join(&state).await;
            }
            Some(lane)
        }
        Err(error) => {
            answer.refuse(error);
            None
        }
    }
}

/// What a session works with, the session, and what it was when it was taken from the store.
type Opened = (Arc<dyn Workspace>, DefaultSession, Option<Box<State>>);

/// Who opens a session, and the terminals that it gets there.
#[derive(Clone, Copy)]
struct Guest<'a> {
    out: &'a Outbound,
    name: &'a SessionId,
    terminals: &'a Arc<Terminals>,
}

impl Guest<'_> {
    async fn backends(
        self,
        workspace: &dyn Workspace,
        spec: &SessionSpec,
        given: &[PathBuf],
    ) -> Result<Backends, Error> {
        backends(workspace.core(), spec, (self.out, self.name), given, self.terminals).await
    }
}

async fn create(
    host: &dyn Host,
    id: &ids::SessionId,
    (cwd, roots): (PathBuf, Vec<PathBuf>),
    guest: Guest<'_>,
) -> Result<Opened, Error> {
    let given: Vec<PathBuf> = std::iter::once(&cwd).chain(&roots).cloned().collect();
    let cwd = folder(cwd).await?;
    let mut canonical = Vec::new();
    for root in roots {
        canonical.push(folder(root).await?);
    }
    let workspace = host.workspace(&cwd).await.map_err(|error| WireError::from(error).0)?;
    let frontend = frontend(&guest.out.client);
    let place = Place { cwd, roots: canonical };
    let spec = workspace.spec(place, frontend).await.map_err(|error| WireError::from(error).0)?;
    let backends = guest.backends(&*workspace, &spec, &given).await?;
    let new = NewSession { id: Some(id.clone()), spec, backends };
    let session = workspace.core().open(Origin::New(Box::new(new))).await;
    let session = session.map_err(|error| WireError::from(error).0)?;
    Ok((workspace, session, None))
}

async fn load(
    host: &dyn Host,
    id: &ids::SessionId,
    given: PathBuf,
    guest: Guest<'_>,
) -> Result<Opened, Error> {
    let state = host.core().state(id).await.map_err(|error| WireError::from(error).0)?;
    if state.spec.parent.is_some() && state.spec.depth > 0 {
        return Err(no_session(&SessionId::new(id.as_str())));
    }
    let cwd = folder(given.clone()).await?;
    if cwd != state.spec.cwd {
        let words = format!("session {id} works in {}", state.spec.cwd.display());
        return Err(invalid(words));
    }
    let workspace = host.workspace(&cwd).await.map_err(|error| WireError::from(error).0)?;
    let backends = guest.backends(&*workspace, &state.spec, &[given]).await?;
    let load = LoadSession::new(id.clone(), joining::recovery(&state));
    let delegated = LoadSession { backends, ..load.clone() };
    let mut session = workspace.core().open(Origin::Resume(delegated)).await;
    if let Err(AgentError::LiveElsewhere { .. }) = session {
        // It works already, with what somebody else brought; it goes on with that.
        session = workspace.core().open(Origin::Resume(load)).await;
    }
    let session = session.map_err(|error| WireError::from(error).0)?;
    // A turn that a crash left open is ended by opening, and one that runs has gone on.
    let state = match state.turn {
        Some(_) => session.state().await.map_err(|error| WireError::from(error).0)?,
        None => state,
    };
    Ok((workspace, session, Some(Box::new(state))))
}

/// A folder of the client by its true name.
async fn folder(path: PathBuf) -> Result<PathBuf, Error> {
    if !path.is_absolute() {
        return Err(invalid(format!("{} is not an absolute path", path.display())));
    }
    let looked = tokio::task::spawn_blocking(move || match path.canonicalize() {
        Ok(found) if found.is_dir() => Ok(found),
        Ok(found) => Err(format!("{} is not a folder", found.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    });
    let looked = looked.await.unwrap_or_else(|error| Err(error.to_string()));
    looked.map_err(invalid)
}
