//! The wire `gemini`, as Google AI and Vertex speak it: `streamGenerateContent` and its request. No I/O.

mod contents;
mod counts;
mod decode;
mod encode;
pub(crate) mod family;
mod growing;

use oarlock_core::ports::model::{ModelError, ModelEvent, ModelRequest, Reply};

use crate::alone::{self, target};
use crate::codec::{Codec, Decoder, Target};
use crate::names::{Names, begun_with_letter};
use crate::quirks::Quirks;
use decode::GeminiDecoder;

/// The name of the wire, as native items carry it.
pub(crate) const WIRE: &str = "gemini";
/// What a candidate has beside its parts. It is kept as it came; a request has no place for it.
const BESIDE_PARTS: [&str; 3] = ["groundingMetadata", "citationMetadata", "urlContextMetadata"];

/// The codec of this wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gemini;

impl Codec for Gemini {
    fn encode(&self, request: &ModelRequest, target: &Target) -> Vec<u8> {
        encode::body(request, &self.names(request), target)
    }

    fn names(&self, request: &ModelRequest) -> Names {
        Names::of(&request.tools, begun_with_letter)
    }

    fn decoder(&self, target: &Target) -> Box<dyn Decoder> {
        Box::new(GeminiDecoder::new(target))
    }
}

/// Decodes the events of one answer; each is its name, if it has one, and its data.
///
/// # Errors
/// An error inside the stream, a payload that is not of the protocol, or a stream that ends too soon.
#[doc(hidden)]
pub fn decode_gemini(
    events: impl Iterator<Item = (Option<String>, String)>,
    endpoint: &str,
    model: &str,
) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    alone::decode(&Gemini, &target(endpoint, model, Quirks::PLAIN), events)
}

/// Decodes an answer that came as one body, from endpoint and model `test`.
///
/// # Errors
/// An error object, or a body that is not of the protocol.
#[doc(hidden)]
pub fn decode_gemini_whole(body: &[u8]) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    alone::decode_whole(&Gemini, body)
}

/// The body of a request to a model that is its own family.
#[doc(hidden)]
#[must_use]
pub fn encode_gemini(request: &ModelRequest, endpoint: &str, model: &str) -> Vec<u8> {
    Gemini.encode(request, &target(endpoint, model, Quirks::PLAIN))
}
