//! What stands in the place of a key for providers in a cloud, where none is configured: the credentials that the cloud gives to whoever works there.

use oarlock_models::{KeySource, ProviderConfig, Wire, catalog, is_vertex};

use crate::config::typed::ProviderSection;
use crate::config::{Config, ConfigError, Loaded};
use crate::google_credentials;

/// A cloud whose own credentials are taken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cloud {
    Aws,
    Google,
}

/// The credentials of the cloud that this provider is in; nothing is read or asked yet. None where there is no such cloud.
///
/// # Errors
/// [`ConfigError`]: how the network is reached cannot be told.
pub(crate) fn credentials(
    loaded: &Loaded,
    provider: &ProviderConfig,
) -> Result<Option<KeySource>, ConfigError> {
    match cloud(&loaded.config, &provider.name) {
        Some(Cloud::Aws) => Ok(signer(loaded, &provider.name)),
        Some(Cloud::Google) => google_credentials::source(loaded).map(Some),
        None => Ok(None),
    }
}

/// Whether a provider that has no key has something in its place.
pub(crate) fn stands_in(config: &Config, provider: &str) -> bool {
    cloud(config, provider).is_some()
}

/// The cloud that a provider is in, unless the configuration says where its key is, or what stands in the header of one.
fn cloud(config: &Config, provider: &str) -> Option<Cloud> {
    let section = config.providers.get(provider);
    let known = catalog::find(provider);
    let usual = known.and_then(|known| known.key_variable);
    if section.is_some_and(|section| names_key(section, usual)) {
        return None;
    }
    let wire = match section.and_then(|section| section.wire.as_deref()) {
        Some(wire) => wire.parse().ok(),
        None => known.map(|known| known.wire),
    };
    let base_url = section.and_then(|section| section.base_url.as_deref());
    match wire? {
        Wire::BedrockConverse => cfg!(feature = "bedrock").then_some(Cloud::Aws),
        Wire::Gemini => base_url.filter(|base_url| is_vertex(base_url)).map(|_| Cloud::Google),
        Wire::AnthropicMessages | Wire::OpenAiChat | Wire::OpenAiResponses => None,
    }
}

/// Whether it does. The variable that counts by itself proves nothing: `oarlock init` writes it down.
fn names_key(section: &ProviderSection, usual: Option<&str>) -> bool {
    let is_header = |name: &String| name.eq_ignore_ascii_case("authorization");
    section.api_key_env.as_deref().is_some_and(|own| Some(own) != usual)
        || section.api_key_file.is_some()
        || section.api_key_command.is_some()
        || section.headers.keys().any(is_header)
}

#[cfg(feature = "bedrock")]
fn signer(loaded: &Loaded, provider: &str) -> Option<KeySource> {
    use oarlock_models::{AwsRegion, AwsSigner};

    let section = loaded.config.providers.get(provider);
    let region = match section.is_some_and(|section| section.base_url.is_some()) {
        true => AwsRegion::OfAddress,
        false => AwsRegion::OfChain,
    };
    Some(KeySource::Signed(std::sync::Arc::new(AwsSigner::new(region))))
}

#[cfg(not(feature = "bedrock"))]
fn signer(_: &Loaded, _: &str) -> Option<KeySource> {
    None
}
