//! Events of Bedrock's `ConverseStream`, and the frames in which AWS sends them ("Event stream encoding" of its documentation).

use serde_json::{Value, json};

use super::{Event, Said, USAGE, pieces};

pub(super) fn events(said: &[Said], letters: usize) -> Vec<Event> {
    let mut all = vec![("messageStart", json!({"role": "assistant", "p": "abcdefgh"}))];
    for (index, said) in said.iter().enumerate() {
        let event = |key: &str, value: Value| json!({"contentBlockIndex": index, key: value, "p": "abcdefghijkl"});
        let (kind, text) = match said {
            Said::Thought(text) => ("reasoningContent", text),
            Said::Text(text) => ("text", text),
            Said::Call { id, name, arguments } => {
                let start = json!({"toolUse": {"toolUseId": id, "name": name}});
                all.push(("contentBlockStart", event("start", start)));
                ("toolUse", arguments)
            }
        };
        let delta = |text: String| match said {
            Said::Thought(_) => json!({ kind: {"text": text} }),
            Said::Text(_) => json!({ kind: text }),
            Said::Call { .. } => json!({ kind: {"input": text} }),
        };
        let mut deltas: Vec<Value> = pieces(text, letters).into_iter().map(delta).collect();
        if matches!(said, Said::Thought(_)) {
            deltas.push(json!({ kind: {"signature": "c2lnbmVk"} }));
        }
        all.extend(deltas.into_iter().map(|delta| ("contentBlockDelta", event("delta", delta))));
        all.push(("contentBlockStop", json!({"contentBlockIndex": index, "p": "abc"})));
    }
    let called = said.iter().any(|said| matches!(said, Said::Call { .. }));
    let stop = if called { "tool_use" } else { "end_turn" };
    all.push(("messageStop", json!({"stopReason": stop, "p": "abcdef"})));
    let total = USAGE.input + USAGE.cache_read + USAGE.output;
    let usage = json!({"inputTokens": USAGE.input, "cacheReadInputTokens": USAGE.cache_read, "outputTokens": USAGE.output, "totalTokens": total});
    all.push(("metadata", json!({"usage": usage, "metrics": {"latencyMs": 900}})));
    all.iter().map(|(name, event)| Event::of(Some(name), event)).collect()
}

/// A frame of this kind (`event` or `exception`) and name: lengths with their checksum, headers, payload, a checksum of all.
///
/// # Panics
/// When a name or the payload is longer than a frame can say.
#[must_use]
pub fn frame(kind: &str, name: &str, payload: &str) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).expect("a frame is small").to_be_bytes();
    let header = |name: &str, value: &str| {
        let size = u16::try_from(value.len()).expect("a header is small").to_be_bytes();
        let name_size = [u8::try_from(name.len()).expect("a name is small")];
        [&name_size, name.as_bytes(), &[7], &size, value.as_bytes()].concat()
    };
    let headers = [
        header(":message-type", kind),
        header(&format!(":{kind}-type"), name),
        header(":content-type", "application/json"),
    ]
    .concat();
    let mut frame = [length(headers.len() + payload.len() + 16), length(headers.len())].concat();
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend([&headers, payload.as_bytes()].concat());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}
