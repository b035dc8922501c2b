//! How deep a schema is when what it refers to stands in the place of each reference. Pure.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// Levels beyond which nobody counts.
pub(super) const LEVELS_MAX: usize = 256;

/// Ways to name a part of a schema, or to refer to it, that are not its place.
const NAMES: [&str; 5] = ["$anchor", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveRef"];

/// How deep a schema is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Depth {
    /// Values within values on the longest way that takes no reference twice, or more than that; [`LEVELS_MAX`] and one when it is longer.
    pub(super) levels: usize,
    /// Whether a way leads back to where it was.
    pub(super) contains_itself: bool,
    /// What names or refers to a part of it otherwise than by its place, so that nobody knows where it leads.
    pub(super) stray: Option<String>,
}

/// The depth of a schema.
pub(super) fn of(schema: &Value) -> Depth {
    let mut walk = Walk {
        root: schema,
        open: HashSet::new(),
        done: HashMap::new(),
        contains_itself: false,
        stray: None,
    };
    walk.open.insert("");
    let way = walk.levels(schema, 0);
    // Where ways lead back, one may take every reference once.
    let all = walk.done.keys().map(|pointer| nesting(schema.pointer(pointer))).sum::<usize>();
    let levels = if walk.contains_itself { way.max(all + nesting(Some(schema))) } else { way };
    Depth {
        levels: levels.min(LEVELS_MAX + 1),
        contains_itself: walk.contains_itself,
        stray: walk.stray,
    }
}

/// How deep lists and objects are nested.
pub(super) fn nesting(value: Option<&Value>) -> usize {
    match value {
        Some(Value::Array(items)) => {
            1 + items.iter().map(|item| nesting(Some(item))).max().unwrap_or(0)
        }
        Some(Value::Object(members)) => {
            1 + members.values().map(|value| nesting(Some(value))).max().unwrap_or(0)
        }
        Some(_) | None => 0,
    }
}

struct Walk<'a> {
    root: &'a Value,
    /// The references that lead here.
    open: HashSet<&'a str>,
    /// The levels below each reference that was followed.
    done: HashMap<&'a str, usize>,
    contains_itself: bool,
    stray: Option<String>,
}

impl<'a> Walk<'a> {
    fn levels(&mut self, value: &'a Value, above: usize) -> usize {
        if above > LEVELS_MAX {
            return 0;
        }
        let below = match value {
            Value::Array(items) => items.iter().map(|item| self.levels(item, above + 1)).max(),
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| match (key.as_str(), value) {
                    ("$ref", Value::String(to)) => self.follow(to, above + 1),
                    ("$id", Value::String(_)) if above == 0 => 0,
                    (name, Value::String(to)) if NAMES.contains(&name) => self.stray(key, to),
                    _ => self.levels(value, above + 1),
                })
                .max(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
        };
        1 + below.unwrap_or(0)
    }

    fn follow(&mut self, to: &'a str, above: usize) -> usize {
        let Some(pointer) = to.strip_prefix('#').filter(|pointer| !pointer.contains('%')) else {
            return self.stray("$ref", to);
        };
        if self.open.contains(pointer) {
            self.contains_itself = true;
            return 0;
        }
        if let Some(levels) = self.done.get(pointer) {
            return *levels;
        }
        let Some(target) = self.root.pointer(pointer) else { return self.stray("$ref", to) };
        self.open.insert(pointer);
        let levels = self.levels(target, above);
        self.open.remove(pointer);
        self.done.insert(pointer, levels);
        levels
    }

    fn stray(&mut self, key: &str, to: &str) -> usize {
        self.stray.get_or_insert_with(|| format!("`{key}` \"{to}\""));
        0
    }
}
