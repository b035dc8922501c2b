//! A client of `oarlock rpc` that sends and reads lines, in this process and on virtual time.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_server::Streams;
use oarlock_server::rpc::serve;
use oarlock_server::service::Caller;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Refusal, Surface, sessions};
use crate::desk::Desk;

/// Lines towards the client that nobody has read.
const UNREAD_MAX: usize = 16;
/// How long a line is waited for, on virtual time.
const PATIENCE: Duration = Duration::from_secs(7200);

type Waiting = Arc<Mutex<HashMap<i64, oneshot::Sender<Value>>>>;

/// A client whose answers find whoever asked.
pub(crate) struct Wired {
    to: mpsc::Sender<io::Result<String>>,
    ids: AtomicI64,
    waiting: Waiting,
    _tasks: JoinSet<()>,
}

impl Wired {
    pub(crate) fn of(desk: &Desk, caller: Caller) -> Self {
        let Raw { to, mut from, mut served, .. } = Raw::of(desk, caller);
        let waiting = Waiting::default();
        let known = Arc::clone(&waiting);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(line) = from.recv().await {
                let answer: Value = serde_json::from_str(&line).expect("every line is JSON");
                let Some(id) = answer["id"].as_i64() else { continue };
                if let Some(to) = known.lock().expect("nobody panics with it").remove(&id) {
                    drop(to.send(answer));
                }
            }
            let ended = served.join_next().await.expect("it was begun");
            ended.expect("it does not panic").expect("it ends in good order");
        });
        Self { to: to.expect("it is open"), ids: AtomicI64::new(0), waiting, _tasks: tasks }
    }

    /// Asks, and gives the answer as it came.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        let id = self.ids.fetch_add(1, SeqCst) + 1;
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().expect("nobody panics with it").insert(id, answer);
        self.to.send(Ok(request(id, method, &params))).await.expect("the program reads");
        timeout(PATIENCE, answered).await.expect("it answers").expect("the stream is open")
    }
}

impl Surface for Wired {
    fn open(desk: &Desk) -> BoxFuture<'_, Self> {
        async { Self::of(desk, Caller::trusted("rpc")) }.boxed()
    }

    fn call<'a>(&'a self, name: &'a str, params: Value) -> BoxFuture<'a, Result<Value, Refusal>> {
        async move {
            let mut answer = self.ask(name, params).await;
            assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
            let Some(error) = answer.get_mut("error") else { return Ok(answer["result"].take()) };
            let text = |value: &Value| value.as_str().expect("it is a text").to_owned();
            Err(Refusal {
                code: text(&error["data"]["code"]),
                message: text(&error["message"]),
                details: error["data"]["details"].take(),
            })
        }
        .boxed()
    }
}

/// A client that sees each line.
pub(crate) struct Raw {
    pub(crate) to: Option<mpsc::Sender<io::Result<String>>>,
    pub(crate) from: mpsc::Receiver<String>,
    pub(crate) served: JoinSet<io::Result<()>>,
    pub(crate) stop: Option<oneshot::Sender<()>>,
}

impl Raw {
    pub(crate) fn to(desk: &Desk) -> Self {
        Self::of(desk, Caller::trusted("rpc"))
    }

    /// The same for somebody who may not do everything.
    pub(crate) fn of(desk: &Desk, caller: Caller) -> Self {
        let (to, incoming) = mpsc::channel(64);
        let (outgoing, from) = mpsc::channel(UNREAD_MAX);
        let (stop, stopped) = oneshot::channel();
        let until = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let mut served = JoinSet::new();
        served.spawn(serve(sessions(desk, caller), Streams::within(incoming, outgoing), until));
        Self { to: Some(to), from, served, stop: Some(stop) }
    }

    pub(crate) async fn line(&self, line: &str) {
        let to = self.to.as_ref().expect("the stream is open");
        to.send(Ok(line.to_owned())).await.expect("the program reads");
    }

    pub(crate) async fn ask(&self, id: i64, method: &str, params: Value) {
        self.line(&request(id, method, &params)).await;
    }

    /// The next line; nothing when the program has closed its stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let line =
            timeout(PATIENCE, self.from.recv()).await.expect("the program says something")?;
        Some(serde_json::from_str(&line).expect("every line is JSON"))
    }

    /// What a line is answered with.
    pub(crate) async fn told(&mut self, line: &str) -> Value {
        self.line(line).await;
        self.next().await.expect("the stream is open")
    }

    /// The answer to a request, and the lines before it.
    pub(crate) async fn answer(&mut self, id: i64) -> (Value, Vec<Value>) {
        let mut before = Vec::new();
        loop {
            let next = self.next().await.expect("the stream is open");
            if next["id"] == id {
                return (next, before);
            }
            before.push(next);
        }
    }

    pub(crate) async fn call(&mut self, id: i64, method: &str, params: Value) -> Value {
        self.ask(id, method, params).await;
        let (mut answer, _) = self.answer(id).await;
        assert_eq!(answer.get("error"), None, "{method}");
        answer["result"].take()
    }

    /// A session that waits for its first input.
    pub(crate) async fn deferred(&mut self) -> String {
        let made = self.call(0, "session/create", json!({ "initial_turn": "defer" })).await;
        made["session_id"].as_str().expect("it has an id").to_owned()
    }

    /// How long the program takes to end, and what it said meanwhile.
    pub(crate) async fn end(mut self) -> (Duration, Vec<Value>) {
        let begun = tokio::time::Instant::now();
        let mut said = Vec::new();
        while let Some(line) = self.next().await {
            said.push(line);
        }
        let ended = self.served.join_next().await.expect("it was begun");
        ended.expect("it does not panic").expect("it ends in good order");
        (begun.elapsed(), said)
    }
}

pub(crate) fn request(id: i64, method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}
