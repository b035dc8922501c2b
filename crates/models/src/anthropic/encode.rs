//! A request becomes a body whose bytes depend on the request alone and whose messages only ever grow at the end.

use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Part, ToolResult};
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::spec::{Decimal, OutputSchema};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::WIRE;
use super::decode::input_of;
use crate::bodies::{Bodies, Given};
use crate::claude::{Asked, ask};
use crate::codec::Target;
use crate::conversation::{Answer, Dialect, Role, Turn, turns};
use crate::item::{Item, raw_of};

/// Tokens of an answer when neither the request nor the model says.
const OUTPUT_DEFAULT: u64 = 8192;
/// The provider's own tool that searches the web, in the version whose items are kept and replayed as they are.
const WEB_SEARCH: &str = "web_search_20250305";
/// How many of the last messages of the user end a cached prefix; with the system prompt and the tools the wire's four marks are used.
const MARKED_MESSAGES: usize = 2;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    messages: Vec<Turn>,
}

/// The body of a streaming request.
pub(super) fn body(request: &ModelRequest, target: &Target) -> Vec<u8> {
    let bodies = Bodies::new(&request.bodies, target.quirks.documents);
    let mut messages = turns(&Messages { target, bodies }, &request.messages);
    let model_max = target.output_max.unwrap_or(OUTPUT_DEFAULT);
    let max_tokens = request
        .output_max
        .map_or(model_max, |wanted| wanted.min(target.output_max.unwrap_or(wanted)));
    let Asked { thinking, effort } =
        ask(&target.model, request.effort, max_tokens, || may_think(&messages));
    mark_latest(&mut messages);
    let body = Body {
        model: &target.model,
        max_tokens,
        stream: true,
        thinking,
        temperature: request.sampling.temperature,
        top_p: request.sampling.top_p,
        top_k: request.sampling.top_k,
        stop_sequences: &request.sampling.stop_sequences,
        system: (!request.system.trim().is_empty()).then(|| {
            json!([{"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}])
        }),
        output_config: output_config(request, effort),
        tools: tools(request),
        messages,
    };
    serde_json::to_vec(&body).expect("strings, numbers and JSON texts always serialise")
}

fn tools(request: &ModelRequest) -> Vec<Value> {
    // A tool of the provider stands first, so that the last one, which ends a cached prefix, is ours where we have any.
    let hosted =
        request.capabilities.web_search.then(|| json!({"type": WEB_SEARCH, "name": "web_search"}));
    let ours = request
        .tools
        .iter()
        .map(|tool| json!({"name": tool.name, "description": tool.description, "input_schema": tool.input}))
        ;
    let mut tools: Vec<Value> = hosted.into_iter().chain(ours).collect();
    if let Some(last) = tools.last_mut() {
        last["cache_control"] = json!({"type": "ephemeral"});
    }
    tools
}

/// The form of the answer, and how much is done for it.
fn output_config(request: &ModelRequest, effort: Option<&str>) -> Option<Value> {
    let form = |output: &OutputSchema| json!({"type": "json_schema", "schema": output.schema});
    let form = request.output.as_ref().map(form);
    let effort = effort.map(Value::from);
    let named = [("format", form), ("effort", effort)];
    let told = named.into_iter().filter_map(|(name, told)| Some((name.to_owned(), told?)));
    let config: Map<String, Value> = told.collect();
    (!config.is_empty()).then_some(Value::Object(config))
}

/// Whether a budget to think with can be given. The wire refuses it where results answer a message that does not begin with thought, as one by another model.
fn may_think(turns: &[Turn]) -> bool {
    let kind = |raw: &RawValue| Item::parse(raw.get()).map(|item| item.kind()).unwrap_or_default();
    let [.., assistant, user] = turns else { return true };
    let answers = user.content.first().is_some_and(|first| kind(first) == "tool_result");
    let thought = assistant.content.first().is_some_and(|first| kind(first).ends_with("thinking"));
    !answers || thought
}

/// Marks the last block of the user's latest messages. Only blocks of ours are marked, never a native item.
fn mark_latest(turns: &mut [Turn]) {
    let users = turns.iter_mut().rev().filter(|turn| turn.role == Role::User);
    for last in users.take(MARKED_MESSAGES).filter_map(|turn| turn.content.last_mut()) {
        if let Some(mut item) = Item::parse(last.get()) {
            item.set("cache_control", raw_of(json!({"type": "ephemeral"})));
            *last = raw_of(item);
        }
    }
}

/// What this wire says of a conversation.
struct Messages<'a> {
    target: &'a Target,
    bodies: Bodies<'a>,
}

impl Dialect for Messages<'_> {
    type Call<'b> = &'b CallId;

    fn id<'c>(call: &'c Self::Call<'_>) -> &'c CallId {
        call
    }

    fn text(words: &str) -> Box<RawValue> {
        text(words)
    }

    fn parts(&self, parts: &[Part]) -> Vec<Box<RawValue>> {
        let source = |media_type: &str, data: String| json!({"type": "base64", "media_type": media_type, "data": data});
        let part = |part: &Part| match self.bodies.given(part) {
            Given::Words(words) => text(&words),
            Given::Image { media_type, data } => {
                raw_of(json!({"type": "image", "source": source(media_type, data)}))
            }
            Given::Document { media_type, name, data } => raw_of(
                json!({"type": "document", "source": source(media_type, data), "title": name}),
            ),
        };
        parts.iter().filter(|part| !part.is_blank()).map(part).collect()
    }

    fn answer<'b>(&self, blocks: &'b [Block]) -> Answer<&'b CallId> {
        Answer {
            said: blocks.iter().filter_map(|block| self.block(block)).collect(),
            calls: blocks.iter().filter_map(Block::call).collect(),
        }
    }

    /// The wire takes only text in a result that is an error, so pictures and documents of one follow the results.
    fn result(
        &self,
        call: &&CallId,
        result: Option<&ToolResult>,
        after: &mut Vec<Box<RawValue>>,
    ) -> Box<RawValue> {
        let Some(result) = result else {
            return raw_of(json!({
                "type": "tool_result", "tool_use_id": wire_id(call.as_str()),
                "content": [{"type": "text", "text": "no result is known"}], "is_error": true,
            }));
        };
        let (inside, outside): (Vec<_>, Vec<_>) = result
            .parts
            .iter()
            .cloned()
            .partition(|part| !result.is_error || matches!(part, Part::Text { .. }));
        after.extend(self.parts(&outside));
        let mut content = self.parts(&inside);
        if content.is_empty() && result.is_error {
            content.push(text("the call gave an error without words"));
        }
        let mut item = Item::default();
        item.set_text("type", "tool_result");
        item.set_text("tool_use_id", &wire_id(result.call.as_str()));
        if !content.is_empty() {
            item.set("content", raw_of(content));
        }
        if result.is_error {
            item.set("is_error", raw_of(true));
        }
        raw_of(item)
    }
}

impl Messages<'_> {
    /// The native item where it came from here, else the meaning; nothing where the wire would refuse it.
    fn block(&self, block: &Block) -> Option<Box<RawValue>> {
        if matches!(&block.content, Content::Text { text } if text.trim().is_empty()) {
            return None;
        }
        let native = self.target.own(WIRE, block);
        match (&block.content, native) {
            (Content::ToolCall { id, .. }, Some(native)) => {
                let mut item = Item::parse(native.item.as_str())?;
                let id = wire_id(id.as_str());
                // The runtime may have renamed a call whose id was not unique.
                if item.text("id").as_deref() == Some(id.as_str()) {
                    return Some(raw_of(&native.item));
                }
                item.set_text("id", &id);
                Some(raw_of(item))
            }
            (_, Some(native)) => Some(raw_of(&native.item)),
            (Content::Text { text: words }, None) => Some(text(words)),
            (Content::ToolCall { id, name, arguments }, None) => {
                let mut item = Item::default();
                item.set_text("type", "tool_use");
                item.set_text("id", &wire_id(id.as_str()));
                item.set_text("name", &wire_name(name));
                item.set("input", input_of(arguments));
                Some(raw_of(item))
            }
            (Content::Thinking { .. } | Content::Opaque { .. }, None) => None,
        }
    }
}

fn text(words: &str) -> Box<RawValue> {
    raw_of(json!({"type": "text", "text": words}))
}

/// A call's id in the letters that the wire takes; ids of other wires may have more. Different ids stay different: what the wire does not
/// take becomes its number.
fn wire_id(id: &str) -> String {
    if id.is_empty() {
        return "call".to_owned();
    }
    let letter = |c: char| if fits(c) { c.to_string() } else { format!("_{:x}_", u32::from(c)) };
    id.chars().map(letter).collect()
}

/// A tool's name in the letters that the wire takes, at most 128 of them.
fn wire_name(name: &str) -> String {
    let name: String = in_letters(name).chars().take(128).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

fn fits(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn in_letters(text: &str) -> String {
    text.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}
