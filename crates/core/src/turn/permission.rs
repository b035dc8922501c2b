//! Whether a call may run: rules, then the mode. Pure.

use crate::event::{Effect, PermissionKind, PermissionOption};
use crate::ports::tool::{Assessment, Subject};
use crate::spec::{Mode, Rules};

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

    fn is_about(&self, tool: &str) -> bool {
        glob(self.tool, tool)
    }

    /// Whether it allows this part of a call; without a pattern it allows every part.
    fn allows(&self, part: &str) -> bool {
        self.pattern.is_none_or(|pattern| glob(pattern, part))
    }

    fn denies(&self, tool: &str, subject: &Subject) -> bool {
        self.is_about(tool)
            && self
                .pattern
                .is_none_or(|pattern| subject.parts.iter().any(|part| glob(pattern, part)))
    }
}

/// Checks every rule of a set.
///
/// # Errors
/// The first that is not a rule.
pub fn check_rules(rules: &Rules) -> Result<(), InvalidRule> {
    rules.allow.iter().chain(&rules.deny).try_for_each(|rule| Rule::parse(rule).map(drop))
}

/// What is to be done with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Run it.
    Allow,
    /// Refuse it, for this reason.
    Deny(String),
    /// Ask somebody.
    Ask,
}

/// Judges a call: a matching `deny` wins, then a matching `allow`, then the mode. What could not be taken apart is never let past a
/// `deny` pattern for its tool unasked.
#[must_use]
pub fn judge(mode: Mode, rules: &[&Rules], tool: &str, call: &Assessment) -> Verdict {
    let parsed = |texts: fn(&Rules) -> &Vec<String>| {
        rules.iter().flat_map(move |rules| texts(rules)).filter_map(|text| Rule::parse(text).ok())
    };
    if let Some(rule) = parsed(|rules| &rules.deny).find(|rule| rule.denies(tool, &call.subject)) {
        return Verdict::Deny(format!("the rule `{}` forbids it", show(&rule)));
    }
    let might_be_denied =
        !call.subject.complete && parsed(|rules| &rules.deny).any(|rule| rule.is_about(tool));
    let allowed: Vec<Rule<'_>> =
        parsed(|rules| &rules.allow).filter(|rule| rule.is_about(tool)).collect();
    if is_allowed(&allowed, &call.subject) {
        return if might_be_denied { Verdict::Ask } else { Verdict::Allow };
    }
    match by_mode(mode, call.effect) {
        Verdict::Allow if might_be_denied => Verdict::Ask,
        verdict => verdict,
    }
}

/// Whether the rules let a call through: one of them whole, or each of its parts some rule, when it could be taken apart.
fn is_allowed(rules: &[Rule<'_>], subject: &Subject) -> bool {
    let part_is_allowed = |part: &String| rules.iter().any(|rule| rule.allows(part));
    let by_parts = subject.complete && !subject.parts.is_empty();
    rules.iter().any(|rule| rule.pattern.is_none())
        || (by_parts && subject.parts.iter().all(part_is_allowed))
}

fn by_mode(mode: Mode, effect: Effect) -> Verdict {
    match (mode, effect) {
        (Mode::Open, _) | (Mode::ReadOnly | Mode::AskWrites, Effect::Pure) => Verdict::Allow,
        (
            Mode::AskWrites,
            Effect::Idempotent | Effect::Mutating | Effect::Destructive | Effect::Network,
        ) => Verdict::Ask,
        (
            Mode::ReadOnly,
            Effect::Idempotent | Effect::Mutating | Effect::Destructive | Effect::Network,
        ) => Verdict::Deny(
            "the session is in mode read-only and this call does more than read".to_owned(),
        ),
        (Mode::DenyAll, _) => Verdict::Deny("the session is in mode deny-all".to_owned()),
    }
}

/// The choices of a question. What "always" grants is exactly what was shown, in this session only.
#[must_use]
pub fn options(tool: &str, subject: &Subject) -> Vec<PermissionOption> {
    let option = |kind, label: String, grants| PermissionOption { kind, label, grants };
    let rules: Vec<String> =
        subject.parts.iter().map(|part| format!("{tool}({})", escape(part))).collect();
    let mut options =
        vec![option(PermissionKind::AllowOnce, "allow this once".to_owned(), Vec::new())];
    if subject.complete && !rules.is_empty() {
        let label = format!("always allow in this session: {}", rules.join(", "));
        options.push(option(PermissionKind::AllowAlways, label, rules.clone()));
    }
    options.push(option(PermissionKind::RejectOnce, "refuse this once".to_owned(), Vec::new()));
    if !rules.is_empty() {
        let label = format!("always refuse in this session: {}", rules.join(", "));
        options.push(option(PermissionKind::RejectAlways, label, rules));
    }
    options
}

fn show(rule: &Rule<'_>) -> String {
    rule.pattern.map_or_else(|| rule.tool.to_owned(), |pattern| format!("{}({pattern})", rule.tool))
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
fn glob(pattern: &str, text: &str) -> bool {
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

    fn call(effect: Effect, parts: &[&str], complete: bool) -> Assessment {
        let subject = Subject { parts: parts.iter().map(|p| (*p).to_owned()).collect(), complete };
        Assessment { effect, title: String::new(), subject, timeout_ms: 1 }
    }

    fn rules(allow: &[&str], deny: &[&str]) -> Rules {
        let own = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
        Rules { allow: own(allow), deny: own(deny) }
    }

    #[test]
    fn modes_decide_by_effect() {
        let none = Rules::default();
        let table = [
            (Mode::ReadOnly, Effect::Pure, "allow"),
            (Mode::ReadOnly, Effect::Mutating, "deny"),
            (Mode::ReadOnly, Effect::Network, "deny"),
            (Mode::AskWrites, Effect::Pure, "allow"),
            (Mode::AskWrites, Effect::Mutating, "ask"),
            (Mode::AskWrites, Effect::Network, "ask"),
            (Mode::AskWrites, Effect::Destructive, "ask"),
            (Mode::Open, Effect::Destructive, "allow"),
            (Mode::DenyAll, Effect::Pure, "deny"),
        ];
        for (mode, effect, wanted) in table {
            let verdict = judge(mode, &[&none], "t", &call(effect, &["x"], true));
            let name = match verdict {
                Verdict::Allow => "allow",
                Verdict::Deny(_) => "deny",
                Verdict::Ask => "ask",
            };
            assert_eq!(name, wanted, "{mode:?} {effect:?}");
        }
    }

    #[test]
    fn an_allow_pattern_must_match_every_command_and_a_deny_pattern_any() {
        let both = call(Effect::Destructive, &["git status", "rm -rf ."], true);
        let git = call(Effect::Destructive, &["git status"], true);
        let judge = |rules: &Rules, call| judge(Mode::AskWrites, &[rules], "bash", call);
        assert_eq!(judge(&rules(&["bash(git *)"], &[]), &git), Verdict::Allow);
        assert_eq!(judge(&rules(&["bash(git *)"], &[]), &both), Verdict::Ask);
        assert!(matches!(judge(&rules(&["bash"], &["bash(rm *)"]), &both), Verdict::Deny(_)));
        assert_eq!(judge(&rules(&["edit_file"], &[]), &git), Verdict::Ask);
    }

    #[test]
    fn what_cannot_be_taken_apart_is_not_let_past_a_deny_pattern() {
        let hidden = call(Effect::Destructive, &["echo"], false);
        assert_eq!(
            judge(Mode::Open, &[&rules(&[], &["bash(rm *)"])], "bash", &hidden),
            Verdict::Ask
        );
        assert_eq!(
            judge(Mode::AskWrites, &[&rules(&["bash(echo*)"], &[])], "bash", &hidden),
            Verdict::Ask
        );
    }

    #[test]
    fn a_grant_covers_exactly_what_was_shown() {
        let subject = Subject { parts: vec!["rm *.tmp".to_owned()], complete: true };
        let always = options("bash", &subject)
            .into_iter()
            .find(|o| o.kind == PermissionKind::AllowAlways)
            .unwrap();
        let granted = Rules { allow: always.grants, deny: Vec::new() };
        let judge = |command: &str| {
            judge(
                Mode::AskWrites,
                &[&granted],
                "bash",
                &call(Effect::Destructive, &[command], true),
            )
        };
        assert_eq!(judge("rm *.tmp"), Verdict::Allow);
        assert_eq!(judge("rm -rf x.tmp"), Verdict::Ask);
    }

    #[test]
    fn a_grant_for_several_commands_covers_them_together_and_each_alone() {
        let both = call(Effect::Destructive, &["git status", "ls"], true);
        let always = options("bash", &both.subject)
            .into_iter()
            .find(|o| o.kind == PermissionKind::AllowAlways)
            .unwrap();
        let granted = Rules { allow: always.grants, deny: Vec::new() };
        let judge = |call: &Assessment| judge(Mode::AskWrites, &[&granted], "bash", call);
        assert_eq!(judge(&both), Verdict::Allow);
        assert_eq!(judge(&call(Effect::Destructive, &["ls"], true)), Verdict::Allow);
        let more = call(Effect::Destructive, &["git status", "rm x", "ls"], true);
        assert_eq!(judge(&more), Verdict::Ask);
    }

    #[test]
    fn a_deny_pattern_never_loosens_a_mode() {
        let hidden = call(Effect::Destructive, &["echo"], false);
        for (mode, allow, asks) in [
            (Mode::ReadOnly, &[][..], false),
            (Mode::DenyAll, &[][..], false),
            (Mode::AskWrites, &[][..], true),
            (Mode::Open, &[][..], true),
            (Mode::ReadOnly, &["bash"][..], true),
            (Mode::DenyAll, &["bash"][..], true),
        ] {
            let verdict = judge(mode, &[&rules(allow, &["bash(rm *)"])], "bash", &hidden);
            assert_eq!(verdict == Verdict::Ask, asks, "{mode:?} {verdict:?}");
            assert_ne!(verdict, Verdict::Allow, "{mode:?}");
        }
    }

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
