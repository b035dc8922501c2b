//! The real program is killed at every write and sync of a turn, and taken up again.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::home::Home;
use crate::voyage::{
    Running, Weather, assert_sound, counted, entries, journal, of_type, parsed, sessions, shim,
    skipped,
};

pub(crate) const TWO_TOOLS: &str = r#"{"steps":[
 {"text":"first","calls":[
  {"id":"write","name":"bash","arguments":{"command":"echo x >> effect"}},
  {"id":"read","name":"read_file","arguments":{"path":"input"}}]},
 {"text":"done"}]}"#;

/// A home where the store exists, so that the first call that is counted belongs to the run.
fn furnished() -> Home {
    let home = Home::new();
    home.write("project/s.json", TWO_TOOLS);
    home.write("project/input", "words\n");
    assert_eq!(home.run(&["session", "list"]).code, Some(0));
    home
}

const RUN: [&str; 7] = ["run", "--json", "--mode", "open", "--model", "script/s.json", "go"];

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Came {
    NoSession,
    NoTurn,
    Cut,
    Ended,
}

/// Dies at a point, resumes, and says how far it had come.
fn die_and_resume(weather: Weather) -> Came {
    let home = furnished();
    let mut command = weather.on(home.command(), &home);
    command.args(RUN);
    let (died, lines) = Running::start(command).end();
    assert_eq!(died.code, None, "{weather:?} was not met: {}", died.err);
    let shown = entries(&lines);
    let Some(id) = sessions(&home).first().cloned() else {
        assert_eq!(shown, Vec::<Value>::new(), "{weather:?}: shown and lost");
        assert_eq!(home.run(&RUN).code, Some(0));
        return Came::NoSession;
    };
    let before = journal(&home, &id);
    assert!(before.starts_with(&shown), "{weather:?}: {shown:#?} was shown, {before:#?} was kept");
    let resumed = home.run(&["run", "--json", "--resume", &id]);
    let after = journal(&home, &id);
    assert!(after.starts_with(&before), "{weather:?}: {before:#?} became {after:#?}");
    let came = match (of_type(&before, "turn_started").len(), of_type(&before, "turn_ended").len())
    {
        (0, _) if of_type(&before, "input_admitted").is_empty() => Came::NoTurn,
        (_, 0) => Came::Cut,
        _ => Came::Ended,
    };
    match came {
        Came::Cut => {
            assert_eq!(resumed.code, Some(0), "{weather:?}: {}", resumed.err);
            assert_eq!(parsed(&resumed.out).last().unwrap()["result"]["text"], "done");
        }
        _ => {
            assert_eq!(resumed.code, Some(1), "{weather:?}");
            assert_eq!(resumed.err.lines().count(), 1, "{}", resumed.err);
        }
    }
    assert_sound(&after);
    let effects = std::fs::read_to_string(home.path("project/effect")).unwrap_or_default();
    check_effect(&before, &after, effects.lines().count(), weather);
    came
}

/// The command ran at most once; where it may have run without our knowing, the journal says so.
fn check_effect(before: &[Value], after: &[Value], effects: usize, weather: Weather) {
    let of_write = |entries: &[Value], kind: &str| -> Option<Value> {
        of_type(entries, kind).into_iter().find(|data| data["call"] == "write").cloned()
    };
    let started = of_write(before, "tool_started").is_some();
    let settled = of_write(before, "tool_settled");
    let outcome = of_write(after, "tool_settled").map(|settled| settled["outcome"].clone());
    match (started, settled.is_some()) {
        (true, false) => {
            assert_eq!(outcome.unwrap(), "indeterminate", "{weather:?}");
            assert!(effects <= 1, "{weather:?}: {effects} effects");
        }
        (true, true) => {
            assert_eq!((outcome.unwrap(), effects), ("completed".into(), 1), "{weather:?}");
        }
        (false, _) => {
            let runs = usize::from(outcome.is_some());
            assert_eq!(effects, runs, "{weather:?}: {outcome:?}");
            assert!(outcome.is_none_or(|outcome| outcome == "completed"), "{weather:?}");
        }
    }
}

#[test]
fn a_turn_killed_at_any_write_or_sync_goes_on_with_nothing_lost_or_done_twice() {
    if shim().is_none() {
        return skipped("the SIGKILL sweep", "LD_PRELOAD is of Linux");
    }
    let home = furnished();
    let mut command = Weather::FAIR.on(home.command(), &home);
    assert!(command.args(RUN).output().unwrap().status.success());
    let points = counted(&home);
    assert!((12..150).contains(&points), "{points} points");
    let next = AtomicUsize::new(1);
    let sweep = || {
        let mut came = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at > points {
                return came;
            }
            for does in ["kill-before", "kill-after"] {
                came.push(die_and_resume(Weather { does, at, ..Weather::FAIR }));
            }
        }
    };
    let came: Vec<Came> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(sweep)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let count = |what| came.iter().filter(|came| **came == what).count();
    println!(
        "{points} points, {} deaths: {} before the session, {} before the turn, {} in it, {} after it",
        came.len(),
        count(Came::NoSession),
        count(Came::NoTurn),
        count(Came::Cut),
        count(Came::Ended)
    );
    assert!(count(Came::Cut) >= 8, "{came:?}");
    assert!(count(Came::NoSession) > 0 && count(Came::Ended) > 0, "{came:?}");
}

#[test]
fn a_turn_that_was_killed_three_times_ends_as_failed() {
    let home = Home::new();
    let (mut running, id) = crate::quarrels::in_a_turn(&home);
    running.child.kill().unwrap();
    drop(running);
    // The command is not run again, so the model is what keeps the next two lives busy.
    home.write("project/s.json", r#"{"steps":[{"text":"never"},{"silence":true}]}"#);
    for life in 2..=3 {
        let mut command = home.command();
        command.args(["run", "--json", "--resume", &id]);
        let mut running = Running::start(command);
        running.until_event("turn_recovered");
        running.child.kill().unwrap();
        drop(running);
        assert_eq!(of_type(&journal(&home, &id), "turn_recovered").len(), life - 1);
    }
    let last = home.run(&["run", "--json", "--resume", &id]);
    home.write("project/go", "");
    assert_eq!(last.code, Some(1), "{}", last.err);
    let kept = journal(&home, &id);
    assert_sound(&kept);
    let ended = of_type(&kept, "turn_ended")[0];
    assert_eq!(ended["stop"]["reason"], "failed", "{ended}");
    assert!(ended.to_string().contains("crashed its process 3 times"), "{ended}");
}
