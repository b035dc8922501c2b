//! What the service is asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::event::{AgentEvent, Outcome, PeerKind, PermissionKind};
use crate::ids::{CallId, Seq, SessionId, Timestamp, TurnNo};
use crate::message::Part;
use crate::ports::journal::Activity;
use crate::service::asked;
use crate::service::options::SessionBuildOptions;
use crate::service::view::Cursor;
use crate::spec::{
    EffortChange, ExternalTool, Limits, Mode, OutputChange, OutputSchema, ReasoningEffort,
};

/// The words of an input: text, or parts with pictures that were uploaded before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Prompt {
    /// Text. It is given to the model as it is: slash commands and `@` mentions are for people.
    Text(String),
    /// Parts in order.
    Parts(Vec<Part>),
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Prompt {
    /// Whether it says nothing: no picture, no document, and no text but space.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.trim().is_empty(),
            Self::Parts(parts) => parts.iter().all(Part::is_blank),
        }
    }

    /// As the model is given it.
    #[must_use]
    pub fn into_parts(self) -> Vec<Part> {
        match self {
            Self::Text(text) => vec![Part::text(text)],
            Self::Parts(parts) => parts,
        }
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Whether a new session runs its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitialTurnPolicy {
    /// The prompt is run, and its result is the answer.
    #[default]
    RunImmediately,
    /// The session is made and waits. A prompt is refused, since it would be lost.
    Defer,
}

/// Makes a session.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(transform = asked::creation)]
pub struct CreateSessionRequest {
    /// `provider/model`, or a name that the configuration knows; the configured model when absent.
    pub model: Option<String>,
    /// Models that take over, in this order, for the rest of a turn whose model cannot answer, each named as `model` is; the configured ones when
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub fallback: Option<Vec<String>>,
    /// The first input.
    pub prompt: Prompt,
    /// In place of the configured system prompt.
    pub system_prompt: Option<String>,
    /// Tokens that an answer may have.
    pub max_tokens: Option<u64>,
    /// Is sent the events of the first turn until its end. A sink that is full loses nothing and holds nobody up; one that is closed is left alone.
    #[serde(skip)]
    pub event_tx: Option<mpsc::Sender<AgentEvent>>,
    /// Accepted for those who know it from elsewhere: every session takes inputs after its first turn.
    pub host_mode: bool,
    /// Skills that the model is given with the prompt, by name.
    pub skill_references: Vec<String>,
    /// Whether the prompt is run.
    pub initial_turn: InitialTurnPolicy,
    /// Everything else that a session can be.
    pub build: SessionBuildOptions,
    /// The absolute folder that it works in; the service's own when absent.
    #[schemars(regex(pattern = "^/"))]
    pub cwd: Option<PathBuf>,
    /// Further absolute folders that its tools may use.
    #[schemars(inner(regex(pattern = "^/")))]
    pub roots: Vec<PathBuf>,
    /// What tools may do without asking; the configured mode when absent.
    pub mode: Option<Mode>,
    /// How hard the model should think.
    pub effort: Option<ReasoningEffort>,
    /// Bounds of each turn and of the session, in place of the configured ones.
    #[serde(deserialize_with = "asked::limits")]
    #[schemars(with = "Option<asked::AskedLimits>")]
    pub limits: Option<Limits>,
    /// A title for lists.
    pub title: Option<String>,
    /// Labels for lists.
    pub labels: BTreeMap<String, String>,
    /// A second request with the same key makes no second session: it gets the answer of the first, also after a restart. The same key with
    /// another request is refused.
    #[schemars(regex(pattern = asked::KEY))]
    pub idempotency_key: Option<String>,
    /// How long the answer waits for the turn's end in milliseconds; until it ends or waits for answers when absent, 0 for not at all.
    pub wait_ms: Option<u64>,
}

/// Runs a turn.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(transform = asked::turn)]
pub struct StartTurnRequest {
    /// The input; not empty.
    #[schemars(schema_with = "asked::said")]
    pub prompt: Prompt,
    /// Is sent the events of this turn until its end, as [`CreateSessionRequest::event_tx`].
    #[serde(skip)]
    pub event_tx: Option<mpsc::Sender<AgentEvent>>,
    /// As [`CreateSessionRequest::host_mode`].
    pub host_mode: bool,
    /// Skills that the model is given with the prompt, by name.
    pub skill_references: Vec<String>,
    /// A second request with the same key starts no second turn: it gets the answer of the first.
    #[schemars(regex(pattern = asked::KEY))]
    pub idempotency_key: Option<String>,
    /// As [`CreateSessionRequest::wait_ms`].
    pub wait_ms: Option<u64>,
    /// The JSON schema that the answer of this turn keeps to, in place of the session's.
    #[schemars(schema_with = "asked::output_schema")]
    pub output_schema: Option<OutputSchema>,
    /// As [`SessionBuildOptions::structured_output_retries`].
    #[schemars(range(max = 16))]
    pub structured_output_retries: Option<u32>,
}

/// When an input is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputDelivery {
    /// By the running turn at its next step; by a turn of its own when none runs.
    Steer,
    /// By a turn of its own after the running one and those that wait before it.
    Queue,
}

/// Gives a session an input without waiting for its turn.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputRequest {
    /// The input; not empty.
    #[schemars(schema_with = "asked::said")]
    pub prompt: Prompt,
    /// When it is taken.
    pub delivery: InputDelivery,
    /// As [`StartTurnRequest::idempotency_key`].
    #[serde(default)]
    #[schemars(regex(pattern = asked::KEY))]
    pub idempotency_key: Option<String>,
}

/// Writes to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = asked::sending)]
pub struct SendRequest {
    /// The name of the session that is written to; or `session_id` instead.
    #[serde(default)]
    pub to: Option<String>,
    /// The session that is written to, whether it has a name or not; or `to` instead.
    #[serde(default)]
    pub session_id: Option<SessionId>,
    /// The name of the session in whose name it is written; absent when a program writes in nobody's name.
    #[serde(default)]
    pub from: Option<String>,
    /// `message`, `request` or `response`.
    #[serde(default)]
    #[schemars(schema_with = "asked::sent")]
    pub kind: PeerKind,
    /// What a request is about; only requests have one.
    #[serde(default)]
    #[schemars(regex(pattern = asked::NAME))]
    pub intent: Option<String>,
    /// The words; not empty.
    #[schemars(regex(pattern = asked::WORD))]
    pub text: String,
    /// As [`StartTurnRequest::idempotency_key`].
    #[serde(default)]
    #[schemars(regex(pattern = asked::KEY))]
    pub idempotency_key: Option<String>,
}

/// Which sessions of the caller's tenant are listed that others write to by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PeersRequest {
    /// Only the one that has this name.
    pub name: Option<String>,
    /// At most so many, from 1 to 500; 50 when absent.
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<u32>,
    /// Where a page begins: `next` of the one before.
    #[schemars(regex(pattern = asked::PAGE))]
    pub cursor: Option<String>,
}

/// Takes back an input that no turn has taken.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WithdrawRequest {
    /// The input.
    pub input: Seq,
}

/// Ends the running turn.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InterruptRequest {
    /// Only if this turn runs.
    pub turn: Option<TurnNo>,
}

/// Waits for the turn of an input.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WaitRequest {
    /// The input; the last one when absent.
    pub input: Option<Seq>,
    /// As [`CreateSessionRequest::wait_ms`].
    pub wait_ms: Option<u64>,
}

/// Answers what a turn waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AnswerRequest {
    /// A permission.
    Permission {
        /// The call in question.
        call: CallId,
        /// The choice; one that was offered.
        choice: PermissionKind,
    },
    /// The result of a call that the client has run.
    ExternalTool {
        /// The call.
        call: CallId,
        /// How it went: `completed`, `failed` or `cancelled`.
        #[schemars(schema_with = "asked::reported")]
        outcome: Outcome,
        /// What the model is given.
        content: Prompt,
    },
}

/// Changes settings from the next turn on; only what is present changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigureRequest {
    /// Another model, `provider/model` or a name that the configuration knows.
    pub model: Option<String>,
    /// Other models that take over, replacing all, each named as `model` is.
    #[schemars(length(max = 8))]
    pub fallback: Option<Vec<String>>,
    /// Another mode.
    pub mode: Option<Mode>,
    /// Another effort; `default` is that of the model's provider.
    pub effort: Option<EffortChange>,
    /// Other limits, replacing all.
    #[serde(deserialize_with = "asked::limits")]
    #[schemars(with = "Option<asked::AskedLimits>")]
    pub limits: Option<Limits>,
    /// Another title.
    pub title: Option<String>,
    /// Other labels, replacing all.
    pub labels: Option<BTreeMap<String, String>>,
    /// Other tools that the client runs, replacing all.
    #[schemars(length(max = 128))]
    pub external_tools: Option<Vec<ExternalTool>>,
    /// Another form of the answers: `text`, or a schema.
    #[schemars(schema_with = "asked::output")]
    pub output: Option<OutputChange>,
    /// Refused as `INVALID_REQUEST` unless the session's `config_generation` is this: whoever read other settings changes nothing.
    pub expected_generation: Option<u64>,
}

/// Begins a session as another one stood.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ForkRequest {
    /// The last entry of the source that the fork may have; all of them when absent. It stands behind the last turn that had ended by then.
    pub at: Option<Cursor>,
    /// Its title; "Fork of" and that of its source when absent.
    pub title: Option<String>,
}

/// Takes a session over that was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// What `oarlock session export` writes: lines of JSON, all of them.
    #[schemars(regex(pattern = asked::WORD))]
    pub journal: String,
}

/// Which sessions to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionQuery {
    /// At most so many, up to 500; 50 when absent.
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<u32>,
    /// The `next` of the page before.
    #[schemars(regex(pattern = asked::PAGE))]
    pub cursor: Option<String>,
    /// Only those that have all these labels.
    pub labels: BTreeMap<String, String>,
    /// Only those that are doing this.
    pub state: Option<Activity>,
    /// Only archived ones, or only those that are not; both when absent.
    pub archived: Option<bool>,
    /// Only those of this folder.
    pub cwd: Option<PathBuf>,
    /// Subagents, too.
    pub children: bool,
    /// Only those with all these words in their title or in what was said.
    #[schemars(regex(pattern = asked::WORD))]
    pub text: Option<String>,
    /// Only those that were used later than this.
    pub updated_after: Option<Timestamp>,
    /// Only those that were used before this.
    pub updated_before: Option<Timestamp>,
    /// Only those that were made later than this.
    pub created_after: Option<Timestamp>,
    /// Only those that were made before this.
    pub created_before: Option<Timestamp>,
}

/// Makes a summary take the place of the beginning of what the model sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompactRequest {
    /// What the summary should pay attention to.
    pub instructions: Option<String>,
}

/// Finds texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Words, all of which a text must have.
    #[schemars(regex(pattern = asked::WORD))]
    pub query: String,
    /// At most so many places, up to 100; 20 when absent.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default)]
    pub limit: Option<u32>,
}

/// A place where a search found its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SearchHit {
    /// The session.
    pub session_id: SessionId,
    /// The entry.
    pub seq: Seq,
    /// The words around it.
    pub snippet: String,
}
