//! Chunks of an answer become blocks. Each chunk is a response of its own, and the parts of all of them are the answer's.

use oarlock_core::event::DeltaItem;
use oarlock_core::message::{Block, Content, ReplyStop};
use oarlock_core::ports::model::{ModelErrorKind, ModelEvent, Reply};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::counts::Counts;
use super::growing::Growing;
use super::{BESIDE_PARTS, WIRE};
use crate::classify;
use crate::codec::{Decoder, Fault, Origin, Received, Target};
use crate::item::Item;

/// Decodes one answer.
#[derive(Debug)]
pub(super) struct GeminiDecoder {
    origin: Origin,
    model: String,
    /// The id of the answer, empty until it is told.
    id: String,
    blocks: Vec<Growing>,
    /// What came beside the parts, each kind as it came last.
    beside: [Option<Box<RawValue>>; BESIDE_PARTS.len()],
    finish: Option<Finish>,
    /// Why the prompt was blocked.
    blocked: Option<String>,
    counts: Counts,
    received: Received,
    /// Whether a gateway has marked the end.
    is_marked: bool,
}

/// Why an answer ended, as it was said.
#[derive(Debug)]
struct Finish {
    reason: String,
    words: Option<String>,
}

/// A chunk. Nothing is taken for granted about its members.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow)]
    candidates: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_feedback: Option<&'a RawValue>,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    model_version: Option<&'a RawValue>,
    #[serde(borrow)]
    response_id: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl GeminiDecoder {
    pub(super) fn new(target: &Target) -> Self {
        Self {
            origin: target.origin(WIRE),
            model: target.model.clone(),
            id: String::new(),
            blocks: Vec::new(),
            beside: Default::default(),
            finish: None,
            blocked: None,
            counts: Counts::default(),
            received: Received::default(),
            is_marked: false,
        }
    }

    /// Takes chunks as they come: one, or a list of them. JSON of any other form says nothing.
    fn take(&mut self, data: &str, out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        match data.as_bytes().first() {
            Some(b'{') => self.chunk(data, out),
            Some(b'[') => {
                let chunks: Vec<&RawValue> =
                    serde_json::from_str(data).map_err(|e| malformed(&e))?;
                let objects = chunks.into_iter().map(RawValue::get).filter(|c| c.starts_with('{'));
                for chunk in objects {
                    self.chunk(chunk, out)?;
                }
                Ok(())
            }
            _ => serde_json::from_str::<&RawValue>(data).map(|_| ()).map_err(|e| malformed(&e)),
        }
    }

    fn chunk(&mut self, data: &str, out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        let chunk: Chunk<'_> = serde_json::from_str(data).map_err(|e| malformed(&e))?;
        if let Some(error) = chunk.error.map(value).filter(|error| !error.is_null()) {
            return Err(classify::inside(&error));
        }
        if let Some(model) = chunk.model_version.and_then(text).filter(|model| !model.is_empty()) {
            self.model = model;
        }
        if let Some(id) = chunk.response_id.and_then(text).filter(|_| self.id.is_empty()) {
            self.id = id;
        }
        if let Some(counts) = chunk.usage_metadata {
            self.counts.absorb(&value(counts));
        }
        let feedback = chunk.prompt_feedback.and_then(|raw| Item::parse(raw.get()));
        self.blocked = feedback.and_then(|told| told.text("blockReason")).or(self.blocked.take());
        let candidates = chunk.candidates.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let candidates: Vec<&RawValue> = candidates.unwrap_or_default();
        // One candidate is asked for.
        match candidates.first().and_then(|raw| Item::parse(raw.get())) {
            Some(candidate) => self.candidate(&candidate, out),
            None => Ok(()),
        }
    }

    fn candidate(&mut self, candidate: &Item, out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        let content = candidate.raw("content").and_then(Item::parse).unwrap_or_default();
        let parts = content.raw("parts").and_then(|parts| serde_json::from_str(parts).ok());
        let parts: Vec<&RawValue> = parts.unwrap_or_default();
        for next in parts.into_iter().filter_map(Growing::of) {
            self.part(next, out)?;
        }
        for (kept, name) in self.beside.iter_mut().zip(BESIDE_PARTS) {
            let told = candidate.raw(name).filter(|told| told.starts_with('{'));
            *kept =
                told.and_then(|told| RawValue::from_string(told.to_owned()).ok()).or(kept.take());
        }
        if let Some(reason) = candidate.text("finishReason").filter(|reason| !reason.is_empty()) {
            self.finish = Some(Finish { reason, words: candidate.text("finishMessage") });
        }
        Ok(())
    }

    fn part(&mut self, next: Growing, out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        let told = next.told();
        let next = match self.blocks.last_mut() {
            Some(last) => last.join(next),
            None => Some(next),
        };
        if let Some(next) = next {
            self.blocks.push(next);
            self.received.add(0, self.blocks.len())?;
        }
        let block = u32::try_from(self.blocks.len() - 1).unwrap_or(u32::MAX);
        let item = match self.blocks.last() {
            Some(Growing::Text { is_thought: true, .. }) => DeltaItem::Thinking { block },
            Some(Growing::Text { is_thought: false, .. }) => DeltaItem::Text { block },
            Some(Growing::Call { .. }) => DeltaItem::Arguments { block },
            Some(Growing::Opaque { .. }) | None => return Ok(()),
        };
        if !told.is_empty() {
            out.push(ModelEvent::Delta { item, text: told });
        }
        Ok(())
    }
}

impl Decoder for GeminiDecoder {
    fn event(
        &mut self,
        name: Option<&str>,
        data: &str,
        out: &mut Vec<ModelEvent>,
    ) -> Result<(), Fault> {
        let (data, before) = (data.trim(), out.len());
        self.is_marked |= data == "[DONE]";
        if !self.is_marked && !data.is_empty() {
            self.received.add(data.len(), self.blocks.len())?;
            match name {
                Some("error") if !data.contains("\"error\"") => {
                    let error = serde_json::from_str(data).unwrap_or_else(|_| Value::from(data));
                    return Err(classify::inside(&error));
                }
                _ => self.take(data, out)?,
            }
        }
        if out.len() == before {
            out.push(ModelEvent::Alive);
        }
        Ok(())
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        self.received.add(body.len(), self.blocks.len())?;
        let body = std::str::from_utf8(body)
            .map_err(|error| Fault::protocol(format!("the answer is not a text: {error}")))?;
        self.take(body.trim(), out)?;
        if self.finish.is_none() && self.blocked.is_none() && self.blocks.is_empty() {
            return Err(Fault::protocol("the answer is JSON without candidates".to_owned()));
        }
        Ok(())
    }

    /// The reason to stop may come before the last counts, so a stream is read to its end.
    fn is_done(&self) -> bool {
        self.is_marked
    }

    fn finish(self: Box<Self>) -> Result<Reply, Fault> {
        let Some(finish) = self.finish else {
            return Err(self.blocked.map_or_else(
                || Fault::truncated("the answer ended before its finishReason"),
                |reason| {
                    fault(
                        ModelErrorKind::ContentFilter,
                        format!("the prompt was blocked: {reason}"),
                    )
                },
            ));
        };
        let calls = self.blocks.iter().any(|block| matches!(block, Growing::Call { .. }));
        let stop = stop(finish, calls)?;
        if let Some(what) = unusable(&self.blocks, &stop) {
            return Err(Fault::protocol(what.to_owned()));
        }
        let origin = self.origin;
        let native = |item| origin.native(item);
        let beside = BESIDE_PARTS.into_iter().zip(self.beside).filter_map(|(kind, told)| {
            let mut item = Item::default();
            item.set(kind, told?);
            let content = Content::Opaque { kind: kind.to_owned() };
            Some(Block { content, native: Some(native(item.into_json())) })
        });
        let id = self.id;
        let parts = self.blocks.into_iter().enumerate().map(|(at, block)| {
            // A call that has no id is known here by its answer's, so that nobody has to rename it; it goes back without one.
            let call = Some(format!("{id}-{at}")).filter(|_| !id.is_empty());
            block.named(call).finish(native)
        });
        let blocks: Vec<Block> = parts.chain(beside).collect();
        let usage = self.counts.usage();
        Ok(Reply { model: self.model, blocks, stop, usage, warnings: Vec::new() })
    }
}

/// Why the answer stopped. Calls end it with `STOP`, as words do. A call that its provider could not read is a failure that may pass: it is made
/// again, since nothing of it could be run or sent back.
fn stop(finish: Finish, calls: bool) -> Result<ReplyStop, Fault> {
    let Finish { reason, words } = finish;
    let told = |what: &str| {
        let words = words.map(|words| format!(": {words}")).unwrap_or_default();
        format!("{what} ({reason}){words}")
    };
    Ok(match reason.as_str() {
        "STOP" if calls => ReplyStop::ToolUse,
        "STOP" => ReplyStop::EndTurn,
        "MAX_TOKENS" => ReplyStop::MaxTokens,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => ReplyStop::Refusal,
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "MALFORMED_RESPONSE" => {
            let what = told("the model wrote what its provider could not read");
            return Err(fault(ModelErrorKind::Transport, what));
        }
        "MISSING_THOUGHT_SIGNATURE" => {
            let what = told("a call was sent back without its signature");
            return Err(fault(ModelErrorKind::InvalidRequest, what));
        }
        _ => ReplyStop::Other(reason),
    })
}

/// Why nothing can be made of an answer, though its provider takes it for a good one. Both pass when it is asked again.
fn unusable(blocks: &[Growing], stop: &ReplyStop) -> Option<&'static str> {
    let is_nameless =
        |block: &Growing| matches!(block, Growing::Call { name, .. } if name.is_empty());
    if blocks.iter().any(is_nameless) {
        return Some("the model called a tool without a name");
    }
    (blocks.is_empty() && *stop == ReplyStop::EndTurn)
        .then_some("the model stopped and said nothing (STOP)")
}

fn fault(kind: ModelErrorKind, message: String) -> Fault {
    Fault { kind, message, retry_after_ms: None }
}

fn malformed(error: &serde_json::Error) -> Fault {
    Fault::protocol(format!("a chunk of the answer is malformed: {error}"))
}

fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}
