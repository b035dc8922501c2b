//! What can happen to a session: the entries of its journal, and the deltas that announce them.
//!
//! Every event carries a stable `type` tag. Fields are only ever added, with a default, so that old journals stay readable.

mod bodies;
mod fallback;
mod fork;
mod peer;
mod reach;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::event::fallback::ModelReplaced;
pub use crate::event::fork::ForkPoint;
pub use crate::event::peer::{Peer, PeerKind, SessionNamed};
pub use crate::event::reach::{
    ContinuedBy, Goal, GoalReached, GoalSet, HookChange, HookControl, HookFunds, HookPoint,
    HookRan, HookResult, HookStop, HooksStarted, PayingHook, PlanChanged, PlanItem, PlanPriority,
    PlanStatus, SkillLoaded, SubagentClosed, SubagentOpened, TaskKind, TaskOutcome, TaskSettled,
    TaskStarted, TurnContinued,
};
use crate::ids::{
    BlobId, CallId, Epoch, NodeId, Seq, SessionId, StepNo, TaskId, Timestamp, TurnNo,
};
use crate::message::{Block, Message, Part, ReplyStop, Usage};
use crate::ports::model::ModelErrorKind;
use crate::spec::{
    LimitKind, SchemaWarning, SessionSpec, Settings, SettingsChange, StructuredOutput,
};

/// Version of the event vocabulary, written into each new session.
pub const SCHEMA_VERSION: u32 = 1;

/// One committed record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Its place in the session.
    pub seq: Seq,
    /// When it was decided.
    pub at: Timestamp,
    /// The turn it belongs to; absent outside turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnNo>,
    /// Path of subagents, empty for the session's own entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// What happened.
    pub event: Event,
}

impl Entry {
    /// Appends the entry as JSON and a line end.
    pub fn encode_into(&self, body: &mut Vec<u8>) {
        serde_json::to_writer(&mut *body, self)
            .expect("entries have string keys and no failing serialisers");
        body.push(b'\n');
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// The session exists. Always entry 1.
    SessionCreated(Box<SessionCreated>),
    /// The session has a name by which others of its tenant write to it. Always entry 2, in the frame of the first; a fork has none.
    SessionNamed(Box<SessionNamed>),
    /// The session is a fork and whole: everything that was to be copied is. What follows is its own.
    SessionForked(ForkPoint),
    /// Settings changed.
    SessionConfigured(Box<SettingsChange>),
    /// The session refuses turns until it is restored.
    SessionArchived,
    /// The session takes turns again.
    SessionRestored,
    /// Another writer took over.
    WriterChanged(WriterChanged),
    /// The writer let go in good order.
    WriterReleased,
    /// An input was accepted and will be taken by a turn.
    InputAdmitted(InputAdmitted),
    /// An input that no turn had taken was withdrawn.
    InputWithdrawn(InputRef),
    /// A turn began.
    TurnStarted(Box<TurnStarted>),
    /// A turn that a crash had cut is going on.
    TurnRecovered(TurnRecovered),
    /// A turn ended. Always the last entry of its turn, exactly once.
    TurnEnded(TurnEnded),
    /// A model is about to be called.
    StepStarted(StepStarted),
    /// A model call failed; the deltas of this attempt are void.
    ModelFailed(ModelFailed),
    /// The model cannot answer: another one of the session's `fallback` goes on with the turn.
    ModelReplaced(Box<ModelReplaced>),
    /// A model answered.
    AssistantMessage(AssistantMessage),
    /// The model asked for a tool.
    ToolCalled(ToolCalled),
    /// Somebody is asked whether a call may run.
    PermissionAsked(PermissionAsked),
    /// The question was answered.
    PermissionAnswered(PermissionAnswered),
    /// A call is about to run. A call without this entry never ran.
    ToolStarted(CallRef),
    /// The call is over. Exactly once for each `tool_called`.
    ToolSettled(ToolSettled),
    /// The client is asked to answer a call itself.
    InputRequested(InputRequested),
    /// Old results of tools were taken out of what the model sees.
    ContextCleared(ContextCleared),
    /// The beginning of what the model sees was replaced by a summary.
    ContextCompacted(ContextCompacted),
    /// A summary of what the model has seen is about to be made.
    SummaryStarted(SummaryStarted),
    /// A summary was tried and could not be used; what the model sees stays as it is.
    SummaryFailed(SummaryFailed),
    /// Somebody changed what the model sees.
    HistoryEdited(HistoryEdited),
    /// The session was given a goal without an input, or its goal was taken away.
    GoalSet(GoalSet),
    /// The model says that the goal is reached.
    GoalReached(GoalReached),
    /// A turn whose model stopped goes on.
    TurnContinued(TurnContinued),
    /// The plan stands otherwise.
    PlanChanged(PlanChanged),
    /// A skill was loaded.
    SkillLoaded(SkillLoaded),
    /// Something is about to run in the background.
    TaskStarted(TaskStarted),
    /// It is over. Exactly once for each `task_started`.
    TaskSettled(TaskSettled),
    /// A subagent is about to be made.
    SubagentOpened(SubagentOpened),
    /// A subagent is done and paid for. Exactly once for each `subagent_opened`.
    SubagentClosed(SubagentClosed),
    /// Hooks of which some may call models are about to run.
    HooksStarted(HooksStarted),
    /// Hooks changed or stopped something, or used tokens.
    HookRan(Box<HookRan>),
    /// An event too large for a frame: the blob holds its JSON. Readers of the runtime never see it, they get the event itself.
    Spilled(BlobRef),
}

/// Body of [`Event::SessionCreated`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionCreated {
    /// The session's id, so that an exported journal names itself.
    pub id: SessionId,
    /// [`SCHEMA_VERSION`] when it was made.
    pub schema: u32,
    /// The process that made it.
    pub node: NodeId,
    /// What it is.
    pub spec: SessionSpec,
    /// Where it was forked from. Without its `session_forked` it is a beginning that was never finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked: Option<ForkPoint>,
}

/// Body of [`Event::WriterChanged`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WriterChanged {
    /// The new writer's epoch.
    pub epoch: Epoch,
    /// The new writer.
    pub node: NodeId,
}

/// When an input is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// By a turn that starts at once; refused while another one runs.
    Now,
    /// By the next turn.
    Queue,
    /// By the running turn at its next step; by the next turn when none runs.
    Steer,
}

/// Who sent an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputSource {
    /// A person or program at a surface.
    User,
    /// A finished background task.
    Background,
    /// A hook.
    Hook,
    /// Another session or an outside event.
    External,
}

/// Body of [`Event::InputAdmitted`]. The input is named by the `seq` of this entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputAdmitted {
    /// A second input with one of the last 4,096 keys is the same input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Who sent it.
    pub source: InputSource,
    /// When it is to be taken.
    pub delivery: Delivery,
    /// What it says.
    pub content: Vec<Part>,
    /// A goal that the session has from the moment on when a turn takes this input. A withdrawn or refused input sets none, and a hook that
    /// replaces its text replaces the goal's, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// The form of the answer of the turn that takes this input, in the place of the session's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<StructuredOutput>>,
    /// Who wrote it, when it was sent to the session as a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Box<Peer>>,
}

/// Names an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputRef {
    /// The `seq` of its `input_admitted`.
    pub input: Seq,
}

/// Body of [`Event::TurnStarted`]: what the whole turn uses, whatever changes meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TurnStarted {
    /// The inputs it takes, by their `seq`, in order.
    pub inputs: Vec<Seq>,
    /// Model, mode, rules, effort and limits of this turn.
    pub settings: Arc<Settings>,
}

/// Body of [`Event::TurnRecovered`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TurnRecovered {
    /// How often this turn was cut by a crash, from 1.
    pub attempt: u32,
    /// Tokens of the request whose answer the crash lost, estimated.
    #[serde(default, skip_serializing_if = "is_none_used")]
    pub usage: Usage,
    /// Their price in millionths of a US dollar, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
}

/// Why a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reason", content = "class", rename_all = "snake_case")]
pub enum StopReason {
    /// The model was done.
    EndTurn,
    /// The model ran into its output limit.
    MaxTokens,
    /// The model declined.
    Refusal,
    /// Somebody cancelled.
    Cancelled,
    /// A limit was reached.
    Limit(LimitKind),
    /// The process died and the turn was not continued.
    Interrupted,
    /// It could not go on.
    Failed(FailureClass),
}

/// What kind of failure ended a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The model's provider.
    Model(ModelErrorKind),
    /// The turn crashed its process too often.
    CrashLoop,
    /// A defect of ours, caught.
    Internal,
    /// The model's answers were not of the form that was asked for, as often as it may try.
    StructuredOutput,
}

/// A failure in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What failed, where, and in whose words; never a secret.
    pub message: String,
    /// The answer that was not of the form that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<OutputFailure>>,
}

/// Answers that were not of the form that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct OutputFailure {
    /// How many there were.
    pub attempts: u32,
    /// What is wrong with the last one.
    pub reason: String,
    /// Its text, cut to 16 KB; the whole is in the last `assistant_message`.
    pub last_output: String,
}

/// Body of [`Event::TurnEnded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TurnEnded {
    /// Why.
    pub stop: StopReason,
    /// Tokens of this turn.
    pub usage: Usage,
    /// Money of this turn in millionths of a US dollar; absent when a price was unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// Answered steps of this turn.
    pub steps: u32,
    /// The failure, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The answer as JSON that was held against the schema of this turn, byte for byte as the model wrote it. It is there whenever a turn with a
    /// schema ended as `end_turn`, and never else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured_output: Option<String>,
}

/// What made a request's beginning differ from the one before, so that a provider's cache does not hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrefixBreak {
    /// Another model or provider.
    Model,
    /// Another system prompt.
    System,
    /// Another set of tools.
    Tools,
    /// Another form of the answer.
    Output,
    /// The model is to think more or less.
    Effort,
    /// Earlier messages were edited. Journals that older programs wrote say this of cleared and summarised ones, too.
    History,
    /// Results of tools were cleared.
    Cleared,
    /// A summary took the place of earlier messages.
    Compacted,
    /// An older picture is left out, so that newer ones have room.
    Pictures,
    /// The endpoint takes thought within its own turn only, and another turn began.
    Thought,
}

/// Hashes of the parts of a request that a provider caches, to find what broke the cached prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fingerprint {
    /// `provider/model`.
    pub model: String,
    /// Hash of the system prompt, 16 hexadecimal digits.
    pub system: String,
    /// Hash of the tool schemas in order.
    pub tools: String,
    /// Hash of the answer's schema; empty for free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Running hash of the messages.
    pub messages: String,
}

/// What a model call may use at most: it is set aside before the call, and settled by what the call did use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Reserved {
    /// Tokens of the request, estimated.
    pub prompt_tokens: u64,
    /// Their price in millionths of a US dollar, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_micros: Option<u64>,
    /// Tokens that the answer may have; absent when nothing bounds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Their price, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_micros: Option<u64>,
}

/// Body of [`Event::StepStarted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepStarted {
    /// Number in its turn.
    pub step: StepNo,
    /// Steering inputs it takes, by their `seq`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Seq>,
    /// What the request is made of.
    pub request: Fingerprint,
    /// What broke the cached prefix, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_break: Option<PrefixBreak>,
    /// Tokens of the system prompt and the tools, estimated: what the request has before its messages. Absent in journals of older
    /// programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_tokens: Option<u64>,
    /// What its first call may use at most.
    #[serde(default)]
    pub reserved: Reserved,
}

/// Body of [`Event::ModelFailed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelFailed {
    /// Its step.
    pub step: StepNo,
    /// Its attempt, from 1.
    pub attempt: u32,
    /// What kind of failure.
    pub class: ModelErrorKind,
    /// Endpoint, model, status and the provider's own words.
    pub message: String,
    /// The next attempt starts after so many milliseconds; absent when there will be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// Tokens of a call that broke after it had begun to answer, estimated: the provider has counted them, and did not say how many.
    #[serde(default, skip_serializing_if = "is_none_used")]
    pub usage: Usage,
    /// Their price in millionths of a US dollar, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
}

fn is_none_used(usage: &Usage) -> bool {
    *usage == Usage::default()
}

/// Body of [`Event::AssistantMessage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssistantMessage {
    /// Its step.
    pub step: StepNo,
    /// The attempt that succeeded.
    pub attempt: u32,
    /// The model that answered, as it named itself.
    pub model: String,
    /// The answer in the provider's order.
    pub blocks: Vec<Block>,
    /// Why the model stopped.
    pub stop: ReplyStop,
    /// Tokens of this call.
    pub usage: Usage,
    /// Price of this call in millionths of a US dollar, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// The stream was cut: this is what had arrived. Its tokens and price are estimates.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// What of the answer's schema the provider was not sent; told with a turn's first answer, and with each of another model than the turn's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema_warnings: Vec<SchemaWarning>,
}

/// What running a tool does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Reads only, on this machine; may be run again after a crash.
    Pure,
    /// Changes something, but twice is the same as once; may be run again after a crash.
    Idempotent,
    /// Changes files or other local state.
    Mutating,
    /// May do anything, irreversibly.
    Destructive,
    /// Talks to the network.
    Network,
}

impl Effect {
    /// Whether a call that a crash cut may simply be run again.
    #[must_use]
    pub fn may_repeat(self) -> bool {
        matches!(self, Self::Pure | Self::Idempotent)
    }
}

/// Body of [`Event::ToolCalled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCalled {
    /// Names the call in the session.
    pub call: CallId,
    /// Its step.
    pub step: StepNo,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The argument text as received.
    pub arguments: String,
    /// What running it would do.
    pub effect: Effect,
    /// One line for a person: what this call is about.
    pub title: String,
}

/// Names a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallRef {
    /// The call.
    pub call: CallId,
}

/// A choice that a question offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PermissionOption {
    /// What choosing it means; unique among the options of a question.
    pub kind: PermissionKind,
    /// Words for a person, with the scope of what is granted.
    pub label: String,
    /// The rules that choosing it adds to this session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
}

/// What choosing an option means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PermissionKind {
    /// Run this call.
    AllowOnce,
    /// Run this call, and those like it, in this session.
    AllowAlways,
    /// Run this call, and those like it, in this session and in later ones of its folder.
    AllowSaved,
    /// Refuse this call.
    RejectOnce,
    /// Refuse this call, and those like it, in this session.
    RejectAlways,
}

impl PermissionKind {
    /// Whether the call may run.
    #[must_use]
    pub fn allows(self) -> bool {
        matches!(self, Self::AllowOnce | Self::AllowAlways | Self::AllowSaved)
    }
}

/// Body of [`Event::PermissionAsked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PermissionAsked {
    /// The call in question.
    pub call: CallId,
    /// What it would do, in words (a command, a difference…), cut to a bounded length.
    pub detail: String,
    /// The choices.
    pub options: Vec<PermissionOption>,
    /// When the default is taken.
    pub deadline: Timestamp,
    /// What is taken then.
    pub default: PermissionKind,
}

/// Who answered a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredBy {
    /// Somebody at a surface.
    Person,
    /// Nobody in time: the default was taken.
    Deadline,
    /// The answer to another question, which covered this one, too.
    Grant,
    /// The turn was cancelled or ended.
    Cancel,
    /// A hook; nobody was asked.
    Hook,
}

/// Body of [`Event::PermissionAnswered`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PermissionAnswered {
    /// The call in question.
    pub call: CallId,
    /// The choice.
    pub choice: PermissionKind,
    /// By whom.
    pub by: AnsweredBy,
    /// Rules this adds to the session: `grants` for an allowing choice, `deny` for a rejecting one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
}

impl PermissionAnswered {
    /// The rules that are to be kept for later sessions of the folder.
    #[must_use]
    pub fn saves(&self) -> &[String] {
        match self.choice {
            PermissionKind::AllowSaved => &self.grants,
            PermissionKind::AllowOnce
            | PermissionKind::AllowAlways
            | PermissionKind::RejectOnce
            | PermissionKind::RejectAlways => &[],
        }
    }
}

/// Body of [`Event::InputRequested`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputRequested {
    /// The call that the client is to answer.
    pub call: CallId,
    /// When the call is settled as failed.
    pub deadline: Timestamp,
}

/// Body of [`Event::ContextCleared`]. The results stay in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContextCleared {
    /// The calls whose results the model does not see any more.
    pub calls: Vec<CallId>,
    /// The calls whose results it has not seen and never will: they are longer than its window has room for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub too_long: Vec<CallId>,
    /// Tokens of the next request before, estimated.
    pub tokens_before: u64,
    /// And after.
    pub tokens_after: u64,
}

/// Why a summary was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompactionCause {
    /// The window was filling: it was made in the background.
    Soft,
    /// The window was nearly full: the turn waited for it.
    Hard,
    /// The provider said that the request is too long.
    Overflow,
    /// Somebody asked for it.
    Manual,
}

/// Body of [`Event::ContextCompacted`]. The messages stay in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContextCompacted {
    /// Why.
    pub cause: CompactionCause,
    /// How many messages from the beginning are replaced.
    pub dropped: u32,
    /// What stands in their place, as one message of the user.
    pub content: Vec<Part>,
    /// How many parts of `content`, from the first, were kept word for word; the rest is the summary.
    pub pinned: u32,
    /// Tokens of the next request before, estimated.
    pub tokens_before: u64,
    /// And after.
    pub tokens_after: u64,
    /// Tokens of the model call that made the summary.
    #[serde(default)]
    pub usage: Usage,
    /// Its price in millionths of a US dollar, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
}

/// Body of [`Event::SummaryStarted`]. It ends with `context_compacted` or `summary_failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SummaryStarted {
    /// Why.
    pub cause: CompactionCause,
    /// How many messages from the beginning it will replace.
    pub dropped: u32,
    /// What somebody asked it to pay attention to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// What its call may use at most.
    #[serde(default)]
    pub reserved: Reserved,
}

/// Body of [`Event::SummaryFailed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SummaryFailed {
    /// Why it was tried.
    pub cause: CompactionCause,
    /// Why it could not be used, in words for a person.
    pub why: String,
    /// Another may be tried after so many milliseconds; absent when the failure would repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// Tokens of the model call.
    #[serde(default)]
    pub usage: Usage,
    /// Its price in millionths of a US dollar, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
}

/// Body of [`Event::HistoryEdited`]: the messages from `from` to before `to` are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEdited {
    /// Index of the first message that goes.
    pub from: u32,
    /// Index of the first message that stays.
    pub to: u32,
    /// What stands in their place.
    pub messages: Vec<Message>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did what was asked.
    Completed,
    /// It tried and could not.
    Failed,
    /// It was not allowed to.
    Denied,
    /// It was stopped, or never begun.
    Cancelled,
    /// It may have happened: the process died, or the tool did not stop when told to.
    Indeterminate,
}

/// Body of [`Event::ToolSettled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolSettled {
    /// The call.
    pub call: CallId,
    /// How it ended.
    pub outcome: Outcome,
    /// What the model is given.
    pub content: Vec<Part>,
    /// Whole bodies of what `content` shows only in part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<BlobRef>,
    /// Figures for programs, as the tool documents them.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub detail: serde_json::Map<String, serde_json::Value>,
    /// From `tool_started` to now; 0 for a call that never ran.
    pub duration_ms: u64,
}

/// A stored body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobRef {
    /// Where.
    pub blob: BlobId,
    /// What it is, for example `stdout`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// Text, thought or tool output while it is being made. Sent to subscribers, never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Delta {
    /// Its turn.
    pub turn: TurnNo,
    /// Its step.
    pub step: StepNo,
    /// Its attempt; a failed attempt's deltas are void. 0 for tool output.
    pub attempt: u32,
    /// What grows.
    pub item: DeltaItem,
    /// Where `text` begins in the item, in bytes. A gap means that deltas were dropped for a slow reader.
    pub offset: u64,
    /// What was added.
    pub text: String,
}

/// What a delta adds to.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DeltaItem {
    /// A text block of the answer.
    Text {
        /// Index of the block in the answer.
        block: u32,
    },
    /// A thinking block of the answer.
    Thinking {
        /// Index of the block in the answer.
        block: u32,
    },
    /// The arguments of a call in the answer.
    Arguments {
        /// Index of the block in the answer.
        block: u32,
    },
    /// Words about why the call of the model has not been sent, a line each. They are no part of the answer.
    Wait,
    /// Output of a running tool.
    Output {
        /// The call.
        call: CallId,
    },
    /// Output of a background task; its turn and step are 0.
    Task {
        /// The task.
        task: TaskId,
    },
}

/// What a subscriber is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentEvent {
    /// A committed entry.
    Entry(Arc<Entry>),
    /// A delta.
    Delta(Delta),
    /// Everything that was committed when the subscription began has been sent; what follows is live.
    CaughtUp {
        /// The last `seq` that had been committed.
        seq: Seq,
    },
    /// Something happened to a subagent. It is no event of the session itself.
    Scoped {
        /// The sessions that lead to it, from below the followed one down to its own.
        scope: Vec<SessionId>,
        /// What happened: an entry or a delta, as it is in that session.
        event: Box<Self>,
    },
}
