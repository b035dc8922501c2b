//! Where a prompt comes from, and how a session is gone on with.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::home::{Home, Ran, ran};
use crate::voyage::{journal, of_type};

pub(crate) fn fed(home: &Home, arguments: &[&str], stdin: &[u8]) -> Ran {
    let mut command = home.command();
    let child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.stderr(Stdio::piped()).spawn().unwrap();
    // A program that does not read it may be gone already.
    drop(child.stdin.take().unwrap().write_all(stdin));
    ran(&child.wait_with_output().unwrap())
}

fn title(home: &Home) -> String {
    home.sessions()[0]["title"].as_str().unwrap().to_owned()
}

fn home() -> (Home, String) {
    let home = Home::new();
    let model = home.script(&json!([{ "text": "one" }, { "text": "two" }, { "text": "three" }]));
    (home, model)
}

#[test]
fn a_dash_or_a_pipe_brings_the_prompt() {
    let (home, model) = home();
    for arguments in [&["run", "-q", "-m", &model, "-"][..], &["run", "-q", "-m", &model]] {
        let ran = fed(&home, arguments, b"what is\nthis?\n");
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "one\n"), "{}", ran.err);
        assert!(title(&home).contains("what is"), "{}", title(&home));
    }
    assert!(fed(&home, &["run", "-m", &model, "-"], b"").refused(2).contains("prompt is empty"));
    assert!(fed(&home, &["run", "-m", &model], b"").refused(2).contains("no prompt was given"));
    assert!(fed(&home, &["run", "-m", &model, " "], b"").refused(2).contains("prompt is empty"));
    assert!(fed(&home, &["run", "-m", &model], b"\xff").refused(1).contains("not UTF-8"));
    let long = vec![b'x'; (1 << 20) + 1];
    assert!(fed(&home, &["run", "-m", &model], &long).refused(1).contains("more than 1 MiB"));
    assert_eq!(home.sessions().len(), 2);
}

#[test]
fn a_pipe_that_stays_open_is_not_read_when_a_prompt_is_given() {
    let (home, model) = home();
    let mut command = home.command();
    let child = command.args(["run", "-q", "-m", &model, "go"]).stdin(Stdio::piped());
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(b"something else").unwrap();
    // The program ends although the pipe is open; reading it would wait for ever.
    let ran = ran(&child.wait_with_output().unwrap());
    drop(pipe);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "one\n"), "{}", ran.err);
    assert_eq!(title(&home), "go");
}

#[test]
fn a_session_is_gone_on_with_by_its_id_or_as_the_latest_of_the_folder() {
    let (home, model) = home();
    home.run(&["run", "-q", "-m", &model, "first"]);
    let id = home.sessions()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(home.run(&["run", "-q", "--resume", &id, "second"]).out, "two\n");
    // A word that is no id is the prompt.
    assert_eq!(home.run(&["run", "-q", "--resume", "third"]).out, "three\n");
    assert_eq!(home.sessions().len(), 1);
    assert_eq!(home.sessions()[0]["turns"], 3);

    let ended = home.run(&["run", "--resume"]);
    assert!(ended.refused(1).contains("no turn of this session was cut, nothing waits in it"));
    let unknown = "00000000-0000-7000-8000-000000000000";
    let ran = home.run(&["run", "--resume", unknown, "x"]);
    assert!(ran.refused(1).contains(&format!("there is no session {unknown}")));
    let elsewhere = home.run(&["-C", "/", "run", "--resume", "x"]);
    assert!(elsewhere.refused(1).contains("there is no session of / to resume"));
    let both = home.run(&["run", "--ephemeral", "--resume", &id, "x"]);
    assert!(both.refused(2).contains("cannot be used with"));
    let fixed = home.run(&["run", "--resume", &id, "--append-system-prompt", "x", "y"]);
    assert!(fixed.refused(1).contains("begin a new session"));
}

#[test]
fn an_ephemeral_run_leaves_nothing_on_disk() {
    let (home, model) = home();
    let ran = home.run(&["run", "--ephemeral", "-m", &model, "go"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "one\n"), "{}", ran.err);
    assert!(!home.path(".local").exists() && !home.path(".config").exists());
}

#[test]
fn a_conversation_by_pipe_is_a_turn_for_each_line() {
    let (home, model) = home();
    let ran = fed(&home, &["chat", "-m", &model], b"a\nb\n\nc\n");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(home.sessions()[0]["title"], "a");
    // Lines that wait for the end of a turn may be taken together by the next one.
    assert!(ran.out.starts_with("one\ntwo\n"), "{}", ran.out);
}

#[test]
fn pictures_are_looked_at_before_anything_is_created() {
    let (home, model) = home();
    home.write("project/text.png", "no picture");
    let large = std::fs::File::create(home.path("project/large.png")).unwrap();
    large.set_len((10 << 20) + 1).unwrap();
    let table = [
        ("none.png", "none.png: "),
        ("text.png", "is no PNG, JPEG, GIF or WebP picture"),
        ("large.png", "has more than 10 MiB"),
        (".", "is no PNG"),
    ];
    for (file, expected) in table {
        let ran = home.run(&["run", "-m", &model, "--image", file, "look"]);
        assert!(ran.refused(1).contains(expected), "{}", ran.err);
    }
    assert!(home.sessions().is_empty());
}

#[test]
fn a_resumed_session_keeps_what_this_call_did_not_change() {
    let (home, model) = home();
    let first = ["run", "-q", "-m", &model, "--max-cost", "0.50", "--deny", "bash(rm *)"];
    let bounds = ["--config", "limits.session.steps=40", "--allow-unknown-cost", "first"];
    assert_eq!(home.run(&[&first[..], &bounds].concat()).code, Some(0));
    let id = home.sessions()[0]["id"].as_str().unwrap().to_owned();
    let resumed = |given: &[&str]| {
        let ran = home.run(&[&["run", "-q", "--resume", &id], given, &["next"]].concat());
        assert_eq!(ran.code, Some(0), "{given:?}: {}", ran.err);
        let kept = journal(&home, &id);
        of_type(&kept, "session_configured").pop().cloned().unwrap()
    };
    let change = resumed(&["--max-steps", "10", "--allow", "search"]);
    let limits = json!({
        "turn": { "steps": 10, "cost_micros": 500_000 },
        "session": { "steps": 40 },
        "allow_unknown_prices": true,
    });
    assert_eq!(change["limits"], limits);
    assert_eq!(change["rules"], json!({ "allow": ["search"], "deny": ["bash(rm *)"] }));
    let given = ["mode=read-only", "limits.turn.steps=5", "rules.deny=[\"fetch\"]", "effort=low"];
    let given: Vec<&str> = given.iter().flat_map(|given| ["--config", given]).collect();
    // The model of a script takes every effort.
    let change = resumed(&given);
    assert_eq!(change["mode"], "read-only");
    assert_eq!(change["effort"], "low");
    assert_eq!(change["limits"]["turn"], json!({ "steps": 5, "cost_micros": 500_000 }));
    assert_eq!(change["rules"], json!({ "allow": ["search"], "deny": ["bash(rm *)", "fetch"] }));
    let before = journal(&home, &id);
    for given in ["turn.max_llm_retries=1", "context.clear_ratio=0.5", "prompt.append=\"x\""] {
        let refused = home.run(&["run", "--resume", &id, "--config", given, "x"]);
        assert!(refused.refused(1).contains("is for new sessions"), "{given}: {}", refused.err);
    }
    assert_eq!(journal(&home, &id), before);
}
