//! Running calls: one task each, its output bounded, its panic its own failure.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{Either, select};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::{BlobRef, Outcome};
use crate::ids::Timestamp;
use crate::message::Part;
use crate::ports::journal::Blobs;
use crate::ports::tool::{SessionNote, Tool, ToolContext, ToolError, ToolOutput};
use crate::session::inbox::{Outbox, Signal};
use crate::turn::registry::parse_arguments;

/// How a call ended, as its entry will say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallEnd {
    pub(crate) outcome: Outcome,
    pub(crate) content: Vec<Part>,
    pub(crate) blobs: Vec<BlobRef>,
    pub(crate) detail: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<SessionNote>,
}

/// Runs a call to its end and tells the session.
pub(crate) async fn run(
    tool: Arc<dyn Tool>,
    arguments: String,
    cx: ToolContext,
    (inline_bytes, outbox): (usize, Outbox),
) {
    let (call, blobs) = (cx.call.clone(), Arc::clone(&cx.blobs));
    let name = tool.schema().name.clone();
    let work = async {
        match parse_arguments(&arguments) {
            Ok(arguments) => tool.execute(arguments, cx).await,
            Err(words) => Err(ToolError::Arguments(words)),
        }
    };
    let result = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic_words(panic.as_ref());
        Err(ToolError::failed(format!("the tool `{name}` crashed: {words}")))
    });
    let end = end_of(result, blobs.as_ref(), inline_bytes).await;
    outbox.send(Signal::ToolDone { call, end }).await;
}

/// Finds out what to show a person about a call and tells the session. When it takes longer than `until`, nobody waits for it any more.
pub(crate) async fn describe(
    tool: Arc<dyn Tool>,
    arguments: String,
    cx: ToolContext,
    until: Timestamp,
    (inline_bytes, outbox): (usize, Outbox),
) {
    let call = cx.call.clone();
    let detail = match parse_arguments(&arguments) {
        Ok(arguments) => {
            let deadline = cx.clock.sleep_until(until);
            let described = AssertUnwindSafe(async { tool.describe(&arguments, &cx).await });
            match select(pin!(described.catch_unwind()), deadline).await {
                Either::Left((described, _)) => described.unwrap_or_default(),
                Either::Right(((), _)) => return,
            }
        }
        Err(words) => words,
    };
    let (detail, _) = head_and_tail(&detail, inline_bytes);
    outbox.send(Signal::Described { call, detail }).await;
}

/// What a panic says.
pub(crate) fn panic_words(panic: &(dyn Any + Send)) -> &str {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

impl CallEnd {
    /// An end with all of this output.
    pub(crate) fn of(outcome: Outcome, output: ToolOutput) -> Self {
        let ToolOutput { content, blobs, detail, notes } = output;
        Self { outcome, content, blobs, detail, notes }
    }
}

/// The end that a result means: its text bounded, the whole of a longer one in a blob.
pub(crate) async fn end_of(
    result: Result<ToolOutput, ToolError>,
    blobs: &dyn Blobs,
    inline_bytes: usize,
) -> CallEnd {
    let (outcome, output) = match result {
        Ok(output) => (Outcome::Completed, output),
        Err(ToolError::Cancelled) => (Outcome::Cancelled, ToolOutput::text("cancelled")),
        Err(ToolError::Arguments(words)) => (Outcome::Failed, ToolOutput::text(words)),
        Err(ToolError::Failed(output)) => (Outcome::Failed, *output),
    };
    let mut end = CallEnd::of(outcome, output);
    let content = std::mem::take(&mut end.content);
    let content = match text_bytes(&content) > inline_bytes {
        true => joined(content),
        false => content,
    };
    for part in content {
        let part = match part {
            Part::Text { text } if text.len() > inline_bytes => {
                shorten(text, &mut end, (blobs, inline_bytes)).await
            }
            part => part,
        };
        end.content.push(part);
    }
    end
}

fn text_bytes(content: &[Part]) -> usize {
    content.iter().filter_map(Part::as_text).map(str::len).sum()
}

/// All texts as one, then the bodies: so the limit holds for them together.
fn joined(content: Vec<Part>) -> Vec<Part> {
    let (mut texts, mut parts) = (Vec::new(), Vec::new());
    for part in content {
        match part {
            Part::Text { text } => texts.push(text),
            part => parts.push(part),
        }
    }
    parts.insert(0, Part::Text { text: texts.join("\n") });
    parts
}

/// Keeps head and tail of a long text; the whole becomes a blob. When the blob cannot be stored, the words say so.
async fn shorten(
    text: String,
    end: &mut CallEnd,
    (blobs, inline_bytes): (&dyn Blobs, usize),
) -> Part {
    let bytes = text.len();
    let (short, left_out) = head_and_tail(&text, inline_bytes);
    let note = match blobs.put(Bytes::from(text)).await {
        Ok(blob) => {
            let note = format!(
                "\n[{left_out} of {bytes} bytes left out in the middle; the whole is `blob:{blob}` for read_file]"
            );
            end.blobs.push(BlobRef { blob, name: "text".to_owned(), bytes: bytes as u64 });
            note
        }
        Err(error) => {
            format!("\n[{left_out} of {bytes} bytes left out in the middle and lost: {error}]")
        }
    };
    Part::Text { text: short + &note }
}

/// The text, or its first two and last one thirds of `bytes_max`, and how many bytes are missing in between.
fn head_and_tail(text: &str, bytes_max: usize) -> (String, usize) {
    if text.len() <= bytes_max {
        return (text.to_owned(), 0);
    }
    let head = text.floor_char_boundary(bytes_max / 3 * 2);
    let tail = text.ceil_char_boundary(text.len() - bytes_max / 3);
    (format!("{}\n[…]\n{}", &text[..head], &text[tail..]), tail - head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_head_and_tail_at_character_boundaries() {
        assert_eq!(head_and_tail("short", 9), ("short".to_owned(), 0));
        let text = "é".repeat(100);
        let (short, left_out) = head_and_tail(&text, 30);
        assert!(short.starts_with("éééé") && short.ends_with("éééé"), "{short}");
        assert_eq!(short.matches('é').count() * 2 + left_out, 200);
    }
}
