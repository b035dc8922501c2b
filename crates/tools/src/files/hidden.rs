//! Files that lie in a session's folders and that no tool opens all the same, such as one that holds keys; or folders of such files.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oarlock_core::ports::files::FileError;

use super::roots::Found;

/// Files of a hidden folder that are told from others by what they are rather than by their path.
const FILES_MAX: usize = 1024;

/// The files and folders, each by the real path of its folder. None has to exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hidden(Arc<[PathBuf]>);

impl Hidden {
    pub(crate) fn of(files: &[PathBuf]) -> Self {
        Self(files.iter().map(|file| by_real_folder(file)).collect())
    }

    /// Refuses what was found when it is one of them, under whatever name.
    pub(super) fn check(&self, found: &Found, given: &Path) -> Result<(), FileError> {
        self.check_path(found.path(), given)?;
        if self.0.is_empty() {
            return Ok(());
        }
        let which = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let io = |source| FileError::Io { path: given.to_owned(), source };
        let this = which(found.metadata().map_err(io)?);
        let is_it = |file: &Path| std::fs::metadata(file).is_ok_and(|meta| which(meta) == this);
        let is_in = |folder: &Path| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().take(FILES_MAX);
            entries.flatten().any(|entry| is_it(&entry.path()))
        };
        match self.0.iter().any(|hidden| is_it(hidden) || is_in(hidden)) {
            true => Err(refusal(given)),
            false => Ok(()),
        }
    }

    /// Refuses a real path when it is that of one of them, or lies below it.
    pub(super) fn check_path(&self, real: &Path, given: &Path) -> Result<(), FileError> {
        if self.0.iter().any(|hidden| real.starts_with(hidden)) {
            return Err(refusal(given));
        }
        Ok(())
    }
}

fn by_real_folder(file: &Path) -> PathBuf {
    let real = |folder: &Path| {
        let below = file.strip_prefix(folder).ok()?;
        Some(folder.canonicalize().ok()?.join(below))
    };
    // The folder itself need not exist.
    file.ancestors().skip(1).find_map(real).unwrap_or_else(|| file.to_owned())
}

fn refusal(given: &Path) -> FileError {
    let words = "it holds keys, and no tool opens it";
    let source = io::Error::new(io::ErrorKind::PermissionDenied, words);
    FileError::Io { path: given.to_owned(), source }
}
