//! Finds all processes of a command by their marks, and ends them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
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

    /// Looks for the command's processes, together with all others who are about to look.
    fn find(&self, reach: Reach) -> BTreeSet<Found> {
        static WAITING: Mutex<Vec<Look>> = Mutex::new(Vec::new());
        static LOOKING: Mutex<()> = Mutex::new(());
        let (tell, told) = mpsc::sync_channel(1);
        lock(&WAITING).push(Look { mark: self.clone(), reach, tell });
        let looking = lock(&LOOKING);
        // Whoever looked last may have looked for this mark as well, and began after it was put there.
        if let Ok(found) = told.try_recv() {
            return found;
        }
        let looks = std::mem::take(&mut *lock(&WAITING));
        for (look, found) in looks.iter().zip(look(&looks)) {
            // Each is told once and holds its place until then.
            look.tell.try_send(found).ok();
        }
        drop(looking);
        // Nothing is told when somebody panicked in a look that was for this mark, too.
        told.try_recv().unwrap_or_else(|_| self.find_alone(reach))
    }

    fn find_alone(&self, reach: Reach) -> BTreeSet<Found> {
        let (tell, _) = mpsc::sync_channel(1);
        look(&[Look { mark: self.clone(), reach, tell }]).pop().unwrap_or_default()
    }

    /// The least number that is looked at.
    fn lowest(&self, reach: Reach) -> i32 {
        match reach {
            Reach::Younger => self.group(),
            Reach::All => 1,
        }
    }

    fn group(&self) -> i32 {
        self.group.map_or(0, |group| group.as_raw_nonzero().get())
    }

    fn is_on(&self, stat: &Stat, traces: &Traces) -> bool {
        let group = self.group();
        (group > 0 && (stat.group == group || stat.session == group))
            || traces.environment.split(|byte| *byte == 0).any(|it| it.starts_with(&self.variable))
            || traces.pipes.contains(&self.pipe)
    }
}

/// What a process shows of the command that it belongs to.
struct Traces {
    environment: Vec<u8>,
    /// Names of the pipes that it can write to.
    pipes: Vec<Vec<u8>>,
}

/// A look for the processes of one command.
struct Look {
    mark: Mark,
    reach: Reach,
    tell: mpsc::SyncSender<BTreeSet<Found>>,
}

/// One look at the machine for all commands: when many end at a time, each process is read once for them all.
fn look(looks: &[Look]) -> Vec<BTreeSet<Found>> {
    let lowest = looks.iter().map(|look| look.mark.lowest(look.reach)).min().unwrap_or_default();
    let since = looks.iter().map(|look| look.mark.since).min().unwrap_or_default();
    let own = std::process::id().cast_signed();
    let seen: Vec<Stat> =
        numbers().filter(|id| *id >= lowest && *id != own).filter_map(stat).collect();
    let mut found = vec![BTreeSet::new(); looks.len()];
    for stat in seen.iter().filter(|it| it.alive && !it.is_kernel && it.found.started >= since) {
        let traces = Traces::of(stat);
        for (look, found) in looks.iter().zip(&mut found) {
            let is_seen = stat.found.id >= look.mark.lowest(look.reach)
                && stat.found.started >= look.mark.since;
            if is_seen && look.mark.is_on(stat, &traces) {
                found.insert(stat.found);
            }
        }
    }
    for (look, found) in looks.iter().zip(&mut found) {
        let lowest = look.mark.lowest(look.reach);
        add_descendants(found, &seen.iter().filter(|stat| stat.alive && stat.found.id >= lowest));
    }
    found
}

fn add_descendants<'a>(
    found: &mut BTreeSet<Found>,
    living: &(impl Iterator<Item = &'a Stat> + Clone),
) {
    while !found.is_empty() {
        let parents: BTreeSet<i32> = found.iter().map(|found| found.id).collect();
        let before = found.len();
        let children = living.clone().filter(|stat| parents.contains(&stat.parent));
        found.extend(children.map(|stat| stat.found));
        if found.len() == before {
            return;
        }
    }
}

impl Traces {
    fn of(stat: &Stat) -> Self {
        let environment = fs::read(format!("/proc/{}/environ", stat.found.id)).unwrap_or_default();
        Self { environment, pipes: pipes(stat) }
    }
}

/// The pipes that a process can write to. A child of ours that has not yet become another program has a copy of all our descriptors for a
/// moment, and is not meant.
fn pipes(stat: &Stat) -> Vec<Vec<u8>> {
    let id = stat.found.id;
    let Ok(descriptors) = fs::read_dir(format!("/proc/{id}/fd")) else { return Vec::new() };
    let mut pipes = Vec::new();
    for path in descriptors.flatten().map(|entry| entry.path()) {
        let Ok(target) = fs::read_link(&path) else { continue };
        let target = target.into_os_string().into_vec();
        let is_writable =
            || path.symlink_metadata().is_ok_and(|link| link.permissions().mode() & 0o200 != 0);
        if target.starts_with(b"pipe:") && is_writable() {
            pipes.push(target);
        }
    }
    let is_ours = stat.parent == std::process::id().cast_signed();
    if !pipes.is_empty() && is_ours && program(id) == program(stat.parent) {
        pipes.clear();
    }
    pipes
}

/// Takes the lock; a list of looks is whole whoever panicked beside it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_for_several_commands_finds_the_processes_of_each_and_no_others() {
        let begin = |name: &str| {
            let mut sleep = std::process::Command::new("sleep");
            sleep.arg("7003").env(format!("{name}_{}", std::process::id()), "").spawn().unwrap()
        };
        let mark = |name: &str| Mark::new(format!("{name}_{}", std::process::id()), 0);
        let mut children = ["SWEEP_A", "SWEEP_B", "SWEEP_C"].map(begin);
        let marks = ["SWEEP_A", "SWEEP_B", "SWEEP_NONE"].map(mark);
        let looks =
            marks.map(|mark| Look { mark, reach: Reach::All, tell: mpsc::sync_channel(1).0 });
        let found = look(&looks);
        for child in &mut children {
            child.kill().and_then(|()| child.wait()).unwrap();
        }
        let ids = found.iter().map(|found| found.iter().map(|it| it.id).collect::<Vec<_>>());
        let id = |child: usize| children[child].id().cast_signed();
        assert_eq!(ids.collect::<Vec<_>>(), [vec![id(0)], vec![id(1)], vec![]]);
    }
}
