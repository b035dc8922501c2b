//! `gc`, and putting sessions away and finding them, through the program.

use oarlock_core::ids::{FrameId, Hash, Seq};
use oarlock_core::ports::journal::Frame;
use serde_json::{Value, json};

use crate::home::Home;
use crate::voyage::{journal, of_type, sessions};

fn home() -> Home {
    let home = Home::new();
    let steps = json!({"steps": [{"text": "a word of the agent"}], "repeat_last": true});
    home.write("project/s.json", &steps.to_string());
    home
}

/// A session with this prompt; its id.
fn made(home: &Home, prompt: &str) -> String {
    let ran = home.run(&["run", "--json", "--model", "script/s.json", prompt]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    sessions(home).into_iter().find(|id| ran.out.contains(id.as_str())).unwrap()
}

/// The same session, as if it had been used years ago.
fn aged(home: &Home, id: &str) {
    let export = home.run(&["session", "export", id]).out;
    let mut head = Hash::default();
    let lines = export.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if let Some(frame) = line.get_mut("frame") {
            let body = frame["body"].as_str().unwrap();
            let body = body.replace("\"at\":\"20", "\"at\":\"19");
            let number = |name: &str| frame[name].as_u64().unwrap();
            let aged = Frame {
                id: FrameId::parse(frame["id"].as_str().unwrap()).unwrap(),
                epoch: number("epoch"),
                first: number("first") as Seq,
                count: number("count") as u32,
                prev: head,
                body: body.clone().into(),
            };
            frame["prev"] = json!(head);
            frame["body"] = json!(body);
            head = aged.hash();
        }
        if let Some(end) = line.get_mut("end") {
            end["head"] = json!(head);
        }
        line.to_string() + "\n"
    });
    let file = home.write("aged.jsonl", &lines.collect::<String>());
    home.run(&["session", "delete", "--yes", id]);
    let imported = home.run(&["session", "import", file.to_str().unwrap()]);
    assert_eq!(imported.code, Some(0), "{}", imported.err);
}

fn collected(home: &Home, flags: &[&str]) -> Value {
    let ran = home.run(&[&["gc", "--json"], flags].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

fn ids(report: &Value, field: &str) -> Vec<String> {
    let rows = report[field].as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn gc_removes_what_is_too_old_and_nothing_without_being_told() {
    let home = home();
    let (old, fresh) = (made(&home, "one"), made(&home, "two"));
    aged(&home, &old);
    let report = collected(&home, &[]);
    assert_eq!((ids(&report, "sessions").len(), &report["dry_run"]), (0, &json!(false)));
    let age = ["--config", "retention.age_days=30"];
    let dry = collected(&home, &[&["--dry-run"], &age[..]].concat());
    assert_eq!(ids(&dry, "sessions"), std::slice::from_ref(&old));
    assert_eq!(sessions(&home).len(), 2, "nothing was removed");
    let shown = home.run(&[&["gc", "--dry-run"], &age[..]].concat());
    assert!(shown.out.contains(&format!("would remove {old}")), "{}", shown.out);
    home.user("[retention]\nage_days = 30\n");
    let report = collected(&home, &[]);
    assert_eq!(
        (ids(&report, "sessions"), &report["sessions"][0]["why"]),
        (vec![old], &json!("age"))
    );
    assert_eq!(sessions(&home), std::slice::from_ref(&fresh));
    assert!(!journal(&home, &fresh).is_empty());
}

#[test]
fn a_session_to_which_others_write_silently_is_as_old_as_its_last_use() {
    let home = home();
    let (old, fresh) = (made(&home, "one"), made(&home, "two"));
    aged(&home, &old);
    for words in ["a", "b"] {
        let sent = home.run(&["session", "send", &old, words, "--kind", "response"]);
        assert_eq!(sent.code, Some(0), "{}", sent.err);
    }
    let waits = home.run(&["session", "send", &fresh, "c", "--kind", "response"]);
    assert_eq!(waits.code, Some(0), "{}", waits.err);
    let report = collected(&home, &["--config", "retention.age_days=30"]);
    assert_eq!((ids(&report, "sessions"), ids(&report, "kept")), (vec![old], vec![]));
    let report = collected(&home, &["--config", "retention.max_bytes=1"]);
    assert_eq!(ids(&report, "sessions"), [fresh], "a silent message holds nobody back");
}

#[test]
fn gc_removes_the_oldest_until_the_rest_fits_and_keeps_what_is_under_way() {
    let home = home();
    let (old, fresh) = (made(&home, "one"), made(&home, "two"));
    let goal = home.run(&[
        "run",
        "--model",
        "script/s.json",
        "--goal-continuations",
        "1",
        "--goal",
        "never",
        "go",
    ]);
    assert_eq!(goal.code, Some(6), "{}", goal.err);
    let aims = sessions(&home).into_iter().find(|id| *id != old && *id != fresh).unwrap();
    let report = collected(&home, &["--config", "retention.max_bytes=1"]);
    let mut gone = ids(&report, "sessions");
    gone.sort();
    let mut expected = vec![old, fresh];
    expected.sort();
    assert_eq!(gone, expected);
    assert_eq!(ids(&report, "kept"), std::slice::from_ref(&aims));
    assert_eq!(report["kept"][0]["why"], "it has a goal");
    assert_eq!(sessions(&home), [aims]);
}

#[test]
fn a_retention_that_makes_no_sense_and_a_folder_that_sets_one_are_refused() {
    let home = home();
    let refused = home.run(&["gc", "--config", "retention.age_days=0"]);
    assert!(refused.refused(2).contains("retention.age_days"), "{}", refused.err);
    let kept = made(&home, "one");
    home.shared("[retention]\nmax_bytes = 1\n");
    collected(&home, &[]);
    assert_eq!(sessions(&home), [kept], "a folder says nothing about what is kept");
}

#[test]
fn a_session_is_archived_found_and_restored() {
    let home = home();
    let (one, two) = (made(&home, "a heron"), made(&home, "a bittern"));
    let told = home.run(&["session", "archive", &one]);
    assert_eq!((told.code, told.out), (Some(0), format!("archived {one}\n")), "{}", told.err);
    let refused = home.run(&["run", "--model", "script/s.json", "--resume", &one, "go"]);
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    let list = |flags: &[&str]| home.run(&[&["session", "list"], flags].concat()).out;
    let archived = list(&["--archived"]);
    assert!(archived.starts_with(&one) && !archived.contains(&two), "{archived}");
    let named = list(&["--text", "BITTERN agent"]);
    assert!(named.starts_with(&two) && !named.contains(&one), "{named}");
    assert_eq!(list(&["--label", "env=prod"]), "");
    assert_eq!(list(&["--updated-after", "2020-01-01"]).lines().count(), 2);
    assert_eq!(list(&["--created-before", "2020-01-01T08:00:00+02:00"]), "");
    assert_eq!(home.run(&["session", "list", "--updated-before", "soon"]).code, Some(2));
    assert_eq!(home.run(&["session", "list", "--label", "env"]).code, Some(2));
    for (flags, words) in [
        (&["--label", "a=1", "--label", "a=2"][..], "--label a is there twice"),
        (&["--text", "?!"], "a query has words"),
    ] {
        let refused = home.run(&[&["session", "list"], flags].concat());
        assert!(refused.refused(1).contains(words), "{}", refused.err);
    }
    let nobody = home.run(&["session", "list", "--text", "albatross"]);
    assert_eq!(nobody.code, Some(0));
    assert!(nobody.err.contains("no session here is meant by that"), "{}", nobody.err);
    let found = home.run(&["session", "search", "heron"]).out;
    assert!(found.starts_with(&one) && found.lines().count() == 1, "{found}");
    let found = home.run(&["session", "search", "--json", "word", "agent"]).out;
    let hits: Vec<Value> = found.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(hits.len(), 2, "{found}");
    assert_eq!(home.run(&["session", "search", "--label", "a=b", "word"]).out, "");
    let told = home.run(&["session", "unarchive", "--json", &one]);
    assert_eq!(serde_json::from_str::<Value>(&told.out).unwrap(), json!({ "restored": one }));
    let more = home.run(&["run", "--model", "script/s.json", "--resume", &one, "go"]);
    assert_eq!(more.code, Some(0), "{}", more.err);
    assert_eq!(of_type(&journal(&home, &one), "session_restored").len(), 1);
}

#[test]
fn a_session_is_forked_and_both_go_on() {
    let home = home();
    let one = made(&home, "a heron");
    let before = journal(&home, &one).len();
    let told = home.run(&["session", "fork", "--title", "another way", &one]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let fork = told.out.trim().to_owned();
    assert_eq!(journal(&home, &one).len(), before, "the source is as it was");
    for session in [&fork, &one] {
        let more = home.run(&["run", "--model", "script/s.json", "--resume", session, "go"]);
        assert_eq!(more.code, Some(0), "{}", more.err);
    }
    assert!(home.run(&["session", "list"]).out.contains("another way"));
    let beyond = home.run(&["session", "fork", "--at", "4000", &one]);
    assert_eq!(beyond.code, Some(2), "{}", beyond.out);
}
