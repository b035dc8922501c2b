//! Keys that a command prints (`providers.*.api_key_command`): run when a token is wanted, its answer held while it lasts, for all processes of this person.

mod printed;
mod process;
mod shared;
mod wall_clock;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::ids::Timestamp;
use oarlock_core::ports::clock::Clock;
use oarlock_models::{KeyError, KeySource, Token, TokenSource, Tokens};
use secrecy::{ExposeSecret, SecretString};

use crate::config::{ConfigError, Loaded, paths};
use shared::SharedToken;
use wall_clock::WallClock;

/// How long a token is used when the configuration does not say, in milliseconds: five minutes.
const REFRESH_MS: u64 = 5 * 60 * 1000;
/// How long the command may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long other processes are waited for that run the command one after the other, in milliseconds: longer than a command may take.
const LOCK_MS: u64 = 40 * 1000;
/// How far the clocks of two processes may be apart, in milliseconds.
const SKEW_MS: u64 = 5_000;
/// The pause between two looks at what that process has done, in milliseconds.
const LOCK_PAUSE_MS: u64 = 25;

/// A command that prints a token.
#[derive(Clone)]
pub struct KeyCommand {
    /// The program and its arguments. No shell reads them.
    pub argv: Vec<String>,
    /// Where it runs.
    pub folder: PathBuf,
    /// Its environment, all of it.
    pub variables: Vec<(OsString, OsString)>,
    /// How long it may take before it and what it started are ended.
    pub deadline: Duration,
    /// How long its token is used, in milliseconds, unless the token says that it ends sooner. 0 gives each token to those alone that waited for it.
    pub refresh_ms: u64,
    /// The file in which processes find the token that one of them got; none to share with nobody.
    pub shared: Option<PathBuf>,
    /// Tells how old a token is.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for KeyCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCommand")
            .field("program", &self.program())
            .field("folder", &self.folder)
            .field("refresh_ms", &self.refresh_ms)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// The source of a provider's key where the configuration names a command for it; the command is not run yet.
///
/// # Errors
/// [`ConfigError::NoHome`]: the home folder, in which it runs, cannot be told.
pub(crate) fn source(loaded: &Loaded, provider: &str) -> Result<Option<KeySource>, ConfigError> {
    let section = loaded.config.providers.get(provider);
    let Some(argv) = section.and_then(|section| section.api_key_command.clone()) else {
        return Ok(None);
    };
    let environment = &loaded.environment;
    let refresh = section.and_then(|section| section.api_key_refresh);
    let refresh_ms = refresh.map_or(REFRESH_MS, |refresh| refresh.0);
    let clock = Arc::new(WallClock::default());
    let folder = environment.folder("HOME");
    let command = KeyCommand {
        argv: expanded(loaded, argv.0)?,
        folder: folder.ok_or(ConfigError::NoHome { what: "home", variable: "HOME" })?,
        variables: environment.all().collect(),
        deadline: DEADLINE,
        refresh_ms,
        shared: file(loaded, provider)?.filter(|_| refresh_ms > 0),
        clock: Arc::clone(&clock) as _,
    };
    Ok(Some(KeySource::Asked(Arc::new(Tokens::new(Arc::new(command), clock)))))
}

/// The source of a key that is never given, for this reason.
pub(crate) fn none_for(why: String) -> KeySource {
    let clock = Arc::new(WallClock::default());
    KeySource::Asked(Arc::new(Tokens::new(Arc::new(NoToken(why)), clock)))
}

#[derive(Debug)]
struct NoToken(String);

impl TokenSource for NoToken {
    fn token(&self, _: Option<SecretString>) -> BoxFuture<'static, Result<Token, KeyError>> {
        std::future::ready(Err(KeyError::Denied(self.0.clone()))).boxed()
    }
}

/// The program may be written with `~/`; its arguments are its own matter.
fn expanded(loaded: &Loaded, mut argv: Vec<String>) -> Result<Vec<String>, ConfigError> {
    if let Some(program) = argv.first_mut() {
        *program = paths::expand(&loaded.environment, program)?.to_string_lossy().into_owned();
    }
    Ok(argv)
}

/// The file that holds the token of a provider's command, there or not: another command has another one.
///
/// # Errors
/// [`ConfigError::NoHome`].
pub(crate) fn file(loaded: &Loaded, provider: &str) -> Result<Option<PathBuf>, ConfigError> {
    shared::file(&loaded.environment, &loaded.config, provider)
}

pub(crate) use process::end_all;
pub(crate) use shared::forget;

impl KeyCommand {
    /// As messages name it: arguments may say what is nobody's business.
    fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    async fn ask(self, refused: Option<SecretString>) -> Result<Token, KeyError> {
        let Some(path) = self.shared.clone() else { return self.run().await };
        let shared = SharedToken::at(path);
        if let Some(token) = self.kept(&shared, refused.as_ref()).await {
            return Ok(token);
        }
        let Some(lock) = self.lock(&shared).await? else { return self.run().await };
        // Whoever had the lock before may have got one.
        if let Some(token) = self.kept(&shared, refused.as_ref()).await {
            return Ok(token);
        }
        let token = self.run().await?;
        let (kept, now) = (token.clone(), self.clock.now());
        aside(move || {
            // The token is good all the same, and others ask for themselves.
            if let Err(error) = shared.keep(&kept, now) {
                tracing::warn!(%error, "a token cannot be kept for other processes");
            }
            drop(lock);
        })
        .await;
        Ok(token)
    }

    /// The token that a process got, if it can be used still.
    async fn kept(&self, shared: &SharedToken, refused: Option<&SecretString>) -> Option<Token> {
        let (shared, now) = (shared.clone(), self.clock.now());
        let token = aside(move || shared.read()).await.flatten()?;
        let is_refused =
            refused.is_some_and(|secret| secret.expose_secret() == token.secret.expose_secret());
        // One from a clock that was ahead would be used for too long.
        let longest = self.refresh_ms.saturating_add(SKEW_MS);
        let is_current = token.ends > now && token.ends <= now.after(longest);
        (is_current && !is_refused).then_some(token)
    }

    /// The right to run the command, which ends with the file that is given, or with this process; nothing where it cannot be had at all.
    async fn lock(&self, shared: &SharedToken) -> Result<Option<File>, KeyError> {
        let until = self.clock.now().after(LOCK_MS);
        loop {
            let trying = shared.clone();
            match aside(move || trying.try_lock()).await {
                Some(Ok(Some(lock))) => return Ok(Some(lock)),
                Some(Ok(None)) if self.clock.now() < until => {}
                Some(Ok(None)) => {
                    return Err(KeyError::Unavailable(format!(
                        "others have been running the command `{}` for the key for {} s",
                        self.program(),
                        LOCK_MS / 1000
                    )));
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "tokens cannot be shared with other processes");
                    return Ok(None);
                }
                None => return Ok(None),
            }
            self.clock.sleep_until(self.clock.now().after(LOCK_PAUSE_MS)).await;
        }
    }

    async fn run(&self) -> Result<Token, KeyError> {
        let said = process::said(self).await;
        let told = |why: String| {
            KeyError::Denied(format!("the command `{}` for the key {why}", self.program()))
        };
        let secret = said.and_then(|said| printed::key(&said)).map_err(told)?;
        let now = self.clock.now();
        let refreshed = now.after(self.refresh_ms);
        let ends = printed::end(&secret).map_or(refreshed, |end| refreshed.min(end));
        Ok(Token { secret, ends: ends.max(Timestamp::from_unix_ms(0)) })
    }
}

impl TokenSource for KeyCommand {
    fn token(&self, refused: Option<SecretString>) -> BoxFuture<'static, Result<Token, KeyError>> {
        self.clone().ask(refused).boxed()
    }
}

/// Work with files, on a thread that may wait; nothing when that thread ended.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
