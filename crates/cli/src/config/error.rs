//! What can be wrong with a configuration, in one line each: what, where, what to do.

use std::path::PathBuf;

use super::source::{Layer, Source};

/// A configuration that is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key that does not exist.
    #[error("unknown key `{key}`: {source_place}; {hint}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it is written.
        source_place: Box<Source>,
        /// The nearest valid key, or where all keys are listed.
        hint: String,
    },
    /// A variable that looks like ours and is not.
    #[error("unknown environment variable {name}; {hint}")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The nearest valid one, or where all are listed.
        hint: String,
    },
    /// A value that the key does not take.
    #[error("`{key}` takes {expected}, not {found}: {source_place}")]
    BadValue {
        /// The key.
        key: String,
        /// What it takes.
        expected: String,
        /// What was written, shortened.
        found: String,
        /// Where it is written.
        source_place: Box<Source>,
    },
    /// Values that are fine alone and not together.
    #[error("{what}: {source_place}; {remedy}")]
    Unusable {
        /// What does not fit.
        what: String,
        /// Where the offending value is written.
        source_place: Box<Source>,
        /// What to do.
        remedy: String,
    },
    /// A file that is not TOML.
    #[error("not valid TOML: {}:{line}:{column}; {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// `--config` without a key and a value.
    #[error("{what}; {remedy}")]
    NoAssignment {
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A variable that is not UTF-8.
    #[error("{what}; {remedy}")]
    Malformed {
        /// What is wrong, naming the place.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A file that is no regular file, too large or not UTF-8.
    #[error("cannot use {}: it {why}", path.display())]
    NotAConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Neither the XDG variable nor HOME tells where a folder is.
    #[error(
        "cannot tell where the {what} folder is: neither {variable} nor HOME is set to an absolute path; set one of them"
    )]
    NoHome {
        /// Which folder.
        what: &'static str,
        /// Its own variable.
        variable: &'static str,
    },
}

impl ConfigError {
    /// Whether the words to correct stand on the command line.
    #[must_use]
    pub fn is_of_command_line(&self) -> bool {
        match self {
            Self::UnknownKey { source_place, .. }
            | Self::BadValue { source_place, .. }
            | Self::Unusable { source_place, .. } => {
                matches!(source_place.layer(), Layer::Override | Layer::Flag)
            }
            Self::NoAssignment { .. } => true,
            Self::UnknownVariable { .. }
            | Self::Syntax { .. }
            | Self::Malformed { .. }
            | Self::Read { .. }
            | Self::NotAConfigFile { .. }
            | Self::NoHome { .. } => false,
        }
    }
}

/// A value as it is shown in a message.
pub(super) fn shown(value: &toml::Value) -> String {
    let text = value.to_string();
    let kind = match value {
        toml::Value::Table(_) => return "a table".into(),
        toml::Value::Datetime(_) => "the date ",
        toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Array(_) => "",
    };
    if text.chars().count() <= 80 {
        return format!("{kind}{text}");
    }
    format!("{kind}{}…", text.chars().take(80).collect::<String>())
}
