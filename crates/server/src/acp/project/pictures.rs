//! Pictures of a conversation: which ones an entry shows, and their bytes for a client.

use std::collections::HashMap;

use agent_client_protocol::v1::schema::{ContentBlock, ImageContent};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use oarlock_core::event::{AgentEvent, Event};
use oarlock_core::ids::BlobId;
use oarlock_core::message::Part;

use crate::acp::content::text;

/// Bytes of a picture that a client is sent; of a larger one it is told.
const PICTURE_MAX: usize = 2 << 20;
/// Pictures of one entry that a client is sent.
const PICTURES_MAX: usize = 8;

/// Pictures that were read from the store.
#[derive(Debug, Default)]
pub(in crate::acp) struct Pictures(pub(in crate::acp) HashMap<BlobId, Bytes>);

impl Pictures {
    /// The pictures that are to be read before this event can be shown, and their sizes.
    pub(in crate::acp) fn of(event: &AgentEvent) -> Vec<(BlobId, usize)> {
        let entry = match event {
            AgentEvent::Entry(entry) => entry,
            AgentEvent::Scoped { event, .. } => return Self::of(event),
            AgentEvent::Delta(_) | AgentEvent::CaughtUp { .. } => return Vec::new(),
        };
        let content = match &entry.event {
            Event::InputAdmitted(input) => &input.content,
            Event::ToolSettled(settled) => &settled.content,
            _ => return Vec::new(),
        };
        let small = content.iter().filter_map(|part| {
            let Part::Image { blob, bytes, .. } = part else { return None };
            let bytes = usize::try_from(*bytes).ok()?;
            (bytes <= PICTURE_MAX).then(|| (blob.clone(), bytes))
        });
        small.take(PICTURES_MAX).collect()
    }

    /// A picture as a client takes it; words for one that is not at hand, and for a document. Nothing for text.
    pub(super) fn shown(&self, part: &Part) -> Option<ContentBlock> {
        let (media_type, blob, bytes) = match part {
            Part::Text { .. } => return None,
            Part::Image { media_type, blob, bytes } => (media_type, blob, bytes),
            Part::Document { name, bytes, .. } => {
                return Some(text(format!("[{name}, {bytes} bytes]")));
            }
        };
        Some(match self.0.get(blob) {
            Some(body) => {
                ContentBlock::Image(ImageContent::new(STANDARD.encode(body), media_type.clone()))
            }
            None => text(format!("[{media_type}, {bytes} bytes]")),
        })
    }
}
