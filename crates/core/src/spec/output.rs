//! The form of a turn's answer: a JSON schema, what is taken for one, and whether an answer is of it. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use jsonschema::Validator;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::holding::{NotHeld, REFERENCES, goes_round, with_validator};

/// Bytes that a schema may have as JSON. 64 KB.
pub const SCHEMA_BYTES: usize = 64 * 1024;
/// How a model is told in words.
const WORDS: &str = "# The form of your answer\n\nOnce everything is done, answer with nothing but JSON of this schema: no other words, no code fence.\n\n";
/// How often a model is asked again whose answer does not fit, unless somebody says otherwise.
pub const OUTPUT_RETRIES: u32 = 2;
/// How often it may be asked again at most.
pub const OUTPUT_RETRIES_MAX: u32 = 16;
/// Regular expressions that a schema may have.
const PATTERNS_MAX: usize = 256;
/// Characters that a schema's name may have.
const NAME_CHARS: usize = 64;
/// Levels that a schema may have, counted for each part that it refers to.
const LEVELS_MAX: usize = 512;
/// Levels that an answer may have.
const NESTING_MAX: usize = 64;
/// Faults of an answer that a model is told of.
const FAULTS_MAX: usize = 8;
/// Characters that one of them has at most.
const FAULT_CHARS: usize = 300;

/// What a session's turns are to end with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StructuredOutput {
    /// The form of the answer.
    pub schema: OutputSchema,
    /// How often the model is asked again when its answer does not fit, 16 at most.
    #[serde(default = "retries")]
    pub retries: u32,
}

fn retries() -> u32 {
    OUTPUT_RETRIES
}

/// The form of the answers from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputChange {
    /// Free text.
    Text,
    /// JSON of a schema.
    Structured(Box<StructuredOutput>),
}

/// A JSON schema for an answer.
///
/// It is read from a schema as it is, or from a wrapper: an object that has `schema`, and either `format` as it is written here or no member that a
/// wrapper has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputSchema {
    /// What the form below is called.
    pub format: SchemaFormat,
    /// The schema. Answers are held against all of it, whatever a provider takes of it.
    pub schema: Value,
    /// A name for providers that want one: letters, digits, `_` and `-`, 64 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether a provider that knows a choice is told to keep its model to the schema word by word.
    pub strict: bool,
    /// What becomes of a schema that the provider takes in part.
    pub compat: SchemaCompat,
}

/// What the form of a wrapper is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaFormat {
    /// A JSON schema.
    #[default]
    JsonSchema,
}

/// What becomes of a schema that the provider takes in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaCompat {
    /// It is sent what it takes, and the journal says what it is not sent.
    #[default]
    Lossy,
    /// The model is not called.
    Strict,
}

/// What of a schema a provider was not sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchemaWarning {
    /// The provider.
    pub provider: String,
    /// The place in the schema, as a JSON pointer.
    pub path: String,
    /// What it is, and what takes its place.
    pub message: String,
}

/// Why something is not taken for a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the output schema is refused{}: {why}", at(path))]
pub struct InvalidOutputSchema {
    /// The place in the schema, as a JSON pointer; empty for all of it.
    pub path: String,
    /// In words for a person.
    pub why: String,
}

fn at(path: &str) -> Cow<'_, str> {
    if path.is_empty() { Cow::Borrowed("") } else { Cow::Owned(format!(" at {path}")) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapper {
    #[serde(default)]
    format: SchemaFormat,
    schema: Value,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    strict: bool,
    #[serde(default)]
    compat: SchemaCompat,
}

const WRAPPER: [&str; 5] = ["format", "schema", "name", "strict", "compat"];

/// Whether it is a wrapper and no schema.
fn is_wrapper(value: &Value) -> bool {
    let Some(object) = value.as_object().filter(|object| object.contains_key("schema")) else {
        return false;
    };
    let marked = object.get("format").is_some_and(|format| format == "json_schema");
    marked || object.keys().all(|key| WRAPPER.contains(&key.as_str()))
}

impl JsonSchema for OutputSchema {
    fn schema_name() -> Cow<'static, str> {
        "OutputSchema".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "description": "A JSON schema of at most 64 KB; or an object with `schema` and any of `format` (\"json_schema\"), `name`, `strict` and `compat` (\"lossy\" or \"strict\")."
        })
    }
}

impl<'de> Deserialize<'de> for OutputSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::read(value).map_err(serde::de::Error::custom)
    }
}

impl OutputSchema {
    /// A schema as it is, asked for as leniently as can be.
    #[must_use]
    pub fn new(schema: Value) -> Self {
        let (format, compat) = (SchemaFormat::JsonSchema, SchemaCompat::Lossy);
        Self { format, schema, name: None, strict: false, compat }
    }

    /// Reads a schema or a wrapper, and checks it.
    ///
    /// # Errors
    /// [`InvalidOutputSchema`] with the place in the schema.
    pub fn parse(value: Value) -> Result<Self, InvalidOutputSchema> {
        let schema = Self::read(value).map_err(|why| refused("", why))?;
        schema.check().map(|()| schema)
    }

    fn read(value: Value) -> Result<Self, String> {
        if !is_wrapper(&value) {
            return Ok(Self::new(value));
        }
        let Wrapper { format, schema, name, strict, compat } =
            serde_json::from_value(value).map_err(|error| error.to_string())?;
        Ok(Self { format, schema, name, strict, compat })
    }

    /// Whether answers can be held against it: no reference leaves it or goes round, and it is as small and as deep as schemas may be. What an answer
    /// takes to be held against it is bounded whatever it is: [`Misfit::Unknown`].
    ///
    /// # Errors
    /// [`InvalidOutputSchema`] with the place in the schema.
    pub fn check(&self) -> Result<(), InvalidOutputSchema> {
        if !self.schema.is_object() {
            return Err(refused("", "a schema is a JSON object"));
        }
        let bytes = self.text().len();
        if bytes > SCHEMA_BYTES {
            return Err(refused("", format!("it has {bytes} bytes and may have {SCHEMA_BYTES}")));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let is_name = |name: &str| (1..=NAME_CHARS).contains(&name.len()) && name.chars().all(fits);
        if self.name.as_deref().is_some_and(|name| !is_name(name)) {
            let why = "its name has 1 to 64 letters, digits, `_` and `-`";
            return Err(refused("", why));
        }
        self.check_reach().map_err(|why| refused("", why))?;
        match with_validator(&self.schema, |_| ()) {
            Ok(Ok(())) => Ok(()),
            Ok(Err((path, why))) => Err(refused(&path, cut(&why))),
            Err(not_held) => Err(refused("", not_held.to_string())),
        }
    }

    /// Whether references lead to places of the schema alone, and everything that is walked down is bounded.
    fn check_reach(&self) -> Result<(), String> {
        let mut reach = Reach::default();
        self.schema.as_object().into_iter().for_each(|root| reach.look_below(root));
        let targets = reach.targets.iter().map(|to| {
            let pointer = to.strip_prefix('#').filter(|pointer| !pointer.contains('%'));
            pointer.and_then(|pointer| self.schema.pointer(pointer)).ok_or(*to)
        });
        let targets = targets.collect::<Result<Vec<_>, _>>().map_err(|to| {
            format!("it refers to \"{to}\"; refer to a part of it by its place, as `#/$defs/…`: nothing is fetched")
        })?;
        // A way down takes each reference once at most before it is where it was.
        let levels = nesting(&self.schema) + targets.into_iter().map(nesting).sum::<usize>();
        let table = [
            (reach.patterns, PATTERNS_MAX, "regular expressions"),
            (levels, LEVELS_MAX, "levels, with those of everything that it refers to"),
        ];
        if let Some((count, max, what)) = table.iter().find(|(count, max, _)| count > max) {
            return Err(format!("it has {count} {what}, and may have {max}"));
        }
        match goes_round(&self.schema) {
            true => Err("it refers to itself without going down in the answer, as `{\"anyOf\": [{\"$ref\": \"#\"}]}` does; refer to it below `properties` or `items`".to_owned()),
            false => Ok(()),
        }
    }

    /// The schema as JSON.
    #[must_use]
    pub fn text(&self) -> String {
        self.schema.to_string()
    }

    /// Adds to a system prompt how the answer is to be.
    pub fn tell(&self, system: &mut String) {
        let gap = if system.is_empty() { "" } else { "\n\n" };
        system.extend([gap, WORDS, &self.text()]);
    }

    /// The JSON of an answer: all of its text, or what stands in the code fence that the text is. It takes some hundredths of a second at most, and the
    /// thread that asks waits for it.
    ///
    /// # Errors
    /// [`Misfit`].
    pub fn validate<'a>(&self, answer: &'a str) -> Result<&'a str, Misfit> {
        let text = unfenced(answer);
        if text.is_empty() {
            return Err(Misfit::Answer("the answer is empty".to_owned()));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Misfit::Answer(format!("the answer is not JSON alone: {error}")))?;
        self.hold(&value).map(|()| text)
    }

    /// Whether a value is of the schema, as [`OutputSchema::validate`] finds it out.
    ///
    /// # Errors
    /// [`Misfit`].
    pub(crate) fn hold(&self, value: &Value) -> Result<(), Misfit> {
        if nesting(value) > NESTING_MAX {
            return Err(Misfit::Answer(format!("it is nested deeper than {NESTING_MAX} levels")));
        }
        match with_validator(&self.schema, |validator| faults(validator, value)) {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(faults))) => Err(Misfit::Answer(faults)),
            Ok(Err((path, why))) => Err(Misfit::Unknown(refused(&path, cut(&why)).to_string())),
            Err(spent @ NotHeld::Work) => Err(Misfit::Answer(spent.to_string())),
            Err(not_held) => Err(Misfit::Unknown(not_held.to_string())),
        }
    }
}

/// Why an answer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It is not of the schema, or more than can be held against it: in words for the model.
    #[error("{0}")]
    Answer(String),
    /// It was not found out, which is no fault of the answer: in words for a person.
    #[error("{0}")]
    Unknown(String),
}

/// What is wrong with a value, the first few faults of it.
fn faults(validator: &Validator, value: &Value) -> Option<String> {
    let mut faults = validator.iter_errors(value).map(|error| {
        let at = error.instance_path.to_string();
        cut(&format_args!("{}: {error}", if at.is_empty() { "the whole" } else { &at }))
    });
    let told: Vec<String> = faults.by_ref().take(FAULTS_MAX).collect();
    match (told.is_empty(), faults.next()) {
        (true, _) => None,
        (false, None) => Some(told.join("\n")),
        (false, Some(_)) => Some(format!("{}\nand more", told.join("\n"))),
    }
}

fn refused(path: &str, why: impl Into<String>) -> InvalidOutputSchema {
    InvalidOutputSchema { path: path.to_owned(), why: why.into() }
}

fn cut(words: &dyn fmt::Display) -> String {
    words.to_string().chars().take(FAULT_CHARS).collect()
}

/// What there is to bound in a schema.
#[derive(Default)]
struct Reach<'a> {
    /// What it refers to, and names by which that would be otherwise than by place.
    targets: BTreeSet<&'a str>,
    patterns: usize,
}

impl<'a> Reach<'a> {
    fn look(&mut self, value: &'a Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.look(item)),
            Value::Object(members) => {
                self.targets.extend(members.get("$id").and_then(Value::as_str));
                self.look_below(members);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn look_below(&mut self, members: &'a Map<String, Value>) {
        for (key, value) in members {
            match (key.as_str(), value) {
                ("$anchor" | "$dynamicAnchor", Value::String(to)) => {
                    self.targets.insert(to);
                }
                (key, Value::String(to)) if REFERENCES.contains(&key) => {
                    self.targets.insert(to);
                }
                ("pattern", Value::String(_)) => self.patterns += 1,
                ("patternProperties", Value::Object(below)) => self.patterns += below.len(),
                _ => {}
            }
            self.look(value);
        }
    }
}

/// How deep lists and objects are nested.
fn nesting(value: &Value) -> usize {
    let deepest = |values: &mut dyn Iterator<Item = &Value>| values.map(nesting).max().unwrap_or(0);
    match value {
        Value::Array(items) => 1 + deepest(&mut items.iter()),
        Value::Object(members) => 1 + deepest(&mut members.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// A text without the code fence that is all around it.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let Some((info, body)) = inner.and_then(|inner| inner.split_once('\n')) else { return text };
    if info.contains('`') { text } else { body.trim() }
}

impl StructuredOutput {
    /// A schema with the default number of retries.
    #[must_use]
    pub fn new(schema: OutputSchema) -> Self {
        Self { schema, retries: OUTPUT_RETRIES }
    }

    /// Whether a session can have it.
    ///
    /// # Errors
    /// Why not, in words for a person.
    pub fn check(&self) -> Result<(), String> {
        if self.retries > OUTPUT_RETRIES_MAX {
            return Err(format!(
                "an answer of a schema is asked for again {OUTPUT_RETRIES_MAX} times at most, not {}",
                self.retries
            ));
        }
        self.schema.check().map_err(|error| error.to_string())
    }
}
