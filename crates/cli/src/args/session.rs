//! Arguments of the commands about kept sessions.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Arguments of `session`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock session list --all\n  oarlock session show ID\n  oarlock session why ID\n  oarlock session export ID -o session.jsonl\n  oarlock session import session.jsonl\n\nGo on with one: `oarlock run --resume ID \"…\"`."
)]
pub struct SessionArgs {
    /// What to do with sessions.
    #[command(subcommand)]
    pub command: SessionCommand,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be done with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List sessions, the latest first
    List {
        /// Those of all folders
        #[arg(long)]
        all: bool,
        /// At most N
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
        /// Subagents, too
        #[arg(long)]
        children: bool,
    },
    /// Show what happened in a session
    Show {
        /// The session
        id: String,
    },
    /// Say what a session waits for: on what, since when, who has it in hand, until when, and what happens then
    Why {
        /// The session
        id: String,
    },
    /// Take up a turn that was cut, what waits, or a goal that is not reached
    Resume {
        /// The session
        id: String,
    },
    /// Write a session's journal as lines of JSON
    Export {
        /// The session
        id: String,
        /// Where to; stdout when absent
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Read a session's journal
    Import {
        /// The file, `-` for stdin
        file: PathBuf,
    },
    /// Remove a session for good
    Delete {
        /// The sessions
        #[arg(required = true)]
        ids: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Runs what `oarlock run --record DIR` kept, without network or processes: the journal must come out the same, hash for hash."
)]
pub struct ReplayArgs {
    /// The recording
    pub dir: PathBuf,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  oarlock schema > oarlock.schema.json\n\nThe schema is JSON Schema 2020-12 and carries a version; docs/json-lines.md says what may change within one."
)]
pub struct SchemaArgs {}
