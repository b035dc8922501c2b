//! The table of keys and what is said about keys and values that are not in it.

use oarlock::config::keys::{Found, KEYS, Key, find};
use oarlock::config::kind::Kind;
use oarlock::config::{Config, Environment, Inputs, load};

use crate::home::Home;

#[test]
fn a_mistake_is_one_line_with_file_line_column_and_the_nearest_key() {
    let table = [
        ("mood = \"open\"", "unknown key `mood`: FILE:1:1; did you mean `mode`?"),
        (
            "\n[tools.bash]\n  default_timout_ms = 1",
            "unknown key `tools.bash.default_timout_ms`: FILE:3:3; did you mean `tools.bash.default_timeout_ms`?",
        ),
        ("[tols.bash]\nx = 1", "unknown key `tols`: FILE:1:2; did you mean `tools`?"),
        (
            "providers.acme.base_ur = \"x\"",
            "unknown key `providers.acme.base_ur`: FILE:1:16; did you mean `providers.acme.base_url`?",
        ),
        (
            "zzzzzzzz = 1",
            "unknown key `zzzzzzzz`: FILE:1:1; `oarlock doctor --config` lists all keys",
        ),
        (
            "mode = \"yolo\"",
            "there is no mode `yolo`; the modes are: read-only, ask-writes, open, deny-all: FILE:1:1; name one of them",
        ),
        (
            "[limits.turn]\nsteps = \"ten\"",
            "`limits.turn.steps` takes a whole number from 1 to 4294967295, not \"ten\": FILE:2:1",
        ),
        (
            "limits.turn.time = 5",
            "`limits.turn.time` takes a duration such as \"30s\" or \"5m\", not 5: FILE:1:13",
        ),
        ("limits = 3", "`limits` takes a table, not 3: FILE:1:1"),
        (
            "[mode]\nx = 1",
            "`mode` takes \"deny-all\", \"read-only\", \"ask-writes\", \"open\", or the name of one of `modes`, not a table: FILE:1:2",
        ),
        ("a = [", "not valid TOML: FILE:1:"),
        (
            "[providers.acme]\n",
            "`providers.acme` is an empty table: FILE:1:12; put a key into it or remove it",
        ),
        (
            "[providers.acme]\nwire = \"openai-chat\"",
            "provider `acme` is not a well-known one and has no `base_url`: FILE:2:1; set `providers.acme.base_url`",
        ),
        (
            "[providers.openai]\nbase_url = \"https://u:p@host\"",
            "`providers.openai.base_url` is no http or https address without credentials: FILE:2:1",
        ),
        (
            "[tools.bash]\nmax_timeout_ms = 10",
            "`tools.bash.default_timeout_ms` (30000) is more than `tools.bash.max_timeout_ms` (10): FILE:2:1",
        ),
    ];
    for (text, expected) in table {
        let home = Home::new();
        let file = home.user(text).display().to_string();
        let ran = home.run(&["models"]);
        let told = ran.refused(1).replace(&file, "FILE");
        assert!(told.starts_with(&format!("oarlock: {expected}")), "{told}");
    }
}

#[test]
fn variables_and_overrides_are_held_to_the_same_table() {
    let table = [
        (
            "OARLOCK_MODL",
            "x",
            "unknown environment variable OARLOCK_MODL; did you mean OARLOCK_MODE?",
        ),
        ("OARLOCK_SOMETHING_ELSE", "x", "unknown environment variable OARLOCK_SOMETHING_ELSE"),
        (
            "OARLOCK_MODE",
            "wild",
            "there is no mode `wild`; the modes are: read-only, ask-writes, open, deny-all: environment variable OARLOCK_MODE",
        ),
        ("OARLOCK_CONTEXT_CLEAR_RATIO", "0.8", "it is at most soft_ratio, 0.7"),
        ("OARLOCK_CONTEXT_SOFT_RATIO", "1.5", "a number from 0 to 1"),
        ("OARLOCK_LIMITS_TURN_STEPS", "0", "not 0: environment variable OARLOCK_LIMITS_TURN_STEPS"),
    ];
    for (name, value, expected) in table {
        let ran = Home::new().with(name, value).run(&["models"]);
        assert!(ran.refused(1).contains(expected), "{}", ran.err);
    }
    for (text, expected) in [
        ("mode", "has no `=`"),
        ("limits=3", "is a table"),
        ("modee=open", "did you mean `mode`?"),
        ("limits.turn.steps=x", "takes a whole number"),
        ("=3", "is no key"),
    ] {
        let ran = Home::new().run(&["models", "--config", text]);
        assert!(ran.refused(2).contains(expected), "{}", ran.err);
    }
}

#[test]
fn listed_variables_are_no_mistake() {
    let home = Home::new().with("OARLOCK_CORPUS", "/x").with("OARLOCK_LOG", "debug");
    assert!(
        home.config().line("log.filter").contains("\"debug\"   # environment variable OARLOCK_LOG")
    );
}

/// A value that the key takes and that is not its default.
fn example(key: &Key) -> String {
    match key.kind {
        Kind::Bool => (key.default == "false").to_string(),
        Kind::Int { min, .. } => (min + 1).to_string(),
        // A little more than the default, so that shares keep their order.
        Kind::Number { .. } => format!("{:.2}", key.default.parse::<f64>().unwrap_or(0.5) + 0.05),
        Kind::Text if key.path == "log.filter" => "\"info\"".into(),
        Kind::Mode => "\"open\"".into(),
        Kind::Text => "\"http://x\"".into(),
        Kind::Choice(words) => format!("\"{}\"", words[words.len() - 1]),
        Kind::RuleList | Kind::Texts => "[\"x\"]".into(),
        Kind::Duration => "\"1s\"".into(),
        Kind::Money => "1.5".into(),
        Kind::Size => "\"1KiB\"".into(),
        Kind::Hooks => "[{ name = \"x\", shell = \"true\" }]".into(),
        Kind::Models => "[\"x\", { id = \"y\", context_window = 1 }]".into(),
    }
}

fn loaded(overrides: Vec<String>) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let environment = Environment::of(&[("HOME", folder.path().to_str().unwrap())]);
    let inputs = Inputs { environment, cwd: folder.path().to_owned(), overrides, flags: vec![] };
    load(inputs).unwrap().config
}

#[test]
fn every_key_has_a_place_in_the_typed_configuration() {
    let before = loaded(vec![]);
    for key in KEYS {
        let name = if key.kind == Kind::Hooks { "before_ingest" } else { "openai" };
        let path = key.path.replace('*', name);
        let assignment = format!("{path}={}", example(key));
        let mut overrides = vec![assignment.clone()];
        // A default may not exceed its bound.
        if path.contains(".max_") || path.ends_with("read_max_limit") {
            overrides.push(format!(
                "{}={}",
                path.replace(".max_", ".default_").replace("_max_", "_default_"),
                "1"
            ));
            overrides.retain(|o| find(&segments(o)).is_key());
        }
        // What is said about a command is said of one that is there.
        if path.ends_with(".api_key_refresh") {
            overrides.push("providers.openai.api_key_command=[\"x\"]".to_owned());
        }
        // A mode is one only with a base.
        if path.starts_with("modes.") && !path.ends_with(".base") {
            overrides.push("modes.openai.base=open".to_owned());
        }
        assert_ne!(loaded(overrides), before, "{assignment}");
    }
}

fn segments(assignment: &str) -> Vec<String> {
    assignment.split('=').next().unwrap().split('.').map(str::to_owned).collect()
}

trait IsKey {
    fn is_key(&self) -> bool;
}

impl IsKey for Found {
    fn is_key(&self) -> bool {
        matches!(self, Self::Key(_))
    }
}

#[test]
fn no_two_keys_share_a_variable_and_no_key_is_the_beginning_of_another() {
    let mut variables: Vec<_> = KEYS.iter().filter_map(Key::variable).collect();
    let count = variables.len();
    variables.sort();
    variables.dedup();
    assert_eq!(variables.len(), count);
    for key in KEYS {
        let below = format!("{}.", key.path);
        assert!(KEYS.iter().all(|other| !other.path.starts_with(&below)), "{}", key.path);
    }
}

#[test]
fn the_tools_assume_what_the_table_says() {
    assert_eq!(loaded(vec![]).tools, oarlock_tools::ToolsConfig::default());
}

#[test]
fn turns_are_run_as_the_table_says() {
    assert_eq!(loaded(vec![]).turn(), oarlock_core::spec::TurnConfig::default());
}
