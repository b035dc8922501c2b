//! The environment that commands inherit: the host's, without anything that looks like a secret.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// Where a word stands in a name.
#[derive(Clone, Copy)]
enum Word {
    Anywhere(&'static str),
    First(&'static str),
    Last(&'static str),
    Whole(&'static str),
}

/// Names of variables that never reach a command, whatever their case. Plain words, since every start of the program looks for them.
const SECRETS: [Word; 16] = [
    Word::Anywhere("API_KEY"),
    Word::Anywhere("APIKEY"),
    Word::Last("_KEY"),
    Word::Last("TOKEN"),
    Word::Anywhere("_TOKEN_"),
    Word::Anywhere("SECRET"),
    Word::Anywhere("PASSWORD"),
    Word::Anywhere("PASSWD"),
    Word::Anywhere("PASSPHRASE"),
    Word::Anywhere("CREDENTIAL"),
    Word::Last("_PAT"),
    Word::Last("_AUTH"),
    Word::First("AWS_"),
    Word::Anywhere("PRIVATE_KEY"),
    Word::Last("_DSN"),
    Word::Whole("DATABASE_URL"),
];

/// What commands inherit. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Environment {
    variables: Arc<[(OsString, OsString)]>,
    /// How many files each of their processes may open, where that is less than this process may.
    open_files: Option<u64>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.variables.iter().map(|(name, _)| name)).finish()
    }
}

/// A pattern for hidden variables that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` is not a pattern for variable names; use letters, digits, `_`, `*` and `?`")]
pub struct InvalidPattern {
    /// The pattern.
    pub pattern: String,
    source: globset::Error,
}

impl Environment {
    /// Keeps of `variables` what does not look like a secret: names that contain or end in `API_KEY`, `_KEY`, `TOKEN`, `SECRET`, `PASSWORD`,
    /// `PASSWD`, `PASSPHRASE`, `CREDENTIAL`, `_PAT`, `_AUTH`, `_DSN`, all of `AWS_*` and `DATABASE_URL`, in any case, are dropped, and so is what
    /// `hidden` names (`*` and `?` stand for any characters and one character). `PATH`, `HOME`, `LANG` and the like stay.
    ///
    /// # Errors
    /// [`InvalidPattern`] for the first of `hidden` that is not a pattern.
    pub fn without_secrets(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        hidden: &[String],
    ) -> Result<Self, InvalidPattern> {
        let (patterns, names): (Vec<&String>, Vec<&String>) =
            hidden.iter().partition(|hidden| hidden.contains(['*', '?', '[', '{', '\\']));
        let patterns = globs(&patterns)?;
        let is_hidden = |name: &OsStr| {
            let text = name.to_string_lossy().to_ascii_uppercase();
            SECRETS.iter().any(|word| word.is_in(&text))
                || names.iter().any(|hidden| hidden.eq_ignore_ascii_case(&text))
                || patterns.is_match(name)
        };
        let variables = variables.into_iter().filter(|(name, _)| !is_hidden(name)).collect();
        Ok(Self { variables, open_files: None })
    }

    /// The same for commands whose processes may open so many files, unless they ask for more: those of a process that raised its own limit, which others
    /// are not written for. As many as this process may when absent.
    #[must_use]
    pub fn opening(self, open_files: Option<u64>) -> Self {
        Self { open_files, ..self }
    }

    /// Sets it for a process that was just started, and is no shell.
    pub(super) fn limit_files(&self, process: Option<u32>) {
        let process = process.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let (Some(_), Some(process)) = (self.open_files, process) else { return };
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let limit = Rlimit { current: self.open_files, maximum };
        if let Err(error) = prlimit(Some(process), Resource::Nofile, limit) {
            tracing::debug!(%error, "a program may open as many files as this process");
        }
    }

    /// Words for the shell that set it.
    pub(super) fn limit(&self) -> String {
        self.open_files.map_or_else(String::new, |files| format!("ulimit -Sn {files}; "))
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

fn globs(patterns: &[&String]) -> Result<GlobSet, InvalidPattern> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).case_insensitive(true).build();
        set.add(glob.map_err(|source| InvalidPattern { pattern: (*pattern).clone(), source })?);
    }
    let all = || patterns.iter().map(|pattern| pattern.as_str()).collect::<Vec<_>>().join(", ");
    set.build().map_err(|source| InvalidPattern { pattern: all(), source })
}

impl Word {
    fn is_in(self, name: &str) -> bool {
        match self {
            Self::Anywhere(word) => name.contains(word),
            Self::First(word) => name.starts_with(word),
            Self::Last(word) => name.ends_with(word),
            Self::Whole(word) => name == word,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_dropped_and_the_rest_is_kept() {
        let kept =
            ["PATH", "HOME", "LANG", "SSH_AUTH_SOCK", "KEYBOARD", "XDG_SESSION_ID", "CARGO_HOME"];
        let dropped = [
            "OPENAI_API_KEY",
            "anthropic_api_key",
            "AZURE_OPENAI_KEY",
            "GH_TOKEN",
            "TOKEN",
            "AWS_PROFILE",
            "MY_SECRET_THING",
            "DB_PASSWORD",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GITHUB_PAT",
            "ACME_INTERNAL_URL",
        ];
        let variables =
            kept.iter().chain(&dropped).map(|name| (OsString::from(name), OsString::from("x")));
        let environment = Environment::without_secrets(variables, &["ACME_*".to_owned()]).unwrap();
        let names: Vec<&str> =
            environment.variables().filter_map(|(name, _)| name.to_str()).collect();
        assert_eq!(names, kept);
    }

    #[test]
    fn a_pattern_that_cannot_be_understood_is_refused() {
        assert!(Environment::without_secrets([], &["[".to_owned()]).is_err());
    }
}
