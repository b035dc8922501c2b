//! Finding a path among the configuration keys, and the one that it was perhaps meant to be.

use super::keys::{KEYS, Key};

/// How far a path leads into the table.
#[derive(Debug, Clone, Copy)]
pub enum Found {
    /// To a key.
    Key(&'static Key),
    /// To a table that has keys below it.
    Table,
    /// Nowhere.
    Nothing,
}

/// Looks a path up.
#[must_use]
pub fn find(path: &[String]) -> Found {
    let mut found = Found::Nothing;
    for key in KEYS {
        let mut segments = key.segments();
        let fits = path.iter().all(|given| segments.next().is_some_and(|s| s == "*" || s == given));
        if !fits {
            continue;
        }
        if segments.next().is_none() {
            return Found::Key(key);
        }
        found = Found::Table;
    }
    found
}

/// The valid path most like `path`, when one is like it at all. Names at `*` are taken over.
#[must_use]
pub fn nearest(path: &[String]) -> Option<String> {
    let written = super::source::join(path);
    let named = |key: &Key, depth: usize| {
        let fill = |(at, s): (usize, &'static str)| match (s, path.get(at)) {
            ("*", Some(name)) => name.clone(),
            _ => s.to_owned(),
        };
        super::source::join(&key.segments().enumerate().map(fill).take(depth).collect::<Vec<_>>())
    };
    let candidates = KEYS.iter().flat_map(|key| [named(key, path.len()), named(key, usize::MAX)]);
    let (distance, best) = candidates
        .map(|candidate| (strsim::damerau_levenshtein(&written, &candidate), candidate))
        .min()?;
    (distance <= (written.chars().count() / 3).max(2)).then_some(best)
}
