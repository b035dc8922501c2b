//! Rules of the Anthropic wire, on histories and events made by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use oarlock_core::event::DeltaItem;
use oarlock_core::ids::{BlobId, CallId};
use oarlock_core::message::{Block, Content, Message, Part, ReplyStop, ToolResult};
use oarlock_core::ports::model::{ModelError, ModelErrorKind, ModelEvent, ModelRequest, Reply};
use oarlock_core::ports::tool::{Runs, ToolSchema};
use oarlock_core::spec::{ReasoningEffort, ResolvedSessionCapabilities, Sampling};
use oarlock_models::{decode_anthropic, decode_anthropic_whole, encode_anthropic};
use oarlock_testkit::wires::check_anthropic;
use proptest::prelude::*;
use serde_json::{Value, json};

fn decode(events: &[Value]) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    let named = |event: &Value| (event["type"].as_str().map(str::to_owned), event.to_string());
    decode_anthropic(events.iter().map(named), "here", "claude")
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"model": "claude-1", "content": [],
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3, "output_tokens": 1}}})
}

fn end(stop: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 20, "input_tokens": 10}}),
        json!({"type": "message_stop"}),
    ]
}

fn opened(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn reply(blocks: &[Value], stop: &str) -> Reply {
    let [first, last] = end(stop);
    let events: Vec<Value> =
        [start()].into_iter().chain(blocks.iter().cloned()).chain([first, last]).collect();
    decode(&events).unwrap().1
}

pub(crate) fn request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        system: String::new(),
        messages: Arc::new(messages),
        tools: Arc::default(),
        bodies: BTreeMap::new(),
        effort: None,
        sampling: Sampling::default(),
        output_max: None,
        capabilities: ResolvedSessionCapabilities::default(),
        output: None,
        cache_key: String::new(),
    }
}

fn body(request: &ModelRequest) -> Value {
    serde_json::from_slice(&encode_anthropic(request, "here", "claude")).unwrap()
}

fn without_marks(mut messages: Value) -> Value {
    for block in messages
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .flat_map(|m| m["content"].as_array_mut().unwrap())
    {
        block.as_object_mut().unwrap().remove("cache_control");
    }
    messages
}

fn messages(request: &ModelRequest) -> Value {
    without_marks(body(request)["messages"].clone())
}

fn user(text: &str) -> Message {
    Message::User { parts: vec![Part::text(text)] }
}

fn call(id: &str, arguments: &str) -> Block {
    let content = Content::ToolCall {
        id: CallId(id.into()),
        name: "bash".to_owned(),
        arguments: arguments.to_owned(),
    };
    Block { content, native: None }
}

fn said(text: &str) -> Block {
    Block { content: Content::Text { text: text.to_owned() }, native: None }
}

fn result(id: &str, parts: Vec<Part>, is_error: bool) -> ToolResult {
    ToolResult { call: CallId(id.into()), name: "bash".to_owned(), parts, is_error }
}

fn tools(id: &str) -> Message {
    Message::Tool { results: vec![result(id, vec![Part::text("ok")], false)] }
}

#[test]
fn interleaved_blocks_are_replayed_in_order_and_byte_for_byte() {
    let reply = reply(
        &[
            opened(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(0, json!({"type": "thinking_delta", "thinking": "a"})),
            delta(0, json!({"type": "signature_delta", "signature": "S1"})),
            opened(1, json!({"type": "text", "text": ""})),
            delta(1, json!({"type": "text_delta", "text": "hi"})),
            delta(1, json!({"type": "citations_delta", "citation": {"n": 1}})),
            opened(2, json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(2, json!({"type": "signature_delta", "signature": "S2"})),
            opened(3, json!({"type": "redacted_thinking", "data": "X"})),
            opened(4, json!({"type": "server_tool_use", "id": "s", "name": "web", "input": {}})),
            delta(4, json!({"type": "input_json_delta", "partial_json": "{\"q\": 1}"})),
            opened(
                5,
                json!({"type": "tool_use", "id": "t1", "name": "bash", "input": {}, "caller": {"type": "direct"}}),
            ),
            delta(5, json!({"type": "input_json_delta", "partial_json": "{\"b\" : 1.0,"})),
            delta(5, json!({"type": "input_json_delta", "partial_json": " \"a\":\"\\u00e9\"}"})),
        ],
        "tool_use",
    );
    let request =
        request(vec![user("go"), Message::Assistant { blocks: reply.blocks }, tools("t1")]);
    let body = String::from_utf8(encode_anthropic(&request, "here", "claude")).unwrap();
    let wanted = concat!(
        r#"{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"S1"},"#,
        r#"{"type":"text","text":"hi","citations":[{"n":1}]},{"type":"thinking","thinking":"","signature":"S2"},"#,
        r#"{"type":"redacted_thinking","data":"X"},{"type":"server_tool_use","id":"s","name":"web","input":{"q": 1}},"#,
        r#"{"type":"tool_use","id":"t1","name":"bash","input":{"b" : 1.0, "a":"\u00e9"},"caller":{"type":"direct"}}]}"#,
    );
    assert!(body.contains(wanted), "{body}");
    let elsewhere = String::from_utf8(encode_anthropic(&request, "there", "claude")).unwrap();
    assert!(
        !elsewhere.contains("S1")
            && !elsewhere.contains("redacted")
            && elsewhere.contains(r#""input":{"b" : 1.0,"#)
    );
}

#[test]
fn deltas_name_the_block_of_the_reply_and_usage_is_never_summed() {
    let events = [
        start(),
        json!({"type": "ping"}),
        opened(0, json!({"type": "text", "text": ""})),
        delta(0, json!({"type": "text_delta", "text": "hi"})),
        delta(0, json!({"type": "delta_of_tomorrow", "x": 1})),
        delta(9, json!({"type": "text_delta", "text": "lost"})),
        opened(1, json!({"type": "block_of_tomorrow", "x": [1]})),
        json!({"type": "event_of_tomorrow", "index": 0}),
        json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "pause_turn"}, "usage": {"output_tokens": 9, "input_tokens": null}}),
        json!({"type": "message_stop"}),
    ];
    let (out, reply) = decode(&events).unwrap();
    let text = ModelEvent::Delta { item: DeltaItem::Text { block: 0 }, text: "hi".to_owned() };
    assert_eq!(
        out.into_iter().filter(|event| *event != ModelEvent::Alive).collect::<Vec<_>>(),
        [text]
    );
    assert_eq!((reply.model.as_str(), reply.stop), ("claude-1", ReplyStop::Pause));
    let usage = reply.usage;
    assert_eq!([usage.input, usage.output, usage.cache_read, usage.cache_write], [10, 9, 5, 3]);
    assert_eq!(reply.blocks[1].content, Content::Opaque { kind: "block_of_tomorrow".to_owned() });
    assert_eq!(
        reply.blocks[1].native.as_ref().unwrap().item.as_str(),
        r#"{"type":"block_of_tomorrow","x":[1]}"#
    );
}

#[test]
fn arguments_that_are_no_object_are_kept_as_received_and_replayed_as_an_object() {
    for (received, wanted) in [
        ("", json!({})),
        ("{\"a\": ", json!({"unparsable_arguments": "{\"a\": "})),
        ("[1]", json!({"unparsable_arguments": "[1]"})),
    ] {
        let native = reply(
            &[
                opened(0, json!({"type": "tool_use", "id": "t", "name": "bash", "input": {}})),
                delta(0, json!({"type": "input_json_delta", "partial_json": received})),
            ],
            "tool_use",
        );
        let Content::ToolCall { arguments, .. } = &native.blocks[0].content else {
            panic!("not a call")
        };
        assert_eq!(arguments, if received.is_empty() { "{}" } else { received });
        for blocks in [native.blocks.clone(), vec![call("t", received)]] {
            let sent =
                messages(&request(vec![user("x"), Message::Assistant { blocks }, tools("t")]));
            assert_eq!(sent[1]["content"][0]["input"], wanted);
        }
    }
}

#[test]
fn errors_inside_a_stream_are_classified() {
    use ModelErrorKind as Kind;
    for (kind, words, wanted) in [
        ("overloaded_error", "Overloaded", Kind::Overloaded),
        ("api_error", "Internal server error", Kind::Overloaded),
        ("error_of_tomorrow", "", Kind::Overloaded),
        ("rate_limit_error", "slow down", Kind::RateLimited),
        ("authentication_error", "bad key", Kind::Auth),
        ("permission_error", "no", Kind::Auth),
        ("billing_error", "pay", Kind::QuotaExhausted),
        ("not_found_error", "model: x", Kind::ModelNotFound),
        ("request_too_large", "33 MB", Kind::ContextOverflow),
        ("timeout_error", "late", Kind::Timeout),
        ("invalid_request_error", "prompt is too long: 3 > 2", Kind::ContextOverflow),
        ("invalid_request_error", "Your credit balance is too low", Kind::QuotaExhausted),
        (
            "invalid_request_error",
            "Output blocked by content filtering policy",
            Kind::ContentFilter,
        ),
        ("invalid_request_error", "messages: wrong", Kind::InvalidRequest),
    ] {
        let error = json!({"type": "error", "error": {"type": kind, "message": words}});
        assert_eq!(decode(&[start(), error.clone()]).unwrap_err().kind, wanted, "{kind}");
        assert_eq!(
            decode_anthropic_whole(error.to_string().as_bytes()).unwrap_err().kind,
            wanted,
            "{kind}"
        );
    }
}

#[test]
fn a_stream_without_its_terminal_event_is_truncated_and_other_payloads_are_refused() {
    let [last, _] = end("end_turn");
    assert_eq!(decode(&[start(), last]).unwrap_err().kind, ModelErrorKind::Truncated);
    assert_eq!(decode(&[]).unwrap_err().kind, ModelErrorKind::Truncated);
    assert_eq!(decode_anthropic_whole(b"<html>").unwrap_err().kind, ModelErrorKind::Transport);
    assert_eq!(decode_anthropic_whole(b"{}").unwrap_err().kind, ModelErrorKind::Transport);
    let cut = [(Some("content_block_delta".to_owned()), "{\"type\":".to_owned())];
    assert_eq!(
        decode_anthropic(cut.into_iter(), "e", "m").unwrap_err().kind,
        ModelErrorKind::Transport
    );
}

#[test]
fn a_whole_answer_is_decoded_like_a_stream() {
    let body = json!({"type": "message", "model": "m", "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 2},
        "content": [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "n", "input": {"x": 1}}]});
    let (out, reply) = decode_anthropic_whole(body.to_string().as_bytes()).unwrap();
    assert_eq!(
        out[0],
        ModelEvent::Delta { item: DeltaItem::Text { block: 0 }, text: "a".to_owned() }
    );
    let content: Vec<_> = reply.blocks.into_iter().map(|block| block.content).collect();
    let text = Content::Text { text: "a".to_owned() };
    let call = Content::ToolCall {
        id: CallId("t".into()),
        name: "n".to_owned(),
        arguments: "{\"x\":1}".to_owned(),
    };
    assert_eq!((content, reply.stop), (vec![text, call], ReplyStop::ToolUse));
}

#[test]
fn the_user_is_first_and_neighbours_of_a_role_are_merged() {
    let sent = messages(&request(vec![
        Message::Assistant { blocks: vec![said("a"), said(" ")] },
        Message::Assistant { blocks: vec![call("f:1", "{}")] },
        Message::Tool { results: vec![result("f:1", vec![], false)] },
        Message::User { parts: vec![Part::text(""), Part::text("b")] },
    ]));
    let wanted = json!([
        {"role": "user", "content": [{"type": "text", "text": "(continued)"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "f_3a_1", "name": "bash", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "f_3a_1"}, {"type": "text", "text": "b"}]},
    ]);
    assert_eq!(sent, wanted);
}

#[test]
fn partial_histories_answer_each_call_once_and_stray_results_become_text() {
    let sent = messages(&request(vec![
        tools("gone"),
        Message::Assistant { blocks: vec![call("a", "{}")] },
        user("b"),
    ]));
    assert_eq!(sent[0]["content"][1]["text"], "ok");
    let answer = &sent[2]["content"];
    assert_eq!(
        (&answer[0]["tool_use_id"], &answer[0]["is_error"], &answer[1]["text"]),
        (&json!("a"), &json!(true), &json!("b"))
    );
}

#[test]
fn a_call_that_the_runtime_renamed_is_answered_under_its_new_id() {
    let mut blocks = reply(
        &[opened(0, json!({"type": "tool_use", "id": "t", "name": "n", "input": {}}))],
        "tool_use",
    )
    .blocks;
    if let Content::ToolCall { id, .. } = &mut blocks[0].content {
        *id = CallId("t-2".into());
    }
    let sent = messages(&request(vec![user("x"), Message::Assistant { blocks }, tools("t-2")]));
    assert_eq!(
        (&sent[1]["content"][0]["id"], &sent[2]["content"][0]["tool_use_id"]),
        (&json!("t-2"), &json!("t-2"))
    );
}

#[test]
fn pictures_stand_inside_results_except_in_errors() {
    let blob = BlobId::of(b"png");
    let image = Part::Image { media_type: "image/png".to_owned(), blob: blob.clone(), bytes: 3 };
    let results = |is_error| vec![result("a", vec![Part::text("t"), image.clone()], is_error)];
    let history = |is_error| {
        let blocks = vec![call("a", "{}")];
        vec![user("x"), Message::Assistant { blocks }, Message::Tool { results: results(is_error) }]
    };
    let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "cG5n"}});
    let mut good = request(history(false));
    good.bodies.insert(blob.clone(), Bytes::from_static(b"png"));
    assert_eq!(messages(&good)[2]["content"][0]["content"][1], picture);
    let mut bad = request(history(true));
    bad.bodies.insert(blob, Bytes::from_static(b"png"));
    let sent = messages(&bad);
    assert_eq!(
        (&sent[2]["content"][0]["is_error"], &sent[2]["content"][1]),
        (&json!(true), &picture)
    );
}

#[test]
fn thinking_fits_the_output_limit_and_never_meets_a_temperature() {
    let body = |request: &ModelRequest| -> Value {
        let body = encode_anthropic(request, "here", "claude-sonnet-4-5");
        serde_json::from_slice(&body).unwrap()
    };
    for (effort, max, wanted) in [
        (None, None, Value::Null),
        (Some(ReasoningEffort::None), None, Value::Null),
        (Some(ReasoningEffort::Low), None, json!(4096)),
        (Some(ReasoningEffort::Xhigh), None, json!(30_976)),
        (Some(ReasoningEffort::High), Some(2048), json!(1024)),
        (Some(ReasoningEffort::High), Some(2047), Value::Null),
    ] {
        let body = body(&ModelRequest { effort, output_max: max, ..request(vec![user("x")]) });
        assert_eq!(body["thinking"]["budget_tokens"], wanted, "{effort:?}");
        assert!(body.get("temperature").is_none());
        assert_eq!(body["max_tokens"], max.unwrap_or(32_000));
    }
    let foreign =
        request(vec![user("x"), Message::Assistant { blocks: vec![call("a", "{}")] }, tools("a")]);
    assert!(
        body(&ModelRequest { effort: Some(ReasoningEffort::High), ..foreign })
            .get("thinking")
            .is_none()
    );
}

#[test]
fn families_without_budgets_are_told_an_effort_beside_the_form_of_the_answer() {
    let answered =
        request(vec![user("x"), Message::Assistant { blocks: vec![call("a", "{}")] }, tools("a")]);
    for (effort, thinking, word) in [
        (None, Value::Null, Value::Null),
        (Some(ReasoningEffort::None), Value::Null, Value::Null),
        (Some(ReasoningEffort::Minimal), adaptive(), json!("low")),
        (Some(ReasoningEffort::Xhigh), adaptive(), json!("xhigh")),
    ] {
        let asked = ModelRequest { effort, output_max: Some(500), ..answered.clone() };
        let body = encode_anthropic(&asked, "here", "claude-opus-4-7");
        let body: Value = serde_json::from_slice(&body).unwrap();
        check_anthropic(&body);
        assert_eq!((&body["thinking"], &body["output_config"]["effort"]), (&thinking, &word));
        assert_eq!(body["max_tokens"], 500);
    }
    let thoughtless =
        ModelRequest { effort: Some(ReasoningEffort::High), ..request(vec![user("x")]) };
    let body = encode_anthropic(&thoughtless, "here", "claude-3-5-haiku");
    assert!(!String::from_utf8(body).unwrap().contains("thinking"));
}

fn adaptive() -> Value {
    json!({"type": "adaptive", "display": "summarized"})
}

#[test]
fn schemas_pass_unmodified_and_at_most_four_marks_are_set() {
    let input = json!({"type": "object", "$defs": {"a": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a"}}, "additionalProperties": false});
    let tool = |name: &str| ToolSchema {
        name: name.to_owned(),
        description: "d".to_owned(),
        input: input.clone(),
        runs: Runs::Here,
    };
    let said = || Message::Assistant { blocks: vec![said("a")] };
    let mut full = request(vec![user("1"), said(), user("2"), said(), user("3")]);
    full.system = "s".to_owned();
    full.tools = Arc::new(vec![tool("a"), tool("b")]);
    let body = body(&full);
    assert_eq!(body["tools"][0], json!({"name": "a", "description": "d", "input_schema": input}));
    assert_eq!(body.to_string().matches("cache_control").count(), 4);
    for at in ["/system/0", "/tools/1", "/messages/2/content/0", "/messages/4/content/0"] {
        assert_eq!(
            body.pointer(at).unwrap()["cache_control"],
            json!({"type": "ephemeral"}),
            "{at}"
        );
    }
}

fn event() -> impl Strategy<Value = (Option<String>, String)> {
    let word = |words: &'static [&'static str]| prop::sample::select(words);
    let kind = word(&[
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "x",
    ]);
    let block = word(&[
        "text",
        "thinking",
        "tool_use",
        "server_tool_use",
        "x",
        "text_delta",
        "thinking_delta",
        "input_json_delta",
        "signature_delta",
    ]);
    let value = prop_oneof![
        Just(json!(null)),
        Just(json!([{}])),
        Just(json!({"a": 1})),
        any::<String>().prop_map(Value::from)
    ];
    let shaped = (kind, block, value, 0_u64..3).prop_map(|(kind, block, value, index)| {
        let inner = json!({"type": block, "text": value, "thinking": value, "partial_json": value, "input": value, "signature": value, "citation": value});
        json!({"type": kind, "index": index, "content_block": inner, "delta": inner, "usage": value}).to_string()
    });
    (prop::option::of(any::<String>()), prop_oneof![4 => shaped, 1 => any::<String>()])
}

/// A history that follows the rules of messages: each number is a kind of exchange.
fn history(kinds: &[u8]) -> Vec<Message> {
    let exchange = |(at, kind): (usize, &u8)| {
        let id = format!("c{at}");
        let mut exchange = vec![user(&format!("u{at}"))];
        exchange.extend(match kind {
            0 => vec![Message::Assistant { blocks: vec![said("a")] }],
            1 => vec![Message::Assistant { blocks: vec![said(""), call(&id, "{}")] }, tools(&id)],
            2 => vec![
                Message::Assistant { blocks: vec![call(&id, "{")] },
                tools(&id),
                Message::Assistant { blocks: vec![said("b")] },
            ],
            _ => vec![Message::Assistant { blocks: vec![said("")] }],
        });
        exchange
    };
    kinds.iter().enumerate().flat_map(exchange).collect()
}

/// Role and block of each block, in order.
fn flat(messages: &Value) -> Vec<(String, String)> {
    let blocks = |turn: &Value| -> Vec<(String, String)> {
        let role = turn["role"].to_string();
        turn["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| (role.clone(), block.to_string()))
            .collect()
    };
    messages.as_array().unwrap().iter().flat_map(blocks).collect()
}

proptest! {
    #[test]
    fn arbitrary_events_never_panic_and_what_they_give_can_be_sent(events in prop::collection::vec(event(), 0..20)) {
        let events = events.into_iter().chain([(None, r#"{"type":"message_stop"}"#.to_owned())]);
        if let Ok((_, reply)) = decode_anthropic(events, "here", "claude") {
            let sent = body(&request(vec![user("x"), Message::Assistant { blocks: reply.blocks }, user("y")]));
            prop_assert_eq!(&sent["messages"][0]["role"], "user");
        }
    }

    #[test]
    fn arbitrary_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode_anthropic_whole(&body).is_err());
    }

    #[test]
    fn appended_messages_only_append(kinds in prop::collection::vec(0_u8..4, 1..8), more in prop::collection::vec(0_u8..4, 0..4)) {
        let whole: Vec<u8> = kinds.iter().chain(&more).copied().collect();
        let short = flat(&messages(&request(history(&kinds))));
        let long = flat(&messages(&request(history(&whole))));
        prop_assert_eq!(&long[..short.len()], &short[..]);
        let again = request(history(&whole));
        prop_assert_eq!(encode_anthropic(&again, "here", "claude"), encode_anthropic(&again, "here", "claude"));
    }
}

#[test]
fn a_delegated_search_is_asked_for_and_its_items_come_back_as_they_were() {
    let capabilities = ResolvedSessionCapabilities { web_search: true };
    let asked = ModelRequest { capabilities, ..request(vec![user("what is new?")]) };
    let search = json!([{"type": "web_search_20250305", "name": "web_search", "cache_control": {"type": "ephemeral"}}]);
    assert_eq!(body(&asked)["tools"], search);
    assert!(body(&request(vec![user("go")])).get("tools").is_none());
    let found = json!([{"type": "web_search_result", "url": "https://a.example", "title": "A", "encrypted_content": "Zm9v"}]);
    let reply = reply(
        &[
            opened(
                0,
                json!({"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}}),
            ),
            delta(0, json!({"type": "input_json_delta", "partial_json": "{\"query\": \"new\"}"})),
            opened(
                1,
                json!({"type": "web_search_tool_result", "tool_use_id": "srv", "content": found}),
            ),
            opened(2, json!({"type": "text", "text": ""})),
            delta(2, json!({"type": "text_delta", "text": "This is new."})),
        ],
        "end_turn",
    );
    // It is no call of ours: nothing is run for it.
    assert!(reply.blocks.iter().all(|block| !block.is_call()));
    let again = request(vec![user("go"), Message::Assistant { blocks: reply.blocks }, user("on")]);
    assert_eq!(
        messages(&again)[1]["content"],
        json!([
            {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "new"}},
            {"type": "web_search_tool_result", "tool_use_id": "srv", "content": found},
            {"type": "text", "text": "This is new."}
        ])
    );
}
