//! However an answer is cut into chunks, lines and events, it is the same answer; and however it is damaged, it ends in the right error.

use oarlock_core::ports::model::{ModelError, ModelErrorKind, ModelEvent, Reply};
use oarlock_models::{
    Wire, decode_anthropic, decode_chat, decode_converse, decode_gemini, decode_responses,
};
use oarlock_testkit::streams::{cut, frame};
use proptest::prelude::*;
use serde_json::json;

use crate::chat_corpus::CHAT;
use crate::gemini_corpus::GEMINI;
use crate::recorded::{Case, answer, cases, corpus};
use crate::responses_corpus::RESPONSES;

const CHAT_ANSWER: &str = r#"data: {"model":"m","choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"hm "}}]}

: a comment

data: {"choices":[{"index":0,"delta":{"content":"grüße "}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}

data: [DONE]

"#;

const ANTHROPIC_ANSWER: &str = r#"event: message_start
data: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":5}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"grüße"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}

event: message_stop
data: {"type":"message_stop"}

"#;

const RESPONSES_ANSWER: &str = r#"event: response.created
data: {"type":"response.created","response":{"model":"m","status":"in_progress","output":[]}}

: a comment

event: response.output_item.added
data: {"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"m","content":[]}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","output_index":0,"item_id":"m","delta":"grüße"}

event: response.output_item.done
data: {"type":"response.output_item.done","output_index":0,"item":{"type":"message","id":"m","content":[{"type":"output_text","text":"grüße"}]}}

event: response.output_item.done
data: {"type":"response.output_item.done","output_index":1,"item":{"type":"function_call","id":"fc","call_id":"a","name":"f","arguments":"{\"x\" :1}"}}

event: response.completed
data: {"type":"response.completed","response":{"model":"m","status":"completed","usage":{"input_tokens":5,"output_tokens":7,"total_tokens":12}}}

"#;

const GEMINI_ANSWER: &str = r#"data: {"candidates":[{"content":{"parts":[{"text":"hm ","thought":true}],"role":"model"}}],"modelVersion":"m"}

: a comment

data: {"candidates":[{"content":{"parts":[{"text":"grü"}],"role":"model"}}],"modelVersion":"m"}

data: {"candidates":[{"content":{"parts":[{"text":"ße"},{"functionCall":{"name":"f","args":{"x" :1}},"thoughtSignature":"S"}],"role":"model"}}]}

data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":7,"totalTokenCount":12}}

"#;

const WIRES: [(Wire, &str); 4] = [
    (Wire::OpenAiChat, CHAT_ANSWER),
    (Wire::AnthropicMessages, ANTHROPIC_ANSWER),
    (Wire::OpenAiResponses, RESPONSES_ANSWER),
    (Wire::Gemini, GEMINI_ANSWER),
];

fn stream(name: &str, body: impl Into<Vec<u8>>) -> Case {
    Case {
        name: name.to_owned(),
        kind: "sse".to_owned(),
        status: 200,
        headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
        body: body.into(),
        golden: None,
    }
}

fn decoded(wire: Wire, case: &Case, cuts: &[usize]) -> Result<Reply, ModelError> {
    answer(wire, case, cut(&case.body, cuts)).map(|(_, reply)| reply)
}

/// The same stream with other line ends, with a mark of byte order, and with both.
fn framings(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let plain = String::from_utf8(body.to_vec()).unwrap().replace("\r\n", "\n");
    let marked = |text: &str| [b"\xef\xbb\xbf".as_slice(), text.as_bytes()].concat();
    let (cr, crlf) = (plain.replace('\n', "\r"), plain.replace('\n', "\r\n"));
    vec![
        ("LF", plain.clone().into_bytes()),
        ("CR", cr.clone().into_bytes()),
        ("CRLF", crlf.clone().into_bytes()),
        ("BOM", marked(&plain)),
        ("BOM and CR", marked(&cr)),
        ("BOM and CRLF", marked(&crlf)),
    ]
}

/// Sizes of chunks as the replay server cuts them: bytes, and mixtures that differ with the seed.
const CUTS: [&[usize]; 5] =
    [&[1], &[usize::MAX], &[3], &[1, 40, 2, 1500, 5], &[200, 1, 8, 13, 2, 3]];

fn is_the_same_however_it_is_cut(wire: Wire, case: &Case) {
    let whole = decoded(wire, case, &[usize::MAX]).map_err(|error| error.kind);
    for (framing, body) in framings(&case.body) {
        let reframed = stream(&format!("{} with {framing}", case.name), body);
        for cuts in CUTS {
            let reply = decoded(wire, &reframed, cuts).map_err(|error| error.kind);
            assert_eq!(reply, whole, "{} cut by {cuts:?}", reframed.name);
        }
    }
}

#[test]
fn an_answer_is_the_same_in_every_framing() {
    for (wire, body) in WIRES {
        is_the_same_however_it_is_cut(wire, &stream("inline", body));
    }
}

#[test]
fn recorded_answers_are_the_same_in_every_framing_and_never_end_too_soon_in_silence() {
    let Some(root) = corpus() else { return };
    let mut streams = 0;
    let folders = CHAT.map(|folder| (Wire::OpenAiChat, folder));
    let items = RESPONSES.map(|folder| (Wire::OpenAiResponses, folder));
    let anthropic = [(Wire::AnthropicMessages, "anthropic")];
    let google = GEMINI.map(|folder| (Wire::Gemini, folder));
    for (wire, folder) in folders.into_iter().chain(items).chain(anthropic).chain(google) {
        for case in cases(&root.join(folder)).iter().filter(|case| case.kind == "sse") {
            streams += 1;
            is_the_same_however_it_is_cut(wire, case);
            a_cut_is_never_a_success(wire, case);
        }
    }
    println!("{streams} streams, none skipped");
    assert!(streams >= 129, "only {streams} streams");
}

/// Cut behind any event, an answer is whole only if its reason to stop had come.
fn a_cut_is_never_a_success(wire: Wire, case: &Case) {
    let text = String::from_utf8(case.body.clone()).unwrap().replace("\r\n", "\n");
    let stops = match wire {
        Wire::OpenAiChat => {
            text.find("\"finish_reason\":\"").or_else(|| text.find("\"finish_reason\": \""))
        }
        Wire::AnthropicMessages => text.find("message_stop"),
        // Its streams are of frames.
        Wire::BedrockConverse => return,
        Wire::OpenAiResponses => {
            text.find("response.completed").or_else(|| text.find("response.incomplete"))
        }
        Wire::Gemini => text.find("\"finishReason\":"),
    };
    let fails = match wire {
        Wire::OpenAiChat | Wire::AnthropicMessages => text.contains("\"error\""),
        Wire::OpenAiResponses => text.contains("response.failed"),
        // A refusal whose kind of body is a stream's.
        Wire::Gemini => case.status != 200,
        Wire::BedrockConverse => return,
    };
    let ends = text.match_indices("\n\n").map(|(at, _)| at + 2);
    for end in ends.filter(|end| stops.is_none_or(|stops| *end <= stops)) {
        let cut = stream(&case.name, &text.as_bytes()[..end]);
        let error = decoded(wire, &cut, &[usize::MAX]);
        assert!(
            matches!(&error, Err(error) if error.kind == ModelErrorKind::Truncated) || fails,
            "{} cut at {end}: {error:?}",
            case.name
        );
    }
}

/// The same for Google's wire.
fn of_google() -> Vec<(Wire, &'static str, ModelErrorKind)> {
    vec![
        (
            Wire::Gemini,
            "data: {\"error\":{\"code\":503,\"message\":\"The model is overloaded.\",\"status\":\"UNAVAILABLE\"}}\n\n",
            ModelErrorKind::Overloaded,
        ),
        (
            Wire::Gemini,
            "data: [{\"error\":{\"code\":429,\"message\":\"Slow\",\"status\":\"RESOURCE_EXHAUSTED\"}}]\n\n",
            ModelErrorKind::RateLimited,
        ),
        (Wire::Gemini, "event: error\ndata: boom\n\n", ModelErrorKind::Overloaded),
        (Wire::Gemini, "data: {not json\n\n", ModelErrorKind::Transport),
    ]
}

#[test]
fn damage_ends_in_the_error_that_it_is() {
    let in_band = [
        (
            Wire::OpenAiChat,
            "data: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\",\"code\":null}}\n\n",
            ModelErrorKind::Overloaded,
        ),
        (
            Wire::OpenAiChat,
            "data: {\"error\":{\"message\":\"Rate limit\",\"code\":429}}\n\n",
            ModelErrorKind::RateLimited,
        ),
        (Wire::OpenAiChat, "data: {\"error\":\"out of memory\"}\n\n", ModelErrorKind::Overloaded),
        (
            Wire::OpenAiChat,
            "data: {\"object\":\"error\",\"message\":\"This model's maximum context length is 4096 tokens\"}\n\n",
            ModelErrorKind::ContextOverflow,
        ),
        (
            Wire::OpenAiChat,
            "event: error\ndata: {\"message\":\"boom\"}\n\n",
            ModelErrorKind::Overloaded,
        ),
        (
            Wire::OpenAiChat,
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\",\"error\":{\"code\":502,\"message\":\"upstream\"}}]}\n\n",
            ModelErrorKind::Overloaded,
        ),
        (Wire::OpenAiChat, "data: {not json\n\n", ModelErrorKind::Transport),
        (
            Wire::AnthropicMessages,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
            ModelErrorKind::Overloaded,
        ),
        (Wire::AnthropicMessages, "data: {not json\n\n", ModelErrorKind::Transport),
        (
            Wire::OpenAiResponses,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"code\":\"server_error\",\"message\":\"oops\"}}\n\n",
            ModelErrorKind::Overloaded,
        ),
        (
            Wire::OpenAiResponses,
            "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"slow\"}}}\n\n",
            ModelErrorKind::RateLimited,
        ),
        (Wire::OpenAiResponses, "event: error\ndata: boom\n\n", ModelErrorKind::Overloaded),
        (Wire::OpenAiResponses, "data: {not json\n\n", ModelErrorKind::Transport),
    ];
    for (wire, damage, kind) in in_band.into_iter().chain(of_google()) {
        let (_, body) = WIRES.into_iter().find(|(of, _)| *of == wire).unwrap();
        let half = body[..body.len() / 2].rfind("\n\n").unwrap() + 2;
        let damaged = stream(damage, [&body[..half], damage, &body[half..]].concat());
        let error = decoded(wire, &damaged, &[usize::MAX]).unwrap_err();
        assert_eq!(error.kind, kind, "{damage}: {error}");
    }
    for (wire, body) in WIRES {
        // An event of 11 MiB is more than one may have.
        let long = stream("long", format!("data: {}\n\n{body}", "x".repeat(11 << 20)));
        assert_eq!(decoded(wire, &long, &[65536]).unwrap_err().kind, ModelErrorKind::Transport);
        let empty = decoded(wire, &stream("empty", ""), &[1]).unwrap_err();
        assert_eq!(empty.kind, ModelErrorKind::Truncated, "{empty}");
        let page = decoded(wire, &stream("page", "<html><title>login</title>"), &[1]).unwrap_err();
        assert_eq!(page.kind, ModelErrorKind::Transport, "{page}");
        a_cut_is_never_a_success(wire, &stream("inline", body));
    }
}

/// The frames of an answer.
fn frames() -> Vec<Vec<u8>> {
    let event = |name, payload: serde_json::Value| frame("event", name, &payload.to_string());
    vec![
        event("messageStart", json!({"role": "assistant"})),
        event("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "grüße"}})),
        event("contentBlockStop", json!({"contentBlockIndex": 0})),
        event("messageStop", json!({"stopReason": "end_turn"})),
        event("metadata", json!({"usage": {"inputTokens": 5, "outputTokens": 7}})),
    ]
}

fn framed(bytes: impl Into<Vec<u8>>, cuts: &[usize]) -> Result<Reply, ModelError> {
    decoded(Wire::BedrockConverse, &stream("frames", bytes), cuts)
}

#[test]
fn frames_are_the_same_answer_however_they_are_cut_and_damage_is_told() {
    let body = frames().concat();
    let whole = framed(body.clone(), &[usize::MAX]).unwrap();
    assert_eq!((whole.usage.input, whole.usage.output), (5, 7));
    for cuts in CUTS {
        assert_eq!(framed(body.clone(), cuts).unwrap(), whole, "{cuts:?}");
    }
    let stopped = frames()[..4].concat().len();
    for end in 0..body.len() {
        let cut = framed(&body[..end], &[7]);
        match end == stopped {
            true => assert_eq!(cut.unwrap().usage, oarlock_core::message::Usage::default()),
            false => assert_eq!(cut.unwrap_err().kind, ModelErrorKind::Truncated, "{end}"),
        }
    }
    let damage = |at: usize, frame: Vec<u8>| {
        let mut frames = frames();
        frames.insert(at, frame);
        framed(frames.concat(), &[9]).unwrap_err().kind
    };
    let said = json!({"message": "no"}).to_string();
    assert_eq!(
        damage(2, frame("exception", "throttlingException", &said)),
        ModelErrorKind::RateLimited
    );
    assert_eq!(
        damage(2, frame("exception", "internalServerException", &said)),
        ModelErrorKind::Overloaded
    );
    assert_eq!(
        damage(2, frame("event", "contentBlockDelta", "{not json")),
        ModelErrorKind::Transport
    );
    assert_eq!(damage(2, vec![0; 16]), ModelErrorKind::Transport);
    for at in 1..body.len() {
        let mut wrong = body.clone();
        wrong[at] ^= 1;
        assert_eq!(framed(wrong, &[64]).unwrap_err().kind, ModelErrorKind::Transport, "{at}");
    }
}

/// An event of 15 MiB that comes in small pieces takes no longer than reading it.
#[test]
fn a_large_frame_in_small_pieces_is_read_in_linear_time() {
    let payload = json!({"contentBlockIndex": 0, "delta": {"text": "x".repeat(15 << 20)}});
    let mut frames = frames();
    frames[1] = frame("event", "contentBlockDelta", &payload.to_string());
    let reply = framed(frames.concat(), &[64]).unwrap();
    assert_eq!(reply.usage.output, 7);
    let beyond = frame("event", "x", &"x".repeat(16 << 20));
    assert_eq!(framed(beyond, &[65536]).unwrap_err().kind, ModelErrorKind::Transport);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_the_same_answer(sizes in prop::collection::vec(1usize..90, 1..20)) {
        for (wire, body) in WIRES {
            let case = stream("inline", body);
            prop_assert_eq!(decoded(wire, &case, &sizes).unwrap(), decoded(wire, &case, &[usize::MAX]).unwrap());
        }
    }

    #[test]
    fn any_text_in_any_member_survives(text in "\\PC{0,40}", name in "[a-z_]{1,12}") {
        let delta = serde_json::json!({"choices": [{"index": 0, "delta": {"content": text, "tool_calls": [
            {"index": 0, "id": "1", "function": {"name": name, "arguments": text}}]}, "finish_reason": "stop"}]});
        let case = stream("text", format!("data: {delta}\n\ndata: [DONE]\n\n"));
        let (shown, reply) = answer(Wire::OpenAiChat, &case, cut(&case.body, &[5])).unwrap();
        let told: String = shown.iter().filter_map(|event| match event {
            ModelEvent::Delta { item: oarlock_core::event::DeltaItem::Text { .. }, text } => Some(text.as_str()),
            _ => None,
        }).collect();
        prop_assert_eq!(&told, &text);
        prop_assert_eq!(reply.blocks.len(), if text.is_empty() { 1 } else { 2 });
    }
}

/// Events that open as many blocks of one answer as an answer may never have.
fn crowded(wire: Wire) -> Vec<(Option<String>, String)> {
    let events = (0..5_000).map(|at| match wire {
        Wire::AnthropicMessages => json!({ "type": "content_block_start", "index": at,
            "content_block": { "type": "text", "text": "" } }),
        Wire::OpenAiChat => json!({ "choices": [{ "delta": { "tool_calls": [
            { "index": at, "id": format!("c{at}"), "function": { "name": "f", "arguments": "" } },
        ] } }] }),
        Wire::OpenAiResponses => json!({ "type": "response.output_item.added", "output_index": at,
            "item": { "type": "message", "id": format!("m{at}") } }),
        Wire::Gemini => json!({ "candidates": [{ "content": { "parts": [
            { "functionCall": { "name": "f", "args": { "at": at } } },
        ] } }] }),
        Wire::BedrockConverse => {
            json!({ "contentBlockDelta": { "contentBlockIndex": at, "delta": { "text": "" } } })
        }
    });
    events.map(|event| (None, event.to_string())).collect()
}

#[test]
fn an_answer_of_more_blocks_than_one_may_have_is_refused_on_every_wire() {
    for wire in Wire::ALL {
        let events = crowded(wire).into_iter();
        let decoded = match wire {
            Wire::AnthropicMessages => decode_anthropic(events, "test", "test"),
            Wire::OpenAiChat => decode_chat(events, "test", "test"),
            Wire::OpenAiResponses => decode_responses(events, "test", "test"),
            Wire::Gemini => decode_gemini(events, "test", "test"),
            Wire::BedrockConverse => decode_converse(events, "test", "test"),
        };
        let error = decoded.unwrap_err();
        assert!(error.message.contains("4096 blocks"), "{wire}: {error}");
    }
}
