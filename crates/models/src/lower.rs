//! What of a schema a provider is sent: all that its field for schemas takes, or nothing where the rest would ask for something else. Pure.
//!
//! A keyword that only narrows what is taken can be left out: answers are held against the whole schema all the same. One that gives a value its
//! shape cannot, since objects are closed for providers; then the model is asked in words.

use serde_json::{Map, Value, json};

use std::collections::HashSet;

use oarlock_core::spec::{OutputSchema, SchemaWarning};

/// Warnings about one schema; further ones are not told.
const WARNINGS_MAX: usize = 64;

/// Keywords that only narrow what is taken.
const NARROWING: [&str; 23] = [
    "contains",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "dependentRequired",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "pattern",
    "propertyNames",
    "uniqueItems",
];
/// Keywords that say nothing about what is taken.
const NOTES: [&str; 11] = [
    "$comment",
    "$schema",
    "$vocabulary",
    "default",
    "deprecated",
    "description",
    "example",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

/// The schemas that a provider's field takes. Their root is an object, and every object in them is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SchemaSubset {
    /// The keywords that are taken.
    pub(crate) keywords: &'static [&'static str],
    /// The values that `format` may have.
    pub(crate) formats: &'static [&'static str],
    /// How many members of all objects may be optional; absent for any number.
    pub(crate) optional_max: Option<u32>,
    /// How many places may have several types or `anyOf`; absent for any number.
    pub(crate) unions_max: Option<u32>,
    /// Whether every member of an object has to be required.
    pub(crate) all_required: bool,
    /// Which references it may have.
    pub(crate) references: References,
    /// Whether a schema that is not `strict` is taken as it is.
    pub(crate) loose: bool,
}

/// Which references a schema may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum References {
    /// Any: it may contain itself.
    Any,
    /// Those by which it does not contain itself.
    Acyclic,
    /// The same, and nothing beside them.
    Alone,
}

/// What of a schema a provider is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LoweredSchema {
    /// The schema for its field; without one the model is told in words.
    pub(crate) sent: Option<Value>,
    /// What it is not sent.
    pub(crate) warnings: Vec<SchemaWarning>,
}

/// What of a schema is sent to a model of this provider.
pub(crate) fn lower(asked: &OutputSchema, subset: &SchemaSubset, provider: &str) -> LoweredSchema {
    let mut work = Lowering { subset, told: Vec::new(), unfit: None, optional: 0, unions: 0 };
    let root = Path { above: None, name: "" };
    if asked.schema.get("type").is_none_or(|kind| kind != "object") {
        work.give_up(&root, "its root is not of `type` \"object\"");
    } else if subset.loose && !asked.strict {
        return LoweredSchema { sent: Some(asked.schema.clone()), warnings: Vec::new() };
    } else if subset.references != References::Any && contains_itself(&asked.schema) {
        work.give_up(&root, "it contains itself");
    }
    let sent = work.node(&asked.schema, &root);
    work.count(&root);
    let warning = |(path, message)| SchemaWarning { provider: provider.to_owned(), path, message };
    match work.unfit {
        Some((path, why)) => {
            let why = format!("{why}: {provider} does not take that, and is asked in words");
            LoweredSchema { sent: None, warnings: vec![warning((path, why))] }
        }
        None => LoweredSchema {
            sent: Some(sent),
            warnings: work.told.into_iter().map(warning).collect(),
        },
    }
}

/// A place in a schema.
struct Path<'a> {
    above: Option<&'a Self>,
    name: &'a str,
}

impl Path<'_> {
    fn pointer(&self) -> String {
        let Some(above) = self.above else { return String::new() };
        format!("{}/{}", above.pointer(), self.name.replace('~', "~0").replace('/', "~1"))
    }
}

struct Lowering<'a> {
    subset: &'a SchemaSubset,
    told: Vec<(String, String)>,
    unfit: Option<(String, String)>,
    optional: u32,
    unions: u32,
}

impl Lowering<'_> {
    fn give_up(&mut self, at: &Path<'_>, why: &str) {
        self.unfit.get_or_insert_with(|| (at.pointer(), why.to_owned()));
    }

    fn warn(&mut self, at: &Path<'_>, message: String) {
        if self.told.len() < WARNINGS_MAX {
            self.told.push((at.pointer(), message));
        }
    }

    fn count(&mut self, root: &Path<'_>) {
        let counts = [
            (self.optional, self.subset.optional_max, "members that are not required"),
            (self.unions, self.subset.unions_max, "places with several types"),
        ];
        for (count, max, what) in counts {
            if max.is_some_and(|max| count > max) {
                self.give_up(root, &format!("it has {count} {what}"));
            }
        }
    }

    fn node(&mut self, schema: &Value, at: &Path<'_>) -> Value {
        let Some(members) = schema.as_object().filter(|members| says_something(members)) else {
            self.give_up(at, "it takes any value");
            return Value::Null;
        };
        let mut sent = Map::new();
        for (key, value) in members {
            let below = Path { above: Some(at), name: key };
            if let Some(value) = self.member(key, value, &below) {
                sent.insert(key.clone(), value);
            }
        }
        if self.subset.references == References::Alone && sent.contains_key("$ref") {
            self.alone(&mut sent, at);
        }
        let is_list = |kind: &Value| kind.is_array();
        self.unions +=
            u32::from(members.contains_key("anyOf") || members.get("type").is_some_and(is_list));
        if is_object(members) {
            self.close(members, &mut sent, at);
        }
        Value::Object(sent)
    }

    /// Takes away what stands beside a reference: what only narrows or notes, since what gives shape is given up elsewhere.
    fn alone(&mut self, sent: &mut Map<String, Value>, at: &Path<'_>) {
        let beside: Vec<String> =
            sent.keys().filter(|key| !key.starts_with('$')).cloned().collect();
        for key in beside {
            sent.shift_remove(&key);
            if !NOTES.contains(&key.as_str()) {
                self.warn(
                    at,
                    format!("`{key}` is not sent beside `$ref`; answers are held against it here"),
                );
            }
        }
    }

    fn member(&mut self, key: &str, value: &Value, at: &Path<'_>) -> Option<Value> {
        if key == "additionalProperties" {
            return None;
        }
        let taken = self.subset.keywords.contains(&key)
            && (key != "format" || self.subset.formats.iter().any(|format| value == *format));
        match (key, value) {
            _ if !taken && NARROWING.contains(&key) => {
                self.warn(at, format!("`{key}` is not sent; answers are held against it here"));
                None
            }
            _ if !taken => {
                let is_note = NOTES.contains(&key) || key.starts_with("x-");
                let is_base = key == "$id" && at.above.is_some_and(|above| above.above.is_none());
                if !is_note && !is_base {
                    self.give_up(at, &format!("it has `{key}`"));
                }
                None
            }
            ("properties" | "$defs" | "definitions", Value::Object(schemas)) => {
                let below = schemas.iter().map(|(name, schema)| {
                    (name.clone(), self.node(schema, &Path { above: Some(at), name }))
                });
                Some(Value::Object(below.collect()))
            }
            ("anyOf" | "allOf" | "oneOf", Value::Array(schemas)) => {
                let below = schemas.iter().enumerate().map(|(index, schema)| {
                    self.node(schema, &Path { above: Some(at), name: &index.to_string() })
                });
                Some(Value::Array(below.collect()))
            }
            ("items", schema) => Some(self.node(schema, at)),
            ("enum", Value::Array(values))
                if values.iter().any(|value| value.is_array() || value.is_object()) =>
            {
                self.give_up(at, "it lists lists or objects");
                None
            }
            ("$ref", Value::String(to)) if !to.starts_with('#') => {
                self.give_up(at, "it refers to what is outside");
                None
            }
            _ => Some(value.clone()),
        }
    }

    /// Objects are closed for providers. That is no more than a person means who lists members, and wrong where names are free.
    fn close(
        &mut self,
        members: &Map<String, Value>,
        sent: &mut Map<String, Value>,
        at: &Path<'_>,
    ) {
        let names: Vec<&String> = members
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::keys)
            .collect();
        match members.get("additionalProperties") {
            Some(Value::Bool(false)) => {}
            None | Some(Value::Bool(true)) if names.is_empty() => {
                self.give_up(at, "its members have any names");
            }
            None | Some(Value::Bool(true)) => {
                self.warn(at, "the object is closed: no other members are asked for".to_owned());
            }
            Some(_) => self.give_up(at, "its members have any names"),
        }
        if ["anyOf", "allOf", "oneOf", "$ref"].iter().any(|key| members.contains_key(*key)) {
            self.give_up(at, "its members stand in several places");
        }
        sent.insert("additionalProperties".to_owned(), json!(false));
        let required = members.get("required").and_then(Value::as_array);
        let is_optional = |name: &String| {
            !required.is_some_and(|names| names.iter().any(|required| required == name))
        };
        let optional = names.iter().filter(|name| is_optional(name)).count();
        if !self.subset.all_required {
            self.optional += u32::try_from(optional).unwrap_or(u32::MAX);
        } else if optional > 0 {
            self.warn(at, "all members are asked for, the optional ones too".to_owned());
            sent.insert("required".to_owned(), json!(names));
        }
    }
}

fn says_something(members: &Map<String, Value>) -> bool {
    ["type", "enum", "const", "anyOf", "allOf", "oneOf", "$ref"]
        .iter()
        .any(|key| members.contains_key(*key))
}

fn is_object(members: &Map<String, Value>) -> bool {
    let is = |kind: &Value| kind == "object";
    let typed = members
        .get("type")
        .is_some_and(|kind| is(kind) || kind.as_array().is_some_and(|kinds| kinds.iter().any(is)));
    typed || members.contains_key("properties")
}

/// Whether a way through it leads back to where it was.
fn contains_itself(schema: &Value) -> bool {
    let mut walk = Walk { root: schema, open: vec![""], done: HashSet::new() };
    walk.lead_back(schema)
}

struct Walk<'a> {
    root: &'a Value,
    open: Vec<&'a str>,
    done: HashSet<&'a str>,
}

impl<'a> Walk<'a> {
    fn lead_back(&mut self, value: &'a Value) -> bool {
        match value {
            Value::Array(items) => items.iter().any(|item| self.lead_back(item)),
            Value::Object(members) => {
                members.iter().any(|(key, value)| match (key.as_str(), value) {
                    ("$ref", Value::String(to)) => self.follow(to.trim_start_matches('#')),
                    _ => self.lead_back(value),
                })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }

    fn follow(&mut self, pointer: &'a str) -> bool {
        if self.open.contains(&pointer) {
            return true;
        }
        let Some(target) = self.root.pointer(pointer).filter(|_| !self.done.contains(pointer))
        else {
            return false;
        };
        self.open.push(pointer);
        let leads_back = self.lead_back(target);
        self.open.pop();
        self.done.insert(pointer);
        leads_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::{ANTHROPIC, OPENAI};

    fn lowered(provider: &str, schema: Value, strict: bool) -> LoweredSchema {
        let subset = if provider == "anthropic" { &ANTHROPIC } else { &OPENAI };
        lower(&OutputSchema { strict, ..OutputSchema::new(schema) }, subset, provider)
    }

    const NARROW: SchemaSubset = SchemaSubset {
        keywords: &[
            "$defs",
            "$ref",
            "anyOf",
            "description",
            "enum",
            "format",
            "items",
            "properties",
            "required",
            "type",
        ],
        formats: &["date"],
        optional_max: Some(2),
        unions_max: Some(1),
        all_required: false,
        references: References::Acyclic,
        loose: false,
    };

    #[test]
    fn what_only_narrows_is_left_out_and_told_and_what_gives_shape_is_asked_in_words() {
        let object = |properties: Value| json!({"type": "object", "properties": properties, "additionalProperties": false});
        let sent = |schema: Value| (Some(schema), Vec::new());
        let (a, text) = (json!({"a": {"type": "string"}}), json!({"type": "string"}));
        let words = |place: &'static str| (None, vec![place]);
        let table = [
            (object(a.clone()), sent(object(a.clone()))),
            (
                object(json!({"a": {"type": "string", "minLength": 1, "title": "t"}})),
                (Some(object(a.clone())), vec!["/properties/a/minLength"]),
            ),
            (
                object(json!({"a": {"type": "string", "format": "uri"}})),
                (Some(object(a.clone())), vec!["/properties/a/format"]),
            ),
            (json!({"type": "object", "properties": a}), (Some(object(a.clone())), vec![""])),
            (
                json!({"$schema": "s", "$id": "i", "type": "object", "properties": a, "additionalProperties": false}),
                sent(object(a.clone())),
            ),
            // What has no name of its own, or takes anything, is no closed object.
            (json!({"type": "object"}), words("")),
            (json!({"type": "object", "additionalProperties": text}), words("")),
            (object(json!({"a/b": {}})), words("/properties/a~1b")),
            (object(json!({"a": true})), words("/properties/a")),
            (object(json!({"a": {"oneOf": [text]}})), words("/properties/a/oneOf")),
            (json!({"type": "object", "properties": a, "if": {}}), words("/if")),
            (json!({"type": "object", "properties": a, "anyOf": [text]}), words("")),
            (json!({"type": "array", "items": text}), words("")),
            (object(json!({"a": {"enum": [[1]]}})), words("/properties/a/enum")),
            (object(json!({"a": text, "b": text, "c": text})), words("")),
            (object(json!({"a": {"type": ["string", "null"]}, "b": {"anyOf": [text]}})), words("")),
            (object(json!({"a": {"$ref": "#"}})), words("")),
        ];
        for (schema, (wanted, places)) in table {
            let lowered = lower(&OutputSchema::new(schema.clone()), &NARROW, "acme");
            assert_eq!(lowered.sent, wanted, "{schema}: {:?}", lowered.warnings);
            let told: Vec<&str> =
                lowered.warnings.iter().map(|warning| warning.path.as_str()).collect();
            assert_eq!(told, places, "{schema}: {:?}", lowered.warnings);
            assert!(lowered.warnings.iter().all(|warning| warning.provider == "acme"));
        }
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
        let many: Map<_, _> =
            (0..25).map(|n| (format!("m{n}"), json!({"type": "string"}))).collect();
        let many = json!({"type": "object", "properties": many});
        assert!(lowered("openai", many.clone(), true).sent.is_some());
        assert!(lowered("anthropic", many, false).sent.is_none());
        for provider in ["anthropic", "openai"] {
            let list = json!({"type": "array", "items": {"type": "string"}});
            assert!(lowered(provider, list, false).sent.is_none(), "{provider}");
        }
    }
}
