//! The runtime: the one way into sessions, the live ones, and what reads them without waking them.

mod child;
mod ending;
mod fork;
mod narrowed;
mod opening;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ending::Ending;

use crate::agent::builder::DefaultAgentCoreBuilder;
use crate::agent::error::{AgentError, SessionInitError};
use crate::agent::handle::DefaultSession;
use crate::agent::loader::SessionLoader;
use crate::agent::observer::{SessionCreateInfo, SessionObserver};
use crate::agent::origin::{Backends, Brought, LoadSession, Origin};
use crate::alike::Alike;
use crate::command::{Command, Reply};
use crate::event::Entry;
use crate::ids::{NodeId, Seq, SessionId};
use crate::limits::RuntimeLimits;
use crate::ports::bus::{Bus, BusError};
use crate::ports::clock::{Clock, Ids};
use crate::ports::hook::HookEngine;
use crate::ports::journal::{Blobs, Catalog, Journal, JournalError};
use crate::ports::model::Models;
use crate::ports::policy::Grants;
use crate::ports::tool::SessionToolFactory;
use crate::session::follow::{EventStream, Whom};
use crate::session::log::{Means, Store};
use crate::session::state::State;
use crate::session::trace::{RecordedIds, Trace, TraceSink};
use crate::spec::{SessionSpec, Settings};
use crate::turn::registry::Toolbox;

/// Sessions that one process keeps awake; opening one more is refused.
pub const SESSIONS_MAX: usize = 20_000;

/// Everything that the runtime reaches the world by.
#[derive(Debug, Clone)]
pub struct Ports {
    /// The truth.
    pub journal: Arc<dyn Journal>,
    /// Lists and searches.
    pub catalog: Arc<dyn Catalog>,
    /// Large bodies.
    pub blobs: Arc<dyn Blobs>,
    /// The way to owners and followers.
    pub bus: Arc<dyn Bus>,
    /// Models by name.
    pub models: Arc<dyn Models>,
    /// Tools, files and commands for a session.
    pub tools: Arc<dyn SessionToolFactory>,
    /// Hooks of sessions.
    pub hooks: Arc<dyn HookEngine>,
    /// Keeps grants for later sessions of a folder; without it they end with their session.
    pub grants: Option<Arc<dyn Grants>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Identifiers and chance.
    pub ids: Arc<dyn Ids>,
    /// Takes a recording of every session this process opens.
    pub trace: Option<Arc<dyn TraceSink>>,
}

/// The runtime of one process. Cheap to clone; all clones are the same runtime.
#[derive(Debug, Clone)]
pub struct DefaultAgentCore {
    shared: Arc<Shared>,
}

/// A runtime as its own tasks know it, without keeping it alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakCore(Weak<Shared>);

impl WeakCore {
    pub(crate) fn upgrade(&self) -> Option<DefaultAgentCore> {
        self.0.upgrade().map(|shared| DefaultAgentCore { shared })
    }
}

#[derive(Debug)]
struct Shared {
    ports: Ports,
    limits: Arc<RuntimeLimits>,
    store: Store,
    node: NodeId,
    embedding: Embedding,
    live: Mutex<HashMap<SessionId, Slot>>,
    narrowed: narrowed::Narrowed,
    specs: Alike<SessionSpec>,
    settings: Alike<Settings>,
    toolboxes: Alike<Toolbox>,
}

/// A place for a session: whoever holds the lock opens it.
type Slot = Arc<tokio::sync::Mutex<Option<Opening>>>;

/// A session that this process has opened; its task may have ended since.
#[derive(Debug)]
struct Opening {
    ending: Ending,
    brought: Option<Box<Brought>>,
}

impl Opening {
    fn lives(&self) -> bool {
        self.ending.is_to_come()
    }
}

/// Whether somebody opens the slot's session this moment, or its task lives.
fn is_in_use(slot: &Slot) -> bool {
    // Whoever is about to lock it holds it, too.
    Arc::strong_count(slot) > 1
        || slot.try_lock().map_or(true, |slot| slot.as_ref().is_some_and(Opening::lives))
}

/// The end of a session's task, and what observers are told of the session.
type Started = (Ending, SessionCreateInfo);

/// How a session is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// By whoever wants a handle: observers are told.
    Door,
    /// By a handle whose session sleeps: they know it.
    Wake,
}

/// What a program that embeds the core adds to it.
#[derive(Debug, Default)]
pub(crate) struct Embedding {
    /// Told of each session that is opened, in order.
    pub(crate) observers: Vec<Arc<dyn SessionObserver>>,
    /// What a session is when nobody says otherwise.
    pub(crate) settings: Option<Settings>,
}

impl DefaultAgentCore {
    /// A runtime on these ports, named `node` towards the store.
    #[must_use]
    pub fn new(ports: Ports, limits: RuntimeLimits, node: NodeId) -> Self {
        Self::embedded(ports, limits, node, Embedding::default())
    }

    pub(crate) fn embedded(
        ports: Ports,
        limits: RuntimeLimits,
        node: NodeId,
        embedding: Embedding,
    ) -> Self {
        let limits = Arc::new(limits);
        let store = store(&ports, &limits, Arc::clone(&ports.ids));
        let shared = Shared {
            ports,
            limits,
            store,
            node,
            embedding,
            live: Mutex::default(),
            narrowed: narrowed::Narrowed::default(),
            specs: Alike::default(),
            settings: Alike::default(),
            toolboxes: Alike::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Opens a session: the one way in. Observers are told of it before anybody has it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`AgentError`]; a session that could not be opened is as it was, one that an observer refused is asleep.
    pub async fn open(&self, origin: Origin) -> Result<DefaultSession, AgentError> {
        self.enter(origin, Entrance::Door).await
    }

    /// The body of opening and of waking. Whoever holds the session's slot is alone with it.
    pub(crate) async fn enter(
        &self,
        origin: Origin,
        entrance: Entrance,
    ) -> Result<DefaultSession, AgentError> {
        let id = match &origin {
            Origin::New(new) => new.id.clone().unwrap_or_else(|| self.shared.ports.ids.session()),
            Origin::Fork(fork) => {
                fork.id.clone().unwrap_or_else(|| self.shared.ports.ids.session())
            }
            Origin::Resume(load) => load.id.clone(),
            Origin::Child(order) => order.id.clone(),
        };
        let slot = self.slot(&id)?;
        let mut slot = slot.lock().await;
        if let Some(opening) = slot.as_mut() {
            if opening.lives() && self.is_owned(&id) {
                let session = self.join(id.clone(), &origin, opening)?;
                if self.is_configured(&id, &origin).await? {
                    return Ok(session);
                }
            }
            // The task that is going to sleep has closed its queue; it lets go before the next one claims.
            if let Err(error) = opening.ending.wait().await {
                tracing::warn!(session = %id, %error, "the session is opened again");
            }
        }
        // Boxed, since every caller that may wake a session would have room for all of it otherwise.
        let (backends, (ending, info)) = match origin {
            Origin::New(new) => (new.backends.clone(), Box::pin(self.create(&id, *new)).await?),
            Origin::Fork(order) => {
                (order.backends.clone(), Box::pin(self.fork(&id, *order)).await?)
            }
            Origin::Resume(load) => (load.backends.clone(), Box::pin(self.resume(load)).await?),
            Origin::Child(order) => (order.backends.clone(), Box::pin(self.child(*order)).await?),
        };
        *slot = Some(Opening { ending, brought: backends.brought() });
        let session = DefaultSession::new(self.clone(), id, backends);
        if entrance == Entrance::Door {
            self.announce(&session, &info, &mut slot).await?;
        }
        Ok(session)
    }

    /// A handle of a session that lives.
    fn join(
        &self,
        id: SessionId,
        origin: &Origin,
        opening: &Opening,
    ) -> Result<DefaultSession, AgentError> {
        match origin {
            Origin::New(_) | Origin::Fork(_) => Err(AgentError::DuplicateSessionId { session: id }),
            Origin::Resume(load) if load.backends.suit(opening.brought.as_deref()) => {
                Ok(DefaultSession::new(self.clone(), id, load.backends.clone()))
            }
            // A call that is run again takes its subagent as it lives.
            Origin::Child(order) => {
                Ok(DefaultSession::new(self.clone(), id, order.backends.clone()))
            }
            Origin::Resume(_) => Err(AgentError::LiveElsewhere { session: id }),
        }
    }

    /// Tells a session that lives what whoever loads it changes. `false` when it went to sleep that moment: nothing was told then.
    async fn is_configured(&self, id: &SessionId, origin: &Origin) -> Result<bool, AgentError> {
        let Origin::Resume(LoadSession { change: Some(change), .. }) = origin else {
            return Ok(true);
        };
        let configure = Command::Configure { change: change.clone(), expected: None };
        match self.shared.ports.bus.request(id, configure).await {
            Ok(Reply::Rejected(rejection)) => Err(AgentError::Rejected(rejection)),
            Ok(_) => Ok(true),
            Err(BusError::NoOwner { .. }) => Ok(false),
            Err(error) => Err(AgentError::Bus(error)),
        }
    }

    /// Collects what a core is made of, for a program that embeds it.
    #[must_use]
    pub fn builder() -> DefaultAgentCoreBuilder {
        DefaultAgentCoreBuilder::default()
    }

    /// What a session of this core is told to be when nobody says otherwise.
    ///
    /// # Errors
    /// [`SessionInitError::NoModel`] when it was built without a default model.
    pub fn default_settings(&self) -> Result<Settings, AgentError> {
        let settings = self.shared.embedding.settings.clone();
        Ok(settings.ok_or(SessionInitError::NoModel)?)
    }

    /// Whether this process writes the session, and nobody is about to open or close it.
    #[must_use]
    pub fn is_awake(&self, id: &SessionId) -> bool {
        let live = self.shared.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.get(id).is_some_and(|slot| {
            slot.try_lock().is_ok_and(|slot| slot.as_ref().is_some_and(Opening::lives))
        })
    }

    /// The sessions that this process writes.
    #[must_use]
    pub fn all_awake(&self) -> Vec<DefaultSession> {
        let live = self.shared.live.lock().unwrap_or_else(PoisonError::into_inner);
        let awake = live.iter().filter(|(_, slot)| is_in_use(slot));
        awake.map(|(id, _)| self.handle(id.clone())).collect()
    }

    /// A handle of a session that exists, asleep or not.
    #[must_use]
    pub fn handle(&self, id: SessionId) -> DefaultSession {
        DefaultSession::new(self.clone(), id, Backends::default())
    }

    /// Reads sessions without opening them.
    #[must_use]
    pub fn loader(&self) -> SessionLoader {
        SessionLoader::new(self.clone())
    }

    /// The bounds of this process.
    #[must_use]
    pub fn limits(&self) -> &RuntimeLimits {
        &self.shared.limits
    }

    /// The runtime's name towards the store.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.shared.node
    }

    /// What the runtime reaches the world by.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.shared.ports
    }

    /// Everything that happened and happens to a session and its subagents after its entry `after` (0 for all). Reading never wakes it.
    #[must_use]
    pub fn events(&self, id: &SessionId, after: Seq) -> EventStream {
        self.follow(id, after, Whom::WithChildren)
    }

    pub(crate) fn follow(&self, id: &SessionId, after: Seq, whom: Whom) -> EventStream {
        let bus = Arc::clone(&self.shared.ports.bus);
        EventStream::new(self.store(Trace::default()), bus, (id.clone(), after), whom)
    }

    /// The entries after `after`, about a megabyte of them; empty at the end. Reading never wakes the session.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn entries(&self, id: &SessionId, after: Seq) -> Result<Vec<Entry>, JournalError> {
        self.store(Trace::default()).read(id, after).await
    }

    /// A session folded from its journal. Reading never wakes it.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn state(&self, id: &SessionId) -> Result<State, JournalError> {
        Ok(*self.store(Trace::default()).fold(id).await?.state)
    }

    /// What sessions are read and written by. Where a recording is made, it takes the ids that are drawn.
    fn store(&self, trace: Trace) -> Store {
        match trace.0 {
            None => self.shared.store.clone(),
            Some(_) => {
                let ids = RecordedIds { inner: Arc::clone(&self.shared.ports.ids), trace };
                store(&self.shared.ports, &self.shared.limits, Arc::new(ids))
            }
        }
    }

    /// The slot of a session. Slots of sessions that sleep are swept when the room runs out.
    fn slot(&self, id: &SessionId) -> Result<Slot, AgentError> {
        let mut live = self.shared.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.len() >= SESSIONS_MAX && !live.contains_key(id) {
            live.retain(|_, slot| is_in_use(slot));
            if live.len() >= SESSIONS_MAX {
                return Err(AgentError::OverCapacity { max: SESSIONS_MAX });
            }
        }
        Ok(Arc::clone(live.entry(id.clone()).or_default()))
    }

    fn is_owned(&self, id: &SessionId) -> bool {
        self.shared.ports.bus.has_owner(id)
    }

    /// Tells the observers of a session that is live and that nobody has. When one refuses it, it is let go.
    async fn announce(
        &self,
        session: &DefaultSession,
        info: &SessionCreateInfo,
        slot: &mut Option<Opening>,
    ) -> Result<(), AgentError> {
        let refused = self.shared.embedding.observers.iter().find_map(|observer| {
            let told = AssertUnwindSafe(|| observer.on_session_created(session, info));
            catch_unwind(told).unwrap_or_else(|_| Err("it panicked".into())).err()
        });
        let Some(source) = refused else { return Ok(()) };
        // An owner that has gone meanwhile has let go already.
        drop(self.shared.ports.bus.request(session.id(), Command::Close).await);
        if let Some(opening) = slot.take() {
            // A task that died has let go, too.
            drop(opening.ending.wait().await);
        }
        Err(AgentError::Observer { session: session.id().clone(), source })
    }

    pub(crate) fn downgrade(&self) -> WeakCore {
        WeakCore(Arc::downgrade(&self.shared))
    }

    /// The end of the session's task, once somebody has opened it in this process.
    async fn ending(&self, id: &SessionId) -> Option<Ending> {
        let slot =
            { self.shared.live.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned() }?;
        let slot = slot.lock().await;
        slot.as_ref().map(|opening| opening.ending.clone())
    }

    /// How the session's task ended, once it has; pending while it lives; at once when there is none.
    pub(crate) async fn ended(&self, id: &SessionId) -> Result<(), JournalError> {
        match self.ending(id).await {
            Some(ending) => ending.wait().await,
            None => Ok(()),
        }
    }
}

fn store(ports: &Ports, limits: &Arc<RuntimeLimits>, ids: Arc<dyn Ids>) -> Store {
    Store::from(Means {
        journal: Arc::clone(&ports.journal),
        catalog: Arc::clone(&ports.catalog),
        blobs: Arc::clone(&ports.blobs),
        clock: Arc::clone(&ports.clock),
        ids,
        limits: Arc::clone(limits),
    })
}
