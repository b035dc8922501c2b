//! What requests have in common with journals, read strictly: a journal keeps what a later version wrote into it, a request has to be understood whole.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{SeqAccessDeserializer, StrDeserializer};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::event::{Outcome, PeerKind};
use crate::ids::BlobId;
use crate::message::Part;
use crate::service::request::Prompt;
use crate::spec::{Bounds, Limits, OUTPUT_RETRIES_MAX};

/// Bounds of each turn and of the session.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "LimitsRequest")]
pub(super) struct AskedLimits {
    /// Bounds of each turn.
    turn: AskedBounds,
    /// Bounds of the whole session.
    session: AskedBounds,
    /// Whether a model whose price nobody knows may be called under a bound on money; its calls count nothing then.
    allow_unknown_prices: bool,
}

/// Upper bounds; what is absent is not bounded.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "BoundsRequest")]
struct AskedBounds {
    /// Steps (model calls that were answered).
    steps: Option<u32>,
    /// Tokens, input and output together, each once.
    tokens: Option<u64>,
    /// Money in millionths of a US dollar.
    cost_micros: Option<u64>,
    /// Time during which turns were open, in milliseconds.
    wall_ms: Option<u64>,
    /// Tool calls that were started.
    tool_calls: Option<u32>,
}

/// One thing in an input or in the answer to a call.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "PartRequest")]
enum AskedPart {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture that was uploaded before.
    Image {
        /// For example `image/png`.
        media_type: String,
        /// The name that its upload was answered with.
        blob: BlobId,
        /// Size of the picture in bytes.
        bytes: u64,
    },
    /// A document that was uploaded before.
    Document {
        /// `application/pdf`.
        media_type: String,
        /// What it is called, for the model and for people.
        name: String,
        /// The name that its upload was answered with.
        blob: BlobId,
        /// Size of the document in bytes.
        bytes: u64,
    },
}

impl From<AskedLimits> for Limits {
    fn from(asked: AskedLimits) -> Self {
        let AskedLimits { turn, session, allow_unknown_prices } = asked;
        Self { turn: turn.into(), session: session.into(), allow_unknown_prices }
    }
}

impl From<AskedBounds> for Bounds {
    fn from(asked: AskedBounds) -> Self {
        let AskedBounds { steps, tokens, cost_micros, wall_ms, tool_calls } = asked;
        Self { steps, tokens, cost_micros, wall_ms, tool_calls }
    }
}

impl From<AskedPart> for Part {
    fn from(asked: AskedPart) -> Self {
        match asked {
            AskedPart::Text { text } => Self::Text { text },
            AskedPart::Image { media_type, blob, bytes } => Self::Image { media_type, blob, bytes },
            AskedPart::Document { media_type, name, blob, bytes } => {
                Self::Document { media_type, name, blob, bytes }
            }
        }
    }
}

/// Reads limits.
pub(super) fn limits<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Limits>, D::Error> {
    Ok(Option::<AskedLimits>::deserialize(from)?.map(Limits::from))
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrParts;

        impl<'de> Visitor<'de> for TextOrParts {
            type Value = Prompt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list of parts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Prompt, E> {
                String::deserialize(StrDeserializer::new(text)).map(Prompt::Text)
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Prompt, E> {
                Ok(Prompt::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Prompt, A::Error> {
                let parts = Vec::<AskedPart>::deserialize(SeqAccessDeserializer::new(parts))?;
                Ok(Prompt::Parts(parts.into_iter().map(Part::from).collect()))
            }
        }

        deserializer.deserialize_any(TextOrParts)
    }
}

impl JsonSchema for Prompt {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Prompt".into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        let parts = schemas.subschema_for::<Vec<AskedPart>>();
        json_schema!({
            "description": "The words of an input: text as it is, or parts in order, with pictures that were uploaded before.",
            "anyOf": [{ "type": "string" }, parts],
        })
    }
}

/// What can be a header, too: characters of ASCII that can be seen, and spaces between them.
pub(super) const KEY: &str = "^[!-~]([ -~]{0,254}[!-~])?$";
/// How what a list gives out for its next page is written.
pub(super) const PAGE: &str = "^[A-Za-z0-9_-]+$";
/// A character that is more than space, in the form that every dialect of regular expressions reads alike.
pub(super) const WORD: &str =
    r"[^\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]";
/// What sessions are called by others, and what requests are about.
pub(super) const NAME: &str = "^[A-Za-z0-9_.-]{1,64}$";
/// Nothing but space.
const SPACE: &str = r"^[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$";

/// What a [`Prompt`] that says something is beside one.
fn speaks() -> Value {
    json!({ "anyOf": [
        { "type": "string", "pattern": WORD },
        { "type": "array", "contains": { "anyOf": [
            { "properties": { "type": { "const": "text" }, "text": { "pattern": WORD } } },
            { "properties": { "type": { "const": "image" } } },
        ] } },
    ] })
}

/// The schema of a [`Prompt`] that says something.
pub(super) fn said(schemas: &mut SchemaGenerator) -> Schema {
    let whole = schemas.subschema_for::<Prompt>();
    json_schema!({ "allOf": [whole, speaks()] })
}

/// The schema of an [`Outcome`] that a client can report.
pub(super) fn reported(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": [Outcome::Completed, Outcome::Failed, Outcome::Cancelled] })
}

/// The schema of what can be said not to be wanted, and no more.
pub(super) fn false_alone(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": [false, null] })
}

/// A session runs what it is told, or is told nothing.
pub(super) fn creation(schema: &mut Schema) {
    let silent = json!({ "anyOf": [
        { "type": "string", "pattern": SPACE }, { "type": "array", "maxItems": 0 },
    ] });
    let runs = json!({
        "required": ["prompt"],
        "properties": { "prompt": speaks(), "initial_turn": { "const": "run_immediately" } },
    });
    let waits = json!({
        "required": ["initial_turn"],
        "properties": {
            "initial_turn": { "const": "defer" }, "prompt": silent, "skill_references": { "maxItems": 0 },
        },
    });
    schema.insert("anyOf".to_owned(), json!([runs, waits]));
}

/// The schema of what somebody writes: notices are the service's own.
pub(super) fn sent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "enum": [PeerKind::Message, PeerKind::Request, PeerKind::Response],
        "default": PeerKind::Message,
    })
}

/// A message goes to one session, and what it is about is said of requests.
pub(super) fn sending(schema: &mut Schema) {
    let to = |one: &str, other: &str| {
        json!({
            "required": [one],
            "properties": { one: { "type": "string" }, other: { "type": "null" } },
        })
    };
    let whom = json!({ "anyOf": [to("to", "session_id"), to("session_id", "to")] });
    let about = json!({ "anyOf": [
        { "properties": { "intent": { "type": "null" } } },
        { "required": ["kind"], "properties": { "kind": { "const": "request" } } },
    ] });
    schema.insert("allOf".to_owned(), json!([whom, about]));
}

/// What others are told of a session, and it of others, is about one with a name.
pub(super) fn comms(schema: &mut Schema) {
    let named = json!({
        "required": ["comms_name"], "properties": { "comms_name": { "type": "string" } },
    });
    let nobody = json!({ "properties": {
        "peer_meta": { "type": "null" },
        "silent_comms_intents": { "maxItems": 0 },
        "max_inline_peer_notifications": { "type": "null" },
    } });
    schema.insert("allOf".to_owned(), json!([{ "anyOf": [named, nobody] }]));
}

/// A turn has an input.
pub(super) fn turn(schema: &mut Schema) {
    form(schema);
    schema.insert("required".to_owned(), json!(["prompt"]));
}

/// How often something is tried is said of something.
pub(super) fn form(schema: &mut Schema) {
    let without = json!({ "properties": { "structured_output_retries": { "type": "null" } } });
    let with = json!({
        "required": ["output_schema"], "properties": { "output_schema": { "type": "object" } },
    });
    schema.insert("anyOf".to_owned(), json!([without, with]));
}

/// An [`OutputSchema`](crate::spec::OutputSchema) as it is read: a wrapper, and what is none.
fn forms() -> [Value; 2] {
    let known =
        json!({ "format": true, "schema": true, "name": true, "strict": true, "compat": true });
    let wrapper = json!({
        "description": "A JSON Schema and how it is asked for.",
        "type": "object", "additionalProperties": false, "required": ["schema"],
        "properties": {
            "format": { "description": "What `schema` is.", "const": "json_schema" },
            "schema": { "description": "The schema.", "type": "object" },
            "name": {
                "description": "A name for providers that want one.",
                "type": ["string", "null"], "pattern": "^[A-Za-z0-9_-]{1,64}$",
            },
            "strict": {
                "description": "Whether a provider that knows a choice keeps its model to the schema word by word.",
                "type": "boolean",
            },
            "compat": {
                "description": "What becomes of a schema that the provider takes in part.",
                "enum": ["lossy", "strict"],
            },
        },
    });
    let bare = json!({
        "description": "A JSON Schema.",
        "type": "object",
        "not": { "required": ["schema"], "anyOf": [
            { "required": ["format"], "properties": { "format": { "const": "json_schema" } } },
            { "properties": known, "additionalProperties": false },
        ] },
    });
    [wrapper, bare]
}

/// The schema of an output schema that may be absent.
pub(super) fn output_schema(_: &mut SchemaGenerator) -> Schema {
    let [wrapper, bare] = forms();
    json_schema!({ "anyOf": [wrapper, bare, { "type": "null" }] })
}

/// The schema of an [`OutputChange`](crate::spec::OutputChange) as it is read.
pub(super) fn output(_: &mut SchemaGenerator) -> Schema {
    let schema = json!({ "anyOf": forms() });
    let retries = json!({ "type": "integer", "minimum": 0, "maximum": OUTPUT_RETRIES_MAX });
    let structured = json!({
        "type": "object", "additionalProperties": false, "required": ["schema"],
        "properties": { "schema": schema, "retries": retries },
    });
    json_schema!({ "anyOf": [
        { "description": "Free text.", "const": "text" },
        {
            "description": "JSON of a schema.", "type": "object", "additionalProperties": false,
            "required": ["structured"], "properties": { "structured": structured },
        },
        { "type": "null" },
    ] })
}
