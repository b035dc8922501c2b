//! Keys of providers, for whoever lets a person log in: whether one is there, whether its endpoint takes it, storing and removing it.

use std::time::Duration;

use oarlock_core::ports::model::ModelErrorKind;
use oarlock_models::KeySource;
use secrecy::SecretString;

use crate::config::Loaded;
use crate::config::credentials::{Credentials, CredentialsError};
use crate::config::secret::{self, KeyPlace, SecretError};
use crate::key_command;
use crate::providers::{self, ListError};
use crate::selection::{self, SelectionError, Surroundings};

/// Why a provider has no key that could be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is not known, or its key is not there.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// What should hold its key cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// What an endpoint says to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It lists its models, and without the key it does not.
    Taken {
        /// How many it has.
        models: usize,
    },
    /// It refuses the key, in these words.
    Refused(String),
    /// It answers, but cannot tell, for this reason.
    Unproven(String),
}

/// Where the key of a provider is found; `None` for one that needs none. The stored keys are read anew, the environment and the
/// configuration are those of `loaded`. Nothing goes over the network. A runtime keeps the keys that it was put together with: after a login it
/// is put together anew from [`Loaded::with_keys_read_anew`].
///
/// # Errors
/// [`Unusable`] with what to do.
pub fn check(loaded: &Loaded, provider: &str) -> Result<Option<KeyPlace>, Unusable> {
    let loaded = loaded.with_keys_read_anew();
    selection::usable(&loaded.config, provider, &Surroundings::of(&loaded))?;
    Ok(secret::key(&loaded, provider)?.map(|(_, place)| place))
}

/// Asks the endpoint of a provider whether it takes a key, by its list of models: once with the key, and once without, since some list them
/// to everybody. Takes at most `within` for each, and what it takes to get the key where that has to be asked for. Dropping the future ends the request.
///
/// # Errors
/// [`ListError`]: the provider cannot be reached, or is not configured to be; `Key` when the key had to be asked for and is not to be had.
pub async fn verify(
    loaded: &Loaded,
    provider: &str,
    key: impl Into<KeySource>,
    within: Duration,
) -> Result<Verdict, ListError> {
    let key = key.into();
    if let KeySource::Asked(tokens) = &key {
        tokens.token().await?;
    }
    let with = providers::with_key(loaded, provider, Some(key))?;
    let models = match providers::models_at(loaded, &with, within).await {
        Ok(models) => models.len(),
        Err(ListError::Endpoint(told)) => {
            return match told.kind {
                ModelErrorKind::Auth => Ok(Verdict::Refused(told.message)),
                ModelErrorKind::InvalidRequest
                | ModelErrorKind::ModelNotFound
                | ModelErrorKind::QuotaExhausted => Ok(Verdict::Unproven(told.message)),
                ModelErrorKind::RateLimited
                | ModelErrorKind::Overloaded
                | ModelErrorKind::ContextOverflow
                | ModelErrorKind::ContentFilter
                | ModelErrorKind::Transport
                | ModelErrorKind::Truncated
                | ModelErrorKind::Timeout => Err(ListError::Endpoint(told)),
            };
        }
        Err(error) => return Err(error),
    };
    let without = providers::with_key(loaded, provider, None)?;
    match providers::models_at(loaded, &without, within).await {
        Ok(_) => Ok(Verdict::Unproven("it lists its models without a key, too".into())),
        Err(ListError::Endpoint(told)) if told.kind.may_retry() => Ok(Verdict::Unproven(format!(
            "what it does without a key is not known: {}",
            told.message
        ))),
        Err(_) => Ok(Verdict::Taken { models }),
    }
}

/// Stores the key of a provider in the place of an earlier one, and says whether there was one.
///
/// # Errors
/// [`CredentialsError`].
pub fn store(
    loaded: &Loaded,
    provider: &str,
    key: &SecretString,
) -> Result<bool, CredentialsError> {
    Credentials::of(&loaded.environment)?.store(provider, key)
}

/// Removes the stored key of a provider and the tokens that its command printed, and says whether there was a key. Variables and key files stay as they
/// are, and who has a token in memory uses it while it lasts.
///
/// # Errors
/// [`CredentialsError`].
pub fn remove(loaded: &Loaded, provider: &str) -> Result<bool, CredentialsError> {
    forget(loaded, Some(provider))?;
    Credentials::of(&loaded.environment)?.remove(provider)
}

/// Removes all stored keys and all tokens that commands printed, and names the providers of the keys.
///
/// # Errors
/// [`CredentialsError`].
pub fn remove_all(loaded: &Loaded) -> Result<Vec<String>, CredentialsError> {
    forget(loaded, None)?;
    Credentials::of(&loaded.environment)?.remove_all()
}

fn forget(loaded: &Loaded, provider: Option<&str>) -> Result<(), CredentialsError> {
    let failed =
        |(path, source)| CredentialsError::Io { doing: "remove tokens from", path, source };
    key_command::forget(&loaded.environment, provider).map_err(failed)
}
