//! The form of answers on each wire: which models have a field for it, where it stands, and what is said in words instead.

use std::sync::Arc;

use futures::StreamExt as _;
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::model::{ModelError, ModelErrorKind, ModelRequest, Models as _};
use oarlock_core::ports::tool::{Runs, ToolSchema};
use oarlock_core::spec::{ModelSelection, OutputSchema, ResolvedSessionCapabilities, SchemaCompat};
use oarlock_models::{
    AnswerSchemas, CannedTransport, Lanes, ProviderConfig, Quirks, Registry, Transport, Wire,
    catalog, encode_anthropic, encode_chat, encode_converse, encode_gemini, encode_responses,
};
use serde_json::{Value, json};

use crate::recorded::request;

fn config(provider: &str) -> ProviderConfig {
    ProviderConfig::well_known(catalog::find(provider).unwrap(), Some("key".to_owned().into()))
}

/// The body that was sent to a model, if one was, and why not if none was.
fn sent(config: ProviderConfig, model: &str, request: ModelRequest) -> Result<Value, ModelError> {
    let provider = config.name.clone();
    let canned = Arc::new(CannedTransport::default());
    let registry =
        Registry::new(vec![config], Arc::clone(&canned) as Arc<dyn Transport>, &Lanes::default());
    let selection = ModelSelection { provider, model: model.to_owned() };
    let model = registry.resolve(&selection).unwrap();
    assert!(model.info().takes_output);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let events: Vec<_> = runtime.block_on(model.call(request).collect());
    match canned.requests().first() {
        Some(sent) => Ok(serde_json::from_slice(&sent.body).unwrap()),
        None => Err(events.into_iter().find_map(Result::err).unwrap()),
    }
}

fn schema() -> OutputSchema {
    OutputSchema::new(json!({"type": "object", "required": ["n"], "additionalProperties": false,
        "properties": {"n": {"type": "integer", "minimum": 1}}}))
}

fn asking(schema: OutputSchema) -> ModelRequest {
    let hello = Message::User { parts: vec![Part::text("hello")] };
    ModelRequest { output: Some(schema), system: "be brief".to_owned(), ..request(vec![hello]) }
}

/// Where the form stands in a body.
fn place(body: &Value) -> &'static str {
    let fields = ["output_config", "response_format", "text", "outputConfig"];
    if body.pointer("/generationConfig/responseJsonSchema").is_some() {
        return "generationConfig";
    }
    fields.into_iter().find(|field| body.get(field).is_some()).unwrap_or("words")
}

#[test]
fn a_field_for_schemas_is_known_of_endpoints_and_of_the_models_that_came_before_it() {
    let table = [
        ("anthropic", "claude-sonnet-4-5-20250929", "output_config"),
        ("anthropic", "claude-haiku-4-5", "output_config"),
        ("anthropic", "claude-of-tomorrow", "output_config"),
        ("anthropic", "claude-opus-4-1-20250805", "words"),
        ("anthropic", "claude-sonnet-4-20250514", "words"),
        ("anthropic", "claude-3-7-sonnet-latest", "words"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "outputConfig"),
        ("bedrock", "openai.gpt-oss-120b-1:0", "outputConfig"),
        ("bedrock", "us.anthropic.claude-sonnet-4-20250514-v1:0", "words"),
        ("bedrock", "us.amazon.nova-2-lite-v1:0", "words"),
        ("openai", "gpt-4o-mini", "response_format"),
        ("openai", "gpt-4.1", "response_format"),
        ("openai", "gpt-5", "response_format"),
        ("openai", "gpt-4-turbo", "words"),
        ("openai", "gpt-3.5-turbo", "words"),
        ("deepseek", "deepseek-chat", "words"),
        ("ollama", "llama3", "words"),
        ("openrouter", "openai/gpt-5", "words"),
        ("google", "gemini-2.5-flash", "generationConfig"),
        ("google", "gemini-3.8-flash", "generationConfig"),
        ("google", "gemini-2.0-flash", "words"),
        ("google", "gemma-3-27b-it", "words"),
    ];
    for (provider, model, wanted) in table {
        let body = sent(config(provider), model, asking(schema())).unwrap();
        assert_eq!(place(&body), wanted, "{provider}/{model}");
        let says = body.to_string().contains("# The form of your answer");
        assert_eq!(says, wanted == "words", "{provider}/{model}");
    }
    let mut own = config("vllm");
    own.quirks.answer_schemas = AnswerSchemas::TAKEN;
    assert_eq!(place(&sent(own, "any", asking(schema())).unwrap()), "response_format");
    let over = |wire| {
        let known = catalog::find("openai").unwrap();
        ProviderConfig { wire, quirks: known.quirks_over(wire).unwrap(), ..config("openai") }
    };
    for (model, wanted) in [("gpt-5", "text"), ("gpt-4-turbo", "words")] {
        let body = sent(over(Wire::OpenAiResponses), model, asking(schema())).unwrap();
        assert_eq!(place(&body), wanted, "{model}");
    }
}

#[test]
fn a_search_of_the_provider_leaves_only_words() {
    let capabilities = ResolvedSessionCapabilities { web_search: true };
    let searching = ModelRequest { capabilities, ..asking(schema()) };
    let body = sent(config("anthropic"), "claude-sonnet-4-5", searching).unwrap();
    assert_eq!(place(&body), "words");
    assert!(body["system"][0]["text"].as_str().unwrap().ends_with(&schema().text()));
}

#[test]
fn a_schema_stands_beside_tools_from_gemini_3_on() {
    let tool = ToolSchema {
        name: "f".to_owned(),
        description: "does f".to_owned(),
        input: json!({"type": "object"}),
        runs: Runs::Here,
    };
    for (model, wanted) in [("gemini-2.5-flash", "words"), ("gemini-3.8-flash", "generationConfig")]
    {
        let request = ModelRequest { tools: Arc::new(vec![tool.clone()]), ..asking(schema()) };
        assert_eq!(place(&sent(config("google"), model, request).unwrap()), wanted, "{model}");
    }
}

#[test]
fn google_is_sent_closed_objects_and_references_that_stand_alone() {
    let schema = json!({"type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"$ref": "#/$defs/n", "description": "n", "minimum": 1},
            "b": {"type": "array", "items": {"type": "string", "pattern": "x"}, "minItems": 1}},
        "$defs": {"n": {"type": "integer", "minimum": 1}}});
    let body =
        sent(config("google"), "gemini-3.8-flash", asking(OutputSchema::new(schema))).unwrap();
    let wanted = json!({"type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"$ref": "#/$defs/n"},
            "b": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
        "$defs": {"n": {"type": "integer", "minimum": 1}}});
    let config = &body["generationConfig"];
    assert_eq!(
        (&config["responseJsonSchema"], &config["responseMimeType"]),
        (&wanted, &json!("application/json"))
    );
}

#[test]
fn a_schema_that_must_be_taken_whole_is_refused_before_anything_is_sent() {
    let whole = |schema: OutputSchema| OutputSchema { compat: SchemaCompat::Strict, ..schema };
    let error =
        sent(config("anthropic"), "claude-sonnet-4-5", asking(whole(schema()))).unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::InvalidRequest);
    assert!(error.message.contains("`/properties/n/minimum`"), "{error}");
    // Words leave out nothing, and this wire takes it all.
    for (provider, model) in [("anthropic", "claude-sonnet-4"), ("openai", "gpt-5")] {
        assert!(sent(config(provider), model, asking(whole(schema()))).is_ok(), "{provider}");
    }
}

#[test]
fn each_wire_has_its_own_field_and_sends_it_only_when_it_is_asked() {
    let parse = |body: Vec<u8>| serde_json::from_slice::<Value>(&body).unwrap();
    let anthropic = |request: &ModelRequest| parse(encode_anthropic(request, "anthropic", "m"));
    let chat = |request: &ModelRequest| parse(encode_chat(request, ("openai", "m"), Quirks::PLAIN));
    let responses =
        |request: &ModelRequest| parse(encode_responses(request, ("openai", "m"), Quirks::PLAIN));
    let object = OutputSchema::new(json!({"type": "object"}));
    let named = OutputSchema { name: Some("count".to_owned()), strict: true, ..object.clone() };
    let wanted = json!({"format": {"type": "json_schema", "schema": {"type": "object"}}});
    assert_eq!(anthropic(&asking(named.clone()))["output_config"], wanted);
    for (schema, name, strict) in [(named, "count", true), (object.clone(), "answer", false)] {
        let wanted = json!({"type": "json_schema",
            "json_schema": {"name": name, "schema": {"type": "object"}, "strict": strict}});
        assert_eq!(chat(&asking(schema.clone()))["response_format"], wanted);
        let wanted = json!({"format": {"type": "json_schema", "name": name, "schema": {"type": "object"}, "strict": strict}});
        assert_eq!(responses(&asking(schema))["text"], wanted);
    }
    let google = |request: &ModelRequest| parse(encode_gemini(request, "google", "m"));
    let wanted =
        json!({"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}});
    assert_eq!(google(&asking(object.clone()))["generationConfig"], wanted);
    let converse = |request: &ModelRequest| {
        parse(encode_converse(request, ("bedrock", "claude"), Quirks::PLAIN))
    };
    let body = converse(&asking(OutputSchema { name: Some("count".to_owned()), ..object.clone() }));
    let wanted = json!({"type": "json_schema", "structure": {"jsonSchema":
        {"name": "count", "schema": "{\"type\":\"object\"}"}}});
    assert_eq!(body["outputConfig"]["textFormat"], wanted);
    let free = ModelRequest { output: None, ..asking(object.clone()) };
    assert_eq!(anthropic(&free).get("output_config"), None);
    assert_eq!(chat(&free).get("response_format"), None);
    assert_eq!(responses(&free).get("text"), None);
    assert_eq!(converse(&free).get("outputConfig"), None);
    // Nothing else of the body is another one.
    let mut with = anthropic(&asking(object));
    with.as_object_mut().unwrap().shift_remove("output_config");
    assert_eq!(with, anthropic(&free));
}
