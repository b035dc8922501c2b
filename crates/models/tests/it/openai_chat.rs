//! The chat wire by tables: what its servers do differently, and what a request looks like.

use std::sync::Arc;

use bytes::Bytes;
use oarlock_core::ids::{BlobId, CallId};
use oarlock_core::message::{
    Block, Content, Message, Native, Part, RawJson, ReplyStop, ToolResult, Usage,
};
use oarlock_core::ports::model::{ModelErrorKind, Reply};
use oarlock_core::ports::tool::{Runs, ToolSchema};
use oarlock_core::spec::ReasoningEffort;
use oarlock_models::{CallIds, OutputField, Quirks, ThoughtEcho, decode_chat, encode_chat};
use serde_json::{Value, json};

use crate::recorded::request;

fn decode(deltas: &[Value]) -> Reply {
    let chunk = |delta: &Value| json!({"choices": [{"index": 0, "delta": delta}]}).to_string();
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).to_string();
    let events = deltas.iter().map(chunk).chain([end]).map(|data| (None, data));
    decode_chat(events, "here", "m").unwrap().1
}

fn calls(reply: &Reply) -> Vec<(&str, &str, &str)> {
    let call = |block| match block {
        &Block { content: Content::ToolCall { ref id, ref name, ref arguments }, .. } => {
            Some((id.as_str(), name.as_str(), arguments.as_str()))
        }
        _ => None,
    };
    reply.blocks.iter().filter_map(call).collect()
}

fn piece(index: Option<u64>, id: &str, name: &str, arguments: Value) -> Value {
    let mut piece = json!({"function": {"arguments": arguments}});
    if let Some(index) = index {
        piece["index"] = index.into();
    }
    if !id.is_empty() {
        piece["id"] = id.into();
    }
    if !name.is_empty() {
        piece["function"]["name"] = name.into();
    }
    json!({ "tool_calls": [piece] })
}

type Calls = &'static [(&'static str, &'static str, &'static str)];

/// How servers spell calls, and the calls that they mean.
fn spellings() -> Vec<(&'static str, Vec<Value>, Calls)> {
    vec![
        (
            "pieces that are interleaved by index",
            vec![
                piece(Some(0), "a", "f", "{\"x\"".into()),
                piece(Some(1), "b", "g", "{".into()),
                piece(Some(0), "", "", ":1}".into()),
                piece(Some(1), "", "", "}".into()),
            ],
            &[("a", "f", "{\"x\":1}"), ("b", "g", "{}")],
        ),
        (
            "an id and a name that are repeated with every piece",
            vec![piece(Some(0), "a", "f", "{\"x\"".into()), piece(Some(0), "a", "f", ":1}".into())],
            &[("a", "f", "{\"x\":1}")],
        ),
        (
            "whole calls that all have index 0",
            vec![piece(Some(0), "a", "f", "{}".into()), piece(Some(0), "b", "f", "{}".into())],
            &[("a", "f", "{}"), ("b", "f", "{}")],
        ),
        (
            "whole calls without index and id",
            vec![
                piece(None, "", "f", "{\"x\":1}".into()),
                piece(None, "", "f", "{\"x\":2}".into()),
            ],
            &[("", "f", "{\"x\":1}"), ("", "f", "{\"x\":2}")],
        ),
        (
            "pieces without index that go on by id, or with none at all",
            vec![
                piece(None, "a", "f", "{\"x\"".into()),
                piece(None, "b", "g", "{".into()),
                piece(None, "a", "", ":1}".into()),
                piece(None, "", "", "}".into()),
            ],
            &[("a", "f", "{\"x\":1}"), ("b", "g", "{}")],
        ),
        (
            "a new id with every piece, without a name",
            vec![piece(Some(0), "a", "f", "{\"x\"".into()), piece(Some(0), "z", "", ":1}".into())],
            &[("a", "f", "{\"x\":1}")],
        ),
        (
            "arguments that are an object",
            vec![piece(Some(0), "a", "f", json!({"x": [1, 2]}))],
            &[("a", "f", "{\"x\":[1,2]}")],
        ),
        (
            "arguments that are null, before they come",
            vec![piece(Some(0), "a", "f", Value::Null), piece(Some(0), "", "", "{}".into())],
            &[("a", "f", "{}")],
        ),
        (
            "the call of old",
            vec![
                json!({"function_call": {"name": "f", "arguments": "{\"x\""}}),
                json!({"function_call": {"arguments": ":1}"}}),
            ],
            &[("", "f", "{\"x\":1}")],
        ),
    ]
}

#[test]
fn calls_are_told_apart_by_index_by_id_or_by_neither() {
    for (what, deltas, wanted) in spellings() {
        let reply = decode(&deltas);
        assert_eq!(calls(&reply), wanted, "{what}");
        // The finish reason says `stop`, as many servers do; calls are calls.
        assert_eq!(reply.stop, ReplyStop::ToolUse, "{what}");
    }
}

#[test]
fn thought_is_shown_once_and_goes_back_in_the_member_it_came_in() {
    let details = json!({"reasoning": "hm", "reasoning_details": [
        {"type": "reasoning.text", "text": "hm", "index": 0, "format": "v1"}]});
    let signed = json!({"reasoning_details": [
        {"type": "reasoning.text", "text": "", "signature": "sig", "index": 0, "format": "v1"}]});
    let merged = json!({"reasoning_details": [
        {"type": "reasoning.text", "text": "hm", "index": 0, "format": "v1", "signature": "sig"}]});
    let part = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]);
    let table = [
        (
            vec![json!({"reasoning_content": "h"}), json!({"reasoning_content": "m"})],
            json!({"reasoning_content": "hm"}),
        ),
        (vec![json!({"reasoning": "hm"})], json!({"reasoning": "hm"})),
        (
            vec![json!({"reasoning": "hm", "reasoning_content": "hm"})],
            json!({"reasoning_content": "hm"}),
        ),
        (vec![details, signed], merged),
        (vec![json!({ "content": part })], json!({ "content": part })),
    ];
    for (deltas, item) in table {
        let reply = decode(&deltas);
        let [Block { content: Content::Thinking { text }, native: Some(native) }] =
            &reply.blocks[..]
        else {
            panic!("{:?}", reply.blocks)
        };
        assert_eq!(text, "hm");
        assert_eq!(serde_json::from_str::<Value>(native.item.as_str()).unwrap(), item);
    }
}

#[test]
fn usage_counts_each_token_once_and_may_come_in_a_last_chunk_without_choices() {
    let table = [
        (json!({"prompt_tokens": 10, "completion_tokens": 4}), (10, 4, 0, 0, 0)),
        (
            json!({"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 6}}),
            (4, 4, 6, 0, 0),
        ),
        (
            json!({"prompt_tokens": 10, "completion_tokens": 4, "prompt_cache_hit_tokens": 6}),
            (4, 4, 6, 0, 0),
        ),
        (
            json!({"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "completion_tokens_details": {"reasoning_tokens": 3}}),
            (10, 4, 0, 0, 3),
        ),
        (
            json!({"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 17, "completion_tokens_details": {"reasoning_tokens": 3}}),
            (10, 7, 0, 0, 3),
        ),
        (
            json!({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 600}}),
            (0, 4, 3, 0, 0),
        ),
    ];
    for (counts, (input, output, cache_read, cache_write, reasoning)) in table {
        let events = [
            json!({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}),
            json!({"choices": [], "usage": counts}),
        ];
        let events = events.iter().map(|event| (None, event.to_string()));
        let reply = decode_chat(events, "here", "m").unwrap().1;
        assert_eq!(reply.usage, Usage { input, output, cache_read, cache_write, reasoning });
    }
}

#[test]
fn an_answer_needs_a_reason_to_stop_or_an_end_mark() {
    let said = json!({"choices": [{"index": 0, "delta": {"content": "x"}}]}).to_string();
    let stop = |reason: &str| {
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}).to_string()
    };
    let decode = |events: &[&str]| {
        decode_chat(events.iter().map(|data| (None, (*data).to_owned())), "here", "m")
            .map(|(_, reply)| reply.stop)
            .map_err(|error| error.kind)
    };
    assert_eq!(decode(&[&said]), Err(ModelErrorKind::Truncated));
    assert_eq!(decode(&["[DONE]"]), Err(ModelErrorKind::Truncated));
    assert_eq!(decode(&[&said, "[DONE]"]), Ok(ReplyStop::EndTurn));
    for (reason, wanted) in [
        ("stop", ReplyStop::EndTurn),
        ("tool_calls", ReplyStop::EndTurn),
        ("length", ReplyStop::MaxTokens),
        ("content_filter", ReplyStop::Refusal),
        ("odd", ReplyStop::Other("odd".to_owned())),
    ] {
        assert_eq!(decode(&[&said, &stop(reason)]), Ok(wanted), "{reason}");
    }
    assert_eq!(
        decode(&[&said, &stop("insufficient_system_resource")]),
        Err(ModelErrorKind::Overloaded)
    );
    let refusal = json!({"choices": [{"index": 0, "delta": {"refusal": "no"}}]}).to_string();
    assert_eq!(decode(&[&refusal, &stop("stop")]), Ok(ReplyStop::Refusal));
}

fn call(id: &str, arguments: &str, native: Option<&str>) -> Block {
    let content =
        Content::ToolCall { id: CallId(id.into()), name: "f".into(), arguments: arguments.into() };
    Block { content, native: native.map(|item| native_item(item, "here")) }
}

fn native_item(item: &str, endpoint: &str) -> Native {
    Native {
        wire: "openai-chat".into(),
        endpoint: endpoint.into(),
        model: "m".into(),
        item: RawJson::parse(item.to_owned()).unwrap(),
    }
}

fn thought(endpoint: &str) -> Block {
    let native = Some(native_item(r#"{"reasoning_content":"hm"}"#, endpoint));
    Block { content: Content::Thinking { text: "hm".into() }, native }
}

fn user(text: &str) -> Message {
    Message::User { parts: vec![Part::text(text)] }
}

fn result(id: &str, parts: Vec<Part>) -> Message {
    let (call, name) = (CallId(id.into()), "f".to_owned());
    Message::Tool { results: vec![ToolResult { call, name, parts, is_error: false }] }
}

fn messages(request: &oarlock_core::ports::model::ModelRequest, quirks: Quirks) -> Value {
    let body: Value = serde_json::from_slice(&encode_chat(request, ("here", "m"), quirks)).unwrap();
    body["messages"].clone()
}

#[test]
fn a_request_is_what_the_wire_documents() {
    let blob = BlobId::of(b"png");
    let picture = Part::Image { media_type: "image/png".into(), blob: blob.clone(), bytes: 3 };
    let signed = r#"{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\" :1}"},"extra_content":{"sig":"s"}}"#;
    let mut request = request(vec![
        Message::User { parts: vec![Part::text("look"), picture.clone()] },
        Message::Assistant {
            blocks: vec![
                Block { content: Content::Text { text: "I look.".into() }, native: None },
                call("a", "{\"x\" :1}", Some(signed)),
            ],
        },
        result("a", vec![Part::text("seen"), picture]),
    ]);
    request.system = "be brief".into();
    request.bodies.insert(blob, Bytes::from_static(b"png"));
    request.effort = Some(ReasoningEffort::Low);
    request.output_max = Some(99);
    request.cache_key = "s1".into();
    let input = json!({"type": "object"});
    let tool = ToolSchema { name: "f".into(), description: "d".into(), input, runs: Runs::Here };
    request.tools = Arc::new(vec![tool]);
    let quirks = Quirks {
        output_field: OutputField::MaxCompletionTokens,
        effort: true,
        cache_key: true,
        ..Quirks::PLAIN
    };
    let body = String::from_utf8(encode_chat(&request, ("here", "m"), quirks)).unwrap();
    let picture = r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,cG5n"}}"#;
    let wanted = [
        r#"{"model":"m","messages":[{"role":"system","content":"be brief"},"#,
        r#"{"role":"user","content":[{"type":"text","text":"look"},"#,
        picture,
        r#"]},"#,
        r#"{"role":"assistant","content":"I look.","tool_calls":["#,
        signed,
        r#"]},"#,
        r#"{"role":"tool","tool_call_id":"a","content":"seen"},"#,
        r#"{"role":"user","content":[{"type":"text","text":"What `f` gave:"},"#,
        picture,
        r#"]}],"#,
        r#""stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":99,"#,
        r#""reasoning_effort":"low","prompt_cache_key":"s1","#,
        r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}]}"#,
    ];
    assert_eq!(body, wanted.concat());
    let plain: Value =
        serde_json::from_slice(&encode_chat(&request, ("here", "m"), Quirks::PLAIN)).unwrap();
    assert_eq!(plain["max_tokens"], 99);
    for absent in ["max_completion_tokens", "reasoning_effort", "prompt_cache_key"] {
        assert!(plain[absent].is_null(), "{absent}");
    }
    let silent = Quirks { stream_usage: false, ..Quirks::PLAIN };
    let body: Value =
        serde_json::from_slice(&encode_chat(&request, ("here", "m"), silent)).unwrap();
    assert!(body["stream_options"].is_null());
}

#[test]
fn thought_goes_back_to_whom_and_when_it_is_wanted() {
    let step = |block: Block| {
        [
            Message::Assistant { blocks: vec![block, call("a", "{}", None)] },
            result("a", vec![Part::text("ok")]),
        ]
    };
    let mut history = vec![user("one")];
    history.extend(step(thought("here")));
    history.push(user("two"));
    history.extend(step(thought("here")));
    history.extend(step(thought("elsewhere")));
    let request = request(history);
    for (echo, wanted) in [
        (ThoughtEcho::Never, [false, false, false]),
        (ThoughtEcho::CurrentTurn, [false, true, false]),
        (ThoughtEcho::Always, [true, true, false]),
    ] {
        let sent = messages(&request, Quirks { thought_echo: echo, ..Quirks::PLAIN });
        let echoed = [1, 4, 6].map(|at: usize| sent[at]["reasoning_content"] == "hm");
        assert_eq!(echoed, wanted, "{echo:?}: {sent}");
    }
}

#[test]
fn ids_and_arguments_are_such_that_an_endpoint_takes_them() {
    let long = "x".repeat(60);
    let blocks = vec![
        call("call_1", "{\"a\": 1}", None),
        call(&long, "", None),
        call("Abc123xyz", "{\"cut", None),
    ];
    let request = request(vec![user("go"), Message::Assistant { blocks }]);
    let sent = messages(&request, Quirks::PLAIN)[1]["tool_calls"].clone();
    let arguments = |at: usize| sent[at]["function"]["arguments"].as_str().unwrap().to_owned();
    assert_eq!(arguments(0), "{\"a\": 1}", "argument text stays as it is");
    assert_eq!(arguments(1), "{}");
    assert_eq!(arguments(2), r#"{"unparsable_arguments":"{\"cut"}"#);
    assert_eq!(sent[0]["id"], "call_1");
    let shortened = sent[1]["id"].as_str().unwrap();
    assert!(shortened.len() <= 40 && shortened != long);
    let nine = Quirks { call_ids: CallIds::NineLetters, ..Quirks::PLAIN };
    let sent = messages(&request, nine)[1]["tool_calls"].clone();
    assert_eq!(sent[2]["id"], "Abc123xyz");
    assert_eq!([0, 1].map(|at: usize| sent[at]["id"].as_str().unwrap().len()), [9, 9]);
}

#[test]
fn a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() {
    let mut history = vec![user("one")];
    for round in 0..4 {
        let id = format!("c{round}");
        history.push(Message::Assistant { blocks: vec![thought("here"), call(&id, "{}", None)] });
        history.push(result(&id, vec![Part::text("ok")]));
        history.push(user("more"));
    }
    for echo in [ThoughtEcho::Never, ThoughtEcho::Always] {
        let quirks = Quirks { thought_echo: echo, ..Quirks::PLAIN };
        let bodies: Vec<String> = (1..=history.len())
            .filter(|count| !matches!(history[count - 1], Message::Assistant { .. }))
            .map(|count| {
                let body = encode_chat(&request(history[..count].to_vec()), ("here", "m"), quirks);
                String::from_utf8(body).unwrap()
            })
            .collect();
        for pair in bodies.windows(2) {
            let shorter = pair[0].split("],\"stream\"").next().unwrap();
            assert!(pair[1].starts_with(shorter), "{}\n{}", pair[0], pair[1]);
        }
    }
}
