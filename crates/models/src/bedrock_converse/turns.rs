//! The messages of a request: those of the user and of the model in turn, beginning with the user's.

use std::cell::Cell;

use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Message, Part, ToolResult};
use oarlock_core::ports::model::ModelRequest;
use serde_json::json;
use serde_json::value::RawValue;

use super::WIRE;
use super::kin::Kind;
use crate::anthropic::input_of;
use crate::bodies::{Bodies, Given};
use crate::codec::Target;
use crate::conversation::{Answer, Dialect};
use crate::item::{Item, raw_of};
use crate::names::Names;

/// Characters of a call's id that the wire takes.
const ID_CHARS_MAX: usize = 64;
/// Documents of a request, and characters of one in base64: 4.5 MB
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html>).
const DOCUMENTS_MAX: usize = 5;
const DOCUMENT_CHARS_MAX: usize = 6_000_000;

/// What this wire says of a conversation.
pub(super) struct Messages<'a> {
    target: &'a Target,
    kind: Kind<'a>,
    bodies: Bodies<'a>,
    names: &'a Names,
    /// Documents that came so far, and how many of the first ones are left out.
    documents: Cell<usize>,
    without: usize,
}

impl Dialect for Messages<'_> {
    type Call<'b> = &'b CallId;

    fn id<'c>(call: &'c Self::Call<'_>) -> &'c CallId {
        call
    }

    fn text(words: &str) -> Box<RawValue> {
        text(words)
    }

    /// A document may not stand without words.
    fn parts(&self, parts: &[Part]) -> Vec<Box<RawValue>> {
        let said = |part: &Part| part.as_text().is_some() && !part.is_blank();
        let is_bare = !parts.iter().any(said);
        let is_document = |part: &Part| matches!(part, Part::Document { .. });
        let words = (is_bare && parts.iter().any(is_document)).then(|| text("A document:"));
        let parts = parts.iter().filter(|part| !part.is_blank()).map(|part| self.part(part));
        words.into_iter().chain(parts).collect()
    }

    fn answer<'b>(&self, blocks: &'b [Block]) -> Answer<&'b CallId> {
        Answer {
            said: blocks.iter().filter_map(|block| self.block(block)).collect(),
            calls: blocks.iter().filter_map(Block::call).collect(),
        }
    }

    /// Where pictures and documents may not stand in a result, they follow the results.
    fn result(
        &self,
        call: &&CallId,
        result: Option<&ToolResult>,
        after: &mut Vec<Box<RawValue>>,
    ) -> Box<RawValue> {
        let Some(result) = result else {
            return self.answered(call, vec![text("no result is known")], true);
        };
        let holds_bodies = self.kind.has_rich_results() && !result.is_error;
        let (inside, outside): (Vec<_>, Vec<_>) = result
            .parts
            .iter()
            .cloned()
            .partition(|part| holds_bodies || matches!(part, Part::Text { .. }));
        after.extend(self.parts(&outside));
        let mut content = self.parts(&inside);
        if content.is_empty() {
            content.push(text(if result.is_error { "an error without words" } else { "nothing" }));
        }
        self.answered(&result.call, content, result.is_error)
    }
}

impl<'a> Messages<'a> {
    pub(super) fn new(
        request: &'a ModelRequest,
        target: &'a Target,
        kind: Kind<'a>,
        names: &'a Names,
    ) -> Self {
        let bodies = Bodies::new(&request.bodies, kind.documents());
        let without = documents_of(&request.messages).saturating_sub(DOCUMENTS_MAX);
        Self { target, kind, bodies, names, documents: Cell::new(0), without }
    }

    fn answered(
        &self,
        call: &CallId,
        content: Vec<Box<RawValue>>,
        is_error: bool,
    ) -> Box<RawValue> {
        let mut result = Item::default();
        result.set_text("toolUseId", &wire_id(call.as_str()));
        result.set("content", raw_of(content));
        if self.kind.has_rich_results() {
            result.set_text("status", if is_error { "error" } else { "success" });
        }
        block_of("toolResult", result)
    }

    fn part(&self, part: &Part) -> Box<RawValue> {
        if matches!(part, Part::Document { .. }) {
            self.documents.set(self.documents.get() + 1);
        }
        match self.bodies.given(part) {
            Given::Words(words) => text(&words),
            Given::Image { media_type, data } => match format(media_type) {
                Some(format) => {
                    raw_of(json!({"image": {"format": format, "source": {"bytes": data}}}))
                }
                None => text(&format!(
                    "[a picture of type {media_type}, which this model is not shown]"
                )),
            },
            Given::Document { name, data, .. } => self.document(&name, &data),
        }
    }

    /// A document under a name that no other one of the request has, and of letters that the wire takes.
    fn document(&self, name: &str, data: &str) -> Box<RawValue> {
        let number = self.documents.get();
        if number <= self.without {
            return text(&format!(
                "[the document {name} was left out: a request takes {DOCUMENTS_MAX} documents, and newer ones have them]"
            ));
        }
        if data.len() > DOCUMENT_CHARS_MAX {
            return text(&format!("[the document {name}, which is larger than 4.5 MB]"));
        }
        let name = format!("document-{number}");
        raw_of(json!({"document": {"format": "pdf", "name": name, "source": {"bytes": data}}}))
    }

    /// The native item where it came from here, else the meaning; nothing where the wire would refuse it.
    fn block(&self, block: &Block) -> Option<Box<RawValue>> {
        let native = self.target.own(WIRE, block);
        match (&block.content, native) {
            (Content::Text { text }, _) if text.trim().is_empty() => None,
            (Content::ToolCall { id, .. }, Some(native)) => {
                let mut call = Item::parse(Item::parse(native.item.as_str())?.raw("toolUse")?)?;
                let id = wire_id(id.as_str());
                // The runtime may have renamed a call whose id was not unique.
                if call.text("toolUseId").as_deref() == Some(id.as_str()) {
                    return Some(raw_of(&native.item));
                }
                call.set_text("toolUseId", &id);
                Some(block_of("toolUse", call))
            }
            (_, Some(native)) => Some(raw_of(&native.item)),
            (Content::Text { text: words }, None) => Some(text(words)),
            (Content::ToolCall { id, name, arguments }, None) => {
                let mut call = Item::default();
                call.set_text("toolUseId", &wire_id(id.as_str()));
                call.set_text("name", &self.names.spelled(name));
                call.set("input", input_of(arguments));
                Some(block_of("toolUse", call))
            }
            (Content::Thinking { .. } | Content::Opaque { .. }, None) => None,
        }
    }
}

/// The name of a form of pictures, of the four that are taken.
fn format(media_type: &str) -> Option<&'static str> {
    Some(match media_type {
        "image/png" => "png",
        "image/jpeg" | "image/jpg" => "jpeg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        _ => return None,
    })
}

fn text(words: &str) -> Box<RawValue> {
    raw_of(json!({ "text": words }))
}

fn block_of(kind: &str, value: Item) -> Box<RawValue> {
    let mut block = Item::default();
    block.set(kind, raw_of(value));
    raw_of(block)
}

/// The id itself where the wire takes it, else one that stands for it: the same for the same id, and hardly ever for another.
fn wire_id(id: &str) -> String {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match (1..=ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(fits) {
        true => id.to_owned(),
        false => format!("call_{}", &blake3::hash(id.as_bytes()).to_hex()[..24]),
    }
}

/// How many documents a conversation has.
fn documents_of(messages: &[Message]) -> usize {
    let of =
        |parts: &[Part]| parts.iter().filter(|part| matches!(part, Part::Document { .. })).count();
    let count = |message: &Message| match message {
        Message::User { parts } => of(parts),
        Message::Assistant { .. } => 0,
        Message::Tool { results } => results.iter().map(|result| of(&result.parts)).sum(),
    };
    messages.iter().map(count).sum()
}
