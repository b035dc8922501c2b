//! The tokens of `oarlock serve`: a private file of names, rights and hashes. A secret is shown once and kept nowhere, but for the first one.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use oarlock_core::ids::{Tenant, Timestamp};
use oarlock_server::rest::Token;
use oarlock_server::service::Scope;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::config::private;
use crate::config::trust::write_private;

/// Bytes of the file; what is longer is not ours.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Tokens that a server knows at most.
const TOKENS_MAX: usize = 1000;
/// Characters of a name.
const NAME_MAX: usize = 64;

/// The tokens in a data directory.
#[derive(Debug, Clone)]
pub struct Tokens {
    path: PathBuf,
}

/// A token as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Who has it.
    pub name: String,
    /// The blake3 hash of the secret, in hexadecimal.
    pub hash: String,
    /// What it may be used for: `read`, `turn`, `manage`.
    pub scopes: Vec<String>,
    /// Whose sessions it is for; those of no tenant when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// When it was made.
    pub created: Timestamp,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct All {
    tokens: Vec<Kept>,
}

impl Kept {
    fn token(&self) -> anyhow::Result<Token> {
        let hash = blake3::Hash::from_hex(&self.hash).with_context(|| {
            format!("the hash of token `{}` is none; remove the token", self.name)
        })?;
        let scopes = self.scopes.iter().map(|name| scope(name)).collect::<anyhow::Result<_>>()?;
        Ok(Token { name: self.name.clone(), hash, scopes, tenant: self.tenant.clone() })
    }
}

/// A right by its name.
///
/// # Errors
/// When it has no such name.
pub fn scope(name: &str) -> anyhow::Result<Scope> {
    Ok(match name {
        "read" => Scope::Read,
        "turn" => Scope::Turn,
        "manage" => Scope::Manage,
        _ => bail!("`{name}` is no scope; there are read, turn and manage"),
    })
}

impl Tokens {
    /// The tokens in this data directory, which need not exist.
    #[must_use]
    pub fn within(data_dir: &Path) -> Self {
        Self { path: data_dir.join("tokens.json") }
    }

    /// The file of the secret that was made at the first start.
    #[must_use]
    pub fn first_secret(&self) -> PathBuf {
        self.path.with_file_name("token")
    }

    /// When the file was changed last; nothing while there is none.
    #[must_use]
    pub fn changed(&self) -> Option<std::time::SystemTime> {
        std::fs::metadata(&self.path).and_then(|file| file.modified()).ok()
    }

    /// All of them.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged or can be read by others.
    pub fn list(&self) -> anyhow::Result<Vec<Kept>> {
        let path = self.path.display();
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(gone) if gone.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
        };
        let rights = file.metadata()?.permissions().mode();
        ensure!(rights & 0o077 == 0, "{path} is open to others; run `chmod 600 {path}`");
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        let all: All = serde_json::from_str(&text)
            .with_context(|| format!("{path} is damaged; mend or remove it"))?;
        Ok(all.tokens)
    }

    /// As a server knows them.
    ///
    /// # Errors
    /// As [`Tokens::list`], and when one of them makes no sense.
    pub fn load(&self) -> anyhow::Result<Vec<Token>> {
        self.list()?.iter().map(Kept::token).collect()
    }

    /// Makes a token and gives its secret, which is not kept.
    ///
    /// # Errors
    /// When the name is taken or none, or the file cannot be written.
    pub fn add(
        &self,
        name: &str,
        (scopes, tenant): (Vec<String>, Option<Tenant>),
        now: Timestamp,
    ) -> anyhow::Result<SecretString> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        ensure!(
            !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(is_plain),
            "a token's name has 1 to {NAME_MAX} characters of A-Z a-z 0-9 . _ -"
        );
        scopes.iter().try_for_each(|name| scope(name).map(drop))?;
        let secret = secret()?;
        let hash = blake3::hash(secret.expose_secret().as_bytes()).to_hex().to_string();
        let kept = Kept { name: name.to_owned(), hash, scopes, tenant, created: now };
        self.change(|tokens| {
            ensure!(
                tokens.iter().all(|token| token.name != name),
                "there is a token `{name}`; remove it first, or take another name"
            );
            ensure!(tokens.len() < TOKENS_MAX, "there are {TOKENS_MAX} tokens; remove some");
            tokens.push(kept);
            Ok(())
        })?;
        Ok(secret)
    }

    /// Removes a token; servers that run stop to take it within a second or two.
    ///
    /// # Errors
    /// When there is none of this name, or the file cannot be written.
    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        self.change(|tokens| {
            let before = tokens.len();
            tokens.retain(|token| token.name != name);
            ensure!(
                tokens.len() < before,
                "there is no token `{name}`; see `oarlock serve token list`"
            );
            Ok(())
        })
    }

    /// Makes the first token, whose secret lies in a private file for the programs of this user; nothing when there are tokens.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn first(&self, now: Timestamp) -> anyhow::Result<Option<PathBuf>> {
        if !self.list()?.is_empty() {
            return Ok(None);
        }
        let all = ["read", "turn", "manage"].map(str::to_owned).to_vec();
        let secret = self.add("first", (all, None), now)?;
        let path = self.first_secret();
        write_private(&path, format!("{}\n", secret.expose_secret()).as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Some(path))
    }

    /// Changes the file under its lock. Other processes see the old one or the changed one.
    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Kept>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let path = self.path.display();
        private::make_folder_of(&self.path).with_context(|| format!("cannot write {path}"))?;
        let _lock = private::lock(&self.path).with_context(|| format!("cannot lock {path}"))?;
        let mut tokens = self.list()?;
        change(&mut tokens)?;
        let text = serde_json::to_string_pretty(&All { tokens })?;
        write_private(&self.path, text.as_bytes()).with_context(|| format!("cannot write {path}"))
    }
}

/// 256 bits that nobody can guess, from the system.
fn secret() -> anyhow::Result<SecretString> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(io::Error::other)
        .context("the system has no randomness")?;
    Ok(format!("oarlock_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)).into())
}
