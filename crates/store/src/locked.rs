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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_lock_is_tried_for_until_it_is_had_and_not_for_ever() {
        let file = tempfile::tempfile().unwrap();
        let wait = |free_after: u32| {
            let tries = Cell::new(0);
            let have = |_: &File| {
                tries.set(tries.get() + 1);
                if tries.get() > free_after { Ok(()) } else { Err(TryLockError::WouldBlock) }
            };
            (wait_for(&file, Path::new("here"), have, "tidying up"), tries.get())
        };
        let (had, tries) = wait(2);
        assert!(had.is_ok() && tries == 3, "{had:?} after {tries}");
        let (had, tries) = wait(u32::MAX);
        assert_eq!(tries, TRIES);
        assert!(had.unwrap_err().to_string().contains("another process has been tidying up"));
    }
}
