//! Money and tokens of hooks that ask models: set aside before they run, counted whichever way they end, never beyond a limit.

use std::sync::Arc;

use oarlock_core::event::{
    Delivery, Effect, Entry, Event, HookFunds, HookPoint, HookRan, Reserved, StopReason,
};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Part, Usage};
use oarlock_core::ports::hook::{HookEnd, HookSpend, OnError};
use oarlock_core::ports::model::Price;
use oarlock_core::session::state::{State, Used};
use oarlock_core::spec::{Bounds, Limits, Settings};
use oarlock_core::{Command, LoadSession, Origin, Recovery};
use oarlock_testkit::hooks::{Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use oarlock_testkit::tool::{Act, TestTool};

use super::walk;

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

/// What was used with all that is set aside: for hooks, for a summary and for the model call of an open step.
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
    (used.usage.total() + tokens, used.cost_micros + money.sum::<u64>())
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
                session.tell(Command::Cancel).await.unwrap();
                let on_entering = point == HookPoint::AfterSessionEnter;
                if !on_entering {
                    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
                }
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
