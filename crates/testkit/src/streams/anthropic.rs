//! Events of Anthropic's Messages ("Streaming messages" of its documentation).

use serde_json::{Value, json};

use super::{Event, Said, USAGE, pieces};

pub(super) fn events(said: &[Said], letters: usize) -> Vec<Event> {
    let usage = json!({"input_tokens": USAGE.input, "cache_read_input_tokens": USAGE.cache_read, "cache_creation_input_tokens": 0, "output_tokens": 1});
    let message = json!({"id": "msg_01", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage});
    let mut all =
        vec![json!({"type": "message_start", "message": message}), json!({"type": "ping"})];
    for (index, said) in said.iter().enumerate() {
        let (block, deltas) = block(said, letters);
        all.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        let delta = |delta| json!({"type": "content_block_delta", "index": index, "delta": delta});
        all.extend(deltas.into_iter().map(delta));
        all.push(json!({"type": "content_block_stop", "index": index}));
    }
    let called = said.iter().any(|said| matches!(said, Said::Call { .. }));
    let stop = if called { "tool_use" } else { "end_turn" };
    let thought = json!({"thinking_tokens": USAGE.reasoning});
    let usage = json!({"output_tokens": USAGE.output, "output_tokens_details": thought});
    let delta = json!({"stop_reason": stop, "stop_sequence": null});
    all.push(json!({"type": "message_delta", "delta": delta, "usage": usage}));
    all.push(json!({"type": "message_stop"}));
    all.iter().map(|event| Event::of(Some(name(event)), event)).collect()
}

/// A block as it is opened, and what is added to it.
fn block(said: &Said, letters: usize) -> (Value, Vec<Value>) {
    let deltas = |kind: &str, key: &str, text: &str| -> Vec<Value> {
        pieces(text, letters).into_iter().map(|piece| json!({"type": kind, key: piece})).collect()
    };
    match said {
        Said::Thought(text) => {
            let mut added = deltas("thinking_delta", "thinking", text);
            added.push(json!({"type": "signature_delta", "signature": "c2lnbmVk"}));
            (json!({"type": "thinking", "thinking": "", "signature": ""}), added)
        }
        Said::Text(text) => {
            (json!({"type": "text", "text": ""}), deltas("text_delta", "text", text))
        }
        Said::Call { id, name, arguments } => (
            json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
            deltas("input_json_delta", "partial_json", arguments),
        ),
    }
}

/// An event has its type as its name.
fn name(event: &Value) -> &'static str {
    const NAMES: [&str; 7] = [
        "content_block_delta",
        "content_block_start",
        "content_block_stop",
        "message_start",
        "message_delta",
        "message_stop",
        "ping",
    ];
    let named = NAMES.into_iter().find(|name| event["type"] == *name);
    named.expect("every type of event has its name here")
}
