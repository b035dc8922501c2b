//! Recorded answers of the Responses wire from nine providers: compared with what OpenAI's SDK made of them, and sent back unchanged.

use bytes::Bytes;
use oarlock_core::message::{Content, Message, Part, ReplyStop, ToolResult};
use oarlock_core::ports::model::{ModelErrorKind, ModelEvent, Reply};
use oarlock_models::{Quirks, Wire, encode_responses};
use oarlock_testkit::wires::check_responses;
use serde_json::Value;

use crate::recorded::{Case, answer, cases, corpus, request};

/// Folders of the corpus that speak this wire.
pub(crate) const RESPONSES: [&str; 9] = [
    "azure-responses",
    "bedrock-mantle-responses",
    "chatgpt-responses",
    "deepseek-responses",
    "lmstudio-responses",
    "mistralrs-responses",
    "openai-responses",
    "openrouter-responses",
    "xai-responses",
];
/// An answer of the chat wire that was recorded among those of this one.
const OF_CHAT: &str = "azure-responses/reasoning-content.nonstream";
/// Streams whose last event has an empty list of items, of which the SDK makes an answer without any.
const SDK_LOSES_ITEMS: &str = "chatgpt-responses/";
/// A recording that was written by hand: its deltas say something else than its items.
const SPEAKS_OTHERWISE: &str = "openai-responses/server-tool-shell-call";

#[test]
fn recorded_answers_decode_as_the_vendor_decodes_them_and_replay_unchanged() {
    let Some(root) = corpus() else { return };
    let (mut answers, mut errors, mut compared) = (0, 0, 0);
    for case in RESPONSES.iter().flat_map(|folder| cases(&root.join(folder))) {
        let decoded = answer(Wire::OpenAiResponses, &case, vec![Bytes::from(case.body.clone())]);
        match (decoded, failure(&case)) {
            (Ok((shown, reply)), None) => {
                answers += 1;
                compared += usize::from(compare(&case, &reply));
                if case.name != SPEAKS_OTHERWISE {
                    tells_what_it_gives(&shown, &reply, &case.name);
                }
                replays_unchanged(&reply, &case.name);
            }
            (Err(error), Some(kind)) => {
                errors += 1;
                assert_eq!(error.kind, kind, "{}: {error}", case.name);
            }
            (Ok((_, reply)), Some(kind)) => panic!("{}: {kind:?} became {reply:?}", case.name),
            (Err(error), None) => panic!("{}: {error}", case.name),
        }
    }
    println!("{answers} answers ({compared} compared), {errors} errors, none skipped");
    assert!(answers >= 38 && errors >= 9 && compared >= 35, "{answers} {errors} {compared}");
}

/// What a refusal, or an error inside the stream, is to be told as.
fn failure(case: &Case) -> Option<ModelErrorKind> {
    let says = |words: &str| String::from_utf8_lossy(&case.body).contains(words);
    match case.status {
        200 if case.name == OF_CHAT => Some(ModelErrorKind::Transport),
        200 if says("\"type\":\"response.failed\"") => Some(ModelErrorKind::QuotaExhausted),
        200 => None,
        401 => Some(ModelErrorKind::Auth),
        400 if says("context_length_exceeded") => Some(ModelErrorKind::ContextOverflow),
        400 if says("insufficient_quota") => Some(ModelErrorKind::QuotaExhausted),
        400 if says("model_not_found") => Some(ModelErrorKind::ModelNotFound),
        400 => Some(ModelErrorKind::InvalidRequest),
        other => panic!("{}: no kind is known for {other}", case.name),
    }
}

/// The blocks of a response as the SDK has it, as kind, text, name and arguments.
fn said(golden: &Value) -> Vec<(String, String)> {
    let texts = |list: &Value, key: &str, gap: &str| -> String {
        let texts = list.as_array().into_iter().flatten().filter_map(|part| part[key].as_str());
        texts.collect::<Vec<_>>().join(gap)
    };
    let item = |item: &Value| {
        let words = match item["type"].as_str().unwrap() {
            "message" => {
                texts(&item["content"], "text", "") + &texts(&item["content"], "refusal", "")
            }
            "reasoning" => match texts(&item["summary"], "text", "\n\n") {
                summary if summary.is_empty() => texts(&item["content"], "text", "\n\n"),
                summary => summary,
            },
            "function_call" => format!("{} {}", item["name"], item["arguments"].as_str().unwrap()),
            _ => String::new(),
        };
        (item["type"].as_str().unwrap().to_owned(), words)
    };
    golden["output"].as_array().into_iter().flatten().map(item).collect()
}

fn decoded(reply: &Reply) -> Vec<(String, String)> {
    let block = |content: &Content| match content {
        Content::Text { text } => ("message".to_owned(), text.clone()),
        Content::Thinking { text } => ("reasoning".to_owned(), text.clone()),
        Content::ToolCall { name, arguments, .. } => {
            ("function_call".to_owned(), format!("{name:?} {arguments}"))
        }
        Content::Opaque { kind } => (kind.clone(), String::new()),
    };
    reply.blocks.iter().map(|of| block(&of.content)).collect()
}

fn compare(case: &Case, reply: &Reply) -> bool {
    let (name, golden) = (&case.name, &case.golden.as_ref().unwrap()["result"]);
    let golden = golden.get("final").unwrap_or(golden);
    let counts = &golden["usage"];
    assert_eq!(reply.usage.total(), counts["total_tokens"].as_u64().unwrap(), "{name}: {counts}");
    let count = |path: &str| counts.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    assert_eq!(reply.usage.cache_read, count("/input_tokens_details/cached_tokens"), "{name}");
    assert_eq!(reply.usage.reasoning, count("/output_tokens_details/reasoning_tokens"), "{name}");
    if name.starts_with(SDK_LOSES_ITEMS) {
        assert!(said(golden).is_empty() && !reply.blocks.is_empty(), "{name}");
        return false;
    }
    let wanted = said(golden);
    assert_eq!(decoded(reply), wanted, "{name}");
    let refused = golden["output"].as_array().unwrap().iter().any(|item| {
        item["content"].as_array().into_iter().flatten().any(|part| part["type"] == "refusal")
    });
    let wanted = match golden["status"].as_str() {
        Some("incomplete") => ReplyStop::MaxTokens,
        _ if refused => ReplyStop::Refusal,
        _ if wanted.iter().any(|(kind, _)| kind == "function_call") => ReplyStop::ToolUse,
        _ => ReplyStop::EndTurn,
    };
    assert_eq!(reply.stop, wanted, "{name}");
    true
}

/// The deltas of a block, put together, are the block.
fn tells_what_it_gives(shown: &[ModelEvent], reply: &Reply, name: &str) {
    use oarlock_core::event::DeltaItem::{Arguments, Text, Thinking};
    for (number, block) in (0..).zip(&reply.blocks) {
        let of = |event: &ModelEvent| match event {
            ModelEvent::Delta {
                item: Text { block } | Thinking { block } | Arguments { block },
                text,
            } if *block == number => Some(text.clone()),
            _ => None,
        };
        let told: String = shown.iter().filter_map(of).collect();
        let given = match &block.content {
            Content::Text { text } | Content::Thinking { text } => text,
            Content::ToolCall { arguments, .. } => arguments,
            Content::Opaque { .. } => "",
        };
        assert_eq!(told, given, "{name}: block {number}");
    }
}

/// The answer as history: every item stands in the next request as it came, and the request is valid.
fn replays_unchanged(reply: &Reply, name: &str) {
    let result = |id: &oarlock_core::CallId| ToolResult {
        call: id.clone(),
        name: "f".to_owned(),
        parts: vec![Part::text("done")],
        is_error: false,
    };
    let results: Vec<_> =
        reply.blocks.iter().filter_map(oarlock_core::message::Block::call).map(result).collect();
    let hello = || Message::User { parts: vec![Part::text("hello")] };
    let mut messages = vec![hello(), Message::Assistant { blocks: reply.blocks.clone() }];
    if !results.is_empty() {
        messages.push(Message::Tool { results });
    }
    messages.push(hello());
    let sent = encode_responses(&request(messages), ("test", "test"), Quirks::PLAIN);
    let text = String::from_utf8(sent).unwrap();
    check_responses(&serde_json::from_str(&text).unwrap());
    let lost = (name.contains("incomplete") || name.starts_with("openrouter"))
        .then_some("a thought that nothing follows");
    for block in &reply.blocks {
        let item = block.native.as_ref().expect("every item came to its end").item.as_str();
        let parsed: Value = serde_json::from_str(item).unwrap();
        let is_thought = parsed["type"] == "reasoning";
        let sealed = parsed["encrypted_content"].is_string();
        match (is_thought, lost) {
            (true, Some(_)) => assert!(!text.contains(item), "{name}"),
            // Thought that nobody can read again stays behind, and what follows it goes without the ids that belong to it.
            (true, None) if !sealed && parsed["content"].as_array().is_none_or(Vec::is_empty) => {
                assert!(!text.contains(item), "{name}");
            }
            _ if text.contains(item) => {}
            _ => {
                let unsealed = |block: &oarlock_core::message::Block| {
                    let native = &block.native.as_ref().unwrap().item;
                    matches!(block.content, Content::Thinking { .. })
                        && !native.as_str().contains("\"encrypted_content\":\"")
                        && !native.as_str().contains("reasoning_text")
                };
                assert!(reply.blocks.iter().any(unsealed), "{name} loses {item}");
                if let Content::ToolCall { arguments, .. } = &block.content {
                    assert!(text.contains(&Value::from(arguments.as_str()).to_string()), "{name}");
                }
            }
        }
    }
}
