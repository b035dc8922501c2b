//! Several processes and one data directory.

use crate::deaths::TWO_TOOLS;
use crate::home::Home;
use crate::voyage::{Running, assert_sound, entries, journal, of_type, parsed, sessions};

/// A turn whose command waits until the test lets it go on.
pub(crate) const WAITING: &str = r#"{"steps":[
 {"text":"first","calls":[{"id":"wait","name":"bash","arguments":
  {"command":"echo $$ > waiting; while [ -e waiting ] && [ ! -e go ]; do sleep 0.02; done; [ -e go ] && echo x >> effect"}}]},
 {"text":"done"},{"text":"again"},{"text":"more"}]}"#;

pub(crate) const RUN: [&str; 7] =
    ["run", "--json", "--mode", "open", "--model", "script/s.json", "go"];

/// A process in the middle of a turn, and the session.
pub(crate) fn in_a_turn(home: &Home) -> (Running, String) {
    home.write("project/s.json", WAITING);
    let mut command = home.command();
    command.args(RUN);
    let mut running = Running::start(command);
    let id = running.session();
    running.until_event("tool_started");
    (running, id)
}

#[test]
fn a_session_in_a_turn_is_held_and_its_turn_is_not_disturbed() {
    let home = Home::new();
    let (running, id) = in_a_turn(&home);
    for arguments in [
        vec!["run", "--resume", &id],
        vec!["run", "--resume", &id, "more"],
        vec!["session", "resume", &id],
        vec!["session", "delete", "--yes", &id],
    ] {
        let second = home.run(&arguments);
        let line = second.refused(1);
        assert!(
            line.contains("is open in another process") && line.contains(&id),
            "{arguments:?}: {line}"
        );
    }
    home.write("project/go", "");
    let (ran, lines) = running.end();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let kept = journal(&home, &id);
    assert!(kept.starts_with(&entries(&lines)));
    assert_sound(&kept);
    assert_eq!(of_type(&kept, "writer_changed").len(), 0);
}

#[test]
fn of_two_that_take_up_one_session_at_the_same_moment_at_most_one_wins() {
    let home = Home::new();
    home.write("project/s.json", r#"{"steps":[{"text":"one"}],"repeat_last":true}"#);
    assert_eq!(home.run(&RUN).code, Some(0));
    let id = sessions(&home).remove(0);
    let mut wins = 0;
    for _ in 0..5 {
        let start = || {
            let mut command = home.command();
            command.args(["run", "--json", "--resume", &id, "more"]);
            Running::start(command)
        };
        let ends: Vec<_> = [start(), start()].into_iter().map(|run| run.end().0).collect();
        let won = ends.iter().filter(|ran| ran.code == Some(0)).count();
        assert!(won >= 1, "{} {}", ends[0].err, ends[1].err);
        wins += won;
        for lost in ends.iter().filter(|ran| ran.code != Some(0)) {
            assert_eq!((lost.code, lost.err.lines().count()), (Some(1), 1), "{}", lost.err);
        }
    }
    let kept = journal(&home, &id);
    assert_sound(&kept);
    assert_eq!(of_type(&kept, "turn_ended").len(), wins + 1);
    assert_eq!(of_type(&kept, "input_admitted").len(), wins + 1);
}

#[test]
fn two_sessions_of_one_data_directory_work_side_by_side() {
    let home = Home::new();
    home.write("project/s.json", TWO_TOOLS);
    home.write("project/input", "words\n");
    let start = || {
        let mut command = home.command();
        command.args(RUN);
        Running::start(command)
    };
    for run in [start(), start(), start()] {
        let (ran, _) = run.end();
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    let ids = sessions(&home);
    assert_eq!(ids.len(), 3);
    for id in ids {
        assert_sound(&journal(&home, &id));
    }
}

#[test]
fn a_session_whose_process_was_killed_is_free_at_once() {
    let home = Home::new();
    let (mut running, id) = in_a_turn(&home);
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    let resumed = home.run(&["run", "--json", "--resume", &id]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert_eq!(parsed(&resumed.out).last().unwrap()["result"]["text"], "done");
    let kept = journal(&home, &id);
    assert_sound(&kept);
    assert_eq!(of_type(&kept, "tool_settled")[0]["outcome"], "indeterminate");
    // The shell of the killed process waits still; it ends with this.
    home.write("project/go", "");
}
