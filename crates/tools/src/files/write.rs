//! Puts new content in the place of a file, whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use oarlock_core::ports::files::{Expect, FileError, FileStat};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::roots::{Missing, Roots, Slot, failed};

/// Held from the last look at a file until it is replaced, so that no two writers of this process both find what they expect. Another process can
/// still come between the two.
static PUBLISHING: Mutex<()> = Mutex::new(());

/// Writes beside the file, to the disk, and then takes its place. Links were followed by the walk, so that they stay; the mode is kept.
pub(super) fn replace(
    roots: &Roots,
    path: &Path,
    bytes: &[u8],
    expect: &Expect,
) -> Result<FileStat, FileError> {
    let missing = match expect {
        Expect::Unchanged(_) => Missing::Refuse,
        Expect::Anything | Expect::Absent => Missing::Make,
    };
    let slot = roots.slot(path, missing)?;
    let before = present(&slot, path)?;
    check(roots, path, expect, before.as_ref())?;
    let draft = Draft::new(&slot, before.as_ref()).map_err(|errno| failed(path, errno))?;
    draft.fill(bytes).map_err(|source| FileError::Io { path: path.to_owned(), source })?;
    let one_at_a_time = PUBLISHING.lock().unwrap_or_else(PoisonError::into_inner);
    check(roots, path, expect, present(&slot, path)?.as_ref())?;
    draft.publish(expect).map_err(|errno| match errno {
        Errno::EXIST => FileError::Conflict { path: path.to_owned() },
        errno => failed(path, errno),
    })?;
    drop(one_at_a_time);
    slot.sync().map_err(|errno| failed(path, errno))?;
    super::stat(&roots.find(path)?, path)
}

fn present(slot: &Slot, path: &Path) -> Result<Option<Stat>, FileError> {
    let stat = match rustix::fs::statat(&slot.folder, &slot.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed(path, errno)),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(Some(stat)),
        FileType::Directory => {
            Err(FileError::WrongKind { path: path.to_owned(), found: "a folder" })
        }
        // It was a file, a folder or nothing a moment ago.
        FileType::Symlink => Err(FileError::Conflict { path: path.to_owned() }),
        _ => Err(FileError::WrongKind { path: path.to_owned(), found: "a device, socket or pipe" }),
    }
}

fn check(
    roots: &Roots,
    path: &Path,
    expect: &Expect,
    present: Option<&Stat>,
) -> Result<(), FileError> {
    let as_expected = match (expect, present) {
        (Expect::Anything, _) => true,
        (Expect::Absent, present) => present.is_none(),
        (Expect::Unchanged(_), None) => false,
        (Expect::Unchanged(expected), Some(_)) => {
            super::stat(&roots.find(path)?, path)?.fingerprint == *expected
        }
    };
    if as_expected { Ok(()) } else { Err(FileError::Conflict { path: path.to_owned() }) }
}

/// A file beside the one that it is to replace; removed when it is dropped before that.
struct Draft<'a> {
    slot: &'a Slot,
    name: String,
    file: File,
    published: bool,
}

impl<'a> Draft<'a> {
    fn new(slot: &'a Slot, before: Option<&Stat>) -> Result<Self, Errno> {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let name = format!(".oarlock-{}-{number}.tmp", std::process::id());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Nobody may read the draft who may not read the file.
        let mode = if before.is_some() { Mode::from(0o600) } else { Mode::from(0o666) };
        let open = || rustix::fs::openat(&slot.folder, &name, flags, mode);
        let file = match open() {
            // Left by a process of the same number that was killed.
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(&slot.folder, &name, AtFlags::empty())?;
                open()?
            }
            opened => opened?,
        };
        let draft = Self { slot, name, file: file.into(), published: false };
        if let Some(before) = before {
            rustix::fs::fchmod(&draft.file, Mode::from_raw_mode(before.st_mode))?;
        }
        Ok(draft)
    }

    fn fill(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)?;
        self.file.sync_all()
    }

    fn publish(mut self, expect: &Expect) -> Result<(), Errno> {
        let (folder, target) = (self.slot.folder.as_fd(), &self.slot.name);
        match expect {
            Expect::Absent => {
                rustix::fs::renameat_with(
                    folder,
                    &self.name,
                    folder,
                    target,
                    RenameFlags::NOREPLACE,
                )?;
            }
            Expect::Anything | Expect::Unchanged(_) => {
                rustix::fs::renameat(folder, &self.name, folder, target)?;
            }
        }
        self.published = true;
        Ok(())
    }
}

impl Slot {
    /// Brings the folder's entry to the disk.
    fn sync(&self) -> Result<(), Errno> {
        // The folder was opened for walking only; this needs a descriptor for reading.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.folder, ".", flags, Mode::empty()) {
            Ok(readable) => rustix::fs::fsync(readable),
            // A folder that may be written and not read: the entry goes to the disk with the next sync.
            Err(Errno::ACCESS) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.published {
            // There is nobody left to tell, and a stale draft is replaced by the next one of its name.
            rustix::fs::unlinkat(&self.slot.folder, &self.name, AtFlags::empty()).ok();
        }
    }
}
