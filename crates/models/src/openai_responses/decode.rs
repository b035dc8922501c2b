//! Events of an answer become blocks: one for each item, with the item as the provider wrote it.

use std::collections::HashMap;

use oarlock_core::message::{Block, Content, ReplyStop, Usage};
use oarlock_core::ports::model::{ModelErrorKind, ModelEvent, Reply};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::growing::{Growing, Piece};
use super::{WIRE, fault};
use crate::codec::{BLOCKS_MAX, Decoder, Fault, Origin, Received, Target};
use crate::item::Item;

/// Decodes one answer.
#[derive(Debug)]
pub(super) struct ResponsesDecoder {
    origin: Origin,
    model: String,
    blocks: Vec<Growing>,
    by_id: HashMap<String, usize>,
    by_index: HashMap<u64, usize>,
    ending: Option<Ending>,
    usage: Usage,
    received: Received,
}

/// How an answer ended that was not an error.
#[derive(Debug)]
enum Ending {
    Completed,
    /// Before it was done, for this reason.
    Incomplete(String),
}

/// An event, of any kind. Nothing is taken for granted about its members, since those of unknown events may be anything.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    item_id: Option<&'a RawValue>,
    #[serde(borrow)]
    output_index: Option<&'a RawValue>,
    #[serde(borrow)]
    content_index: Option<&'a RawValue>,
    #[serde(borrow)]
    summary_index: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// A response: the body of a whole answer, or what a stream begins and ends with.
#[derive(Deserialize)]
struct Response {
    model: Option<String>,
    status: Option<String>,
    output: Option<Vec<Box<RawValue>>>,
    usage: Option<Value>,
    error: Option<Value>,
    incomplete_details: Option<Value>,
}

impl ResponsesDecoder {
    pub(super) fn new(target: &Target) -> Self {
        Self {
            origin: target.origin(WIRE),
            model: target.model.clone(),
            blocks: Vec::new(),
            by_id: HashMap::new(),
            by_index: HashMap::new(),
            ending: None,
            usage: Usage::default(),
            received: Received::default(),
        }
    }

    fn take(
        &mut self,
        name: Option<&str>,
        event: &Event<'_>,
        out: &mut Vec<ModelEvent>,
    ) -> Result<(), Fault> {
        let kind = event.kind.and_then(text);
        let piece = match kind.as_deref().or(name).unwrap_or_default() {
            "response.output_item.added" => {
                self.open(event);
                return Ok(());
            }
            "response.output_item.done" => {
                if let Some(raw) = event.item {
                    self.close(event.output_index.and_then(number), raw, out);
                }
                return Ok(());
            }
            "response.created" | "response.queued" | "response.in_progress" => {
                let model = response(event).ok().and_then(|response| response.model);
                self.model = model.unwrap_or_else(|| std::mem::take(&mut self.model));
                return Ok(());
            }
            kind @ ("response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled"
            | "response.done") => {
                let told = kind.trim_start_matches("response.");
                return self.end(response(event)?, told, out);
            }
            "response.output_text.delta" => Piece::Words,
            "response.refusal.delta" => Piece::Refusal,
            "response.function_call_arguments.delta" => Piece::Arguments,
            "response.reasoning_text.delta" | "response.reasoning.delta" => {
                Piece::Thought(event.content_index.and_then(number).unwrap_or_default())
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_summary.delta" => {
                Piece::Summary(event.summary_index.and_then(number).unwrap_or_default())
            }
            _ => return Ok(()),
        };
        let at = self
            .position(event.item_id.and_then(text).as_deref(), event.output_index.and_then(number));
        if let (Some(at), Some(delta)) = (at, event.delta.and_then(text)) {
            self.blocks[at].grow(at, piece, &delta, out);
        }
        Ok(())
    }

    /// The block of an item: by its id, else, since some endpoints give one item a new id with every event, by its place, else the latest.
    fn position(&self, id: Option<&str>, index: Option<u64>) -> Option<usize> {
        let by_id = id.and_then(|id| self.by_id.get(id));
        let found = by_id.or_else(|| self.by_index.get(&index?)).copied();
        let nameless = id.is_none_or(str::is_empty) && index.is_none();
        found.or_else(|| self.blocks.len().checked_sub(1).filter(|_| nameless))
    }

    /// The block of an item with this id. Items of different types may have one id.
    fn named(&self, id: Option<&str>, item: &Item) -> Option<usize> {
        let at = self.by_id.get(id?).copied();
        at.filter(|at| self.blocks[*at].is_like(item))
    }

    fn open(&mut self, event: &Event<'_>) {
        let Some(item) = event.item.and_then(|raw| Item::parse(raw.get())) else { return };
        let id = item.text("id");
        if self.named(id.as_deref(), &item).is_none() {
            self.push(Growing::opened(item), id, event.output_index.and_then(number));
        }
    }

    fn push(&mut self, block: Growing, id: Option<String>, index: Option<u64>) -> usize {
        let at = self.blocks.len();
        self.by_id.extend(id.filter(|id| !id.is_empty()).map(|id| (id, at)));
        self.by_index.extend(index.map(|index| (index, at)));
        self.blocks.push(block);
        at
    }

    /// Takes an item as it is when it is done. What of it was not told is told now.
    fn close(&mut self, index: Option<u64>, raw: &RawValue, out: &mut Vec<ModelEvent>) {
        let Some(item) = Item::parse(raw.get()) else { return };
        let id = item.text("id");
        let same = |at: &usize| self.blocks[*at].may_become(&item);
        let by_index = || self.position(None, index).filter(same);
        let at = self.named(id.as_deref(), &item).or_else(by_index);
        let at = at.unwrap_or_else(|| self.push(Growing::default(), id, index));
        self.blocks[at].close(at, raw, &item, out);
    }

    fn end(
        &mut self,
        response: Response,
        told: &str,
        out: &mut Vec<ModelEvent>,
    ) -> Result<(), Fault> {
        if let Some(error) = response.error.as_ref().filter(|error| !error.is_null()) {
            return Err(fault(error));
        }
        self.model = response.model.unwrap_or_else(|| std::mem::take(&mut self.model));
        absorb_usage(&mut self.usage, &response.usage.unwrap_or_default());
        self.complete(&response.output.unwrap_or_default(), out);
        self.received.add(0, self.blocks.len())?;
        let reason = response.incomplete_details.unwrap_or_default();
        self.ending = Some(match response.status.as_deref().unwrap_or(told) {
            "failed" => return Err(fault(&Value::Null)),
            "incomplete" => {
                Ending::Incomplete(reason["reason"].as_str().unwrap_or("incomplete").to_owned())
            }
            "cancelled" => {
                return Err(Fault {
                    kind: ModelErrorKind::Overloaded,
                    message: "the provider cancelled the answer".to_owned(),
                    retry_after_ms: None,
                });
            }
            unfinished @ ("queued" | "in_progress") => {
                return Err(Fault::truncated(&format!("the answer is still `{unfinished}`")));
            }
            _ => Ending::Completed,
        });
        Ok(())
    }

    /// Takes from the list at the end what the events before it left out. It repeats what they said, or is empty, and adds nothing twice.
    fn complete(&mut self, output: &[Box<RawValue>], out: &mut Vec<ModelEvent>) {
        let streamed = self.blocks.len();
        for (index, raw) in (0..).zip(output) {
            let Some(item) = Item::parse(raw.get()) else { continue };
            let same = |at: &usize| self.blocks[*at].is_like(&item);
            let found = self.named(item.text("id").as_deref(), &item);
            let found = found.or_else(|| self.by_index.get(&index).copied().filter(same));
            match found {
                Some(at) if self.blocks[at].lacks(&item) => {
                    self.blocks[at].close(at, raw, &item, out);
                }
                None if streamed < output.len() && self.blocks.len() <= BLOCKS_MAX => {
                    self.close(Some(index), raw, out);
                }
                Some(_) | None => {}
            }
        }
    }
}

impl Decoder for ResponsesDecoder {
    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut Vec<ModelEvent>,
    ) -> Result<(), Fault> {
        let data = data.trim();
        let before = out.len();
        if !self.is_done() && !data.is_empty() && data != "[DONE]" {
            self.received.add(data.len(), self.blocks.len())?;
            match serde_json::from_str::<Event<'_>>(data) {
                Ok(event) => match error_of(name, &event, data) {
                    Some(error) => return Err(fault(&error)),
                    None => self.take(name, &event, out)?,
                },
                // An event that nobody knows may look as it likes, as long as it is JSON.
                Err(_)
                    if name != Some("error") && serde_json::from_str::<&RawValue>(data).is_ok() => {
                }
                Err(_) if name == Some("error") => return Err(fault(&Value::from(data))),
                Err(error) => {
                    return Err(Fault::protocol(format!(
                        "an event of the answer is malformed: {error}"
                    )));
                }
            }
        }
        if out.len() == before {
            out.push(ModelEvent::Alive);
        }
        Ok(())
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        self.received.add(body.len(), self.blocks.len())?;
        let response: Response = serde_json::from_slice(body)
            .map_err(|error| Fault::protocol(format!("the answer is not a response: {error}")))?;
        if response.output.is_none() && response.error.as_ref().is_none_or(Value::is_null) {
            return Err(Fault::protocol("the answer is a JSON object without output".to_owned()));
        }
        self.end(response, "completed", out)
    }

    fn is_done(&self) -> bool {
        self.ending.is_some()
    }

    fn finish(self: Box<Self>) -> Result<Reply, Fault> {
        let Some(ending) = self.ending else {
            return Err(Fault::truncated("the answer ended before its response.completed event"));
        };
        let origin = self.origin;
        let native = |item| origin.native(item);
        let refused = self.blocks.iter().any(|block| block.refused);
        let blocks: Vec<Block> =
            self.blocks.into_iter().map(|block| block.finish(native)).collect();
        let called = blocks.iter().any(|block| matches!(block.content, Content::ToolCall { .. }));
        let stop = match ending {
            Ending::Incomplete(reason) => match reason.as_str() {
                "max_output_tokens" | "max_tokens" => ReplyStop::MaxTokens,
                "content_filter" => ReplyStop::Refusal,
                _ => ReplyStop::Other(reason),
            },
            Ending::Completed if refused => ReplyStop::Refusal,
            Ending::Completed if called => ReplyStop::ToolUse,
            Ending::Completed => ReplyStop::EndTurn,
        };
        Ok(Reply { model: self.model, blocks, stop, usage: self.usage, warnings: Vec::new() })
    }
}

/// The error that an event is, if it is one: `error`, with its members in an object or beside the type, or an object without a type.
fn error_of(name: Option<&str>, event: &Event<'_>, data: &str) -> Option<Value> {
    let kind = event.kind.and_then(text);
    let inner = event.error.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    let inner = inner.filter(|error| !error.is_null());
    let is_error = name == Some("error") || kind.as_deref() == Some("error");
    match inner {
        Some(inner) if is_error || kind.is_none() => Some(inner),
        _ if is_error => serde_json::from_str(data).ok().map(without_type),
        _ => None,
    }
}

/// The error without a type that says no more than that it is one.
fn without_type(mut error: Value) -> Value {
    if let Some(members) = error.as_object_mut() {
        members.retain(|key, value| key != "type" || value != "error");
    }
    error
}

fn response(event: &Event<'_>) -> Result<Response, Fault> {
    let raw = event.response.map_or("{}", RawValue::get);
    serde_json::from_str(raw)
        .map_err(|error| Fault::protocol(format!("an event of the answer is malformed: {error}")))
}

fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

fn number(raw: &RawValue) -> Option<u64> {
    raw.get().parse().ok()
}

/// Takes over the counts that are there.
fn absorb_usage(usage: &mut Usage, counts: &Value) {
    let count = |path: &str| counts.pointer(path).and_then(Value::as_u64);
    let Some(input) = count("/input_tokens") else { return };
    let output = count("/output_tokens").unwrap_or_default();
    // Some count more as cached than they were sent.
    let read = count("/input_tokens_details/cached_tokens").unwrap_or_default().min(input);
    let written = count("/input_tokens_details/cache_write_tokens").unwrap_or_default();
    let written = written.min(input - read);
    let thought = count("/output_tokens_details/reasoning_tokens").unwrap_or_default();
    // Thought counts within the output; where the sum says otherwise it comes on top.
    let sum = input.saturating_add(output).saturating_add(thought);
    let beside = thought > 0 && count("/total_tokens") == Some(sum);
    let output = if beside { output.saturating_add(thought) } else { output };
    // Some count more as thought than they answered.
    let reasoning = thought.min(output);
    let input = input - read - written;
    *usage = Usage { input, output, cache_read: read, cache_write: written, reasoning };
}
