//! Holding a value against a JSON schema in bounded work, on a stack that is deep enough for both. Pure.
//!
//! A schema may lead from one place to many, and those to many more: the number of places that are looked at can double with every level of either. So
//! each place of the schema has a keyword that counts when it is looked at, and ends all of it when that was too often.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jsonschema::paths::{LazyLocation, Location};
use jsonschema::{Keyword, PatternOptions, Retrieve, Uri, ValidationError, Validator};
use serde_json::{Map, Value};

/// Places of a schema that are looked at for one answer, and what counts as much: some hundredths of a second, and some tenths in a build that is not optimised.
const WORK_MAX: u64 = 250_000;
/// What making a place ready to be looked at counts for.
const WORK_OF_MAKING: u64 = 20;
/// Bytes of a text that count as much as a place: an expression may have to go through all of it.
const BYTES_OF_WORK: u64 = 16;
/// Bytes of the stack on which it is done. They are reserved, and used as far as both are deep. 64 MiB.
const STACK_BYTES: usize = 64 << 20;
/// Bytes that a regular expression may have once it is compiled.
const PATTERN_BYTES: usize = 256 * 1024;
/// The keyword that counts. No schema that anybody writes has it.
const COUNT: &str = "\u{1}oarlock";
/// Keywords below which stands a schema, or a list of them.
const ONE: [&str; 17] = [
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "oneOf",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "extends",
];
/// Keywords below which stand schemas by names.
const NAMED: [&str; 6] =
    ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];
/// Keywords whose schemas are about the same value as the schema that has them.
const SAME: [&str; 9] =
    ["allOf", "anyOf", "dependencies", "dependentSchemas", "else", "if", "not", "oneOf", "then"];
/// Keywords that name another place of the schema.
pub(super) const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Why it was not found out whether a value is of a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotHeld {
    /// It would take too much work; it would take that any time.
    #[error(
        "holding it against the schema takes too much work; a schema that leads to fewer places, or a smaller answer, takes less"
    )]
    Work,
    /// The machine had nothing to do it with.
    #[error("there is no thread to hold it against the schema: {0}")]
    Machine(String),
    /// What does it is wrong.
    #[error("holding it against the schema crashed; this is a defect of Oarlock")]
    Defect,
}

/// Thrown when there was too much work.
struct Spent;

/// Makes a validator for `schema` and has it do `work`.
///
/// # Errors
/// `Ok(Err)` when it is no schema, by the place in it and in words.
pub(super) fn with_validator<T: Send>(
    schema: &Value,
    work: impl FnOnce(&Validator) -> T + Send,
) -> Result<Result<T, (String, String)>, NotHeld> {
    let work = move || build(&counted(schema)).map(|validator| work(&validator));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| NotHeld::Machine(error.to_string()))?;
        thread.join().map_err(|thrown| match thrown.is::<Spent>() {
            true => NotHeld::Work,
            false => NotHeld::Defect,
        })
    })
}

#[expect(clippy::result_large_err, reason = "the errors of keywords are the library's")]
fn build(schema: &Value) -> Result<Validator, (String, String)> {
    let left = Arc::new(AtomicU64::new(WORK_MAX));
    let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
    let built = jsonschema::options()
        .with_retriever(Nothing)
        .with_pattern_options(patterns)
        .with_keyword(COUNT, move |place: &Map<String, Value>, _: &Value, _: Location| {
            spend(&left, WORK_OF_MAKING);
            Ok(Box::new(Counts::of(place, &left)) as Box<dyn Keyword>)
        })
        .should_validate_formats(true)
        .build(schema);
    built.map_err(|error| (error.instance_path.to_string(), error.to_string()))
}

/// Counts when its place is looked at: once, and for what else looking there takes.
struct Counts {
    left: Arc<AtomicU64>,
    /// Expressions that the names of an object are held against.
    names: u64,
    /// What it takes to compare a value with those that it may be.
    compares: u64,
    /// Whether the items of a list are compared with each other.
    is_unique: bool,
}

impl Counts {
    fn of(place: &Map<String, Value>, left: &Arc<AtomicU64>) -> Self {
        let expressions = place.get("patternProperties").and_then(Value::as_object);
        let values = ["enum", "const"].into_iter().filter_map(|key| place.get(key));
        Self {
            left: Arc::clone(left),
            names: expressions.map_or(0, |expressions| expressions.len() as u64),
            compares: values.map(size).sum(),
            is_unique: place.get("uniqueItems") == Some(&Value::Bool(true)),
        }
    }

    fn count(&self, value: &Value) {
        let of_value = match value {
            Value::String(text) => text.len() as u64 / BYTES_OF_WORK,
            Value::Object(members) if self.names > 0 => {
                let names = members.keys().map(|name| 1 + name.len() as u64 / BYTES_OF_WORK);
                self.names.saturating_mul(names.sum())
            }
            Value::Array(_) if self.is_unique => size(value),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Object(_)
            | Value::Array(_) => 0,
        };
        spend(&self.left, 1 + self.compares + of_value);
    }
}

/// The work of going through a value once.
fn size(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => 1 + text.len() as u64 / BYTES_OF_WORK,
        Value::Array(items) => 1 + items.iter().map(size).sum::<u64>(),
        Value::Object(members) => {
            let each = |(name, value): (&String, &Value)| {
                1 + name.len() as u64 / BYTES_OF_WORK + size(value)
            };
            1 + members.iter().map(each).sum::<u64>()
        }
    }
}

impl Keyword for Counts {
    fn validate<'i>(
        &self,
        value: &'i Value,
        _: &LazyLocation<'_, '_>,
    ) -> Result<(), ValidationError<'i>> {
        self.count(value);
        Ok(())
    }

    fn is_valid(&self, value: &Value) -> bool {
        self.count(value);
        true
    }
}

fn spend(left: &AtomicU64, work: u64) {
    let spent =
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(work));
    if spent.is_err() {
        // Nothing of the validator is used again, and nobody is told of a crash.
        std::panic::resume_unwind(Box::new(Spent));
    }
}

/// The schema with each of its places counting.
fn counted(schema: &Value) -> Value {
    let mut counted = schema.clone();
    mark(&mut counted);
    for target in references(schema) {
        if let Some(place) = target.strip_prefix('#').and_then(|at| counted.pointer_mut(at)) {
            mark(place);
        }
    }
    counted
}

fn mark(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    if members.contains_key(COUNT) {
        return;
    }
    // First of all: behind a keyword that ends it nothing would be counted.
    let others = std::mem::take(members);
    members.insert(COUNT.to_owned(), Value::Bool(true));
    members.extend(others);
    for (key, value) in members {
        let (is_one, is_named) = (ONE.contains(&key.as_str()), NAMED.contains(&key.as_str()));
        match value {
            Value::Array(schemas) if is_one => schemas.iter_mut().for_each(mark),
            Value::Object(named) if is_named => named.values_mut().for_each(mark),
            value if is_one => mark(value),
            _ => {}
        }
    }
}

/// What a schema refers to, wherever that stands in it.
fn references(schema: &Value) -> Vec<&str> {
    match schema {
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Object(members) => {
            let own = REFERENCES.iter().filter_map(|key| members.get(*key)?.as_str());
            own.chain(members.values().flat_map(references)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// Whether a way through a schema comes back to where it was without having gone down in the value, so that it would go round for ever.
pub(super) fn goes_round(schema: &Value) -> bool {
    let mut seen = Seen::default();
    seen.all(schema, schema)
}

/// Places by their address in the schema that they are part of.
#[derive(Default)]
struct Seen {
    /// On the way that is gone.
    way: Vec<*const Value>,
    /// From which no way leads back.
    done: std::collections::BTreeSet<*const Value>,
}

impl Seen {
    /// Looks from every place that may be a schema.
    fn all(&mut self, root: &Value, value: &Value) -> bool {
        match value {
            Value::Array(items) => items.iter().any(|item| self.all(root, item)),
            Value::Object(members) => {
                self.from(root, value) || members.values().any(|member| self.all(root, member))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }

    fn from(&mut self, root: &Value, place: &Value) -> bool {
        let Value::Object(members) = place else { return false };
        let address = std::ptr::from_ref(place);
        if self.done.contains(&address) {
            return false;
        }
        if self.way.contains(&address) {
            return true;
        }
        self.way.push(address);
        let target = |to: &str| root.pointer(to.strip_prefix('#')?);
        let referred = REFERENCES.iter().filter_map(|key| target(members.get(*key)?.as_str()?));
        let below = SAME.iter().filter_map(|key| Some((*key, members.get(*key)?)));
        let below = below.flat_map(|(key, value)| match value {
            Value::Array(schemas) => schemas.iter().collect::<Vec<_>>(),
            Value::Object(named) if NAMED.contains(&key) => named.values().collect(),
            value => vec![value],
        });
        let next: Vec<&Value> = referred.chain(below).collect();
        let comes_back = next.into_iter().any(|place| self.from(root, place));
        self.way.pop();
        self.done.insert(address);
        comes_back
    }
}

/// Finds no schema: what a schema refers to stands in it.
struct Nothing;

impl Retrieve for Nothing {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("it refers to {uri}, and nothing is fetched; put it under `$defs`").into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    /// Schemas and values that take as much work of their kind as there may be, and more.
    fn hard() -> Vec<(&'static str, Value, Value)> {
        let level = |at: usize| match at {
            19 => json!({ "type": "string" }),
            at => json!({ "anyOf": [{ "$ref": format!("#/$defs/{}", at + 1), "minLength": 9 },
                { "$ref": format!("#/$defs/{}", at + 1), "minLength": 9 }] }),
        };
        let levels: Map<String, Value> = (0..20).map(|at| (at.to_string(), level(at))).collect();
        let expressions: Map<String, Value> =
            (0..500).map(|at| (format!("^(a|b)*{at}$"), json!({}))).collect();
        let members: Map<String, Value> =
            (0..5_000).map(|at| (format!("aba{at:040}"), json!(1))).collect();
        let long = "ab".repeat(500_000);
        let any_of: Vec<Value> =
            (0..400).map(|at| json!({ "pattern": format!("^(a|b|ab)*{at}$") })).collect();
        let list: Value = (0..60_000).map(|at| json!({ "a": at })).collect();
        let properties: Map<String, Value> =
            (0..2_500).map(|at| (at.to_string(), json!({ "type": "string" }))).collect();
        let same: Vec<Value> = (0..400).map(|_| json!({ "uniqueItems": true })).collect();
        let one = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
        vec![
            ("doubling", json!({ "$ref": "#/$defs/0", "$defs": levels }), json!("a")),
            ("names", json!({ "patternProperties": expressions }), members.into()),
            ("texts", json!({ "anyOf": any_of }), json!(long)),
            ("lists", json!({ "items": one }), list.clone()),
            ("equal items", json!({ "allOf": same }), list),
            ("a large schema", json!({ "properties": properties }), json!({ "1": "a" })),
        ]
    }

    #[test]
    fn whatever_is_hard_ends_in_time() {
        for (what, schema, value) in hard() {
            let begun = Instant::now();
            let held = with_validator(&schema, |validator| validator.is_valid(&value));
            let took = begun.elapsed();
            // On a build that is not optimised; the worst takes some tenths there.
            assert!(took.as_secs() < 5, "{what}: {held:?} after {took:?}");
            let is_bounded = ["doubling", "names", "texts", "equal items"].contains(&what);
            assert_eq!(held == Err(NotHeld::Work), is_bounded, "{what}: {held:?}");
        }
    }
}
