//! What is said between a user, a model and its tools, in a form that no wire owns and that loses nothing of any wire.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::{BlobId, CallId};

/// One thing in a user's message or in a tool's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture, kept as a blob.
    Image {
        /// For example `image/png`.
        media_type: String,
        /// Where its bytes are.
        blob: BlobId,
        /// Size of the picture in bytes.
        bytes: u64,
    },
    /// A document that the provider reads itself, kept as a blob: a PDF.
    Document {
        /// `application/pdf`.
        media_type: String,
        /// What it is called, for the model and for people: the name of its file.
        name: String,
        /// Where its bytes are.
        blob: BlobId,
        /// Size of the document in bytes.
        bytes: u64,
    },
}

impl Part {
    /// A text part.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// Its words, if it is a text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text { text } => Some(text),
            Self::Image { .. } | Self::Document { .. } => None,
        }
    }

    /// Where its bytes are and how many they are, if it has them in a blob.
    #[must_use]
    pub fn body(&self) -> Option<(&BlobId, u64)> {
        match self {
            Self::Text { .. } => None,
            Self::Image { blob, bytes, .. } | Self::Document { blob, bytes, .. } => {
                Some((blob, *bytes))
            }
        }
    }

    /// Its words, or words that stand for it where nothing else can be shown.
    #[must_use]
    pub fn in_words(&self) -> Cow<'_, str> {
        match self {
            Self::Text { text } => text.into(),
            Self::Image { .. } => "[image]".into(),
            Self::Document { name, .. } => format!("[document {name}]").into(),
        }
    }

    /// Whether it says nothing: a text of nothing but space.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.as_text().is_some_and(|text| text.trim().is_empty())
    }
}

/// A kind of file that a model is given as it is, with its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// A picture: PNG, JPEG, GIF or WebP.
    Image(&'static str),
    /// A document: PDF.
    Document(&'static str),
}

impl Media {
    /// What the first bytes of a file tell.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => {
                Some(Self::Image("image/png"))
            }
            [0xff, 0xd8, 0xff, ..] => Some(Self::Image("image/jpeg")),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Image("image/gif")),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                Some(Self::Image("image/webp"))
            }
            [b'%', b'P', b'D', b'F', b'-', ..] => Some(Self::Document("application/pdf")),
            _ => None,
        }
    }

    /// For example `image/png`.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Image(media_type) | Self::Document(media_type) => media_type,
        }
    }

    /// A file that was stored under this blob, with its size in bytes; a document is called `name`.
    #[must_use]
    pub fn part(self, name: &str, (blob, bytes): (BlobId, u64)) -> Part {
        let media_type = self.media_type().to_owned();
        match self {
            Self::Image(_) => Part::Image { media_type, blob, bytes },
            Self::Document(_) => Part::Document { media_type, name: name.to_owned(), blob, bytes },
        }
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image(_) => "picture",
            Self::Document(_) => "document",
        })
    }
}

/// One block of a model's answer: what it means, and how its provider wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Block {
    /// The meaning, in terms every wire can be given.
    pub content: Content,
    /// The provider's own item. It is sent back verbatim to the same wire, endpoint and model family; everybody else gets `content`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
}

impl Block {
    /// Whether it asks for a tool to be run.
    #[must_use]
    pub fn is_call(&self) -> bool {
        self.call().is_some()
    }

    /// The call that it asks for.
    #[must_use]
    pub fn call(&self) -> Option<&CallId> {
        match &self.content {
            Content::ToolCall { id, .. } => Some(id),
            Content::Text { .. } | Content::Thinking { .. } | Content::Opaque { .. } => None,
        }
    }

    /// Whether there is anything of it that a model could be given: its native form, words, or a call.
    #[must_use]
    pub fn can_be_replayed(&self) -> bool {
        match &self.content {
            Content::Text { text } => !text.is_empty() || self.native.is_some(),
            Content::ToolCall { .. } => true,
            Content::Thinking { .. } | Content::Opaque { .. } => self.native.is_some(),
        }
    }
}

/// The meaning of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Text for the reader.
    Text {
        /// The text.
        text: String,
    },
    /// What the model thought before it answered. Without its native form it is not replayed.
    Thinking {
        /// The thought; empty where the provider hides it.
        text: String,
    },
    /// A request to run a tool.
    ToolCall {
        /// Unique in the session.
        id: CallId,
        /// Name of the tool as the model wrote it.
        name: String,
        /// The arguments as received, byte for byte; normally JSON.
        arguments: String,
    },
    /// Something that only its provider understands: kept and replayed, never interpreted.
    Opaque {
        /// The provider's name for it.
        kind: String,
    },
}

/// A block as its provider wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Native {
    /// The wire it came over, for example `anthropic-messages`.
    pub wire: String,
    /// Name of the endpoint that sent it (the configured provider's name).
    pub endpoint: String,
    /// The model family that sent it.
    pub model: String,
    /// The item itself. A call's may have another id than the session knows the call by, which is the one to send it back under.
    pub item: RawJson,
}

/// A JSON text that is kept and sent byte for byte.
#[derive(Clone)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// Takes over a JSON text.
    ///
    /// # Errors
    /// When the text is not one JSON value.
    pub fn parse(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(Self)
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RawJson {}

impl Serialize for RawJson {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(d).map(Self)
    }
}

impl JsonSchema for RawJson {
    fn schema_name() -> Cow<'static, str> {
        "RawJson".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"description": "any JSON value, kept byte for byte"})
    }
}

/// A tool's answer to one call, as a model is given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolResult {
    /// The call it answers.
    pub call: CallId,
    /// The tool's name.
    pub name: String,
    /// The content.
    pub parts: Vec<Part>,
    /// Whether the call did not do what was asked.
    pub is_error: bool,
}

/// One message of a request, in the order in which the model sees them.
///
/// A rendered history holds these rules on every path: it starts with `User`; an `Assistant` message with calls is directly followed by
/// one `Tool` message that answers each call once and in call order; a `Tool` message stands nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// From the user, or from the runtime on the user's behalf.
    User {
        /// What was said.
        parts: Vec<Part>,
    },
    /// From the model.
    Assistant {
        /// Its blocks in the provider's order.
        blocks: Vec<Block>,
    },
    /// From tools.
    Tool {
        /// One result for each call of the message before, in call order.
        results: Vec<ToolResult>,
    },
}

/// A message as it is read: serde's own way with a tag cannot give back native forms byte for byte.
#[derive(Deserialize)]
struct AnyMessage {
    role: Role,
    parts: Option<Vec<Part>>,
    blocks: Option<Vec<Block>>,
    results: Option<Vec<ToolResult>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    User,
    Assistant,
    Tool,
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let AnyMessage { role, parts, blocks, results } = AnyMessage::deserialize(d)?;
        let missing = serde::de::Error::missing_field;
        Ok(match role {
            Role::User => Self::User { parts: parts.ok_or_else(|| missing("parts"))? },
            Role::Assistant => Self::Assistant { blocks: blocks.ok_or_else(|| missing("blocks"))? },
            Role::Tool => Self::Tool { results: results.ok_or_else(|| missing("results"))? },
        })
    }
}

/// Tokens of one or several model calls. Each token is counted in exactly one of the four; `reasoning` is a share of `output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Usage {
    /// Input tokens that no cache served.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Input tokens read from the provider's cache.
    pub cache_read: u64,
    /// Input tokens written to the provider's cache.
    pub cache_write: u64,
    /// How many of the output tokens were thought.
    pub reasoning: u64,
}

impl Usage {
    /// All tokens, each once.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.prompt().saturating_add(self.output)
    }

    /// All tokens of the request, cached or not.
    #[must_use]
    pub fn prompt(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in [
            (&mut self.input, other.input),
            (&mut self.output, other.output),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write, other.cache_write),
            (&mut self.reasoning, other.reasoning),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// Why a model stopped writing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplyStop {
    /// It was done.
    EndTurn,
    /// It wants tools to be run.
    ToolUse,
    /// It ran into its output limit.
    MaxTokens,
    /// A stop sequence of the request was met.
    StopSequence,
    /// It, or its provider's filter, declined.
    Refusal,
    /// The provider paused a long turn; sending the history back continues it.
    Pause,
    /// We cut the stream: the turn was cancelled or ran out of time.
    Cut,
    /// A reason this version does not know.
    Other(String),
}
