//! When a prompt brings a skill to the model's mind: a keyword in it, or a path that matches a glob. Pure.

use globset::{Glob, GlobBuilder, GlobSetBuilder};
use serde_json::{Map, Value};

/// Keywords and globs of one skill, each; the rest is left out, and said.
const TRIGGERS_MAX: usize = 50;
/// Bytes of one of them.
const TRIGGER_BYTES_MAX: usize = 200;
/// Of a prompt, the words that are looked at for paths.
const WORDS_MAX: usize = 10_000;

/// When a skill is hinted at.
#[derive(Debug, Clone, Default)]
pub struct Triggers {
    /// In lower case.
    keywords: Vec<String>,
    /// Compiled when a prompt is looked at: most commands look at none.
    globs: Vec<Glob>,
}

impl Triggers {
    /// Reads the key `triggers`: a table with the lists `keywords` and `globs`, or a list of keywords. What cannot be used is said.
    pub(super) fn read(value: &Value, notes: &mut Vec<String>) -> Self {
        let empty = Map::new();
        let (keywords, globs) = match value {
            Value::Array(_) | Value::String(_) => (texts(value), Vec::new()),
            Value::Object(table) => {
                notes.extend(
                    table
                        .keys()
                        .filter(|key| !matches!(key.as_str(), "keywords" | "globs"))
                        .map(|key| format!("`triggers.{key:.40}` is not understood")),
                );
                let list = |key: &str| table.get(key).map(texts).unwrap_or_default();
                (list("keywords"), list("globs"))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                notes.push("`triggers` is no table and no list".to_owned());
                return Self::read(&Value::Object(empty), notes);
            }
        };
        let mut triggers = Self::default();
        for keyword in bounded(keywords, "keyword", notes) {
            triggers.keywords.push(keyword.to_lowercase());
        }
        for glob in bounded(globs, "glob", notes) {
            // A pattern without a slash means such a file in any folder.
            let wide = if glob.contains('/') { glob.clone() } else { format!("**/{glob}") };
            match GlobBuilder::new(&wide).literal_separator(true).build() {
                Ok(built) => triggers.globs.push(built),
                Err(error) => {
                    notes.push(format!("the glob `{glob:.40}` is not used: {}", error.kind()));
                }
            }
        }
        triggers
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keywords.is_empty() && self.globs.is_empty()
    }

    /// What of them a prompt holds first: a keyword as words of its own, whatever their case, or a path that a glob matches.
    #[must_use]
    pub fn found_in(&self, prompt: &str) -> Option<String> {
        let lower = prompt.to_lowercase();
        if let Some(keyword) = self.keywords.iter().find(|keyword| holds(&lower, keyword)) {
            return Some(keyword.clone());
        }
        let words = prompt.split_whitespace().take(WORDS_MAX).map(path);
        let mut paths = words.filter(|word| word.contains(['/', '.'])).peekable();
        if self.globs.is_empty() || paths.peek().is_none() {
            return None;
        }
        let mut set = GlobSetBuilder::new();
        for glob in &self.globs {
            set.add(glob.clone());
        }
        // Each of them was understood; all together they can only be too large, and then they match nothing.
        let set = set.build().ok()?;
        paths.find(|path| set.is_match(path)).map(str::to_owned)
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

fn bounded(mut texts: Vec<String>, what: &str, notes: &mut Vec<String>) -> Vec<String> {
    texts.iter_mut().for_each(|text| *text = text.trim().to_owned());
    texts.retain(|text| !text.is_empty());
    let given = texts.len();
    texts.retain(|text| text.len() <= TRIGGER_BYTES_MAX);
    texts.truncate(TRIGGERS_MAX);
    if texts.len() < given {
        let left = given - texts.len();
        notes.push(format!(
            "{left} {what}s are left out: {TRIGGERS_MAX} of {TRIGGER_BYTES_MAX} bytes are taken"
        ));
    }
    texts
}

/// Whether the keyword stands in the text and is no part of a longer word.
fn holds(text: &str, keyword: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(keyword).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + keyword.len()..]);
        let joined_before = joins(before.chars().next_back()) && joins(keyword.chars().next());
        let joined_after = joins(after.chars().next()) && joins(keyword.chars().next_back());
        !joined_before && !joined_after
    })
}

/// A word without what stands around a path.
fn path(word: &str) -> &str {
    let around = |c: char| "@\"'`()[]{}<>,;:!?".contains(c);
    let word = word.trim_start_matches(around).trim_end_matches(|c| c == '.' || around(c));
    word.strip_prefix("./").unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_prompt_that_holds_a_keyword_or_a_matching_path_triggers() {
        let mut notes = Vec::new();
        let value =
            json!({"keywords": ["Release notes", "c++"], "globs": ["*.pdf", "docs/**/*.md"]});
        let triggers = Triggers::read(&value, &mut notes);
        assert_eq!((notes.len(), triggers.is_empty()), (0, false));
        for (prompt, found) in [
            ("Write the RELEASE NOTES, please", Some("release notes")),
            ("prerelease notes", None),
            ("release notesx", None),
            ("port it to C++11", Some("c++")),
            ("what is in @a/b/form.pdf?", Some("a/b/form.pdf")),
            ("see (form.pdf).", Some("form.pdf")),
            ("see ./docs/a/b.md.", Some("docs/a/b.md")),
            ("see src/docs/b.md", None),
            ("a pdf", None),
            ("", None),
        ] {
            assert_eq!(triggers.found_in(prompt).as_deref(), found, "{prompt}");
        }
    }

    #[test]
    fn triggers_of_other_shapes_are_taken_or_said() {
        let read = |value: Value| {
            let mut notes = Vec::new();
            let triggers = Triggers::read(&value, &mut notes);
            (triggers.keywords.len(), triggers.globs.len(), notes.len())
        };
        assert_eq!(read(json!(["a", "b"])), (2, 0, 0));
        assert_eq!(read(json!("a, b")), (2, 0, 0));
        assert_eq!(read(json!({"keywords": "a, b", "files": ["x"]})), (2, 0, 1));
        assert_eq!(read(json!({"globs": ["[", "*.rs", ""]})), (0, 1, 1));
        assert_eq!(read(json!(true)), (0, 0, 1));
        assert_eq!(
            read(json!({"keywords": vec!["k"; 51], "globs": ["g".repeat(201)]})),
            (50, 0, 2)
        );
    }
}
