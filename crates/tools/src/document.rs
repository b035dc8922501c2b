//! Text files as the writing tools see them: loaded with the fingerprint of what was loaded, their line endings, and one writer at a time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use oarlock_core::ports::files::{FileError, FileKind, Files, Fingerprint};
use oarlock_core::ports::tool::{ToolContext, ToolError};
use tokio::sync::OwnedMutexGuard;

/// The largest file that is written, in bytes.
pub(crate) const FILE_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Locks that are remembered before those nobody holds are forgotten.
const LOCKS_MAX: usize = 256;

/// A file's bytes, and what they were when they were read.
pub(crate) struct Document {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fingerprint: Fingerprint,
}

impl Document {
    /// Reads the file whole; `None` when there is none.
    pub(crate) async fn load(path: &Path, files: &dyn Files) -> Result<Option<Self>, FileError> {
        let stat = match files.stat(path).await {
            Err(FileError::NotFound { .. }) => return Ok(None),
            stat => stat?,
        };
        match stat.kind {
            FileKind::File => {}
            FileKind::Folder => {
                return Err(FileError::WrongKind { path: path.to_owned(), found: "a folder" });
            }
            FileKind::Other => {
                return Err(FileError::WrongKind {
                    path: path.to_owned(),
                    found: "a device, socket or pipe",
                });
            }
        }
        if stat.bytes > FILE_BYTES_MAX as u64 {
            return Err(FileError::WrongKind {
                path: path.to_owned(),
                found: "larger than 10 MiB",
            });
        }
        let bytes = files.read(path, 0, FILE_BYTES_MAX).await?.to_vec();
        Ok(Some(Self { bytes, fingerprint: stat.fingerprint }))
    }
}

/// How the lines of a text end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnd {
    Lf,
    Crlf,
}

impl LineEnd {
    /// How most lines of the text end; `None` when it has only one line.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let all = bytes.iter().filter(|byte| **byte == b'\n').count();
        let crlf = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
        match (all, crlf * 2 > all) {
            (0, _) => None,
            (_, true) => Some(Self::Crlf),
            (_, false) => Some(Self::Lf),
        }
    }

    /// The text with all its lines ending so.
    pub(crate) fn apply(self, text: &str) -> String {
        let lf = text.replace("\r\n", "\n");
        match self {
            Self::Lf => lf,
            Self::Crlf => lf.replace('\n', "\r\n"),
        }
    }
}

/// Lets one call at a time change a file. There is one for the whole process, as the files are the same for all its sessions.
#[derive(Debug, Default)]
pub(crate) struct PathLocks(Mutex<HashMap<PathBuf, Weak<tokio::sync::Mutex<()>>>>);

impl PathLocks {
    /// The locks of this process.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: LazyLock<Arc<PathLocks>> = LazyLock::new(Arc::default);
        Arc::clone(&SHARED)
    }

    /// Waits until no other call changes the file.
    pub(crate) async fn hold(
        &self,
        path: &Path,
        cx: &ToolContext,
    ) -> Result<OwnedMutexGuard<()>, ToolError> {
        let lock = self.lock_of(path);
        tokio::select! {
            biased;
            () = cx.cancel.cancelled() => Err(ToolError::Cancelled),
            guard = lock.lock_owned() => Ok(guard),
        }
    }

    fn lock_of(&self, path: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(path).and_then(Weak::upgrade) {
            return lock;
        }
        if locks.len() >= LOCKS_MAX {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::default();
        locks.insert(path.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

/// A failure of the files port in words for the model.
pub(crate) fn failed(error: &FileError) -> ToolError {
    ToolError::failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dominant_line_end_is_found_and_applied() {
        let cases: [(&[u8], Option<LineEnd>); 4] = [
            (b"a", None),
            (b"a\nb\n", Some(LineEnd::Lf)),
            (b"a\r\nb\r\nc\n", Some(LineEnd::Crlf)),
            (b"a\r\nb\n", Some(LineEnd::Lf)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(LineEnd::of(bytes), expected);
        }
        assert_eq!(LineEnd::Crlf.apply("a\nb\r\n"), "a\r\nb\r\n");
        assert_eq!(LineEnd::Lf.apply("a\r\nb\n"), "a\nb\n");
    }
}
