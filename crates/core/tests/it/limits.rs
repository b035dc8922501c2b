//! Each limit is its own stop reason, holds per turn and per session, and survives a restart.

use std::sync::Arc;

use oarlock_core::DefaultSession;
use oarlock_core::event::{Delivery, Effect, Event, Reserved, StopReason};
use oarlock_core::message::{Part, Usage};
use oarlock_core::ports::model::{ModelInfo, Models, Price};
use oarlock_core::spec::{Bounds, LimitKind, Limits, Settings};
use oarlock_testkit::kit::{Kit, Parts, journal, send, settings, wait_for};
use oarlock_testkit::model::{OneModel, Say, ScriptedModel, calls, info, text};
use oarlock_testkit::tool::{Act, TestTool};

fn limited(turn: Bounds, session: Bounds) -> Settings {
    Settings { limits: Limits { turn, session, ..Limits::default() }, ..settings() }
}

/// A model that asks for one call in each of its answers.
fn tireless() -> Vec<Vec<Say>> {
    (0..50).map(|n| vec![Say::Reply(calls(&[(format!("c{n}").as_str(), "t", "{}")]))]).collect()
}

fn tool() -> Vec<Arc<TestTool>> {
    vec![TestTool::new("t", Effect::Pure, Act::After(1_000, "x"))]
}

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

/// What the first step set aside.
async fn reserved(kit: &Kit, session: &DefaultSession) -> Reserved {
    let entries = journal(&kit.core, session).await;
    let reserved = entries.iter().find_map(|entry| match &entry.event {
        Event::StepStarted(started) => Some(started.reserved),
        _ => None,
    });
    reserved.unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_limit_of_a_turn_is_its_own_stop_reason() {
    let table = [
        (Bounds { steps: Some(3), ..Bounds::default() }, LimitKind::Steps, 3),
        (Bounds { tool_calls: Some(2), ..Bounds::default() }, LimitKind::ToolCalls, 3),
        (Bounds { wall_ms: Some(2_500), ..Bounds::default() }, LimitKind::Time, 3),
        (Bounds { tokens: Some(150), ..Bounds::default() }, LimitKind::Tokens, 0),
        (Bounds { cost_micros: Some(60), ..Bounds::default() }, LimitKind::Cost, 0),
    ];
    for (bounds, kind, steps) in table {
        let kit = Kit::new(tireless(), tool());
        let session = kit.open_with(limited(bounds.clone(), Bounds::default())).await;
        let ended = session.run_turn(go()).await.unwrap();
        assert_eq!(ended.stop, StopReason::Limit(kind), "{bounds:?}");
        assert!(ended.error.unwrap().message.contains(kind.name()));
        if steps > 0 {
            assert_eq!(ended.steps, steps, "{kind:?}");
        }
        if let Some(tokens) = bounds.tokens {
            assert!(ended.usage.total() <= tokens, "{:?}", ended.usage);
        }
        if let Some(cost) = bounds.cost_micros {
            assert!(ended.cost_micros.unwrap() <= cost, "{:?}", ended.cost_micros);
        }
        // The limit is the turn's: the next turn has it anew.
        let again = session.run_turn(go()).await.unwrap();
        assert_eq!(again.stop, StopReason::Limit(kind));
    }
}

#[tokio::test(start_paused = true)]
async fn limits_of_a_session_hold_across_turns_and_restarts() {
    for (bounds, kind) in [
        (Bounds { steps: Some(4), ..Bounds::default() }, LimitKind::Steps),
        (Bounds { tool_calls: Some(4), ..Bounds::default() }, LimitKind::ToolCalls),
        (Bounds { wall_ms: Some(4_500), ..Bounds::default() }, LimitKind::Time),
    ] {
        let turn = Bounds { steps: Some(2), ..Bounds::default() };
        let kit = Kit::new(tireless(), tool());
        let session = kit.open_with(limited(turn, bounds)).await;
        let mut stops = Vec::new();
        for _ in 0..4 {
            stops.push(session.run_turn(go()).await.unwrap().stop);
            session.close().await.unwrap();
        }
        assert_eq!(
            stops[..2],
            [StopReason::Limit(LimitKind::Steps), StopReason::Limit(LimitKind::Steps)]
        );
        assert_eq!(stops[3], StopReason::Limit(kind), "{stops:?}");
        let used = kit.core.state(session.id()).await.unwrap().used;
        match kind {
            LimitKind::Steps => assert_eq!(used.steps, 4),
            LimitKind::ToolCalls => assert_eq!(used.tool_calls, 4),
            LimitKind::Time => assert!(used.wall_ms <= 4_750, "{used:?}"),
            LimitKind::Tokens | LimitKind::Cost => unreachable!("the table has no such row"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_worst_case_of_an_answer_is_reserved_before_the_call() {
    let kit = Kit::new(vec![vec![Say::Reply(text("hi"))]], vec![]);
    let session = kit
        .open_with(limited(Bounds { tokens: Some(500), ..Bounds::default() }, Bounds::default()))
        .await;
    session.run_turn(go()).await.unwrap();
    let request = kit.model.requests().remove(0);
    let output_max = request.output_max.unwrap();
    assert!(output_max < 500, "the prompt is reserved too: {output_max}");
    let reserved = reserved(&kit, &session).await;
    assert_eq!(reserved.prompt_tokens + output_max, 500);
    let micros = (reserved.output_tokens, reserved.output_micros);
    assert_eq!(micros, (Some(output_max), Some(2 * output_max)));
    // Money: 1 micro a token in, 2 out. 100 micros leave less than 50 tokens of answer.
    let kit = Kit::new(vec![vec![Say::Reply(text("hi"))]], vec![]);
    let session = kit
        .open_with(limited(
            Bounds { cost_micros: Some(100), ..Bounds::default() },
            Bounds::default(),
        ))
        .await;
    session.run_turn(go()).await.unwrap();
    assert!(kit.model.requests()[0].output_max.unwrap() < 50);
}

#[tokio::test(start_paused = true)]
async fn what_a_step_takes_in_is_reserved_with_it_or_keeps_it_from_beginning() {
    for (tokens, is_begun) in [(2_000, true), (900, false)] {
        let kit = Kit::new(tireless().drain(..1).collect(), tool());
        let session = kit
            .open_with(limited(
                Bounds { tokens: Some(tokens), ..Bounds::default() },
                Bounds::default(),
            ))
            .await;
        session.prompt(go()).await.unwrap();
        wait_for(&session, 0, |event| matches!(event, Event::ToolStarted(_))).await;
        // 3,000 bytes, which count as 1,000 tokens.
        let taken = send(&session, &"word ".repeat(600), Delivery::Steer).await.unwrap();
        let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
        let Event::TurnEnded(ended) = &ended.event else { panic!() };
        let entries = journal(&kit.core, &session).await;
        let step = entries.iter().find_map(|entry| match &entry.event {
            Event::StepStarted(step) if step.step == 2 && step.inputs == [taken] => Some(step),
            _ => None,
        });
        assert_eq!(step.is_some(), is_begun, "{tokens}");
        let Some(step) = step else {
            assert_eq!(ended.stop, StopReason::Limit(LimitKind::Tokens));
            continue;
        };
        assert!((1_000..1_100).contains(&step.reserved.prompt_tokens), "{:?}", step.reserved);
        let requests = kit.model.requests();
        let before = calls(&[("c0", "t", "{}")]).usage.total();
        assert_eq!(requests[1].output_max, step.reserved.output_tokens);
        assert_eq!(before + step.reserved.prompt_tokens + requests[1].output_max.unwrap(), tokens);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_wished_for_goes_beyond_what_is_left() {
    let left = Bounds { tokens: Some(500), ..Bounds::default() };
    for (wanted, most) in [(10, 10), (1_000, 499)] {
        let kit = Kit::new(vec![vec![Say::Reply(text("hi"))]], vec![]);
        let mut settings = limited(left.clone(), Bounds::default());
        settings.turn.sampling.max_tokens = Some(wanted);
        kit.open_with(settings).await.run_turn(go()).await.unwrap();
        let output_max = kit.model.requests()[0].output_max.unwrap();
        assert!(output_max <= most, "{output_max} of {wanted}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_is_reserved_at_the_price_of_writing_it_to_the_cache() {
    let price = Price { cache_write: 5_000_000, ..info().price.unwrap() };
    let model = ScriptedModel::of(ModelInfo { price: Some(price), ..info() }, vec![]);
    let models: Arc<dyn Models> = Arc::new(OneModel(Arc::clone(&model)));
    let kit = Kit::of(Parts { models: Some(models), ..Parts::new(vec![], vec![]) });
    let turn = Bounds { cost_micros: Some(1_000), ..Bounds::default() };
    let session = kit.open_with(limited(turn, Bounds::default())).await;
    session.run_turn(go()).await.unwrap();
    let prompt = reserved(&kit, &session).await.prompt_tokens;
    assert_eq!(model.requests()[0].output_max, Some((1_000 - 5 * prompt) / 2));
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_cuts_a_model_and_a_tool_in_the_middle() {
    let hang = TestTool::new("t", Effect::Mutating, Act::After(1_000_000, "x"));
    for script in
        [vec![Say::Delta("so far"), Say::Silence], vec![Say::Reply(calls(&[("c", "t", "{}")]))]]
    {
        let kit = Kit::new(vec![script], vec![hang.clone()]);
        let session = kit
            .open_with(limited(
                Bounds { wall_ms: Some(5_000), ..Bounds::default() },
                Bounds::default(),
            ))
            .await;
        let before = kit.core.ports().clock.now();
        let ended = session.run_turn(go()).await.unwrap();
        assert_eq!(ended.stop, StopReason::Limit(LimitKind::Time));
        assert!(kit.core.ports().clock.now().ms_since(before) <= 5_250);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_over_the_limit_are_settled_as_not_run() {
    let ask = calls(&[("1", "t", "{}"), ("2", "t", "{}"), ("3", "t", "{}")]);
    let kit = Kit::new(vec![vec![Say::Reply(ask)]], tool());
    let session = kit
        .open_with(limited(Bounds { tool_calls: Some(2), ..Bounds::default() }, Bounds::default()))
        .await;
    let ended = session.run_turn(go()).await.unwrap();
    assert_eq!(ended.stop, StopReason::Limit(LimitKind::ToolCalls));
    let settled =
        journal(&kit.core, &session).await.into_iter().filter_map(|entry| match entry.event {
            Event::ToolSettled(settled) => Some(settled.outcome),
            _ => None,
        });
    let mut outcomes: Vec<String> = settled.map(|outcome| format!("{outcome:?}")).collect();
    outcomes.sort();
    assert_eq!(outcomes, ["Cancelled", "Completed", "Completed"]);
}

#[tokio::test(start_paused = true)]
async fn each_token_is_counted_once() {
    let mut reply = text("x");
    reply.usage = Usage { input: 100, cache_read: 900, cache_write: 50, output: 10, reasoning: 4 };
    let kit = Kit::new(vec![vec![Say::Reply(reply)]], vec![]);
    let session = kit.open().await;
    let ended = session.run_turn(go()).await.unwrap();
    assert_eq!((ended.usage.total(), ended.usage.prompt()), (1_060, 1_050));
    assert_eq!(ended.cost_micros, Some(120));
}
