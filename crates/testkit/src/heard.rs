//! What a caller hears of one call of a model, held to what every call keeps to, whatever bytes its answer is made of.

use futures::StreamExt;
use oarlock_core::event::DeltaItem;
use oarlock_core::message::{Block, Content, Message, Part};
use oarlock_core::ports::model::{Model, ModelErrorKind, ModelEvent, Reply};

use crate::model::asking;

/// Things that a model may say beside one for each byte and each chunk.
const EVENTS_FIXED: usize = 16;
/// Bytes that are told, and bytes of a reply's blocks, for each byte of the answer. A byte that is no letter becomes three; an item and its text
/// are kept beside each other, and arguments that cannot be read are quoted.
const BYTES_PER_BYTE: usize = 8;
/// Bytes beside these: the names of members that an item goes back with.
const BYTES_PER_BLOCK: usize = 128;

/// What a caller heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The pieces, each with its block.
    pub deltas: Vec<(DeltaItem, String)>,
    /// The reply, or what kind of failure it was.
    pub end: Result<Reply, ModelErrorKind>,
}

/// Calls a model whose answer will have so many bytes, in so many chunks.
///
/// # Panics
/// When the call does not end with one reply or one error, says more than its bytes allow, tells of a block that the reply has not,
/// or counts more thought than it answered.
pub async fn heard(model: &dyn Model, bytes: usize, chunks: usize) -> Heard {
    let mut stream = model.call(asking(vec![Message::User { parts: vec![Part::text("go")] }]));
    let (mut deltas, mut events, mut end) = (Vec::new(), 0, None);
    while let Some(item) = stream.next().await {
        assert!(end.is_none(), "the reply or the error is the last item, not followed by {item:?}");
        events += 1;
        match item {
            Ok(ModelEvent::Alive | ModelEvent::Waits { .. }) => {}
            Ok(ModelEvent::Delta { item, text }) => deltas.push((item, text)),
            Ok(ModelEvent::Reply(reply)) => end = Some(Ok(reply)),
            Err(error) => end = Some(Err(error.kind)),
        }
    }
    assert!(events <= bytes + chunks + EVENTS_FIXED, "{events} events for {bytes} bytes");
    let told: usize = deltas.iter().map(|(_, text)| text.len()).sum();
    assert!(told <= BYTES_PER_BYTE * bytes, "{told} bytes told for {bytes}");
    let end = end.expect("a call ends with a reply or an error");
    if let Ok(reply) = &end {
        let held: usize = reply.blocks.iter().map(held).sum();
        let most = BYTES_PER_BYTE * bytes + BYTES_PER_BLOCK * reply.blocks.len();
        assert!(held <= most, "{held} bytes of blocks for {bytes}: {reply:?}");
        assert!(reply.usage.reasoning <= reply.usage.output, "{:?}", reply.usage);
        deltas.iter().for_each(|(item, _)| is_of_a_block(item, &reply.blocks));
    }
    Heard { deltas, end }
}

fn held(block: &Block) -> usize {
    let said = match &block.content {
        Content::Text { text } | Content::Thinking { text } => text.len(),
        Content::ToolCall { id, name, arguments } => id.0.len() + name.len() + arguments.len(),
        Content::Opaque { kind } => kind.len(),
    };
    said + block.native.as_ref().map_or(0, |native| native.item.as_str().len())
}

/// A delta names a block that the reply has, of its kind.
fn is_of_a_block(item: &DeltaItem, blocks: &[Block]) {
    let at = |block: &u32| blocks.get(*block as usize).map(|block| &block.content);
    let fits = match item {
        DeltaItem::Text { block } => matches!(at(block), Some(Content::Text { .. })),
        DeltaItem::Thinking { block } => matches!(at(block), Some(Content::Thinking { .. })),
        DeltaItem::Arguments { block } => matches!(at(block), Some(Content::ToolCall { .. })),
        DeltaItem::Wait | DeltaItem::Output { .. } | DeltaItem::Task { .. } => false,
    };
    assert!(fits, "a delta of {item:?}, which is no block of {blocks:?}");
}
