//! Several clients of one session, and clients that come in the middle of a turn.

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::event::Effect;
use oarlock_core::memory::MemoryStore;
use oarlock_core::spec::Mode;
use oarlock_core::{DefaultAgentCore, SessionId};
use oarlock_server::{Audience, Host, HostError, Workspace};
use oarlock_testkit::kit::{Kit, Parts, journal, node, tags};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};
use serde_json::{Value, json};

use crate::desk::{Client, Desk, id, kind, text_of};
use crate::machine::{Machine, equipped};

fn says(words: &'static str) -> Vec<Say> {
    vec![Say::Delta(words), Say::Reply(text(words))]
}

fn stop(answer: &Value) -> &str {
    answer["result"]["stopReason"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

fn is_question(message: &Value) -> bool {
    message["method"] == "session/request_permission"
}

fn is_update(message: &Value) -> bool {
    message["method"] == "session/update" && kind(message) != "available_commands_update"
}

/// Whether it says how the session stands: who loads it is told that once, at the end.
fn is_standing(message: &Value) -> bool {
    matches!(kind(message), "session_info_update" | "usage_update")
}

/// The updates among them, without what only some clients are told.
fn updates(messages: &[Value]) -> Vec<Value> {
    let is_shared = |m: &&Value| is_update(m) && !is_standing(m) && kind(m) != "user_message_chunk";
    let shared = messages.iter().filter(is_shared);
    shared.map(|m| m["params"]["update"].clone()).collect()
}

/// A program whose model writes something, which has to be allowed, and then is done.
fn writing() -> (Desk, Arc<TestTool>) {
    let tool = TestTool::new("write", Effect::Mutating, Act::Echo);
    let mut call = calls(&[("c1", "write", r#"{"what":"x"}"#)]);
    call.blocks.splice(0..0, text("I write").blocks);
    let call = vec![Say::Delta("I write"), Say::Reply(call)];
    let parts = Parts::new(vec![call, says("done"), says("again")], vec![tool.clone()]);
    (Desk::of(parts, Mode::ASK_WRITES), tool)
}

/// A client that goes on with a session.
async fn joined(desk: &Desk, session: &str) -> Client {
    let mut client = desk.client().await;
    let resume = json!({ "sessionId": session, "cwd": "/" });
    let (answer, before) = client.call("session/resume", resume).await;
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(before, Vec::<Value>::new(), "the past is not told");
    client
}

fn allows() -> Value {
    json!({ "outcome": { "outcome": "selected", "optionId": "allow_once" } })
}

#[tokio::test(start_paused = true)]
async fn every_client_of_a_session_is_told_everything_once_and_asked_everything() {
    let (desk, tool) = writing();
    let mut first = desk.client().await;
    let session = first.session().await;
    let mut second = joined(&desk, &session).await;
    let id = first.prompt(&session, "write it").await;
    let mut seen = [first.until(is_question).await, second.until(is_question).await];
    second.reply(seen[1].last().unwrap(), allows()).await;
    let (answer, rest) = first.answer(id).await;
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(tool.runs(), 1);
    let question = seen[0].last().unwrap()["id"].clone();
    let withdrawn =
        |m: &Value| m["method"] == "$/cancel_request" && m["params"]["requestId"] == question;
    assert!(rest.iter().any(withdrawn), "the other's answer counted: {rest:?}");
    seen[0].extend(rest);
    seen[1].extend(
        second.until(|m| text_of(std::slice::from_ref(m), "agent_message_chunk") == "done").await,
    );
    second.until(|m| kind(m) == "usage_update").await;
    assert_eq!(text_of(&seen[0], "user_message_chunk"), "", "its own words");
    assert_eq!(text_of(&seen[1], "user_message_chunk"), "write it");
    assert_eq!(updates(&seen[0]), updates(&seen[1]));
    assert!(first.is_silent().await && second.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_takes_nothing_from_the_others() {
    let (desk, tool) = writing();
    let mut first = desk.client().await;
    let session = first.session().await;
    let mut second = joined(&desk, &session).await;
    first.prompt(&session, "write it").await;
    first.until(is_question).await;
    first.leave().await.unwrap();
    let seen = second.until(is_question).await;
    second.reply(seen.last().unwrap(), allows()).await;
    let done = |m: &Value| text_of(std::slice::from_ref(m), "agent_message_chunk") == "done";
    second.until(done).await;
    assert_eq!(tool.runs(), 1, "a client that has gone has refused nothing");
    let id = second.prompt(&session, "once more").await;
    assert_eq!(stop(&second.answer(id).await.0), "end_turn");
    second.leave().await.unwrap();
    assert!(!desk.kit.core.is_awake(&SessionId::parse(session).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_one_client_closes_stays_with_the_others() {
    let (desk, _) = writing();
    let mut first = desk.client().await;
    let session = first.session().await;
    let mut second = joined(&desk, &session).await;
    let id = first.prompt(&session, "write it").await;
    second.until(is_question).await;
    let closing = second.request("session/close", json!({ "sessionId": session })).await;
    assert!(second.answer(closing).await.0["result"].is_object());
    assert_eq!(stop(&first.answer(id).await.0), "cancelled", "closing cancels what runs");
    let id = first.prompt(&session, "once more").await;
    assert_eq!(stop(&first.answer(id).await.0), "end_turn");
    assert!(second.is_silent().await, "it is told nothing of what it has closed");
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_with_a_running_turn_is_shown_what_runs_and_asked_what_is_asked() {
    let (desk, tool) = writing();
    let mut first = desk.client().await;
    let session = first.session().await;
    let id = first.prompt(&session, "write it").await;
    first.until(is_question).await;
    let mut second = joined(&desk, &session).await;
    let seen = second.until(is_question).await;
    let calls: Vec<&Value> = seen.iter().filter(|m| kind(m) == "tool_call").collect();
    assert_eq!(calls.len(), 1, "{seen:?}");
    assert_eq!(calls[0]["params"]["update"]["title"], "write x");
    assert_eq!(text_of(&seen, "agent_message_chunk"), "", "what was said before is not told");
    second.reply(seen.last().unwrap(), allows()).await;
    assert_eq!(stop(&first.answer(id).await.0), "end_turn");
    assert_eq!(tool.runs(), 1);
    let done = |m: &Value| text_of(std::slice::from_ref(m), "agent_message_chunk") == "done";
    let rest = second.until(done).await;
    let statuses: Vec<&Value> = rest
        .iter()
        .filter(|m| kind(m) == "tool_call_update")
        .map(|m| &m["params"]["update"]["status"])
        .filter(|status| !status.is_null())
        .collect();
    assert_eq!(statuses, ["in_progress", "completed"]);
}

#[tokio::test(start_paused = true)]
async fn who_loads_a_running_turn_is_told_the_past_and_then_the_rest_and_nothing_twice() {
    let (desk, _) = writing();
    let mut first = desk.client().await;
    let session = first.session().await;
    let id = first.prompt(&session, "write it").await;
    let mut lived = first.until(is_question).await;
    let mut second = desk.client().await;
    let load = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    let (answer, mut told) = second.call("session/load", load).await;
    assert!(answer["result"].is_object(), "{answer}");
    assert!(!told.iter().any(is_question), "it is asked once it knows the session");
    assert_eq!(text_of(&told, "agent_message_chunk"), "I write");
    let rest = second.until(is_question).await;
    second.reply(rest.last().unwrap(), allows()).await;
    lived.extend(first.answer(id).await.1);
    told.extend(rest);
    told.extend(
        second.until(|m| text_of(std::slice::from_ref(m), "agent_message_chunk") == "done").await,
    );
    assert_eq!(text_of(&told, "user_message_chunk"), "write it");
    assert_eq!(updates(&told), updates(&lived));
}

#[tokio::test(start_paused = true)]
async fn who_comes_in_the_middle_of_an_answer_is_told_all_of_it_once() {
    for method in ["session/load", "session/resume"] {
        let answer = vec![
            Say::Delta("one "),
            Say::Wait(1_000),
            Say::Delta("two "),
            Say::Wait(60_000),
            Say::Reply(text("one two three")),
        ];
        let desk = Desk::new(vec![answer], vec![]);
        let mut first = desk.client().await;
        let session = first.session().await;
        let id = first.prompt(&session, "count").await;
        first.until(|m| text_of(std::slice::from_ref(m), "agent_message_chunk") == "two ").await;
        let mut second = desk.client().await;
        let open = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
        let (opened, mut told) = second.call(method, open).await;
        assert!(opened["result"].is_object(), "{opened}");
        assert_eq!(stop(&first.answer(id).await.0), "end_turn");
        told.extend(
            second
                .until(|m| {
                    text_of(std::slice::from_ref(m), "agent_message_chunk").ends_with("three")
                })
                .await,
        );
        assert_eq!(text_of(&told, "agent_message_chunk"), "one two three", "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_prompt_takes_no_other_with_it() {
    let slow = vec![Say::Delta("slow"), Say::Wait(60_000), Say::Reply(text("slow"))];
    let desk = Desk::new(vec![slow, says("third")], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let first = client.prompt(&session, "one").await;
    client.until(|m| kind(m) == "agent_message_chunk").await;
    let second = client.prompt(&session, "two").await;
    let third = client.prompt(&session, "three").await;
    client.notify("$/cancel_request", json!({ "requestId": second })).await;
    assert_eq!(stop(&client.answer(second).await.0), "cancelled");
    client.notify("$/cancel_request", json!({ "requestId": first })).await;
    assert_eq!(stop(&client.answer(first).await.0), "cancelled");
    let (answer, told) = client.answer(third).await;
    assert_eq!(stop(&answer), "end_turn");
    assert_eq!(text_of(&told, "agent_message_chunk"), "third");
}

/// A session of so many turns, which nobody follows any more.
async fn long_session(desk: &Desk, turns: usize) -> String {
    let mut client = desk.client().await;
    let session = client.session().await;
    for _ in 0..turns {
        let id = client.prompt(&session, "more").await;
        assert_eq!(stop(&client.answer(id).await.0), "end_turn");
    }
    client.leave().await.expect("it ends in good order");
    session
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_load_stops_telling_and_the_session_can_be_loaded_again() {
    let desk = Desk::new(vec![says("more"); 101], vec![]);
    let session = long_session(&desk, 100).await;
    let mut client = desk.client().await;
    let load = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    let id = client.request("session/load", load.clone()).await;
    client.until(is_update).await;
    client.notify("$/cancel_request", json!({ "requestId": id })).await;
    let (answer, told) = client.answer(id).await;
    assert_eq!(answer["error"]["code"], -32800, "{answer}");
    assert!(told.len() < 199, "it was told to the end");
    assert!(client.is_silent().await, "nothing is told of a session that was not opened");
    let (answer, told) = client.call("session/load", load).await;
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(told.iter().filter(|m| is_update(m) && !is_standing(m)).count(), 200);
    let id = client.prompt(&session, "and more").await;
    assert_eq!(stop(&client.answer(id).await.0), "end_turn");
}

#[tokio::test(start_paused = true)]
async fn who_loads_a_session_twice_at_once_is_told_it_once() {
    let desk = Desk::new(vec![says("more"); 100], vec![]);
    let session = long_session(&desk, 100).await;
    let mut client = desk.client().await;
    let load = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    let first = client.request("session/load", load.clone()).await;
    let second = client.request("session/load", load).await;
    let (answer, mut told) = client.answer(first).await;
    assert!(answer["result"].is_object(), "{answer}");
    let (answer, rest) = client.answer(second).await;
    assert!(answer["result"].is_object(), "{answer}");
    told.extend(rest);
    assert_eq!(told.iter().filter(|m| is_update(m) && !is_standing(m)).count(), 200);
}

#[tokio::test(start_paused = true)]
async fn who_brings_files_to_a_session_that_works_with_others_files_follows_it_with_those() {
    let machine = Machine::with(&[("/w/a.txt", b"saved\n")]);
    let call = vec![Say::Reply(calls(&[("c1", "lend", "{}")]))];
    let (kit, mut lent) = equipped(Parts::new(vec![call, says("done")], vec![]), machine);
    let desk = Desk::with(kit, Mode::OPEN);
    let brings = json!({ "fs": { "readTextFile": true, "writeTextFile": true } });
    let mut first = desk.client_with(brings.clone()).await;
    let session = first.session().await;
    let mut second = desk.client_with(brings).await;
    for method in ["session/resume", "session/load"] {
        let open = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
        let (answer, _) = second.call(method, open).await;
        assert!(answer["result"].is_object(), "{answer}");
    }
    second.prompt(&session, "lend it").await;
    let lent = lent.recv().await.expect("the call runs");
    let path = Path::new("/w/a.txt");
    let shown = async {
        let seen = first.until(|m| m["method"] == "fs/read_text_file").await;
        first.reply(seen.last().unwrap(), json!({ "content": "not saved\n" })).await;
    };
    let (read, ()) = tokio::join!(lent.cx.files.read(path, 0, 100), shown);
    assert_eq!(read.unwrap(), "not saved\n", "the one who opened it is asked");
    first.leave().await.unwrap();
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    let read = lent.cx.files.read(path, 0, 100).await;
    assert_eq!(read.unwrap(), "saved\n", "what was not saved has gone with its editor");
    let asked = second.within(1_000).await;
    assert!(!asked.iter().any(|m| m["method"] == "fs/read_text_file"), "{asked:?}");
}

/// A program whose folder was configured otherwise after it had begun: sessions that are opened now work with `now`.
#[derive(Debug)]
struct Reconfigured {
    before: Desk,
    now: Desk,
}

impl Host for Reconfigured {
    fn workspace<'a>(
        &'a self,
        cwd: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Workspace>, HostError>> {
        self.now.workspace(cwd)
    }

    fn awake(&self, session: &SessionId) -> Option<Arc<dyn Workspace>> {
        let is_awake = self.before.kit.core.is_awake(session);
        is_awake.then(|| Arc::new(self.before.clone()) as Arc<dyn Workspace>)
    }

    fn core(&self) -> &DefaultAgentCore {
        Host::core(&self.before)
    }

    fn store_name(&self) -> &'static str {
        "memory"
    }

    fn audience(&self) -> &Audience {
        self.before.audience()
    }

    fn authenticate(&self) -> BoxFuture<'_, Result<(), HostError>> {
        self.before.authenticate()
    }

    fn logout(&self) -> BoxFuture<'_, Result<(), HostError>> {
        self.before.logout()
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_awake_stays_with_its_runtime_though_its_folder_was_configured_otherwise()
{
    let store = MemoryStore::new(node("a"));
    let parts = Parts::on(store.clone(), vec![says("one"), says("two")], vec![]);
    let before = Desk::of(parts, Mode::OPEN);
    let other = Parts { name: "b", ..Parts::on(store, vec![says("other")], vec![]) };
    let now = Desk::with(Kit::of(other), Mode::OPEN);
    let mut first = before.client().await;
    let session = first.session().await;
    let prompt = first.prompt(&session, "hi").await;
    assert_eq!(stop(&first.answer(prompt).await.0), "end_turn");
    let mut second = Client::connect(Arc::new(Reconfigured { before: before.clone(), now }));
    second.call("initialize", json!({ "protocolVersion": 1 })).await;
    let load = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
    let (answer, told) = second.call("session/load", load).await;
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(text_of(&told, "agent_message_chunk"), "one");
    let prompt = second.prompt(&session, "and now?").await;
    let (answer, told) = second.answer(prompt).await;
    assert_eq!(
        (stop(&answer), text_of(&told, "agent_message_chunk").as_str()),
        ("end_turn", "two")
    );
    // Nobody took it from the first one, who is told of it.
    let told = first.within(1_000).await;
    assert_eq!(text_of(&told, "user_message_chunk"), "and now?", "{told:?}");
    let core = &before.kit.core;
    let entries = tags(&journal(core, &core.handle(id(&session))).await);
    assert!(!entries.iter().any(|tag| tag == "writer_changed"), "{entries:?}");
}
