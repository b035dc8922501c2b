//! Chunks of OpenAI's chat completions, with thought in the member in which compatible servers send it.

use serde_json::{Value, json};

use super::{Event, Said, USAGE, pieces};

pub(super) fn events(said: &[Said], letters: usize) -> Vec<Event> {
    let mut deltas = vec![json!({"role": "assistant", "content": ""})];
    let mut calls = Vec::new();
    for said in said {
        let member = |key: &str, text: &str| -> Vec<Value> {
            pieces(text, letters).into_iter().map(|piece| json!({ key: piece })).collect()
        };
        match said {
            Said::Thought(text) => deltas.extend(member("reasoning_content", text)),
            Said::Text(text) => deltas.extend(member("content", text)),
            Said::Call { id, name, arguments } => {
                calls.push(call(calls.len(), (id, name), pieces(arguments, letters)));
            }
        }
    }
    let stop = if calls.is_empty() { "stop" } else { "tool_calls" };
    deltas.extend(in_turns(&calls));
    let mut all: Vec<Value> = deltas.into_iter().map(|delta| chunk(&delta, None)).collect();
    all.push(chunk(&json!({}), Some(stop)));
    let mut counts = chunk(&json!({}), None);
    counts["choices"] = json!([]);
    counts["usage"] = json!({
        "prompt_tokens": USAGE.input + USAGE.cache_read,
        "completion_tokens": USAGE.output,
        "total_tokens": USAGE.input + USAGE.cache_read + USAGE.output,
        "prompt_tokens_details": {"cached_tokens": USAGE.cache_read},
        "completion_tokens_details": {"reasoning_tokens": USAGE.reasoning},
    });
    all.push(counts);
    all.iter().map(|event| Event::of(None, event)).collect()
}

fn chunk(delta: &Value, finish: Option<&str>) -> Value {
    let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_763_800_000, "model": "m", "service_tier": "default", "system_fingerprint": "fp_1", "choices": [choice]})
}

/// The pieces of a call: its name first, then what is added to its arguments.
fn call(index: usize, (id, name): (&str, &str), arguments: Vec<String>) -> Vec<Value> {
    let function = json!({"name": name, "arguments": ""});
    let first = json!({"index": index, "id": id, "type": "function", "function": function});
    let more = arguments
        .into_iter()
        .map(|piece| json!({"index": index, "function": {"arguments": piece}}));
    let all = std::iter::once(first).chain(more);
    all.map(|piece| json!({ "tool_calls": [piece] })).collect()
}

/// One of each in turn, as parallel calls may come.
fn in_turns(calls: &[Vec<Value>]) -> Vec<Value> {
    let longest = calls.iter().map(Vec::len).max().unwrap_or_default();
    let at = |place: usize| calls.iter().filter_map(move |call| call.get(place).cloned());
    (0..longest).flat_map(at).collect()
}
