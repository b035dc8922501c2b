//! What a session's random life makes of requests is valid on every wire that this build speaks, whatever the wire is called.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::executor::block_on;
use oarlock_core::ports::model::{Model, ModelRequest, Models};
use oarlock_core::spec::ModelSelection;
use oarlock_models::{
    CannedTransport, Lanes, ProviderConfig, Quirks, Registry, RequestBounds, Wire,
};
use oarlock_testkit::story::draw::{config, stories};
use oarlock_testkit::story::play;
use oarlock_testkit::wires::{
    check_anthropic, check_converse, check_gemini, check_openai, check_responses,
};
use proptest::prelude::{ProptestConfig, proptest};
use serde_json::Value;

/// A model of each wire that this build speaks, and what it sends.
fn models() -> Vec<(Wire, Arc<dyn Model>, Arc<CannedTransport>)> {
    let resolve = |wire: Wire| {
        let transport = Arc::new(CannedTransport::default());
        let provider = ProviderConfig {
            name: "p".to_owned(),
            display_name: "Test".to_owned(),
            wire,
            base_url: "http://127.0.0.1/v1".to_owned(),
            key: None,
            auth_header: None,
            headers: BTreeMap::new(),
            quirks: Quirks { effort: true, ..Quirks::PLAIN },
            bounds: RequestBounds::NONE,
            models: Vec::new(),
        };
        let registry = Registry::new(vec![provider], transport.clone(), &Lanes::default());
        let selection = ModelSelection { provider: "p".to_owned(), model: "m".to_owned() };
        registry.resolve(&selection).ok().map(|model| (wire, model, transport))
    };
    Wire::ALL.into_iter().filter_map(resolve).collect()
}

/// The bodies of these requests on one wire.
fn bodies(model: &dyn Model, sent: &CannedTransport, requests: &[ModelRequest]) -> Vec<Value> {
    let before = sent.requests().len();
    for request in requests {
        // The answer is that there is none.
        let answer: Vec<_> = block_on(model.call(request.clone()).collect());
        assert!(matches!(answer.as_slice(), [Err(_)]), "{answer:?}");
    }
    let sent = sent.requests().split_off(before);
    assert_eq!(sent.len(), requests.len());
    sent.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

/// Marks for the provider's cache move; everything else of an earlier request stands in a later one.
fn without_marks(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("cache_control");
            members.values_mut().for_each(without_marks);
        }
        Value::Array(items) => {
            items.retain(|item| item.get("cachePoint").is_none());
            items.iter_mut().for_each(without_marks);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The messages in the order in which the provider reads them: a message that grows at its end keeps its prefix.
fn prefix_text(body: &Value) -> Vec<Value> {
    let mut body = body.clone();
    without_marks(&mut body);
    let flat = |message: &Value| match message.get("content").unwrap_or(&message["parts"]) {
        Value::Array(blocks) => {
            blocks.iter().map(|block| serde_json::json!([message["role"], block])).collect()
        }
        _ => vec![message.clone()],
    };
    let messages = ["messages", "input", "contents"].iter().find_map(|name| body.get(name));
    messages.unwrap().as_array().unwrap().iter().flat_map(flat).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { ..config(100) })]

    #[test]
    fn requests_of_every_life_are_valid_on_every_wire(story in stories(14)) {
        let told = play(&story);
        for (wire, model, sent) in models() {
            let bodies = bodies(model.as_ref(), &sent, &told.requests);
            for body in &bodies {
                match wire {
                    Wire::AnthropicMessages => check_anthropic(body),
                    Wire::OpenAiChat => check_openai(body),
                    Wire::OpenAiResponses => check_responses(body),
                    Wire::Gemini => check_gemini(body, true),
                    Wire::BedrockConverse => check_converse(body, &model.info().selection.model),
                }
            }
            for (pair, asked) in bodies.windows(2).zip(told.requests.windows(2)) {
                // Where an entry declares that history was changed, nothing of it has to stay.
                if !asked[1].messages.starts_with(&asked[0].messages) {
                    continue;
                }
                let (before, after) = (prefix_text(&pair[0]), prefix_text(&pair[1]));
                assert!(after.starts_with(&before), "{wire}: the prefix changed: {} then {}", pair[0], pair[1]);
                assert_eq!(pair[0]["tools"], pair[1]["tools"]);
                assert_eq!(pair[0]["toolConfig"], pair[1]["toolConfig"]);
                assert_eq!(pair[0]["system"], pair[1]["system"]);
                assert_eq!(pair[0]["systemInstruction"], pair[1]["systemInstruction"]);
            }
        }
    }
}

#[test]
fn this_build_speaks_a_wire() {
    assert!(!models().is_empty());
}
