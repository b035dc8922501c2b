//! Histories as programs change them: detached, and that of a session.

use std::sync::Arc;

use oarlock_core::event::Event;
use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, ToolResult};
use oarlock_core::{
    AgentError, Command, History, HistoryError, Message, Part, Rejection, Session, SessionError,
    VecHistory,
};
use oarlock_testkit::kit::{Kit, journal};
use oarlock_testkit::model::Say;

fn user(text: &str) -> Message {
    Message::User { parts: vec![Part::text(text)] }
}

fn says(text: &str) -> Message {
    let content = Content::Text { text: text.to_owned() };
    Message::Assistant { blocks: vec![Block { content, native: None }] }
}

fn asks(call: &str) -> Message {
    let content = Content::ToolCall {
        id: CallId(call.into()),
        name: "look".to_owned(),
        arguments: "{}".to_owned(),
    };
    Message::Assistant { blocks: vec![Block { content, native: None }] }
}

fn answers(call: &str) -> Message {
    let (call, name, parts) = (CallId(call.into()), "look".to_owned(), vec![Part::text("seen")]);
    Message::Tool { results: vec![ToolResult { call, name, parts, is_error: false }] }
}

/// What both kinds of history do alike.
async fn changes(history: &dyn History) {
    assert!(history.is_empty().await.unwrap());
    assert_eq!(history.token_estimate().await.unwrap(), None);
    history.append(user("one")).await.unwrap();
    history.append(says("two")).await.unwrap();
    history.append(user("three")).await.unwrap();
    let seen = history.snapshot().await.unwrap();
    assert_eq!(*seen, [user("one"), says("two"), user("three")]);

    history.splice_prefix(2, user("before: one, two")).await.unwrap();
    assert_eq!(*history.snapshot().await.unwrap(), [user("before: one, two"), user("three")]);
    assert_eq!(seen.len(), 3, "a snapshot stays what it was");

    for refused in [
        history.append(answers("1")).await,
        history.replace(vec![says("a beginning")]).await,
        history.splice_prefix(9, user("too much")).await,
        history.splice_prefix(1, says("a beginning")).await,
    ] {
        assert!(matches!(refused, Err(HistoryError::Broken { .. })), "{refused:?}");
    }
    assert_eq!(history.len().await.unwrap(), 2);

    history.replace(vec![user("a"), asks("1"), answers("1"), says("b")]).await.unwrap();
    let cut = history.truncate(2).await;
    assert!(matches!(cut, Err(HistoryError::Broken { .. })), "a call would lose its result");
    history.truncate(9).await.unwrap();
    history.truncate(1).await.unwrap();
    assert_eq!(*history.snapshot().await.unwrap(), [user("a")]);
    let tokens = history.token_estimate().await.unwrap().unwrap();
    assert!(tokens > 0);
    history.append(user(&"x".repeat(3_000))).await.unwrap();
    assert!(history.token_estimate().await.unwrap().unwrap() >= tokens + 1_000);
}

#[tokio::test]
async fn a_detached_history_changes_by_the_rules_of_conversations() {
    changes(&VecHistory::default()).await;
    let broken = VecHistory::from_messages([user("a"), answers("1")]).unwrap_err();
    assert!(matches!(broken, HistoryError::Broken { .. }), "{broken}");
    let history = VecHistory::from_messages([user("a")]).unwrap();
    history.append(asks("1")).await.unwrap();
    assert!(history.append(user("b")).await.is_err(), "a call is left without its result");
    history.append(answers("1")).await.unwrap();
}

#[tokio::test]
async fn w12_what_a_provider_counted_is_not_counted_again() {
    let history = VecHistory::from_messages([user(&"x".repeat(9_000))]).unwrap();
    history.record_input_tokens(500).await.unwrap();
    assert_eq!(history.token_estimate().await.unwrap(), Some(500));
    history.append(says("and this much")).await.unwrap();
    let more = history.token_estimate().await.unwrap().unwrap();
    assert!((501..600).contains(&more), "{more}");
    history.truncate(1).await.unwrap();
    assert!(history.token_estimate().await.unwrap().unwrap() > 2_000, "the count is void");
}

#[tokio::test(start_paused = true)]
async fn w02_a_sessions_history_is_its_journal() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open().await;
    let history = session.history();
    changes(history.as_ref()).await;
    let counted = history.record_input_tokens(1).await;
    assert!(matches!(counted, Err(HistoryError::CountedByTurns)), "{counted:?}");
    let shown = history.snapshot().await.unwrap();
    let edits = journal(&kit.core, &session).await;
    let edits = edits.iter().filter(|entry| matches!(entry.event, Event::HistoryEdited(_)));
    assert!(edits.count() >= 7, "each change is an entry");
    session.close().await.unwrap();
    assert_eq!(history.snapshot().await.unwrap(), shown);
    assert_eq!(session.history_snapshot().await.unwrap(), shown);
    assert!(!kit.core.is_awake(session.id()), "reading has woken it");
    history.append(says("awake")).await.unwrap();
    session.run_turn(vec![Part::text("go on")]).await.unwrap();
    let asked = kit.model.requests();
    assert_eq!(asked[0].messages.len(), shown.len() + 2);
    assert_eq!(asked[0].messages[..shown.len()], shown[..]);
}

#[tokio::test(start_paused = true)]
async fn w07_a_history_is_not_changed_under_a_running_turn() {
    let kit = Kit::new(vec![vec![Say::Silence]], vec![]);
    let session = Arc::new(kit.open().await);
    session.prompt(vec![Part::text("go")]).await.unwrap();
    let history = session.history();
    let before = history.snapshot().await.unwrap();
    for refused in
        [history.append(user("x")).await, history.replace(vec![]).await, history.truncate(0).await]
    {
        assert!(matches!(refused, Err(HistoryError::Busy)), "{refused:?}");
    }
    let compacted = session.compact_now().await;
    assert!(matches!(compacted, Err(AgentError::Rejected(Rejection::Busy))), "{compacted:?}");
    assert_eq!(history.snapshot().await.unwrap(), before);
    session.cancel_turn().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_history_of_an_archived_session_stays_as_it_is_until_it_is_restored() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open().await;
    session.run_turn(vec![Part::text("go")]).await.unwrap();
    session.tell(Command::Archive).await.unwrap();
    let history = session.history();
    let before = history.snapshot().await.unwrap();
    for refused in
        [history.append(user("x")).await, history.replace(vec![]).await, history.truncate(0).await]
    {
        let archived = HistoryError::Session(SessionError::Rejected(Rejection::Archived));
        assert_eq!(refused.unwrap_err().to_string(), archived.to_string());
    }
    assert_eq!(history.snapshot().await.unwrap(), before);
    session.tell(Command::Restore).await.unwrap();
    history.append(user("x")).await.unwrap();
    assert_eq!(history.len().await.unwrap(), before.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn appends_of_many_at_once_are_all_there_each_at_the_end() {
    let kit = Kit::new(vec![], vec![]);
    let history = kit.open().await.history();
    let appends = (0..50).map(|n| {
        let history = Arc::clone(&history);
        async move { history.append(user(&format!("{n}"))).await }
    });
    for appended in futures::future::join_all(appends).await {
        appended.unwrap();
    }
    let mut texts: Vec<String> = history
        .snapshot()
        .await
        .unwrap()
        .iter()
        .map(|message| match message {
            Message::User { parts } => format!("{parts:?}"),
            other => panic!("{other:?}"),
        })
        .collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_compacted_on_request_or_says_that_there_is_nothing_to_do() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open().await;
    assert_eq!(session.compact_now().await.unwrap(), None);
}
