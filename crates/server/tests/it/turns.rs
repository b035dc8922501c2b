//! Prompts and their ends: order, cancelling, queueing, and the end of a connection.

use std::time::Duration;

use oarlock_core::event::{Effect, Event};
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::spec::Mode;
use oarlock_testkit::kit::{Parts, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};
use serde_json::{Value, json};

use crate::desk::{Client, Desk, id as id_of, kind, text_of};

fn says(words: &'static str) -> Vec<Say> {
    vec![Say::Delta(words), Say::Reply(text(words))]
}

/// A model that begins to answer, then takes a minute.
fn dawdles(words: &'static str) -> Vec<Say> {
    vec![Say::Delta(words), Say::Wait(60_000), Say::Reply(text(words))]
}

fn stop(answer: &Value) -> &str {
    answer["result"]["stopReason"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test(start_paused = true)]
async fn every_update_of_a_turn_comes_before_its_answer() {
    let desk = Desk::new(vec![says("hello there")], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "hi").await;
    let (answer, before) = client.answer(id).await;
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(text_of(&before, "agent_message_chunk"), "hello there");
    assert_eq!(text_of(&before, "user_message_chunk"), "", "the client knows its own words");
    assert!(client.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_told_again_as_it_was_told_the_first_time() {
    let tool = TestTool::new("look", Effect::Pure, Act::Echo);
    let call = vec![Say::Reply(calls(&[("c1", "look", r#"{"what":"x"}"#)]))];
    let desk = Desk::new(vec![call, says("seen")], vec![tool]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "look at it").await;
    let (_, live) = client.answer(id).await;
    client.leave().await.unwrap();

    let mut other = desk.client().await;
    for _ in 0..2 {
        let load = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
        let (answer, told) = other.call("session/load", load).await;
        assert!(answer["result"].is_object(), "{answer}");
        assert_eq!(text_of(&told, "user_message_chunk"), "look at it");
        assert_eq!(text_of(&told, "agent_message_chunk"), "seen");
        let ids = |messages: &[Value]| -> Vec<Value> {
            let chunk = messages.iter().filter(|m| kind(m) == "agent_message_chunk");
            chunk.map(|m| m["params"]["update"]["messageId"].clone()).collect()
        };
        assert_eq!(ids(&told), ids(&live));
        assert_eq!(told.iter().filter(|m| kind(m) == "tool_call").count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_in_the_same_read_as_its_prompt_is_not_lost() {
    for script in [dawdles("slow"), vec![Say::Silence]] {
        let desk = Desk::new(vec![script, says("again")], vec![]);
        let mut client = desk.client().await;
        let session = client.session().await;
        let id = client.prompt(&session, "work").await;
        client.cancel(&session).await;
        let (answer, _) = client.answer(id).await;
        assert_eq!(stop(&answer), "cancelled");
        let id = client.prompt(&session, "once more").await;
        let (answer, before) = client.answer(id).await;
        assert_eq!(stop(&answer), "end_turn", "the session can be used at once");
        assert!(!text_of(&before, "agent_message_chunk").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_in_mid_stream_ends_the_turn_after_what_was_said() {
    let desk = Desk::new(vec![dawdles("half a")], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "work").await;
    let begun = client.until(|m| kind(m) == "agent_message_chunk").await;
    assert_eq!(text_of(&begun, "agent_message_chunk"), "half a");
    client.cancel(&session).await;
    let (answer, _) = client.answer(id).await;
    assert_eq!(stop(&answer), "cancelled");
    assert!(client.is_silent().await, "nothing follows the answer");
}

#[tokio::test(start_paused = true)]
async fn closing_a_session_right_behind_its_prompts_answers_them_at_once() {
    let desk = Desk::new(vec![vec![Say::Silence]], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let first = client.prompt(&session, "work").await;
    let second = client.prompt(&session, "and then").await;
    let closing = client.request("session/close", json!({ "sessionId": session })).await;
    let answers = async {
        assert_eq!(stop(&client.answer(first).await.0), "cancelled");
        assert_eq!(stop(&client.answer(second).await.0), "cancelled");
        client.answer(closing).await.0
    };
    let closed = tokio::time::timeout(Duration::from_secs(1), answers).await.expect("at once");
    assert_eq!(closed["result"], json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_without_a_turn_is_nothing() {
    let desk = Desk::new(vec![says("fine")], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    client.cancel(&session).await;
    assert!(client.is_silent().await);
    let id = client.prompt(&session, "hi").await;
    assert_eq!(stop(&client.answer(id).await.0), "end_turn");
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_withdraws_a_question_that_nobody_answers() {
    let tool = TestTool::new("write", Effect::Mutating, Act::Echo);
    let call = vec![Say::Reply(calls(&[("c1", "write", r#"{"what":"x"}"#)]))];
    let parts = Parts::new(vec![call], vec![tool.clone()]);
    let desk = Desk::of(parts, Mode::ASK_WRITES);
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "write it").await;
    let seen = client.until(|m| m["method"] == "session/request_permission").await;
    let question = seen.last().unwrap()["id"].clone();
    client.cancel(&session).await;
    let (answer, before) = client.answer(id).await;
    assert_eq!(stop(&answer), "cancelled");
    let withdrawn =
        |m: &Value| m["method"] == "$/cancel_request" && m["params"]["requestId"] == question;
    assert!(before.iter().any(withdrawn), "{before:?}");
    assert_eq!(tool.runs(), 0);
    let last = before.iter().rfind(|m| kind(m) == "tool_call_update").unwrap();
    assert_eq!(last["params"]["update"]["status"], "failed");
}

#[tokio::test(start_paused = true)]
async fn an_allowed_call_runs_and_a_refused_one_does_not() {
    for (option, runs) in [("allow_once", 1), ("reject_once", 0), ("no_such_option", 0)] {
        let tool = TestTool::new("write", Effect::Mutating, Act::Echo);
        let call = vec![Say::Reply(calls(&[("c1", "write", r#"{"what":"x"}"#)]))];
        let parts = Parts::new(vec![call, says("done")], vec![tool.clone()]);
        let desk = Desk::of(parts, Mode::ASK_WRITES);
        let mut client = desk.client().await;
        let session = client.session().await;
        let id = client.prompt(&session, "write it").await;
        let seen = client.until(|m| m["method"] == "session/request_permission").await;
        let announced = seen.iter().position(|m| kind(m) == "tool_call").unwrap();
        assert_eq!(seen[announced]["params"]["update"]["toolCallId"], "c1");
        let running = |m: &Value| m["params"]["update"]["status"] == "in_progress";
        assert!(!seen.iter().any(running), "it is pending while it is asked about");
        let outcome = json!({ "outcome": { "outcome": "selected", "optionId": option } });
        client.reply(&seen[seen.len() - 1], outcome).await;
        assert_eq!(stop(&client.answer(id).await.0), "end_turn");
        assert_eq!(tool.runs(), runs, "{option}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_in_a_busy_session_is_worked_on_after_the_turn() {
    let desk = Desk::new(vec![dawdles("one"), says("two")], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let first = client.prompt(&session, "first").await;
    let second = client.prompt(&session, "second").await;
    let (answer, before) = client.answer(first).await;
    assert_eq!(
        (stop(&answer), text_of(&before, "agent_message_chunk").as_str()),
        ("end_turn", "one")
    );
    let (answer, before) = client.answer(second).await;
    assert_eq!(
        (stop(&answer), text_of(&before, "agent_message_chunk").as_str()),
        ("end_turn", "two")
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_answers_what_runs_and_what_waits() {
    let desk = Desk::new(vec![dawdles("one"), says("never")], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let mut ids = Vec::new();
    for words in ["first", "second", "third"] {
        ids.push(client.prompt(&session, words).await);
    }
    client.until(|m| kind(m) == "agent_message_chunk").await;
    client.cancel(&session).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let message = client.next().await.unwrap();
        if let Some(id) = message["id"].as_i64() {
            assert_eq!(stop(&message), "cancelled");
            seen.push(id);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, ids);
    assert_eq!(desk.kit.model.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_prompt_more_than_may_wait_is_refused_and_every_one_is_answered() {
    let desk = Desk::new(vec![dawdles("one")], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    for n in 0..40 {
        client.prompt(&session, &format!("prompt {n}")).await;
    }
    let (mut refused, mut ended) = (0, 0);
    while refused + ended < 40 {
        let message = client.next().await.unwrap();
        if message["id"].is_i64() {
            match message["error"]["code"].as_i64() {
                Some(code) => {
                    assert_eq!(code, -32600, "{message}");
                    refused += 1;
                }
                None => ended += 1,
            }
        }
    }
    assert!(refused >= 8 && ended >= 1, "{refused} refused, {ended} ended");
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_provider_is_an_error_after_what_was_said() {
    let fails = vec![Say::Delta("so far"), Say::Fail(ModelErrorKind::Auth, None)];
    let desk = Desk::new(vec![fails], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "hi").await;
    let (answer, before) = client.answer(id).await;
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    assert!(!answer["error"]["message"].as_str().unwrap().contains('\n'));
    assert_eq!(text_of(&before, "agent_message_chunk"), "so far");
}

#[tokio::test(start_paused = true)]
async fn sessions_work_side_by_side() {
    let desk = Desk::new(vec![dawdles("slow"), says("quick")], vec![]);
    let mut client = desk.client().await;
    let (one, two) = (client.session().await, client.session().await);
    let slow = client.prompt(&one, "work").await;
    client.until(|m| kind(m) == "agent_message_chunk").await;
    let quick = client.prompt(&two, "hi").await;
    let (_, before) = client.answer(quick).await;
    assert_eq!(text_of(&before, "agent_message_chunk"), "quick");
    let (answer, _) = client.answer(slow).await;
    assert_eq!(stop(&answer), "end_turn");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_in_mid_turn_leaves_a_journal_that_tells_its_end() {
    for terminated in [false, true] {
        let desk = Desk::new(vec![vec![Say::Delta("half"), Say::Silence], says("on")], vec![]);
        let mut client = desk.client().await;
        let session = client.session().await;
        client.prompt(&session, "work").await;
        client.until(|m| kind(m) == "agent_message_chunk").await;
        match terminated {
            false => client.leave().await.unwrap(),
            true => client.terminate().await.unwrap(),
        }
        let mut other = desk.client().await;
        let load = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
        let (_, told) = other.call("session/load", load).await;
        assert_eq!(text_of(&told, "agent_message_chunk"), "half");
        let id = other.prompt(&session, "go on").await;
        assert_eq!(stop(&other.answer(id).await.0), "end_turn");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_holds_up_nobody_and_misses_nothing() {
    let long: &'static str = Box::leak("many words ".repeat(2_000).into_boxed_str());
    let pieces: Vec<&'static str> = long.split_inclusive(' ').collect();
    let mut script: Vec<Say> = pieces.iter().map(|piece| Say::Delta(piece)).collect();
    script.push(Say::Reply(text(long)));
    let desk = Desk::new(vec![script], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "talk").await;
    // The turn ends although nobody reads what it says.
    let handle = desk.kit.core.handle(id_of(&session));
    wait_for(&handle, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let (answer, before) = client.answer(id).await;
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(text_of(&before, "agent_message_chunk"), long);
    assert!(before.len() < 1_000, "{} messages waited for the reader", before.len());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_is_answered_and_the_connection_goes_on() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client().await;
    for (line, code) in [("{nonsense", -32700), ("[]", -32600), ("42", -32600)] {
        client.raw(line).await;
        let answer = client.next().await.unwrap();
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
        assert!(answer["id"].is_null(), "{answer}");
        assert!(!answer.to_string().contains("nonsense"), "what was written is not repeated");
    }
    let (answer, _) = client.call("no/such/method", json!({})).await;
    assert_eq!(answer["error"]["code"], -32601);
    client.notify("no/such/notification", json!({})).await;
    let unknown = json!({ "sessionId": "nobody", "prompt": [{ "type": "text", "text": "x" }] });
    let (answer, _) = client.call("session/prompt", unknown).await;
    assert_eq!(answer["error"]["code"], -32002);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_before_the_greeting() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = Client::connect(std::sync::Arc::new(desk));
    let (answer, _) = client.call("session/new", json!({ "cwd": "/", "mcpServers": [] })).await;
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
}
