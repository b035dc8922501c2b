//! The wire `openai-responses`, as OpenAI, Azure, xAI and some local servers speak it: nothing is stored there, thought is carried here. No I/O.

mod decode;
mod encode;
mod growing;

use oarlock_core::ports::model::{ModelError, ModelErrorKind, ModelEvent, ModelRequest, Reply};
use serde_json::Value;

use crate::alone::{self, target};
use crate::classify;
use crate::codec::{Codec, Decoder, Fault, Target};
use crate::quirks::Quirks;
use decode::ResponsesDecoder;

/// The name of the wire, as native items carry it.
pub(crate) const WIRE: &str = "openai-responses";
/// Words before the time that is to be waited.
const RETRY: &str = "try again in ";
/// How codes begin that tell of something in the request.
const OF_THE_REQUEST: [&str; 5] = ["invalid_", "unsupported_", "image_", "empty_", "failed_to_"];

/// The codec of this wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenAiResponses;

impl Codec for OpenAiResponses {
    fn encode(&self, request: &ModelRequest, target: &Target) -> Vec<u8> {
        encode::body(request, target)
    }

    fn decoder(&self, target: &Target) -> Box<dyn Decoder> {
        Box::new(ResponsesDecoder::new(target))
    }
}

/// What the error of an event or of an answer says.
fn fault(error: &Value) -> Fault {
    let fault = classify::inside(error);
    let word = |key| error.get(key).and_then(Value::as_str).unwrap_or_default();
    let (code, words) = (word("code"), word("message").to_lowercase());
    let says = |any: &[&str]| any.iter().any(|part| words.contains(part));
    let kind = match fault.kind {
        ModelErrorKind::Overloaded if code == "image_content_policy_violation" => {
            ModelErrorKind::ContentFilter
        }
        ModelErrorKind::Overloaded
            if OF_THE_REQUEST.iter().any(|start| code.starts_with(start)) =>
        {
            match says(&["usage policy", "safety"]) {
                true => ModelErrorKind::ContentFilter,
                false => ModelErrorKind::InvalidRequest,
            }
        }
        kind => kind,
    };
    let retry_after_ms = retry_after_ms(&words).filter(|_| kind == ModelErrorKind::RateLimited);
    Fault { kind, retry_after_ms, ..fault }
}

/// How long to wait, which a stream can say in words only: `Please try again in 1.2s`, or in `ms`.
fn retry_after_ms(words: &str) -> Option<u64> {
    let (_, rest) = words.split_once(RETRY)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = rest.split_at(end);
    let letters = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
    let unit_ms = match &unit[..letters] {
        "ms" => 1.0,
        "s" => 1_000.0,
        _ => return None,
    };
    classify::wait_ms(number.parse::<f64>().ok()? * unit_ms)
}

/// Decodes the events of one answer; each is its name, if it has one, and its data.
///
/// # Errors
/// An error inside the stream, a payload that is not of the protocol, or a stream that ends too soon.
#[doc(hidden)]
pub fn decode_responses(
    events: impl Iterator<Item = (Option<String>, String)>,
    endpoint: &str,
    model: &str,
) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    alone::decode(&OpenAiResponses, &target(endpoint, model, Quirks::PLAIN), events)
}

/// Decodes an answer that came as one body, from endpoint and model `test`.
///
/// # Errors
/// An error object, or a body that is not of the protocol.
#[doc(hidden)]
pub fn decode_responses_whole(body: &[u8]) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    alone::decode_whole(&OpenAiResponses, body)
}

/// The body of a request to an endpoint with these quirks.
#[doc(hidden)]
#[must_use]
pub fn encode_responses(
    request: &ModelRequest,
    (endpoint, model): (&str, &str),
    quirks: Quirks,
) -> Vec<u8> {
    OpenAiResponses.encode(request, &target(endpoint, model, quirks))
}
