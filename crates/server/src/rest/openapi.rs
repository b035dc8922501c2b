//! What the server can be asked for, in OpenAPI 3.1, made from the table of operations.
//!
//! The program carries the text of `docs/openapi.json`, packed, not what would write it from the types, which is many times as large. A test holds the one to the other.

use std::io;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::read::ZlibDecoder;
use oarlock_core::event::AgentEvent;
use oarlock_core::ids::SessionId;
use oarlock_core::service::Cursor;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::reply::Refusal;
use crate::operations::{Described, Operation, Verb, described, operations};

/// The description as it was agreed, in as few bytes as JSON has.
#[must_use]
pub fn agreed() -> Bytes {
    static AGREED: LazyLock<Bytes> = LazyLock::new(|| {
        let packed = include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.zz"));
        let text = io::read_to_string(ZlibDecoder::new(packed.as_slice()));
        let described = text.map(|text| serde_json::from_str::<Value>(&text));
        let described = described.expect("it was packed when this was built");
        described.expect("a test holds what was packed to the types").to_string().into()
    });
    AGREED.clone()
}

/// The whole description, from the types.
#[must_use]
pub fn of_the_types() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    let refusal = schemas.subschema_for::<Refusal<'static>>();
    for (operation, of) in operations().iter().zip(described()) {
        let verb = match operation.verb {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        };
        let described = one(operation, &of, (&mut schemas, &refusal));
        add(&mut paths, (operation.path, verb), described);
    }
    let event = schemas.subschema_for::<AgentEvent>();
    let session = the_session(&mut schemas);
    let cursor = schemas.subschema_for::<Cursor>().to_value();
    let beside = events(&event, (&session, &cursor), &refusal);
    for (path, verb, described) in beside.into_iter().chain(bodies(&session, &refusal)) {
        add(&mut paths, (path, verb), described);
    }
    let definitions = schemas.take_definitions(true);
    let mut whole = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Oarlock",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Durable sessions of agents. Every path but /healthz and /readyz wants a token. Fields that are not described are refused.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:7350" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    });
    bound(&mut whole);
    whole
}

/// Says of integers where they end, which a format alone does not.
fn bound(described: &mut Value) {
    match described {
        Value::Object(fields) => {
            let max = match fields.get("format").and_then(Value::as_str) {
                Some("uint8") => Some(u64::from(u8::MAX)),
                Some("uint32") => Some(u64::from(u32::MAX)),
                Some("uint64") => Some(u64::MAX),
                _ => None,
            };
            if let Some(max) = max {
                fields.entry("maximum").or_insert_with(|| max.into());
            }
            fields.values_mut().for_each(bound);
        }
        Value::Array(items) => items.iter_mut().for_each(bound),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn add(paths: &mut Map<String, Value>, (path, verb): (&str, &str), described: Value) {
    let methods = paths.entry(path).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(methods) = methods {
        methods.insert(verb.to_owned(), described);
    }
}

fn one(
    operation: &Operation,
    of: &Described,
    (schemas, refusal): (&mut SchemaGenerator, &Schema),
) -> Value {
    let request = (of.request)(schemas);
    let response = (of.response)(schemas);
    let fields = fields(&request, schemas);
    let in_path = |name: &str| operation.path.contains(&format!("{{{name}}}"));
    let mut parameters = Vec::new();
    if in_path("session_id") {
        parameters.push(the_session(schemas));
    }
    let takes_body = matches!(operation.verb, Verb::Post | Verb::Patch);
    for (name, schema) in &fields.of {
        let words = schema["description"].as_str().unwrap_or_default();
        if in_path(name) {
            parameters.push(parameter(name, ("path", true), (words, schema)));
        } else if !takes_body {
            parameters.push(in_query(name, fields.required.contains(name), (words, schema)));
        }
    }
    if takes_body && fields.of.contains_key("idempotency_key") {
        let words = "The same as `idempotency_key` of the body.";
        let schema = &fields.of["idempotency_key"];
        parameters.push(parameter("Idempotency-Key", ("header", false), (words, schema)));
    }
    let mut described = json!({
        "operationId": operation.name,
        "summary": operation.summary,
        "description": format!("Wants the scope `{}`.", format!("{:?}", operation.scope).to_lowercase()),
        "parameters": parameters,
        "responses": {
            "200": { "description": "Done.", "content": { "application/json": { "schema": response } } },
            "default": refused(refusal),
        },
    });
    if takes_body {
        described["requestBody"] = json!({
            "required": fields.has_to_be_said,
            "content": { "application/json": { "schema": request } },
        });
    }
    described
}

/// The fields of a request, and those that must be there.
struct Fields {
    of: Map<String, Value>,
    required: Vec<String>,
    /// Whether a request without any field is refused.
    has_to_be_said: bool,
}

fn fields(schema: &Schema, schemas: &mut SchemaGenerator) -> Fields {
    let named = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.rsplit('/').next());
    let definition = named.and_then(|name| schemas.definitions().get(name));
    let whole = definition.unwrap_or_else(|| schema.as_value());
    let required = |of: &Value| {
        let names = of["required"].as_array().into_iter().flatten();
        names.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let is_said = |ways: &Value| match ways.as_array() {
        Some(ways) => ways.iter().all(|way| !required(way).is_empty()),
        None => false,
    };
    Fields {
        of: whole["properties"].as_object().cloned().unwrap_or_default(),
        required: required(whole),
        has_to_be_said: !required(whole).is_empty()
            || is_said(&whole["anyOf"])
            || is_said(&whole["oneOf"]),
    }
}

fn the_session(schemas: &mut SchemaGenerator) -> Value {
    let id = schemas.subschema_for::<SessionId>().to_value();
    parameter("session_id", ("path", true), ("The session.", &id))
}

fn parameter(
    name: &str,
    (place, required): (&str, bool),
    (description, schema): (&str, &Value),
) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(schema) = &mut schema {
        schema.remove("description");
        schema.remove("default");
        // What is absent is left out, never called null.
        if let Some(Value::Array(kinds)) = schema.get_mut("type") {
            kinds.retain(|kind| kind != "null");
        }
        if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
            choices.retain(|choice| choice["type"] != "null");
        }
    }
    json!({
        "name": name, "in": place, "required": required, "description": description, "schema": schema,
    })
}

/// A field of a query: pairs are said one by one.
fn in_query(name: &str, required: bool, (description, schema): (&str, &Value)) -> Value {
    if schema["type"] != "object" {
        return parameter(name, ("query", required), (description, schema));
    }
    let name = name.trim_end_matches('s');
    let words = format!("{description} Each as {name}=NAME=VALUE.");
    let pairs = json!({ "type": "array", "items": { "type": "string", "pattern": "^[^=]+=" } });
    parameter(name, ("query", required), (&words, &pairs))
}

fn refused(refusal: &Schema) -> Value {
    json!({ "description": "Refused; `code` says why.", "content": { "application/json": { "schema": refusal } } })
}

type Beside = (&'static str, &'static str, Value);

fn answers(words: &str, content: &Value, refusal: &Schema) -> Value {
    json!({ "200": { "description": words, "content": content }, "default": refused(refusal) })
}

fn in_path(name: &str, words: &str) -> Value {
    parameter(name, ("path", true), (words, &json!({ "type": "string" })))
}

/// Following a session, which is no operation: it does not end.
fn events(event: &Schema, (session, cursor): (&Value, &Value), refusal: &Schema) -> Vec<Beside> {
    let words = "The cursor behind which it begins; the beginning when absent.";
    let after = parameter("after", ("query", false), (words, cursor));
    let words = "The cursor that was received last; it comes before `after`.";
    let last = parameter("Last-Event-ID", ("header", false), (words, cursor));
    let stream = json!({ "text/event-stream": { "schema": {
        "type": "object",
        "required": ["data"],
        "properties": {
            "id": cursor,
            "event": { "type": "string" },
            "data": { "type": "string", "contentMediaType": "application/json", "contentSchema": event },
            "retry": { "type": "integer" },
        },
    } } });
    let about = "Wants the scope `read`. `event` is entry, delta, caught_up or scoped, `data` the event, `id` the cursor: entries alone have one. A comment every 15 seconds says that the stream lives.";
    let streamed = json!({
        "operationId": "session/events",
        "summary": "Everything that happens to a session after a cursor, as server-sent events",
        "description": about,
        "parameters": [session, after, last],
        "responses": answers("The stream.", &stream, refusal),
    });
    let socket = json!({
        "operationId": "session/ws",
        "summary": "The same over a WebSocket, a text message each",
        "description": "Wants the scope `read`. Without an upgrade it is refused with status 426.",
        "parameters": [session, after],
        "responses": { "101": { "description": "The socket." }, "default": refused(refusal) },
    });
    vec![
        ("/v1/sessions/{session_id}/events", "get", streamed),
        ("/v1/sessions/{session_id}/ws", "get", socket),
    ]
}

/// What is no JSON, and this description.
fn bodies(session: &Value, refusal: &Schema) -> Vec<Beside> {
    let bytes = json!({ "application/octet-stream": {} });
    let words = "One range of bytes.";
    let range = parameter("Range", ("header", false), (words, &json!({ "type": "string" })));
    let stored = json!({ "application/json": { "schema": {
        "type": "object",
        "required": ["blob", "bytes"],
        "properties": { "blob": { "type": "string" }, "bytes": { "type": "integer" } },
    } } });
    let put = json!({
        "operationId": "blob/put",
        "summary": "Store a body of up to 16 MiB, to be named by a prompt",
        "description": "Wants the scope `turn`.",
        "requestBody": { "content": bytes },
        "responses": answers("Its name.", &stored, refusal),
    });
    let blob = in_path("blob", "The body, as entries name it.");
    let get = json!({
        "operationId": "blob/get",
        "summary": "A body that an entry of the session names",
        "description": "Wants the scope `read`.",
        "parameters": [session, blob, range],
        "responses": {
            "200": { "description": "The body.", "content": bytes },
            "206": { "description": "The range of it.", "content": bytes },
            "default": refused(refusal),
        },
    });
    let description = json!({
        "operationId": "openapi",
        "summary": "This description",
        "responses": answers("It.", &json!({ "application/json": {} }), refusal),
    });
    vec![
        ("/v1/blobs", "post", put),
        ("/v1/sessions/{session_id}/blobs/{blob}", "get", get),
        ("/v1/openapi.json", "get", description),
    ]
}
