//! The file in which the processes of a person find the token that one of them got: ours alone (0600), replaced whole, with a lock beside it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use oarlock_core::ids::Timestamp;
use oarlock_models::Token;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::config::secret::{KEY_BYTES_MAX, read_private};
use crate::config::trust::write_private;
use crate::config::{Config, ConfigError, Environment, paths, private};

/// The file may have this many bytes.
const FILE_BYTES_MAX: u64 = 2 * KEY_BYTES_MAX;

/// A file that is half written for longer is left over, in milliseconds.
const WRITING_MS: u64 = 60_000;

/// The file.
#[derive(Debug, Clone)]
pub(super) struct SharedToken {
    path: PathBuf,
}

/// What it holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    token: String,
    ends_unix_ms: i64,
}

impl SharedToken {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The token in it. A file that is not private, damaged or not there is none: it is replaced by the next token.
    pub(super) fn read(&self) -> Option<Token> {
        let text = read_private(&self.path, FILE_BYTES_MAX).ok()?;
        let written: Written = serde_json::from_str(text.expose_secret()).ok()?;
        let ends = Timestamp::from_unix_ms(written.ends_unix_ms);
        Some(Token { secret: SecretString::from(written.token), ends })
    }

    /// Puts a token in, and removes those that ended or that nobody uses any more: of earlier commands of the provider, and what a process that was
    /// killed left half written.
    pub(super) fn keep(&self, token: &Token, now: Timestamp) -> io::Result<()> {
        let written = Written {
            token: token.secret.expose_secret().to_owned(),
            ends_unix_ms: token.ends.unix_ms(),
        };
        write_private(&self.path, &serde_json::to_vec(&written)?)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        remove(folder, |path| {
            let is_ended = |path: &Path| {
                Self::at(path.to_owned()).read().is_none_or(|other| other.ends <= now)
            };
            match Kind::of(path) {
                Kind::Token(_) if path == self.path => false,
                Kind::Token(provider) => {
                    Kind::of(&self.path) == Kind::Token(provider) || is_ended(path)
                }
                Kind::HalfWritten => is_old(path, now),
                Kind::Lock => false,
            }
        })
    }

    /// The lock of whoever runs the command; nothing while another has it. It goes with the file that is given, however its process ends.
    pub(super) fn try_lock(&self) -> io::Result<Option<File>> {
        private::make_folder_of(&self.path)?;
        private::try_lock(&self.path)
    }
}

/// The file of one provider's command; none without a command.
pub(super) fn file(
    environment: &Environment,
    config: &Config,
    provider: &str,
) -> Result<Option<PathBuf>, ConfigError> {
    let section = config.providers.get(provider);
    let Some(argv) = section.and_then(|section| section.api_key_command.as_ref()) else {
        return Ok(None);
    };
    let of_argv = hash(argv.iter().map(String::as_str));
    let name = format!("{}-{of_argv}.json", hash([provider]));
    Ok(Some(paths::key_tokens(environment)?.join(name)))
}

fn hash<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// Removes the tokens of a provider's commands, or of all; what is not there is no error. A process that asks at this moment may put one in after it.
///
/// # Errors
/// The system's, with the folder.
pub(crate) fn forget(
    environment: &Environment,
    provider: Option<&str>,
) -> Result<(), (PathBuf, io::Error)> {
    // Without a home there are none.
    let Ok(folder) = paths::key_tokens(environment) else { return Ok(()) };
    let of_provider = provider.map(|name| hash([name]));
    let removed = remove(&folder, |path| match Kind::of(path) {
        Kind::Token(whose) => of_provider.as_deref().is_none_or(|one| one == whose),
        Kind::HalfWritten => true,
        Kind::Lock => false,
    });
    removed.map_err(|error| (folder, error))
}

/// What a file of the folder is.
#[derive(PartialEq, Eq)]
enum Kind<'a> {
    /// A token, with the hash of its provider.
    Token(&'a str),
    Lock,
    HalfWritten,
}

impl<'a> Kind<'a> {
    fn of(path: &'a Path) -> Self {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        match name.strip_suffix(".json") {
            Some(stem) => Self::Token(stem.split('-').next().unwrap_or_default()),
            None if name.ends_with(".lock") => Self::Lock,
            None => Self::HalfWritten,
        }
    }
}

/// Whether nobody writes a file any more.
fn is_old(path: &Path, now: Timestamp) -> bool {
    let modified = std::fs::metadata(path).and_then(|meta| meta.modified());
    let since_1970 = modified.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let ms = since_1970.and_then(|time| i64::try_from(time.as_millis()).ok());
    ms.is_some_and(|ms| now.ms_since(Timestamp::from_unix_ms(ms)) > WRITING_MS)
}

/// Removes files of a folder, which need not be there. Locks stay: whoever waits for one must find the same.
fn remove(folder: &Path, goes: impl Fn(&Path) -> bool) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if !goes(&path) {
            continue;
        }
        match std::fs::remove_file(&path) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    Ok(())
}
