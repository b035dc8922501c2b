//! How turns are run: sampling, effort, and the numbers of steps, attempts and tools that a session's configuration sets.

use std::sync::Arc;

use oarlock_core::command::Command;
use oarlock_core::event::{Effect, Event, StopReason};
use oarlock_core::message::Part;
use oarlock_core::ports::model::{Accepts, Draws, Model, ModelErrorKind, ModelInfo, Models};
use oarlock_core::registry::{ModelSource, ProviderRegistry};
use oarlock_core::spec::{
    Decimal, EffortChange, LimitKind, ReasoningEffort, Sampling, Settings, SettingsChange,
    TurnConfig, TurnRequestLimit,
};
use oarlock_testkit::kit::{Kit, Parts, journal, settings};
use oarlock_testkit::model::{Say, ScriptedModel, calls, info};
use oarlock_testkit::tool::{Act, TestTool};

fn with(turn: TurnConfig) -> Settings {
    Settings { turn, ..settings() }
}

/// How many steps a turn has whose model calls a tool with these arguments, one after the other.
async fn steps(limit: TurnRequestLimit, arguments: &[&str]) -> (u32, StopReason) {
    let tool = TestTool::new("look", Effect::Pure, Act::Give("seen".to_owned()));
    let say = |(at, arguments): (usize, &&str)| {
        vec![Say::Reply(calls(&[(&format!("c{at}"), "look", arguments)]))]
    };
    let kit = Kit::new(arguments.iter().enumerate().map(say).collect(), vec![tool]);
    let session = kit.open_with(with(TurnConfig { request_limit: limit, ..TurnConfig::default() }));
    let ended = session.await.run_turn(vec![Part::text("go")]).await.unwrap();
    (ended.steps, ended.stop)
}

#[tokio::test(start_paused = true)]
async fn w21_an_adaptive_limit_limits() {
    let limited = StopReason::Limit(LimitKind::Steps);
    let same = ["{}"; 20];
    let new: Vec<String> = (0..20).map(|at| format!("{{\"at\":{at}}}")).collect();
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    let adaptive = TurnRequestLimit::Adaptive { initial: 3 };
    assert_eq!(
        steps(adaptive, &same).await,
        (4, limited),
        "the first call is progress, the same again is none"
    );
    assert_eq!(steps(adaptive, &new).await, (12, limited), "four times as many and no more");
    assert_eq!(steps(adaptive, &new[..5]).await, (6, StopReason::EndTurn));
    assert_eq!(steps(TurnRequestLimit::Fixed { steps: 3 }, &new).await, (3, limited));
    assert_eq!(steps(TurnRequestLimit::Unbounded, &new).await, (21, StopReason::EndTurn));
}

#[tokio::test(start_paused = true)]
async fn as_many_further_attempts_are_made_as_are_configured() {
    let failing = || (0..20).map(|_| vec![Say::Fail(ModelErrorKind::Overloaded, None)]).collect();
    for (retries, attempts) in [(Some(0), 1), (Some(2), 3), (None, 5)] {
        let kit = Kit::new(failing(), Vec::new());
        let turn = TurnConfig { max_llm_retries: retries, ..TurnConfig::default() };
        kit.open_with(with(turn)).await.run_turn(vec![Part::text("go")]).await.unwrap();
        assert_eq!(kit.model.requests().len(), attempts, "{retries:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_tools_run_together_as_are_configured() {
    for (wanted, together) in [(Some(1), 1), (Some(3), 3), (None, 5)] {
        let tool = TestTool::new("slow", Effect::Pure, Act::After(100, "done"));
        let ids = ["1", "2", "3", "4", "5"].map(|id| (id, "slow", "{}"));
        let kit = Kit::new(vec![vec![Say::Reply(calls(&ids))]], vec![tool]);
        let turn = TurnConfig { max_concurrent_tools: wanted, ..TurnConfig::default() };
        let session = kit.open_with(with(turn)).await;
        session.run_turn(vec![Part::text("go")]).await.unwrap();
        let (mut open, mut most) = (0_u32, 0);
        for entry in journal(&kit.core, &session).await {
            match entry.event {
                Event::ToolStarted(_) => open += 1,
                Event::ToolSettled(_) => open -= 1,
                _ => {}
            }
            most = most.max(open);
        }
        assert_eq!(most, together, "{wanted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sampling_and_effort_reach_the_request_and_change_with_the_next_turn() {
    let kit = Kit::new(Vec::new(), Vec::new());
    let sampling = Sampling {
        max_tokens: Some(100),
        temperature: Some(Decimal(250)),
        top_k: Some(7),
        stop_sequences: vec!["END".to_owned()],
        ..Sampling::default()
    };
    let turn = TurnConfig { sampling: sampling.clone(), ..TurnConfig::default() };
    let session = kit.open_with(with(turn)).await;
    session.run_turn(vec![Part::text("one")]).await.unwrap();
    let high = ReasoningEffort::High;
    let (effort, turn) = (Some(EffortChange::To(high)), Some(TurnConfig::default()));
    let change = Box::new(SettingsChange { effort, turn, ..SettingsChange::default() });
    session.tell(Command::Configure { change, expected: None }).await.unwrap();
    session.run_turn(vec![Part::text("two")]).await.unwrap();
    let change =
        SettingsChange { effort: Some(EffortChange::Default), ..SettingsChange::default() };
    session.tell(Command::Configure { change: Box::new(change), expected: None }).await.unwrap();
    session.run_turn(vec![Part::text("three")]).await.unwrap();
    let asked: Vec<_> = kit
        .model
        .requests()
        .into_iter()
        .map(|request| (request.sampling, request.effort, request.output_max))
        .collect();
    let plain = |effort| (Sampling::default(), effort, Some(4_000));
    assert_eq!(asked, [(sampling, None, Some(100)), plain(Some(high)), plain(None)]);
}

#[tokio::test(start_paused = true)]
async fn what_the_model_cannot_be_told_is_refused_at_once_with_the_remedy() {
    let accepts = Accepts {
        effort: true,
        top_k: false,
        draws_while_thinking: false,
        draws: Draws::One,
        stop_sequences_max: Some(1),
    };
    let model = ScriptedModel::of(ModelInfo { accepts, ..info() }, []);
    let source = ModelSource::One(Arc::clone(&model) as Arc<dyn Model>);
    let registry = ProviderRegistry::new(vec![source], None, None).unwrap();
    let models = Some(Arc::new(registry) as Arc<dyn Models>);
    let kit = Kit::of(Parts { models, ..Parts::new(Vec::new(), Vec::new()) });
    let session = kit.open().await;
    let none = Sampling::default;
    let warm = Sampling { temperature: Some(Decimal(1_000)), ..none() };
    let stops = vec!["a".to_owned(), "b".to_owned()];
    let high = Some(EffortChange::To(ReasoningEffort::High));
    for (sampling, effort, words) in [
        (
            Sampling { top_k: Some(1), ..none() },
            None,
            "has no `top_k`; leave it out, or use `top_p`",
        ),
        (warm.clone(), high, "takes neither `temperature` nor `top_k` while it thinks"),
        (
            Sampling { top_p: Some(Decimal(900)), ..warm.clone() },
            None,
            "takes `temperature` or `top_p`, not both; leave one out",
        ),
        (Sampling { stop_sequences: stops, ..none() }, None, "takes at most 1 `stop_sequences`"),
    ] {
        let turn = Some(TurnConfig { sampling, ..TurnConfig::default() });
        let change = Box::new(SettingsChange { turn, effort, ..SettingsChange::default() });
        let refused = session
            .tell(Command::Configure { change, expected: None })
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(words), "{refused}");
    }
    for effort in [None, Some(EffortChange::To(ReasoningEffort::None))] {
        let turn = Some(TurnConfig { sampling: warm.clone(), ..TurnConfig::default() });
        let change = Box::new(SettingsChange { turn, effort, ..SettingsChange::default() });
        session.tell(Command::Configure { change, expected: None }).await.unwrap();
    }
}
