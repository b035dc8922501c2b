//! `session why` about sessions of other processes: waiting ones, dead ones and such that sleep.

use serde_json::json;

use crate::home::Home;
use crate::pty::Terminal;
use crate::quarrels::in_a_turn;
use crate::voyage::{journal, sessions};

#[test]
fn a_call_that_runs_in_another_process_is_told_and_so_is_its_death() {
    let home = Home::new();
    let (running, id) = in_a_turn(&home);
    let before = journal(&home, &id).len();
    let told = home.run(&["session", "why", &id]);
    assert_eq!(told.code, Some(0), "{}", told.err);
    let first = told.out.lines().next().unwrap();
    assert!(first.starts_with(&format!("session {id}: turn 1 runs, in another process, ")));
    assert!(told.out.contains("\n  waits for  the end of: bash"), "{}", told.out);
    for words in ["    since    ", "    owner    the tool bash\n", "    deadline none known\n"] {
        assert!(told.out.contains(words), "{}", told.out);
    }
    let line = home.run(&["session", "why", &id, "--json"]).lines().remove(0);
    assert_eq!(line["runs"]["by"], "elsewhere");
    assert_eq!(line["waits"][0]["on"]["kind"], "tool");
    assert_eq!(line["waits"][0]["owner"], json!({"kind": "tool", "name": "bash"}));
    running.signal("KILL");
    running.end();
    let told = home.run(&["session", "why", &id]);
    assert!(told.out.starts_with(&format!("session {id}: turn 1 is open, no process has it\n")));
    assert!(told.out.contains("waits for  somebody to go on with turn 1\n"), "{}", told.out);
    assert!(told.out.contains("nobody knows what it did"), "{}", told.out);
    assert_eq!(journal(&home, &id).len(), before, "asking writes nothing");
    assert_eq!(home.run(&["session", "resume", &id]).code, Some(0));
    let told = home.run(&["session", "why", &id]);
    let asleep = format!("session {id}: asleep, no process has it\n  waits for nothing\n");
    assert_eq!(told.out, asleep);
}

#[test]
fn an_open_question_is_told_with_its_deadline_and_its_default() {
    let home = Home::new();
    let touch = json!({"name": "bash", "arguments": {"command": "touch one"}});
    home.write(
        "project/s.json",
        &json!({"steps": [{"calls": [touch]}, {"text": "done"}]}).to_string(),
    );
    let mut seat = Terminal::start(&home, 80, &["run", "--model", "script/s.json", "go"]);
    seat.expect("touch one");
    seat.expect("> ");
    let id = sessions(&home).remove(0);
    let told = home.run(&["session", "why", &id]);
    assert!(told.out.contains("waits for  permission for: bash: touch one\n"), "{}", told.out);
    assert!(told.out.contains("owner    whoever answers questions\n"), "{}", told.out);
    assert!(told.out.contains("(in 9 min "), "{}", told.out);
    assert!(told.out.contains("then     the call is denied"), "{}", told.out);
    seat.type_in("n\n");
    assert_eq!(seat.end().0, Some(4));
}

#[test]
fn a_session_that_is_not_there_is_named() {
    let home = Home::new();
    let nobody = "0192f0c1-7b7e-7000-8000-000000000001";
    assert!(home.run(&["session", "why", nobody]).refused(1).contains(nobody));
}
