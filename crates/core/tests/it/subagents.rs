//! Subagents: sessions below a session, within its limits, its rights and its life.

use std::sync::Arc;
use std::time::Duration;

use oarlock_core::command::Command;
use oarlock_core::event::{
    AgentEvent, Delivery, Effect, Entry, Event, Outcome, StopReason, SubagentClosed, SubagentOpened,
};
use oarlock_core::ids::SessionId;
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::session::children::used_with_children;
use oarlock_core::session::state::State;
use oarlock_core::spec::{Answers, Bounds, LimitKind, Limits, Mode, Settings};
use oarlock_core::{AgentOrder, DefaultSession, LoadSession, Origin, Recovery};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings, wait_for};
use oarlock_testkit::model::{AnsweringModel, Say, calls, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use oarlock_testkit::tool::{Act, TestTool, order};

/// The tool that opens subagents.
fn spawn(order: AgentOrder) -> Arc<TestTool> {
    TestTool::new("spawn_agent", Effect::Idempotent, Act::Spawn(Box::new(order)))
}

/// A parent that gives one task away, and a child that uses two tools for it.
fn answer(request: &ModelRequest) -> Vec<Say> {
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

fn tools(order: AgentOrder) -> Vec<Arc<TestTool>> {
    vec![
        TestTool::new("read_file", Effect::Pure, Act::Give("contents".to_owned())),
        TestTool::new("write", Effect::Mutating, Act::Give("written".to_owned())),
        spawn(order),
    ]
}

fn kit_with(
    answer: impl Fn(&ModelRequest) -> Vec<Say> + Send + Sync + 'static,
    tools: Vec<Arc<TestTool>>,
) -> Kit {
    let models = Some(Arc::new(AnsweringModel::new(answer)) as _);
    Kit::of(Parts { models, ..Parts::new(vec![], tools) })
}

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

fn opened(entries: &[Entry]) -> Vec<SubagentOpened> {
    let opened = entries.iter().filter_map(|entry| match &entry.event {
        Event::SubagentOpened(opened) => Some(opened.clone()),
        _ => None,
    });
    opened.collect()
}

fn closed(entries: &[Entry]) -> Vec<SubagentClosed> {
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

fn limited(bounds: Bounds) -> Settings {
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

async fn child_of(kit: &Kit, session: &DefaultSession) -> (SubagentOpened, DefaultSession) {
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
        session.tell(Command::Cancel).await.unwrap();
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

/// Whether at each entry what was used and what is set aside, for open subagents and for the open model call, stay within the limits of the
/// session together.
fn check_limits(entries: &[Entry]) {
    let mut state = State::created(&entries[0]).unwrap();
    let cap = state.spec.settings.limits.session.clone();
    let mut under_way = None;
    for entry in &entries[1..] {
        state.apply(entry).unwrap();
        let [_, used] = used_with_children(&state);
        // A further attempt may have what is left; what the first one may have stands in the journal.
        under_way = match &entry.event {
            Event::StepStarted(started) => Some(started.reserved),
            Event::AssistantMessage(_) | Event::ModelFailed(_) | Event::TurnRecovered(_) => None,
            _ => under_way,
        };
        let reserved = under_way.unwrap_or_default();
        let money = reserved.prompt_micros.unwrap_or(0) + reserved.output_micros.unwrap_or(0);
        let (money, seq) = (used.cost_micros + money, entry.seq);
        assert!(cap.cost_micros.is_none_or(|cap| money <= cap), "{money} at {seq} of {cap:?}");
        assert!(cap.steps.is_none_or(|cap| used.steps <= cap), "{used:?} at {seq} of {cap:?}");
    }
}

/// The session at rest: no turn and no subagent is open, and nothing waits.
async fn until_rest(kit: &Kit, session: &DefaultSession) -> Vec<Entry> {
    let mut events = session.events(0);
    let rest = async {
        loop {
            let state = kit.core.state(session.id()).await.unwrap();
            if state.turn.is_none() && state.pending.is_empty() && state.children.is_empty() {
                return journal(&kit.core, session).await;
            }
            session.next_event(&mut events).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(3_600), rest).await.expect("it comes to rest")
}

#[tokio::test(start_paused = true)]
async fn a_death_at_every_write_of_parent_or_child_loses_nothing_and_does_nothing_twice() {
    let cap = Bounds { steps: Some(20), cost_micros: Some(1 << 20), ..Bounds::default() };
    let (mut deaths, mut went_on) = (0, 0);
    for doom in 0.. {
        let mut lived = false;
        for (last, recovery) in [
            (LastWrite::Stored, Recovery::Continue),
            (LastWrite::Stored, Recovery::Interrupt),
            (LastWrite::Lost, Recovery::Continue),
            (LastWrite::Lost, Recovery::Interrupt),
        ] {
            let store = MemoryStore::new(node("site"));
            let mortal = Arc::new(MortalJournal::new(store.reopen(node("a")), 1, 0));
            let tools = tools(order());
            let models = Some(Arc::new(AnsweringModel::new(answer)) as _);
            let parts = Parts::on(store.clone(), vec![], tools.clone());
            let kit = Kit::of(Parts { models: models.clone(), journal: mortal.clone(), ..parts });
            let session = kit.open_with(limited(cap.clone())).await;
            mortal.doom(doom, last);
            if session.run_turn(go()).await.is_ok() {
                lived = true;
                break;
            }
            deaths += 1;
            drop(kit);
            let parts = Parts::on(store.reopen(node("b")), vec![], tools.clone());
            let kit = Kit::of(Parts { models, name: "b", ..parts });
            let load = LoadSession::new(session.id().clone(), recovery);
            let session = kit.core.open(Origin::Resume(load)).await.unwrap();
            let entries = until_rest(&kit, &session).await;
            let what = format!("{doom} {last:?} {recovery:?}");
            check_limits(&entries);
            let (opened, closed) = (opened(&entries), closed(&entries));
            assert!(opened.len() <= 1 && closed.len() == opened.len(), "{what}: {opened:?}");
            let turns = entries.iter().filter(|e| matches!(e.event, Event::TurnEnded(_))).count();
            if recovery == Recovery::Continue && turns > 0 && !closed.is_empty() {
                assert_eq!(closed[0].stop, Some(StopReason::EndTurn), "{what}");
                went_on += 1;
            }
            assert!(tools[1].runs() <= 1, "{what}: the write is not repeated unasked");
            let Some(child) = opened.first() else { continue };
            let child = kit.core.handle(child.child.clone());
            if kit.core.state(child.id()).await.is_err() {
                assert_eq!((closed[0].steps, closed[0].stop), (0, None), "{what}");
                continue;
            }
            let entries = journal(&kit.core, &child).await;
            check_limits(&entries);
            let tasks = entries.iter().filter(|e| matches!(e.event, Event::InputAdmitted(_)));
            assert!(tasks.count() <= 1, "{what}: the task is given once");
            let used = child.state().await.unwrap().used;
            assert_eq!((closed[0].steps, closed[0].usage), (used.steps, used.usage), "{what}");
        }
        if lived {
            break;
        }
    }
    assert!(deaths >= 50 && went_on >= 20, "{deaths} deaths, {went_on} went on");
}

/// A parent that gives away as many tasks as its input says, all at once, and children that use a tool each.
fn many(request: &ModelRequest) -> Vec<Say> {
    let child = request.system == "child";
    let reply = match (child, request.messages.len(), &request.messages[0]) {
        (false, 1, Message::User { parts }) => {
            let [Part::Text { text }] = &parts[..] else { panic!() };
            let count = text.parse::<u32>().unwrap();
            let ids: Vec<String> = (0..count).map(|at| format!("s{at}")).collect();
            let asked: Vec<_> = ids.iter().map(|id| (id.as_str(), "spawn_agent", "{}")).collect();
            calls(&asked)
        }
        (true, 1, _) => calls(&[("r", "read_file", "{}")]),
        (_, _, _) => text("done"),
    };
    vec![Say::Wait(5), Say::Reply(reply)]
}

/// So many subagents at once under a limit that is too small for all of them at a time, in processes that die again and again.
async fn crowd(count: u32, seed: u64) {
    let each = Bounds { cost_micros: Some(2_000), ..Bounds::default() };
    let cap = Bounds { cost_micros: Some(u64::from(count) * 1_000), ..Bounds::default() };
    let spawn = AgentOrder { bounds: each, tools: None, ..order() };
    let tools = vec![
        TestTool::new("read_file", Effect::Pure, Act::After(3, "contents")),
        TestTool::new("spawn_agent", Effect::Pure, Act::Spawn(Box::new(spawn))),
    ];
    let models: Arc<dyn oarlock_core::ports::model::Models> = Arc::new(AnsweringModel::new(many));
    let limits = RuntimeLimits {
        tools_parallel: count as usize,
        children_open: count as usize,
        crashes_max: u32::MAX,
        ..RuntimeLimits::DEFAULT
    };
    let store = MemoryStore::new(node("site"));
    let mut chance = seed;
    let mut id = None;
    let mut deaths = 0_u32;
    loop {
        let name: &'static str = Box::leak(format!("p{deaths}").into_boxed_str());
        let mortal = Arc::new(MortalJournal::new(store.reopen(node(name)), seed, 0));
        let parts = Parts::on(store.clone(), vec![], tools.clone());
        let (models, journal) = (Some(Arc::clone(&models)), Arc::clone(&mortal) as _);
        let kit = Kit::of(Parts { models, journal, limits, name, ..parts });
        let session = match &id {
            None => {
                let session = kit.open_with(limited(cap.clone())).await;
                send(&session, &count.to_string(), Delivery::Now).await.unwrap();
                session
            }
            Some(id) => {
                let load = LoadSession::new(SessionId::clone(id), Recovery::Continue);
                kit.core.open(Origin::Resume(load)).await.unwrap()
            }
        };
        id = Some(session.id().clone());
        chance =
            chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if deaths < 12 {
            let writes = u32::try_from(chance >> 40).unwrap() % (count / 2);
            let last = if chance & 1 << 39 == 0 { LastWrite::Stored } else { LastWrite::Lost };
            mortal.doom(writes, last);
        }
        let rest = until_rest_or(&kit, &session, &mortal).await;
        deaths += 1;
        let Some(entries) = rest else { continue };
        check_crowd(&kit, &session, &entries, count as usize).await;
        assert!(deaths > 5, "{deaths}");
        return;
    }
}

/// What the journals of a crowd say in the end.
async fn check_crowd(kit: &Kit, session: &DefaultSession, entries: &[Entry], count: usize) {
    check_limits(entries);
    let (opened, closed) = (opened(entries), closed(entries));
    assert_eq!(opened.len(), closed.len());
    let mut sum = 0;
    for (opened, closed) in
        opened.iter().map(|opened| (opened, closed.iter().find(|c| c.child == opened.child)))
    {
        sum += closed.unwrap().cost_micros.unwrap();
        let child = kit.core.handle(opened.child.clone());
        let Ok(state) = child.state().await else { continue };
        assert_eq!(state.used.cost_micros, closed.unwrap().cost_micros.unwrap());
        check_limits(&journal(&kit.core, &child).await);
    }
    let refused = entries.iter().filter(|entry| {
        matches!(&entry.event, Event::ToolSettled(settled) if settled.outcome == Outcome::Failed)
    });
    let refused = refused.count();
    assert_eq!(opened.len() + refused, count, "each call opened one or was told why not");
    assert!(refused > 0 && opened.len() >= count / 3, "{refused} of {count}");
    let state = session.state().await.unwrap();
    assert_eq!((state.last_stop, state.turns), (Some(StopReason::EndTurn), 1));
    assert!(sum < state.used.cost_micros);
}

/// The session's entries when it has come to rest; nothing when its process died before.
async fn until_rest_or(
    kit: &Kit,
    session: &DefaultSession,
    mortal: &MortalJournal,
) -> Option<Vec<Entry>> {
    let mut events = session.events(0);
    let rest = async {
        loop {
            match session.next_event(&mut events).await {
                Ok(AgentEvent::Entry(entry)) if matches!(entry.event, Event::TurnEnded(_)) => {
                    mortal.spare();
                    return Some(until_rest(kit, session).await);
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(3_600), rest).await.expect("it ends or dies")
}

#[tokio::test(start_paused = true)]
async fn sixty_subagents_at_once_keep_within_one_limit_through_deaths() {
    crowd(60, 7).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes long: `just crowd`"]
async fn a_thousand_subagents_at_once_keep_within_one_limit_through_deaths() {
    crowd(1_000, 1).await;
}
