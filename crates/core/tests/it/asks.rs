//! Slash commands done to a live session: what they answer, what they change, and that a summary can be cancelled.

use oarlock_core::command::{Command, Rejection};
use oarlock_core::event::{Delivery, Event};
use oarlock_core::message::Part;
use oarlock_core::prompt::answer::{Answer, AskError, Change, Question, ask};
use oarlock_core::spec::{Mode, ModelSelection};
use oarlock_core::{DefaultSession, SessionError};
use oarlock_testkit::kit::{Kit, Parts, journal, send, tags, wait_for};
use oarlock_testkit::model::{Say, selection, text};

fn say(words: &str) -> Vec<Say> {
    vec![Say::Reply(text(words))]
}

/// A session after two turns, the second one long.
async fn talked(kit: &Kit) -> DefaultSession {
    let session = kit.open().await;
    for words in ["begin".to_owned(), "row ".repeat(5_000), "more".to_owned()] {
        session.run_turn(vec![Part::text(words)]).await.unwrap();
    }
    session
}

#[tokio::test(start_paused = true)]
async fn asking_changes_nothing_and_a_change_is_for_the_next_turn() {
    let kit = Kit::new(vec![say("aye")], vec![]);
    let session = kit.open().await;
    session.run_turn(vec![Part::text("hello")]).await.unwrap();
    let before = journal(&kit.core, &session).await;
    let Answer::Context { context } = ask(&session, Question::Context).await.unwrap() else {
        panic!()
    };
    assert!(context.used_tokens > 0 && context.context_window == Some(100_000), "{context:?}");
    let Answer::Usage { turns, usage, .. } = ask(&session, Question::Usage).await.unwrap() else {
        panic!()
    };
    assert!(turns == 1 && usage.total() > 0);
    let answer = ask(&session, Question::Model).await.unwrap();
    assert_eq!(answer, Answer::Model { model: selection(), changed: false });
    assert_eq!(ask(&session, Question::Queue).await.unwrap().to_string(), "nothing waits");
    assert_eq!(journal(&kit.core, &session).await.len(), before.len());

    let answer = ask(&session, Change::Mode(Mode::READ_ONLY)).await.unwrap();
    assert_eq!(answer.to_string(), "mode: read-only from the next turn on");
    assert_eq!(ask(&session, Question::Mode).await.unwrap().to_string(), "mode: read-only");
    let unknown = ask(&session, Change::Mode(Mode::parse("rowing").unwrap())).await.unwrap_err();
    assert!(unknown.to_string().contains("there is no mode `rowing`"), "{unknown}");
    let other = ModelSelection { provider: "test".to_owned(), model: "other".to_owned() };
    drop(ask(&session, Change::Model(other)).await);
    session.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_listed_with_numbers_and_taken_back_by_them() {
    let kit =
        Kit::new(vec![vec![Say::Wait(60_000), Say::Reply(text("one"))], say("three")], vec![]);
    let session = kit.open().await;
    session.prompt(vec![Part::text("one")]).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TurnStarted(_))).await;
    send(&session, "two", Delivery::Queue).await.unwrap();
    send(&session, "three\nand more", Delivery::Queue).await.unwrap();
    let queue = ask(&session, Question::Queue).await.unwrap();
    assert_eq!(queue.to_string(), "1  two\n2  three");
    let withdrawn = ask(&session, Change::Withdraw(1)).await.unwrap();
    assert_eq!(withdrawn.to_string(), "withdrawn: two");
    assert_eq!(ask(&session, Question::Queue).await.unwrap().to_string(), "1  three");
    let wrong = ask(&session, Change::Withdraw(2)).await.unwrap_err();
    assert_eq!(wrong.to_string(), "there is no number 2 in the queue: 1 wait; /queue lists them");
    let busy = ask(&session, Change::Compact(None)).await.unwrap_err();
    assert!(matches!(busy, AskError::Session(SessionError::Rejected(Rejection::Busy))), "{busy}");
    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    session.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_summary_is_waited_for_and_its_failure_is_told() {
    let summaries = vec![say("They rowed."), vec![Say::Reply(text(""))]];
    let kit = Kit::of(Parts { summaries, ..Parts::new(vec![], vec![]) });
    let session = talked(&kit).await;
    let made = ask(&session, Change::Compact(Some("keep the oars".to_owned()))).await.unwrap();
    let Answer::Compact { tokens_before, tokens_after } = made else { panic!("{made:?}") };
    assert!(tokens_after < tokens_before, "{made}");
    let failed = ask(&session, Change::Compact(None)).await.unwrap_err();
    assert_eq!(failed.to_string(), "nothing was summarised: the model wrote nothing");
    session.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_summary_that_somebody_asked_for_can_be_cancelled() {
    let kit = Kit::of(Parts { summaries: vec![vec![Say::Silence]], ..Parts::new(vec![], vec![]) });
    let session = talked(&kit).await;
    let cancelled = async {
        wait_for(&session, 0, |event| matches!(event, Event::SummaryStarted(_))).await;
        session.tell(Command::Cancel { turn: None }).await.unwrap();
    };
    let (asked, ()) = tokio::join!(ask(&session, Change::Compact(None)), cancelled);
    assert_eq!(asked.unwrap_err().to_string(), "nothing was summarised: it was cancelled");
    let refused = session.tell(Command::Cancel { turn: None }).await.unwrap_err();
    assert!(matches!(refused, SessionError::Rejected(Rejection::NotRunning)), "{refused}");
    session.run_turn(vec![Part::text("on we go")]).await.unwrap();
    let tags = tags(&journal(&kit.core, &session).await);
    assert_eq!(tags.iter().filter(|tag| *tag == "summary_failed").count(), 1, "{tags:?}");
    session.close().await.unwrap();
}
