//! Keys: from the environment, from a file that nobody else can read, or from a command. Nothing else ever holds one. Which of several counts is decided here.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oarlock_models::{KeySource, WellKnown, catalog};
use secrecy::{ExposeSecret, SecretString};

use super::credentials::CredentialsError;
use super::{Config, ConfigError, Environment, Loaded, paths};
use crate::{google_credentials, key_command};

/// A key may have this many bytes.
pub const KEY_BYTES_MAX: u64 = 16 * 1024;

/// Where a provider's key was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// In this variable.
    Variable(String),
    /// In the file that the configuration names.
    File(PathBuf),
    /// This program prints it.
    Command(String),
    /// Stored by `oarlock login`, in this file.
    Stored(PathBuf),
}

impl std::fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "${name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Command(program) => write!(f, "the command `{program}`"),
            Self::Stored(path) => write!(f, "{}, by `oarlock login`", path.display()),
        }
    }
}

/// Why a key that was pointed at is not used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can be read or written by others.
    #[error("the key file {} is open to others (mode {mode:04o}); run `chmod 600 {}`", path.display(), path.display())]
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
    #[error("the key file {} {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
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
    /// The stored keys cannot be used.
    #[error(transparent)]
    Stored(std::sync::Arc<CredentialsError>),
    /// The file's folder cannot be told.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl SecretError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// The key of a provider: in its file if one is configured, else in the configured variable, else in the well-known one, else as it was
/// stored. `None` when it is nowhere.
///
/// # Errors
/// [`SecretError`] when a file is configured and cannot be used, or when the key would have to be a stored one and those cannot be used.
pub fn key(loaded: &Loaded, provider: &str) -> Result<Option<(KeySource, KeyPlace)>, SecretError> {
    let section = loaded.config.providers.get(provider);
    if let Some(file) = section.and_then(|section| section.api_key_file.as_ref()) {
        let path = paths::expand(&loaded.environment, file)?;
        let secret = read_key_file(&path)?;
        return Ok(Some((secret.into(), KeyPlace::File(path))));
    }
    if let Some(source) = key_command::source(loaded, provider)? {
        let argv = section.and_then(|section| section.api_key_command.as_ref());
        let program = argv.and_then(|argv| argv.first()).cloned().unwrap_or_default();
        return Ok(Some((source, KeyPlace::Command(program))));
    }
    let mut variables = variables(&loaded.config, provider).into_iter();
    if let Some((name, value)) = variables.find_map(|name| {
        let value = loaded.environment.text(&name)?.trim().to_owned();
        (!value.is_empty()).then_some((name, value))
    }) {
        return Ok(Some((value.into(), KeyPlace::Variable(name))));
    }
    let stored = loaded.stored.key(provider).map_err(SecretError::Stored)?;
    Ok(stored.map(|(key, path)| (key.into(), KeyPlace::Stored(path.to_owned()))))
}

/// The variables in which a provider's key is looked for, in order: the configured one, else the well-known ones.
#[must_use]
pub fn variables(config: &Config, provider: &str) -> Vec<String> {
    let section = config.providers.get(provider);
    if let Some(own) = section.and_then(|section| section.api_key_env.clone()) {
        return vec![own];
    }
    let known = catalog::find(provider).into_iter();
    known.flat_map(WellKnown::key_variables).map(str::to_owned).collect()
}

/// The first of [`variables`]: the one to tell whoever has no key.
#[must_use]
pub fn variable(config: &Config, provider: &str) -> Option<String> {
    variables(config, provider).into_iter().next()
}

/// Every file that may hold a key, there or not, and the folder whose files are tokens: no tool opens one, whatever folders its session has.
///
/// # Errors
/// When the folder of a configured one cannot be told.
pub(super) fn files(
    environment: &Environment,
    config: &Config,
) -> Result<Vec<PathBuf>, ConfigError> {
    let named = config.providers.values().filter_map(|section| section.api_key_file.as_deref());
    let named = named.map(|file| paths::expand(environment, file));
    // Without a home nothing is stored.
    let own = [paths::credentials(environment), paths::key_tokens(environment)];
    let own = own.into_iter().filter_map(Result::ok);
    own.chain(google_credentials::files(environment)).map(Ok).chain(named).collect()
}

fn read_key_file(path: &Path) -> Result<SecretString, SecretError> {
    let unusable = SecretError::Unusable {
        path: path.to_owned(),
        why: "does not hold one line of text; put the key on its only line",
    };
    let text = read_private(path, KEY_BYTES_MAX)?;
    let key = text.expose_secret().trim();
    if key.is_empty() || key.lines().count() != 1 {
        return Err(unusable);
    }
    Ok(SecretString::from(key))
}

/// Reads a file that nobody else may read or write, checking the opened file rather than its name.
///
/// # Errors
/// [`SecretError`], `Unusable` when it is no text, no regular file, or longer than `bytes_max`.
pub(crate) fn read_private(path: &Path, bytes_max: u64) -> Result<SecretString, SecretError> {
    let failed = |source| SecretError::Io { path: path.to_owned(), source };
    let unusable = |why| SecretError::Unusable { path: path.to_owned(), why };
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(unusable("is not a regular file; put one in its place"));
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
    file.take(bytes_max + 1)
        .read_to_string(&mut text)
        .map_err(|_| unusable("is not readable text; write it in UTF-8"))?;
    if text.len() as u64 > bytes_max {
        return Err(unusable("is longer than any key file; shorten it"));
    }
    Ok(SecretString::from(text))
}
