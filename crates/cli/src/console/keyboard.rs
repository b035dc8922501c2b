//! What comes from a person: lines of stdin, read only when they are wanted, and interrupts.

use std::io::BufRead;
use std::sync::OnceLock;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::exit::Exit;
use crate::key_command;

/// Lines that were typed ahead; stdin is not read further when they are that many.
const LINES_MAX: usize = 16;
/// What a shell adds to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

/// The keyboard, or whatever stdin is.
#[derive(Debug)]
pub struct Keyboard {
    pub(super) lines: Lines,
    pub(super) interrupts: Interrupts,
}

/// What stdin says, a line at a time.
#[derive(Debug)]
pub(super) struct Lines {
    role: Role,
    typed: Option<mpsc::Receiver<String>>,
    ended: bool,
}

/// SIGINT, SIGTERM and SIGHUP.
#[derive(Debug)]
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    /// `None` under `nohup`, which asks to outlive the terminal.
    hang_up: Option<Signal>,
}

/// What stdin is to the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing: nobody answers.
    Nobody,
    /// A person who answers questions.
    Person,
    /// A source of prompts, and answers when it is a person.
    Chat {
        /// Whether it is a person.
        person: bool,
    },
}

impl Keyboard {
    /// Catches SIGINT, SIGTERM and, unless it was ignored from the start, SIGHUP. Stdin is not touched until a line is wanted.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub fn new(role: Role) -> std::io::Result<Self> {
        let interrupts = Interrupts::new()?;
        Ok(Self { lines: Lines { role, typed: None, ended: false }, interrupts })
    }
}

impl Lines {
    pub(super) fn are_of_a_person(&self) -> bool {
        matches!(self.role, Role::Person | Role::Chat { person: true })
    }

    /// Whether a line is wanted even when there is no question.
    pub(super) fn are_always_wanted(&self) -> bool {
        matches!(self.role, Role::Chat { .. }) && !self.ended
    }

    /// The next line; `None` at the end of input. Dropping the future loses none. The thread that reads ends with the process.
    pub(super) async fn next(&mut self) -> Option<String> {
        let typed = self.typed.get_or_insert_with(|| {
            let (typed, lines) = mpsc::channel(LINES_MAX);
            std::thread::spawn(move || read_lines(&typed));
            lines
        });
        let line = typed.recv().await;
        self.ended |= line.is_none();
        line
    }
}

/// Reads until the end of input, or until nobody wants more.
fn read_lines(typed: &mpsc::Sender<String>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        if typed.blocking_send(line).is_err() {
            return;
        }
    }
}

impl Interrupts {
    fn new() -> std::io::Result<Self> {
        let hang_up = match hang_up_is_ignored() {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up,
        })
    }

    /// The next interrupt, and which it is. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            () = async {
                match &mut self.hang_up {
                    Some(hang_up) => drop(hang_up.recv().await),
                    None => std::future::pending().await,
                }
            } => SignalKind::hangup(),
        }
    }
}

/// From the first call on, SIGINT, SIGTERM and, unless it was ignored from the start, SIGHUP end the program with the code that a shell gives to such an
/// end, and with it the commands that run for keys. Not for what has a [`Keyboard`].
///
/// # Errors
/// When the signals cannot be caught.
pub(crate) fn leave_when_interrupted() -> std::io::Result<()> {
    static WATCHED: OnceLock<()> = OnceLock::new();
    if WATCHED.get().is_some() {
        return Ok(());
    }
    let (ready, caught) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let watching = async {
            let mut interrupts = Interrupts::new()?;
            // Who waits for it is there.
            drop(ready.send(Ok(())));
            Ok(interrupts.next().await)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime.and_then(|runtime| runtime.block_on(watching)) {
            Ok(signal) => leave(SIGNALLED + signal.as_raw_value()),
            Err(error) => drop(ready.send(Err(error))),
        }
    });
    caught.recv().map_err(std::io::Error::other)??;
    WATCHED.get_or_init(|| ());
    Ok(())
}

/// Whether this process ignores SIGHUP. Linux alone tells it without unsafe code; elsewhere the answer is no.
fn hang_up_is_ignored() -> bool {
    const HANG_UP_BIT: u64 = 1;
    static IGNORED: OnceLock<bool> = OnceLock::new();
    *IGNORED.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & HANG_UP_BIT != 0)
    })
}

/// Ends the program without waiting for anything. The journal is whole up to the last commit; the turn is recovered when it is resumed.
pub(super) fn leave_at_once() -> ! {
    leave(i32::from(Exit::Cancelled as u8))
}

#[expect(clippy::exit, reason = "an interrupt that is not waited for means at once")]
fn leave(code: i32) -> ! {
    key_command::end_all();
    std::process::exit(code)
}
