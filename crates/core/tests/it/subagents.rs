//! Subagents: sessions below a session, within its limits, its rights and its life.

use std::sync::Arc;

use oarlock_core::command::Command;
use oarlock_core::event::{
    Delivery, Effect, Entry, Event, HookPoint, Outcome, StopReason, SubagentClosed, SubagentOpened,
};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Message, Part, Usage};
use oarlock_core::ports::hook::HookEnd;
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::spec::{Answers, Bounds, LimitKind, Limits, Mode, SessionSpec, Settings};
use oarlock_core::{AgentOrder, DefaultSession, LoadSession, Origin, Recovery, Tool};
use oarlock_testkit::hooks::{Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings, spec, wait_for};
use oarlock_testkit::model::{AnsweringModel, Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool, order};

/// The tool that opens subagents.
fn spawn(order: AgentOrder) -> Arc<TestTool> {
    TestTool::new("spawn_agent", Effect::Idempotent, Act::Spawn(Box::new(order)))
}

/// A parent that gives one task away, and a child that uses two tools for it.
pub(crate) fn answer(request: &ModelRequest) -> Vec<Say> {
    let child = request.system == "child";
    let reply = match (child, request.messages.len()) {
        (false, 1) => calls(&[("s", "spawn_agent", r#"{"what": "look"}"#)]),
        (true, 1) => calls(&[("r", "read_file", "{}")]),
        (true, 3) => calls(&[("w", "write", "{}")]),
        (true, _) => text("found it"),
        (false, _) => text("all done"),
    };
    vec![Say::Reply(reply)]
}

pub(crate) fn tools(order: AgentOrder) -> Vec<Arc<TestTool>> {
    vec![
        TestTool::new("read_file", Effect::Pure, Act::Give("contents".to_owned())),
        TestTool::new("write", Effect::Mutating, Act::Give("written".to_owned())),
        spawn(order),
    ]
}

pub(crate) fn kit_with(
    answer: impl Fn(&ModelRequest) -> Vec<Say> + Send + Sync + 'static,
    tools: Vec<Arc<TestTool>>,
) -> Kit {
    let models = Some(Arc::new(AnsweringModel::new(answer)) as _);
    Kit::of(Parts { models, ..Parts::new(vec![], tools) })
}

pub(crate) fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

pub(crate) fn opened(entries: &[Entry]) -> Vec<SubagentOpened> {
    let opened = entries.iter().filter_map(|entry| match &entry.event {
        Event::SubagentOpened(opened) => Some(opened.clone()),
        _ => None,
    });
    opened.collect()
}

pub(crate) fn closed(entries: &[Entry]) -> Vec<SubagentClosed> {
    let closed = entries.iter().filter_map(|entry| match &entry.event {
        Event::SubagentClosed(closed) => Some(closed.clone()),
        _ => None,
    });
    closed.collect()
}

/// What the call of `spawn_agent` gave.
fn given(entries: &[Entry]) -> (Outcome, String) {
    let settled = entries.iter().rev().find_map(|entry| match &entry.event {
        Event::ToolSettled(settled) => Some(settled),
        _ => None,
    });
    let settled = settled.unwrap();
    let [Part::Text { text }] = &settled.content[..] else { panic!("{settled:?}") };
    (settled.outcome, text.clone())
}

pub(crate) fn limited(bounds: Bounds) -> Settings {
    Settings { limits: Limits { session: bounds, ..Limits::default() }, ..settings() }
}

#[tokio::test(start_paused = true)]
async fn a_subagent_is_a_session_of_its_own_and_its_parent_counts_what_it_used() {
    let kit = kit_with(answer, tools(order()));
    let session = kit.open().await;
    let ended = session.run_turn(go()).await.unwrap();
    assert_eq!((ended.stop, ended.steps), (StopReason::EndTurn, 5), "three of them the child's");
    let entries = journal(&kit.core, &session).await;
    let (opened, closed) = (opened(&entries), closed(&entries));
    let child = kit.core.state(&opened[0].child).await.unwrap();
    assert_eq!(closed.len(), 1);
    assert_eq!(
        (closed[0].stop, closed[0].steps, closed[0].tool_calls, closed[0].usage),
        (Some(StopReason::EndTurn), 3, 2, child.used.usage)
    );
    assert_eq!(given(&entries), (Outcome::Completed, "EndTurn: found it".to_owned()));
    assert_eq!((child.spec.parent.as_ref(), child.spec.depth), (Some(session.id()), 1));
    assert_eq!(child.conversation.messages[0], Message::User { parts: vec![Part::text("look")] });
    let state = session.state().await.unwrap();
    assert_eq!((state.used.steps, state.used.tool_calls, state.children.len()), (5, 3, 0));
    assert_eq!(ended.usage, state.used.usage);
    assert!(!kit.core.is_awake(&child.id), "it is let go when its work is done");
}

#[tokio::test(start_paused = true)]
async fn the_known_money_of_a_subagent_counts_where_some_of_it_has_no_price() {
    // The first batch of calls is the child's.
    let unpriced = HookEnd { usage: Usage { output: 1, ..Usage::default() }, ..HookEnd::default() };
    let hooks = TestHooks::new([(HookPoint::AfterToolBatch, vec![Do::End(Box::new(unpriced))])]);
    let models = Some(Arc::new(AnsweringModel::new(answer)) as _);
    let kit = Kit::of(Parts { models, hooks: Some(hooks), ..Parts::new(vec![], tools(order())) });
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    let entries = journal(&kit.core, &session).await;
    let closed = closed(&entries).remove(0);
    let child = kit.core.state(&closed.child).await.unwrap();
    assert!(child.used.cost_unknown && child.used.cost_micros > 0);
    assert_eq!((closed.cost_micros, closed.cost_unknown), (Some(child.used.cost_micros), true));
    let own = entries.iter().filter_map(|entry| match &entry.event {
        Event::AssistantMessage(message) => message.cost_micros,
        _ => None,
    });
    let used = session.state().await.unwrap().used;
    assert_eq!(used.cost_micros, own.sum::<u64>() + child.used.cost_micros);
    assert!(used.cost_unknown);
}

#[tokio::test(start_paused = true)]
async fn a_subagent_has_the_tools_of_its_order_and_none_that_opens_another() {
    for (tools_of, expected) in [
        (None, vec!["read_file"]),
        (Some(vec!["w*", "spawn_agent"]), vec!["write"]),
        (Some(vec!["*"]), vec!["read_file", "write"]),
    ] {
        let patterns = tools_of.clone();
        let patterns = patterns.map(|all| all.into_iter().map(str::to_owned).collect());
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let tell = Arc::clone(&seen);
        let model = move |request: &ModelRequest| {
            if request.system == "child" {
                let names = request.tools.iter().map(|tool| tool.name.clone());
                *tell.lock().unwrap() = names.collect::<Vec<String>>();
                return vec![Say::Reply(text("found it"))];
            }
            answer(request)
        };
        let kit = kit_with(model, tools(AgentOrder { tools: patterns, ..order() }));
        let session = kit.open().await;
        session.run_turn(go()).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), expected, "{tools_of:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subagent_that_is_opened_alone_has_no_tool_that_its_parent_had_not() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = Arc::clone(&seen);
    let model = move |request: &ModelRequest| {
        let names = request.tools.iter().map(|tool| tool.name.clone());
        *tell.lock().unwrap() = names.collect::<Vec<String>>();
        match request.system == "child" {
            true => vec![Say::Reply(text("found it"))],
            false => answer(request),
        }
    };
    let models: Option<Arc<dyn oarlock_core::ports::model::Models>> =
        Some(Arc::new(AnsweringModel::new(model)));
    let all = AgentOrder { tools: Some(vec!["*".to_owned()]), ..order() };
    let store = MemoryStore::new(node("a"));
    let parts = Parts::on(store.clone(), vec![], tools(all.clone()));
    let kit = Kit::of(Parts { models: models.clone(), ..parts });
    let few = Some(vec!["read_file".to_owned(), "spawn_agent".to_owned()]);
    let parent = SessionSpec { tools: few.clone(), ..spec(settings()) };
    let session = kit.core.open(parent.into()).await.unwrap();
    session.run_turn(go()).await.unwrap();
    let (_, child) = child_of(&kit, &session).await;
    assert_eq!(child.state().await.unwrap().spec.tools, few, "names, not patterns");
    // Where all tools are, and where one of its own is not any more.
    for (without, expected) in [("", &["read_file"][..]), ("read_file", &[])] {
        let mut tools = tools(all.clone());
        tools.retain(|tool| tool.schema().name != without);
        let parts = Parts::on(store.clone(), vec![], tools);
        let name = if without.is_empty() { "b" } else { "c" };
        let kit = Kit::of(Parts { models: models.clone(), name, ..parts });
        let load = LoadSession::new(child.id().clone(), Recovery::Continue);
        let child = kit.core.open(Origin::Resume(load)).await.unwrap();
        child.run_turn(go()).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), expected);
        child.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_not_there_is_said_and_no_subagent_opened() {
    let wrong = Some(vec!["raed_file".to_owned()]);
    let kit = kit_with(answer, tools(AgentOrder { tools: wrong, ..order() }));
    let session = kit.open().await;
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
    let entries = journal(&kit.core, &session).await;
    let (outcome, words) = given(&entries);
    assert_eq!((outcome, opened(&entries)), (Outcome::Failed, vec![]));
    assert!(words.contains("`raed_file` matches no tool"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn how_deep_subagents_may_stand_is_a_setting_of_the_turn() {
    // Each one gives its task to the next while it can.
    let deeper = |request: &ModelRequest| {
        let can = request.tools.iter().any(|tool| tool.name == "spawn_agent");
        let reply = match (can, request.messages.len()) {
            (true, 1) => calls(&[("s", "spawn_agent", "{}")]),
            (_, _) => text("deep"),
        };
        vec![Say::Reply(reply)]
    };
    for depth in [0, 1, 3] {
        let kit = kit_with(deeper, tools(order()));
        let mut settings = settings();
        settings.turn.subagent_max_depth = Some(depth);
        let session = kit.open_with(settings).await;
        let ended = session.run_turn(go()).await.unwrap();
        assert_eq!(ended.stop, StopReason::EndTurn);
        let (mut below, mut id) = (0, session.id().clone());
        while let Some(child) =
            opened(&journal(&kit.core, &kit.core.handle(id.clone())).await).pop()
        {
            (below, id) = (below + 1, child.child);
        }
        assert_eq!(below, depth);
        assert_eq!(ended.steps, 2 * depth + 1, "the steps of all below count at the top");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_has_what_is_left_of_the_limits_and_a_share_when_it_asks_for_nothing() {
    let cap = Bounds { steps: Some(20), cost_micros: Some(40_020), ..Bounds::default() };
    for (asks, expected) in [
        (Bounds::default(), Bounds { steps: Some(4), cost_micros: Some(10_000), ..cap.clone() }),
        (
            Bounds { steps: Some(7), tool_calls: Some(3), ..Bounds::default() },
            Bounds {
                steps: Some(7),
                tool_calls: Some(3),
                cost_micros: Some(10_000),
                ..cap.clone()
            },
        ),
        (
            Bounds { steps: Some(70), cost_micros: Some(1 << 40), ..Bounds::default() },
            Bounds { steps: Some(19), cost_micros: Some(40_000), ..cap.clone() },
        ),
    ] {
        let kit = kit_with(answer, tools(AgentOrder { bounds: asks, ..order() }));
        let session = kit.open_with(limited(cap.clone())).await;
        session.run_turn(go()).await.unwrap();
        let opened = opened(&journal(&kit.core, &session).await).remove(0);
        assert_eq!(opened.reserved, expected);
        let child = kit.core.state(&opened.child).await.unwrap();
        assert_eq!(child.spec.settings.limits.session, expected, "its limits are exactly these");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_reaches_its_limit_says_so_to_its_parent() {
    let bounds = Bounds { steps: Some(2), ..Bounds::default() };
    let kit = kit_with(answer, tools(AgentOrder { bounds, ..order() }));
    let session = kit.open().await;
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
    let entries = journal(&kit.core, &session).await;
    let stop = StopReason::Limit(LimitKind::Steps);
    assert_eq!(closed(&entries)[0].stop, Some(stop));
    assert!(given(&entries).1.starts_with("Limit(Steps)"), "{:?}", given(&entries));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_leaves_nothing_opens_no_child() {
    let kit = kit_with(answer, tools(order()));
    // The call that opens it is the last one.
    let session = kit.open_with(limited(Bounds { tool_calls: Some(1), ..Bounds::default() })).await;
    session.run_turn(go()).await.unwrap();
    let entries = journal(&kit.core, &session).await;
    assert_eq!(opened(&entries), vec![]);
    assert_eq!(given(&entries).1, "the limit of tool calls leaves nothing for a subagent");
}

pub(crate) async fn child_of(
    kit: &Kit,
    session: &DefaultSession,
) -> (SubagentOpened, DefaultSession) {
    let entry = wait_for(session, 0, |event| matches!(event, Event::SubagentOpened(_))).await;
    let Event::SubagentOpened(opened) = &entry.event else { panic!() };
    (opened.clone(), kit.core.handle(opened.child.clone()))
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_turn_ends_its_subagents_in_a_quarter_of_a_second() {
    for stuck in [Act::After(60_000, "long"), Act::Hang] {
        let mut tools = tools(order());
        tools[1] = TestTool::new("write", Effect::Mutating, stuck);
        let kit = kit_with(answer, tools);
        let session = kit.open().await;
        send(&session, "go", Delivery::Now).await.unwrap();
        let (opened, child) = child_of(&kit, &session).await;
        let is_written = |event: &Event| matches!(event, Event::ToolStarted(started) if started.call.0.as_ref() == "w");
        wait_for(&child, 0, is_written).await;
        let began = tokio::time::Instant::now();
        session.tell(Command::Cancel { turn: None }).await.unwrap();
        let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
        assert!(began.elapsed().as_millis() <= 250, "{:?}", began.elapsed());
        let Event::TurnEnded(ended) = &ended.event else { panic!() };
        assert_eq!(ended.stop, StopReason::Cancelled);
        wait_for(&session, 0, |event| matches!(event, Event::SubagentClosed(_))).await;
        let entries = journal(&kit.core, &session).await;
        assert_eq!(given(&entries).0, Outcome::Cancelled);
        let closed = closed(&entries);
        assert_eq!(closed.len(), 1);
        assert_eq!(
            (&closed[0].child, closed[0].stop),
            (&opened.child, Some(StopReason::Cancelled))
        );
        assert_eq!(closed[0].steps, 2);
        assert_eq!(session.state().await.unwrap().used.steps, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn closing_a_session_closes_its_subagents() {
    let mut tools = tools(order());
    tools[1] = TestTool::new("write", Effect::Mutating, Act::After(60_000, "long"));
    let kit = kit_with(answer, tools);
    let session = kit.open().await;
    send(&session, "go", Delivery::Now).await.unwrap();
    let (opened, child) = child_of(&kit, &session).await;
    wait_for(&child, 0, |event| matches!(event, Event::TurnStarted(_))).await;
    session.close().await.unwrap();
    assert!(!kit.core.is_awake(&opened.child));
    assert_eq!(kit.core.state(&opened.child).await.unwrap().turn, None);
    assert_eq!(closed(&journal(&kit.core, &session).await).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_person_at_the_top_answers_what_a_subagent_asks() {
    let asking = Settings::new(settings().model, Mode::ASK_WRITES, Answers::Somebody);
    let kit = kit_with(answer, tools(order()));
    let session = kit.open_with(asking).await;
    send(&session, "go", Delivery::Now).await.unwrap();
    let is_asked = |event: &Event| matches!(event, Event::PermissionAsked(_));
    let asked = wait_for(&session, 0, is_asked).await;
    let allow = |call: &oarlock_core::CallId| Command::Answer {
        call: call.clone(),
        choice: oarlock_core::event::PermissionKind::AllowOnce,
    };
    let Event::PermissionAsked(about_spawn) = &asked.event else { panic!() };
    session.tell(allow(&about_spawn.call)).await.unwrap();
    let (_, child) = child_of(&kit, &session).await;
    let asked = wait_for(&child, 0, is_asked).await;
    let Event::PermissionAsked(about_write) = &asked.event else { panic!() };
    child.tell(allow(&about_write.call)).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    assert_eq!(given(&journal(&kit.core, &child).await).0, Outcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_subagent_may_do_no_more_than_its_parent_and_nobody_means_no() {
    let mut asking = Settings::new(settings().model, Mode::ASK_WRITES, Answers::Nobody);
    asking.rules.allow.push("spawn_agent".to_owned());
    let kit = kit_with(answer, tools(order()));
    let session = kit.open_with(asking).await;
    session.run_turn(go()).await.unwrap();
    let (_, child) = child_of(&kit, &session).await;
    let entries = journal(&kit.core, &child).await;
    let (outcome, words) = given(&entries);
    assert_eq!(outcome, Outcome::Denied);
    assert!(words.contains("nobody is here to give it"), "{words}");
}
