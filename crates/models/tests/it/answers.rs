//! The form of answers on each wire: which models have a field for it, what of a schema that field is sent, and where it stands.

use oarlock_core::message::{Message, Part};
use oarlock_core::ports::model::{AnswerSchema, ModelRequest};
use oarlock_core::spec::{AnswerForm, LoweredSchema, OutputSchema};
use oarlock_models::{
    AnswerSchemas, ProviderConfig, Quirks, catalog, encode_anthropic, encode_chat,
};
use serde_json::{Value, json};

use crate::recorded::request;

fn form(provider: &str, model: &str) -> AnswerForm {
    ProviderConfig::well_known(catalog::find(provider).unwrap(), None).info(model).answer
}

fn lowered(provider: &str, schema: Value, strict: bool) -> LoweredSchema {
    let model = match provider {
        "anthropic" => "claude-sonnet-4-5",
        _ => "gpt-5-mini",
    };
    let schema = OutputSchema { strict, ..OutputSchema::new(schema) };
    schema.lower(&form(provider, model), provider)
}

#[test]
fn a_field_for_schemas_is_known_of_endpoints_and_of_the_models_that_came_before_it() {
    let table = [
        ("anthropic", "claude-sonnet-4-5-20250929", true),
        ("anthropic", "claude-haiku-4-5", true),
        ("anthropic", "claude-of-tomorrow", true),
        ("anthropic", "claude-opus-4-1-20250805", false),
        ("anthropic", "claude-sonnet-4-20250514", false),
        ("anthropic", "claude-3-7-sonnet-latest", false),
        ("openai", "gpt-4o-mini", true),
        ("openai", "gpt-4.1", true),
        ("openai", "gpt-5", true),
        ("openai", "gpt-4-turbo", false),
        ("openai", "gpt-3.5-turbo", false),
        ("deepseek", "deepseek-chat", false),
        ("ollama", "llama3", false),
        ("openrouter", "openai/gpt-5", false),
    ];
    for (provider, model, wanted) in table {
        let is_field = matches!(form(provider, model), AnswerForm::Field(_));
        assert_eq!(is_field, wanted, "{provider}/{model}");
    }
    let known = catalog::find("vllm").unwrap();
    let mut config = ProviderConfig::well_known(known, None);
    config.quirks.answer_schemas = AnswerSchemas::TAKEN;
    assert!(matches!(config.info("any").answer, AnswerForm::Field(_)));
}

/// A schema with something of everything that one wire takes and the other does not.
fn order() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Order",
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": "^o-[0-9]+$", "minLength": 3},
            "day": {"type": "string", "format": "date"},
            "site": {"type": "string", "format": "uri"},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 1, "uniqueItems": true},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null}
        },
        "required": ["id", "lines"],
        "$defs": {"line": {
            "type": "object",
            "properties": {"n": {"type": "integer", "minimum": 1, "description": "how many"}},
            "required": ["n"],
            "additionalProperties": false
        }}
    })
}

#[test]
fn anthropic_messages_is_sent_closed_objects_without_bounds() {
    let LoweredSchema { sent, warnings } = lowered("anthropic", order(), false);
    let wanted = json!({
        "title": "Order",
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "day": {"type": "string", "format": "date"},
            "site": {"type": "string", "format": "uri"},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null}
        },
        "required": ["id", "lines"],
        "$defs": {"line": {
            "type": "object",
            "properties": {"n": {"type": "integer", "description": "how many"}},
            "required": ["n"],
            "additionalProperties": false
        }},
        "additionalProperties": false
    });
    assert_eq!(sent, Some(wanted));
    let places: Vec<&str> = warnings.iter().map(|warning| warning.path.as_str()).collect();
    let wanted = [
        "/properties/id/pattern",
        "/properties/id/minLength",
        "/properties/lines/minItems",
        "/properties/lines/uniqueItems",
        "/$defs/line/properties/n/minimum",
        "",
    ];
    assert_eq!(places, wanted);
}

#[test]
fn openai_chat_is_sent_a_schema_as_it_is_unless_it_is_strict() {
    let loose = lowered("openai", order(), false);
    assert_eq!((loose.sent, loose.warnings.len()), (Some(order()), 0));
    let LoweredSchema { sent, warnings } = lowered("openai", order(), true);
    let sent = sent.unwrap();
    assert_eq!(sent["properties"]["id"], json!({"type": "string", "pattern": "^o-[0-9]+$"}));
    assert_eq!(sent["properties"]["site"], json!({"type": "string"}));
    assert_eq!(sent["properties"]["lines"]["minItems"], 1);
    assert_eq!(sent["required"], json!(["id", "day", "site", "lines", "note"]));
    assert_eq!((&sent["additionalProperties"], sent.get("$schema")), (&json!(false), None));
    let places: Vec<&str> = warnings.iter().map(|warning| warning.path.as_str()).collect();
    let wanted = [
        "/properties/id/minLength",
        "/properties/site/format",
        "/properties/lines/uniqueItems",
        "",
        "",
    ];
    assert_eq!(places, wanted);
}

#[test]
fn what_a_wire_cannot_say_is_asked_in_words() {
    let tree = json!({"type": "object", "additionalProperties": false, "required": ["below"],
        "properties": {"below": {"type": "array", "items": {"$ref": "#"}}}});
    assert!(lowered("openai", tree.clone(), true).sent.is_some());
    let told = lowered("anthropic", tree, false);
    assert_eq!((told.sent, told.warnings.len()), (None, 1));
    assert!(told.warnings[0].message.contains("contains itself"), "{:?}", told.warnings);
    let many: serde_json::Map<_, _> =
        (0..25).map(|n| (format!("m{n}"), json!({"type": "string"}))).collect();
    let many = json!({"type": "object", "properties": many});
    assert!(lowered("openai", many.clone(), true).sent.is_some());
    assert!(lowered("anthropic", many, false).sent.is_none());
    for provider in ["anthropic", "openai"] {
        let list = json!({"type": "array", "items": {"type": "string"}});
        assert!(lowered(provider, list, false).sent.is_none(), "{provider}");
    }
}

fn asking() -> ModelRequest {
    let output =
        AnswerSchema { name: "count".to_owned(), schema: json!({"type": "object"}), strict: true };
    let hello = Message::User { parts: vec![Part::text("hello")] };
    ModelRequest { output: Some(output), ..request(vec![hello]) }
}

#[test]
fn each_wire_has_its_own_field_and_sends_it_only_when_it_is_asked() {
    let parse = |body: Vec<u8>| serde_json::from_slice::<Value>(&body).unwrap();
    let anthropic = |request: &ModelRequest| parse(encode_anthropic(request, "anthropic", "m"));
    let chat = |request: &ModelRequest| parse(encode_chat(request, ("openai", "m"), Quirks::PLAIN));
    let wanted = json!({"format": {"type": "json_schema", "schema": {"type": "object"}}});
    assert_eq!(anthropic(&asking())["output_config"], wanted);
    let wanted = json!({"type": "json_schema",
        "json_schema": {"name": "count", "schema": {"type": "object"}, "strict": true}});
    assert_eq!(chat(&asking())["response_format"], wanted);
    let free = ModelRequest { output: None, ..asking() };
    assert_eq!(anthropic(&free).get("output_config"), None);
    assert_eq!(chat(&free).get("response_format"), None);
    // Nothing else of the body is another one.
    let mut with = anthropic(&asking());
    with.as_object_mut().unwrap().shift_remove("output_config");
    assert_eq!(with, anthropic(&free));
}
