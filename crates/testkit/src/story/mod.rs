//! Random lives of sessions: what a model says, what people do and when, which processes die. Told on virtual time by the real loop.
//!
//! `draw` makes stories, `stage` plays them, `laws` looks at what was told.

pub mod draw;
mod goals;
pub mod laws;
mod stage;

use std::sync::Arc;

use oarlock_core::Recovery;
use oarlock_core::event::{
    Delivery, Effect, Entry, GoalReached, Outcome, PermissionKind, PlanChanged, PlanItem,
    PlanPriority, PlanStatus,
};
use oarlock_core::ids::{CallId, Timestamp, TurnNo};
use oarlock_core::memory::MemoryStore;
use oarlock_core::ports::journal::Summary;
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::ports::tool::SessionNote;
use oarlock_core::session::goal::GOAL_DONE;
use oarlock_core::session::state::State;
use oarlock_core::session::trace::TraceLine;
use oarlock_core::spec::{Settings, SettingsChange};

use crate::model::Say;
use crate::mortal::LastWrite;
use crate::tool::{Act, TestTool};

pub use stage::play;

/// A session's life, before it is lived.
#[derive(Debug, Clone)]
pub struct Story {
    /// What the session begins with.
    pub settings: Settings,
    /// What the model says, call by call.
    pub replies: Vec<Vec<Say>>,
    /// What it says when it is asked for summaries.
    pub summaries: Vec<Vec<Say>>,
    /// What is done, each so many milliseconds after the one before.
    pub beats: Vec<(u64, Beat)>,
    /// How many of 1,000 writes fail.
    pub faults: u64,
}

/// Something that is done to a session. What it refuses is part of its life.
#[derive(Debug, Clone)]
pub enum Beat {
    /// An input, maybe under a key.
    Input(Delivery, Option<&'static str>),
    /// An input that is a goal, too, towards which the session may go on so often.
    Pursue(u32),
    /// Another goal without an input, or none any more.
    Goal(Option<u32>),
    /// The first waiting input is withdrawn.
    Withdraw,
    /// The turn is cancelled.
    Cancel,
    /// The open question is answered.
    Answer(PermissionKind),
    /// The call that waits for the client is answered.
    Supply(Outcome),
    /// Settings change.
    Configure(Box<SettingsChange>),
    /// A summary is asked for.
    Compact,
    /// What the model sees is replaced by one message.
    Edit,
    /// It is archived.
    Archive,
    /// It is restored.
    Restore,
    /// It is closed.
    Close,
    /// Its process dies at once; another one opens the session.
    Crash(Recovery),
    /// Its process dies with the write after so many; another one opens the session at the next beat.
    Doom(u32, LastWrite, Recovery),
}

/// A life that was lived.
#[derive(Debug)]
pub struct Told {
    /// Its journal.
    pub entries: Vec<Entry>,
    /// What the model was asked, in order, without summaries.
    pub requests: Vec<ModelRequest>,
    /// Calls that were run, each as often as it was run.
    pub ran: Vec<(CallId, Effect)>,
    /// What a subscriber was given, and how far the store was then.
    pub heard: Vec<(Arc<Entry>, u64)>,
    /// Which turns were cancelled, and when.
    pub cancelled: Vec<(TurnNo, Timestamp)>,
    /// Inputs that the session said it had, by their `seq`.
    pub admitted: Vec<u64>,
    /// Recordings of its openings, without those that a death cut.
    pub recordings: Vec<Vec<TraceLine>>,
    /// How many of its processes were killed.
    pub deaths: usize,
    /// The session, as its store gives it to whoever asks in the end.
    pub state: State,
    /// Where it is kept.
    pub store: MemoryStore,
    /// What lists show.
    pub summary: Option<Summary>,
    /// Whether it came to rest by itself in the end, everything admitted taken.
    pub rested: bool,
}

/// The tools of a story: one of each kind of trouble.
#[must_use]
pub fn tools() -> Vec<Arc<TestTool>> {
    let item = |content: &str, status| PlanItem {
        content: content.to_owned(),
        status,
        priority: PlanPriority::Medium,
    };
    let items = vec![item("row", PlanStatus::Completed), item("steer", PlanStatus::InProgress)];
    let (plan, reached) = (PlanChanged { items }, GoalReached { summary: "ashore".to_owned() });
    vec![
        TestTool::new("read", Effect::Pure, Act::Give("read".to_owned())),
        TestTool::new("slow", Effect::Pure, Act::After(100, "slow")),
        TestTool::new("hang", Effect::Pure, Act::Hang),
        TestTool::new("burst", Effect::Pure, Act::Panic),
        TestTool::new("fail", Effect::Idempotent, Act::Fail("no")),
        TestTool::new("write", Effect::Mutating, Act::After(50, "written")),
        TestTool::new("stuck", Effect::Mutating, Act::Hang),
        TestTool::new("boom", Effect::Destructive, Act::Panic),
        TestTool::new("fetch", Effect::Network, Act::Give(String::new())),
        TestTool::client("ask"),
        TestTool::new("plan", Effect::Pure, Act::Note(SessionNote::Plan(plan))),
        TestTool::new(GOAL_DONE, Effect::Pure, Act::Note(SessionNote::Goal(reached))),
    ]
}
