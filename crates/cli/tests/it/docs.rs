//! The documentation says what the table of keys says.

use oarlock::config::given::OTHER_VARIABLES;
use oarlock::config::keys::KEYS;
use oarlock::config::{Environment, Inputs, load};
use oarlock::providers::provider;

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

/// What the first implementation has on its command line and in its files, whether it is the same here or not.
const THERE: &[&str] = &[
    "default.provider",
    "default.model",
    "base_prompt",
    "prompt.file",
    "prompt.text",
    "prompt.providers",
    "prompt.models",
    "capabilities.web_search",
    "providers.*.protocol",
    "providers.*.base_url",
    "providers.*.default_model",
    "providers.*.models",
    "providers.*.display_name",
    "providers.*.api_key_env",
    "providers.*.headers",
    "providers.*.auth_header",
    "providers.*.aws",
    "providers.*.reasoning_effort",
    "organization",
    "project",
    "bedrock",
    "tools.bash.default_timeout_ms",
    "tools.bash.max_timeout_ms",
    "tools.bash.output_max_bytes",
    "tools.fs.read_default_limit",
    "tools.fs.read_max_limit",
    "tools.fetch.enabled",
    "tools.fetch.default_timeout_secs",
    "tools.fetch.max_timeout_secs",
    "tools.fetch.max_response_bytes",
    "tools.fetch.default_format",
    "tools.fetch.html_to_markdown",
    "tools.fetch.follow_redirects",
    "tools.search.enabled",
    "tools.search.default_head_limit",
    "tools.search.max_head_limit",
    "tools.search.max_file_size_bytes",
    "tools.search.max_result_bytes",
    "tools.search.max_walk_files",
    "tools.search.respect_gitignore_default",
    "tools.background",
    "sandbox.mode",
    "tracing.filter",
    "tracing.format",
    "tracing.otlp",
    "tracing.langfuse",
    "mcp",
    "hooks",
    "http.total_timeout_ms",
    "http.transport_retries",
    "initial_backoff_ms",
    "http.user_agent",
    "http.proxy.mode",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "turn.system_prompt",
    "sampling",
    "turn.request_limit",
    "request_limit_mode",
    "turn.compact_threshold_tokens",
    "compact_soft_ratio",
    "microcompact_ratio",
    "max_llm_retries",
    "max_concurrent_tools",
    "max_hook_continues",
    "subagent_max_depth",
    "--provider",
    "DEFECT_PROVIDER",
    "--model",
    "DEFECT_MODEL",
    "--sandbox",
    "--yolo",
    "--profile",
    "DEFECT_PROFILE",
    "--log-format",
    "--config",
    "--resume",
    "--local",
    "--repl",
    "--message",
    "--format",
    "--goal",
    "--max-turns",
    "init --yes",
    "--force",
    "--default-provider",
    "--default-model",
    ".env",
    "RUST_LOG",
    "XDG_STATE_HOME",
    "meta.json",
    "journal.jsonl",
    "snapshot.json",
];

#[test]
fn what_the_first_implementation_takes_is_a_key_here_or_the_page_says_what_replaces_it() {
    let (_, table) = PAGE.split_once("## For those who come from defect").unwrap();
    let rows: String = table
        .lines()
        .filter_map(|row| row.strip_prefix("| ")?.split(" | ").next())
        .map(|cell| format!("{cell}\n"))
        .collect();
    for name in THERE {
        let is_key =
            KEYS.iter().any(|key| key.path == *name || key.path.starts_with(&format!("{name}.")));
        let named = |name: &str| {
            rows.match_indices(name).any(|(at, _)| {
                let inside = |c: char| c.is_alphanumeric() || c == '_';
                !rows[at + name.len()..].starts_with(inside) && !rows[..at].ends_with(inside)
            })
        };
        let short = name.rsplit('.').next().unwrap();
        assert!(
            is_key || named(name) || named(&format!("`{short}")),
            "{name} is nowhere on the page"
        );
    }
}

#[test]
fn every_flag_that_the_page_names_for_us_is_one() {
    use clap::CommandFactory;
    let mut flags = std::collections::BTreeSet::new();
    let mut open = vec![oarlock::args::Cli::command()];
    while let Some(command) = open.pop() {
        flags
            .extend(command.get_arguments().filter_map(|a| a.get_long().map(|l| format!("--{l}"))));
        open.extend(command.get_subcommands().cloned());
    }
    let (_, table) = PAGE.split_once("## For those who come from defect").unwrap();
    let (before, _) = PAGE.split_once("## For those who come from defect").unwrap();
    let here = table.lines().filter_map(|row| row.strip_prefix("| ")?.split(" | ").nth(1));
    let text = format!("{before}\n{}", here.collect::<Vec<_>>().join("\n"));
    for word in text.split(|c: char| !(c.is_ascii_lowercase() || c == '-')) {
        assert!(!word.starts_with("--") || word.len() < 4 || flags.contains(word), "{word}");
    }
}

#[test]
fn every_provider_of_the_page_can_be_used_as_it_is_written() {
    let blocks = PAGE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut names = std::collections::BTreeSet::new();
    for block in blocks.filter(|block| block.contains("providers.")) {
        let home = crate::home::Home::new();
        home.user(block);
        let folder = home.path("");
        let environment = Environment::of(&[("HOME", folder.to_str().unwrap())]);
        let inputs = Inputs { environment, cwd: home.project(), overrides: vec![], flags: vec![] };
        let loaded = load(inputs).unwrap_or_else(|error| panic!("{error}:\n{block}"));
        for name in loaded.config.providers.keys() {
            let made = provider(&loaded, name);
            assert!(made.is_ok(), "{name}: {:?}:\n{block}", made.err());
            names.insert(name.clone());
        }
    }
    for name in ["azure", "litellm", "mine", "openai", "vllm"] {
        assert!(names.contains(name), "{name} has no example");
    }
}
