//! Arguments of `login` and `logout`.

use std::ffi::OsString;

use clap::Args;

use super::OverrideArgs;

/// Arguments of `login`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock login                       asks for the provider, unless one is configured, and for its key\n  oarlock login anthropic\n  printf %s \"$KEY\" | oarlock login anthropic\n  oarlock login --status --json\n\nThe key is typed without echo or piped in, never an argument. Its provider is asked whether it takes it (the list of\nmodels) before it is stored in credentials.toml in your data folder, readable by you alone (mode 0600). A key file\nof the configuration and a variable such as ANTHROPIC_API_KEY count before it.\n\nExit code 0 when the key is stored, 1 when it is not, 5 when you cancelled."
)]
pub struct LoginArgs {
    /// The provider, for example anthropic; without it the configured one
    pub provider: Option<String>,
    /// What would be a key in the wrong place: taken so that nothing repeats it.
    #[arg(hide = true)]
    pub misplaced: Vec<OsString>,
    /// Store the key without asking its provider whether it takes it
    #[arg(long)]
    pub no_check: bool,
    /// Show which providers have a key and where from, and change nothing
    #[arg(long, conflicts_with = "no_check")]
    pub status: bool,
    /// Print JSON
    #[arg(long, requires = "status")]
    pub json: bool,
    /// Keys set for this call.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

/// Arguments of `logout`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock logout anthropic\n  oarlock logout --all\n\nRemoves what `oarlock login` stored. Variables and key files are left alone; if a key still comes from one, that is\nsaid. Exit code 0 also when no key was stored."
)]
pub struct LogoutArgs {
    /// The provider; without it the configured one, or the only one with a stored key
    pub provider: Option<String>,
    /// Remove the keys of all providers
    #[arg(long, conflicts_with = "provider")]
    pub all: bool,
    /// Keys set for this call.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}
