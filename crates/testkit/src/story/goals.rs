//! What goals, plans and going on by oneself must hold in every told life.

use std::collections::HashMap;

use oarlock_core::GoalState;
use oarlock_core::event::{Entry, Event, Outcome, StopReason};
use oarlock_core::ids::CallId;
use oarlock_core::session::goal::GOAL_DONE;
use oarlock_core::session::state::State;

/// # Panics
/// Where a life breaks one of them.
pub(super) fn hold(entries: &[Entry]) {
    let mut state = State::created(&entries[0]).expect("a journal begins with its session");
    for (at, entry) in entries.iter().enumerate().skip(1) {
        let goes_on = state.goal.as_ref().is_some_and(GoalState::goes_on);
        match &entry.event {
            Event::TurnContinued(_) => {
                assert!(goes_on, "entry {}: it goes on without a goal that wants it", entry.seq);
                is_gone_on_with(&entries[at + 1..]);
            }
            Event::TurnEnded(ended) if ended.stop == StopReason::EndTurn => {
                assert!(!goes_on, "entry {}: a turn ends before its goal", entry.seq);
            }
            _ => {}
        }
        state.apply(entry).expect("law 1: every entry can follow what came before it");
    }
    notes_come_once(entries);
}

/// A turn that was told to go on has another step, or something else ends it.
fn is_gone_on_with(after: &[Entry]) {
    for entry in after {
        match &entry.event {
            Event::StepStarted(_) => return,
            Event::TurnEnded(ended) => {
                return assert_ne!(ended.stop, StopReason::EndTurn, "it did not go on");
            }
            _ => {}
        }
    }
    panic!("law 4: a turn went on and never ended");
}

/// What a call tells its session stands right before the call's end, once, and nowhere else.
fn notes_come_once(entries: &[Entry]) {
    let mut names: HashMap<&CallId, &str> = HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        let noted = at.checked_sub(1).and_then(|before| match &entries[before].event {
            Event::PlanChanged(_) => Some("plan"),
            Event::GoalReached(_) => Some(GOAL_DONE),
            _ => None,
        });
        let ended = match &entry.event {
            Event::ToolCalled(called) => {
                names.insert(&called.call, &called.name);
                None
            }
            Event::ToolSettled(settled) if settled.outcome == Outcome::Completed => {
                names.get(&settled.call).copied().filter(|name| ["plan", GOAL_DONE].contains(name))
            }
            _ => None,
        };
        assert_eq!(noted, ended, "a note and the end of its call belong together: {entry:?}");
    }
}
