//! Which folders the user trusts: by their path and the content of their configuration, so that a changed one is asked about again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::stack::Standing;

/// The store may have this many bytes, some ten thousand folders.
const STORE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The store's file.
#[derive(Debug, Clone)]
pub struct TrustStore {
    path: PathBuf,
}

/// What the store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedFolders {
    /// Hash of the trusted configuration, by canonical folder.
    pub folders: BTreeMap<PathBuf, String>,
}

/// Why the store could not be used. Nothing is trusted then.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system said no.
    #[error("cannot {doing} the trust store {}: {source}", path.display())]
    Io {
        /// `read`, `lock` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Somebody else could have written it.
    #[error("the trust store {} can be written by others; run `chmod 600 {}`", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It is not what we wrote.
    #[error("the trust store {} is damaged: {source}; remove it and trust your folders again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        source: serde_json::Error,
    },
}

/// The hash of a folder's configuration files: contents and which is which.
#[must_use]
pub fn fingerprint(files: &[Option<String>]) -> String {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        match file {
            None => hasher.update(&[0]),
            Some(text) => hasher
                .update(&[1])
                .update(&(text.len() as u64).to_le_bytes())
                .update(text.as_bytes()),
        };
    }
    hasher.finalize().to_hex().to_string()
}

impl TrustStore {
    /// The store in this file, which need not exist.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, doing: &'static str) -> impl Fn(std::io::Error) -> TrustError {
        let path = self.path.clone();
        move |source| TrustError::Io { doing, path: path.clone(), source }
    }

    /// What is trusted; nothing when there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or can be written by others.
    pub fn read(&self) -> Result<TrustedFolders, TrustError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => {
                return Ok(TrustedFolders::default());
            }
            Err(source) => return Err(self.failed("read")(source)),
        };
        let mode = file.metadata().map_err(self.failed("read"))?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(TrustError::Exposed { path: self.path.clone() });
        }
        let mut text = String::new();
        file.take(STORE_BYTES_MAX).read_to_string(&mut text).map_err(self.failed("read"))?;
        serde_json::from_str(&text)
            .map_err(|source| TrustError::Damaged { path: self.path.clone(), source })
    }

    /// How a folder stands whose configuration has this fingerprint.
    ///
    /// # Errors
    /// Those of [`TrustStore::read`].
    pub fn standing(&self, folder: &Path, fingerprint: &str) -> Result<Standing, TrustError> {
        Ok(match self.read()?.folders.get(folder) {
            Some(trusted) if trusted == fingerprint => Standing::Trusted,
            Some(_) => Standing::Changed,
            None => Standing::Untrusted,
        })
    }

    /// Changes the store under a lock and writes it back whole; readers see the old or the new one.
    ///
    /// # Errors
    /// Those of [`TrustStore::read`], and when it cannot be written.
    pub fn update<T>(
        &self,
        change: impl FnOnce(&mut TrustedFolders) -> T,
    ) -> Result<T, TrustError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(self.failed("write"))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path.with_extension("lock"))
            .map_err(self.failed("lock"))?;
        lock.lock().map_err(self.failed("lock"))?;
        let mut trusted = self.read()?;
        let answer = change(&mut trusted);
        let text = serde_json::to_string_pretty(&trusted)
            .map_err(|source| TrustError::Damaged { path: self.path.clone(), source })?;
        write_private(&self.path, text.as_bytes()).map_err(self.failed("write"))?;
        Ok(answer)
    }
}

/// Writes a file of ours that nobody else may read, whole or not at all.
///
/// # Errors
/// The system's.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
