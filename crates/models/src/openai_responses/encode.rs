//! A request becomes a body whose bytes depend on the request alone and whose items only ever grow at the end.

use std::collections::HashSet;

use oarlock_core::message::{Block, Content, Message, Part, RawJson, ToolResult};
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::spec::Decimal;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::WIRE;
use super::growing::{is_unsealed, parts};
use crate::bodies::{Bodies, Given};
use crate::codec::Target;
use crate::item::{Item, raw_of};
use crate::outgoing::{joined, object_of, tool_name};
use crate::quirks::ThoughtItems;

/// Characters of a call's id that every endpoint takes.
const ID_CHARS_MAX: usize = 64;
/// What asks for thought in the form in which it can be sent back.
const SEALED_THOUGHT: &str = "reasoning.encrypted_content";
/// Families that do not think, and are refused when they are asked for their thought; a `*` at the end stands for anything.
const THOUGHTLESS: &[&str] = &["chatgpt*", "gpt-3*", "gpt-4*", "gpt-5-chat*"];

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    stream: bool,
    store: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    include: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    input: Vec<Box<RawValue>>,
}

/// The body of a streaming request.
pub(super) fn body(request: &ModelRequest, target: &Target) -> Vec<u8> {
    let quirks = target.quirks;
    let output_max = match (request.output_max, target.output_max) {
        (Some(wanted), Some(most)) => Some(wanted.min(most)),
        (wanted, most) => wanted.or(most),
    };
    let asks = quirks.thought_items != ThoughtItems::Plain && thinks(&target.family);
    let tools = tools(request);
    let body = Body {
        model: &target.model,
        stream: true,
        store: false,
        include: if asks { &[SEALED_THOUGHT] } else { &[] },
        reasoning: request
            .effort
            .filter(|_| quirks.effort)
            .map(|effort| json!({"effort": effort, "summary": "auto"})),
        max_output_tokens: output_max,
        temperature: request.sampling.temperature,
        top_p: request.sampling.top_p,
        prompt_cache_key: (quirks.cache_key && !request.cache_key.is_empty())
            .then_some(request.cache_key.as_str()),
        text: request.output.as_ref().map(|output| {
            let name = output.name.as_deref().unwrap_or("answer");
            json!({"format": {"type": "json_schema", "name": name, "schema": output.schema, "strict": output.strict}})
        }),
        instructions: (!request.system.trim().is_empty()).then_some(request.system.as_str()),
        parallel_tool_calls: (!tools.is_empty()).then_some(true),
        tools,
        input: Conversation {
            target,
            bodies: Bodies::new(&request.bodies, target.quirks.documents),
            items: Vec::new(),
            ids: HashSet::new(),
        }
        .render(&request.messages),
    };
    serde_json::to_vec(&body).expect("strings, numbers and JSON texts always serialise")
}

fn thinks(family: &str) -> bool {
    // Gateways write the vendor before the family.
    let name = family.rsplit('/').next().unwrap_or(family);
    !THOUGHTLESS.iter().any(|other| name.starts_with(other.trim_end_matches('*')))
}

/// Schemas are not strict: the wire would take silence for the contrary.
fn tools(request: &ModelRequest) -> Vec<Value> {
    let hosted = request.capabilities.web_search.then(|| json!({"type": "web_search"}));
    let ours = request.tools.iter().map(|tool| {
        json!({"type": "function", "name": tool.name, "description": tool.description,
            "parameters": tool.input, "strict": false})
    });
    hosted.into_iter().chain(ours).collect()
}

/// The items while they are put together.
struct Conversation<'a> {
    target: &'a Target,
    bodies: Bodies<'a>,
    items: Vec<Box<RawValue>>,
    /// Ids of items so far. The wire refuses one that comes twice.
    ids: HashSet<String>,
}

/// An item of an answer, on its way back.
struct Back<'a> {
    item: Item,
    /// Whether it is the provider's own form.
    is_native: bool,
    /// The item byte for byte, unless something of it was changed.
    bytes: Option<&'a RawJson>,
}

impl Back<'_> {
    fn canonical(item: Item) -> Self {
        Self { item, is_native: false, bytes: None }
    }

    fn set_text(&mut self, key: &str, text: &str) {
        if self.item.text(key).as_deref() != Some(text) {
            self.item.set_text(key, text);
            self.bytes = None;
        }
    }

    fn without_id(self) -> Self {
        Self { item: self.item.without(&["id"]), bytes: None, ..self }
    }

    /// What can go back without the thought before it: words and calls, under no id. What is only known by its id cannot.
    fn without_thought(self) -> Option<Self> {
        let stands_alone = matches!(self.item.kind().as_str(), "message" | "function_call");
        match self.is_native {
            true => stands_alone.then(|| self.without_id()),
            false => Some(self),
        }
    }
}

impl Conversation<'_> {
    fn render(mut self, messages: &[Message]) -> Vec<Box<RawValue>> {
        for message in messages {
            match message {
                Message::User { parts } => {
                    let content = self.parts(parts);
                    self.message("user", raw_of(content));
                }
                Message::Assistant { blocks } => self.answer(blocks),
                Message::Tool { results } => {
                    let outputs: Vec<_> =
                        results.iter().map(|result| raw_of(self.output(result))).collect();
                    self.items.extend(outputs);
                }
            }
        }
        self.items
    }

    fn message(&mut self, role: &str, content: Box<RawValue>) {
        self.items.push(raw_of(message(role, content)));
    }

    /// An answer. Each thought goes together with what follows it up to the next one: a thought that nothing follows is refused, and so are
    /// items under the ids that they had behind a thought that cannot go along.
    fn answer(&mut self, blocks: &[Block]) {
        let is_thought = |block: &Block| matches!(block.content, Content::Thinking { .. });
        let mut rest = blocks;
        while !rest.is_empty() {
            let thoughts = rest.iter().take_while(|block| is_thought(block)).count();
            let (thoughts, after) = rest.split_at(thoughts);
            let others = after.iter().take_while(|block| !is_thought(block)).count();
            let (others, after) = after.split_at(others);
            rest = after;
            self.group(thoughts, others);
        }
    }

    fn group(&mut self, thoughts: &[Block], others: &[Block]) {
        let thoughts: Option<Vec<_>> = thoughts.iter().map(|block| self.thought(block)).collect();
        let said = others.iter().filter_map(|block| self.said(block));
        let said: Vec<_> = match thoughts {
            Some(_) => said.collect(),
            None => said.filter_map(Back::without_thought).collect(),
        };
        let thoughts = thoughts.filter(|_| !said.is_empty()).unwrap_or_default();
        for back in thoughts.into_iter().chain(said) {
            let again = back.item.text("id").is_some_and(|id| !self.ids.insert(id));
            let back = if again { back.without_id() } else { back };
            self.items.push(back.bytes.map_or_else(|| raw_of(back.item), raw_of));
        }
    }

    /// The thought as it came, if its endpoint can read it again: encrypted, or in full.
    fn thought<'b>(&self, block: &'b Block) -> Option<Back<'b>> {
        let back = self.native(block)?;
        if is_unsealed(&back.item) && parts(&back.item, "content").is_empty() {
            return None;
        }
        Some(match self.target.quirks.thought_items {
            ThoughtItems::Encrypted | ThoughtItems::Plain => back,
            ThoughtItems::EncryptedWithoutIds => back.without_id(),
        })
    }

    /// Text, a call or something of the provider's own; nothing where there is nothing to say.
    fn said<'b>(&self, block: &'b Block) -> Option<Back<'b>> {
        let native = self.native(block);
        match (&block.content, native) {
            (Content::Text { text }, _) if text.trim().is_empty() => None,
            (Content::Text { text }, None) => {
                Some(Back::canonical(message("assistant", raw_of(text))))
            }
            (Content::ToolCall { id, arguments, .. }, Some(mut back)) => {
                // The runtime may have renamed a call whose id was not unique.
                back.set_text("call_id", &call_id(id.as_str()));
                back.set_text("arguments", &object_of(arguments));
                Some(back)
            }
            (Content::ToolCall { id, name, arguments }, None) => {
                let mut item = Item::default();
                item.set_text("type", "function_call");
                item.set_text("call_id", &call_id(id.as_str()));
                item.set_text("name", &tool_name(name));
                item.set_text("arguments", &object_of(arguments));
                Some(Back::canonical(item))
            }
            (Content::Text { .. } | Content::Opaque { .. }, Some(back)) => Some(back),
            (Content::Opaque { .. }, None) | (Content::Thinking { .. }, _) => None,
        }
    }

    fn native<'b>(&self, block: &'b Block) -> Option<Back<'b>> {
        let ours = self.target.own(WIRE, block);
        let bytes = &ours?.item;
        Some(Back { item: Item::parse(bytes.as_str())?, is_native: true, bytes: Some(bytes) })
    }

    /// One result: text alone as a string, which every endpoint takes; with pictures and documents a list. The wire has no word for a result that is an error.
    fn output(&self, result: &ToolResult) -> Item {
        let is_text = |part: &Part| matches!(part, Part::Text { .. });
        let output = match result.parts.iter().all(is_text) {
            true => raw_of(joined(&result.parts)),
            false => raw_of(self.parts(&result.parts)),
        };
        let mut item = Item::default();
        item.set_text("type", "function_call_output");
        item.set_text("call_id", &call_id(result.call.as_str()));
        item.set("output", output);
        item
    }

    fn parts(&self, parts: &[Part]) -> Vec<Value> {
        let text = |text: &str| json!({"type": "input_text", "text": text});
        let part = |part: &Part| match self.bodies.given(part) {
            Given::Words(words) => text(&words),
            Given::Image { media_type, data } => {
                let url = format!("data:{media_type};base64,{data}");
                json!({"type": "input_image", "image_url": url, "detail": "auto"})
            }
            Given::Document { media_type, name, data } => {
                let url = format!("data:{media_type};base64,{data}");
                json!({"type": "input_file", "filename": name, "file_data": url})
            }
        };
        parts.iter().map(part).collect()
    }
}

fn message(role: &str, content: Box<RawValue>) -> Item {
    let mut item = Item::default();
    item.set_text("type", "message");
    item.set_text("role", role);
    item.set("content", content);
    item
}

/// The id itself where the wire takes it, else one that stands for it: the same for the same id, and hardly ever for another.
fn call_id(id: &str) -> String {
    match (1..=ID_CHARS_MAX).contains(&id.len()) {
        true => id.to_owned(),
        false => format!("call_{}", &blake3::hash(id.as_bytes()).to_hex()[..24]),
    }
}
