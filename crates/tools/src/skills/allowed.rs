//! `allowed-tools` of a skill, translated to rules of this program. What has no exact counterpart grants nothing, and is said.

use std::collections::HashSet;

use oarlock_core::spec::rule::Rule;
use serde_json::Value;

/// Tools by the names under which others publish, and ours.
const TRANSLATED: [(&str, &str); 14] = [
    ("Bash", "bash"),
    ("Read", "read_file"),
    ("Write", "write_file"),
    ("Edit", "edit_file"),
    ("MultiEdit", "edit_file"),
    ("Grep", "search"),
    ("Glob", "search"),
    ("LS", "search"),
    ("WebFetch", "fetch"),
    ("Skill", "skill"),
    ("Task", "spawn_agent"),
    ("Agent", "spawn_agent"),
    ("TodoWrite", "update_plan"),
    ("AskUserQuestion", "ask_user"),
];

/// Entries that one skill may have; the rest grants nothing.
const ENTRIES_MAX: usize = 100;
/// Bytes of one entry.
const ENTRY_BYTES_MAX: usize = 300;

/// What `allowed-tools` of a skill means here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Rules `tool` or `tool(pattern)`, in the order in which they were written.
    pub grants: Vec<String>,
    /// Entries that grant nothing here, each with the reason.
    pub refused: Vec<String>,
}

impl Allowed {
    /// Translates the value of the key: entries in one text, parted by spaces or commas, or a list of entries. `tools` are the names of the tools
    /// that there are.
    #[must_use]
    pub fn translate(value: &Value, tools: &[String]) -> Self {
        let mut allowed = Self::default();
        let entries = match value {
            Value::Null => Vec::new(),
            Value::String(text) => parted(text),
            Value::Array(list) if list.iter().all(Value::is_string) => {
                list.iter().filter_map(Value::as_str).flat_map(parted).collect()
            }
            Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                allowed.refused.push("it is neither a text nor a list of texts".to_owned());
                Vec::new()
            }
        };
        if let Some(first) = entries.get(ENTRIES_MAX) {
            let words = format!("`{first:.40}` and what follows: {ENTRIES_MAX} entries are taken");
            allowed.refused.push(words);
        }
        for entry in entries.iter().take(ENTRIES_MAX) {
            match rules(entry, tools) {
                Ok(rules) => allowed.grants.extend(rules),
                Err(why) => allowed.refused.push(format!("`{entry:.80}`: {why}")),
            }
        }
        let mut seen = HashSet::new();
        allowed.grants.retain(|rule| seen.insert(rule.clone()));
        allowed
    }
}

/// The entries of a text. Spaces and commas within brackets belong to an entry.
fn parted(text: &str) -> Vec<String> {
    let (mut entries, mut entry, mut depth) = (Vec::new(), String::new(), 0_u32);
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (c == ',' || c.is_whitespace()) {
            entries.push(std::mem::take(&mut entry));
        } else {
            entry.push(c);
        }
    }
    entries.push(entry);
    entries.retain(|entry| !entry.is_empty());
    entries
}

fn rules(entry: &str, tools: &[String]) -> Result<Vec<String>, &'static str> {
    if entry.len() > ENTRY_BYTES_MAX {
        return Err("it is too long");
    }
    let (name, pattern) = match entry.split_once('(') {
        None => (entry, None),
        Some((name, rest)) => (name, Some(rest.strip_suffix(')').ok_or("its `)` is missing")?)),
    };
    let there_is = |tool: &str| tools.iter().any(|there| there == tool);
    let known = TRANSLATED.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours);
    let Some(tool) = known.filter(|tool| there_is(tool)) else {
        // Under the name that it has here, it is a rule of ours.
        let is_rule = there_is(name) && Rule::parse(entry).is_ok();
        return if is_rule {
            Ok(vec![entry.to_owned()])
        } else {
            Err("there is no such tool here")
        };
    };
    let pattern = match pattern.map(str::trim) {
        None | Some("" | "*" | ":*") => return Ok(vec![tool.to_owned()]),
        Some(pattern) => pattern,
    };
    let patterns = match tool {
        "bash" => commands(pattern),
        "fetch" => {
            pages(pattern).ok_or("only `domain:HOST` without wildcards has a counterpart")?
        }
        "read_file" | "write_file" | "edit_file" => vec![
            path(pattern).ok_or("only a path in the folder, or `FOLDER/**`, has a counterpart")?,
        ],
        _ => return Err("patterns of this tool have no counterpart"),
    };
    Ok(patterns.into_iter().map(|pattern| format!("{tool}({pattern})")).collect())
}

/// `git:*` is the command alone or with arguments; elsewhere `*` means what it means here.
fn commands(pattern: &str) -> Vec<String> {
    match pattern.strip_suffix(":*") {
        Some(command) => {
            let command = plain(command.trim_end());
            vec![command.clone(), format!("{command} *")]
        }
        None => vec![plain(pattern)],
    }
}

/// Others know `*` alone as special; here `?` and `\` are special, too.
fn plain(pattern: &str) -> String {
    pattern.replace('\\', "\\\\").replace('?', "\\?")
}

fn pages(pattern: &str) -> Option<Vec<String>> {
    let host = pattern.strip_prefix("domain:")?;
    let is_host = host.contains('.')
        && host.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c));
    is_host.then(|| vec![format!("https://{host}/*")])
}

/// Others' `*` ends at a slash and ours does not, so that only `**` at the end means the same in both.
fn path(pattern: &str) -> Option<String> {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    let (path, below) = match pattern.strip_suffix("/**") {
        Some(folder) => (folder, "/*"),
        None => (pattern, ""),
    };
    let is_inside = !path.is_empty()
        && !path.starts_with(['/', '~'])
        && path.split('/').all(|name| !matches!(name, "" | "." | ".."));
    let is_plain = !path.contains(['*', '?', '[', '{', '!', '\\']);
    // Without a slash, a pattern of others means such a file in any folder.
    let is_anchored = pattern.contains('/');
    (is_inside && is_plain && is_anchored).then(|| format!("{path}{below}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn translated(value: &Value) -> Allowed {
        let tools = [
            "bash",
            "read_file",
            "write_file",
            "edit_file",
            "search",
            "fetch",
            "skill",
            "update_plan",
        ];
        Allowed::translate(value, &tools.map(str::to_owned))
    }

    #[test]
    fn well_known_entries_become_rules() {
        for (text, rules) in [
            ("Read", &["read_file"][..]),
            (
                "Bash(git:*) Bash(jq:*) Read",
                &["bash(git)", "bash(git *)", "bash(jq)", "bash(jq *)", "read_file"],
            ),
            (
                "Bash(npm run test:*), Grep, Glob",
                &["bash(npm run test)", "bash(npm run test *)", "search"],
            ),
            ("Bash(python *)", &["bash(python *)"]),
            ("Bash(./a.sh --what?)", &["bash(./a.sh --what\\?)"]),
            ("Bash", &["bash"]),
            ("Bash(*)", &["bash"]),
            ("TodoWrite", &["update_plan"]),
            ("Edit(src/**) Write(./docs/a.md)", &["edit_file(src/*)", "write_file(docs/a.md)"]),
            ("WebFetch(domain:docs.rs)", &["fetch(https://docs.rs/*)"]),
            ("edit_file bash(cargo *)", &["edit_file", "bash(cargo *)"]),
            ("edit_file(src/*.ts)", &["edit_file(src/*.ts)"]),
            ("", &[]),
        ] {
            let allowed = translated(&json!(text));
            assert_eq!(
                (allowed.grants.as_slice(), allowed.refused.is_empty()),
                (&rules.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>()[..], true),
                "{text}"
            );
            assert!(allowed.grants.iter().all(|rule| Rule::parse(rule).is_ok()), "{allowed:?}");
        }
        let list = translated(&json!(["Bash(git add:*)", "Read, Write"]));
        assert_eq!(list.grants, ["bash(git add)", "bash(git add *)", "read_file", "write_file"]);
    }

    #[test]
    fn what_has_no_counterpart_grants_nothing_and_is_said() {
        for text in [
            "WebSearch",
            "mcp__github__issue",
            "Bash(git:*",
            "Edit(*.ts)",
            "Edit(src/*.ts)",
            "Edit(../other/**)",
            "Edit(/etc/**)",
            "Edit(~/x/**)",
            "Edit(**)",
            "Read(secret.txt)",
            "WebFetch(domain:*.example.com)",
            "WebFetch(domain:example.com/x)",
            "WebFetch(https://example.com)",
            "Skill(other)",
            "bash()",
            "*",
        ] {
            let allowed = translated(&json!(text));
            assert_eq!(
                (allowed.grants.len(), allowed.refused.len()),
                (0, 1),
                "{text}: {allowed:?}"
            );
        }
        assert_eq!(translated(&json!({"a": 1})).refused.len(), 1);
        assert_eq!(translated(&json!(["Read", 1])).refused.len(), 1);
        let many = vec!["Read"; 101].join(" ");
        assert_eq!(translated(&json!(many)).refused.len(), 1);
    }
}
