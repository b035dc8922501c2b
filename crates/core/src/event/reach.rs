//! What can happen beyond a turn's own steps: goals, plans, skills, background tasks, subagents and hooks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{BlobRef, Effect, PermissionKind, Reserved, StopReason};
use crate::ids::{CallId, Seq, SessionId, StepNo, TaskId};
use crate::message::{Part, Usage};
use crate::spec::{Bounds, ModelSelection};

/// Body of [`crate::event::Event::GoalSet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoalSet {
    /// The goal from now on; without one the session has none. Inputs that wait lose the goals that they would bring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
}

/// What a session is to reach before it stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Goal {
    /// What is to be reached, in the user's words.
    pub objective: String,
    /// How often the session goes on by itself when its model stops before.
    pub continuations_max: u32,
}

/// Body of [`crate::event::Event::GoalReached`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoalReached {
    /// What was done, in the model's words.
    pub summary: String,
}

/// Who makes a turn go on although its model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContinuedBy {
    /// The goal, which is not reached.
    Goal,
    /// A hook.
    Hook,
    /// The form of its answer, which the answer is not of.
    Output,
}

/// Body of [`crate::event::Event::TurnContinued`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TurnContinued {
    /// By whom.
    pub by: ContinuedBy,
    /// What the model is told, as words of the user's side.
    pub content: Vec<Part>,
}

/// Body of [`crate::event::Event::PlanChanged`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlanChanged {
    /// The whole plan as it stands from now on.
    pub items: Vec<PlanItem>,
}

/// A task of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanItem {
    /// What is to be done.
    pub content: String,
    /// How far it is.
    pub status: PlanStatus,
    /// How much it matters.
    #[serde(default)]
    pub priority: PlanPriority,
}

/// How far a task of a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanStatus {
    /// Not begun.
    Pending,
    /// Under way.
    InProgress,
    /// Done.
    Completed,
}

impl PlanStatus {
    /// What stands before an item in a list for people.
    #[must_use]
    pub fn sign(self) -> char {
        match self {
            Self::Pending => '·',
            Self::InProgress => '→',
            Self::Completed => '✓',
        }
    }
}

/// How much a task of a plan matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanPriority {
    /// Much.
    High,
    /// Middling.
    #[default]
    Medium,
    /// Little.
    Low,
}

/// Body of [`crate::event::Event::SkillLoaded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkillLoaded {
    /// Its name.
    pub name: String,
    /// Rules that it adds to the session's grants: they answer where the mode would ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
}

/// What runs in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TaskKind {
    /// Work of this process: it ends with it.
    Work,
    /// A subagent: it has a journal, and is taken up again after a crash.
    Subagent {
        /// Its session.
        child: SessionId,
    },
}

/// Body of [`crate::event::Event::TaskStarted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskStarted {
    /// Names it in its session: `bg-1`, `bg-2`…
    pub task: TaskId,
    /// What runs.
    pub work: TaskKind,
    /// A few words for people and models.
    pub label: String,
    /// The call that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
}

/// How a background task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutcome {
    /// It did what it was to do.
    Completed,
    /// It could not.
    Failed,
    /// It was cancelled.
    Canceled,
    /// Its process died, and nobody knows how far it came.
    Lost,
}

/// Body of [`crate::event::Event::TaskSettled`]. What the model is told of it is the input after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskSettled {
    /// The task.
    pub task: TaskId,
    /// How it ended.
    pub outcome: TaskOutcome,
    /// Whole bodies of what the input shows in part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<BlobRef>,
    /// From `task_started` to now.
    pub duration_ms: u64,
}

/// Body of [`crate::event::Event::SubagentOpened`]: written before the child's own first entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentOpened {
    /// The child's session.
    pub child: SessionId,
    /// The call that asked for it.
    pub call: CallId,
    /// The profile it works by.
    pub profile: String,
    /// What of the session's limits is set aside for it: its own limits are these.
    #[serde(default)]
    pub reserved: Bounds,
}

/// Body of [`crate::event::Event::SubagentClosed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubagentClosed {
    /// The child's session.
    pub child: SessionId,
    /// Why its turn ended; absent when it never had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopReason>,
    /// Answered steps of it and of its own subagents.
    pub steps: u32,
    /// Tool calls.
    pub tool_calls: u32,
    /// Tokens.
    pub usage: Usage,
    /// Money in millionths of a US dollar, as far as prices were known; absent when nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// Whether some of it had no known price.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cost_unknown: bool,
}

/// Where hooks are run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// A session was made or taken up again.
    AfterSessionEnter,
    /// An input is about to be taken.
    BeforeIngest,
    /// An input was taken.
    AfterIngest,
    /// A turn began.
    AfterTurnEnter,
    /// A summary is about to be made.
    BeforeCompact,
    /// A summary took the place of messages.
    AfterCompact,
    /// A model is about to be called.
    BeforeGenerate,
    /// A model answered, or failed for good.
    AfterGenerate,
    /// Somebody is about to be asked whether a call may run.
    BeforePermission,
    /// It was decided whether a call may run.
    AfterPermission,
    /// A call is about to be judged and run.
    BeforeToolApply,
    /// A call ended.
    AfterToolApply,
    /// All calls of an answer ended.
    AfterToolBatch,
    /// A turn is about to end.
    BeforeTurnEnd,
}

/// What a hook says about how to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "control", rename_all = "snake_case")]
pub enum HookControl {
    /// Leave out what was about to be done.
    Skip,
    /// Go on although the turn would end.
    Continue,
    /// Stop: what it stops depends on the point.
    Break {
        /// The turn ends for this reason; the point's own when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stop: Option<HookStop>,
    },
}

/// The reasons for which a hook can end a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookStop {
    /// As if the model was done.
    EndTurn,
    /// As if the model declined.
    Refusal,
    /// As if somebody cancelled.
    Cancelled,
}

/// A result that a hook puts in the place of running a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookResult {
    /// What the model is given.
    pub content: Vec<Part>,
    /// Whether it counts as a failure.
    #[serde(default)]
    pub is_error: bool,
}

/// What hooks changed at one point. What is absent stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HookChange {
    /// How to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<HookControl>,
    /// Why something was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Words for the model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<String>,
    /// Text in the place of the input's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Text before the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepend_input: Option<String>,
    /// Another model for this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSelection>,
    /// An answer in the place of the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assistant: Option<String>,
    /// The answer to the question whether the call may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission: Option<PermissionKind>,
    /// Argument text in the place of the call's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// A result in the place of running the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<HookResult>,
}

impl HookChange {
    /// Whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Body of [`crate::event::Event::HookRan`]: hooks changed or stopped something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookRan {
    /// Where.
    pub point: HookPoint,
    /// The step, where the point has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepNo>,
    /// The call, where the point has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The input, where the point is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Seq>,
    /// The hooks that did it, by name, in order.
    pub hooks: Vec<String>,
    /// What they changed.
    pub change: HookChange,
    /// What the call would do with its changed arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Tokens that they used.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub usage: Usage,
    /// Their price in millionths of a US dollar, as far as it is known; absent when they used no tokens, or no price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// Whether some of it had no known price.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cost_unknown: bool,
    /// Nobody heard how they ended: what they used is an estimate, they changed nothing, and the place is not passed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// Body of [`crate::event::Event::HooksStarted`]: hooks of which some may call models are about to run. Their `hook_ran` follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HooksStarted {
    /// Where.
    pub point: HookPoint,
    /// The step, where the point has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepNo>,
    /// The call, where the point has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The input, where the point is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Seq>,
    /// Those that may call models, in order.
    pub paying: Vec<PayingHook>,
}

/// A hook that may call models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PayingHook {
    /// Its name.
    pub hook: String,
    /// What it may use.
    pub funds: HookFunds,
}

/// What a hook may use of models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookFunds {
    /// This at most; it is set aside until the hooks have ended.
    Reserved(Reserved),
    /// The limits leave no room for it, in words: it is not run and counts as failed.
    Refused(String),
}

fn is_nothing(usage: &Usage) -> bool {
    *usage == Usage::default()
}
