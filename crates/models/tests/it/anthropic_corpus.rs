//! Recorded answers of the Anthropic wire: what the vendor's own SDK made of them is compared with what the codec makes of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oarlock_core::message::{Content, Message, Part, ReplyStop, ToolResult};
use oarlock_core::ports::model::{ModelError, ModelErrorKind, ModelRequest, Reply};
use oarlock_models::{decode_anthropic, decode_anthropic_whole, encode_anthropic};
use serde_json::Value;

/// Recordings that hold several answers one after another, which the SDK's helper folds into one.
const SEVERAL_ANSWERS: [&str; 2] = [
    "server-tool-code-execution+programmatic-tool-call+parallel-tools",
    "server-tool-tool-search-tool-regex+tool-call",
];
/// Recordings that the SDK fails on and we do not: it cannot read the `[DONE]` that a gateway sent after the last event.
const SDK_FAILS: [&str; 1] = ["basic-stop-max-tokens"];

#[test]
fn recorded_answers_decode_as_the_vendor_decodes_them_and_replay_unchanged() {
    let Some(root) = std::env::var_os("OARLOCK_CORPUS").map(PathBuf::from) else {
        println!("skipped: OARLOCK_CORPUS is not set");
        return;
    };
    let (mut streams, mut errors) = (0, 0);
    for case in cases(&root.join("anthropic")) {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        if case.join("response.json").exists() {
            errors += 1;
            error_case(&case, &name);
        } else {
            streams += 1;
            stream_case(&case, &name);
        }
    }
    // The report's error stands behind a whole answer, which it does not undo; before the end it is the outcome.
    let mut reported = events(&root.join("reported/anthropic-midstream-overloaded"));
    assert_eq!(decode(&reported).unwrap().stop, ReplyStop::StopSequence);
    reported.retain(|(name, _)| name.as_deref() != Some("message_stop"));
    let cut = decode(&reported).unwrap_err();
    assert_eq!(
        (cut.kind, cut.message.as_str()),
        (ModelErrorKind::Overloaded, "overloaded_error: Overloaded")
    );
    println!("{streams} streams, {errors} errors, 1 error inside a stream, none skipped");
    assert!(streams >= 18 && errors >= 2, "only {streams} streams and {errors} errors");
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let mut cases: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn events(case: &Path) -> Vec<(Option<String>, String)> {
    let text = std::fs::read_to_string(case.join("response.sse")).unwrap().replace("\r\n", "\n");
    let field = |event: &str, key: &str| {
        event
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(|value| value.trim_start().to_owned())
    };
    text.split("\n\n")
        .filter_map(|event| Some((field(event, "event:"), field(event, "data:")?)))
        .collect()
}

fn decode(events: &[(Option<String>, String)]) -> Result<Reply, ModelError> {
    decode_anthropic(events.iter().cloned(), "test", "test").map(|(_, reply)| reply)
}

fn golden(case: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(case.join("golden.json")).unwrap()).unwrap()
}

fn error_case(case: &Path, name: &str) {
    let error =
        decode_anthropic_whole(&std::fs::read(case.join("response.json")).unwrap()).unwrap_err();
    let wanted = match golden(case)["exception"].as_str().unwrap() {
        "anthropic.AuthenticationError" => ModelErrorKind::Auth,
        "anthropic.NotFoundError" => ModelErrorKind::ModelNotFound,
        other => panic!("{name}: no kind is known for {other}"),
    };
    assert_eq!(error.kind, wanted, "{name}");
}

fn stream_case(case: &Path, name: &str) {
    let events = events(case);
    let starts = |event: &(Option<String>, String)| event.0.as_deref() == Some("message_start");
    let count = events.iter().filter(|event| starts(event)).count();
    assert_eq!(count > 1, SEVERAL_ANSWERS.contains(&name), "{name} holds {count} answers");
    let mut replies = Vec::new();
    for answer in events.chunk_by(|_, next| !starts(next)) {
        let reply = decode(answer).unwrap_or_else(|error| panic!("{name}: {error}"));
        replays_unchanged(&reply, name);
        let opened = answer.iter().any(|event| event.0.as_deref() == Some("content_block_start"));
        // Answers without a block event bring all at their start, where the SDK's helper does not look while it folds several.
        if count == 1 || opened {
            replies.push(reply);
        }
    }
    let golden = golden(case);
    if SDK_FAILS.contains(&name) {
        assert!(golden["exception"].is_string(), "{name}: the SDK no longer fails");
        assert_eq!(replies[0].stop, ReplyStop::MaxTokens, "{name}");
        return;
    }
    let last = replies.last().unwrap();
    let usage = &golden["result"]["usage"];
    let counted = |key: &str| usage[key].as_u64().unwrap_or_default();
    assert_eq!(
        [last.usage.input, last.usage.output, last.usage.cache_read, last.usage.cache_write],
        [
            counted("input_tokens"),
            counted("output_tokens"),
            counted("cache_read_input_tokens"),
            counted("cache_creation_input_tokens")
        ],
        "{name}"
    );
    assert_eq!(stop_word(&last.stop), golden["result"]["stop_reason"].as_str().unwrap(), "{name}");
    let items: Vec<Value> = replies.iter().flat_map(|reply| &reply.blocks).map(item_of).collect();
    let wanted = golden["result"]["content"].as_array().unwrap();
    assert_eq!(items.len(), wanted.len(), "{name}");
    for (item, wanted) in items.iter().zip(wanted) {
        let (mut item, mut wanted) = (without_nulls(item), without_nulls(wanted));
        if item["type"] == "mcp_tool_use" {
            // The SDK's helper joins the input of only those kinds of call that it knows, and leaves `{}` here.
            assert_eq!(wanted["input"], serde_json::json!({}), "{name}");
            for one in [&mut item, &mut wanted] {
                one["input"].take();
            }
        }
        // The SDK's helper adds what belongs to a later answer to the blocks of the first one.
        if count == 1 {
            assert_eq!(item, wanted, "{name}");
        }
        assert_eq!(item["type"], wanted["type"], "{name}");
    }
}

fn stop_word(stop: &ReplyStop) -> &str {
    match stop {
        ReplyStop::EndTurn => "end_turn",
        ReplyStop::ToolUse => "tool_use",
        ReplyStop::MaxTokens => "max_tokens",
        ReplyStop::StopSequence => "stop_sequence",
        ReplyStop::Refusal => "refusal",
        ReplyStop::Pause => "pause_turn",
        ReplyStop::Cut => "cut",
        ReplyStop::Other(word) => word,
    }
}

fn item_of(block: &oarlock_core::message::Block) -> Value {
    let item: Value = serde_json::from_str(block.native.as_ref().unwrap().item.as_str()).unwrap();
    match &block.content {
        Content::Text { text } => assert_eq!(item["text"], *text),
        Content::Thinking { text } => assert_eq!(item["thinking"], *text),
        Content::ToolCall { id, name, arguments } => {
            assert_eq!((&item["id"], &item["name"]), (&id.as_str().into(), &name.as_str().into()));
            assert_eq!(item["input"], serde_json::from_str::<Value>(arguments).unwrap());
        }
        Content::Opaque { kind } => assert_eq!(item["type"], *kind),
    }
    item
}

/// The SDK fills every field it knows with null, so nulls do not count.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(key, member)| (key.clone(), without_nulls(member)))
            .collect(),
        Value::Array(members) => members.iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// The answer as history: each native item must stand in the next request byte for byte and in order.
fn replays_unchanged(reply: &Reply, name: &str) {
    let results: Vec<ToolResult> = reply
        .blocks
        .iter()
        .filter_map(|block| match &block.content {
            Content::ToolCall { id, name, .. } => Some(ToolResult {
                call: id.clone(),
                name: name.clone(),
                parts: vec![Part::text("done")],
                is_error: false,
            }),
            _ => None,
        })
        .collect();
    let mut messages = vec![
        Message::User { parts: vec![Part::text("hello")] },
        Message::Assistant { blocks: reply.blocks.clone() },
    ];
    if !results.is_empty() {
        messages.push(Message::Tool { results });
    }
    let request = ModelRequest {
        system: String::new(),
        messages: Arc::new(messages),
        tools: Arc::default(),
        bodies: std::collections::BTreeMap::default(),
        effort: None,
        sampling: oarlock_core::spec::Sampling::default(),
        output_max: None,
        capabilities: oarlock_core::spec::ResolvedSessionCapabilities::default(),
        output: None,
        cache_key: String::new(),
    };
    let body = String::from_utf8(encode_anthropic(&request, "test", "test")).unwrap();
    let items: Vec<&str> = reply
        .blocks
        .iter()
        .filter(|block| !matches!(&block.content, Content::Text { text } if text.trim().is_empty()))
        .map(|block| block.native.as_ref().unwrap().item.as_str())
        .collect();
    if !items.is_empty() {
        let wanted = format!(r#"{{"role":"assistant","content":[{}]}}"#, items.join(","));
        assert!(body.contains(&wanted), "{name}: {body}\ndoes not hold\n{wanted}");
    }
}
