//! Scripts: the documented example plays as documented, and what is no script is refused with its place.

use std::sync::Arc;

use futures::StreamExt;
use oarlock_core::event::DeltaItem;
use oarlock_core::message::{Block, Content, Message, Part, ReplyStop};
use oarlock_core::ports::clock::SystemClock;
use oarlock_core::ports::model::{Model, ModelError, ModelErrorKind, ModelEvent, Reply};
use oarlock_models::{ScriptError, ScriptModel, Scripts};

use crate::recorded::request;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/script.md"));

fn load(text: impl AsRef<[u8]>) -> Result<ScriptModel, ScriptError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("play.json");
    std::fs::write(&path, text).unwrap();
    ScriptModel::load(&path, Arc::new(SystemClock::new()))
}

/// What the model says after so many answers of its own.
async fn call(model: &ScriptModel, answers: usize) -> (String, Result<Reply, ModelError>) {
    let block = Block { content: Content::Text { text: "x".into() }, native: None };
    let user = Message::User { parts: vec![Part::text("go")] };
    let turn = [user.clone(), Message::Assistant { blocks: vec![block] }];
    let mut messages: Vec<Message> = turn.iter().cycle().take(2 * answers).cloned().collect();
    messages.push(user);
    let mut shown = String::new();
    let mut events = model.call(request(messages));
    while let Some(event) = events.next().await {
        match event {
            Ok(ModelEvent::Delta { item: DeltaItem::Text { .. }, text }) => shown.push_str(&text),
            Ok(ModelEvent::Delta { .. } | ModelEvent::Alive | ModelEvent::Waits { .. }) => {}
            Ok(ModelEvent::Reply(reply)) => return (shown, Ok(reply)),
            Err(error) => return (shown, Err(error)),
        }
    }
    panic!("the stream ended without an answer");
}

#[tokio::test]
async fn the_documented_example_plays_as_documented() {
    let example = PAGE.split("```json").nth(1).unwrap().split("```").next().unwrap();
    let model = load(example).unwrap();
    let (shown, first) = call(&model, 0).await;
    let first = first.unwrap();
    assert_eq!(shown, "I look at the notes.");
    assert_eq!(first.stop, ReplyStop::ToolUse);
    assert!(
        matches!(&first.blocks[0].content, Content::Thinking { text } if text == "I should look first.")
    );
    assert!(matches!(&first.blocks[2].content, Content::ToolCall { name, arguments, .. }
        if name == "read_file" && arguments == r#"{"path":"notes.txt"}"#));
    let (cut, failed) = call(&model, 1).await;
    let failed = failed.unwrap_err();
    assert_eq!((cut.as_str(), failed.kind), ("I was say", ModelErrorKind::Overloaded));
    assert_eq!(failed.retry_after_ms, Some(50));
    let (shown, second) = call(&model, 1).await;
    let second = second.unwrap();
    assert_eq!((shown.as_str(), second.stop), ("The notes say how to row.", ReplyStop::EndTurn));
    assert_eq!((second.usage.input, second.usage.output), (120, 9));
    let (_, over) = call(&model, 2).await;
    let over = over.unwrap_err();
    assert_eq!(over.kind, ModelErrorKind::InvalidRequest);
    assert!(over.message.contains("repeat_last"), "{over}");
}

#[tokio::test]
async fn the_last_step_repeats_where_that_is_said_and_odd_arguments_are_sent_as_they_stand() {
    let model = load(r#"{"steps":[{"calls":[{"name":"f","arguments":"{oops"}],"stop":{"other":"x"}}],"repeat_last":true}"#).unwrap();
    for answers in [0, 5] {
        let reply = call(&model, answers).await.1.unwrap();
        assert_eq!(reply.stop, ReplyStop::Other("x".into()));
        assert!(
            matches!(&reply.blocks[0].content, Content::ToolCall { arguments, .. } if arguments == "{oops")
        );
    }
}

#[test]
fn what_is_no_script_is_refused_with_its_place() {
    let told = |error: ScriptError| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        (error.to_string(), cause.unwrap_or_default())
    };
    for (text, words) in [
        (r#"{"steps":[{"txt":"x"}]}"#, "unknown field `txt`"),
        (r#"{"steps":[{"calls":[{"name":"f"}]}]}"#, "missing field `arguments`"),
        (r#"{"steps":[{"errors":[{"kind":"tired"}]}]}"#, "unknown variant `tired`"),
        ("row", "line 1 column"),
    ] {
        let (error, cause) = told(load(text).unwrap_err());
        assert!(error.contains("play.json"), "{error}");
        assert!(cause.contains(words) && cause.contains("line 1"), "{cause}");
        assert!(!error.contains(&cause), "the cause is told once");
    }
    let (error, _) = told(load(vec![b' '; (1 << 20) + 1]).unwrap_err());
    assert!(error.contains("1 MiB"), "{error}");
    let missing = ScriptModel::load("/nowhere/at all.json".as_ref(), Arc::new(SystemClock::new()));
    assert!(told(missing.unwrap_err()).0.contains("/nowhere/at all.json"));
    // A device without end is not read to its end.
    let endless = ScriptModel::load("/dev/zero".as_ref(), Arc::new(SystemClock::new()));
    assert!(told(endless.unwrap_err()).0.contains("1 MiB"));
}

#[tokio::test]
async fn a_script_that_is_played_is_in_memory_once_until_its_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("play.json");
    let scripts = Scripts::default();
    let play = || scripts.load(&path, Arc::new(SystemClock::new()));
    std::fs::write(&path, r#"{"steps":[{"text":"one","errors":[{"kind":"overloaded"}]}]}"#)
        .unwrap();
    let (first, second) = (play().unwrap(), play().unwrap());
    // Each plays it from the beginning, failures included.
    for model in [&first, &second] {
        assert_eq!(call(model, 0).await.1.unwrap_err().kind, ModelErrorKind::Overloaded);
        assert_eq!(call(model, 0).await.0, "one");
    }
    std::fs::write(&path, r#"{"steps":[{"text":"another"}]}"#).unwrap();
    assert_eq!(call(&play().unwrap(), 0).await.0, "another");
    assert_eq!(call(&first, 0).await.0, "one", "it goes on as it began");
    std::fs::remove_file(&path).unwrap();
    assert!(play().is_err());
}

#[tokio::test]
async fn a_script_of_the_same_length_and_time_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("play.json");
    let scripts = Scripts::default();
    let put = |text: &str| {
        std::fs::write(&path, format!(r#"{{"steps":[{{"text":"{text}"}}]}}"#)).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        scripts.load(&path, Arc::new(SystemClock::new())).unwrap()
    };
    let (first, second) = (put("one"), put("two"));
    assert_eq!((call(&first, 0).await.0, call(&second, 0).await.0), ("one".into(), "two".into()));
}
