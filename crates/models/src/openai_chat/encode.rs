//! A request becomes a body whose bytes depend on the request alone and whose messages only ever grow at the end.
//!
//! One exception is declared by the endpoint's quirks: thought that goes back within its own turn only is missing from the next one.

use oarlock_core::message::{Block, Content, Message, Part, ToolResult};
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::spec::{Decimal, ReasoningEffort};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::WIRE;
use crate::bodies::{Bodies, Given};
use crate::codec::Target;
use crate::item::{Item, raw_of};
use crate::outgoing::{joined, object_of, tool_name};
use crate::quirks::{CallIds, OutputField, ThoughtEcho};

/// Characters of a call's id that every endpoint takes.
const ID_CHARS_MAX: usize = 40;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Item>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<ReasoningEffort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Decimal>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
}

/// The body of a streaming request.
pub(super) fn body(request: &ModelRequest, target: &Target) -> Vec<u8> {
    let quirks = target.quirks;
    let output_max = match (request.output_max, target.output_max) {
        (Some(wanted), Some(most)) => Some(wanted.min(most)),
        (wanted, most) => wanted.or(most),
    };
    let limits = |field| output_max.filter(|_| quirks.output_field == field);
    let tools = request.tools.iter().map(|tool| {
        let function =
            json!({"name": tool.name, "description": tool.description, "parameters": tool.input});
        json!({"type": "function", "function": function})
    });
    let bodies = Bodies::new(&request.bodies, quirks.documents);
    let body = Body {
        model: &target.model,
        messages: Conversation { target, bodies, messages: Vec::new() }.render(request),
        stream: true,
        stream_options: quirks.stream_usage.then(|| json!({"include_usage": true})),
        max_tokens: limits(OutputField::MaxTokens),
        max_completion_tokens: limits(OutputField::MaxCompletionTokens),
        reasoning_effort: request.effort.filter(|_| quirks.effort),
        temperature: request.sampling.temperature,
        top_p: request.sampling.top_p,
        stop: &request.sampling.stop_sequences,
        prompt_cache_key: (quirks.cache_key && !request.cache_key.is_empty())
            .then_some(request.cache_key.as_str()),
        response_format: request.output.as_ref().map(|output| {
            let name = output.name.as_deref().unwrap_or("answer");
            let answer = json!({"name": name, "schema": output.schema, "strict": output.strict});
            json!({"type": "json_schema", "json_schema": answer})
        }),
        tools: tools.collect(),
    };
    serde_json::to_vec(&body).expect("strings, numbers and JSON texts always serialise")
}

/// The messages while they are put together.
struct Conversation<'a> {
    target: &'a Target,
    bodies: Bodies<'a>,
    messages: Vec<Item>,
}

impl Conversation<'_> {
    fn render(mut self, request: &ModelRequest) -> Vec<Item> {
        if !request.system.trim().is_empty() {
            self.push("system", raw_of(&request.system));
        }
        let is_user = |message: &Message| matches!(message, Message::User { .. });
        let turn = request.messages.iter().rposition(is_user).unwrap_or_default();
        for (at, message) in request.messages.iter().enumerate() {
            match message {
                Message::User { parts } => {
                    let content = self.content(parts);
                    self.push("user", content);
                }
                Message::Assistant { blocks } => {
                    let echo = match self.target.quirks.thought_echo {
                        ThoughtEcho::Never => false,
                        ThoughtEcho::CurrentTurn => at > turn,
                        ThoughtEcho::Always => true,
                    };
                    self.assistant(blocks, echo);
                }
                Message::Tool { results } => self.results(results),
            }
        }
        self.messages
    }

    fn push(&mut self, role: &str, content: Box<RawValue>) {
        let mut message = Item::default();
        message.set_text("role", role);
        message.set("content", content);
        self.messages.push(message);
    }

    fn assistant(&mut self, blocks: &[Block], echo: bool) {
        let mut message = Item::default();
        message.set_text("role", "assistant");
        let mut text = String::new();
        let (mut calls, mut thought) = (Vec::new(), Item::default());
        let mut refusal = None;
        for block in blocks {
            let native = self.target.own(WIRE, block);
            let item = native.and_then(|native| Item::parse(native.item.as_str()));
            match (&block.content, item) {
                (Content::Text { .. }, Some(item)) if item.text("refusal").is_some() => {
                    refusal = item.text("refusal");
                }
                (Content::Text { text: words }, _) => text.push_str(words),
                // Signed details are for the endpoint to judge; plain thought goes back only where it is wanted.
                (Content::Thinking { .. }, Some(item))
                    if echo || item.raw("reasoning_details").is_some() =>
                {
                    thought.merge(item);
                }
                (Content::ToolCall { id, name, arguments }, item) => {
                    calls.push(self.call((id.as_str(), name, arguments), item.unwrap_or_default()));
                }
                // What is unknown was kept, but the endpoints of this wire refuse members that they do not expect.
                (Content::Thinking { .. } | Content::Opaque { .. }, _) => {}
            }
        }
        let parts =
            thought.raw("content").and_then(|raw| serde_json::from_str::<Vec<Value>>(raw).ok());
        let content = match parts {
            Some(mut parts) => {
                if !text.is_empty() {
                    parts.push(json!({"type": "text", "text": text}));
                }
                raw_of(parts)
            }
            None if !text.trim().is_empty() => raw_of(&text),
            None if !calls.is_empty() => raw_of(Value::Null),
            // Endpoints refuse an answer without words, and many want the roles to take turns.
            None => raw_of("(no answer)"),
        };
        message.set("content", content);
        message.merge(thought.without(&["content"]));
        if let Some(refusal) = refusal {
            message.set_text("refusal", &refusal);
        }
        if !calls.is_empty() {
            message.set("tool_calls", raw_of(calls));
        }
        self.messages.push(message);
    }

    /// The call as it came, under the id that the runtime knows it by.
    fn call(&self, (id, name, arguments): (&str, &str, &str), native: Item) -> Item {
        let mut function = Item::default();
        function.set_text("name", &tool_name(name));
        function.set_text("arguments", &object_of(arguments));
        let mut item = Item::default();
        item.set_text("id", &self.call_id(id));
        item.set_text("type", "function");
        item.set("function", raw_of(function));
        item.merge(native.without(&["id", "type", "function"]));
        item
    }

    /// One message for each result. The wire has no pictures and documents in them, so these follow in a message of the user's.
    fn results(&mut self, results: &[ToolResult]) {
        let mut after = Vec::new();
        for result in results {
            let (bodies, texts): (Vec<_>, Vec<_>) =
                result.parts.iter().partition(|part| part.body().is_some());
            let mut text = joined(texts);
            if !bodies.is_empty() {
                after.push(Part::text(format!("What `{}` gave:", result.name)));
                if text.is_empty() {
                    bodies_below(&bodies).clone_into(&mut text);
                }
                after.extend(bodies.into_iter().cloned());
            }
            let mut message = Item::default();
            message.set_text("role", "tool");
            message.set_text("tool_call_id", &self.call_id(result.call.as_str()));
            message.set_text("content", &text);
            self.messages.push(message);
        }
        if !after.is_empty() {
            let content = self.content(&after);
            self.push("user", content);
        }
    }

    /// Text alone is a string, which every endpoint takes; with pictures or documents it is a list.
    fn content(&self, parts: &[Part]) -> Box<RawValue> {
        if parts.iter().all(|part| matches!(part, Part::Text { .. })) {
            return raw_of(joined(parts));
        }
        let parts: Vec<Value> = parts
            .iter()
            .map(|part| match self.bodies.given(part) {
                Given::Words(words) => json!({"type": "text", "text": words}),
                Given::Image { media_type, data } => {
                    let url = format!("data:{media_type};base64,{data}");
                    json!({"type": "image_url", "image_url": {"url": url}})
                }
                Given::Document { media_type, name, data } => {
                    let url = format!("data:{media_type};base64,{data}");
                    json!({"type": "file", "file": {"filename": name, "file_data": url}})
                }
            })
            .collect();
        raw_of(parts)
    }

    fn call_id(&self, id: &str) -> String {
        match self.target.quirks.call_ids {
            CallIds::Any if !id.is_empty() && id.len() <= ID_CHARS_MAX => id.to_owned(),
            CallIds::NineLetters
                if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                id.to_owned()
            }
            CallIds::Any => format!("call_{}", letters(id, 24)),
            CallIds::NineLetters => letters(id, 9),
        }
    }
}

fn bodies_below(bodies: &[&Part]) -> &'static str {
    match bodies.iter().any(|part| matches!(part, Part::Document { .. })) {
        true => "see the document below",
        false => "see the picture below",
    }
}

/// So many letters and digits that stand for an id: the same for the same id, and hardly ever for another.
fn letters(id: &str, count: usize) -> String {
    blake3::hash(id.as_bytes()).to_hex()[..count].to_owned()
}
