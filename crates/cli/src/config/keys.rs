//! A configuration key as data: what it takes, what a folder needs to set it, and how it is named elsewhere.

use super::kind::Kind;
pub use super::lookup::{Found, find, nearest};
pub use super::table::KEYS;

/// What a key needs before a folder may set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the value can do no harm.
    Harmless,
    /// Nothing as long as the value is stricter than what is in force; trust otherwise.
    Tighten,
    /// The user has trusted the folder.
    Trust,
    /// Never by a folder: only the user's own file, the environment or a flag.
    UserOnly,
}

impl Need {
    /// The words of the documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Harmless => "any folder",
            Self::Tighten => "any folder, if stricter",
            Self::Trust => "trusted folder",
            Self::UserOnly => "user only",
        }
    }
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its path; a `*` segment stands for any name.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its default as TOML; empty for none.
    pub default: &'static str,
    /// What it needs.
    pub need: Need,
    /// What it is, in one line.
    pub doc: &'static str,
}

impl Key {
    /// The segments of the path.
    pub fn segments(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('.')
    }

    /// Whether the path has a segment for any name.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.segments().any(|s| s == "*")
    }

    /// Whether each layer adds to the list instead of replacing it.
    #[must_use]
    pub fn accumulates(&self) -> bool {
        matches!(self.kind, Kind::RuleList | Kind::Hooks)
    }

    /// The environment variable that sets it; none for paths with a name in them.
    #[must_use]
    pub fn variable(&self) -> Option<String> {
        (!self.has_wildcard())
            .then(|| format!("OARLOCK_{}", self.path.replace('.', "_").to_uppercase()))
    }
}
