//! Turns whose answer has a form: it is held against its schema, asked for again within the turn, and journaled as it was written.

use std::sync::Arc;

use oarlock_core::command::{Admit, Command, Rejection};
use oarlock_core::event::{
    ContinuedBy, Delivery, Effect, Event, FailureClass, PrefixBreak, StepStarted, StopReason,
    TurnEnded,
};
use oarlock_core::ids::SessionId;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Part, ReplyStop};
use oarlock_core::ports::journal::Journal;
use oarlock_core::ports::model::{ModelErrorKind, ModelInfo, Reply};
use oarlock_core::spec::{
    Bounds, LimitKind, Limits, OutputChange, OutputSchema, SchemaWarning, Settings, SettingsChange,
    StructuredOutput,
};
use oarlock_core::{
    AgentEvent, DefaultSession, LoadSession, Origin, Recovery, SessionError, TurnError,
};
use oarlock_testkit::kit::{Kit, Parts, admit, journal, node, pursue, send, settings, wait_for};
use oarlock_testkit::model::{OneModel, Say, ScriptedModel, calls, info, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use oarlock_testkit::tool::{Act, TestTool};
use serde_json::json;

fn say(words: &str) -> Vec<Say> {
    vec![Say::Reply(text(words))]
}

fn schema() -> OutputSchema {
    OutputSchema::new(json!({"type": "object", "required": ["n"],
        "properties": {"n": {"type": "integer", "minimum": 1}}}))
}

fn formed(retries: u32) -> Settings {
    let output = Some(StructuredOutput { schema: schema(), retries });
    Settings { output, ..settings() }
}

async fn ended(session: &DefaultSession) -> TurnEnded {
    let entry = wait_for(session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let Event::TurnEnded(ended) = &entry.event else { unreachable!() };
    ended.clone()
}

async fn run(settings: Settings, script: Vec<Vec<Say>>) -> (TurnEnded, Kit, DefaultSession) {
    let kit = Kit::new(script, vec![TestTool::new("t", Effect::Pure, Act::After(1, "x"))]);
    let session = kit.open_with(settings).await;
    send(&session, "how many?", Delivery::Queue).await.unwrap();
    (ended(&session).await, kit, session)
}

async fn again(kit: &Kit, session: &DefaultSession) -> usize {
    let entries = journal(&kit.core, session).await;
    let by =
        |event: &Event| matches!(event, Event::TurnContinued(c) if c.by == ContinuedBy::Output);
    entries.iter().filter(|entry| by(&entry.event)).count()
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_form_ends_the_turn_as_it_was_written() {
    let answers = ["{\"n\": 1.0e0}", "```json\n{\"n\": 1.0e0}\n```"];
    for answer in answers {
        let tool = vec![Say::Reply(calls(&[("c", "t", "{}")]))];
        let (told, kit, session) = run(formed(2), vec![tool, say(answer)]).await;
        assert_eq!((told.stop, told.steps), (StopReason::EndTurn, 2));
        assert_eq!(told.structured_output.as_deref(), Some("{\"n\": 1.0e0}"));
        assert_eq!(again(&kit, &session).await, 0);
        let requests = kit.model.requests();
        // The model has no field for it, so that it is told; each step begins as the one before.
        assert!(requests[0].system.starts_with("be brief\n\n# The form of your answer"));
        assert!(requests[0].system.ends_with(&schema().text()));
        assert_eq!(
            (&requests[0].system, requests[0].output.is_none()),
            (&requests[1].system, true)
        );
        assert_eq!(requests[1].messages.len(), 3, "nothing is said beside it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_misfit_is_told_what_is_wrong_within_the_same_turn() {
    let script = vec![say("one"), say("{\"n\": 0}"), say("{\"n\": 3}"), say("free")];
    let (told, kit, session) = run(formed(2), script).await;
    assert_eq!((told.stop, told.steps), (StopReason::EndTurn, 3));
    assert_eq!(told.structured_output.as_deref(), Some("{\"n\": 3}"));
    assert_eq!(again(&kit, &session).await, 2);
    let requests = kit.model.requests();
    let last = |request: usize| format!("{:?}", requests[request].messages.last().unwrap());
    assert!(last(1).contains("not JSON alone"), "{}", last(1));
    assert!(last(2).contains("/n: 0 is less than the minimum of 1"), "{}", last(2));
    // Retries are a turn's own, and the form is the session's until it is told otherwise.
    let change = SettingsChange { output: Some(OutputChange::Text), ..SettingsChange::default() };
    session.tell(Command::Configure { change: Box::new(change), expected: None }).await.unwrap();
    let free = session.run_turn(vec![Part::text("and?")]).await.unwrap();
    assert_eq!((free.stop, free.structured_output), (StopReason::EndTurn, None));
}

#[tokio::test(start_paused = true)]
async fn answers_that_never_fit_fail_the_turn_with_all_there_is_to_know() {
    for retries in [0, 1] {
        let script = vec![say("one"), say("two")];
        let (told, kit, session) = run(formed(retries), script).await;
        assert_eq!(told.stop, StopReason::Failed(FailureClass::StructuredOutput));
        assert_eq!((told.structured_output.clone(), told.steps), (None, retries + 1));
        assert_eq!(again(&kit, &session).await, retries as usize);
        let error = told.error.clone().unwrap();
        let why = error.output.unwrap();
        assert!(error.message.contains(&why.reason) && why.reason.contains("not JSON"));
        let last = ["one", "two"][retries as usize];
        assert_eq!((why.attempts, why.last_output.as_str()), (retries + 1, last));
        let Err(TurnError::StructuredOutput(failure)) = told.outcome() else { panic!() };
        assert_eq!(failure.attempts, retries + 1);
    }
    let (told, ..) = run(formed(0), vec![say(&"ü".repeat(20_000))]).await;
    let why = told.error.unwrap().output.unwrap();
    assert_eq!(why.last_output.len(), 16 * 1024);
}

#[tokio::test(start_paused = true)]
async fn other_ends_have_their_own_reasons_and_no_output() {
    let stopped = |stop: ReplyStop| {
        let mut reply = text("{\"n\": 1}");
        reply.stop = stop;
        vec![Say::Reply(reply)]
    };
    let failed = vec![Say::Fail(ModelErrorKind::Auth, None)];
    let table = [
        (stopped(ReplyStop::MaxTokens), StopReason::MaxTokens),
        (stopped(ReplyStop::Refusal), StopReason::Refusal),
        (failed, StopReason::Failed(FailureClass::Model(ModelErrorKind::Auth))),
    ];
    for (last, wanted) in table {
        let (told, ..) = run(formed(2), vec![say("one"), last]).await;
        assert_eq!((told.stop, told.structured_output), (wanted, None));
    }
    let turn = Bounds { steps: Some(2), ..Bounds::default() };
    let limits = Limits { turn, ..Limits::default() };
    let limited = Settings { limits, ..formed(16) };
    let (told, kit, session) =
        run(limited.clone(), vec![say("one"), say("two"), say("three")]).await;
    assert_eq!((told.stop, told.steps), (StopReason::Limit(LimitKind::Steps), 2));
    assert_eq!(again(&kit, &session).await, 1, "nothing is said in vain");
    let (told, ..) = run(limited, vec![say("one"), say("{\"n\": 1}")]).await;
    assert_eq!((told.stop, told.structured_output.is_some()), (StopReason::EndTurn, true));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_between_two_attempts_ends_the_turn_as_cancelled() {
    let kit = Kit::new(vec![say("one"), vec![Say::Silence]], vec![]);
    let session = kit.open_with(formed(2)).await;
    send(&session, "how many?", Delivery::Queue).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TurnContinued(_))).await;
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    let told = ended(&session).await;
    assert_eq!((told.stop, told.structured_output), (StopReason::Cancelled, None));
}

const SCRIPT: [&str; 4] = ["one", "{\"n\": 0}", "{\"n\": 2}", "{}"];

/// A process that dies with its write number `writes`; `None` when it lived.
async fn crash(writes: u32, last: LastWrite) -> Option<(MemoryStore, SessionId)> {
    let store = MemoryStore::new(node("a"));
    let dying = Arc::new(MortalJournal::new(store.clone(), 1, 0));
    let parts = Parts::on(store.clone(), SCRIPT.map(say).to_vec(), vec![]);
    let kit = Kit::of(Parts { journal: Arc::clone(&dying) as Arc<dyn Journal>, ..parts });
    let session = kit.open_with(formed(2)).await;
    dying.doom(writes, last);
    if session.tell(admit("how many?", Delivery::Queue)).await.is_ok() {
        let mut events = session.events(0);
        while let Ok(event) = session.next_event(&mut events).await {
            if let AgentEvent::Entry(entry) = event
                && matches!(entry.event, Event::TurnEnded(_))
            {
                return None;
            }
        }
    }
    assert!(dying.is_dead());
    Some((store.reopen(node("b")), session.id().clone()))
}

#[tokio::test(start_paused = true)]
async fn a_death_at_every_write_keeps_the_form_and_the_count_of_attempts() {
    for last in [LastWrite::Stored, LastWrite::Lost] {
        let mut deaths = 0;
        while let Some((store, id)) = crash(deaths, last).await {
            deaths += 1;
            let core =
                Kit::of(Parts { name: "c", ..Parts::on(store.clone(), vec![], vec![]) }).core;
            let before = core.state(&id).await.unwrap();
            assert_eq!(before.spec.settings.output, formed(2).output);
            if before.first_words.is_empty() {
                continue;
            }
            let rest = SCRIPT.into_iter().skip(before.used.steps as usize).map(say).collect();
            let kit = Kit::of(Parts { name: "b", ..Parts::on(store, rest, vec![]) });
            let load = LoadSession::new(id, Recovery::Continue);
            let session = kit.core.open(Origin::Resume(load)).await.unwrap();
            let told = ended(&session).await;
            assert_eq!(told.structured_output.as_deref(), Some("{\"n\": 2}"), "death {deaths}");
            assert_eq!((told.stop, told.steps), (StopReason::EndTurn, 3));
            assert_eq!(again(&kit, &session).await, 2, "death {deaths}");
        }
        assert!(deaths >= 4, "{deaths}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_form_may_come_with_an_input_for_its_turn_alone() {
    let script = vec![say("free"), say("{\"n\": 1}"), say("free"), say("free")];
    let kit = Kit::new(script, vec![]);
    let session = kit.open().await;
    assert_eq!(session.run_turn(vec![Part::text("a")]).await.unwrap().structured_output, None);
    let Command::Admit(plain) = admit("b", Delivery::Queue) else { unreachable!() };
    let output = Some(Box::new(StructuredOutput::new(schema())));
    let formed = Admit { output, ..plain };
    session.tell(Command::Admit(formed.clone())).await.unwrap();
    let tip = session.status().await.unwrap().tip;
    let told = wait_for(&session, tip - 4, |event| matches!(event, Event::TurnEnded(_))).await;
    let Event::TurnEnded(told) = &told.event else { unreachable!() };
    assert!(told.structured_output.is_some(), "{told:?}");
    for _ in 0..2 {
        assert_eq!(session.run_turn(vec![Part::text("c")]).await.unwrap().structured_output, None);
    }
    assert_eq!(session.status().await.unwrap().settings.output, None);
    // What breaks the cached beginning of requests is said, and it is said once.
    let entries = journal(&kit.core, &session).await;
    let breaks = entries.iter().filter_map(|entry| match &entry.event {
        Event::StepStarted(StepStarted { prefix_break, .. }) => Some(*prefix_break),
        _ => None,
    });
    let wanted = [None, Some(PrefixBreak::Output), Some(PrefixBreak::Output), None];
    assert_eq!(breaks.collect::<Vec<_>>(), wanted);
    // The turn that a steering input finds has its own.
    let steer = Admit { delivery: Delivery::Steer, ..formed.clone() };
    let refused = session.tell(Command::Admit(steer)).await;
    assert!(
        matches!(refused, Err(SessionError::Rejected(Rejection::Invalid { .. }))),
        "{refused:?}"
    );
    let broken = OutputSchema::new(json!({"type": "strng"}));
    let output = Some(Box::new(StructuredOutput::new(broken)));
    let refused = session.tell(Command::Admit(Admit { output, ..formed })).await;
    let Err(SessionError::Rejected(Rejection::Invalid { what })) = refused else { panic!() };
    assert!(what.contains("at /type"), "{what}");
}

#[tokio::test(start_paused = true)]
async fn the_goal_comes_before_the_form() {
    let script = vec![say("half"), say("{\"n\": 1}"), say("{\"n\": 2}")];
    let kit = Kit::new(script, vec![]);
    let session = kit.open_with(formed(2)).await;
    session.tell(pursue("count", 1)).await.unwrap();
    let told = ended(&session).await;
    assert_eq!((told.steps, told.structured_output.as_deref()), (2, Some("{\"n\": 1}")));
    assert_eq!(again(&kit, &session).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_says_it_itself_is_given_the_form_and_what_it_leaves_out_is_told_once() {
    let warning = SchemaWarning {
        provider: "test".to_owned(),
        path: "/properties/n/minimum".to_owned(),
        message: "`minimum` is not sent".to_owned(),
    };
    let warned =
        |reply: Reply| vec![Say::Reply(Reply { warnings: vec![warning.clone()], ..reply })];
    let script = ["{\"n\": 0}", "{\"n\": 1}"].map(|words| warned(text(words)));
    let script = [vec![warned(calls(&[("c", "t", "{}")]))], script.to_vec()].concat();
    let model = ScriptedModel::of(ModelInfo { takes_output: true, ..info() }, script);
    let models = Some(Arc::new(OneModel(Arc::clone(&model))) as _);
    let tool = TestTool::new("t", Effect::Pure, Act::After(1, "x"));
    let kit = Kit::of(Parts { models, ..Parts::new(vec![], vec![tool]) });
    let session = kit.open_with(formed(1)).await;
    send(&session, "how many?", Delivery::Queue).await.unwrap();
    let told = ended(&session).await;
    // Held against all of it, whatever the provider was sent.
    assert_eq!(told.structured_output.as_deref(), Some("{\"n\": 1}"));
    assert_eq!(again(&kit, &session).await, 1);
    for request in model.requests() {
        assert_eq!((request.system.as_str(), request.output), ("be brief", Some(schema())));
    }
    let entries = journal(&kit.core, &session).await;
    let warnings = entries.iter().filter_map(|entry| match &entry.event {
        Event::AssistantMessage(message) => Some(message.schema_warnings.clone()),
        _ => None,
    });
    assert_eq!(warnings.collect::<Vec<_>>(), [vec![warning], vec![], vec![]]);
}

#[tokio::test(start_paused = true)]
async fn a_subagent_has_no_form_of_its_parents() {
    let answer = |request: &oarlock_core::ports::model::ModelRequest| {
        let is_child = request.messages.len() == 1 && !request.system.contains("# The form");
        let reply = match (is_child, request.messages.len()) {
            (true, _) => text("found it"),
            (false, 1) => calls(&[("s", "spawn_agent", r#"{"what": "look"}"#)]),
            (false, _) => text("{\"n\": 1}"),
        };
        vec![Say::Reply(reply)]
    };
    let spawn = Act::Spawn(Box::new(oarlock_testkit::tool::order()));
    let spawn = TestTool::new("spawn_agent", Effect::Idempotent, spawn);
    let kit = crate::subagents::kit_with(answer, vec![spawn]);
    let session = kit.open_with(formed(0)).await;
    let told = session.run_turn(vec![Part::text("go")]).await.unwrap();
    assert_eq!((told.structured_output.is_some(), told.steps), (true, 3));
    let opened = crate::subagents::opened(&journal(&kit.core, &session).await);
    assert_eq!(kit.core.state(&opened[0].child).await.unwrap().spec.settings.output, None);
}
