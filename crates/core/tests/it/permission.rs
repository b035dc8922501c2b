//! Who may run what, who is asked, and what an answer means.

use std::sync::Arc;

use oarlock_core::Command;
use oarlock_core::command::{Rejection, Reply};
use oarlock_core::event::{AnsweredBy, Effect, Event, Outcome, PermissionKind, StopReason};
use oarlock_core::ids::CallId;
use oarlock_core::message::Part;
use oarlock_core::ports::tool::{Assessment, Subject};
use oarlock_core::spec::{
    Answers, Mode, ModeCatalog, PolicyBase, Rules, SandboxPolicy, SessionMode, SessionSpec,
    Settings, SettingsChange,
};
use oarlock_core::turn::permission::Verdict;
use oarlock_core::{AgentError, AskWritesPolicy, DefaultSession, SessionError};
use oarlock_testkit::kit::{Kit, journal, settings, spec, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};

fn asking() -> Settings {
    Settings { mode: Mode::ASK_WRITES, answers: Answers::Somebody, ..settings() }
}

fn write_tool() -> Arc<TestTool> {
    TestTool::new("write", Effect::Mutating, Act::Give("written".to_owned()))
}

fn ask(id: &str, what: &str) -> Vec<Say> {
    vec![Say::Reply(calls(&[(id, "write", &format!(r#"{{"what": "{what}"}}"#))]))]
}

async fn answer(
    session: &DefaultSession,
    call: &str,
    choice: PermissionKind,
) -> Result<Reply, SessionError> {
    session.tell(Command::Answer { call: CallId(call.into()), choice }).await
}

async fn outcome_of(session: &DefaultSession, call: &str) -> (Outcome, String) {
    let entry = wait_for(
        session,
        0,
        |event| matches!(event, Event::ToolSettled(settled) if settled.call.as_str() == call),
    )
    .await;
    let Event::ToolSettled(settled) = &entry.event else { unreachable!() };
    let Part::Text { text } = &settled.content[0] else { panic!("{settled:?}") };
    (settled.outcome, text.clone())
}

#[tokio::test(start_paused = true)]
async fn a_question_shows_the_call_and_an_answer_lets_it_run_once() {
    let tool = write_tool();
    let kit = Kit::new(vec![ask("a", "x"), ask("b", "x")], vec![tool.clone()]);
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    let asked = wait_for(&session, 0, |event| matches!(event, Event::PermissionAsked(_))).await;
    let Event::PermissionAsked(question) = &asked.event else { unreachable!() };
    assert_eq!(question.detail, r#"would "x""#);
    assert_eq!(question.deadline.ms_since(asked.at), 600_000);
    assert_eq!(tool.runs(), 0);
    answer(&session, "a", PermissionKind::AllowOnce).await.unwrap();
    // "Once" does not cover the second call.
    wait_for(&session, asked.seq, |event| matches!(event, Event::PermissionAsked(_))).await;
    assert_eq!(tool.runs(), 1);
    answer(&session, "b", PermissionKind::RejectOnce).await.unwrap();
    assert_eq!(outcome_of(&session, "b").await.0, Outcome::Denied);
    assert_eq!(tool.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn always_covers_what_was_shown_in_this_session_only() {
    let tool = write_tool();
    let kit = Kit::new(vec![ask("a", "x"), ask("b", "x"), ask("c", "y")], vec![tool.clone()]);
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::PermissionAsked(_))).await;
    answer(&session, "a", PermissionKind::AllowAlways).await.unwrap();
    assert_eq!(outcome_of(&session, "b").await.0, Outcome::Completed);
    let asked = wait_for(
        &session,
        0,
        |e| matches!(e, Event::PermissionAsked(asked) if asked.call.as_str() == "c"),
    )
    .await;
    answer(&session, "c", PermissionKind::RejectAlways).await.unwrap();
    wait_for(&session, asked.seq, |event| matches!(event, Event::TurnEnded(_))).await;
    assert_eq!(tool.runs(), 2);
    let other = kit.open_with(asking()).await;
    assert!(kit.core.state(other.id()).await.unwrap().granted.is_empty());
    let state = kit.core.state(session.id()).await.unwrap();
    assert_eq!(
        (state.granted.grants, state.granted.deny),
        (vec!["write(x)".to_owned()], vec!["write(y)".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_nobody_answers_takes_its_default_which_is_no() {
    let tool = write_tool();
    let kit = Kit::new(vec![ask("a", "x")], vec![tool.clone()]);
    let session = kit.open_with(asking()).await;
    let ended = session.run_turn(vec![Part::text("go")]).await.unwrap();
    assert_eq!(ended.stop, StopReason::EndTurn);
    let answered =
        wait_for(&session, 0, |event| matches!(event, Event::PermissionAnswered(_))).await;
    assert!(
        matches!(&answered.event, Event::PermissionAnswered(answered) if answered.by == AnsweredBy::Deadline)
    );
    assert_eq!(tool.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn early_late_double_foreign_and_unoffered_answers_change_nothing() {
    let tool = write_tool();
    let kit = Kit::new(vec![vec![Say::Wait(1_000), ask("a", "x").remove(0)]], vec![tool.clone()]);
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    let refused = |result: Result<Reply, SessionError>| match result.unwrap_err() {
        SessionError::Rejected(Rejection::Stale { .. }) => "stale",
        SessionError::Rejected(Rejection::Invalid { .. }) => "invalid",
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(answer(&session, "a", PermissionKind::AllowOnce).await), "stale");
    wait_for(&session, 0, |event| matches!(event, Event::PermissionAsked(_))).await;
    assert_eq!(refused(answer(&session, "other", PermissionKind::AllowOnce).await), "stale");
    answer(&session, "a", PermissionKind::RejectOnce).await.unwrap();
    assert_eq!(refused(answer(&session, "a", PermissionKind::AllowOnce).await), "stale");
    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    assert_eq!(refused(answer(&session, "a", PermissionKind::AllowOnce).await), "stale");
    assert_eq!(tool.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_answers_the_model_is_told_no_at_once() {
    let tool = write_tool();
    let kit = Kit::new(vec![ask("a", "x")], vec![tool.clone()]);
    let session = kit.open_with(Settings { answers: Answers::Nobody, ..asking() }).await;
    let before = kit.core.ports().clock.now();
    session.run_turn(vec![Part::text("go")]).await.unwrap();
    assert!(kit.core.ports().clock.now().ms_since(before) < 1_000);
    let (outcome, words) = outcome_of(&session, "a").await;
    assert_eq!((outcome, tool.runs()), (Outcome::Denied, 0));
    assert!(words.contains("ask-writes") && words.contains("nobody"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn modes_and_rules_are_told_to_the_model_when_they_refuse() {
    let deny = Rules {
        allow: vec!["write".to_owned()],
        deny: vec!["write(x)".to_owned()],
        ..Rules::default()
    };
    for (mode, rules, wanted) in [
        (Mode::READ_ONLY, Rules::default(), "read-only"),
        (Mode::DENY_ALL, Rules::default(), "deny-all"),
        (Mode::OPEN, deny, "write(x)"),
    ] {
        let tool = write_tool();
        let kit = Kit::new(vec![ask("a", "x")], vec![tool.clone()]);
        let session = kit.open_with(Settings { mode, rules, ..settings() }).await;
        session.run_turn(vec![Part::text("go")]).await.unwrap();
        let (outcome, words) = outcome_of(&session, "a").await;
        assert_eq!((outcome, tool.runs()), (Outcome::Denied, 0));
        assert!(words.contains(wanted), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn cancel_withdraws_the_question_and_settles_the_call() {
    let kit = Kit::new(vec![ask("a", "x")], vec![write_tool()]);
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::PermissionAsked(_))).await;
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    let answered =
        wait_for(&session, 0, |event| matches!(event, Event::PermissionAnswered(_))).await;
    assert!(
        matches!(&answered.event, Event::PermissionAnswered(answered) if answered.by == AnsweredBy::Cancel)
    );
    assert_eq!(outcome_of(&session, "a").await.0, Outcome::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_call_for_the_client_waits_for_its_answer_and_not_for_ever() {
    let ask = || vec![Say::Reply(calls(&[("q", "ask_user", "{}")]))];
    let kit = Kit::new(
        vec![ask(), vec![Say::Reply(text("ok"))], ask()],
        vec![TestTool::client("ask_user")],
    );
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::InputRequested(_))).await;
    let call = CallId("q".into());
    let supply = |outcome| Command::Supply {
        call: call.clone(),
        outcome,
        content: vec![Part::text("blue")],
    };
    let refused = session.tell(supply(Outcome::Denied)).await.unwrap_err();
    assert!(matches!(refused, SessionError::Rejected(Rejection::Invalid { .. })));
    session.tell(supply(Outcome::Completed)).await.unwrap();
    assert_eq!(outcome_of(&session, "q").await, (Outcome::Completed, "blue".to_owned()));
    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    session.run_turn(vec![Part::text("again")]).await.unwrap();
    let last =
        journal(&kit.core, &session).await.into_iter().rev().find_map(|entry| match entry.event {
            Event::ToolSettled(settled) => Some(settled.outcome),
            _ => None,
        });
    assert_eq!(last, Some(Outcome::Failed));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_mode_takes_effect_with_the_next_turn() {
    let tool = write_tool();
    let slow = TestTool::new("slow", Effect::Pure, Act::After(100, "x"));
    let kit = Kit::new(
        vec![
            vec![Say::Reply(calls(&[("s", "slow", "{}")]))],
            ask("a", "x"),
            vec![Say::Reply(text("ok"))],
            ask("b", "x"),
        ],
        vec![tool.clone(), slow],
    );
    let session = kit.open_with(Settings { mode: Mode::READ_ONLY, ..settings() }).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::ToolStarted(_))).await;
    let change = SettingsChange { mode: Some(Mode::OPEN), ..Default::default() };
    session.tell(Command::Configure { change: Box::new(change), expected: None }).await.unwrap();
    assert_eq!(outcome_of(&session, "a").await.0, Outcome::Denied);
    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    session.run_turn(vec![Part::text("again")]).await.unwrap();
    assert_eq!((outcome_of(&session, "b").await.0, tool.runs()), (Outcome::Completed, 1));
}

fn plan() -> SessionMode {
    let rules = Rules { allow: vec!["write(notes*)".to_owned()], ..Rules::default() };
    let policy = SandboxPolicy { base: PolicyBase::ReadOnly, rules };
    SessionMode::new(Mode::parse("plan").unwrap(), "look, think, take notes", policy)
}

#[tokio::test(start_paused = true)]
async fn a_mode_of_the_sessions_own_decides_alike_before_and_after_a_resume() {
    let tool = write_tool();
    let answers = vec![
        ask("a", "notes.md"),
        ask("b", "x"),
        vec![Say::Reply(text("ok"))],
        ask("c", "notes.md"),
        ask("d", "x"),
        vec![Say::Reply(text("ok"))],
    ];
    let kit = Kit::new(answers, vec![tool.clone()]);
    let mode = plan().descriptor.id;
    let planned = SessionSpec {
        modes: ModeCatalog::extended([plan()]).unwrap(),
        ..spec(Settings { mode, ..asking() })
    };
    let session = kit.core.open(planned.into()).await.unwrap();
    session.run_turn(vec![Part::text("go")]).await.unwrap();
    session.close().await.unwrap();
    session.run_turn(vec![Part::text("again")]).await.unwrap();
    for (call, wanted) in [
        ("a", Outcome::Completed),
        ("b", Outcome::Denied),
        ("c", Outcome::Completed),
        ("d", Outcome::Denied),
    ] {
        let (outcome, words) = outcome_of(&session, call).await;
        assert_eq!(outcome, wanted, "{call}: {words}");
        assert!(outcome == Outcome::Completed || words.contains("mode plan"), "{words}");
    }
    assert_eq!(tool.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_mode_is_refused_with_the_nearest_name_at_open_and_at_a_change() {
    let kit = Kit::new(Vec::new(), vec![write_tool()]);
    let mode = Mode::parse("readonly").unwrap();
    let planned = spec(Settings { mode: mode.clone(), ..asking() });
    let refused = kit.core.open(planned.into()).await.unwrap_err();
    assert!(
        matches!(&refused, AgentError::ModeNotFound(why) if why.nearest.as_deref() == Some("read-only")),
        "{refused}"
    );
    let session = kit.open_with(asking()).await;
    let change = SettingsChange { mode: Some(mode), ..SettingsChange::default() };
    let refused = session
        .tell(Command::Configure { change: Box::new(change), expected: None })
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("did you mean `read-only`?"), "{refused}");
    assert_eq!(kit.core.state(session.id()).await.unwrap().spec.settings.mode, Mode::ASK_WRITES);
}

#[test]
fn the_policy_of_the_default_mode_reads_unasked_and_asks_before_everything_else() {
    let policy = SandboxPolicy::from(AskWritesPolicy);
    let call = |effect| Assessment {
        effect,
        title: String::new(),
        subject: Subject { parts: vec!["x".to_owned()], complete: true },
        timeout_ms: 1,
    };
    assert_eq!(policy.classify("t", &call(Effect::Pure), &[]), Verdict::Allow);
    for effect in [Effect::Idempotent, Effect::Mutating, Effect::Destructive, Effect::Network] {
        assert_eq!(policy.classify("t", &call(effect), &[]), Verdict::Ask, "{effect:?}");
    }
    let default = ModeCatalog::default().policy(&Mode::ASK_WRITES).cloned();
    assert_eq!(default.unwrap(), policy);
}
