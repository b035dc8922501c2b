//! Money and tokens of calls whose end nobody saw: they are counted by what was asked and what had arrived.

use std::sync::Arc;

use oarlock_core::command::Command;
use oarlock_core::event::{AgentEvent, Delivery, Event, StopReason, TurnEnded, TurnRecovered};
use oarlock_core::ids::Seq;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Part, Usage};
use oarlock_core::ports::model::{ModelErrorKind, ModelInfo, Models, Price};
use oarlock_core::spec::{Bounds, Limits, Settings};
use oarlock_core::{DefaultSession, LoadSession, Origin, Recovery};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings, wait_for};
use oarlock_testkit::model::{OneModel, Say, ScriptedModel, calls, info, text};
use oarlock_testkit::mortal::MortalJournal;
use oarlock_testkit::story::{Beat, Story, laws, play};

/// A prompt of about 1,000 tokens.
fn long() -> String {
    "word ".repeat(600)
}

async fn hear_delta(session: &DefaultSession, after: Seq) {
    let mut events = session.events(after);
    loop {
        if let AgentEvent::Delta(_) = session.next_event(&mut events).await.unwrap() {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_is_counted_by_an_estimate() {
    let script = vec![vec![Say::Delta("some words that had arrived"), Say::Silence]];
    let kit = Kit::new(script, vec![]);
    let session = kit.open().await;
    send(&session, &long(), Delivery::Now).await.unwrap();
    hear_delta(&session, 0).await;
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let Event::TurnEnded(ended) = &ended.event else { panic!() };
    assert_eq!(ended.stop, StopReason::Cancelled);
    assert!((900..1_200).contains(&ended.usage.input), "{:?}", ended.usage);
    assert_eq!(ended.usage.output, 9);
    assert!(ended.cost_micros.unwrap() >= ended.usage.input);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_broke_after_it_had_begun_is_counted_and_a_refused_one_is_not() {
    let script = vec![
        vec![Say::Fail(ModelErrorKind::Overloaded, None)],
        vec![Say::Delta("half an answer"), Say::Fail(ModelErrorKind::Truncated, None)],
        vec![Say::Reply(text("whole"))],
    ];
    let kit = Kit::new(script, vec![]);
    let session = kit.open().await;
    let ended = session.run_turn(vec![Part::text(long())]).await.unwrap();
    let entries = journal(&kit.core, &session).await;
    let failed: Vec<Usage> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::ModelFailed(failed) => Some(failed.usage),
            _ => None,
        })
        .collect();
    assert_eq!(failed[0], Usage::default());
    assert!(failed[1].input > 900 && failed[1].output == 5, "{:?}", failed[1]);
    assert_eq!(ended.usage.input, failed[1].input + 10);
    let state = kit.core.state(session.id()).await.unwrap();
    assert_eq!((state.used.usage, state.used.cost_unknown), (ended.usage, false));
}

#[test]
fn a_call_that_a_crash_lost_is_counted_once() {
    let story = Story {
        settings: settings(),
        replies: vec![vec![Say::Wait(1_000), Say::Reply(text("never heard"))]],
        summaries: vec![],
        beats: vec![(0, Beat::Input(Delivery::Now, None)), (50, Beat::Crash(Recovery::Continue))],
        faults: 0,
    };
    let told = play(&story);
    laws::hold(&story, &told);
    let find = |fits: fn(&Event) -> bool| told.entries.iter().find(|entry| fits(&entry.event));
    let step = &find(|event| matches!(event, Event::StepStarted(_))).unwrap().event;
    let recovered = &find(|event| matches!(event, Event::TurnRecovered(_))).unwrap().event;
    let ended = &find(|event| matches!(event, Event::TurnEnded(_))).unwrap().event;
    let (Event::StepStarted(step), Event::TurnRecovered(recovered), Event::TurnEnded(ended)) =
        (step, recovered, ended)
    else {
        panic!("they are what was looked for")
    };
    assert!(step.reserved.prompt_tokens > 0);
    assert_eq!(recovered.usage.input, step.reserved.prompt_tokens);
    assert_eq!(recovered.cost_micros, step.reserved.prompt_micros);
    assert_eq!(ended.usage.input, recovered.usage.input + 10);
}

/// A process dies when its model has begun to answer. How the next one recovers the turn and ends it.
async fn died(price: Option<Price>, script: Vec<Vec<Say>>) -> (TurnRecovered, TurnEnded) {
    let store = MemoryStore::new(node("store"));
    let journal = Arc::new(MortalJournal::new(store.reopen(node("a")), 0, 0));
    let model = ScriptedModel::of(ModelInfo { price, ..info() }, script);
    let models = || -> Option<Arc<dyn Models>> { Some(Arc::new(OneModel(Arc::clone(&model)))) };
    let parts = Parts::on(store.clone(), vec![], vec![]);
    let mortal = Kit::of(Parts { models: models(), journal: Arc::clone(&journal) as _, ..parts });
    let session = mortal.open().await;
    send(&session, "go", Delivery::Now).await.unwrap();
    hear_delta(&session, 0).await;
    journal.die();
    let parts = Parts::on(store.reopen(node("b")), vec![], vec![]);
    let kit = Kit::of(Parts { name: "b", models: models(), ..parts });
    let load = LoadSession::new(session.id().clone(), Recovery::Interrupt);
    let session = kit.core.open(Origin::Resume(load)).await.unwrap();
    let recovered = wait_for(&session, 0, |event| matches!(event, Event::TurnRecovered(_))).await;
    let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    match (&recovered.event, &ended.event) {
        (Event::TurnRecovered(recovered), Event::TurnEnded(ended)) => {
            (recovered.clone(), ended.clone())
        }
        _ => panic!("they are what was waited for"),
    }
}

#[test]
fn a_crash_charges_another_attempt_once_it_has_begun() {
    for (crash_after, is_charged) in [(500, false), (4_000, true)] {
        let replies = vec![
            vec![Say::Fail(ModelErrorKind::Overloaded, Some(3_000))],
            vec![Say::Wait(5_000), Say::Reply(text("never heard"))],
        ];
        let crash = (crash_after, Beat::Crash(Recovery::Interrupt));
        let story = Story {
            settings: settings(),
            replies,
            summaries: vec![],
            beats: vec![(0, Beat::Input(Delivery::Now, None)), crash],
            faults: 0,
        };
        let told = play(&story);
        laws::hold(&story, &told);
        let (mut reserved, mut charged, mut sum) = (None, None, None);
        for entry in &told.entries {
            match &entry.event {
                Event::StepStarted(step) => reserved = Some(step.reserved.prompt_tokens),
                Event::TurnRecovered(recovered) => charged = Some(recovered.usage.input),
                Event::TurnEnded(ended) => sum = Some(ended.usage.input),
                _ => {}
            }
        }
        let expected = reserved.filter(|_| is_charged).unwrap_or(0);
        assert!(reserved > Some(0));
        assert_eq!((charged, sum), (Some(expected), Some(expected)), "after {crash_after} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_unknown_price_that_a_crash_lost_makes_the_sum_unknown() {
    let (recovered, ended) = died(None, vec![vec![Say::Delta("half"), Say::Silence]]).await;
    assert!(recovered.usage.total() > 0);
    assert_eq!((ended.usage, ended.cost_micros), (recovered.usage, None));
}

#[test]
fn an_answer_that_was_there_before_the_crash_is_not_counted_again() {
    let slow = calls(&[("c1", "slow", "{}")]);
    let story = Story {
        settings: settings(),
        replies: vec![vec![Say::Reply(slow)]],
        summaries: vec![],
        beats: vec![(0, Beat::Input(Delivery::Now, None)), (50, Beat::Crash(Recovery::Continue))],
        faults: 0,
    };
    let told = play(&story);
    laws::hold(&story, &told);
    let recovered = told.entries.iter().find_map(|entry| match &entry.event {
        Event::TurnRecovered(recovered) => Some((recovered.usage, recovered.cost_micros)),
        _ => None,
    });
    assert_eq!(recovered, Some((Usage::default(), None)));
}

#[tokio::test(start_paused = true)]
async fn a_broken_call_of_unknown_price_makes_the_sum_unknown() {
    let broken = vec![Say::Delta("half"), Say::Fail(ModelErrorKind::InvalidRequest, None)];
    let model = ScriptedModel::of(ModelInfo { price: None, ..info() }, vec![broken]);
    let models: Arc<dyn Models> = Arc::new(OneModel(Arc::clone(&model)));
    let kit = Kit::of(Parts { models: Some(models), ..Parts::new(vec![], vec![]) });
    let ended = kit.open().await.run_turn(vec![Part::text("go")]).await.unwrap();
    assert!(ended.usage.total() > 0);
    assert_eq!(ended.cost_micros, None);
}

#[tokio::test(start_paused = true)]
async fn a_model_of_unknown_price_is_called_under_a_cost_limit_only_when_that_is_allowed() {
    let turn = Bounds { cost_micros: Some(100), ..Bounds::default() };
    for (allow_unknown_prices, calls) in [(false, 0), (true, 1)] {
        let unpriced = ModelInfo { price: None, ..info() };
        let model = ScriptedModel::of(unpriced, vec![vec![Say::Reply(text("dear or not"))]]);
        let models: Arc<dyn Models> = Arc::new(OneModel(Arc::clone(&model)));
        let kit = Kit::of(Parts { models: Some(models), ..Parts::new(vec![], vec![]) });
        let limits = Limits { turn: turn.clone(), allow_unknown_prices, ..Limits::default() };
        let session = kit.open_with(Settings { limits, ..settings() }).await;
        let ended = session.run_turn(vec![Part::text("go")]).await.unwrap();
        assert_eq!(ended.stop == StopReason::EndTurn, allow_unknown_prices, "{ended:?}");
        assert_eq!(model.requests().len(), calls);
        let words = ended.error.map(|error| error.message).unwrap_or_default();
        assert_eq!(words.contains("--allow-unknown-cost"), !allow_unknown_prices, "{words}");
        assert_eq!(ended.cost_micros.is_none(), allow_unknown_prices);
    }
}
