//! From the configuration to what the models crate takes: providers with their keys, and how they are reached.

use std::time::Duration;

use oarlock_core::ports::model::{ModelError, ModelInfo, Price};
use oarlock_models::catalog;
use oarlock_models::{
    AnswerSchemas, Documents, HttpSettings, HttpTransport, KeyError, KeySource, ModelConfig,
    ProviderConfig, Proxies, Quirks, RequestBounds, ThoughtItems, WellKnown, Wire, bedrock_address,
    list_models,
};

use crate::clouds;
use crate::config::error::ConfigError;
use crate::config::secret::{self, SecretError};
use crate::config::typed::{ModelEntry, ProviderSection};
use crate::config::{Config, Environment, Loaded, paths};
use crate::console::keyboard::leave_when_interrupted;
use crate::key_command;

/// Why a provider cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It is neither configured nor well-known, or lacks its wire or endpoint.
    #[error("provider `{provider}` has no endpoint; set its `base_url` and `wire`")]
    Incomplete {
        /// Its name.
        provider: String,
    },
    /// Its wire is none that is spoken here.
    #[error(transparent)]
    Wire(#[from] oarlock_models::UnknownWire),
    /// It is said to search the web over a wire that cannot ask for it.
    #[error(
        "provider `{provider}` cannot search the web over the wire {wire}; take `web_search` out"
    )]
    WebSearch {
        /// Its name.
        provider: String,
        /// Its wire.
        wire: Wire,
    },
    /// An effort is declared for a wire that always has one.
    #[error(
        "provider `{provider}` speaks the wire {wire}, whose efforts need no declaration; take `effort` out"
    )]
    Effort {
        /// Its name.
        provider: String,
        /// Its wire.
        wire: Wire,
    },
    /// It is said how thought comes and goes over a wire that has one way for it, or in words that mean nothing.
    #[error(
        "provider `{provider}` speaks no wire that has a choice of `thought_items` \"{written}\"; take it out"
    )]
    ThoughtItems {
        /// Its name.
        provider: String,
        /// What is written.
        written: String,
    },
    /// The variable for the region holds something else.
    #[error(
        "`{written}` in {variable} is no region; correct it, or set `providers.{provider}.base_url`"
    )]
    Region {
        /// The provider.
        provider: String,
        /// The variable.
        variable: &'static str,
        /// What is written.
        written: String,
    },
    /// Its key cannot be used.
    #[error(transparent)]
    Key(#[from] SecretError),
}

/// A provider by name: what is configured, and for the rest what is well-known. One without a key has the credentials of its cloud, where there
/// are such.
///
/// # Errors
/// [`ProviderError`] naming what is missing.
pub fn provider(loaded: &Loaded, name: &str) -> Result<ProviderConfig, ProviderError> {
    let key = secret::key(loaded, name)?.map(|(key, _)| key);
    let mut made = with_key(loaded, name, key)?;
    if made.key.is_none() {
        made.key = clouds::credentials(loaded, &made).map_err(SecretError::from)?;
    }
    Ok(made)
}

/// As [`provider`], with this key in the place of the one that would be found.
///
/// # Errors
/// [`ProviderError`] naming what is missing.
pub fn with_key(
    loaded: &Loaded,
    name: &str,
    key: Option<KeySource>,
) -> Result<ProviderConfig, ProviderError> {
    let none = ProviderSection::default();
    let section = loaded.config.providers.get(name).unwrap_or(&none);
    let known = catalog::find(name);
    let incomplete = || ProviderError::Incomplete { provider: name.to_owned() };
    let wire = match (&section.wire, known) {
        (Some(wire), _) => wire.parse()?,
        (None, Some(known)) => known.wire,
        (None, None) => return Err(incomplete()),
    };
    let mut quirks = known.and_then(|known| known.quirks_over(wire)).unwrap_or(Quirks::PLAIN);
    if let Some(searches) = section.web_search {
        if searches && wire == Wire::OpenAiChat {
            return Err(ProviderError::WebSearch { provider: name.to_owned(), wire });
        }
        quirks.hosted.web_search = searches;
    }
    if let Some(takes) = section.effort {
        if matches!(wire, Wire::AnthropicMessages | Wire::Gemini) {
            return Err(ProviderError::Effort { provider: name.to_owned(), wire });
        }
        quirks.effort = takes;
    }
    if let Some(written) = &section.thought_items {
        let known = ThoughtItems::ALL.into_iter().find(|items| items.as_str() == written);
        quirks.thought_items =
            known.filter(|_| wire == Wire::OpenAiResponses).ok_or_else(|| {
                ProviderError::ThoughtItems { provider: name.to_owned(), written: written.clone() }
            })?;
    }
    if let Some(takes) = section.documents {
        quirks.documents = if takes { Documents::Whole } else { Documents::Named };
    }
    if let Some(takes) = section.answer_schemas {
        quirks.answer_schemas = if takes { AnswerSchemas::TAKEN } else { AnswerSchemas::UNKNOWN };
    }
    let base_url = match (&section.base_url, known) {
        (Some(base_url), _) => Some(base_url.clone()),
        (None, Some(known)) if key.is_some() => Some(own_address(loaded, known)?),
        // Nothing is asked of a provider without its key, whatever the variables say.
        (None, Some(known)) => {
            Some(own_address(loaded, known).unwrap_or_else(|_| known.base_url.to_owned()))
        }
        (None, None) => None,
    };
    Ok(ProviderConfig {
        name: name.to_owned(),
        display_name: known.map_or(name, |known| known.display_name).to_owned(),
        wire,
        base_url: base_url.ok_or_else(incomplete)?,
        key,
        auth_header: None,
        headers: section.headers.clone(),
        quirks,
        bounds: RequestBounds {
            per_minute: section.requests_per_minute,
            at_a_time: section.concurrent_requests,
        },
        models: models(&section.models, known, wire),
    })
}

/// The address of a well-known provider: of Bedrock, which has one in each region, the one of `AWS_REGION` or `AWS_DEFAULT_REGION`.
fn own_address(loaded: &Loaded, known: &WellKnown) -> Result<String, ProviderError> {
    let variables = ["AWS_REGION", "AWS_DEFAULT_REGION"];
    let region =
        variables.into_iter().find_map(|name| Some((name, loaded.environment.text(name)?)));
    match region.filter(|_| known.wire == Wire::BedrockConverse) {
        Some((variable, region)) => bedrock_address(region).ok_or_else(|| ProviderError::Region {
            provider: known.name.to_owned(),
            variable,
            written: region.to_owned(),
        }),
        None => Ok(known.base_url.to_owned()),
    }
}

/// Every provider that can be named: the configured ones, then the well-known ones. Of the latter none is refused because stored keys or a variable
/// cannot be used: whoever chooses it is told so.
///
/// # Errors
/// [`ProviderError`] of the first one that cannot be used as it is configured.
pub fn configured(loaded: &Loaded) -> Result<Vec<ProviderConfig>, ProviderError> {
    let own = loaded.config.providers.keys().map(String::as_str);
    let others = catalog::WELL_KNOWN.iter().map(|known| known.name);
    let others = others.filter(|name| !loaded.config.providers.contains_key(*name));
    let others = others.map(|name| match provider(loaded, name) {
        Err(ProviderError::Key(SecretError::Stored(_))) => with_key(loaded, name, None),
        Err(error @ ProviderError::Region { .. }) => {
            let key = key_command::none_for(error.to_string());
            Ok(ProviderConfig { key: Some(key), ..with_key(loaded, name, None)? })
        }
        made => made,
    });
    own.map(|name| provider(loaded, name)).chain(others).collect()
}

/// The variables that may hold a key, set or not.
#[must_use]
pub fn key_variables(config: &Config) -> Vec<String> {
    let own = config.providers.values().filter_map(|section| section.api_key_env.clone());
    let known = catalog::WELL_KNOWN.iter().flat_map(WellKnown::key_variables);
    own.chain(known.map(str::to_owned)).collect()
}

/// Declared models first, each completed by what is known about it, then the known ones.
fn models(declared: &[ModelEntry], known: Option<&WellKnown>, wire: Wire) -> Vec<ModelConfig> {
    let known: Vec<ModelConfig> =
        known.map_or_else(Vec::new, |known| known.models.iter().map(ModelConfig::from).collect());
    let declared = declared.iter().map(|entry| {
        let family = wire.family(&entry.id);
        let like = known.iter().find(|model| model.id == family);
        ModelConfig {
            id: entry.id.clone(),
            context_window: entry.context_window.or_else(|| like?.context_window),
            output_max: entry.max_output_tokens.or_else(|| like?.output_max),
            price: entry.price.as_ref().map(Price::from).or_else(|| like?.price),
        }
    });
    let mut models: Vec<ModelConfig> = declared.collect();
    models.extend(known);
    models
}

/// How providers are reached: section `http`, and the variables that everybody uses for proxies where it is silent.
///
/// # Errors
/// When the path of the certificate file cannot be told.
pub fn http_settings(loaded: &Loaded) -> Result<HttpSettings, ConfigError> {
    let http = &loaded.config.http;
    let ca_file = http.ca_file.as_ref().map(|path| paths::expand(&loaded.environment, path));
    Ok(HttpSettings {
        connect_timeout: Duration::from_millis(http.connect_timeout.0),
        proxies: proxies(&loaded.environment, http.proxy.as_ref()),
        ca_file: ca_file.transpose()?,
        user_agent: concat!("oarlock/", env!("CARGO_PKG_VERSION")).into(),
    })
}

fn proxies(environment: &Environment, configured: Option<&String>) -> Proxies {
    let variable = |names: &[&str]| names.iter().find_map(|name| environment.text(name));
    let choose =
        |names: &[&str]| configured.cloned().or_else(|| variable(names).map(str::to_owned));
    Proxies {
        http: choose(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
        https: choose(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
        bypass: variable(&["no_proxy", "NO_PROXY"]).map(str::to_owned),
    }
}

/// Why the models of a provider cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The provider cannot be used.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The way to it is not configured rightly.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system gave no runtime.
    #[error("cannot start the network client")]
    Runtime(#[from] std::io::Error),
    /// There is no key to be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The endpoint did not answer with a list.
    #[error(transparent)]
    Endpoint(#[from] ModelError),
}

/// Asks a provider for its models and waits for the answer, at most `within`.
///
/// # Errors
/// [`ListError`].
pub fn ask_for_models(
    loaded: &Loaded,
    provider_name: &str,
    within: Duration,
) -> Result<Vec<ModelInfo>, ListError> {
    let config = provider(loaded, provider_name)?;
    waited_for(models_at(loaded, &config, within))?
}

/// Runs work of the network on this thread until it is done, and not longer. SIGINT, SIGTERM and SIGHUP end the program from then on, and with it the
/// commands that run for keys.
///
/// # Errors
/// When the system gives no runtime, or no signals.
pub fn waited_for<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    leave_when_interrupted()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // A name that is still being looked up must not delay the end.
    runtime.shutdown_background();
    Ok(done)
}

/// Asks the endpoint of a provider for its models. Dropping the future ends the request.
///
/// # Errors
/// [`ListError`]; `Timeout` in it when the answer takes longer than `within`.
pub async fn models_at(
    loaded: &Loaded,
    config: &ProviderConfig,
    within: Duration,
) -> Result<Vec<ModelInfo>, ListError> {
    let transport = HttpTransport::new(http_settings(loaded)?);
    Ok(list_models(config, &transport, within).await?)
}
