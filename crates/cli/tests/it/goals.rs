//! A goal and a plan through the real program: exit codes, lines, a kill in the middle, and what people are shown.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::home::{Home, ran};
use crate::voyage::{Running, assert_sound, journal, of_type, sessions};

fn done(summary: &str) -> Value {
    json!({"calls": [{"name": "goal_done", "arguments": {"summary": summary}}]})
}

/// A model that stops twice before the goal is reached.
fn boat(home: &Home) -> String {
    let steps = [json!({"text": "half"}), json!({"text": "nearly"}), done("afloat")];
    home.script(&json!(steps.into_iter().chain([json!({"text": "all of it"})]).collect::<Vec<_>>()))
}

#[test]
fn a_goal_is_worked_for_until_it_is_reached() {
    let home = Home::new();
    let model = boat(&home);
    let ran = home.run(&["run", "--json", "-m", &model, "--goal", "/build a boat"]);
    assert_eq!((ran.code, ran.result()["exit_code"].clone()), (Some(0), json!(0)), "{}", ran.err);
    assert_eq!(ran.result()["text"], "all of it");
    let id = sessions(&home).remove(0);
    let entries = journal(&home, &id);
    assert_sound(&entries);
    let goal = json!({"objective": "/build a boat", "continuations_max": 16});
    assert_eq!(of_type(&entries, "input_admitted")[0]["goal"], goal);
    assert_eq!(of_type(&entries, "turn_continued").len(), 2);
    assert_eq!(of_type(&entries, "goal_reached")[0]["summary"], "afloat");
    let shown = home.run(&["session", "show", &id]);
    let words = "goal: /build a boat\nreached: afloat\n";
    assert!(shown.out.ends_with(words), "{}", shown.out);
    let again = home.run(&["session", "resume", &id]);
    assert!(again.refused(1).contains("no goal to reach"), "{}", again.err);
}

#[test]
fn a_newcomer_sees_the_demonstration_reach_a_goal_without_being_told_to_go_on() {
    let home = Home::new();
    for prompt in [&["--goal", "tell me about boats"][..], &["--goal", "boats", "look around"]] {
        let ran = home.run(&[&["run", "--json", "-m", "demo"], prompt].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let events = ran.lines();
        let events: Vec<Value> = events.iter().map(|line| line["entry"].clone()).collect();
        assert_eq!(of_type(&events, "goal_reached").len(), 1, "{events:#?}");
        assert_eq!(of_type(&events, "turn_continued").len(), 0, "{events:#?}");
        let told = ran.result()["text"].to_string();
        assert!(
            told.contains("built-in demonstration") && !told.contains("printed:\n\n    the goal")
        );
    }
}

#[test]
fn a_goal_that_is_not_reached_is_told_by_the_exit_code_and_can_be_gone_on_with() {
    let home = Home::new();
    let model = boat(&home);
    let run = ["run", "-m", &model, "--goal", "build a boat", "--goal-continuations", "1"];
    let ran = home.run(&run);
    assert_eq!((ran.code, ran.out.as_str()), (Some(6), "half\nnearly\n"), "{}", ran.err);
    assert!(ran.err.contains("the goal is not reached: going on"), "{}", ran.err);
    let id = sessions(&home).remove(0);
    assert!(ran.err.contains(&format!("oarlock session resume {id}")), "{}", ran.err);
    let asked = home.run(&["run", "--resume", &id, "/goal"]);
    let words = "goal: build a boat\nnot reached; went on by itself 1 of 1 times\n";
    assert_eq!((asked.code, asked.out.as_str()), (Some(0), words));
    let more = home.run(&["session", "resume", &id]);
    assert_eq!((more.code, more.out.as_str()), (Some(0), "all of it\n"), "{}", more.err);
    assert_sound(&journal(&home, &id));
}

#[test]
fn whatever_else_ends_a_turn_keeps_its_own_code() {
    let home = Home::new();
    let model = boat(&home);
    let run = |more: &[&str]| {
        let words = [&["run", "--json", "-m", &model, "--goal", "g"][..], more].concat();
        home.run(&words)
    };
    assert_eq!(run(&["--max-steps", "2"]).code, Some(7));
    assert_eq!(run(&["--mode", "deny-all", "--goal-continuations", "2"]).code, Some(6));
    let silent = home
        .write("project/silent.json", r#"{"steps":[{"text":"half"},{"text":"x","silence":true}]}"#);
    let mut command = home.command();
    command.args(["run", "--json", "--goal", "g", "-m", &format!("script/{}", silent.display())]);
    let mut running = Running::start(command);
    running.until_event("turn_continued");
    running.signal("INT");
    let (ended, _) = running.end();
    assert_eq!(ended.code, Some(5), "{}", ended.err);
}

#[test]
fn a_goal_survives_kill_9_and_is_gone_on_with() {
    let home = Home::new();
    let path =
        home.write("project/s.json", r#"{"steps":[{"text":"half"},{"text":"x","silence":true}]}"#);
    let model = format!("script/{}", path.display());
    let mut command = home.command();
    command.args(["run", "--json", "--goal", "build a boat", "-m", &model]);
    let mut running = Running::start(command);
    let id = running.session();
    running.until_event("turn_continued");
    running.signal("KILL");
    let (killed, _) = running.end();
    assert_eq!(killed.code, None);
    let steps = json!([{"text": "half"}, done("afloat"), {"text": "all of it"}]);
    home.write("project/s.json", &json!({ "steps": steps }).to_string());
    let resumed = home.run(&["session", "resume", &id, "--json"]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    let entries = journal(&home, &id);
    assert_sound(&entries);
    for (kind, count) in [("input_admitted", 1), ("turn_continued", 1), ("goal_reached", 1)] {
        assert_eq!(of_type(&entries, kind).len(), count, "{kind}");
    }
}

#[test]
fn a_goal_can_come_from_stdin_and_is_refused_where_it_is_none() {
    let home = Home::new();
    let model = boat(&home);
    let mut command = home.command();
    command.args(["run", "--quiet", "-m", &model, "--goal", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"build\na boat\n").unwrap();
    let ended = ran(&child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "all of it\n"), "{}", ended.err);
    let id = sessions(&home).remove(0);
    let entries = journal(&home, &id);
    assert_eq!(of_type(&entries, "input_admitted")[0]["goal"]["objective"], "build\na boat");
    // Beside a goal the prompt stays what it is.
    let words = ["run", "--quiet", "-m", &model, "--goal", "a boat", "begin with the keel"];
    assert_eq!(home.run(&words).code, Some(0));
    let id = sessions(&home).into_iter().find(|other| *other != id).unwrap();
    let entries = journal(&home, &id);
    let content = &of_type(&entries, "input_admitted")[0]["content"];
    assert_eq!(content[0]["text"], "begin with the keel");
    assert!(content[1]["text"].as_str().unwrap().ends_with(":]\n\na boat"), "{content}");
    for words in [
        &["run", "--goal", " "][..],
        &["run", "--goal", "-", "-"],
        &["run", "--goal", "x", "/usage"],
        &["run", "--goal", &"x".repeat(9_000)],
    ] {
        home.run(words).refused(1);
    }
    assert_eq!(home.run(&["run", "x", "--goal-continuations", "2"]).code, Some(2));
    assert_eq!(sessions(&home).len(), 2, "nothing is made for a goal that is refused");
}

#[test]
fn a_plan_is_shown_when_it_changes_and_whenever_somebody_asks() {
    let home = Home::new();
    let items = json!([
        {"content": "lay the keel", "status": "completed"},
        {"content": "caulk", "status": "in_progress"},
        {"content": "paint", "status": "pending"},
    ]);
    let plan = json!({"calls": [{"name": "update_plan", "arguments": {"items": items}}]});
    let model = home.script(&json!([plan, {"text": "done"}]));
    let ran = home.run(&["run", "--mode", "read-only", "-m", &model, "go"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("\nplan: 1 of 3 done\n  → caulk\n  · paint\n"), "{}", ran.err);
    let id = sessions(&home).remove(0);
    let list = "✓ lay the keel\n→ caulk\n· paint\n";
    let asked = home.run(&["run", "--resume", &id, "/plan"]);
    assert_eq!((asked.code, asked.out.as_str()), (Some(0), list));
    let shown = home.run(&["session", "show", &id]);
    assert!(shown.out.ends_with(&format!("\nplan:\n{list}")), "{}", shown.out);
    assert_eq!(
        of_type(&journal(&home, &id), "plan_changed")[0]["items"].as_array().unwrap().len(),
        3
    );
    let asked = home.run(&["run", "--json", "--resume", &id, "/plan"]);
    assert_eq!(asked.lines()[0]["answer"]["command"]["items"][1]["content"], "caulk");
}

#[test]
fn chat_takes_a_goal_tells_it_and_takes_it_away() {
    let home = Home::new();
    let model = boat(&home);
    let mut command = home.command();
    command.args(["chat", "-m", &model]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"/goal\n/goal off\n/goal build a boat\n").unwrap();
    drop(stdin);
    let ended = ran(&child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(ended.out, "no goal\nno goal\nhalf\nnearly\nall of it\n", "{}", ended.err);
}

#[test]
fn chat_takes_away_a_goal_whose_words_still_wait() {
    let home = Home::new();
    let wait = json!({"calls": [{"name": "bash", "arguments": {"command": "until test -e taken; do sleep 0.02; done"}}]});
    let model = home.script(&json!([wait, {"text": "first"}, {"text": "half"}, {"text": "never"}]));
    let mut command = home.command();
    command.args(["chat", "--mode", "open", "-m", &model]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"go\n/goal build a boat\n/goal off\n").unwrap();
    // The goal is given and taken away while the first turn waits.
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "no goal\n");
    home.write("project/taken", "");
    drop(stdin);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let ended = ran(&child.wait_with_output().unwrap());
    assert_eq!((ended.code, rest.as_str()), (Some(0), "first\nhalf\n"), "{}", ended.err);
}

#[test]
fn a_run_with_a_goal_and_a_plan_replays_to_the_same_journal() {
    let home = Home::new();
    let item = json!([{"content": "caulk", "status": "in_progress"}]);
    let plan = json!({"calls": [{"name": "update_plan", "arguments": {"items": item}}]});
    let model = home.script(&json!([plan, {"text": "half"}, done("afloat"), {"text": "all"}]));
    let words = ["run", "-q", "-m", &model, "--record", "kept", "--goal", "build a boat"];
    let ran = home.run(&words);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "all\n"), "{}", ran.err);
    let replayed = home.run(&["replay", "kept", "--json"]);
    assert_eq!(replayed.code, Some(0), "{}{}", replayed.out, replayed.err);
}
