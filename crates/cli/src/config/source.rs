//! Where a configuration value comes from.

use std::fmt;
use std::path::{Path, PathBuf};

/// A layer of the configuration, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// What this program assumes.
    BuiltIn,
    /// The user's own file.
    User,
    /// The project's shared file.
    Project,
    /// The project's file of this machine.
    ProjectLocal,
    /// Variables of the environment.
    Environment,
    /// `--config KEY=VALUE`.
    Override,
    /// A flag of its own, such as `--model`.
    Flag,
}

impl Layer {
    /// Whether the values come with a folder rather than from the person who runs this program.
    #[must_use]
    pub fn is_project(self) -> bool {
        matches!(self, Self::Project | Self::ProjectLocal)
    }
}

/// The exact place a value was written at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody wrote it: the default.
    BuiltIn,
    /// A place in a file; line and column count from 1.
    File {
        /// The layer that the file is.
        layer: Layer,
        /// The file.
        path: PathBuf,
        /// Line of the key.
        line: usize,
        /// Column of the key, in characters.
        column: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// `--config` with this text.
    Override(String),
    /// A flag, named as it is typed.
    Flag(&'static str),
}

impl Source {
    /// The layer that the value belongs to.
    #[must_use]
    pub fn layer(&self) -> Layer {
        match self {
            Self::BuiltIn => Layer::BuiltIn,
            Self::File { layer, .. } => *layer,
            Self::Variable(_) => Layer::Environment,
            Self::Override(_) => Layer::Override,
            Self::Flag(_) => Layer::Flag,
        }
    }
}

impl Source {
    /// The file that it was written in.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::BuiltIn | Self::Variable(_) | Self::Override(_) | Self::Flag(_) => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File { path, line, column, .. } => {
                write!(f, "{}:{line}:{column}", path.display())
            }
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Override(text) => write!(f, "--config {text}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One value and where it was written. Tables are taken apart: a setting is always a leaf.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key, for example `tools.bash.default_timeout_ms`, in its segments.
    pub path: Vec<String>,
    /// The value as it was written.
    pub value: toml::Value,
    /// Where.
    pub source: Source,
}

impl Setting {
    /// The key as it is written in messages; segments that TOML would quote are quoted.
    #[must_use]
    pub fn key(&self) -> String {
        join(&self.path)
    }
}

/// Joins the segments of a key as TOML would write them.
#[must_use]
pub fn join(path: &[String]) -> String {
    let bare = |s: &str| {
        !s.is_empty()
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'*'))
    };
    let quoted = |s: &String| if bare(s) { s.clone() } else { format!("{s:?}") };
    path.iter().map(quoted).collect::<Vec<_>>().join(".")
}
