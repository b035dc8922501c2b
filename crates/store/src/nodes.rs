//! Which processes live: each holds an operating system's lock on a file of its own, which ends with it however it ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oarlock_core::ids::NodeId;
use oarlock_core::ports::journal::JournalError;

use crate::sqlite::{make_private, unavailable_file};

/// How often a node tries to lock its file, 10 ms apart, while a sweep of another process has it.
const LOCK_TRIES: u32 = 50;
/// Files of dead nodes that one process removes.
const SWEEP_MAX: usize = 64;

/// The folder of lock files, and this process's own.
pub(crate) struct Nodes {
    folder: PathBuf,
    node: NodeId,
    own: Mutex<Option<File>>,
}

impl Nodes {
    pub(crate) fn new(folder: &Path, node: NodeId) -> Self {
        Self { folder: folder.join("nodes"), node, own: Mutex::default() }
    }

    /// Makes this process visible as living, once.
    pub(crate) fn hold(&self) -> Result<(), JournalError> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.is_none() {
            make_private(&self.folder)?;
            *own = Some(self.lock_own()?);
            self.sweep();
        }
        Ok(())
    }

    /// Ends what [`Nodes::hold`] began.
    pub(crate) fn let_go(&self) {
        if let Some(file) = self.own.lock().unwrap_or_else(PoisonError::into_inner).take() {
            remove(&self.path(self.node.as_str()));
            drop(file);
        }
    }

    /// The process of a node in words, if it lives.
    pub(crate) fn living(&self, node: &str) -> Result<Option<String>, JournalError> {
        let path = self.path(node);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unavailable_file(&path, &error)),
        };
        // A shared lock, so that two that ask do not take each other for the owner.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::Error(error)) => Err(unavailable_file(&path, &error)),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let known = (&file).take(20).read_to_string(&mut pid).is_ok();
                let pid = if known && !pid.is_empty() { pid.trim_end() } else { "unknown" };
                Ok(Some(format!("process {pid}, node {node}")))
            }
        }
    }

    fn path(&self, node: &str) -> PathBuf {
        self.folder.join(format!("{node}.lock"))
    }

    fn lock_own(&self) -> Result<File, JournalError> {
        let path = self.path(self.node.as_str());
        let fail = |error: std::io::Error| unavailable_file(&path, &error);
        for _ in 0..LOCK_TRIES {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(fail)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    file.set_len(0).map_err(fail)?;
                    writeln!(file, "{}", std::process::id()).map_err(fail)?;
                    return Ok(file);
                }
                Err(TryLockError::Error(error)) => return Err(fail(error)),
                // A sweep had the file before it was locked, or has removed it.
                Ok(()) | Err(TryLockError::WouldBlock) => {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
        let why = format!("{}: another process uses this node's name", path.display());
        Err(JournalError::Unavailable { why })
    }

    /// Removes files of the dead. What cannot be removed is left to the next process.
    fn sweep(&self) {
        let Ok(files) = fs::read_dir(&self.folder) else { return };
        for path in files.flatten().map(|file| file.path()).take(SWEEP_MAX) {
            if path == self.path(self.node.as_str()) {
                continue;
            }
            let Ok(file) = File::open(&path) else { continue };
            if file.try_lock().is_ok() && is_at(&file, &path) {
                remove(&path);
            }
        }
    }
}

/// Whether `path` still names this very file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(file), Ok(named)) => (file.dev(), file.ino()) == (named.dev(), named.ino()),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "a lock file stays behind");
    }
}
