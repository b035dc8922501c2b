//! What every wire does: a request becomes bytes, and the events of an answer become blocks. Pure.

use oarlock_core::message::{Block, Native, RawJson};
use oarlock_core::ports::model::{ModelError, ModelErrorKind, ModelEvent, ModelRequest, Reply};

use crate::names::Names;

/// A wire format.
pub(crate) trait Codec: Send + Sync + std::fmt::Debug {
    /// The body of a streaming request. The same request gives the same bytes; a request that only appends messages to another one gives a
    /// body whose messages begin with the other one's.
    fn encode(&self, request: &ModelRequest, target: &Target) -> Vec<u8>;

    /// How the tools of a request are spelled in it. By that, and by nothing else, calls are given the runtime's own names again.
    fn names(&self, _: &ModelRequest) -> Names {
        Names::as_they_are()
    }

    /// A decoder for one answer, whose calls have the names that the model wrote.
    fn decoder(&self, target: &Target) -> Box<dyn Decoder>;
}

/// Decodes one answer.
pub(crate) trait Decoder: Send {
    /// Takes one event of a stream, whatever its framing. What it means for a reader is appended to `out` ([`ModelEvent::Alive`] or deltas, never the reply).
    ///
    /// # Errors
    /// An error inside the stream, or a payload that is not of the protocol.
    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut Vec<ModelEvent>,
    ) -> Result<(), Fault>;

    /// Takes an answer that came as one JSON body instead of a stream.
    ///
    /// # Errors
    /// An error object, or a body that is not of the protocol.
    fn whole(&mut self, body: &[u8], out: &mut Vec<ModelEvent>) -> Result<(), Fault>;

    /// Whether the terminal event has come: what follows on the connection does not matter.
    fn is_done(&self) -> bool;

    /// The answer, after the last event.
    ///
    /// # Errors
    /// `Truncated` when the terminal event has not come.
    fn finish(self: Box<Self>) -> Result<Reply, Fault>;
}

/// Bytes that all events of one answer may have; beyond it the answer is refused.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Blocks that one answer may have; beyond it the answer is refused.
pub(crate) const BLOCKS_MAX: usize = 4096;

/// How much of an answer has come.
#[derive(Debug, Default)]
pub(crate) struct Received {
    bytes: usize,
}

impl Received {
    /// Counts bytes that came for an answer that has so many blocks.
    ///
    /// # Errors
    /// When it is more than an answer may have.
    pub(crate) fn add(&mut self, bytes: usize, blocks: usize) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > ANSWER_BYTES_MAX || blocks > BLOCKS_MAX {
            return Err(Fault::protocol(format!(
                "the answer is larger than {ANSWER_BYTES_MAX} bytes or {BLOCKS_MAX} blocks"
            )));
        }
        Ok(())
    }
}

/// Whom a request is for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The provider's configured name: native items go back only to the endpoint they came from.
    pub(crate) endpoint: String,
    /// The model's id.
    pub(crate) model: String,
    /// The model's family.
    pub(crate) family: String,
    /// Tokens that an answer may have when the request does not say.
    pub(crate) output_max: Option<u64>,
    /// What is special about this endpoint.
    pub(crate) quirks: crate::quirks::Quirks,
}

impl Target {
    /// What native items of its answers carry over this wire.
    pub(crate) fn origin(&self, wire: &'static str) -> Origin {
        Origin { wire, endpoint: self.endpoint.clone(), family: self.family.clone() }
    }

    /// The native form of a block that came from here over this wire: from the same endpoint and family.
    pub(crate) fn own<'b>(&self, wire: &str, block: &'b Block) -> Option<&'b Native> {
        block.native.as_ref().filter(|native| {
            native.wire == wire && native.endpoint == self.endpoint && native.model == self.family
        })
    }
}

/// Where native items come from, and alone can go back to.
#[derive(Debug)]
pub(crate) struct Origin {
    wire: &'static str,
    endpoint: String,
    family: String,
}

impl Origin {
    /// An item as it came.
    pub(crate) fn native(&self, item: RawJson) -> Native {
        Native {
            wire: self.wire.to_owned(),
            endpoint: self.endpoint.clone(),
            model: self.family.clone(),
            item,
        }
    }
}

/// What went wrong, in the provider's words; the transport adds endpoint, model and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What kind.
    pub(crate) kind: ModelErrorKind,
    /// In words, without keys.
    pub(crate) message: String,
    /// How long the provider asked us to wait.
    pub(crate) retry_after_ms: Option<u64>,
}

impl Fault {
    /// An answer that is not of the protocol.
    pub(crate) fn protocol(message: String) -> Self {
        Self { kind: ModelErrorKind::Transport, message, retry_after_ms: None }
    }

    /// An answer that ended before it was whole.
    pub(crate) fn truncated(message: &str) -> Self {
        Self { kind: ModelErrorKind::Truncated, message: message.to_owned(), retry_after_ms: None }
    }
}

impl From<Fault> for ModelError {
    fn from(fault: Fault) -> Self {
        let Fault { kind, message, retry_after_ms } = fault;
        Self { kind, message, retry_after_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_size_that_it_does_not_exceed_and_adds_up() {
        let mut received = Received::default();
        for _ in 0..64 {
            received.add(1 << 20, BLOCKS_MAX).unwrap();
        }
        assert_eq!(received.add(1, 0).unwrap_err().kind, ModelErrorKind::Transport);
        assert!(Received::default().add(0, BLOCKS_MAX + 1).is_err());
        assert!(Received { bytes: 1 }.add(usize::MAX, 0).is_err());
    }
}
