//! Each operation asks for the scope that its row declares, for it alone, and tells nobody of what another tenant has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::body::Body;
use hyper::Request;
use oarlock_core::ids::Tenant;
use oarlock_core::memory::MemoryStore;
use oarlock_core::ports::journal::TenantFilter;
use oarlock_core::service::{Cursor, SessionService};
use oarlock_core::spec::Mode;
use oarlock_server::operations::{Operation, operations};
use oarlock_server::service::{Caller, Scope, Sessions};
use oarlock_testkit::gated::{GatedJournal, through};
use oarlock_testkit::kit::{Parts, node};
use serde_json::{Value, json};

use super::contract::{STRANGER, of, says};
use super::http::Http;
use super::wired::Wired;
use super::{Direct, Surface, deferred, done, sessions};
use crate::desk::{Desk, id};

const ALL: [Scope; 3] = [Scope::Read, Scope::Turn, Scope::Manage];

/// What makes sense to ask of an operation, of this session where it is of one.
fn asked(operation: &Operation, session: &str) -> Value {
    let params = match operation.name {
        "session/create" => json!({ "initial_turn": "defer" }),
        "session/search" => json!({ "query": "words" }),
        "turn/start" => json!({ "prompt": "go" }),
        "turn/wait" => json!({ "wait_ms": 0 }),
        "session/input" => json!({ "prompt": "go", "delivery": "queue" }),
        "session/withdraw" => json!({ "input": 3 }),
        "session/answer" => json!({ "kind": "permission", "call": "c1", "choice": "allow_once" }),
        "session/configure" => json!({ "title": "another" }),
        "session/send" => json!({ "session_id": session, "text": "go" }),
        "session/import" => json!({ "journal": "no export" }),
        _ => json!({}),
    };
    match operation.path.contains("{session_id}") {
        true => of(session, params),
        false => params,
    }
}

fn may(scopes: impl IntoIterator<Item = Scope>) -> Caller {
    Caller { scopes: scopes.into_iter().collect(), ..Caller::trusted("test") }
}

/// Every way to ask as this caller.
async fn surfaces(desk: &Desk, caller: &Caller) -> [Box<dyn Surface>; 3] {
    [
        Box::new(Direct(sessions(desk, caller.clone()))),
        Box::new(Http::of(desk, caller.clone()).await),
        Box::new(Wired::of(desk, caller.clone())),
    ]
}

/// What there is: the sessions, and how this one stands. A client of JSON-RPC that goes lets it sleep.
async fn standing(desk: &Desk, session: &str) -> (Value, Value) {
    let surface = Direct::open(desk).await;
    let listed = done(&surface, "session/list", json!({})).await;
    let mut read = done(&surface, "session/read", of(session, json!({}))).await;
    read["is_awake"].take();
    (listed, read)
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_refused_without_its_scope_and_nothing_of_it_is_done() {
    for operation in operations() {
        let desk = Desk::new(vec![], vec![]);
        let session = deferred(&Direct::open(&desk).await).await;
        let before = standing(&desk, &session).await;
        let others = may(ALL.into_iter().filter(|scope| *scope != operation.scope));
        for surface in surfaces(&desk, &others).await {
            let refusal = surface.call(operation.name, asked(operation, &session)).await;
            assert_eq!(refusal.unwrap_err().code, "FORBIDDEN", "{}", operation.name);
        }
        assert_eq!(standing(&desk, &session).await, before, "{}", operation.name);
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_done_with_its_scope_alone() {
    for operation in operations() {
        for surface in 0..3 {
            let desk = Desk::new(vec![says("yes"), says("again")], vec![]);
            let session = deferred(&Direct::open(&desk).await).await;
            let go = of(&session, json!({ "prompt": "first" }));
            done(&Direct::open(&desk).await, "turn/start", go).await;
            let asking = &surfaces(&desk, &may([operation.scope])).await[surface];
            let answer = asking.call(operation.name, asked(operation, &session)).await;
            let code = answer.err().map(|refusal| refusal.code);
            let expected = match operation.name {
                "session/withdraw" | "session/answer" | "session/import" => Some("INVALID_REQUEST"),
                "turn/interrupt" => Some("SESSION_NOT_RUNNING"),
                // A summary of so little is longer than what it stands for.
                "session/compact" => Some("AGENT_ERROR"),
                _ => None,
            };
            assert_eq!(code.as_deref(), expected, "{}", operation.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_operation_asks_for_a_scope_as_well() {
    let desk = Desk::new(vec![], vec![]);
    let session = deferred(&Direct::open(&desk).await).await;
    let without = |scope| may(ALL.into_iter().filter(move |other| *other != scope));
    let http = Http::of(&desk, without(Scope::Read)).await;
    for path in ["events", "ws", "blobs/00"] {
        let response = http.get(&format!("/v1/sessions/{session}/{path}")).await;
        assert_eq!(response.status(), 403, "{path}");
    }
    assert_eq!(http.get("/metrics").await.status(), 403);
    let http = Http::of(&desk, without(Scope::Turn)).await;
    let body = Request::post("/v1/blobs").body(Body::from("a picture")).unwrap();
    assert_eq!(http.send(body).await.status(), 403);
    let wired = Wired::of(&desk, without(Scope::Read));
    let answer = wired.ask("events/subscribe", json!({ "session_id": session })).await;
    assert_eq!(answer["error"]["data"]["code"], "FORBIDDEN", "{answer}");
}

/// Asks for an operation: what is said of the session in any words, and how often the journal was asked for it.
async fn told(
    sessions: &Sessions,
    operation: &Operation,
    session: &str,
    asks: &AtomicUsize,
) -> (String, String, usize) {
    let before = asks.load(SeqCst);
    let Value::Object(params) = asked(operation, session) else { panic!("it is an object") };
    let error = operation.call(sessions.clone(), params).await.unwrap_err();
    let words = error.message.replace(session, "ID");
    (error.code().to_owned(), words, asks.load(SeqCst) - before)
}

#[tokio::test(start_paused = true)]
async fn no_row_tells_of_another_tenants_session_or_reads_more_for_it() {
    let asks = Arc::<AtomicUsize>::default();
    let parts = Parts::on(MemoryStore::new(node("a")), vec![says("a secret")], vec![]);
    let counted = Arc::clone(&asks);
    let journal = GatedJournal::new(parts.store.clone(), move |_, _| {
        counted.fetch_add(1, SeqCst);
        through()
    });
    let desk = Desk::of(Parts { journal, ..parts }, Mode::OPEN);
    let theirs = |tenant| sessions(&desk, Caller { tenant: Some(tenant), ..may(ALL) });
    let tenant = |name: &str| TenantFilter::Of(Tenant::parse(name).unwrap());
    let acme = Direct(theirs(tenant("acme")));
    let made = done(&acme, "session/create", json!({ "prompt": "tell" })).await;
    let secret = made["session_id"].as_str().unwrap();
    for is_asleep in [false, true] {
        if is_asleep {
            done(&acme, "session/close", of(secret, json!({}))).await;
        }
        for other in [tenant("best"), TenantFilter::Nobody] {
            let other = theirs(other);
            for operation in operations().iter().filter(|o| o.path.contains("{session_id}")) {
                let hidden = told(&other, operation, secret, &asks).await;
                let absent = told(&other, operation, STRANGER, &asks).await;
                assert_eq!(hidden, absent, "{}", operation.name);
                assert_eq!(hidden.0, "SESSION_NOT_FOUND", "{}", operation.name);
            }
            let mut streams = Vec::new();
            for session in [secret, STRANGER] {
                let before = asks.load(SeqCst);
                let refused =
                    other.subscribe_session_events(&id(session), Cursor(0)).await.unwrap_err();
                let words = refused.to_string().replace(session, "ID");
                streams.push((words, asks.load(SeqCst) - before));
            }
            assert_eq!(streams[0], streams[1]);
        }
    }
    let read = done(&acme, "session/read", of(secret, json!({}))).await;
    assert_eq!(
        (&read["turns"], &read["title"], &read["archived"]),
        (&json!(1), &json!("tell"), &json!(false)),
        "nobody else did anything to it"
    );
}
