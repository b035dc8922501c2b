//! The Gemini wire by tables: what its servers do, what goes back to them, and what a request looks like.

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
use oarlock_models::{decode_gemini, decode_gemini_whole, encode_gemini};
use oarlock_testkit::wires::check_gemini;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::recorded::request;

const THIRD: &str = "gemini-3-flash";
const OLD: &str = "gemini-2.5-flash";
const UNSIGNED: &str = "skip_thought_signature_validator";

type Decoded = Result<(Vec<ModelEvent>, Reply), ModelError>;

fn try_decode(events: &[Value], model: &str) -> Decoded {
    decode_gemini(events.iter().map(|event| (None, event.to_string())), "here", model)
}

fn decode(events: &[Value]) -> Reply {
    try_decode(events, THIRD).unwrap().1
}

fn chunk(parts: Value) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}]})
}

fn stop(reason: &str) -> Value {
    json!({"candidates": [{"finishReason": reason, "index": 0}]})
}

fn call(id: Option<&str>, name: &str, args: Value) -> Value {
    let mut call = json!({"name": name, "args": args});
    if let Some(id) = id {
        call["id"] = json!(id);
    }
    json!({ "functionCall": call })
}

fn signed(mut part: Value, signature: &str) -> Value {
    part["thoughtSignature"] = json!(signature);
    part
}

fn words(block: &Block) -> String {
    match &block.content {
        Content::Text { text } => format!("says {text}"),
        Content::Thinking { text } => format!("thinks {text}"),
        Content::ToolCall { id, name, arguments } => format!("{} {name}({arguments})", id.as_str()),
        Content::Opaque { kind } => kind.clone(),
    }
}

fn native(block: &Block) -> &str {
    block.native.as_ref().unwrap().item.as_str()
}

#[test]
fn parts_become_blocks_in_their_order_and_neighbours_of_one_kind_become_one() {
    let text = |text: &str| json!({ "text": text });
    let thought = |text: &str| json!({"text": text, "thought": true});
    let code = json!({"executableCode": {"language": "PYTHON", "code": "1"}});
    let table = [
        (
            vec![json!([text("a")]), json!([text("b"), text("c")])],
            vec![("says abc", r#"{"text":"abc"}"#)],
        ),
        (
            vec![json!([thought("a"), thought("b")]), json!([text("c")])],
            vec![("thinks ab", r#"{"text":"ab","thought":true}"#), ("says c", r#"{"text":"c"}"#)],
        ),
        // A part with a signature stays by itself, before or behind what it is read with.
        (
            vec![json!([text("a"), text("b")]), json!([signed(text("c"), "S"), text("d")])],
            vec![(
                "says abcd",
                r#"[{"text":"ab"},{"text":"c","thoughtSignature":"S"},{"text":"d"}]"#,
            )],
        ),
        (
            vec![json!([text("a")]), json!([signed(text(""), "S")])],
            vec![("says a", r#"[{"text":"a"},{"text":"","thoughtSignature":"S"}]"#)],
        ),
        (
            vec![json!([call(Some("x"), "f", json!({}))]), json!([signed(text(""), "S")])],
            vec![
                ("x f({})", r#"{"functionCall":{"name":"f","args":{},"id":"x"}}"#),
                ("says ", r#"{"text":"","thoughtSignature":"S"}"#),
            ],
        ),
        // Empty parts hold nothing.
        (
            vec![json!([text(""), {}, 7, text("a")]), json!([text("")])],
            vec![("says a", r#"{"text":"a"}"#)],
        ),
        (
            vec![
                json!([text("a"), code, text("b")]),
                json!([{"thing": 1, "thoughtSignature": "S"}]),
            ],
            vec![
                ("says a", r#"{"text":"a"}"#),
                ("executableCode", r#"{"executableCode":{"language":"PYTHON","code":"1"}}"#),
                ("says b", r#"{"text":"b"}"#),
                ("thing", r#"{"thing":1,"thoughtSignature":"S"}"#),
            ],
        ),
    ];
    for (chunks, wanted) in table {
        let events: Vec<Value> = chunks.into_iter().map(chunk).chain([stop("STOP")]).collect();
        let reply = decode(&events);
        let told: Vec<_> = reply.blocks.iter().map(|block| (words(block), native(block))).collect();
        let told: Vec<_> = told.iter().map(|(words, item)| (words.as_str(), *item)).collect();
        assert_eq!(told, wanted, "{events:?}");
        let whole = decode_gemini_whole(json!(events).to_string().as_bytes()).unwrap().1;
        let same = |reply: &Reply| reply.blocks.iter().map(words).collect::<Vec<_>>();
        assert_eq!(same(&whole), same(&reply), "a list of chunks is the same answer");
    }
}

#[test]
fn what_stands_beside_the_parts_is_kept_as_it_came_last_and_is_not_sent() {
    let mut first = chunk(json!([{"text": "a"}]));
    first["candidates"][0]["groundingMetadata"] = json!({"webSearchQueries": ["early"]});
    let mut last = stop("STOP");
    last["candidates"][0]["groundingMetadata"] = json!({"webSearchQueries": ["late"]});
    last["candidates"][0]["citationMetadata"] = json!({"citationSources": []});
    let reply = decode(&[first, last]);
    let told: Vec<_> = reply.blocks.iter().map(words).collect();
    assert_eq!(told, ["says a", "groundingMetadata", "citationMetadata"]);
    assert_eq!(native(&reply.blocks[1]), r#"{"groundingMetadata":{"webSearchQueries":["late"]}}"#);
    let sent = encoded(vec![user("go"), Message::Assistant { blocks: reply.blocks }], THIRD);
    assert_eq!(sent["contents"][1], json!({"role": "model", "parts": [{"text": "a"}]}));
}

#[test]
fn answers_end_for_the_reason_that_is_said() {
    use ModelErrorKind as Kind;
    let said = || chunk(json!([{"text": "hi"}]));
    let called = || chunk(json!([call(None, "f", json!({}))]));
    let nameless = || chunk(json!([call(None, "", json!({}))]));
    let thought = || chunk(json!([{"text": "hm", "thought": true}]));
    let table = [
        (vec![said(), stop("STOP")], Ok(ReplyStop::EndTurn)),
        (vec![called(), stop("STOP")], Ok(ReplyStop::ToolUse)),
        (vec![called(), stop("MAX_TOKENS")], Ok(ReplyStop::MaxTokens)),
        // Nothing that could be shown, run or sent back.
        (vec![stop("STOP")], Err(Kind::Transport)),
        (vec![chunk(json!([{"text": ""}])), stop("STOP")], Err(Kind::Transport)),
        (vec![nameless(), stop("STOP")], Err(Kind::Transport)),
        (vec![said(), nameless(), called(), stop("STOP")], Err(Kind::Transport)),
        (vec![stop("MAX_TOKENS")], Ok(ReplyStop::MaxTokens)),
        (vec![thought(), stop("STOP")], Ok(ReplyStop::EndTurn)),
        (vec![said(), stop("SAFETY")], Ok(ReplyStop::Refusal)),
        (vec![said(), stop("RECITATION")], Ok(ReplyStop::Refusal)),
        (vec![stop("BLOCKLIST")], Ok(ReplyStop::Refusal)),
        (vec![stop("PROHIBITED_CONTENT")], Ok(ReplyStop::Refusal)),
        (vec![stop("SPII")], Ok(ReplyStop::Refusal)),
        (vec![said(), stop("OTHER")], Ok(ReplyStop::Other("OTHER".to_owned()))),
        (vec![said(), stop("TIRED")], Ok(ReplyStop::Other("TIRED".to_owned()))),
        (vec![stop("MALFORMED_FUNCTION_CALL")], Err(Kind::Transport)),
        (vec![said(), stop("UNEXPECTED_TOOL_CALL")], Err(Kind::Transport)),
        (vec![stop("MISSING_THOUGHT_SIGNATURE")], Err(Kind::InvalidRequest)),
        (vec![said()], Err(Kind::Truncated)),
        (vec![], Err(Kind::Truncated)),
        (vec![json!({"promptFeedback": {"blockReason": "SAFETY"}})], Err(Kind::ContentFilter)),
        // The reason may come before the last words.
        (vec![stop("STOP"), said()], Ok(ReplyStop::EndTurn)),
    ];
    for (events, wanted) in table {
        let ended = try_decode(&events, THIRD).map(|(_, reply)| reply.stop);
        assert_eq!(ended.map_err(|error| error.kind), wanted, "{events:?}");
    }
    let malformed = json!({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "print(f("}]});
    let error = try_decode(&[malformed], THIRD).unwrap_err();
    assert!(error.kind.may_retry() && error.message.ends_with("print(f("), "{error}");
}

#[test]
fn each_token_is_counted_once() {
    let counted = |counts: &[Value]| {
        let of = |counts: &Value| json!({"candidates": [{"finishReason": "MAX_TOKENS"}], "usageMetadata": counts});
        decode(&counts.iter().map(of).collect::<Vec<_>>()).usage
    };
    let all = json!({"promptTokenCount": 10, "cachedContentTokenCount": 4, "toolUsePromptTokenCount": 3,
        "candidatesTokenCount": 7, "thoughtsTokenCount": 5, "totalTokenCount": 25});
    let wanted = Usage { input: 9, output: 12, cache_read: 4, cache_write: 0, reasoning: 5 };
    assert_eq!(counted(std::slice::from_ref(&all)), wanted);
    assert_eq!(wanted.total(), 25);
    // Sums so far, of which the last ones may lack what did not change.
    let early = json!({"promptTokenCount": 9, "candidatesTokenCount": 1, "totalTokenCount": 10});
    assert_eq!(counted(&[early, all.clone(), json!({"trafficType": "ON_DEMAND"})]), wanted);
    let inside = json!({"promptTokenCount": 10, "candidatesTokenCount": 7, "thoughtsTokenCount": 5, "totalTokenCount": 17});
    assert_eq!(
        counted(&[inside]),
        Usage { input: 10, output: 7, reasoning: 5, ..Usage::default() }
    );
    let odd = json!({"promptTokenCount": 1, "cachedContentTokenCount": 4, "totalTokenCount": "x"});
    assert_eq!(counted(&[odd]), Usage { cache_read: 1, ..Usage::default() });
}

#[test]
fn bodies_that_are_no_answers_are_told_apart() {
    use ModelErrorKind as Kind;
    let table = [
        (
            json!({"error": {"code": 404, "message": "models/x is not found", "status": "NOT_FOUND"}}),
            Kind::ModelNotFound,
        ),
        (
            json!([{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}]),
            Kind::Auth,
        ),
        (
            json!([chunk(json!([{"text": "a"}])), {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}]),
            Kind::Overloaded,
        ),
        (json!({"error": {"message": "bad", "status": "INVALID_ARGUMENT"}}), Kind::InvalidRequest),
        (json!({"promptFeedback": {"blockReason": "OTHER"}}), Kind::ContentFilter),
        (json!({"choices": []}), Kind::Transport),
        (json!([]), Kind::Transport),
        (chunk(json!([{"text": "a"}])), Kind::Truncated),
    ];
    for (body, kind) in table {
        let error = decode_gemini_whole(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.kind, kind, "{body}: {error}");
    }
    assert_eq!(decode_gemini_whole(b"\xff{").unwrap_err().kind, Kind::Transport);
}

fn user(text: &str) -> Message {
    Message::User { parts: vec![Part::text(text)] }
}

fn encoded(messages: Vec<Message>, model: &str) -> Value {
    let body = serde_json::from_slice(&encode_gemini(&request(messages), "here", model)).unwrap();
    check_gemini(&body, model != OLD);
    body
}

fn result(id: &str, parts: Vec<Part>) -> ToolResult {
    ToolResult { call: CallId(id.into()), name: "f".to_owned(), parts, is_error: false }
}

fn foreign(id: &str, name: &str, arguments: &str) -> Block {
    let content = Content::ToolCall {
        id: CallId(id.into()),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    };
    Block { content, native: None }
}

fn image(media_type: &str, bytes: &[u8]) -> Part {
    Part::Image { media_type: media_type.to_owned(), blob: BlobId::of(bytes), bytes: 3 }
}

fn declared() -> Value {
    json!({"type": "object", "$defs": {"n": {"type": "integer"}}, "additionalProperties": false,
        "properties": {"n": {"$ref": "#/$defs/n"}}})
}

/// A request with something of everything.
fn full() -> ModelRequest {
    let pictures = vec![
        Part::text("a"),
        image("image/png", b"b"),
        image("image/gif", b"b"),
        image("image/png", b"c"),
    ];
    ModelRequest {
        system: "be brief".to_owned(),
        tools: Arc::new(vec![ToolSchema {
            name: "f".to_owned(),
            description: "does f".to_owned(),
            input: declared(),
            runs: Runs::Here,
        }]),
        bodies: BTreeMap::from([(BlobId::of(b"b"), Bytes::from_static(b"png"))]),
        effort: Some(ReasoningEffort::Low),
        sampling: Sampling {
            temperature: Some(Decimal(250)),
            top_p: Some(Decimal(900)),
            top_k: Some(5),
            stop_sequences: vec!["END".to_owned()],
            ..Sampling::default()
        },
        output_max: Some(100),
        capabilities: ResolvedSessionCapabilities { web_search: true },
        cache_key: "session".to_owned(),
        ..request(vec![
            Message::User { parts: pictures.clone() },
            Message::Assistant {
                blocks: vec![foreign("x", "a b", "{\"n\" : 1}"), foreign("y", "2", "{\"cut")],
            },
            Message::Tool {
                results: vec![
                    result("x", pictures),
                    ToolResult { is_error: true, ..result("y", vec![Part::text("no")]) },
                ],
            },
            user("on"),
        ])
    }
}

fn sent(request: &ModelRequest, model: &str) -> Value {
    let body = serde_json::from_slice(&encode_gemini(request, "here", model)).unwrap();
    check_gemini(&body, model != OLD);
    body
}

#[test]
fn a_request_says_everything_in_the_fields_of_the_wire() {
    let picture = json!({"inlineData": {"mimeType": "image/png", "data": "cG5n"}});
    let (gif, lost) = (
        "[a picture of type image/gif, which this model is not shown]",
        "[a picture that is no longer available]",
    );
    let wanted = json!({
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "tools": [{"functionDeclarations": [{"name": "f", "description": "does f", "parametersJsonSchema": declared()}]}, {"googleSearch": {}}],
        "toolConfig": {"includeServerSideToolInvocations": true},
        "generationConfig": {"maxOutputTokens": 100, "temperature": 0.25, "topP": 0.9, "topK": 5, "stopSequences": ["END"],
            "thinkingConfig": {"thinkingLevel": "low", "includeThoughts": true}},
        "contents": [
            {"role": "user", "parts": [{"text": "a"}, picture, {"text": gif}, {"text": lost}]},
            {"role": "model", "parts": [
                {"functionCall": {"id": "x", "name": "a_b", "args": {"n": 1}}, "thoughtSignature": UNSIGNED},
                {"functionCall": {"id": "y", "name": "_2", "args": {"unparsable_arguments": "{\"cut"}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "x", "name": "a_b", "response": {"output": format!("a\n\n{gif}\n\n{lost}")}, "parts": [picture]}},
                {"functionResponse": {"id": "y", "name": "_2", "response": {"error": "no"}}},
                {"text": "on"}]},
        ],
    });
    assert_eq!(sent(&full(), THIRD), wanted);
    let bare = encoded(vec![user("hi")], THIRD);
    assert_eq!(
        bare.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["generationConfig", "contents"]
    );
}

#[test]
fn before_gemini_3_calls_have_neither_ids_nor_signatures_and_pictures_follow_results() {
    let old = sent(&full(), OLD);
    let picture = json!({"inlineData": {"mimeType": "image/png", "data": "cG5n"}});
    let parts = |at: usize| old["contents"][at]["parts"].clone();
    assert_eq!(parts(1)[0], json!({"functionCall": {"name": "a_b", "args": {"n": 1}}}));
    assert_eq!(
        parts(2)[0]["functionResponse"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["name", "response"]
    );
    assert_eq!((&parts(2)[2], &parts(2)[3]), (&picture, &json!({"text": "on"})));
    assert_eq!(
        old["generationConfig"]["thinkingConfig"],
        json!({"thinkingBudget": 0, "includeThoughts": false})
    );
}

#[test]
fn a_conversation_begins_with_the_user_and_never_says_nothing() {
    let blank = || Message::User { parts: vec![Part::text(" ")] };
    let says = || Message::Assistant {
        blocks: vec![Block { content: Content::Text { text: "hi".to_owned() }, native: None }],
    };
    let opening = json!({"role": "user", "parts": [{"text": "(continued)"}]});
    for messages in
        [vec![], vec![blank()], vec![blank(), says()], vec![says(), user("a"), user("b")]]
    {
        assert_eq!(encoded(messages.clone(), THIRD)["contents"][0], opening, "{messages:?}");
    }
    let two = encoded(vec![user("a"), user("b")], THIRD);
    assert_eq!(two["contents"], json!([{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]));
}

#[test]
fn calls_go_back_as_they_came_but_for_a_new_id_or_a_signature_that_was_lacking() {
    let spaced = r#"{"functionCall": {"name": "f",  "args": { "x" : 1 }, "id": "c"}, "thoughtSignature": "S"}"#;
    let block = |id: &str, item: &str, model: &str| Block {
        native: Some(Native {
            wire: "gemini".to_owned(),
            endpoint: "here".to_owned(),
            model: model.to_owned(),
            item: RawJson::parse(item.to_owned()).unwrap(),
        }),
        ..foreign(id, "f", "{ \"x\" : 1 }")
    };
    let sent = |id: &str, item: &str, of: &str, to: &str| {
        let again = r#"{"functionCall":{"name":"f","args":{}}}"#;
        let blocks = vec![block(id, item, of), block("second", again, of)];
        let results = vec![result(id, vec![]), result("second", vec![])];
        let messages = vec![user("go"), Message::Assistant { blocks }, Message::Tool { results }];
        let body = encode_gemini(&request(messages), "here", to);
        check_gemini(&serde_json::from_slice(&body).unwrap(), to != OLD);
        String::from_utf8(body).unwrap()
    };
    assert!(sent("c", spaced, THIRD, THIRD).contains(spaced));
    let renamed = sent("d", spaced, THIRD, THIRD);
    assert!(
        renamed.contains(
            r#"{"functionCall":{"name":"f","args":{ "x" : 1 },"id":"d"},"thoughtSignature":"S"}"#
        ),
        "{renamed}"
    );
    let nameless = spaced.replace(r#", "id": "c""#, "");
    assert!(sent("call-1", &nameless, THIRD, THIRD).contains(&nameless));
    assert!(!sent("call-1", &nameless, THIRD, THIRD).contains("call-1"));
    let bare = r#"{"functionCall":{"name":"f","args":{ "x" : 1 }}}"#;
    let marked = format!(
        r#"{{"functionCall":{{"name":"f","args":{{ "x" : 1 }}}},"thoughtSignature":"{UNSIGNED}"}}"#
    );
    let told = sent("c", bare, THIRD, THIRD);
    assert!(told.contains(&marked) && told.matches(UNSIGNED).count() == 1, "{told}");
    assert!(sent("c", bare, OLD, OLD).contains(bare));
    // A signature is read by the family that gave it and by no other.
    let switched = sent("c", spaced, OLD, THIRD);
    assert!(switched.contains(UNSIGNED) && !switched.contains("\"S\""), "{switched}");
    assert!(!sent("c", spaced, THIRD, OLD).contains("thoughtSignature"));
}

#[test]
fn calls_without_ids_are_known_by_their_answer_and_go_back_without_one() {
    let calls = json!([
        signed(call(None, "f", json!({})), "S"),
        call(Some("own"), "f", json!({})),
        call(None, "f", json!({}))
    ]);
    let mut answer = chunk(calls);
    answer["responseId"] = json!("R");
    let mut late = stop("STOP");
    late["responseId"] = json!("Q");
    let blocks = decode(&[answer, late]).blocks;
    let ids: Vec<&str> = blocks.iter().filter_map(Block::call).map(CallId::as_str).collect();
    assert_eq!(ids, ["R-0", "own", "R-2"]);
    let results = ids.iter().map(|id| result(id, vec![Part::text(*id)])).collect();
    let messages =
        vec![user("go"), Message::Assistant { blocks: blocks.clone() }, Message::Tool { results }];
    let parts = &encoded(messages, THIRD)["contents"][2]["parts"];
    let told = |at: usize| parts[at]["functionResponse"].to_string();
    assert_eq!(told(0), r#"{"name":"f","response":{"output":"R-0"}}"#);
    assert_eq!(told(1), r#"{"id":"own","name":"f","response":{"output":"own"}}"#);
    assert_eq!(told(2), r#"{"name":"f","response":{"output":"R-2"}}"#);
}

#[test]
fn results_follow_their_calls_in_order_whatever_the_history_lacks() {
    let calls = || vec![foreign("x", "f", "{}"), foreign("y", "f", "{}")];
    let messages = vec![
        user("go"),
        Message::Assistant { blocks: calls() },
        Message::Tool {
            results: vec![
                result("z", vec![Part::text("stray")]),
                result("y", vec![Part::text("second")]),
            ],
        },
        Message::Assistant { blocks: calls() },
        user("never mind"),
    ];
    let body = encoded(messages, THIRD);
    let told = |at: usize, part: usize| body["contents"][at]["parts"][part].to_string();
    assert!(told(2, 0).contains("no result is known") && told(2, 1).contains("second"), "{body}");
    assert!(told(2, 2).contains("earlier call of f") && told(2, 3).contains("stray"), "{body}");
    assert!(
        told(4, 1).contains("no result is known") && told(4, 2).contains("never mind"),
        "{body}"
    );
}

prop_compose! {
    fn part()(kind in 0..7, text in "\\PC{0,8}", signature in "|S", id in prop::option::of("[a-c]")) -> Value {
        let part = match kind {
            0 | 1 => json!({ "text": text }),
            2 => json!({"text": text, "thought": true}),
            3 | 4 => call(id.as_deref(), "f", json!({ "x": text })),
            5 => json!({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": text}}),
            _ => json!({"thought": true, "thoughtSignature": "S", "text": ""}),
        };
        if signature.is_empty() { part } else { signed(part, &signature) }
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
        Just(json!("STOP")),
    ];
    let key = prop::sample::select(vec![
        "candidates",
        "content",
        "parts",
        "text",
        "thought",
        "functionCall",
        "name",
        "args",
        "id",
        "finishReason",
        "usageMetadata",
        "promptTokenCount",
        "promptFeedback",
        "blockReason",
        "error",
        "code",
        "details",
        "groundingMetadata",
        "thoughtSignature",
    ]);
    leaf.prop_recursive(6, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..4).prop_map(|members| members
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn longer_conversations_begin_with_the_bytes_of_shorter_ones_and_are_valid(
        answers in prop::collection::vec(prop::collection::vec(part(), 0..6), 1..5),
        native in any::<bool>(),
    ) {
        for model in [THIRD, OLD] {
            let mut messages = vec![user("go")];
            let mut before = String::new();
            for (number, parts) in answers.iter().enumerate() {
                let (_, reply) = try_decode(&[chunk(json!(parts)), stop("MAX_TOKENS")], model).unwrap();
                let mut blocks = reply.blocks;
                // As the runtime does with ids that are not unique.
                for (at, block) in blocks.iter_mut().enumerate() {
                    if let Content::ToolCall { id, .. } = &mut block.content {
                        *id = CallId(format!("{number}-{at}").into());
                    }
                    if !native && at % 2 == 0 {
                        block.native = None;
                    }
                }
                let results: Vec<_> = blocks.iter().filter_map(Block::call).map(|id| result(id.as_str(), vec![])).collect();
                messages.push(Message::Assistant { blocks });
                messages.extend((!results.is_empty()).then_some(Message::Tool { results }));
                messages.push(user("on"));
                let request = request(messages.clone());
                let body = String::from_utf8(encode_gemini(&request, "here", model)).unwrap();
                prop_assert_eq!(&body, &String::from_utf8(encode_gemini(&request, "here", model)).unwrap());
                check_gemini(&serde_json::from_str(&body).unwrap(), model == THIRD);
                prop_assert!(body.starts_with(before.trim_end_matches("]}")), "{} then {}", before, body);
                before = body;
            }
        }
    }

    #[test]
    fn any_events_end_in_an_answer_or_an_error(
        events in prop::collection::vec(json_value(), 0..8),
        candidates in prop::collection::vec(json_value(), 0..4),
    ) {
        let candidates = candidates.into_iter().map(|candidate| json!({ "candidates": [candidate] }));
        let events: Vec<Value> = events.into_iter().chain(candidates).chain([stop("STOP")]).collect();
        if let Ok((shown, reply)) = try_decode(&events, THIRD) {
            for (number, block) in (0..).zip(&reply.blocks) {
                let of = |event: &ModelEvent| match event {
                    ModelEvent::Delta { item: DeltaItem::Text { block }, text } if *block == number => Some(text.clone()),
                    _ => None,
                };
                if let Content::Text { text } = &block.content {
                    prop_assert_eq!(&shown.iter().filter_map(of).collect::<String>(), text);
                }
            }
            let messages = vec![user("go"), Message::Assistant { blocks: reply.blocks }];
            drop(encode_gemini(&request(messages), "here", THIRD));
        }
        drop(decode_gemini_whole(json!(events).to_string().as_bytes()));
    }
}
