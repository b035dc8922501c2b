//! The runtime: it opens sessions, keeps the live ones, and hands out the two ways to each: commands and events.

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{Either, select};
use tokio::sync::watch;

use crate::command::{Admit, Command, Rejection, Reply};
use crate::event::{
    AgentEvent, Delivery, Entry, Event, InputSource, SCHEMA_VERSION, SessionCreated, TurnEnded,
};
use crate::ids::{NodeId, Seq, SessionId};
use crate::limits::RuntimeLimits;
use crate::message::Part;
use crate::ports::bus::{Bus, BusError};
use crate::ports::clock::{Clock, Ids};
use crate::ports::journal::{Blobs, Catalog, Fence, Frame, Journal, JournalError};
use crate::ports::model::Models;
use crate::ports::tool::{Place, SessionToolFactory};
use crate::session::feed::EventStream;
use crate::session::gate::PermissionGate;
use crate::session::inbox::Inbox;
use crate::session::log::{Log, Store};
use crate::session::recover::{Recovery, recover};
use crate::session::state::State;
use crate::session::trace::{
    AssessmentSource, Assessments, Line, Opened, RecordedIds, Trace, TraceSink,
};
use crate::session::{SessionTask, Source, Surroundings, told};
use crate::spec::SessionSpec;
use crate::spec::rule::check_rules;
use crate::turn::Effects;
use crate::turn::registry::Toolbox;

/// How often a command is sent again when its session was going to sleep that moment.
const WAKES_MAX: u32 = 5;
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
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Identifiers and chance.
    pub ids: Arc<dyn Ids>,
    /// Takes a recording of every session this process opens.
    pub trace: Option<Arc<dyn TraceSink>>,
}

/// Where a session comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// Nowhere: a new one.
    New(Box<SessionSpec>),
    /// The store.
    Resume {
        /// Which.
        id: SessionId,
        /// What to do with a turn that a crash left open. A session that is live in this process is not touched.
        recovery: Recovery,
    },
}

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What it is told to be cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Its folder cannot be worked in.
    #[error("cannot work in {}: {why}", cwd.display())]
    InvalidCwd {
        /// The folder.
        cwd: PathBuf,
        /// Why not.
        why: String,
    },
    /// This process keeps as many sessions as it may.
    #[error("{max} sessions are open in this process; close some first")]
    OverCapacity {
        /// How many it may.
        max: usize,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] JournalError),
}

/// Why a session did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It was refused; nothing happened.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The session could not be woken.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The way to it.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Its store failed, or another writer took it over.
    #[error(transparent)]
    Store(#[from] JournalError),
}

/// The runtime of one process. Cheap to clone; all clones are the same runtime.
#[derive(Debug, Clone)]
pub struct DefaultAgentCore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ports: Ports,
    limits: RuntimeLimits,
    node: NodeId,
    live: Mutex<HashMap<SessionId, Slot>>,
}

/// A place for a session: whoever holds the lock opens it.
type Slot = Arc<tokio::sync::Mutex<Option<watch::Receiver<Ended>>>>;

/// Whether somebody opens the slot's session this moment, or its task lives.
fn is_in_use(slot: &Slot) -> bool {
    let lives = |ended: &watch::Receiver<Ended>| ended.borrow().is_none();
    // Whoever is about to lock it holds it, too.
    Arc::strong_count(slot) > 1
        || slot.try_lock().map_or(true, |slot| slot.as_ref().is_some_and(lives))
}

/// How a session's task ended; absent while it lives.
type Ended = Option<Result<(), JournalError>>;

/// A handle of a session: it may be awake or asleep. Cheap to clone; dropping it does nothing to the session.
#[derive(Debug, Clone)]
pub struct DefaultSession {
    core: DefaultAgentCore,
    id: SessionId,
}

impl DefaultAgentCore {
    /// A runtime on these ports, named `node` towards the store.
    #[must_use]
    pub fn new(ports: Ports, limits: RuntimeLimits, node: NodeId) -> Self {
        Self { shared: Arc::new(Shared { ports, limits, node, live: Mutex::default() }) }
    }

    /// Opens a session: the one way in. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`]; a session that could not be opened is as it was.
    pub async fn open(&self, origin: Origin) -> Result<DefaultSession, OpenError> {
        let id = match &origin {
            Origin::New(_) => self.shared.ports.ids.session(),
            Origin::Resume { id, .. } => id.clone(),
        };
        let slot = self.slot(&id)?;
        let mut slot = slot.lock().await;
        if let Some(ended) = slot.as_mut() {
            if ended.borrow().is_none() && self.is_owned(&id) {
                return Ok(DefaultSession { core: self.clone(), id });
            }
            // The task that is going to sleep has closed its queue; it lets go before the next one claims.
            if ended.wait_for(Option::is_some).await.is_err() {
                tracing::warn!(session = %id, "the task of the session died");
            }
        }
        let ended = match origin {
            Origin::New(spec) => self.create(&id, *spec).await?,
            Origin::Resume { recovery, .. } => self.resume(&id, recovery).await?,
        };
        *slot = Some(ended);
        Ok(DefaultSession { core: self.clone(), id })
    }

    /// A handle of a session that exists, asleep or not.
    #[must_use]
    pub fn session(&self, id: SessionId) -> DefaultSession {
        DefaultSession { core: self.clone(), id }
    }

    /// What the runtime reaches the world by.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.shared.ports
    }

    /// Everything that happened and happens to a session after the entry `after` (0 for all). Reading never wakes it.
    #[must_use]
    pub fn events(&self, id: &SessionId, after: Seq) -> EventStream {
        EventStream::new(
            self.store(Trace::default()),
            Arc::clone(&self.shared.ports.bus),
            id.clone(),
            after,
        )
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
        self.store(Trace::default()).fold(id).await
    }

    fn store(&self, trace: Trace) -> Store {
        let ports = &self.shared.ports;
        let ids: Arc<dyn Ids> = match trace.0 {
            None => Arc::clone(&ports.ids),
            Some(_) => Arc::new(RecordedIds { inner: Arc::clone(&ports.ids), trace }),
        };
        Store {
            journal: Arc::clone(&ports.journal),
            blobs: Arc::clone(&ports.blobs),
            clock: Arc::clone(&ports.clock),
            ids,
            limits: self.shared.limits,
        }
    }

    /// The slot of a session. Slots of sessions that sleep are swept when the room runs out.
    fn slot(&self, id: &SessionId) -> Result<Slot, OpenError> {
        let mut live = self.shared.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.len() >= SESSIONS_MAX && !live.contains_key(id) {
            live.retain(|_, slot| is_in_use(slot));
            if live.len() >= SESSIONS_MAX {
                return Err(OpenError::OverCapacity { max: SESSIONS_MAX });
            }
        }
        Ok(Arc::clone(live.entry(id.clone()).or_default()))
    }

    fn is_owned(&self, id: &SessionId) -> bool {
        self.shared.ports.bus.has_owner(id)
    }

    fn toolbox(&self, spec: &SessionSpec) -> Result<Arc<Toolbox>, OpenError> {
        let invalid = |why: String| OpenError::InvalidCwd { cwd: spec.cwd.clone(), why };
        if let Some(relative) =
            std::iter::once(&spec.cwd).chain(&spec.roots).find(|path| !path.is_absolute())
        {
            return Err(invalid(format!("{} is not an absolute path", relative.display())));
        }
        let mode = spec.modes.policy(&spec.settings.mode);
        mode.map_err(|error| OpenError::Invalid(error.to_string()))?;
        check_rules(&spec.settings.rules).map_err(|error| OpenError::Invalid(error.to_string()))?;
        let place = Place { cwd: spec.cwd.clone(), roots: spec.roots.clone() };
        let tools = self.shared.ports.tools.build(&place).map_err(invalid)?;
        Ok(Arc::new(Toolbox {
            registry: tools.tools,
            files: tools.files,
            shell: tools.shell,
            place,
        }))
    }

    async fn create(
        &self,
        id: &SessionId,
        spec: SessionSpec,
    ) -> Result<watch::Receiver<Ended>, OpenError> {
        let toolbox = self.toolbox(&spec)?;
        let (node, at) = (self.shared.node.clone(), self.shared.ports.clock.now());
        let created =
            SessionCreated { id: id.clone(), schema: SCHEMA_VERSION, node: node.clone(), spec };
        let event = Event::SessionCreated(Box::new(created));
        let first = Entry { seq: 1, at, turn: None, scope: Vec::new(), event };
        // The recording begins after the first entry: it is part of what the replayed task is given.
        let store = self.store(Trace::default());
        let (log, entry) = Log::create(store, Fence::new_session(id.clone(), node), first).await?;
        self.shared.ports.bus.publish(id, told((*entry).clone()));
        let (fence, state) = log.into_parts();
        Ok(self.start(fence, state, (toolbox, Vec::new())).await?)
    }

    async fn resume(
        &self,
        id: &SessionId,
        recovery: Recovery,
    ) -> Result<watch::Receiver<Ended>, OpenError> {
        let clock = &self.shared.ports.clock;
        let deadline = clock.sleep_until(clock.now().after(self.shared.limits.open_ms));
        let taken = match select(pin!(self.take_over(id, recovery)), deadline).await {
            Either::Left((taken, _)) => taken?,
            Either::Right(((), _)) => {
                let why = format!("the store gave session {id} not in time; try again");
                return Err(JournalError::Unavailable { why }.into());
            }
        };
        let (fence, state, work) = taken;
        Ok(self.start(fence, state, work).await?)
    }

    /// Makes this process the session's writer: its fence, its state, and what its task begins with.
    async fn take_over(
        &self,
        id: &SessionId,
        recovery: Recovery,
    ) -> Result<(Fence, State, (Arc<Toolbox>, Vec<Event>)), OpenError> {
        let store = self.store(Trace::default());
        let observed = store.journal.tail(id).await?;
        // Folding before claiming: a session that cannot be read or worked in is left alone.
        let mut state = store.fold(id).await?;
        let toolbox = self.toolbox(&state.spec)?;
        let at = store.clock.now().max(state.updated);
        let events = recover(&state, recovery, &self.shared.limits, at);
        let claim = Frame::claim(store.ids.frame(), &observed, self.shared.node.clone(), at);
        let fence = store.journal.claim(&observed, &claim).await?;
        for entry in claim.entries(id)? {
            let corrupt =
                |why: String| JournalError::Corrupt { session: id.clone(), seq: entry.seq, why };
            state.apply(&entry).map_err(|error| corrupt(error.to_string()))?;
            self.shared.ports.bus.publish(id, told(entry));
        }
        Ok((fence, state, (toolbox, events)))
    }

    /// Spawns the task of a session that this process writes.
    async fn start(
        &self,
        fence: Fence,
        state: State,
        (toolbox, recovery): (Arc<Toolbox>, Vec<Event>),
    ) -> Result<watch::Receiver<Ended>, JournalError> {
        let (ports, limits) = (&self.shared.ports, self.shared.limits);
        let (id, at) = (state.id.clone(), ports.clock.now().max(state.updated));
        let trace = Trace(ports.trace.clone());
        if trace.0.is_some() {
            let opened = self.opened(&fence, &toolbox, recovery.clone()).await?;
            trace.write(|| Line::Opened(Box::new(Opened { at, ..opened })));
        }
        let store = self.store(trace.clone());
        let around = Surroundings {
            bus: Arc::clone(&ports.bus),
            catalog: Arc::clone(&ports.catalog),
            clock: Arc::clone(&ports.clock),
            ids: Arc::clone(&store.ids),
            models: Arc::clone(&ports.models),
            limits,
            trace: trace.clone(),
        };
        let (inbox, outbox) = Inbox::new(ports.bus.serve(&id, fence.epoch));
        let assessments = Assessments::new(
            AssessmentSource::Toolbox(Arc::clone(&toolbox)),
            HashMap::new(),
            trace,
        );
        let effects = Effects::new(
            id,
            toolbox,
            Arc::clone(&ports.blobs),
            Arc::clone(&ports.clock),
            (limits, outbox),
        );
        let task = Box::new(SessionTask::new(
            around,
            Log::new(store, fence, state),
            Source::Live(inbox),
            Some(effects),
            assessments,
        ));
        let (tell, ended) = watch::channel(None);
        #[expect(
            clippy::disallowed_methods,
            reason = "the watch in the session's slot tells its owner when the task ends"
        )]
        tokio::spawn(async move {
            let result = task.live(at, recovery).await;
            if let Err(error) = &result {
                tracing::error!(%error, "a session ended");
            }
            // Nobody may be waiting.
            drop(tell.send(Some(result)));
        });
        Ok(ended)
    }

    async fn opened(
        &self,
        fence: &Fence,
        toolbox: &Toolbox,
        recovery: Vec<Event>,
    ) -> Result<Opened, JournalError> {
        let mut entries = Vec::new();
        loop {
            let more = self.entries(&fence.session, entries.len() as Seq).await?;
            if more.is_empty() {
                break;
            }
            entries.extend(more);
        }
        Ok(Opened {
            version: crate::replay::VERSION,
            session: fence.session.clone(),
            node: fence.node.clone(),
            epoch: fence.epoch,
            head: fence.head,
            at: crate::ids::Timestamp::default(),
            recovery,
            entries,
            schemas: toolbox.registry.schemas().to_vec(),
            limits: self.shared.limits,
        })
    }

    /// How the session's task ended, once it has; pending while it lives; at once when there is none.
    async fn ended(&self, id: &SessionId) -> Result<(), JournalError> {
        let slot =
            { self.shared.live.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned() };
        let Some(slot) = slot else { return Ok(()) };
        let ended = slot.lock().await.clone();
        let Some(mut ended) = ended else { return Ok(()) };
        match ended.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Ok(())),
            Err(_) => Err(JournalError::Unavailable {
                why: "the task of the session died; this is a defect of Oarlock".to_owned(),
            }),
        }
    }
}

impl DefaultSession {
    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Tells the session something; wakes it if it sleeps. A turn that a crash had left open is ended as `interrupted` then.
    ///
    /// # Errors
    /// [`SessionError`]; `Bus(Lost)` alone leaves it open whether the command was done.
    pub async fn tell(&self, command: Command) -> Result<Reply, SessionError> {
        let core = &self.core;
        for _ in 0..WAKES_MAX {
            match core.shared.ports.bus.request(&self.id, command.clone()).await {
                Ok(Reply::Rejected(rejection)) => return Err(rejection.into()),
                Ok(reply) => return Ok(reply),
                Err(BusError::NoOwner { .. }) if command == Command::Close => {
                    return Ok(Reply::Done);
                }
                Err(BusError::NoOwner { .. }) => {}
                Err(BusError::Lost { session }) => {
                    core.ended(&self.id).await?;
                    return Err(BusError::Lost { session }.into());
                }
                Err(error @ BusError::Overloaded { .. }) => return Err(error.into()),
            }
            core.open(Origin::Resume { id: self.id.clone(), recovery: Recovery::Interrupt })
                .await?;
        }
        Err(BusError::NoOwner { session: self.id.clone() }.into())
    }

    /// The open questions of the session.
    #[must_use]
    pub fn permissions(&self) -> PermissionGate {
        PermissionGate::new(self.clone())
    }

    /// The runtime that this handle belongs to.
    #[must_use]
    pub fn core(&self) -> &DefaultAgentCore {
        &self.core
    }

    /// Tells the session something if it is awake.
    pub(crate) async fn ask(&self, command: Command) -> Result<Reply, BusError> {
        self.core.shared.ports.bus.request(&self.id, command).await
    }

    /// Everything that happened and happens after the entry `after` (0 for all).
    #[must_use]
    pub fn events(&self, after: Seq) -> EventStream {
        self.core.events(&self.id, after)
    }

    /// Admits an input for a turn that starts at once.
    ///
    /// # Errors
    /// `Rejected(Busy)` when a turn is running, and the other [`SessionError`]s.
    pub async fn prompt(&self, content: Vec<Part>) -> Result<Seq, SessionError> {
        let admit =
            Admit { key: None, source: InputSource::User, delivery: Delivery::Now, content };
        match self.tell(Command::Admit(admit)).await? {
            Reply::Admitted(seq) => Ok(seq),
            Reply::Done | Reply::Attached(_) | Reply::Status(_) | Reply::Rejected(_) => {
                Err(BusError::Lost { session: self.id.clone() }.into())
            }
        }
    }

    /// Runs one turn to its end. Dropping the future does not stop the turn: [`Command::Cancel`] does.
    ///
    /// # Errors
    /// Those of [`DefaultSession::prompt`], and the session's own when it ends before the turn does.
    pub async fn run_turn(&self, content: Vec<Part>) -> Result<TurnEnded, SessionError> {
        let input = self.prompt(content).await?;
        let mut events = self.events(input);
        let mut ours = None;
        loop {
            let AgentEvent::Entry(entry) = self.next_event(&mut events).await? else { continue };
            match &entry.event {
                Event::TurnStarted(started) if started.inputs.contains(&input) => ours = entry.turn,
                Event::TurnEnded(ended) if ours.is_some() && entry.turn == ours => {
                    return Ok(ended.clone());
                }
                _ => {}
            }
        }
    }

    /// The next event, or the session's error when its task ends with one.
    ///
    /// # Errors
    /// When the journal cannot be read or the session's task has ended: there will be no further event until somebody wakes it.
    pub async fn next_event(&self, events: &mut EventStream) -> Result<AgentEvent, SessionError> {
        let ended = std::pin::pin!(self.core.ended(&self.id));
        let next = std::pin::pin!(events.next());
        match select(next, ended).await {
            Either::Left((event, _)) => Ok(event?),
            Either::Right((Err(error), _)) => Err(error.into()),
            // What it committed before it ended is still to be read.
            Either::Right((Ok(()), next)) => Ok(next.await?),
        }
    }

    /// Cancels the running turn if there is one, lets go of the session and ends its task.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn close(&self) -> Result<(), SessionError> {
        match self.tell(Command::Close).await {
            Ok(_) => Ok(self.core.ended(&self.id).await?),
            Err(error) => Err(error),
        }
    }
}
