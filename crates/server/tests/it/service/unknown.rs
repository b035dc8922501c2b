//! Fields that no request has, wherever in it they stand: each object of each request is given one.

use std::collections::{BTreeMap, BTreeSet};

use oarlock_server::operations::{described, operations};
use schemars::SchemaGenerator;
use serde_json::{Value, json};

use super::contract::Program;
use super::{Surface, deferred};

/// Operations that concern no session in particular.
const OF_NO_SESSION: [&str; 6] = [
    "session/create",
    "session/import",
    "session/list",
    "session/peers",
    "session/search",
    "session/send",
];

/// Requests that have every object which a request can have.
fn requests() -> Vec<(&'static str, Value)> {
    let bounds = json!({ "steps": 3 });
    let limits = json!({ "turn": bounds, "session": bounds });
    let form = json!({ "format": "json_schema", "schema": {} });
    let tool = json!({ "name": "lookup", "description": "", "input_schema": { "type": "object" } });
    let prompt = json!([
        { "type": "text", "text": "look" },
        { "type": "image", "media_type": "image/png", "blob": "b1", "bytes": 1 },
        { "type": "document", "media_type": "application/pdf", "name": "a.pdf", "blob": "b1", "bytes": 1 },
    ]);
    let build = json!({
        "budget_limits": { "max_tokens": 9 }, "hooks_override": { "none": true },
        "external_tools": [tool], "output_schema": form,
        "comms_name": "cox", "peer_meta": { "description": "steers" },
    });
    vec![
        ("session/create", json!({ "prompt": prompt, "limits": limits, "build": build })),
        ("session/list", json!({})),
        ("session/search", json!({ "query": "words" })),
        ("session/send", json!({ "to": "cox", "text": "faster" })),
        ("session/peers", json!({})),
        ("turn/start", json!({ "prompt": prompt, "output_schema": form })),
        ("turn/interrupt", json!({})),
        ("turn/wait", json!({})),
        ("session/input", json!({ "prompt": prompt, "delivery": "queue" })),
        ("session/withdraw", json!({ "input": 1 })),
        ("session/answer", json!({ "kind": "permission", "call": "c", "choice": "allow_once" })),
        (
            "session/answer",
            json!({ "kind": "external_tool", "call": "c", "outcome": "failed", "content": prompt }),
        ),
        ("session/compact", json!({})),
        ("session/read", json!({})),
        ("session/entries", json!({})),
        (
            "session/configure",
            json!({
                "limits": limits, "external_tools": [tool], "output": { "structured": { "schema": form } },
            }),
        ),
        ("session/fork", json!({})),
        ("session/import", json!({ "journal": "x" })),
        ("task/cancel", json!({})),
    ]
}

/// The schemas of a request, and what is found of its objects.
struct Walk {
    whole: Value,
    /// Where objects of a request stand, by the schemas that they keep to.
    found: BTreeMap<String, BTreeSet<String>>,
}

impl Walk {
    /// The schema of an operation's request.
    fn of(operation: &str) -> Self {
        let mut schemas = SchemaGenerator::default();
        let operation = described().into_iter().find(|of| of.name == operation).unwrap();
        let request = (operation.request)(&mut schemas).to_value();
        let whole = json!({ "request": request, "$defs": schemas.take_definitions(true) });
        Self { whole, found: BTreeMap::new() }
    }

    /// Looks for the objects of a value that a schema describes.
    fn look(&mut self, (schema, at): (&str, &str), value: &Value) {
        let here = self.whole.pointer(schema).unwrap_or(&Value::Null).clone();
        if let Some(name) = here["$ref"].as_str() {
            self.look((name.trim_start_matches('#'), at), value);
        }
        for choice in ["anyOf", "oneOf", "allOf"] {
            for number in 0..here[choice].as_array().map_or(0, Vec::len) {
                self.look((&format!("{schema}/{choice}/{number}"), at), value);
            }
        }
        let below = |name: &str| format!("{schema}/properties/{name}");
        match value {
            Value::Object(fields) if fits(&here, value) => {
                if is_closed(&here) {
                    self.found.entry(schema.to_owned()).or_default().insert(at.to_owned());
                }
                for (name, value) in fields {
                    self.look((&below(name), &format!("{at}/{name}")), value);
                }
            }
            Value::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    self.look((&format!("{schema}/items"), &format!("{at}/{number}")), item);
                }
            }
            _ => {}
        }
    }
}

/// Whether an object is of this one of several kinds.
fn fits(schema: &Value, value: &Value) -> bool {
    let properties = schema["properties"].as_object();
    properties.is_none_or(|all| {
        all.iter().all(|(name, of)| of.get("const").is_none_or(|tag| value[name] == *tag))
    })
}

/// Whether an object has no more members than are described. What tells a schema from its wrapper describes none.
fn is_closed(schema: &Value) -> bool {
    schema["additionalProperties"] == false && schema["type"] == "object"
}

/// All schemas of objects below one, by where they stand.
fn closed(schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    if is_closed(schema) {
        found.insert(at.to_owned());
    }
    match schema {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, below)| closed(below, &format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, below)| closed(below, &format!("{at}/{n}"), found));
        }
        _ => {}
    }
}

#[test]
fn every_object_that_a_request_can_have_is_closed_and_tried() {
    for operation in operations() {
        let mut walk = Walk::of(operation.name);
        let mut all = BTreeSet::new();
        closed(&walk.whole.clone(), "", &mut all);
        for (name, definition) in walk.whole["$defs"].as_object().unwrap() {
            let is_struct = definition["properties"].is_object();
            assert!(!is_struct || all.contains(&format!("/$defs/{name}")), "{name} takes anything");
        }
        for (_, request) in requests().iter().filter(|(name, _)| *name == operation.name) {
            walk.look(("/request", ""), request);
        }
        // What asks for nothing but its session has the same request everywhere.
        if all != BTreeSet::from(["/$defs/Done".to_owned()]) {
            assert_eq!(walk.found.into_keys().collect::<BTreeSet<_>>(), all, "{}", operation.name);
        }
    }
}

pub(super) async fn a_field_that_no_request_has_is_refused_wherever_it_stands<P: Program>() {
    let desk = P::desk(vec![]);
    let surface = P::Surface::open(&desk).await;
    let session = deferred(&surface).await;
    for (name, request) in requests() {
        let mut walk = Walk::of(name);
        walk.look(("/request", ""), &request);
        assert!(!walk.found.is_empty(), "{name}");
        for at in walk.found.into_values().flatten().collect::<BTreeSet<_>>() {
            let in_session = |mut asked: Value| {
                if !OF_NO_SESSION.contains(&name) {
                    asked["session_id"] = session.as_str().into();
                }
                asked
            };
            if !at.is_empty() {
                let mut asked = request.clone();
                *asked.pointer_mut(&at).unwrap() = json!([]);
                let refusal = surface.call(name, in_session(asked)).await;
                assert_eq!(refusal.unwrap_err().code, "INVALID_REQUEST", "{name} {at}");
            }
            let mut asked = request.clone();
            asked.pointer_mut(&at).unwrap()["colour"] = "red".into();
            let refusal = surface.call(name, in_session(asked)).await.unwrap_err();
            assert_eq!(refusal.code, "INVALID_REQUEST", "{name} {at}");
            // A choice of one has no room for another member, whatever its name.
            let words = &refusal.message;
            let is_told = words.contains("`colour`") || words.contains("a single key");
            assert!(is_told, "{name} {at}: {words}");
        }
    }
    let listed = super::done(&surface, "session/list", json!({})).await;
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1, "nothing was made");
}
