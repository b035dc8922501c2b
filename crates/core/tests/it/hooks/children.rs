//! Hooks in subagents: they are told truly where they are, and guard what a child does as they guard its parent.

use std::sync::Arc;

use oarlock_core::event::{Delivery, Effect, Event, HookChange, HookControl, HookPoint, Outcome};
use oarlock_core::message::Part;
use oarlock_core::ports::model::ModelRequest;
use oarlock_testkit::hooks::{Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, send, wait_for};
use oarlock_testkit::model::{AnsweringModel, Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool, order};

use super::{joined, user_texts};

/// A parent that gives one task away, and a child that writes.
fn answer(request: &ModelRequest) -> Vec<Say> {
    let child = request.system.starts_with("child");
    let reply = match (child, request.messages.len()) {
        (false, 1) => calls(&[("s", "spawn_agent", r#"{"what": "look"}"#)]),
        (true, 1) => calls(&[("w", "write", "{}")]),
        (true, _) => text("found it"),
        (false, _) => text("all done"),
    };
    vec![Say::Reply(reply)]
}

#[tokio::test(start_paused = true)]
async fn a_guard_holds_in_subagents_and_is_told_that_it_is_in_one() {
    let stop = Some(HookControl::Break { stop: None });
    let stop = Do::Change(Box::new(HookChange { control: stop, ..HookChange::default() }));
    let words = HookChange { context: vec!["Take care.".to_owned()], ..HookChange::default() };
    let enter = vec![Do::Nothing, Do::Change(Box::new(words))];
    let hooks = TestHooks::new([
        (HookPoint::AfterSessionEnter, enter),
        (HookPoint::BeforeToolApply, vec![Do::Nothing, stop]),
    ]);
    let write = TestTool::new("write", Effect::Mutating, Act::Give("written".to_owned()));
    let spawn = Act::Spawn(Box::new(order()));
    let tools = vec![write.clone(), TestTool::new("spawn_agent", Effect::Idempotent, spawn)];
    let models = Some(Arc::new(AnsweringModel::new(answer)) as _);
    let kit = Kit::of(Parts { models, hooks: Some(hooks.clone()), ..Parts::new(vec![], tools) });
    let session = kit.open().await;
    session.run_turn(vec![Part::text("go")]).await.unwrap();
    let told: Vec<_> =
        hooks.told().iter().map(|step| (step.hook_event, step.is_subagent)).collect();
    let (enter, apply) = (HookPoint::AfterSessionEnter, HookPoint::BeforeToolApply);
    assert_eq!(told, [(enter, false), (apply, false), (enter, true), (apply, true)]);
    assert_eq!(write.runs(), 0);
    let child = journal(&kit.core, &session).await.iter().find_map(|entry| match &entry.event {
        Event::SubagentOpened(opened) => Some(opened.child.clone()),
        _ => None,
    });
    let entries = kit.core.entries(&child.unwrap(), 0).await.unwrap();
    let settled = entries.iter().find_map(|entry| match &entry.event {
        Event::ToolSettled(settled) => Some((settled.outcome, joined(&settled.content))),
        _ => None,
    });
    assert_eq!(settled, Some((Outcome::Denied, "denied: a hook refused this call".to_owned())));
    let said = entries
        .iter()
        .any(|entry| matches!(&entry.event, Event::HookRan(ran) if ran.point == enter));
    assert!(said, "what a child was told on entering is in its own journal");
}

#[tokio::test(start_paused = true)]
async fn words_about_an_input_that_steers_go_with_it() {
    let words = HookChange { context: vec!["noted".to_owned()], ..HookChange::default() };
    let does = vec![Do::Nothing, Do::Change(Box::new(words))];
    let hooks = TestHooks::new([(HookPoint::AfterIngest, does)]);
    let tool = TestTool::new("t", Effect::Pure, Act::After(100, "x"));
    let script = vec![vec![Say::Reply(calls(&[("c", "t", "{}")]))], vec![Say::Reply(text("end"))]];
    let kit = Kit::of(Parts { hooks: Some(hooks), ..Parts::new(script, vec![tool]) });
    let session = kit.open().await;
    send(&session, "go", Delivery::Queue).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::ToolStarted(_))).await;
    send(&session, "and this", Delivery::Steer).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    assert_eq!(user_texts(kit.model.requests().last().unwrap()), ["go", "and this|noted"]);
}
