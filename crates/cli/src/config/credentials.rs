//! The keys that `oarlock login` stored: one file in the user's data folder, ours alone (0600), replaced whole, changed under a lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::given::Environment;
use super::secret::{self, KEY_BYTES_MAX, SecretError};
use super::trust::write_private;
use super::{ConfigError, paths, private};

/// The file may have this many bytes, some sixty keys of the greatest length.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The first line of the file.
const HEAD: &str = "# Keys that `oarlock login` stored; `oarlock logout` removes them. Keep this file to yourself.\n";

/// Why stored keys cannot be read or changed. No variant holds a key.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Where the file is cannot be told.
    #[error(transparent)]
    Place(#[from] ConfigError),
    /// The file is not private, not ours, or cannot be read.
    #[error(transparent)]
    Unreadable(#[from] SecretError),
    /// It is not what we wrote. The parser's words could quote a key and are left out.
    #[error("the stored keys in {} are damaged (line {line}); mend or remove the file and run `oarlock login` again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first line that is wrong.
        line: usize,
    },
    /// What was to be stored is no key.
    #[error(transparent)]
    NoKey(#[from] NoKey),
    /// It would grow too long.
    #[error("{} would be longer than {FILE_BYTES_MAX} bytes; remove keys with `oarlock logout PROVIDER`", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The system said no.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// `lock`, `write` or `remove tokens from`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// Why a text is no key. It never says the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// There is nothing.
    #[error("the key is empty; nothing was stored")]
    Empty,
    /// It has something between its characters.
    #[error("the key has a space or a line break in it; give the key alone")]
    Blank,
    /// It has a character that no header can carry.
    #[error("the key has a character that is not printable ASCII; copy it again")]
    Strange,
    /// It is too long.
    #[error("the key is longer than {KEY_BYTES_MAX} bytes; that is no key")]
    Long,
}

/// A text as a key: one line end is left out, as `echo` adds it; anything else that no key has is refused.
///
/// # Errors
/// [`NoKey`].
pub fn parse(text: String) -> Result<SecretString, NoKey> {
    let text = SecretString::from(text);
    let line = text.expose_secret();
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.trim().is_empty() {
        return Err(NoKey::Empty);
    }
    if line.len() as u64 > KEY_BYTES_MAX {
        return Err(NoKey::Long);
    }
    if line.contains(char::is_whitespace) {
        return Err(NoKey::Blank);
    }
    if !line.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(NoKey::Strange);
    }
    Ok(SecretString::from(line))
}

/// The file.
#[derive(Debug, Clone)]
pub struct Credentials {
    path: PathBuf,
}

/// What it holds.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    providers: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
}

impl Credentials {
    /// The user's file, which need not exist. It stays where it is when `storage.data_dir` puts sessions elsewhere, since those may be shared.
    ///
    /// # Errors
    /// [`CredentialsError::Place`] without a home.
    pub fn of(environment: &Environment) -> Result<Self, CredentialsError> {
        Ok(Self { path: paths::credentials(environment)? })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys by provider; none when there is no file.
    ///
    /// # Errors
    /// [`CredentialsError`]: the file is another's, open to others, damaged or unreadable.
    pub fn read(&self) -> Result<BTreeMap<String, SecretString>, CredentialsError> {
        let text = match secret::read_private(&self.path, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.is_absence() => return Ok(BTreeMap::new()),
            Err(error) => return Err(error.into()),
        };
        let damaged = |line| CredentialsError::Damaged { path: self.path.clone(), line };
        let written: Written = toml::from_str(text.expose_secret()).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            damaged(text.expose_secret().bytes().take(at).filter(|b| *b == b'\n').count() + 1)
        })?;
        let parsed =
            written.providers.into_iter().map(|(name, Entry { key })| Ok((name, parse(key)?)));
        parsed.collect::<Result<_, NoKey>>().map_err(|_| damaged(1))
    }

    /// Stores the key of a provider in the place of an earlier one, and says whether there was one. Keys that others store at the same time stay.
    ///
    /// # Errors
    /// [`CredentialsError`]; the file is as it was then.
    pub fn store(&self, provider: &str, key: &SecretString) -> Result<bool, CredentialsError> {
        // Nothing is written that could not be read again.
        let key = parse(key.expose_secret().to_owned())?;
        self.change(|keys| keys.insert(provider.to_owned(), key).is_some())
    }

    /// Removes the key of a provider, and says whether there was one.
    ///
    /// # Errors
    /// [`CredentialsError`]; the file is as it was then.
    pub fn remove(&self, provider: &str) -> Result<bool, CredentialsError> {
        self.change(|keys| keys.remove(provider).is_some())
    }

    /// Removes every key and names their providers.
    ///
    /// # Errors
    /// [`CredentialsError`]; the file is as it was then.
    pub fn remove_all(&self) -> Result<Vec<String>, CredentialsError> {
        self.change(|keys| std::mem::take(keys).into_keys().collect())
    }

    /// Other processes see the old file or the changed one.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, SecretString>) -> T,
    ) -> Result<T, CredentialsError> {
        let failed = |doing| {
            let path = self.path.clone();
            move |source| CredentialsError::Io { doing, path, source }
        };
        private::make_folder_of(&self.path).map_err(failed("write"))?;
        let _lock = private::lock(&self.path).map_err(failed("lock"))?;
        let mut keys = self.read()?;
        let was_empty = keys.is_empty();
        let answer = change(&mut keys);
        if was_empty && keys.is_empty() {
            return Ok(answer);
        }
        let entry = |key: SecretString| Entry { key: key.expose_secret().to_owned() };
        let providers = keys.into_iter().map(|(name, key)| (name, entry(key))).collect();
        let text = toml::to_string(&Written { providers })
            .expect("a table of texts below texts can be written in TOML");
        let text = SecretString::from(format!("{HEAD}{text}"));
        if text.expose_secret().len() as u64 > FILE_BYTES_MAX {
            return Err(CredentialsError::Full { path: self.path.clone() });
        }
        write_private(&self.path, text.expose_secret().as_bytes()).map_err(failed("write"))?;
        Ok(answer)
    }
}

/// The stored keys as they were when the configuration was read; a file that cannot be used is told to whoever needs a key of it.
#[derive(Debug, Clone)]
pub struct Stored {
    keys: Result<BTreeMap<String, SecretString>, Arc<CredentialsError>>,
    path: PathBuf,
}

impl Stored {
    /// No keys.
    #[must_use]
    pub fn none() -> Self {
        Self { keys: Ok(BTreeMap::new()), path: PathBuf::new() }
    }

    /// Reads them. Without a home there are none.
    #[must_use]
    pub fn read(environment: &Environment) -> Self {
        match Credentials::of(environment) {
            Ok(file) => Self { keys: file.read().map_err(Arc::new), path: file.path },
            Err(_) => Self::none(),
        }
    }

    /// The providers that have one.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn providers(&self) -> Result<impl Iterator<Item = &str>, Arc<CredentialsError>> {
        Ok(self.keys.as_ref().map_err(Arc::clone)?.keys().map(String::as_str))
    }

    /// A hash of the keys, or of why they cannot be used.
    pub(super) fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        match &self.keys {
            Err(error) => drop(hasher.update(error.to_string().as_bytes())),
            Ok(keys) => {
                for (provider, key) in keys {
                    for text in [provider.as_str(), key.expose_secret()] {
                        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
                    }
                }
            }
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The key of a provider, and the file that it is in.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn key(
        &self,
        provider: &str,
    ) -> Result<Option<(SecretString, &Path)>, Arc<CredentialsError>> {
        let keys = self.keys.as_ref().map_err(Arc::clone)?;
        Ok(keys.get(provider).map(|key| (key.clone(), self.path.as_path())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_refused() {
        let table = [
            ("sk-1", Ok("sk-1")),
            ("sk-1\n", Ok("sk-1")),
            ("sk-1\r\n", Ok("sk-1")),
            ("", Err(NoKey::Empty)),
            (" \t\n", Err(NoKey::Empty)),
            ("\n\n", Err(NoKey::Empty)),
            ("sk-1\n\n", Err(NoKey::Blank)),
            ("sk-1\nsk-2", Err(NoKey::Blank)),
            (" sk-1", Err(NoKey::Blank)),
            ("sk 1", Err(NoKey::Blank)),
            ("sk-\u{1b}[1m", Err(NoKey::Strange)),
            ("schlüssel", Err(NoKey::Strange)),
        ];
        for (text, expected) in table {
            let parsed = parse(text.to_owned()).map(|key| key.expose_secret().to_owned());
            assert_eq!(parsed, expected.map(str::to_owned), "{text:?}");
        }
        let longest = "x".repeat(usize::try_from(KEY_BYTES_MAX).unwrap());
        assert!(parse(longest.clone()).is_ok());
        assert_eq!(parse(longest + "x").err(), Some(NoKey::Long));
    }
}
