//! The command line as types: what can be typed, checked before anything else happens.

mod editor;
mod login;
mod policy;
mod rpc;
mod run;
mod serve;
mod session;
mod setup;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use editor::{AcpArgs, AcpCommand};
pub use login::{LoginArgs, LogoutArgs};
pub use policy::{PolicyAction, PolicyArgs};
pub use rpc::RpcArgs;
pub use run::{ChatArgs, ModelArgs, OutputArgs, Resumed, RunArgs};
pub use serve::{ServeArgs, ServeCommand, TokenAction, TokenArgs};
pub use session::{
    GcArgs, MessageKind, PeersArgs, ReplayArgs, SchemaArgs, SendArgs, SessionArgs, SessionCommand,
    Times,
};
pub use setup::{AgentsArgs, DoctorArgs, InitArgs, ModelsArgs, SkillsArgs, TrustArgs};

/// Runs LLM agents in durable sessions.
#[derive(Debug, Parser)]
#[command(name = "oarlock", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Start with `oarlock run \"what is in this folder?\"`; set up a model with `oarlock login` or `oarlock init`. What works on this machine: `oarlock doctor`."
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// Work in DIR instead of the current folder
    #[arg(short = 'C', long = "cd", value_name = "DIR", global = true)]
    pub folder: Option<PathBuf>,
}

/// Keys of the configuration, set for one call.
#[derive(Debug, Clone, Default, Args)]
pub struct OverrideArgs {
    /// Set a configuration key for this call, for example --config limits.turn.steps=20
    #[arg(long = "config", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one turn in the current folder
    Run(Box<RunArgs>),
    /// Talk with an agent, prompt after prompt
    Chat(Box<ChatArgs>),
    /// Serve an editor over the Agent Client Protocol, on stdin and stdout
    Acp(Box<AcpArgs>),
    /// Serve programs over HTTP: sessions, their events, and what an operator wants to know
    Serve(Box<ServeArgs>),
    /// Serve a program over JSON-RPC, on stdin and stdout
    Rpc(Box<RpcArgs>),
    /// List, show, resume, export, import or delete sessions
    Session(SessionArgs),
    /// Remove sessions that are not kept any longer, and what nothing needs any more
    Gc(GcArgs),
    /// List the models that can be named, and those that only lack a key
    Models(ModelsArgs),
    /// List the skills that models are told of here
    Skills(SkillsArgs),
    /// List the profiles of subagents that can be used here
    Agents(AgentsArgs),
    /// Find keys in the environment and write your configuration
    Init(InitArgs),
    /// Store the key of a provider, or show where keys come from
    Login(LoginArgs),
    /// Remove the stored key of a provider
    Logout(LogoutArgs),
    /// Show what works here and what does not, each with its remedy
    Doctor(DoctorArgs),
    /// Let a folder's own configuration take effect
    Trust(TrustArgs),
    /// Show, add and take back what is granted for later sessions of a folder
    Policy(PolicyArgs),
    /// Print the JSON Schema of the lines of `run --json`
    Schema(SchemaArgs),
    /// Run a recording again and compare the journals
    Replay(ReplayArgs),
}
