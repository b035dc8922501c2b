//! Finds all processes of a command by their marks, and ends them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Time that processes have to follow the polite signal.
const GRACE_MS: u64 = 120;
const PAUSE_MS: u64 = 4;
/// Rounds of looking and killing. Each finds what the one before saw too late; a fork bomb is outrun long before.
const ROUNDS: u32 = 250;

/// Bit of the flags in `/proc/…/stat` that threads of the kernel have, `PF_KTHREAD`.
const KERNEL_FLAG: u32 = 0x0020_0000;

/// Looks in a row that must find nothing.
const QUIET_LOOKS: u32 = 2;

/// How processes are ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Force {
    /// At once.
    Kill,
    /// Asked first.
    TermThenKill,
}

/// Which processes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// All of the machine.
    All,
    /// Those with a higher number than the shell, which all that it started have for a while.
    Younger,
}

/// What the processes of one command have in common.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    /// The shell's process group, which is the shell's own number.
    group: Option<Pid>,
    /// When the shell was started; what is older is not the command's.
    since: u64,
    variable: Vec<u8>,
    pipe: Vec<u8>,
}

/// One process, told from a later one of the same number by its time of start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    id: i32,
    started: u64,
}

/// What `/proc/…/stat` says.
struct Stat {
    found: Found,
    parent: i32,
    group: i32,
    session: i32,
    /// Of the kernel itself.
    is_kernel: bool,
    alive: bool,
}

impl Mark {
    pub(super) fn new(variable: String, pipe_inode: u64) -> Self {
        let mut variable = variable.into_bytes();
        variable.push(b'=');
        let pipe = format!("pipe:[{pipe_inode}]").into_bytes();
        Self { group: None, since: 0, variable, pipe }
    }

    /// Takes note of the shell.
    pub(super) fn shell(&mut self, id: Option<u32>) {
        let id = id.and_then(|id| i32::try_from(id).ok());
        self.group = id.and_then(Pid::from_raw);
        self.since = id.and_then(stat).map_or(0, |stat| stat.found.started);
    }

    /// Ends all processes of the command. Says whether none is left; blocks for 1.2 seconds at most, and normally for less than one millisecond.
    pub(super) fn end(&self, force: Force, reach: Reach) -> bool {
        let mut known = BTreeSet::new();
        if force == Force::TermThenKill {
            known = self.find(Reach::All);
            known.iter().for_each(|found| signal(*found, Signal::TERM));
            for _ in 0..GRACE_MS / PAUSE_MS {
                known.retain(|found| is_alive(*found));
                if known.is_empty() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(PAUSE_MS));
            }
        }
        let mut quiet = 0;
        for round in 0..ROUNDS {
            let found = self.find(if round == quiet { reach } else { Reach::All });
            known.extend(&found);
            known.retain(|found| is_alive(*found));
            // A process can start another behind the look and be gone before it is seen itself, so one look is not enough, and neither
            // is one that saw something which has ended since.
            quiet = if found.is_empty() && known.is_empty() { quiet + 1 } else { 0 };
            if quiet == QUIET_LOOKS {
                return true;
            }
            known.iter().for_each(|found| signal(*found, Signal::KILL));
            if round > 3 {
                std::thread::sleep(Duration::from_millis(PAUSE_MS));
            }
        }
        false
    }

    fn find(&self, reach: Reach) -> BTreeSet<Found> {
        let group = self.group.map_or(0, |group| group.as_raw_nonzero().get());
        let lowest = match reach {
            Reach::Younger => group,
            Reach::All => 1,
        };
        let own = std::process::id().cast_signed();
        let seen: Vec<Stat> =
            numbers().filter(|id| *id >= lowest && *id != own).filter_map(stat).collect();
        let mut found: BTreeSet<Found> = seen
            .iter()
            .filter(|stat| stat.alive && !stat.is_kernel && stat.found.started >= self.since)
            .filter(|stat| self.is_on(stat, group))
            .map(|stat| stat.found)
            .collect();
        loop {
            let parents: BTreeSet<i32> = found.iter().map(|found| found.id).collect();
            let before = found.len();
            found.extend(
                seen.iter()
                    .filter(|stat| stat.alive && parents.contains(&stat.parent))
                    .map(|stat| stat.found),
            );
            if found.len() == before {
                return found;
            }
        }
    }

    fn is_on(&self, stat: &Stat, group: i32) -> bool {
        (group > 0 && (stat.group == group || stat.session == group))
            || self.is_in_environment(stat.found.id)
            || self.holds_pipe(stat)
    }

    fn is_in_environment(&self, id: i32) -> bool {
        fs::read(format!("/proc/{id}/environ")).is_ok_and(|environ| {
            environ.split(|byte| *byte == 0).any(|entry| entry.starts_with(&self.variable))
        })
    }

    /// Whether the process can write to the command's pipe. A child of ours that has not yet become another program has a copy of all our
    /// descriptors for a moment, and is not meant.
    fn holds_pipe(&self, stat: &Stat) -> bool {
        let id = stat.found.id;
        let Ok(descriptors) = fs::read_dir(format!("/proc/{id}/fd")) else { return false };
        let holds = descriptors.flatten().map(|entry| entry.path()).any(|path| {
            fs::read_link(&path).is_ok_and(|target| target.as_os_str().as_bytes() == self.pipe)
                && path.symlink_metadata().is_ok_and(|link| link.permissions().mode() & 0o200 != 0)
        });
        holds
            && !(stat.parent == std::process::id().cast_signed()
                && program(id) == program(stat.parent))
    }
}

fn program(id: i32) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{id}/exe")).ok()
}

fn numbers() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn stat(id: i32) -> Option<Stat> {
    let text = fs::read(format!("/proc/{id}/stat")).ok()?;
    // The name is in brackets and may itself hold brackets and blanks.
    let after = text.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&str> =
        std::str::from_utf8(&text[after + 1..]).ok()?.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse().ok();
    Some(Stat {
        found: Found { id, started: fields.get(19)?.parse().ok()? },
        parent: number(1)?,
        group: number(2)?,
        session: number(3)?,
        is_kernel: fields.get(6)?.parse::<u32>().ok()? & KERNEL_FLAG != 0,
        alive: !matches!(*fields.first()?, "Z" | "X"),
    })
}

fn is_alive(found: Found) -> bool {
    stat(found.id).is_some_and(|stat| stat.alive && stat.found == found)
}

fn signal(found: Found, signal: Signal) {
    let Some(process) = Pid::from_raw(found.id) else { return };
    let Ok(process) = pidfd_open(process, PidfdFlags::empty()) else { return };
    // Looked at again now that the descriptor holds the number, so that no other process can be hit.
    if is_alive(found) {
        // Fails only when it has just ended, or is not ours to end: then the next look finds it and the rounds run out.
        pidfd_send_signal(process, signal).ok();
    }
}
