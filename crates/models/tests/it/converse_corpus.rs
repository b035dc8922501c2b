//! Recorded answers of Bedrock: compared with what AWS's SDK for Python made of them, cut in every way, and sent back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Message, Part, ReplyStop, ToolResult, Usage};
use oarlock_core::ports::model::{ModelErrorKind, Reply};
use oarlock_models::{Quirks, Wire, encode_converse};
use oarlock_testkit::wires::check_converse;
use serde_json::{Value, json};

use crate::recorded::{Case, answer, cases, corpus, request};

/// As the SDK tells it: kind, words or name, and what else there is.
type Said = (String, String, Value);

fn in_chunks(wire: Wire, case: &Case, size: usize) -> Result<Reply, ModelErrorKind> {
    let chunks = case.body.chunks(size).map(Bytes::copy_from_slice).collect();
    answer(wire, case, chunks).map(|(_, reply)| reply).map_err(|error| error.kind)
}

#[test]
fn recorded_answers_decode_as_the_vendor_decodes_them_and_replay_unchanged() {
    let Some(root) = corpus() else { return };
    let (mut answers, mut errors, mut conversations) = (0, 0, 0);
    for case in cases(&root.join("bedrock-converse")) {
        let whole = in_chunks(Wire::BedrockConverse, &case, usize::MAX);
        match (whole, refusal(&case)) {
            (Ok(reply), None) => {
                answers += 1;
                for size in [1, 3, 13, 1000] {
                    assert_eq!(in_chunks(Wire::BedrockConverse, &case, size).as_ref(), Ok(&reply));
                }
                compare(&case, &reply);
                replays_unchanged(&reply, &case.name);
                a_cut_is_never_a_success(&case);
            }
            (Err(kind), Some(wanted)) => {
                errors += 1;
                assert_eq!(kind, wanted, "{}", case.name);
            }
            (outcome, wanted) => panic!("{}: {outcome:?}, not {wanted:?}", case.name),
        }
        let asked = std::fs::read(root.join(&case.name).join("request.json")).unwrap();
        conversations += usize::from(says_the_same(&serde_json::from_slice(&asked).unwrap()));
    }
    println!(
        "{answers} answers compared, {errors} errors, {conversations} conversations of several turns, none skipped"
    );
    assert_eq!((answers, errors), (12, 3));
    assert!(conversations >= 2, "{conversations}");
}

/// What a refusal is to be told as.
fn refusal(case: &Case) -> Option<ModelErrorKind> {
    match case.status {
        200 => None,
        400 => Some(ModelErrorKind::ContextOverflow),
        403 => Some(ModelErrorKind::Auth),
        404 => Some(ModelErrorKind::ModelNotFound),
        other => panic!("{}: no kind is known for {other}", case.name),
    }
}

/// The blocks that the SDK's events make, in order.
fn said(events: &[Value]) -> Vec<Said> {
    let mut blocks: Vec<(u64, Said)> = Vec::new();
    for event in events {
        let (event, opens) = match &event["contentBlockStart"] {
            Value::Null => (&event["contentBlockDelta"], false),
            start => (start, true),
        };
        let Some(index) = event["contentBlockIndex"].as_u64() else { continue };
        let union = if opens { &event["start"] } else { &event["delta"] };
        let (kind, value) = union.as_object().unwrap().iter().next().unwrap();
        if !blocks.iter().any(|(at, _)| *at == index) {
            let more = if kind == "citation" { json!([]) } else { value.clone() };
            blocks.push((index, (kind.clone(), String::new(), more)));
            if opens {
                continue;
            }
        }
        let (_, block) = blocks.iter_mut().find(|(at, _)| *at == index).unwrap();
        match kind.as_str() {
            "text" => block.1 += value.as_str().unwrap(),
            "reasoningContent" => block.1 += value["text"].as_str().unwrap_or_default(),
            "toolUse" => block.1 += value["input"].as_str().unwrap(),
            _ => {}
        }
    }
    blocks.into_iter().map(|(_, block)| block).collect()
}

fn compare(case: &Case, reply: &Reply) {
    let name = &case.name;
    let events = case.golden.as_ref().unwrap()["result"].as_array().unwrap();
    let found =
        |kind: &str| events.iter().map(|event| &event[kind]).find(|found| found.is_object());
    let usage = &found("metadata").unwrap()["usage"];
    let count = |key: &str| usage[key].as_u64().unwrap_or_default();
    let wanted = Usage {
        input: count("inputTokens"),
        output: count("outputTokens"),
        cache_read: count("cacheReadInputTokens"),
        cache_write: count("cacheWriteInputTokens"),
        reasoning: 0,
    };
    assert_eq!((reply.usage, reply.usage.total()), (wanted, count("totalTokens")), "{name}");
    let stop = match found("messageStop").unwrap()["stopReason"].as_str().unwrap() {
        "end_turn" => ReplyStop::EndTurn,
        "tool_use" => ReplyStop::ToolUse,
        "max_tokens" => ReplyStop::MaxTokens,
        other => panic!("{name}: {other}"),
    };
    assert_eq!(reply.stop, stop, "{name}");
    let said = said(events);
    assert_eq!(reply.blocks.len(), said.len(), "{name}");
    for (block, (kind, words, more)) in reply.blocks.iter().zip(&said) {
        let told = match &block.content {
            Content::Text { text } => ("text", text.clone()),
            Content::Thinking { text } => ("reasoningContent", text.clone()),
            Content::ToolCall { id, name: called, arguments } => {
                assert_eq!(
                    (&more["toolUseId"], &more["name"]),
                    (&json!(id.as_str()), &json!(called))
                );
                ("toolUse", arguments.clone())
            }
            Content::Opaque { kind } if kind == "server_tool_use" => {
                assert_eq!(more["type"], *kind, "{name}");
                ("toolUse", native(block)["toolUse"]["input"].to_string())
            }
            Content::Opaque { kind } if kind == "citationsContent" => ("citation", String::new()),
            Content::Opaque { kind } => {
                assert_eq!(more["type"], *kind, "{name}");
                ("toolResult", String::new())
            }
        };
        assert_eq!(told, (kind.as_str(), words.clone()), "{name}");
    }
    sealed_thought_is_whole(events, reply, name);
}

/// The SDK shows sealed thought as hexadecimal digits of its bytes.
fn sealed_thought_is_whole(events: &[Value], reply: &Reply, name: &str) {
    let pointer = "/contentBlockDelta/delta/reasoningContent/redactedContent";
    let wanted: Vec<&str> =
        events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect();
    let digits = |sealed: &str| -> String {
        STANDARD.decode(sealed).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let natives: Vec<Value> =
        reply.blocks.iter().filter(|block| block.native.is_some()).map(native).collect();
    let sealed = natives
        .iter()
        .filter_map(|item| item.pointer("/reasoningContent/redactedContent")?.as_str());
    assert_eq!(sealed.map(digits).collect::<Vec<_>>(), wanted, "{name}");
}

fn native(block: &Block) -> Value {
    serde_json::from_str(block.native.as_ref().unwrap().item.as_str()).unwrap()
}

/// The answer as history: each native item stands in the next request as it is kept, and the request is valid.
fn replays_unchanged(reply: &Reply, name: &str) {
    let result = |id: &CallId| ToolResult {
        call: id.clone(),
        name: "f".to_owned(),
        parts: vec![Part::text("done")],
        is_error: false,
    };
    let results: Vec<_> = reply.blocks.iter().filter_map(Block::call).map(result).collect();
    let hello = || Message::User { parts: vec![Part::text("hello")] };
    let mut messages = vec![hello(), Message::Assistant { blocks: reply.blocks.clone() }];
    if !results.is_empty() {
        messages.push(Message::Tool { results });
    }
    messages.push(hello());
    let body = encode_converse(&request(messages), ("test", "test"), Quirks::PLAIN);
    let text = String::from_utf8(body).unwrap();
    check_converse(&serde_json::from_str(&text).unwrap(), "test");
    let is_blank =
        |block: &&Block| matches!(&block.content, Content::Text { text } if text.trim().is_empty());
    let kept = reply.blocks.iter().filter(|block| !is_blank(block));
    let items: Vec<&str> = kept.map(|block| block.native.as_ref().unwrap().item.as_str()).collect();
    let wanted = format!(r#"{{"role":"assistant","content":[{}]}}"#, items.join(","));
    assert!(text.contains(&wanted), "{name}: {text}\ndoes not hold\n{wanted}");
}

/// Whether a recorded conversation of several turns, which the provider took, is told in the same words here.
fn says_the_same(recorded: &Value) -> bool {
    let turns = recorded["body"]["messages"].as_array().unwrap();
    if turns.len() < 2 {
        return false;
    }
    let messages = turns.iter().map(message).collect();
    let model = "us.amazon.nova-2-lite-v1:0";
    let body = encode_converse(&request(messages), ("test", model), Quirks::PLAIN);
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    check_converse(&body, model);
    for turn in body["messages"].as_array_mut().unwrap() {
        turn["content"].as_array_mut().unwrap().retain(|block| block["cachePoint"].is_null());
        for block in turn["content"].as_array_mut().unwrap() {
            if let Some(result) = block.get_mut("toolResult").and_then(Value::as_object_mut) {
                assert_eq!(result.remove("status"), Some(json!("success")));
            }
        }
    }
    assert_eq!(body["messages"], recorded["body"]["messages"]);
    true
}

fn message(turn: &Value) -> Message {
    let content = turn["content"].as_array().unwrap();
    let text = |block: &Value| block["text"].as_str().unwrap().to_owned();
    let plain = |content| Block { content, native: None };
    if turn["role"] == "assistant" {
        let block = |block: &Value| match &block["toolUse"] {
            Value::Null => plain(Content::Text { text: text(block) }),
            call => plain(Content::ToolCall {
                id: CallId(call["toolUseId"].as_str().unwrap().into()),
                name: call["name"].as_str().unwrap().to_owned(),
                arguments: call["input"].to_string(),
            }),
        };
        return Message::Assistant { blocks: content.iter().map(block).collect() };
    }
    if content[0]["toolResult"].is_null() {
        return Message::User {
            parts: content.iter().map(|block| Part::text(text(block))).collect(),
        };
    }
    let result = |block: &Value| ToolResult {
        call: CallId(block["toolResult"]["toolUseId"].as_str().unwrap().into()),
        name: "f".to_owned(),
        parts: block["toolResult"]["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| Part::text(text(b)))
            .collect(),
        is_error: false,
    };
    Message::Tool { results: content.iter().map(result).collect() }
}

/// The ends of the frames of a stream.
fn ends(body: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while at < body.len() {
        at += u32::from_be_bytes(body[at..at + 4].try_into().unwrap()) as usize;
        ends.push(at);
    }
    ends
}

/// Cut anywhere, an answer is whole only behind the event that says why it stopped.
fn a_cut_is_never_a_success(case: &Case) {
    let ends = ends(&case.body);
    let [.., stopped, whole] = ends[..] else { panic!("{}", case.name) };
    let step = case.body.len() / 150 + 1;
    for end in (0..whole).step_by(step).chain(ends.iter().copied().filter(|end| *end < whole)) {
        let cut = Case {
            body: case.body[..end].to_vec(),
            headers: Vec::new(),
            golden: None,
            ..copy(case)
        };
        let outcome = in_chunks(Wire::BedrockConverse, &cut, usize::MAX);
        match end == stopped {
            true => {
                assert_eq!(outcome.unwrap().usage, Usage::default(), "{} cut at {end}", case.name);
            }
            false => {
                assert_eq!(outcome, Err(ModelErrorKind::Truncated), "{} cut at {end}", case.name);
            }
        }
    }
}

fn copy(case: &Case) -> Case {
    Case {
        name: case.name.clone(),
        kind: case.kind.clone(),
        status: case.status,
        headers: Vec::new(),
        body: Vec::new(),
        golden: None,
    }
}

#[test]
fn events_of_other_protocols_are_read_within_frames() {
    let Some(root) = corpus() else { return };
    let mut read = 0;
    for case in cases(&root.join("bedrock-invoke")) {
        read += 1;
        let over = |wire| in_chunks(wire, &case, 7);
        match case.name.trim_start_matches("bedrock-invoke/") {
            "turn-after-tool" => {
                let reply = over(Wire::AnthropicMessages).unwrap();
                let calls = reply.blocks.iter().filter(|block| block.is_call()).count();
                assert_eq!((reply.stop, calls), (ReplyStop::EndTurn, 0));
                assert_eq!((reply.usage.input, reply.usage.output > 2), (602, true));
                assert_eq!(reply.model, "claude-3-5-sonnet-20240620");
            }
            // Of Nova, whose own protocol has the events of Converse as members of an object.
            "stop-max-tokens" => {
                let reply = over(Wire::BedrockConverse).unwrap();
                // A block for each piece.
                assert_eq!((reply.stop, reply.blocks.len()), (ReplyStop::MaxTokens, 3));
                assert!(reply.usage.output > 0);
            }
            // Of Mistral, in a protocol that nobody here speaks.
            "stop-length.nonstream" => {
                assert_eq!(over(Wire::AnthropicMessages), Err(ModelErrorKind::Transport));
            }
            name => {
                assert!(name.starts_with("error-400"), "{name}");
                assert_eq!(over(Wire::AnthropicMessages), Err(ModelErrorKind::ModelNotFound));
            }
        }
    }
    println!("{read} cases, none skipped");
    assert_eq!(read, 4);
}
