//! Commands, wherever they run: on this machine, or in an editor's terminal.

use std::path::PathBuf;
use std::pin::Pin;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::AsyncWrite;

use crate::ids::{CallId, SessionId};

/// Starts commands.
pub trait Shell: Send + Sync + std::fmt::Debug {
    /// Starts a command with an environment without any secret of ours. It and all its descendants end when the [`Process`] is dropped.
    fn spawn(&self, command: ShellCommand) -> BoxFuture<'_, Result<Box<dyn Process>, ShellError>>;
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellCommand {
    /// The command line, given to `sh -c`.
    pub command: String,
    /// The absolute folder to run it in.
    pub cwd: PathBuf,
    /// Variables in addition to the inherited ones.
    pub env: Vec<(String, String)>,
    /// What its stdin is.
    pub stdin: Stdin,
    /// The call that it is run for, with its session (a subagent perhaps), so that a shell with a screen can show it there.
    pub caller: Option<(SessionId, CallId)>,
}

/// What a command's stdin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stdin {
    /// Empty.
    #[default]
    Null,
    /// A pipe, which [`Process::input`] gives the other end of. A command with one may run for long, so it also ends when this process is
    /// killed, as far as its kind of shell can see to that.
    Piped,
}

/// The end of a pipe that fills a command's stdin; dropping it ends the stdin.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// A running command.
pub trait Process: Send {
    /// The next bytes of stdout and stderr as they come; `None` when the command itself has ended, even while a descendant still holds
    /// the pipe. Dropping the future loses nothing.
    fn output(&mut self) -> BoxFuture<'_, Option<Bytes>>;

    /// The way to its stdin: once, and only of a command with a pipe for one.
    fn input(&mut self) -> Option<Input> {
        None
    }

    /// How the command ended, after [`Process::output`] said `None`. Dropping the future loses nothing.
    fn wait(&mut self) -> BoxFuture<'_, Result<ShellExit, ShellError>>;

    /// Ends the command and all its descendants: politely at first, then by force within 200 ms.
    fn kill(&mut self) -> BoxFuture<'_, ()>;
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellExit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Why a command could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The folder is outside the allowed ones.
    #[error("{} is outside the allowed folders", cwd.display())]
    Outside {
        /// The folder.
        cwd: PathBuf,
    },
    /// The system said no.
    #[error("cannot run a command in {}: {source}", cwd.display())]
    Spawn {
        /// The folder.
        cwd: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}
