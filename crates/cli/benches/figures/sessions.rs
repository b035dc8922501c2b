//! Many sessions in one process, and long ones, on SQLite with the built-in tools and a scripted model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::event::{Entry, Event};
use oarlock_core::ids::{CallId, NodeId, Seq, SessionId};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::message::{Content, Part};
use oarlock_core::ports::clock::{Ids, SystemClock, SystemIds};
use oarlock_core::ports::journal::{Fence, Frame, Journal};
use oarlock_core::ports::model::{Model, ModelCandidate, ModelError, Models};
use oarlock_core::ports::tool::{Place, SessionToolFactory, SessionTools, SessionToolsError};
use oarlock_core::session::recover::Recovery;
use oarlock_core::spec::{Answers, Mode, ModelSelection, SessionSpec, Settings};
use oarlock_core::{
    DefaultAgentCore, DefaultSession, LoadSession, LocalBus, Origin, Ports, StaticToolRegistry,
    ToolRegistry,
};
use oarlock_models::ScriptModel;
use oarlock_store::SqliteStore;
use oarlock_tools::{Environment, LocalFiles, LocalShell, ToolsConfig, default_tools};
use tempfile::TempDir;

use crate::{ms, percentile, row, start};

/// Sessions that live at the same time.
const SESSIONS: usize = 1_000;
/// Turns that run at the same time.
const AT_ONCE: usize = 100;
/// How often an opening is measured.
const OPENINGS: usize = 10;
/// Entries of a frame of a long session.
const FRAME_ENTRIES: usize = 4;

pub(crate) async fn many() {
    let bench = Bench::new();
    let core = bench.core().await;
    // What a process holds whatever its number of sessions is not a session's.
    let first = bench.session(&core).await;
    turns(std::slice::from_ref(&first), 1).await;
    let before = resident_kilobytes();
    let mut sessions = Vec::with_capacity(SESSIONS);
    for _ in 0..SESSIONS {
        sessions.push(bench.session(&core).await);
    }
    let each = |now: f64| (now - before) / SESSIONS as f64;
    row("1,000 sessions in one process, idle, each", each(resident_kilobytes()), Some(10.0), "KB");
    let (begun, cpu) = (start(), cpu_ms());
    turns(&sessions, 2).await;
    let (took, worked) = (begun.elapsed().as_secs_f64(), cpu_ms() - cpu);
    row("  after two turns of 3 rounds, each", each(resident_kilobytes()), Some(30.0), "KB");
    let count = (SESSIONS * 2) as f64;
    println!(
        "{:<58} {:>12} {:>12}",
        "  turns per second",
        format!("{:.0}/s", count / took),
        "800/s"
    );
    row("  processor time per turn", worked / count, Some(1.5), "ms");
}

/// So many turns of three rounds in each session, [`AT_ONCE`] sessions at a time.
async fn turns(sessions: &[DefaultSession], count: usize) {
    for _ in 0..count {
        for some in sessions.chunks(AT_ONCE) {
            let running = some.iter().map(|session| session.run_turn(vec![Part::text("go on")]));
            for ended in futures::future::join_all(running).await {
                let ended = ended.expect("the script has a step for every call");
                assert_eq!(ended.steps, 4, "{ended:?}");
            }
        }
    }
}

pub(crate) async fn long(entries: usize, bound: f64) {
    let bench = Bench::new();
    let id = {
        let core = bench.core().await;
        let session = bench.session(&core).await;
        turns(std::slice::from_ref(&session), 1).await;
        let turn = core.entries(session.id(), 0).await.expect("it was just written");
        session.close().await.expect("the store is well");
        drop(core);
        bench.lengthened(turn, entries).await
    };
    let mut whole = Vec::new();
    for _ in 0..OPENINGS {
        whole.push(folding(&bench, &id, entries).await);
    }
    // The first opening has no checkpoint, and leaves one.
    opening(&bench, &id).await;
    let (mut folded, mut opened) = (Vec::new(), Vec::new());
    for _ in 0..OPENINGS {
        folded.push(folding(&bench, &id, entries).await);
        opened.push(opening(&bench, &id).await);
    }
    let name = |what: &str| format!("{what} {entries} entries, p50");
    row(&name("fold without a checkpoint"), percentile(&mut whole, 0.5), None, "ms");
    row(&name("fold from a checkpoint"), percentile(&mut folded, 0.5), None, "ms");
    row(&name("open a session of"), percentile(&mut opened, 0.5), Some(bound), "ms");
}

async fn folding(bench: &Bench, id: &SessionId, entries: usize) -> f64 {
    let core = bench.core().await;
    let begun = start();
    let state = core.state(id).await.expect("it can be read");
    let took = ms(begun.elapsed());
    assert!(state.tip as usize >= entries, "the session has {} entries", state.tip);
    took
}

async fn opening(bench: &Bench, id: &SessionId) -> f64 {
    let core = bench.core().await;
    let begun = start();
    let resume = Origin::Resume(LoadSession::new(id.clone(), Recovery::Interrupt));
    let session = core.open(resume).await.expect("nobody holds it");
    let took = ms(begun.elapsed());
    session.close().await.expect("the store is well");
    took
}

/// A data folder and a folder to work in.
struct Bench {
    data: TempDir,
    work: TempDir,
    script: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let temporary = || TempDir::new().expect("there is a temporary folder");
        let (data, work) = (temporary(), temporary());
        let round = serde_json::json!({
            "text": "I look at the notes.",
            "calls": [{"name": "read_file", "arguments": {"path": "notes.txt"}}]
        });
        let turn =
            [round.clone(), round.clone(), round, serde_json::json!({"text": "That is all."})];
        let script = work.path().join("script.json");
        let steps = [turn.clone(), turn].concat();
        let text = serde_json::json!({ "steps": steps }).to_string();
        std::fs::write(&script, text).expect("the folder is ours");
        std::fs::write(work.path().join("notes.txt"), "Row, row, row your boat.\n".repeat(20))
            .expect("the folder is ours");
        Self { data, work, script }
    }

    fn store(&self, node: &NodeId) -> SqliteStore {
        SqliteStore::open(self.data.path(), node.clone()).expect("the folder is ours")
    }

    async fn core(&self) -> DefaultAgentCore {
        let node = SystemIds.node();
        let store = self.store(&node);
        let clock = Arc::new(SystemClock::new());
        let script = ScriptModel::load(&self.script, Arc::clone(&clock) as _);
        let tools = default_tools(&ToolsConfig::default()).expect("the defaults are in order");
        let tools = Arc::new(StaticToolRegistry::new(tools));
        let ports = Ports {
            hooks: Arc::new(oarlock_core::ports::hook::NoopHookEngine),
            journal: Arc::new(store.clone()),
            catalog: Arc::new(store.clone()),
            blobs: Arc::new(store),
            bus: Arc::new(LocalBus::default()),
            models: Arc::new(OneScript(Arc::new(script.expect("the script is in order")))),
            tools: Arc::new(Tools {
                tools,
                environment: Environment::without_secrets([], &[]).expect("it is empty"),
            }),
            grants: None,
            clock,
            ids: Arc::new(SystemIds),
            trace: None,
        };
        DefaultAgentCore::new(ports, RuntimeLimits::DEFAULT, node)
    }

    async fn session(&self, core: &DefaultAgentCore) -> DefaultSession {
        let settings = Settings::new(selection(), Mode::READ_ONLY, Answers::Nobody);
        let spec = SessionSpec {
            system: "You are measured.".into(),
            ..SessionSpec::new(
                self.work.path().canonicalize().expect("it exists"),
                "bench",
                settings,
            )
        };
        core.open(spec.into()).await.expect("the store is well")
    }

    /// A session whose one turn is repeated until it has so many entries.
    async fn lengthened(&self, entries: Vec<Entry>, count: usize) -> SessionId {
        let node = SystemIds.node();
        let store = self.store(&node);
        let id = SystemIds.session();
        let mut fence = Fence::new_session(id.clone(), node);
        let (mut created, turn) = split(entries);
        if let Event::SessionCreated(body) = &mut created.event {
            body.id = id.clone();
        }
        let mut all = vec![created];
        let mut repeated = 0;
        while all.len() < count {
            repeated += 1;
            let offset = all.len() as Seq + 1 - turn[0].seq;
            all.extend(turn.iter().map(|entry| moved(entry, offset, repeated)));
        }
        for entries in all.chunks(FRAME_ENTRIES) {
            let frame =
                Frame::encode(SystemIds.frame(), &fence, entries).expect("entries are short");
            fence = Journal::append(&store, &fence, &frame).await.expect("nobody else writes");
        }
        store.close().await;
        id
    }
}

/// The first entry, and those from the input to the end of its turn.
fn split(mut entries: Vec<Entry>) -> (Entry, Vec<Entry>) {
    let ended = |entry: &Entry| matches!(entry.event, Event::TurnEnded(_));
    let end = entries.iter().position(ended).expect("the turn ended");
    entries.truncate(end + 1);
    let turn = entries.split_off(1);
    (entries.pop().expect("a session has a first entry"), turn)
}

/// The entry at another place, in another turn, of another call.
fn moved(entry: &Entry, offset: Seq, turn: u32) -> Entry {
    let mut entry = entry.clone();
    entry.seq += offset;
    entry.turn = entry.turn.map(|_| turn);
    let renamed = |call: &mut CallId| {
        *call = CallId(format!("{}-{turn}", call.as_str()).into());
    };
    match &mut entry.event {
        Event::TurnStarted(started) => started.inputs.iter_mut().for_each(|input| *input += offset),
        Event::AssistantMessage(message) => {
            for block in &mut message.blocks {
                if let Content::ToolCall { id, .. } = &mut block.content {
                    renamed(id);
                }
            }
        }
        Event::ToolCalled(called) => renamed(&mut called.call),
        Event::ToolStarted(started) => renamed(&mut started.call),
        Event::ToolSettled(settled) => renamed(&mut settled.call),
        _ => {}
    }
    entry
}

fn selection() -> ModelSelection {
    ModelSelection { provider: "script".to_owned(), model: "script".to_owned() }
}

#[derive(Debug)]
struct OneScript(Arc<ScriptModel>);

impl Models for OneScript {
    fn resolve(&self, _: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        Ok(Arc::clone(&self.0) as Arc<dyn Model>)
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        vec![self.0.info().clone().into()]
    }
}

#[derive(Debug)]
struct Tools {
    tools: Arc<dyn ToolRegistry>,
    environment: Environment,
}

impl SessionToolFactory for Tools {
    fn build<'a>(
        &'a self,
        spec: &'a SessionSpec,
    ) -> BoxFuture<'a, Result<SessionTools, SessionToolsError>> {
        let place = &Place::of(spec);
        let built = SessionTools {
            tools: Arc::clone(&self.tools),
            files: Arc::new(LocalFiles::new(place)),
            shell: Arc::new(LocalShell::new(place, self.environment.clone())),
        };
        async { Ok(built) }.boxed()
    }
}

/// Resident memory of this process.
fn resident_kilobytes() -> f64 {
    let text = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(f64::NAN)
}

/// Processor time of this process, all threads, in user and system mode. The system counts in hundredths of a second.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> =
        text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
    (ticks(11) + ticks(12)) * 10.0
}
