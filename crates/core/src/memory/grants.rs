//! Saved grants in memory: for tests, and for programs that keep nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, ready};

use crate::ports::policy::{Grants, GrantsError, joined};

/// Grants that last as long as this value.
#[derive(Debug, Default)]
pub struct MemoryGrants {
    folders: Mutex<HashMap<PathBuf, Vec<String>>>,
}

impl MemoryGrants {
    fn folders(&self) -> MutexGuard<'_, HashMap<PathBuf, Vec<String>>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grants for MemoryGrants {
    fn load<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, Result<Vec<String>, GrantsError>> {
        Box::pin(ready(Ok(self.folders().get(folder).cloned().unwrap_or_default())))
    }

    fn save<'a>(
        &'a self,
        folder: &'a Path,
        rules: &'a [String],
    ) -> BoxFuture<'a, Result<(), GrantsError>> {
        let mut folders = self.folders();
        let kept = folders.entry(folder.to_owned()).or_default();
        Box::pin(ready(joined(kept, rules).map(|all| *kept = all)))
    }

    fn forget<'a>(
        &'a self,
        folder: &'a Path,
        rules: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<String>, GrantsError>> {
        let mut folders = self.folders();
        let kept = folders.entry(folder.to_owned()).or_default();
        let (gone, left) = std::mem::take(kept).into_iter().partition(|rule| rules.contains(rule));
        *kept = left;
        Box::pin(ready(Ok(gone)))
    }
}
