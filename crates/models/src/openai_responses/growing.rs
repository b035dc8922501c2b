//! One item of an answer while it is received: what a reader is told of it, and the item itself once it is done.

use oarlock_core::event::DeltaItem;
use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Native, RawJson};
use oarlock_core::ports::model::ModelEvent;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::item::Item;

/// Where a thought is that only its provider reads.
const SEALED: &str = "encrypted_content";
/// Stands between the parts of a thought.
const GAP: &str = "\n\n";

/// What a delta adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text of a message.
    Words,
    /// Words of refusal of a message.
    Refusal,
    /// Arguments of a call.
    Arguments,
    /// Thought, in the part with this number.
    Thought(u64),
    /// A summary of thought, in the part with this number.
    Summary(u64),
}

/// An item that is being received.
#[derive(Debug, Default)]
pub(super) struct Growing {
    kind: String,
    /// The item as it was opened.
    opened: Item,
    /// Text, thought or arguments, as they were told.
    text: String,
    /// The part of thought that was told last. Where thought comes in full and as a summary, the one that comes first is told.
    part: Option<Piece>,
    /// Whether it holds words of refusal.
    pub(super) refused: bool,
    /// The item as it was when it was done.
    done: Option<RawJson>,
}

impl Growing {
    pub(super) fn opened(item: Item) -> Self {
        Self { kind: item.kind(), opened: item, ..Self::default() }
    }

    /// Whether it is of the same type.
    pub(super) fn is_like(&self, item: &Item) -> bool {
        self.kind == item.kind()
    }

    /// Whether an item that is done in this one's place is this one.
    pub(super) fn may_become(&self, item: &Item) -> bool {
        self.is_like(item) && self.done.is_none()
    }

    /// Whether a later form of this item, the one given, has what this one still needs.
    pub(super) fn lacks(&self, item: &Item) -> bool {
        let Some(done) = self.done.as_ref().and_then(|done| Item::parse(done.as_str())) else {
            return true;
        };
        self.kind == "reasoning" && is_unsealed(&done) && !is_unsealed(item)
    }

    /// Adds a piece and tells it. What does not fit the item says nothing to a reader.
    pub(super) fn grow(&mut self, at: usize, piece: Piece, delta: &str, out: &mut Vec<ModelEvent>) {
        let fits = match piece {
            Piece::Words | Piece::Refusal => self.kind == "message",
            Piece::Arguments => self.kind == "function_call",
            Piece::Thought(_) | Piece::Summary(_) => self.kind == "reasoning",
        };
        if !fits || self.done.is_some() || delta.is_empty() {
            return;
        }
        self.refused |= piece == Piece::Refusal;
        let gap = match (self.part, piece) {
            (Some(Piece::Thought(last)), Piece::Thought(part))
            | (Some(Piece::Summary(last)), Piece::Summary(part)) => last != part,
            (Some(Piece::Thought(_)), Piece::Summary(_))
            | (Some(Piece::Summary(_)), Piece::Thought(_)) => return,
            _ => false,
        };
        self.part = Some(piece);
        let gap = if gap { GAP } else { "" };
        self.tell(at, &format!("{gap}{delta}"), out);
    }

    /// Takes the item as it is when it is done, and tells what of it was not told. What it says counts, whatever was told before.
    pub(super) fn close(
        &mut self,
        at: usize,
        raw: &RawValue,
        item: &Item,
        out: &mut Vec<ModelEvent>,
    ) {
        self.kind = item.kind();
        let whole = self.whole(item);
        if let Some(rest) = whole.strip_prefix(self.text.as_str()).map(str::to_owned) {
            self.tell(at, &rest, out);
        } else if !whole.is_empty() {
            self.text = whole;
        }
        self.done = RawJson::parse(raw.get().to_owned()).ok();
    }

    /// What an item that is done says to a reader.
    fn whole(&mut self, item: &Item) -> String {
        match self.kind.as_str() {
            "message" => {
                let parts = parts(item, "content");
                let refusal = |part: &Value| part["refusal"].as_str().map(str::to_owned);
                self.refused |= parts.iter().any(|part| refusal(part).is_some());
                let words = |part: &Value| part["text"].as_str().map(str::to_owned);
                parts.iter().filter_map(|part| words(part).or_else(|| refusal(part))).collect()
            }
            "reasoning" => {
                let of = |key| {
                    let parts = parts(item, key);
                    let texts: Vec<&str> =
                        parts.iter().filter_map(|part| part["text"].as_str()).collect();
                    texts.join(GAP)
                };
                let (thought, summary) = (of("content"), of("summary"));
                let in_full = match self.part {
                    Some(part) => matches!(part, Piece::Thought(_)),
                    None => summary.is_empty(),
                };
                if in_full { thought } else { summary }
            }
            "function_call" => arguments(item),
            _ => String::new(),
        }
    }

    fn tell(&mut self, at: usize, text: &str, out: &mut Vec<ModelEvent>) {
        let block = u32::try_from(at).unwrap_or(u32::MAX);
        let item = match self.kind.as_str() {
            "message" => DeltaItem::Text { block },
            "reasoning" => DeltaItem::Thinking { block },
            "function_call" => DeltaItem::Arguments { block },
            _ => return,
        };
        if !text.is_empty() {
            self.text.push_str(text);
            out.push(ModelEvent::Delta { item, text: text.to_owned() });
        }
    }

    /// The block. An item that was never done has no form in which it could be sent back.
    pub(super) fn finish(self, native: impl Fn(RawJson) -> Native) -> Block {
        let done = self.done.as_ref().and_then(|done| Item::parse(done.as_str()));
        let item = done.as_ref().unwrap_or(&self.opened);
        let content = match self.kind.as_str() {
            "message" => Content::Text { text: self.text },
            "reasoning" => Content::Thinking { text: self.text },
            "function_call" => {
                let id = item.text("call_id").or_else(|| item.text("id")).unwrap_or_default();
                let name = item.text("name").unwrap_or_default();
                Content::ToolCall { id: CallId(id.into()), name, arguments: self.text }
            }
            // An item without a type cannot be sent back.
            "" => return Block { content: Content::Opaque { kind: self.kind }, native: None },
            _ => Content::Opaque { kind: self.kind },
        };
        Block { content, native: self.done.map(native) }
    }
}

/// Whether a thought lacks the form in which only its provider reads it.
pub(super) fn is_unsealed(item: &Item) -> bool {
    item.text(SEALED).is_none_or(|sealed| sealed.is_empty())
}

/// The members of a list, as far as they can be read.
pub(super) fn parts(item: &Item, key: &str) -> Vec<Value> {
    item.raw(key).and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default()
}

/// The arguments as received; some servers send the object itself.
fn arguments(item: &Item) -> String {
    match item.raw("arguments") {
        None | Some("null") => String::new(),
        Some(raw) => serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned()),
    }
}
