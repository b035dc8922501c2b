//! Arguments of `policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Arguments of `policy`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  oarlock policy list\n  oarlock policy allow 'bash(cargo test *)' 'write_file(docs/*)'\n  oarlock policy forget 'bash(cargo test *)'\n  oarlock policy forget --all --folder ~/old\n\nA rule is a tool, or `tool(pattern)` where `*` stands for any characters and `?` for one. A saved grant is used\nby sessions that begin in its folder, exactly there: where the mode would ask, the call is run. It never\nloosens a mode that refuses (read-only, deny-all), and `--deny` wins over it. The choice \"always allow, saved\" of a\nquestion adds one. Sessions that have begun keep what they began with."
)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: PolicyAction,
    /// The folder, instead of the current one
    #[arg(long, value_name = "DIR", global = true)]
    pub folder: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with saved grants.
#[derive(Debug, Subcommand)]
pub enum PolicyAction {
    /// Show the saved grants of the folder
    List,
    /// Save grants for later sessions in the folder
    Allow {
        /// What to run without asking, for example 'bash(cargo test *)'
        #[arg(value_name = "RULE", required = true)]
        rules: Vec<String>,
    },
    /// Take saved grants back
    Forget {
        /// Grants as `list` shows them
        #[arg(value_name = "RULE", required_unless_present = "all")]
        rules: Vec<String>,
        /// All of the folder
        #[arg(long, conflicts_with = "rules")]
        all: bool,
    },
}
