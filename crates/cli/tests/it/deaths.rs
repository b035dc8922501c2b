//! SIGKILL at every moment at which a turn makes something durable, and what a new process makes of it.

use serde_json::{Value, json};

use crate::harm::{entries, harmed, journal, of_kind, output, session};
use crate::home::{Home, Ran};

/// More moments than a turn has.
const MOMENTS_MAX: usize = 80;

/// A home with a script: a read and a command that leaves a trace, then an answer.
fn home() -> Home {
    let home = Home::new();
    home.write("project/notes.txt", "row your boat\n");
    let calls = json!([
        {"name": "read_file", "arguments": {"path": "notes.txt"}},
        {"name": "bash", "arguments": {"command": "echo done >> trace.txt"}}
    ]);
    let steps = json!({"steps": [{"text": "I begin.", "calls": calls}, {"text": "All done."}], "repeat_last": true});
    home.write("project/script.json", &steps.to_string());
    home
}

const RUN: [&str; 7] = ["run", "--json", "--mode", "open", "--model", "script/script.json", "go"];

fn traces(home: &Home) -> usize {
    std::fs::read_to_string(home.path("project/trace.txt")).unwrap_or_default().lines().count()
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "the harmful library is for Linux")]
fn a_death_at_any_durable_moment_loses_nothing_and_repeats_no_command() {
    let mut moments = 0;
    for when in ["kill-before", "kill-after"] {
        for n in 1..MOMENTS_MAX {
            let home = home();
            let harm = format!("sync:{n}:{when}");
            let died = output(harmed(&home, &harm), &RUN);
            if died.code.is_some() {
                assert_eq!(died.code, Some(0), "{harm}: {}", died.err);
                break;
            }
            moments += 1;
            survives(&home, &died, &harm);
        }
    }
    println!("{moments} moments");
    assert!((16..2 * MOMENTS_MAX - 2).contains(&moments), "{moments} moments are not plausible");
}

/// What had been told is there, the turn goes on in a new process, and no command runs twice.
fn survives(home: &Home, died: &Ran, harm: &str) {
    let told = entries(&died.out);
    let Some(id) = session(home) else {
        assert_eq!(told, Vec::<Value>::new(), "{harm}: told before it was kept");
        return;
    };
    let before = journal(home, &id);
    assert!(
        told.len() <= before.len() && told == before[..told.len()],
        "{harm}: an entry was lost"
    );
    let prompt: &[&str] =
        match (of_kind(&before, "input_admitted").len(), of_kind(&before, "turn_ended").len()) {
            // Nothing was asked yet, or all was done: something new is asked.
            (0, _) | (_, 1) => &["again"],
            _ => &[],
        };
    let resumed = output(home.command(), &[&["run", "--json", "--resume", &id], prompt].concat());
    assert_eq!(resumed.code, Some(0), "{harm}: {}", resumed.err);
    let after = journal(home, &id);
    assert_eq!(after[..before.len()], before, "{harm}: the past was changed");
    calls_are_settled_once(home, &after, harm);
    turns_end_once(&after, harm);
}

fn calls_are_settled_once(home: &Home, after: &[Value], harm: &str) {
    let (called, settled) = (of_kind(after, "tool_called"), of_kind(after, "tool_settled"));
    let mut ids: Vec<&str> = settled.iter().map(|body| body["call"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), settled.len()), (called.len(), called.len()), "{harm}");
    let commands = called.iter().filter(|body| body["name"] == "bash");
    let outcomes: Vec<&str> = commands
        .map(|call| settled.iter().find(|body| body["call"] == call["call"]).unwrap())
        .map(|body| body["outcome"].as_str().unwrap())
        .collect();
    let completed = outcomes.iter().filter(|outcome| **outcome == "completed").count();
    let unsure = outcomes.iter().filter(|outcome| **outcome == "indeterminate").count();
    assert_eq!(completed + unsure, outcomes.len(), "{harm}: {outcomes:?}");
    let traces = traces(home);
    assert!(
        (completed..=completed + unsure).contains(&traces),
        "{harm}: {outcomes:?}, {traces} traces"
    );
}

fn turns_end_once(after: &[Value], harm: &str) {
    let turns = after.iter().filter_map(|entry| entry["turn"].as_u64()).max().unwrap();
    for turn in 1..=turns {
        let of_turn: Vec<&Value> = after.iter().filter(|entry| entry["turn"] == turn).collect();
        let ends: Vec<usize> =
            (0..of_turn.len()).filter(|at| of_turn[*at]["event"]["type"] == "turn_ended").collect();
        assert_eq!(ends, [of_turn.len() - 1], "{harm}: turn {turn}");
        let stop = &of_turn[ends[0]]["event"]["data"]["stop"]["reason"];
        assert_eq!(stop, "end_turn", "{harm}: turn {turn}");
    }
}
