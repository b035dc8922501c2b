//! Windows, tokens and neighbours: what is known of a model, what its provider counted, and what each wire makes of two messages of one role.

use oarlock_core::message::{Block, Content, Message, Part, Usage};
use oarlock_core::session::context;
use oarlock_core::spec::{Answers, Mode, ModelSelection, Settings};
use oarlock_models::{
    ModelConfig, ProviderConfig, Quirks, catalog, decode_anthropic, decode_chat, encode_anthropic,
    encode_chat,
};
use serde_json::{Value, json};

use crate::recorded::request;

#[test]
fn w12_the_window_comes_from_configuration_then_the_provider_then_the_table() {
    for (name, family, release) in [
        ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("openai", "gpt-4o", "gpt-4o-2024-08-06"),
    ] {
        let known = catalog::find(name).unwrap();
        let table = known.models.iter().find(|model| model.id == family).unwrap().context_window;
        let mut provider = ProviderConfig::well_known(known, None);
        let selection = ModelSelection { provider: name.to_owned(), model: release.to_owned() };
        let mut settings = Settings::new(selection, Mode::OPEN, Answers::Nobody);
        let window = |settings: &Settings, provider: &ProviderConfig, model: &str| {
            context::window(settings, Some(&provider.info(model)))
        };
        assert!(table.is_some(), "{name}");
        assert_eq!(window(&settings, &provider, release), table, "{name}: by its family");
        assert_eq!(window(&settings, &provider, "of-tomorrow"), None, "{name}: nothing is made up");
        let declared = ModelConfig {
            id: release.to_owned(),
            context_window: Some(5_000),
            output_max: None,
            price: None,
        };
        provider.models.insert(0, declared);
        assert_eq!(window(&settings, &provider, release), Some(5_000), "{name}: declared");
        assert_eq!(window(&settings, &provider, family), table, "{name}: only that release");
        settings.turn.context.window = Some(1_000);
        assert_eq!(window(&settings, &provider, release), Some(1_000), "{name}: the session's own");
        assert_eq!(context::window(&settings, None), Some(1_000));
    }
}

#[test]
fn w12_cached_tokens_are_counted_once() {
    let counts = json!({"input_tokens": 10, "cache_read_input_tokens": 500, "cache_creation_input_tokens": 30, "output_tokens": 1});
    let events = [
        json!({"type": "message_start", "message": {"model": "m", "usage": counts}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "hi"}}),
        // The counts of the beginning come again at the end.
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {
            "input_tokens": 10, "cache_read_input_tokens": 500, "cache_creation_input_tokens": 30, "output_tokens": 7}}),
        json!({"type": "message_stop"}),
    ];
    let named = |event: &Value| (event["type"].as_str().map(str::to_owned), event.to_string());
    let anthropic = decode_anthropic(events.iter().map(named), "here", "m").unwrap().1.usage;
    let chunks = [
        json!({"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}),
        // This wire counts what the cache served within the prompt.
        json!({"choices": [], "usage": {"prompt_tokens": 540, "completion_tokens": 7, "total_tokens": 547,
            "prompt_tokens_details": {"cached_tokens": 500, "cache_write_tokens": 30}}}),
    ];
    let data = chunks.iter().map(|chunk| (None, chunk.to_string()));
    let chat = decode_chat(data, "here", "m").unwrap().1.usage;
    let wanted = Usage { input: 10, output: 7, cache_read: 500, cache_write: 30, reasoning: 0 };
    assert_eq!([anthropic, chat], [wanted; 2]);
    assert_eq!((wanted.prompt(), wanted.total()), (540, 547));
}

#[test]
fn w24_neighbours_of_one_role_are_merged_on_the_wire_that_needs_it() {
    let user = |text: &str| Message::User { parts: vec![Part::text(text)] };
    let says = |text: &str| {
        let content = Content::Text { text: text.to_owned() };
        Message::Assistant { blocks: vec![Block { content, native: None }] }
    };
    let request = request(vec![user("a"), user("b"), says("c"), says("d"), user("e")]);
    let shape = |body: Vec<u8>| -> Vec<(String, usize)> {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let of = |message: &Value| {
            let role = message["role"].as_str().unwrap().to_owned();
            (role, message["content"].as_array().map_or(1, Vec::len))
        };
        body["messages"].as_array().unwrap().iter().map(of).collect()
    };
    let named = |shape: &[(&str, usize)]| -> Vec<(String, usize)> {
        shape.iter().map(|(role, blocks)| ((*role).to_owned(), *blocks)).collect()
    };
    let merged = named(&[("user", 2), ("assistant", 2), ("user", 1)]);
    assert_eq!(shape(encode_anthropic(&request, "here", "m")), merged);
    let apart = [("user", 1), ("user", 1), ("assistant", 1), ("assistant", 1), ("user", 1)];
    assert_eq!(shape(encode_chat(&request, ("here", "m"), Quirks::PLAIN)), named(&apart));
}
