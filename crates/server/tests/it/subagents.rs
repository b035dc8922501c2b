//! Subagents as an editor sees them: their questions are asked at the session that a person talks to.

use std::sync::Arc;

use oarlock_core::event::Effect;
use oarlock_core::ports::model::{ModelRequest, Models};
use oarlock_core::spec::Mode;
use oarlock_testkit::kit::Parts;
use oarlock_testkit::model::{AnsweringModel, Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool, order};
use serde_json::{Value, json};

use crate::desk::{Client, Desk, kind};

/// A parent that gives one task away, and a child that writes something for it.
fn answer(request: &ModelRequest) -> Vec<Say> {
    let child = request.system == "child";
    vec![Say::Reply(match (child, request.messages.len()) {
        (false, 1) => calls(&[("s", "spawn_agent", r#"{"what": "look"}"#)]),
        (true, 1) => calls(&[("w", "write", r#"{"what": "x"}"#)]),
        (true, _) => text("written"),
        (false, _) => text("all done"),
    })]
}

fn desk() -> (Desk, Arc<TestTool>) {
    let write = TestTool::new("write", Effect::Mutating, Act::Give("written".to_owned()));
    let spawn = Act::Spawn(Box::new(order()));
    let tools = vec![write.clone(), TestTool::new("spawn_agent", Effect::Pure, spawn)];
    let models = Arc::new(AnsweringModel::new(answer)) as Arc<dyn Models>;
    let parts = Parts { models: Some(models), ..Parts::new(vec![], tools) };
    (Desk::of(parts, Mode::ASK_WRITES), write)
}

/// Everything up to the question about the child's call, and the name of that call.
async fn asked(client: &mut Client) -> (Vec<Value>, String) {
    let seen = client.until(|m| m["method"] == "session/request_permission").await;
    let call = &seen.last().expect("it was asked")["params"]["toolCall"];
    assert_eq!(call["title"], "tester: write x");
    let name = call["toolCallId"].as_str().expect("it is named").to_owned();
    let announced =
        |m: &Value| kind(m) == "tool_call" && m["params"]["update"]["toolCallId"] == name;
    assert_eq!(seen.iter().filter(|m| announced(m)).count(), 1, "{seen:?}");
    (seen, name)
}

/// Everything that a client was told of this call's status.
fn statuses<'a>(told: &'a [Value], call: &str) -> Vec<&'a str> {
    let updates = told.iter().map(|m| &m["params"]["update"]);
    let updates =
        updates.filter(|u| u["sessionUpdate"] == "tool_call_update" && u["toolCallId"] == call);
    updates.filter_map(|update| update["status"].as_str()).collect()
}

fn outcome(option: &str) -> Value {
    json!({ "outcome": { "outcome": "selected", "optionId": option } })
}

#[tokio::test(start_paused = true)]
async fn a_subagent_asks_the_person_under_its_own_name() {
    for (option, runs, ended) in [("allow_once", 1, "completed"), ("reject_once", 0, "failed")] {
        let (desk, write) = desk();
        let mut client = desk.client().await;
        let session = client.session().await;
        let id = client.prompt(&session, "go").await;
        let (seen, name) = asked(&mut client).await;
        assert!(name.ends_with("/w") && !name.starts_with('/'), "{name}");
        client.reply(seen.last().unwrap(), outcome(option)).await;
        let (answer, told) = client.answer(id).await;
        assert_eq!(answer["result"]["stopReason"], "end_turn");
        assert_eq!(statuses(&told, &name).last(), Some(&ended));
        assert_eq!(write.runs(), runs);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dismissed_question_of_a_subagent_ends_the_whole_turn() {
    let (desk, write) = desk();
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "go").await;
    let (seen, name) = asked(&mut client).await;
    client.reply(seen.last().unwrap(), json!({ "outcome": { "outcome": "cancelled" } })).await;
    let (answer, told) = client.answer(id).await;
    assert_eq!(answer["result"]["stopReason"], "cancelled");
    assert_eq!(statuses(&told, &name), ["failed"]);
    assert_eq!(write.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_withdraws_what_a_subagent_asks() {
    let (desk, _) = desk();
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "go").await;
    let (seen, _) = asked(&mut client).await;
    client.cancel(&session).await;
    let (answer, told) = client.answer(id).await;
    assert_eq!(answer["result"]["stopReason"], "cancelled");
    let question = &seen.last().unwrap()["id"];
    let withdrawn =
        |m: &Value| m["method"] == "$/cancel_request" && m["params"]["requestId"] == *question;
    assert!(told.iter().any(withdrawn), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_with_a_turn_is_asked_what_its_subagent_asks() {
    for method in ["session/resume", "session/load"] {
        let (desk, write) = desk();
        let mut first = desk.client().await;
        let session = first.session().await;
        let id = first.prompt(&session, "go").await;
        let (_, name) = asked(&mut first).await;
        let mut second = desk.client().await;
        let open = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
        let (opened, past) = second.call(method, open).await;
        assert!(opened["result"].is_object(), "{opened}");
        let rest = second.until(|m| m["method"] == "session/request_permission").await;
        let told: Vec<Value> = past.into_iter().chain(rest).collect();
        let calls = told.iter().filter(|m| kind(m) == "tool_call");
        let calls: Vec<&Value> = calls.map(|m| &m["params"]["update"]["toolCallId"]).collect();
        assert_eq!(calls, ["s", &*name], "{method}");
        second.reply(told.last().unwrap(), outcome("allow_once")).await;
        assert_eq!(first.answer(id).await.0["result"]["stopReason"], "end_turn");
        assert_eq!(write.runs(), 1);
        let ends = |m: &Value| {
            m["params"]["update"]["toolCallId"] == "s"
                && m["params"]["update"]["status"] == "completed"
        };
        let told = second.until(ends).await;
        assert_eq!(statuses(&told, &name), ["in_progress", "completed"], "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_loads_a_session_after_resuming_it_is_told_what_its_subagents_did_once_more() {
    let (desk, _) = desk();
    let mut first = desk.client().await;
    let session = first.session().await;
    first.prompt(&session, "go").await;
    let (_, name) = asked(&mut first).await;
    let mut second = desk.client().await;
    let open = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    second.call("session/resume", open.clone()).await;
    asked(&mut second).await;
    second.request("session/load", open).await;
    let (told, again) = asked(&mut second).await;
    assert_eq!(again, name);
    second.reply(told.last().unwrap(), outcome("allow_once")).await;
    let told = second.within(1_000).await;
    assert_eq!(statuses(&told, &name), ["in_progress", "completed"]);
}
