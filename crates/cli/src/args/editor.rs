//! Arguments of the commands that editors start.

use clap::{Args, Subcommand};

use super::{LoginArgs, ModelArgs};

/// Arguments of `acp`.
#[derive(Debug, Args)]
#[command(
    after_help = "Editors start this themselves; docs/editors.md says how to tell yours. Each session works in the folder that the editor names,\nwith that folder's configuration as far as you trust it (`oarlock trust`). Try it by hand:\n\n  npx acpx --agent 'oarlock acp' exec \"what is in this folder?\"\n\nIt ends when its stdin ends, or on SIGTERM."
)]
pub struct AcpArgs {
    /// Which model, which rights, which limits new sessions have.
    #[command(flatten)]
    pub model: ModelArgs,
    /// What is done instead of serving.
    #[command(subcommand)]
    pub instead: Option<AcpCommand>,
}

/// What editors do with the command that they start, adding a word to it.
#[derive(Debug, Subcommand)]
pub enum AcpCommand {
    /// Ask for a provider's key in this terminal, as `oarlock login` does
    Login(LoginArgs),
}
