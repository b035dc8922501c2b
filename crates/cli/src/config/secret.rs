//! Keys: from the environment, or from a file that nobody else can read. Nothing else ever holds one.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::given::Environment;
use super::paths;
use super::typed::ProviderSection;

/// A key may have this many bytes.
const KEY_BYTES_MAX: u64 = 16 * 1024;

/// Where a provider's key was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// In this variable.
    Variable(String),
    /// In this file.
    File(PathBuf),
}

impl std::fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "${name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why a key that was pointed at is not used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can be read by others.
    #[error("the key file {} can be read by others (mode {mode:04o}); run `chmod 600 {}`", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is somebody else's.
    #[error("the key file {} belongs to another user; copy the key into a file of your own", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no key.
    #[error("the key file {} {why}; put the key on its only line", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system said no.
    #[error("cannot read the key file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The file's folder cannot be told.
    #[error(transparent)]
    Config(#[from] super::ConfigError),
}

/// The key of a provider: its file if one is configured, else the configured variable, else the well-known one. `None` when the variable
/// is not set.
///
/// # Errors
/// [`SecretError`] when a file is configured and cannot be used.
pub fn key(
    environment: &Environment,
    section: &ProviderSection,
    well_known_variable: Option<&str>,
) -> Result<Option<(SecretString, KeyPlace)>, SecretError> {
    if let Some(file) = &section.api_key_file {
        let path = paths::expand(environment, file)?;
        let secret = read_key_file(&path)?;
        return Ok(Some((secret, KeyPlace::File(path))));
    }
    let variable = section.api_key_env.as_deref().or(well_known_variable);
    Ok(variable.and_then(|name| {
        let value = environment.text(name)?.trim();
        (!value.is_empty())
            .then(|| (SecretString::from(value), KeyPlace::Variable(name.to_owned())))
    }))
}

/// Reads a key file, checking the opened file rather than its name.
fn read_key_file(path: &Path) -> Result<SecretString, SecretError> {
    let failed = |source| SecretError::Io { path: path.to_owned(), source };
    let unusable = |why| SecretError::Unusable { path: path.to_owned(), why };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(unusable("is not a regular file"));
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(SecretError::Foreign { path: path.to_owned() });
    }
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(KEY_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|_| unusable("is not readable text"))?;
    let key = text.trim();
    if key.is_empty() || text.len() as u64 > KEY_BYTES_MAX || key.lines().count() != 1 {
        return Err(unusable("does not hold one line of text"));
    }
    Ok(SecretString::from(key))
}
