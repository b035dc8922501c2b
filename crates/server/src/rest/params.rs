//! What a request asks for: path, query, header and body as the one object that operations take.

use std::collections::BTreeMap;

use oarlock_core::service::SessionError;
use serde_json::{Map, Number, Value};

use crate::operations::{Operation, Params, shapes, without_point};
use crate::quote::cut;

/// How the values of an operation's fields are written in a path or a query, by the schema of its request.
#[derive(Debug)]
pub(super) struct Fields {
    kinds: BTreeMap<String, Kind>,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As it is.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Pairs: `label=name=value` once for each pair of the field `labels`.
    Pairs,
    /// Not in a query.
    Other,
}

impl Fields {
    pub(super) fn of(operation: &Operation) -> Self {
        let request = shapes::request(operation.name);
        let properties = &shapes::named(request).unwrap_or(request)["properties"];
        let kinds = properties.as_object().into_iter().flatten();
        Self { kinds: kinds.map(|(name, schema)| (name.clone(), kind(schema))).collect() }
    }

    /// Whether the request has this field.
    pub(super) fn has(&self, name: &str) -> bool {
        self.kinds.contains_key(name)
    }

    /// Adds a value of the path or the query.
    pub(super) fn add(
        &self,
        params: &mut Params,
        name: &str,
        text: &str,
    ) -> Result<(), SessionError> {
        if let Some((field, Kind::Pairs)) =
            self.kinds.get_key_value(&format!("{name}s")).map(|(field, kind)| (field, *kind))
        {
            return pair(params, (name, field), text);
        }
        let value = match self.kinds.get(name) {
            Some(Kind::Integer) => integer(text).map(Value::from).ok_or_else(|| {
                SessionError::invalid(format!("`{name}` is a whole number, not `{}`", cut(text)))
            })?,
            Some(Kind::Boolean) => text.parse::<bool>().map(Value::from).map_err(|_| {
                SessionError::invalid(format!("`{name}` is true or false, not `{}`", cut(text)))
            })?,
            Some(Kind::Pairs | Kind::Other) => {
                let words = format!("`{name}` cannot be said in a query");
                return Err(SessionError::invalid(words));
            }
            // A name that the request does not have is refused by whoever reads it.
            Some(Kind::Text) | None => Value::from(text),
        };
        once(params, name, value)
    }
}

/// A whole number as JSON writes it, with a point or without.
fn integer(text: &str) -> Option<Number> {
    let number = serde_json::from_str::<Number>(text).ok()?;
    if number.is_u64() { Some(number) } else { without_point(&number) }
}

/// Adds a field that must not be there.
pub(super) fn once(params: &mut Params, name: &str, value: Value) -> Result<(), SessionError> {
    match params.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(SessionError::invalid(format!("`{}` is given twice", cut(name)))),
    }
}

/// Adds `name=value` to a field of pairs.
fn pair(params: &mut Params, (name, field): (&str, &str), text: &str) -> Result<(), SessionError> {
    let Some((key, value)) = text.split_once('=') else {
        let words = format!("`{name}` is written {name}=NAME=VALUE, not `{}`", cut(text));
        return Err(SessionError::invalid(words));
    };
    let pairs = params.entry(field).or_insert_with(|| Value::Object(Map::new()));
    match pairs {
        Value::Object(pairs) => once(pairs, key, value.into()),
        _ => Err(SessionError::invalid(format!("`{field}` is given twice"))),
    }
}

/// Adds what a query says.
pub(super) fn query(fields: &Fields, params: &mut Params, query: &str) -> Result<(), SessionError> {
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        fields.add(params, &name, &value)?;
    }
    Ok(())
}

/// Adds the fields of a body, which is a JSON object or empty.
pub(super) fn body(params: &mut Params, body: &[u8]) -> Result<(), SessionError> {
    if body.is_empty() {
        return Ok(());
    }
    let read = serde_json::from_slice::<Value>(body);
    let read = read.map_err(|error| {
        SessionError::invalid(format!("the body is no JSON: {}", cut(&error.to_string())))
    })?;
    let Value::Object(read) = read else {
        return Err(SessionError::invalid("the body is no JSON object"));
    };
    read.into_iter().try_for_each(|(name, value)| once(params, &name, value))
}

fn kind(schema: &'static Value) -> Kind {
    let schema = shapes::named(schema).unwrap_or(schema);
    let named = |kind: &str| match kind {
        "string" => Some(Kind::Text),
        "integer" => Some(Kind::Integer),
        "boolean" => Some(Kind::Boolean),
        "object" if schema.get("additionalProperties").is_some() => Some(Kind::Pairs),
        _ => None,
    };
    if schema.get("enum").is_some() || schema.get("const").is_some() {
        return Kind::Text;
    }
    match schema.get("type") {
        Some(Value::String(kind)) => return named(kind).unwrap_or(Kind::Other),
        Some(Value::Array(kinds)) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str).filter_map(named);
            return kinds.next().unwrap_or(Kind::Other);
        }
        _ => {}
    }
    let choices = ["anyOf", "oneOf"].iter().find_map(|choice| schema.get(*choice)?.as_array());
    let mut kinds = choices.into_iter().flatten().map(kind);
    kinds.find(|kind| *kind != Kind::Other).unwrap_or(Kind::Other)
}
