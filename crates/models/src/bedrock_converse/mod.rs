//! The wire `bedrock-converse`: Amazon Bedrock's Converse, as AWS documents it under `ConverseStream`. No I/O here: requests become bytes and
//! events become blocks.

pub(crate) mod address;
mod decode;
mod encode;
mod growing;
pub(crate) mod kin;
mod schema;
mod turns;

use oarlock_core::ports::model::{ModelError, ModelEvent, ModelRequest, Reply};

use crate::alone::{self, target};
use crate::codec::{Codec, Decoder, Target};
use crate::names::Names;
use crate::outgoing::tool_name;
use crate::quirks::Quirks;
use decode::ConverseDecoder;

/// The name of the wire, as native items carry it.
pub(crate) const WIRE: &str = "bedrock-converse";

/// The codec of this wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BedrockConverse;

impl Codec for BedrockConverse {
    fn encode(&self, request: &ModelRequest, target: &Target) -> Vec<u8> {
        encode::body(request, &self.names(request), target)
    }

    fn names(&self, request: &ModelRequest) -> Names {
        Names::of(&request.tools, tool_name)
    }

    fn decoder(&self, target: &Target) -> Box<dyn Decoder> {
        Box::new(ConverseDecoder::new(target))
    }
}

/// Decodes the events of one answer; each is its name, if it has one, and its data.
///
/// # Errors
/// An error inside the stream, a payload that is not of the protocol, or a stream that ends too soon.
#[doc(hidden)]
pub fn decode_converse(
    events: impl Iterator<Item = (Option<String>, String)>,
    endpoint: &str,
    model: &str,
) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    alone::decode(&BedrockConverse, &target(endpoint, model, Quirks::PLAIN), events)
}

/// Decodes an answer that came as one body, from endpoint and model `test`.
///
/// # Errors
/// An error object, or a body that is not of the protocol.
#[doc(hidden)]
pub fn decode_converse_whole(body: &[u8]) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    alone::decode_whole(&BedrockConverse, body)
}

/// The body of a request to an endpoint with these quirks.
#[doc(hidden)]
#[must_use]
pub fn encode_converse(
    request: &ModelRequest,
    (endpoint, model): (&str, &str),
    quirks: Quirks,
) -> Vec<u8> {
    BedrockConverse.encode(request, &target(endpoint, model, quirks))
}
