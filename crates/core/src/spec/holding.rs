//! Holding a value against a JSON schema in bounded work, on a stack that is deep enough for both. Pure.
//!
//! A schema may lead from one place to many, and those to many more: the number of places that are looked at can double with every level of either. So
//! each place of the schema has a keyword that counts when it is looked at, and ends all of it when that was too often.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jsonschema::paths::{LazyLocation, Location};
use jsonschema::{Keyword, PatternOptions, Retrieve, Uri, ValidationError, Validator};
use serde_json::{Map, Value};

/// Places of a schema that are looked at for one answer. Some tenths of a second.
const WORK_MAX: u64 = 1_000_000;
/// What making a place ready to be looked at counts for.
const WORK_OF_MAKING: u64 = 20;
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
        .with_keyword(COUNT, move |_: &Map<String, Value>, _: &Value, _: Location| {
            spend(&left, WORK_OF_MAKING);
            Ok(Box::new(Counts(Arc::clone(&left))) as Box<dyn Keyword>)
        })
        .should_validate_formats(true)
        .build(schema);
    built.map_err(|error| (error.instance_path.to_string(), error.to_string()))
}

/// Counts when its place is looked at.
struct Counts(Arc<AtomicU64>);

impl Keyword for Counts {
    fn validate<'i>(
        &self,
        _: &'i Value,
        _: &LazyLocation<'_, '_>,
    ) -> Result<(), ValidationError<'i>> {
        spend(&self.0, 1);
        Ok(())
    }

    fn is_valid(&self, _: &Value) -> bool {
        spend(&self.0, 1);
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
    if members.insert(COUNT.to_owned(), Value::Bool(true)).is_some() {
        return;
    }
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
