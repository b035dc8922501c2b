//! One block of an answer while it is received.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oarlock_core::event::DeltaItem;
use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Native, RawJson};
use oarlock_core::ports::model::ModelEvent;
use serde_json::json;
use serde_json::value::RawValue;

use crate::anthropic::input_of;
use crate::item::{Item, raw_of};

/// The type of a call that the provider itself runs.
const OF_THE_PROVIDER: &str = "server_tool_use";

/// A block that is being received. Its kind is the one member that it has on the wire.
#[derive(Debug, Default)]
pub(super) struct Growing {
    kind: String,
    /// What the member held when it was opened, and what was added to it that is not known here.
    item: Item,
    /// Words, thought or input.
    text: String,
    signature: String,
    /// Pieces of thought that only its provider reads.
    sealed: Vec<String>,
    /// Citations of words, or the content of a result.
    parts: Vec<Box<RawValue>>,
    /// The block as it came, in an answer that came whole.
    whole: Option<RawJson>,
}

impl Growing {
    /// A block that begins with this; `Null` for one of which nothing is known but that it is there.
    pub(super) fn opened(kind: String, value: &RawValue) -> Self {
        Self { kind, item: Item::parse(value.get()).unwrap_or_default(), ..Self::default() }
    }

    /// A block to which nothing will be added.
    pub(super) fn whole(raw: &RawValue, at: usize, out: &mut Vec<ModelEvent>) -> Self {
        let block = Item::parse(raw.get()).unwrap_or_default();
        let Some((kind, value)) = block.into_members().next() else { return Self::default() };
        let mut growing = Self::opened(kind, &value);
        match growing.kind.as_str() {
            "text" => growing.tell(at, &text(&value), out),
            "citationsContent" => {
                growing.kind = "text".to_owned();
                let parts: Vec<Item> = growing
                    .item
                    .raw("content")
                    .and_then(|r| serde_json::from_str(r).ok())
                    .unwrap_or_default();
                let words: String = parts.iter().filter_map(|part| part.text("text")).collect();
                growing.tell(at, &words, out);
            }
            "reasoningContent" => growing.think(at, &value, out),
            "toolUse" => {
                let input = growing.item.raw("input").unwrap_or_default().to_owned();
                growing.tell(at, &input, out);
            }
            _ => {}
        }
        if growing.kind != "toolUse" {
            growing.whole = RawJson::parse(raw.get().to_owned()).ok();
        }
        growing
    }

    /// Adds to the block. What does not fit it says nothing to a reader.
    pub(super) fn extend(
        &mut self,
        at: usize,
        kind: &str,
        value: &RawValue,
        out: &mut Vec<ModelEvent>,
    ) {
        match (self.kind.as_str(), kind) {
            ("text", "text") => self.tell(at, &text(value), out),
            ("citation", "text") => {
                self.kind = "text".to_owned();
                self.tell(at, &text(value), out);
            }
            ("text" | "citation", "citation") => self.parts.push(value.to_owned()),
            ("reasoningContent", "reasoningContent") => self.think(at, value, out),
            ("toolUse", "toolUse") => {
                let delta = Item::parse(value.get()).unwrap_or_default();
                self.tell(at, &delta.text("input").unwrap_or_default(), out);
            }
            ("toolResult", "toolResult") => {
                let parts: Result<Vec<Box<RawValue>>, _> = serde_json::from_str(value.get());
                self.parts.extend(parts.unwrap_or_default());
            }
            (own, other) if own == other => {
                self.item.merge(Item::parse(value.get()).unwrap_or_default());
            }
            _ => {}
        }
    }

    /// Thought in a stream is a text, a signature or something sealed; in an answer that came whole text and signature stand together.
    fn think(&mut self, at: usize, value: &RawValue, out: &mut Vec<ModelEvent>) {
        let thought = Item::parse(value.get()).unwrap_or_default();
        let whole = thought.raw("reasoningText").and_then(Item::parse);
        self.sealed.extend(thought.text("redactedContent"));
        let thought = whole.unwrap_or(thought);
        self.signature.push_str(&thought.text("signature").unwrap_or_default());
        self.tell(at, &thought.text("text").unwrap_or_default(), out);
    }

    fn is_of_the_provider(&self) -> bool {
        self.item.kind() == OF_THE_PROVIDER
    }

    fn tell(&mut self, at: usize, text: &str, out: &mut Vec<ModelEvent>) {
        self.text.push_str(text);
        let block = u32::try_from(at).unwrap_or(u32::MAX);
        let item = match self.kind.as_str() {
            "text" => DeltaItem::Text { block },
            "reasoningContent" => DeltaItem::Thinking { block },
            "toolUse" if !self.is_of_the_provider() => DeltaItem::Arguments { block },
            _ => return,
        };
        if !text.is_empty() {
            out.push(ModelEvent::Delta { item, text: text.to_owned() });
        }
    }

    /// The block, with its native form in the shape in which the wire takes it back.
    pub(super) fn finish(self, native: impl Fn(RawJson) -> Native) -> Block {
        let content = self.content();
        let item = match &content {
            // An item without a kind cannot be sent back.
            Content::Opaque { kind } if kind.is_empty() => None,
            // Claude refuses thought without its signature, and others refuse any.
            Content::Thinking { .. } if self.signature.is_empty() && self.sealed.is_empty() => None,
            Content::Thinking { .. }
            | Content::Opaque { .. }
            | Content::Text { .. }
            | Content::ToolCall { .. } => Some(self.back()),
        };
        Block { content, native: item.map(native) }
    }

    fn content(&self) -> Content {
        match self.kind.as_str() {
            "text" => Content::Text { text: self.text.clone() },
            "reasoningContent" => Content::Thinking { text: self.text.clone() },
            "toolUse" if !self.is_of_the_provider() => Content::ToolCall {
                id: CallId(self.item.text("toolUseId").unwrap_or_default().into()),
                name: self.item.text("name").unwrap_or_default(),
                arguments: self.text.clone(),
            },
            "citation" => Content::Opaque { kind: "citationsContent".to_owned() },
            kind => {
                let named = Some(self.item.kind()).filter(|kind| !kind.is_empty());
                Content::Opaque { kind: named.unwrap_or_else(|| kind.to_owned()) }
            }
        }
    }

    fn back(self) -> RawJson {
        let Self { kind, mut item, text, signature, mut sealed, parts, whole } = self;
        if let Some(whole) = whole {
            return whole;
        }
        let (kind, value) = match kind.as_str() {
            "text" if parts.is_empty() => ("text", raw_of(text)),
            "text" => ("citationsContent", {
                raw_of(json!({"content": [{"text": text}], "citations": parts}))
            }),
            "citation" => ("citationsContent", raw_of(json!({ "citations": parts }))),
            "reasoningContent" if sealed.is_empty() => (
                "reasoningContent",
                raw_of(json!({"reasoningText": {"text": text, "signature": signature}})),
            ),
            "reasoningContent" => {
                let whole = if sealed.len() == 1 { sealed.remove(0) } else { joined(&sealed) };
                ("reasoningContent", raw_of(json!({ "redactedContent": whole })))
            }
            "toolUse" => {
                // Only calls that the provider runs have a type in a request.
                if item.kind() != OF_THE_PROVIDER {
                    item = item.without(&["type"]);
                }
                item.set("input", input_of(&text));
                ("toolUse", raw_of(item))
            }
            "toolResult" => {
                item.set("content", raw_of(parts));
                ("toolResult", raw_of(item))
            }
            kind => (kind, raw_of(item)),
        };
        let mut block = Item::default();
        block.set(kind, value);
        block.into_json()
    }
}

/// The bytes of all pieces as one text in base64; each piece is padded by itself.
fn joined(pieces: &[String]) -> String {
    let bytes: Result<Vec<Vec<u8>>, _> =
        pieces.iter().map(|piece| STANDARD.decode(piece)).collect();
    bytes.map_or_else(|_| pieces.concat(), |bytes| STANDARD.encode(bytes.concat()))
}

fn text(value: &RawValue) -> String {
    serde_json::from_str(value.get()).unwrap_or_default()
}
