//! What the vendors' documents ask of a conversation, wire by wire: for checks of bodies that are about to be sent.

use std::collections::HashSet;

use serde_json::Value;

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What Anthropic's ids of calls are made of.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Checks a body for Anthropic's Messages.
///
/// # Panics
/// When the endpoint would refuse it.
pub fn check_anthropic(body: &Value) {
    let messages = list(body, "messages");
    assert!(body["max_tokens"].as_u64().is_some_and(|max| max > 0), "{body}");
    assert_eq!(messages.first().map(|first| words(&first["role"])), Some("user"), "{body}");
    let (mut open, mut ids) = (Vec::new(), HashSet::new());
    for (at, message) in messages.iter().enumerate() {
        let content = list(message, "content");
        assert!(!content.is_empty(), "an empty message: {body}");
        assert!(at == 0 || messages[at - 1]["role"] != message["role"], "roles alternate: {body}");
        for block in content.iter().filter(|block| block["type"] == "text") {
            assert!(!words(&block["text"]).trim().is_empty(), "an empty text: {body}");
        }
        let is = |kind: &'static str| content.iter().filter(move |block| block["type"] == kind);
        let answered: Vec<&str> = is("tool_result").map(|b| words(&b["tool_use_id"])).collect();
        assert_eq!(answered, open, "each call is answered in the next message: {body}");
        assert!(
            content.iter().take(open.len()).all(|block| block["type"] == "tool_result"),
            "results come first: {body}"
        );
        open = is("tool_use").map(|block| words(&block["id"])).collect();
        assert!(open.is_empty() || message["role"] == "assistant", "{body}");
        assert!(is("tool_use").all(|block| block["input"].is_object()), "{body}");
        assert!(open.iter().all(|id| id.bytes().all(is_letter)), "letters of an id: {body}");
        assert!(open.iter().all(|id| ids.insert(*id)), "an id stands for two calls: {body}");
    }
    assert!(open.is_empty(), "calls without results: {body}");
    check_thinking(body, &body["max_tokens"], words(&body["model"]));
    if let ([.., asking, last], true) = (messages, body["thinking"]["type"] == "enabled") {
        let first = |message: &Value| words(&message["content"][0]["type"]).to_owned();
        assert!(
            first(last) != "tool_result" || first(asking).ends_with("thinking"),
            "thinking is asked for where the answer under way began without: {body}"
        );
    }
}

/// Checks what a body for Claude says of thinking, where its members stand, for an answer of at most so many tokens.
fn check_thinking(members: &Value, max_tokens: &Value, model: &str) {
    let thinking = &members["thinking"];
    match words(&thinking["type"]) {
        "enabled" => {
            let (budget, max) = (thinking["budget_tokens"].as_u64(), max_tokens.as_u64());
            assert!(budget >= Some(1024) && budget < max, "{budget:?} of {max:?}");
            assert!(!is_adaptive(model), "{model} takes no budget");
        }
        "adaptive" => assert!(is_adaptive(model), "{model} takes a budget"),
        "" => assert!(thinking.is_null(), "{thinking}"),
        other => panic!("thinking of type {other}"),
    }
}

/// Whether this is one of the families of Claude that refuse a budget: all but those that came before Opus 4.7.
fn is_adaptive(model: &str) -> bool {
    let budgeted = ["3-7", "opus-4-2", "sonnet-4-2", "4-1", "4-5", "4-6"];
    model.contains("claude") && !budgeted.iter().any(|family| model.contains(family))
}

/// Checks a body for Amazon Bedrock's Converse, to this model.
///
/// # Panics
/// When the endpoint would refuse it.
pub fn check_converse(body: &Value, model: &str) {
    let additional = &body["additionalModelRequestFields"];
    check_thinking(additional, &body["inferenceConfig"]["maxTokens"], model);
    check_marks(body, model);
    let messages = list(body, "messages");
    assert_eq!(messages.first().map(|first| words(&first["role"])), Some("user"), "{body}");
    let (mut open, mut ids) = (Vec::new(), HashSet::new());
    let mut has_tools = false;
    for (at, message) in messages.iter().enumerate() {
        let content = list(message, "content");
        assert!(
            content.iter().any(|block| block["cachePoint"].is_null()),
            "an empty message: {body}"
        );
        assert!(at == 0 || messages[at - 1]["role"] != message["role"], "roles alternate: {body}");
        for block in content {
            assert_eq!(block.as_object().map(serde_json::Map::len), Some(1), "a union: {block}");
            assert!(block["text"].as_str().is_none_or(|text| !text.trim().is_empty()), "{body}");
        }
        // What a provider runs by itself is answered where it stands.
        let is_ours = |block: &&Value| block["toolUse"]["type"] != "server_tool_use";
        let of = |kind: &'static str| content.iter().map(move |block| &block[kind]);
        let results = of("toolResult").filter(|result| result.is_object());
        let results: Vec<&Value> = results.filter(|_| message["role"] == "user").collect();
        let answered: Vec<&str> =
            results.iter().map(|result| words(&result["toolUseId"])).collect();
        assert_eq!(answered, open, "each call is answered in the next message: {body}");
        let first = content.iter().take(open.len());
        assert!(
            first.clone().all(|block| block["toolResult"].is_object()),
            "results come first: {body}"
        );
        for result in results {
            assert!(!list(result, "content").is_empty(), "a result without content: {body}");
            assert!(matches!(words(&result["status"]), "" | "success" | "error"), "{body}");
        }
        let calls: Vec<&Value> = content
            .iter()
            .filter(|block| block["toolUse"].is_object())
            .filter(is_ours)
            .map(|block| &block["toolUse"])
            .collect();
        open = calls.iter().map(|call| words(&call["toolUseId"])).collect();
        has_tools |=
            content.iter().any(|b| b["toolUse"].is_object() || b["toolResult"].is_object());
        assert!(open.is_empty() || message["role"] == "assistant", "{body}");
        assert!(calls.iter().all(|call| call["input"].is_object()), "{body}");
        assert!(calls.iter().all(|call| is_name(words(&call["name"]))), "{body}");
        assert!(open.iter().all(|id| is_name(id)), "letters of an id: {body}");
        assert!(open.iter().all(|id| ids.insert(*id)), "an id stands for two calls: {body}");
    }
    assert!(open.is_empty(), "calls without results: {body}");
    let tools = list(&body["toolConfig"], "tools");
    assert!(!has_tools || !tools.is_empty(), "tool blocks without toolConfig: {body}");
    for spec in tools.iter().map(|tool| &tool["toolSpec"]).filter(|spec| spec.is_object()) {
        assert!(is_name(words(&spec["name"])) && spec["inputSchema"]["json"].is_object(), "{body}");
        assert!(spec["description"].as_str().is_none_or(|text| !text.is_empty()), "{body}");
    }
    let thinks = additional["thinking"]["type"] == "enabled";
    if let ([.., asking, last], true) = (messages, thinks) {
        assert!(
            last["content"][0]["toolResult"].is_null()
                || asking["content"][0]["reasoningContent"].is_object(),
            "thinking is asked for where the answer under way began without: {body}"
        );
    }
}

/// Marks of what a cache keeps: four at most, and for Nova none beside a result.
fn check_marks(body: &Value, model: &str) {
    let holds = |message: &Value, kind: &str| {
        list(message, "content").iter().any(|block| !block[kind].is_null())
    };
    let mut turns = list(body, "messages").iter();
    assert!(
        !model.contains("nova")
            || turns.all(|turn| !holds(turn, "toolResult") || !holds(turn, "cachePoint")),
        "a mark beside a result: {body}"
    );
    assert!(body.to_string().matches("\"cachePoint\"").count() <= 4, "four marks at most: {body}");
}

/// A name of a tool, or an id of a call.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(is_letter)
}

/// Checks a body for OpenAI's Chat Completions.
///
/// # Panics
/// When the endpoint would refuse it.
pub fn check_openai(body: &Value) {
    let mut messages = list(body, "messages").iter().peekable();
    while messages
        .next_if(|message| matches!(words(&message["role"]), "system" | "developer"))
        .is_some()
    {}
    assert_eq!(messages.peek().map(|first| words(&first["role"])), Some("user"), "{body}");
    let mut ids = HashSet::new();
    while let Some(message) = messages.next() {
        let said = match &message["content"] {
            Value::String(text) => !text.trim().is_empty(),
            Value::Array(parts) => !parts.is_empty(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        };
        let calls = list(message, "tool_calls");
        match words(&message["role"]) {
            "user" => assert!(said, "an empty input: {body}"),
            "assistant" => assert!(said || !calls.is_empty(), "an empty answer: {body}"),
            other => panic!("a message of {other:?} stands alone: {body}"),
        }
        for call in calls {
            assert!(ids.insert(words(&call["id"])), "an id stands for two calls: {body}");
            assert!((1..=40).contains(&words(&call["id"]).len()), "length of an id: {body}");
            assert!(call["function"]["arguments"].is_string(), "{body}");
            let result = messages.next().expect("each call is answered");
            assert_eq!(result["role"], "tool", "{body}");
            assert_eq!(result["tool_call_id"], call["id"], "in call order: {body}");
        }
    }
}

/// Checks a body for OpenAI's Responses, when nothing is stored there.
///
/// # Panics
/// When the endpoint would refuse it.
pub fn check_responses(body: &Value) {
    assert_eq!(body["store"], false, "{body}");
    let input = list(body, "input");
    assert!(!input.is_empty(), "nothing is said: {body}");
    let (mut open, mut calls, mut ids) = (Vec::new(), HashSet::new(), HashSet::new());
    for (at, item) in input.iter().enumerate() {
        let is_ours = item["type"] == "function_call_output" || item["role"] == "user";
        assert!(item["id"].is_null() || ids.insert(words(&item["id"])), "an id twice: {body}");
        match words(&item["type"]) {
            "message" => {
                let said = match &item["content"] {
                    Value::String(text) => !text.trim().is_empty(),
                    Value::Array(parts) => !parts.is_empty(),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
                };
                assert!(said, "an empty message: {body}");
                assert!(!is_ours || open.is_empty(), "calls without results: {body}");
            }
            "reasoning" => {
                let sealed = !words(&item["encrypted_content"]).is_empty();
                assert!(sealed || !list(item, "content").is_empty(), "thought is kept: {body}");
                let next = &input.get(at + 1).expect("something follows a thought");
                assert!(next["role"] != "user" && next["type"] != "function_call_output", "{body}");
            }
            "function_call" => {
                let id = words(&item["call_id"]);
                assert!((1..=64).contains(&id.len()), "length of an id: {body}");
                assert!(calls.insert(id), "an id stands for two calls: {body}");
                assert!(words(&item["name"]).bytes().all(is_letter), "{body}");
                assert!(words(&item["arguments"]).starts_with('{'), "{body}");
                open.push(id);
            }
            "function_call_output" => {
                let id = words(&item["call_id"]);
                let call = open.iter().position(|open| *open == id);
                open.remove(call.unwrap_or_else(|| panic!("{id} answers no call: {body}")));
                assert!(item["output"].is_string() || item["output"].is_array(), "{body}");
            }
            "" => panic!("an item without a type: {body}"),
            _ => {}
        }
    }
    assert!(open.is_empty(), "calls without results: {body}");
}

/// What a part of Gemini's holds, of which there is one.
const GEMINI_DATA: [&str; 9] = [
    "text",
    "functionCall",
    "functionResponse",
    "inlineData",
    "fileData",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
];

/// Checks a body for Google's `generateContent`. With `third` it is one for a model of Gemini 3 or later, which asks for signatures and ids.
///
/// # Panics
/// When the endpoint would refuse it.
pub fn check_gemini(body: &Value, third: bool) {
    let contents = list(body, "contents");
    assert_eq!(contents.first().map(|first| words(&first["role"])), Some("user"), "{body}");
    let mut open: Vec<&Value> = Vec::new();
    for (at, content) in contents.iter().enumerate() {
        let role = words(&content["role"]);
        assert!(matches!(role, "user" | "model"), "{body}");
        assert!(at == 0 || contents[at - 1]["role"] != role, "roles alternate: {body}");
        let parts = list(content, "parts");
        assert!(!parts.is_empty(), "nothing is said: {body}");
        for part in parts {
            gemini_part(part, role);
        }
        let of =
            |key: &str| -> Vec<&Value> { parts.iter().filter_map(|part| part.get(key)).collect() };
        let answers = of("functionResponse");
        assert_eq!(answers.len(), open.len(), "each call is answered in the next turn: {body}");
        let first = parts.iter().take(open.len());
        assert!(first.clone().all(|part| part.get("functionResponse").is_some()), "{body}");
        for (call, answer) in open.iter().zip(answers) {
            assert_eq!((&call["name"], &call["id"]), (&answer["name"], &answer["id"]), "{body}");
            assert!(third || answer.get("parts").is_none(), "pictures in a result: {body}");
        }
        open = of("functionCall");
        let signed = parts.iter().find(|part| part.get("functionCall").is_some());
        let signature = signed.map(|part| words(&part["thoughtSignature"]));
        assert!(!third || signature != Some(""), "the first call is not signed: {body}");
    }
    assert!(open.is_empty(), "calls without results: {body}");
}

fn gemini_part(part: &Value, role: &str) {
    let held = GEMINI_DATA.iter().filter(|name| part.get(**name).is_some()).count();
    assert_eq!(held, 1, "a part holds one thing: {part}");
    let blank = part["text"].as_str().is_some_and(str::is_empty);
    assert!(!blank || !words(&part["thoughtSignature"]).is_empty(), "an empty text: {part}");
    let named = |of: &Value| {
        let name = words(&of["name"]);
        assert!(name.bytes().all(is_letter) && !name.starts_with(|c: char| c.is_ascii_digit()));
        assert!((1..=64).contains(&name.len()), "{part}");
    };
    if let Some(call) = part.get("functionCall") {
        assert!(role == "model" && (call["args"].is_object() || call["args"].is_null()), "{part}");
        named(call);
    }
    if let Some(answer) = part.get("functionResponse") {
        assert!(role == "user" && answer["response"].is_object(), "{part}");
        named(answer);
    }
}
