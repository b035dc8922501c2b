//! Tools whose names a wire cannot write: what is declared, called and answered has one name there, and the runtime has its own.

use std::sync::Arc;

use futures::StreamExt as _;
use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Message, Part, ToolResult};
use oarlock_core::ports::model::{ModelEvent, ModelRequest, Models as _, Reply};
use oarlock_core::ports::tool::{Runs, ToolSchema};
use oarlock_core::spec::{ModelSelection, ResolvedSessionCapabilities};
use oarlock_models::{
    CannedAnswer, CannedTransport, Lanes, ProviderConfig, Registry, Transport, catalog,
};
use serde_json::{Value, json};

use crate::recorded::request;

/// What is sent to a provider's model, and what becomes of this answer.
fn exchanged(provider: &str, request: ModelRequest, answer: &Value) -> (Value, Reply) {
    let known = catalog::find(provider).unwrap();
    exchanged_at(known.base_url, provider, request, answer)
}

fn exchanged_at(
    base_url: &str,
    provider: &str,
    request: ModelRequest,
    answer: &Value,
) -> (Value, Reply) {
    let known = catalog::find(provider).unwrap();
    let key = Some("key".to_owned().into());
    let base_url = base_url.to_owned();
    let config = ProviderConfig { base_url, ..ProviderConfig::well_known(known, key) };
    let chunks = vec![answer.to_string().into()];
    let canned =
        Arc::new(CannedTransport::new([CannedAnswer { status: 200, headers: Vec::new(), chunks }]));
    let registry =
        Registry::new(vec![config], Arc::clone(&canned) as Arc<dyn Transport>, &Lanes::default());
    let selection = ModelSelection { provider: provider.to_owned(), model: "m".to_owned() };
    let model = registry.resolve(&selection).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let events: Vec<_> = runtime.block_on(model.call(request).collect());
    let reply = events.into_iter().find_map(|event| match event.unwrap() {
        ModelEvent::Reply(reply) => Some(reply),
        _ => None,
    });
    (serde_json::from_slice(&canned.requests()[0].body).unwrap(), reply.unwrap())
}

/// A conversation in which another model called these tools, and in which they are offered.
fn asking(names: &[&str], answered: Vec<Message>) -> ModelRequest {
    let tool = |name: &&str| ToolSchema {
        name: (*name).to_owned(),
        description: "does it".to_owned(),
        input: json!({"type": "object"}),
        runs: Runs::Here,
    };
    let call = |name: &&str| Block {
        content: Content::ToolCall {
            id: CallId((*name).into()),
            name: (*name).to_owned(),
            arguments: "{}".to_owned(),
        },
        native: None,
    };
    let result = |name: &&str| ToolResult {
        call: CallId((*name).into()),
        name: (*name).to_owned(),
        parts: vec![Part::text("done")],
        is_error: false,
    };
    let user = |text: &str| Message::User { parts: vec![Part::text(text)] };
    let mut messages = vec![
        user("go"),
        Message::Assistant { blocks: names.iter().map(call).collect() },
        Message::Tool { results: names.iter().map(result).collect() },
        user("on"),
    ];
    messages.extend(answered);
    ModelRequest { tools: Arc::new(names.iter().map(tool).collect()), ..request(messages) }
}

fn called(reply: &Reply) -> Vec<&str> {
    let calls = reply.blocks.iter().filter_map(|block| match &block.content {
        Content::ToolCall { name, .. } => Some(name.as_str()),
        Content::Text { .. } | Content::Thinking { .. } | Content::Opaque { .. } => None,
    });
    calls.collect()
}

/// The members of this name, wherever they are, in order.
fn all<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(member, value)| {
            if member == name {
                found.push(value);
            }
            all(value, name, found);
        }),
        Value::Array(values) => values.iter().for_each(|value| all(value, name, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn google_is_told_one_name_of_a_tool_and_the_runtime_hears_its_own() {
    let own = ["21st_x", "_21st_x", "a.b"];
    let call = |name: &Value| json!({"functionCall": {"name": name, "args": {}}});
    let answer = |names: &[Value]| {
        json!({"candidates": [{"content": {"role": "model", "parts": names.iter().map(call).collect::<Vec<_>>()},
        "finishReason": "STOP"}], "responseId": "r"})
    };
    let (sent, _) = exchanged("google", asking(&own, Vec::new()), &answer(&[json!("x")]));
    let declared: Vec<Value> = sent["tools"][0]["functionDeclarations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(declared[1..], [json!("_21st_x"), json!("a_b")], "{declared:?}");
    let first = declared[0].as_str().unwrap();
    assert!(first.starts_with('t') && first.ends_with("_21st_x"), "{first}");
    for member in ["functionCall", "functionResponse"] {
        let mut found = Vec::new();
        all(&sent, member, &mut found);
        let told: Vec<_> = found.iter().map(|one| one["name"].clone()).collect();
        assert_eq!(told, declared, "{member}");
    }
    // What it calls comes as the runtime's own tool, and goes back as it came.
    let (_, reply) = exchanged("google", asking(&own, Vec::new()), &answer(&declared));
    assert_eq!(called(&reply), own);
    let results = reply.blocks.iter().map(|block| ToolResult {
        call: block.call().unwrap().clone(),
        name: "any".to_owned(),
        parts: vec![Part::text("done")],
        is_error: false,
    });
    let results = Message::Tool { results: results.collect() };
    let answered = vec![Message::Assistant { blocks: reply.blocks.clone() }, results];
    let (sent, _) = exchanged("google", asking(&own, answered), &answer(&[json!("x")]));
    for member in ["functionCall", "functionResponse"] {
        let mut found = Vec::new();
        all(&sent, member, &mut found);
        let told: Vec<_> = found.iter().map(|one| one["name"].clone()).collect();
        assert_eq!(told, [declared.clone(), declared.clone()].concat(), "{member}");
    }
}

#[test]
fn bedrock_is_told_one_name_of_a_tool_and_the_runtime_hears_its_own() {
    let own = ["a.b", "a_b", "21st_x"];
    let call = |name: &Value| json!({"toolUse": {"toolUseId": name, "name": name, "input": {}}});
    let answer = |names: &[Value]| {
        json!({"output": {"message": {"role": "assistant", "content": names.iter().map(call).collect::<Vec<_>>()}},
        "stopReason": "tool_use", "usage": {"inputTokens": 1, "outputTokens": 1}})
    };
    let (sent, _) = exchanged("bedrock", asking(&own, Vec::new()), &answer(&[json!("x")]));
    let names = |sent: &Value, member: &str| {
        let mut found = Vec::new();
        all(sent, member, &mut found);
        found.into_iter().map(|one| one["name"].clone()).collect::<Vec<_>>()
    };
    let declared = names(&sent, "toolSpec");
    assert_eq!(declared[1..], [json!("a_b"), json!("21st_x")], "{declared:?}");
    assert_ne!(declared[0], "a_b");
    assert_eq!(names(&sent, "toolUse"), declared);
    let (_, reply) = exchanged("bedrock", asking(&own, Vec::new()), &answer(&declared));
    assert_eq!(called(&reply), own);
}

#[test]
fn what_google_does_itself_is_told_to_google_ai_and_not_to_vertex() {
    let parts = json!([
        {"toolCall": {"toolType": "GOOGLE_SEARCH", "id": "1", "args": {}}},
        {"toolResponse": {"toolType": "GOOGLE_SEARCH", "id": "1", "response": {}}},
        {"text": "ahoy"}]);
    let answer = json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]});
    let vertex =
        "https://eu-aiplatform.googleapis.com/v1/projects/p/locations/eu/publishers/google";
    let searching = |answered| {
        let asked = asking(&["f"], answered);
        ModelRequest { capabilities: ResolvedSessionCapabilities { web_search: true }, ..asked }
    };
    for (base_url, is_told) in
        [("https://generativelanguage.googleapis.com", true), (vertex, false)]
    {
        let exchanged = |asked| exchanged_at(base_url, "google", asked, &answer);
        let (_, reply) = exchanged(searching(Vec::new()));
        let (sent, _) = exchanged(searching(vec![Message::Assistant { blocks: reply.blocks }]));
        let asks = sent["toolConfig"]["includeServerSideToolInvocations"] == true;
        assert_eq!(asks, is_told, "{base_url}: {sent}");
        assert_eq!(sent["tools"].as_array().unwrap().len(), 2, "{base_url}: {sent}");
        for member in ["toolCall", "toolResponse"] {
            let mut found = Vec::new();
            all(&sent, member, &mut found);
            assert_eq!(found.len(), usize::from(is_told), "{base_url}: {sent}");
        }
        assert!(sent.to_string().contains("ahoy"), "{base_url}: {sent}");
    }
}
