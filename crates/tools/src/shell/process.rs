//! A running command: its output until it ends, however long others hold its pipe, and the end of all it started.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use oarlock_core::ports::shell::{Input, Process, ShellError, ShellExit};
use tokio::net::unix::pipe::Receiver;
use tokio::process::Child;
use tokio::time::Instant;

use super::sweep::{Force, Mark, Reach};

const CHUNK_BYTES: usize = 64 * 1024;
/// How long a killed shell may take to be gone.
const REAPED: Duration = Duration::from_millis(500);
/// Within this time so few processes are started on a machine that their numbers cannot have come round to below the shell's.
const QUICK_MS: u128 = 500;

/// What is known of a command's end.
enum Stage {
    /// It runs.
    Running,
    /// It has ended, and so many bytes that it wrote are still in the pipe.
    Ended { left: u64 },
}

pub(super) struct LocalProcess {
    child: Child,
    reader: Receiver,
    mark: Mark,
    stage: Stage,
    started: Instant,
    /// Nothing of the command is left on the machine.
    swept: bool,
    cwd: PathBuf,
    /// Its other end is watched by a command that may run for long. The reader is only held open for the watcher to find.
    _life: Option<(io::PipeReader, io::PipeWriter)>,
}

impl LocalProcess {
    /// Must be called within the runtime.
    pub(super) fn new(
        child: Child,
        reader: io::PipeReader,
        mut mark: Mark,
        (cwd, life): (PathBuf, Option<(io::PipeReader, io::PipeWriter)>),
    ) -> io::Result<Self> {
        mark.shell(child.id());
        let reader = Receiver::from_owned_fd(OwnedFd::from(reader));
        match reader {
            Ok(reader) => {
                let started = Instant::now();
                Ok(Self {
                    child,
                    reader,
                    mark,
                    stage: Stage::Running,
                    started,
                    swept: false,
                    cwd,
                    _life: life,
                })
            }
            Err(error) => {
                mark.end(Force::Kill, Reach::All);
                Err(error)
            }
        }
    }

    async fn next_output(&mut self) -> Option<Bytes> {
        loop {
            if let Stage::Ended { left } = &mut self.stage {
                let chunk = read(
                    &self.reader,
                    usize::try_from(*left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES),
                )?;
                *left -= chunk.len() as u64;
                return Some(chunk);
            }
            let arrived = tokio::select! {
                biased;
                ready = self.reader.readable() => ready.is_ok(),
                _ = self.child.wait() => false,
            };
            if arrived {
                match read_open(&self.reader) {
                    Arrived::Bytes(chunk) => return Some(chunk),
                    Arrived::Nothing => continue,
                    // The status is asked for again in `wait`, which reports its failure.
                    Arrived::End => drop(self.child.wait().await),
                }
            }
            // What a descendant adds from now on is not the command's, so the rest has a size.
            let left = rustix::io::ioctl_fionread(&self.reader).unwrap_or(0);
            self.stage = Stage::Ended { left };
        }
    }

    async fn sweep(&mut self, force: Force) {
        if self.swept {
            return;
        }
        let reach = match (force, self.started.elapsed().as_millis() < QUICK_MS) {
            (Force::Kill, true) => Reach::Younger,
            _ => Reach::All,
        };
        let mark = self.mark.clone();
        // A panic in the sweep leaves `swept` unset, so that dropping tries again.
        self.swept =
            tokio::task::spawn_blocking(move || mark.end(force, reach)).await.unwrap_or(false);
    }
}

enum Arrived {
    Bytes(Bytes),
    Nothing,
    End,
}

fn read_open(reader: &Receiver) -> Arrived {
    let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
    match reader.try_read_buf(&mut buffer) {
        Ok(0) => Arrived::End,
        Ok(_) => Arrived::Bytes(buffer.freeze()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Arrived::Nothing,
        Err(_) => Arrived::End,
    }
}

/// Asks the pipe itself and not the reactor, which may not have heard yet of the last bytes.
fn read(reader: &Receiver, bytes_max: usize) -> Option<Bytes> {
    let mut buffer = vec![0; bytes_max];
    match rustix::io::read(reader, &mut buffer) {
        Ok(count) if count > 0 => {
            buffer.truncate(count);
            Some(buffer.into())
        }
        _ => None,
    }
}

impl Process for LocalProcess {
    fn output(&mut self) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(self.next_output())
    }

    fn input(&mut self) -> Option<Input> {
        self.child.stdin.take().map(|stdin| -> Input { Box::pin(stdin) })
    }

    fn wait(&mut self) -> BoxFuture<'_, Result<ShellExit, ShellError>> {
        Box::pin(async move {
            let status = self.child.wait().await;
            self.sweep(Force::Kill).await;
            status.map(exit).map_err(|source| ShellError::Spawn { cwd: self.cwd.clone(), source })
        })
    }

    fn kill(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.sweep(Force::TermThenKill).await;
            // The shell is dead, unless the system itself is stuck with it; its status is reported by `wait`.
            drop(tokio::time::timeout(REAPED, self.child.wait()).await);
        })
    }
}

impl Drop for LocalProcess {
    fn drop(&mut self) {
        if !self.swept {
            self.mark.end(Force::Kill, Reach::All);
        }
    }
}

pub(super) fn exit(status: ExitStatus) -> ShellExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => ShellExit::Code(code),
        (None, signal) => ShellExit::Signal(signal.unwrap_or(0)),
    }
}
