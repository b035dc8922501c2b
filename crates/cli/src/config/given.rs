//! Settings that come from the environment and from `--config KEY=VALUE`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::error::ConfigError;
use super::file::{check, unknown};
use super::keys::{Found, KEYS, find};
use super::source::{Setting, Source};

/// Variables with our prefix that are no configuration keys.
pub const OTHER_VARIABLES: &[(&str, &str)] = &[
    ("OARLOCK_LOG", "what is logged to stderr, as `log.filter`"),
    ("OARLOCK_CORPUS", "recorded provider answers for the tests of this project"),
    ("OARLOCK_STATE_DIR", "folder of the trust store and of tokens that commands printed"),
];

/// The environment, read once.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// That of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self { variables: std::env::vars_os().collect() }
    }

    /// One made of these variables.
    #[must_use]
    pub fn of(variables: &[(&str, &str)]) -> Self {
        Self { variables: variables.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect() }
    }

    /// The value of a variable that is set, not empty and UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(OsStr::new(name))?.to_str().filter(|value| !value.is_empty())
    }

    /// All variables, for commands that inherit them.
    pub fn all(&self) -> impl Iterator<Item = (OsString, OsString)> + '_ {
        self.variables.iter().map(|(name, value)| (name.clone(), value.clone()))
    }

    /// The value of a variable as an absolute path.
    #[must_use]
    pub fn folder(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(OsStr::new(name)).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// The settings in variables of the form `OARLOCK_<KEY>`.
    ///
    /// # Errors
    /// When a variable with our prefix is no key, is not UTF-8, or has a value that the key does not take.
    pub fn settings(&self) -> Result<Vec<Setting>, ConfigError> {
        let mut settings = Vec::new();
        for (name, value) in &self.variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with("OARLOCK_")) else {
                continue;
            };
            let alias = if name == "OARLOCK_LOG" { "OARLOCK_LOG_FILTER" } else { name };
            let Some(key) = KEYS.iter().find(|key| key.variable().as_deref() == Some(alias)) else {
                if OTHER_VARIABLES.iter().any(|(other, _)| *other == name) {
                    continue;
                }
                return Err(unknown_variable(name));
            };
            let text = value.to_str().ok_or_else(|| ConfigError::Malformed {
                what: format!("environment variable {name} is not UTF-8"),
                remedy: "unset it or write it in UTF-8",
            })?;
            let path: Vec<String> = key.segments().map(str::to_owned).collect();
            let (value, source) = (key.kind.read(text), Source::Variable(name.to_owned()));
            check(key, &path, &value, &source)?;
            settings.push(Setting { path, value, source });
        }
        Ok(settings)
    }
}

fn unknown_variable(name: &str) -> ConfigError {
    let others = OTHER_VARIABLES.iter().map(|(other, _)| (*other).to_owned());
    let known = KEYS.iter().filter_map(super::keys::Key::variable).chain(others);
    let best = known.map(|known| (strsim::damerau_levenshtein(name, &known), known)).min();
    let hint = match best {
        Some((distance, known)) if distance <= (name.len() / 4).max(2) => {
            format!("did you mean {known}?")
        }
        Some(_) | None => "unset it; docs/configuration.md lists all of them".into(),
    };
    ConfigError::UnknownVariable { name: name.to_owned(), hint }
}

/// Reads one `KEY=VALUE` of `--config`. The value is TOML where the key takes something other than text.
///
/// # Errors
/// When there is no `=`, the key does not exist, or the value does not fit.
pub fn assignment(text: &str) -> Result<Setting, ConfigError> {
    let (key_text, value_text) = text.split_once('=').ok_or_else(|| ConfigError::NoAssignment {
        what: format!("`--config {text}` has no `=`"),
        remedy: "write --config KEY=VALUE, for example --config limits.turn.steps=20",
    })?;
    let path = segments(key_text.trim()).ok_or_else(|| ConfigError::NoAssignment {
        what: format!("`{key_text}` in --config is no key"),
        remedy: "write it as in a TOML file, for example providers.local.base_url",
    })?;
    let source = Source::Override(text.to_owned());
    match find(&path) {
        Found::Key(key) => {
            let value = key.kind.read(value_text.trim());
            check(key, &path, &value, &source)?;
            Ok(Setting { path, value, source })
        }
        Found::Table => Err(ConfigError::NoAssignment {
            what: format!("`{key_text}` in --config is a table"),
            remedy: "set one of its keys",
        }),
        Found::Nothing => Err(unknown(&path, source)),
    }
}

/// The segments of a dotted key, quoted ones included.
fn segments(key: &str) -> Option<Vec<String>> {
    let mut table: toml::Table = toml::from_str(&format!("{key} = 0")).ok()?;
    let mut path = Vec::new();
    loop {
        let mut items = std::mem::take(&mut table).into_iter();
        let (name, value) = items.next()?;
        path.push(name);
        match value {
            toml::Value::Table(inner) if items.next().is_none() => table = inner,
            toml::Value::Integer(0) if items.next().is_none() => return Some(path),
            _ => return None,
        }
    }
}
