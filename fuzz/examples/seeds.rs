//! Writes what fuzzing begins with into `seeds/`: streams that testkit makes, and answers that come whole. `cargo run --example seeds` in this folder.

use std::fs;
use std::path::Path;

use oarlock_models::Wire;
use oarlock_testkit::streams::{Event, Said, body, events};
use serde_json::json;

fn said() -> Vec<Said> {
    let call = |id: &str, path: &str| Said::Call {
        id: id.to_owned(),
        name: "read_file".to_owned(),
        arguments: json!({"path": path, "lines": [1, 20]}).to_string(),
    };
    let (thought, text) = ("I look.", "Grüße, 世界 🦀");
    vec![
        Said::Thought(thought.to_owned()),
        Said::Text(text.to_owned()),
        call("call_1", "a"),
        call("call_2", "ü"),
    ]
}

/// An answer that does not come as a stream.
fn whole(wire: Wire) -> &'static str {
    match wire {
        Wire::AnthropicMessages => {
            r#"{"type":"message","model":"m","content":[{"type":"thinking","thinking":"h","signature":"s"},{"type":"text","text":"t"},{"type":"tool_use","id":"a","name":"f","input":{"x":1}}],"stop_reason":"tool_use","usage":{"input_tokens":5,"output_tokens":7}}"#
        }
        Wire::OpenAiChat => {
            r#"{"model":"m","choices":[{"index":0,"message":{"role":"assistant","reasoning_details":[{"type":"reasoning.text","text":"h","index":0}],"content":[{"type":"text","text":"t"}],"refusal":"no","annotations":[1],"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":5,"completion_tokens":7}}"#
        }
        Wire::OpenAiResponses => {
            r#"{"model":"m","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"reasoning","id":"r","content":[{"text":"h"}],"summary":[]},{"type":"message","id":"m","content":[{"type":"refusal","refusal":"no"}]},{"type":"function_call","id":"c","call_id":"a","name":"f","arguments":{"x":1}}],"usage":{"input_tokens":5,"output_tokens":7}}"#
        }
        Wire::Gemini => {
            r#"[{"candidates":[{"content":{"parts":[{"text":"h","thought":true},{"functionCall":{"name":"f","args":{"x":1}},"thoughtSignature":"s"},{"inlineData":{"data":""}}]},"groundingMetadata":{},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5}}]"#
        }
        Wire::BedrockConverse => {
            r#"{"output":{"message":{"content":[{"reasoningContent":{"reasoningText":{"text":"h","signature":"s"}}},{"citationsContent":{"content":[{"text":"t"}],"citations":[{}]}},{"toolUse":{"toolUseId":"a","name":"f","input":{"x":1}}}]}},"stopReason":"tool_use","usage":{"inputTokens":5,"outputTokens":7}}"#
        }
    }
}

fn main() {
    for wire in Wire::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("seeds")
            .join(wire.as_str().replace('-', "_"));
        fs::create_dir_all(&folder).expect("the folder of seeds can be made");
        let write = |name: &str, sizes: &[u8], body: &[u8]| {
            let count = [u8::try_from(sizes.len()).expect("sizes are few")];
            let seed = [&count, sizes, body].concat();
            fs::write(folder.join(name), seed).expect("a seed can be written");
        };
        let streamed = events(wire.as_str(), &said(), 9);
        let escaped: Vec<Event> = streamed.iter().map(Event::escaped).collect();
        write("stream", &[], &body(wire.as_str(), &streamed));
        write("escaped", &[0, 30, 6], &body(wire.as_str(), &escaped));
        write("whole", &[40], whole(wire).as_bytes());
    }
}
