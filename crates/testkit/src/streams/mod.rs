//! Answers as providers stream them, made on every wire from what a model is to have said.

mod anthropic;
mod chat;
mod converse;
mod gemini;
mod responses;

use bytes::Bytes;
pub use converse::frame;
use oarlock_core::ids::CallId;
use oarlock_core::message::{Content, Usage};
use serde_json::Value;

/// Tokens of each answer.
const USAGE: Usage = Usage { input: 5, output: 7, cache_read: 4, cache_write: 0, reasoning: 2 };

/// Something that a model says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Thought, which every wire sends before anything else, once.
    Thought(String),
    /// Words, which come in one block.
    Text(String),
    /// A call; its arguments are a JSON object.
    Call {
        /// Its id. Each differs.
        id: String,
        /// The name of the tool.
        name: String,
        /// The arguments as text.
        arguments: String,
    },
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its name, on wires whose events have names.
    pub name: Option<&'static str>,
    /// Its JSON.
    pub data: String,
}

impl Event {
    fn of(name: Option<&'static str>, data: &Value) -> Self {
        Self { name, data: data.to_string() }
    }

    /// The same with every letter outside of ASCII escaped, as some servers write JSON.
    #[must_use]
    pub fn escaped(&self) -> Self {
        Self { name: self.name, data: escaped(&self.data) }
    }
}

/// JSON with every letter outside of ASCII escaped.
#[must_use]
pub fn escaped(json: &str) -> String {
    let mut escaped = String::new();
    for letter in json.chars() {
        match letter.is_ascii() {
            true => escaped.push(letter),
            false => letter
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    escaped
}

/// The events of an answer that says this, in pieces of so many letters.
///
/// # Panics
/// When the wire is none of those that [`body`] knows.
#[must_use]
pub fn events(wire: &str, said: &[Said], piece_letters: usize) -> Vec<Event> {
    match wire {
        "anthropic-messages" => anthropic::events(said, piece_letters),
        "openai-chat" => chat::events(said, piece_letters),
        "openai-responses" => responses::events(said, piece_letters),
        "gemini" => gemini::events(said, piece_letters),
        "bedrock-converse" => converse::events(said, piece_letters),
        other => panic!("no stream is made for `{other}`"),
    }
}

/// The events as bytes of the network: frames of AWS on `bedrock-converse`, server-sent events on the others.
#[must_use]
pub fn body(wire: &str, events: &[Event]) -> Vec<u8> {
    let end = if wire == "openai-chat" { "data: [DONE]\n\n" } else { "" };
    let written = events.iter().flat_map(|Event { name, data }| match (wire, name) {
        ("bedrock-converse", name) => frame("event", name.unwrap_or_default(), data),
        (_, Some(name)) => format!("event: {name}\ndata: {data}\n\n").into_bytes(),
        (_, None) => format!("data: {data}\n\n").into_bytes(),
    });
    written.chain(end.bytes()).collect()
}

/// The body in chunks of these sizes, over and over; in one where there is none.
#[must_use]
pub fn cut(body: &[u8], sizes: &[usize]) -> Vec<Bytes> {
    let (mut chunks, mut rest) = (Vec::new(), body);
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| rest.len().min(*size));
        let (chunk, more) = rest.split_at(size);
        chunks.push(Bytes::copy_from_slice(chunk));
        rest = more;
    }
    chunks
}

/// The tokens that every answer of this wire says: 9 sent, 4 of them from a cache, and 7 answered, 2 of them thought where thought is counted.
#[must_use]
pub fn usage(wire: &str) -> Usage {
    let reasoning = if wire == "bedrock-converse" { 0 } else { USAGE.reasoning };
    Usage { reasoning, ..USAGE }
}

/// What a reply to which this was said holds.
#[must_use]
pub fn contents(said: &[Said]) -> Vec<Content> {
    let content = |said: &Said| match said.clone() {
        Said::Thought(text) => Content::Thinking { text },
        Said::Text(text) => Content::Text { text },
        Said::Call { id, name, arguments } => {
            Content::ToolCall { id: CallId(id.into()), name, arguments }
        }
    };
    said.iter().map(content).collect()
}

/// The text in pieces of so many letters.
fn pieces(text: &str, letters: usize) -> Vec<String> {
    let letters_of_text: Vec<char> = text.chars().collect();
    letters_of_text.chunks(letters.max(1)).map(|piece| piece.iter().collect()).collect()
}

/// The arguments as a value.
fn object(arguments: &str) -> Value {
    serde_json::from_str(arguments).expect("arguments of a call are JSON here")
}
