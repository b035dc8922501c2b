//! Every configuration key as data: the one table that validation, the documentation and `oarlock doctor --config` are made from.

use super::kind::Kind;
pub use super::lookup::{Found, find, nearest};

/// What a key needs before a folder may set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the value can do no harm.
    Harmless,
    /// Nothing as long as the value is stricter than what is in force; trust otherwise.
    Tighten,
    /// The user has trusted the folder.
    Trust,
    /// Never by a folder: only the user's own file, the environment or a flag.
    UserOnly,
}

impl Need {
    /// The words of the documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Harmless => "any folder",
            Self::Tighten => "any folder, if stricter",
            Self::Trust => "trusted folder",
            Self::UserOnly => "user only",
        }
    }
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its path; a `*` segment stands for any name.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its default as TOML; empty for none.
    pub default: &'static str,
    /// What it needs.
    pub need: Need,
    /// What it is, in one line.
    pub doc: &'static str,
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    need: Need,
    doc: &'static str,
) -> Key {
    Key { path, kind, default, need, doc }
}

use Kind::{
    Bool, Choice, Duration, Hooks, Int, Mode, Models, Money, Number, RuleList, Size, Text, Texts,
};
use Need::{Harmless, Tighten, Trust, UserOnly};

const BASES: Kind = Choice(super::modes::BASES);
const EFFORTS: Kind = Choice(&["none", "minimal", "low", "medium", "high", "xhigh"]);
const WIRES: Kind = Choice(&["anthropic-messages", "openai-chat"]);
const COUNT: Kind = Int { min: 1, max: u32::MAX as i64 };
const TOKENS: Kind = Int { min: 1, max: i64::MAX };
const SHARE: Kind = Number { max: 1 };
const DEPTH: Kind = Int { min: 0, max: 8 };
const LINES: Kind = Int { min: 1, max: 1_000_000 };

/// All keys, in the order of the documentation.
pub const KEYS: &[Key] = &[
    key(
        "model",
        Text,
        "",
        Trust,
        "the model that answers: `provider/model`, or a model of `provider`",
    ),
    key(
        "provider",
        Text,
        "",
        Trust,
        "the provider whose default model answers when `model` names none",
    ),
    key(
        "allowed_models",
        Texts,
        "",
        Trust,
        "what may be chosen, as `provider/model` in which `*` stands for any text; everything when absent",
    ),
    key("mode", Mode, "\"ask-writes\"", Tighten, "what tools may do without asking"),
    key(
        "modes.*.base",
        BASES,
        "",
        Tighten,
        "a mode of your own: what it does where no rule matches",
    ),
    key("modes.*.allow", RuleList, "", Trust, "calls that the mode runs without asking"),
    key("modes.*.deny", RuleList, "", Tighten, "calls that the mode refuses"),
    key("modes.*.description", Text, "", Trust, "what the mode lets tools do, in a line"),
    key(
        "effort",
        EFFORTS,
        "",
        Trust,
        "how hard the model thinks; the provider's default when absent",
    ),
    key(
        "rules.allow",
        RuleList,
        "[]",
        Trust,
        "calls that are run without asking, as `tool` or `tool(pattern)`; every layer adds",
    ),
    key(
        "rules.deny",
        RuleList,
        "[]",
        Tighten,
        "calls that are refused, as `tool` or `tool(pattern)`; every layer adds",
    ),
    key("limits.turn.steps", COUNT, "", Tighten, "answered model calls of a turn"),
    key("limits.turn.tokens", TOKENS, "", Tighten, "tokens of a turn, input and output together"),
    key(
        "limits.turn.cost",
        Money,
        "",
        Tighten,
        "price of a turn in US dollars, for example \"1.50\"",
    ),
    key("limits.turn.time", Duration, "", Tighten, "length of a turn, for example \"10m\""),
    key("limits.turn.tool_calls", COUNT, "", Tighten, "started tool calls of a turn"),
    key("limits.session.steps", COUNT, "", Tighten, "answered model calls of a session"),
    key("limits.session.tokens", TOKENS, "", Tighten, "tokens of a session"),
    key("limits.session.cost", Money, "", Tighten, "price of a session in US dollars"),
    key(
        "limits.session.time",
        Duration,
        "",
        Tighten,
        "time during which turns of a session are open",
    ),
    key("limits.session.tool_calls", COUNT, "", Tighten, "started tool calls of a session"),
    key(
        "limits.allow_unknown_prices",
        Bool,
        "false",
        Tighten,
        "whether a model whose price nobody knows may be called under a bound on money; its calls count nothing",
    ),
    key(
        "capabilities.web_search.mode",
        Choice(&["disabled", "delegate"]),
        "\"disabled\"",
        Tighten,
        "whether the provider searches the web while the model answers; its price for a search is not counted",
    ),
    key(
        "context.window",
        TOKENS,
        "",
        Trust,
        "tokens of the model's window; what is known of the model when absent",
    ),
    key(
        "context.clear_ratio",
        SHARE,
        "0.6",
        Trust,
        "share of the window at which old results of tools are cleared; 0 for never",
    ),
    key(
        "context.soft_ratio",
        SHARE,
        "0.7",
        Trust,
        "share of the window at which older messages are summarised in the background; 0 for never",
    ),
    key(
        "context.compact_ratio",
        SHARE,
        "0.85",
        Trust,
        "share of the window at which a turn waits for a summary",
    ),
    key(
        "context.compact_threshold_tokens",
        TOKENS,
        "",
        Trust,
        "tokens at which a turn waits for a summary, in place of `compact_ratio`",
    ),
    key(
        "prompt.project",
        Bool,
        "true",
        Tighten,
        "whether the project's own words for the model are part of the system prompt",
    ),
    key(
        "prompt.file",
        Text,
        "\"AGENTS.md\"",
        Trust,
        "the project's file; AGENTS.md is collected from the repository's root down, another is one file, relative to the folder",
    ),
    key(
        "skills.enabled",
        Bool,
        "true",
        Tighten,
        "whether models are told of skills and can load them",
    ),
    key("skills.dirs", Texts, "[]", UserOnly, "further folders of skills, relative to this file"),
    key("turn.sampling.max_tokens", TOKENS, "", Trust, "tokens that an answer may have"),
    key(
        "turn.sampling.temperature",
        Number { max: 2 },
        "",
        Trust,
        "how the model draws words, from 0 for always the likeliest",
    ),
    key(
        "turn.sampling.top_p",
        Number { max: 1 },
        "",
        Trust,
        "only the likeliest words with this share of all probability",
    ),
    key("turn.sampling.top_k", COUNT, "", Trust, "only so many of the likeliest words"),
    key("turn.sampling.stop_sequences", Texts, "", Trust, "texts that end an answer"),
    key(
        "turn.request_limit.mode",
        Choice(&["fixed", "adaptive", "unbounded"]),
        "",
        Trust,
        "whether a turn has so many answered steps, or one more for each that made progress, up to four times as many",
    ),
    key(
        "turn.request_limit.steps",
        COUNT,
        "",
        Trust,
        "how many; without progress where it is adaptive",
    ),
    key(
        "turn.max_llm_retries",
        Int { min: 0, max: 100 },
        "",
        Trust,
        "further attempts after a failed model call that may pass; 4 when absent",
    ),
    key(
        "turn.max_concurrent_tools",
        COUNT,
        "",
        Trust,
        "tools of one answer that run at the same time; 8 when absent, and at most",
    ),
    key(
        "turn.max_hook_continues",
        Int { min: 0, max: 100 },
        "",
        Trust,
        "how often hooks may make one turn go on whose model stopped; 3 when absent",
    ),
    key("hooks.*", Hooks, "", Trust, "hooks at the point of this name, see docs/hooks.md"),
    key("turn.subagent_max_depth", DEPTH, "", Trust, "how deep subagents may stand; 1 when absent"),
    key(
        "turn.subagent_share",
        SHARE,
        "",
        Trust,
        "share of what is left for a subagent; 0.25 when absent",
    ),
    key("turn.subagent_timeout", Duration, "", Trust, "wait for a subagent; 30m when absent"),
    key("prompt.append", Text, "", Trust, "text that is added to the system prompt"),
    key(
        "prompt.base_file",
        Text,
        "",
        Trust,
        "file, relative to this one, that replaces the built-in beginning of the system prompt",
    ),
    key("prompt.providers.*", Text, "", Trust, "text for the models of a provider"),
    key("prompt.models.*", Text, "", Trust, "text for a model, by its id"),
    key(
        "providers.*.wire",
        WIRES,
        "",
        Trust,
        "protocol of the endpoint; known for well-known providers",
    ),
    key(
        "providers.*.base_url",
        Text,
        "",
        Trust,
        "address of the endpoint; known for well-known providers",
    ),
    key(
        "providers.*.api_key_env",
        Text,
        "",
        Trust,
        "name of the environment variable that holds the key",
    ),
    key(
        "providers.*.api_key_file",
        Text,
        "",
        UserOnly,
        "file that holds the key; must be ours and readable by nobody else (mode 0600)",
    ),
    key("providers.*.default_model", Text, "", Trust, "the model when none is named"),
    key(
        "providers.*.models",
        Models,
        "",
        Trust,
        "its models: ids, or tables of id, name, context_window, max_output_tokens, price",
    ),
    key(
        "providers.*.web_search",
        Bool,
        "",
        Trust,
        "whether it searches the web for a model that asks it to; only over `anthropic-messages`",
    ),
    key(
        "providers.*.effort",
        Bool,
        "",
        Trust,
        "whether its endpoint takes a reasoning effort; only over `openai-chat`",
    ),
    key("providers.*.headers.*", Text, "", Trust, "a header that is sent with every request"),
    key(
        "http.connect_timeout",
        Duration,
        "\"10s\"",
        Trust,
        "how long connecting to a provider may take",
    ),
    key(
        "http.proxy",
        Text,
        "",
        Trust,
        "proxy for all requests; HTTPS_PROXY, HTTP_PROXY and NO_PROXY when absent",
    ),
    key(
        "http.ca_file",
        Text,
        "",
        UserOnly,
        "further certificate authorities, a PEM file; SSL_CERT_FILE when absent",
    ),
    key(
        "tools.bash.default_timeout_ms",
        Int { min: 1, max: 86_400_000 },
        "30000",
        Trust,
        "time of a command that names none",
    ),
    key(
        "tools.bash.max_timeout_ms",
        Int { min: 1, max: 86_400_000 },
        "600000",
        Trust,
        "longest time that a command may name",
    ),
    key(
        "tools.bash.background_timeout_ms",
        Int { min: 1, max: 86_400_000 },
        "3600000",
        Trust,
        "time of a command in the background, and the longest that it may name",
    ),
    key(
        "tools.bash.output_max_bytes",
        Size,
        "30000",
        Trust,
        "output of a command that the model is shown; the rest is kept as a blob",
    ),
    key(
        "tools.background.default_recent_blocks",
        Int { min: 0, max: 100 },
        "10",
        Trust,
        "pieces of progress that an inspection of a background task shows when it names no number; 0 counts as 1",
    ),
    key(
        "tools.background.block_text_limit",
        Int { min: 0, max: 100_000 },
        "0",
        Trust,
        "characters that it shows of what a subagent said; 0 for kinds alone",
    ),
    key(
        "tools.background.finished_tasks_cap",
        Int { min: 0, max: 1000 },
        "64",
        Trust,
        "ended background tasks that can be inspected",
    ),
    key(
        "tools.fs.read_default_limit",
        LINES,
        "2000",
        Trust,
        "lines of a file window that names none",
    ),
    key("tools.fs.read_max_limit", LINES, "5000", Trust, "most lines of a file window"),
    key("tools.fetch.enabled", Bool, "true", Tighten, "whether there is the tool `fetch`"),
    key(
        "tools.fetch.default_timeout_secs",
        Int { min: 1, max: 3600 },
        "30",
        Trust,
        "time of a request that names none",
    ),
    key(
        "tools.fetch.max_timeout_secs",
        Int { min: 1, max: 3600 },
        "120",
        Trust,
        "longest time that a request may name",
    ),
    key(
        "tools.fetch.max_response_bytes",
        Size,
        "\"5MiB\"",
        Trust,
        "most bytes that are downloaded",
    ),
    key(
        "tools.fetch.default_format",
        Choice(&["markdown", "html", "text"]),
        "\"markdown\"",
        Harmless,
        "form of a page that names none",
    ),
    key(
        "tools.fetch.html_to_markdown",
        Bool,
        "true",
        Harmless,
        "whether HTML is turned into Markdown at all",
    ),
    key(
        "tools.fetch.allow_private_hosts",
        Bool,
        "false",
        Tighten,
        "whether loopback, private and link-local addresses may be reached",
    ),
    key("tools.fetch.follow_redirects", Bool, "true", Tighten, "whether redirects are followed"),
    key("tools.search.enabled", Bool, "true", Tighten, "whether there is the tool `search`"),
    key(
        "tools.search.default_head_limit",
        LINES,
        "100",
        Trust,
        "results of a search that names no number",
    ),
    key("tools.search.max_head_limit", LINES, "1000", Trust, "most results of a search"),
    key(
        "tools.search.max_file_size_bytes",
        Size,
        "\"16MiB\"",
        Trust,
        "larger files are not searched",
    ),
    key("tools.search.max_result_bytes", Size, "\"256KiB\"", Trust, "most bytes of a result"),
    key("tools.search.max_walk_files", LINES, "100000", Trust, "most files that a search looks at"),
    key(
        "tools.search.respect_gitignore_default",
        Bool,
        "true",
        Harmless,
        "whether ignored files are skipped",
    ),
    key(
        "storage.data_dir",
        Text,
        "",
        UserOnly,
        "folder of the sessions; $XDG_DATA_HOME/oarlock when absent",
    ),
    key(
        "log.filter",
        Text,
        "\"warn\"",
        UserOnly,
        "what is logged to stderr, as `level` or `target=level,…`",
    ),
    key("log.format", Choice(&["text", "jsonl"]), "\"text\"", UserOnly, "form of the log"),
];

impl Key {
    /// The segments of the path.
    pub fn segments(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('.')
    }

    /// Whether the path has a segment for any name.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.segments().any(|s| s == "*")
    }

    /// Whether each layer adds to the list instead of replacing it.
    #[must_use]
    pub fn accumulates(&self) -> bool {
        matches!(self.kind, RuleList | Hooks)
    }

    /// The environment variable that sets it; none for paths with a name in them.
    #[must_use]
    pub fn variable(&self) -> Option<String> {
        (!self.has_wildcard())
            .then(|| format!("OARLOCK_{}", self.path.replace('.', "_").to_uppercase()))
    }
}
