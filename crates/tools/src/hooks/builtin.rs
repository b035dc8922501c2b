//! Hooks that need no program.

use oarlock_core::event::{HookChange, HookPoint, HookResult};
use oarlock_core::message::Part;
use oarlock_core::ports::hook::HookStep;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// Words in the name of a value that is a secret.
const NAMES: [&str; 8] =
    ["password", "passwd", "secret", "token", "api_key", "apikey", "authorization", "private_key"];

/// A built-in hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// Logs that the point was passed: session, tool, outcome; no arguments and no results.
    TracingAudit,
    /// Takes what looks like a secret out of a result before anybody is shown it, and out of the end of a background task before a model is.
    /// Arguments are left alone: a tool gets what the model said.
    RedactSecrets,
}

impl BuiltIn {
    /// The built-in hook of this name at a point.
    ///
    /// # Errors
    /// When there is none, or it has nothing to do there.
    pub(super) fn named(name: &str, point: HookPoint) -> Result<Self, String> {
        match (name, point) {
            ("tracing-audit", _) => Ok(Self::TracingAudit),
            ("redact-secrets", HookPoint::AfterToolApply) => Ok(Self::RedactSecrets),
            ("redact-secrets", _) => {
                Err("is `redact-secrets`, which works at `after_tool_apply`".to_owned())
            }
            _ => Err(format!(
                "names no built-in hook: `{name}`; there are `tracing-audit` and `redact-secrets`"
            )),
        }
    }

    pub(super) fn run(self, step: &HookStep) -> HookChange {
        let text = |key: &str| step.fields.get(key).and_then(|value| value.as_str());
        match self {
            Self::TracingAudit => {
                tracing::info!(
                    target: "oarlock::audit",
                    session = %step.session_id,
                    point = step.hook_event.name(),
                    turn = step.turn,
                    tool = text("tool"),
                    outcome = text("outcome"),
                    "passed"
                );
                HookChange::default()
            }
            Self::RedactSecrets if step.hook_event == HookPoint::BeforeIngest => {
                let input = text("input").unwrap_or_default();
                let shown = without_whole(&redacted(input));
                let changes = text("source") == Some("background") && shown != input;
                HookChange { input: changes.then_some(shown), ..HookChange::default() }
            }
            Self::RedactSecrets => {
                let output = text("output").unwrap_or_default();
                let shown = without_whole(&redacted(output));
                if shown == output {
                    return HookChange::default();
                }
                let is_error = step.fields.get("is_error").is_some_and(|is| is == true);
                let result = HookResult { content: vec![Part::text(shown)], is_error };
                HookChange { result: Some(result), ..HookChange::default() }
            }
        }
    }
}

/// The text without the way to its whole, which nobody has looked through.
fn without_whole(text: &str) -> String {
    let (begin, end) = ("the whole is `blob:", "` for read_file");
    let Some((before, rest)) = text.split_once(begin) else { return text.to_owned() };
    match rest.split_once(end) {
        Some((_, after)) => format!("{before}the whole is withheld{after}"),
        None => text.to_owned(),
    }
}

/// The text with the values of secrets hidden: of `name = value`, `name: value` and `"name": "value"`, where the name says that it is one, and
/// everything between the marks of a private key.
fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        if line.contains("-----BEGIN") && line.contains("PRIVATE KEY") {
            in_key = true;
            shown.push_str(line);
            continue;
        }
        if in_key && line.contains("-----END") {
            in_key = false;
        }
        match in_key {
            true => shown.push_str(&format!("{HIDDEN}\n")),
            false => redact_line(line, &mut shown),
        }
    }
    shown
}

fn redact_line(line: &str, shown: &mut String) {
    let mut rest = line;
    while let Some(at) = rest.find([':', '=']) {
        let (before, after) = rest.split_at(at + 1);
        shown.push_str(before);
        let name = before[..at].trim_end_matches(['"', '\'', ' ', '\t']);
        let word = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        let name = name.rsplit(word).next().unwrap_or_default().to_lowercase().replace('-', "_");
        rest = after;
        if !NAMES.iter().any(|secret| name.contains(secret)) {
            continue;
        }
        let value = after.trim_start_matches([' ', '\t', '=', '>']);
        shown.push_str(&after[..after.len() - value.len()]);
        let end = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                shown.push(quote);
                let inner = &value[1..];
                let end = inner.find([quote, '\n']).unwrap_or(inner.len());
                if end > 0 {
                    shown.push_str(HIDDEN);
                }
                1 + end
            }
            Some(_) => {
                // What follows an authorization is a scheme and a secret.
                let ends: &[char] = if name.contains("authorization") {
                    &['\n', '"']
                } else {
                    &['\n', ' ', ',', ';', '"']
                };
                let end = value.find(ends).unwrap_or(value.len());
                if end > 0 {
                    shown.push_str(HIDDEN);
                }
                end
            }
            None => 0,
        };
        rest = &value[end..];
    }
    shown.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_are_hidden_wherever_they_stand() {
        for (text, wanted) in [
            ("nothing here: at all\n", "nothing here: at all\n"),
            ("API_KEY=abc def", "API_KEY=*** def"),
            ("export DB_PASSWORD='a b' # x\n", "export DB_PASSWORD='***' # x\n"),
            (r#"{"a": {"token": "t1"}, "b": 2}"#, r#"{"a": {"token": "***"}, "b": 2}"#),
            ("Authorization: Bearer xyz\nnext", "Authorization: ***\nnext"),
            ("x-api-key: k\r\n", "x-api-key: ***\n"),
            (
                "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n",
                "-----BEGIN PRIVATE KEY-----\n***\n-----END PRIVATE KEY-----\n",
            ),
            ("password:", "password:"),
            ("token=\"\"", "token=\"\""),
        ] {
            assert_eq!(redacted(text), wanted);
        }
    }
}
