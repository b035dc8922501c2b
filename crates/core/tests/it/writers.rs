//! One writer: whoever claimed a session last; the one before is refused and steps down.

use oarlock_core::event::{Delivery, Effect, Event, Outcome};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::Part;
use oarlock_core::ports::journal::JournalError;
use oarlock_core::{LoadSession, Origin, Recovery, SessionError};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, wait_for};
use oarlock_testkit::model::{Say, calls};
use oarlock_testkit::tool::{Act, TestTool};

#[tokio::test(start_paused = true)]
async fn a_writer_that_was_overtaken_is_refused_and_its_effects_are_not_history() {
    let store = MemoryStore::new(node("a"));
    let slow = TestTool::new("slow", Effect::Mutating, Act::After(5_000, "too late"));
    let ask = vec![Say::Reply(calls(&[("c", "slow", "{}")]))];
    let old = Kit::of(Parts::on(store.clone(), vec![ask], vec![slow.clone()]));
    let overtaken = old.open().await;
    overtaken.prompt(vec![Part::text("go")]).await.unwrap();
    wait_for(&overtaken, 0, |event| matches!(event, Event::ToolStarted(_))).await;
    // The same node has a second runtime, as a restarted process would that thinks the first one dead.
    let new = Kit::of(Parts { name: "b", ..Parts::on(store, vec![], vec![slow.clone()]) });
    let new = oarlock_core::DefaultAgentCore::new(
        new.core.ports().clone(),
        oarlock_core::limits::RuntimeLimits::DEFAULT,
        node("a"),
    );
    let origin = Origin::Resume(LoadSession::new(overtaken.id().clone(), Recovery::Continue));
    let session = new.open(origin).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let before = new.ports().clock.now();
    let refused = send(&overtaken, "still here?", Delivery::Queue).await;
    assert!(
        matches!(refused, Err(SessionError::Store(JournalError::Fenced { .. }))),
        "{refused:?}"
    );
    assert_eq!(new.ports().clock.now(), before, "it does not try again");
    let entries = journal(&new, &session).await;
    let outcomes: Vec<Outcome> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::ToolSettled(settled) => Some(settled.outcome),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [Outcome::Indeterminate]);
    assert_eq!(slow.runs(), 1);
    assert!(!format!("{entries:?}").contains("still here?"));
}
