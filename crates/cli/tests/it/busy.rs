//! Input while a turn runs, through the real program: lines typed ahead, the queue, summaries on demand, and other processes.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::home::Home;
use crate::loopback::Loopback;
use crate::quarrels::{WAITING, in_a_turn};
use crate::sittings::fed;
use crate::voyage::{Running, journal, now, of_type, sessions};

/// A chat whose first turn waits for a file.
fn chatting(home: &Home) -> Running {
    home.write("project/s.json", WAITING);
    let mut command = home.command();
    command.args(["chat", "--mode", "open", "--model", "script/s.json"]).stdin(Stdio::piped());
    Running::start(command)
}

fn until(home: &Home, fits: impl Fn(&[Value]) -> bool) {
    let begun = now();
    while !sessions(home).pop().is_some_and(|id| fits(&journal(home, &id))) {
        assert!(begun.elapsed().as_secs() < 60, "the journal did not come to say so");
    }
}

/// What each turn was begun with.
fn turns(kept: &[Value]) -> Vec<String> {
    let words = |seq: &Value| {
        let admitted = kept.iter().find(|entry| entry["seq"] == *seq).unwrap();
        admitted["event"]["data"]["content"][0]["text"].as_str().unwrap().to_owned()
    };
    let inputs = |turn: &&Value| turn["inputs"].as_array().unwrap().iter().map(words).collect();
    of_type(kept, "turn_started")
        .iter()
        .map(inputs)
        .map(|words: Vec<String>| words.join("+"))
        .collect()
}

#[test]
fn lines_that_were_typed_ahead_are_a_turn_each_in_their_order() {
    let server = Loopback::start("aye");
    let home = server.home("openai-chat", "");
    let lines: Vec<String> = (1..=300).map(|n| format!("line {n}")).collect();
    let chat = fed(&home, &["chat"], (lines.join("\n") + "\n").as_bytes());
    assert_eq!(chat.code, Some(0), "{}", chat.err);
    assert_eq!(turns(&journal(&home, &sessions(&home)[0])), lines);
}

#[test]
fn what_waits_is_listed_taken_back_and_kept_through_a_kill() {
    let home = Home::new();
    let mut chat = chatting(&home);
    chat.say("begin");
    until(&home, |kept| !of_type(kept, "tool_started").is_empty());
    for line in ["one", "two", "three", "/withdraw 2", "/withdraw 9", "/queue"] {
        chat.say(line);
    }
    until(&home, |kept| !of_type(kept, "input_withdrawn").is_empty());
    let id = sessions(&home)[0].clone();
    // Another process may ask, and disturbs nothing.
    let queue = home.run(&["run", "--json", "--resume", &id, "/queue"]);
    let waiting = queue.lines()[0]["answer"]["command"]["waiting"].clone();
    let words: Vec<&Value> =
        waiting.as_array().unwrap().iter().map(|input| &input["words"]).collect();
    assert_eq!(words, [&json!("one"), &json!("three")], "{}", queue.err);
    chat.signal("KILL");
    let (ran, _) = chat.end();
    assert!(ran.code.is_none());

    // The commands of the killed process end by themselves.
    drop(std::fs::remove_file(home.path("project/waiting")));
    let again = fed(&home, &["chat", "--resume"], b"last\n");
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_eq!(turns(&journal(&home, &id)), ["begin", "one", "three", "last"]);
}

/// A session in mode open whose process was killed in its first turn, with `line` waiting. Its model goes on with a command, then with words.
fn left_waiting(home: &Home, line: &str) -> String {
    let mut chat = chatting(home);
    chat.say("begin");
    until(home, |kept| !of_type(kept, "tool_started").is_empty());
    chat.say(line);
    until(home, |kept| of_type(kept, "input_admitted").len() == 2);
    chat.signal("KILL");
    assert!(chat.end().0.code.is_none());
    // The command of the killed process ends by itself.
    drop(std::fs::remove_file(home.path("project/waiting")));
    let call = json!({ "name": "bash", "arguments": { "command": "touch made" } });
    let steps = json!([{ "text": "never" }, { "calls": [call] }, { "text": "a" }, { "text": "b" }]);
    home.write("project/s.json", &json!({ "steps": steps }).to_string());
    sessions(home)[0].clone()
}

#[test]
fn what_waits_is_run_with_the_settings_that_it_is_resumed_with() {
    let home = Home::new();
    let id = left_waiting(&home, "queued");
    let again = home.run(&["run", "--resume", &id, "--mode", "read-only", "x"]);
    let kept = journal(&home, &id);
    assert_eq!(turns(&kept), ["begin", "queued", "x"], "{}", again.err);
    let place = |kind: &str, nth: usize| {
        let mut found = kept.iter().enumerate().filter(|(_, entry)| entry["event"]["type"] == kind);
        found.nth(nth).unwrap().0
    };
    assert!(place("session_configured", 0) < place("turn_started", 1), "{kept:#?}");
    assert!(!home.path("project/made").exists(), "a command was run in mode read-only");
}

#[test]
fn a_slash_command_does_not_open_a_session_whose_inputs_wait() {
    let home = Home::new();
    let id = left_waiting(&home, "queued");
    let before = journal(&home, &id);
    for command in [&["/mode read-only"][..], &["/compact"], &["/usage", "--mode", "read-only"]] {
        let refused = home.run(&[&["run", "--resume", &id], command].concat());
        let words = refused.refused(1);
        assert!(words.contains("1 input waits") && words.contains(&id), "{command:?}: {words}");
        assert_eq!(journal(&home, &id), before, "{command:?}");
    }
    let asked = home.run(&["run", "--resume", &id, "/queue"]);
    assert!(asked.out.contains("queued"), "{} {}", asked.out, asked.err);
    let again = fed(&home, &["chat", "--mode", "read-only", "--resume", &id], b"");
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_eq!(turns(&journal(&home, &id)), ["begin", "queued"]);
}

#[test]
fn the_queue_is_shown_with_its_numbers_while_a_turn_runs() {
    let home = Home::new();
    let mut chat = chatting(&home);
    chat.say("begin");
    until(&home, |kept| !of_type(kept, "tool_started").is_empty());
    for line in ["one", "two", "/queue", "/withdraw 1", "/withdraw 9"] {
        chat.say(line);
    }
    until(&home, |kept| !of_type(kept, "input_withdrawn").is_empty());
    home.write("project/go", "");
    drop(chat.child.stdin.take());
    let (ran, _) = chat.end();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("there is no number 9 in the queue"), "{}", ran.err);
    assert_eq!(turns(&journal(&home, &sessions(&home)[0])), ["begin", "two"]);
    assert!(ran.out.contains("1  one\n2  two\nwithdrawn: one\n"), "{}", ran.out);
}

#[test]
fn another_process_is_refused_at_once_and_may_still_ask() {
    let home = Home::new();
    let (running, id) = in_a_turn(&home);
    let begun = now();
    let second = home.run(&["run", "--resume", &id, "more"]);
    assert!(second.refused(1).contains("is open in another process"), "{}", second.err);
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    for command in ["/usage", "/context", "/mode", "/queue"] {
        let asked = home.run(&["run", "--resume", &id, command]);
        assert_eq!(asked.code, Some(0), "{command}: {}", asked.err);
    }
    assert!(home.run(&["run", "--resume", &id, "/mode open"]).refused(1).contains("is open in"));
    home.write("project/go", "");
    let (ran, _) = running.end();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

#[test]
fn a_summary_on_demand_shortens_what_the_model_sees() {
    let server = Loopback::start("aye");
    let home = server.home("openai-chat", "");
    let long = "row the boat ".repeat(4_000);
    for words in ["begin", long.as_str(), "more"] {
        let resume = if words == "begin" { &["run"][..] } else { &["run", "--resume"] };
        let ran = home.run(&[resume, &[words]].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    let ran = home.run(&["run", "--json", "--resume", "/compact keep the oars"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let line = ran.lines().pop().unwrap();
    let answer = &line["answer"]["command"];
    assert_eq!(answer["name"], "compact", "{line}");
    let tokens = |name: &str| answer[name].as_u64().unwrap();
    assert!(tokens("tokens_after") < tokens("tokens_before"), "{line}");
    let asked = server.asked();
    assert!(asked.last().unwrap().to_string().contains("keep the oars"));
    let before = asked.len();
    let chat = fed(&home, &["chat", "--resume"], b"and now?\n");
    assert_eq!(chat.code, Some(0), "{}", chat.err);
    let next = server.asked()[before].to_string();
    let third = asked[2].to_string();
    assert!(next.len() < third.len() / 2, "{} bytes after {}", next.len(), third.len());
    assert!(next.contains("and now?"));
}

#[test]
fn an_interrupt_cancels_a_summary_and_leaves_the_session() {
    let home = Home::new();
    let steps = json!({ "steps": [{ "text": "aye ".repeat(4_000) }], "repeat_last": true,
        "summary": { "text": "never said", "delay_ms": 600_000 } });
    home.write("project/s.json", &steps.to_string());
    for words in [&["run", "-m", "script/s.json", "begin"][..], &["run", "--resume", "more"]] {
        let ran = home.run(words);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    let mut command = home.command();
    command.args(["run", "--resume", "/compact"]).stdin(Stdio::null());
    let running = Running::start(command);
    until(&home, |kept| !of_type(kept, "summary_started").is_empty());
    running.signal("INT");
    let (ran, _) = running.end();
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("nothing was summarised: it was cancelled"), "{}", ran.err);
    let again = home.run(&["run", "--resume", "on we go"]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    let kept = journal(&home, &sessions(&home)[0]);
    assert_eq!(of_type(&kept, "summary_failed").len(), 1);
    assert!(of_type(&kept, "context_compacted").is_empty());
}
