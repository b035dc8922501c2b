//! What a client wants of a session at an unlucky moment: while it is opened or closed, while too much waits, and when it is lost.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::event::{Effect, Event};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::spec::Mode;
use oarlock_core::{DefaultAgentCore, DefaultSession, SessionId};
use oarlock_server::{Audience, Host, HostError, Workspace};
use oarlock_testkit::faulty::{Fault, FaultyJournal};
use oarlock_testkit::kit::{Parts, journal, node, wait_for};
use oarlock_testkit::model::{Count, Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::desk::{Client, Desk, id as id_of, kind, text_of};
use crate::stuck::picture;

/// A program whose sessions are opened when somebody lets them.
#[derive(Debug)]
struct Gate {
    desk: Desk,
    opened: Arc<Semaphore>,
}

impl Host for Gate {
    fn workspace<'a>(
        &'a self,
        cwd: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Workspace>, HostError>> {
        async move {
            self.opened.acquire().await.expect("it is not closed").forget();
            self.desk.workspace(cwd).await
        }
        .boxed()
    }

    fn awake(&self, session: &SessionId) -> Option<Arc<dyn Workspace>> {
        self.desk.awake(session)
    }

    fn core(&self) -> &DefaultAgentCore {
        Host::core(&self.desk)
    }

    fn store_name(&self) -> &'static str {
        "memory"
    }

    fn audience(&self) -> &Audience {
        self.desk.audience()
    }

    fn authenticate(&self) -> BoxFuture<'_, Result<(), HostError>> {
        self.desk.authenticate()
    }

    fn logout(&self) -> BoxFuture<'_, Result<(), HostError>> {
        self.desk.logout()
    }
}

/// A client of a program with a session that is closed, and what lets it be opened.
async fn gated(desk: &Desk) -> (Client, String, Arc<Semaphore>) {
    let opened = Arc::new(Semaphore::new(1));
    let gate = Gate { desk: desk.clone(), opened: Arc::clone(&opened) };
    let mut client = Client::connect(Arc::new(gate));
    client.call("initialize", json!({ "protocolVersion": 1 })).await;
    let session = client.session().await;
    let id = client.prompt(&session, "hi").await;
    client.answer(id).await;
    client.call("session/close", json!({ "sessionId": session })).await;
    (client, session, opened)
}

fn says(words: &'static str) -> Vec<Say> {
    vec![Say::Delta(words), Say::Reply(text(words))]
}

fn open(session: &str) -> Value {
    json!({ "sessionId": session, "cwd": "/", "mcpServers": [] })
}

fn handle(desk: &Desk, session: &str) -> DefaultSession {
    desk.kit.core.handle(id_of(session))
}

/// Where an answer is among messages.
fn at(messages: &[Value], id: i64) -> usize {
    let found = messages.iter().position(|m| m["id"] == id && m.get("method").is_none());
    found.unwrap_or_else(|| panic!("{id} is not answered: {messages:?}"))
}

fn stop(messages: &[Value], id: i64) -> &str {
    messages[at(messages, id)]["result"]["stopReason"].as_str().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_stops_all_before_it_though_no_more_can_wait() {
    let desk = Desk::new(vec![], vec![]);
    let (mut client, session, opened) = gated(&desk).await;
    let load = client.request("session/load", open(&session)).await;
    let mut prompts = Vec::new();
    for _ in 0..80 {
        prompts.push(client.prompt(&session, "work").await);
    }
    client.cancel(&session).await;
    let last = prompts[79];
    client.until(|m| m["id"] == last).await;
    client.within(10).await;
    opened.add_permits(1);
    let told = client.within(60_000).await;
    assert!(told[at(&told, load)]["result"].is_object());
    let stops: Vec<&str> = prompts[..32].iter().map(|id| stop(&told, *id)).collect();
    assert_eq!(stops, ["cancelled"; 32]);
    assert!(!told.iter().any(|m| m["result"]["stopReason"] == "end_turn"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn prompts_of_a_session_that_is_being_opened_have_a_bound_in_bytes() {
    let desk = Desk::new(vec![], vec![]);
    let (mut client, session, _opened) = gated(&desk).await;
    client.request("session/load", open(&session)).await;
    for _ in 0..20 {
        client.request("session/prompt", picture(&session)).await;
    }
    let told = client.within(1_000).await;
    let words: Vec<&str> =
        told.iter().filter_map(|answer| answer["error"]["message"].as_str()).collect();
    assert_eq!(words, ["prompts of 64 MB wait already"; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_sleeps_is_not_woken_to_be_cancelled_or_closed() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "hi").await;
    client.answer(id).await;
    let handle = handle(&desk, &session);
    wait_for(&handle, 0, |event| matches!(event, Event::WriterReleased)).await;
    let before = journal(&desk.kit.core, &handle).await.len();
    client.cancel(&session).await;
    client.within(1_000).await;
    assert_eq!(journal(&desk.kit.core, &handle).await.len(), before);
    client.call("session/close", json!({ "sessionId": session })).await;
    assert_eq!(journal(&desk.kit.core, &handle).await.len(), before);
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_behind_a_close_is_done_or_refused_in_words() {
    let desk = Desk::new(vec![says("one"), says("two")], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "first").await;
    client.answer(id).await;
    let close = json!({ "sessionId": session });
    let closed = client.request("session/close", close.clone()).await;
    let load = client.request("session/load", open(&session)).await;
    let prompt = client.prompt(&session, "second").await;
    let (answer, told) = client.answer(prompt).await;
    assert_eq!(answer["result"]["stopReason"], "end_turn", "{answer}");
    assert!(at(&told, closed) < at(&told, load));
    assert!(told[at(&told, load)]["result"].is_object(), "{told:?}");
    assert_eq!(text_of(&told[..at(&told, load)], "user_message_chunk"), "first");
    let closed = client.request("session/close", close.clone()).await;
    let prompt = client.prompt(&session, "third").await;
    let again = client.request("session/close", close).await;
    let (answer, told) = client.answer(again).await;
    assert_eq!(answer["result"], json!({}), "{answer}");
    assert_eq!(told[at(&told, closed)]["result"], json!({}));
    let words = told[at(&told, prompt)]["error"]["message"].as_str().unwrap();
    assert!(words.contains(&session), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_is_under_way_when_its_session_is_closed_is_refused_in_words() {
    let desk = Desk::new(vec![], vec![]);
    let (mut client, session, opened) = gated(&desk).await;
    let load = client.request("session/load", open(&session)).await;
    let close = client.request("session/close", json!({ "sessionId": session })).await;
    client.within(10).await;
    opened.add_permits(1);
    let (answer, told) = client.answer(close).await;
    assert_eq!(answer["result"], json!({}), "{answer}");
    let words = told[at(&told, load)]["error"]["message"].as_str().unwrap();
    assert_eq!(words, "the session is being closed");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_is_withdrawn_takes_no_other_with_it() {
    let desk = Desk::new(vec![], vec![]);
    let (mut client, session, opened) = gated(&desk).await;
    let first = client.request("session/load", open(&session)).await;
    let second = client.request("session/load", open(&session)).await;
    client.notify("$/cancel_request", json!({ "requestId": first })).await;
    client.within(10).await;
    opened.add_permits(1);
    let told = client.within(1_000).await;
    assert_eq!(told[at(&told, first)]["error"]["code"], -32800, "{told:?}");
    assert!(told[at(&told, second)]["result"].is_object(), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_resumes_a_session_that_is_being_told_is_answered_when_it_is_told() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "hi").await;
    client.answer(id).await;
    let load = client.request("session/load", open(&session)).await;
    let resume = client.request("session/resume", open(&session)).await;
    let told = client.within(1_000).await;
    let first = at(&told, load).min(at(&told, resume));
    assert_eq!(text_of(&told[..first], "user_message_chunk"), "hi", "{told:?}");
    assert_eq!(text_of(&told[first..], "user_message_chunk"), "", "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_question_is_withdrawn_before_its_prompt_is_answered_when_the_session_is_closed() {
    let tool = TestTool::new("write", Effect::Mutating, Act::Echo);
    let call = vec![Say::Reply(calls(&[("c1", "write", r#"{"what":"x"}"#)]))];
    let desk = Desk::of(Parts::new(vec![call], vec![tool]), Mode::ASK_WRITES);
    let mut client = desk.client().await;
    let session = client.session().await;
    let prompt = client.prompt(&session, "write it").await;
    client.until(|m| m["method"] == "session/request_permission").await;
    let close = client.request("session/close", json!({ "sessionId": session })).await;
    let (_, told) = client.answer(close).await;
    let withdrawn = told.iter().position(|m| m["method"] == "$/cancel_request");
    assert!(withdrawn.expect("it is withdrawn") < at(&told, prompt), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_withdrawal_of_a_prompt_whose_turn_is_over_does_not_stop_the_next_one() {
    let slow = (0..200).flat_map(|_| [Say::Delta("word "), Say::Wait(500)]);
    let words = "word ".repeat(200);
    let slow = slow.chain([Say::Reply(text(&words))]).collect();
    let next = vec![Say::Wait(600_000), Say::Reply(text("next"))];
    let desk = Desk::new(vec![slow, next], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let first = client.prompt(&session, "one").await;
    let second = client.prompt(&session, "two").await;
    let handle = handle(&desk, &session);
    wait_for(&handle, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    client.notify("$/cancel_request", json!({ "requestId": first })).await;
    let rest = tokio::time::timeout(Duration::from_secs(60), std::future::pending::<()>());
    assert!(rest.await.is_err());
    let (answer, told) = client.answer(second).await;
    assert_eq!(stop(&told, first), "end_turn");
    assert_eq!(answer["result"]["stopReason"], "end_turn", "{answer}");
}

/// A client that shows summaries, and a session of it with something to summarise.
async fn with_much_said(summary: Vec<Say>) -> (Client, String) {
    let many = |_| vec![Say::Reply(text(&"word ".repeat(8_000)))];
    let parts = Parts::new((0..3).map(many).collect(), vec![]);
    let parts = Parts { summaries: vec![summary], usage: Count::ByBytes, ..parts };
    let desk = Desk::of(parts, Mode::OPEN);
    let mut client = desk.client_with(json!({ "session": { "compaction": {} } })).await;
    let session = client.session().await;
    for _ in 0..3 {
        let id = client.prompt(&session, "go on").await;
        client.answer(id).await;
    }
    (client, session)
}

/// What was told of summaries.
fn summaries(messages: &[Value]) -> Vec<&str> {
    let told = messages.iter().filter(|m| kind(m) == "compaction_update");
    told.map(|m| m["params"]["update"]["status"].as_str().unwrap_or_default()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_slash_command_is_answered_when_all_that_it_changed_is_told() {
    let (mut client, session) = with_much_said(vec![Say::Reply(text("notes"))]).await;
    let id = client.prompt(&session, "/compact").await;
    let (answer, told) = client.answer(id).await;
    assert_eq!(answer["result"]["stopReason"], "end_turn");
    assert_eq!(summaries(&told).last(), Some(&"completed"), "{told:?}");
    let id = client.prompt(&session, "/mode deny-all").await;
    let (answer, told) = client.answer(id).await;
    assert_eq!(answer["result"]["stopReason"], "end_turn");
    let changes: Vec<&str> = told.iter().map(kind).collect();
    assert_eq!(changes, ["current_mode_update", "config_option_update", "agent_message_chunk"]);
    assert!(client.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn a_slash_command_that_is_stopped_is_answered_when_its_end_is_told() {
    for is_withdrawn in [false, true] {
        let (mut client, session) = with_much_said(vec![Say::Silence]).await;
        let id = client.prompt(&session, "/compact").await;
        client.until(|m| kind(m) == "compaction_update").await;
        match is_withdrawn {
            true => client.notify("$/cancel_request", json!({ "requestId": id })).await,
            false => client.cancel(&session).await,
        }
        let said = tokio::time::timeout(Duration::from_millis(250), client.answer(id));
        let (answer, told) = said.await.expect("at once");
        assert_eq!(answer["result"]["stopReason"], "cancelled");
        assert_eq!(summaries(&told), ["failed"], "{told:?}");
        assert!(client.is_silent().await);
    }
}

#[test]
fn a_session_that_is_lost_rests_until_it_is_wanted_again() {
    let (done, rested) = std::sync::mpsc::channel();
    // A lane that does not rest keeps virtual time from passing, so that only the true one tells.
    std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(lose());
        done.send(()).unwrap();
    });
    rested.recv_timeout(Duration::from_secs(60)).expect("the lane rests");
}

/// The store refuses one write of a session that a client has.
async fn lose() {
    let store = MemoryStore::new(node("a"));
    let faults = [None, Some(Fault::Unavailable)];
    let faulty = FaultyJournal::scripted(Arc::new(store.clone()), faults);
    let parts = Parts::on(store, vec![says("fine"), says("fine")], vec![]);
    let limits = RuntimeLimits { append_retry_ms: 0, ..RuntimeLimits::DEFAULT };
    let desk = Desk::of(Parts { journal: Arc::new(faulty), limits, ..parts }, Mode::OPEN);
    let mut client = desk.client().await;
    let session = client.session().await;
    let id = client.prompt(&session, "hi").await;
    let (answer, _) = client.answer(id).await;
    assert!(answer["error"].is_object(), "{answer}");
    assert!(client.is_silent().await);
    let (answer, _) = client.call("session/load", open(&session)).await;
    assert!(answer["result"].is_object(), "{answer}");
    let id = client.prompt(&session, "and now?").await;
    let (answer, told) = client.answer(id).await;
    assert_eq!(answer["result"]["stopReason"], "end_turn", "{answer}");
    assert_eq!(text_of(&told, "agent_message_chunk"), "fine");
}
