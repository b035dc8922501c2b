//! What a session leaves to its model's provider, and whether the provider does it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::error::SessionInitError;
use crate::ports::model::HostedCapabilities;

/// What a session leaves to its provider. It is journaled and held against the model when the session is made and whenever either changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionCapabilitiesConfig {
    /// Searching the web.
    pub web_search: WebSearchCapabilityConfig,
}

/// Searching the web.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebSearchCapabilityConfig {
    /// Who does it.
    pub mode: WebSearchCapabilityMode,
}

/// Who searches the web for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebSearchCapabilityMode {
    /// The provider, while the model answers: neither rules nor modes see its searches. It may charge for each search, which limits on money do
    /// not count.
    Delegate,
    /// Nobody.
    #[default]
    Disabled,
}

/// What the provider of a session's model does for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResolvedSessionCapabilities {
    /// It searches the web.
    pub web_search: bool,
}

impl ResolvedSessionCapabilities {
    /// Holds what a session leaves to a provider against what that provider does for the model.
    ///
    /// # Errors
    /// `CapabilityUnsatisfied` with the remedy when the provider does not do it.
    pub fn resolve(
        config: &SessionCapabilitiesConfig,
        hosted: HostedCapabilities,
        provider: &str,
    ) -> Result<Self, SessionInitError> {
        match config.web_search.mode {
            WebSearchCapabilityMode::Disabled => Ok(Self { web_search: false }),
            WebSearchCapabilityMode::Delegate if hosted.web_search => Ok(Self { web_search: true }),
            WebSearchCapabilityMode::Delegate => Err(SessionInitError::CapabilityUnsatisfied {
                capability: "web search".to_owned(),
                provider: provider.to_owned(),
                remedy: "set `capabilities.web_search.mode` to \"disabled\", or choose a model of a provider that searches, such as anthropic".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_delegated_is_done_by_the_provider_or_refused() {
        let searching =
            |mode| SessionCapabilitiesConfig { web_search: WebSearchCapabilityConfig { mode } };
        let resolve = |mode, web_search| {
            let hosted = HostedCapabilities { web_search };
            ResolvedSessionCapabilities::resolve(&searching(mode), hosted, "p")
        };
        for hosted in [false, true] {
            let disabled = resolve(WebSearchCapabilityMode::Disabled, hosted).unwrap();
            assert!(!disabled.web_search);
        }
        assert!(resolve(WebSearchCapabilityMode::Delegate, true).unwrap().web_search);
        let refused = resolve(WebSearchCapabilityMode::Delegate, false).unwrap_err().to_string();
        assert!(refused.contains("`p`") && refused.contains("disabled"), "{refused}");
    }
}
