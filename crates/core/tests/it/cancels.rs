//! A cancel at every moment of a turn: it settles within the bound, leaves a valid session and one terminal entry, and the next turn works.

use std::collections::BTreeSet;

use oarlock_core::event::{Delivery, Event, Outcome, PermissionKind, StopReason};
use oarlock_core::message::Usage;
use oarlock_core::ports::model::{ModelErrorKind, Reply};
use oarlock_core::spec::{Answers, ContextPolicy, Decimal, Mode, Settings, TurnConfig};
use oarlock_testkit::kit::{settings, tag, tags};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::story::{Beat, Story, laws, play};

fn asking() -> Settings {
    Settings { mode: Mode::ASK_WRITES, answers: Answers::Somebody, ..settings() }
}

/// A turn that meets every wait there is: a slow model, a retry, calls side by side, a question, a slow write, a call for the client, a
/// call that hangs, a summary.
fn long_turn() -> Story {
    let slow = |reply| vec![Say::Wait(4), Say::Delta("so"), Say::Wait(4), Say::Reply(reply)];
    let full = |reply| Reply { usage: Usage { input: 240, ..Usage::default() }, ..reply };
    let reads = [("c1", "read", "{}"), ("c2", "slow", "{}")];
    let context = ContextPolicy {
        window: Some(250),
        clear_ratio: Decimal(0),
        soft_ratio: Decimal(0),
        ..ContextPolicy::default()
    };
    Story {
        settings: Settings { turn: TurnConfig { context, ..TurnConfig::default() }, ..asking() },
        replies: vec![
            slow(calls(&reads)),
            vec![Say::Wait(3), Say::Fail(ModelErrorKind::Overloaded, Some(20))],
            slow(calls(&[("c3", "write", r#"{"what": "x"}"#)])),
            slow(calls(&[("c4", "ask", "{}")])),
            slow(full(calls(&[("c5", "fail", "{}"), ("c6", "boom", "{}")]))),
            slow(text("nearly")),
        ],
        summaries: vec![vec![Say::Wait(15), Say::Reply(text("notes"))]; 9],
        beats: vec![
            (0, Beat::Input(Delivery::Now, None)),
            (30, Beat::Input(Delivery::Steer, None)),
            (130, Beat::Answer(PermissionKind::AllowOnce)),
            (100, Beat::Supply(Outcome::Completed)),
            (40, Beat::Answer(PermissionKind::AllowOnce)),
            (5, Beat::Answer(PermissionKind::AllowOnce)),
        ],
        faults: 0,
    }
}

/// The same story with a cancel after so many milliseconds, and another turn after it.
fn cancelled_at(story: &Story, at: u64) -> Story {
    let mut beats = Vec::new();
    let (mut passed, mut cancelled) = (0, false);
    for (wait, beat) in &story.beats {
        if !cancelled && passed + wait > at {
            beats.push((at - passed, Beat::Cancel));
            (passed, cancelled) = (at, true);
            beats.push((passed + wait - at, beat.clone()));
        } else {
            beats.push((*wait, beat.clone()));
        }
        passed += if cancelled { 0 } else { *wait };
    }
    if !cancelled {
        beats.push((at.saturating_sub(passed), Beat::Cancel));
    }
    beats.push((300, Beat::Input(Delivery::Queue, None)));
    Story { beats, ..story.clone() }
}

#[test]
fn a_cancel_at_every_moment_of_a_turn_settles_in_time_and_leaves_a_valid_session() {
    let story = long_turn();
    let whole = play(&story);
    laws::hold(&story, &whole);
    let met = tags(&whole.entries);
    for wait in [
        "model_failed",
        "permission_asked",
        "permission_answered",
        "input_requested",
        "summary_started",
        "summary_failed",
    ] {
        assert!(met.iter().any(|tag| tag == wait), "the turn never meets {wait}: {met:?}");
    }
    let begun = whole.entries.iter().find(|e| matches!(e.event, Event::TurnStarted(_))).unwrap().at;
    let end = whole.entries.iter().find_map(|entry| match &entry.event {
        Event::TurnEnded(ended) => Some((entry.at, ended.stop)),
        _ => None,
    });
    let (ended, stop) = end.unwrap();
    assert_eq!(stop, StopReason::EndTurn);
    let length = ended.ms_since(begun);
    assert!(length > 250, "the turn meets its waits: {length} ms");
    let mut kinds = BTreeSet::new();
    // Every millisecond around an entry, and each fifth between them.
    let moments = whole.entries.iter().map(|entry| entry.at.ms_since(begun));
    let around = moments.flat_map(|at| at.saturating_sub(1)..=at + 1);
    let sweep: BTreeSet<u64> = around.chain((0..length).step_by(5)).collect();
    for at in sweep.into_iter().filter(|at| *at <= length) {
        let story = cancelled_at(&story, at);
        let told = play(&story);
        laws::hold(&story, &told);
        let ends = told.entries.iter().filter_map(|entry| match &entry.event {
            Event::TurnEnded(ended) => Some(ended.stop),
            _ => None,
        });
        let ends: Vec<StopReason> = ends.collect();
        if !told.cancelled.is_empty() {
            assert_eq!(ends[0], StopReason::Cancelled, "cancelled at {at} ms");
        }
        assert!(ends.len() >= 2, "no turn after the cancel at {at} ms: {ends:?}");
        let last = told.entries.iter().rposition(|entry| entry.turn == Some(1)).unwrap();
        kinds.insert(tag(&told.entries[last - 1].event));
    }
    assert!(kinds.len() >= 4, "the sweep met few places: {kinds:?}");
}
