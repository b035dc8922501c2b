//! Tool calls that arrive in pieces, told apart by index, by id, or by neither.

use oarlock_core::ids::CallId;
use oarlock_core::message::Content;
use serde_json::value::RawValue;

use crate::item::{Item, raw_of};

/// One call while it is received.
#[derive(Debug, Default)]
pub(super) struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    /// The arguments as received.
    pub(super) arguments: String,
    /// What else the item holds, such as a provider's signature.
    extra: Item,
}

/// A piece of a call, as an event has it.
#[derive(Debug, Default)]
pub(super) struct Piece {
    index: Option<u64>,
    id: String,
    name: String,
    pub(super) arguments: String,
    extra: Item,
}

impl Piece {
    /// Reads a member of `tool_calls`, or the old `function_call`.
    pub(super) fn read(raw: &RawValue) -> Self {
        let Some(item) = Item::parse(raw.get()) else { return Self::default() };
        let inner = item.raw("function").and_then(Item::parse);
        let function = inner.as_ref().unwrap_or(&item);
        let arguments = match function.raw("arguments") {
            None | Some("null") => String::new(),
            // Some servers send the object itself.
            Some(raw) => serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned()),
        };
        Self {
            index: item.raw("index").and_then(|index| index.parse().ok()),
            id: item.text("id").unwrap_or_default(),
            name: function.text("name").unwrap_or_default(),
            arguments,
            extra: item.without(&["index", "id", "type", "function", "name", "arguments"]),
        }
    }

    /// Whether this piece belongs to that call, when it is of the same index or has none.
    fn continues(&self, call: &Call) -> bool {
        let other_id = !self.id.is_empty() && !call.id.is_empty() && self.id != call.id;
        if self.name.is_empty() {
            // Servers that make up an id for every piece give it no name.
            return true;
        }
        if other_id {
            return false;
        }
        if self.name != call.name {
            // A name may come in pieces, but only before the arguments.
            return call.arguments.is_empty() && (!self.id.is_empty() || call.id.is_empty());
        }
        // The name again: a repetition, unless a second call to the same tool begins behind a complete one.
        let same_id = !self.id.is_empty() && self.id == call.id;
        same_id || !is_complete(&call.arguments) || self.arguments.is_empty()
    }
}

impl Call {
    pub(super) fn begin(piece: &mut Piece) -> Self {
        Self {
            index: piece.index,
            id: std::mem::take(&mut piece.id),
            name: std::mem::take(&mut piece.name),
            arguments: String::new(),
            extra: std::mem::take(&mut piece.extra),
        }
    }

    /// Adds a piece.
    pub(super) fn add(&mut self, piece: Piece) {
        if self.id.is_empty() {
            self.id = piece.id;
        }
        if self.name != piece.name {
            self.name.push_str(&piece.name);
        }
        self.arguments.push_str(&piece.arguments);
        self.extra.merge(piece.extra);
    }

    /// The call and its item as it is sent back.
    pub(super) fn close(self) -> (Content, Item) {
        let mut function = Item::default();
        function.set_text("name", &self.name);
        function.set_text("arguments", &self.arguments);
        let mut item = Item::default();
        item.set_text("id", &self.id);
        item.set_text("type", "function");
        item.set("function", raw_of(function));
        item.merge(self.extra);
        let id = CallId(self.id.into());
        (Content::ToolCall { id, name: self.name, arguments: self.arguments }, item)
    }
}

/// Which of the calls a piece continues; none when it begins one.
pub(super) fn continued<'a>(
    calls: impl DoubleEndedIterator<Item = (usize, &'a Call)> + Clone,
    piece: &Piece,
) -> Option<usize> {
    if !piece.id.is_empty()
        && let Some((at, _)) = calls.clone().find(|(_, call)| call.id == piece.id)
    {
        return Some(at);
    }
    let mut latest = calls.rev();
    let found = match piece.index {
        Some(index) => latest.find(|(_, call)| call.index == Some(index)),
        // Without an index a new id is a new call.
        None if !piece.id.is_empty() => None,
        None => latest.next(),
    };
    found.filter(|(_, call)| piece.continues(call)).map(|(at, _)| at)
}

fn is_complete(arguments: &str) -> bool {
    arguments.trim_start().starts_with('{') && serde_json::from_str::<&RawValue>(arguments).is_ok()
}
