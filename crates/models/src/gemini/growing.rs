//! One block of an answer while its parts are received, and the parts as they go back.

use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Native, RawJson};
use serde_json::value::RawValue;

use crate::item::{Item, raw_of};

/// Where a part has what only its provider reads.
pub(super) const SIGNATURE: &str = "thoughtSignature";
/// Members that say something about a part and are not what it holds.
const ABOUT_PARTS: [&str; 3] = ["thought", SIGNATURE, "partMetadata"];

/// A block that is being received.
#[derive(Debug)]
pub(super) enum Growing {
    /// Neighbouring parts of text, or of thought.
    Text { is_thought: bool, pieces: Vec<Piece> },
    /// A call.
    Call { id: String, name: String, arguments: String, item: Box<RawValue> },
    /// Anything else.
    Opaque { kind: String, item: Box<RawValue> },
}

/// Text that goes back as one part.
#[derive(Debug)]
pub(super) struct Piece {
    text: String,
    /// The part as it came; none once further text was added to it.
    item: Option<Box<RawValue>>,
    /// Whether further text can be added: a part with a signature goes back by itself.
    is_open: bool,
}

impl Growing {
    /// The block that a part begins; none for a part that holds nothing.
    pub(super) fn of(raw: &RawValue) -> Option<Self> {
        let item = Item::parse(raw.get())?;
        if let Some(call) = item.raw("functionCall").and_then(Item::parse) {
            return Some(Self::Call {
                id: call.text("id").unwrap_or_default(),
                name: call.text("name").unwrap_or_default(),
                arguments: call.raw("args").unwrap_or("{}").to_owned(),
                item: raw.to_owned(),
            });
        }
        if let Some(text) = item.text("text") {
            let is_thought = item.raw("thought") == Some("true");
            let is_open = item.without(&["text", "thought"]).is_empty();
            let is_void = is_open && text.is_empty();
            let piece = Piece { text, item: Some(raw.to_owned()), is_open };
            return (!is_void).then(|| Self::Text { is_thought, pieces: vec![piece] });
        }
        let names: Vec<String> = item.into_members().map(|(name, _)| name).collect();
        let held = names.iter().find(|name| !ABOUT_PARTS.contains(&name.as_str()));
        let kind = held.or(names.first())?.clone();
        Some(Self::Opaque { kind, item: raw.to_owned() })
    }

    /// What a reader is told of a part.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Text { pieces, .. } => pieces.iter().map(|piece| piece.text.as_str()).collect(),
            Self::Call { arguments, .. } => arguments.clone(),
            Self::Opaque { .. } => String::new(),
        }
    }

    /// Takes what follows if it goes on with this block, and gives it back if it does not.
    pub(super) fn join(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (
                Self::Text { is_thought, pieces },
                Self::Text { is_thought: goes_on, pieces: more },
            ) if *is_thought == goes_on => {
                more.into_iter().for_each(|piece| add(pieces, piece));
                None
            }
            (_, next) => Some(next),
        }
    }

    /// The same under this name, if it is a call that has no id.
    pub(super) fn named(mut self, name: Option<String>) -> Self {
        if let (Self::Call { id, .. }, Some(name)) = (&mut self, name)
            && id.is_empty()
        {
            *id = name;
        }
        self
    }

    /// The block, with its native form: one part, or a list of them.
    pub(super) fn finish(self, native: impl Fn(RawJson) -> Native) -> Block {
        let (content, item) = match self {
            Self::Text { is_thought, pieces } => {
                let text = pieces.iter().map(|piece| piece.text.as_str()).collect();
                let mut parts: Vec<_> =
                    pieces.into_iter().map(|piece| part(piece, is_thought)).collect();
                let item = match parts.len() {
                    1 => parts.remove(0),
                    _ => raw_of(parts),
                };
                let content = match is_thought {
                    true => Content::Thinking { text },
                    false => Content::Text { text },
                };
                (content, item)
            }
            Self::Call { id, name, arguments, item } => {
                (Content::ToolCall { id: CallId(id.into()), name, arguments }, item)
            }
            Self::Opaque { kind, item } => (Content::Opaque { kind }, item),
        };
        let item = RawJson::parse(item.get().to_owned()).expect("a JSON text is one");
        Block { content, native: Some(native(item)) }
    }
}

fn add(pieces: &mut Vec<Piece>, piece: Piece) {
    match pieces.last_mut() {
        Some(last) if last.is_open && piece.is_open => {
            last.text.push_str(&piece.text);
            last.item = None;
        }
        _ => pieces.push(piece),
    }
}

fn part(piece: Piece, is_thought: bool) -> Box<RawValue> {
    piece.item.unwrap_or_else(|| {
        let mut item = Item::default();
        item.set_text("text", &piece.text);
        if is_thought {
            item.set("thought", raw_of(true));
        }
        raw_of(item)
    })
}

/// The parts of a native form, as they go back: none for what stands beside the parts of an answer.
pub(super) fn parts(native: &RawJson) -> Vec<Box<RawValue>> {
    let text = native.as_str();
    if let Ok(parts) = serde_json::from_str(text) {
        return parts;
    }
    let is_beside = |item: &Item| super::BESIDE_PARTS.iter().any(|name| item.raw(name).is_some());
    Item::parse(text).filter(|item| !is_beside(item)).map(|_| raw_of(native)).into_iter().collect()
}
