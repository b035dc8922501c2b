//! The configuration as plain structs, grouped by who uses it.

use std::collections::BTreeMap;

use oarlock_core::limits::RuntimeLimits;
use oarlock_core::ports::model::Price;
use oarlock_core::spec::{
    Bounds, ContextPolicy, Decimal, Limits, Mode, PolicyBase, ReasoningEffort, Rules, Sampling,
    SessionCapabilitiesConfig, TurnConfig, TurnRequestLimit,
};
use oarlock_tools::ToolsConfig;
use serde::{Deserialize, Serialize};

use crate::values::{Dollars, Millis};

/// Everything that can be configured, with its defaults in place.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `provider/model`, or a model of `provider`.
    pub model: Option<String>,
    /// The provider when `model` names none.
    pub provider: Option<String>,
    /// Patterns over `provider/model` of what may be chosen.
    pub allowed_models: Option<Vec<String>>,
    /// Models that take over when the model cannot answer.
    pub fallback: Vec<String>,
    /// What tools may do without asking.
    pub mode: Mode,
    /// Modes beside the built-in ones.
    #[serde(default)]
    pub modes: BTreeMap<String, ModeSection>,
    /// How hard the model thinks.
    pub effort: Option<ReasoningEffort>,
    /// Exceptions to the mode.
    pub rules: Rules,
    /// Bounds of turns and sessions.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// What is left to the model's provider.
    pub capabilities: SessionCapabilitiesConfig,
    /// When a session forgets.
    pub context: ContextPolicy,
    /// How turns are run.
    #[serde(default)]
    pub turn: TurnSection,
    /// Hooks by the names of their points, and what is left out of them.
    #[serde(default)]
    pub hooks: BTreeMap<String, toml::Value>,
    /// What the system prompt is made of.
    pub prompt: PromptConfig,
    /// Which skills there are.
    pub skills: SkillsConfig,
    /// Providers by their name.
    #[serde(default)]
    pub providers: BTreeMap<String, ProviderSection>,
    /// How providers are reached.
    pub http: HttpConfig,
    /// Bounds and switches of the built-in tools.
    pub tools: ToolsConfig,
    /// Where sessions are kept.
    #[serde(default)]
    pub storage: StorageConfig,
    /// Which sessions are kept.
    #[serde(default)]
    pub retention: RetentionConfig,
    /// What is logged.
    pub log: LogConfig,
}

impl Config {
    /// How turns of a new session are run.
    #[must_use]
    pub fn turn(&self) -> TurnConfig {
        TurnConfig {
            sampling: self.turn.sampling.clone(),
            request_limit: self.turn.request_limit.limit().unwrap_or_default(),
            context: self.context.clone(),
            max_llm_retries: self.turn.max_llm_retries,
            max_concurrent_tools: self.turn.max_concurrent_tools,
            max_hook_continues: self.turn.max_hook_continues,
            subagent_max_depth: self.turn.subagent_max_depth,
            subagent_share: self.turn.subagent_share,
        }
    }
}

/// Section `turn`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TurnSection {
    /// How the model draws its words.
    pub sampling: Sampling,
    /// How many answered steps a turn may have.
    pub request_limit: RequestLimit,
    /// Further attempts after a failed model call.
    pub max_llm_retries: Option<u32>,
    /// Tools of one answer that run at the same time.
    pub max_concurrent_tools: Option<u32>,
    /// How often hooks may make one turn go on.
    pub max_hook_continues: Option<u32>,
    /// Sessions that may stand below one another.
    pub subagent_max_depth: Option<u32>,
    /// Share of what is left that a subagent is given.
    pub subagent_share: Option<Decimal>,
    /// How long a call waits for a subagent.
    pub subagent_timeout: Option<Millis>,
}

/// Section `turn.request_limit`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestLimit {
    /// `fixed`, `adaptive` or `unbounded`; `fixed` when only a number is given.
    pub mode: Option<String>,
    /// How many.
    pub steps: Option<u32>,
}

impl RequestLimit {
    /// The limit; none when mode and number do not go together.
    #[must_use]
    pub fn limit(&self) -> Option<TurnRequestLimit> {
        match (self.mode.as_deref(), self.steps) {
            (None | Some("unbounded"), None) => Some(TurnRequestLimit::Unbounded),
            (None | Some("fixed"), Some(steps)) => Some(TurnRequestLimit::Fixed { steps }),
            (Some("adaptive"), Some(initial)) => Some(TurnRequestLimit::Adaptive { initial }),
            (Some(_), _) => None,
        }
    }
}

/// Section `modes.<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModeSection {
    /// What it does where no rule matches; absent when a folder set it and may not.
    pub base: Option<PolicyBase>,
    /// Calls that are run without asking.
    pub allow: Vec<String>,
    /// Calls that are refused.
    pub deny: Vec<String>,
    /// What it lets tools do, in a line.
    pub description: Option<String>,
}

/// Section `limits`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Of each turn.
    pub turn: BoundsConfig,
    /// Of a whole session.
    pub session: BoundsConfig,
    /// Of each model call.
    pub model: CallConfig,
    /// Whether a model of unknown price may be called under a bound on money.
    pub allow_unknown_prices: bool,
}

/// Section `limits.model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallConfig {
    /// Silence.
    pub idle: Millis,
    /// All of it.
    pub time: Millis,
}

impl Default for CallConfig {
    fn default() -> Self {
        let RuntimeLimits { model_idle_ms, model_total_ms, .. } = RuntimeLimits::DEFAULT;
        Self { idle: Millis(model_idle_ms), time: Millis(model_total_ms) }
    }
}

/// Section `limits.turn` or `limits.session`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BoundsConfig {
    /// Answered model calls.
    pub steps: Option<u32>,
    /// Tokens in and out.
    pub tokens: Option<u64>,
    /// Money.
    pub cost: Option<Dollars>,
    /// Time.
    pub time: Option<Millis>,
    /// Started tool calls.
    pub tool_calls: Option<u32>,
}

impl From<&BoundsConfig> for Bounds {
    fn from(config: &BoundsConfig) -> Self {
        Self {
            steps: config.steps,
            tokens: config.tokens,
            cost_micros: config.cost.map(|dollars| dollars.0),
            wall_ms: config.time.map(|ms| ms.0),
            tool_calls: config.tool_calls,
        }
    }
}

impl From<&LimitsConfig> for Limits {
    fn from(config: &LimitsConfig) -> Self {
        Self {
            turn: (&config.turn).into(),
            session: (&config.session).into(),
            allow_unknown_prices: config.allow_unknown_prices,
        }
    }
}

/// Section `prompt`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptConfig {
    /// Whether the project's own words are part of the system prompt.
    pub project: bool,
    /// The project's file.
    pub file: String,
    /// Added to the system prompt.
    pub append: Option<String>,
    /// Replaces the built-in beginning.
    pub base_file: Option<String>,
    /// Words for the models of a provider.
    #[serde(default)]
    pub providers: BTreeMap<String, String>,
    /// Words for a model, by its id.
    #[serde(default)]
    pub models: BTreeMap<String, String>,
}

/// Section `skills`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkillsConfig {
    /// Whether models are told of skills.
    pub enabled: bool,
    /// Further folders of skills.
    pub dirs: Vec<String>,
}

/// Section `providers.<name>`; what is absent is taken from the well-known provider of that name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSection {
    /// `anthropic-messages`, `openai-chat`, `openai-responses`, `gemini` or `bedrock-converse`.
    pub wire: Option<String>,
    /// The endpoint.
    pub base_url: Option<String>,
    /// Name of the variable that holds the key.
    pub api_key_env: Option<String>,
    /// File that holds the key.
    pub api_key_file: Option<String>,
    /// Command that prints the key.
    pub api_key_command: Option<KeyArgv>,
    /// How long what it printed is used.
    pub api_key_refresh: Option<Millis>,
    /// The model when none is named.
    pub default_model: Option<String>,
    /// Declared models.
    pub models: Vec<ModelEntry>,
    /// Headers of every request.
    pub headers: BTreeMap<String, String>,
    /// Whether it searches the web itself.
    pub web_search: Option<bool>,
    /// Whether its endpoint takes a reasoning effort.
    pub effort: Option<bool>,
    /// How items of thought come and go over `openai-responses`.
    pub thought_items: Option<String>,
    /// Whether its endpoint takes the schema of an answer.
    pub answer_schemas: Option<bool>,
    /// Whether its models are given documents.
    pub documents: Option<bool>,
    /// Requests in any sixty seconds.
    pub requests_per_minute: Option<u32>,
    /// Calls at a time.
    pub concurrent_requests: Option<u32>,
}

/// A program and its arguments. `Debug` shows the program: arguments may say what is nobody's business.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct KeyArgv(pub Vec<String>);

impl std::ops::Deref for KeyArgv {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl std::fmt::Debug for KeyArgv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyArgv").field(&self.first()).finish_non_exhaustive()
    }
}

/// One of `providers.<name>.models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// As the provider spells it.
    pub id: String,
    /// For lists.
    pub name: Option<String>,
    /// Tokens of request and answer together.
    pub context_window: Option<u64>,
    /// Tokens of an answer.
    pub max_output_tokens: Option<u64>,
    /// What it costs; needed for limits on money.
    pub price: Option<PriceEntry>,
}

/// `price` of a model, in US dollars for a million tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceEntry {
    /// Input that no cache served.
    pub input: Dollars,
    /// Output, thought included.
    pub output: Dollars,
    /// Input read from the cache; that of `input` when absent.
    pub cache_read: Option<Dollars>,
    /// Input written to the cache; that of `input` when absent.
    pub cache_write: Option<Dollars>,
}

impl From<&PriceEntry> for Price {
    fn from(entry: &PriceEntry) -> Self {
        Self {
            input: entry.input.0,
            output: entry.output.0,
            cache_read: entry.cache_read.unwrap_or(entry.input).0,
            cache_write: entry.cache_write.unwrap_or(entry.input).0,
        }
    }
}

/// Section `http`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// How long connecting may take.
    pub connect_timeout: Millis,
    /// Proxy of all requests; the environment's when absent.
    pub proxy: Option<String>,
    /// Further certificate authorities.
    pub ca_file: Option<String>,
}

/// Section `storage`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Folder of the sessions.
    pub data_dir: Option<String>,
}

/// Section `retention`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Days without use after which a session goes.
    pub age_days: Option<u32>,
    /// What all sessions may take together.
    pub max_bytes: Option<u64>,
}

/// Section `log`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged.
    pub filter: String,
    /// `text` or `jsonl`.
    pub format: String,
}
