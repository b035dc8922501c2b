//! Models that take over from one that cannot answer.

use std::sync::Arc;

use oarlock_core::command::{Command, Rejection};
use oarlock_core::event::{
    Effect, Entry, Event, HookChange, HookPoint, ModelReplaced, PrefixBreak, StopReason,
};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::model::{Model, ModelErrorKind, ModelInfo, Models, Price};
use oarlock_core::registry::{ModelSource, ProviderRegistry};
use oarlock_core::replay::replay;
use oarlock_core::spec::{Bounds, LimitKind, Limits, ModelSelection, Settings, SettingsChange};
use oarlock_core::{LoadSession, Origin, Recovery, SessionError};
use oarlock_testkit::hooks::{Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, node, settings, spec, tags, wait_for};
use oarlock_testkit::model::{AnsweringModel, Say, ScriptedModel, calls, info, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use oarlock_testkit::tool::{Act, TestTool};

use crate::replay::Lines;

fn named(name: &str) -> ModelSelection {
    ModelSelection { provider: "test".to_owned(), model: name.to_owned() }
}

fn about(name: &str) -> ModelInfo {
    ModelInfo { selection: named(name), ..info() }
}

fn fails(kind: ModelErrorKind) -> Vec<Say> {
    vec![Say::Fail(kind, None)]
}

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

/// The first one is the session's model; the others take over.
fn cast(models: &[Arc<ScriptedModel>]) -> (Parts, Settings) {
    let sources = models.iter().map(|model| ModelSource::One(Arc::clone(model) as _)).collect();
    let registry = ProviderRegistry::new(sources, None, None).unwrap();
    let names = models.iter().map(|model| model.info().selection.clone());
    let models = Some(Arc::new(registry) as Arc<dyn Models>);
    let settings = Settings { fallback: names.skip(1).collect(), ..settings() };
    (Parts { models, ..Parts::new(Vec::new(), Vec::new()) }, settings)
}

fn actor(name: &str, script: Vec<Vec<Say>>) -> Arc<ScriptedModel> {
    ScriptedModel::of(about(name), script)
}

fn replaced(entries: &[Entry]) -> Vec<&ModelReplaced> {
    let of = |entry: &'_ Entry| matches!(entry.event, Event::ModelReplaced(_));
    entries
        .iter()
        .filter(|entry| of(entry))
        .map(|entry| match &entry.event {
            Event::ModelReplaced(replaced) => &**replaced,
            _ => unreachable!(),
        })
        .collect()
}

fn asked(model: &ScriptedModel) -> usize {
    model.requests().len()
}

#[tokio::test(start_paused = true)]
async fn a_model_that_failed_for_good_is_replaced_where_another_may_do_better() {
    use ModelErrorKind::{
        Auth, ContentFilter, InvalidRequest, ModelNotFound, Overloaded, QuotaExhausted,
        RateLimited, Timeout, Transport, Truncated,
    };
    let long = |kind| vec![Say::Fail(kind, Some(130_000))];
    let table = [
        (fails(Auth), Some((Auth, 1))),
        (fails(QuotaExhausted), Some((QuotaExhausted, 1))),
        (fails(ModelNotFound), Some((ModelNotFound, 1))),
        (fails(Overloaded), Some((Overloaded, 5))),
        (fails(RateLimited), Some((RateLimited, 5))),
        (long(RateLimited), Some((RateLimited, 1))),
        (long(Overloaded), Some((Overloaded, 1))),
        (fails(Transport), Some((Transport, 5))),
        (vec![Say::Delta("half")], Some((Truncated, 5))),
        (fails(Truncated), Some((Truncated, 5))),
        // Of so long an attempt there is one within the time for all of them.
        (vec![Say::Silence], Some((Timeout, 2))),
        (fails(InvalidRequest), None),
        (fails(ContentFilter), None),
    ];
    for (failure, wanted) in table {
        let (a, b) = (actor("scripted", vec![failure.clone(); 9]), actor("spare", vec![]));
        let (parts, settings) = cast(&[Arc::clone(&a), Arc::clone(&b)]);
        let kit = Kit::of(parts);
        let session = kit.open_with(settings).await;
        let ended = session.run_turn(go()).await.unwrap();
        let entries = journal(&kit.core, &session).await;
        let found = replaced(&entries).first().map(|replaced| (replaced.class, asked(&a)));
        assert_eq!(found, wanted, "{failure:?}");
        let stops = matches!(ended.stop, StopReason::EndTurn);
        assert_eq!((stops, asked(&b)), (wanted.is_some(), usize::from(wanted.is_some())));
    }
}

#[tokio::test(start_paused = true)]
async fn one_turn_goes_on_with_the_spare_and_the_next_begins_with_the_chosen_model() {
    let broken = [Say::Delta("half of it"), Say::Fail(ModelErrorKind::QuotaExhausted, None)];
    let (a, b) = (
        actor("scripted", vec![broken.to_vec()]),
        actor("spare", vec![vec![Say::Reply(calls(&[("c", "read", "{}")]))]]),
    );
    let (parts, settings) = cast(&[Arc::clone(&a), Arc::clone(&b)]);
    let read = TestTool::new("read", Effect::Pure, Act::Give("read".to_owned()));
    let kit = Kit::of(Parts { tools: vec![read], ..parts });
    let session = kit.open_with(settings).await;
    session.run_turn(go()).await.unwrap();
    assert_eq!((asked(&a), asked(&b)), (1, 2), "the second step asks the spare at once");
    session.run_turn(go()).await.unwrap();
    assert_eq!((asked(&a), asked(&b)), (2, 2));

    let entries = journal(&kit.core, &session).await;
    let [replaced] = replaced(&entries)[..] else { panic!() };
    assert_eq!((&replaced.from, &replaced.to), (&named("scripted"), &named("spare")));
    assert_eq!((replaced.step, replaced.prefix_break), (Some(1), Some(PrefixBreak::Model)));
    assert_eq!(replaced.request.as_ref().unwrap().model, "test/spare");
    assert_eq!(replaced.why, "scripted QuotaExhausted");
    let breaks = entries.iter().filter_map(|entry| match &entry.event {
        Event::StepStarted(step) => Some((step.request.model.as_str(), step.prefix_break)),
        _ => None,
    });
    let wanted = [
        ("test/scripted", None),
        ("test/spare", None),
        ("test/scripted", Some(PrefixBreak::Model)),
    ];
    assert_eq!(breaks.collect::<Vec<_>>(), wanted);
    // What was heard of the failed attempt is void, and the attempts have numbers of their own.
    assert_eq!(b.requests()[0].messages.len(), 1);
    let answers = entries.iter().filter_map(|entry| match &entry.event {
        Event::AssistantMessage(answer) => Some(answer.attempt),
        _ => None,
    });
    assert_eq!(answers.collect::<Vec<_>>(), [2, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_chain_ends_and_asks_no_model_twice() {
    let models = ["scripted", "second", "third"]
        .map(|name| actor(name, vec![fails(ModelErrorKind::Auth); 9]));
    let (parts, settings) = cast(&models);
    let kit = Kit::of(parts);
    let session = kit.open_with(settings).await;
    let ended = session.run_turn(go()).await.unwrap();
    assert!(matches!(ended.stop, StopReason::Failed(_)), "{ended:?}");
    assert_eq!(models.each_ref().map(|model| asked(model)), [1, 1, 1]);
    let entries = journal(&kit.core, &session).await;
    let to: Vec<&str> = replaced(&entries).iter().map(|by| by.to.model.as_str()).collect();
    assert_eq!(to, ["second", "third"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_take_over_is_passed_over_with_the_reason() {
    let unpriced = ModelInfo { price: None, ..about("unpriced") };
    let models = [
        actor("scripted", vec![fails(ModelErrorKind::Auth)]),
        ScriptedModel::of(unpriced, vec![]),
        actor("spare", vec![]),
    ];
    let (parts, settings) = cast(&models);
    let turn = Bounds { cost_micros: Some(1_000_000), ..Bounds::default() };
    let limits = Limits { turn, ..Limits::default() };
    let kit = Kit::of(parts);
    let session = kit.open_with(Settings { limits, ..settings }).await;
    session.run_turn(go()).await.unwrap();
    let entries = journal(&kit.core, &session).await;
    let words = "test/unpriced: its price is not known, and money is bounded";
    assert_eq!(replaced(&entries)[0].skipped, [words]);
    assert_eq!(models.map(|model| asked(&model)), [1, 0, 1]);

    // With nobody left the end says why.
    let models = [&["scripted"][..], &["unpriced"]].concat();
    let [a, b] = models[..] else { panic!() };
    let (a, b) = (
        actor(a, vec![fails(ModelErrorKind::Auth)]),
        ScriptedModel::of(ModelInfo { price: None, ..about(b) }, vec![]),
    );
    let (parts, settings) = cast(&[a, b]);
    let turn = Bounds { cost_micros: Some(1_000_000), ..Bounds::default() };
    let kit = Kit::of(parts);
    let limits = Limits { turn, ..Limits::default() };
    let session = kit.open_with(Settings { limits, ..settings }).await;
    let ended = session.run_turn(go()).await.unwrap();
    let why = ended.error.unwrap().message;
    assert_eq!(why, format!("scripted Auth; no other model can take over: {words}"));
}

#[tokio::test(start_paused = true)]
async fn each_answer_has_the_price_of_the_model_that_gave_it_and_limits_hold_for_all() {
    let dear = Price { input: 9_000_000, output: 9_000_000, cache_read: 0, cache_write: 0 };
    for (cost_micros, wanted) in [
        (None, (StopReason::EndTurn, Some(15 * 9), 1)),
        (Some(20), (StopReason::Limit(LimitKind::Cost), Some(0), 0)),
    ] {
        let (a, b) = (
            actor("scripted", vec![fails(ModelErrorKind::Auth)]),
            ScriptedModel::of(ModelInfo { price: Some(dear), ..about("spare") }, vec![]),
        );
        let (parts, settings) = cast(&[a, Arc::clone(&b)]);
        let turn = Bounds { cost_micros, ..Bounds::default() };
        let kit = Kit::of(parts);
        let limits = Limits { turn, ..Limits::default() };
        let session = kit.open_with(Settings { limits, ..settings }).await;
        let ended = session.run_turn(go()).await.unwrap();
        assert_eq!((ended.stop, ended.cost_micros, asked(&b)), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_stays_too_long_is_taken_by_a_larger_window_alone() {
    let wide = |name, window| ModelInfo { context_window: window, ..about(name) };
    let models = [
        actor("scripted", vec![fails(ModelErrorKind::ContextOverflow); 9]),
        ScriptedModel::of(wide("same", Some(100_000)), vec![]),
        ScriptedModel::of(wide("unknown", None), vec![]),
        ScriptedModel::of(wide("wide", Some(1_000_000)), vec![]),
    ];
    let (parts, settings) = cast(&models);
    let kit = Kit::of(parts);
    let session = kit.open_with(settings).await;
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
    let entries = journal(&kit.core, &session).await;
    let [replaced] = replaced(&entries)[..] else { panic!() };
    assert_eq!((replaced.to.model.as_str(), replaced.skipped.len()), ("wide", 2));
    assert_eq!(models.map(|model| asked(&model))[1..], [0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_makes_no_sense_is_refused_when_it_is_made() {
    let models = ["scripted", "spare", "third"].map(|name| actor(name, vec![]));
    let (parts, _) = cast(&models);
    let kit = Kit::of(parts);
    let session = kit.open().await;
    let many: Vec<String> = (0..9).map(|n| format!("m{n}")).collect();
    let table: [(Vec<&str>, &str); 4] = [
        (vec!["spare", "missing"], "test/missing"),
        (vec!["third", "spare", "third"], "`fallback` has test/third twice; leave it out"),
        (
            vec!["scripted"],
            "`fallback` has test/scripted, which is the session's model; leave it out",
        ),
        (many.iter().map(String::as_str).collect(), "more than 8 models"),
    ];
    for (names, words) in table {
        let fallback: Vec<_> = names.into_iter().map(named).collect();
        let made = Settings { fallback: fallback.clone(), ..settings() };
        let refused = kit.core.open(spec(made).into()).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
        let change = SettingsChange { fallback: Some(fallback), ..SettingsChange::default() };
        let change = Command::Configure { change: Box::new(change), expected: None };
        let Err(SessionError::Rejected(Rejection::Invalid { what })) = session.tell(change).await
        else {
            panic!("{words}");
        };
        assert!(what.contains(words), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_with_a_fallback_replays_hash_for_hash() {
    let (a, b) = (actor("scripted", vec![vec![Say::Silence]; 9]), actor("spare", vec![]));
    let (parts, settings) = cast(&[a, b]);
    let lines = Arc::new(Lines::default());
    let kit = Kit::of(Parts { trace: Some(lines.clone()), ..parts });
    let session = kit.open_with(settings).await;
    session.run_turn(go()).await.unwrap();
    session.close().await.unwrap();
    let report = replay(lines.read()).await.unwrap();
    assert_eq!(report.last, kit.core.state(session.id()).await.unwrap().tip - 1);
}

/// The chosen model fails always; the spare calls a tool, and is done when it sees the result.
fn sweep_models() -> (Arc<ScriptedModel>, Arc<dyn Models>) {
    let broken = actor("scripted", vec![fails(ModelErrorKind::Overloaded); 99]);
    let spare = AnsweringModel::of(about("spare"), |request| match request.messages.last() {
        Some(Message::Tool { .. }) => vec![Say::Reply(text("done"))],
        _ => vec![Say::Reply(calls(&[("c", "write", "{}")]))],
    });
    let sources = [Arc::clone(&broken) as Arc<dyn Model>, Arc::new(spare)];
    let sources = sources.into_iter().map(ModelSource::One).collect();
    (broken, Arc::new(ProviderRegistry::new(sources, None, None).unwrap()))
}

#[tokio::test(start_paused = true)]
async fn a_death_at_every_write_of_a_turn_with_a_fallback_goes_on_to_the_same_end() {
    let (mut deaths, mut after_failure, mut after_replacement) = (0, 0, 0);
    for doom in 0..99 {
        let mut lived = false;
        for last in [LastWrite::Stored, LastWrite::Lost] {
            let store = MemoryStore::new(node("site"));
            let mortal = Arc::new(MortalJournal::new(store.reopen(node("a")), 1, 0));
            let write = TestTool::new("write", Effect::Idempotent, Act::Give("ok".to_owned()));
            let (_, models) = sweep_models();
            let parts = Parts::on(store.clone(), vec![], vec![Arc::clone(&write)]);
            let parts = Parts { models: Some(models), journal: mortal.clone(), ..parts };
            let kit = Kit::of(parts);
            let fallback = vec![named("spare")];
            let session = kit.open_with(Settings { fallback, ..settings() }).await;
            mortal.doom(doom, last);
            if session.run_turn(go()).await.is_ok() {
                lived = true;
                break;
            }
            deaths += 1;
            drop(kit);
            let (broken, models) = sweep_models();
            let parts = Parts::on(store.reopen(node("b")), vec![], vec![write]);
            let kit = Kit::of(Parts { models: Some(models), name: "b", ..parts });
            let before = kit.core.state(session.id()).await.unwrap();
            let turn = before.turn.as_ref();
            let was_replaced = turn.is_some_and(|turn| turn.replaced.is_some());
            let failed = turn.and_then(|turn| turn.step.as_ref()).map_or(0, |step| step.failures);
            after_failure += u32::from(failed > 0 && !was_replaced);
            after_replacement += u32::from(was_replaced);
            let load = LoadSession::new(session.id().clone(), Recovery::Continue);
            let session = kit.core.open(Origin::Resume(load)).await.unwrap();
            if before.turn.is_none() && before.turns == 0 && before.pending.is_empty() {
                continue;
            }
            wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
            let entries = journal(&kit.core, &session).await;
            let what = format!("{doom} {last:?}: {:?}", tags(&entries));
            let Some(Event::TurnEnded(ended)) = entries
                .iter()
                .map(|entry| &entry.event)
                .rfind(|event| matches!(event, Event::TurnEnded(_)))
            else {
                panic!("{what}")
            };
            assert_eq!((ended.stop, ended.steps), (StopReason::EndTurn, 2), "{what}");
            assert_eq!(replaced(&entries).len(), 1, "{what}");
            if was_replaced {
                assert_eq!(asked(&broken), 0, "who failed is not asked again: {what}");
            }
            let failures = entries.iter().filter(|e| matches!(e.event, Event::ModelFailed(_)));
            assert!(failures.count() <= 5, "{what}");
        }
        if lived {
            println!(
                "{deaths} deaths, {after_failure} with a failure, {after_replacement} after it"
            );
            assert!(deaths > 15 && after_failure > 5 && after_replacement > 5);
            return;
        }
    }
    panic!("the sweep has no end");
}

#[tokio::test(start_paused = true)]
async fn a_model_of_a_hook_that_failed_is_not_asked_again_and_the_chosen_one_is() {
    let ask = |id| vec![Say::Reply(calls(&[(id, "read", "{}")]))];
    let models = [
        actor("scripted", vec![]),
        actor("spare", vec![ask("1"), ask("2")]),
        actor("large", vec![fails(ModelErrorKind::Auth); 9]),
    ];
    let (parts, settings) = cast(&models);
    let large = || {
        Do::Change(Box::new(HookChange { model: Some(named("large")), ..HookChange::default() }))
    };
    let hooks = TestHooks::new([(HookPoint::BeforeGenerate, vec![large(), large()])]);
    let read = TestTool::new("read", Effect::Pure, Act::Give("read".to_owned()));
    let kit = Kit::of(Parts { tools: vec![read], hooks: Some(hooks), ..parts });
    let fallback = vec![named("spare")];
    let session = kit.open_with(Settings { fallback, ..settings }).await;
    let ended = session.run_turn(go()).await.unwrap();
    assert_eq!((ended.stop, ended.steps), (StopReason::EndTurn, 3));
    assert_eq!(models.map(|model| asked(&model)), [1, 2, 1]);
}

#[test]
fn an_entry_of_a_replacement_is_written_so() {
    let json = r#"{"type":"model_replaced","data":{"from":{"provider":"a","model":"m"},"to":{"provider":"b","model":"n"},"class":"auth","why":"no key","reserved":{"prompt_tokens":0}}}"#;
    let event: Event = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&event).unwrap(), json);
    let before = r#"{"type":"model_replaced","data":{"from":{"provider":"a","model":"m"},"to":{"provider":"b","model":"n"},"class":"auth","why":"no key"}}"#;
    assert_eq!(serde_json::from_str::<Event>(before).unwrap(), event);
}
