//! Laying settings over each other, and keeping out what a folder has no right to set.

use std::collections::BTreeMap;

use toml::Value;

use super::keys::{Found, KEYS, Key, Need, find};
use super::kind::Kind;
use super::modes;
use super::source::{Setting, Source, join};
use crate::values::{Dollars, Millis};

/// Whether the user vouches for the folder's configuration as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The folder has no configuration of its own.
    Nothing,
    /// Trusted as it is.
    Trusted,
    /// Trusted once, changed since.
    Changed,
    /// Never trusted.
    Untrusted,
}

/// A value in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// The value, as the typed configuration reads it.
    pub value: Value,
    /// Where it was written; several places for a list that layers add to.
    pub sources: Vec<Source>,
}

/// A value that a folder set and that is not applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Ignored {
    /// The setting.
    pub setting: Setting,
    /// Why.
    pub why: WhyIgnored,
}

/// Why a folder's value is not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyIgnored {
    /// `oarlock trust` would apply it.
    NeedsTrust,
    /// No folder may set it.
    UserOnly,
}

impl std::fmt::Display for Ignored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, place) = (self.setting.key(), &self.setting.source);
        match self.why {
            WhyIgnored::NeedsTrust => {
                write!(
                    f,
                    "`{key}` is not applied: {place}; see `oarlock trust --show`, then `oarlock trust`"
                )
            }
            WhyIgnored::UserOnly => {
                write!(
                    f,
                    "`{key}` is not applied: {place}; no folder may set it, put it into your own configuration"
                )
            }
        }
    }
}

/// All values in force by their key, and what was kept out.
#[derive(Debug, Clone, Default)]
pub struct Stack {
    /// Values by the segments of their key.
    pub values: BTreeMap<Vec<String>, Effective>,
    /// What was kept out, in the order in which it was met.
    pub ignored: Vec<Ignored>,
}

impl Stack {
    /// The built-in layer.
    #[must_use]
    pub fn built_in() -> Self {
        let mut stack = Self::default();
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            let path = key.segments().map(str::to_owned).collect();
            let value = key.default.parse().expect("defaults are TOML: a test reads them all");
            stack.put(key, Setting { path, value, source: Source::BuiltIn });
        }
        stack
    }

    /// Lays checked settings over what is there. A folder's settings are held against its standing.
    pub fn lay(&mut self, settings: Vec<Setting>, standing: Standing) {
        for setting in settings {
            let Found::Key(key) = find(&setting.path) else {
                unreachable!("settings are checked when they are read");
            };
            match self.objection(key, &setting, standing) {
                Some(why) => self.ignored.push(Ignored { setting, why }),
                None => self.put(key, setting),
            }
        }
    }

    fn objection(&self, key: &Key, setting: &Setting, standing: Standing) -> Option<WhyIgnored> {
        if !setting.source.layer().is_project() {
            return None;
        }
        let trusted = standing == Standing::Trusted;
        let needs_trust = |wanted: bool| (wanted && !trusted).then_some(WhyIgnored::NeedsTrust);
        match key.need {
            Need::Harmless => None,
            Need::UserOnly => Some(WhyIgnored::UserOnly),
            Need::Trust => needs_trust(true),
            Need::Tighten => {
                let current = self.values.get(&setting.path).map(|e| &e.value);
                let tightens = match (key.kind, current) {
                    (Kind::Mode, _) => modes::tightens(&self.values, current, &setting.value),
                    // A mode that only the folder knows would be its own word for what is allowed.
                    (Kind::Choice(_), None) if key.has_wildcard() => false,
                    (_, _) => tightens(key, current, &setting.value),
                };
                needs_trust(!tightens)
            }
        }
    }

    fn put(&mut self, key: &Key, setting: Setting) {
        let value =
            key.kind.accept(&setting.value).expect("settings are checked when they are read");
        match self.values.get_mut(&setting.path) {
            Some(Effective { value: Value::Array(list), sources }) if key.accumulates() => {
                sources.retain(|source| *source != Source::BuiltIn);
                sources.push(setting.source);
                list.extend(value.as_array().into_iter().flatten().cloned());
            }
            Some(_) | None => {
                self.values
                    .insert(setting.path, Effective { value, sources: vec![setting.source] });
            }
        }
    }

    /// The place of a key's value: the last one that had a say.
    #[must_use]
    pub fn source(&self, path: &[&str]) -> Option<&Source> {
        let path: Vec<String> = path.iter().map(|s| (*s).to_owned()).collect();
        self.values.get(&path)?.sources.last()
    }

    /// All values as one nested table.
    #[must_use]
    pub fn table(&self) -> toml::Table {
        let mut root = toml::Table::new();
        for (path, effective) in &self.values {
            let (last, folders) = path.split_last().expect("no key is empty");
            let mut table = &mut root;
            for name in folders {
                let inner = table.entry(name).or_insert_with(|| Value::Table(toml::Table::new()));
                table = inner.as_table_mut().expect("no key is the beginning of another");
            }
            table.insert(last.clone(), effective.value.clone());
        }
        root
    }

    /// The values whose keys have one segment below this section, by that segment.
    #[must_use]
    pub fn below(&self, section: &str) -> BTreeMap<String, Value> {
        let inner = self.values.iter().filter_map(|(path, found)| match path.as_slice() {
            [first, name] if first == section => Some((name.clone(), found.value.clone())),
            _ => None,
        });
        inner.collect()
    }

    /// All values as lines for a person or a program: key, value, places.
    pub fn lines(&self) -> impl Iterator<Item = (String, &Effective)> {
        self.values.iter().map(|(path, effective)| (join(path), effective))
    }
}

/// Whether a value allows less than what is in force, or the same.
fn tightens(key: &Key, current: Option<&Value>, wanted: &Value) -> bool {
    let amount = |value: &Value| match key.kind {
        Kind::Duration => value.as_str()?.parse::<Millis>().ok().map(|ms| ms.0),
        Kind::Money => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.parse::<Dollars>().ok().map(|dollars| dollars.0)
        }
        Kind::Int { .. } => u64::try_from(value.as_integer()?).ok(),
        Kind::Bool => value.as_bool().map(u64::from),
        Kind::Choice(strict_first) => {
            let word = value.as_str()?;
            strict_first.iter().position(|w| *w == word).map(|at| at as u64)
        }
        Kind::Number { .. }
        | Kind::Text
        | Kind::Mode
        | Kind::Texts
        | Kind::RuleList
        | Kind::Size
        | Kind::Hooks
        | Kind::Models => None,
    };
    if key.accumulates() {
        return true;
    }
    match (current.map(amount), amount(wanted)) {
        (None, Some(_)) => true,
        (Some(Some(now)), Some(then)) => then <= now,
        (_, _) => false,
    }
}
