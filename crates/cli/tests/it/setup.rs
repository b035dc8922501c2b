//! `init`, `doctor` and `models`, offline.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::home::{Home, mode_of};

#[test]
fn init_writes_a_private_configuration_that_is_valid() {
    let home = Home::new().with("OPENAI_API_KEY", "x");
    let ran = home.run(&["init", "--offline", "--yes"]);
    let file = home.path(".config/oarlock/config.toml");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(
        ran.out,
        format!(
            "found OPENAI_API_KEY for openai\nwrote {}\nnow openai/gpt-4o-mini answers; try `oarlock run \"what is in this folder?\"`\n",
            file.display()
        )
    );
    assert_eq!(mode_of(&file), 0o600);
    assert!(
        home.run(&["models"])
            .out
            .lines()
            .any(|l| l.starts_with("* openai/") && l.ends_with("ready"))
    );
}

#[test]
fn init_replaces_nothing_unless_told_to() {
    let home = Home::new().with("OPENAI_API_KEY", "x");
    let file = home.user("mode = \"open\"\n");
    assert!(home.run(&["init", "--offline", "--yes"]).refused(1).contains("init --force"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mode = \"open\"\n");
    assert_eq!(home.run(&["init", "--offline", "--yes", "--force"]).code, Some(0));
    assert!(std::fs::read_to_string(&file).unwrap().contains("provider = \"openai\""));
}

#[test]
fn init_without_keys_terminal_or_a_known_name_says_what_to_do() {
    let home = Home::new();
    assert!(home.run(&["init", "--offline", "--yes"]).refused(1).contains("ANTHROPIC_API_KEY"));
    assert!(home.run(&["init"]).refused(1).contains("oarlock init --yes"));
    let typo = home.run(&["init", "--default-provider", "opnai"]);
    assert!(typo.refused(1).contains("did you mean `openai`?"));
    let ran = home.run(&[
        "init",
        "--offline",
        "--yes",
        "--default-provider",
        "ollama",
        "--default-model",
        "a\"b",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(home.config().line("model").contains("a\"b"));
}

#[test]
fn models_are_listed_for_people_and_programs() {
    let home = Home::new();
    home.user("[providers.local]\nwire = \"openai-chat\"\nbase_url = \"http://127.0.0.1:1/v1\"\nmodels = [\"m1\", { id = \"m2\", context_window = 8000 }]\n");
    let ran = home.run(&["models", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let local: Vec<_> = list["models"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["provider"] == "local")
        .cloned()
        .collect();
    let line = |model: &str, selected: bool| serde_json::json!({"provider": "local", "model": model, "origin": "configured", "ready": true, "needs": null, "selected": selected});
    assert_eq!(local, [line("m1", true), line("m2", false)]);
}

#[test]
fn models_that_are_not_allowed_are_listed_as_such_and_refused() {
    let home = Home::new();
    home.user("allowed_models = [\"local/m*\"]\n[providers.local]\nwire = \"openai-chat\"\nbase_url = \"http://127.0.0.1:1/v1\"\nmodels = [\"m1\", \"n1\"]\n");
    let lines = home.run(&["models"]).out;
    let line = |model: &str| lines.lines().find(|line| line.contains(model)).unwrap().to_owned();
    assert!(line("local/m1").ends_with("ready"), "{lines}");
    assert!(line("local/n1").ends_with("needs a place in `allowed_models`"), "{lines}");
    let ran = home.run(&["run", "--model", "demo", "hello"]);
    assert_eq!(ran.code, Some(1));
    let words = "the model demo/demo is not among the allowed models; choose local/m1, or add it to `allowed_models`";
    assert!(ran.err.contains(words), "{}", ran.err);
}

fn verdict(home: &Home, arguments: &[&str], name: &str) -> (Option<i32>, String) {
    let ran = home.run(&[&["doctor", "--json"], arguments].concat());
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).expect("the check is there");
    (ran.code, check["verdict"].as_str().unwrap().to_owned())
}

#[test]
fn doctor_fails_only_when_something_needed_fails() {
    let home = Home::new();
    assert_eq!(verdict(&home, &[], "model"), (Some(0), "warn".into()));
    home.user("nonsense = 1");
    assert_eq!(verdict(&home, &[], "configuration"), (Some(1), "fail".into()));
    home.user("storage.data_dir = \"/proc/nowhere\"");
    assert_eq!(verdict(&home, &[], "storage"), (Some(1), "fail".into()));
    home.user("provider = \"openai\"");
    assert_eq!(verdict(&home, &[], "model"), (Some(1), "fail".into()));
}

/// Answers this many requests with a list of models, then takes no more connections.
fn listing_server(body: &'static str, requests: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for _ in 0..requests {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    port
}

#[test]
fn doctor_tells_whether_the_provider_can_be_reached() {
    let home = Home::new();
    let port = listing_server(r#"{"data":[{"id":"m"},{"id":"n"}]}"#, 2);
    home.user(&format!("[providers.here]\nwire = \"openai-chat\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\ndefault_model = \"m\"\n"));
    assert_eq!(verdict(&home, &[], "provider"), (Some(0), "ok".into()));
    let lines = home.run(&["models", "--live"]).out;
    assert!(
        lines.lines().any(|line| line.starts_with("  here/n ") && line.contains("live")),
        "{lines}"
    );
    assert_eq!(verdict(&home, &[], "provider"), (Some(1), "fail".into()));
    assert!(!home.run(&["doctor", "--offline"]).out.contains("provider  "));
}
