//! Money and tokens of hooks that ask models: set aside before they run, counted whichever way they end, never beyond a limit.

use std::sync::Arc;

use oarlock_core::event::{
    Delivery, Effect, Entry, Event, HookFunds, HookPoint, HookRan, HooksStarted, Reserved,
    StopReason,
};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Part, Usage};
use oarlock_core::ports::hook::{HookEnd, HookSpend, OnError};
use oarlock_core::ports::model::{ModelRequest, Price};
use oarlock_core::session::state::{State, Used};
use oarlock_core::spec::{Bounds, Limits, Settings};
use oarlock_core::{Command, LoadSession, Origin, Recovery};
use oarlock_testkit::hooks::{Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings, wait_for};
use oarlock_testkit::model::{AnsweringModel, Say, calls, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use oarlock_testkit::tool::{Act, TestTool, order};

use super::walk;
use crate::subagents::{closed, opened};

/// A micro-dollar for a token of input, two for one of output.
const PRICE: Price =
    Price { input: 1_000_000, output: 2_000_000, cache_read: 1_000_000, cache_write: 1_000_000 };

/// At most 400 tokens of input and 100 of output: 500 tokens, 600 micro-dollars.
const SPEND: HookSpend = HookSpend { prompt_tokens: 400, output_tokens: 100, price: Some(PRICE) };

fn limited(turn: Bounds, session: Bounds) -> Settings {
    Settings { limits: Limits { turn, session, ..Limits::default() }, ..settings() }
}

fn tokens(tokens: u64) -> Bounds {
    Bounds { tokens: Some(tokens), ..Bounds::default() }
}

fn micros(cost: u64) -> Bounds {
    Bounds { cost_micros: Some(cost), ..Bounds::default() }
}

/// The end of a run that used this.
fn used(input: u64, output: u64) -> Do {
    let usage = Usage { input, output, ..Usage::default() };
    let cost_micros = Some(PRICE.of(&usage));
    Do::End(Box::new(HookEnd { usage, cost_micros, ..HookEnd::default() }))
}

fn funds(entries: &[Entry]) -> Vec<&HookFunds> {
    let started = entries.iter().filter_map(|entry| match &entry.event {
        Event::HooksStarted(started) => Some(&started.paying),
        _ => None,
    });
    started.flatten().map(|hook| &hook.funds).collect()
}

fn ends(entries: &[Entry]) -> Vec<&HookRan> {
    let ran = entries.iter().filter_map(|entry| match &entry.event {
        Event::HookRan(ran) => Some(&**ran),
        _ => None,
    });
    ran.collect()
}

/// What was used with all that is set aside: for subagents, for hooks, for a summary and for the model call of an open step.
fn with_reserves(used: Used, state: &State, call: Reserved) -> (u64, u64) {
    let hooks = state.hooks.iter().flat_map(|open| &open.paying);
    let hooks = hooks.filter_map(|hook| match &hook.funds {
        HookFunds::Reserved(reserved) => Some(*reserved),
        HookFunds::Refused(_) => None,
    });
    let summary = state.summary.as_ref().map(|open| open.reserved);
    let all: Vec<Reserved> = hooks.chain(summary).chain([call]).collect();
    let tokens = all.iter().map(|r| r.prompt_tokens + r.output_tokens.unwrap_or(0)).sum::<u64>();
    let money = all.iter().map(|r| r.prompt_micros.unwrap_or(0) + r.output_micros.unwrap_or(0));
    let leases = state.children.iter().map(|child| &child.opened.reserved);
    let (mut leased, mut lent) = (0, 0);
    for lease in leases {
        leased += lease.tokens.unwrap_or(0);
        lent += lease.cost_micros.unwrap_or(0);
    }
    (used.usage.total() + tokens + leased, used.cost_micros + money.sum::<u64>() + lent)
}

/// Checks each entry: settled and reserved together never exceed a limit, and hooks that were begun end once.
fn check(entries: &[Entry]) -> State {
    let mut state = State::created(&entries[0]).unwrap();
    let (mut call, mut begun) = (Reserved::default(), 0_usize);
    for entry in &entries[1..] {
        let open = state.hooks.len();
        state.apply(entry).unwrap();
        match &entry.event {
            Event::StepStarted(started) => call = started.reserved,
            Event::AssistantMessage(_) | Event::ModelFailed(_) | Event::TurnRecovered(_) => {
                call = Reserved::default();
            }
            Event::HooksStarted(_) => begun += 1,
            Event::HookRan(ran) if ran.lost || state.hooks.len() < open => {
                assert_eq!(state.hooks.len() + 1, open, "an end is that of a beginning");
                begun -= 1;
            }
            _ => {}
        }
        let limits = state.spec.settings.limits.clone();
        let turn = state.turn.as_ref().map(|turn| (limits.turn.clone(), turn.used));
        for (cap, used) in turn.into_iter().chain([(limits.session, state.used)]) {
            let (tokens, money) = with_reserves(used, &state, call);
            let seq = entry.seq;
            assert!(cap.tokens.is_none_or(|cap| tokens <= cap), "{tokens} at {seq} of {cap:?}");
            assert!(cap.cost_micros.is_none_or(|cap| money <= cap), "{money} at {seq} of {cap:?}");
        }
    }
    assert_eq!((begun, state.hooks.len()), (0, 0), "hooks that were begun end");
    state
}

fn script() -> Vec<Vec<Say>> {
    let two = calls(&[("c", "t", r#"{"what":"a"}"#), ("d", "t", r#"{"what":"b"}"#)]);
    vec![vec![Say::Reply(two)], vec![Say::Reply(text("end"))]]
}

fn tool() -> Arc<TestTool> {
    TestTool::new("t", Effect::Pure, Act::Echo)
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_a_limit_leaves_no_room_for_is_not_run_and_fails_as_its_on_error_says() {
    let none = Bounds::default;
    let unknown = HookSpend { price: None, ..SPEND };
    let allowing = |mut settings: Settings| {
        settings.limits.allow_unknown_prices = true;
        settings
    };
    let table = [
        (limited(none(), none()), SPEND, None),
        (limited(tokens(500), none()), SPEND, None),
        (limited(tokens(499), none()), SPEND, Some("the limit of tokens")),
        (limited(none(), tokens(499)), SPEND, Some("the limit of tokens")),
        (limited(micros(600), none()), SPEND, None),
        (limited(micros(599), none()), SPEND, Some("the limit of cost")),
        (limited(none(), micros(599)), SPEND, Some("the limit of cost")),
        (limited(none(), micros(600)), unknown, Some("the price of its model is not known")),
        (allowing(limited(none(), micros(600))), unknown, None),
        (allowing(limited(none(), tokens(499))), unknown, Some("the limit of tokens")),
        (limited(none(), none()), unknown, None),
    ];
    for (settings, spend, wanted) in table {
        for on_error in [OnError::Deny, OnError::Skip] {
            let point = HookPoint::BeforeGenerate;
            let hooks = TestHooks::judging([(point, vec![Do::Nothing])], |_| on_error);
            let hooks = hooks.spending(spend);
            let script = vec![vec![Say::Reply(text("hi"))]];
            let walked = walk(settings.clone(), script, vec![], hooks).await;
            check(&walked.entries);
            let what = format!("{:?} {spend:?} {on_error:?}", settings.limits);
            let why = match funds(&walked.entries)[..] {
                [HookFunds::Reserved(_)] => None,
                [HookFunds::Refused(why)] => Some(why),
                ref other => panic!("{what}: {other:?}"),
            };
            assert_eq!(why.is_some(), wanted.is_some(), "{what}: {why:?}");
            assert_eq!(walked.hooks.told().is_empty(), wanted.is_some(), "{what}");
            let (Some(wanted), OnError::Deny) = (wanted, on_error) else {
                assert_ne!(walked.ended.stop, StopReason::Refusal, "{what}");
                continue;
            };
            assert_eq!(walked.ended.stop, StopReason::Refusal, "{what}");
            let error = walked.ended.error.unwrap().message;
            assert!(error.contains(wanted), "{what}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_running_hook_may_spend_is_set_aside_for_the_next_one() {
    for (cap, both) in [(1_300, true), (1_000, false)] {
        let hooks = TestHooks::judging(
            [(HookPoint::BeforeToolApply, vec![Do::After(100), Do::After(100)])],
            |_| OnError::Skip,
        );
        let settings = limited(tokens(cap), Bounds::default());
        let walked = walk(settings, script(), vec![tool()], hooks.spending(SPEND)).await;
        check(&walked.entries);
        let refused = |funds: &&HookFunds| matches!(funds, HookFunds::Refused(_));
        let funds = funds(&walked.entries);
        let expected = if both { [false, false] } else { [false, true] };
        assert_eq!(funds.iter().map(refused).collect::<Vec<_>>(), expected, "{cap}");
        assert_eq!(walked.hooks.told().len(), if both { 2 } else { 1 }, "{cap}");
        // Nothing was used, so that the next step has the room.
        assert_eq!(walked.ended.stop, StopReason::EndTurn, "{cap}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_heard_costs_its_request() {
    let request = Usage { input: 400, ..Usage::default() };
    for point in HookPoint::ALL {
        for (does, spend, cost) in [
            (Do::Hang, SPEND, Some(400)),
            (Do::Panic, SPEND, Some(400)),
            (Do::Hang, HookSpend { price: None, ..SPEND }, None),
        ] {
            let hooks = TestHooks::judging([(point, vec![does.clone()])], |_| OnError::Skip);
            let hooks = hooks.spending(spend);
            let walked = walk(settings(), script(), vec![tool()], hooks).await;
            if walked.hooks.told().is_empty() {
                continue;
            }
            let state = check(&walked.entries);
            let ends = ends(&walked.entries);
            let charged: Vec<_> = ends.iter().filter(|ran| ran.usage != Usage::default()).collect();
            let [ran] = charged[..] else { panic!("{point:?} {does:?}: {charged:?}") };
            assert_eq!((ran.usage, ran.cost_micros), (request, cost), "{point:?} {does:?}");
            assert_eq!(state.used.cost_unknown, cost.is_none(), "{point:?} {does:?}");
            let model = Usage { input: 20, output: 10, ..Usage::default() };
            assert_eq!(state.used.usage.input, model.input + 400, "{point:?} {does:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_and_a_close_count_the_requests_of_hooks_that_run() {
    for point in HookPoint::ALL {
        for closes in [false, true] {
            let hooks = TestHooks::new([(point, vec![Do::Hang])]).spending(SPEND);
            let parts = Parts::new(script(), vec![tool()]);
            let kit = Kit::of(Parts { hooks: Some(hooks.clone()), ..parts });
            let session = kit.open().await;
            send(&session, "go", Delivery::Now).await.unwrap();
            let clock = &kit.core.ports().clock;
            clock.sleep_until(clock.now().after(1_000)).await;
            if hooks.told().is_empty() {
                continue;
            }
            if !closes {
                session.tell(Command::Cancel { turn: None }).await.unwrap();
                wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
            }
            session.close().await.unwrap();
            let entries = journal(&kit.core, &session).await;
            let state = check(&entries);
            let charged: Vec<u64> = ends(&entries).iter().map(|ran| ran.usage.input).collect();
            let sum: u64 = charged.iter().sum();
            assert_eq!(sum, 400, "{point:?} {closes}: {charged:?}");
            assert!(state.used.usage.input >= 400, "{point:?} {closes}");
        }
    }
}

const POINTS: [HookPoint; 8] = [
    HookPoint::AfterSessionEnter,
    HookPoint::BeforeIngest,
    HookPoint::AfterTurnEnter,
    HookPoint::BeforeGenerate,
    HookPoint::AfterGenerate,
    HookPoint::BeforeToolApply,
    HookPoint::AfterToolApply,
    HookPoint::BeforeTurnEnd,
];

/// Hooks at many points, each of which uses up most of what it may.
fn busy() -> Arc<TestHooks> {
    let does = POINTS.map(|point| (point, vec![used(399, 90); 99]));
    TestHooks::judging(does, |_| OnError::Skip).spending(SPEND)
}

#[tokio::test(start_paused = true)]
async fn hooks_and_model_calls_of_a_turn_stay_within_every_limit_together() {
    for cap in (0..8_000).step_by(331) {
        for (turn, session) in [
            (tokens(cap), Bounds::default()),
            (Bounds::default(), tokens(cap)),
            (micros(cap), Bounds::default()),
            (Bounds::default(), micros(cap)),
        ] {
            let settings = limited(turn, session);
            let walked = walk(settings, script(), vec![tool()], busy()).await;
            let state = check(&walked.entries);
            let ran = walked.hooks.told().len() as u64;
            let counted = state.used.usage.total() - u64::from(state.used.steps) * 15;
            assert_eq!(counted, ran * 489, "{cap}: what hooks used is counted, and only that");
            let afforded = funds(&walked.entries);
            let afforded =
                afforded.iter().filter(|funds| matches!(funds, HookFunds::Reserved(_))).count();
            assert_eq!(ran, afforded as u64, "{cap}: those run that have funds");
        }
    }
}

/// A process dies with its `writes`-th write, and another one goes on. `false` when it lived.
async fn death(writes: u32, last: LastWrite, recovery: Recovery, cap: u64) -> Option<usize> {
    let store = MemoryStore::new(node("a"));
    let dying = Arc::new(MortalJournal::new(store.clone(), 1, 0));
    dying.doom(writes, last);
    let first = Kit::of(Parts {
        journal: dying.clone(),
        hooks: Some(busy()),
        ..Parts::on(store.clone(), script(), vec![tool()])
    });
    let settings = limited(Bounds::default(), tokens(cap));
    let session = first.core.open(oarlock_testkit::kit::spec(settings).into()).await;
    let Ok(session) = session else { return Some(0) };
    let id = session.id().clone();
    if session.run_turn(vec![Part::text("go")]).await.is_ok() {
        return None;
    }
    let second = store.reopen(node("b"));
    drop((session, first, store, dying));
    let reader = Kit::of(Parts::on(second.clone(), vec![], vec![]));
    let told = reader.core.entries(&id, 0).await.unwrap();
    let answers = told.iter().filter(|e| matches!(e.event, Event::AssistantMessage(_))).count();
    let rest: Vec<_> = script().into_iter().skip(answers).collect();
    let parts = Parts::on(second, rest, vec![tool()]);
    let kit = Kit::of(Parts { hooks: Some(busy()), name: "b", ..parts });
    let session = kit.core.open(Origin::Resume(LoadSession::new(id, recovery))).await.unwrap();
    if told.iter().any(|entry| matches!(entry.event, Event::InputAdmitted(_))) {
        wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    }
    session.close().await.unwrap();
    let entries = journal(&kit.core, &session).await;
    let state = check(&entries);
    let ends = ends(&entries);
    let lost: Vec<_> = ends.iter().filter(|ran| ran.lost).collect();
    for ran in &lost {
        let is_it = |open: &&HooksStarted| (open.point, &open.call) == (ran.point, &ran.call);
        let begun = entries.iter().filter_map(|entry| match &entry.event {
            Event::HooksStarted(started) => Some(started),
            _ => None,
        });
        let begun = begun.filter(is_it).map(|open| &open.paying[0].funds);
        let charged = (ran.usage.input, ran.cost_micros);
        let known = begun.map(|funds| match funds {
            HookFunds::Reserved(reserved) => (reserved.prompt_tokens, reserved.prompt_micros),
            HookFunds::Refused(_) => (0, None),
        });
        assert!(known.into_iter().any(|known| known == charged), "{writes} {last:?}: {ran:?}");
    }
    let charged: u64 = ends.iter().map(|ran| ran.usage.total()).sum();
    let model = entries.iter().map(|entry| match &entry.event {
        Event::AssistantMessage(message) => message.usage.total(),
        Event::TurnRecovered(recovered) => recovered.usage.total(),
        _ => 0,
    });
    assert_eq!(state.used.usage.total(), charged + model.sum::<u64>(), "{writes} {last:?}");
    Some(lost.iter().filter(|ran| ran.usage.input > 0).count())
}

#[tokio::test(start_paused = true)]
async fn a_death_at_every_write_charges_each_run_once_and_passes_no_limit() {
    for (last, recovery) in [
        (LastWrite::Stored, Recovery::Continue),
        (LastWrite::Stored, Recovery::Interrupt),
        (LastWrite::Lost, Recovery::Continue),
        (LastWrite::Lost, Recovery::Interrupt),
    ] {
        for cap in [1 << 20, 3_000] {
            let (mut deaths, mut lost) = (0, 0);
            while let Some(charged) = death(deaths, last, recovery, cap).await {
                (deaths, lost) = (deaths + 1, lost + charged);
            }
            assert!(deaths > 15 && lost > 5, "{last:?} {recovery:?}: {lost} of {deaths}");
        }
    }
}

/// A parent that gives one task away beside another call, and a child that uses a tool for it.
fn answer(request: &ModelRequest) -> Vec<Say> {
    let child = request.system == "child";
    let reply = match (child, request.messages.len()) {
        (false, 1) => calls(&[("s", "spawn_agent", r#"{"what": "look"}"#), ("d", "t", "{}")]),
        (true, 1) => calls(&[("r", "t", "{}")]),
        (true, _) => text("found it"),
        (false, _) => text("all done"),
    };
    vec![Say::Reply(reply)]
}

fn tools() -> Vec<Arc<TestTool>> {
    let spawn = Act::Spawn(Box::new(order()));
    vec![tool(), TestTool::new("spawn_agent", Effect::Pure, spawn)]
}

#[tokio::test(start_paused = true)]
async fn a_subagent_gets_a_share_of_what_running_hooks_leave() {
    let does = vec![Do::Nothing, Do::After(100)];
    let hooks = TestHooks::new([(HookPoint::BeforeToolApply, does)]).spending(SPEND);
    let models = Some(Arc::new(AnsweringModel::new(answer)) as _);
    let parts = Parts { models, hooks: Some(hooks), ..Parts::new(vec![], tools()) };
    let kit = Kit::of(parts);
    let session = kit.open_with(limited(Bounds::default(), tokens(10_015))).await;
    session.run_turn(vec![Part::text("go")]).await.unwrap();
    let entries = journal(&kit.core, &session).await;
    check(&entries);
    let opened = opened(&entries).remove(0);
    // A quarter of what is left after 15 tokens of the answer and 500 of the hook that runs.
    assert_eq!(opened.reserved.tokens, Some(2_375));
}

/// A process dies with its `doom`-th write, or one that a subagent makes, and another one goes on. `false` when it lived.
async fn dies_with_a_subagent(doom: u32, cap: u64) -> bool {
    let store = MemoryStore::new(node("site"));
    let mortal = Arc::new(MortalJournal::new(store.reopen(node("a")), 1, 0));
    let models = Some(Arc::new(AnsweringModel::new(answer)) as _);
    let parts = Parts::on(store.clone(), vec![], tools());
    let parts = Parts { models: models.clone(), journal: mortal.clone(), ..parts };
    let kit = Kit::of(Parts { hooks: Some(busy()), ..parts });
    let session = kit.open_with(limited(Bounds::default(), micros(cap))).await;
    mortal.doom(doom, LastWrite::Stored);
    if session.run_turn(vec![Part::text("go")]).await.is_ok() {
        check(&journal(&kit.core, &session).await);
        return false;
    }
    let id = session.id().clone();
    drop((session, kit, mortal));
    let parts = Parts::on(store.reopen(node("b")), vec![], tools());
    let kit = Kit::of(Parts { models, name: "b", hooks: Some(busy()), ..parts });
    let load = LoadSession::new(id, Recovery::Continue);
    let session = kit.core.open(Origin::Resume(load)).await.unwrap();
    let is_over = |state: &State| {
        state.turn.is_none() && state.pending.is_empty() && state.children.is_empty()
    };
    let mut events = session.events(0);
    while !is_over(&kit.core.state(session.id()).await.unwrap()) {
        session.next_event(&mut events).await.unwrap();
    }
    session.close().await.unwrap();
    let entries = journal(&kit.core, &session).await;
    check(&entries);
    for closed in closed(&entries) {
        let Ok(entries) = kit.core.entries(&closed.child, 0).await else { continue };
        let child = check(&entries);
        assert_eq!(closed.usage, child.used.usage, "{cap} {doom}: its parent pays for it");
        assert_eq!(closed.cost_micros, Some(child.used.cost_micros), "{cap} {doom}");
    }
    true
}

#[tokio::test(start_paused = true)]
async fn hooks_of_a_subagent_live_on_what_it_was_lent_through_deaths() {
    for cap in [1_500, 9_000] {
        let mut deaths = 0;
        while dies_with_a_subagent(deaths, cap).await {
            deaths += 1;
        }
        assert!(deaths > 5, "{cap}: {deaths}");
    }
}
