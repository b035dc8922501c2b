//! Steering, queueing, retries and limits on SQLite, through the real program.

use std::process::Stdio;

use serde_json::Value;

use crate::home::Home;
use crate::quarrels::WAITING;
use crate::voyage::{Running, assert_sound, journal, now, of_type, parsed, sessions};

/// A chat whose first turn waits for a file.
fn chatting(home: &Home) -> Running {
    home.write("project/s.json", WAITING);
    let mut command = home.command();
    command.args(["chat", "--mode", "open", "--model", "script/s.json"]).stdin(Stdio::piped());
    let mut chat = Running::start(command);
    chat.say("begin");
    chat
}

/// Waits until the journal of the only session has an entry that fits.
fn until(home: &Home, fits: impl Fn(&[Value]) -> bool) -> String {
    let begun = now();
    loop {
        if let Some(id) = sessions(home).pop()
            && fits(&journal(home, &id))
        {
            return id;
        }
        assert!(begun.elapsed().as_secs() < 30, "the journal did not come to say so");
    }
}

#[test]
fn a_steering_line_is_taken_at_the_next_step_and_a_queued_one_after_the_turn() {
    let home = Home::new();
    let mut chat = chatting(&home);
    until(&home, |kept| !of_type(kept, "tool_started").is_empty());
    chat.say("later");
    chat.say("/steer  turn left");
    chat.say("/steer");
    until(&home, |kept| of_type(kept, "input_admitted").len() == 3);
    home.write("project/go", "");
    drop(chat.child.stdin.take());
    let (ran, _) = chat.end();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("write it as /steer WORDS"), "{}", ran.err);
    let kept = journal(&home, &sessions(&home)[0]);
    assert_sound(&kept);
    let seq_of = |words: &str| {
        let says = |entry: &&Value| entry["event"]["data"]["content"][0]["text"] == words;
        kept.iter().find(says).unwrap()["seq"].clone()
    };
    let steps = of_type(&kept, "step_started");
    assert_eq!(steps[1]["inputs"][0], seq_of("turn left"), "{kept:#?}");
    let turns = of_type(&kept, "turn_started");
    assert_eq!(turns.len(), 2, "{kept:#?}");
    assert_eq!(turns[1]["inputs"][0], seq_of("later"));
}

const LOOPING: &str = r#"{"steps":[{"calls":[{"name":"read_file","arguments":{"path":"input"}}],
 "usage":{"input":100,"output":10}}],"repeat_last":true}"#;

fn run_with(home: &Home, arguments: &[&str]) -> (Option<i32>, Value, Vec<Value>) {
    let mut all = vec!["run", "--json", "--mode", "open", "--model", "script/s.json"];
    all.extend(arguments);
    all.push("go");
    let ran = home.run(&all);
    let lines = parsed(&ran.out);
    let result = lines.last().unwrap_or_else(|| panic!("{}", ran.err))["result"].clone();
    let kept = journal(home, result["session"].as_str().unwrap());
    assert_sound(&kept);
    (ran.code, result, kept)
}

#[test]
fn each_limit_stops_the_turn_with_its_own_reason_and_exit_code_7() {
    for (arguments, kind) in [
        (["--max-steps", "3"], "steps"),
        (["--max-tokens-total", "250"], "tokens"),
        (["--config", "limits.turn.tool_calls=2"], "tool_calls"),
    ] {
        let home = Home::new();
        home.write("project/s.json", LOOPING);
        home.write("project/input", "words\n");
        let (code, result, kept) = run_with(&home, &arguments);
        assert_eq!(code, Some(7), "{result}");
        assert_eq!(result["exit_code"], 7);
        assert_eq!(result["ended"]["stop"]["reason"], "limit", "{result}");
        assert!(result["ended"]["stop"].to_string().contains(kind), "{kind}: {result}");
        assert_eq!(of_type(&kept, "turn_ended")[0]["stop"], result["ended"]["stop"]);
    }
}

#[test]
fn the_time_limit_ends_a_silent_model() {
    let home = Home::new();
    home.write("project/s.json", r#"{"steps":[{"silence":true}]}"#);
    let (code, result, _) = run_with(&home, &["--timeout", "300ms"]);
    assert_eq!(code, Some(7), "{result}");
    assert!(result["ended"]["stop"].to_string().contains("time"), "{result}");
}

#[test]
fn a_provider_that_is_overloaded_is_asked_again_after_the_time_it_named() {
    let home = Home::new();
    home.write(
        "project/s.json",
        r#"{"steps":[{"text":"at last","errors":[
         {"kind":"overloaded","retry_after_ms":30},{"kind":"rate_limited","retry_after_ms":20,"after_text":"half"}]}]}"#,
    );
    let (code, result, kept) = run_with(&home, &[]);
    assert_eq!((code, &result["text"]), (Some(0), &"at last".into()), "{result}");
    let failed = of_type(&kept, "model_failed");
    assert_eq!(failed.len(), 2, "{failed:#?}");
    for (failed, least) in failed.iter().zip([30, 20]) {
        assert!(failed["retry_in_ms"].as_u64().unwrap() >= least, "{failed}");
    }
    assert_eq!(of_type(&kept, "assistant_message")[0]["attempt"], 3);
}

#[test]
fn an_unusable_key_is_not_tried_twice() {
    let home = Home::new();
    home.write("project/s.json", r#"{"steps":[{"text":"no","errors":[{"kind":"auth"}]}]}"#);
    let (code, result, kept) = run_with(&home, &[]);
    assert_eq!(code, Some(1), "{result}");
    assert_eq!(result["ended"]["stop"]["reason"], "failed", "{result}");
    assert_eq!(of_type(&kept, "model_failed").len(), 1);
}

#[test]
fn steps_that_were_spent_before_a_kill_count_after_it() {
    let home = Home::new();
    let script = r#"{"steps":[
     {"calls":[{"name":"read_file","arguments":{"path":"s.json"}}]},
     {"calls":[{"name":"bash","arguments":{"command":"touch waiting; while [ -e waiting ] && [ ! -e go ]; do sleep 0.02; done"}}]},
     {"calls":[{"name":"read_file","arguments":{"path":"s.json"}}]},
     {"text":"too far"}]}"#;
    home.write("project/s.json", script);
    let mut command = home.command();
    command.args(["run", "--json", "--mode", "open", "--model", "script/s.json"]);
    command.args(["--max-steps", "3", "go"]);
    let mut running = Running::start(command);
    let id = running.session();
    running.until(|line| {
        line["entry"]["event"]["data"]["title"]
            == "bash: touch waiting; while [ -e waiting ] && [ ! -e go ]; do sleep 0.02; done"
    });
    running.until_event("tool_started");
    running.child.kill().unwrap();
    drop(running);
    let resumed = home.run(&["run", "--json", "--resume", &id]);
    home.write("project/go", "");
    assert_eq!(resumed.code, Some(7), "{}", resumed.err);
    let kept = journal(&home, &id);
    assert_sound(&kept);
    let ended = of_type(&kept, "turn_ended")[0];
    assert_eq!(ended["steps"], 3, "{ended}");
}
