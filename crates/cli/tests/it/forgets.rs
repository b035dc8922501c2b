//! A session that forgets, through the real program: what stays, what a kill in the middle leaves, what a hostile summary cannot do.

use std::process::Stdio;

use serde_json::Value;

use crate::home::Home;
use crate::voyage::{Running, assert_sound, journal, now, of_type, sessions};

const SMALL: &str = "[context]\nwindow = 4000\nclear_ratio = 0\nsoft_ratio = 0\n";

/// A model that reads the same file again and again, and whose summaries are what the test says.
fn script(summary: &str) -> String {
    format!(
        r#"{{"steps":[{{"text":"reading","calls":[{{"name":"read_file","arguments":{{"path":"input"}}}}]}}],
            "summary":{summary},"repeat_last":true}}"#
    )
}

fn home(summary: &str) -> Home {
    let home = Home::new();
    home.user(SMALL);
    home.write("project/s.json", &script(summary));
    home.write("project/input", &"some words of a file\n".repeat(120));
    home
}

const ARGUMENTS: [&str; 7] =
    ["run", "--mode", "read-only", "--model", "script/s.json", "--max-steps", "12"];

fn kept(home: &Home) -> Vec<Value> {
    journal(home, &sessions(home)[0])
}

#[test]
fn a_long_turn_is_summarised_and_goes_on_with_what_the_user_said() {
    let home = home(r#"{"text":"It read the file several times."}"#);
    let ran = home.run(&[&ARGUMENTS[..], &["never forget the anchor"]].concat());
    assert_eq!(ran.code, Some(7), "{}", ran.err);
    assert!(ran.err.contains("summarised") && ran.err.contains("summarising"), "{}", ran.err);
    let entries = kept(&home);
    assert_sound(&entries);
    let compacted = of_type(&entries, "context_compacted");
    assert!(compacted.len() > 1, "{}", ran.err);
    for compaction in compacted {
        assert_eq!(compaction["content"][0]["text"], "never forget the anchor");
    }
    // The transcript is whole: every result is in the journal as it was.
    let results = of_type(&entries, "tool_settled");
    assert_eq!(results.len(), 12);
    assert!(
        results.iter().all(|result| result["content"][0]["text"].as_str().unwrap().len() > 2_000)
    );
    // Another process goes on from there.
    let again = home.run(&["run", "--resume", "--max-steps", "1", "and on"]);
    assert_eq!(again.code, Some(7), "{}", again.err);
    assert_sound(&kept(&home));
}

#[test]
fn a_kill_in_the_middle_of_a_summary_leaves_a_session_that_goes_on() {
    let home = home(r#"{"text":"never said","delay_ms":600000}"#);
    let mut command = home.command();
    command.args(ARGUMENTS).arg("go").stdin(Stdio::null());
    let running = Running::start(command);
    let begun = now();
    let is_begun = |id: String| !of_type(&journal(&home, &id), "summary_started").is_empty();
    while !sessions(&home).pop().is_some_and(is_begun) {
        assert!(begun.elapsed().as_secs() < 60, "no summary was begun");
    }
    running.signal("KILL");
    drop(running.end());
    home.write("project/s.json", &script(r#"{"text":"It read the file."}"#));
    let again = home.run(&["run", "--resume", "--max-steps", "2", "go on"]);
    assert_eq!(again.code, Some(7), "{}", again.err);
    let entries = kept(&home);
    assert_sound(&entries);
    assert_eq!(of_type(&entries, "summary_failed").len(), 1);
    assert!(!of_type(&entries, "context_compacted").is_empty());
}

#[test]
fn summaries_that_say_nothing_or_never_end_do_not_stop_a_turn() {
    let long = "on and on ".repeat(4_000);
    for summary in ["{}".to_owned(), format!(r#"{{"text":"{long}"}}"#)] {
        let home = home(&summary);
        let ran = home.run(&[&ARGUMENTS[..], &["keep the anchor"]].concat());
        assert_eq!(ran.code, Some(7), "{}", ran.err);
        let entries = kept(&home);
        assert_sound(&entries);
        assert!(ran.err.contains("no summary:"), "{}", ran.err);
        let compacted = of_type(&entries, "context_compacted");
        assert!(!compacted.is_empty());
        assert_eq!(compacted[0]["content"][0]["text"], "keep the anchor");
    }
}
