//! Running a command for what it prints: in a process group of its own, without a shell, within bounds of time and size.

use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::{Either, join, maybe_done, select};
use oarlock_models::without_secrets;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

use super::KeyCommand;
use crate::config::secret::KEY_BYTES_MAX;
use crate::terminal::safe;

/// A key and the end of its line.
const SAID_BYTES_MAX: usize = KEY_BYTES_MAX as usize + 1;
/// Of what it complains, so many bytes are kept: a key that stands in it is hidden whole.
const COMPLAINT_BYTES_MAX: usize = KEY_BYTES_MAX as usize + 4096;
/// Of those, so many characters are shown.
const COMPLAINT_CHARS_MAX: usize = 600;
/// How long its pipes are read when it has ended and something that it left behind holds them open.
const DRAIN_WITHIN: Duration = Duration::from_millis(200);

/// The two streams, as far as they are kept.
#[derive(Default)]
struct Heard {
    said: Vec<u8>,
    complained: Vec<u8>,
}

impl Heard {
    async fn listen(&mut self, out: Option<ChildStdout>, err: Option<ChildStderr>) {
        let said = keep(out, &mut self.said, SAID_BYTES_MAX);
        join(said, keep(err, &mut self.complained, COMPLAINT_BYTES_MAX)).await;
    }
}

/// The process groups that end with this program.
static GROUPS: Groups = Groups(Mutex::new(Some(Vec::new())));

/// Process groups; none any more when the program ends.
struct Groups(Mutex<Option<Vec<Pid>>>);

impl Groups {
    fn with<T>(&self, work: impl FnOnce(&mut Option<Vec<Pid>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts a process that leads a group, unless the program ends.
    fn start(&'static self, made: &mut Command) -> io::Result<(Child, Leash)> {
        self.with(|groups| {
            let groups = groups.as_mut().ok_or(io::ErrorKind::Interrupted)?;
            let child = made.process_group(0).kill_on_drop(true).spawn()?;
            let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            groups.extend(group);
            Ok((child, Leash { groups: self, group }))
        })
    }

    fn end(&self) {
        let groups = self.with(Option::take).unwrap_or_default();
        groups.into_iter().for_each(end);
    }
}

/// Ends a process group, unless it was let go.
struct Leash {
    groups: &'static Groups,
    group: Option<Pid>,
}

impl Leash {
    /// What is left of the group goes its own way.
    fn let_go(&mut self) -> Option<Pid> {
        let group = self.group.take()?;
        self.groups.with(|groups| groups.as_mut().map(|all| all.retain(|one| *one != group)));
        Some(group)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.let_go().into_iter().for_each(end);
    }
}

fn end(group: Pid) {
    // It may have ended by itself.
    kill_process_group(group, Signal::KILL).ok();
}

/// Ends all commands that run for keys, and starts none any more: for a program that is about to end at once.
pub(crate) fn end_all() {
    GROUPS.end();
}

/// What the command prints until it ends, cut behind the longest key. Dropping the future ends the command and its process group, and so does its
/// deadline; what it leaves running when it ends by itself (an agent that keeps a passphrase, say) is left alone.
///
/// # Errors
/// Why nothing it printed counts, in words that go on from "the command". They hold nothing of what it printed.
pub(super) async fn said(command: &KeyCommand) -> Result<Vec<u8>, String> {
    let (mut child, mut leash) =
        spawn(command, &GROUPS).map_err(|error| format!("cannot be started: {error}"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut heard = Heard::default();
    let ended = {
        let mut reading = pin!(maybe_done(heard.listen(out, err)));
        let ended = timeout(command.deadline, status(&mut child, reading.as_mut())).await;
        if let Ok(Ok(_)) = &ended {
            leash.let_go();
            // What the process wrote itself is there already.
            drop(timeout(DRAIN_WITHIN, reading).await);
        }
        ended
    };
    let why = match ended {
        Err(_) => format!("took longer than {} ms and was ended", command.deadline.as_millis()),
        Ok(Err(error)) => format!("cannot be waited for: {error}"),
        Ok(Ok(status)) if status.success() => return Ok(heard.said),
        Ok(Ok(status)) => format!("failed ({status})"),
    };
    let complaint = complaint(&heard);
    Err(if complaint.is_empty() { why } else { format!("{why}: {complaint}") })
}

fn spawn(command: &KeyCommand, groups: &'static Groups) -> io::Result<(Child, Leash)> {
    let (program, arguments) = command.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut made = Command::new(program);
    made.args(arguments).env_clear().envs(command.variables.iter().map(|(k, v)| (k, v)));
    made.current_dir(&command.folder);
    groups.start(made.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Waits for the end of the process, while its streams are read.
async fn status(
    child: &mut Child,
    reading: impl Future<Output = ()> + Unpin,
) -> io::Result<ExitStatus> {
    match select(reading, Box::pin(child.wait())).await {
        Either::Left(((), waiting)) => waiting.await,
        Either::Right((status, _)) => status,
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

/// Its words about a failure in one line, without any line that it printed for us. Where those are not known to their end, there are no words.
fn complaint(heard: &Heard) -> String {
    if heard.said.len() >= SAID_BYTES_MAX {
        return String::new();
    }
    let said = String::from_utf8_lossy(&heard.said);
    let words = String::from_utf8_lossy(&heard.complained);
    safe::line(&without_secrets(&words, said.lines().map(str::trim)), COMPLAINT_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(said: &str, complained: &str) -> String {
        let kept = |text: &str, max| text.as_bytes()[..text.len().min(max)].to_vec();
        complaint(&Heard {
            said: kept(said, SAID_BYTES_MAX),
            complained: kept(complained, COMPLAINT_BYTES_MAX),
        })
    }

    #[test]
    fn no_printed_line_is_told_however_long_and_wherever_it_stands() {
        let long = "t0ken-".repeat(1_000);
        let filler = " ".repeat(COMPLAINT_BYTES_MAX - 4_000);
        let table = [
            ("Bearer\nBearer eyJ-token\n", "not Bearer eyJ-token!".to_owned(), "not (hidden)!"),
            (&long, format!("not {long}, please"), "not (hidden), please"),
            (&long, format!("not{filler}{long}"), "not (hidden)"),
            ("\nshort\n", "not short".to_owned(), "not short"),
            (&"x".repeat(SAID_BYTES_MAX), "not xxxxxxxx".to_owned(), ""),
        ];
        for (said, complained, expected) in table {
            assert_eq!(told(said, &complained), expected);
        }
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_ends_the_commands_and_starts_no_other() {
        static OWN: Groups = Groups(Mutex::new(Some(Vec::new())));
        let started = || OWN.start(Command::new("sleep").arg("60"));
        let (mut child, leash) = started().unwrap();
        OWN.end();
        assert!(!child.wait().await.unwrap().success());
        assert!(started().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted));
        drop(leash);
    }
}
