//! What a session needs does not answer: its folders, the files that a prompt mentions, the store's pictures. Whoever waits for it waits alone.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use oarlock_core::ids::BlobId;
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::ports::journal::{BlobWriter, Blobs, JournalError};
use oarlock_core::spec::Mode;
use oarlock_core::{DefaultAgentCore, Ports};
use oarlock_testkit::kit::{Kit, Parts, journal, node, tags};
use oarlock_testkit::model::Say;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::desk::{Desk, UNREADABLE, id as id_of, kind};

fn working() -> Vec<Vec<Say>> {
    vec![vec![Say::Delta("working"), Say::Silence]]
}

#[test]
fn a_turn_is_cancelled_at_once_while_a_folder_that_the_client_names_does_not_answer() {
    // The one thread for what blocks is taken, so that no folder is looked at before it is free.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let desk = Desk::new(working(), vec![]);
        let mut client = desk.client().await;
        let session = client.session().await;
        let prompt = client.prompt(&session, "work").await;
        client.until(|m| kind(m) == "agent_message_chunk").await;
        let (free, taken) = std::sync::mpsc::channel::<()>();
        let blocked = tokio::task::spawn_blocking(move || taken.recv().is_err());
        let open = json!({ "sessionId": session, "cwd": "/", "mcpServers": [] });
        let load = client.request("session/load", open.clone()).await;
        let unwanted = client.request("session/load", open.clone()).await;
        client.notify("$/cancel_request", json!({ "requestId": unwanted })).await;
        let (answer, _) = timeout(Duration::from_secs(3), client.answer(unwanted)).await.unwrap();
        assert_eq!(answer["error"]["code"], -32800, "{answer}");
        for _ in 0..7 {
            client.request("session/load", open.clone()).await;
        }
        let (answer, _) = client.call("session/load", open).await;
        assert_eq!(answer["error"]["code"], -32600, "{answer}");
        client.cancel(&session).await;
        let said = timeout(Duration::from_secs(3), client.answer(prompt)).await;
        let (answer, _) = said.expect("nobody waits for the folder");
        assert_eq!(answer["result"]["stopReason"], "cancelled", "{answer}");
        drop(free);
        assert!(blocked.await.unwrap());
        let (answer, told) = client.answer(load).await;
        assert!(answer["result"].is_object(), "{answer}");
        assert!(told.iter().any(|m| kind(m) == "user_message_chunk"), "{told:?}");
    });
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_not_wanted_any_more_is_read_no_further() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    for by_request in [false, true] {
        let prompt = client.prompt(&session, UNREADABLE).await;
        assert_eq!(client.within(1_000).await, Vec::<Value>::new());
        assert_eq!(desk.reading.load(SeqCst), 1);
        match by_request {
            true => client.notify("$/cancel_request", json!({ "requestId": prompt })).await,
            false => client.cancel(&session).await,
        }
        let (answer, _) = client.answer(prompt).await;
        assert_eq!(answer["result"]["stopReason"], "cancelled", "{answer}");
        assert!(client.is_silent().await);
        assert_eq!(desk.reading.load(SeqCst), 0, "nobody wants it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_cannot_be_read_is_given_up_and_the_next_one_has_its_turn() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    let begun = Instant::now();
    let (stuck, next) =
        (client.prompt(&session, UNREADABLE).await, client.prompt(&session, "hi").await);
    let (answer, _) = client.answer(stuck).await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("30 s"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(31), "{:?}", begun.elapsed());
    let (answer, _) = client.answer(next).await;
    assert_eq!(answer["result"]["stopReason"], "end_turn", "{answer}");
}

#[tokio::test(start_paused = true)]
async fn prompts_that_wait_have_a_bound_in_bytes_and_too_long_a_text_does_not_wait() {
    let desk = Desk::new(working(), vec![]);
    let mut client = desk.client().await;
    let session = client.session().await;
    client.prompt(&session, UNREADABLE).await;
    let long = "x".repeat((1 << 20) + 1);
    let id = client.prompt(&session, &long).await;
    let (answer, _) = client.answer(id).await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("into a file"), "{answer}");
    for _ in 0..10 {
        client.request("session/prompt", picture(&session)).await;
    }
    assert_eq!(client.within(1_000).await, Vec::<Value>::new());
    let (answer, _) = client.call("session/prompt", picture(&session)).await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("32 MB"), "{answer}");
}

/// A prompt with a picture of 3 MB.
pub(crate) fn picture(session: &str) -> Value {
    let data = format!("iVBORw0KGgoAAAANSUhEUgAA{}", "A".repeat(4 << 20));
    let image = json!({ "type": "image", "mimeType": "image/png", "data": data });
    json!({ "sessionId": session, "prompt": [image] })
}

/// Bodies that are taken and never given back.
#[derive(Debug)]
struct Swallowed(MemoryStore);

impl Blobs for Swallowed {
    fn put(&self, body: Bytes) -> BoxFuture<'_, Result<BlobId, JournalError>> {
        self.0.put(body)
    }

    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, JournalError>> {
        self.0.writer()
    }

    fn read<'a>(
        &'a self,
        _: &'a BlobId,
        _: u64,
        _: usize,
    ) -> BoxFuture<'a, Result<(Bytes, u64), JournalError>> {
        pending().boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        self.0.probe()
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_leaves_its_session_in_good_order_though_much_was_not_told() {
    let store = MemoryStore::new(node("a"));
    let Kit { core, model } = Kit::of(Parts::on(store.clone(), working(), vec![]));
    let ports = Ports { blobs: Arc::new(Swallowed(store)), ..core.ports().clone() };
    let core = DefaultAgentCore::new(ports, RuntimeLimits::DEFAULT, node("a"));
    let desk = Desk::with(Kit { core, model }, Mode::OPEN);
    let mut client = desk.client().await;
    let session = client.session().await;
    client.prompt(&session, "work").await;
    client.until(|m| kind(m) == "agent_message_chunk").await;
    let picture =
        json!([{ "type": "image", "mimeType": "image/png", "data": "iVBORw0KGgoAAAANSUhEUgA=" }]);
    for _ in 0..12 {
        let prompt = json!({ "sessionId": session, "prompt": picture });
        client.request("session/prompt", prompt).await;
    }
    let handle = desk.kit.core.handle(id_of(&session));
    while handle.status().await.unwrap().waiting.len() < 12 {
        client.within(1).await;
    }
    let begun = Instant::now();
    client.leave().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let entries = tags(&journal(&desk.kit.core, &handle).await);
    assert_eq!(entries.last().map(String::as_str), Some("writer_released"), "{entries:?}");
}
