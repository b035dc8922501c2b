//! A whole runtime for a test: scripted model, test tools, virtual time, and any store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use oarlock_core::command::{Admit, Command, Reply};
use oarlock_core::event::{AgentEvent, Delivery, Entry, Event, Goal, InputSource};
use oarlock_core::ids::{NodeId, Seq};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::Part;
use oarlock_core::ports::hook::{HookEngine, NoopHookEngine};
use oarlock_core::ports::journal::{Blobs, Catalog, Journal};
use oarlock_core::ports::model::Models;
use oarlock_core::ports::policy::Grants;
use oarlock_core::session::trace::TraceSink;
use oarlock_core::spec::{Answers, Mode, SessionSpec, Settings};
use oarlock_core::{DefaultAgentCore, DefaultSession, LocalBus, Ports, SessionError};
use tokio::time::timeout;

use crate::clock::{CountedIds, VirtualClock};
use crate::model::{Count, OneModel, Say, ScriptedModel, selection};
use crate::tool::{SameTools, TestTool};

/// A runtime with its parts within reach.
#[derive(Debug)]
pub struct Kit {
    /// The runtime.
    pub core: DefaultAgentCore,
    /// Its model.
    pub model: Arc<ScriptedModel>,
}

/// What a [`Kit`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// What the model says.
    pub script: Vec<Vec<Say>>,
    /// What it says when it is asked for a summary.
    pub summaries: Vec<Vec<Say>>,
    /// What it says of its tokens.
    pub usage: Count,
    /// The tools.
    pub tools: Vec<Arc<TestTool>>,
    /// The journal; the catalogue and blobs are always `store`.
    pub journal: Arc<dyn Journal>,
    /// Everything else that is kept.
    pub store: MemoryStore,
    /// Prefix of ids; two runtimes on one store need different ones.
    pub name: &'static str,
    /// Runs hooks; none when absent.
    pub hooks: Option<Arc<dyn HookEngine>>,
    /// Keeps grants of folders, where anybody does.
    pub grants: Option<Arc<dyn Grants>>,
    /// Takes a recording.
    pub trace: Option<Arc<dyn TraceSink>>,
    /// Bounds.
    pub limits: RuntimeLimits,
    /// The models; the one that plays `script` when absent.
    pub models: Option<Arc<dyn Models>>,
}

impl Parts {
    /// A fresh store in memory.
    #[must_use]
    pub fn new(script: Vec<Vec<Say>>, tools: Vec<Arc<TestTool>>) -> Self {
        Self::on(MemoryStore::new(node("a")), script, tools)
    }

    /// A given store.
    #[must_use]
    pub fn on(store: MemoryStore, script: Vec<Vec<Say>>, tools: Vec<Arc<TestTool>>) -> Self {
        Self {
            script,
            summaries: Vec::new(),
            usage: Count::AsScripted,
            tools,
            journal: Arc::new(store.clone()),
            store,
            name: "a",
            hooks: None,
            grants: None,
            trace: None,
            limits: RuntimeLimits::DEFAULT,
            models: None,
        }
    }
}

impl Kit {
    /// A runtime on a fresh store in memory.
    #[must_use]
    pub fn new(script: Vec<Vec<Say>>, tools: Vec<Arc<TestTool>>) -> Self {
        Self::of(Parts::new(script, tools))
    }

    /// A runtime of these parts.
    #[must_use]
    pub fn of(parts: Parts) -> Self {
        let model = ScriptedModel::summarising(parts.script, parts.summaries, parts.usage);
        let ports = Ports {
            journal: parts.journal,
            catalog: Arc::new(parts.store.clone()) as Arc<dyn Catalog>,
            blobs: Arc::new(parts.store) as Arc<dyn Blobs>,
            bus: Arc::new(LocalBus::default()),
            models: parts.models.unwrap_or_else(|| Arc::new(OneModel(Arc::clone(&model)))),
            tools: Arc::new(SameTools(parts.tools)),
            hooks: parts.hooks.unwrap_or_else(|| Arc::new(NoopHookEngine)),
            grants: parts.grants,
            clock: Arc::new(VirtualClock::new()),
            ids: Arc::new(CountedIds::new(parts.name)),
            trace: parts.trace,
        };
        Self { core: DefaultAgentCore::new(ports, parts.limits, node(parts.name)), model }
    }

    /// A new session in mode `open` where nobody answers.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn open(&self) -> DefaultSession {
        self.open_with(settings()).await
    }

    /// A new session with these settings.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn open_with(&self, settings: Settings) -> DefaultSession {
        self.core.open(spec(settings).into()).await.expect("the session opens")
    }
}

/// The node of a runtime whose ids begin with `name`.
///
/// # Panics
/// When `name` cannot be part of an id.
#[must_use]
pub fn node(name: &str) -> NodeId {
    NodeId::parse(format!("node-{name}")).expect("it is a valid id")
}

/// Settings in mode `open` where nobody answers.
#[must_use]
pub fn settings() -> Settings {
    Settings::new(selection(), Mode::OPEN, Answers::Nobody)
}

/// A session in `/work`, made by a test.
#[must_use]
pub fn spec(settings: Settings) -> SessionSpec {
    SessionSpec {
        system: "be brief".into(),
        ..SessionSpec::new(PathBuf::from("/"), "test", settings)
    }
}

/// An input in plain words.
#[must_use]
pub fn admit(text: &str, delivery: Delivery) -> Command {
    Command::Admit(Admit {
        key: None,
        source: InputSource::User,
        delivery,
        content: vec![Part::text(text)],
        goal: None,
        output: None,
        peer: None,
    })
}

/// An input that is a goal, too.
#[must_use]
pub fn pursue(objective: &str, continuations_max: u32) -> Command {
    let goal = Goal { objective: objective.to_owned(), continuations_max };
    Command::Admit(Admit {
        key: None,
        source: InputSource::User,
        delivery: Delivery::Queue,
        content: vec![Part::text(objective)],
        goal: Some(goal),
        output: None,
        peer: None,
    })
}

/// Admits an input and returns its `seq`.
///
/// # Errors
/// As the session says.
pub async fn send(
    session: &DefaultSession,
    text: &str,
    delivery: Delivery,
) -> Result<Seq, SessionError> {
    match session.tell(admit(text, delivery)).await? {
        Reply::Admitted(seq) => Ok(seq),
        other => panic!("an input is answered by its seq, not {other:?}"),
    }
}

/// Every entry of a session.
///
/// # Panics
/// When the journal cannot be read.
pub async fn journal(core: &DefaultAgentCore, session: &DefaultSession) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.seq);
        let more = core.entries(session.id(), after).await.expect("the journal can be read");
        if more.is_empty() {
            return entries;
        }
        entries.extend(more);
    }
}

/// The types of entries, in order, as their tags.
#[must_use]
pub fn tags(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| tag(&entry.event)).collect()
}

/// The tag of an event.
///
/// # Panics
/// Never: every event has one.
#[must_use]
pub fn tag(event: &Event) -> String {
    let json = serde_json::to_value(event).expect("events are JSON");
    json["type"].as_str().expect("events have a type").to_owned()
}

/// Follows the session until an entry fits, and returns it.
///
/// # Panics
/// When the session ends before, or the entry has not come after two days of the runtime's clock.
pub async fn wait_for(
    session: &DefaultSession,
    after: Seq,
    fits: impl Fn(&Event) -> bool,
) -> Arc<Entry> {
    let mut events = session.events(after);
    let found = async {
        loop {
            match session.next_event(&mut events).await.expect("the session lives") {
                AgentEvent::Entry(entry) if fits(&entry.event) => return entry,
                AgentEvent::Entry(_)
                | AgentEvent::Delta(_)
                | AgentEvent::CaughtUp { .. }
                | AgentEvent::Scoped { .. } => {}
            }
        }
    };
    timeout(Duration::from_secs(48 * 3600), found).await.expect("the entry comes")
}
