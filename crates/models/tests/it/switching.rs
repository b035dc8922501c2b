//! A session that goes from one wire to another and back: every endpoint gets a conversation that its vendor takes, its own items
//! byte for byte, and nothing that only somebody else understands.

use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Message, Part, ToolResult};
use oarlock_core::ports::model::{ModelRequest, Reply};
use oarlock_core::spec::ReasoningEffort;
use oarlock_models::Wire::{
    AnthropicMessages, BedrockConverse, Gemini, OpenAiChat, OpenAiResponses,
};
use oarlock_models::{
    CallIds, Quirks, ThoughtEcho, Wire, decode_anthropic, decode_chat, decode_converse,
    decode_gemini, decode_responses, encode_anthropic, encode_chat, encode_converse, encode_gemini,
    encode_responses,
};
use oarlock_testkit::wires::{
    check_anthropic, check_converse, check_gemini, check_openai, check_responses,
};
use serde_json::{Value, json};

use crate::recorded::request;

/// Who answers, or who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) wire: Wire,
    pub(crate) endpoint: &'static str,
    pub(crate) family: &'static str,
    pub(crate) quirks: Quirks,
}

const ECHO: Quirks = Quirks { thought_echo: ThoughtEcho::Always, effort: true, ..Quirks::PLAIN };
const NINE: Quirks = Quirks { call_ids: CallIds::NineLetters, ..ECHO };

const fn place(wire: Wire, endpoint: &'static str, family: &'static str) -> Place {
    Place { wire, endpoint, family, quirks: ECHO }
}

/// All wires, each with a second endpoint and a second family; the endpoint `gate` speaks all of them with a model of one name.
const PLACES: [Place; 20] = [
    place(AnthropicMessages, "anthropic", "claude"),
    place(AnthropicMessages, "anthropic", "claude-small"),
    place(AnthropicMessages, "gate", "claude"),
    place(OpenAiChat, "openai", "gpt"),
    place(OpenAiChat, "openai", "gpt-small"),
    place(OpenAiChat, "gate", "gpt"),
    place(OpenAiChat, "gate", "claude"),
    Place { quirks: NINE, ..place(OpenAiChat, "mistral", "gpt") },
    Place { quirks: Quirks::PLAIN, ..place(OpenAiChat, "plain", "gpt") },
    place(OpenAiResponses, "openai", "gpt"),
    place(OpenAiResponses, "openai", "gpt-small"),
    place(OpenAiResponses, "azure", "gpt"),
    place(OpenAiResponses, "gate", "claude"),
    place(Gemini, "google", "gemini-3-flash"),
    place(Gemini, "google", THIS_OLD),
    place(Gemini, "vertex", "gemini-3-flash"),
    place(Gemini, "gate", "claude"),
    place(BedrockConverse, "bedrock", "claude"),
    place(BedrockConverse, "bedrock", "amazon.nova-2-lite"),
    place(BedrockConverse, "gate", "claude"),
];

/// A family that came before calls had to be signed.
const THIS_OLD: &str = "gemini-2.5-flash";

/// Text that only the vendor of this answer understands. It holds the number of the answer, so that one is told from another.
fn secrets(place: Place, number: usize) -> Vec<String> {
    let kinds: &[&str] = match place.wire {
        OpenAiChat => &["DETAIL", "EXTRA"],
        AnthropicMessages => &["SIGNATURE", "srvtoolu_", "CIPHER"],
        OpenAiResponses => &["SEAL", "rs_", "ws_", "msg_", "fc_", "PHASE"],
        Gemini => &["SIGNED", "RAN", "LAST"],
        BedrockConverse => &["SIGNED", "REDACTED", "tooluse_s", "FOUND"],
    };
    kinds.iter().map(|kind| format!("{kind}{number}Z")).collect()
}

/// An answer of Anthropic's: thought with its signature, a search of the provider's own, text, and a call.
fn anthropic(place: Place, number: usize) -> Reply {
    let start = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let [signature, searched, cipher] = &secrets(place, number)[..] else {
        panic!("three secrets")
    };
    let found = json!([{"type": "web_search_result", "title": "A \u{e9}", "url": "http://a", "encrypted_content": cipher}]);
    let events = [
        json!({"type": "message_start", "message": {"model": place.family, "usage": {"input_tokens": 9, "output_tokens": 1}}}),
        start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": format!("thought {number}")})),
        delta(0, json!({"type": "signature_delta", "signature": signature})),
        start(
            1,
            json!({"type": "server_tool_use", "id": searched, "name": "web_search", "input": {}}),
        ),
        delta(1, json!({"type": "input_json_delta", "partial_json": "{\"query\" : \"a\"}"})),
        start(
            2,
            json!({"type": "web_search_tool_result", "tool_use_id": searched, "content": found}),
        ),
        start(3, json!({"type": "text", "text": ""})),
        delta(3, json!({"type": "text_delta", "text": format!("said {number}")})),
        start(
            4,
            json!({"type": "tool_use", "id": format!("toolu_01{number}"), "name": "bash", "input": {}}),
        ),
        delta(
            4,
            json!({"type": "input_json_delta", "partial_json": format!("{{\"command\" : \"ls {number}\"}}")}),
        ),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 20}}),
        json!({"type": "message_stop"}),
    ];
    let named =
        events.iter().map(|event| (event["type"].as_str().map(str::to_owned), event.to_string()));
    decode_anthropic(named, place.endpoint, place.family).unwrap().1
}

/// An answer over the chat wire: signed thought, text, and two calls under ids that no other wire takes.
fn chat(place: Place, number: usize) -> Reply {
    let [detail, extra] = &secrets(place, number)[..] else { panic!("two secrets") };
    let thought = match place.quirks.thought_echo {
        ThoughtEcho::CurrentTurn => json!({"reasoning_content": format!("thought {number}")}),
        ThoughtEcho::Never | ThoughtEcho::Always => {
            json!({"reasoning": format!("thought {number}"), "reasoning_details": [
                {"type": "reasoning.encrypted", "data": detail, "index": 0}]})
        }
    };
    let call = |index: usize| {
        json!({"index": index, "id": format!("functions.bash:{number}.{index}"), "type": "function",
            "function": {"name": "bash", "arguments": format!("{{\"command\" : \"pwd {number}.{index}\"}}")},
            "extra_content": {"google": {"thought_signature": extra}}})
    };
    let deltas = [
        thought,
        json!({"content": format!("said {number}")}),
        json!({"tool_calls": [call(0), call(1)]}),
    ];
    let chunk = |delta: &Value| json!({"choices": [{"index": 0, "delta": delta}]}).to_string();
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
    let events = deltas.iter().map(chunk).chain([end.to_string()]).map(|data| (None, data));
    decode_chat(events, place.endpoint, place.family).unwrap().1
}

/// An answer over the Responses wire: encrypted thought, a search of the provider's own, text, and two calls.
fn responses(place: Place, number: usize) -> Reply {
    let [seal, thought, searched, message, call, phase] = &secrets(place, number)[..] else {
        panic!("six secrets")
    };
    let call = |index: usize| {
        json!({"type": "function_call", "id": format!("{call}{index}"), "call_id": format!("call_{number}_{index}"),
            "name": "bash", "arguments": format!("{{\"command\" : \"id {number}.{index}\"}}"), "status": "completed"})
    };
    let items = [
        json!({"type": "reasoning", "id": thought, "encrypted_content": seal,
            "summary": [{"type": "summary_text", "text": format!("thought {number}")}]}),
        json!({"type": "web_search_call", "id": searched, "status": "completed", "action": {"query": "a"}}),
        json!({"type": "message", "id": message, "role": "assistant", "phase": phase,
            "content": [{"type": "output_text", "text": format!("said {number}"), "annotations": []}]}),
        call(0),
        call(1),
    ];
    let done = |(index, item): (usize, &Value)| json!({"type": "response.output_item.done", "output_index": index, "item": item});
    let end =
        json!({"type": "response.completed", "response": {"status": "completed", "output": items}});
    let events = items.iter().enumerate().map(done).chain([end]);
    let named = events.map(|event| (event["type"].as_str().map(str::to_owned), event.to_string()));
    decode_responses(named, place.endpoint, place.family).unwrap().1
}

/// An answer of Google's: thought, code that it ran, text in pieces, two calls under one name of which the first is signed, and a signature by itself.
fn gemini(place: Place, number: usize) -> Reply {
    let [signed, ran, last] = &secrets(place, number)[..] else { panic!("three secrets") };
    let call = |index: usize| {
        let mut call = json!({"name": "bash", "args": {"command": format!("id {number}.{index}")}});
        if place.family != THIS_OLD {
            call["id"] = json!(format!("own_{number}_{index}"));
        }
        call
    };
    let chunk =
        |parts: Value| json!({"candidates": [{"content": {"role": "model", "parts": parts}}]});
    let events = [
        chunk(json!([{"text": format!("thought {number}"), "thought": true}])),
        chunk(json!([{"executableCode": {"language": "PYTHON", "code": ran}}])),
        chunk(json!([{"text": "said"}])),
        chunk(json!([{"text": format!(" {number}")}])),
        chunk(
            json!([{"functionCall": call(0), "thoughtSignature": signed}, {"functionCall": call(1)}]),
        ),
        chunk(json!([{"text": "", "thoughtSignature": last}])),
        json!({"candidates": [{"finishReason": "STOP"}], "responseId": format!("answer{number}")}),
    ];
    let events = events.iter().map(|event| (None, event.to_string()));
    decode_gemini(events, place.endpoint, place.family).unwrap().1
}

/// An answer over the wire of Bedrock: thought with its signature and sealed, a search of the provider's own, text, and two calls.
fn converse(place: Place, number: usize) -> Reply {
    let [signed, sealed, searched, found] = &secrets(place, number)[..] else {
        panic!("four secrets")
    };
    let start = |at: u64, block: Value| {
        ("contentBlockStart", json!({"contentBlockIndex": at, "start": block}))
    };
    let delta = |at: u64, delta: Value| {
        ("contentBlockDelta", json!({"contentBlockIndex": at, "delta": delta}))
    };
    let call = |at: u64| {
        let id = format!("tooluse_{number}-{at}");
        let input = format!("{{\"command\" : \"df {number}.{at}\"}}");
        [
            start(at, json!({"toolUse": {"toolUseId": id, "name": "bash"}})),
            delta(at, json!({"toolUse": {"input": input}})),
        ]
    };
    let search =
        json!({"toolUseId": searched, "name": "nova_grounding", "type": "server_tool_use"});
    let result =
        json!({"toolUseId": searched, "type": "nova_grounding_result", "status": "success"});
    let mut events = vec![
        ("messageStart", json!({"role": "assistant"})),
        delta(0, json!({"reasoningContent": {"text": format!("thought {number}")}})),
        delta(0, json!({"reasoningContent": {"signature": signed}})),
        delta(1, json!({"reasoningContent": {"redactedContent": sealed}})),
        start(2, json!({ "toolUse": search })),
        delta(2, json!({"toolUse": {"input": "{\"query\" : \"a\"}"}})),
        start(3, json!({ "toolResult": result })),
        delta(3, json!({"toolResult": [{"text": found}]})),
        delta(4, json!({"text": format!("said {number}")})),
    ];
    events.extend([call(5), call(6)].concat());
    events.push(("messageStop", json!({"stopReason": "tool_use"})));
    events.push(("metadata", json!({"usage": {"inputTokens": 9, "outputTokens": 20}})));
    let named = events.into_iter().map(|(name, event)| (Some(name.to_owned()), event.to_string()));
    decode_converse(named, place.endpoint, place.family).unwrap().1
}

fn user(text: &str) -> Message {
    Message::User { parts: vec![Part::text(text)] }
}

/// What a place answers: thought, words and calls, in its own form.
pub(crate) fn reply(place: Place, number: usize) -> Reply {
    match place.wire {
        AnthropicMessages => anthropic(place, number),
        OpenAiChat => chat(place, number),
        OpenAiResponses => responses(place, number),
        Gemini => gemini(place, number),
        BedrockConverse => converse(place, number),
    }
}

/// The answer of a place, and the results of its calls.
fn step(place: Place, number: usize) -> [Message; 2] {
    let reply = reply(place, number);
    let answer = |id: &CallId| ToolResult {
        call: id.clone(),
        name: "bash".to_owned(),
        parts: vec![Part::text(format!("result of {number}"))],
        is_error: false,
    };
    let results = reply.blocks.iter().filter_map(Block::call).map(answer).collect();
    [Message::Assistant { blocks: reply.blocks }, Message::Tool { results }]
}

/// What this place is sent for this conversation.
fn body(place: Place, messages: &[Message]) -> String {
    let effort = Some(ReasoningEffort::High);
    encoded(place, &ModelRequest { effort, ..request(messages.to_vec()) })
}

/// A request as this place is sent it.
pub(crate) fn encoded(place: Place, request: &ModelRequest) -> String {
    let body = match place.wire {
        OpenAiChat => encode_chat(request, (place.endpoint, place.family), place.quirks),
        OpenAiResponses => encode_responses(request, (place.endpoint, place.family), place.quirks),
        AnthropicMessages => encode_anthropic(request, place.endpoint, place.family),
        Gemini => encode_gemini(request, place.endpoint, place.family),
        BedrockConverse => encode_converse(request, (place.endpoint, place.family), place.quirks),
    };
    String::from_utf8(body).unwrap()
}

/// The members by which a native item is recognised in a body. A call's id is left out where the endpoint takes none of its own form.
fn members(place: Place, block: &Block) -> Vec<String> {
    let Some(native) = &block.native else { return Vec::new() };
    let item = native.item.as_str();
    if place.quirks.call_ids == CallIds::NineLetters && block.is_call() {
        let from = item.find("\"type\"").unwrap();
        return vec![item[from..item.len() - 1].to_owned()];
    }
    vec![item[1..item.len() - 1].to_owned()]
}

/// The words, the results, and the arguments of calls, which everybody is given.
fn meaning(place: Place, blocks: &[Block]) -> Vec<String> {
    let told = |block: &Block| match &block.content {
        Content::Text { text } => Some(text.clone()),
        Content::ToolCall { arguments, .. } => Some(match place.wire {
            AnthropicMessages | Gemini | BedrockConverse => arguments.clone(),
            OpenAiChat | OpenAiResponses => json!(arguments).to_string(),
        }),
        Content::Thinking { .. } | Content::Opaque { .. } => None,
    };
    blocks.iter().filter_map(told).collect()
}

/// Holds what `asked` is sent to what `told` answered, in this order.
fn check(asked: Place, told: &[Place], messages: &[Message]) {
    let body = body(asked, messages);
    let parsed: Value = serde_json::from_str(&body).unwrap();
    match asked.wire {
        OpenAiChat => check_openai(&parsed),
        OpenAiResponses => check_responses(&parsed),
        AnthropicMessages => check_anthropic(&parsed),
        Gemini => check_gemini(&parsed, asked.family != THIS_OLD),
        BedrockConverse => check_converse(&parsed, asked.family),
    }
    let answers = messages.iter().filter_map(|message| match message {
        Message::Assistant { blocks } => Some(blocks),
        Message::User { .. } | Message::Tool { .. } => None,
    });
    for (number, (answer, from)) in answers.zip(told).enumerate() {
        for words in meaning(asked, answer) {
            assert!(body.contains(&words), "{asked:?} is not told {words:?} of {from:?}: {body}");
        }
        assert!(body.contains(&format!("result of {number}")), "{body}");
        if (from.wire, from.endpoint, from.family) == (asked.wire, asked.endpoint, asked.family) {
            for item in answer.iter().flat_map(|block| members(asked, block)) {
                assert!(body.contains(&item), "{asked:?} is not given back {item}: {body}");
            }
            for secret in secrets(*from, number) {
                assert!(body.contains(&secret), "{asked:?} is not given back {secret}: {body}");
            }
        } else {
            for secret in secrets(*from, number) {
                assert!(!body.contains(&secret), "{asked:?} is given {secret} of {from:?}: {body}");
            }
            assert!(!body.contains(&format!("thought {number}")), "{body}");
        }
    }
}

/// Who answers in turn: each by itself, each after each, and then one of the two again.
fn orders() -> Vec<Vec<Place>> {
    let mut orders: Vec<Vec<Place>> = PLACES.iter().map(|a| vec![*a]).collect();
    for [a, b] in PLACES.iter().flat_map(|a| PLACES.iter().map(move |b| [*a, *b])) {
        orders.extend([vec![a, b], vec![a, b, a], vec![a, b, b]]);
    }
    orders
}

#[test]
fn a_session_that_switches_between_the_wires_is_valid_on_each_and_gives_each_its_own_items_only() {
    for told in orders() {
        // Answers within one turn, and each in a turn of its own.
        for with_words in [false, true] {
            let mut messages = vec![user("go")];
            for (number, from) in told.iter().enumerate() {
                messages.extend(step(*from, number));
                if with_words {
                    messages.push(user("and now?"));
                }
            }
            for asked in PLACES {
                check(asked, &told, &messages);
            }
        }
    }
}

#[test]
fn a_place_that_a_session_comes_back_to_reads_what_it_read_before() {
    for [home, away] in [[0, 3], [3, 0], [9, 3], [0, 9], [13, 0], [9, 14], [17, 0], [18, 9]]
        .map(|pair| pair.map(|at| PLACES[at]))
    {
        let mut messages = vec![user("go")];
        messages.extend(step(home, 0));
        let before = body(home, &messages);
        messages.extend(step(away, 1));
        messages.extend(step(home, 2));
        let after = body(home, &messages);
        let answer = |body: &str| {
            let body: Value = serde_json::from_str(body).unwrap();
            let lists = ["messages", "input", "contents"];
            let list = lists.iter().find_map(|name| body.get(name)).unwrap();
            let mut messages = list.as_array().unwrap().iter();
            // Over the wire of items an answer begins with its thought.
            let answers = |message: &&Value| {
                message["role"] == "assistant"
                    || message["role"] == "model"
                    || message["type"] == "reasoning"
            };
            messages.find(answers).unwrap().to_string()
        };
        assert_eq!(answer(&before), answer(&after));
    }
}
