//! A program that reads one text and says another, as hooks do: in a process group of its own, of which nothing outlives the call.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use oarlock_core::ports::shell::ShellExit;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, ChildStdin};

use super::Environment;
use super::process::exit;
use super::sweep::{Force, Mark, Reach};

/// What is run, and what it is given.
#[derive(Debug)]
pub(crate) struct Filter {
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// Where it works.
    pub(crate) cwd: PathBuf,
    /// Variables beside those that commands inherit.
    pub(crate) variables: Vec<(&'static str, OsString)>,
    /// What it reads.
    pub(crate) input: Vec<u8>,
    /// Of what it says no more is kept than so many bytes, on each side.
    pub(crate) output_max: usize,
}

/// What it said, and how it ended.
#[derive(Debug)]
pub(crate) struct Filtered {
    pub(crate) exit: ShellExit,
    pub(crate) said: Vec<u8>,
    pub(crate) complained: Vec<u8>,
}

/// Ends all that a program started, however it is left.
struct Leash {
    mark: Mark,
    child: Child,
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.mark.end(Force::Kill, Reach::All);
    }
}

/// Runs a program to its end. Dropping the future ends it, and all that it started.
pub(crate) async fn run(filter: Filter, environment: Environment) -> io::Result<Filtered> {
    let Filter { input, output_max, .. } = filter;
    let launched = tokio::task::spawn_blocking(move || {
        launch(&filter.argv, &filter.cwd, &filter.variables, &environment)
    });
    let (mut leash, said, complained) = launched.await.map_err(io::Error::other)??;
    let (said, complained) = (Receiver::from_owned_fd(said)?, Receiver::from_owned_fd(complained)?);
    let stdin = leash.child.stdin.take();
    let ended = async {
        let status = leash.child.wait().await;
        let mark = leash.mark.clone();
        // Whatever it left behind holds the pipes, and is ended with it.
        drop(tokio::task::spawn_blocking(move || mark.end(Force::Kill, Reach::All)).await);
        status
    };
    let ((), said, complained, status) = tokio::join!(
        feed(stdin, &input),
        keep(said, output_max),
        keep(complained, output_max),
        ended
    );
    Ok(Filtered { exit: exit(status?), said: said?, complained: complained? })
}

/// A program that reads nothing of it, or not all, is none that failed.
async fn feed(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        // It may have closed its end, or ended.
        drop(stdin.write_all(input).await);
    }
}

/// Reads all of it and keeps the beginning.
async fn keep(mut reader: impl AsyncRead + Unpin, max: usize) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    (&mut reader).take(max as u64).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut reader, &mut tokio::io::sink()).await?;
    Ok(kept)
}

fn launch(
    argv: &[String],
    cwd: &PathBuf,
    variables: &[(&'static str, OsString)],
    environment: &Environment,
) -> io::Result<(Leash, OwnedFd, OwnedFd)> {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let variable = format!("OARLOCK_HOOK_{}_{number}", std::process::id());
    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (said, out) = io::pipe()?;
    let (complained, err) = io::pipe()?;
    let pipe = rustix::fs::fstat(&said)?.st_ino;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env_clear().envs(environment.variables());
    command.envs(variables.iter().map(|(name, value)| (name, value))).env(&variable, "1");
    command.current_dir(cwd).process_group(0).stdin(Stdio::piped()).stdout(out).stderr(err);
    let child = command.spawn()?;
    drop(command);
    let mut mark = Mark::new(variable, pipe);
    mark.shell(child.id());
    environment.limit_files(child.id());
    Ok((Leash { mark, child }, said.into(), complained.into()))
}
