//! How a session gets its lane: made, or taken from the store, with the folders that the client names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::v1::Responder;
use agent_client_protocol::v1::schema::{
    CloseSessionResponse, ForkSessionResponse, LoadSessionResponse, NewSessionResponse,
    ResumeSessionResponse, SessionConfigOption, SessionId, SessionModeState, SystemPrompt,
};
use agent_client_protocol::{Error, RequestCancellation};
use oarlock_core::ids;
use oarlock_core::ports::tool::Place;
use oarlock_core::session::state::State;
use oarlock_core::spec::SessionSpec;
use oarlock_core::{
    AgentError, Backends, DefaultSession, ForkSession, LoadSession, NewSession, Origin,
};
use tokio::time::timeout;

use super::backends::{backends, frontend};
use super::error::{WireError, failed, invalid, no_session, refused};
use super::lane::{Done, Lane};
use super::outbound::Outbound;
use super::replay::LookedFor;
use super::terminals::Terminals;
use super::{elicitation, instructions, joining};
use crate::host::{Host, Workspace};
use crate::place;

/// Requests for one session whose folders are looked at; one more is refused.
const LOOKS_MAX: usize = 8;
/// What looking at all of them may take.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// Which session a client wants.
pub(super) struct Wanted {
    /// Its id; that of a new one is drawn before it is made.
    pub(super) id: ids::SessionId,
    /// What the client says of it.
    pub(super) brought: Brought,
    /// The request, which says how it is opened.
    pub(super) answer: Answer,
}

/// What a client says of a session that it wants.
pub(super) struct Brought {
    /// Where it works.
    pub(super) cwd: PathBuf,
    /// Further folders.
    pub(super) roots: Vec<PathBuf>,
    /// How many servers of tools the client brings.
    pub(super) servers: usize,
    /// What its model is told beside the rest.
    pub(super) system: Option<SystemPrompt>,
}

/// A request about a whole session, to be answered once.
pub(super) enum Answer {
    New(Responder<NewSessionResponse>),
    /// Begun as the session of this id stands.
    Fork(ids::SessionId, Responder<ForkSessionResponse>),
    Load(Responder<LoadSessionResponse>),
    Resume(Responder<ResumeSessionResponse>),
    Close(Responder<CloseSessionResponse>),
}

impl Answer {
    /// Tells when whoever asked for it wants it no more.
    fn cancellation(&self) -> RequestCancellation {
        match self {
            Self::New(responder) => responder.cancellation(),
            Self::Fork(_, responder) => responder.cancellation(),
            Self::Load(responder) => responder.cancellation(),
            Self::Resume(responder) => responder.cancellation(),
            Self::Close(responder) => responder.cancellation(),
        }
    }

    /// Whether whoever asked for it wants it no more.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.cancellation().is_cancelled()
    }

    /// Says that it was not done. A client that has gone is told nothing.
    pub(super) fn refuse(self, error: Error) {
        drop(match self {
            Self::New(responder) => responder.respond_with_error(error),
            Self::Fork(_, responder) => responder.respond_with_error(error),
            Self::Load(responder) => responder.respond_with_error(error),
            Self::Resume(responder) => responder.respond_with_error(error),
            Self::Close(responder) => responder.respond_with_error(error),
        });
    }

    /// Says that it was done, and what may be chosen of the session.
    pub(super) fn give(
        self,
        session: &SessionId,
        (modes, options): (SessionModeState, Vec<SessionConfigOption>),
    ) {
        drop(match self {
            Self::New(responder) => responder.respond(
                NewSessionResponse::new(session.clone()).modes(modes).config_options(options),
            ),
            Self::Fork(_, responder) => responder.respond(
                ForkSessionResponse::new(session.clone()).modes(modes).config_options(options),
            ),
            Self::Load(responder) => {
                responder.respond(LoadSessionResponse::new().modes(modes).config_options(options))
            }
            Self::Resume(responder) => {
                responder.respond(ResumeSessionResponse::new().modes(modes).config_options(options))
            }
            Self::Close(responder) => responder.respond(CloseSessionResponse::new()),
        });
    }
}

/// Opens the session and gives it a lane, which answers the request. A refusal answers it as well.
pub(super) async fn open(host: &dyn Host, out: Arc<Outbound>, wanted: Wanted) -> Option<Lane> {
    let Wanted { id, brought: Brought { cwd, roots, servers, system }, answer } = wanted;
    let told = match instructions::read(system) {
        Ok(told) => told,
        Err(error) => {
            answer.refuse(error);
            return None;
        }
    };
    let told = told.as_deref();
    let name = SessionId::new(id.as_str());
    let terminals = out.client.terminal.then(Terminals::new);
    let guest = Guest { out: &out, name: &name, terminals: terminals.as_ref() };
    let opened = match &answer {
        Answer::New(_) => create(host, &id, (cwd, roots, told), guest).await,
        Answer::Fork(from, _) => fork(host, (&id, from), (cwd, roots, told), guest).await,
        Answer::Load(_) | Answer::Resume(_) | Answer::Close(_) => {
            load(host, &id, (cwd, roots, told), guest).await
        }
    };
    match opened {
        Ok((workspace, session, spec, state)) => {
            let seat = host.audience().join(&id, elicitation::is_possible(&out));
            let session = (session, &spec, state.as_deref());
            let mut lane = Lane::new((out, name), session, workspace, seat, terminals);
            lane.kept_out();
            lane.brought(servers);
            let resumed = state.filter(|_| matches!(answer, Answer::Resume(_)));
            lane.opened(answer);
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

/// What a session works with, the session, what it is, and its state when it was taken from the store.
type Opened = (Arc<dyn Workspace>, DefaultSession, SessionSpec, Option<Box<State>>);

/// The folders that a client names, and what it tells the model.
type Said<'a> = (PathBuf, Vec<PathBuf>, Option<&'a str>);

/// Who opens a session, and the terminals that it gets there.
#[derive(Clone, Copy)]
struct Guest<'a> {
    out: &'a Arc<Outbound>,
    name: &'a SessionId,
    terminals: Option<&'a Arc<Terminals>>,
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
    (cwd, roots, told): Said<'_>,
    guest: Guest<'_>,
) -> Result<Opened, Error> {
    let given: Vec<PathBuf> = std::iter::once(&cwd).chain(&roots).cloned().collect();
    let cwd = place::folder(cwd).await.map_err(|error| WireError::from(error).0)?;
    let roots = place::folders(roots).await.map_err(|error| WireError::from(error).0)?;
    let workspace = host.workspace(&cwd).await.map_err(|error| WireError::from(error).0)?;
    let frontend = frontend(&guest.out.client);
    let place = Place { cwd, roots };
    let mut spec =
        workspace.spec(place, "acp", frontend).await.map_err(|error| WireError::from(error).0)?;
    instructions::add(told, &mut spec.overlays);
    let backends = guest.backends(&*workspace, &spec, &given).await?;
    let new =
        NewSession { id: Some(id.clone()), spec: spec.clone(), comms: None, input: None, backends };
    let session = workspace.core().open(Origin::New(Box::new(new))).await;
    let session = session.map_err(|error| WireError::from(error).0)?;
    Ok((workspace, session, spec, None))
}

async fn load(
    host: &dyn Host,
    id: &ids::SessionId,
    said: Said<'_>,
    guest: Guest<'_>,
) -> Result<Opened, Error> {
    let (workspace, state, backends) = find(host, id, said, guest).await?;
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
    Ok((workspace, session, SessionSpec::clone(&state.spec), Some(Box::new(state))))
}

/// Begins a session as another one stands, in the same folders. The client knows what happened in that one, and is told what comes now.
async fn fork(
    host: &dyn Host,
    (id, from): (&ids::SessionId, &ids::SessionId),
    said: Said<'_>,
    guest: Guest<'_>,
) -> Result<Opened, Error> {
    let (workspace, _, backends) = find(host, from, said, guest).await?;
    let fork = ForkSession { id: Some(id.clone()), backends, ..ForkSession::new(from.clone()) };
    let session = workspace.core().open(Origin::Fork(Box::new(fork))).await;
    let session = session.map_err(|error| WireError::from(error).0)?;
    let state = session.state().await.map_err(|error| WireError::from(error).0)?;
    Ok((workspace, session, SessionSpec::clone(&state.spec), Some(Box::new(state))))
}

/// A session that is there already and works in these folders, with what it works with and what it is given now. A subagent is none.
async fn find(
    host: &dyn Host,
    id: &ids::SessionId,
    (cwd, roots, told): Said<'_>,
    guest: Guest<'_>,
) -> Result<(Arc<dyn Workspace>, State, Backends), Error> {
    let state = host.core().state(id).await.map_err(|error| WireError::from(error).0)?;
    if state.spec.parent.is_some() && state.spec.depth > 0 {
        return Err(no_session(&SessionId::new(id.as_str())));
    }
    let given: Vec<PathBuf> = std::iter::once(&cwd).chain(&roots).cloned().collect();
    check(&Place::of(&state.spec), cwd, roots).await?;
    instructions::check(told, &state.spec.overlays)?;
    // Where it is awake it stays, though its folder may be configured otherwise since.
    let workspace = match host.awake(id) {
        Some(workspace) => workspace,
        None => host.workspace(&state.spec.cwd).await.map_err(|error| WireError::from(error).0)?,
    };
    let backends = guest.backends(&*workspace, &state.spec, &given).await?;
    Ok((workspace, state, backends))
}

impl Lane {
    /// Opens the session once more for a client that has it open already, as soon as its folders have been looked at. The session goes on meanwhile.
    pub(super) fn reopen(&mut self, wanted: Wanted) {
        let Wanted { brought: Brought { cwd, roots, servers, system }, answer, .. } = wanted;
        if self.replay.looked_for.len() >= LOOKS_MAX {
            let words = format!("{LOOKS_MAX} requests for this session wait for its folders");
            return answer.refuse(refused(words));
        }
        let (place, cancellation) = (Arc::clone(&self.place), answer.cancellation());
        let (no, session) = (self.replay.next(), self.session.clone());
        let look = async move {
            let checked = timeout(LOOK_WITHIN, async {
                check(&place, cwd, roots).await?;
                let Some(told) = instructions::read(system)? else { return Ok(()) };
                let state = session.state().await.map_err(|error| WireError::from(error).0)?;
                instructions::check(Some(&told), &state.spec.overlays)
            });
            let found = tokio::select! {
                checked = checked => checked
                    .unwrap_or_else(|_| Err(failed("the folders do not answer"))),
                () = cancellation.cancelled() => Err(Error::request_cancelled()),
            };
            Done::Looked { no, found }
        };
        let _look = self.work.leashed(look);
        self.replay.looked_for.push(LookedFor { no, answer, is_found: false, servers, _look });
    }
}

/// Whether a session that works in these folders is wanted in the same. They stay what they were, and none of them is given to a client that
/// does not name it.
///
/// # Errors
/// Invalid parameters with the session's folders.
async fn check(place: &Place, cwd: PathBuf, roots: Vec<PathBuf>) -> Result<(), Error> {
    let cwd = place::folder(cwd).await.map_err(|error| WireError::from(error).0)?;
    if cwd != place.cwd {
        return Err(invalid(format!("the session works in {}", place.cwd.display())));
    }
    let mut wanted = place::folders(roots).await.map_err(|error| WireError::from(error).0)?;
    let mut own = place.roots.clone();
    wanted.sort_unstable();
    own.sort_unstable();
    if wanted == own {
        return Ok(());
    }
    let names: Vec<String> = own.iter().map(|root| root.display().to_string()).collect();
    Err(invalid(match names.is_empty() {
        true => "the session has no additional directories, and gets none later".to_owned(),
        false => format!("name the additional directories of the session: {}", names.join(", ")),
    }))
}
