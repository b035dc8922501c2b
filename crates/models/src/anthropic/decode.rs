//! Events of an answer become blocks, each with its native item as the provider wrote it.

use std::collections::HashMap;

use oarlock_core::event::DeltaItem;
use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Native, ReplyStop, Usage};
use oarlock_core::ports::model::{ModelEvent, Reply};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{WIRE, fault};
use crate::codec::{Decoder, Fault, Origin, Received, Target};
use crate::item::{Item, raw_of};

/// Decodes one answer.
#[derive(Debug)]
pub(super) struct AnthropicDecoder {
    origin: Origin,
    model: String,
    blocks: Vec<Growing>,
    /// The block that has a wire index.
    by_index: HashMap<u64, usize>,
    stop: Option<String>,
    usage: Usage,
    received: Received,
    done: bool,
}

/// A block that is being received: the item as it was opened, and what was added since.
#[derive(Debug, Default)]
struct Growing {
    item: Item,
    kind: String,
    text: String,
    input: String,
    citations: Vec<Box<RawValue>>,
}

/// An event, of any kind; a body is one too.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: Option<String>,
    index: Option<u64>,
    message: Option<Message>,
    content_block: Option<Box<RawValue>>,
    delta: Option<Item>,
    usage: Option<Value>,
    error: Option<Value>,
}

/// A message: the body of a whole answer, or what a stream opens with.
#[derive(Default, Deserialize)]
struct Message {
    model: Option<String>,
    content: Option<Vec<Box<RawValue>>>,
    stop_reason: Option<String>,
    usage: Option<Value>,
    error: Option<Value>,
}

impl AnthropicDecoder {
    pub(super) fn new(target: &Target) -> Self {
        Self {
            origin: target.origin(WIRE),
            model: target.model.clone(),
            blocks: Vec::new(),
            by_index: HashMap::new(),
            stop: None,
            usage: Usage::default(),
            received: Received::default(),
            done: false,
        }
    }

    /// Takes what a message holds: all of it, or in a stream what is known at the start.
    fn start(&mut self, message: Message, out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        self.model = message.model.unwrap_or_else(|| std::mem::take(&mut self.model));
        self.stop = message.stop_reason.or_else(|| self.stop.take());
        absorb_usage(&mut self.usage, &message.usage.unwrap_or_default());
        for raw in message.content.unwrap_or_default() {
            self.received.add(0, self.blocks.len())?;
            self.open(None, &raw, out);
        }
        Ok(())
    }

    /// Opens a block; what it holds from the start is told like a delta.
    fn open(&mut self, index: Option<u64>, raw: &RawValue, out: &mut Vec<ModelEvent>) {
        let item = Item::parse(raw.get()).unwrap_or_default();
        let kind = item.kind();
        let text = match kind.as_str() {
            "text" => item.text("text"),
            "thinking" => item.text("thinking"),
            _ => None,
        }
        .unwrap_or_default();
        let position = self.blocks.len();
        if let Some(index) = index {
            self.by_index.insert(index, position);
        }
        tell(position, &kind, &text, out);
        self.blocks.push(Growing { item, kind, text, ..Growing::default() });
    }

    /// Adds to a block. A delta that does not fit its block or is of an unknown kind is proof of life and nothing else.
    fn extend(&mut self, index: u64, delta: &Item, out: &mut Vec<ModelEvent>) {
        let Some(&position) = self.by_index.get(&index) else {
            out.push(ModelEvent::Alive);
            return;
        };
        let block = &mut self.blocks[position];
        let mut told = String::new();
        match (delta.kind().as_str(), block.kind.as_str()) {
            ("text_delta", "text") => told = delta.text("text").unwrap_or_default(),
            ("thinking_delta", "thinking") => told = delta.text("thinking").unwrap_or_default(),
            ("input_json_delta", kind) => {
                let more = delta.text("partial_json").unwrap_or_default();
                block.input.push_str(&more);
                if kind == "tool_use" {
                    tell(position, kind, &more, out);
                    return;
                }
            }
            ("signature_delta", _) => {
                if let Some(signature) = delta.text("signature") {
                    block.item.set_text("signature", &signature);
                }
            }
            ("citations_delta", _) => {
                if let Some(citation) = delta.raw("citation") {
                    let citation = RawValue::from_string(citation.to_owned());
                    block.citations.push(citation.expect("a member of an object is JSON"));
                }
            }
            _ => {}
        }
        block.text.push_str(&told);
        tell(position, &block.kind, &told, out);
    }
}

impl Decoder for AnthropicDecoder {
    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut Vec<ModelEvent>,
    ) -> Result<(), Fault> {
        if self.done || data.trim().is_empty() || data.trim() == "[DONE]" {
            out.push(ModelEvent::Alive);
            return Ok(());
        }
        self.received.add(data.len(), self.blocks.len())?;
        let event: Event = match serde_json::from_str(data) {
            Ok(event) => event,
            // An event that nobody knows may look as it likes, as long as it is JSON.
            Err(_) if serde_json::from_str::<&RawValue>(data).is_ok() && !is_known(name) => {
                out.push(ModelEvent::Alive);
                return Ok(());
            }
            Err(error) => {
                return Err(Fault::protocol(format!(
                    "an event of the answer is malformed: {error}"
                )));
            }
        };
        if let Some(error) = &event.error {
            return Err(fault(error));
        }
        let index = event.index.unwrap_or_default();
        match event.kind.as_deref().or(name).unwrap_or_default() {
            "message_start" => {
                self.start(event.message.unwrap_or_default(), out)?;
                out.push(ModelEvent::Alive);
            }
            "content_block_start" => {
                let raw = event.content_block.unwrap_or_else(|| raw_of(Value::Null));
                self.open(Some(index), &raw, out);
            }
            "content_block_delta" => self.extend(index, &event.delta.unwrap_or_default(), out),
            "message_delta" => {
                if let Some(stop) = event.delta.and_then(|delta| delta.text("stop_reason")) {
                    self.stop = Some(stop);
                }
                absorb_usage(&mut self.usage, &event.usage.unwrap_or_default());
                out.push(ModelEvent::Alive);
            }
            "message_stop" => {
                self.done = true;
                out.push(ModelEvent::Alive);
            }
            "error" => return Err(fault(&Value::Null)),
            _ => out.push(ModelEvent::Alive),
        }
        Ok(())
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        self.received.add(body.len(), self.blocks.len())?;
        let message: Message = serde_json::from_slice(body)
            .map_err(|error| Fault::protocol(format!("the answer is not a message: {error}")))?;
        if let Some(error) = &message.error {
            return Err(fault(error));
        }
        if message.content.is_none() {
            return Err(Fault::protocol("the answer is a JSON object without content".to_owned()));
        }
        self.start(message, out)?;
        self.done = true;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(self: Box<Self>) -> Result<Reply, Fault> {
        if !self.done {
            return Err(Fault::truncated("the answer ended before its message_stop event"));
        }
        let origin = self.origin;
        let native = |item: Item| origin.native(item.into_json());
        let blocks: Vec<Block> = self.blocks.into_iter().map(|block| block.close(native)).collect();
        let calls = blocks.iter().any(|block| matches!(block.content, Content::ToolCall { .. }));
        let stop = stop_of(self.stop.as_deref(), calls);
        let reasoning = self.usage.reasoning.min(self.usage.output);
        let usage = Usage { reasoning, ..self.usage };
        Ok(Reply { model: self.model, blocks, stop, usage, warnings: Vec::new() })
    }
}

impl Growing {
    fn close(mut self, native: impl Fn(Item) -> Native) -> Block {
        if !self.citations.is_empty() {
            let mut all = self
                .item
                .raw("citations")
                .and_then(|list| serde_json::from_str::<Vec<Box<RawValue>>>(list).ok())
                .unwrap_or_default();
            all.append(&mut self.citations);
            self.item.set("citations", raw_of(all));
        }
        let arguments = self.settle_input();
        let content = match self.kind.as_str() {
            "text" => {
                set_changed(&mut self.item, "text", &self.text);
                Content::Text { text: self.text }
            }
            "thinking" => {
                set_changed(&mut self.item, "thinking", &self.text);
                let signed = self.item.text("signature").is_some_and(|text| !text.is_empty());
                let content = Content::Thinking { text: self.text };
                // The wire refuses thought without its signature, as an answer has it that was cut in the middle of a thought.
                return Block { content, native: signed.then(|| native(self.item)) };
            }
            "tool_use" => Content::ToolCall {
                id: CallId(self.item.text("id").unwrap_or_default().into()),
                name: self.item.text("name").unwrap_or_default(),
                arguments,
            },
            // An item without a type cannot be sent back.
            "" => return Block { content: Content::Opaque { kind: self.kind }, native: None },
            _ => Content::Opaque { kind: self.kind },
        };
        Block { content, native: Some(native(self.item)) }
    }

    /// Puts the received input into the item, and gives its text as received.
    fn settle_input(&mut self) -> String {
        let opened = self.item.raw("input").unwrap_or("{}").to_owned();
        let takes_input = self.kind == "tool_use" || self.item.raw("input").is_some();
        let received = if self.input.is_empty() { opened } else { std::mem::take(&mut self.input) };
        if takes_input && self.item.raw("input") != Some(received.as_str()) {
            self.item.set("input", input_of(&received));
        }
        received
    }
}

/// Arguments in a form that the wire takes: the text itself when it is an object, else an object that quotes it.
pub(crate) fn input_of(arguments: &str) -> Box<RawValue> {
    if arguments.trim().is_empty() {
        return raw_of(serde_json::json!({}));
    }
    match RawValue::from_string(arguments.to_owned()) {
        Ok(raw) if raw.get().starts_with('{') => raw,
        _ => raw_of(serde_json::json!({ "unparsable_arguments": arguments })),
    }
}

fn set_changed(item: &mut Item, key: &str, text: &str) {
    if item.text(key).as_deref() != Some(text) {
        item.set_text(key, text);
    }
}

fn is_known(name: Option<&str>) -> bool {
    const KNOWN: [&str; 6] = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "message_stop",
        "error",
    ];
    name.is_none_or(|name| KNOWN.contains(&name))
}

fn tell(position: usize, kind: &str, text: &str, out: &mut Vec<ModelEvent>) {
    let block = u32::try_from(position).unwrap_or(u32::MAX);
    let item = match kind {
        _ if text.is_empty() => None,
        "text" => Some(DeltaItem::Text { block }),
        "thinking" => Some(DeltaItem::Thinking { block }),
        "tool_use" => Some(DeltaItem::Arguments { block }),
        _ => None,
    };
    out.push(
        item.map_or(ModelEvent::Alive, |item| ModelEvent::Delta { item, text: text.to_owned() }),
    );
}

/// Takes over the counts that are there. They are totals so far, so a later one replaces an earlier one.
fn absorb_usage(usage: &mut Usage, counts: &Value) {
    let thought =
        counts.get("output_tokens_details").and_then(|details| details.get("thinking_tokens"));
    for (slot, count) in [
        (&mut usage.input, counts.get("input_tokens")),
        (&mut usage.output, counts.get("output_tokens")),
        (&mut usage.cache_read, counts.get("cache_read_input_tokens")),
        (&mut usage.cache_write, counts.get("cache_creation_input_tokens")),
        (&mut usage.reasoning, thought),
    ] {
        if let Some(count) = count.and_then(Value::as_u64) {
            *slot = count;
        }
    }
}

fn stop_of(stop: Option<&str>, calls: bool) -> ReplyStop {
    match stop {
        None if calls => ReplyStop::ToolUse,
        None | Some("end_turn") => ReplyStop::EndTurn,
        Some("tool_use") => ReplyStop::ToolUse,
        Some("max_tokens" | "model_context_window_exceeded") => ReplyStop::MaxTokens,
        Some("stop_sequence") => ReplyStop::StopSequence,
        Some("refusal") => ReplyStop::Refusal,
        Some("pause_turn") => ReplyStop::Pause,
        Some(other) => ReplyStop::Other(other.to_owned()),
    }
}
