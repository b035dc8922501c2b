//! Every row of the error table, brought about for real and told by each surface as the row says.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use axum::body::Body;
use futures::FutureExt;
use futures::future::ready;
use hyper::Request;
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::ports::journal::JournalError;
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::service::ErrorCode;
use oarlock_core::spec::Mode;
use oarlock_server::operations::named;
use oarlock_server::rest::{Admission, Token};
use oarlock_server::service::{Caller, Scope};
use oarlock_testkit::gated::{Asked, GatedJournal, through};
use oarlock_testkit::kit::{Parts, node};
use oarlock_testkit::model::{Count, Say, text};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::contract::{STRANGER, dawdles, of, says};
use super::http::{Http, json as body, request};
use super::wired::Wired;
use super::{Direct, Surface, deferred, done, sessions};
use crate::desk::Desk;
use crate::stored;

/// A request that is refused, and whose it is.
struct Refused {
    desk: Desk,
    caller: Caller,
    name: &'static str,
    params: Value,
    /// Another program with the same sessions.
    other: Option<Desk>,
}

impl Refused {
    fn at(desk: Desk, name: &'static str, params: Value) -> Self {
        Self { desk, caller: Caller::trusted("test"), name, params, other: None }
    }
}

/// A session whose first turn runs.
async fn running(desk: &Desk) -> String {
    let surface = Direct::open(desk).await;
    let made = done(&surface, "session/create", json!({ "prompt": "go", "wait_ms": 0 })).await;
    made["session_id"].as_str().unwrap().to_owned()
}

/// What is refused with this error; nothing where no operation can be.
async fn refused(kind: ErrorCode) -> Option<Refused> {
    let go = |session: &str| of(session, json!({ "prompt": "go" }));
    Some(match kind {
        ErrorCode::SessionNotFound => {
            Refused::at(Desk::new(vec![], vec![]), "session/read", of(STRANGER, json!({})))
        }
        ErrorCode::SessionBusy => {
            let desk = Desk::new(vec![dawdles("slowly")], vec![]);
            let session = running(&desk).await;
            Refused::at(desk, "turn/start", go(&session))
        }
        ErrorCode::SessionNotRunning => {
            let desk = Desk::new(vec![], vec![]);
            let session = deferred(&Direct::open(&desk).await).await;
            Refused::at(desk, "turn/interrupt", of(&session, json!({})))
        }
        ErrorCode::SessionArchived => {
            let desk = Desk::new(vec![], vec![]);
            let surface = Direct::open(&desk).await;
            let session = deferred(&surface).await;
            done(&surface, "session/archive", of(&session, json!({}))).await;
            Refused::at(desk, "turn/start", go(&session))
        }
        ErrorCode::SessionStoreError => broken().await,
        ErrorCode::SessionMoved => moved().await,
        ErrorCode::Overloaded => {
            let limits = RuntimeLimits { inputs_waiting: 1, ..RuntimeLimits::DEFAULT };
            let parts = Parts { limits, ..Parts::new(vec![dawdles("slowly")], vec![]) };
            let desk = Desk::of(parts, Mode::OPEN);
            let session = running(&desk).await;
            let queue = of(&session, json!({ "prompt": "and then", "delivery": "queue" }));
            done(&Direct::open(&desk).await, "session/input", queue.clone()).await;
            Refused::at(desk, "session/input", queue)
        }
        ErrorCode::TooLarge => {
            let desk = Desk::new(vec![], vec![]);
            let session = deferred(&Direct::open(&desk).await).await;
            let prompt = "x".repeat(RuntimeLimits::DEFAULT.input_bytes + 1);
            Refused::at(desk, "turn/start", of(&session, json!({ "prompt": prompt })))
        }
        ErrorCode::InvalidRequest => {
            Refused::at(Desk::new(vec![], vec![]), "session/list", json!({ "limit": 0 }))
        }
        ErrorCode::Forbidden => {
            let desk = Desk::new(vec![], vec![]);
            let caller = Caller { scopes: vec![Scope::Read], ..Caller::trusted("test") };
            let create = json!({ "initial_turn": "defer" });
            Refused { caller, ..Refused::at(desk, "session/create", create) }
        }
        ErrorCode::AgentError => unsummarised().await,
        ErrorCode::ProviderError => {
            let fails = vec![Say::Fail(ModelErrorKind::Auth, None)];
            let desk = Desk::new(vec![fails], vec![]);
            Refused::at(desk, "session/create", json!({ "prompt": "go" }))
        }
        // They are said by what stands before the operations.
        ErrorCode::RateLimited | ErrorCode::Unauthenticated => return None,
        // Programs around this service may say them: every store here keeps sessions, and every one can be summarised.
        ErrorCode::SessionPersistenceDisabled | ErrorCode::SessionCompactionDisabled => {
            return None;
        }
    })
}

/// A turn that runs in another program.
async fn moved() -> Refused {
    let folder = TempDir::new().unwrap();
    let at = folder.path().to_owned();
    let first = stored::on(&at, None, vec![dawdles("slowly")]);
    let session = running(&first).await;
    let second = stored::on(&at, Some(folder), vec![]);
    let refused = Refused::at(second, "turn/interrupt", of(&session, json!({})));
    Refused { other: Some(first), ..refused }
}

/// A session whose store gives nothing out.
async fn broken() -> Refused {
    let is_broken = Arc::<AtomicBool>::default();
    let asked = Arc::clone(&is_broken);
    let parts = Parts::on(MemoryStore::new(node("a")), vec![], vec![]);
    let journal = GatedJournal::new(parts.store.clone(), move |what, _| match what {
        Asked::Read if asked.load(SeqCst) => {
            ready(Err(JournalError::Unavailable { why: "the disk is gone".to_owned() })).boxed()
        }
        _ => through(),
    });
    let desk = Desk::of(Parts { journal, ..parts }, Mode::OPEN);
    let session = deferred(&Direct::open(&desk).await).await;
    is_broken.store(true, SeqCst);
    Refused::at(desk, "session/read", of(&session, json!({})))
}

/// A session that its model cannot summarise.
async fn unsummarised() -> Refused {
    let parts = Parts::new(vec![says("one"), says("two"), says("three")], vec![]);
    let summaries = vec![vec![Say::Reply(text(""))]];
    let desk = Desk::of(Parts { summaries, usage: Count::ByBytes, ..parts }, Mode::OPEN);
    let surface = Direct::open(&desk).await;
    let session = deferred(&surface).await;
    for _ in 0..3 {
        let go = of(&session, json!({ "prompt": "many words ".repeat(2_000) }));
        done(&surface, "turn/start", go).await;
    }
    Refused::at(desk, "session/compact", of(&session, json!({})))
}

/// The status, the header that says when to come back, and the error.
async fn over_http(refused: &Refused) -> (u16, bool, Value) {
    let http = Http::of(&refused.desk, refused.caller.clone()).await;
    let Value::Object(params) = refused.params.clone() else { panic!("it is an object") };
    told(http.send(request(named(refused.name).unwrap(), params)).await).await
}

async fn told(response: hyper::Response<Body>) -> (u16, bool, Value) {
    let status = response.status().as_u16();
    let has_header = response.headers().contains_key("retry-after");
    (status, has_header, body(response).await["error"].take())
}

#[tokio::test(start_paused = true)]
async fn every_error_is_told_by_every_surface_as_its_row_says() {
    let mut untold = Vec::new();
    for kind in ErrorCode::ALL {
        let row = kind.row();
        let Some(direct) = refused(kind).await else {
            untold.push(row.code);
            continue;
        };
        let Value::Object(params) = direct.params.clone() else { panic!("it is an object") };
        let asked = sessions(&direct.desk, direct.caller.clone());
        let error = named(direct.name).unwrap().call(asked, params).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error:?}");

        let (status, has_header, answer) = over_http(&refused(kind).await.unwrap()).await;
        assert_eq!((status, &answer["code"]), (row.http, &json!(row.code)), "{answer}");
        assert_eq!(has_header, answer.get("retry_after_ms").is_some(), "{answer}");

        let refused = refused(kind).await.unwrap();
        let wired = Wired::of(&refused.desk, refused.caller);
        let answer = wired.ask(refused.name, refused.params).await;
        let answer = &answer["error"];
        assert_eq!(
            (&answer["code"], &answer["data"]["code"]),
            (&json!(row.rpc), &json!(row.code)),
            "{answer}"
        );
        drop(refused.other);
    }
    assert_eq!(
        untold,
        [
            "SESSION_PERSISTENCE_DISABLED",
            "SESSION_COMPACTION_DISABLED",
            "RATE_LIMITED",
            "UNAUTHENTICATED"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_gate_turns_away_is_told_as_its_row_says() {
    let cases = [
        (ErrorCode::Unauthenticated, "guessed", 100, 100, false),
        (ErrorCode::RateLimited, "known", 1, 100, true),
        (ErrorCode::Overloaded, "known", 100, 0, true),
    ];
    for (kind, secret, rate, requests_max, has_retry) in cases {
        let admission = Admission {
            hosts: None,
            origins: Vec::new(),
            rate_per_second: NonZeroU32::new(rate).unwrap(),
            requests_max,
            roots: [PathBuf::from("/")].into(),
        };
        let scopes = vec![Scope::Read, Scope::Turn, Scope::Manage];
        let hash = blake3::hash(b"known");
        let tokens = vec![Token { name: "known".to_owned(), hash, scopes, tenant: None }];
        let http = Http::guarded(&Desk::new(vec![], vec![]), admission, tokens).await;
        let ask = async || {
            let request =
                Request::get("/v1/sessions").header("authorization", format!("Bearer {secret}"));
            told(http.send(request.body(Body::empty()).unwrap()).await).await
        };
        let mut last = ask().await;
        for _ in 0..10 {
            if last.0 != 200 {
                break;
            }
            last = ask().await;
        }
        let (status, has_header, error) = last;
        let row = kind.row();
        assert_eq!((status, &error["code"]), (row.http, &json!(row.code)), "{error}");
        assert_eq!((has_header, error.get("retry_after_ms").is_some()), (has_retry, has_retry));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_is_told_as_its_row_says() {
    let http = Http::at(&Desk::new(vec![], vec![])).await;
    for (path, bytes) in [("/v1/sessions", (4 << 20) + 1), ("/v1/blobs", (16 << 20) + 1)] {
        let request = Request::post(path).header("content-type", "application/json");
        let answer = told(http.send(request.body(vec![b' '; bytes].into()).unwrap()).await).await;
        let row = ErrorCode::TooLarge.row();
        assert_eq!((answer.0, &answer.2["code"]), (row.http, &json!(row.code)), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_says_what_of_a_query_would_not_be_looked_at() {
    let surface = Direct::open(&Desk::new(vec![], vec![])).await;
    let many = "heron ".repeat(33);
    for (name, field) in [("session/search", "query"), ("session/list", "text")] {
        for (query, words) in [("?!", "of letters and digits"), (&*many, "32 words at most")] {
            let refusal = surface.call(name, json!({ field: query })).await.unwrap_err();
            assert_eq!(refusal.code, "INVALID_REQUEST");
            assert!(refusal.message.contains(words), "{refusal:?}");
        }
    }
}
