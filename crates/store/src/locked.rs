//! Locks of files that processes exclude each other by: waited for a while, and no longer.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use oarlock_core::ports::journal::JournalError;

use crate::sqlite::unavailable_file;

/// How often a lock is tried for, [`PAUSE`] apart: 5 s in all.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until a lock is had, by `try_lock` or `try_lock_shared`, on this thread. Closing the file lets go of it.
///
/// # Errors
/// `Unavailable` when another process does not let go of it within 5 s: it is doing `what`.
pub(crate) fn wait_for(
    lock: &File,
    path: &Path,
    have: impl Fn(&File) -> Result<(), TryLockError>,
    what: &str,
) -> Result<(), JournalError> {
    for _ in 0..TRIES {
        match have(lock) {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(unavailable_file(path, &error)),
        }
    }
    let why = format!(
        "another process has been {what} for 5 s; end it and try again ({})",
        path.display()
    );
    Err(JournalError::Unavailable { why })
}
