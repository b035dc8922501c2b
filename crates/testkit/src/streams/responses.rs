//! Events of OpenAI's Responses ("Streaming events" of its documentation). Thought is a summary.

use serde_json::{Value, json};

use super::{Event, Said, USAGE, pieces};

pub(super) fn events(said: &[Said], letters: usize) -> Vec<Event> {
    let mut all = vec![("response.created", json!({"response": response("in_progress", &[])}))];
    let mut items = Vec::new();
    for (index, said) in said.iter().enumerate() {
        let (opened, item) = (item(said, index, false), item(said, index, true));
        all.push((ADDED, json!({"output_index": index, "item": opened})));
        let delta = |text| {
            let mut delta = json!({"item_id": item["id"], "output_index": index, "delta": text});
            match said {
                Said::Thought(_) => delta["summary_index"] = json!(0),
                Said::Text(_) => delta["content_index"] = json!(0),
                Said::Call { .. } => {}
            }
            delta
        };
        let (kind, text) = match said {
            Said::Thought(text) => ("response.reasoning_summary_text.delta", text),
            Said::Text(text) => ("response.output_text.delta", text),
            Said::Call { arguments, .. } => ("response.function_call_arguments.delta", arguments),
        };
        all.extend(pieces(text, letters).into_iter().map(|text| (kind, delta(text))));
        all.push((DONE, json!({"output_index": index, "item": item})));
        items.push(item);
    }
    all.push(("response.completed", json!({"response": response("completed", &items)})));
    all.into_iter().enumerate().map(numbered).collect()
}

const ADDED: &str = "response.output_item.added";
const DONE: &str = "response.output_item.done";

fn numbered((number, (name, mut event)): (usize, (&'static str, Value))) -> Event {
    event["type"] = json!(name);
    event["sequence_number"] = json!(number);
    Event::of(Some(name), &event)
}

fn response(status: &str, output: &[Value]) -> Value {
    let mut response = json!({"id": "resp_1", "object": "response", "created_at": 1_763_800_000, "model": "m", "status": status, "error": null, "incomplete_details": null, "instructions": null, "max_output_tokens": null, "tools": [], "output": output, "usage": null});
    if status == "completed" {
        let sent = USAGE.input + USAGE.cache_read;
        response["usage"] = json!({
            "input_tokens": sent,
            "input_tokens_details": {"cached_tokens": USAGE.cache_read},
            "output_tokens": USAGE.output,
            "output_tokens_details": {"reasoning_tokens": USAGE.reasoning},
            "total_tokens": sent + USAGE.output,
        });
    }
    response
}

/// An item as it is opened, or as it is when it is done.
fn item(said: &Said, index: usize, is_done: bool) -> Value {
    let status = if is_done { "completed" } else { "in_progress" };
    let list = |part: Value| if is_done { json!([part]) } else { json!([]) };
    match said {
        Said::Thought(text) => {
            json!({"type": "reasoning", "id": format!("rs_{index}"), "encrypted_content": "c2VhbGVk", "summary": list(json!({"type": "summary_text", "text": text}))})
        }
        Said::Text(text) => {
            let part = json!({"type": "output_text", "text": text, "annotations": []});
            json!({"type": "message", "id": format!("msg_{index}"), "status": status, "role": "assistant", "content": list(part)})
        }
        Said::Call { id, name, arguments } => {
            let arguments = if is_done { arguments } else { "" };
            json!({"type": "function_call", "id": format!("fc_{index}"), "call_id": id, "name": name, "status": status, "arguments": arguments})
        }
    }
}
