//! Recorded runs of the real program, played back without network or processes.

use std::path::Path;

use crate::deaths::TWO_TOOLS;
use crate::home::Home;
use crate::provider::Provider;
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
        .filter(|path| path.is_file())
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

#[test]
fn the_answers_of_a_recording_are_given_to_another_session_without_the_provider() {
    let provider = Provider::start();
    let home = Home::new().with("OPENAI_API_KEY", "canary-key-0123456789");
    home.user(&format!(
        "model = \"openai/m\"\n[providers.openai]\nwire = \"openai-chat\"\nbase_url = \"{}/v1\"\n",
        provider.address
    ));
    let recorded = home.run(&["run", "--quiet", "--record", "../tape", "say hello"]);
    assert_eq!((recorded.code, &*recorded.out), (Some(0), "Hello.\n"), "{}", recorded.err);
    assert_eq!(provider.seen().len(), 1);
    let again = home.run(&["run", "--quiet", "--replay", "../tape", "say it in other words"]);
    assert_eq!((again.code, &*again.out), (Some(0), "Hello.\n"), "{}", again.err);
    assert!(provider.seen().is_empty(), "the provider was asked");
    let tape = home.project().join("../tape");
    let mut files = files_below(&tape.join("http"));
    files.push(tape.join("trace.json"));
    assert_eq!(files.len(), 2);
    let kept = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    assert!(kept.into_iter().all(|text| !text.contains("canary")), "a key is on the disk");
    // One that asks for more than there is is told so, and does not try again.
    let more = home.run(&["run", "--resume", "--replay", "../nowhere", "and again"]);
    assert_eq!(more.code, Some(1), "{}", more.err);
    assert!(more.err.contains("`oarlock run --record DIR` keeps them"), "{}", more.err);
}
