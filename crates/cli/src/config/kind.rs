//! What a configuration value can be, and how a text becomes one.

use oarlock_core::spec::Mode;
use oarlock_core::spec::rule::Rule;
use toml::Value;

use crate::values::{Bytes, Dollars, Millis};

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number between two bounds, both included.
    Int {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A number from 0 to a bound, with up to three decimal places.
    Number {
        /// Largest.
        max: u32,
    },
    /// Any text but the empty one.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts, none of them empty.
    Texts,
    /// The name of a mode.
    Mode,
    /// A list of rules about calls.
    RuleList,
    /// A duration with its unit.
    Duration,
    /// A sum in US dollars.
    Money,
    /// A number of bytes, plain or as text with a unit.
    Size,
    /// Models: ids, or tables with an `id`.
    Models,
    /// A list of hooks; `config/hooks.rs` says what each has to be.
    Hooks,
}

impl Kind {
    /// What is expected, for messages and the documentation.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Bool => "true or false".into(),
            Self::Int { min, max: i64::MAX } => format!("a whole number from {min}"),
            Self::Int { min, max } => format!("a whole number from {min} to {max}"),
            Self::Number { max } => format!("a number from 0 to {max}"),
            Self::Text => "a text".into(),
            Self::Choice(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                quoted.join(", ")
            }
            Self::Mode => {
                "\"deny-all\", \"read-only\", \"ask-writes\", \"open\", or the name of one of `modes`".into()
            }
            Self::Texts => "a list of texts".into(),
            Self::RuleList => "a list of rules `tool` or `tool(pattern)`".into(),
            Self::Duration => "a duration such as \"30s\" or \"5m\"".into(),
            Self::Money => "US dollars such as \"1.50\"".into(),
            Self::Size => "bytes, such as 4096 or \"64KiB\"".into(),
            Self::Hooks => "a list of hooks, as docs/hooks.md describes them".into(),
            Self::Models => "a list of ids or of { id = \"…\", … }".into(),
        }
    }

    /// Checks a value and brings it into the one form that the typed configuration reads; `None` when it does not fit.
    #[must_use]
    pub fn accept(self, value: &Value) -> Option<Value> {
        let fits = match (self, value) {
            (Self::Bool, Value::Boolean(_)) => true,
            (Self::Int { min, max }, Value::Integer(n)) => (min..=max).contains(n),
            (Self::Number { max }, Value::Float(n)) => (0.0..=f64::from(max)).contains(n),
            (Self::Number { max }, Value::Integer(n)) => (0..=i64::from(max)).contains(n),
            (Self::Text, Value::String(text)) => !text.is_empty(),
            (Self::Choice(words), Value::String(text)) => words.contains(&text.as_str()),
            (Self::Mode, Value::String(name)) => Mode::parse(name).is_ok(),
            (Self::Texts, Value::Array(list)) => {
                list.iter().all(|text| text.as_str().is_some_and(|text| !text.is_empty()))
            }
            (Self::RuleList, Value::Array(list)) => {
                list.iter().all(|rule| rule.as_str().is_some_and(|text| Rule::parse(text).is_ok()))
            }
            (Self::Duration, Value::String(text)) => text.parse::<Millis>().is_ok(),
            (Self::Money, Value::String(text)) => text.parse::<Dollars>().is_ok(),
            (Self::Money, Value::Integer(_) | Value::Float(_)) => {
                let text = value.to_string();
                return text.parse::<Dollars>().ok().map(|_| Value::String(text));
            }
            (Self::Hooks, Value::Array(list)) => list.iter().all(Value::is_table),
            (Self::Size, Value::String(text)) => {
                let bytes = text.parse::<Bytes>().ok().and_then(|n| i64::try_from(n.0).ok());
                return bytes.filter(|n| *n > 0).map(Value::Integer);
            }
            (Self::Size, Value::Integer(n)) => *n > 0,
            (Self::Models, Value::Array(list)) => {
                return list.iter().map(model).collect::<Option<Vec<_>>>().map(Value::Array);
            }
            _ => false,
        };
        fits.then(|| value.clone())
    }

    /// Reads the text of an environment variable or of `--config`: a TOML value where the kind has one, else the text itself.
    #[must_use]
    pub fn read(self, text: &str) -> Value {
        let as_toml = || text.parse::<Value>().ok();
        let plain = || Value::String(text.to_owned());
        match self {
            Self::Text | Self::Choice(_) | Self::Mode | Self::Duration | Self::Money => {
                as_toml().filter(Value::is_str).unwrap_or_else(plain)
            }
            Self::Texts | Self::RuleList | Self::Models | Self::Hooks => {
                as_toml().filter(Value::is_array).unwrap_or_else(|| Value::Array(vec![plain()]))
            }
            Self::Bool | Self::Int { .. } | Self::Number { .. } | Self::Size => {
                as_toml().unwrap_or_else(plain)
            }
        }
    }
}

/// A model's entry as a table, whichever way it was written.
fn model(value: &Value) -> Option<Value> {
    match value {
        Value::String(id) if !id.is_empty() => {
            Some(Value::Table([("id".to_owned(), value.clone())].into_iter().collect()))
        }
        Value::Table(table) => {
            let known = table.iter().all(|(key, value)| match key.as_str() {
                "id" | "name" => value.as_str().is_some_and(|text| !text.is_empty()),
                "context_window" | "max_output_tokens" => value.as_integer().is_some_and(|n| n > 0),
                "price" => price(value).is_some(),
                _ => false,
            });
            let mut entry = (known && table.contains_key("id")).then(|| table.clone())?;
            if let Some(price) = entry.get("price").and_then(price) {
                entry.insert("price".to_owned(), price);
            }
            Some(Value::Table(entry))
        }
        _ => None,
    }
}

/// A price as a table of sums, whichever way they were written; `None` when it lacks one that every model has.
fn price(value: &Value) -> Option<Value> {
    let table = value.as_table()?;
    let sums: Option<toml::Table> = table
        .iter()
        .map(|(key, value)| match key.as_str() {
            "input" | "output" | "cache_read" | "cache_write" => {
                Some((key.clone(), Kind::Money.accept(value)?))
            }
            _ => None,
        })
        .collect();
    sums.filter(|sums| sums.contains_key("input") && sums.contains_key("output")).map(Value::Table)
}
