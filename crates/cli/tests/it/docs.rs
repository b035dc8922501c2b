//! The documentation says what the table of keys says.

use oarlock::config::given::OTHER_VARIABLES;
use oarlock::config::keys::KEYS;

use crate::home::Home;

const PAGE: &str = include_str!("../../../../docs/configuration.md");

#[test]
fn the_table_of_the_documentation_is_the_table_of_keys() {
    let mut table = String::from(
        "| key | takes | default | may be set by | what it is |\n|---|---|---|---|---|\n",
    );
    for key in KEYS {
        let default =
            if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        let (takes, by, doc) = (key.kind.describe(), key.need.name(), key.doc.replace('|', "\\|"));
        table.push_str(&format!("| `{}` | {takes} | {default} | {by} | {doc} |\n", key.path));
    }
    assert!(PAGE.contains(&table), "docs/configuration.md should hold this table:\n{table}");
}

#[test]
fn every_variable_that_is_no_key_is_documented() {
    for (name, doc) in OTHER_VARIABLES {
        assert!(PAGE.contains(&format!("| `{name}` | {doc} |")), "{name}");
    }
}

/// Every flag, variable and section that people who change over may look for.
const ELSEWHERE: &[&str] = &[
    "default.provider",
    "default.model",
    "base_prompt",
    "prompt.file",
    "prompt.text",
    "prompt.providers",
    "prompt.models",
    "capabilities.web_search",
    "providers.*.protocol",
    "base_url",
    "default_model",
    "models",
    "display_name",
    "api_key_env",
    "organization",
    "headers",
    "auth_header",
    "providers.*.aws",
    "reasoning_effort",
    "tools.bash",
    "tools.fs",
    "tools.fetch",
    "tools.search",
    "tools.background",
    "sandbox.mode",
    "tracing.filter",
    "tracing.format",
    "tracing.otlp",
    "tracing.langfuse",
    "mcp",
    "http.total_timeout_ms",
    "transport_retries",
    "initial_backoff_ms",
    "http.user_agent",
    "http.proxy.mode",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "hooks",
    "turn.system_prompt",
    "sampling",
    "request_limit",
    "request_limit_mode",
    "turn.compact_*",
    "microcompact_*",
    "max_llm_retries",
    "max_concurrent_tools",
    "max_hook_continues",
    "subagent_max_depth",
    "--provider",
    "DEFECT_PROVIDER",
    "DEFECT_MODEL",
    "--sandbox",
    "--yolo",
    "--profile",
    "--log-format",
    "--config K=V",
    "--resume",
    "--local",
    "--repl",
    "--message",
    "--format",
    "--goal",
    "--max-turns",
    "RUST_LOG",
    ".env",
    "XDG_STATE_HOME",
    "journal.jsonl",
];

/// The rows of the table for those who change over.
fn rows() -> Vec<(&'static str, &'static str)> {
    let table = PAGE.split("## For those who come from").nth(1).unwrap();
    let cells = |line: &'static str| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ");
    table.lines().filter_map(cells).collect()
}

#[test]
fn whatever_somebody_used_elsewhere_has_a_row() {
    for name in ELSEWHERE {
        assert!(rows().iter().any(|(there, _)| there.contains(name)), "{name} has no row");
    }
}

#[test]
fn what_is_named_as_a_replacement_exists() {
    let help = ["run", "chat", "init", "doctor"]
        .map(|command| Home::new().run(&[command, "--help"]).out)
        .concat();
    let (mut keys, mut flags) = (0, 0);
    for (_, here) in rows() {
        for word in here.split('`').skip(1).step_by(2) {
            let name = word.split([' ', '=']).next().unwrap();
            if name.starts_with("--") {
                assert!(help.contains(name), "{name} is no flag");
                flags += 1;
            } else if name.contains('.') && !name.contains('/') {
                assert!(KEYS.iter().any(|key| key.path.starts_with(name)), "{name} is no key");
                keys += 1;
            }
        }
    }
    assert!(keys > 5 && flags > 5, "the table was read: {keys} {flags}");
}
