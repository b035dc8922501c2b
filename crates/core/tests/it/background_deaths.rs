//! A thousand background tasks while their process is killed again and again: the model is told of each end exactly once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use futures::stream::{self, BoxStream, StreamExt};
use oarlock_core::event::{Delivery, Effect, Entry, Event, InputSource, TaskOutcome};
use oarlock_core::ids::{Seq, SessionId};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::model::{
    Model, ModelCandidate, ModelError, ModelEvent, ModelInfo, ModelRequest, Models,
};
use oarlock_core::spec::ModelSelection;
use oarlock_core::{DefaultSession, LoadSession, Origin, Recovery};
use oarlock_testkit::clock::VirtualClock;
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings};
use oarlock_testkit::model::{calls, info, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use oarlock_testkit::tool::{Act, TestTool, Work};

const TASKS: u32 = 1_000;
const AT_ONCE: u32 = 20;
const LIMITS: RuntimeLimits =
    RuntimeLimits { tasks_running: 200, crashes_max: u32::MAX, ..RuntimeLimits::DEFAULT };

/// Chance that a seed repeats.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        (self.0 >> 33) % end
    }
}

/// A model that starts tasks when it is told to, and remembers how often each request tells it of each end.
#[derive(Debug)]
struct Ear {
    info: ModelInfo,
    calls: AtomicU32,
    /// Ends of tasks in the last request, and how often.
    last: Mutex<BTreeMap<String, u32>>,
    /// Ends that one request told twice, and ends that a later one told no more.
    wrong: Mutex<Vec<String>>,
}

impl Ear {
    fn new() -> Arc<Self> {
        let info = ModelInfo { context_window: Some(100_000_000), ..info() };
        let (calls, last, wrong) = (AtomicU32::new(0), Mutex::default(), Mutex::default());
        Arc::new(Self { info, calls, last, wrong })
    }

    fn hear(&self, request: &ModelRequest) {
        let mut told = BTreeMap::<String, u32>::new();
        for text in request.messages.iter().flat_map(users_texts) {
            if let Some(rest) = text.strip_prefix("[background task ") {
                *told.entry(rest.split(' ').next().unwrap().to_owned()).or_default() += 1;
            }
        }
        let mut last = self.last.lock().unwrap();
        let mut wrong = self.wrong.lock().unwrap();
        wrong.extend(told.iter().filter(|(_, times)| **times > 1).map(|(task, _)| task.clone()));
        wrong.extend(last.keys().filter(|task| !told.contains_key(*task)).cloned());
        *last = told;
    }
}

fn users_texts(message: &Message) -> Vec<&str> {
    let Message::User { parts } = message else { return Vec::new() };
    let texts = parts.iter().filter_map(Part::as_text);
    texts.collect()
}

#[derive(Debug)]
struct Ears(Arc<Ear>);

impl Models for Ears {
    fn resolve(&self, _: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        Ok(Arc::clone(&self.0) as Arc<dyn Model>)
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        vec![self.0.info.clone().into()]
    }
}

impl Model for Ear {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn call(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        self.hear(&request);
        let told_to_go = request.messages.last().is_some_and(|m| users_texts(m).contains(&"go"));
        let reply = if told_to_go {
            let first = self.calls.fetch_add(AT_ONCE, Ordering::SeqCst);
            let ids: Vec<String> =
                (first..first + AT_ONCE).map(|call| format!("call-{call}")).collect();
            let tools = ["soon", "later", "late", "fails", "panics"];
            let asked = ids.iter().zip(tools.iter().cycle());
            calls(&asked.map(|(id, tool)| (id.as_str(), *tool, "{}")).collect::<Vec<_>>())
        } else {
            text("done")
        };
        stream::iter([Ok(ModelEvent::Reply(reply))]).boxed()
    }
}

fn tools() -> Vec<Arc<TestTool>> {
    let tool = |name, work| TestTool::new(name, Effect::Mutating, Act::Background(work));
    let after = |ms, text: &str| Work::After(ms, text.to_owned());
    vec![
        tool("soon", after(1, "soon")),
        tool("later", after(100, "later")),
        tool("late", after(2_000, "late")),
        tool("fails", Work::Fail("no luck")),
        tool("panics", Work::Panic),
    ]
}

/// A process on the store.
struct Process {
    kit: Kit,
    journal: Arc<MortalJournal>,
}

impl Process {
    fn start(store: &MemoryStore, ear: &Arc<Ear>, number: u32) -> Self {
        let name: &'static str = Box::leak(format!("p{number}").into_boxed_str());
        let mortal = MortalJournal::new(store.reopen(node(name)), u64::from(number), 0);
        let journal = Arc::new(mortal);
        let parts = Parts {
            name,
            journal: journal.clone(),
            limits: LIMITS,
            models: Some(Arc::new(Ears(Arc::clone(ear)))),
            ..Parts::on(store.clone(), Vec::new(), tools())
        };
        Self { kit: Kit::of(parts), journal }
    }

    async fn resume(&self, id: &SessionId) -> Option<DefaultSession> {
        let load = LoadSession::new(id.clone(), Recovery::Continue);
        self.kit.core.open(Origin::Resume(load)).await.ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.journal.die();
    }
}

/// Lets virtual time pass.
async fn pass(ms: u64) {
    let clock = VirtualClock::new();
    clock.sleep_until(clock.now().after(ms)).await;
}

/// Lets processes live and die until as many tasks were started as are wanted. Returns how many died.
async fn live_and_die(store: &MemoryStore, ear: &Arc<Ear>, id: &SessionId, seed: u64) -> u32 {
    let (mut dice, mut number) = (Dice(seed), 1);
    loop {
        let process = Process::start(store, ear, number);
        number += 1;
        let last = if dice.below(2) == 0 { LastWrite::Stored } else { LastWrite::Lost };
        process.journal.doom(u32::try_from(dice.below(150)).unwrap() + 3, last);
        let Some(session) = process.resume(id).await else { continue };
        while !process.journal.is_dead() {
            if process.kit.core.state(id).await.is_ok_and(|state| state.tasks.last >= TASKS) {
                return number;
            }
            // What fails because the process dies is found at once.
            drop(send(&session, "go", Delivery::Queue).await);
            pass(dice.below(3_000)).await;
        }
    }
}

/// Which of the inputs that ends of tasks became were taken how often.
fn taken(entries: &[Entry]) -> BTreeMap<Seq, u32> {
    let background = |entry: &&Entry| match &entry.event {
        Event::InputAdmitted(input) => input.source == InputSource::Background,
        _ => false,
    };
    let mut taken: BTreeMap<Seq, u32> =
        entries.iter().filter(background).map(|entry| (entry.seq, 0)).collect();
    for entry in entries {
        let inputs = match &entry.event {
            Event::TurnStarted(started) => &started.inputs,
            Event::StepStarted(started) => &started.inputs,
            _ => continue,
        };
        for input in inputs {
            if let Some(times) = taken.get_mut(input) {
                *times += 1;
            }
        }
    }
    taken
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tasks_in_dying_processes_are_told_of_exactly_once() {
    let (store, ear) = (MemoryStore::new(node("world")), Ear::new());
    let first = Process::start(&store, &ear, 0);
    let session = first.kit.open_with(settings()).await;
    let id = session.id().clone();
    drop(first);
    let deaths = live_and_die(&store, &ear, &id, 1).await;
    let last = Process::start(&store, &ear, deaths);
    let session = last.resume(&id).await.unwrap();
    loop {
        pass(60_000).await;
        let status = session.status().await.unwrap();
        if status.turn.is_none() && status.tasks.running.is_empty() {
            break;
        }
    }
    session.run_turn(vec![Part::text("finish")]).await.unwrap();
    let entries = journal(&last.kit.core, &session).await;
    let (mut begun, mut ended) = (BTreeMap::new(), BTreeMap::<String, Vec<TaskOutcome>>::new());
    for entry in &entries {
        match &entry.event {
            Event::TaskStarted(started) => drop(begun.insert(started.task.to_string(), ())),
            Event::TaskSettled(settled) => {
                ended.entry(settled.task.to_string()).or_default().push(settled.outcome);
            }
            _ => {}
        }
    }
    assert!(begun.len() >= TASKS as usize && deaths > 20, "{} in {deaths}", begun.len());
    assert!(ended.keys().eq(begun.keys()) && ended.values().all(|ends| ends.len() == 1));
    let count = |wanted| ended.values().flatten().filter(|end| **end == wanted).count();
    for outcome in [TaskOutcome::Completed, TaskOutcome::Failed, TaskOutcome::Lost] {
        assert!(count(outcome) > 20, "{outcome:?} is met often");
    }
    assert!(taken(&entries).values().all(|times| *times == 1), "each is taken once");
    assert_eq!(taken(&entries).len(), begun.len());
    let heard = ear.last.lock().unwrap().clone();
    assert!(heard.keys().eq(begun.keys()) && heard.values().all(|times| *times == 1));
    assert_eq!(*ear.wrong.lock().unwrap(), Vec::<String>::new());
}
