//! Recorded runs of the real program, played back without network or processes.

use std::path::Path;

use crate::deaths::TWO_TOOLS;
use crate::home::Home;
use crate::quarrels::WAITING;
use crate::voyage::Running;

const RECORD: [&str; 9] =
    ["run", "--json", "--mode", "open", "--record", "../tape", "--model", "script/s.json", "go"];

/// Replays after everything that the run used is gone: its script, its folder, and any program on the path.
fn replayed(home: &Home) -> crate::home::Ran {
    std::fs::remove_dir_all(home.project()).unwrap();
    std::fs::create_dir(home.project()).unwrap();
    let mut command = home.command();
    command.env("PATH", "/nowhere").args(["replay", "--json", "../tape"]);
    let ran = crate::home::ran(&command.output().unwrap());
    assert!(std::fs::read_dir(home.project()).unwrap().next().is_none(), "the replay did work");
    ran
}

fn recorded(script: &str) -> Home {
    let home = Home::new();
    home.write("project/s.json", script);
    home.write("project/input", "words\n");
    let ran = home.run(&RECORD);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    home
}

#[test]
fn a_turn_with_tools_replays_to_the_same_journal() {
    let ran = replayed(&recorded(TWO_TOOLS));
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

#[test]
fn a_turn_with_a_retry_replays_to_the_same_journal() {
    let script =
        r#"{"steps":[{"text":"at last","errors":[{"kind":"overloaded","retry_after_ms":20}]}]}"#;
    let ran = replayed(&recorded(script));
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

#[test]
fn a_cancelled_turn_replays_to_the_same_journal() {
    let home = Home::new();
    home.write("project/s.json", WAITING);
    let mut command = home.command();
    command.args(RECORD);
    let mut running = Running::start(command);
    running.until_event("tool_started");
    running.signal("INT");
    let (ran, _) = running.end();
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    let ran = replayed(&home);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_changed_recording_is_refused_and_the_place_is_named() {
    let home = recorded(r#"{"steps":[{"text":"the original words"}]}"#);
    let changed = files_below(&home.path("tape"))
        .into_iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let other = text.replace("the original words", "the falsified words");
            std::fs::write(path, &other).unwrap();
            text != other
        })
        .count();
    assert!(changed > 0);
    let ran = replayed(&home);
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    println!("{}{}", ran.out, ran.err);
    assert!(ran.err.contains("entry") || ran.out.contains("seq"), "{}{}", ran.out, ran.err);
}
