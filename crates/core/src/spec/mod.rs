//! What a session is told to be: data, journaled when it is made and whenever it changes.

mod capabilities;
mod comms;
mod external;
mod holding;
mod mode;
mod output;
pub mod rule;
mod turn;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{SessionId, Tenant};
use crate::prompt::Overlays;
pub use crate::spec::capabilities::{
    ResolvedSessionCapabilities, SessionCapabilitiesConfig, WebSearchCapabilityConfig,
    WebSearchCapabilityMode,
};
pub use crate::spec::comms::{
    COMMS_NAME_MAX, Comms, INLINE_PEERS, PEER_META_BYTES, PeerMeta, SILENT_INTENTS_MAX,
    is_comms_name,
};
pub use crate::spec::external::{
    EXTERNAL_DEADLINE_MAX_MS, EXTERNAL_TOOLS_BYTES, EXTERNAL_TOOLS_MAX, ExternalTool,
    TOOL_NAME_MAX, check_external,
};
pub use crate::spec::mode::{
    AskWritesPolicy, InvalidMode, Mode, ModeCatalog, ModeDescriptor, PolicyBase, SandboxPolicy,
    SessionMode, UnknownMode,
};
pub use crate::spec::output::{
    InvalidOutputSchema, Misfit, OUTPUT_RETRIES, OUTPUT_RETRIES_MAX, OutputChange, OutputSchema,
    SCHEMA_BYTES, SchemaCompat, SchemaFormat, SchemaWarning, StructuredOutput,
};
pub use crate::spec::turn::{ContextPolicy, Decimal, Sampling, TurnConfig, TurnRequestLimit};

/// Everything a session is made from. It is the body of a session's first entry, so nothing of it can be forgotten on resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionSpec {
    /// The absolute working folder.
    pub cwd: PathBuf,
    /// Further absolute folders that tools may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<PathBuf>,
    /// Whose it is, where several share one store; its subagents and forks are the same one's. It never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// Who opened it: `cli`, `acp`, `rest`, `library`…
    pub surface: String,
    /// The system prompt, but for `overlays`. It stays what it was, so that provider caches hit.
    #[serde(default)]
    pub system: Arc<str>,
    /// What of the system prompt depends on the model, and what follows it.
    #[serde(default, skip_serializing_if = "Overlays::is_empty")]
    pub overlays: Overlays,
    /// What can change later.
    // Shared, since it is large and the same for turns and sessions that are alike.
    pub settings: Arc<Settings>,
    /// The modes it can be in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub modes: ModeCatalog,
    /// The session this one was forked from or is a child of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SessionId>,
    /// The request that made it, where that had an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Keyed>,
    /// How many sessions are above it: 0 for one that a person or program made, 1 for its subagents…
    #[serde(default, skip_serializing_if = "is_default")]
    pub depth: u32,
    /// Of the tools only these, in this order; all when it is absent. In a session of a person or program they are patterns, as permission rules have
    /// them, and one that matches nothing keeps the session from being opened. In a subagent they are names, worked out when it was made, and one
    /// that is not there any more is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
}

/// A request that is answered alike however often it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Keyed {
    /// Its idempotency key.
    pub key: String,
    /// A hash of what was asked for, 64 hexadecimal digits: the same key with another request is a mistake.
    pub asked: String,
}

/// What can be changed while a session lives; a change takes effect with the next turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Which model answers.
    pub model: ModelSelection,
    /// Which ones take over, in this order and each once, for the rest of a turn whose model cannot answer; at most [`FALLBACK_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<ModelSelection>,
    /// What tools may do without asking.
    pub mode: Mode,
    /// Exceptions to the mode.
    #[serde(default)]
    pub rules: Rules,
    /// How hard the model should think; the provider's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<ReasoningEffort>,
    /// Bounds of each turn and of the whole session.
    #[serde(default)]
    pub limits: Limits,
    /// Whether somebody can answer a question while a turn runs.
    pub answers: Answers,
    /// How turns are run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub turn: TurnConfig,
    /// What is left to the model's provider.
    #[serde(default, skip_serializing_if = "is_default")]
    pub capabilities: SessionCapabilitiesConfig,
    /// Which hooks are left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hooks: HookRunOverrides,
    /// Tools that the client runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_tools: Vec<ExternalTool>,
    /// The form of the answers that turns end with; free text when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<StructuredOutput>,
    /// A short name for lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Free labels for lists.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Models that may take over in one session.
pub const FALLBACK_MAX: usize = 8;

/// A change of [`Settings`]: only what is present changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SettingsChange {
    /// Another model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSelection>,
    /// Other models that take over, replacing all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Vec<ModelSelection>>,
    /// Another mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Other rules, replacing all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules>,
    /// Another effort.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<EffortChange>,
    /// Other limits, replacing all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Whether somebody can answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answers>,
    /// Another way to run turns, replacing all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnConfig>,
    /// Something else is left to the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<SessionCapabilitiesConfig>,
    /// Other hooks are left out, replacing all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<HookRunOverrides>,
    /// Other tools that the client runs, replacing all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_tools: Option<Vec<ExternalTool>>,
    /// Another form of the answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputChange>,
    /// Another title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Other labels, replacing all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

impl SessionSpec {
    /// A session of `surface` in the absolute folder `cwd`, without a system prompt, further folders, a tenant or a parent.
    #[must_use]
    pub fn new(cwd: PathBuf, surface: &str, settings: impl Into<Arc<Settings>>) -> Self {
        Self {
            cwd,
            roots: Vec::new(),
            tenant: None,
            surface: surface.to_owned(),
            system: Arc::default(),
            overlays: Overlays::default(),
            settings: settings.into(),
            modes: ModeCatalog::default(),
            parent: None,
            request: None,
            depth: 0,
            tools: None,
        }
    }

    /// The whole system prompt for a model: the same bytes whenever it is that model.
    #[must_use]
    pub fn system_for(&self, model: &ModelSelection) -> String {
        self.overlays.complete(&self.system, model)
    }
}

impl Settings {
    /// Settings without rules, limits, effort, title and labels, and with turns run as by default.
    #[must_use]
    pub fn new(model: ModelSelection, mode: Mode, answers: Answers) -> Self {
        Self {
            model,
            fallback: Vec::new(),
            mode,
            answers,
            rules: Rules::default(),
            effort: None,
            limits: Limits::default(),
            turn: TurnConfig::default(),
            capabilities: SessionCapabilitiesConfig::default(),
            hooks: HookRunOverrides::default(),
            external_tools: Vec::new(),
            output: None,
            title: None,
            labels: BTreeMap::new(),
        }
    }

    /// Takes over what `change` names.
    pub fn apply(&mut self, change: &SettingsChange) {
        fn set<T: Clone>(slot: &mut T, new: Option<&T>) {
            if let Some(new) = new {
                slot.clone_from(new);
            }
        }
        set(&mut self.model, change.model.as_ref());
        set(&mut self.fallback, change.fallback.as_ref());
        set(&mut self.mode, change.mode.as_ref());
        set(&mut self.rules, change.rules.as_ref());
        set(&mut self.limits, change.limits.as_ref());
        set(&mut self.answers, change.answers.as_ref());
        set(&mut self.turn, change.turn.as_ref());
        set(&mut self.capabilities, change.capabilities.as_ref());
        set(&mut self.hooks, change.hooks.as_ref());
        set(&mut self.external_tools, change.external_tools.as_ref());
        set(&mut self.labels, change.labels.as_ref());
        if let Some(effort) = change.effort {
            self.effort = effort.into();
        }
        match &change.output {
            None => {}
            Some(OutputChange::Text) => self.output = None,
            Some(OutputChange::Structured(output)) => {
                self.output = Some(StructuredOutput::clone(output));
            }
        }
        if change.title.is_some() {
            self.title.clone_from(&change.title);
        }
    }
}

impl Settings {
    /// The tool of this name that the client runs.
    pub(crate) fn external_tool(&self, name: &str) -> Option<&ExternalTool> {
        self.external_tools.iter().find(|tool| tool.name == name)
    }
}

impl SettingsChange {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A provider's configured name and one of its models.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ModelSelection {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The model's id as the provider spells it.
    pub model: String,
}

impl std::fmt::Display for ModelSelection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// Rules of the form `tool` or `tool(pattern)`. A matching `deny` wins over everything, then a matching `allow`, then the mode; where the mode
/// would ask, a matching grant answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Rules {
    /// Calls that are run without asking.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Calls that are refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// Calls that somebody has granted: they are run where the mode would ask, and never where it refuses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
}

impl Rules {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds rules to the grants, each once.
    pub(crate) fn grant(&mut self, rules: &[String]) {
        add(&mut self.grants, rules);
    }

    /// Adds rules to those that refuse, each once.
    pub(crate) fn refuse(&mut self, rules: &[String]) {
        add(&mut self.deny, rules);
    }
}

fn add(known: &mut Vec<String>, rules: &[String]) {
    for rule in rules {
        if !known.contains(rule) {
            known.push(rule.clone());
        }
    }
}

/// Whether a question can be answered while a turn runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// Somebody is there: questions are asked and wait for their deadline.
    Somebody,
    /// Nobody is there: the answer is no, at once.
    Nobody,
}

/// How hard a model should think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReasoningEffort {
    /// Not at all.
    None,
    /// As little as possible.
    Minimal,
    /// A little.
    Low,
    /// Middling.
    Medium,
    /// Much.
    High,
    /// As much as possible.
    Xhigh,
}

/// How hard a model should think from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EffortChange {
    /// As its provider has it by default.
    Default,
    /// So hard.
    #[serde(untagged)]
    To(ReasoningEffort),
}

impl From<EffortChange> for Option<ReasoningEffort> {
    fn from(change: EffortChange) -> Self {
        match change {
            EffortChange::Default => None,
            EffortChange::To(effort) => Some(effort),
        }
    }
}

/// Which hooks a session leaves out. It stands in the journal, so that it holds after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HookRunOverrides {
    /// All of them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub none: bool,
    /// These, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<String>,
}

impl HookRunOverrides {
    /// Whether it leaves out a hook of this name.
    #[must_use]
    pub fn leaves_out(&self, name: &str) -> bool {
        self.none || self.off.iter().any(|off| off == name)
    }
}

/// Bounds of a session and of each of its turns. They are part of the journal, so they hold across restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// Bounds of each turn.
    pub turn: Bounds,
    /// Bounds of the whole session.
    pub session: Bounds,
    /// Whether a model whose price nobody knows may be called under a bound on money; its calls count nothing then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_unknown_prices: bool,
}

/// Upper bounds; what is absent is not bounded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Bounds {
    /// Steps (model calls that were answered).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// Tokens, input and output together, each once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Money in millionths of a US dollar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// Time during which turns were open, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Tool calls that were started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u32>,
}

/// Which bound was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// [`Bounds::steps`].
    Steps,
    /// [`Bounds::tokens`].
    Tokens,
    /// [`Bounds::cost_micros`].
    Cost,
    /// [`Bounds::wall_ms`].
    Time,
    /// [`Bounds::tool_calls`].
    ToolCalls,
}

impl LimitKind {
    /// The name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Tokens => "tokens",
            Self::Cost => "cost",
            Self::Time => "time",
            Self::ToolCalls => "tool calls",
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
