//! Models: a request goes in, deltas and one reply come out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::DeltaItem;
use crate::ids::BlobId;
use crate::message::{Block, Message, ReplyStop, Usage};
use crate::ports::tool::ToolSchema;
use crate::spec::{
    ModelSelection, OutputSchema, ReasoningEffort, ResolvedSessionCapabilities, Sampling,
    SchemaWarning,
};

/// How the cache keys of summaries end.
pub(crate) const SUMMARY_KEY: &str = "-summary";

/// One model at one endpoint.
pub trait Model: Send + Sync + fmt::Debug {
    /// What is known about it without asking it.
    fn info(&self) -> &ModelInfo;

    /// Starts a call. The stream gives deltas and then exactly one [`ModelEvent::Reply`], or one error; either is its last item. Dropping
    /// the stream ends the call. The runtime watches for silence and retries; an implementation does neither.
    fn call(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>>;
}

/// Finds models by name.
pub trait Models: Send + Sync + fmt::Debug {
    /// The model of that name.
    ///
    /// # Errors
    /// [`ModelError`] of kind `model_not_found` or `auth` with the remedy, when it is not there or cannot be used.
    fn resolve(&self, selection: &ModelSelection) -> Result<Arc<dyn Model>, ModelError>;

    /// What can be chosen, without asking anybody, in a stable order. An endpoint may have models beyond these.
    fn candidates(&self) -> Vec<ModelCandidate>;
}

/// A provider, as people and programs name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ProviderInfo {
    /// Its name in the configuration and in a [`ModelSelection`].
    pub name: String,
    /// Its name for people.
    pub display_name: String,
}

impl ProviderInfo {
    /// A provider that people call what the configuration calls it.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), display_name: name.to_owned() }
    }
}

/// A model that can be chosen, and who provides it. The same model may be had from several providers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelCandidate {
    /// Who provides it.
    pub provider: ProviderInfo,
    /// What is known about it.
    pub model: ModelInfo,
}

impl From<ModelInfo> for ModelCandidate {
    /// A candidate whose provider has no other name than the one in the model's selection.
    fn from(model: ModelInfo) -> Self {
        Self { provider: ProviderInfo::named(&model.selection.provider), model }
    }
}

/// What a provider itself does for a model while it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostedCapabilities {
    /// It searches the web.
    pub web_search: bool,
}

/// What is known about a model without asking it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelInfo {
    /// Its name here.
    pub selection: ModelSelection,
    /// Native items are replayed only within one family.
    pub family: String,
    /// Tokens that request and answer may have together, where known.
    #[serde(default)]
    pub context_window: Option<u64>,
    /// Tokens that an answer may have.
    #[serde(default)]
    pub output_max: Option<u64>,
    /// What it costs, where known. A model that runs on this machine costs nothing.
    #[serde(default)]
    pub price: Option<Price>,
    /// What its provider does for it while it answers.
    #[serde(default)]
    pub hosted: HostedCapabilities,
    /// What a request to it can say.
    #[serde(default)]
    pub accepts: Accepts,
    /// Whether it says the form of the answer itself ([`ModelRequest::output`]): by a field of its wire as far as that goes, else in words
    /// ([`OutputSchema::tell`]), with warnings in its [`Reply`].
    #[serde(default)]
    pub takes_output: bool,
    /// Whether its thought goes back to it within the turn alone in which it thought, so that the next turn's requests lack it.
    #[serde(default)]
    pub drops_thought: bool,
}

/// What a request to a model can say: what its wire or its endpoint has no word for cannot be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Accepts {
    /// How hard to think; not to think at all ([`ReasoningEffort::None`]) is the same as not told then.
    pub effort: bool,
    /// How many of the likeliest words to draw from.
    pub top_k: bool,
    /// Temperature and `top_k` beside an effort.
    pub draws_while_thinking: bool,
    /// Temperature, `top_p` and `top_k`.
    pub draws: Draws,
    /// How many texts may end the answer, where that is bounded.
    pub stop_sequences_max: Option<u32>,
}

impl Default for Accepts {
    fn default() -> Self {
        Self {
            effort: true,
            top_k: true,
            draws_while_thinking: true,
            draws: Draws::Any,
            stop_sequences_max: None,
        }
    }
}

/// Which words about how words are drawn a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Draws {
    /// All that its wire has.
    #[default]
    Any,
    /// The same, but a temperature or `top_p`, not both.
    One,
    /// None: neither a temperature nor `top_p` nor `top_k`.
    Never,
}

impl ModelInfo {
    /// Why a request with this effort and sampling cannot be made, in words that name the remedy; none when it can.
    #[must_use]
    pub fn refusal(&self, effort: Option<ReasoningEffort>, sampling: &Sampling) -> Option<String> {
        let (name, accepts) = (&self.selection, self.accepts);
        let thinks = effort.is_some_and(|effort| effort != ReasoningEffort::None);
        let draws = sampling.temperature.is_some() || sampling.top_k.is_some();
        let drawn = draws || sampling.top_p.is_some();
        let both = sampling.temperature.is_some() && sampling.top_p.is_some();
        let stops = sampling.stop_sequences.len();
        let stops_max = accepts.stop_sequences_max.map_or(usize::MAX, |max| max as usize);
        if thinks && !accepts.effort {
            Some(format!(
                "{name} cannot be told how hard to think; leave out `effort` or set it to \"none\", choose another model, or set `providers.{}.effort` to true if its endpoint takes one",
                name.provider
            ))
        } else if drawn && accepts.draws == Draws::Never {
            Some(format!(
                "{name} takes neither `temperature` nor `top_p` nor `top_k`; leave them out"
            ))
        } else if both && accepts.draws == Draws::One {
            Some(format!("{name} takes `temperature` or `top_p`, not both; leave one out"))
        } else if sampling.top_k.is_some() && !accepts.top_k {
            Some(format!("the wire of {name} has no `top_k`; leave it out, or use `top_p`"))
        } else if thinks && draws && !accepts.draws_while_thinking {
            Some(format!(
                "{name} takes neither `temperature` nor `top_k` while it thinks; leave them out, or set `effort` to \"none\""
            ))
        } else if stops > stops_max {
            Some(format!(
                "{name} takes at most {stops_max} `stop_sequences`; leave out {}",
                stops - stops_max
            ))
        } else {
            None
        }
    }
}

impl ModelInfo {
    /// A model of which no more is known than its name; it is of its provider's family.
    #[must_use]
    pub fn named(selection: ModelSelection) -> Self {
        Self {
            family: selection.provider.clone(),
            selection,
            context_window: None,
            output_max: None,
            price: None,
            hosted: HostedCapabilities::default(),
            accepts: Accepts::default(),
            takes_output: false,
            drops_thought: false,
        }
    }
}

/// Price of a million tokens in millionths of a US dollar (so 3 dollars is 3,000,000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Price {
    /// Input that no cache served.
    pub input: u64,
    /// Output, thought included.
    pub output: u64,
    /// Input read from the cache.
    pub cache_read: u64,
    /// Input written to the cache.
    pub cache_write: u64,
}

impl Price {
    /// The price with input at its dearest: as if all of it were written to the cache.
    #[must_use]
    pub fn dearest(&self) -> Self {
        Self { input: self.input.max(self.cache_write), ..*self }
    }

    /// What these tokens cost, in millionths of a dollar, rounded up.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> u64 {
        let product = [
            (self.input, usage.input),
            (self.output, usage.output),
            (self.cache_read, usage.cache_read),
            (self.cache_write, usage.cache_write),
        ]
        .iter()
        .map(|(price, tokens)| u128::from(*price) * u128::from(*tokens))
        .sum::<u128>();
        u64::try_from(product.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// A request, rendered from a session's history.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRequest {
    /// The system prompt; empty for none.
    pub system: String,
    /// The conversation, by the rules of [`Message`].
    pub messages: Arc<Vec<Message>>,
    /// What the model may ask for, in a stable order.
    pub tools: Arc<Vec<ToolSchema>>,
    /// Bytes of the pictures and documents that `messages` names, 64 MiB together at most: older ones that do not fit are words in `messages`.
    pub bodies: BTreeMap<BlobId, Bytes>,
    /// How hard to think; the provider's default when absent.
    pub effort: Option<ReasoningEffort>,
    /// How to draw words; its `max_tokens` is part of `output_max` already.
    pub sampling: Sampling,
    /// What the provider is to do itself while the model answers.
    pub capabilities: ResolvedSessionCapabilities,
    /// The form of the answer, for a model that says so itself ([`ModelInfo::takes_output`]); the others are told at the end of `system`.
    pub output: Option<OutputSchema>,
    /// Tokens the answer may have; the model's own maximum when absent.
    pub output_max: Option<u64>,
    /// Names the session towards the provider's cache; carries no meaning.
    pub cache_key: String,
}

impl ModelRequest {
    /// Whether it asks for a summary of a conversation instead of its next answer.
    #[must_use]
    pub fn is_summary(&self) -> bool {
        self.cache_key.ends_with(SUMMARY_KEY)
    }
}

/// Something that a model call gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelEvent {
    /// The call has not been sent, for this reason. Its silence does not count until the next event; its time does.
    Waits {
        /// In words for a person.
        why: String,
    },
    /// Bytes arrived that carry nothing for a reader, or a call that waited was sent: proof of life.
    Alive,
    /// Text was added to a block.
    Delta {
        /// The block, by the index it will have in the reply.
        item: DeltaItem,
        /// What was added.
        text: String,
    },
    /// The answer, whole.
    Reply(Reply),
}

/// A model's whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The model, as it named itself.
    pub model: String,
    /// Its blocks in order. A call's id is the provider's, empty when it gave none; the runtime makes it unique.
    pub blocks: Vec<Block>,
    /// Why it stopped.
    pub stop: ReplyStop,
    /// Its tokens.
    pub usage: Usage,
    /// What of the answer's schema the provider was not sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<SchemaWarning>,
}

/// What kind of failure a model call met. It decides what the runtime does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelErrorKind {
    /// Too many requests; waiting helps.
    RateLimited,
    /// The provider has no capacity or broke; waiting helps.
    Overloaded,
    /// The request is longer than the model's window.
    ContextOverflow,
    /// The account has no money or quota left; waiting does not help.
    QuotaExhausted,
    /// The key is missing, wrong or not allowed to do this.
    Auth,
    /// The provider refuses the request as malformed.
    InvalidRequest,
    /// A filter of the provider stopped it.
    ContentFilter,
    /// The endpoint does not know the model.
    ModelNotFound,
    /// The network, or an answer that is not of the protocol.
    Transport,
    /// The stream ended without its terminal event.
    Truncated,
    /// Silence for too long, or the whole call took too long.
    Timeout,
}

impl ModelErrorKind {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn may_retry(self) -> bool {
        match self {
            Self::RateLimited
            | Self::Overloaded
            | Self::Transport
            | Self::Truncated
            | Self::Timeout => true,
            Self::ContextOverflow
            | Self::QuotaExhausted
            | Self::Auth
            | Self::InvalidRequest
            | Self::ContentFilter
            | Self::ModelNotFound => false,
        }
    }
}

/// A failed model call. `message` names endpoint, model and status and quotes the provider; it never holds a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct ModelError {
    /// What kind of failure.
    pub kind: ModelErrorKind,
    /// In words for a person.
    pub message: String,
    /// How long the provider asked us to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
}
