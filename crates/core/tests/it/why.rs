//! Why a session waits: every deadline that is told is true, and circles of sessions are found.

use std::collections::BTreeSet;
use std::sync::Arc;

use oarlock_core::agent::why::{Below, Runs};
use oarlock_core::event::{
    Delivery, Effect, Entry, Event, HookPoint, InputAdmitted, InputSource, SessionCreated,
    SubagentOpened, TurnStarted,
};
use oarlock_core::ids::{FrameId, SessionId, Timestamp};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::Part;
use oarlock_core::ports::journal::{Fence, Frame, Journal};
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::session::state::{PendingInput, State};
use oarlock_core::session::why::{Awaited, Owner, Runner, Wait, why};
use oarlock_core::spec::{Answers, Bounds, Limits, Mode, Settings};
use oarlock_core::{CallId, DefaultSession, ProviderErrorKind};
use oarlock_testkit::hooks::{DEADLINE_MS, Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings, spec, tags, wait_for};
use oarlock_testkit::model::{AnsweringModel, Say, calls, selection};
use oarlock_testkit::tool::{Act, TestTool, Work, order};

const LIMITS: RuntimeLimits = RuntimeLimits::DEFAULT;

fn asking() -> Settings {
    Settings::new(selection(), Mode::ASK_WRITES, Answers::Somebody)
}

fn tools() -> Vec<Arc<TestTool>> {
    vec![
        TestTool::new("slow", Effect::Pure, Act::Hang),
        TestTool::new("write", Effect::Mutating, Act::Hang),
        TestTool::new("mute", Effect::Mutating, Act::Mute),
        TestTool::client("ask_user"),
        TestTool::new("bg", Effect::Pure, Act::Background(Work::Hang)),
    ]
}

fn call(name: &str) -> Vec<Say> {
    vec![Say::Reply(calls(&[("c", name, "{}")]))]
}

fn kinds(waits: &[Wait]) -> Vec<String> {
    let kind = |wait: &Wait| serde_json::to_value(&wait.on).unwrap()["kind"].clone();
    waits.iter().map(|wait| kind(wait).as_str().unwrap().to_owned()).collect()
}

/// A session that has taken an input, and came to this entry.
async fn waiting(script: Vec<Vec<Say>>, settings: Settings, tag: &str) -> (Kit, DefaultSession) {
    let kit = Kit::new(script, tools());
    let session = kit.open_with(settings).await;
    send(&session, "go", Delivery::Queue).await.unwrap();
    let fits = |event: &Event| oarlock_testkit::kit::tag(event) == tag;
    wait_for(&session, 0, fits).await;
    (kit, session)
}

#[tokio::test(start_paused = true)]
async fn every_deadline_that_is_told_is_the_moment_at_which_the_default_comes() {
    let c = CallId("c".into());
    let title = |name: &str| format!("{name} nothing");
    let fails = vec![Say::Fail(ProviderErrorKind::RateLimited, Some(7_000))];
    let table = [
        (
            vec![vec![Say::Silence]],
            "step_started",
            Awaited::Model { step: 1, attempt: 1 },
            Owner::Provider { name: "test".to_owned() },
            "model_failed",
        ),
        (
            vec![call("write")],
            "permission_asked",
            Awaited::Permission { call: c.clone(), title: title("write") },
            Owner::Person,
            "permission_answered",
        ),
        (
            vec![call("ask_user")],
            "input_requested",
            Awaited::Client { call: c.clone(), title: title("ask_user") },
            Owner::Client,
            "tool_settled",
        ),
        (
            vec![call("mute")],
            "tool_called",
            Awaited::Describe { call: c.clone(), title: title("mute") },
            Owner::Tool { name: "mute".to_owned() },
            "permission_asked",
        ),
        (
            vec![fails],
            "model_failed",
            Awaited::Retry { step: 1, attempt: 2, why: "scripted RateLimited".to_owned() },
            Owner::Session,
            "assistant_message",
        ),
    ];
    for (script, tag, on, owner, then) in table {
        let (kit, session) = waiting(script, asking(), tag).await;
        let [wait] = &session.status().await.unwrap().waits[..] else { panic!("{on:?}") };
        assert_eq!((&wait.on, &wait.owner), (&on, &owner));
        let began = wait.since.unwrap();
        assert!(began <= kit.core.ports().clock.now() && !wait.default.is_empty(), "{wait:?}");
        let came = wait_for(&session, 0, |e| oarlock_testkit::kit::tag(e) == then).await;
        assert_eq!(Some(came.at), wait.deadline, "{on:?}");
        assert_eq!(kit.core.why(session.id()).await.unwrap().runs, Runs::Here);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_told_to_stop_at_its_deadline_and_dropped_at_the_next() {
    let (kit, session) = waiting(vec![call("slow")], asking(), "tool_started").await;
    let first = session.status().await.unwrap().waits.remove(0);
    let c = CallId("c".into());
    assert_eq!(first.on, Awaited::Tool { call: c, title: "slow nothing".to_owned() });
    let clock = &kit.core.ports().clock;
    clock.sleep_until(first.deadline.unwrap().after(1)).await;
    let second = session.status().await.unwrap().waits.remove(0);
    assert_eq!(second.deadline, Some(first.deadline.unwrap().after(LIMITS.cancel_grace_ms)));
    assert_ne!(first.default, second.default);
    let settled = wait_for(&session, 0, |event| matches!(event, Event::ToolSettled(_))).await;
    assert_eq!(Some(settled.at), second.deadline);
}

#[tokio::test(start_paused = true)]
async fn a_turns_limit_of_time_comes_before_a_later_deadline() {
    let turn = Bounds { wall_ms: Some(90_000), ..Bounds::default() };
    let limited = Settings { limits: Limits { turn, ..Limits::default() }, ..asking() };
    let (_kit, session) = waiting(vec![call("write")], limited, "permission_asked").await;
    let wait = session.status().await.unwrap().waits.remove(0);
    assert!(wait.default.contains("limit of time"), "{}", wait.default);
    let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    assert_eq!(Some(ended.at), wait.deadline);
}

#[tokio::test(start_paused = true)]
async fn tasks_and_inputs_that_wait_are_told_and_an_idle_session_waits_for_nothing() {
    let kit = Kit::new(vec![call("bg"), vec![Say::Silence]], tools());
    let session = kit.open().await;
    assert_eq!(session.status().await.unwrap().waits, []);
    send(&session, "go", Delivery::Queue).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::StepStarted(step) if step.step == 2))
        .await;
    send(&session, "later", Delivery::Queue).await.unwrap();
    let waits = session.status().await.unwrap().waits;
    assert_eq!(kinds(&waits), ["model", "task", "input"]);
    assert_eq!(waits[1].deadline, Some(waits[1].since.unwrap().after(LIMITS.task_total_ms)));
    assert!(waits[2].default.contains("after the end of turn 1"), "{}", waits[2].default);
    session.close().await.unwrap();
    let asleep = kit.core.why(session.id()).await.unwrap();
    assert_eq!((asleep.runs, asleep.turn), (Runs::Nobody, None));
    assert_eq!(kinds(&asleep.waits), ["input", "input"]);
    assert_eq!(asleep.waits[0].owner, Owner::Nobody);
}

#[tokio::test(start_paused = true)]
async fn hooks_that_hang_are_told_until_they_count_as_failed() {
    let hooks = TestHooks::new([(HookPoint::BeforeGenerate, vec![Do::Hang])]);
    let parts = Parts::new(vec![], tools());
    let kit = Kit::of(Parts { hooks: Some(hooks), ..parts });
    let session = kit.open().await;
    let begun = kit.core.ports().clock.now();
    send(&session, "go", Delivery::Queue).await.unwrap();
    let [wait] = &session.status().await.unwrap().waits[..] else { panic!("one wait") };
    assert_eq!(
        (&wait.on, &wait.owner),
        (&Awaited::Hooks { point: HookPoint::BeforeGenerate }, &Owner::Hooks)
    );
    let until = wait.deadline.unwrap();
    assert!(until.ms_since(begun) >= DEADLINE_MS && until.ms_since(begun) <= DEADLINE_MS + 1_000);
    let over = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    assert_eq!(over.at, until);
}

fn fold(entries: &[Entry]) -> State {
    let mut state = State::created(&entries[0]).unwrap();
    entries[1..].iter().for_each(|entry| state.apply(entry).unwrap());
    state
}

#[tokio::test(start_paused = true)]
async fn of_a_session_of_another_process_or_of_none_the_journal_alone_speaks() {
    for (name, tag, kind, told) in [
        ("write", "permission_asked", "permission", true),
        ("ask_user", "input_requested", "client", true),
        ("slow", "tool_started", "tool", false),
        ("mute", "tool_called", "", false),
    ] {
        let (kit, session) = waiting(vec![call(name)], asking(), tag).await;
        let state = fold(&journal(&kit.core, &session).await);
        let now = kit.core.ports().clock.now();
        let wanted: Vec<&str> = [kind].into_iter().filter(|kind| !kind.is_empty()).collect();
        let there = why(&state, Runner::Elsewhere, now, &LIMITS);
        assert_eq!(kinds(&there), wanted, "{name}");
        let left = why(&state, Runner::Nobody, now, &LIMITS);
        assert_eq!(kinds(&left), [&wanted[..], &["opening"]].concat(), "{name}");
        for wait in there.iter().chain(&left[..wanted.len()]) {
            assert_eq!(wait.deadline.is_some(), told, "{wait:?}");
        }
        assert!(there.iter().all(|wait| wait.owner != Owner::Nobody), "{there:?}");
        assert!(left.iter().all(|wait| wait.owner == Owner::Nobody), "{left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn inputs_that_no_turn_will_take_by_itself_say_what_they_need() {
    let (kit, session) = waiting(vec![], asking(), "turn_ended").await;
    let mut state = fold(&journal(&kit.core, &session).await);
    let now = kit.core.ports().clock.now();
    let input = |source| PendingInput {
        seq: 99,
        admitted: InputAdmitted {
            key: None,
            source,
            delivery: Delivery::Steer,
            content: vec![Part::text("words")],
            goal: None,
            output: None,
            peer: None,
        },
        hooked: BTreeSet::new(),
        refused: None,
    };
    state.pending = vec![input(InputSource::Background)];
    let told = |state: &State| {
        why(state, Runner::Here(&Default::default()), now, &LIMITS).remove(0).default
    };
    assert_eq!(told(&state), "its turn begins");
    state.tasks.autonomous = LIMITS.autonomous_turns_max;
    assert!(told(&state).contains("until somebody gives the session an input"));
    state.pending.push(input(InputSource::User));
    assert_eq!(told(&state), "its turn begins");
    state.archived = true;
    assert_eq!(told(&state), "nothing, until the session is restored");
}

/// Writes the journal of a session whose open subagents are these.
async fn parent_of(store: &MemoryStore, id: &str, children: &[&str]) -> SessionId {
    let session = |name: &str| SessionId::parse(name).unwrap();
    let created = SessionCreated {
        id: session(id),
        schema: 1,
        node: node("a"),
        spec: spec(settings()),
        forked: None,
    };
    let started = TurnStarted { inputs: Vec::new(), settings: settings().into() };
    let mut events =
        vec![Event::SessionCreated(Box::new(created)), Event::TurnStarted(Box::new(started))];
    events.extend(children.iter().map(|child| {
        Event::SubagentOpened(SubagentOpened {
            child: session(child),
            call: CallId("c".into()),
            profile: "scout".to_owned(),
            reserved: Bounds::default(),
        })
    }));
    let entry = |(seq, event)| Entry {
        seq,
        at: Timestamp::from_unix_ms(1_700_000_000_000),
        turn: (seq > 1).then_some(1),
        scope: Vec::new(),
        event,
    };
    let entries: Vec<Entry> = (1..).zip(events).map(entry).collect();
    let fence = Fence::new_session(session(id), node("a"));
    let frame = FrameId::parse(format!("frame-{id}")).unwrap();
    let frame = Frame::encode(frame, &fence, &entries).unwrap();
    store.append(&fence, &frame).await.unwrap();
    session(id)
}

#[tokio::test(start_paused = true)]
async fn circles_of_parents_and_children_are_found_and_not_followed() {
    let store = MemoryStore::new(node("a"));
    let top = parent_of(&store, "top", &["mid", "leaf", "gone"]).await;
    parent_of(&store, "mid", &["low"]).await;
    parent_of(&store, "low", &["top"]).await;
    parent_of(&store, "leaf", &["leaf"]).await;
    let kit = Kit::of(Parts::on(store, vec![], vec![]));
    let found = kit.core.why(&top).await.unwrap();
    assert_eq!(kinds(&found.waits), ["child", "child", "child"], "whoever wrote it lives");
    let [
        Below::Session { why: mid },
        Below::Session { why: leaf },
        Below::Unreadable { error, .. },
    ] = &found.children[..]
    else {
        panic!("{:?}", found.children)
    };
    let [Below::Session { why: low }] = &mid.children[..] else { panic!("{mid:?}") };
    assert_eq!(low.children, [Below::Cycle { session: top }]);
    assert_eq!(leaf.children, [Below::Cycle { session: leaf.session.clone() }]);
    assert!(error.contains("gone"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn looking_wakes_nobody_and_writes_nothing() {
    let (kit, session) = waiting(vec![], asking(), "turn_ended").await;
    session.close().await.unwrap();
    let before = tags(&journal(&kit.core, &session).await);
    kit.core.why(session.id()).await.unwrap();
    assert_eq!(session.status().await.unwrap().waits, []);
    assert!(!kit.core.is_awake(session.id()));
    assert_eq!(tags(&journal(&kit.core, &session).await), before);
}

#[tokio::test(start_paused = true)]
async fn below_a_subagent_that_is_waited_for_stands_what_it_waits_for() {
    let spawn = Act::Spawn(Box::new(order()));
    let spawn = TestTool::new("spawn_agent", Effect::Idempotent, spawn);
    let read = TestTool::new("read_file", Effect::Pure, Act::Hang);
    let answer = |request: &ModelRequest| match request.system.as_str() {
        "child" => vec![Say::Silence],
        _ => vec![Say::Reply(calls(&[("s", "spawn_agent", r#"{"what": "look"}"#)]))],
    };
    let models = Some(Arc::new(AnsweringModel::new(answer)) as _);
    let store = MemoryStore::new(node("a"));
    let parts = Parts::on(store.clone(), vec![], vec![spawn, read]);
    let kit = Kit::of(Parts { models, ..parts });
    let session = kit.open().await;
    send(&session, "go", Delivery::Queue).await.unwrap();
    let opened = wait_for(&session, 0, |event| matches!(event, Event::SubagentOpened(_))).await;
    let Event::SubagentOpened(opened) = &opened.event else { unreachable!() };
    let child = kit.core.handle(opened.child.clone());
    wait_for(&child, 0, |event| matches!(event, Event::StepStarted(_))).await;
    let top = kit.core.why(session.id()).await.unwrap();
    assert_eq!(kinds(&top.waits), ["child"], "the call that waits for it is no second wait");
    assert!(top.waits[0].deadline.is_some());
    let [Below::Session { why: below }] = &top.children[..] else { panic!("{:?}", top.children) };
    assert_eq!((&below.session, below.parent.as_ref()), (child.id(), Some(session.id())));
    assert_eq!((kinds(&below.waits), below.runs.clone()), (vec!["model".to_owned()], Runs::Here));
    // Seen from another process: the same from the journals, without the deadlines that only its owner knows.
    let other = Kit::of(Parts { name: "b", ..Parts::on(store.reopen(node("b")), vec![], vec![]) });
    let top = other.core.why(session.id()).await.unwrap();
    assert_eq!((kinds(&top.waits), top.waits[0].deadline), (vec!["child".to_owned()], None));
    let [Below::Session { why: below }] = &top.children[..] else { panic!("{:?}", top.children) };
    let elsewhere = Runs::Elsewhere { node: node("a") };
    assert_eq!((kinds(&below.waits), &below.runs), (vec!["model".to_owned()], &elsewhere));
}
