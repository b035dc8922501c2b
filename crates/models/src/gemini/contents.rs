//! The messages of a request, as turns of the user and of the model.

use std::borrow::Cow;

use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Native, Part, ToolResult};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::WIRE;
use super::family::is_third;
use super::growing::{SIGNATURE, parts};
use crate::bodies::{Bodies, Given};
use crate::codec::Target;
use crate::conversation::{Answer, Dialect};
use crate::item::{Item, raw_of};
use crate::names::Names;
use crate::outgoing::object_of;
use crate::quirks::HostedCalls;

/// Stands where a call has no signature: another model made it, or its own gave none. Google documents it for conversations from elsewhere
/// (ai.google.dev/gemini-api/docs/thought-signatures); without one Gemini 3 refuses the whole conversation.
const UNSIGNED: &str = "skip_thought_signature_validator";
/// What pictures may be. Any other would be refused, and the whole conversation with it.
const PICTURES: [&str; 5] = ["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"];

/// Parts that tell what the provider did itself.
const HOSTED: [&str; 2] = ["toolCall", "toolResponse"];

/// A call that waits for its result.
pub(super) struct Asked<'a> {
    call: &'a CallId,
    /// As they stand in the call that is sent.
    id: Option<String>,
    name: String,
}

/// What this wire says of a conversation.
pub(super) struct Contents<'a> {
    target: &'a Target,
    bodies: Bodies<'a>,
    names: &'a Names,
    /// Whether the family is of Gemini 3 or later.
    is_third: bool,
}

impl Dialect for Contents<'_> {
    type Call<'b> = Asked<'b>;

    fn id<'c>(call: &'c Self::Call<'_>) -> &'c CallId {
        call.call
    }

    fn text(words: &str) -> Box<RawValue> {
        text(words)
    }

    fn parts(&self, parts: &[Part]) -> Vec<Box<RawValue>> {
        let part = |part| self.given(part).map_or_else(|words| text(&words), raw_of);
        parts.iter().filter(|part| !part.is_blank()).map(part).collect()
    }

    fn answer<'b>(&self, blocks: &'b [Block]) -> Answer<Asked<'b>> {
        let (mut said, mut calls) = (Vec::new(), Vec::new());
        for block in blocks {
            let native = self.target.own(WIRE, block);
            match (&block.content, native) {
                (Content::ToolCall { id, name, arguments }, native) => {
                    let wants_signature = self.is_third && calls.is_empty();
                    let (item, call) = match native {
                        Some(native) => called_here(native, id, wants_signature),
                        None => self.called_elsewhere((id, name, arguments), wants_signature),
                    };
                    said.push(item);
                    calls.push(call);
                }
                (Content::Opaque { kind }, Some(_))
                    if HOSTED.contains(&kind.as_str())
                        && self.target.quirks.hosted_calls == HostedCalls::Untold => {}
                (_, Some(native)) => said.extend(parts(&native.item)),
                (Content::Text { text: words }, None) if !words.trim().is_empty() => {
                    said.push(text(words));
                }
                (
                    Content::Text { .. } | Content::Thinking { .. } | Content::Opaque { .. },
                    None,
                ) => {}
            }
        }
        Answer { said, calls }
    }

    /// Pictures and documents stand in a result where the family takes them there, else after all results.
    fn result(
        &self,
        call: &Asked<'_>,
        result: Option<&ToolResult>,
        after: &mut Vec<Box<RawValue>>,
    ) -> Box<RawValue> {
        let Some(result) = result else {
            return response(call, "error", "no result is known", &[]);
        };
        let (mut words, mut data) = (Vec::new(), Vec::new());
        for part in &result.parts {
            match self.given(part) {
                Ok(inline) => data.push(inline),
                Err(said) => words.push(said),
            }
        }
        if !self.is_third {
            after.extend(data.drain(..).map(raw_of));
        }
        let key = if result.is_error { "error" } else { "output" };
        response(call, key, &words.join("\n\n"), &data)
    }
}

impl<'a> Contents<'a> {
    pub(super) fn new(target: &'a Target, bodies: Bodies<'a>, names: &'a Names) -> Self {
        Self { target, bodies, names, is_third: is_third(&target.family) }
    }

    /// A call of another model. Families before Gemini 3 know calls by their names and order, and some of their endpoints refuse an id.
    fn called_elsewhere<'b>(
        &self,
        (call, name, arguments): (&'b CallId, &str, &str),
        wants_signature: bool,
    ) -> (Box<RawValue>, Asked<'b>) {
        let id = Some(call.as_str().to_owned()).filter(|id| self.is_third && !id.is_empty());
        let name = self.names.spelled(name);
        let mut function = Item::default();
        if let Some(id) = &id {
            function.set_text("id", id);
        }
        function.set_text("name", &name);
        let arguments = RawValue::from_string(object_of(arguments).into_owned());
        function.set("args", arguments.expect("an object is JSON"));
        let mut item = Item::default();
        item.set("functionCall", raw_of(function));
        if wants_signature {
            item.set_text(SIGNATURE, UNSIGNED);
        }
        (raw_of(item), Asked { call, id, name })
    }

    /// A picture or a document as data that stand in the conversation, or the words that there are or that stand for it.
    fn given<'p>(&self, part: &'p Part) -> Result<Value, Cow<'p, str>> {
        let inline =
            |kind: &str, data: String| json!({"inlineData": {"mimeType": kind, "data": data}});
        match self.bodies.given(part) {
            Given::Words(words) => Err(words),
            Given::Image { media_type, data } if PICTURES.contains(&media_type) => {
                Ok(inline(media_type, data))
            }
            Given::Image { media_type, .. } => {
                Err(format!("[a picture of type {media_type}, which this model is not shown]")
                    .into())
            }
            Given::Document { media_type, data, .. } => Ok(inline(media_type, data)),
        }
    }
}

/// A call as this model made it, under the name that the runtime has for it if it had one, and signed where it has to be.
fn called_here<'b>(
    native: &Native,
    call: &'b CallId,
    wants_signature: bool,
) -> (Box<RawValue>, Asked<'b>) {
    let mut item = Item::parse(native.item.as_str()).unwrap_or_default();
    let mut function = item.raw("functionCall").and_then(Item::parse).unwrap_or_default();
    let name = function.text("name").unwrap_or_default();
    let had = function.text("id").filter(|id| !id.is_empty());
    let id = had.as_ref().map(|_| call.as_str().to_owned());
    let is_renamed = had != id;
    if let (true, Some(id)) = (is_renamed, &id) {
        function.set_text("id", id);
        item.set("functionCall", raw_of(function));
    }
    let lacks_signature = wants_signature && item.raw(SIGNATURE).is_none();
    if lacks_signature {
        item.set_text(SIGNATURE, UNSIGNED);
    }
    let sent = match is_renamed || lacks_signature {
        true => raw_of(item),
        false => raw_of(&native.item),
    };
    (sent, Asked { call, id, name })
}

fn response(call: &Asked<'_>, key: &str, words: &str, pictures: &[Value]) -> Box<RawValue> {
    let mut function = Item::default();
    if let Some(id) = &call.id {
        function.set_text("id", id);
    }
    function.set_text("name", &call.name);
    function.set("response", raw_of(json!({ key: words })));
    if !pictures.is_empty() {
        function.set("parts", raw_of(pictures));
    }
    raw_of(json!({ "functionResponse": function }))
}

fn text(words: &str) -> Box<RawValue> {
    raw_of(json!({ "text": words }))
}
