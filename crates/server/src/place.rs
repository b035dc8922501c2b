//! Folders that clients name: looked at off the runtime's threads, for so long and no longer.

use std::path::PathBuf;
use std::time::Duration;

/// What a folder may take to be looked at.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// Additional folders of a session; one more is refused.
pub(crate) const ROOTS_MAX: usize = 64;

/// Why a folder cannot be worked in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceError {
    /// It is not as it must be.
    #[error("{0}")]
    Invalid(String),
    /// It does not answer.
    #[error("{} does not answer", .0.display())]
    Silent(PathBuf),
}

/// A folder by its true name.
///
/// # Errors
/// [`PlaceError`] in words for whoever named it.
pub(crate) async fn folder(path: PathBuf) -> Result<PathBuf, PlaceError> {
    if !path.is_absolute() {
        return Err(PlaceError::Invalid(format!("{} is not an absolute path", path.display())));
    }
    let name = path.clone();
    let looked = tokio::task::spawn_blocking(move || match path.canonicalize() {
        Ok(found) if found.is_dir() => Ok(found),
        Ok(found) => Err(format!("{} is not a folder", found.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    });
    match tokio::time::timeout(LOOK_WITHIN, looked).await {
        Ok(looked) => {
            let found = looked.unwrap_or_else(|error| Err(error.to_string()));
            found.map_err(PlaceError::Invalid)
        }
        Err(_) => Err(PlaceError::Silent(name)),
    }
}

/// Folders by their true names, each once.
///
/// # Errors
/// [`PlaceError`], also when there are more than a session may have.
pub(crate) async fn folders(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, PlaceError> {
    if paths.len() > ROOTS_MAX {
        return Err(PlaceError::Invalid(format!(
            "a session has at most {ROOTS_MAX} additional directories"
        )));
    }
    let mut found = Vec::new();
    for path in paths {
        let path = folder(path).await?;
        if !found.contains(&path) {
            found.push(path);
        }
    }
    Ok(found)
}
