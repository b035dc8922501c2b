//! The wire of Bedrock's Converse: what a request looks like for each kind of model, and what is made of events.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use oarlock_core::event::DeltaItem;
use oarlock_core::ids::{BlobId, CallId};
use oarlock_core::message::{Block, Content, Message, Part, ReplyStop, ToolResult, Usage};
use oarlock_core::ports::model::{ModelError, ModelErrorKind, ModelEvent, ModelRequest, Reply};
use oarlock_core::ports::tool::ToolSchema;
use oarlock_core::spec::{ReasoningEffort, ResolvedSessionCapabilities, Sampling};
use oarlock_models::{Quirks, Wire, decode_converse, decode_converse_whole, encode_converse};
use oarlock_testkit::wires::check_converse;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::recorded::{Case, answer, request};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const OPUS: &str = "global.anthropic.claude-opus-4-7";
const OLD_CLAUDE: &str = "anthropic.claude-3-5-sonnet-20240620-v1:0";
const NOVA: &str = "amazon.nova-pro-v1:0";
const NOVA_2: &str = "us.amazon.nova-2-lite-v1:0";
const LLAMA: &str = "meta.llama3-1-70b-instruct-v1:0";

fn user(text: &str) -> Message {
    Message::User { parts: vec![Part::text(text)] }
}

fn said(text: &str) -> Message {
    let content = Content::Text { text: text.to_owned() };
    Message::Assistant { blocks: vec![Block { content, native: None }] }
}

fn call(id: &str, arguments: &str) -> Block {
    let (id, name, arguments) = (CallId(id.into()), "look".to_owned(), arguments.to_owned());
    Block { content: Content::ToolCall { id, name, arguments }, native: None }
}

fn result(id: &str, parts: Vec<Part>, is_error: bool) -> ToolResult {
    ToolResult { call: CallId(id.into()), name: "look".to_owned(), parts, is_error }
}

fn tool() -> ToolSchema {
    let input = json!({"type": "object", "$defs": {"a": {"type": "string"}}, "additionalProperties": false});
    ToolSchema {
        name: "look".to_owned(),
        description: "looks".to_owned(),
        input,
        runs: oarlock_core::ports::tool::Runs::Here,
    }
}

fn body(request: &ModelRequest, model: &str) -> Value {
    let body = encode_converse(request, ("bedrock", model), Quirks::PLAIN);
    assert_eq!(body, encode_converse(request, ("bedrock", model), Quirks::PLAIN));
    let body = serde_json::from_slice(&body).unwrap();
    check_converse(&body, model);
    body
}

fn mark() -> Value {
    json!({"cachePoint": {"type": "default"}})
}

#[test]
fn a_request_says_everything_where_converse_wants_it() {
    let asked = ModelRequest {
        system: "be brief".to_owned(),
        tools: Arc::new(vec![tool()]),
        output_max: Some(500),
        sampling: Sampling { stop_sequences: vec!["END".to_owned()], ..Sampling::default() },
        ..request(vec![user("hello")])
    };
    let spec = json!({"toolSpec": {"name": "look", "inputSchema": {"json": tool().input}, "description": "looks"}});
    // Nova takes less of a schema.
    let spec_of_nova = json!({"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}, "description": "looks"}});
    let wanted = |system: Value, tools: Value, content: Value| {
        json!({
            "inferenceConfig": {"maxTokens": 500, "stopSequences": ["END"]},
            "system": system,
            "toolConfig": {"tools": tools},
            "messages": [{"role": "user", "content": content}],
        })
    };
    let (system, content) = (json!({"text": "be brief"}), json!({"text": "hello"}));
    let table = [
        (CLAUDE, wanted(json!([system, mark()]), json!([spec, mark()]), json!([content, mark()]))),
        // Nova takes marks, but none behind the tools.
        (NOVA, wanted(json!([system, mark()]), json!([spec_of_nova]), json!([content, mark()]))),
        (LLAMA, wanted(json!([system]), json!([spec]), json!([content]))),
    ];
    for (model, wanted) in table {
        assert_eq!(body(&asked, model), wanted, "{model}");
    }
    assert_eq!(
        body(&request(vec![user("a")]), LLAMA),
        json!({"messages": [{"role": "user", "content": [{"text": "a"}]}]})
    );
}

#[test]
fn thinking_is_asked_for_in_the_fields_of_the_models_maker() {
    use ReasoningEffort::{High, Low, Medium, Minimal, None as No, Xhigh};
    let budget = |tokens: u64| json!({"thinking": {"type": "enabled", "budget_tokens": tokens}});
    let adaptive = |effort: &str| json!({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": effort}});
    let nova = |effort: &str| json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}});
    let table = [
        (CLAUDE, No, None, Value::Null),
        (CLAUDE, Minimal, None, budget(1024)),
        (CLAUDE, High, None, budget(20_000)),
        // Some of what the model may write is left for the answer.
        (CLAUDE, Xhigh, None, budget(32_000 - 1024)),
        // Later ones take an effort, whatever the bound and whatever came before.
        (OPUS, No, None, Value::Null),
        (OPUS, Minimal, None, adaptive("low")),
        (OPUS, High, Some(500), adaptive("high")),
        (OPUS, Xhigh, None, adaptive("xhigh")),
        (CLAUDE, High, Some(4_000), budget(4_000 - 1024)),
        (CLAUDE, High, Some(1_500), Value::Null),
        (OLD_CLAUDE, High, None, Value::Null),
        (NOVA_2, Minimal, None, nova("low")),
        (NOVA_2, Low, Some(100), nova("low")),
        (NOVA_2, Medium, None, nova("medium")),
        (NOVA_2, Xhigh, None, nova("high")),
        (NOVA_2, High, Some(100), nova("medium")),
        (NOVA, High, None, Value::Null),
        ("openai.gpt-oss-120b-1:0", Low, None, json!({"reasoning_effort": "low"})),
    ];
    for (model, effort, output_max, wanted) in table {
        let asked = ModelRequest { effort: Some(effort), output_max, ..request(vec![user("a")]) };
        let body = body(&asked, model);
        assert_eq!(body["additionalModelRequestFields"], wanted, "{model} {effort:?}");
        let claude = [(CLAUDE, 32_000), (OPUS, 32_000), (OLD_CLAUDE, 4_096)];
        let default = claude.into_iter().find(|(claude, _)| *claude == model).map(|(_, max)| max);
        let max = output_max.or(default);
        assert_eq!(body["inferenceConfig"]["maxTokens"], json!(max), "{model} {effort:?}");
    }
}

#[test]
fn conversations_alternate_and_answer_their_calls_in_the_words_that_a_model_takes() {
    let picture =
        Part::Image { media_type: "image/png".to_owned(), blob: BlobId::of(b"abc"), bytes: 3 };
    let long = "x".repeat(65);
    let messages = vec![
        user("go"),
        user("on"),
        Message::Assistant { blocks: vec![call("a:b", "{\"n\" : 1}"), call(&long, "not json")] },
        Message::Tool {
            results: vec![
                result("a:b", vec![picture.clone(), Part::text("seen")], false),
                result(&long, vec![picture], true),
            ],
        },
        said("  "),
    ];
    let bodies = BTreeMap::from([(BlobId::of(b"abc"), Bytes::from_static(b"abc"))]);
    let asked = ModelRequest { bodies, tools: Arc::new(vec![tool()]), ..request(messages) };
    let image = json!({"image": {"format": "png", "source": {"bytes": "YWJj"}}});
    for (model, rich) in [(CLAUDE, true), (LLAMA, false)] {
        let body = body(&asked, model);
        let turns = body["messages"].as_array().unwrap();
        assert_eq!(turns.len(), 3, "{body}");
        assert_eq!(
            turns[0]["content"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|b| b["text"].is_string())
                .count(),
            2
        );
        let calls = turns[1]["content"].as_array().unwrap();
        let id = |block: &Value, kind: &str| block[kind]["toolUseId"].clone();
        assert_eq!(calls[0]["toolUse"]["input"], json!({"n": 1}));
        assert_eq!(calls[1]["toolUse"]["input"], json!({"unparsable_arguments": "not json"}));
        let results = turns[2]["content"].as_array().unwrap();
        for at in 0..2 {
            assert_eq!(id(&calls[at], "toolUse"), id(&results[at], "toolResult"));
        }
        let (first, second) = (&results[0]["toolResult"], &results[1]["toolResult"]);
        let seen = json!({"text": "seen"});
        // Pictures that a result cannot hold follow the results.
        let after: Vec<&Value> =
            results[2..].iter().filter(|block| block["image"].is_object()).collect();
        match rich {
            true => {
                assert_eq!(first["content"], json!([image, seen]));
                assert_eq!(
                    (&first["status"], &second["status"]),
                    (&json!("success"), &json!("error"))
                );
                assert_eq!(after, [&image]);
            }
            false => {
                assert_eq!(first["content"], json!([seen]));
                assert_eq!((first.get("status"), second.get("status")), (None, None));
                assert_eq!(after, [&image, &image]);
            }
        }
        assert_eq!(second["content"], json!([{"text": "an error without words"}]));
    }
}

#[test]
fn a_conversation_with_calls_has_a_tool_even_where_none_is_offered() {
    let messages = vec![
        user("go"),
        Message::Assistant { blocks: vec![call("a", "{}")] },
        Message::Tool { results: vec![result("a", Vec::new(), false)] },
    ];
    let body = body(&request(messages), LLAMA);
    assert_eq!(body["toolConfig"]["tools"].as_array().unwrap().len(), 1);
    assert_eq!(
        body["messages"][2]["content"][0]["toolResult"]["content"],
        json!([{"text": "nothing"}])
    );
    let plain = request(vec![user("go"), said("well"), user("on")]);
    assert_eq!(self::body(&plain, LLAMA).get("toolConfig"), None);
}

#[test]
fn a_longer_conversation_begins_with_the_shorter_one_and_has_four_marks_at_most() {
    let mut messages = vec![user("go")];
    let mut before: Option<Value> = None;
    for round in 0..5 {
        let id = format!("c{round}");
        messages.push(Message::Assistant { blocks: vec![call(&id, "{}")] });
        messages.push(Message::Tool { results: vec![result(&id, vec![Part::text("r")], false)] });
        let asked = ModelRequest {
            system: "be brief".to_owned(),
            tools: Arc::new(vec![tool()]),
            ..request(messages.clone())
        };
        let mut body = body(&asked, CLAUDE);
        assert_eq!(body.to_string().matches("cachePoint").count(), 4, "{body}");
        for turn in body["messages"].as_array_mut().unwrap() {
            turn["content"].as_array_mut().unwrap().retain(|block| block["cachePoint"].is_null());
        }
        if let Some(before) = before.replace(body.clone()) {
            let (short, long) =
                (before["messages"].as_array().unwrap(), body["messages"].as_array().unwrap());
            assert!(long.starts_with(short), "{body}");
            assert_eq!(
                (&before["system"], &before["toolConfig"]),
                (&body["system"], &body["toolConfig"])
            );
        }
    }
}

#[test]
fn pictures_of_other_forms_than_the_four_are_told_in_words() {
    let of = |media_type: &str| {
        let media_type = media_type.to_owned();
        let parts = vec![Part::Image { media_type, blob: BlobId::of(b"abc"), bytes: 3 }];
        let bodies = BTreeMap::from([(BlobId::of(b"abc"), Bytes::from_static(b"abc"))]);
        let asked = ModelRequest { bodies, ..request(vec![Message::User { parts }]) };
        body(&asked, LLAMA)["messages"][0]["content"][0].clone()
    };
    for (media_type, format) in
        [("png", "png"), ("jpeg", "jpeg"), ("jpg", "jpeg"), ("gif", "gif"), ("webp", "webp")]
    {
        assert_eq!(of(&format!("image/{media_type}"))["image"]["format"], format);
    }
    assert!(of("image/svg+xml")["text"].as_str().unwrap().contains("image/svg+xml"));
}

#[test]
fn nova_is_given_no_mark_beside_a_result() {
    let messages = vec![
        user("go"),
        Message::Assistant { blocks: vec![call("a", "{}")] },
        Message::Tool { results: vec![result("a", vec![Part::text("r")], false)] },
    ];
    for (model, marked) in [(NOVA, [true, false]), (NOVA_2, [true, false]), (CLAUDE, [true, true])]
    {
        let body = body(&request(messages.clone()), model);
        let is_marked =
            |at: usize| body["messages"][at]["content"].to_string().contains("cachePoint");
        assert_eq!([is_marked(0), is_marked(2)], marked, "{model}");
    }
}

#[test]
fn an_effort_may_meet_results_of_a_thoughtless_answer_and_a_budget_may_not() {
    let messages = vec![
        user("go"),
        Message::Assistant { blocks: vec![call("a", "{}")] },
        Message::Tool { results: vec![result("a", vec![Part::text("r")], false)] },
    ];
    let asked = ModelRequest { effort: Some(ReasoningEffort::High), ..request(messages) };
    for (model, kind) in [(CLAUDE, Value::Null), (OPUS, json!("adaptive"))] {
        let told = body(&asked, model)["additionalModelRequestFields"]["thinking"]["type"].clone();
        assert_eq!(told, kind, "{model}");
    }
}

#[test]
fn amazon_searches_for_its_own_models_that_can() {
    let capabilities = ResolvedSessionCapabilities { web_search: true };
    let asked = ModelRequest { capabilities, ..request(vec![user("a")]) };
    assert_eq!(
        body(&asked, NOVA_2)["toolConfig"],
        json!({"tools": [{"systemTool": {"name": "nova_grounding"}}]})
    );
    assert_eq!(body(&asked, CLAUDE).get("toolConfig"), None);
}

fn decoded(events: &[(&str, Value)]) -> Result<(Vec<ModelEvent>, Reply), ModelError> {
    let named = events.iter().map(|(name, event)| (Some((*name).to_owned()), event.to_string()));
    decode_converse(named, "bedrock", "anthropic.claude")
}

fn start(at: u64, block: Value) -> (&'static str, Value) {
    ("contentBlockStart", json!({"contentBlockIndex": at, "start": block}))
}

fn delta(at: u64, block: Value) -> (&'static str, Value) {
    ("contentBlockDelta", json!({"contentBlockIndex": at, "delta": block}))
}

fn stop(reason: &str) -> (&'static str, Value) {
    ("messageStop", json!({"stopReason": reason}))
}

fn natives(reply: &Reply) -> Vec<Value> {
    let item = |block: &Block| match &block.native {
        Some(native) => serde_json::from_str(native.item.as_str()).unwrap(),
        None => Value::Null,
    };
    reply.blocks.iter().map(item).collect()
}

#[test]
fn blocks_of_every_kind_are_kept_in_the_form_in_which_they_go_back() {
    let (shown, reply) = decoded(&[
        ("messageStart", json!({"role": "assistant"})),
        delta(0, json!({"reasoningContent": {"text": "hm "}})),
        delta(0, json!({"reasoningContent": {"text": "hm"}})),
        delta(0, json!({"reasoningContent": {"signature": "sig"}})),
        delta(1, json!({"reasoningContent": {"redactedContent": "YQ=="}})),
        delta(1, json!({"reasoningContent": {"redactedContent": "Yg=="}})),
        delta(2, json!({"text": "grüße"})),
        delta(2, json!({"citation": {"title": "t"}})),
        start(3, json!({"toolUse": {"toolUseId": "1", "name": "f", "type": "tool_use"}})),
        delta(3, json!({"toolUse": {"input": "{\"x\""}})),
        delta(3, json!({"toolUse": {"input": " : 1.0}"}})),
        start(4, json!({"novelty": {"a": 1}})),
        delta(4, json!({"novelty": {"b": [2]}})),
        delta(5, json!({"reasoningContent": {"text": "unsigned"}})),
        ("novelEvent", json!(7)),
        stop("tool_use"),
        (
            "metadata",
            json!({"usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 42,
            "cacheReadInputTokens": 10, "cacheWriteInputTokens": 20}}),
        ),
    ])
    .unwrap();
    let wanted = [
        json!({"reasoningContent": {"reasoningText": {"text": "hm hm", "signature": "sig"}}}),
        json!({"reasoningContent": {"redactedContent": "YWI="}}),
        json!({"citationsContent": {"content": [{"text": "grüße"}], "citations": [{"title": "t"}]}}),
        json!({"toolUse": {"toolUseId": "1", "name": "f", "input": {"x": 1.0}}}),
        json!({"novelty": {"a": 1, "b": [2]}}),
        Value::Null,
    ];
    assert_eq!(natives(&reply), wanted);
    let Content::ToolCall { arguments, .. } = &reply.blocks[3].content else { panic!("{reply:?}") };
    assert_eq!(arguments, "{\"x\" : 1.0}");
    assert!(reply.blocks[3].native.as_ref().unwrap().item.as_str().contains(arguments));
    assert_eq!(reply.blocks[4].content, Content::Opaque { kind: "novelty".to_owned() });
    let usage = Usage { input: 5, output: 7, cache_read: 10, cache_write: 20, reasoning: 0 };
    assert_eq!((reply.usage, reply.usage.total(), &reply.stop), (usage, 42, &ReplyStop::ToolUse));
    let told = |wanted: DeltaItem| -> String {
        let of = |event: &ModelEvent| match event {
            ModelEvent::Delta { item, text } if *item == wanted => Some(text.clone()),
            _ => None,
        };
        shown.iter().filter_map(of).collect()
    };
    assert_eq!(told(DeltaItem::Thinking { block: 0 }), "hm hm");
    assert_eq!(told(DeltaItem::Text { block: 2 }), "grüße");
    assert_eq!(told(DeltaItem::Arguments { block: 3 }), *arguments);
}

#[test]
fn a_start_that_does_not_say_of_what_leaves_it_to_the_first_delta() {
    for empty in [json!({}), Value::Null] {
        let events = [
            start(0, empty.clone()),
            delta(0, json!({"text": "row "})),
            delta(0, json!({"text": "on"})),
            stop("end_turn"),
        ];
        let reply = decoded(&events).unwrap().1;
        let contents: Vec<_> = reply.blocks.into_iter().map(|block| block.content).collect();
        assert_eq!(contents, [Content::Text { text: "row on".to_owned() }], "{empty}");
    }
}

#[test]
fn an_answer_that_comes_whole_is_the_same_answer() {
    let content = [
        json!({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}}),
        json!({"text": "a"}),
        json!({"citationsContent": {"content": [{"text": "b"}], "citations": [{"title": "t"}]}}),
        json!({"toolUse": {"toolUseId": "1", "name": "f", "input": {"x": 1}}}),
    ];
    let body = json!({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "tool_use",
        "usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}});
    let (shown, reply) = decode_converse_whole(body.to_string().as_bytes()).unwrap();
    assert_eq!(natives(&reply), content);
    assert_eq!((shown.len(), reply.usage.total(), reply.stop), (4, 12, ReplyStop::ToolUse));
    let kinds: Vec<&Content> = reply.blocks.iter().map(|block| &block.content).collect();
    assert_eq!(*kinds[2], Content::Text { text: "b".to_owned() });
    for (body, kind) in [
        (
            r#"{"message":"Too many tokens, wait","__type":"com.amazon#ThrottlingException"}"#,
            ModelErrorKind::RateLimited,
        ),
        (r#"{"Message":"x"}"#, ModelErrorKind::Transport),
        ("[]", ModelErrorKind::Transport),
    ] {
        assert_eq!(decode_converse_whole(body.as_bytes()).unwrap_err().kind, kind, "{body}");
    }
}

#[test]
fn reasons_to_stop_mean_what_they_say_and_a_missing_one_is_a_cut() {
    let table = [
        ("end_turn", Ok(ReplyStop::EndTurn)),
        ("max_tokens", Ok(ReplyStop::MaxTokens)),
        ("model_context_window_exceeded", Ok(ReplyStop::MaxTokens)),
        ("stop_sequence", Ok(ReplyStop::StopSequence)),
        ("guardrail_intervened", Ok(ReplyStop::Refusal)),
        ("content_filtered", Ok(ReplyStop::Refusal)),
        ("malformed_model_output", Err(ModelErrorKind::Overloaded)),
        ("malformed_tool_use", Err(ModelErrorKind::Overloaded)),
        ("tired", Ok(ReplyStop::Other("tired".to_owned()))),
    ];
    for (reason, wanted) in table {
        let outcome = decoded(&[delta(0, json!({"text": "a"})), stop(reason)]);
        assert_eq!(
            outcome.map(|(_, reply)| reply.stop).map_err(|error| error.kind),
            wanted,
            "{reason}"
        );
    }
    let called = [start(0, json!({"toolUse": {"toolUseId": "1", "name": "f"}})), stop("end_turn")];
    assert_eq!(decoded(&called).unwrap().1.stop, ReplyStop::ToolUse);
    let cut = [delta(0, json!({"text": "a"})), ("metadata", json!({"usage": {}}))];
    assert_eq!(decoded(&cut).unwrap_err().kind, ModelErrorKind::Truncated);
    // What comes behind the counts does not matter.
    let more = [stop("end_turn"), ("metadata", json!({})), delta(0, json!({"text": "a"}))];
    assert_eq!(decoded(&more).unwrap().1.blocks, []);
}

fn refused(status: u16, error_type: Option<&str>, body: &str) -> ModelError {
    let header = |value: &str| ("x-amzn-errortype".to_owned(), value.to_owned());
    let case = Case {
        name: "refused".to_owned(),
        kind: "json".to_owned(),
        status,
        headers: error_type.map(header).into_iter().collect(),
        body: Vec::new(),
        golden: None,
    };
    answer(Wire::BedrockConverse, &case, vec![Bytes::copy_from_slice(body.as_bytes())]).unwrap_err()
}

#[test]
fn refusals_are_told_apart_by_header_body_and_words() {
    use ModelErrorKind::{
        Auth, ContextOverflow, InvalidRequest, ModelNotFound, Overloaded, QuotaExhausted,
        RateLimited, Timeout,
    };
    let place = ":http://internal.amazon.com/coral/com.amazon.bedrock/";
    let table = [
        (
            403,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            Auth,
        ),
        (
            403,
            "ExpiredTokenException",
            "The security token included in the request is expired",
            Auth,
        ),
        (
            403,
            "AccessDeniedException",
            "You don't have access to the model with the specified model ID.",
            Auth,
        ),
        (
            429,
            "ThrottlingException",
            "Too many tokens, please wait before trying again.",
            RateLimited,
        ),
        (429, "ModelNotReadyException", "Model is not ready for inference.", Overloaded),
        (424, "ModelErrorException", "The model could not", Overloaded),
        (408, "ModelTimeoutException", "too slow", Timeout),
        (
            400,
            "ServiceQuotaExceededException",
            "Your request exceeds the service quota",
            QuotaExhausted,
        ),
        (
            404,
            "ResourceNotFoundException",
            "This version has reached the end of its life.",
            ModelNotFound,
        ),
        (400, "ValidationException", "Input is too long for requested model.", ContextOverflow),
        (400, "ValidationException", "The provided model identifier is invalid.", ModelNotFound),
        (400, "ValidationException", "1 validation error detected", InvalidRequest),
        (503, "ServiceUnavailableException", "try again", Overloaded),
        (429, "ThrottlingException", "Too many tokens per day, please wait.", QuotaExhausted),
    ];
    for (status, name, words, kind) in table {
        let said = refused(
            status,
            Some(&format!("{name}{place}")),
            &json!({"message": words}).to_string(),
        );
        assert_eq!(said.kind, kind, "{name}: {said}");
        assert!(said.message.contains(words) && said.message.contains(name), "{said}");
        let body = json!({"__type": format!("com.amazon.coral.service#{name}"), "message": words});
        assert_eq!(refused(status, None, &body.to_string()).kind, kind, "{name}");
    }
}

#[test]
fn an_exception_within_the_stream_ends_the_answer() {
    let throttled = ("throttlingException", json!({"message": "slow down"}));
    let error = decoded(&[delta(0, json!({"text": "a"})), throttled]).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ModelErrorKind::RateLimited, "slow down (throttlingException)")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_events_end_in_an_answer_or_an_error(
        picks in prop::collection::vec((0usize..6, 0u64..4, 0usize..9), 0..30),
    ) {
        let names = ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"];
        let values = [
            json!({"text": "a"}), json!({"toolUse": {"toolUseId": "1", "name": "f", "input": "{"}}),
            json!({"reasoningContent": {"text": "b"}}), json!({"reasoningContent": {"signature": 3}}),
            json!({"citation": {}}), json!({"toolResult": [1]}), json!(null), json!([]), json!({"": {}}),
        ];
        let events: Vec<_> = picks
            .into_iter()
            .map(|(name, at, value)| {
                let value = &values[value];
                (names[name], json!({"contentBlockIndex": at, "start": value, "delta": value, "stopReason": "end_turn", "usage": value}))
            })
            .collect();
        if let Ok((_, reply)) = decoded(&events) {
            let calls = reply.blocks.iter().filter_map(Block::call);
            let unique: std::collections::HashSet<_> = calls.clone().collect();
            if unique.len() == calls.clone().count() {
                let results = calls.map(|id| result(id.as_str(), Vec::new(), false)).collect();
                let messages = vec![user("a"), Message::Assistant { blocks: reply.blocks.clone() }, Message::Tool { results }];
                drop(encode_converse(&request(messages), ("bedrock", "anthropic.claude"), Quirks::PLAIN));
            }
        }
    }
}
