//! This machine's shell: `sh -c` in a process group of its own, of which nothing outlives its [`Process`].
//!
//! A command and all it starts are recognised by any of five marks: its process group, its session, its ancestry, a variable of a unique name in the
//! environment, and the output pipe, which the shell also keeps as descriptor 9 so that redirecting an output does not lose it. Only a process that sheds all of
//! them (a cleared environment, a session of its own, a dead parent and every descriptor closed) is not found.

mod environment;
pub(crate) mod filter;
mod process;
mod sweep;

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use oarlock_core::ports::shell::{Process, Shell, ShellCommand, ShellError, Stdin};
use oarlock_core::ports::tool::Place;

pub use environment::{Environment, InvalidPattern};

use crate::files::Roots;
use process::LocalProcess;
use sweep::Mark;

/// Runs commands on this machine, in the folders of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalShell {
    roots: Roots,
    environment: Environment,
}

impl LocalShell {
    /// A shell for commands that start in the working folder or in one of the further folders of `place`.
    #[must_use]
    pub fn new(place: &Place, environment: Environment) -> Self {
        Self { roots: Roots::new(place), environment }
    }
}

impl Shell for LocalShell {
    fn spawn(&self, command: ShellCommand) -> BoxFuture<'_, Result<Box<dyn Process>, ShellError>> {
        let (roots, environment) = (self.roots.clone(), self.environment.clone());
        Box::pin(async move {
            let cwd = command.cwd.clone();
            let started =
                tokio::task::spawn_blocking(move || start(&roots, &environment, &command)).await;
            match started {
                Ok(started) => started.map(|process| -> Box<dyn Process> { Box::new(process) }),
                Err(ended) => Err(ShellError::Spawn { cwd, source: io::Error::other(ended) }),
            }
        })
    }
}

/// Runs on a blocking thread: it waits until the new process has become `sh`.
fn start(
    roots: &Roots,
    environment: &Environment,
    command: &ShellCommand,
) -> Result<LocalProcess, ShellError> {
    let outside = || ShellError::Outside { cwd: command.cwd.clone() };
    let cwd = roots.folder(&command.cwd).map_err(|_| outside())?.ok_or_else(outside)?;
    launch(&cwd, environment, command)
        .map_err(|source| ShellError::Spawn { cwd: command.cwd.clone(), source })
}

fn launch(
    cwd: &Path,
    environment: &Environment,
    command: &ShellCommand,
) -> io::Result<LocalProcess> {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let variable = format!("OARLOCK_COMMAND_{}_{number}", std::process::id());
    let (reader, writer) = io::pipe()?;
    let pipe = rustix::fs::fstat(&reader)?.st_ino;
    let mut shell = tokio::process::Command::new("/bin/sh");
    // On the same line as the command, so that the line numbers in its error messages are right.
    let (stdin, life) = match command.stdin {
        Stdin::Null => (std::process::Stdio::null(), None),
        Stdin::Piped => (std::process::Stdio::piped(), Some(io::pipe()?)),
    };
    let watch = life.as_ref().map_or_else(String::new, |(reader, _)| watch(reader));
    let limit = environment.limit();
    shell.arg("-c").arg(format!("exec 9>&1; {limit}{watch}{}", command.command));
    shell.env_clear().envs(environment.variables());
    shell.envs(command.env.iter().map(|(name, value)| (name, value))).env(&variable, "1");
    shell.current_dir(cwd).process_group(0).stdin(stdin);
    shell.stdout(writer.try_clone()?).stderr(writer);
    let child = shell.spawn()?;
    drop(shell);
    LocalProcess::new(child, reader, Mark::new(variable, pipe), (cwd.to_owned(), life))
}

/// Words for the shell that start a watcher in its process group: when the other end of the pipe is gone, because this process is, it ends the
/// group. A process that left the group by then is not found. It is nobody's child, so that a `wait` of the command does not wait for it.
fn watch(reader: &io::PipeReader) -> String {
    let (id, number) = (std::process::id(), reader.as_raw_fd());
    format!(
        "( ( read _ </proc/{id}/fd/{number}; kill -s KILL -- -$$ ) </dev/null >/dev/null 2>&1 9>&- & ); "
    )
}
