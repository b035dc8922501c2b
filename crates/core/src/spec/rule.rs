//! Rules about calls, as people write them: `tool` or `tool(pattern)`. Pure.

use crate::ports::tool::Subject;
use crate::spec::Rules;

/// A rule `tool` or `tool(pattern)`. In a pattern `*` stands for any characters, `?` for one, `\` makes the next character plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule<'a> {
    tool: &'a str,
    pattern: Option<&'a str>,
}

/// A text that is not a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a rule: write `tool` or `tool(pattern)`, for example `bash(cargo test *)`"
)]
pub struct InvalidRule {
    /// The text.
    pub text: String,
}

impl<'a> Rule<'a> {
    /// Reads a rule.
    ///
    /// # Errors
    /// [`InvalidRule`] when the tool's name is missing or has other characters than letters, digits, `_`, `-` and `*`, or the pattern is empty or not closed.
    pub fn parse(text: &'a str) -> Result<Self, InvalidRule> {
        let invalid = || InvalidRule { text: text.chars().take(80).collect() };
        let (tool, pattern) = match text.trim().split_once('(') {
            None => (text.trim(), None),
            Some((tool, rest)) => {
                (tool, Some(rest.strip_suffix(')').filter(|p| !p.is_empty()).ok_or_else(invalid)?))
            }
        };
        let named = !tool.is_empty()
            && tool.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '*'));
        if named { Ok(Self { tool, pattern }) } else { Err(invalid()) }
    }

    pub(crate) fn is_about(&self, tool: &str) -> bool {
        glob(self.tool, tool)
    }

    /// Whether it speaks of whole calls.
    pub(crate) fn is_whole(&self) -> bool {
        self.pattern.is_none()
    }

    /// Whether it allows this part of a call; without a pattern it allows every part.
    pub(crate) fn allows(&self, part: &str) -> bool {
        self.pattern.is_none_or(|pattern| glob(pattern, part))
    }

    /// Whether it denies this call of a tool that it is about.
    pub(crate) fn denies(&self, subject: &Subject) -> bool {
        self.pattern.is_none_or(|pattern| subject.parts.iter().any(|part| glob(pattern, part)))
    }
}

/// Checks every rule of a set.
///
/// # Errors
/// The first that is not a rule.
pub fn check_rules(rules: &Rules) -> Result<(), InvalidRule> {
    let all = rules.allow.iter().chain(&rules.deny).chain(&rules.grants);
    all.map(String::as_str).try_for_each(|rule| Rule::parse(rule).map(drop))
}

impl std::fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pattern {
            None => f.write_str(self.tool),
            Some(pattern) => write!(f, "{}({pattern})", self.tool),
        }
    }
}

/// The rule for exactly this part of a call of this tool.
#[must_use]
pub fn exactly(tool: &str, part: &str) -> String {
    format!("{tool}({})", escape(part))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// One token of a pattern.
#[derive(Clone, Copy, PartialEq)]
enum Glob {
    Any,
    One,
    Plain(char),
}

/// Whether the pattern matches the whole text. Linear in the product of both lengths.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut chars = pattern.chars();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Glob::Any,
            '?' => Glob::One,
            '\\' => Glob::Plain(chars.next().unwrap_or('\\')),
            plain => Glob::Plain(plain),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t, mut retry) = (0, 0, None);
    while t < text.len() {
        match tokens.get(p) {
            Some(Glob::Any) => {
                retry = Some((p, t));
                p += 1;
            }
            Some(Glob::One) => (p, t) = (p + 1, t + 1),
            Some(Glob::Plain(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
            Some(Glob::Plain(_)) | None => {
                let Some((star, from)) = retry else { return false };
                (p, t) = (star + 1, from + 1);
                retry = Some((star, from + 1));
            }
        }
    }
    tokens[p..].iter().all(|token| *token == Glob::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, wanted) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("*.rs", "src/x.rs", true),
            ("git", "git status", false),
        ] {
            assert_eq!(glob(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn a_text_that_is_no_rule_is_refused() {
        for bad in ["", "(x)", "bash(", "bash()", "bash(x", "ba sh", "bash(x) y"] {
            assert!(Rule::parse(bad).is_err(), "{bad}");
        }
    }
}
