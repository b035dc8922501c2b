//! Files that begin with a head of keys and go on with a text: YAML between two lines `---`, or TOML between two lines `+++`.

use serde_json::{Map, Value};

/// A head may have this many bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// References in a YAML head, the depth of its lists and tables, and what references may repeat.
const ALIASES_MAX: usize = 100;
const DEPTH_MAX: usize = 32;
const EVENTS_REPLAYED_MAX: usize = 10_000;

/// What such a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Document<'a> {
    /// The keys of its head, in their order.
    pub head: Map<String, Value>,
    /// What follows the head, as it is.
    pub body: &'a str,
    /// The head is no YAML as it stands: values that hold a colon, or several lists, were taken as if they stood in quotes.
    pub is_mended: bool,
}

/// Why a file has no head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrontMatterError {
    /// It does not begin with one.
    #[error("it has no head: begin it with a line `---`, keys, and a line `---`")]
    Missing,
    /// The head does not end.
    #[error("the line `{fence}` that ends its head is missing")]
    Unclosed {
        /// The line that would end it.
        fence: &'static str,
    },
    /// The head is too long to be one.
    #[error("its head has more than {HEAD_BYTES_MAX} bytes; move words below it")]
    TooLong,
    /// The parser refused it.
    #[error("its head is no {language}: {why}")]
    Malformed {
        /// `YAML` or `TOML`.
        language: &'static str,
        /// The parser's words, one line.
        why: String,
    },
}

/// Reads a file's head and what follows it. A byte order mark before the head is passed over. Published YAML heads often hold unquoted
/// values like `Use it when: …`; such a head is mended where that makes it YAML.
///
/// # Errors
/// [`FrontMatterError`].
pub fn read(text: &str) -> Result<Document<'_>, FrontMatterError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let fence = match first.trim_end() {
        "---" => "---",
        "+++" => "+++",
        _ => return Err(FrontMatterError::Missing),
    };
    let mut bytes = 0;
    let closing = rest.split_inclusive('\n').find(|line| {
        let is_fence = line.trim_end() == fence;
        bytes += if is_fence { 0 } else { line.len() };
        is_fence
    });
    let closing = closing.ok_or(FrontMatterError::Unclosed { fence })?;
    let (head, body) = (&rest[..bytes], &rest[bytes + closing.len()..]);
    if head.len() > HEAD_BYTES_MAX {
        return Err(FrontMatterError::TooLong);
    }
    let (head, is_mended) = match fence {
        "---" => yaml(head)?,
        _ => (toml::from_str(head).map_err(|error| malformed("TOML", &error))?, false),
    };
    Ok(Document { head, body, is_mended })
}

fn malformed(language: &'static str, error: &dyn std::fmt::Display) -> FrontMatterError {
    let words = error.to_string();
    let why = words.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    FrontMatterError::Malformed { language, why: why.to_owned() }
}

fn yaml(head: &str) -> Result<(Map<String, Value>, bool), FrontMatterError> {
    // The parser takes nothing for a document without keys.
    if head.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok((Map::new(), false));
    }
    parsed(head).map(|head| (head, false)).or_else(|error| {
        let mended = parsed(&mended(head)).map(|head| (head, true));
        mended.map_err(|_| malformed("YAML", &error))
    })
}

/// A head refers to what stands elsewhere in it, if at all, a few times and not to multiply it.
fn parsed(head: &str) -> Result<Map<String, Value>, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! { max_aliases: ALIASES_MAX, max_depth: DEPTH_MAX },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: EVENTS_REPLAYED_MAX },
    };
    serde_saphyr::from_str_with_options(head, options)
}

/// The head with every plain value of its own keys that YAML would misread put in quotes, its further lines joined to it.
fn mended(head: &str) -> String {
    let mut lines = head.lines().peekable();
    let mut mended = String::with_capacity(head.len() + 64);
    while let Some(line) = lines.next() {
        let plain = line.split_once(':').filter(|(key, value)| is_key(key) && misread(value));
        let Some((key, value)) = plain else {
            mended.push_str(line);
            mended.push('\n');
            continue;
        };
        let mut value = value.trim().to_owned();
        while let Some(further) = lines.next_if(|line| line.starts_with([' ', '\t'])) {
            value.push(' ');
            value.push_str(further.trim());
        }
        mended.push_str(&format!("{key}: {}\n", Value::String(value)));
    }
    mended
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

fn misread(value: &str) -> bool {
    let value = value.trim();
    // As in `argument-hint: [number] [urgency]`.
    let are_lists = value.starts_with('[') && value.contains("] ");
    let is_marked = value.starts_with(['"', '\'', '|', '>', '[', '{', '&', '*', '!']);
    let is_plain =
        value.contains(": ") || value.ends_with(':') || value.starts_with(['@', '`', '%']);
    are_lists || (!is_marked && is_plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn head(text: &str) -> Value {
        Value::Object(read(text).unwrap().head)
    }

    #[test]
    fn a_head_is_yaml_or_toml_and_the_rest_is_the_body() {
        let yaml =
            read("\u{feff}---\r\nname: a\r\nlist: [x, \"y z\"]\r\n---\r\nBody\n---\n").unwrap();
        assert_eq!(Value::Object(yaml.head), json!({"name": "a", "list": ["x", "y z"]}));
        assert_eq!((yaml.body, yaml.is_mended), ("Body\n---\n", false));
        let toml = read("+++\nname = \"a\"\n[m]\nk = 1\n+++\nBody").unwrap();
        assert_eq!(Value::Object(toml.head), json!({"name": "a", "m": {"k": 1}}));
        assert_eq!(toml.body, "Body");
        assert_eq!(head("---\n# nothing\n---\n"), json!({}));
        assert_eq!(
            head("---\ndescription: >-\n  one\n  two\nmetadata:\n  version: \"1.0\"\n---\n"),
            json!({"description": "one two", "metadata": {"version": "1.0"}})
        );
    }

    #[test]
    fn values_that_yaml_misreads_are_taken_as_they_were_meant() {
        let text = "---\nname: a\ndescription: Fills forms. Use when: a form is named\n  or shown: always\nargument-hint: [a] [b]\nalways: true\n---\nB";
        let document = read(text).unwrap();
        assert!(document.is_mended);
        assert_eq!(
            Value::Object(document.head),
            json!({"name": "a", "description": "Fills forms. Use when: a form is named or shown: always", "argument-hint": "[a] [b]", "always": true})
        );
    }

    #[test]
    fn what_has_no_head_says_why() {
        let long = format!("---\na: {}\n---\n", "x".repeat(HEAD_BYTES_MAX));
        for (text, why) in [
            ("# Title\n", "it has no head"),
            ("", "it has no head"),
            ("---\nname: a\n", "`---` that ends"),
            ("+++\nname = 1\n---\n", "`+++` that ends"),
            ("---\n- a\n---\n", "no YAML"),
            ("---\na: [\n---\n", "no YAML"),
            ("---\na: 1\na: 2\n---\n", "no YAML"),
            ("+++\nname: a\n+++\n", "no TOML"),
            (long.as_str(), "more than 16384"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text:.30}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_head_that_multiplies_itself_is_refused() {
        let mut text = "---\na: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, before) in "bcdefghi".chars().zip("abcdefgh".chars()) {
            let many = vec![format!("*{before}"); 9].join(", ");
            text.push_str(&format!("{name}: &{name} [{many}]\n"));
        }
        assert!(matches!(read(&(text + "---\n")), Err(FrontMatterError::Malformed { .. })));
    }
}
