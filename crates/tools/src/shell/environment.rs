//! The environment that commands inherit: the host's, without anything that looks like a secret.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Names of variables that never reach a command, whatever their case.
const SECRETS: [&str; 16] = [
    "*API_KEY*",
    "*APIKEY*",
    "*_KEY",
    "*TOKEN",
    "*_TOKEN_*",
    "*SECRET*",
    "*PASSWORD*",
    "*PASSWD*",
    "*PASSPHRASE*",
    "*CREDENTIAL*",
    "*_PAT",
    "*_AUTH",
    "AWS_*",
    "*PRIVATE_KEY*",
    "*_DSN",
    "DATABASE_URL",
];

/// What commands inherit. Cheap to clone.
#[derive(Clone)]
pub struct Environment(Arc<[(OsString, OsString)]>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
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
        let mut secrets = GlobSetBuilder::new();
        for pattern in SECRETS.into_iter().chain(hidden.iter().map(String::as_str)) {
            let glob = GlobBuilder::new(pattern).case_insensitive(true).build();
            secrets.add(
                glob.map_err(|source| InvalidPattern { pattern: pattern.to_owned(), source })?,
            );
        }
        let secrets = secrets
            .build()
            .map_err(|source| InvalidPattern { pattern: hidden.join(", "), source })?;
        Ok(Self(variables.into_iter().filter(|(name, _)| !is_secret(&secrets, name)).collect()))
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

fn is_secret(secrets: &GlobSet, name: &OsStr) -> bool {
    secrets.is_match(name)
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
