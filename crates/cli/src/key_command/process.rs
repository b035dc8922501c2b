//! Running a command for what it prints: in a process group of its own, without a shell, within bounds of time and size.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures::future::{Either, select};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::KeyCommand;
use crate::config::secret::KEY_BYTES_MAX;
use crate::terminal::safe;

/// Of what it complains, so many bytes are kept.
const COMPLAINT_BYTES_MAX: usize = 4096;
/// Of those, so many characters are shown.
const COMPLAINT_CHARS_MAX: usize = 600;
/// How long its pipes are read when it has ended and something that it left behind holds them open.
const DRAIN_WITHIN: Duration = Duration::from_millis(200);
/// Shorter lines of its output are no secrets.
const SECRET_BYTES_MIN: usize = 6;

/// The two streams, as far as they are kept.
#[derive(Default)]
struct Heard {
    said: Vec<u8>,
    complained: Vec<u8>,
}

/// Ends a process group, unless it was let go.
struct Leash(Option<Pid>);

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended by itself.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

/// What the command prints until it ends, cut behind the longest key. Dropping the future ends the command and its process group, and so does its
/// deadline; what it leaves running when it ends by itself (an agent that keeps a passphrase, say) is left alone.
///
/// # Errors
/// Why nothing it printed counts, in words that go on from "the command". They hold nothing of what it printed.
pub(super) async fn said(command: &KeyCommand) -> Result<Vec<u8>, String> {
    let mut child = spawn(command).map_err(|error| format!("cannot be started: {error}"))?;
    let mut leash = Leash(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let mut heard = Heard::default();
    let ended = timeout(command.deadline, listen(&mut child, &mut heard)).await;
    let why = match ended {
        Err(_) => format!("took longer than {} ms and was ended", command.deadline.as_millis()),
        Ok(Err(error)) => format!("cannot be waited for: {error}"),
        Ok(Ok(status)) => {
            leash.0 = None;
            if status.success() {
                return Ok(heard.said);
            }
            format!("failed ({status})")
        }
    };
    let complaint = complaint(&heard);
    Err(if complaint.is_empty() { why } else { format!("{why}: {complaint}") })
}

fn spawn(command: &KeyCommand) -> io::Result<Child> {
    let (program, arguments) = command.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut made = Command::new(program);
    made.args(arguments).env_clear().envs(command.variables.iter().map(|(k, v)| (k, v)));
    made.current_dir(&command.folder).process_group(0).kill_on_drop(true);
    made.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Reads both streams and waits for the end of the process.
async fn listen(child: &mut Child, heard: &mut Heard) -> io::Result<ExitStatus> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let key_bytes = usize::try_from(KEY_BYTES_MAX).unwrap_or(usize::MAX) + 1;
    let Heard { said, complained } = heard;
    let reading = futures::future::join(
        keep(out, said, key_bytes),
        keep(err, complained, COMPLAINT_BYTES_MAX),
    );
    match select(Box::pin(reading), Box::pin(child.wait())).await {
        Either::Left((_, waiting)) => waiting.await,
        Either::Right((status, reading)) => {
            // What the process wrote itself is there already.
            drop(timeout(DRAIN_WITHIN, reading).await);
            status
        }
    }
}

/// Reads all of a stream and keeps its beginning.
async fn keep(reader: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, max: usize) {
    let Some(mut reader) = reader else { return };
    let mut piece = [0; 4096];
    // A stream that breaks has ended.
    while let Ok(read @ 1..) = reader.read(&mut piece).await {
        let room = max - kept.len();
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
}

/// Its words about a failure in one line, without any line that it printed for us.
fn complaint(heard: &Heard) -> String {
    let said = String::from_utf8_lossy(&heard.said);
    let lines = said.lines().map(str::trim).filter(|line| line.len() >= SECRET_BYTES_MIN);
    let words = String::from_utf8_lossy(&heard.complained).into_owned();
    let hidden = lines.fold(words, |words, line| words.replace(line, "(hidden)"));
    safe::line(&hidden, COMPLAINT_CHARS_MAX)
}
