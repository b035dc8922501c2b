//! Arguments of the commands that set up and examine.

use std::path::PathBuf;

use clap::Args;

use super::OverrideArgs;

/// Arguments of `models`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock models\n  oarlock models --live\n  oarlock models --json"
)]
pub struct ModelsArgs {
    /// Ask the endpoint of each provider that is ready for its models
    #[arg(long)]
    pub live: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Keys set for this call.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

/// Arguments of `skills`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock skills\n  oarlock skills --json\n\nA skill is a folder with a SKILL.md. Looked for, those that count more last: ~/.claude/skills, ~/.agents/skills and\nskills beside your configuration file; the folders of `skills.dirs`; and in the project, once you trust it with\n`oarlock trust`: .claude/skills, .agents/skills, .oarlock/skills."
)]
pub struct SkillsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Keys set for this call.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

/// Arguments of `agents`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock agents\n  oarlock agents --json\n\nA profile says what a subagent is like. It is NAME/config.toml with NAME/system.md, or NAME.md with a head, in the folder\nagents beside your configuration file, or in the project's .oarlock/agents once you trust it with `oarlock trust`.\ndocs/subagents.md says what may stand in it."
)]
pub struct AgentsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Keys set for this call.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock init\n  ANTHROPIC_API_KEY=… oarlock init --yes\n  oarlock init --yes --default-provider openai --default-model gpt-4o-mini\n\nKeys stay in the environment; the file names only their variables."
)]
pub struct InitArgs {
    /// Do not ask: take what is found or given
    #[arg(short, long)]
    pub yes: bool,
    /// Replace an existing configuration
    #[arg(long)]
    pub force: bool,
    /// Do not ask the provider which models it has
    #[arg(long)]
    pub offline: bool,
    /// The provider to use
    #[arg(long, value_name = "NAME")]
    pub default_provider: Option<String>,
    /// The model to use
    #[arg(long, value_name = "MODEL")]
    pub default_model: Option<String>,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock doctor\n  oarlock doctor --config       every value in force, and where it was written\n  oarlock doctor --json\n\nExit code 1 when something that is needed fails."
)]
pub struct DoctorArgs {
    /// Print every value in force with its source instead; with KEY=VALUE, as if that were set
    #[arg(long, value_name = "KEY=VALUE", num_args = 0..=1, default_missing_value = "")]
    pub config: Vec<String>,
    /// Do not try to reach the provider
    #[arg(long)]
    pub offline: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `trust`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch; the parser excludes what does not go together"
)]
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock trust --show     what the folder's configuration would set\n  oarlock trust            trust it, after a question\n  oarlock trust --revoke\n\nA configuration that changes has to be trusted again."
)]
pub struct TrustArgs {
    /// The folder; its project is what counts
    pub dir: Option<PathBuf>,
    /// Show what trust would allow, and change nothing
    #[arg(long, group = "action")]
    pub show: bool,
    /// Take trust back
    #[arg(long, group = "action")]
    pub revoke: bool,
    /// List trusted folders
    #[arg(long, group = "action", conflicts_with = "dir")]
    pub list: bool,
    /// Do not ask
    #[arg(short, long, conflicts_with = "action")]
    pub yes: bool,
}
