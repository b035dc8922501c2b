//! The Responses wire by tables: what its servers do differently, what goes back to them, and what a request looks like.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use oarlock_core::event::DeltaItem;
use oarlock_core::ids::{BlobId, CallId};
use oarlock_core::message::{
    Block, Content, Message, Native, Part, RawJson, ReplyStop, ToolResult, Usage,
};
use oarlock_core::ports::model::{ModelError, ModelErrorKind, ModelEvent, ModelRequest, Reply};
use oarlock_core::ports::tool::{Runs, ToolSchema};
use oarlock_core::spec::{Decimal, ReasoningEffort, ResolvedSessionCapabilities, Sampling};
use oarlock_models::{
    Quirks, ThoughtItems, decode_responses, decode_responses_whole, encode_responses,
};
use oarlock_testkit::wires::check_responses;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::recorded::request;

type Decoded = Result<(Vec<ModelEvent>, Reply), ModelError>;

fn try_decode(events: &[Value]) -> Decoded {
    let named =
        events.iter().map(|event| (event["type"].as_str().map(str::to_owned), event.to_string()));
    decode_responses(named, "here", "m")
}

fn decode(events: &[Value]) -> Reply {
    try_decode(events).unwrap().1
}

fn added(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.added", "output_index": index, "item": item})
}

fn done(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": index, "item": item})
}

fn delta(what: &str, id: &str, index: u64, text: &str) -> Value {
    json!({"type": format!("response.{what}.delta"), "item_id": id, "output_index": index, "delta": text})
}

fn completed(output: Value) -> Value {
    json!({"type": "response.completed", "response": {"status": "completed", "model": "m-1", "output": output,
        "error": null, "usage": null}})
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": id, "call_id": format!("call_{id}"), "name": "f", "arguments": arguments})
}

fn said(id: &str, text: &str) -> Value {
    json!({"type": "message", "id": id, "role": "assistant", "phase": "commentary",
        "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

fn thought(id: &str, sealed: &str) -> Value {
    json!({"type": "reasoning", "id": id, "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": sealed})
}

/// Kind and words of each block, and whether it can go back.
fn blocks(reply: &Reply) -> Vec<(String, bool)> {
    let words = |block: &Block| match &block.content {
        Content::Text { text } => format!("says {text}"),
        Content::Thinking { text } => format!("thinks {text}"),
        Content::ToolCall { id, name, arguments } => format!("{} {name}({arguments})", id.as_str()),
        Content::Opaque { kind } => kind.clone(),
    };
    reply.blocks.iter().map(|block| (words(block), block.native.is_some())).collect()
}

/// What it is about, the events, and what they mean.
type Spelling = (&'static str, Vec<Value>, Vec<(&'static str, bool)>);

/// How servers tell an answer, and what it is.
fn spellings() -> Vec<Spelling> {
    let args = "function_call_arguments";
    vec![
        (
            "a list at the end that repeats everything",
            vec![
                added(0, call("a", "")),
                delta(args, "a", 0, "{\"x\""),
                delta(args, "a", 0, ":1}"),
                done(0, call("a", "{\"x\":1}")),
                completed(json!([call("a", "{\"x\":1}")])),
            ],
            vec![("call_a f({\"x\":1})", true)],
        ),
        (
            "nothing but the list at the end",
            vec![completed(json!([said("m", "hi"), call("a", "{}")]))],
            vec![("says hi", true), ("call_a f({})", true)],
        ),
        (
            "an item that is done without having begun, and no list",
            vec![done(0, said("m", "hi")), done(1, call("a", "{}")), completed(json!([]))],
            vec![("says hi", true), ("call_a f({})", true)],
        ),
        (
            "another id with every event",
            vec![
                added(0, said("m", "")),
                delta("output_text", "n", 0, "h"),
                delta("output_text", "o", 0, "i"),
                done(0, said("p", "hi")),
                added(1, call("q", "")),
                done(1, call("r", "{}")),
                completed(json!([said("s", "hi"), call("t", "{}")])),
            ],
            vec![("says hi", true), ("call_r f({})", true)],
        ),
        (
            "places that are all 0",
            vec![
                added(0, said("m", "")),
                added(0, call("a", "")),
                delta("output_text", "m", 0, "hi"),
                delta(args, "a", 0, "{}"),
                done(0, said("m", "hi")),
                done(0, call("a", "{}")),
                completed(json!([said("m", "hi"), call("a", "{}")])),
            ],
            vec![("says hi", true), ("call_a f({})", true)],
        ),
    ]
}

/// How servers leave out what others tell, or tell it twice, and what it is.
fn gaps() -> Vec<Spelling> {
    vec![
        (
            "an item that is begun and done twice",
            vec![
                added(0, said("m", "")),
                added(0, said("m", "")),
                done(0, said("m", "hi")),
                done(0, said("m", "hi")),
                completed(json!([said("m", "hi")])),
            ],
            vec![("says hi", true)],
        ),
        (
            "an item that is done in the list alone",
            vec![
                added(0, said("m", "")),
                delta("output_text", "m", 0, "h"),
                completed(json!([said("m", "hi")])),
            ],
            vec![("says hi", true)],
        ),
        (
            "an item that is never done",
            vec![
                added(0, said("m", "")),
                delta("output_text", "m", 0, "hi"),
                added(1, json!({"type": "web_search_call", "id": "w", "status": "in_progress"})),
                completed(json!([])),
            ],
            vec![("says hi", false), ("web_search_call", false)],
        ),
        (
            "a thought that is sealed in the list alone",
            vec![done(0, thought("r", "")), completed(json!([thought("r", "SEAL")]))],
            vec![("thinks hm", true)],
        ),
        (
            "unknown events and items",
            vec![
                json!({"type": "response.thing", "delta": {"a": 1}, "output_index": "x", "item": [1]}),
                json!({"type": 7, "item_id": {}}),
                json!([1, 2]),
                done(0, json!({"type": "thing", "id": "t", "call_id": "c", "input": "x"})),
                done(1, json!({"id": "t"})),
                done(2, json!("words")),
                completed(json!([])),
            ],
            vec![("thing", true), ("", false)],
        ),
        (
            "arguments that are an object",
            vec![
                done(
                    0,
                    json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": {"x": [1]}}),
                ),
                completed(json!([])),
            ],
            vec![("c f({\"x\":[1]})", true)],
        ),
    ]
}

#[test]
fn items_are_told_once_however_servers_spell_them() {
    for (what, events, wanted) in spellings().into_iter().chain(gaps()) {
        let reply = decode(&events);
        let wanted: Vec<_> =
            wanted.iter().map(|(words, back)| ((*words).to_owned(), *back)).collect();
        assert_eq!(blocks(&reply), wanted, "{what}");
    }
    let (_, events, _) = gaps().remove(3);
    let native = decode(&events).blocks.remove(0).native.unwrap();
    assert_eq!(native.item.as_str(), thought("r", "SEAL").to_string());
}

#[test]
fn thought_is_told_in_full_or_as_a_summary_and_never_twice() {
    let summary = |part: u64, text: &str| {
        json!({"type": "response.reasoning_summary_text.delta", "item_id": "r", "output_index": 0,
            "summary_index": part, "delta": text})
    };
    let full = |text: &str| delta("reasoning_text", "r", 0, text);
    let item = |content: &[&str], parts: &[&str]| {
        let list = |kind: &str, texts: &[&str]| -> Vec<Value> {
            texts.iter().map(|text| json!({"type": kind, "text": text})).collect()
        };
        json!({"type": "reasoning", "id": "r", "summary": list("summary_text", parts), "content": list("reasoning_text", content)})
    };
    let table = [
        (
            vec![summary(0, "a"), summary(0, "b"), summary(1, "c")],
            item(&[], &["ab", "c"]),
            "ab\n\nc",
        ),
        (vec![full("a"), full("b")], item(&["ab"], &[]), "ab"),
        (vec![full("long"), summary(0, "short")], item(&["long"], &["short"]), "long"),
        (vec![summary(0, "short"), full("long")], item(&["long"], &["short"]), "short"),
        (vec![], item(&["long"], &["short"]), "short"),
        (vec![], item(&["long"], &[]), "long"),
        (vec![full("cut sho")], item(&["cut short"], &[]), "cut short"),
        (vec![], item(&[], &[]), ""),
    ];
    for (deltas, whole, wanted) in table {
        let begun = added(0, json!({"type": "reasoning", "id": "r", "summary": []}));
        let ends = [done(0, whole.clone()), completed(json!([whole]))];
        let events: Vec<Value> = [begun].into_iter().chain(deltas).chain(ends).collect();
        let (shown, reply) = try_decode(&events).unwrap();
        assert_eq!(blocks(&reply), [(format!("thinks {wanted}"), true)], "{events:?}");
        let told = shown.into_iter().filter_map(|event| match event {
            ModelEvent::Delta { item: DeltaItem::Thinking { block: 0 }, text } => Some(text),
            _ => None,
        });
        assert_eq!(told.collect::<String>(), wanted, "{events:?}");
    }
}

#[test]
fn answers_end_for_the_reason_that_is_said() {
    let ends = |kind: &str, response: Value| json!({"type": kind, "response": response});
    let incomplete = |reason: &str| {
        ends(
            "response.incomplete",
            json!({"status": "incomplete", "incomplete_details": {"reason": reason}}),
        )
    };
    let refusal =
        json!({"type": "message", "id": "m", "content": [{"type": "refusal", "refusal": "no"}]});
    let table = [
        (vec![completed(json!([]))], ReplyStop::EndTurn),
        (vec![completed(json!([call("a", "{}")]))], ReplyStop::ToolUse),
        (vec![completed(json!([refusal]))], ReplyStop::Refusal),
        (vec![incomplete("max_output_tokens")], ReplyStop::MaxTokens),
        (vec![done(0, call("a", "{\"x")), incomplete("max_output_tokens")], ReplyStop::MaxTokens),
        (vec![incomplete("content_filter")], ReplyStop::Refusal),
        (vec![incomplete("tired")], ReplyStop::Other("tired".to_owned())),
        (vec![ends("response.done", json!({"status": "completed"}))], ReplyStop::EndTurn),
    ];
    for (events, stop) in table {
        assert_eq!(decode(&events).stop, stop, "{events:?}");
    }
    let refused = [added(0, said("m", "")), delta("refusal", "m", 0, "no"), completed(json!([]))];
    assert_eq!(decode(&refused).stop, ReplyStop::Refusal);
}

#[test]
fn each_token_is_counted_once() {
    let usage = |input: u64, cached: u64, written: u64, output: u64, thought: u64, total: u64| {
        let counts = json!({"input_tokens": input, "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
            "output_tokens": output, "output_tokens_details": {"reasoning_tokens": thought}, "total_tokens": total});
        decode_responses_whole(json!({"output": [], "usage": counts}).to_string().as_bytes())
            .unwrap()
            .1
            .usage
    };
    let wanted = Usage { input: 5, output: 7, cache_read: 3, cache_write: 2, reasoning: 4 };
    assert_eq!(usage(10, 3, 2, 7, 4, 17), wanted);
    // More from the cache than was sent, and thought beside the output.
    assert_eq!(
        usage(10, 30, 2, 7, 0, 17),
        Usage { input: 0, output: 7, cache_read: 10, ..Usage::default() }
    );
    assert_eq!(
        usage(10, 0, 0, 3, 4, 17),
        Usage { input: 10, output: 7, reasoning: 4, ..Usage::default() }
    );
}

#[test]
fn failures_are_of_their_kind_wherever_they_stand() {
    use ModelErrorKind as Kind;
    let failed = |code: &str, message: &str| json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": code, "message": message}}});
    let table = [
        (failed("server_error", "oops"), Kind::Overloaded, None),
        (failed("insufficient_quota", "pay"), Kind::QuotaExhausted, None),
        (failed("context_length_exceeded", "long"), Kind::ContextOverflow, None),
        (failed("invalid_image_format", "what is that"), Kind::InvalidRequest, None),
        (
            failed("invalid_prompt", "flagged as violating our usage policy"),
            Kind::ContentFilter,
            None,
        ),
        (failed("image_content_policy_violation", "no"), Kind::ContentFilter, None),
        (
            failed("rate_limit_exceeded", "Rate limit reached. Please try again in 1.25s. Visit"),
            Kind::RateLimited,
            Some(1_250),
        ),
        (failed("rate_limit_exceeded", "Please try again in 28ms."), Kind::RateLimited, Some(28)),
        (failed("rate_limit_exceeded", "Please try again in 6m0s."), Kind::RateLimited, None),
        (
            json!({"type": "response.failed", "response": {"status": "failed"}}),
            Kind::Overloaded,
            None,
        ),
        (
            json!({"type": "response.done", "response": {"status": "cancelled"}}),
            Kind::Overloaded,
            None,
        ),
        (
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}),
            Kind::RateLimited,
            None,
        ),
        (
            json!({"type": "error", "error": {"type": "insufficient_quota", "message": "pay"}}),
            Kind::QuotaExhausted,
            None,
        ),
        (json!({"type": "error", "message": "boom", "code": null}), Kind::Overloaded, None),
        (
            json!({"error": {"message": "bad", "type": "invalid_request_error"}}),
            Kind::InvalidRequest,
            None,
        ),
    ];
    for (event, kind, wait) in table {
        let error = try_decode(&[done(0, said("m", "hi")), event.clone()]).unwrap_err();
        assert_eq!((error.kind, error.retry_after_ms), (kind, wait), "{event}: {error}");
    }
    let whole =
        |body: Value| decode_responses_whole(body.to_string().as_bytes()).map(|(_, reply)| reply);
    let kind = |body: Value| whole(body).unwrap_err().kind;
    assert_eq!(kind(json!({"error": {"code": "server_error", "message": "x"}})), Kind::Overloaded);
    assert_eq!(kind(json!({"status": "queued", "output": []})), Kind::Truncated);
    assert_eq!(kind(json!({"object": "chat.completion", "choices": []})), Kind::Transport);
    assert_eq!(whole(json!({"output": [said("m", "hi")]})).unwrap().blocks.len(), 1);
    let cut = try_decode(&[done(0, said("m", "hi"))]).unwrap_err();
    assert_eq!(cut.kind, Kind::Truncated);
}

fn encoded(request: &ModelRequest, quirks: Quirks) -> Value {
    serde_json::from_slice(&encode_responses(request, ("here", "m"), quirks)).unwrap()
}

fn user(text: &str) -> Message {
    Message::User { parts: vec![Part::text(text)] }
}

fn answered(items: &[Value]) -> Message {
    let events: Vec<Value> = (0..).zip(items).map(|(at, item)| done(at, item.clone())).collect();
    let events: Vec<Value> = events.into_iter().chain([completed(json!([]))]).collect();
    Message::Assistant { blocks: decode(&events).blocks }
}

fn result(id: &str, parts: Vec<Part>) -> ToolResult {
    ToolResult { call: CallId(id.into()), name: "f".to_owned(), parts, is_error: false }
}

#[test]
fn a_request_says_everything_in_the_fields_of_the_wire() {
    let image =
        Part::Image { media_type: "image/png".to_owned(), blob: BlobId::of(b"b"), bytes: 3 };
    let lost = Part::Image { media_type: "image/png".to_owned(), blob: BlobId::of(b"c"), bytes: 3 };
    let foreign = Block {
        content: Content::ToolCall {
            id: CallId("x".repeat(65).into()),
            name: "a b".to_owned(),
            arguments: "{\"n\" : 1}".to_owned(),
        },
        native: None,
    };
    let long = "x".repeat(65);
    let request = ModelRequest {
        system: "be brief".to_owned(),
        tools: Arc::new(vec![ToolSchema {
            name: "f".to_owned(),
            description: "does f".to_owned(),
            input: json!({"type": "object"}),
            runs: Runs::Here,
        }]),
        bodies: BTreeMap::from([(BlobId::of(b"b"), Bytes::from_static(b"png"))]),
        effort: Some(ReasoningEffort::Low),
        sampling: Sampling {
            temperature: Some(Decimal(250)),
            top_p: Some(Decimal(900)),
            ..Sampling::default()
        },
        output_max: Some(100),
        capabilities: ResolvedSessionCapabilities { web_search: true },
        cache_key: "session".to_owned(),
        ..request(vec![
            Message::User { parts: vec![Part::text("see"), image.clone(), lost] },
            Message::Assistant { blocks: vec![foreign] },
            Message::Tool { results: vec![result(&long, vec![Part::text("a"), image])] },
        ])
    };
    let quirks = Quirks { effort: true, cache_key: true, ..Quirks::PLAIN };
    let body = encoded(&request, quirks);
    let picture =
        json!({"type": "input_image", "image_url": "data:image/png;base64,cG5n", "detail": "auto"});
    let id = body["input"][1]["call_id"].clone();
    let wanted = json!({
        "model": "m", "stream": true, "store": false, "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"}, "max_output_tokens": 100, "temperature": 0.25, "top_p": 0.9,
        "prompt_cache_key": "session", "instructions": "be brief",
        "tools": [{"type": "web_search"}, {"type": "function", "name": "f", "description": "does f", "parameters": {"type": "object"}, "strict": false}],
        "parallel_tool_calls": true,
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "see"}, picture,
                {"type": "input_text", "text": "[a picture that is no longer available]"}]},
            {"type": "function_call", "call_id": id, "name": "a_b", "arguments": "{\"n\" : 1}"},
            {"type": "function_call_output", "call_id": id, "output": [{"type": "input_text", "text": "a"}, picture]},
        ],
    });
    assert_eq!(body, wanted);
    check_responses(&body);
    let bare = encoded(&crate::recorded::request(vec![user("hi")]), Quirks::PLAIN);
    let names: Vec<&String> = bare.as_object().unwrap().keys().collect();
    assert_eq!(names, ["model", "stream", "store", "include", "input"]);
}

#[test]
fn only_models_that_think_are_asked_for_their_thought() {
    let asks = |model: &str, thought_items: ThoughtItems| {
        let quirks = Quirks { thought_items, ..Quirks::PLAIN };
        let body = encode_responses(&request(vec![user("hi")]), ("here", model), quirks);
        String::from_utf8(body).unwrap().contains("encrypted_content")
    };
    let table = [
        ("gpt-5", true),
        ("o3", true),
        ("grok-4", true),
        ("gpt-4o", false),
        ("gpt-4.1-mini", false),
        ("gpt-5-chat", false),
        ("openai/gpt-4o", false),
        ("openai/gpt-5", true),
    ];
    for (model, wanted) in table {
        assert_eq!(asks(model, ThoughtItems::Encrypted), wanted, "{model}");
        assert_eq!(asks(model, ThoughtItems::EncryptedWithoutIds), wanted, "{model}");
        assert!(!asks(model, ThoughtItems::Plain), "{model}");
    }
}

/// What of an answer goes back, by type and id.
fn back(items: &[Value], quirks: Quirks) -> Vec<(String, String)> {
    let calls = items.iter().filter(|item| item["type"] == "function_call");
    let results: Vec<ToolResult> = calls
        .map(|call| result(call["call_id"].as_str().unwrap(), vec![Part::text("done")]))
        .collect();
    let mut messages = vec![user("go"), answered(items)];
    if !results.is_empty() {
        messages.push(Message::Tool { results });
    }
    messages.push(user("on"));
    let body = encoded(&request(messages), quirks);
    check_responses(&body);
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let input = body["input"].as_array().unwrap().iter();
    let of_model =
        input.filter(|item| item["role"] != "user" && item["type"] != "function_call_output");
    of_model.map(|item| (word(&item["type"]), word(&item["id"]))).collect()
}

/// Items of an answer, and types and ids of those that go back.
type Kept<'a> = (Vec<Value>, &'a [(&'a str, &'a str)]);

#[test]
fn thought_goes_with_what_follows_it_or_not_at_all() {
    let search = json!({"type": "web_search_call", "id": "ws", "status": "completed"});
    let full = json!({"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]});
    let table: Vec<Kept<'_>> = vec![
        (
            vec![thought("r", "S"), call("a", "{}"), call("b", "{}")],
            &[("reasoning", "r"), ("function_call", "a"), ("function_call", "b")],
        ),
        (
            vec![thought("r", "S"), search.clone(), thought("s", "S"), said("m", "hi")],
            &[("reasoning", "r"), ("web_search_call", "ws"), ("reasoning", "s"), ("message", "m")],
        ),
        // Two thoughts before one call.
        (
            vec![thought("r", "S"), thought("s", "S"), call("a", "{}")],
            &[("reasoning", "r"), ("reasoning", "s"), ("function_call", "a")],
        ),
        // Without its seal it stays behind, with the ids of what it belongs to.
        (
            vec![thought("r", ""), search, said("m", "hi"), call("a", "{}")],
            &[("message", "-"), ("function_call", "-")],
        ),
        (vec![full.clone(), call("a", "{}")], &[("reasoning", "r"), ("function_call", "a")]),
        // Nothing follows, or nothing that can be said.
        (vec![said("m", "hi"), thought("r", "S")], &[("message", "m")]),
        (vec![thought("r", "S"), said("m", " ")], &[]),
        (vec![said("m", ""), call("a", "{}")], &[("function_call", "a")]),
        // An id that comes twice.
        (vec![call("a", "{}"), said("a", "hi")], &[("function_call", "a"), ("message", "-")]),
    ];
    for (items, wanted) in table {
        let wanted: Vec<_> =
            wanted.iter().map(|(kind, id)| ((*kind).to_owned(), (*id).to_owned())).collect();
        assert_eq!(back(&items, Quirks::PLAIN), wanted, "{items:?}");
    }
    let nameless = Quirks { thought_items: ThoughtItems::EncryptedWithoutIds, ..Quirks::PLAIN };
    let sent = back(&[thought("r", "S"), call("a", "{}")], nameless);
    assert_eq!(
        sent,
        [("reasoning".to_owned(), "-".to_owned()), ("function_call".to_owned(), "a".to_owned())]
    );
}

#[test]
fn items_go_back_byte_for_byte_but_for_a_call_that_was_renamed_or_cut() {
    let spaced = "{\"type\": \"function_call\", \"id\": \"fc\",  \"call_id\": \"c\", \"name\": \"f\", \"arguments\": \"{ \\\"x\\\" : 1 }\"}";
    let block = |id: &str, arguments: &str, item: &str| Block {
        content: Content::ToolCall {
            id: CallId(id.into()),
            name: "f".to_owned(),
            arguments: arguments.to_owned(),
        },
        native: Some(Native {
            wire: "openai-responses".to_owned(),
            endpoint: "here".to_owned(),
            model: "m".to_owned(),
            item: RawJson::parse(item.to_owned()).unwrap(),
        }),
    };
    let sent = |block: Block, id: &str| {
        let results = vec![result(id, vec![Part::text("done")])];
        let messages =
            vec![user("go"), Message::Assistant { blocks: vec![block] }, Message::Tool { results }];
        String::from_utf8(encode_responses(&request(messages), ("here", "m"), Quirks::PLAIN))
            .unwrap()
    };
    assert!(sent(block("c", "{ \"x\" : 1 }", spaced), "c").contains(spaced));
    let renamed = sent(block("d", "{ \"x\" : 1 }", spaced), "d");
    assert!(
        renamed.contains(r#""id":"fc","call_id":"d","name":"f","arguments":"{ \"x\" : 1 }""#),
        "{renamed}"
    );
    let cut = sent(block("c", "{\"x", &spaced.replace("{ \\\"x\\\" : 1 }", "{\\\"x")), "c");
    assert!(cut.contains(r#"{\"unparsable_arguments\":\"{\\\"x\"}"#), "{cut}");
}

prop_compose! {
    fn item()(kind in 0..5, id in "[a-c]", text in "\\PC{0,8}", seal in "|S") -> Value {
        match kind {
            0 => said(&id, &text),
            1 => call(&id, &json!({ "x": text }).to_string()),
            2 => thought(&id, &seal),
            3 => json!({"type": "mcp_call", "id": id, "output": text}),
            _ => json!({"type": "reasoning", "id": id, "summary": [], "content": [{"text": text}]}),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn longer_conversations_begin_with_the_bytes_of_shorter_ones_and_are_valid(
        answers in prop::collection::vec(prop::collection::vec(item(), 0..5), 1..5),
    ) {
        let mut messages = vec![user("go")];
        let mut before = String::new();
        for (number, items) in answers.iter().enumerate() {
            let Message::Assistant { mut blocks } = answered(items) else { unreachable!("an answer") };
            // As the runtime does with ids that are not unique.
            for (at, block) in blocks.iter_mut().enumerate() {
                if let Content::ToolCall { id, .. } = &mut block.content {
                    *id = CallId(format!("{number}-{at}").into());
                }
            }
            let results: Vec<_> = blocks.iter().filter_map(Block::call).map(|id| result(id.as_str(), vec![])).collect();
            messages.push(Message::Assistant { blocks });
            messages.extend((!results.is_empty()).then_some(Message::Tool { results }));
            messages.push(user("on"));
            let request = request(messages.clone());
            let body = String::from_utf8(encode_responses(&request, ("here", "m"), Quirks::PLAIN)).unwrap();
            check_responses(&serde_json::from_str(&body).unwrap());
            prop_assert!(body.starts_with(before.trim_end_matches("]}")), "{} then {}", before, body);
            before = body;
        }
    }

    #[test]
    fn any_events_end_in_an_answer_or_an_error(
        events in prop::collection::vec((0..12usize, 0..3u64, "[a-b]?", any::<bool>(), item()), 0..12),
    ) {
        const KINDS: [&str; 12] = ["output_item.added", "output_item.done", "output_text.delta", "refusal.delta",
            "function_call_arguments.delta", "reasoning_text.delta", "reasoning_summary_text.delta", "created",
            "completed", "incomplete", "failed", "thing"];
        let event = |(kind, index, id, whole, item): &(usize, u64, String, bool, Value)| {
            json!({"type": format!("response.{}", KINDS[*kind]), "output_index": index, "item_id": id,
                "summary_index": index, "delta": item["type"], "item": if *whole { item.clone() } else { json!({"id": id}) },
                "response": {"status": null, "output": [item]}})
        };
        let events: Vec<Value> = events.iter().map(event).collect();
        if let Ok((shown, reply)) = try_decode(&events) {
            let told = shown.iter().filter(|event| matches!(event, ModelEvent::Delta { .. })).count();
            prop_assert!(told <= 2 * events.len() + 1);
            prop_assert!(reply.blocks.len() <= events.len() + 1);
        }
    }
}
