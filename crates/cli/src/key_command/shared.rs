//! The file in which the processes of a person find the token that one of them got: ours alone (0600), replaced whole, with a lock beside it.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use oarlock_core::ids::Timestamp;
use oarlock_models::Token;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::config::secret::{KEY_BYTES_MAX, read_private};
use crate::config::trust::write_private;
use crate::config::{Config, ConfigError, Environment, paths, private};

/// The file may have this many bytes.
const FILE_BYTES_MAX: u64 = 2 * KEY_BYTES_MAX;

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

    /// Puts a token in.
    pub(super) fn keep(&self, token: &Token) -> io::Result<()> {
        let written = Written {
            token: token.secret.expose_secret().to_owned(),
            ends_unix_ms: token.ends.unix_ms(),
        };
        write_private(&self.path, &serde_json::to_vec(&written)?)
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
    let mut hasher = blake3::Hasher::new();
    for text in std::iter::once(provider).chain(argv.iter().map(String::as_str)) {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    let name = format!("{}.json", &hasher.finalize().to_hex()[..32]);
    Ok(Some(paths::key_tokens(environment)?.join(name)))
}

/// The files of all commands, there or not.
///
/// # Errors
/// [`ConfigError::NoHome`].
pub(crate) fn files(
    environment: &Environment,
    config: &Config,
) -> Result<Vec<PathBuf>, ConfigError> {
    let of_all = config.providers.keys().map(|provider| file(environment, config, provider));
    of_all.filter_map(Result::transpose).collect()
}
