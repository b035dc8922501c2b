//! What the agent asks a person: whether a call may run, and words that it needs.

use std::sync::Arc;

use oarlock_core::event::Effect;
use oarlock_core::ports::tool::Tool;
use oarlock_core::spec::Mode;
use oarlock_testkit::kit::Parts;
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};
use serde_json::{Value, json};

use crate::desk::{Client, Desk, kind};

/// A client that can show forms.
fn forms() -> Value {
    json!({ "elicitation": { "form": {} } })
}

/// A program whose model asks for this call, and then is done.
fn desk_of(tool: &Arc<TestTool>, arguments: &'static str) -> Desk {
    let call = vec![Say::Reply(calls(&[("c1", &tool.schema().name, arguments)]))];
    let done = vec![Say::Reply(text("done"))];
    let parts = Parts::new(vec![call, done.clone(), done], vec![tool.clone()]);
    Desk::of(parts, Mode::ASK_WRITES)
}

fn writer() -> Arc<TestTool> {
    TestTool::new("write", Effect::Mutating, Act::Echo)
}

fn stop(answer: &Value) -> &str {
    answer["result"]["stopReason"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// Everything up to the agent's request of this method, which is the last of it.
async fn asked(client: &mut Client, method: &str) -> Vec<Value> {
    client.until(|m| m["method"] == method).await
}

fn withdraws<'a>(question: &'a Value) -> impl Fn(&Value) -> bool + 'a {
    |m| m["method"] == "$/cancel_request" && m["params"]["requestId"] == question["id"]
}

/// The last status that a client was told of the call.
fn status(told: &[Value]) -> &Value {
    let update = told.iter().rfind(|m| kind(m) == "tool_call_update").expect("it was told");
    &update["params"]["update"]["status"]
}

/// Whether the model was given these words.
fn was_told(desk: &Desk, words: &str) -> bool {
    format!("{:?}", desk.kit.model.requests()).contains(words)
}

#[tokio::test(start_paused = true)]
async fn a_question_tells_what_the_call_is_and_what_it_would_do() {
    let desk = desk_of(&writer(), r#"{"what":"x"}"#);
    let mut client = desk.client().await;
    let session = client.session().await;
    client.prompt(&session, "write it").await;
    let seen = asked(&mut client, "session/request_permission").await;
    let params = &seen.last().unwrap()["params"];
    let call = &params["toolCall"];
    assert_eq!(
        (&call["toolCallId"], &call["title"], &call["kind"], &call["status"]),
        (&json!("c1"), &json!("write x"), &json!("edit"), &json!("pending")),
    );
    assert_eq!(call["rawInput"], json!({ "what": "x" }));
    let detail = call["content"][0]["content"]["text"].as_str().unwrap();
    assert!(detail.contains(r#"would "x""#), "{detail}");
    let always = params["options"].as_array().unwrap();
    let always = always.iter().find(|option| option["kind"] == "allow_always").unwrap();
    assert!(always["name"].as_str().unwrap().contains("write(x)"), "the grant is named: {always}");
}

#[tokio::test(start_paused = true)]
async fn a_dismissed_question_ends_the_turn() {
    let tool = writer();
    let desk = desk_of(&tool, r#"{"what":"x"}"#);
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "write it").await;
    let seen = asked(&mut client, "session/request_permission").await;
    client.reply(seen.last().unwrap(), json!({ "outcome": { "outcome": "cancelled" } })).await;
    let (answer, told) = client.answer(id).await;
    assert_eq!(stop(&answer), "cancelled");
    assert_eq!(status(&told), "failed");
    assert_eq!(tool.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_fails_or_is_never_answered_is_a_refusal() {
    for fails in [true, false] {
        let tool = writer();
        let desk = desk_of(&tool, r#"{"what":"x"}"#);
        let mut client = desk.client().await;
        let session = client.session().await;
        let id = client.prompt(&session, "write it").await;
        let seen = asked(&mut client, "session/request_permission").await;
        let question = seen.last().unwrap();
        if fails {
            let error = json!({ "code": -32601, "message": "no such method" });
            let id = &question["id"];
            client.send(json!({ "jsonrpc": "2.0", "id": id, "error": error })).await;
        }
        let (answer, told) = client.answer(id).await;
        assert_eq!(stop(&answer), "end_turn");
        assert_eq!(tool.runs(), 0);
        assert_eq!(told.iter().any(withdraws(question)), !fails);
    }
}

#[tokio::test(start_paused = true)]
async fn words_are_asked_for_by_a_form_and_given_to_the_model() {
    let question = r#"{"question":"Which colour?","options":["blue","red"]}"#;
    let cases = [
        (json!({ "action": "accept", "content": { "answer": "blue" } }), "completed", "blue"),
        (json!({ "action": "decline" }), "failed", "the user declined to answer"),
        (json!({ "action": "cancel" }), "failed", "the user gave no answer"),
    ];
    for (reply, outcome, words) in cases {
        let desk = desk_of(&TestTool::client("ask_user"), question);
        let mut client = desk.client_with(forms()).await;
        let session = client.session().await;
        let id = client.prompt(&session, "paint it").await;
        let seen = asked(&mut client, "elicitation/create").await;
        let form = &seen.last().unwrap()["params"];
        assert_eq!(
            (&form["mode"], &form["message"], &form["sessionId"], &form["toolCallId"]),
            (&json!("form"), &json!("Which colour?"), &json!(session), &json!("c1")),
        );
        client.reply(seen.last().unwrap(), reply).await;
        let (answer, told) = client.answer(id).await;
        assert_eq!(stop(&answer), "end_turn");
        assert_eq!(status(&told), outcome);
        assert!(was_told(&desk, words), "{words}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_be_asked_the_model_is_told_at_once() {
    for capabilities in
        [json!({}), json!({ "elicitation": {} }), json!({ "elicitation": { "url": {} } })]
    {
        let desk = desk_of(&TestTool::client("ask_user"), r#"{"question":"Which colour?"}"#);
        let mut client = desk.client_with(capabilities).await;
        let session = client.session().await;
        let begun = tokio::time::Instant::now();
        let id = client.prompt(&session, "paint it").await;
        let (answer, told) = client.answer(id).await;
        assert_eq!(stop(&answer), "end_turn");
        assert!(begun.elapsed().as_secs() < 5);
        assert!(!told.iter().any(|m| m["method"] == "elicitation/create"));
        assert!(was_told(&desk, "end your answer with the question"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_form_is_withdrawn_when_its_turn_is_cancelled_or_its_time_is_up() {
    for cancels in [true, false] {
        let desk = desk_of(&TestTool::client("ask_user"), r#"{"question":"Which colour?"}"#);
        let mut client = desk.client_with(forms()).await;
        let session = client.session().await;
        let id = client.prompt(&session, "paint it").await;
        let seen = asked(&mut client, "elicitation/create").await;
        let begun = tokio::time::Instant::now();
        if cancels {
            client.cancel(&session).await;
        }
        let (answer, told) = client.answer(id).await;
        assert_eq!(begun.elapsed().as_millis() < 250, cancels, "{:?}", begun.elapsed());
        assert_eq!(stop(&answer), if cancels { "cancelled" } else { "end_turn" });
        assert!(told.iter().any(withdraws(seen.last().unwrap())), "{told:?}");
        client.reply(seen.last().unwrap(), json!({ "action": "cancel" })).await;
        assert!(client.is_silent().await, "an answer that comes too late is nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_cannot_ask_leaves_words_to_one_that_can() {
    let desk = desk_of(&TestTool::client("ask_user"), r#"{"question":"Which colour?"}"#);
    let mut mute = desk.client().await;
    let session = mute.session().await;
    let mut other = desk.client_with(forms()).await;
    let resume = json!({ "sessionId": session, "cwd": "/" });
    assert!(other.call("session/resume", resume).await.0["result"].is_object());
    let id = mute.prompt(&session, "paint it").await;
    let seen = asked(&mut other, "elicitation/create").await;
    let blue = json!({ "action": "accept", "content": { "answer": "blue" } });
    other.reply(seen.last().unwrap(), blue).await;
    assert_eq!(stop(&mute.answer(id).await.0), "end_turn");
    assert!(was_told(&desk, "blue"));
}

#[tokio::test(start_paused = true)]
async fn words_that_the_last_client_who_could_ask_leaves_open_are_not_waited_for() {
    let desk = desk_of(&TestTool::client("ask_user"), r#"{"question":"Which colour?"}"#);
    let mut mute = desk.client().await;
    let session = mute.session().await;
    let mut other = desk.client_with(forms()).await;
    let resume = json!({ "sessionId": session, "cwd": "/" });
    assert!(other.call("session/resume", resume).await.0["result"].is_object());
    let id = mute.prompt(&session, "paint it").await;
    asked(&mut other, "elicitation/create").await;
    let begun = tokio::time::Instant::now();
    other.leave().await.unwrap();
    assert_eq!(stop(&mute.answer(id).await.0), "end_turn");
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    assert!(was_told(&desk, "end your answer with the question"));
}
