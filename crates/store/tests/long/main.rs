//! A session of very many turns, on SQLite, with a tool and a small window: what it holds in memory and what reading it takes do not grow with its age.
//!
//! A binary of its own, with one runtime thread, since it looks at the memory of its whole process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its own tools")]
#![expect(clippy::print_stdout, reason = "`just long` shows its figures")]

mod worker;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::command::{Command, Reply};
use oarlock_core::event::Event;
use oarlock_core::ids::{NodeId, Seq, SessionId};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::message::Part;
use oarlock_core::ports::journal::{Catalog, Fence, Frame, Journal, JournalError, Resolved};
use oarlock_core::session::checkpoint::Checkpoint;
use oarlock_core::session::summary::indexed_text;
use oarlock_core::spec::{ContextPolicy, Settings, TurnConfig};
use oarlock_core::{DefaultAgentCore, DefaultSession, LocalBus, Ports};
use oarlock_store::SqliteStore;
use oarlock_testkit::clock::{CountedIds, VirtualClock};
use oarlock_testkit::kit::{settings, spec};
use tempfile::TempDir;

use worker::{OneTool, Worker};

/// Tokens of the model's window: a few turns.
const WINDOW: u64 = 6_000;

/// A journal that counts what is read of it.
#[derive(Debug)]
struct Counting {
    inner: SqliteStore,
    reads: AtomicUsize,
    bytes: AtomicUsize,
}

impl Counting {
    /// Reads and bytes since it was asked last.
    fn taken(&self) -> (usize, usize) {
        (self.reads.swap(0, Ordering::SeqCst), self.bytes.swap(0, Ordering::SeqCst))
    }
}

impl Journal for Counting {
    fn claim<'a>(
        &'a self,
        observed: &'a Fence,
        claim: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        self.inner.claim(observed, claim)
    }

    fn append<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        self.inner.append(fence, frame)
    }

    fn resolve<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Resolved, JournalError>> {
        self.inner.resolve(fence, frame)
    }

    fn read<'a>(
        &'a self,
        session: &'a SessionId,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Frame>, JournalError>> {
        async move {
            let frames = Journal::read(&self.inner, session, after, max_bytes).await?;
            self.reads.fetch_add(1, Ordering::SeqCst);
            let bytes = frames.iter().map(|frame| frame.body.len()).sum();
            self.bytes.fetch_add(bytes, Ordering::SeqCst);
            Ok(frames)
        }
        .boxed()
    }

    fn tail<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<Fence, JournalError>> {
        self.inner.tail(session)
    }

    fn release<'a>(
        &'a self,
        fence: &'a Fence,
        release: &'a Frame,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        self.inner.release(fence, release)
    }
}

/// What there is to say of a session after so many turns.
#[derive(Debug)]
struct Figures {
    /// The last entry.
    tip: Seq,
    /// Resident memory of the process.
    resident_kb: usize,
    /// Its state, as JSON.
    state_bytes: usize,
    /// Messages that the model is shown.
    messages: usize,
    /// Reads and bytes of the journal: for the state, for the last entries, for a look.
    state: (usize, usize),
    last: (usize, usize),
    look: (usize, usize),
}

struct Site {
    folder: TempDir,
    journal: Arc<Counting>,
    core: DefaultAgentCore,
}

impl Site {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let node = NodeId::parse("node-long").unwrap();
        let store = SqliteStore::open(folder.path(), node.clone()).unwrap();
        let (reads, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let journal = Arc::new(Counting { inner: store.clone(), reads, bytes });
        let ports = Ports {
            hooks: Arc::new(oarlock_core::ports::hook::NoopHookEngine),
            journal: journal.clone(),
            catalog: Arc::new(store.clone()),
            blobs: Arc::new(store),
            bus: Arc::new(LocalBus::default()),
            models: Arc::new(Worker::default()),
            tools: Arc::new(OneTool),
            clock: Arc::new(VirtualClock::new()),
            ids: Arc::new(CountedIds::new("long")),
            trace: None,
            grants: None,
        };
        let core = DefaultAgentCore::new(ports, RuntimeLimits::DEFAULT, node);
        Self { folder, journal, core }
    }

    async fn session(&self) -> DefaultSession {
        let context = ContextPolicy { window: Some(WINDOW), ..ContextPolicy::default() };
        let turn = TurnConfig { context, ..TurnConfig::default() };
        self.core.open(spec(Settings { turn, ..settings() }).into()).await.unwrap()
    }

    async fn figures(&self, session: &DefaultSession) -> Figures {
        let id = session.id();
        self.journal.taken();
        let resident_kb = resident_kb();
        let folded = self.core.state(id).await.unwrap();
        let state = self.journal.taken();
        let last = self.core.entries(id, folded.tip - 20).await.unwrap();
        assert_eq!(last.len(), 20);
        let last = self.journal.taken();
        let Reply::Status(status) = session.tell(Command::Look).await.unwrap() else { panic!() };
        assert_eq!((status.tip, status.turns), (folded.tip, folded.turns), "read and live agree");
        let look = self.journal.taken();
        let (tip, messages) = (folded.tip, folded.conversation.messages.len());
        let head = oarlock_core::ids::Hash::default();
        let state_bytes =
            Checkpoint { head, state: folded }.encode(usize::MAX).map_or(0, |bytes| bytes.len());
        Figures { tip, resident_kb, state_bytes, messages, state, last, look }
    }
}

fn resident_kb() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4
}

async fn turns(session: &DefaultSession, upto: u32, done: &mut u32) {
    for turn in *done..upto {
        let ended =
            session.run_turn(vec![Part::text(format!("turn {turn}: go on"))]).await.unwrap();
        assert_eq!(ended.steps, 2, "{ended:?}");
    }
    *done = upto;
}

/// Figures at these numbers of turns, after so many of another session.
async fn live(warming: u32, marks: [u32; 3]) -> [Figures; 3] {
    let site = Site::new();
    // What a process holds whatever its sessions' age is not a session's: code that was touched, the store's caches, room for a page.
    let other = site.session().await;
    turns(&other, warming, &mut 0).await;
    site.figures(&other).await;
    other.close().await.unwrap();
    let session = site.session().await;
    let mut done = 0;
    let mut figures = Vec::new();
    for mark in marks {
        turns(&session, mark, &mut done).await;
        figures.push(site.figures(&session).await);
        println!("{mark} turns: {:?}", figures.last());
    }
    site.journal.taken();
    site.core.entries(session.id(), 0).await.unwrap();
    let (reads, bytes) = site.journal.taken();
    assert!(reads == 1 && bytes < 1_200_000, "a page is bounded: {reads} reads, {bytes} bytes");
    session.close().await.unwrap();
    drop(site.folder);
    figures.try_into().unwrap()
}

fn on_one_thread<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

/// Nothing that is read, and nothing that is held, grows from the first figures on.
fn does_not_grow(figures: &[Figures; 3]) {
    let [first, _, last] = figures;
    let (then, now) = (first.resident_kb, last.resident_kb);
    assert!(now as f64 <= then as f64 * 1.05, "{then} KB of memory became {now} KB");
    for figures in figures {
        assert!(figures.tip > 0 && figures.messages < 60, "{figures:?}");
        assert!(figures.state.0 <= 3, "a state takes a few reads: {figures:?}");
        assert!(figures.state.1 < 1_200_000, "and a bounded part of the journal: {figures:?}");
        assert!(figures.state_bytes < 150_000, "its state is bounded: {figures:?}");
        assert!(figures.last.0 == 1 && figures.last.1 < 30_000, "the last entries: {figures:?}");
        assert_eq!(figures.look, (0, 0), "a look reads nothing");
    }
}

#[test]
fn a_session_of_400_turns_stays_as_small_as_it_was() {
    does_not_grow(&on_one_thread(live(200, [100, 200, 400])));
}

#[test]
#[ignore = "takes minutes: `just long`"]
fn a_session_of_10_000_turns_stays_as_small_as_it_was() {
    does_not_grow(&on_one_thread(live(1_000, [100, 1_000, 10_000])));
}

/// Bytes of a data directory.
fn bytes_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let sizes = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => bytes_of(&entry.path()),
        false => entry.metadata().unwrap().len(),
    });
    sizes.sum()
}

/// A session that forgets a hundred times: its journal, its texts and one checkpoint are all that is left, each once.
async fn compacted(times: usize) {
    let site = Site::new();
    let session = site.session().await;
    let (mut done, mut compactions, mut after) = (0, 0, 0);
    let mut texts_bytes = 0;
    while compactions < times {
        turns(&session, done + 20, &mut done).await;
        loop {
            let entries = site.core.entries(session.id(), after).await.unwrap();
            let Some(last) = entries.last() else { break };
            after = last.seq;
            compactions +=
                entries.iter().filter(|e| matches!(e.event, Event::ContextCompacted(_))).count();
            texts_bytes +=
                entries.iter().filter_map(indexed_text).map(|t| t.text.len()).sum::<usize>();
        }
        assert!(done < 10_000, "{compactions} compactions in {done} turns");
    }
    session.close().await.unwrap();
    let store = &site.journal.inner;
    let journal = store.sizes().await.unwrap()[session.id()].bytes();
    let checkpoint = Catalog::checkpoint(store, session.id()).await.unwrap().unwrap().len();
    let unique = journal + (texts_bytes + checkpoint) as u64;
    let before = bytes_of(site.folder.path());
    store.collect(Duration::ZERO, |_| {}).await.unwrap();
    let bytes = bytes_of(site.folder.path());
    println!(
        "{compactions} compactions in {done} turns: {before} bytes, {bytes} after a collection; {unique} of them once: \
         {journal} of the journal and its bodies, {texts_bytes} of texts, {checkpoint} of the checkpoint"
    );
    // Rows that do not fit a leaf take whole pages more: 1.34 times here, since steps say what their request has before its messages.
    assert!(bytes * 10 <= unique * 14, "{bytes} bytes on the disk for {unique}");
}

#[test]
fn a_session_of_100_compactions_takes_little_more_than_what_it_keeps_once() {
    on_one_thread(compacted(100));
}
