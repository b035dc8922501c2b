//! Hooks around calls: before one is judged, after it ran, and before the turn ends.

use oarlock_core::event::{
    ContinuedBy, Effect, Event, HookChange, HookControl, HookPoint, HookResult, Outcome, StopReason,
};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::Part;
use oarlock_core::spec::{HookRunOverrides, Rules, Settings, SettingsChange, TurnConfig};
use oarlock_core::{Command, LoadSession, Origin, Recovery};
use oarlock_testkit::hooks::{Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, node, settings};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};
use serde_json::json;

use super::{doing, one_call, walk};

fn tool() -> std::sync::Arc<TestTool> {
    TestTool::new("t", Effect::Mutating, Act::Echo)
}

fn stop() -> HookChange {
    let reason = Some("not this one".to_owned());
    HookChange { control: Some(HookControl::Break { stop: None }), reason, ..HookChange::default() }
}

#[tokio::test(start_paused = true)]
async fn changed_arguments_are_what_rules_judge_and_the_tool_gets() {
    let change =
        HookChange { arguments: Some(r#"{"what":"new"}"#.to_owned()), ..HookChange::default() };
    let tool = tool();
    let hooks = doing(HookPoint::BeforeToolApply, change.clone());
    let walked = one_call(tool.clone(), hooks).await;
    assert_eq!(walked.settled(), [(Outcome::Completed, r#"{"what":"new"}"#.to_owned())]);
    assert_eq!(walked.results(), [(r#"{"what":"new"}"#.to_owned(), false)]);
    let ran = walked.ran();
    assert_eq!((ran.len(), &ran[0].change, ran[0].effect), (1, &change, Some(Effect::Mutating)));
    // What the model said stays what it said.
    let said = walked.entries.iter().find_map(|entry| match &entry.event {
        Event::ToolCalled(called) => Some(called.arguments.clone()),
        _ => None,
    });
    assert_eq!(said.as_deref(), Some(r#"{"what":"old"}"#));
    let told = &walked.hooks.told()[0];
    assert_eq!(told.fields["args"], json!({"what": "old"}));
    assert_eq!((&told.fields["tool"], &told.fields["effect"]), (&json!("t"), &json!("mutating")));
    assert!(!told.is_subagent);

    // A rule against the new arguments holds.
    let rules = Rules { deny: vec!["t(new)".to_owned()], ..Rules::default() };
    let settings = Settings { rules, ..settings() };
    let ask = calls(&[("c", "t", r#"{"what":"old"}"#)]);
    let hooks = doing(HookPoint::BeforeToolApply, change);
    let walked = walk(settings, vec![vec![Say::Reply(ask)]], vec![tool.clone()], hooks).await;
    assert_eq!(walked.settled()[0].0, Outcome::Denied);
    assert_eq!(tool.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_result_of_a_hook_is_what_client_and_model_see_and_the_tool_never_starts() {
    for (is_error, outcome) in [(false, Outcome::Completed), (true, Outcome::Failed)] {
        let result = Some(HookResult { content: vec![Part::text("from cache")], is_error });
        let tool = tool();
        let hooks =
            doing(HookPoint::BeforeToolApply, HookChange { result, ..HookChange::default() });
        let walked = one_call(tool.clone(), hooks).await;
        assert_eq!(walked.settled(), [(outcome, "from cache".to_owned())]);
        assert_eq!(walked.results(), [("from cache".to_owned(), is_error)]);
        assert_eq!(tool.runs(), 0);
        assert!(walked.entries.iter().all(|e| !matches!(e.event, Event::ToolStarted(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_call_is_denied_with_the_hooks_reason() {
    let tool = tool();
    let walked = one_call(tool.clone(), doing(HookPoint::BeforeToolApply, stop())).await;
    assert_eq!(walked.settled(), [(Outcome::Denied, "denied: not this one".to_owned())]);
    assert_eq!(walked.results(), [("denied: not this one".to_owned(), true)]);
    assert_eq!((tool.runs(), walked.ended.stop), (0, StopReason::EndTurn));
}

#[tokio::test(start_paused = true)]
async fn a_result_is_shown_as_hooks_have_left_it() {
    let tool = TestTool::new("t", Effect::Pure, Act::Give("the key is 123".to_owned()));
    let change = HookChange {
        result: Some(HookResult { content: vec![Part::text("the key is ***")], is_error: false }),
        context: vec!["(checked)".to_owned()],
        ..HookChange::default()
    };
    let walked = one_call(tool, doing(HookPoint::AfterToolApply, change)).await;
    let shown = "the key is ***|(checked)".to_owned();
    assert_eq!(walked.settled(), [(Outcome::Completed, shown.clone())]);
    assert_eq!(walked.results(), [(shown, false)]);
    assert_eq!(walked.ran().len(), 1);
    let told = &walked.hooks.told()[0].fields;
    assert_eq!(told["output"], json!("the key is 123"));
    assert_eq!((&told["is_error"], &told["outcome"]), (&json!(false), &json!("completed")));
    // Nobody is told the first one: it is in no entry.
    let said = serde_json::to_string(&walked.entries).unwrap();
    assert!(!said.contains("123"), "{said}");
}

fn go_on(context: &str) -> Do {
    Do::Change(Box::new(HookChange {
        control: Some(HookControl::Continue),
        context: vec![context.to_owned()],
        ..HookChange::default()
    }))
}

fn said(text_: &'static str) -> Vec<Say> {
    vec![Say::Reply(text(text_))]
}

#[tokio::test(start_paused = true)]
async fn a_turn_goes_on_with_the_feedback_as_often_as_it_may() {
    let script = || vec![said("one"), said("two"), said("three"), said("four"), said("five")];
    let hooks = || TestHooks::new([(HookPoint::BeforeTurnEnd, vec![go_on("tests fail"); 9])]);
    let walked = walk(settings(), script(), vec![], hooks()).await;
    assert_eq!((walked.ended.stop, walked.ended.steps), (StopReason::EndTurn, 4));
    assert_eq!(walked.told(), ["go", "tests fail", "tests fail", "tests fail"]);
    let by_hook = walked.entries.iter().filter(|entry| match &entry.event {
        Event::TurnContinued(continued) => continued.by == ContinuedBy::Hook,
        _ => false,
    });
    assert_eq!((by_hook.count(), walked.ran().len()), (3, 3));
    let told: Vec<_> =
        walked.hooks.told().iter().map(|step| step.fields["continues_so_far"].clone()).collect();
    assert_eq!(told, [0, 1, 2]);

    let turn = TurnConfig { max_hook_continues: Some(1), ..TurnConfig::default() };
    let walked = walk(Settings { turn, ..settings() }, script(), vec![], hooks()).await;
    assert_eq!(walked.ended.steps, 2);

    // Going on is no way around a limit.
    let mut limited = settings();
    limited.limits.turn.steps = Some(2);
    let walked = walk(limited, script(), vec![], hooks()).await;
    let limit = StopReason::Limit(oarlock_core::spec::LimitKind::Steps);
    assert_eq!((walked.ended.stop, walked.ended.steps), (limit, 2));
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_does_not_end_by_itself_is_not_made_to_go_on() {
    let mut cut = text("half");
    cut.stop = oarlock_core::message::ReplyStop::MaxTokens;
    let hooks = TestHooks::new([(HookPoint::BeforeTurnEnd, vec![go_on("more")])]);
    let walked = walk(settings(), vec![vec![Say::Reply(cut)]], vec![], hooks).await;
    assert_eq!((walked.ended.stop, walked.ended.steps), (StopReason::MaxTokens, 1));
    assert_eq!(walked.hooks.told()[0].fields["voluntary"], json!(false));
}

#[tokio::test(start_paused = true)]
async fn hooks_that_change_nothing_leave_no_trace() {
    let points = HookPoint::ALL.map(|point| (point, vec![]));
    let walked = one_call(tool(), TestHooks::new(points)).await;
    let plain = one_call(tool(), TestHooks::new([])).await;
    let events = |entries: &[oarlock_core::Entry]| {
        entries.iter().map(|entry| entry.event.clone()).collect::<Vec<_>>()
    };
    assert_eq!(events(&walked.entries), events(&plain.entries));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_is_left_out_is_not_run_also_after_a_resume() {
    let all = HookRunOverrides { none: true, ..HookRunOverrides::default() };
    let one = HookRunOverrides { off: vec!["before_tool_apply".to_owned()], none: false };
    let other = HookRunOverrides { off: vec!["another".to_owned()], none: false };
    for (overrides, runs) in [(all, 1), (one, 1), (other, 0)] {
        let store = MemoryStore::new(node("a"));
        let (tool, hooks) = (tool(), || {
            let stops = vec![Do::Change(Box::new(stop())); 9];
            TestHooks::new([(HookPoint::BeforeToolApply, stops)])
        });
        let one = || [vec![Say::Reply(calls(&[("c", "t", "{}")]))], said("end")];
        let ask = || [one(), one()].concat();
        let parts = Parts::on(store.clone(), ask(), vec![tool.clone()]);
        let kit = Kit::of(Parts { hooks: Some(hooks()), ..parts });
        let settings = Settings { hooks: overrides.clone(), ..settings() };
        let session = kit.open_with(settings).await;
        session.run_turn(vec![Part::text("go")]).await.unwrap();
        assert_eq!(tool.runs(), runs, "{overrides:?}");
        session.close().await.unwrap();

        let parts = Parts::on(store.reopen(node("b")), ask(), vec![tool.clone()]);
        let kit = Kit::of(Parts { hooks: Some(hooks()), name: "b", ..parts });
        let load = LoadSession::new(session.id().clone(), Recovery::Continue);
        let session = kit.core.open(Origin::Resume(load)).await.unwrap();
        session.run_turn(vec![Part::text("go")]).await.unwrap();
        assert_eq!(tool.runs(), 2 * runs, "{overrides:?}");
        // They can be let in again, from the next call on.
        let hooks = Some(HookRunOverrides::default());
        let change = Box::new(SettingsChange { hooks, ..SettingsChange::default() });
        session.tell(Command::Configure { change, expected: None }).await.unwrap();
        session.run_turn(vec![Part::text("go")]).await.unwrap();
        assert_eq!(tool.runs(), 2 * runs, "{overrides:?}");
    }
}
