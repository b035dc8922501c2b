//! What of a schema a provider is sent: all that its field for schemas takes, or nothing where the rest would ask for something else. Pure.
//!
//! A keyword that only narrows what is taken can be left out: answers are held against the whole schema all the same. One that gives a value its
//! shape cannot, since objects are closed for providers; then the model is asked in words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::spec::output::{OutputSchema, SchemaWarning, depth};

/// Warnings about one schema; further ones are not told.
const WARNINGS_MAX: usize = 64;

/// Keywords that only narrow what is taken.
const NARROWING: [&str; 20] = [
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
];
/// The others of them.
const NARROWING_TOO: [&str; 3] = ["pattern", "propertyNames", "uniqueItems"];
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

/// How a model is told the form of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerForm {
    /// In words: its requests have no field for it.
    #[default]
    Words,
    /// By a field of the request that takes some schemas.
    Field(SchemaSubset),
}

/// The schemas that a provider's field takes. Their root is an object, and every object in them is closed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SchemaSubset {
    /// The keywords that are taken.
    pub keywords: Vec<String>,
    /// The values that `format` may have.
    pub formats: Vec<String>,
    /// How many members of all objects may be optional; absent for any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optional_max: Option<u32>,
    /// How many places may have several types or `anyOf`; absent for any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unions_max: Option<u32>,
    /// Whether every member of an object has to be required.
    pub all_required: bool,
    /// Whether a schema may contain itself.
    pub recursive: bool,
    /// Whether a schema that is not `strict` is taken as it is.
    pub loose: bool,
}

/// What of a schema a provider is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoweredSchema {
    /// The schema for its field; without one the model is told in words.
    pub sent: Option<Value>,
    /// What it is not sent.
    pub warnings: Vec<SchemaWarning>,
}

impl OutputSchema {
    /// What of it is sent to a model of this provider.
    #[must_use]
    pub fn lower(&self, form: &AnswerForm, provider: &str) -> LoweredSchema {
        let AnswerForm::Field(subset) = form else { return LoweredSchema::default() };
        let mut work = Lowering { subset, told: Vec::new(), unfit: None, optional: 0, unions: 0 };
        let root = Path { above: None, name: "" };
        if self.schema.get("type").is_none_or(|kind| kind != "object") {
            work.give_up(&root, "its root is not of `type` \"object\"");
        } else if subset.loose && !self.strict {
            return LoweredSchema { sent: Some(self.schema.clone()), warnings: Vec::new() };
        } else if !subset.recursive && depth::of(&self.schema).contains_itself {
            work.give_up(&root, "it contains itself");
        }
        let sent = work.node(&self.schema, &root);
        work.count(&root);
        let warning =
            |(path, message)| SchemaWarning { provider: provider.to_owned(), path, message };
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
        let is_list = |kind: &Value| kind.is_array();
        self.unions +=
            u32::from(members.contains_key("anyOf") || members.get("type").is_some_and(is_list));
        if is_object(members) {
            self.close(members, &mut sent, at);
        }
        Value::Object(sent)
    }

    fn member(&mut self, key: &str, value: &Value, at: &Path<'_>) -> Option<Value> {
        if key == "additionalProperties" {
            return None;
        }
        let taken = self.subset.keywords.iter().any(|taken| taken == key)
            && (key != "format" || self.subset.formats.iter().any(|format| value == format));
        match (key, value) {
            _ if !taken && (NARROWING.contains(&key) || NARROWING_TOO.contains(&key)) => {
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
