//! The wire `openai-chat`, as OpenAI, its gateways and most local servers speak it. No I/O here.

mod calls;
mod decode;
mod encode;
mod thought;

use oarlock_core::ports::model::{ModelError, ModelEvent, ModelRequest, Reply};

use crate::alone::{self, target};
use crate::codec::{Codec, Decoder, Target};
use crate::quirks::Quirks;
use decode::ChatDecoder;

/// The name of the wire, as native items carry it.
pub(crate) const WIRE: &str = "openai-chat";

/// The codec of this wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenAiChat;

impl Codec for OpenAiChat {
    fn encode(&self, request: &ModelRequest, target: &Target) -> Vec<u8> {
        encode::body(request, target)
    }

    fn decoder(&self, target: &Target) -> Box<dyn Decoder> {
        Box::new(ChatDecoder::new(target))
    }
}

/// Decodes the events of one answer; each is its name, if it has one, and its data.
///
/// # Errors
/// An error inside the stream, a payload that is not of the protocol, or a stream that ends too soon.
#[doc(hidden)]
pub fn decode_chat(
    events: impl Iterator<Item = (Option<String>, String)>,
    endpoint: &str,
    model: &str,
) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    alone::decode(&OpenAiChat, &target(endpoint, model, Quirks::PLAIN), events)
}

/// Decodes an answer that came as one body, from endpoint and model `test`.
///
/// # Errors
/// An error object, or a body that is not of the protocol.
#[doc(hidden)]
pub fn decode_chat_whole(body: &[u8]) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    alone::decode_whole(&OpenAiChat, body)
}

/// The body of a request to an endpoint with these quirks.
#[doc(hidden)]
#[must_use]
pub fn encode_chat(
    request: &ModelRequest,
    (endpoint, model): (&str, &str),
    quirks: Quirks,
) -> Vec<u8> {
    OpenAiChat.encode(request, &target(endpoint, model, quirks))
}
