//! Events of an answer become blocks, each with its native item in the shape in which it is sent back.

use std::collections::HashMap;

use oarlock_core::message::{Block, Content, ReplyStop, Usage};
use oarlock_core::ports::model::{ModelErrorKind, ModelEvent, Reply};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::WIRE;
use super::growing::Growing;
use crate::classify;
use crate::codec::{Decoder, Fault, Origin, Received, Target};
use crate::item::{Item, raw_of};

/// Decodes one answer.
#[derive(Debug)]
pub(super) struct ConverseDecoder {
    origin: Origin,
    model: String,
    blocks: Vec<Growing>,
    /// The block that has a wire index.
    by_index: HashMap<u64, usize>,
    stop: Option<String>,
    usage: Usage,
    received: Received,
    /// Whether the counts have come, which come last.
    counted: bool,
}

/// What an event says, of any kind that is known.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    content_block_index: Option<u64>,
    #[serde(borrow)]
    start: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    stop_reason: Option<String>,
    usage: Option<Value>,
}

/// An answer that came whole.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    output: Option<Output>,
    stop_reason: Option<String>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Output {
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Vec<Box<RawValue>>>,
}

impl ConverseDecoder {
    pub(super) fn new(target: &Target) -> Self {
        Self {
            origin: target.origin(WIRE),
            model: target.model.clone(),
            blocks: Vec::new(),
            by_index: HashMap::new(),
            stop: None,
            usage: Usage::default(),
            received: Received::default(),
            counted: false,
        }
    }

    fn take(&mut self, name: &str, data: &str, out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        if name.ends_with("Exception") {
            return Err(classify::exception(name, data));
        }
        if !matches!(name, "contentBlockStart" | "contentBlockDelta" | "messageStop" | "metadata") {
            return Ok(());
        }
        let said: Said<'_> = serde_json::from_str(data).map_err(|error| {
            Fault::protocol(format!("an event of the answer is malformed: {error}"))
        })?;
        let index = said.content_block_index.unwrap_or_default();
        match name {
            "contentBlockStart" => {
                // A start that does not say of what leaves that to the first delta, as servers beside AWS do for text.
                if let Some((kind, value)) = member(said.start) {
                    self.open(index, Growing::opened(kind, &value));
                }
            }
            "contentBlockDelta" => {
                if let Some((kind, value)) = member(said.delta) {
                    // Only calls and results are opened by an event of their own.
                    let open = || Growing::opened(kind.clone(), &null());
                    let at = match self.by_index.get(&index) {
                        Some(at) => *at,
                        None => self.open(index, open()),
                    };
                    self.blocks[at].extend(at, &kind, &value, out);
                }
            }
            "messageStop" => self.stop = said.stop_reason.or_else(|| self.stop.take()),
            _ => {
                absorb_usage(&mut self.usage, &said.usage.unwrap_or_default());
                self.counted = true;
            }
        }
        Ok(())
    }

    fn open(&mut self, index: u64, block: Growing) -> usize {
        let at = self.blocks.len();
        self.by_index.insert(index, at);
        self.blocks.push(block);
        at
    }
}

impl Decoder for ConverseDecoder {
    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut Vec<ModelEvent>,
    ) -> Result<(), Fault> {
        let before = out.len();
        if !self.is_done() && !data.trim().is_empty() {
            self.received.add(data.len(), self.blocks.len())?;
            match name {
                Some(name) => self.take(name, data, out)?,
                // Some hand an event on as an object whose one member is the event.
                None => {
                    let event = Item::parse(data).ok_or_else(|| {
                        Fault::protocol("an event of the answer is no object".to_owned())
                    })?;
                    for (name, value) in event.into_members() {
                        self.take(&name, value.get(), out)?;
                    }
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
        let whole: Whole = serde_json::from_slice(body)
            .map_err(|error| Fault::protocol(format!("the answer is not a message: {error}")))?;
        let content = whole.output.and_then(|output| output.message?.content);
        let Some(content) = content else {
            return Err(match serde_json::from_slice::<Value>(body) {
                Ok(error) if error.get("message").is_some_and(Value::is_string) => {
                    classify::inside(&error)
                }
                _ => Fault::protocol("the answer is a JSON object without output".to_owned()),
            });
        };
        for raw in content {
            self.received.add(0, self.blocks.len())?;
            let block = Growing::whole(&raw, self.blocks.len(), out);
            self.blocks.push(block);
        }
        absorb_usage(&mut self.usage, &whole.usage.unwrap_or_default());
        self.stop = whole.stop_reason.or_else(|| Some("end_turn".to_owned()));
        self.counted = true;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.stop.is_some() && self.counted
    }

    /// The counts come after the reason to stop; an answer that lacks them alone is whole.
    fn finish(self: Box<Self>) -> Result<Reply, Fault> {
        let Some(reason) = self.stop else {
            return Err(Fault::truncated("the answer ended before its messageStop event"));
        };
        let origin = self.origin;
        let native = |item| origin.native(item);
        let blocks: Vec<Block> =
            self.blocks.into_iter().map(|block| block.finish(native)).collect();
        let called = blocks.iter().any(|block| matches!(block.content, Content::ToolCall { .. }));
        let stop = stop_of(&reason, called)?;
        Ok(Reply { model: self.model, blocks, stop, usage: self.usage, warnings: Vec::new() })
    }
}

/// The one member of a union.
fn member(union: Option<&RawValue>) -> Option<(String, Box<RawValue>)> {
    Item::parse(union?.get())?.into_members().next()
}

fn null() -> Box<RawValue> {
    raw_of(Value::Null)
}

/// Takes over the counts that are there. What was read from and written to the cache is not among the input (AWS, "Prompt caching": the whole
/// input is the sum of the three).
fn absorb_usage(usage: &mut Usage, counts: &Value) {
    for (slot, name) in [
        (&mut usage.input, "inputTokens"),
        (&mut usage.output, "outputTokens"),
        (&mut usage.cache_read, "cacheReadInputTokens"),
        (&mut usage.cache_write, "cacheWriteInputTokens"),
    ] {
        if let Some(count) = counts.get(name).and_then(Value::as_u64) {
            *slot = count;
        }
    }
}

/// Why the model stopped. An answer that the provider could not read may come out well when it is asked for again.
fn stop_of(reason: &str, called: bool) -> Result<ReplyStop, Fault> {
    Ok(match reason {
        "tool_use" => ReplyStop::ToolUse,
        // Some models say so beside a call.
        "end_turn" if called => ReplyStop::ToolUse,
        "end_turn" => ReplyStop::EndTurn,
        "max_tokens" | "model_context_window_exceeded" => ReplyStop::MaxTokens,
        "stop_sequence" => ReplyStop::StopSequence,
        "guardrail_intervened" | "content_filtered" => ReplyStop::Refusal,
        malformed if malformed.starts_with("malformed_") => {
            return Err(Fault {
                kind: ModelErrorKind::Overloaded,
                message: format!("the model wrote what its provider could not read ({malformed})"),
                retry_after_ms: None,
            });
        }
        other => ReplyStop::Other(other.to_owned()),
    })
}
