//! Recorded answers of the chat wire from two dozen providers: compared with what OpenAI's SDK made of them, and sent back unchanged.

use bytes::Bytes;
use oarlock_core::message::{Content, Message, Part, ReplyStop, ToolResult};
use oarlock_core::ports::model::{ModelErrorKind, Reply};
use oarlock_models::{Quirks, ThoughtEcho, Wire, encode_chat};
use serde_json::Value;

use crate::recorded::{Case, answer, cases, corpus, request};

/// Folders of the corpus that speak this wire.
pub(crate) const CHAT: [&str; 24] = [
    "alibaba",
    "azure-chat",
    "cerebras",
    "copilot",
    "crusoe",
    "deepseek",
    "doubleword",
    "groq",
    "huggingface",
    "llamacpp",
    "mistral",
    "mistralrs",
    "moonshot",
    "ollama",
    "openai-chat",
    "openai-compatible",
    "openrouter",
    "perplexity",
    "together",
    "venice",
    "vllm",
    "writer",
    "xai",
    "zai",
];
/// Folders that speak others.
const OTHERS: [&str; 17] = [
    "anthropic",
    "azure-responses",
    "bedrock-converse",
    "bedrock-invoke",
    "bedrock-mantle-responses",
    "chatgpt-responses",
    "cohere",
    "deepseek-responses",
    "gemini",
    "gemini-interactions",
    "lmstudio-responses",
    "mistralrs-responses",
    "openai-responses",
    "openrouter-responses",
    "reported",
    "vertex",
    "xai-responses",
];
/// Recordings whose thought comes as parts of the content, which the SDK folds into the text and loses some of.
const SDK_LOSES_TEXT: [&str; 1] = ["mistral/thinking"];
/// The SDK folds all choices of a recording; only the first one is an answer to us.
const SEVERAL_CHOICES: &str = "multi-choice";

#[test]
fn recorded_answers_decode_as_the_vendor_decodes_them_and_replay_unchanged() {
    let Some(root) = corpus() else { return };
    for entry in std::fs::read_dir(&root).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let known = CHAT.contains(&name.as_str()) || OTHERS.contains(&name.as_str());
        assert!(known || entry.path().is_file(), "{name} is a new folder: which wire is it of?");
    }
    let (mut answers, mut errors, mut compared, mut other) = (0, 0, 0, 0);
    for case in CHAT.iter().flat_map(|folder| cases(&root.join(folder))) {
        if case.kind == "ndjson" {
            // Ollama's own wire, recorded beside its compatible one.
            other += 1;
            continue;
        }
        let decoded = answer(Wire::OpenAiChat, &case, vec![Bytes::from(case.body.clone())]);
        match (decoded, failure(&case)) {
            (Ok((_, reply)), None) => {
                answers += 1;
                compared += usize::from(compare(&case, &reply));
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
    println!(
        "{answers} answers ({compared} compared), {errors} errors, {other} of another wire, none skipped"
    );
    assert!(answers >= 79 && errors >= 17 && compared >= 58, "{answers} {errors} {compared}");
}

/// What a refusal, or an error inside the stream, is to be told as.
fn failure(case: &Case) -> Option<ModelErrorKind> {
    let exception = case.golden.as_ref().and_then(|golden| golden["exception"].as_str());
    if case.name == "groq/text" {
        return Some(ModelErrorKind::InvalidRequest);
    }
    let says = |words: &str| String::from_utf8_lossy(&case.body).contains(words);
    match (case.status, exception) {
        (200, _) => None,
        (401, _) => Some(ModelErrorKind::Auth),
        (404, _) => Some(ModelErrorKind::ModelNotFound),
        (429, _) => Some(ModelErrorKind::RateLimited),
        (400, _) if says("context") && says("exceed") => Some(ModelErrorKind::ContextOverflow),
        (400, _) if says("invalid_model") => Some(ModelErrorKind::ModelNotFound),
        (400, _) => Some(ModelErrorKind::InvalidRequest),
        (500.., _) => Some(ModelErrorKind::Overloaded),
        other => panic!("{}: no kind is known for {other:?}", case.name),
    }
}

fn compare(case: &Case, reply: &Reply) -> bool {
    let Some(golden) = case.golden.as_ref().filter(|golden| golden["result"].is_object()) else {
        let is_cut = reply.stop == ReplyStop::MaxTokens;
        assert!(is_cut || !reply.blocks.is_empty(), "{}: nothing was decoded", case.name);
        return false;
    };
    let (name, choice) = (&case.name, &golden["result"]["choices"][0]);
    let message = &choice["message"];
    let text: String = reply
        .blocks
        .iter()
        .filter_map(|block| match &block.content {
            Content::Text { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let wanted = match &message["content"] {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => message["refusal"].as_str().unwrap_or_default().to_owned(),
    };
    match SDK_LOSES_TEXT.contains(&name.as_str()) {
        true => assert!(text.len() > wanted.len() && text.ends_with(&wanted), "{name}: {text}"),
        false => assert_eq!(text, wanted, "{name}"),
    }
    let calls: Vec<(&str, &str)> = calls(reply).map(|(_, name, args)| (name, args)).collect();
    let old = Some(&message["function_call"]).filter(|call| call.is_object());
    let wanted: Vec<(&str, &str)> = message["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|call| &call["function"])
        .chain(old)
        .map(|call| (call["name"].as_str().unwrap(), call["arguments"].as_str().unwrap()))
        .collect();
    assert_eq!(calls, wanted, "{name}");
    let wanted = match choice["finish_reason"].as_str() {
        _ if message["refusal"].is_string() => ReplyStop::Refusal,
        _ if !wanted.is_empty() => ReplyStop::ToolUse,
        Some("length") => ReplyStop::MaxTokens,
        _ => ReplyStop::EndTurn,
    };
    assert_eq!(reply.stop, wanted, "{name}");
    let usage = &golden["result"]["usage"];
    if let Some(total) = usage["total_tokens"].as_u64().filter(|_| !name.contains(SEVERAL_CHOICES))
    {
        assert_eq!(reply.usage.total(), total, "{name}: {:?} of {usage}", reply.usage);
    }
    true
}

fn calls(reply: &Reply) -> impl Iterator<Item = (&str, &str, &str)> {
    reply.blocks.iter().filter_map(|block| match &block.content {
        Content::ToolCall { id, name, arguments } => Some((id.as_str(), &**name, &**arguments)),
        _ => None,
    })
}

/// The answer as history: thought, text, ids and argument texts stand in the next request as they came.
fn replays_unchanged(reply: &Reply, name: &str) {
    let results: Vec<ToolResult> = calls(reply)
        .map(|(id, name, _)| ToolResult {
            call: oarlock_core::CallId(id.into()),
            name: name.to_owned(),
            parts: vec![Part::text("done")],
            is_error: false,
        })
        .collect();
    let mut messages = vec![
        Message::User { parts: vec![Part::text("hello")] },
        Message::Assistant { blocks: reply.blocks.clone() },
    ];
    if !results.is_empty() {
        messages.push(Message::Tool { results });
    }
    let quirks = Quirks { thought_echo: ThoughtEcho::Always, ..Quirks::PLAIN };
    let body = encode_chat(&request(messages), ("test", "test"), quirks);
    let body: Value = serde_json::from_slice(&body).unwrap();
    let message = &body["messages"][1];
    for block in &reply.blocks {
        let native = block
            .native
            .as_ref()
            .map(|native| -> Value { serde_json::from_str(native.item.as_str()).unwrap() });
        match (&block.content, native) {
            (Content::Text { text }, None) => {
                let content = &message["content"];
                let said =
                    content.as_str().or_else(|| content.as_array()?.last()?["text"].as_str());
                assert_eq!(said, Some(text.as_str()), "{name}");
            }
            (Content::ToolCall { id, arguments, .. }, Some(native)) => {
                let sent = message["tool_calls"].as_array().unwrap();
                let same = |call: &&Value| call["id"] == *id.as_str();
                let Some(sent) = sent.iter().find(same) else {
                    // The runtime gives an id to a call that came without one; here nobody does.
                    assert_eq!(id.as_str(), "", "{name}");
                    continue;
                };
                let text = sent["function"]["arguments"].as_str().unwrap();
                if serde_json::from_str::<Value>(arguments).is_err() {
                    // Cut by the output limit: endpoints would refuse it, so it is quoted.
                    let quoted: Value = serde_json::from_str(text).unwrap();
                    assert_eq!(quoted["unparsable_arguments"], **arguments, "{name}");
                    continue;
                }
                assert_eq!(*sent, native, "{name}");
                assert_eq!(text, arguments, "{name}: argument text is sent byte for byte");
            }
            (Content::Thinking { .. } | Content::Text { .. }, Some(native)) => {
                for (key, value) in native.as_object().unwrap() {
                    let sent = match (key.as_str(), value) {
                        ("content", Value::Array(_)) => {
                            Value::from(vec![message["content"][0].clone()])
                        }
                        _ => message[key].clone(),
                    };
                    assert_eq!(sent, *value, "{name}: {key}");
                }
            }
            (Content::Opaque { .. }, Some(_)) => {}
            (content, native) => panic!("{name}: {content:?} with {native:?}"),
        }
    }
}
