//! What whoever opens a session brings to it: tools that its process runs, and a model of its own.

use std::sync::Arc;

use oarlock_core::command::Command;
use oarlock_core::event::{Effect, Entry, Event, Outcome, StopReason};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Part, Usage};
use oarlock_core::ports::model::{ModelErrorKind, ModelInfo, Reply};
use oarlock_core::spec::{Answers, Mode, ModelSelection, SessionSpec, Settings, SettingsChange};
use oarlock_core::{
    AgentError, Backends, DefaultSession, LoadSession, NewSession, Origin, Recovery,
};
use oarlock_testkit::brought::TestDispatcher;
use oarlock_testkit::kit::{Kit, Parts, journal, node, settings, spec, tags, wait_for};
use oarlock_testkit::model::{Say, ScriptedModel, calls, info, text};
use oarlock_testkit::tool::{Act, TestTool};

use crate::recovery::dies_after;
use crate::subagents::go;

fn says(words: &str) -> Vec<Say> {
    vec![Say::Reply(text(words))]
}

fn asks(name: &str, arguments: &str) -> Vec<Say> {
    vec![Say::Reply(calls(&[("c1", name, arguments)]))]
}

fn lookup(act: Act) -> Arc<TestTool> {
    TestTool::new("lookup", Effect::Mutating, act)
}

fn brought(tools: Vec<Arc<TestTool>>) -> Backends {
    Backends { dispatcher: Some(Arc::new(TestDispatcher(tools))), ..Backends::default() }
}

async fn open(kit: &Kit, spec: SessionSpec, backends: Backends) -> DefaultSession {
    let new = NewSession { backends, ..spec.into() };
    kit.core.open(Origin::New(Box::new(new))).await.unwrap()
}

/// The end of the only call, and what the model was given.
fn settled(entries: &[Entry]) -> (Outcome, String) {
    let ends: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::ToolSettled(settled) => Some(settled),
            _ => None,
        })
        .collect();
    let [end] = ends[..] else { panic!("one call has one end: {ends:?}") };
    let [Part::Text { text }, ..] = &end.content[..] else { panic!("{end:?}") };
    (end.outcome, text.clone())
}

#[tokio::test(start_paused = true)]
async fn a_dispatchers_call_is_written_before_it_runs_and_settled_once() {
    let kit = Kit::new(vec![asks("lookup", r#"{"what":"x"}"#), says("end")], vec![]);
    let tool = lookup(Act::Give("found".to_owned()));
    let session = open(&kit, spec(settings()), brought(vec![Arc::clone(&tool)])).await;
    session.run_turn(go()).await.unwrap();
    assert_eq!(kit.model.requests()[0].tools[0].name, "lookup");
    let entries = journal(&kit.core, &session).await;
    assert_eq!(settled(&entries), (Outcome::Completed, "found".to_owned()));
    let order = ["tool_called", "tool_started", "tool_settled"];
    let tags: Vec<_> = tags(&entries).into_iter().filter(|tag| tag.starts_with("tool_")).collect();
    assert_eq!((&tags[..], tool.runs()), (&order.map(str::to_owned)[..], 1));
}

#[tokio::test(start_paused = true)]
async fn what_the_mode_or_the_schema_refuses_does_not_reach_the_dispatcher() {
    let ask = Settings { mode: Mode::ASK_WRITES, answers: Answers::Nobody, ..settings() };
    for (settings, arguments, outcome, why) in [
        (ask, "{}", Outcome::Denied, ""),
        (settings(), r#"{"what":3}"#, Outcome::Failed, "do not fit the schema of `lookup`"),
    ] {
        let kit = Kit::new(vec![asks("lookup", arguments), says("end")], vec![]);
        let tool = lookup(Act::Echo);
        let session = open(&kit, spec(settings), brought(vec![Arc::clone(&tool)])).await;
        session.run_turn(go()).await.unwrap();
        let (found, words) = settled(&journal(&kit.core, &session).await);
        assert_eq!((found, tool.runs()), (outcome, 0), "{words}");
        assert!(words.contains(why), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_panics_or_hangs_loses_its_call_and_no_turn() {
    let kit = Kit::new(vec![asks("lookup", "{}"), says("end")], vec![]);
    let session = open(&kit, spec(settings()), brought(vec![lookup(Act::Panic)])).await;
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
    assert_eq!(settled(&journal(&kit.core, &session).await).0, Outcome::Failed);

    let kit = Kit::new(vec![asks("lookup", "{}"), says("end")], vec![]);
    let session = open(&kit, spec(settings()), brought(vec![lookup(Act::Hang)])).await;
    let clock = Arc::clone(&kit.core.ports().clock);
    let begun = clock.now();
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
    let entries = journal(&kit.core, &session).await;
    assert_eq!(settled(&entries).0, Outcome::Indeterminate);
    let took = clock.now().unix_ms() - begun.unix_ms();
    assert!((60_000..62_000).contains(&took), "its own deadline of a minute: {took} ms");

    let kit = Kit::new(vec![asks("lookup", "{}"), says("end")], vec![]);
    let session = open(&kit, spec(settings()), brought(vec![lookup(Act::Hang)])).await;
    let clock = Arc::clone(&kit.core.ports().clock);
    session.prompt(go()).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::ToolStarted(_))).await;
    let begun = clock.now();
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    let end = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    assert!(end.at.unix_ms() - begun.unix_ms() <= 250, "{} ms", end.at.unix_ms() - begun.unix_ms());
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_stands_beside_the_sessions_tools_and_takes_no_name_of_theirs() {
    let own = TestTool::new("read_file", Effect::Pure, Act::Echo);
    let kit = Kit::new(vec![says("end")], vec![own]);
    let tools = || brought(vec![lookup(Act::Echo)]);
    // An allow-list is about the tools of the runtime.
    let alone = SessionSpec { tools: Some(vec![]), ..spec(settings()) };
    let offered = |kit: &Kit| {
        let request = kit.model.requests().pop().unwrap();
        request.tools.iter().map(|tool| tool.name.clone()).collect::<Vec<_>>()
    };
    open(&kit, spec(settings()), tools()).await.run_turn(go()).await.unwrap();
    assert_eq!(offered(&kit), ["read_file", "lookup"]);
    open(&kit, alone, tools()).await.run_turn(go()).await.unwrap();
    assert_eq!(offered(&kit), ["lookup"]);
    let taken = brought(vec![TestTool::new("read_file", Effect::Pure, Act::Echo)]);
    let new = NewSession { backends: taken, ..spec(settings()).into() };
    let refused = kit.core.open(Origin::New(Box::new(new))).await.unwrap_err();
    assert!(matches!(&refused, AgentError::Invalid(why) if why.contains("of its own")));
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_wakes_with_the_handle_that_brought_it_and_not_with_others() {
    let store = MemoryStore::new(node("a"));
    let script = || vec![asks("lookup", "{}"), says("end")];
    let kit = Kit::of(Parts::on(store.clone(), [script(), script()].concat(), vec![]));
    let tool = lookup(Act::Give("found".to_owned()));
    let session = open(&kit, spec(settings()), brought(vec![Arc::clone(&tool)])).await;
    session.run_turn(go()).await.unwrap();
    session.close().await.unwrap();
    session.run_turn(go()).await.unwrap();
    assert_eq!(tool.runs(), 2, "it sleeps and wakes with what it was opened with");
    session.close().await.unwrap();
    drop(session.clone());

    let again = Parts { name: "b", ..Parts::on(store.reopen(node("b")), script(), vec![]) };
    let kit = Kit::of(again);
    let load = |backends| {
        let load = LoadSession::new(session.id().clone(), Recovery::Interrupt);
        Origin::Resume(LoadSession { backends, ..load })
    };
    let without = kit.core.open(load(Backends::default())).await.unwrap();
    let input = without.run_turn(go()).await.unwrap();
    assert_eq!((input.stop, tool.runs()), (StopReason::EndTurn, 2));
    assert!(kit.model.requests()[0].tools.is_empty(), "it is not offered");
    let last =
        journal(&kit.core, &without).await.into_iter().rev().find_map(|entry| match entry.event {
            Event::ToolSettled(settled) => Some(format!("{:?}", settled.content)),
            _ => None,
        });
    assert!(last.unwrap().contains("there is no tool `lookup`"));
    let late = kit.core.open(load(brought(vec![Arc::clone(&tool)]))).await;
    assert!(matches!(late, Err(AgentError::LiveElsewhere { .. })), "it lives without it");
    without.close().await.unwrap();
    let with = kit.core.open(load(brought(vec![tool]))).await.unwrap();
    with.run_turn(go()).await.unwrap();
    assert_eq!(kit.model.requests().pop().unwrap().tools[0].name, "lookup");
}

fn own() -> ModelSelection {
    ModelSelection { provider: "own".to_owned(), model: "parrot".to_owned() }
}

fn parrot(script: Vec<Vec<Say>>) -> Arc<ScriptedModel> {
    ScriptedModel::of(ModelInfo { selection: own(), ..info() }, script)
}

#[tokio::test(start_paused = true)]
async fn a_sessions_own_model_answers_where_the_settings_name_it() {
    let kit = Kit::new(vec![says("the runtime's")], vec![]);
    let usage = Usage { input: 7, output: 2, ..Usage::default() };
    let said = vec![Say::Reply(Reply { usage, ..text("its own") })];
    let fails = vec![Say::Fail(ModelErrorKind::Overloaded, Some(20))];
    let model = parrot(vec![fails, said]);
    let backends = Backends { model: Some(Arc::clone(&model) as _), ..Backends::default() };
    let settings = Settings { model: own(), ..settings() };
    let session = open(&kit, spec(settings), backends).await;
    let ended = session.run_turn(go()).await.unwrap();
    assert_eq!((ended.stop, ended.usage), (StopReason::EndTurn, usage), "it is tried again");
    assert_eq!((model.requests().len(), kit.model.requests().len()), (2, 0));
    assert_eq!(session.status().await.unwrap().context.context_window, info().context_window);
    let change = SettingsChange { model: Some(info().selection), ..SettingsChange::default() };
    let configure = Command::Configure { change: Box::new(change), expected: None };
    session.tell(configure).await.unwrap();
    session.run_turn(go()).await.unwrap();
    assert_eq!((model.requests().len(), kit.model.requests().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn without_its_own_model_a_session_is_told_that_there_is_none_and_with_it_goes_on() {
    let store = MemoryStore::new(node("a"));
    let kit = Kit::of(Parts::on(store.clone(), vec![], vec![]));
    let settings = Settings { model: own(), ..settings() };
    let refused = kit.core.open(spec(settings.clone()).into()).await.unwrap_err();
    assert!(refused.to_string().contains("own/parrot"), "{refused}");
    let with = |script| Backends { model: Some(parrot(script) as _), ..Backends::default() };
    let session = open(&kit, spec(settings), with(vec![says("aye")])).await;
    session.run_turn(go()).await.unwrap();
    session.close().await.unwrap();

    let again = Parts { name: "b", ..Parts::on(store.reopen(node("b")), vec![], vec![]) };
    let kit = Kit::of(again);
    let load = |backends| {
        let load = LoadSession::new(session.id().clone(), Recovery::Interrupt);
        Origin::Resume(LoadSession { backends, ..load })
    };
    let without = kit.core.open(load(Backends::default())).await.unwrap();
    let ended = without.run_turn(go()).await.unwrap();
    let why = ended.error.unwrap().message;
    assert!(why.contains("own/parrot"), "{why}");
    without.close().await.unwrap();
    let session = kit.core.open(load(with(vec![says("aye again")]))).await.unwrap();
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_dead_process_ran_is_settled_though_its_dispatcher_is_not_brought_again() {
    for (effect, outcome, why) in [
        (Effect::Pure, Outcome::Cancelled, "stopped before it was done"),
        (Effect::Mutating, Outcome::Indeterminate, ""),
    ] {
        let mut found = None;
        for appends in 1..20 {
            let store = MemoryStore::new(node("a"));
            let journal = dies_after(appends, &store);
            let parts = Parts::on(store.clone(), vec![asks("lookup", "{}")], vec![]);
            let kit = Kit::of(Parts { journal, ..parts });
            let tools = brought(vec![TestTool::new("lookup", effect, Act::After(10, "found"))]);
            let session = open(&kit, spec(settings()), tools).await;
            session.run_turn(go()).await.unwrap_err();
            let said = tags(&oarlock_testkit::kit::journal(&kit.core, &session).await);
            if said.last().is_some_and(|tag| tag == "tool_started") {
                // The dead process lets go of its store here.
                found = Some((store.reopen(node("b")), session.id().clone()));
                break;
            }
        }
        let (data, session) = found.expect("it dies while the call runs");
        let kit = Kit::of(Parts { name: "b", ..Parts::on(data, vec![says("end")], vec![]) });
        let load = LoadSession::new(session, Recovery::Continue);
        let session = kit.core.open(Origin::Resume(load)).await.unwrap();
        let end = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
        assert!(matches!(&end.event, Event::TurnEnded(end) if end.stop == StopReason::EndTurn));
        let (found, words) = settled(&journal(&kit.core, &session).await);
        assert_eq!(found, outcome, "{words}");
        assert!(words.contains(why), "{words}");
    }
}
