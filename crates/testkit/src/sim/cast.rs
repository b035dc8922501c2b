//! The model and the tools of a simulated world: each has its troubles, and they end after a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use futures::stream::{self, BoxStream, StreamExt};
use oarlock_core::AgentOrder;
use oarlock_core::event::Effect;
use oarlock_core::message::ReplyStop;
use oarlock_core::ports::model::{
    Model, ModelCandidate, ModelError, ModelErrorKind, ModelEvent, ModelInfo, ModelRequest, Models,
    Reply,
};
use oarlock_core::prompt::SystemPrompt;
use oarlock_core::spec::{Bounds, ModelSelection};

use crate::model::{Say, calls, info, play, selection, text};
use crate::mortal::MortalJournal;
use crate::sim::chance::Chance;
use crate::sim::hooks::Meddlers;
use crate::tool::{Act, TestTool, Work};

/// Model calls of one world that may be trouble; all later ones are answered at once.
pub(super) const TROUBLES_MAX: u32 = 14;

/// The tools that a model asks for; some more often than others.
const NAMES: [&str; 15] = [
    "read", "slow", "hang", "burst", "early", "mute", "write", "stuck", "ask", "later", "never",
    "break", "spawn", "spawn", "spawn",
];
/// Failures that a provider may tell of.
const FAILURES: [ModelErrorKind; 6] = [
    ModelErrorKind::Overloaded,
    ModelErrorKind::RateLimited,
    ModelErrorKind::Transport,
    ModelErrorKind::Truncated,
    ModelErrorKind::ContextOverflow,
    ModelErrorKind::Auth,
];

/// Who plays in a world; they outlive its processes.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) script: Arc<Script>,
    pub(super) tools: Vec<Arc<TestTool>>,
    pub(super) hooks: Arc<Meddlers>,
}

impl Cast {
    pub(super) fn new(seed: u64) -> Self {
        let script = Arc::new(Script::new(seed, NAMES.to_vec()));
        Self { script, tools: tools(), hooks: Arc::new(Meddlers::new(seed)) }
    }
}

/// What all models of a world share; it outlives its processes.
#[derive(Debug)]
pub(super) struct Script {
    chance: Chance,
    left: AtomicU32,
    called: AtomicU64,
    tools: Vec<&'static str>,
}

impl Script {
    fn new(seed: u64, tools: Vec<&'static str>) -> Self {
        let chance = Chance::new(seed, "model");
        let left = AtomicU32::new(u32::try_from(chance.below(TROUBLES_MAX.into())).unwrap_or(0));
        Self { chance, left, called: AtomicU64::new(0), tools }
    }

    fn next(&self) -> Vec<Say> {
        let took =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if took.is_err() {
            return vec![Say::Reply(text("done"))];
        }
        let chance = &self.chance;
        match chance.below(20) {
            0 | 1 => vec![Say::Delta("one moment"), Say::Silence],
            2 => vec![Say::Silence],
            3 => (0..40).flat_map(|_| [Say::Alive, Say::Wait(100_000)]).collect(),
            4 => vec![Say::Delta("half"), Say::Panic],
            5 | 6 => {
                let after = chance.percent(30).then(|| chance.below(200_000));
                vec![Say::Wait(chance.below(1_000)), Say::Fail(*chance.pick(&FAILURES), after)]
            }
            7 => {
                vec![Say::Delta("cut"), Say::Wait(chance.below(400_000)), Say::Reply(text("late"))]
            }
            8 => vec![Say::Reply(Reply { stop: ReplyStop::MaxTokens, ..text("too lo") })],
            9 | 10 => vec![Say::Reply(text("that is all"))],
            _ => vec![Say::Wait(chance.below(20_000)), Say::Reply(self.asking())],
        }
    }

    fn asking(&self) -> Reply {
        let asked = (0..=self.chance.below(3)).map(|_| {
            let id = format!("c{}", self.called.fetch_add(1, Ordering::SeqCst));
            (id, *self.chance.pick(&self.tools))
        });
        let asked: Vec<(String, &str)> = asked.collect();
        let asked: Vec<(&str, &str, &str)> =
            asked.iter().map(|(id, tool)| (id.as_str(), *tool, r#"{"what": "x"}"#)).collect();
        calls(&asked)
    }
}

/// The models as one process reaches them. A process that is dead gets no answer.
#[derive(Debug)]
pub(super) struct Troubled {
    pub(super) script: Arc<Script>,
    pub(super) process: Arc<MortalJournal>,
}

impl Models for Troubled {
    fn resolve(&self, wanted: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        if *wanted != selection() {
            let message = format!("there is no model {wanted}");
            return Err(ModelError {
                kind: ModelErrorKind::ModelNotFound,
                message,
                retry_after_ms: None,
            });
        }
        let (script, process) = (Arc::clone(&self.script), Arc::clone(&self.process));
        Ok(Arc::new(Speaker { info: info(), script, process }))
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        vec![info().into()]
    }
}

#[derive(Debug)]
struct Speaker {
    info: ModelInfo,
    script: Arc<Script>,
    process: Arc<MortalJournal>,
}

impl Model for Speaker {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn call(&self, _: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        if self.process.is_dead() {
            return stream::pending().boxed();
        }
        play(self.script.next())
    }
}

/// A subagent with all the tools that its parent has, and one of its own.
fn order() -> AgentOrder {
    AgentOrder {
        profile: "worker".to_owned(),
        task: Vec::new(),
        prompt: SystemPrompt::default(),
        model: None,
        effort: None,
        tools: Some(vec!["*".to_owned()]),
        sampling: None,
        request_limit: None,
        bounds: Bounds::default(),
    }
}

/// One tool of each kind of trouble.
fn tools() -> Vec<Arc<TestTool>> {
    vec![
        TestTool::new("read", Effect::Pure, Act::Give("read".to_owned())),
        TestTool::new("slow", Effect::Pure, Act::After(30_000, "slow")),
        TestTool::new("hang", Effect::Pure, Act::Hang),
        TestTool::new("burst", Effect::Pure, Act::Panic),
        TestTool::new("early", Effect::Pure, Act::PanicEarly),
        TestTool::new("mute", Effect::Mutating, Act::Mute),
        TestTool::new("write", Effect::Mutating, Act::After(50, "written")),
        TestTool::new("stuck", Effect::Destructive, Act::Hang),
        TestTool::new(
            "later",
            Effect::Mutating,
            Act::Background(Work::After(400_000, "later".to_owned())),
        ),
        TestTool::new("never", Effect::Mutating, Act::Background(Work::Hang)),
        TestTool::new("break", Effect::Mutating, Act::Background(Work::Panic)),
        TestTool::new("spawn", Effect::Idempotent, Act::Spawn(Box::new(order()))),
        TestTool::client("ask"),
    ]
}
