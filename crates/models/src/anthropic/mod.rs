//! The wire `anthropic-messages`. No I/O here: requests become bytes and events become blocks.

mod decode;
mod encode;

use oarlock_core::ports::model::{ModelError, ModelErrorKind, ModelEvent, ModelRequest, Reply};
use serde_json::Value;

use crate::alone;
use crate::codec::{Codec, Decoder, Fault, Target};
use crate::quirks::{Documents, Quirks};
use decode::AnthropicDecoder;
pub(crate) use decode::input_of;

/// The name of the wire, as native items carry it.
pub(crate) const WIRE: &str = "anthropic-messages";

/// The codec of this wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnthropicMessages;

impl Codec for AnthropicMessages {
    fn encode(&self, request: &ModelRequest, target: &Target) -> Vec<u8> {
        encode::body(request, target)
    }

    fn decoder(&self, target: &Target) -> Box<dyn Decoder> {
        Box::new(AnthropicDecoder::new(target))
    }
}

/// What the member `error` of an event or a body says.
pub(crate) fn fault(error: &Value) -> Fault {
    let word = |key| error.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, words) = (word("type"), word("message"));
    let message = match (kind, words) {
        ("", "") => "the provider reported an error without a reason".to_owned(),
        ("", words) => words.to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, words) => format!("{kind}: {words}"),
    };
    Fault { kind: classify(kind, words), message, retry_after_ms: None }
}

/// What kind of failure an error object means. An unknown one may pass, like every failure on the provider's side.
fn classify(kind: &str, words: &str) -> ModelErrorKind {
    let words = words.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|part| words.contains(part));
    match kind {
        "rate_limit_error" => ModelErrorKind::RateLimited,
        "authentication_error" | "permission_error" => ModelErrorKind::Auth,
        "billing_error" => ModelErrorKind::QuotaExhausted,
        "not_found_error" => ModelErrorKind::ModelNotFound,
        "request_too_large" => ModelErrorKind::ContextOverflow,
        "timeout_error" => ModelErrorKind::Timeout,
        "invalid_request_error"
            if says(&["prompt is too long", "context limit", "context window"]) =>
        {
            ModelErrorKind::ContextOverflow
        }
        "invalid_request_error" if says(&["credit balance", "usage limits"]) => {
            ModelErrorKind::QuotaExhausted
        }
        "invalid_request_error" if says(&["content filtering"]) => ModelErrorKind::ContentFilter,
        "invalid_request_error" => ModelErrorKind::InvalidRequest,
        _ => ModelErrorKind::Overloaded,
    }
}

/// Decodes the events of one answer; each is its name, if it has one, and its data.
///
/// # Errors
/// An error inside the stream, a payload that is not of the protocol, or a stream that ends too soon.
#[doc(hidden)]
pub fn decode_anthropic(
    events: impl Iterator<Item = (Option<String>, String)>,
    endpoint: &str,
    model: &str,
) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    alone::decode(&AnthropicMessages, &plain_target(endpoint, model), events)
}

/// Decodes an answer that came as one body, from endpoint and model `test`.
///
/// # Errors
/// An error object, or a body that is not of the protocol.
#[doc(hidden)]
pub fn decode_anthropic_whole(body: &[u8]) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    alone::decode_whole(&AnthropicMessages, body)
}

/// The body of a request to a plain endpoint whose answers may have 32,000 tokens.
#[doc(hidden)]
#[must_use]
pub fn encode_anthropic(request: &ModelRequest, endpoint: &str, model: &str) -> Vec<u8> {
    AnthropicMessages.encode(request, &plain_target(endpoint, model))
}

fn plain_target(endpoint: &str, model: &str) -> Target {
    let quirks = Quirks { documents: Documents::Whole, ..Quirks::PLAIN };
    Target { output_max: Some(32_000), ..alone::target(endpoint, model, quirks) }
}
