//! Arguments of the commands about kept sessions.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use oarlock_core::ids::{InvalidTimestamp, Timestamp};

/// Arguments of `session`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock session list --all\n  oarlock session list --text heron --updated-after 2026-11-01\n  oarlock session show ID\n  oarlock session show --usage ID\n  oarlock session fork ID --at 40\n  oarlock session why ID\n  oarlock session export ID -o session.jsonl\n  oarlock session import session.jsonl\n  oarlock session send NAME \"…\"\n\nGo on with one: `oarlock run --resume ID \"…\"`."
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
        /// Archived ones alone
        #[arg(long)]
        archived: bool,
        /// Only those with this label; more than one must all be there
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// Only those with these words in their title or what was said
        #[arg(long, value_name = "WORDS")]
        text: Option<String>,
        /// When they were used and made
        #[command(flatten)]
        times: Times,
    },
    /// Find words in what was said, archived sessions and subagents included
    Search {
        /// The words, all of which a text must have
        #[arg(required = true)]
        words: Vec<String>,
        /// At most N places
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
        /// Only in sessions with this label; more than one must all be there
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
    },
    /// Put a session away: it can be read, and takes no input until it is restored
    Archive {
        /// The session
        id: String,
    },
    /// Take an archived session up again
    #[command(visible_alias = "restore")]
    Unarchive {
        /// The session
        id: String,
    },
    /// Begin a session as another one stood: same conversation, settings and plan, nothing used or granted; the source stays as it is
    Fork {
        /// The source
        id: String,
        /// The last entry of the source that it may have (`seq` of `session show --json`); it stands behind the last turn that had ended by then
        #[arg(long, value_name = "SEQ")]
        at: Option<u64>,
        /// Its title; "Fork of" and that of its source without it
        #[arg(long)]
        title: Option<String>,
    },
    /// Show what happened in a session
    Show {
        /// The session
        id: String,
        /// Show what its steps used instead: tokens, money, what the provider's cache did, what its rules predict, and what each break of the prefix
        /// cost (docs/caching.md)
        #[arg(long)]
        usage: bool,
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
    /// Write to a session by its name or id, and wait for its turn
    Send(SendArgs),
    /// List sessions that have names, by which others write to them
    Peers(PeersArgs),
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

/// When sessions were used and made.
#[derive(Debug, Clone, Default, Args)]
pub struct Times {
    /// Only those used later than this: a date, or a moment of RFC 3339
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub updated_after: Option<Timestamp>,
    /// Only those used before this
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub updated_before: Option<Timestamp>,
    /// Only those made later than this
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub created_after: Option<Timestamp>,
    /// Only those made before this
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub created_before: Option<Timestamp>,
}

/// A moment; a date is its beginning in UTC.
fn moment(text: &str) -> Result<Timestamp, String> {
    let date = format!("{text}T00:00:00Z");
    text.parse().or_else(|_| date.parse()).map_err(|_: InvalidTimestamp| {
        "a time is written 2026-11-22 or 2026-11-22T08:30:00Z".to_owned()
    })
}

/// Arguments of `session send`.
#[derive(Debug, Args)]
#[command(
    after_help = "The message is in the session's journal before anything else happens. The turn that takes it runs here and its answer is printed; a response, or a request of a silent intent, waits for the next turn. \
    A session that another process has is written to there (`oarlock serve`).\n\nExamples:\n  oarlock session send stroke \"set the pace\"\n  oarlock session send stroke --from bow --kind request --intent pace \"28 a minute\"\n  git diff | oarlock session send reviewer -"
)]
pub struct SendArgs {
    /// The session, by its name or id
    #[arg(value_name = "NAME|ID")]
    pub to: String,
    /// The words, `-` for stdin
    pub text: String,
    /// The name of the session in whose name it is written
    #[arg(long, value_name = "NAME")]
    pub from: Option<String>,
    /// What it is: a request has a turn of its own, a response begins none
    #[arg(long, value_enum, default_value_t = MessageKind::Message)]
    pub kind: MessageKind,
    /// What a request is about
    #[arg(long, value_name = "INTENT")]
    pub intent: Option<String>,
    /// Written again with the same key, it is there once
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MessageKind {
    /// Words
    Message,
    /// Something to be done
    Request,
    /// The answer to a request
    Response,
}

/// Arguments of `session peers`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oarlock session peers --json")]
pub struct PeersArgs {
    /// At most N, those that were used last
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("a label is written NAME=VALUE".to_owned()),
    }
}

/// Arguments of `gc`.
#[derive(Debug, Args)]
#[command(
    after_help = "Sessions go when `retention.age_days` or `retention.max_bytes` of your configuration says so, none otherwise; never one that is open, has an open turn, an input that waits for its turn, \
    a goal or a background task. Bodies that no session names go a day after they were written. It may run beside other oarlock processes.\n\nExamples:\n  oarlock gc --dry-run\n  oarlock gc --config retention.age_days=90"
)]
pub struct GcArgs {
    /// Show which sessions would go, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Set a key of the configuration, as `key=value`
    #[arg(long, value_name = "KEY=VALUE")]
    pub config: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
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
