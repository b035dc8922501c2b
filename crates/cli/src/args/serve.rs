//! Arguments of `serve`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ModelArgs, OverrideArgs};

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  oarlock serve\n  oarlock serve --unix ~/.oarlock.sock --root ~/projects\n  oarlock serve token add ci --scope read --scope turn\n\n  TOKEN=$(cat ~/.local/share/oarlock/token)\n  curl -H \"Authorization: Bearer $TOKEN\" -d '{\"prompt\":\"what is in this folder?\"}' \\\n       -H 'content-type: application/json' http://127.0.0.1:7350/v1/sessions\n\nThe first start makes a token and writes it into a file that you alone can read; stderr says where. Everything but\n/healthz and /readyz wants one. What there is to ask for: /v1/openapi.json and docs/service.md. It ends on SIGTERM or\nctrl-c within five seconds; turns that have not ended by then go on from their journals when somebody asks for them."
)]
pub struct ServeArgs {
    /// Listen on this address; one beyond this machine wants --allow-remote
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7350", conflicts_with = "unix")]
    pub listen: SocketAddr,
    /// Listen on a Unix socket that you alone can use
    #[arg(long, value_name = "PATH")]
    pub unix: Option<PathBuf>,
    /// Listen on an address that other machines can reach. Nothing is encrypted: put a proxy with TLS in front
    #[arg(long)]
    pub allow_remote: bool,
    /// Let sessions work in DIR and below; repeatable. The current folder without it
    #[arg(long, value_name = "DIR")]
    pub root: Vec<PathBuf>,
    /// Answer to this name too, for example the one of a proxy; repeatable
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Let pages of this origin ask, for example `https://example.org`; repeatable. None may without it
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Take so many requests a second from one token; more are answered 429
    #[arg(long, value_name = "N", default_value = "200")]
    pub rate: NonZeroU32,
    /// Keep so many connections at a time, readers of events included; more wait
    #[arg(long, value_name = "N", default_value = "16384", value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Work on so many requests at a time; more are answered 503
    #[arg(long, value_name = "N", default_value = "4096", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub requests: u32,
    /// Write the log as lines of JSON
    #[arg(long)]
    pub log_json: bool,
    /// Which model, which rights, which limits new sessions have.
    #[command(flatten)]
    pub model: ModelArgs,
    /// What is done instead of serving.
    #[command(subcommand)]
    pub instead: Option<ServeCommand>,
}

/// What is done instead of serving.
#[derive(Debug, Subcommand)]
pub enum ServeCommand {
    /// Make, list and remove the tokens that a server takes
    Token(TokenArgs),
}

/// Arguments of `serve token`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct TokenArgs {
    /// What is done.
    #[command(subcommand)]
    pub action: TokenAction,
    /// Keys set for this call.
    #[command(flatten)]
    pub overrides: OverrideArgs,
}

/// What is done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenAction {
    /// Make a token and print its secret, which is shown this once
    Add {
        /// A name for lists and logs
        name: String,
        /// What it may do: read sessions, turn (give inputs and answers, stop turns), manage (make, change and remove sessions). Repeatable; read without it
        #[arg(long, value_name = "SCOPE", value_parser = ["read", "turn", "manage"], value_delimiter = ',', default_value = "read")]
        scope: Vec<String>,
        /// Whose sessions it is for: it sees and makes those of this tenant alone. Those of no tenant without it
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
    /// List the tokens; their secrets are not known
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a token; servers that run stop to take it within two seconds
    Remove {
        /// Its name
        name: String,
    },
}
