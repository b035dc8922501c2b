//! The commands, one file each, and the frame around them: parsing, the one line of an error, the exit code.

mod acp;
mod agents;
mod ask;
mod chat;
mod doctor;
mod gc;
mod init;
mod login;
mod logout;
mod mentioned;
mod models;
pub(crate) mod open_files;
pub(crate) mod overlay;
mod peers;
mod policy;
mod replay;
mod rpc;
mod run;
pub mod schema;
mod serve;
mod session;
mod skills;
mod trust;
mod usage;
mod why;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;
use oarlock_core::ports::journal::JournalError;
use oarlock_core::prompt::slash::SlashError;
use oarlock_core::service::{ErrorCode, SessionError};
use oarlock_core::{AgentError, SessionError as HandleError};

pub(crate) use mentioned::{Denied, Rights};
pub(crate) use run::content;

use crate::args::{Cli, Command, ModelArgs};
use crate::config::{self, Environment, Inputs, LoadError, Loaded, Setting};
use crate::exit::Exit;
use crate::logging;
use crate::terminal::prompt::PromptError;

/// What every command is given.
pub(crate) struct Frame {
    environment: Environment,
    cwd: PathBuf,
}

/// Runs the program. Errors and panics become one line on stderr; a closed stdout ends it quietly with code 0, since the reader has had enough.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let words = panic.payload_as_str().unwrap_or("panic");
        complain(&format!("internal error: {words}: {place}; please report it"));
    }));
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let outcome = std::panic::catch_unwind(|| match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli).unwrap_or_else(failed),
        Err(refusal) => usage(&refusal),
    });
    outcome.unwrap_or(Exit::Error).into()
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let frame = Frame::new(cli.global.folder)?;
    // Whoever writes from a thread of its own must not find the lock taken.
    let mut out = anstream::stdout();
    let exit = match cli.command {
        Command::Acp(args) => acp::run(&frame, *args, &mut out),
        Command::Rpc(args) => rpc::run(&frame, *args),
        Command::Run(args) => run::run(&frame, &args, &mut out),
        Command::Chat(args) => chat::run(&frame, &args, &mut out),
        Command::Serve(args) => serve::run(&frame, *args, &mut out),
        Command::Session(args) => session::run(&frame, args, &mut out),
        Command::Schema(_) => schema::run(&mut out),
        Command::Replay(args) => replay::run(&args, &mut out),
        Command::Models(args) => models::run(&frame, args, &mut out),
        Command::Agents(args) => agents::run(&frame, &args, &mut out),
        Command::Skills(args) => skills::run(&frame, &args, &mut out),
        Command::Init(args) => init::run(&frame, &args, &mut out),
        Command::Login(args) => login::run(&frame, args, &mut out),
        Command::Logout(args) => logout::run(&frame, args, &mut out),
        Command::Gc(args) => gc::run(&frame, &args, &mut out),
        Command::Doctor(args) => doctor::run(&frame, args, &mut out),
        Command::Policy(args) => policy::run(&frame, &args, &mut out),
        Command::Trust(args) => trust::run(&frame, &args, &mut out),
    }?;
    out.flush()?;
    Ok(exit)
}

impl Frame {
    fn new(folder: Option<PathBuf>) -> anyhow::Result<Self> {
        let cwd = match folder {
            Some(dir) => dir
                .canonicalize()
                .with_context(|| format!("-C {}: no such folder to work in", dir.display()))?,
            None => std::env::current_dir()
                .context("the current folder is gone; go to another one or use -C DIR")?,
        };
        anyhow::ensure!(cwd.is_dir(), "-C {}: not a folder", cwd.display());
        Ok(Self { environment: Environment::of_process(), cwd })
    }

    /// The configuration in this folder; what a folder set and may not set is told on stderr.
    fn load(&self, overrides: Vec<String>) -> anyhow::Result<Loaded> {
        let loaded = self.load_silently(overrides)?;
        for ignored in &loaded.stack.ignored {
            complain(&ignored.to_string());
        }
        Ok(loaded)
    }

    /// The configuration with the flags of a run on top.
    fn load_with(&self, args: &ModelArgs) -> anyhow::Result<Loaded> {
        let loaded = self.load_layers(args.overrides.overrides.clone(), args.settings())?;
        for ignored in &loaded.stack.ignored {
            complain(&ignored.to_string());
        }
        Ok(loaded)
    }

    fn load_silently(&self, overrides: Vec<String>) -> anyhow::Result<Loaded> {
        self.load_layers(overrides, Vec::new())
    }

    fn load_layers(&self, overrides: Vec<String>, flags: Vec<Setting>) -> anyhow::Result<Loaded> {
        let environment = self.environment.clone();
        let inputs = Inputs { environment, cwd: self.cwd.clone(), overrides, flags };
        let loaded = config::load(inputs)?;
        logging::start(&loaded.config.log);
        Ok(loaded)
    }
}

/// How long a thread stays that has nothing to do.
const THREADS_STAY: Duration = Duration::from_secs(1);

/// Runs asynchronous work on this thread.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    runtime()?.block_on(work)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // A thread takes memory of its own, so that one that reads files ends soon when there are no more to be read.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(THREADS_STAY)
        .build();
    runtime.context("cannot start the asynchronous runtime")
}

/// Writes one line to stderr. Nothing can be done when that fails.
pub(crate) fn complain(words: &str) {
    let line = one_line(words);
    drop(writeln!(anstream::stderr(), "oarlock: {line}"));
}

/// Joins lines and removes what could steer a terminal.
fn one_line(words: &str) -> String {
    let joined = words.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.chars().filter(|c| !c.is_control()).collect()
}

fn failed(error: anyhow::Error) -> Exit {
    let closed = |cause: &(dyn std::error::Error + 'static)| {
        let plain = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = || cause.downcast_ref::<serde_json::Error>()?.io_error_kind();
        plain.or_else(json) == Some(io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(closed) {
        return Exit::Done;
    }
    complain(&explained(&error));
    if is_usage(&error) { Exit::Usage } else { of_table(error).map_or(Exit::Error, Exit::of_error) }
}

/// The row of the error table, where sessions or their store refused.
fn of_table(error: anyhow::Error) -> Option<ErrorCode> {
    let told = error.downcast::<AgentError>().map(SessionError::from);
    let told = told.or_else(|other| other.downcast::<HandleError>().map(SessionError::from));
    let told = told.or_else(|other| other.downcast::<JournalError>().map(SessionError::from));
    let told = told.or_else(anyhow::Error::downcast::<SessionError>);
    told.ok().map(|error| error.kind)
}

/// Whether the command line has to be written otherwise.
fn is_usage(error: &anyhow::Error) -> bool {
    if let Some(LoadError::Config(error)) = error.downcast_ref() {
        return error.is_of_command_line();
    }
    let is_slash = error.downcast_ref::<SlashError>().is_some();
    is_slash || matches!(error.downcast_ref(), Some(PromptError::Missing | PromptError::Empty))
}

/// The error with its causes, leaving out a cause that the words before it already quote.
pub(crate) fn explained(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| {
        match (told.is_empty(), told.contains(&cause)) {
            (true, _) => cause,
            (false, true) => told,
            (false, false) => format!("{told}: {cause}"),
        }
    })
}

/// Help and version go to stdout; everything else is one line with its remedy.
fn usage(refusal: &clap::Error) -> Exit {
    match refusal.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            drop(refusal.print());
            return Exit::Done;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            drop(refusal.print());
            return Exit::Usage;
        }
        _ => {}
    }
    complain(&condensed(&refusal.to_string()));
    Exit::Usage
}

/// The first paragraph and the tips of the parser's message in one line.
fn condensed(message: &str) -> String {
    let tips = message.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    let what = message.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    let usage = message.lines().find_map(|line| line.strip_prefix("Usage: "));
    let command: Vec<&str> = usage
        .unwrap_or("oarlock")
        .split_whitespace()
        .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
        .collect();
    let mut told = vec![one_line(what)];
    told.extend(tips.map(str::to_owned));
    told.push(format!("see `{} --help`", command.join(" ")));
    told.join("; ")
}
