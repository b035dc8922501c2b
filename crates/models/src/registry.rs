//! Finds models by provider and name.

use std::collections::HashSet;
use std::sync::Arc;

use oarlock_core::ports::model::{Model, ModelCandidate, ModelError, ModelErrorKind, Models};
use oarlock_core::spec::ModelSelection;

use crate::anthropic::AnthropicMessages;
use crate::bedrock_converse::{BedrockConverse, address};
use crate::catalog::{self, nearest};
use crate::codec::Codec;
use crate::endpoint::Endpoint;
use crate::gemini::Gemini;
use crate::lane::Lanes;
use crate::openai_chat::OpenAiChat;
use crate::openai_responses::OpenAiResponses;
use crate::provider::{ProviderConfig, Wire};
use crate::remote::HttpModel;
use crate::transport::Transport;

/// Built-in models and those of the configured providers.
#[derive(Debug)]
pub struct Registry {
    endpoints: Vec<Arc<Endpoint>>,
    built_in: Vec<Arc<dyn Model>>,
    transport: Arc<dyn Transport>,
    codecs: fn(Wire) -> Arc<dyn Codec>,
}

impl Registry {
    /// A registry of these providers. Where two have one name, the first one counts. Registries of one process share its lanes, so that what an
    /// endpoint says to one session holds for all.
    #[must_use]
    pub fn new(
        providers: Vec<ProviderConfig>,
        transport: Arc<dyn Transport>,
        lanes: &Lanes,
    ) -> Self {
        Self::with_codecs(providers, transport, lanes, codec)
    }

    /// The same with other codecs.
    pub(crate) fn with_codecs(
        providers: Vec<ProviderConfig>,
        transport: Arc<dyn Transport>,
        lanes: &Lanes,
        codecs: fn(Wire) -> Arc<dyn Codec>,
    ) -> Self {
        let endpoint = |config| Arc::new(Endpoint::new(config, lanes));
        let endpoints = providers.into_iter().map(endpoint);
        Self { endpoints: endpoints.collect(), built_in: Vec::new(), transport, codecs }
    }

    /// The same with a model that is reached without a provider's configuration. It wins over a configured provider of its name.
    #[must_use]
    pub fn with(mut self, model: Arc<dyn Model>) -> Self {
        self.built_in.push(model);
        self
    }

    fn built_in(&self, selection: &ModelSelection) -> Option<Result<Arc<dyn Model>, ModelError>> {
        let mut of_provider = self
            .built_in
            .iter()
            .filter(|model| model.info().selection.provider == selection.provider)
            .peekable();
        of_provider.peek()?;
        let names: Vec<&str> =
            of_provider.clone().map(|model| model.info().selection.model.as_str()).collect();
        let found = of_provider.find(|model| model.info().selection == *selection);
        Some(found.cloned().ok_or_else(|| {
            let hint = nearest(&selection.model, names.iter().copied())
                .map_or_else(|| format!("it has {}", names.join(", ")), did_you_mean);
            let what =
                format!("provider `{}` has no model `{}`", selection.provider, selection.model);
            error(ModelErrorKind::ModelNotFound, format!("{what}; {hint}"))
        }))
    }

    fn unknown(&self, provider: &str) -> ModelError {
        let configured = self.endpoints.iter().map(|endpoint| endpoint.config.name.as_str());
        let built_in = self.built_in.iter().map(|model| model.info().selection.provider.as_str());
        if let Some(known) = catalog::find(provider) {
            let remedy = match known.key_variable {
                Some(variable) => format!(
                    "set {variable} or run `oarlock login {provider}`{}",
                    catalog::unsigned(provider)
                ),
                None => format!("add [providers.{provider}] to the configuration"),
            };
            return error(
                ModelErrorKind::Auth,
                format!("provider `{provider}` is not configured; {remedy}"),
            );
        }
        let well_known = catalog::WELL_KNOWN.iter().map(|known| known.name);
        let hint = nearest(provider, configured.chain(built_in).chain(well_known)).map_or_else(
            || format!("configure it under [providers.{provider}] or see `oarlock models`"),
            did_you_mean,
        );
        error(ModelErrorKind::ModelNotFound, format!("unknown provider `{provider}`; {hint}"))
    }
}

impl Models for Registry {
    /// A built-in model, else a model of a configured provider, whether that model is configured or not: the endpoint knows best what it has.
    fn resolve(&self, selection: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        if let Some(resolved) = self.built_in(selection) {
            return resolved;
        }
        let named = self.endpoints.iter().find(|e| e.config.name == selection.provider);
        let endpoint = named.ok_or_else(|| self.unknown(&selection.provider))?;
        let provider = &selection.provider;
        if selection.model.is_empty() {
            let words =
                format!("no model of provider `{provider}` is named; write {provider}/MODEL");
            return Err(error(ModelErrorKind::ModelNotFound, words));
        }
        if let Some(variable) = missing_key(&endpoint.config) {
            let words = format!(
                "no key for provider `{provider}`; set {variable} or run `oarlock login {provider}`{}",
                catalog::unsigned(provider)
            );
            return Err(error(ModelErrorKind::Auth, words));
        }
        let codec = (self.codecs)(endpoint.config.wire);
        let transport = Arc::clone(&self.transport);
        Ok(Arc::new(HttpModel::new(Arc::clone(endpoint), &selection.model, codec, transport)))
    }

    /// The models about which something is known, of providers that lack no key, then the built-in ones.
    fn candidates(&self) -> Vec<ModelCandidate> {
        let is_hidden = |config: &ProviderConfig| {
            self.built_in.iter().any(|model| model.info().selection.provider == config.name)
        };
        let mut seen = HashSet::new();
        let configs = self.endpoints.iter().map(|endpoint| &endpoint.config);
        let usable = configs
            .filter(|config| seen.insert(&config.name))
            .filter(|config| !is_hidden(config) && missing_key(config).is_none());
        let built_in = self.built_in.iter().map(|model| model.info().clone().into());
        usable.flat_map(ProviderConfig::candidates).chain(built_in).collect()
    }
}

fn codec(wire: Wire) -> Arc<dyn Codec> {
    match wire {
        Wire::AnthropicMessages => Arc::new(AnthropicMessages),
        Wire::OpenAiChat => Arc::new(OpenAiChat),
        Wire::OpenAiResponses => Arc::new(OpenAiResponses),
        Wire::Gemini => Arc::new(Gemini),
        Wire::BedrockConverse => Arc::new(BedrockConverse),
    }
}

/// The variable of a key that is missing for certain: a well-known endpoint that takes one, and no header that could stand for it.
fn missing_key(config: &ProviderConfig) -> Option<&'static str> {
    let known = catalog::find(&config.name)?;
    let bare = config.key.is_none() && config.headers.is_empty();
    let is_its_own =
        config.base_url == known.base_url || address::region(&config.base_url).is_some();
    known.key_variable.filter(|_| bare && is_its_own)
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

fn error(kind: ModelErrorKind, message: String) -> ModelError {
    ModelError { kind, message, retry_after_ms: None }
}
