//! Chunks of Google's `streamGenerateContent`. Arguments of a call come whole.

use serde_json::{Value, json};

use super::{Event, Said, USAGE, object, pieces};

pub(super) fn events(said: &[Said], letters: usize) -> Vec<Event> {
    let mut parts = Vec::new();
    for said in said {
        match said {
            Said::Thought(text) => parts.extend(
                pieces(text, letters)
                    .into_iter()
                    .map(|text| json!({"text": text, "thought": true})),
            ),
            Said::Text(text) => {
                parts.extend(pieces(text, letters).into_iter().map(|text| json!({ "text": text })));
            }
            Said::Call { id, name, arguments } => {
                let call = json!({"id": id, "name": name, "args": object(arguments)});
                parts.push(json!({"functionCall": call, "thoughtSignature": "c2lnbmVk"}));
            }
        }
    }
    let mut all: Vec<Value> = parts.into_iter().map(|part| chunk(&part, None)).collect();
    all.push(chunk(&json!({"text": ""}), Some("STOP")));
    all.iter().map(|event| Event::of(None, event)).collect()
}

fn chunk(part: &Value, finish: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"parts": [part], "role": "model"}, "index": 0});
    if let Some(reason) = finish {
        candidate["finishReason"] = json!(reason);
    }
    let sent = USAGE.input + USAGE.cache_read;
    let usage = json!({
        "promptTokenCount": sent,
        "cachedContentTokenCount": USAGE.cache_read,
        "candidatesTokenCount": USAGE.output - USAGE.reasoning,
        "thoughtsTokenCount": USAGE.reasoning,
        "totalTokenCount": sent + USAGE.output,
    });
    json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r1"})
}
