//! What the service answers: how sessions and turns stand.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::command::{ContextStatus, Status, Waiting};
use crate::event::{PermissionAsked, PlanItem, StopReason};
use crate::ids::{CallId, NodeId, Seq, SessionId, Tenant, Timestamp, TurnNo};
use crate::message::{Block, Content, Message, Usage};
use crate::ports::journal::{Activity, Summary};
use crate::ports::model::ModelInfo;
use crate::session::context::ToolsDigest;
use crate::session::goal::GoalState;
use crate::session::open_turn::CallPhase;
use crate::session::state::State;
use crate::session::status::status;
use crate::session::tasks::Tasks;
use crate::session::why::Wait;
use crate::spec::{Comms, PeerMeta, SchemaWarning, Settings};

/// A place in a session's journal: everything up to it has been read. Opaque to clients, the same on every surface and node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cursor(pub Seq);

/// Entries that no session has: numbers below it have at most 19 digits, which a description can say.
const SEQ_END: Seq = 10_000_000_000_000_000_000;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::str::FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Only as it is written: a cursor has one form.
        let seq = text.parse().ok().filter(|seq: &Seq| *seq < SEQ_END && seq.to_string() == text);
        seq.map(Self).ok_or_else(|| {
            let cut: String = text.chars().take(80).collect();
            format!("`{cut}` is no cursor; use one that was given out, or 0 for the beginning")
        })
    }
}

impl JsonSchema for Cursor {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cursor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A place in a session's journal: everything up to it has been read. Opaque to clients, the same on every surface and node.",
            "type": "string",
            "pattern": "^(0|[1-9][0-9]{0,18})$",
        })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How an input and the turn that takes it stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// There is no input: the session was made and waits for one.
    Deferred,
    /// The input waits for its turn.
    Queued,
    /// Its turn runs.
    Running,
    /// Its turn waits for answers: see `pending`.
    AwaitingInput,
    /// Its turn has ended: see `stop_reason`.
    Ended,
    /// The input was withdrawn before a turn took it.
    Withdrawn,
}

/// A turn as whoever asked for it is told: how it stands, what it came to, and what it used.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// The session.
    pub session_id: SessionId,
    /// The input, which names the run; absent for a session without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Seq>,
    /// The turn that took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnNo>,
    /// How it stands.
    pub state: RunState,
    /// Why the turn ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    /// The text of the model's last answer; with an output schema that was kept, the JSON text.
    pub text: String,
    /// Tokens of this turn.
    pub usage: Usage,
    /// Money of this turn in millionths of a US dollar; absent when a price was unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// Tokens of the session so far, this turn included.
    pub session_usage: Usage,
    /// Answered model calls of this turn.
    pub turns: u32,
    /// Tool calls of this turn.
    pub tool_calls: u32,
    /// The answer as data, where the turn had an output schema and its model kept to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Value>")]
    pub structured_output: Option<Box<RawValue>>,
    /// What of the output schema the provider was not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema_warnings: Vec<SchemaWarning>,
    /// What the turn waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Pending>,
    /// The last entry that this result is made from: events after it are news.
    pub cursor: Cursor,
}

/// Something that a turn waits for, to be answered by [`crate::service::AnswerRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Pending {
    /// A permission.
    Permission {
        /// The tool.
        tool: String,
        /// The question.
        #[serde(flatten)]
        asked: PermissionAsked,
    },
    /// A call that the client is to run.
    ExternalTool {
        /// The tool.
        tool: String,
        /// The call.
        call: CallId,
        /// Its arguments: JSON as the model wrote it.
        arguments: String,
        /// When the call is settled as failed.
        deadline: Timestamp,
    },
}

/// A session as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionSummary {
    /// The session.
    pub session_id: SessionId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its last entry was written.
    pub updated_at: Timestamp,
    /// Its title: the configured one, else the beginning of its first input.
    pub title: String,
    /// `provider/model`.
    pub model: String,
    /// Its working folder.
    pub cwd: PathBuf,
    /// What it is doing.
    pub state: Activity,
    /// Whether it is archived.
    pub archived: bool,
    /// Turns that ended.
    pub turns: u32,
    /// All its tokens.
    pub total_tokens: u64,
    /// Its money in millionths of a US dollar, where all prices were known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// Whether a turn is open.
    pub is_active: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its parent, when it is a subagent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SessionId>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionPage {
    /// The sessions, those that were used last first.
    pub sessions: Vec<SessionSummary>,
    /// Sessions that cannot be read, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableSession>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A session that others of its tenant write to, as they are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerInfo {
    /// Its name.
    pub name: String,
    /// The session.
    pub session_id: SessionId,
    /// What it is for, in its own words.
    #[serde(flatten)]
    pub meta: PeerMeta,
    /// What it is doing.
    pub state: Activity,
}

/// A page of peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerPage {
    /// The peers, those that were used last first.
    pub peers: Vec<PeerInfo>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A session whose row cannot be read. It hides no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnreadableSession {
    /// The session.
    pub session_id: SessionId,
    /// Why not.
    pub error: String,
}

/// How a session stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionInfo {
    /// The session.
    pub session_id: SessionId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its last entry was written.
    pub updated_at: Timestamp,
    /// Messages that its model sees.
    pub message_count: u64,
    /// Whether a turn is open.
    pub is_active: bool,
    /// Whether its task lives in this process; one that sleeps is woken by whoever wants something of it.
    pub is_awake: bool,
    /// Whether it refuses turns.
    pub archived: bool,
    /// The text of the model's last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_assistant_text: Option<String>,
    /// Its working folder.
    pub cwd: PathBuf,
    /// Further folders that its tools may use.
    pub roots: Vec<PathBuf>,
    /// Its title.
    pub title: String,
    /// The name by which others of its tenant write to it while it is not archived, and what goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comms: Option<Comms>,
    /// The session that it was forked from or is a child of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SessionId>,
    /// Whose it is, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm_id: Option<Tenant>,
    /// The node that wrote it last.
    pub instance_id: NodeId,
    /// How often its settings were changed: what [`crate::service::ConfigureRequest::expected_generation`] means.
    pub config_generation: u64,
    /// Its settings; a running turn uses those it began with.
    pub settings: Arc<Settings>,
    /// The running turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnNo>,
    /// Turns that ended.
    pub turns: TurnNo,
    /// Inputs that no turn has taken, in order.
    pub waiting: Vec<Waiting>,
    /// What its turn waits for.
    pub pending: Vec<Pending>,
    /// Everything it waits for.
    pub waits: Vec<Wait>,
    /// What it is to reach, and how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<GoalState>,
    /// The plan as the model wrote it last.
    pub plan: Vec<PlanItem>,
    /// What runs in the background, and what ended there last.
    pub tasks: Tasks,
    /// How full the model's window is.
    pub context: ContextStatus,
    /// The last entry.
    pub cursor: Cursor,
}

/// What a session used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionUsage {
    /// All its tokens, each once.
    pub total_tokens: u64,
    /// Of which kind they were.
    pub usage: Usage,
    /// Money in millionths of a US dollar; absent when a price was unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
}

/// A session: how it stands, and what it used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    /// How it stands.
    #[serde(flatten)]
    pub info: SessionInfo,
    /// What it used.
    pub billing: SessionUsage,
}

impl SessionView {
    /// The session's id.
    #[must_use]
    pub fn session_id(&self) -> &SessionId {
        &self.info.session_id
    }
}

impl SessionView {
    /// A session as its state tells; `model` is the one that its next turn would use, where it is known.
    #[must_use]
    pub fn of(state: &State, model: Option<&ModelInfo>, is_awake: bool, waits: Vec<Wait>) -> Self {
        let Status { turn, turns, waiting, goal, plan, usage, cost_micros, context, tasks, .. } =
            status(state, &ToolsDigest::of(&[]), model);
        let settings = state.spec.settings.clone();
        let info = SessionInfo {
            session_id: state.id.clone(),
            created_at: state.created,
            updated_at: state.updated,
            message_count: state.conversation.messages.len() as u64,
            is_active: turn.is_some(),
            is_awake,
            archived: state.archived,
            last_assistant_text: last_text(state),
            cwd: state.spec.cwd.clone(),
            roots: state.spec.roots.clone(),
            title: settings.title.clone().unwrap_or_else(|| state.first_words.clone()),
            comms: state.comms.as_deref().cloned(),
            parent: state.spec.parent.clone(),
            realm_id: state.spec.tenant.clone(),
            instance_id: state.node.clone(),
            config_generation: state.configured,
            settings,
            turn,
            turns,
            waiting,
            pending: pending(state),
            waits,
            goal,
            plan,
            tasks,
            context,
            cursor: Cursor(state.tip),
        };
        let billing = SessionUsage { total_tokens: usage.total(), usage, cost_micros };
        Self { info, billing }
    }
}

/// What the open turn waits for.
fn pending(state: &State) -> Vec<Pending> {
    let calls = state.turn.iter().flat_map(|turn| &turn.step).flat_map(|step| &step.calls);
    let pending = calls.filter_map(|call| {
        let called = &call.called;
        match &call.phase {
            CallPhase::Asked(asked) => {
                Some(Pending::Permission { tool: called.name.clone(), asked: asked.clone() })
            }
            CallPhase::Requested(deadline) => Some(Pending::ExternalTool {
                tool: called.name.clone(),
                call: called.call.clone(),
                arguments: called.arguments.clone(),
                deadline: *deadline,
            }),
            CallPhase::Called
            | CallPhase::Allowed
            | CallPhase::Refused(_)
            | CallPhase::Started
            | CallPhase::Settled(..) => None,
        }
    });
    pending.collect()
}

/// The text of the model's last answer that had one.
fn last_text(state: &State) -> Option<String> {
    state.conversation.messages.iter().rev().find_map(|message| match message {
        Message::Assistant { blocks, .. } => Some(text_of(blocks)).filter(|text| !text.is_empty()),
        _ => None,
    })
}

/// The texts of an answer, one behind the other.
pub(super) fn text_of(blocks: &[Block]) -> String {
    let texts = blocks.iter().filter_map(|block| match &block.content {
        Content::Text { text } => Some(text.as_str()),
        Content::Thinking { .. } | Content::ToolCall { .. } | Content::Opaque { .. } => None,
    });
    texts.collect()
}

impl From<Summary> for SessionSummary {
    fn from(summary: Summary) -> Self {
        Self {
            session_id: summary.id,
            created_at: summary.created,
            updated_at: summary.updated,
            title: summary.title,
            model: summary.model,
            cwd: summary.cwd,
            state: summary.activity,
            archived: summary.archived,
            turns: summary.turns,
            total_tokens: summary.usage.total(),
            cost_micros: summary.cost_micros,
            is_active: summary.activity != Activity::Idle,
            labels: summary.labels,
            parent: summary.parent,
        }
    }
}
