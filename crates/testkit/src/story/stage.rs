//! Plays a story: one process after another on one store, on one virtual clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use oarlock_core::command::{Admit, Command};
use oarlock_core::event::{AgentEvent, Delivery, Entry, Goal, InputSource};
use oarlock_core::ids::{CallId, SessionId, Timestamp, TurnNo};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::{MemoryGrants, MemoryStore};
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::journal::{Catalog, Filter, Journal};
use oarlock_core::ports::model::{
    Model, ModelCandidate, ModelError, ModelErrorKind, ModelEvent, ModelInfo, ModelRequest, Models,
};
use oarlock_core::session::state::{CallPhase, State};
use oarlock_core::session::trace::{TraceLine, TraceSink};
use oarlock_core::spec::ModelSelection;
use oarlock_core::{
    DefaultAgentCore, DefaultSession, EventStream, LoadSession, LocalBus, Origin, Ports, Recovery,
    Reply,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::clock::{CountedIds, VirtualClock, pass};
use crate::kit::{node, spec};
use crate::model::{Count, ScriptedModel, selection};
use crate::mortal::MortalJournal;
use crate::story::{Beat, Story, Told, tools};
use crate::tool::{SameTools, TestTool};

/// A command that is not answered within this time never will be.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// A session that has not come to rest within this time never will.
const REST_MAX: Duration = Duration::from_secs(48 * 3600);

/// The default ones, but that even a short life meets checkpoints.
const LIMITS: RuntimeLimits =
    RuntimeLimits { checkpoint_entries: 8, checkpoint_last_entries: 3, ..RuntimeLimits::DEFAULT };

type Heard = Arc<Mutex<Vec<(Arc<Entry>, u64)>>>;

/// Plays a story to its end. Not to be called within a runtime: it makes its own.
///
/// # Panics
/// When a command is not answered, or the session cannot be opened.
#[must_use]
pub fn play(story: &Story) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be made");
    runtime.block_on(async {
        let mut stage = Stage::open(story).await;
        for (wait, beat) in &story.beats {
            pass(*wait).await;
            stage.revive().await;
            stage.perform(beat).await;
        }
        stage.finish().await
    })
}

struct Stage {
    /// Outlives every process.
    store: MemoryStore,
    model: Arc<ScriptedModel>,
    tools: Vec<Arc<TestTool>>,
    clock: Arc<VirtualClock>,
    faults: u64,
    processes: u64,
    recovery: Recovery,
    process: Process,
    id: SessionId,
    heard: Heard,
    cancelled: Vec<(TurnNo, Timestamp)>,
    inputs: u32,
    admitted: Vec<u64>,
    recordings: Vec<Vec<TraceLine>>,
}

struct Process {
    core: DefaultAgentCore,
    journal: Arc<MortalJournal>,
    recorder: Arc<Recorder>,
    listener: Option<JoinHandle<()>>,
}

/// Keeps what a process records, each opening of the session for itself.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Vec<TraceLine>>>);

impl Recorder {
    fn take(&self) -> Vec<Vec<TraceLine>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TraceSink for Recorder {
    fn write(&self, line: &TraceLine) {
        let mut openings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let json = serde_json::to_string(line).expect("lines are JSON");
        if openings.is_empty() || json.starts_with(r#"{"opened""#) {
            openings.push(Vec::new());
        }
        openings.last_mut().expect("there is one").push(line.clone());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.journal.die();
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

impl Stage {
    async fn open(story: &Story) -> Self {
        let store = MemoryStore::new(node("store"));
        let (script, summaries) = (story.replies.clone(), story.summaries.clone());
        let model = ScriptedModel::summarising(script, summaries, Count::AsScripted);
        let (tools, clock) = (tools(), Arc::new(VirtualClock::new()));
        let process = Process::start(&store, (&model, &tools, &clock), (0, story.faults));
        let origin = Origin::from(spec(story.settings.clone()));
        let session = process.core.open(origin).await.expect("a new session opens");
        let id = session.id().clone();
        let heard = Heard::default();
        let mut stage = Self {
            store,
            model,
            tools,
            clock,
            faults: story.faults,
            processes: 1,
            recovery: Recovery::Continue,
            process,
            id,
            heard,
            cancelled: Vec::new(),
            inputs: 0,
            admitted: Vec::new(),
            recordings: Vec::new(),
        };
        stage.listen();
        stage
    }

    fn session(&self) -> DefaultSession {
        self.process.core.handle(self.id.clone())
    }

    async fn state(&self) -> State {
        let reader = Process::reader(&self.store, &self.clock);
        reader.state(&self.id).await.expect("the journal can be read")
    }

    /// Follows the session from where the last listener was.
    fn listen(&mut self) {
        let after = self
            .heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last()
            .map_or(0, |(e, _)| e.seq);
        let events = self.process.core.events(&self.id, after);
        let (heard, store, id) = (Arc::clone(&self.heard), self.store.clone(), self.id.clone());
        #[expect(clippy::disallowed_methods, reason = "the process that it listens to ends it")]
        let listener = tokio::spawn(hear(events, heard, (store, id)));
        self.process.listener = Some(listener);
    }

    /// Opens the session in further processes until one of them lives.
    async fn revive(&mut self) {
        let mut attempts = 0;
        while self.process.journal.is_dead() || attempts > 0 {
            // The death has cut the last recording.
            let mut recorded = self.process.recorder.take();
            recorded.pop();
            self.recordings.append(&mut recorded);
            let around = (&self.model, &self.tools, &self.clock);
            self.process = Process::start(&self.store, around, (self.processes, self.faults));
            self.processes += 1;
            let origin = Origin::Resume(LoadSession::new(self.id.clone(), self.recovery));
            match self.process.core.open(origin).await {
                Ok(_) => {
                    self.listen();
                    return;
                }
                Err(error) => assert!(attempts < 50, "the session does not open: {error}"),
            }
            attempts += 1;
        }
    }

    /// Tells the session something. What goes wrong because its process dies is found at the next beat.
    async fn tell(&self, command: Command) -> Option<Reply> {
        let session = self.session();
        let told = format!("{command:?}");
        let answer = timeout(ANSWER_MAX, session.tell(command)).await;
        answer.unwrap_or_else(|_| panic!("no answer to {told}")).ok()
    }

    async fn perform(&mut self, beat: &Beat) {
        match beat {
            Beat::Input(delivery, key) => {
                self.admit(*delivery, key.map(str::to_owned), None).await;
            }
            Beat::Pursue(max) => {
                let goal = goal(self.inputs, *max);
                self.admit(Delivery::Queue, None, Some(goal)).await;
            }
            Beat::Goal(max) => {
                let goal = max.map(|max| goal(self.inputs, max));
                self.tell(Command::SetGoal { goal }).await;
            }
            Beat::Withdraw => {
                let input = self.state().await.pending.first().map_or(2, |pending| pending.seq);
                self.tell(Command::Withdraw { input }).await;
            }
            Beat::Cancel => {
                let (turn, at) = (self.state().await.turn.map(|turn| turn.no), self.clock.now());
                let agreed = self.tell(Command::Cancel { turn: None }).await.is_some();
                self.cancelled.extend(turn.filter(|_| agreed).map(|turn| (turn, at)));
            }
            Beat::Answer(choice) => {
                let call = self.call(|phase| matches!(phase, CallPhase::Asked(_))).await;
                self.tell(Command::Answer { call, choice: *choice }).await;
            }
            Beat::Supply(outcome) => {
                let call = self.call(|phase| matches!(phase, CallPhase::Requested(_))).await;
                let content = vec![Part::text("supplied")];
                self.tell(Command::Supply { call, outcome: *outcome, content }).await;
            }
            Beat::Configure(change) => {
                self.tell(Command::Configure { change: change.clone(), expected: None }).await;
            }
            Beat::Compact => drop(self.tell(Command::Compact { instructions: None }).await),
            Beat::Edit => {
                let to = self.state().await.conversation.messages.len();
                let to = u32::try_from(to).expect("a test has few messages");
                let messages = vec![Message::User { parts: vec![Part::text("edited")] }];
                self.tell(Command::Edit { from: 0, to, messages }).await;
            }
            Beat::Archive => drop(self.tell(Command::Archive).await),
            Beat::Restore => drop(self.tell(Command::Restore).await),
            Beat::Close => drop(self.tell(Command::Close).await),
            Beat::Crash(recovery) => {
                self.recovery = *recovery;
                self.process.journal.die();
                self.revive().await;
            }
            Beat::Doom(writes, last, recovery) => {
                self.recovery = *recovery;
                self.process.journal.doom(*writes, *last);
            }
        }
    }

    async fn admit(&mut self, delivery: Delivery, key: Option<String>, goal: Option<Goal>) {
        self.inputs += 1;
        let content = vec![Part::text(format!("input {}", self.inputs))];
        let admit = Admit {
            key,
            source: InputSource::User,
            delivery,
            content,
            goal,
            output: None,
            peer: None,
        };
        if let Some(Reply::Admitted(seq)) = self.tell(Command::Admit(admit)).await {
            self.admitted.push(seq);
        }
    }

    /// The open call in that phase, or one that does not exist.
    async fn call(&self, fits: impl Fn(&CallPhase) -> bool) -> CallId {
        let state = self.state().await;
        let calls = state.turn.iter().flat_map(|turn| &turn.step).flat_map(|step| &step.calls);
        let found = calls.filter(|call| fits(&call.phase)).map(|call| call.called.call.clone());
        found.last().unwrap_or_else(|| CallId("none".into()))
    }

    async fn finish(mut self) -> Told {
        self.process.journal.spare();
        self.revive().await;
        // A claim whose answer was lost is in the journal, and nobody was told of it before somebody writes again.
        for _ in 0..50 {
            if self.tell(Command::Restore).await.is_some() {
                break;
            }
        }
        let rested = timeout(REST_MAX, self.rest()).await.is_ok();
        self.tell(Command::Close).await;
        // The listener hears the last entries.
        pass(10).await;
        let entries = self.entries().await;
        let reader = Process::reader(&self.store, &self.clock);
        let state = reader.state(&self.id).await.expect("the session can be read");
        let mut recorded = self.process.recorder.take();
        self.recordings.append(&mut recorded);
        let listed = self.store.list(&Filter::of(self.id.clone())).await;
        let summary =
            listed.expect("the list can be read").remove(0).summary.expect("it can be read");
        let ran = self.tools.iter().flat_map(|tool| {
            tool.ran().into_iter().map(|call| (call, tool.effect())).collect::<Vec<_>>()
        });
        Told {
            entries,
            requests: self.model.requests().into_iter().filter(|r| !r.is_summary()).collect(),
            ran: ran.collect(),
            heard: self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            cancelled: self.cancelled.clone(),
            admitted: self.admitted.clone(),
            recordings: std::mem::take(&mut self.recordings),
            deaths: usize::try_from(self.processes - 1).expect("a test has few processes"),
            state,
            store: self.store.clone(),
            summary,
            rested,
        }
    }

    /// Waits until no turn is open and no input waits. Something always happens on the way.
    async fn rest(&mut self) {
        let mut events = self.session().events(0);
        loop {
            let state = self.state().await;
            if state.turn.is_none() && state.pending.is_empty() {
                return;
            }
            if self.session().next_event(&mut events).await.is_err() {
                self.process.journal.die();
                self.revive().await;
                events = self.session().events(0);
                self.tell(Command::Restore).await;
            }
        }
    }

    async fn entries(&self) -> Vec<Entry> {
        let reader = Process::reader(&self.store, &self.clock);
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.seq);
            let more = reader.entries(&self.id, after).await.expect("the journal can be read");
            if more.is_empty() {
                return entries;
            }
            entries.extend(more);
        }
    }
}

fn goal(number: u32, continuations_max: u32) -> Goal {
    Goal { objective: format!("shore {number}"), continuations_max }
}

async fn hear(mut events: EventStream, heard: Heard, (store, id): (MemoryStore, SessionId)) {
    while let Ok(event) = events.next().await {
        if let AgentEvent::Entry(entry) = event {
            let stored = store.tail(&id).await.expect("the session exists").next - 1;
            heard.lock().unwrap_or_else(PoisonError::into_inner).push((entry, stored));
        }
    }
}

type Around<'a> = (&'a Arc<ScriptedModel>, &'a Vec<Arc<TestTool>>, &'a Arc<VirtualClock>);

impl Process {
    fn start(store: &MemoryStore, around: Around<'_>, (number, faults): (u64, u64)) -> Self {
        let name = format!("p{number}");
        let (model, tools, clock) = around;
        let journal = Arc::new(MortalJournal::new(store.reopen(node(&name)), number, faults));
        let recorder = Arc::new(Recorder::default());
        let trace = Some(Arc::clone(&recorder) as Arc<dyn TraceSink>);
        let journal_port = Arc::clone(&journal) as Arc<dyn Journal>;
        let core = Self::core((store, journal_port), (name, clock), trace, {
            let cast = Cast { actor: Arc::clone(model), process: Some(Arc::clone(&journal)) };
            (Arc::new(cast), tools.clone())
        });
        Self { core, journal, recorder, listener: None }
    }

    /// A runtime that opens nothing and reads what is stored, whoever is dead.
    fn reader(store: &MemoryStore, clock: &Arc<VirtualClock>) -> DefaultAgentCore {
        let nobody = Arc::new(Cast { actor: ScriptedModel::new([]), process: None });
        let name = "reader".to_owned();
        Self::core((store, Arc::new(store.clone())), (name, clock), None, (nobody, Vec::new()))
    }

    fn core(
        (store, journal): (&MemoryStore, Arc<dyn Journal>),
        (name, clock): (String, &Arc<VirtualClock>),
        trace: Option<Arc<dyn TraceSink>>,
        (models, tools): (Arc<dyn Models>, Vec<Arc<TestTool>>),
    ) -> DefaultAgentCore {
        let node = node(&name);
        let ports = Ports {
            hooks: Arc::new(oarlock_core::ports::hook::NoopHookEngine),
            journal,
            catalog: Arc::new(store.clone()),
            blobs: Arc::new(store.clone()),
            bus: Arc::new(LocalBus::default()),
            models,
            tools: Arc::new(SameTools(tools)),
            grants: Some(Arc::new(MemoryGrants::default())),
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            ids: Arc::new(CountedIds::new(name)),
            trace,
        };
        DefaultAgentCore::new(ports, LIMITS, node)
    }
}

/// Plays the scripted model under two names; a third is not there. A process that is dead gets no answer.
#[derive(Debug)]
struct Cast {
    actor: Arc<ScriptedModel>,
    process: Option<Arc<MortalJournal>>,
}

impl Models for Cast {
    fn resolve(&self, wanted: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        if wanted.provider == selection().provider && wanted.model != "missing" {
            let info = ModelInfo { selection: wanted.clone(), ..self.actor.info().clone() };
            let (actor, process) = (Arc::clone(&self.actor), self.process.clone());
            return Ok(Arc::new(Role { info, actor, process }));
        }
        let message = format!("there is no model {wanted}");
        Err(ModelError { kind: ModelErrorKind::ModelNotFound, message, retry_after_ms: None })
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        vec![self.actor.info().clone().into()]
    }
}

#[derive(Debug)]
struct Role {
    info: ModelInfo,
    actor: Arc<ScriptedModel>,
    process: Option<Arc<MortalJournal>>,
}

impl Model for Role {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn call(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        if self.process.as_ref().is_some_and(|process| process.is_dead()) {
            return Box::pin(futures::stream::pending());
        }
        self.actor.call(request)
    }
}
