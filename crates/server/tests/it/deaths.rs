//! What an editor finds when it comes back after the process has died.

use std::sync::Arc;

use oarlock_core::event::Effect;
use oarlock_core::memory::MemoryStore;
use oarlock_core::ports::tool::Tool;
use oarlock_core::spec::Mode;
use oarlock_testkit::kit::{Parts, node};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};
use serde_json::{Value, json};

use crate::desk::{Client, Desk, kind, text_of};

fn forms() -> Value {
    json!({ "elicitation": { "form": {} } })
}

fn of(
    name: &'static str,
    store: &MemoryStore,
    script: Vec<Vec<Say>>,
    tool: &Arc<TestTool>,
) -> Desk {
    let parts = Parts::on(store.clone(), script, vec![tool.clone()]);
    Desk::of(Parts { name, ..parts }, Mode::ASK_WRITES)
}

/// A runtime on virtual time; everything in it dies with it.
fn process() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().expect("the system has room")
}

/// A session whose process dies while it waits at a request of this method; what is left is its store.
fn death(tool: &Arc<TestTool>, waits_at: &str) -> (MemoryStore, String) {
    let store = MemoryStore::new(node("a"));
    let data = store.reopen(node("b"));
    let session = process().block_on(async {
        let call = calls(&[("c1", &tool.schema().name, r#"{"what":"x","question":"Which?"}"#)]);
        let desk = of("a", &store, vec![vec![Say::Reply(call)]], tool);
        let mut client = desk.client_with(forms()).await;
        let session = client.session().await;
        client.prompt(&session, "go").await;
        client.until(|m| m["method"] == waits_at).await;
        session
    });
    (data, session)
}

/// A client of another process, which opens the session, and what it is told before the answer.
async fn reopened(
    (data, session): &(MemoryStore, String),
    tool: &Arc<TestTool>,
    method: &str,
) -> (Client, Vec<Value>) {
    let desk = of("b", data, vec![vec![Say::Reply(text("done"))]], tool);
    let mut client = desk.client_with(forms()).await;
    let open = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    let (answer, told) = client.call(method, open).await;
    assert!(answer["result"].is_object(), "{answer}");
    (client, told)
}

fn says_done(message: &Value) -> bool {
    text_of(std::slice::from_ref(message), "agent_message_chunk") == "done"
}

#[test]
fn a_question_that_was_open_is_asked_again_and_the_turn_goes_on() {
    for method in ["session/load", "session/resume"] {
        let tool = TestTool::new("write", Effect::Mutating, Act::Echo);
        let waits_at = "session/request_permission";
        let wreck = death(&tool, waits_at);
        process().block_on(async {
            let (mut client, mut told) = reopened(&wreck, &tool, method).await;
            told.extend(client.until(|m| m["method"] == waits_at).await);
            let calls = told.iter().filter(|m| kind(m) == "tool_call").count();
            assert_eq!(calls, 1, "{method}: {told:?}");
            let allowed = json!({ "outcome": { "outcome": "selected", "optionId": "allow_once" } });
            client.reply(told.last().unwrap(), allowed).await;
            client.until(says_done).await;
            assert_eq!(tool.runs(), 1);
        });
    }
}

#[test]
fn words_that_were_waited_for_are_asked_for_again() {
    for method in ["session/load", "session/resume"] {
        let tool = TestTool::client("ask_user");
        let wreck = death(&tool, "elicitation/create");
        process().block_on(async {
            let (mut client, _) = reopened(&wreck, &tool, method).await;
            let told = client.until(|m| m["method"] == "elicitation/create").await;
            assert_eq!(told.last().unwrap()["params"]["message"], "Which?");
            let blue = json!({ "action": "accept", "content": { "answer": "blue" } });
            client.reply(told.last().unwrap(), blue).await;
            client.until(says_done).await;
        });
    }
}

#[test]
fn a_turn_that_did_anything_else_is_over_and_the_session_can_be_used() {
    let tool = TestTool::new("look", Effect::Pure, Act::Hang);
    let store = MemoryStore::new(node("a"));
    let data = store.reopen(node("b"));
    let session = process().block_on(async {
        let call = calls(&[("c1", "look", "{}")]);
        let desk = of("a", &store, vec![vec![Say::Reply(call)]], &tool);
        let mut client = desk.client().await;
        let session = client.session().await;
        client.prompt(&session, "go").await;
        client.until(|m| m["params"]["update"]["status"] == "in_progress").await;
        session
    });
    drop(store);
    process().block_on(async {
        let (mut client, told) = reopened(&(data, session.clone()), &tool, "session/load").await;
        let last = told.iter().rfind(|m| kind(m) == "tool_call_update").unwrap();
        assert_eq!(last["params"]["update"]["status"], "failed");
        client.until(|m| kind(m) == "available_commands_update").await;
        assert!(client.is_silent().await, "nothing goes on by itself");
        let id = client.prompt(&session, "go on").await;
        assert_eq!(client.answer(id).await.0["result"]["stopReason"], "end_turn");
        assert_eq!(tool.runs(), 1);
    });
}

#[tokio::test(start_paused = true)]
async fn a_session_that_another_process_has_is_refused_with_the_reason() {
    let store = MemoryStore::new(node("a"));
    let tool = TestTool::client("ask_user");
    let mut first = of("a", &store, vec![], &tool).client().await;
    let session = first.session().await;
    let data = store.reopen(node("b"));
    let mut second = of("b", &data, vec![], &tool).client().await;
    let load = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    let (answer, told) = second.call("session/load", load).await;
    let words = answer["error"]["message"].as_str().unwrap();
    assert!(words.starts_with("cannot restore session") && words.contains("node-a"), "{words}");
    assert_eq!(told, Vec::<Value>::new());
}
