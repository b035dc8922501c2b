//! Files of ours that nobody else may change: their lock, and the folder that is made for them.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// How often the lock is tried, and the pause between two tries: shorter together than a session waits for saving.
const LOCK_TRIES: u32 = 150;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Makes the folder of a file, for us alone where it is not there yet.
///
/// # Errors
/// The system's.
pub fn make_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The lock beside a file, for whoever changes it; dropping it lets go. Waits 1.5 s at most, blocking the thread.
///
/// # Errors
/// The system's; `WouldBlock` when another process kept it that long.
pub fn lock(path: &Path) -> io::Result<File> {
    for _ in 0..LOCK_TRIES {
        match try_lock(path)? {
            Some(file) => return Ok(file),
            None => std::thread::sleep(LOCK_PAUSE),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "another process holds the lock"))
}

/// The same without waiting: nothing when somebody has it.
///
/// # Errors
/// The system's.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let path = path.with_extension("lock");
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
