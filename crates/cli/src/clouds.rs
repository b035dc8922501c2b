//! What stands in the place of a key for providers in a cloud, where none is configured: the credentials that the cloud gives to whoever works there.

use oarlock_models::{KeySource, ProviderConfig, Wire, catalog};

use crate::config::{Config, Loaded};

/// The credentials of the cloud that this provider is in; nothing is read or asked yet. None where there is no such cloud.
pub(crate) fn credentials(loaded: &Loaded, provider: &ProviderConfig) -> Option<KeySource> {
    if signs(&loaded.config, &provider.name) {
        return signer(loaded, &provider.name);
    }
    None
}

/// Whether requests to a provider that has no key are signed: Bedrock's, unless the configuration says where its key is, or what stands in the header of one.
pub(crate) fn signs(config: &Config, provider: &str) -> bool {
    let section = config.providers.get(provider);
    let usual = catalog::find(provider).and_then(|known| known.key_variable);
    let wire = section
        .and_then(|section| section.wire.as_deref())
        .map_or_else(|| catalog::find(provider).map(|known| known.wire), |wire| wire.parse().ok());
    let names_key = section.is_some_and(|section| {
        let is_header = |name: &String| name.eq_ignore_ascii_case("authorization");
        // The variable that counts by itself proves nothing: `oarlock init` writes it down.
        section.api_key_env.as_deref().is_some_and(|own| Some(own) != usual)
            || section.api_key_file.is_some()
            || section.api_key_command.is_some()
            || section.headers.keys().any(is_header)
    });
    cfg!(feature = "bedrock") && wire == Some(Wire::BedrockConverse) && !names_key
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
