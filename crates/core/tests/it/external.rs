//! Tools that the client runs: offered as they are configured, waited for through deaths of the process, answered once.

use std::sync::Arc;

use oarlock_core::event::{
    Delivery, Effect, Entry, Event, FailureClass, HookChange, HookPoint, HookResult, Outcome,
    StopReason,
};
use oarlock_core::ids::{CallId, SessionId};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::spec::{Answers, ExternalTool, LimitKind, Mode, Settings, SettingsChange};
use oarlock_core::{Command, DefaultSession, ForkSession, LoadSession, Origin, Recovery};
use oarlock_testkit::hooks::{Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings, wait_for};
use oarlock_testkit::model::{AnsweringModel, Say, calls, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use oarlock_testkit::tool::{Act, TestTool};
use serde_json::json;

const DAY_MS: u64 = 24 * 3_600_000;

fn lookup() -> ExternalTool {
    ExternalTool {
        name: "lookup".to_owned(),
        description: "looks something up".to_owned(),
        input_schema: json!({ "type": "object", "properties": { "what": { "type": "string" } } }),
        effect: Some(Effect::Pure),
        deadline_ms: Some(DAY_MS),
    }
}

fn with(tools: Vec<ExternalTool>) -> Settings {
    Settings { external_tools: tools, answers: Answers::Somebody, ..settings() }
}

fn asks() -> Vec<Say> {
    vec![Say::Reply(calls(&[("c1", "lookup", r#"{"what":"x"}"#)]))]
}

/// Asks its client first, and says what it was told.
fn answer(request: &ModelRequest) -> Vec<Say> {
    match request.messages.last() {
        Some(Message::Tool { .. }) => vec![Say::Reply(text("done"))],
        _ => asks(),
    }
}

fn supply(outcome: Outcome, words: &str) -> Command {
    Command::Supply { call: CallId("c1".into()), outcome, content: vec![Part::text(words)] }
}

fn settled(entries: &[Entry]) -> Vec<(Outcome, Vec<Part>)> {
    let settled = entries.iter().filter_map(|entry| match &entry.event {
        Event::ToolSettled(settled) => Some((settled.outcome, settled.content.clone())),
        _ => None,
    });
    settled.collect()
}

async fn requested(session: &DefaultSession) {
    wait_for(session, 0, |event| matches!(event, Event::InputRequested(_))).await;
}

async fn ended(session: &DefaultSession) -> StopReason {
    let entry = wait_for(session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let Event::TurnEnded(ended) = &entry.event else { unreachable!() };
    ended.stop
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_its_client_and_takes_one_answer() {
    let kit = Kit::new(vec![asks(), vec![Say::Reply(text("done"))]], vec![]);
    let session = kit.open_with(with(vec![lookup()])).await;
    send(&session, "go", Delivery::Queue).await.unwrap();
    requested(&session).await;
    session.tell(supply(Outcome::Completed, "found")).await.unwrap();
    session.tell(supply(Outcome::Completed, "found again")).await.unwrap_err();
    assert_eq!(ended(&session).await, StopReason::EndTurn);
    let entries = journal(&kit.core, &session).await;
    assert_eq!(settled(&entries), [(Outcome::Completed, vec![Part::text("found")])]);
    let offered = kit.model.requests()[0].tools.clone();
    assert_eq!(offered.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["lookup"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_answers_and_the_model_is_told_when_the_tools_own_deadline_passes() {
    let kit = Kit::new(vec![asks(), vec![Say::Reply(text("alone"))]], vec![]);
    let session = kit.open_with(with(vec![lookup()])).await;
    send(&session, "go", Delivery::Queue).await.unwrap();
    requested(&session).await;
    let asked = kit.core.ports().clock.now();
    assert_eq!(ended(&session).await, StopReason::EndTurn);
    let waited = kit.core.ports().clock.now().ms_since(asked);
    assert!((DAY_MS..DAY_MS + 1_000).contains(&waited), "{waited}");
    let [(outcome, words)] = &settled(&journal(&kit.core, &session).await)[..] else { panic!() };
    assert_eq!((outcome, words), (&Outcome::Failed, &vec![Part::text("nobody answered in time")]));
}

#[tokio::test(start_paused = true)]
async fn the_mode_judges_a_call_by_the_effect_that_its_client_names() {
    for (effect, settled_as) in [(Some(Effect::Pure), None), (None, Some(Outcome::Denied))] {
        let kit = Kit::new(vec![asks(), vec![Say::Reply(text("done"))]], vec![]);
        let tools = vec![ExternalTool { effect, ..lookup() }];
        let session = kit.open_with(Settings { mode: Mode::READ_ONLY, ..with(tools) }).await;
        send(&session, "go", Delivery::Queue).await.unwrap();
        if settled_as.is_none() {
            requested(&session).await;
            session.tell(supply(Outcome::Failed, "no such thing")).await.unwrap();
        }
        ended(&session).await;
        let entries = journal(&kit.core, &session).await;
        let wanted = settled_as.unwrap_or(Outcome::Failed);
        assert_eq!(settled(&entries)[0].0, wanted, "{effect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_tools_are_offered_from_the_next_turn_on_and_none_of_a_name_that_is_taken() {
    let script = (0..3).map(|_| vec![Say::Reply(text("aye"))]);
    let own = TestTool::new("own", Effect::Pure, Act::Echo);
    let kit = Kit::new(script.collect(), vec![own]);
    let session = kit.open_with(with(vec![])).await;
    let configure = |names: &[&str]| {
        let tool = |name: &&str| ExternalTool { name: (*name).to_owned(), ..lookup() };
        let external_tools = Some(names.iter().map(tool).collect());
        let change = Box::new(SettingsChange { external_tools, ..SettingsChange::default() });
        Command::Configure { change, expected: None }
    };
    for (names, offered) in [
        (&["one", "two"][..], &["own", "one", "two"][..]),
        (&["two"], &["own", "two"]),
        (&[], &["own"]),
    ] {
        session.tell(configure(names)).await.unwrap();
        session.tell(configure(&["own"])).await.unwrap_err();
        kit.model.forget();
        session.run_turn(vec![Part::text("go")]).await.unwrap();
        let told = kit.model.requests()[0].tools.clone();
        assert_eq!(told.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), offered);
    }
    let clash = ExternalTool { name: "own".to_owned(), ..lookup() };
    let spec = oarlock_testkit::kit::spec(with(vec![clash]));
    assert!(kit.core.open(spec.into()).await.unwrap_err().to_string().contains("of its own"));
}

#[tokio::test(start_paused = true)]
async fn hooks_see_an_answer_before_the_journal_and_the_model_do() {
    let result = HookResult { content: vec![Part::text("[redacted]")], is_error: false };
    let change = HookChange { result: Some(result), ..HookChange::default() };
    let hooks = TestHooks::new([(HookPoint::AfterToolApply, vec![Do::Change(Box::new(change))])]);
    let script = vec![asks(), vec![Say::Reply(text("done"))]];
    let kit = Kit::of(Parts { hooks: Some(hooks), ..Parts::new(script, vec![]) });
    let session = kit.open_with(with(vec![lookup()])).await;
    send(&session, "go", Delivery::Queue).await.unwrap();
    requested(&session).await;
    session.tell(supply(Outcome::Completed, "the key is hunter2")).await.unwrap();
    assert_eq!(ended(&session).await, StopReason::EndTurn);
    let entries = journal(&kit.core, &session).await;
    assert_eq!(settled(&entries), [(Outcome::Completed, vec![Part::text("[redacted]")])]);
    assert!(!serde_json::to_string(&entries).unwrap().contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn a_death_at_every_write_loses_no_answer_and_takes_none_twice() {
    let mut waited_on = 0;
    for doom in 0.. {
        let mut lived = false;
        for last in [LastWrite::Stored, LastWrite::Lost] {
            let store = MemoryStore::new(node("site"));
            let mortal = Arc::new(MortalJournal::new(store.reopen(node("a")), 1, 0));
            let models = Some(Arc::new(AnsweringModel::new(answer)) as _);
            let parts = Parts::on(store.clone(), vec![], vec![]);
            let kit = Kit::of(Parts { models: models.clone(), journal: mortal.clone(), ..parts });
            let session = kit.open_with(with(vec![lookup()])).await;
            mortal.doom(doom, last);
            let id = session.id().clone();
            let was_told = drive(&session).await;
            if was_told == Some(true) {
                lived = true;
                break;
            }
            drop(kit);
            let parts = Parts::on(store.reopen(node("b")), vec![], vec![]);
            let kit = Kit::of(Parts { models, name: "b", ..parts });
            let load = LoadSession::new(id, Recovery::Interrupt);
            let session = kit.core.open(Origin::Resume(load)).await.unwrap();
            let state = session.state().await.unwrap();
            let waits = serde_json::to_string(&state.turn).unwrap().contains("\"Requested\"");
            if waits {
                waited_on += 1;
                session.tell(supply(Outcome::Completed, "found")).await.unwrap();
                assert_eq!(ended(&session).await, StopReason::EndTurn, "{doom} {last:?}");
            } else if state.turn.is_some() {
                ended(&session).await;
            }
            let entries = journal(&kit.core, &session).await;
            let answers = settled(&entries);
            assert!(answers.len() <= 1, "{doom} {last:?}: {answers:?}");
            if was_told == Some(false) || waits {
                assert_eq!(answers[0].1, [Part::text("found")], "{doom} {last:?}: it was taken");
            }
        }
        if lived {
            break;
        }
    }
    assert!(waited_on >= 2, "{waited_on}");
}

#[tokio::test(start_paused = true)]
async fn what_a_client_runs_counts_and_waits_as_what_runs_here() {
    let both =
        vec![Say::Reply(calls(&[("w", "write", "{}"), ("c1", "lookup", r#"{"what":"x"}"#)]))];
    let write = TestTool::new("write", Effect::Mutating, Act::After(5_000, "written"));
    let script = vec![both, asks(), vec![Say::Reply(text("done"))]];
    let kit = Kit::new(script, vec![write]);
    let mutating = ExternalTool { effect: Some(Effect::Mutating), ..lookup() };
    let mut settings = Settings { mode: Mode::OPEN, ..with(vec![mutating]) };
    settings.limits.turn.tool_calls = Some(2);
    let session = kit.open_with(settings).await;
    send(&session, "go", Delivery::Queue).await.unwrap();
    requested(&session).await;
    let before = journal(&kit.core, &session).await;
    assert_eq!(settled(&before).len(), 1, "it waited until the write before it was done");
    session.tell(supply(Outcome::Completed, "found")).await.unwrap();
    assert_eq!(ended(&session).await, StopReason::Limit(LimitKind::ToolCalls));
    assert_eq!(session.state().await.unwrap().used.tool_calls, 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_its_process_is_no_wait_because_a_client_is_asked_as_well() {
    let both = |request: &ModelRequest| match request.messages.last() {
        Some(Message::Tool { .. }) => vec![Say::Reply(text("done"))],
        _ => vec![Say::Reply(calls(&[("r", "read", "{}"), ("c1", "lookup", r#"{"what":"x"}"#)]))],
    };
    let store = MemoryStore::new(node("site"));
    let mut id = None;
    for (name, crash) in [("a", 0), ("b", 1), ("c", 2), ("d", 3)] {
        let mortal = Arc::new(MortalJournal::new(store.reopen(node(name)), 1, 0));
        let models = Some(Arc::new(AnsweringModel::new(both)) as _);
        let read = TestTool::new("read", Effect::Pure, Act::Hang);
        let parts = Parts::on(store.clone(), vec![], vec![read]);
        let kit = Kit::of(Parts { models, name, journal: mortal.clone(), ..parts });
        let session = match &id {
            None => kit.open_with(with(vec![lookup()])).await,
            Some(id) => {
                let load = LoadSession::new(SessionId::clone(id), Recovery::Continue);
                kit.core.open(Origin::Resume(load)).await.unwrap()
            }
        };
        if id.is_none() {
            send(&session, "go", Delivery::Queue).await.unwrap();
        }
        id = Some(session.id().clone());
        // Opening is told before the turn is put in order; this is answered after.
        session.status().await.unwrap();
        let state = session.state().await.unwrap();
        match state.turn {
            Some(turn) => assert_eq!(turn.crashes, crash, "{name}"),
            None => {
                let stop = ended(&session).await;
                assert_eq!(stop, StopReason::Failed(FailureClass::CrashLoop), "{name}");
                assert_eq!(crash, 3, "{name}");
                return;
            }
        }
        requested(&session).await;
        wait_for(&session, 0, |event| matches!(event, Event::ToolStarted(_))).await;
        mortal.die();
        // It learns by its next write that it is dead.
        session.tell(Command::Cancel { turn: None }).await.unwrap_err();
    }
    panic!("the turn went on for ever");
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_session_is_given_no_tools_that_an_awake_one_would_refuse() {
    let own = TestTool::new("own", Effect::Pure, Act::Echo);
    let kit = Kit::new(vec![], vec![own]);
    let session = kit.open_with(with(vec![])).await;
    session.close().await.unwrap();
    let clash = ExternalTool { name: "own".to_owned(), ..lookup() };
    let change = SettingsChange { external_tools: Some(vec![clash]), ..SettingsChange::default() };
    let change = Some(Box::new(change));
    let load = LoadSession {
        change: change.clone(),
        ..LoadSession::new(session.id().clone(), Recovery::Continue)
    };
    let fork = ForkSession { change, ..ForkSession::new(session.id().clone()) };
    for origin in [Origin::Resume(load), Origin::Fork(Box::new(fork))] {
        let refused = kit.core.open(origin).await.unwrap_err();
        assert!(refused.to_string().contains("of its own"), "{refused}");
    }
}

/// Asks, answers, and waits for the end: whether that came, or nothing when not even the answer was taken.
async fn drive(session: &DefaultSession) -> Option<bool> {
    let mut events = session.events(0);
    send(session, "go", Delivery::Queue).await.ok()?;
    let mut was_told = None;
    loop {
        let event = session.next_event(&mut events).await.ok().and_then(|event| match event {
            oarlock_core::AgentEvent::Entry(entry) => Some(entry),
            _ => None,
        });
        match event.as_ref().map(|entry| &entry.event) {
            Some(Event::InputRequested(_)) => {
                session.tell(supply(Outcome::Completed, "found")).await.ok()?;
                was_told = Some(false);
            }
            Some(Event::TurnEnded(_)) => return Some(true),
            Some(_) => {}
            None if session.core().is_awake(session.id()) => {}
            None => return was_told,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_arguments_do_not_fit_fails_and_the_client_does_not_hear_of_it() {
    let wrong = vec![Say::Reply(calls(&[("c0", "lookup", r#"{"what":7}"#)]))];
    let kit = Kit::new(vec![wrong, asks(), vec![Say::Reply(text("done"))]], vec![]);
    let session = kit.open_with(with(vec![lookup()])).await;
    send(&session, "go", Delivery::Queue).await.unwrap();
    requested(&session).await;
    let entries = journal(&kit.core, &session).await;
    let asked = entries.iter().filter_map(|entry| match &entry.event {
        Event::InputRequested(asked) => Some(asked.call.as_str()),
        _ => None,
    });
    assert_eq!(asked.collect::<Vec<_>>(), ["c1"]);
    let (outcome, content) = settled(&entries).remove(0);
    assert_eq!(outcome, Outcome::Failed);
    let words =
        "the arguments do not fit the schema of `lookup`:\n/what: 7 is not of type \"string\"";
    assert_eq!(content, [Part::text(words)]);
    session.tell(supply(Outcome::Completed, "found")).await.unwrap();
    assert_eq!(ended(&session).await, StopReason::EndTurn);
}
