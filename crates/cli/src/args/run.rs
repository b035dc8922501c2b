//! Arguments of `run` and `chat`.

use std::path::PathBuf;

use clap::Args;
use oarlock_core::session::goal::CONTINUATIONS_MAX;
use oarlock_core::spec::{HookRunOverrides, OUTPUT_RETRIES, OUTPUT_RETRIES_MAX};

use super::OverrideArgs;
use crate::config::{Setting, flag};
use crate::values::{Dollars, Millis};

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock run \"what does this project do?\"\n  oarlock run --mode open --max-cost 0.50 \"fix the failing test\"\n  oarlock run --quiet - < task.md\n  oarlock run --resume \"and now the documentation\"\n  oarlock run --resume /usage\n  oarlock run --mode open --max-cost 2 --goal \"make the tests pass\"\n  oarlock run --output-schema answer.json \"which licence is this?\"\n\n`/help` lists the commands that can stand in place of a prompt.\n\nExit codes: 0 done, 1 error, 2 usage, 3 refusal, 4 denied, 5 cancelled, 6 goal not reached, 7 limit, 8 max tokens."
)]
pub struct RunArgs {
    /// What to do; `-` reads it from stdin, and so does a pipe when there is none. `@path` attaches a file, but not in words from stdin
    pub prompt: Option<String>,
    /// Go on with a session; without ID the latest one of this folder
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "")]
    pub resume: Option<String>,
    /// Work until this is reached: when the model stops before, it is asked to go on; `-` reads it from stdin. Without a prompt it is the prompt, too
    #[arg(long, value_name = "TEXT")]
    pub goal: Option<String>,
    /// How often the model is asked to go on
    #[arg(long, value_name = "N", requires = "goal", default_value_t = CONTINUATIONS_MAX)]
    pub goal_continuations: u32,
    /// Print nothing but JSON of this schema, or fail: a file, or the schema itself where it begins with `{`. A session keeps it
    #[arg(long, value_name = "FILE|JSON")]
    pub output_schema: Option<String>,
    /// How often the model is asked again when its answer is not of the schema
    #[arg(long, value_name = "N", requires = "output_schema", default_value_t = OUTPUT_RETRIES, value_parser = clap::value_parser!(u32).range(..=i64::from(OUTPUT_RETRIES_MAX)))]
    pub output_retries: u32,
    /// Do not wait for background tasks after the turn: end them
    #[arg(long)]
    pub no_wait: bool,
    /// Further folders that tools may use
    #[arg(long = "add-dir", value_name = "DIR")]
    pub roots: Vec<PathBuf>,
    /// Show the model a picture (PNG, JPEG, GIF or WebP, at most 10 MiB)
    #[arg(long = "image", value_name = "FILE")]
    pub images: Vec<PathBuf>,
    /// Give the model a document (PDF, at most 10 MiB)
    #[arg(long = "document", value_name = "FILE")]
    pub documents: Vec<PathBuf>,
    /// Keep nothing: the session is gone when the command ends
    #[arg(long, conflicts_with = "resume")]
    pub ephemeral: bool,
    /// Write everything that the session takes in into DIR, a new folder, for `oarlock replay`, and each request to a provider with its raw answer
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Take the providers' answers from a recording, at the pace at which they came; nothing is sent to them
    #[arg(long, value_name = "DIR", conflicts_with = "record")]
    pub replay: Option<PathBuf>,
    /// Which model, which rights, which limits.
    #[command(flatten)]
    pub model: ModelArgs,
    /// What is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Arguments of `chat`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock chat\n  oarlock chat --resume\n\nA line typed while a turn runs waits for its end; `/steer WORDS` is told to the model before its next step.\n`/help` lists all commands; `@path` attaches a file.\n/exit or Ctrl-D leaves, Ctrl-C cancels the turn; the session stays."
)]
pub struct ChatArgs {
    /// Go on with a session; without ID the latest one of this folder
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "")]
    pub resume: Option<String>,
    /// Further folders that tools may use
    #[arg(long = "add-dir", value_name = "DIR")]
    pub roots: Vec<PathBuf>,
    /// Keep nothing: the session is gone when the command ends
    #[arg(long, conflicts_with = "resume")]
    pub ephemeral: bool,
    /// Which model, which rights, which limits.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Which model, which rights, which limits.
#[derive(Debug, Clone, Default, Args)]
pub struct ModelArgs {
    /// The model, as PROVIDER/MODEL or a model of the configured provider
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,
    /// A model that takes over for the rest of a turn whose model cannot answer (overloaded, no quota, no access); repeat it for more, up to 8, tried in this order
    #[arg(long, value_name = "MODEL")]
    pub fallback: Vec<String>,
    /// How hard the model thinks
    #[arg(long, value_name = "EFFORT", value_parser = ["none", "minimal", "low", "medium", "high", "xhigh"])]
    pub effort: Option<String>,
    /// What tools may do without asking: read-only (refuse what does more), ask-writes (ask for it), open (run it), deny-all (run no tool), or a mode of your configuration
    #[arg(long, value_name = "NAME")]
    pub mode: Option<String>,
    /// Run calls that match without asking, for example --allow 'bash(cargo *)'
    #[arg(long, value_name = "RULE")]
    pub allow: Vec<String>,
    /// Refuse calls that match, for example --deny 'write_file(.github/*)'
    #[arg(long, value_name = "RULE")]
    pub deny: Vec<String>,
    /// Stop the turn after N answered model calls
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_steps: Option<u32>,
    /// Stop the turn after N tokens, input and output together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    pub max_tokens_total: Option<u64>,
    /// Stop the turn before it costs more than this many US dollars
    #[arg(long, value_name = "USD")]
    pub max_cost: Option<Dollars>,
    /// Call a model whose price nobody knows although there is a limit on money; its calls count nothing
    #[arg(long)]
    pub allow_unknown_cost: bool,
    /// Stop the turn after this time, for example 30s or 5m
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Millis>,
    /// Leave out all hooks in this session
    #[arg(long)]
    pub no_hooks: bool,
    /// Leave out the hook of this name in this session
    #[arg(long = "hook-off", value_name = "NAME", conflicts_with = "no_hooks")]
    pub hooks_off: Vec<String>,
    /// Leave the project's own words (AGENTS.md) out of the system prompt
    #[arg(long)]
    pub no_project_prompt: bool,
    /// Be what this profile of subagents says: its words, model, tools and limits, but for what other flags say (see `oarlock agents`). For new sessions
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Add instructions for this session to the end of the system prompt
    #[arg(long, value_name = "TEXT")]
    pub append_system_prompt: Option<String>,
    /// Keys set for this call.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

/// Which session a run goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumed {
    /// None: a new one.
    New,
    /// The latest one of this folder.
    Latest,
    /// This one.
    Id(String),
}

impl RunArgs {
    /// The session and the prompt. The word after `--resume` is a prompt when it is no session id and no other prompt is there.
    #[must_use]
    pub fn session_and_prompt(&self) -> (Resumed, Option<String>) {
        let is_id = |text: &str| {
            text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        };
        match (self.resume.as_deref(), &self.prompt) {
            (None, prompt) => (Resumed::New, prompt.clone()),
            (Some(""), prompt) => (Resumed::Latest, prompt.clone()),
            (Some(word), None) if !is_id(word) => (Resumed::Latest, Some(word.to_owned())),
            (Some(id), prompt) => (Resumed::Id(id.to_owned()), prompt.clone()),
        }
    }
}

/// What is printed.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct OutputArgs {
    /// Print every event as a line of JSON
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Print the final answer and nothing else
    #[arg(short, long)]
    pub quiet: bool,
}

impl ModelArgs {
    /// Which hooks are left out, when a flag says so.
    #[must_use]
    pub fn hooks(&self) -> Option<HookRunOverrides> {
        let given = self.no_hooks || !self.hooks_off.is_empty();
        given.then(|| HookRunOverrides { none: self.no_hooks, off: self.hooks_off.clone() })
    }

    /// The flags as the highest layer of the configuration.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let single = [
            self.model.as_ref().map(|text| flag("--model", "model", text.as_str())),
            self.effort.as_ref().map(|text| flag("--effort", "effort", text.as_str())),
            self.mode.as_ref().map(|name| flag("--mode", "mode", name.as_str())),
            self.max_steps.map(|n| flag("--max-steps", "limits.turn.steps", i64::from(n))),
            self.max_tokens_total
                .map(|n| flag("--max-tokens-total", "limits.turn.tokens", whole(n))),
            self.max_cost.map(|sum| flag("--max-cost", "limits.turn.cost", sum.to_string())),
            self.allow_unknown_cost
                .then(|| flag("--allow-unknown-cost", "limits.allow_unknown_prices", true)),
            self.timeout.map(|time| flag("--timeout", "limits.turn.time", time.to_string())),
            self.no_project_prompt.then(|| flag("--no-project-prompt", "prompt.project", false)),
        ];
        let list = |name, key, rules: &[String]| {
            (!rules.is_empty()).then(|| flag(name, key, rules.to_vec()))
        };
        let lists = [
            list("--fallback", "fallback", &self.fallback),
            list("--allow", "rules.allow", &self.allow),
            list("--deny", "rules.deny", &self.deny),
        ];
        single.into_iter().chain(lists).flatten().collect()
    }
}
