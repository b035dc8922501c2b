//! What holds when a hook fails: it hangs, crashes, or says what nobody understands; and when the turn is cancelled or the process dies.

use std::sync::Arc;
use std::time::Duration;

use oarlock_core::event::{Effect, Event, HookChange, HookControl, HookPoint, Outcome, StopReason};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::Part;
use oarlock_core::ports::hook::OnError;
use oarlock_core::spec::{Answers, Mode, Settings};
use oarlock_core::{Command, LoadSession, Origin, Recovery};
use oarlock_testkit::hooks::{DEADLINE_MS, Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, node, settings, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use oarlock_testkit::tool::{Act, TestTool};

use super::{Walk, walk};

fn asking() -> Settings {
    Settings { mode: Mode::ASK_WRITES, answers: Answers::Nobody, ..settings() }
}

fn script() -> Vec<Vec<Say>> {
    let ask = calls(&[("c", "t", r#"{"what":"old"}"#)]);
    vec![vec![Say::Reply(ask)], vec![Say::Reply(text("end"))]]
}

async fn failing(point: HookPoint, does: Do, on_error: OnError) -> Walk {
    let settings = if point == HookPoint::BeforePermission { asking() } else { settings() };
    let hooks = TestHooks::judging([(point, vec![does])], |_| on_error);
    walk(settings, script(), vec![TestTool::new("t", Effect::Mutating, Act::Echo)], hooks).await
}

/// What no point lets a hook say.
fn nonsense() -> HookChange {
    let control = Some(HookControl::Continue);
    let (model, permission) = (None, Some(oarlock_core::event::PermissionKind::AllowOnce));
    HookChange { control, model, permission, input: Some("x".to_owned()), ..HookChange::default() }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_hangs_crashes_or_says_nonsense_counts_as_its_point_says() {
    for point in HookPoint::ALL {
        let plain = match failing(point, Do::Nothing, OnError::Skip).await {
            // Nothing is compacted here.
            walked if walked.hooks.told().is_empty() => continue,
            walked => walked,
        };
        for does in [Do::Hang, Do::Panic, Do::Change(Box::new(nonsense()))] {
            let skipped = failing(point, does.clone(), OnError::Skip).await;
            assert_eq!(skipped.settled(), plain.settled(), "{point:?} {does:?}");
            assert_eq!(skipped.ended.stop, plain.ended.stop, "{point:?} {does:?}");
            assert!(skipped.ran().is_empty(), "{point:?} {does:?}");
            let denied = failing(point, does.clone(), OnError::Deny).await;
            let outcomes: Vec<_> =
                denied.settled().into_iter().map(|(outcome, _)| outcome).collect();
            let (stop, calls) = match point {
                HookPoint::BeforeIngest | HookPoint::AfterTurnEnter | HookPoint::BeforeGenerate => {
                    (StopReason::Refusal, vec![])
                }
                HookPoint::AfterToolBatch => (StopReason::Refusal, vec![Outcome::Completed]),
                HookPoint::BeforePermission | HookPoint::BeforeToolApply => {
                    (StopReason::EndTurn, vec![Outcome::Denied])
                }
                HookPoint::AfterToolApply => (StopReason::EndTurn, vec![Outcome::Failed]),
                _ => (plain.ended.stop, vec![Outcome::Completed]),
            };
            assert_eq!((denied.ended.stop, outcomes), (stop, calls), "{point:?} {does:?}");
            assert_eq!(denied.ran().len(), usize::from(point.can_deny()), "{point:?} {does:?}");
            let late = denied.entries.last().unwrap().at.ms_since(denied.entries[0].at);
            let bound = if matches!(does, Do::Hang) { DEADLINE_MS + 600 } else { 100 };
            assert!(late <= bound, "{point:?} {does:?}: {late} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_ends_the_hooks_of_every_point_at_once() {
    for point in HookPoint::ALL {
        let hooks = TestHooks::new([(point, vec![Do::Hang])]);
        let settings = if point == HookPoint::BeforePermission { asking() } else { settings() };
        let tool = TestTool::new("t", Effect::Mutating, Act::Echo);
        let kit = Kit::of(Parts { hooks: Some(hooks.clone()), ..Parts::new(script(), vec![tool]) });
        let session = kit.open_with(settings).await;
        let started = tokio::time::Instant::now();
        let turn = session.run_turn(vec![Part::text("go")]);
        let cancel = async {
            let clock = &kit.core.ports().clock;
            clock.sleep_until(clock.now().after(1_000)).await;
            if hooks.told().is_empty() {
                return;
            }
            session.tell(Command::Cancel { turn: None }).await.unwrap();
        };
        let (ended, ()) = tokio::join!(turn, cancel);
        let ended = ended.unwrap();
        if hooks.told().is_empty() {
            assert!(matches!(point, HookPoint::BeforeCompact | HookPoint::AfterCompact));
            continue;
        }
        assert_eq!(ended.stop, StopReason::Cancelled, "{point:?}");
        assert!(started.elapsed() <= Duration::from_millis(1_250), "{point:?}");
        // The session goes on, and no model is shown what was refused.
        let ended = session.run_turn(vec![Part::text("again")]).await.unwrap();
        assert_eq!(ended.stop, StopReason::EndTurn, "{point:?}");
    }
}

/// A process dies with its `writes`-th write, and another one goes on.
async fn death(point: HookPoint, change: HookChange, writes: u32, last: LastWrite) -> bool {
    let store = MemoryStore::new(node("a"));
    let dying = Arc::new(MortalJournal::new(store.clone(), 1, 0));
    dying.doom(writes, last);
    let does = || TestHooks::new([(point, vec![Do::Change(Box::new(change.clone())); 9])]);
    let tool = TestTool::new("t", Effect::Idempotent, Act::Echo);
    let first = Kit::of(Parts {
        journal: dying.clone(),
        hooks: Some(does()),
        ..Parts::on(store.clone(), script(), vec![tool.clone()])
    });
    let session = first.core.open(oarlock_testkit::kit::spec(settings()).into()).await;
    let Ok(session) = session else { return true };
    let id = session.id().clone();
    let ran = session.run_turn(vec![Part::text("go")]).await;
    if ran.is_ok() {
        return false;
    }
    let second = store.reopen(node("b"));
    drop((session, first, store, dying));
    let reader = Kit::of(Parts::on(second.clone(), vec![], vec![]));
    let told = reader.core.entries(&id, 0).await.unwrap();
    let answers = told.iter().filter(|e| matches!(e.event, Event::AssistantMessage(_))).count();
    let rest: Vec<_> = script().into_iter().skip(answers).collect();
    let kit =
        Kit::of(Parts { hooks: Some(does()), name: "b", ..Parts::on(second, rest, vec![tool]) });
    let load = LoadSession::new(id, Recovery::Continue);
    let session = kit.core.open(Origin::Resume(load)).await.unwrap();
    if !journal(&kit.core, &session)
        .await
        .iter()
        .any(|e| matches!(e.event, Event::InputAdmitted(_)))
    {
        return true;
    }
    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let entries = journal(&kit.core, &session).await;
    let ran = entries
        .iter()
        .filter(|entry| matches!(&entry.event, Event::HookRan(ran) if ran.point == point));
    assert_eq!(ran.count(), 1, "{point:?} {writes} {last:?}");
    let settled = entries.iter().find_map(|entry| match &entry.event {
        Event::ToolSettled(settled) => Some(super::joined(&settled.content)),
        _ => None,
    });
    let wanted = match point {
        HookPoint::BeforeToolApply => r#"{"what":"new"}"#,
        _ => r#"{"what":"old"}|checked"#,
    };
    assert_eq!(settled.as_deref(), Some(wanted), "{point:?} {writes} {last:?}");
    true
}

#[tokio::test(start_paused = true)]
async fn what_a_hook_changed_holds_wherever_the_process_dies() {
    let arguments = Some(r#"{"what":"new"}"#.to_owned());
    let before = HookChange { arguments, ..HookChange::default() };
    let after = HookChange { context: vec!["checked".to_owned()], ..HookChange::default() };
    for (point, change) in
        [(HookPoint::BeforeToolApply, before), (HookPoint::AfterToolApply, after)]
    {
        for last in [LastWrite::Stored, LastWrite::Lost] {
            let mut deaths = 0;
            while death(point, change.clone(), deaths, last).await {
                deaths += 1;
            }
            assert!(deaths >= 4, "{deaths}");
        }
    }
}
