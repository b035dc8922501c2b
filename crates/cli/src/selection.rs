//! Choosing the model: one pure function from what is configured and which keys are there to a provider and its model.

use std::collections::BTreeSet;

use oarlock_core::spec::ModelSelection;

use crate::clouds;
use crate::config::typed::ProviderSection;
use crate::config::{Config, Loaded, secret};
use crate::providers::key_variables;
use oarlock_models::catalog::{self, WELL_KNOWN};

/// The provider and model that are built in and need nothing.
pub const DEMO: &str = "demo";
/// The provider that plays a file, chosen by name alone.
pub const SCRIPT: &str = "script";

/// What else the choice depends on.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Names of the variables that hold a key.
    pub key_variables: BTreeSet<String>,
    /// Providers whose key was stored by `oarlock login`.
    pub stored: BTreeSet<String>,
    /// Why the stored keys cannot be used, when there is a reason.
    pub unusable: Option<String>,
    /// Whether `CI` is set.
    pub ci: bool,
}

impl Surroundings {
    /// What the environment and the stored keys have for this configuration.
    #[must_use]
    pub fn of(loaded: &Loaded) -> Self {
        let has_words = |text: &str| !text.trim().is_empty();
        let is_set = |name: &String| loaded.environment.text(name).is_some_and(has_words);
        let (stored, unusable) = match loaded.stored.providers() {
            Ok(names) => (names.map(str::to_owned).collect(), None),
            Err(error) => (BTreeSet::new(), Some(error.to_string())),
        };
        Self {
            key_variables: key_variables(&loaded.config).into_iter().filter(is_set).collect(),
            stored,
            unusable,
            ci: loaded.environment.text("CI").is_some_and(|v| !matches!(v, "0" | "false")),
        }
    }
}

/// A model, and what the person should know about how it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The model.
    pub model: ModelSelection,
    /// A line for stderr; none when the choice was the person's own.
    pub notice: Option<String>,
}

/// Why no model could be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// The named provider is neither configured nor known.
    #[error("unknown provider `{provider}`; {hint}")]
    UnknownProvider {
        /// The name.
        provider: String,
        /// The nearest, or how to configure one.
        hint: String,
    },
    /// The provider has no default model.
    #[error(
        "provider `{provider}` has no default model; name one with --model {provider}/MODEL or set `providers.{provider}.default_model`"
    )]
    NoModel {
        /// The provider.
        provider: String,
    },
    /// A model was named and no provider.
    #[error(
        "no provider for the model `{model}`; write it as PROVIDER/MODEL or run `oarlock init`"
    )]
    NoProvider {
        /// The model.
        model: String,
    },
    /// The provider needs a key that is not there.
    #[error(
        "no key for provider `{provider}`; set {variable} or run `oarlock login {provider}`{}",
        catalog::unsigned(provider)
    )]
    NoKey {
        /// The provider.
        provider: String,
        /// The variable that should hold it.
        variable: String,
    },
    /// The key would have to be a stored one, and those cannot be used.
    #[error("no key for provider `{provider}`: {why}")]
    Unusable {
        /// The provider.
        provider: String,
        /// What is wrong with them, and what to do.
        why: String,
    },
    /// Nothing is configured, and the built-in demonstration must be asked for.
    #[error(
        "no provider is configured and no key is in the environment or stored; set for example ANTHROPIC_API_KEY, or ask for the built-in demonstration with --model demo (CI is set, so it is not chosen by itself)"
    )]
    NothingInCi,
}

/// Chooses. `model` and `provider` of the configuration win; then the only configured provider; then a key in the environment; then a stored
/// key; then, outside CI and with nothing configured at all, the demonstration.
///
/// # Errors
/// [`SelectionError`]: what was asked for cannot be had. It is never replaced by something else.
pub fn select(config: &Config, around: &Surroundings) -> Result<Selected, SelectionError> {
    let (provider, model) = match (&config.provider, &config.model) {
        (None, None) => return by_circumstance(config, around),
        (Some(provider), None) => (provider.clone(), None),
        (provider, Some(text)) => match split(config, text) {
            Some((provider, model)) => (provider, Some(model)),
            None => match provider {
                Some(provider) => (provider.clone(), Some(text.clone())),
                None => return provider_of(config, text, around),
            },
        },
    };
    usable(config, &provider, around)?;
    named(config, &provider, model, None)
}

/// Takes `provider/model` apart; a bare `demo` stands for `demo/demo`. A slash alone proves nothing: model ids have slashes, too.
fn split(config: &Config, text: &str) -> Option<(String, String)> {
    if text == DEMO && config.provider.is_none() {
        return Some((DEMO.into(), DEMO.into()));
    }
    let (provider, model) = text.split_once('/')?;
    let is_provider = config.provider.is_none() || exists(config, provider);
    (is_provider && !model.is_empty()).then(|| (provider.to_owned(), model.to_owned()))
}

fn exists(config: &Config, provider: &str) -> bool {
    config.providers.contains_key(provider)
        || catalog::find(provider).is_some()
        || matches!(provider, DEMO | SCRIPT)
}

/// A model without a provider: the one that declares it, else the one that would be chosen anyway.
fn provider_of(
    config: &Config,
    model: &str,
    around: &Surroundings,
) -> Result<Selected, SelectionError> {
    let declares = |section: &ProviderSection| section.models.iter().any(|m| m.id == model);
    let declaring = config.providers.iter().find(|(_, section)| declares(section));
    let no_provider = || SelectionError::NoProvider { model: model.to_owned() };
    let provider = match declaring {
        Some((name, _)) => name.clone(),
        None => candidate(config, around).ok_or_else(no_provider)?.0,
    };
    usable(config, &provider, around)?;
    named(config, &provider, Some(model.to_owned()), None)
}

/// The provider that nobody named: the only configured one, else the first whose key is there, with words for why.
fn candidate(config: &Config, around: &Surroundings) -> Option<(String, Option<String>)> {
    let mut configured = config.providers.keys();
    if let (Some(only), None) = (configured.next(), configured.next()) {
        return Some((only.clone(), None));
    }
    let in_environment = |name: &str| {
        let mut variables = secret::variables(config, name).into_iter();
        variables.find(|variable| around.key_variables.contains(variable))
    };
    let because =
        |name: &str, why: &str| (name.to_owned(), Some(format!("provider `{name}` because {why}")));
    if let Some((name, variable)) =
        names(config).find_map(|name| Some((name, in_environment(name)?)))
    {
        return Some(because(name, &format!("{variable} is set")));
    }
    let stored = names(config).find(|name| around.stored.contains(*name))?;
    Some(because(stored, "its key was stored by `oarlock login`"))
}

/// The providers that can be called, the configured ones first; one that is both comes twice.
pub fn names(config: &Config) -> impl Iterator<Item = &str> {
    let configured = config.providers.keys().map(String::as_str);
    configured.chain(WELL_KNOWN.iter().map(|known| known.name))
}

/// The provider that the configuration names by itself, by its model, or by being the only one.
#[must_use]
pub fn named_provider(config: &Config) -> Option<String> {
    let of_model = || Some(split(config, config.model.as_ref()?)?.0);
    let mut configured = config.providers.keys();
    let only = match (configured.next(), configured.next()) {
        (Some(only), None) => Some(only.clone()),
        (Some(_) | None, _) => None,
    };
    config.provider.clone().or_else(of_model).or(only)
}

fn by_circumstance(config: &Config, around: &Surroundings) -> Result<Selected, SelectionError> {
    match candidate(config, around) {
        Some((provider, why)) => {
            usable(config, &provider, around)?;
            named(config, &provider, None, why)
        }
        None if !config.providers.is_empty() => {
            let provider = config.providers.keys().next().expect("it is not empty").clone();
            usable(config, &provider, around)?;
            named(config, &provider, None, Some(format!("provider `{provider}`, the first configured")))
        }
        None if around.ci => Err(SelectionError::NothingInCi),
        None => Ok(Selected {
            model: ModelSelection { provider: DEMO.into(), model: DEMO.into() },
            notice: Some("no provider is configured: using the built-in demonstration, which is no language model; run `oarlock init` to set one up".into()),
        }),
    }
}

/// Whether there is such a provider.
///
/// # Errors
/// [`SelectionError::UnknownProvider`].
pub fn known(config: &Config, provider: &str) -> Result<(), SelectionError> {
    if exists(config, provider) {
        return Ok(());
    }
    let hint = match catalog::nearest(provider, names(config).chain([DEMO, SCRIPT])) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("configure it under [providers.{provider}] or see `oarlock models`"),
    };
    Err(SelectionError::UnknownProvider { provider: provider.to_owned(), hint })
}

/// Whether a provider can be called, as far as this machine can tell.
///
/// # Errors
/// [`SelectionError`]: it is not known, or its key is not there.
pub fn usable(
    config: &Config,
    provider: &str,
    around: &Surroundings,
) -> Result<(), SelectionError> {
    known(config, provider)?;
    if around.stored.contains(provider) {
        return Ok(());
    }
    let names_place = |s: &ProviderSection| s.api_key_file.is_some() || s.api_key_command.is_some();
    let has_place = config.providers.get(provider).is_some_and(names_place);
    let variables = secret::variables(config, provider);
    let has_variable = variables.iter().any(|variable| around.key_variables.contains(variable));
    match variables.into_iter().next() {
        Some(_) if clouds::stands_in(config, provider) => Ok(()),
        Some(variable) if !has_place && !has_variable => {
            let provider = provider.to_owned();
            Err(match around.unusable.clone() {
                Some(why) => SelectionError::Unusable { provider, why },
                None => SelectionError::NoKey { provider, variable },
            })
        }
        Some(_) | None => Ok(()),
    }
}

fn named(
    config: &Config,
    provider: &str,
    model: Option<String>,
    why: Option<String>,
) -> Result<Selected, SelectionError> {
    let section = config.providers.get(provider);
    let model = model
        .or_else(|| section.and_then(|s| s.default_model.clone()))
        .or_else(|| section.and_then(|s| s.models.first()).map(|m| m.id.clone()))
        .or_else(|| catalog::find(provider)?.default_model.map(str::to_owned))
        .or_else(|| (provider == DEMO).then(|| DEMO.to_owned()))
        .ok_or_else(|| SelectionError::NoModel { provider: provider.to_owned() })?;
    let model = ModelSelection { provider: provider.to_owned(), model };
    let notice = why.map(|why| format!("using {model}: {why}"));
    Ok(Selected { model, notice })
}
