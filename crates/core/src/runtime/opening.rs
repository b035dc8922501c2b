//! How a session comes to live: what it needs is found and checked, its journal is created or claimed, and its task is started.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};

use super::ending::{Ending, ending};
use super::{DefaultAgentCore, Started};
use crate::agent::emitter::EventEmitter;
use crate::agent::error::AgentError;
use crate::agent::observer::SessionCreateInfo;
use crate::agent::origin::{Backends, LoadSession, NewSession};
use crate::agent::registry::{
    PEERS, SEND_MESSAGE, SPAWN_AGENT, StaticToolRegistry, ToolRegistry,
    filter_registry_by_allowlist,
};
use crate::event::{Entry, Event, SCHEMA_VERSION, SessionCreated};
use crate::ids::{Seq, SessionId};
use crate::ports::hook::HookTable;
use crate::ports::journal::{Fence, Frame, JournalError};
use crate::ports::tool::{Place, SessionToolsError};
use crate::registry::with_own;
use crate::session::birth::birth;
use crate::session::fold::Folded;
use crate::session::inbox::Inbox;
use crate::session::log::Log;
use crate::session::recover::{Recovery, recover};
use crate::session::trace::{AssessmentSource, Assessments, Line, Opened, Trace};
use crate::session::{SessionTask, Source, Surroundings, told, usable};
use crate::spec::rule::{Rule, check_rules};
use crate::spec::{Comms, SessionSpec, check_external};
use crate::turn::grants::load;
use crate::turn::permission::Saves;
use crate::turn::registry::Toolbox;
use crate::turn::{TurnRunner, external};

impl DefaultAgentCore {
    /// What a session works with. The check is the same for a new session, a fork and one from the store.
    pub(super) async fn toolbox(
        &self,
        spec: &SessionSpec,
        comms: Option<&Comms>,
        backends: &Backends,
    ) -> Result<Arc<Toolbox>, AgentError> {
        let mut toolbox = self.build(spec, backends).await?;
        let pointless = pointless(spec, comms, toolbox.registry.as_ref());
        if !pointless.is_empty() {
            toolbox.registry = self.shared.narrowed.without(&toolbox.registry, pointless);
        }
        if let Some(dispatcher) = &backends.dispatcher {
            let joined = external::join(toolbox.registry, dispatcher);
            toolbox.registry = joined.map_err(AgentError::Invalid)?;
        }
        let own = toolbox.registry.schemas().iter().map(|schema| schema.name.as_str()).collect();
        check_external(&spec.settings.external_tools, &own).map_err(AgentError::Invalid)?;
        Ok(self.shared.toolboxes.one_of(Arc::new(toolbox)))
    }

    async fn build(&self, spec: &SessionSpec, backends: &Backends) -> Result<Toolbox, AgentError> {
        let invalid = |why: String| AgentError::InvalidCwd { cwd: spec.cwd.clone(), why };
        if let Some(relative) =
            std::iter::once(&spec.cwd).chain(&spec.roots).find(|path| !path.is_absolute())
        {
            return Err(invalid(format!("{} is not an absolute path", relative.display())));
        }
        spec.settings.turn.check().map_err(AgentError::Invalid)?;
        if let Some(output) = &spec.settings.output {
            output.check().map_err(AgentError::Invalid)?;
        }
        spec.modes.policy(&spec.settings.mode)?;
        check_rules(&spec.settings.rules)
            .map_err(|error| AgentError::Invalid(error.to_string()))?;
        let (place, model) = (Place::of(spec), backends.model.clone());
        if let (Some(tools), Some(files), Some(shell)) =
            (&backends.tools, &backends.files, &backends.shell)
        {
            let (files, shell) = (Arc::clone(files), Arc::clone(shell));
            let registry = allowed(spec, Arc::clone(tools))?;
            return Ok(Toolbox { registry, files, shell, place, model });
        }
        let (clock, within_ms) = (&self.shared.ports.clock, self.shared.limits.tools_ms);
        let deadline = clock.sleep_until(clock.now().after(within_ms));
        let built = match select(self.shared.ports.tools.build(spec), deadline).await {
            Either::Left((built, _)) => built.map_err(|error| match error {
                SessionToolsError::Place { why } => invalid(why),
                SessionToolsError::Server { server, why } => AgentError::McpStartup { server, why },
            })?,
            Either::Right(((), _)) => return Err(AgentError::ToolsTimeout { within_ms }),
        };
        let tools = backends.tools.clone().unwrap_or(built.tools);
        Ok(Toolbox {
            registry: allowed(spec, tools)?,
            files: backends.files.clone().unwrap_or(built.files),
            shell: backends.shell.clone().unwrap_or(built.shell),
            place,
            model,
        })
    }

    pub(super) async fn create(
        &self,
        id: &SessionId,
        new: NewSession,
    ) -> Result<Started, AgentError> {
        let NewSession { spec, comms, input, backends, .. } = new;
        comms.as_ref().map_or(Ok(()), Comms::check).map_err(AgentError::Invalid)?;
        let toolbox = self.toolbox(&spec, comms.as_ref(), &backends).await?;
        let found = backends.models(&self.shared.ports.models).resolve(&spec.settings.model);
        usable::check(&spec.settings, found.as_ref().map(|model| model.info()))?;
        // A subagent has the chain of its parent; what of it cannot be used is passed over.
        if spec.depth == 0 {
            let models = backends.models(&self.shared.ports.models);
            usable::check_fallback(&spec.settings, |selection| {
                models.resolve(selection).map(|model| model.info().clone())
            })?;
        }
        // A subagent has what its parent has, and nothing that was granted since.
        let spec = match spec.depth {
            0 => self.with_saved_grants(spec).await,
            _ => spec,
        };
        let (node, at) = (self.shared.node.clone(), self.shared.ports.clock.now());
        let created =
            SessionCreated { id: id.clone(), schema: SCHEMA_VERSION, node, spec, forked: None };
        let event = Event::SessionCreated(Box::new(created));
        let first = Entry { seq: 1, at, turn: None, scope: Vec::new(), event };
        let input = input.map(|input| *input);
        let more =
            birth(&first, comms, input, &self.shared.limits).map_err(AgentError::Rejected)?;
        let (log, entries) = self.create_log(id, (first, more)).await?;
        for entry in entries {
            self.emitter(id).publish(told((*entry).clone()));
        }
        let (fence, folded) = log.into_parts();
        let info = SessionCreateInfo { is_new: true, ..SessionCreateInfo::of(&folded.state) };
        Ok((self.start(fence, folded, (toolbox, Vec::new())).await?, info))
    }

    /// A journal with its first entry, and what the session begins with besides.
    pub(super) async fn create_log(
        &self,
        id: &SessionId,
        first: (Entry, Vec<Event>),
    ) -> Result<(Log, Vec<Arc<Entry>>), AgentError> {
        // The recording begins after the first entry: it is part of what the replayed task is given.
        let store = self.store(Trace::default());
        let fence = Fence::new_session(id.clone(), self.shared.node.clone());
        Log::create(store, fence, first).await.map_err(|error| match error {
            // Somebody has written under this id before.
            JournalError::Conflict { .. } | JournalError::Fenced { .. } => {
                AgentError::DuplicateSessionId { session: id.clone() }
            }
            error => AgentError::Store(error),
        })
    }

    /// What was granted in the folder goes into the session's first entry: a resume decides by it, whatever was granted or taken back since.
    async fn with_saved_grants(&self, mut spec: SessionSpec) -> SessionSpec {
        let ports = &self.shared.ports;
        if let Some(grants) = &ports.grants {
            let until = ports.clock.now().after(self.shared.limits.grants_ms);
            let saved = load(grants.as_ref(), &spec.cwd, ports.clock.as_ref(), until).await;
            let mut known = saved.into_iter().filter(|rule| Rule::parse(rule).is_ok()).peekable();
            if known.peek().is_some() {
                Arc::make_mut(&mut spec.settings).rules.grants.extend(known);
            }
        }
        spec
    }

    pub(super) async fn resume(&self, load: LoadSession) -> Result<Started, AgentError> {
        let LoadSession { id, recovery, change, backends } = load;
        let restore = |source| match source {
            JournalError::NotFound { session } => AgentError::SessionNotFound { session },
            source => AgentError::Restore { session: id.clone(), source },
        };
        // Folding before claiming: a session that cannot be read, changed or worked in is left alone.
        let found = self.in_time(&id, self.look_up(&id)).await.map_err(restore)?;
        let state = &found.1.state;
        if let Some(forked) = state.forked.as_ref().filter(|forked| !forked.whole) {
            return Err(AgentError::ForkCut { session: id, from: forked.point.session.clone() });
        }
        let change = change.filter(|change| !change.is_empty());
        let mut spec = state.spec.clone();
        if let Some(change) = &change {
            let models = backends.models(&self.shared.ports.models);
            usable::check_load(state, (&self.shared.limits, models.as_ref()), change)?;
            let spec = Arc::make_mut(&mut spec);
            Arc::make_mut(&mut spec.settings).apply(change);
        }
        let toolbox = self.toolbox(&spec, state.comms.as_deref(), &backends).await?;
        let taken = self.in_time(&id, self.take_over(found, recovery)).await.map_err(restore)?;
        let (fence, folded, mut events) = taken;
        events.extend(change.map(Event::SessionConfigured));
        let info = SessionCreateInfo { spec, ..SessionCreateInfo::of(&folded.state) };
        Ok((self.start(fence, folded, (toolbox, events)).await.map_err(restore)?, info))
    }

    /// The store's answer, or that it took too long.
    pub(super) async fn in_time<T>(
        &self,
        id: &SessionId,
        answer: impl Future<Output = Result<T, JournalError>>,
    ) -> Result<T, JournalError> {
        let clock = &self.shared.ports.clock;
        let deadline = clock.sleep_until(clock.now().after(self.shared.limits.open_ms));
        match select(pin!(answer), deadline).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), _)) => {
                let why = format!("the store gave session {id} not in time; try again");
                Err(JournalError::Unavailable { why })
            }
        }
    }

    /// Where the session's journal ends, and what it folds into.
    async fn look_up(&self, id: &SessionId) -> Result<(Fence, Folded), JournalError> {
        let store = self.store(Trace::default());
        let observed = store.journal.tail(id).await?;
        Ok((observed, store.fold(id).await?))
    }

    /// Makes this process the session's writer: its fence, its state, and what its task begins with.
    async fn take_over(
        &self,
        (observed, mut folded): (Fence, Folded),
        recovery: Recovery,
    ) -> Result<(Fence, Folded, Vec<Event>), JournalError> {
        let store = self.store(Trace::default());
        let state = &mut folded.state;
        let id = state.id.clone();
        let at = store.clock.now().max(state.updated);
        let events = recover(state, recovery, &self.shared.limits, at);
        let claim = Frame::claim(store.ids.frame(), &observed, self.shared.node.clone(), at);
        let fence = store.journal.claim(&observed, &claim).await?;
        for entry in claim.entries(&id)? {
            let corrupt =
                |why: String| JournalError::Corrupt { session: id.clone(), seq: entry.seq, why };
            state.apply(&entry).map_err(|error| corrupt(error.to_string()))?;
            self.emitter(&id).publish(told(entry));
        }
        Ok((fence, folded, events))
    }

    pub(super) fn emitter(&self, id: &SessionId) -> EventEmitter {
        EventEmitter::new(Arc::clone(&self.shared.ports.bus), id.clone())
    }

    /// Spawns the task of a session that this process writes.
    pub(super) async fn start(
        &self,
        fence: Fence,
        mut folded: Folded,
        (toolbox, recovery): (Arc<Toolbox>, Vec<Event>),
    ) -> Result<Ending, JournalError> {
        self.share(&mut folded.state.spec);
        let (ports, limits) = (&self.shared.ports, Arc::clone(&self.shared.limits));
        let (id, at) = (folded.state.id.clone(), ports.clock.now().max(folded.state.updated));
        let (hooks, trace) = (ports.hooks.hooks(&folded.state.spec), Trace(ports.trace.clone()));
        if trace.0.is_some() {
            let opened = self.opened(&fence, &toolbox, recovery.clone()).await?;
            let opened = Opened { at, hooks: hooks.clone(), ..opened };
            trace.write(|| Line::Opened(Box::new(opened)));
        }
        let store = self.store(trace.clone());
        let around = Surroundings {
            feed: self.emitter(&id),
            catalog: Arc::clone(&ports.catalog),
            clock: Arc::clone(&ports.clock),
            ids: Arc::clone(&store.ids),
            models: with_own(toolbox.model.as_ref(), &ports.models),
            limits: Arc::clone(&limits),
            saves: self.saves(),
            trace: trace.clone(),
        };
        let (inbox, outbox) = Inbox::new(ports.bus.serve(&id, fence.epoch));
        let assessments = Assessments::new(
            AssessmentSource::Toolbox(Arc::clone(&toolbox)),
            HashMap::new(),
            trace,
        );
        let effects = TurnRunner::new(
            id,
            toolbox,
            Arc::clone(&ports.blobs),
            Arc::clone(&ports.clock),
            (limits, outbox),
        )
        .with_grants(ports.grants.clone())
        .with_attach(None)
        .with_core(self.downgrade())
        .with_hooks(Arc::clone(&ports.hooks));
        let log = Log::new(store, fence, folded);
        let task = SessionTask::new(around, log, Source::Live(inbox), Some(effects), assessments);
        let mut task = Box::new(task.with_hooks(hooks));
        if !task.is_listed() {
            // It is on the list as it stands before anybody hears of it.
            task.project_last().await;
        }
        let (teller, ending) = ending();
        #[expect(
            clippy::disallowed_methods,
            reason = "the ending in the session's slot tells its owner when the task ends"
        )]
        tokio::spawn(async move {
            let result = task.live(at, recovery).await;
            if let Err(error) = &result {
                tracing::error!(%error, "a session ended");
            }
            teller.tell(result);
        });
        Ok(ending)
    }

    /// Lets a session have what other ones have that are made of the same.
    fn share(&self, spec: &mut Arc<SessionSpec>) {
        let settings = self.shared.settings.one_of(Arc::clone(&spec.settings));
        if !Arc::ptr_eq(&settings, &spec.settings) {
            Arc::make_mut(spec).settings = settings;
        }
        *spec = self.shared.specs.one_of(Arc::clone(spec));
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
            limits: *self.shared.limits,
            saves: self.saves(),
            hooks: HookTable::default(),
        })
    }

    fn saves(&self) -> Saves {
        if self.shared.ports.grants.is_some() { Saves::InFolder } else { Saves::Nowhere }
    }
}

/// Of the tools those that the session's list names.
fn allowed(
    spec: &SessionSpec,
    tools: Arc<dyn ToolRegistry>,
) -> Result<Arc<dyn ToolRegistry>, AgentError> {
    Ok(match &spec.tools {
        None => tools,
        // A subagent has names of what its parent had. One that is not there any more must not keep it from being opened and ended.
        Some(names) if spec.depth > 0 => {
            let there = names.iter().filter_map(|name| tools.get(name));
            Arc::new(StaticToolRegistry::new(there.map(Arc::clone)))
        }
        Some(patterns) => {
            let chosen = filter_registry_by_allowlist(tools.as_ref(), patterns);
            Arc::new(chosen.map_err(|error| AgentError::Invalid(error.to_string()))?)
        }
    })
}

/// Of these tools those that would be of no use: opening subagents where no session may stand below it, and writing to others where nobody could write
/// back.
fn pointless(
    spec: &SessionSpec,
    comms: Option<&Comms>,
    tools: &dyn ToolRegistry,
) -> Vec<&'static str> {
    let mut pointless = Vec::new();
    if spec.depth >= spec.settings.turn.depth_max() {
        pointless.push(SPAWN_AGENT);
    }
    if comms.is_none() {
        pointless.extend([SEND_MESSAGE, PEERS]);
    }
    pointless.retain(|name| tools.get(name).is_some());
    pointless
}
