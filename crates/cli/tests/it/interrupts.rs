//! Signals from outside: the turn is cancelled, nothing survives, and the session stays whole.

use std::time::Duration;

use crate::home::Home;
use crate::quarrels::in_a_turn;
use crate::voyage::{Running, assert_sound, journal, now, of_type};

fn lives(process: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

/// The id of the shell that the turn waits for.
fn shell(home: &Home) -> String {
    let begun = now();
    loop {
        let id = std::fs::read_to_string(home.path("project/waiting")).unwrap_or_default();
        if id.ends_with('\n') {
            return id.trim().to_owned();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the shell did not start");
        std::thread::yield_now();
    }
}

fn cancelled_by(signal: &str) {
    let home = Home::new();
    let (running, id) = in_a_turn(&home);
    let shell = shell(&home);
    let begun = now();
    running.signal(signal);
    let (ran, _) = running.end();
    let took = begun.elapsed();
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(!lives(&shell), "the shell {shell} has survived {signal}");
    let kept = journal(&home, &id);
    assert_sound(&kept);
    assert_eq!(of_type(&kept, "turn_ended")[0]["stop"]["reason"], "cancelled");
    // A machine too busy to end the shell in time may leave it open whether the command did its work; that must be said.
    let outcome = of_type(&kept, "tool_settled")[0]["outcome"].clone();
    assert!(["cancelled", "indeterminate"].contains(&outcome.as_str().unwrap()), "{outcome}");
    let more = home.run(&["run", "--quiet", "--resume", &id, "and now"]);
    assert_eq!((more.code, more.out.trim()), (Some(0), "done"), "{}", more.err);
    assert_sound(&journal(&home, &id));
}

#[test]
fn sigint_cancels_the_turn_and_its_command() {
    cancelled_by("INT");
}

#[test]
fn sigterm_cancels_the_turn_and_its_command() {
    cancelled_by("TERM");
}

#[test]
fn a_closed_terminal_cancels_the_turn_and_its_command() {
    cancelled_by("HUP");
}

#[test]
fn a_second_sigint_leaves_at_once_and_the_session_is_whole() {
    let home = Home::new();
    // A model that is silent for ever, asked again and again, so that there is something to leave.
    home.write("project/s.json", r#"{"steps":[{"text":"x","silence":true}]}"#);
    let mut command = home.command();
    command.args(["run", "--json", "--model", "script/s.json", "go"]);
    let mut running = Running::start(command);
    let id = running.session();
    running.until_event("step_started");
    running.signal("INT");
    running.signal("INT");
    let begun = now();
    let (ran, _) = running.end();
    assert_eq!(ran.code, Some(5), "{}", ran.err);
    assert!(begun.elapsed() < Duration::from_secs(5));
    home.write("project/s.json", r#"{"steps":[{"text":"better"}]}"#);
    let more = home.run(&["run", "--quiet", "--resume", &id, "and now"]);
    assert_eq!((more.code, more.out.trim()), (Some(0), "better"), "{}", more.err);
    assert_sound(&journal(&home, &id));
}
