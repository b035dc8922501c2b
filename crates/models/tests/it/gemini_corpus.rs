//! Recorded answers of the Gemini wire from Google AI and Vertex: compared with what Google's SDK made of them, and sent back unchanged.

use bytes::Bytes;
use oarlock_core::message::{Block, Content, Message, Part, ReplyStop, ToolResult};
use oarlock_core::ports::model::{ModelErrorKind, ModelEvent, Reply};
use oarlock_models::{Wire, encode_gemini};
use oarlock_testkit::wires::check_gemini;
use serde_json::Value;

use crate::recorded::{Case, answer, cases, corpus, request};

/// Folders of the corpus that speak this wire.
pub(crate) const GEMINI: [&str; 2] = ["gemini", "vertex"];
/// Recordings of Google's other API, which shares nothing with this wire but its models.
const INTERACTIONS: &str = "gemini-interactions";
/// An answer of the chat wire that was recorded among those of this one.
const OF_CHAT: &str = "gemini/thinking+tool-call.nonstream";

#[test]
fn recorded_answers_decode_as_the_vendor_decodes_them_and_replay_unchanged() {
    let Some(root) = corpus() else { return };
    let (mut answers, mut errors) = (0, 0);
    for case in GEMINI.iter().flat_map(|folder| cases(&root.join(folder))) {
        let decoded = answer(Wire::Gemini, &case, vec![Bytes::from(case.body.clone())]);
        match (decoded, failure(&case)) {
            (Ok((shown, reply)), None) => {
                answers += 1;
                compare(&case, &reply);
                tells_what_it_gives(&shown, &reply, &case.name);
                for model in ["gemini-2.5-flash", "gemini-3-flash"] {
                    replays_unchanged(&reply, model, &case.name);
                }
            }
            (Err(error), Some((kind, wait))) => {
                errors += 1;
                assert_eq!((error.kind, error.retry_after_ms), (kind, wait), "{}", case.name);
            }
            (Ok((_, reply)), Some(kind)) => panic!("{}: {kind:?} became {reply:?}", case.name),
            (Err(error), None) => panic!("{}: {error}", case.name),
        }
    }
    let by_chat =
        cases(&root.join("gemini")).into_iter().find(|case| case.name == OF_CHAT).unwrap();
    let chunks = vec![Bytes::from(by_chat.body.clone())];
    let (_, reply) = answer(Wire::OpenAiChat, &by_chat, chunks).unwrap();
    assert_eq!(reply.stop, ReplyStop::ToolUse);
    println!("{answers} answers, all compared, {errors} errors, 1 of the chat wire, none skipped");
    assert_eq!((answers, errors), (17, 6));
}

#[test]
fn recordings_of_the_interactions_api_are_no_answers_of_this_wire() {
    let Some(root) = corpus() else { return };
    let cases = cases(&root.join(INTERACTIONS));
    for case in &cases {
        let decoded = answer(Wire::Gemini, case, vec![Bytes::from(case.body.clone())]);
        let error = decoded.expect_err(&case.name);
        assert_eq!(error.kind, ModelErrorKind::Truncated, "{}: {error}", case.name);
    }
    println!("{} recordings of another API", cases.len());
    assert_eq!(cases.len(), 2);
}

/// What a refusal is to be told as, and how long it says to wait.
fn failure(case: &Case) -> Option<(ModelErrorKind, Option<u64>)> {
    let says = |words: &str| String::from_utf8_lossy(&case.body).contains(words);
    Some(match case.status {
        200 if case.name == OF_CHAT => (ModelErrorKind::Transport, None),
        200 => return None,
        400 if says("API_KEY_INVALID") => (ModelErrorKind::Auth, None),
        400 if says("input token count") => (ModelErrorKind::ContextOverflow, None),
        404 => (ModelErrorKind::ModelNotFound, None),
        // A quota of a minute, with its RetryInfo.
        429 => (ModelErrorKind::RateLimited, Some(48_000)),
        other => panic!("{}: no kind is known for {other}", case.name),
    })
}

/// The responses that the SDK made of an answer: one of each chunk, or one of the whole.
fn responses(golden: &Value) -> Vec<&Value> {
    golden.as_array().map_or_else(|| vec![golden], |list| list.iter().collect())
}

/// Words, thought, and calls, in this order.
type Said = (String, String, Vec<(String, Value)>);

fn said(golden: &Value) -> Said {
    let mut said = Said::default();
    let responses = responses(golden);
    let parts = responses.iter().flat_map(|response| {
        response
            .pointer("/candidates/0/content/parts")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    });
    for part in parts {
        let text = part["text"].as_str().unwrap_or_default();
        match part["thought"] == true {
            true => said.1.push_str(text),
            false => said.0.push_str(text),
        }
        if let Some(call) = part.get("function_call") {
            said.2.push((call["name"].as_str().unwrap().to_owned(), call["args"].clone()));
        }
    }
    said
}

fn decoded(reply: &Reply) -> Said {
    let mut said = Said::default();
    for block in &reply.blocks {
        match &block.content {
            Content::Text { text } => said.0.push_str(text),
            Content::Thinking { text } => said.1.push_str(text),
            Content::ToolCall { name, arguments, .. } => {
                said.2.push((name.clone(), serde_json::from_str(arguments).unwrap()));
            }
            Content::Opaque { .. } => {}
        }
    }
    said
}

fn compare(case: &Case, reply: &Reply) {
    let (name, golden) = (&case.name, &case.golden.as_ref().unwrap()["result"]);
    let wanted = said(golden);
    assert_eq!(decoded(reply), wanted, "{name}");
    let last = |pointer: &str| {
        responses(golden).into_iter().rev().find_map(|response| response.pointer(pointer))
    };
    let count = |field: &str| {
        last(&format!("/usage_metadata/{field}")).and_then(Value::as_u64).unwrap_or_default()
    };
    let usage = reply.usage;
    assert_eq!(usage.total(), count("total_token_count"), "{name}");
    let prompt = count("prompt_token_count") + count("tool_use_prompt_token_count");
    assert_eq!(usage.prompt(), prompt, "{name}");
    assert_eq!(usage.cache_read, count("cached_content_token_count"), "{name}");
    assert_eq!(usage.reasoning, count("thoughts_token_count"), "{name}");
    assert_eq!(
        Some(reply.model.as_str()),
        last("/model_version").and_then(Value::as_str),
        "{name}"
    );
    let stop = match last("/candidates/0/finish_reason").and_then(Value::as_str) {
        Some("MAX_TOKENS") => ReplyStop::MaxTokens,
        Some("SAFETY" | "MODEL_ARMOR") => ReplyStop::Refusal,
        Some("STOP") if !wanted.2.is_empty() => ReplyStop::ToolUse,
        Some("STOP") => ReplyStop::EndTurn,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(reply.stop, stop, "{name}");
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

/// The answer as history: every part and every signature stands in the next request as it came, and the request is valid.
fn replays_unchanged(reply: &Reply, model: &str, name: &str) {
    let mut blocks = reply.blocks.clone();
    for block in &mut blocks {
        block.native.as_mut().unwrap().model = model.to_owned();
    }
    let result = |id: &oarlock_core::CallId| ToolResult {
        call: id.clone(),
        name: "f".to_owned(),
        parts: vec![Part::text("done")],
        is_error: false,
    };
    let results: Vec<_> = blocks.iter().filter_map(Block::call).map(result).collect();
    let hello = || Message::User { parts: vec![Part::text("hello")] };
    let mut messages = vec![hello(), Message::Assistant { blocks: blocks.clone() }];
    messages.extend((!results.is_empty()).then_some(Message::Tool { results }));
    messages.push(hello());
    let sent = encode_gemini(&request(messages), "test", model);
    let text = String::from_utf8(sent).unwrap();
    let third = model != "gemini-2.5-flash";
    check_gemini(&serde_json::from_str(&text).unwrap(), third);
    let signed = |item: &str| item.contains("thoughtSignature");
    let first = blocks.iter().find(|block| block.is_call());
    for block in &blocks {
        let item = block.native.as_ref().unwrap().item.as_str();
        let item = item.trim_matches(['[', ']']);
        // The first call of a step has to be signed, by words if its model did not.
        let is_signed_here = third && first == Some(block) && !signed(item);
        let beside =
            matches!(&block.content, Content::Opaque { kind } if kind == "groundingMetadata");
        match is_signed_here {
            true => {
                let call = item.strip_prefix("{\"functionCall\":").unwrap().trim_start();
                assert!(text.contains(&call[..call.len() - 1]), "{name} loses {item}");
            }
            false => assert_eq!(text.contains(item), !beside, "{name} loses {item}"),
        }
    }
}
