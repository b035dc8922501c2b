//! Chunks of an answer become blocks: thought, text and calls in the order in which they first appeared.

use oarlock_core::event::DeltaItem;
use oarlock_core::message::{Block, Content, Native, ReplyStop, Usage};
use oarlock_core::ports::model::{ModelErrorKind, ModelEvent, Reply};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::WIRE;
use super::calls::{Call, Piece, continued};
use super::thought::Thought;
use crate::classify;
use crate::codec::{Decoder, Fault, Origin, Received, Target};
use crate::item::{Item, raw_of};

/// Members that carry thought as text.
const THOUGHT_FIELDS: [&str; 2] = ["reasoning_content", "reasoning"];

/// Decodes one answer.
#[derive(Debug)]
pub(super) struct ChatDecoder {
    origin: Origin,
    model: String,
    blocks: Vec<Growing>,
    stop: Option<String>,
    usage: Usage,
    received: Received,
    /// A choice was seen: there is an answer, even an empty one.
    answered: bool,
    done: bool,
}

#[derive(Debug)]
enum Growing {
    Text(String),
    /// Words of refusal, which have a member of their own.
    Refusal(String),
    Thought(Thought),
    Call(Call),
    /// A member that nobody here knows.
    Unknown(String, Box<RawValue>),
}

/// A chunk; a whole answer is one too.
#[derive(Deserialize)]
struct Chunk {
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Value>,
    x_groq: Option<Value>,
    error: Option<Value>,
    object: Option<String>,
    message: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    delta: Option<Item>,
    message: Option<Item>,
    finish_reason: Option<String>,
    error: Option<Value>,
}

impl ChatDecoder {
    pub(super) fn new(target: &Target) -> Self {
        Self {
            origin: target.origin(WIRE),
            model: target.model.clone(),
            blocks: Vec::new(),
            stop: None,
            usage: Usage::default(),
            received: Received::default(),
            answered: false,
            done: false,
        }
    }

    fn chunk(&mut self, chunk: Chunk, out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        if let Some(error) = chunk.error.as_ref().filter(|error| !error.is_null()) {
            return Err(classify::inside(error));
        }
        if let (Some("error"), Some(message)) = (chunk.object.as_deref(), &chunk.message) {
            return Err(classify::inside(message));
        }
        if let Some(model) = chunk.model.filter(|model| !model.is_empty()) {
            self.model = model;
        }
        let of_groq = chunk.x_groq.as_ref().and_then(|more| more.get("usage"));
        for counts in [of_groq, chunk.usage.as_ref()].into_iter().flatten() {
            absorb_usage(&mut self.usage, counts);
        }
        let before = out.len();
        // One answer is asked for, so that another choice is none of ours.
        let first = |choice: &Choice| choice.index.unwrap_or_default() == 0;
        for choice in chunk.choices.unwrap_or_default().into_iter().filter(first) {
            self.choice(choice, out)?;
        }
        if out.len() == before {
            out.push(ModelEvent::Alive);
        }
        Ok(())
    }

    fn choice(&mut self, choice: Choice, out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        if let Some(error) = choice.error.as_ref().filter(|error| !error.is_null()) {
            return Err(classify::inside(error));
        }
        self.answered = true;
        // Both may be there: a last chunk that repeats the message whole adds nothing to what was streamed.
        let whole = choice.message.filter(|_| self.blocks.is_empty());
        if let Some(delta) = choice.delta.filter(|delta| !delta.is_empty()).or(whole) {
            self.delta(delta, out);
        }
        match choice.finish_reason.as_deref() {
            None | Some("") => {}
            Some(reason @ ("error" | "network_error" | "insufficient_system_resource")) => {
                return Err(Fault {
                    kind: ModelErrorKind::Overloaded,
                    message: format!("the provider ended the answer with `{reason}`"),
                    retry_after_ms: None,
                });
            }
            Some(_) => self.stop = choice.finish_reason,
        }
        self.received.add(0, self.blocks.len())
    }

    fn delta(&mut self, delta: Item, out: &mut Vec<ModelEvent>) {
        for field in THOUGHT_FIELDS {
            if let Some(text) = delta.text(field) {
                self.think(field, &text, out);
            }
        }
        for (key, value) in delta.into_members() {
            match key.as_str() {
                _ if THOUGHT_FIELDS.contains(&key.as_str()) => {}
                "role" => {}
                "content" => self.content(&value, out),
                "refusal" => {
                    if let Ok(text) = serde_json::from_str::<String>(value.get()) {
                        self.say(&text, true, out);
                    }
                }
                "reasoning_details" => {
                    let details: Vec<Box<RawValue>> =
                        serde_json::from_str(value.get()).unwrap_or_default();
                    if !details.is_empty() {
                        let (at, thought) = self.thought();
                        let told = thought.add_details(&details);
                        tell(DeltaItem::Thinking { block: at }, &told, out);
                    }
                }
                "tool_calls" => {
                    let pieces: Vec<Box<RawValue>> =
                        serde_json::from_str(value.get()).unwrap_or_default();
                    pieces.iter().for_each(|piece| self.call(Piece::read(piece), out));
                }
                "function_call" if value.get() != "null" => self.call(Piece::read(&value), out),
                _ => self.unknown(key, value),
            }
        }
    }

    /// Text, or parts of it; a part may also be thought.
    fn content(&mut self, value: &RawValue, out: &mut Vec<ModelEvent>) {
        if let Ok(text) = serde_json::from_str::<String>(value.get()) {
            self.say(&text, false, out);
            return;
        }
        let parts: Vec<Value> = serde_json::from_str(value.get()).unwrap_or_default();
        for part in parts {
            match part["type"].as_str() {
                Some("text") => {
                    self.say(part["text"].as_str().unwrap_or_default(), false, out);
                }
                Some("thinking") => {
                    let words = match &part["thinking"] {
                        Value::Array(parts) => {
                            parts.iter().filter_map(|part| part["text"].as_str()).collect()
                        }
                        other => other.as_str().unwrap_or_default().to_owned(),
                    };
                    self.think("content", &words, out);
                }
                _ => self.unknown("content".to_owned(), raw_of([part])),
            }
        }
    }

    fn say(&mut self, text: &str, refused: bool, out: &mut Vec<ModelEvent>) {
        if text.is_empty() {
            return;
        }
        let same = |block: &Growing| match block {
            Growing::Text(_) => !refused,
            Growing::Refusal(_) => refused,
            _ => false,
        };
        let at = self.blocks.iter().position(same).unwrap_or_else(|| {
            let empty = if refused { Growing::Refusal } else { Growing::Text };
            self.open(empty(String::new()))
        });
        if let Growing::Text(said) | Growing::Refusal(said) = &mut self.blocks[at] {
            said.push_str(text);
        }
        tell(DeltaItem::Text { block: number(at) }, text, out);
    }

    fn think(&mut self, field: &'static str, text: &str, out: &mut Vec<ModelEvent>) {
        if text.is_empty() {
            return;
        }
        let (at, thought) = self.thought();
        tell(DeltaItem::Thinking { block: at }, thought.add(field, text), out);
    }

    /// The block of thought; an answer of this wire has one.
    fn thought(&mut self) -> (u32, &mut Thought) {
        let is_thought = |block: &Growing| matches!(block, Growing::Thought(_));
        let at = self
            .blocks
            .iter()
            .position(is_thought)
            .unwrap_or_else(|| self.open(Growing::Thought(Thought::default())));
        let Growing::Thought(thought) = &mut self.blocks[at] else {
            unreachable!("the position is that of thought")
        };
        (number(at), thought)
    }

    fn call(&mut self, mut piece: Piece, out: &mut Vec<ModelEvent>) {
        let calls = self.blocks.iter().enumerate().filter_map(|(at, block)| match block {
            Growing::Call(call) => Some((at, call)),
            _ => None,
        });
        let at = continued(calls, &piece)
            .unwrap_or_else(|| self.open(Growing::Call(Call::begin(&mut piece))));
        tell(DeltaItem::Arguments { block: number(at) }, &piece.arguments, out);
        if let Growing::Call(call) = &mut self.blocks[at] {
            call.add(piece);
        }
    }

    /// Keeps a member that nobody here knows: lists are joined, of anything else the last value counts.
    fn unknown(&mut self, key: String, value: Box<RawValue>) {
        if matches!(value.get(), "null" | "[]" | "{}" | "\"\"") {
            return;
        }
        let found = self.blocks.iter_mut().find_map(|block| match block {
            Growing::Unknown(name, kept) if *name == key => Some(kept),
            _ => None,
        });
        let Some(kept) = found else {
            self.open(Growing::Unknown(key, value));
            return;
        };
        let list = |raw: &RawValue| serde_json::from_str::<Vec<Box<RawValue>>>(raw.get()).ok();
        *kept = match (list(kept), list(&value)) {
            (Some(mut all), Some(mut more)) => {
                all.append(&mut more);
                raw_of(all)
            }
            _ => value,
        };
    }

    fn open(&mut self, block: Growing) -> usize {
        self.blocks.push(block);
        self.blocks.len() - 1
    }
}

impl Decoder for ChatDecoder {
    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut Vec<ModelEvent>,
    ) -> Result<(), Fault> {
        let data = data.trim();
        if self.done || data.is_empty() {
            out.push(ModelEvent::Alive);
            return Ok(());
        }
        if data == "[DONE]" {
            self.done = true;
            out.push(ModelEvent::Alive);
            return Ok(());
        }
        self.received.add(data.len(), self.blocks.len())?;
        if name == Some("error") {
            let error = serde_json::from_str(data).unwrap_or_else(|_| Value::from(data));
            return Err(classify::inside(error.get("error").unwrap_or(&error)));
        }
        let chunk = serde_json::from_str(data).map_err(|error| {
            Fault::protocol(format!("an event of the answer is malformed: {error}"))
        })?;
        self.chunk(chunk, out)
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        self.received.add(body.len(), self.blocks.len())?;
        let chunk: Chunk = serde_json::from_slice(body)
            .map_err(|error| Fault::protocol(format!("the answer is not a completion: {error}")))?;
        self.chunk(chunk, out)?;
        if !self.answered {
            return Err(Fault::protocol("the answer is a JSON object without choices".to_owned()));
        }
        self.done = true;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    /// Many servers leave out `[DONE]`, and some the reason why they stopped; an answer has one of both.
    fn finish(self: Box<Self>) -> Result<Reply, Fault> {
        if self.stop.is_none() && !(self.done && self.answered) {
            return Err(Fault::truncated("the answer ended without a finish reason"));
        }
        let origin = self.origin;
        let native = |item: Item| origin.native(item.into_json());
        let refused = self.blocks.iter().any(|block| matches!(block, Growing::Refusal(_)));
        let called = self.blocks.iter().any(|block| matches!(block, Growing::Call(_)));
        let blocks = self.blocks.into_iter().map(|block| close(block, native)).collect();
        let stop = match self.stop.as_deref() {
            _ if refused => ReplyStop::Refusal,
            Some("content_filter" | "sensitive") => ReplyStop::Refusal,
            Some("length" | "model_length" | "max_tokens") => ReplyStop::MaxTokens,
            // Some servers say `stop` behind calls, others `tool_calls` behind none.
            _ if called => ReplyStop::ToolUse,
            None | Some("stop" | "eos" | "end_turn" | "tool_calls" | "function_call") => {
                ReplyStop::EndTurn
            }
            Some(other) => ReplyStop::Other(other.to_owned()),
        };
        Ok(Reply { model: self.model, blocks, stop, usage: self.usage, warnings: Vec::new() })
    }
}

fn close(block: Growing, native: impl Fn(Item) -> Native) -> Block {
    let one = |key: &str, value: Box<RawValue>| {
        let mut item = Item::default();
        item.set(key, value);
        item
    };
    let (content, item) = match block {
        // Plain text means the same to everybody.
        Growing::Text(text) => return Block { content: Content::Text { text }, native: None },
        Growing::Refusal(text) => {
            let item = one("refusal", raw_of(&text));
            (Content::Text { text }, item)
        }
        Growing::Thought(thought) => thought.close(),
        Growing::Call(call) => call.close(),
        Growing::Unknown(kind, value) => {
            let item = one(&kind, value);
            (Content::Opaque { kind }, item)
        }
    };
    Block { content, native: Some(native(item)) }
}

fn tell(item: DeltaItem, text: &str, out: &mut Vec<ModelEvent>) {
    if !text.is_empty() {
        out.push(ModelEvent::Delta { item, text: text.to_owned() });
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Takes over the counts that are there. They are totals so far, so a later one replaces an earlier one.
fn absorb_usage(usage: &mut Usage, counts: &Value) {
    let count = |paths: &[&str]| paths.iter().find_map(|path| counts.pointer(path)?.as_u64());
    let (Some(prompt), output) = (count(&["/prompt_tokens"]), count(&["/completion_tokens"]))
    else {
        return;
    };
    let output = output.unwrap_or_default();
    let read = count(&[
        "/prompt_tokens_details/cached_tokens",
        "/prompt_cache_hit_tokens",
        "/cache_read_input_tokens",
    ]);
    let written =
        count(&["/prompt_tokens_details/cache_write_tokens", "/cache_creation_input_tokens"]);
    let thought =
        count(&["/completion_tokens_details/reasoning_tokens", "/reasoning_tokens"]).unwrap_or(0);
    // Some count more as cached than they were sent.
    let read = read.unwrap_or_default().min(prompt);
    let written = written.unwrap_or_default().min(prompt - read);
    // Most count thought within the completion; where the sum says otherwise it comes on top.
    let sum = prompt.saturating_add(output).saturating_add(thought);
    let beside = count(&["/total_tokens"]) == Some(sum);
    let output = if beside { output.saturating_add(thought) } else { output };
    // Some count more as thought than they answered.
    let reasoning = thought.min(output);
    let input = prompt - read - written;
    *usage = Usage { input, output, cache_read: read, cache_write: written, reasoning };
}
