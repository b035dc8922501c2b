//! What readers are told of subagents: all of it, in its place, whenever they begin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use oarlock_core::event::{AgentEvent, Delivery, Effect, Event};
use oarlock_core::ids::{FrameId, SessionId};
use oarlock_core::memory::MemoryStore;
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::journal::{Fence, Frame, Journal};
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::{DefaultSession, EventStream};
use oarlock_testkit::clock::VirtualClock;
use oarlock_testkit::gated::{Asked, GatedJournal, through};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings, tag, tags, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool, order};

use crate::subagents::{answer, child_of, go, kit_with, opened, tools};

/// What a stream tells until the turn of the followed session ends: each entry's tag, with the place of its session.
async fn told(session: &DefaultSession, after: u64) -> Vec<(usize, String)> {
    let mut events = session.events(after);
    let mut told = Vec::new();
    loop {
        match session.next_event(&mut events).await.unwrap() {
            AgentEvent::Entry(entry) => {
                told.push((0, tag(&entry.event)));
                if matches!(entry.event, Event::TurnEnded(_)) {
                    return told;
                }
            }
            AgentEvent::Scoped { scope, event } => {
                if let AgentEvent::Entry(entry) = *event {
                    told.push((scope.len(), tag(&entry.event)));
                }
            }
            AgentEvent::Delta(_) | AgentEvent::CaughtUp { .. } => {}
        }
    }
}

fn at(told: &[(usize, String)], depth: usize) -> Vec<&str> {
    told.iter().filter(|(at, _)| *at == depth).map(|(_, tag)| tag.as_str()).collect()
}

/// Each one gives its task to the next while it can.
fn deeper(request: &ModelRequest) -> Vec<Say> {
    let can = request.tools.iter().any(|tool| tool.name == "spawn_agent");
    let reply = match (can, request.messages.len()) {
        (true, 1) => calls(&[("s", "spawn_agent", "{}")]),
        (_, _) => text("deep"),
    };
    vec![Say::Wait(20), Say::Reply(reply)]
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_told_of_all_below_between_their_opening_and_their_end_live_and_late() {
    let kit = kit_with(deeper, tools(order()));
    let mut settings = settings();
    settings.turn.subagent_max_depth = Some(2);
    let session = kit.open_with(settings).await;
    let (live, _) = tokio::join!(told(&session, 0), session.run_turn(go()));
    let late = told(&session, 0).await;
    let own = tags(&journal(&kit.core, &session).await);
    let child = opened(&journal(&kit.core, &session).await).remove(0).child;
    let child = kit.core.handle(child);
    let below = opened(&journal(&kit.core, &child).await).remove(0).child;
    let (child, below) = (
        tags(&journal(&kit.core, &child).await),
        tags(&journal(&kit.core, &kit.core.handle(below)).await),
    );
    for told in [&live, &late] {
        let to_end = own.iter().take_while(|tag| *tag != "turn_ended").count() + 1;
        assert_eq!(at(told, 0), own[..to_end]);
        assert_eq!(at(told, 1), child);
        assert_eq!(at(told, 2), below);
        let place = |depth, tag: &str| told.iter().position(|t| *t == (depth, tag.to_owned()));
        let last = |depth| told.iter().rposition(|(at, _)| *at == depth);
        for depth in [0, 1] {
            assert!(place(depth, "subagent_opened") < told.iter().position(|t| t.0 == depth + 1));
            assert!(last(depth + 1) < place(depth, "subagent_closed"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_begins_in_between_is_told_of_an_open_subagent_from_then_on() {
    let mut tools = tools(order());
    tools[1] = TestTool::new("write", Effect::Mutating, Act::After(1_000, "written"));
    let kit = kit_with(answer, tools);
    let session = kit.open().await;
    send(&session, "go", Delivery::Now).await.unwrap();
    let (_, child) = child_of(&kit, &session).await;
    let is_written = |event: &Event| matches!(event, Event::ToolStarted(started) if started.call.0.as_ref() == "w");
    wait_for(&child, 0, is_written).await;
    let tip = journal(&kit.core, &session).await.len() as u64;
    let told = told(&session, tip).await;
    let expected =
        ["tool_settled", "step_started", "assistant_message", "turn_ended", "writer_released"];
    assert_eq!(at(&told, 1), expected);
    let closed = told.iter().position(|(_, tag)| tag == "subagent_closed").unwrap();
    assert!(told[closed..].iter().all(|(at, _)| *at == 0), "{told:?}");
}

/// The place and number of each entry until the turn ends, read by futures that are dropped after two milliseconds; and how many were dropped.
async fn read_in_pieces(mut events: EventStream) -> (Vec<(usize, u64)>, u32) {
    let (mut heard, mut drops) = (Vec::new(), 0);
    loop {
        let next = tokio::time::timeout(Duration::from_millis(2), events.next()).await;
        let (depth, event) = match next.map(Result::unwrap) {
            Err(_) => {
                drops += 1;
                continue;
            }
            Ok(AgentEvent::Scoped { scope, event }) => (scope.len(), *event),
            Ok(event) => (0, event),
        };
        let AgentEvent::Entry(entry) = event else { continue };
        heard.push((depth, entry.seq));
        if depth == 0 && matches!(entry.event, Event::TurnEnded(_)) {
            return (heard, drops);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_whose_futures_are_dropped_again_and_again_loses_nothing() {
    let slow = |request: &ModelRequest| [vec![Say::Wait(7)], answer(request)].concat();
    let kit = kit_with(slow, tools(order()));
    let session = kit.open().await;
    let read = read_in_pieces(session.events(0));
    let ((heard, drops), _) = tokio::join!(read, session.run_turn(go()));
    assert!(drops > 10, "{drops}");
    for depth in [0, 1] {
        let seqs = heard.iter().filter(|(at, _)| *at == depth).map(|(_, seq)| *seq);
        let seqs: Vec<u64> = seqs.collect();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "{heard:?}");
        assert!(seqs.len() > 8, "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subagent_that_ended_with_one_of_its_own_open_holds_no_reader() {
    let kit = kit_with(deeper, tools(order()));
    let mut settings = settings();
    settings.turn.subagent_max_depth = Some(2);
    let session = kit.open_with(settings).await;
    session.run_turn(go()).await.unwrap();
    let child = opened(&journal(&kit.core, &session).await).remove(0).child;
    let child = kit.core.handle(child);
    let below = opened(&journal(&kit.core, &child).await).remove(0).child;
    // The same journals, but for the end of the one below.
    let store = MemoryStore::new(node("b"));
    for session in [&session, &child, &kit.core.handle(below)] {
        let mut entries = journal(&kit.core, session).await;
        if session.id() == child.id() {
            entries.retain(|entry| !matches!(entry.event, Event::SubagentClosed(_)));
        }
        for (seq, entry) in (1..).zip(&mut entries) {
            entry.seq = seq;
        }
        let fence = Fence::new_session(session.id().clone(), node("b"));
        let frame = FrameId::parse(format!("frame-{}", session.id())).unwrap();
        store.append(&fence, &Frame::encode(frame, &fence, &entries).unwrap()).await.unwrap();
    }
    let kit = Kit::of(Parts { name: "b", ..Parts::on(store, vec![], vec![]) });
    let reader = kit.core.handle(session.id().clone());
    let told = tokio::time::timeout(Duration::from_secs(60), told(&reader, 0)).await;
    let told = told.expect("the reader is told of the end");
    let child = tags(&journal(&kit.core, &kit.core.handle(child.id().clone())).await);
    assert_eq!(at(&told, 1), child);
    assert_eq!(at(&told, 0).last(), Some(&"turn_ended"));
}

#[tokio::test(start_paused = true)]
async fn a_reader_asks_each_session_once_and_hears_all_its_subagents_in_turn() {
    let three = |request: &ModelRequest| match (request.system.as_ref(), request.messages.len()) {
        ("child", _) => answer(request),
        (_, 1) => {
            let ids = ["a", "b", "c"];
            vec![Say::Reply(calls(&ids.map(|id| (id, "spawn_agent", "{}"))))]
        }
        (_, _) => vec![Say::Reply(text("done"))],
    };
    let store = MemoryStore::new(node("a"));
    let asked: Arc<Mutex<HashMap<SessionId, u32>>> = Arc::default();
    let (counted, clock) = (Arc::clone(&asked), VirtualClock::new());
    // It takes its time, and what it is asked of each session is counted.
    let journal = GatedJournal::new(store.clone(), move |asked, session| {
        if !matches!(asked, Asked::Read | Asked::Tail) {
            return through();
        }
        *counted.lock().unwrap().entry(session.clone()).or_default() += 1;
        clock.sleep_until(clock.now().after(5)).map(Ok).boxed()
    });
    let models = Some(Arc::new(oarlock_testkit::model::AnsweringModel::new(three)) as _);
    let spawn = TestTool::new("spawn_agent", Effect::Pure, Act::Spawn(Box::new(order())));
    let mut tools = tools(order());
    tools[2] = spawn;
    let parts = Parts::on(store, vec![], tools);
    let kit = Kit::of(Parts { models, journal, ..parts });
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    session.close().await.unwrap();
    asked.lock().unwrap().clear();
    let (mut events, mut heard) = (session.events(0), Vec::new());
    loop {
        match session.next_event(&mut events).await.unwrap() {
            AgentEvent::Entry(entry) if matches!(entry.event, Event::TurnEnded(_)) => break,
            AgentEvent::Scoped { scope, .. } => heard.push(scope[0].clone()),
            _ => {}
        }
    }
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 4);
    // Where it ends, its entries, and where it ended when it was closed.
    assert!(asked.values().all(|times| *times <= 3), "{asked:?}");
    let last = heard.last().unwrap();
    let ended = heard.iter().position(|child| child == last).unwrap();
    let first = heard.iter().rposition(|child| child == &heard[0]).unwrap();
    assert!(ended < first, "the last one is heard while the first one is: {heard:?}");
}
