//! A provider as it is configured: plain data.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;

use oarlock_core::ports::model::{
    Accepts, Draws, HostedCapabilities, ModelCandidate, ModelInfo, Price, ProviderInfo,
};
use oarlock_core::spec::ModelSelection;

use crate::bedrock_converse::kin::{self, Kin, Kind};
use crate::catalog::{KnownModel, WellKnown};
use crate::claude::{Claude, Thinking};
use crate::gemini::family::{ignores_draws, is_third, thinks};
use crate::key::KeySource;
use crate::quirks::{Quirks, ThoughtEcho};

/// The protocol that an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// Anthropic's Messages.
    AnthropicMessages,
    /// OpenAI's Chat Completions.
    OpenAiChat,
    /// OpenAI's Responses.
    OpenAiResponses,
    /// Google's `generateContent`.
    Gemini,
    /// Amazon Bedrock's Converse.
    BedrockConverse,
}

impl Wire {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::AnthropicMessages,
        Self::OpenAiChat,
        Self::OpenAiResponses,
        Self::Gemini,
        Self::BedrockConverse,
    ];

    /// The names of all of them.
    pub const NAMES: [&'static str; Self::ALL.len()] = {
        let mut names = [""; Self::ALL.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = Self::ALL[at].as_str();
            at += 1;
        }
        names
    };

    /// Its name in configurations and journals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnthropicMessages => "anthropic-messages",
            Self::OpenAiChat => "openai-chat",
            Self::OpenAiResponses => "openai-responses",
            Self::Gemini => "gemini",
            Self::BedrockConverse => "bedrock-converse",
        }
    }

    /// The family of a model, by the way in which ids are written on this wire. Releases of one family read each other's native items.
    #[must_use]
    pub fn family(self, model: &str) -> &str {
        match self {
            Self::AnthropicMessages | Self::OpenAiChat | Self::OpenAiResponses | Self::Gemini => {
                family(model)
            }
            Self::BedrockConverse => kin::family(model),
        }
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no wire's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown wire `{name}`; write `anthropic-messages`, `openai-chat`, `openai-responses`, `gemini` or `bedrock-converse`"
)]
pub struct UnknownWire {
    /// The name.
    pub name: String,
}

impl FromStr for Wire {
    type Err = UnknownWire;

    fn from_str(name: &str) -> Result<Self, UnknownWire> {
        let found = Self::ALL.into_iter().find(|wire| wire.as_str() == name);
        found.ok_or_else(|| UnknownWire { name: name.to_owned() })
    }
}

/// A configured provider. `Debug` shows neither its key nor the values of its headers.
#[derive(Clone)]
pub struct ProviderConfig {
    /// Its name, unique in a registry.
    pub name: String,
    /// Its name for people.
    pub display_name: String,
    /// Its protocol.
    pub wire: Wire,
    /// Its endpoint, for example `https://host/v1`; a query is kept at the end of every address made from it.
    pub base_url: String,
    /// Where its key comes from; none for servers that take none.
    pub key: Option<KeySource>,
    /// The header that carries the key as it is; the wire's own (`x-api-key`, `x-goog-api-key`, or `authorization` with `Bearer`) when absent.
    /// `authorization` always says `Bearer`.
    pub auth_header: Option<String>,
    /// Further headers of every request; they win over those of the wire.
    pub headers: BTreeMap<String, String>,
    /// What is special about the endpoint.
    pub quirks: Quirks,
    /// How many requests it is sent, by all sessions of the process together.
    pub bounds: RequestBounds,
    /// Models about which something is known. Others may be named as well.
    pub models: Vec<ModelConfig>,
}

impl ProviderConfig {
    /// A well-known provider with its own endpoint and this key.
    #[must_use]
    pub fn well_known(known: &WellKnown, key: Option<KeySource>) -> Self {
        Self {
            name: known.name.to_owned(),
            display_name: known.display_name.to_owned(),
            wire: known.wire,
            base_url: known.base_url.to_owned(),
            key,
            auth_header: None,
            headers: BTreeMap::new(),
            quirks: known.quirks,
            bounds: RequestBounds::NONE,
            models: known.models.iter().map(ModelConfig::from).collect(),
        }
    }

    /// What is known about a model without asking: what is configured for its id, else for its family, else nothing.
    #[must_use]
    pub fn info(&self, model: &str) -> ModelInfo {
        let family = self.wire.family(model);
        let by_id = self.models.iter().find(|known| known.id == model);
        let known = by_id.or_else(|| self.models.iter().find(|known| known.id == family));
        ModelInfo {
            selection: ModelSelection { provider: self.name.clone(), model: model.to_owned() },
            family: family.to_owned(),
            context_window: known.and_then(|known| known.context_window),
            output_max: known.and_then(|known| known.output_max),
            price: known.and_then(|known| known.price),
            hosted: self.hosted(model),
            accepts: self.accepts(model),
            takes_output: true,
            drops_thought: self.wire == Wire::OpenAiChat
                && self.quirks.thought_echo == ThoughtEcho::CurrentTurn,
        }
    }

    /// What it does for this model: those before Gemini 3 do not search beside tools, and at Bedrock few search at all.
    fn hosted(&self, model: &str) -> HostedCapabilities {
        let can = match self.wire {
            Wire::AnthropicMessages | Wire::OpenAiChat | Wire::OpenAiResponses => true,
            Wire::Gemini => is_third(family(model)),
            Wire::BedrockConverse => Kind::of(model).can_be_grounded(),
        };
        HostedCapabilities { web_search: self.quirks.hosted.web_search && can }
    }

    /// What requests to its models can say: a matter of its wire and of what its endpoint or the model understands.
    fn accepts(&self, model: &str) -> Accepts {
        match self.wire {
            Wire::AnthropicMessages => {
                let claude = Claude::of(model);
                let thinks = |claude: &Claude| claude.thinking() != Thinking::Never;
                Accepts {
                    effort: claude.as_ref().is_none_or(thinks),
                    draws_while_thinking: false,
                    draws: claude.as_ref().map_or(Draws::Any, Claude::draws),
                    ..Accepts::default()
                }
            }
            Wire::OpenAiChat => Accepts {
                effort: self.quirks.effort,
                top_k: false,
                stop_sequences_max: Some(4),
                ..Accepts::default()
            },
            Wire::OpenAiResponses => Accepts {
                effort: self.quirks.effort,
                top_k: false,
                stop_sequences_max: Some(0),
                ..Accepts::default()
            },
            Wire::Gemini => Accepts {
                effort: thinks(family(model)),
                draws: if ignores_draws(family(model)) { Draws::Never } else { Draws::Any },
                stop_sequences_max: Some(5),
                ..Accepts::default()
            },
            Wire::BedrockConverse => {
                let kind = Kind::of(model);
                Accepts {
                    effort: kind.thinks() || self.quirks.effort && kind.kin == Kin::Other,
                    top_k: kind.has_top_k(),
                    draws_while_thinking: kind.kin == Kin::Other,
                    draws: Claude::of(model).map_or(Draws::Any, |claude| claude.draws()),
                    ..Accepts::default()
                }
            }
        }
    }

    /// The models about which something is known, each once.
    #[must_use]
    pub fn candidates(&self) -> Vec<ModelCandidate> {
        let provider =
            ProviderInfo { name: self.name.clone(), display_name: self.display_name.clone() };
        let mut seen = HashSet::new();
        let ids = self.models.iter().map(|model| model.id.as_str());
        let once = ids.filter(|id| seen.insert(*id));
        once.map(|id| ModelCandidate { provider: provider.clone(), model: self.info(id) }).collect()
    }
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderConfig")
            .field("name", &self.name)
            .field("wire", &self.wire)
            .field("base_url", &self.base_url.split('?').next())
            .field("key", &self.key.is_some())
            .field("headers", &self.headers.keys())
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}

/// How many requests may be sent to an endpoint; what is absent is not bounded. A call beyond waits, in order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestBounds {
    /// In any sixty seconds.
    pub per_minute: Option<u32>,
    /// Whose answers are not complete.
    pub at_a_time: Option<u32>,
}

impl RequestBounds {
    /// No bound.
    pub const NONE: Self = Self { per_minute: None, at_a_time: None };
}

/// What is known about one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelConfig {
    /// As the provider spells it.
    pub id: String,
    /// Tokens of request and answer together.
    pub context_window: Option<u64>,
    /// Tokens of an answer.
    pub output_max: Option<u64>,
    /// What it costs.
    pub price: Option<Price>,
}

impl From<&KnownModel> for ModelConfig {
    fn from(known: &KnownModel) -> Self {
        Self {
            id: known.id.to_owned(),
            context_window: known.context_window,
            output_max: known.output_max,
            price: known.price,
        }
    }
}

/// The family of a model: its id without a date or `-latest` at the end. Releases of one family read each other's native items.
#[must_use]
pub fn family(model: &str) -> &str {
    let is_date = |text: &str| {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        let shape = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        shape && digits == 8 && matches!(text.len(), 8 | 10)
    };
    for length in [10, 8] {
        let cut = model.len().saturating_sub(length);
        if model.is_char_boundary(cut)
            && let Some(stem) = model[..cut].strip_suffix(['-', '@'])
            && is_date(&model[cut..])
        {
            return stem;
        }
    }
    model.strip_suffix("-latest").unwrap_or(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_the_id_without_its_release() {
        let table = [
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("mistral-large-latest", "mistral-large"),
            ("gpt-4o-mini", "gpt-4o-mini"),
            ("20250929", "20250929"),
            ("", ""),
            ("modèle-é20250929", "modèle-é20250929"),
        ];
        for (model, expected) in table {
            assert_eq!(family(model), expected, "{model}");
        }
    }

    #[test]
    fn wires_are_found_by_the_name_they_write() {
        for wire in Wire::ALL {
            assert_eq!(wire.to_string().parse(), Ok(wire));
        }
        assert!("openai-chatt".parse::<Wire>().is_err());
    }
}
