//! Commands in a client's terminals, where the person sees them run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::v1::schema::{
    CreateTerminalRequest, EnvVariable, TerminalExitStatus, TerminalOutputRequest,
    TerminalOutputResponse, WaitForTerminalExitRequest, WaitForTerminalExitResponse,
};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::files::{FileKind, Files};
use oarlock_core::ports::shell::{Process, Shell, ShellCommand, ShellError, ShellExit, Stdin};

use super::client::{Client, Unanswered};
use super::screen::Screen;
use super::terminals::{Kept, Terminals};

/// Bytes of a command's output that the client is asked to keep. What a command says beyond that between two looks is lost, and said to be.
const OUTPUT_MAX: u64 = 1024 * 1024;
/// Output above which the client is asked for it as seldom as possible, in bytes.
const OUTPUT_LONG: usize = 64 * 1024;
/// Between two looks at the output, at first and at most.
const PAUSE_MS: (u64, u64) = (100, 1_000);
/// How long the end of a command is waited for: at once, and what it said last.
const KILL_WITHIN: Duration = Duration::from_millis(200);
const LAST_WITHIN: Duration = Duration::from_secs(1);
/// The signal that a killed command has ended by, when the client does not say.
const SIGKILL: i32 = 9;

/// Runs commands in a client's terminals: `sh -c` in one of the session's folders, with the environment that the client gives its terminals and
/// none of this program's. Commands that take input run on this machine, as terminals of this protocol take none.
#[derive(Debug)]
pub(super) struct ClientShell {
    client: Arc<Client>,
    terminals: Arc<Terminals>,
    /// This machine's commands, and its files, which know where the session may go.
    here: (Arc<dyn Shell>, Arc<dyn Files>),
    clock: Arc<dyn Clock>,
}

impl ClientShell {
    /// Commands at `client`.
    pub(super) fn new(
        client: Arc<Client>,
        terminals: Arc<Terminals>,
        here: (Arc<dyn Shell>, Arc<dyn Files>),
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { client, terminals, here, clock }
    }

    async fn start(&self, command: ShellCommand) -> Result<Box<dyn Process>, ShellError> {
        let cwd = command.cwd.clone();
        let is_folder = match self.here.1.stat(&cwd).await {
            Ok(stat) => stat.kind == FileKind::Folder,
            Err(_) => false,
        };
        let named = self.client.path(&cwd).filter(|_| is_folder);
        let Some(named) = named else { return Err(ShellError::Outside { cwd }) };
        let (caller, session) = (command.caller.clone(), self.client.session.clone());
        let variables = command.env.into_iter().map(|(name, value)| EnvVariable::new(name, value));
        let request = CreateTerminalRequest::new(session, "sh")
            .args(vec!["-c".to_owned(), command.command])
            .env(variables.collect())
            .cwd(named)
            .output_byte_limit(OUTPUT_MAX);
        match self.terminals.make(&self.client, request, caller).await {
            Ok(terminal) => Ok(Box::new(self.process(terminal, &cwd))),
            Err(error) => Err(ShellError::Spawn { cwd, source: io::Error::other(error) }),
        }
    }

    fn process(&self, terminal: Kept, cwd: &Path) -> ClientProcess {
        let session = self.client.session.clone();
        let exit = WaitForTerminalExitRequest::new(session, terminal.id.clone());
        ClientProcess {
            exit: self.client.ask_at_length(exit).boxed(),
            client: self.client.clone(),
            clock: Arc::clone(&self.clock),
            terminal,
            cwd: cwd.to_owned(),
            looking: None,
            pause_ms: PAUSE_MS.0,
            screen: Screen::default(),
            stage: Stage::Running,
            ended: None,
        }
    }
}

impl Shell for ClientShell {
    fn spawn(&self, command: ShellCommand) -> BoxFuture<'_, Result<Box<dyn Process>, ShellError>> {
        match command.stdin {
            Stdin::Null if !self.client.is_gone() => self.start(command).boxed(),
            // Others may follow the session and work on when the client has gone.
            Stdin::Null | Stdin::Piped => self.here.0.spawn(command),
        }
    }
}

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// It has ended, or was ended, and what it said last is still to be had.
    Ended,
    /// There is nothing more to be had of it.
    Done,
}

type Answer<T> = BoxFuture<'static, Result<T, Unanswered>>;

/// A command in a client's terminal.
struct ClientProcess {
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    terminal: Kept,
    cwd: PathBuf,
    /// Its end, as the client tells it.
    exit: Answer<WaitForTerminalExitResponse>,
    /// A look at the output, begun and not yet answered.
    looking: Option<Answer<TerminalOutputResponse>>,
    pause_ms: u64,
    screen: Screen,
    stage: Stage,
    /// How it ended, or why nobody knows.
    ended: Option<Result<ShellExit, String>>,
}

impl ClientProcess {
    /// Asks for the output, after a while.
    fn look(&self, after_ms: u64) -> Answer<TerminalOutputResponse> {
        let (client, clock) = (self.client.clone(), Arc::clone(&self.clock));
        let id = self.terminal.id.clone();
        async move {
            if after_ms > 0 {
                clock.sleep_until(clock.now().after(after_ms)).await;
            }
            client.ask(TerminalOutputRequest::new(client.session.clone(), id)).await
        }
        .boxed()
    }

    /// Takes what a look has found; what is new of it. A client that does not answer has lost the command.
    fn take(&mut self, seen: Result<TerminalOutputResponse, Unanswered>) -> String {
        let answer = match seen {
            Ok(answer) => answer,
            Err(error) => {
                self.ended = Some(Err(error.to_string()));
                self.stage = Stage::Done;
                self.terminal.give_up();
                return String::new();
            }
        };
        if let Some(status) = &answer.exit_status {
            self.ended = Some(Ok(exit(status)));
            self.stage = Stage::Ended;
        }
        if self.stage == Stage::Ended {
            self.stage = Stage::Done;
        }
        let is_long = answer.output.len() > OUTPUT_LONG;
        let new = self.screen.new_in(answer.output, answer.truncated);
        self.pause_ms = match (is_long, new.is_empty()) {
            (true, _) => PAUSE_MS.1,
            (false, true) => (self.pause_ms * 2).min(PAUSE_MS.1),
            (false, false) => PAUSE_MS.0,
        };
        new
    }

    async fn next(&mut self) -> Option<Bytes> {
        while self.stage != Stage::Done {
            let look = self.look(self.pause_ms);
            let looking = self.looking.get_or_insert(look);
            let next = tokio::select! {
                biased;
                exit = &mut self.exit, if self.stage == Stage::Running => Next::Exit(exit),
                seen = looking => Next::Seen(seen),
            };
            match next {
                Next::Exit(Ok(answer)) => self.end(Ok(exit(&answer.exit_status))),
                Next::Exit(Err(error)) => self.end(Err(error.to_string())),
                Next::Seen(seen) => {
                    self.looking = None;
                    let new = self.take(seen);
                    if !new.is_empty() {
                        return Some(new.into());
                    }
                }
            }
        }
        None
    }

    /// The end of the command by itself: what it said last is asked for, whatever was asked before.
    fn end(&mut self, how: Result<ShellExit, String>) {
        self.stage = Stage::Ended;
        self.ended = Some(how);
        self.looking = Some(self.look(0));
    }

    async fn killed(&mut self) {
        if self.stage != Stage::Running {
            return;
        }
        self.stage = Stage::Ended;
        let look = self.look(0);
        let look = tokio::time::timeout(LAST_WITHIN, look);
        self.looking = Some(look.map(|seen| seen.unwrap_or(Err(Unanswered::Silent))).boxed());
        // The keeper goes on asking when this has waited long enough.
        drop(tokio::time::timeout(KILL_WITHIN, self.terminal.kill()).await);
    }

    async fn exit(&mut self) -> Result<ShellExit, ShellError> {
        if self.ended.is_none() {
            let killed = self.stage != Stage::Running;
            let within = if killed { LAST_WITHIN } else { Duration::MAX };
            let ended = tokio::time::timeout(within, &mut self.exit).await;
            self.ended = Some(match ended {
                Ok(Ok(answer)) => Ok(exit(&answer.exit_status)),
                _ if killed => Ok(ShellExit::Signal(SIGKILL)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(Unanswered::Silent.to_string()),
            });
        }
        let words = match &self.ended {
            Some(Ok(exit)) => return Ok(*exit),
            Some(Err(words)) => words.clone(),
            None => Unanswered::Silent.to_string(),
        };
        Err(ShellError::Spawn { cwd: self.cwd.clone(), source: io::Error::other(words) })
    }
}

impl Process for ClientProcess {
    fn output(&mut self) -> BoxFuture<'_, Option<Bytes>> {
        self.next().boxed()
    }

    fn wait(&mut self) -> BoxFuture<'_, Result<ShellExit, ShellError>> {
        self.exit().boxed()
    }

    fn kill(&mut self) -> BoxFuture<'_, ()> {
        self.killed().boxed()
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        if self.stage == Stage::Running {
            self.terminal.give_up();
        }
    }
}

/// What comes first.
enum Next {
    Exit(Result<WaitForTerminalExitResponse, Unanswered>),
    Seen(Result<TerminalOutputResponse, Unanswered>),
}

/// Signals by the names and the words that clients have for them.
const SIGNALS: [(i32, &str, &str); 13] = [
    (1, "HUP", "Hangup"),
    (2, "INT", "Interrupt"),
    (3, "QUIT", "Quit"),
    (4, "ILL", "Illegal instruction"),
    (6, "ABRT", "Aborted"),
    (7, "BUS", "Bus error"),
    (8, "FPE", "Floating point exception"),
    (9, "KILL", "Killed"),
    (11, "SEGV", "Segmentation fault"),
    (13, "PIPE", "Broken pipe"),
    (14, "ALRM", "Alarm clock"),
    (15, "TERM", "Terminated"),
    (24, "XCPU", "CPU time limit exceeded"),
];

/// How a command ended, in the words of a client. One that tells nothing, or a signal of no known name, is told as the status -1.
fn exit(status: &TerminalExitStatus) -> ShellExit {
    let signal = status.signal.as_deref().and_then(|signal| {
        let name = signal.strip_prefix("SIG").unwrap_or(signal);
        let known = SIGNALS.iter().find(|(_, short, words)| *short == name || *words == signal);
        known.map(|(number, ..)| *number).or_else(|| signal.parse().ok())
    });
    match (signal, status.exit_code) {
        (Some(signal), _) => ShellExit::Signal(signal),
        (None, Some(code)) => ShellExit::Code(code.cast_signed()),
        (None, None) => ShellExit::Code(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_command_is_read_as_clients_tell_it() {
        let status = TerminalExitStatus::new;
        let cases = [
            (status().exit_code(0), ShellExit::Code(0)),
            (status().exit_code(7), ShellExit::Code(7)),
            (status().exit_code(u32::MAX), ShellExit::Code(-1)),
            (status().signal("SIGKILL".to_owned()), ShellExit::Signal(9)),
            (status().signal("TERM".to_owned()), ShellExit::Signal(15)),
            (status().exit_code(1).signal("Killed".to_owned()), ShellExit::Signal(9)),
            (status().signal("11".to_owned()), ShellExit::Signal(11)),
            (status().signal("SIGODD".to_owned()), ShellExit::Code(-1)),
            (status(), ShellExit::Code(-1)),
        ];
        for (told, expected) in cases {
            assert_eq!(exit(&told), expected, "{told:?}");
        }
    }
}
