//! `session` and `chat` from end to end.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::home::Home;
use crate::voyage::{entries, journal, of_type, sessions};

const NOBODY: &str = "0192f0c1-7b7e-7000-8000-000000000001";

fn home() -> Home {
    let home = Home::new();
    home.write("project/notes.txt", "row your boat\n");
    let read = json!({"name": "read_file", "arguments": {"path": "notes.txt"}});
    let steps = json!({"steps": [{"calls": [read]}, {"text": "first"}, {"text": "second"}], "repeat_last": true});
    home.write("project/s.json", &steps.to_string());
    home
}

/// A home with a session, and its id.
fn kept() -> (Home, String) {
    let home = home();
    assert_eq!(home.run(&["run", "--quiet", "--model", "script/s.json", "go"]).out, "first\n");
    let id = sessions(&home).remove(0);
    (home, id)
}

#[test]
fn a_session_is_listed_shown_and_gone_on_with() {
    let (home, id) = kept();
    let listed = home.run(&["session", "list"]);
    assert!(listed.out.starts_with(&id) && listed.out.contains("1 turn "), "{}", listed.out);
    let shown = home.run(&["session", "show", &id]);
    assert_eq!(shown.out, "\n> go\n\nfirst\n");
    assert!(shown.err.contains("✓ read: notes.txt"), "{}", shown.err);
    let more = home.run(&["run", "--quiet", "--resume", "and?"]);
    assert_eq!((more.code, more.out.as_str()), (Some(0), "second\n"));
    let lines = home.run(&["session", "list", "--json"]).out;
    let row: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!((&row["id"], &row["turns"]), (&json!(id), &json!(2)));
    assert_eq!(of_type(&journal(&home, &id), "turn_ended").len(), 2);
}

#[test]
fn what_is_not_there_is_said_in_one_line() {
    let home = home();
    for words in [
        &["session", "show", NOBODY][..],
        &["session", "export", NOBODY],
        &["session", "resume", NOBODY],
        &["session", "delete", "--yes", NOBODY],
        &["run", "--model", "script/s.json", "--resume", NOBODY, "go"],
    ] {
        assert!(home.run(words).refused(1).contains(NOBODY), "{words:?}");
    }
    assert!(home.run(&["session", "show", "nonsense"]).refused(1).contains("nonsense"));
    assert!(home.run(&["run", "--resume", "go"]).refused(1).contains("no session of"));
    let none = home.run(&["session", "list"]);
    assert_eq!((none.code, none.out.as_str()), (Some(0), ""));
    assert!(none.err.contains("oarlock run"), "{}", none.err);
}

#[test]
fn a_session_without_an_open_turn_has_nothing_to_take_up() {
    let (home, id) = kept();
    assert!(
        home.run(&["session", "resume", &id])
            .refused(1)
            .contains("no turn of this session was cut")
    );
}

#[test]
fn an_exported_session_is_imported_hash_for_hash_and_not_twice() {
    let (home, id) = kept();
    let exported = home.run(&["session", "export", &id]);
    assert_eq!(exported.code, Some(0), "{}", exported.err);
    let other = Home::new();
    let file = other.write("kept.jsonl", &exported.out);
    let file = file.to_str().unwrap();
    assert_eq!(other.run(&["session", "import", file]).out, format!("{id}\n"));
    assert_eq!(other.run(&["session", "export", &id]).out, exported.out);
    assert_eq!(journal(&other, &id), journal(&home, &id));
    assert!(other.run(&["session", "import", file]).refused(1).contains("is here already"));
    assert_eq!(other.run(&["session", "export", &id, "-o", "again"]).code, Some(0));
    assert_eq!(std::fs::read_to_string(other.path("project/again")).unwrap(), exported.out);
    assert_eq!(other.run(&["session", "delete", &id]).code, Some(1), "nobody confirmed");
    assert_eq!(other.run(&["session", "delete", "--yes", &id]).code, Some(0));
    assert_eq!(sessions(&other), Vec::<String>::new());
}

#[test]
fn what_is_no_whole_export_leaves_nothing_behind() {
    let (home, id) = kept();
    let text = home.run(&["session", "export", &id]).out;
    let lines: Vec<&str> = text.lines().collect();
    let without_second = [&lines[..1], &lines[2..]].concat().join("\n");
    let other_words = text.replacen("row", "raw", 1).replace("first", "fifth");
    for (broken, place) in [
        ("garbage", "line 1"),
        ("", "line 1"),
        (lines[0], "not whole"),
        (lines[..lines.len() - 1].join("\n").as_str(), "not whole"),
        (["{\"export\":", &"x".repeat(3 << 20)].concat().as_str(), "line 1"),
        (&text[..text.len() / 2], "line"),
        (without_second.as_str(), "line 2"),
        (other_words.as_str(), "line"),
    ] {
        let other = Home::new();
        let file = other.write("broken.jsonl", broken);
        let ran = other.run(&["session", "import", file.to_str().unwrap()]);
        assert!(ran.refused(1).contains(place), "{place}: {}", ran.err);
        assert_eq!(sessions(&other), Vec::<String>::new(), "{place}");
    }
}

#[test]
fn a_piped_chat_takes_every_line_and_ends_with_the_pipe() {
    for (second, lines) in [("two", &["first", "second"][..]), ("/exit\ntwo\n", &["first"])] {
        let home = home();
        let mut command = home.command();
        command.args(["chat", "--model", "script/s.json"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut typing = child.stdin.take().unwrap();
        // Lines that are there together make one turn, so the second one waits for the first answer.
        typing.write_all(b"one\n\n").unwrap();
        let mut seen = vec![answers.next().unwrap().unwrap()];
        typing.write_all(second.as_bytes()).unwrap();
        drop(typing);
        seen.extend(answers.map(Result::unwrap));
        let ran = crate::home::ran(&child.wait_with_output().unwrap());
        assert_eq!(
            (ran.code, seen),
            (Some(0), lines.iter().map(|l| (*l).to_owned()).collect()),
            "{}",
            ran.err
        );
        let journal = journal(&home, &sessions(&home).remove(0));
        assert_eq!(of_type(&journal, "turn_ended").len(), lines.len());
    }
}

#[test]
fn show_as_json_prints_entries_as_a_run_does() {
    let (home, id) = kept();
    let shown = home.run(&["session", "show", "--json", &id]);
    let entries = entries(&shown.lines());
    assert_eq!(entries.len(), shown.out.lines().count());
    assert_eq!(entries[0]["event"]["type"], "session_created");
}

#[test]
fn a_session_is_removed_only_when_somebody_says_so_and_programs_are_told() {
    let (home, id) = kept();
    assert!(home.run(&["session", "delete", &id]).refused(1).contains("--yes"));
    assert_eq!(home.sessions().len(), 1);
    let ran = home.run(&["session", "delete", &id, "--yes", "--json"]);
    assert_eq!((ran.code, ran.lines()), (Some(0), vec![json!({ "deleted": [id] })]));
    assert!(home.sessions().is_empty());
}
