//! A codec by itself, as tests and benches drive it: without an endpoint, a transport or a runtime.

use oarlock_core::ports::model::{ModelError, ModelEvent, Reply};

use crate::codec::{Codec, Target};
use crate::quirks::Quirks;

/// Decodes the events of one answer; each is its name, if it has one, and its data.
///
/// # Errors
/// An error inside the stream, a payload that is not of the protocol, or a stream that ends too soon.
pub(crate) fn decode(
    codec: &dyn Codec,
    target: &Target,
    events: impl Iterator<Item = (Option<String>, String)>,
) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    let mut decoder = codec.decoder(target);
    let mut out = Vec::new();
    for (name, data) in events {
        decoder.event(name.as_deref(), &data, &mut out)?;
        if decoder.is_done() {
            break;
        }
    }
    Ok((out, decoder.finish()?))
}

/// Decodes an answer that came as one body, from endpoint and model `test`.
///
/// # Errors
/// An error object, or a body that is not of the protocol.
pub(crate) fn decode_whole(
    codec: &dyn Codec,
    body: &[u8],
) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    let mut decoder = codec.decoder(&target("test", "test", Quirks::PLAIN));
    let mut out = Vec::new();
    decoder.whole(body, &mut out)?;
    Ok((out, decoder.finish()?))
}

/// A model that is its own family, at an endpoint with these quirks.
pub(crate) fn target(endpoint: &str, model: &str, quirks: Quirks) -> Target {
    Target {
        endpoint: endpoint.to_owned(),
        model: model.to_owned(),
        family: model.to_owned(),
        output_max: None,
        quirks,
    }
}
