//! One world: its processes, the people who do something in it, and how long its rest may take.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use oarlock_core::command::{Admit, Command};
use oarlock_core::event::{Delivery, Entry, Event, InputSource, Outcome, PermissionKind};
use oarlock_core::ids::{CallId, SessionId};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::Part;
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::hook::HookEngine;
use oarlock_core::ports::journal::{Journal, JournalError};
use oarlock_core::session::state::{CallPhase, State};
use oarlock_core::spec::{Answers, Bounds, Limits, Mode, Settings};
use oarlock_core::{
    DefaultAgentCore, EventStream, LoadSession, LocalBus, NewSession, Origin, Ports, Recovery,
};
use tokio::time::timeout;

use crate::clock::{CountedIds, VirtualClock, pass};
use crate::kit::{node, spec, tag};
use crate::model::selection;
use crate::mortal::{LastWrite, MortalJournal};
use crate::sim::cast::{Cast, TROUBLES_MAX, Troubled};
use crate::sim::chance::Chance;
use crate::sim::{Rest, Stuck};
use crate::tool::SameTools;

/// Things that are done in one world.
const ACTS_MAX: u64 = 10;
/// A command is answered within this time.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How often a world is looked at while it comes to rest.
const LOOK_EVERY_MS: u64 = 10_000;

/// The longest that a world may take to its rest: every model call of its trouble, and of the turns after it, failing as slowly as it may, and after
/// each of them a question, a call for the client, hooks and a tool that hang.
fn bound_ms(limits: &RuntimeLimits) -> u64 {
    let step = limits.model_total_ms + limits.retry_total_ms + limits.summary_total_ms;
    let call = limits.permission_ms + limits.client_call_ms + limits.describe_ms + 3 * 60_000;
    let steps = u64::from(TROUBLES_MAX) + 2 * ACTS_MAX;
    steps * (step + 3 * call)
}

struct Process {
    core: DefaultAgentCore,
    journal: Arc<MortalJournal>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.journal.die();
    }
}

pub(super) struct World {
    seed: u64,
    chance: Chance,
    store: MemoryStore,
    clock: Arc<VirtualClock>,
    cast: Cast,
    processes: u32,
    process: Process,
    id: SessionId,
    /// Who follows and never reads.
    readers: Vec<EventStream>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let (store, clock) = (MemoryStore::new(node("store")), Arc::new(VirtualClock::new()));
        let cast = Cast::new(seed);
        let process = start(&store, &clock, &cast, (seed, 0));
        Self {
            seed,
            chance: Chance::new(seed, "people"),
            store,
            clock,
            cast,
            processes: 1,
            process,
            id: SessionId::parse("world").expect("it is a valid id"),
            readers: Vec::new(),
        }
    }

    pub(super) async fn live(mut self) -> Result<Rest, Stuck> {
        self.begin().await;
        for _ in 0..=self.chance.below(ACTS_MAX) {
            let wait = *self.chance.pick(&[0, 1, 20, 500, 30_000, 400_000, 900_000]);
            pass(self.chance.below(wait + 1)).await;
            self.revive().await?;
            self.act().await?;
        }
        self.process.journal.spare();
        self.revive().await?;
        // Somebody wakes it: what came before a close waits for that.
        self.tell(Command::Look).await?;
        let begun = self.clock.now();
        let bound = bound_ms(&RuntimeLimits::DEFAULT);
        loop {
            let state = self.state().await;
            if rests(&state) {
                break;
            }
            if self.clock.now().ms_since(begun) > bound {
                return Err(self.stuck(format!("no rest after {bound} ms: {}", what_waits(&state))));
            }
            pass(LOOK_EVERY_MS).await;
            self.revive().await?;
            if self.disturbs_writes() {
                // A store that takes nothing for a while ends the session's task; whoever wants something wakes it.
                self.tell(Command::Look).await?;
            }
        }
        let took_ms = self.clock.now().ms_since(begun);
        self.tell(Command::Close).await?;
        Ok(self.told(took_ms).await)
    }

    async fn begin(&mut self) {
        let chance = &self.chance;
        let answers = if chance.percent(80) { Answers::Somebody } else { Answers::Nobody };
        let mode = if chance.percent(50) { Mode::OPEN } else { Mode::ASK_WRITES };
        let bounds = |often| Bounds {
            steps: chance.percent(often).then(|| 1 + u32::try_from(chance.below(6)).unwrap_or(0)),
            wall_ms: chance.percent(often).then(|| chance.below(3_600_000)),
            tool_calls: chance.percent(often).then(|| u32::try_from(chance.below(5)).unwrap_or(0)),
            ..Bounds::default()
        };
        let limits = Limits { turn: bounds(10), session: bounds(5), ..Limits::default() };
        let settings = Settings { limits, ..Settings::new(selection(), mode, answers) };
        let new = NewSession { id: Some(self.id.clone()), ..NewSession::from(spec(settings)) };
        self.process.core.open(Origin::New(Box::new(new))).await.expect("a new session opens");
    }

    /// Somebody does something.
    async fn act(&mut self) -> Result<(), Stuck> {
        let state = self.state().await;
        match self.chance.below(17) {
            0..=3 => self.admit().await,
            4 => self.tell(Command::Cancel { turn: None }).await,
            5 | 6 => {
                let call = call(&state, |phase| matches!(phase, CallPhase::Asked(_)));
                let choice = *self.chance.pick(&[
                    PermissionKind::AllowOnce,
                    PermissionKind::AllowAlways,
                    PermissionKind::RejectOnce,
                ]);
                self.tell(Command::Answer { call, choice }).await
            }
            7 => {
                let call = call(&state, |phase| matches!(phase, CallPhase::Requested(_)));
                let content = vec![Part::text("supplied")];
                self.tell(Command::Supply { call, outcome: Outcome::Completed, content }).await
            }
            8 => self.tell(Command::Compact { instructions: None }).await,
            9 => self.tell(Command::Close).await,
            10 => {
                self.readers.push(self.process.core.events(&self.id, 0));
                Ok(())
            }
            11 => {
                let last = *self.chance.pick(&[LastWrite::Stored, LastWrite::Lost]);
                let writes = u32::try_from(self.chance.below(6)).unwrap_or(0);
                self.process.journal.doom(writes, last);
                Ok(())
            }
            12..=14 => self.think_better().await,
            _ => {
                self.process.journal.die();
                self.revive().await
            }
        }
    }

    async fn admit(&self) -> Result<(), Stuck> {
        let choices = [Delivery::Now, Delivery::Queue, Delivery::Steer];
        let delivery = *self.chance.pick(&choices);
        let content = vec![Part::text("go on")];
        let admit = Admit {
            key: None,
            source: InputSource::User,
            delivery,
            content,
            goal: None,
            output: None,
            peer: None,
        };
        self.tell(Command::Admit(admit)).await
    }

    /// Somebody says something, or wants a summary, and takes it back.
    async fn think_better(&self) -> Result<(), Stuck> {
        match self.chance.percent(75) {
            true => self.admit().await?,
            false => self.tell(Command::Compact { instructions: None }).await?,
        }
        pass(*self.chance.pick(&[0, 1, 20, 500])).await;
        match self.state().await.pending.last() {
            Some(pending) => self.tell(Command::Withdraw { input: pending.seq }).await,
            None => self.tell(Command::Cancel { turn: None }).await,
        }
    }

    /// Tells the session something. A refusal, or a process that dies of it, is part of the world; no answer is not.
    async fn tell(&self, command: Command) -> Result<(), Stuck> {
        let session = self.process.core.handle(self.id.clone());
        let words = format!("no answer to {command:?}");
        match timeout(ANSWER_MAX, session.tell(command)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.stuck(words)),
        }
    }

    /// When the process is dead, another one takes up the session.
    async fn revive(&mut self) -> Result<(), Stuck> {
        for _ in 0..20 {
            if !self.process.journal.is_dead() {
                return Ok(());
            }
            self.process = start(&self.store, &self.clock, &self.cast, (self.seed, self.processes));
            self.processes += 1;
            let recovery = *self.chance.pick(&[Recovery::Continue, Recovery::Interrupt]);
            let load = LoadSession::new(self.id.clone(), recovery);
            if self.process.core.open(Origin::Resume(load)).await.is_err() {
                self.process.journal.die();
            }
        }
        Err(self.stuck("the session does not open any more".to_owned()))
    }

    async fn state(&self) -> State {
        self.reader().state(&self.id).await.expect("the journal can be read")
    }

    fn reader(&self) -> DefaultAgentCore {
        let journal = Arc::new(MortalJournal::new(self.store.clone(), 0, 0));
        core((&self.store, journal), &self.clock, &self.cast, "reader")
    }

    fn disturbs_writes(&self) -> bool {
        disturbed(self.seed) > 0
    }

    fn stuck(&self, why: String) -> Stuck {
        Stuck { seed: self.seed, why }
    }

    async fn told(&self, took_ms: u64) -> Rest {
        let reader = self.reader();
        let (mut entries, mut ids) = (Vec::new(), vec![self.id.clone()]);
        while let Some(id) = ids.pop() {
            let story = read(&reader, &id).await;
            ids.extend(story.iter().filter_map(|entry| match &entry.event {
                Event::SubagentOpened(opened) => Some(opened.child.clone()),
                _ => None,
            }));
            entries.extend(story);
        }
        let mut body = Vec::new();
        entries.iter().for_each(|entry| entry.encode_into(&mut body));
        let kinds: BTreeSet<String> = entries.iter().map(|entry| tag(&entry.event)).collect();
        Rest {
            seed: self.seed,
            took_ms,
            deaths: self.processes - 1,
            entries: entries.len() as u64,
            digest: oarlock_core::ids::BlobId::of(&body).to_string(),
            kinds: kinds.into_iter().collect(),
        }
    }
}

/// The journal of a session; nothing when it was never made.
async fn read(reader: &DefaultAgentCore, id: &SessionId) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.seq);
        match reader.entries(id, after).await {
            Ok(more) if !more.is_empty() => entries.extend(more),
            Ok(_) | Err(JournalError::NotFound { .. }) => return entries,
            Err(error) => panic!("the journal cannot be read: {error}"),
        }
    }
}

/// Whether nothing is open and nothing waits but ends of background tasks, which may wait for somebody's input.
fn rests(state: &State) -> bool {
    let inputs: Vec<_> = state.pending.iter().map(|pending| pending.seq).collect();
    let waits = !state.only_outcomes(&inputs);
    state.turn.is_none() && state.summary.is_none() && state.children.is_empty() && !waits
}

/// What a session that does not rest has open.
fn what_waits(state: &State) -> String {
    let State { turn, pending, summary, children, .. } = state;
    format!("turn {turn:?}, inputs {pending:?}, summary {summary:?}, subagents {children:?}")
}

/// The open call in that phase, or one that does not exist.
fn call(state: &State, fits: impl Fn(&CallPhase) -> bool) -> CallId {
    let calls = state.turn.iter().flat_map(|turn| &turn.step).flat_map(|step| &step.calls);
    let found = calls.filter(|call| fits(&call.phase)).map(|call| call.called.call.clone());
    found.last().unwrap_or_else(|| CallId("none".into()))
}

/// Of 1,000 writes in the world of a seed so many fail.
fn disturbed(seed: u64) -> u64 {
    if seed.is_multiple_of(4) { 30 } else { 0 }
}

fn start(
    store: &MemoryStore,
    clock: &Arc<VirtualClock>,
    cast: &Cast,
    (seed, number): (u64, u32),
) -> Process {
    let name = format!("p{number}");
    let (per_mille, seed) = (disturbed(seed), seed ^ u64::from(number));
    let journal = Arc::new(MortalJournal::new(store.reopen(node(&name)), seed, per_mille));
    let core = core((store, Arc::clone(&journal)), clock, cast, &name);
    Process { core, journal }
}

fn core(
    (store, journal): (&MemoryStore, Arc<MortalJournal>),
    clock: &Arc<VirtualClock>,
    cast: &Cast,
    name: &str,
) -> DefaultAgentCore {
    let process = Arc::clone(&journal);
    let ports = Ports {
        hooks: Arc::clone(&cast.hooks) as Arc<dyn HookEngine>,
        journal: journal as Arc<dyn Journal>,
        catalog: Arc::new(store.clone()),
        blobs: Arc::new(store.clone()),
        bus: Arc::new(LocalBus::default()),
        models: Arc::new(Troubled { script: Arc::clone(&cast.script), process }),
        tools: Arc::new(SameTools(cast.tools.clone())),
        grants: None,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ids: Arc::new(CountedIds::new(name)),
        trace: None,
    };
    DefaultAgentCore::new(ports, RuntimeLimits::DEFAULT, node(name))
}
