//! Saved grants in a file of the data directory, by folder. Ours alone (0600), replaced whole, changed under a lock.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use oarlock_core::ports::policy::{Grants, GrantsError, joined};
use serde::{Deserialize, Serialize};

use crate::config::private;
use crate::config::trust::write_private;

/// The file may have this many bytes; a longer one is refused, and nothing is saved that would make it longer.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The file.
#[derive(Debug, Clone)]
pub struct FileGrants {
    path: PathBuf,
}

/// What it holds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Folders {
    #[serde(default)]
    folders: BTreeMap<PathBuf, Folder>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Folder {
    grants: Vec<String>,
}

impl FileGrants {
    /// The grants in this data directory, which need not exist.
    #[must_use]
    pub fn within(data_dir: &Path) -> Self {
        Self { path: data_dir.join("grants.toml") }
    }

    fn failed(&self, doing: &str) -> impl Fn(std::io::Error) -> GrantsError {
        let words = format!("cannot {doing} {}", self.path.display());
        move |error| GrantsError::Unavailable { why: format!("{words}: {error}") }
    }

    fn read(&self) -> Result<Folders, GrantsError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(gone) if gone.kind() == ErrorKind::NotFound => return Ok(Folders::default()),
            Err(error) => return Err(self.failed("read")(error)),
        };
        let unusable = |why: String| GrantsError::Unavailable { why };
        let rights = file.metadata().map_err(self.failed("read"))?.permissions().mode();
        if rights & 0o022 != 0 {
            let path = self.path.display();
            return Err(unusable(format!(
                "{path} can be written by others; run `chmod 600 {path}`"
            )));
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(self.failed("read"))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            let path = self.path.display();
            return Err(unusable(format!(
                "{path} is longer than {FILE_BYTES_MAX} bytes; shorten or remove it"
            )));
        }
        toml::from_str(&text).map_err(|error| {
            let path = self.path.display();
            unusable(format!("{path} is damaged: {}; mend or remove it", error.message()))
        })
    }

    /// Changes the grants of a folder under the lock. Other processes see the old file or the changed one.
    fn change<T>(
        &self,
        folder: &Path,
        change: impl FnOnce(&mut Vec<String>) -> Result<T, GrantsError>,
    ) -> Result<T, GrantsError> {
        private::make_folder_of(&self.path).map_err(self.failed("write"))?;
        let _lock = private::lock(&self.path).map_err(self.failed("lock"))?;
        let mut all = self.read()?;
        let entry = all.folders.entry(folder.to_owned()).or_default();
        let before = entry.grants.clone();
        let answer = change(&mut entry.grants)?;
        if entry.grants == before {
            return Ok(answer);
        }
        all.folders.retain(|_, folder| !folder.grants.is_empty());
        let text = toml::to_string(&all).map_err(|error| GrantsError::Unavailable {
            why: format!("{} cannot be named in TOML: {error}", folder.display()),
        })?;
        if text.len() as u64 > FILE_BYTES_MAX {
            let why = format!(
                "{} would be longer than {FILE_BYTES_MAX} bytes; forget some with `oarlock policy forget`",
                self.path.display()
            );
            return Err(GrantsError::Unavailable { why });
        }
        write_private(&self.path, text.as_bytes()).map_err(self.failed("write"))?;
        Ok(answer)
    }

    /// Runs `work` on a thread that may wait.
    fn aside<T: Send + 'static>(
        &self,
        folder: &Path,
        work: impl FnOnce(&Self, &Path) -> Result<T, GrantsError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, GrantsError>> {
        let (file, folder) = (self.clone(), folder.to_owned());
        let done = tokio::task::spawn_blocking(move || work(&file, &folder));
        Box::pin(async move {
            done.await.unwrap_or_else(|error| {
                Err(GrantsError::Unavailable { why: format!("their thread ended: {error}") })
            })
        })
    }
}

impl Grants for FileGrants {
    fn load<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, Result<Vec<String>, GrantsError>> {
        self.aside(folder, |file, folder| {
            Ok(file.read()?.folders.remove(folder).unwrap_or_default().grants)
        })
    }

    fn save<'a>(
        &'a self,
        folder: &'a Path,
        rules: &'a [String],
    ) -> BoxFuture<'a, Result<(), GrantsError>> {
        let rules = rules.to_vec();
        self.aside(folder, move |file, folder| {
            file.change(folder, |kept| {
                *kept = joined(kept, &rules)?;
                Ok(())
            })
        })
    }

    fn forget<'a>(
        &'a self,
        folder: &'a Path,
        rules: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<String>, GrantsError>> {
        let rules = rules.to_vec();
        self.aside(folder, move |file, folder| {
            file.change(folder, |kept| {
                let (gone, left) =
                    std::mem::take(kept).into_iter().partition(|rule| rules.contains(rule));
                *kept = left;
                Ok(gone)
            })
        })
    }
}
