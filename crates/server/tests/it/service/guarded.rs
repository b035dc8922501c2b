//! Who comes in, and what one tenant learns of another.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt};
use hyper::Request;
use oarlock_core::ids::{BlobId, Tenant};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::ports::journal::{BlobWriter, Blobs, JournalError};
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::spec::Mode;
use oarlock_core::{DefaultAgentCore, Ports};
use oarlock_server::Figures;
use oarlock_server::operations::operations;
use oarlock_server::rest::{Admission, Token};
use oarlock_server::service::Scope;
use oarlock_testkit::kit::{Kit, Parts, node};
use oarlock_testkit::model::{Say, text};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::http::{Http, json as body, request};
use crate::desk::Desk;

const ALL: [Scope; 3] = [Scope::Read, Scope::Turn, Scope::Manage];

fn token(secret: &str, scopes: &[Scope], tenant: Option<&str>) -> Token {
    Token {
        name: secret.to_owned(),
        hash: blake3::hash(secret.as_bytes()),
        scopes: scopes.to_vec(),
        tenant: tenant.map(|tenant| Tenant::parse(tenant).unwrap()),
    }
}

fn admission() -> Admission {
    Admission {
        hosts: Some(vec!["127.0.0.1".to_owned()]),
        origins: vec!["https://friend.example".to_owned()],
        rate_per_second: NonZeroU32::new(10_000).unwrap(),
        requests_max: 100,
        roots: [PathBuf::from("/")].into(),
    }
}

/// Asks as whoever has this token: the status, and what is answered.
async fn ask(http: &Http, secret: &str, mut request: Request<Body>) -> (u16, Value) {
    let bearer = format!("Bearer {secret}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let response = http.send(request).await;
    (response.status().as_u16(), body(response).await)
}

fn post(path: &str, sent: &Value) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(sent.to_string().into()).unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

async fn made(http: &Http, secret: &str) -> String {
    let deferred = json!({ "initial_turn": "defer", "idempotency_key": "same" });
    let (status, made) = ask(http, secret, post("/v1/sessions", &deferred)).await;
    assert_eq!(status, 200, "{made}");
    made["session_id"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_without_a_token_and_nothing_but_its_scope_with_one() {
    let tokens = vec![token("all", &ALL, None), token("reads", &[Scope::Read], None)];
    let http = Http::guarded(&Desk::new(vec![], vec![]), admission(), tokens).await;
    let session = made(&http, "all").await;
    let named = json!({ "session_id": session, "input": 3 });
    for operation in operations() {
        let asked = || request(operation, named.as_object().unwrap().clone());
        let (status, refusal) = ask(&http, "guessed", asked()).await;
        assert_eq!((status, &refusal["error"]["code"]), (401, &json!("UNAUTHENTICATED")));
        let plain = http.send(asked()).await;
        assert_eq!(plain.status(), 401);
        assert_eq!(plain.headers()["www-authenticate"], "Bearer");
    }
    for path in ["/v1/nothing", "/", "/v1/openapi.json", "/v1/sessions/x/ws", "/metrics"] {
        assert_eq!(http.get(path).await.status(), 401, "{path}");
    }
    let (status, refusal) =
        ask(&http, "reads", post("/v1/sessions", &json!({ "prompt": "go" }))).await;
    assert_eq!((status, &refusal["error"]["code"]), (403, &json!("FORBIDDEN")));
    assert_eq!(ask(&http, "reads", get(&format!("/v1/sessions/{session}"))).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_host_or_page_that_is_not_expected_is_turned_away() {
    let http =
        Http::guarded(&Desk::new(vec![], vec![]), admission(), vec![token("all", &ALL, None)])
            .await;
    let with = |name: &'static str, value: &'static str| {
        let mut request = get("/v1/sessions");
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    for (name, value, status) in [
        ("host", "evil.example", 403),
        ("host", "evil.example:7350", 403),
        ("host", "127.0.0.1:7350", 200),
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "https://friend.example", 200),
    ] {
        assert_eq!(ask(&http, "all", with(name, value)).await.0, status, "{name} {value}");
    }
    let preflight = Request::options("/v1/sessions").header("origin", "https://friend.example");
    let preflight = http.send(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(preflight.headers()["access-control-allow-origin"], "https://friend.example");
}

#[tokio::test(start_paused = true)]
async fn two_tenants_can_neither_see_nor_guess_nor_time_each_others_sessions() {
    let desk = Desk::new(vec![vec![Say::Reply(text("a secret word"))]], vec![]);
    let tokens = vec![
        token("a", &ALL, Some("acme")),
        token("b", &ALL, Some("best")),
        token("nobody", &ALL, None),
    ];
    let http = Http::guarded(&desk, admission(), tokens).await;
    let (mine, theirs, nobodys) =
        (made(&http, "a").await, made(&http, "b").await, made(&http, "nobody").await);
    assert!(mine != theirs && mine != nobodys, "a key is a tenant's own");
    assert_eq!(mine, made(&http, "a").await);
    let turns = format!("/v1/sessions/{mine}/turns");
    assert_eq!(ask(&http, "a", post(&turns, &json!({ "prompt": "say it" }))).await.0, 200);
    for (secret, own) in [("a", &mine), ("b", &theirs), ("nobody", &nobodys)] {
        let (_, page) = ask(&http, secret, get("/v1/sessions")).await;
        let seen: Vec<&Value> =
            page["sessions"].as_array().unwrap().iter().map(|s| &s["session_id"]).collect();
        assert_eq!(seen, [&json!(own)]);
        let (_, hits) = ask(&http, secret, get("/v1/search?query=secret")).await;
        assert_eq!(hits["hits"].as_array().unwrap().is_empty(), secret != "a", "{hits}");
    }
    let absent = "01a1ffa1-0c86-70c2-afd9-4e292c035691";
    for operation in operations().iter().filter(|o| o.path.contains("{session_id}")) {
        let mut told = Vec::new();
        for id in [mine.as_str(), absent] {
            let asked = match operation.name {
                "turn/start" => json!({ "prompt": "go", "session_id": id }),
                "session/input" => json!({ "prompt": "go", "delivery": "queue", "session_id": id }),
                "session/withdraw" => json!({ "input": 3, "session_id": id }),
                "session/answer" => json!({
                    "kind": "permission", "call": "c1", "choice": "allow_once", "session_id": id,
                }),
                _ => json!({ "session_id": id }),
            };
            let begun = Instant::now();
            let (status, refusal) =
                ask(&http, "b", request(operation, asked.as_object().unwrap().clone())).await;
            let words = refusal["error"]["message"].as_str().unwrap().replace(id, "ID");
            told.push((status, words, begun.elapsed().as_millis() / 50));
        }
        assert_eq!(told[0], told[1], "{}", operation.name);
        assert_eq!((told[0].0, told[0].2), (404, 1), "{}", operation.name);
    }
    for path in ["events", "ws", "blobs/00"] {
        let (status, _) = ask(&http, "b", get(&format!("/v1/sessions/{mine}/{path}"))).await;
        assert_eq!(status, 404, "{path}");
    }
    let drawn = json!({ "initial_turn": "defer", "build": { "resume_session": mine } });
    assert_eq!(ask(&http, "b", post("/v1/sessions", &drawn)).await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn sessions_work_below_the_roots_and_nothing_is_told_of_what_lies_beside_them() {
    let admission = Admission { roots: [PathBuf::from("/proc/self")].into(), ..admission() };
    let http =
        Http::guarded(&Desk::new(vec![], vec![]), admission, vec![token("all", &ALL, None)]).await;
    let mut told = Vec::new();
    for cwd in ["/etc", "/etc/passwd", "/nowhere", "/proc/self/../../etc"] {
        let create = json!({ "initial_turn": "defer", "cwd": cwd });
        let (status, refusal) = ask(&http, "all", post("/v1/sessions", &create)).await;
        assert_eq!(status, 403, "{cwd}");
        told.push(refusal["error"]["message"].as_str().unwrap().replace(cwd, "CWD"));
    }
    assert!(told.iter().all(|words| *words == told[0]), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn health_wants_no_token_and_figures_have_no_names_in_them() {
    let tokens = vec![token("all", &ALL, None), token("a", &ALL, Some("acme"))];
    let http = Http::guarded(&Desk::new(vec![], vec![]), admission(), tokens).await;
    let session = made(&http, "a").await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(http.get(path).await.status(), 200, "{path}");
    }
    assert_eq!(ask(&http, "a", get("/metrics")).await.0, 403, "it is of all tenants");
    let mut request = get("/metrics");
    request.headers_mut().insert("authorization", "Bearer all".parse().unwrap());
    let figures =
        axum::body::to_bytes(http.send(request).await.into_body(), 1 << 20).await.unwrap();
    let figures = std::str::from_utf8(&figures).unwrap();
    let created = "oarlock_requests_total{operation=\"session/create\",code=\"OK\"} 1\n";
    assert!(figures.contains(created), "{figures}");
    assert!(!figures.contains(&session) && !figures.contains("acme"), "{figures}");
}

/// A store that is asked whether it takes writes, and says so or does not.
#[derive(Debug)]
struct Probed {
    store: MemoryStore,
    asked: AtomicUsize,
    is_full: AtomicBool,
}

impl Blobs for Probed {
    fn put(&self, body: Bytes) -> BoxFuture<'_, Result<BlobId, JournalError>> {
        self.store.put(body)
    }

    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, JournalError>> {
        self.store.writer()
    }

    fn read<'a>(
        &'a self,
        blob: &'a BlobId,
        offset: u64,
        most: usize,
    ) -> BoxFuture<'a, Result<(Bytes, u64), JournalError>> {
        Blobs::read(&self.store, blob, offset, most)
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        self.asked.fetch_add(1, SeqCst);
        let is_full = self.is_full.load(SeqCst);
        let why = "the disk is full".to_owned();
        let told = if is_full { Err(JournalError::Unavailable { why }) } else { Ok(()) };
        async {
            sleep_until(Instant::now() + Duration::from_millis(100)).await;
            told
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn health_is_that_of_the_store_asked_once_a_second_and_of_whom_may_ask() {
    let store = MemoryStore::new(node("a"));
    let Kit { core, model } = Kit::of(Parts::on(store.clone(), vec![], vec![]));
    let (asked, is_full) = (AtomicUsize::new(0), AtomicBool::new(false));
    let probed = Arc::new(Probed { store, asked, is_full });
    let ports = Ports { blobs: Arc::clone(&probed) as _, ..core.ports().clone() };
    let core = DefaultAgentCore::new(ports, RuntimeLimits::DEFAULT, node("a"));
    let desk = Desk::with(Kit { core, model }, Mode::OPEN);
    let admission = Admission { rate_per_second: NonZeroU32::new(60).unwrap(), ..admission() };
    let http = Http::guarded(&desk, admission, vec![]).await;
    let all = join_all((0..20).map(|_| http.get("/healthz"))).await;
    assert!(all.iter().all(|response| response.status() == 200));
    // Whoever goes leaves a probe behind, and the next one waits for its second.
    sleep_until(Instant::now() + Duration::from_secs(1)).await;
    for _ in 0..5 {
        drop(timeout(Duration::from_millis(50), http.get("/healthz")).await);
    }
    assert!(probed.asked.load(SeqCst) <= 2, "{}", probed.asked.load(SeqCst));
    probed.is_full.store(true, SeqCst);
    sleep_until(Instant::now() + Duration::from_secs(3)).await;
    let failing = http.get("/healthz").await;
    assert_eq!(failing.status(), 503);
    assert_eq!(body(failing).await["why"], "the store does not work");
    for path in ["/healthz", "/readyz"] {
        let mut request = get(path);
        request.headers_mut().insert("host", "evil.example".parse().unwrap());
        assert_eq!(http.send(request).await.status(), 403, "{path}");
        let mut request = get(path);
        request.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
        assert_eq!(http.send(request).await.status(), 403, "{path}");
    }
    let mut last = http.get("/readyz").await;
    for _ in 0..100 {
        last = http.get("/readyz").await;
        if last.status() != 200 {
            break;
        }
    }
    assert_eq!(last.status(), 429);
    assert!(last.headers().contains_key("retry-after"));
}

#[tokio::test(start_paused = true)]
async fn figures_tell_how_turns_end_what_is_awake_and_how_long_the_store_writes() {
    let figures = Arc::<Figures>::default();
    let fails = vec![Say::Fail(ModelErrorKind::Auth, None)];
    let parts = Parts::new(vec![vec![Say::Reply(text("done"))], fails], vec![]);
    let journal = figures.around(Arc::new(parts.store.clone()));
    let desk = Desk::of(Parts { journal, ..parts }, Mode::OPEN);
    let tokens = vec![token("all", &ALL, None)];
    let http = Http::counted(&desk, (admission(), tokens), figures).await;
    let go = post("/v1/sessions", &json!({ "prompt": "a word of mine" }));
    assert_eq!(ask(&http, "all", go).await.0, 200);
    let go = post("/v1/sessions", &json!({ "prompt": "a word of mine" }));
    let (status, failed) = ask(&http, "all", go).await;
    assert_eq!(status, 502, "{failed}");
    let session = failed["error"]["details"]["session_id"].as_str().unwrap();
    let close = post(&format!("/v1/sessions/{session}/close"), &json!({}));
    assert_eq!(ask(&http, "all", close).await.0, 200);
    let mut request = get("/metrics");
    request.headers_mut().insert("authorization", "Bearer all".parse().unwrap());
    let page = axum::body::to_bytes(http.send(request).await.into_body(), 1 << 20).await.unwrap();
    let page = std::str::from_utf8(&page).unwrap();
    let value = |name: &str| {
        let row = page.lines().find_map(|line| line.strip_prefix(&format!("oarlock_{name} ")));
        row.unwrap_or_else(|| panic!("{name}: {page}")).parse::<u64>().unwrap()
    };
    assert_eq!(value("turns_total{stop_reason=\"end_turn\"}"), 1);
    assert_eq!(value("turns_total{stop_reason=\"failed\"}"), 1);
    assert_eq!(value("turns_total{stop_reason=\"cancelled\"}"), 0);
    assert_eq!((value("sessions_awake"), value("sessions")), (1, 2));
    assert!(value("append_seconds_count") >= 6, "{page}");
    assert_eq!(value("append_seconds_bucket{le=\"+Inf\"}"), value("append_seconds_count"));
    assert_eq!(value("append_failures_total"), 0);
    // Every row is told what it is, and no label is somebody's word.
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let stems = ["_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
        let mut names = stems.chain([name]);
        assert!(names.any(|name| page.contains(&format!("# TYPE {name} "))), "{line}");
    }
    assert!(!page.contains(session) && !page.contains("mine") && !page.contains("scripted"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_asks_too_often_is_told_when_to_come_back() {
    let rate_per_second = NonZeroU32::new(2).unwrap();
    let tokens = vec![token("one", &ALL, None), token("other", &ALL, None)];
    let http = Http::guarded(
        &Desk::new(vec![], vec![]),
        Admission { rate_per_second, ..admission() },
        tokens,
    )
    .await;
    let mut last = (0, Value::Null);
    for _ in 0..50 {
        last = ask(&http, "one", get("/v1/sessions")).await;
        if last.0 != 200 {
            break;
        }
    }
    assert_eq!((last.0, &last.1["error"]["code"]), (429, &json!("RATE_LIMITED")));
    assert!(last.1["error"]["retry_after_ms"].as_u64().unwrap() <= 1000);
    assert_eq!(ask(&http, "other", get("/v1/sessions")).await.0, 200, "others are not concerned");
    let mut events = get("/v1/sessions/any/events");
    events.headers_mut().insert("authorization", "Bearer one".parse().unwrap());
    let events = http.send(events).await;
    assert_eq!(events.status(), 429);
    assert!(events.headers().contains_key("retry-after"), "a reader is told as others are");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_taken_back_or_changed_hears_no_more_of_what_it_follows() {
    let desk = Desk::new(vec![vec![Say::Delta("one "), Say::Silence]], vec![]);
    let tokens = || ["gone", "changed", "stays"].map(|name| token(name, &ALL, None)).to_vec();
    let (http, gate) = Http::behind(&desk, admission(), tokens()).await;
    let session = made(&http, "stays").await;
    let path = |end: &str| format!("/v1/sessions/{session}/{end}");
    let go = json!({ "prompt": "go", "wait_ms": 0 });
    assert_eq!(ask(&http, "stays", post(&path("turns"), &go)).await.0, 200);
    let mut changed = vec![token("changed", &[Scope::Turn], None), token("stays", &ALL, None)];
    gate.admit(tokens());
    let mut streams = Vec::new();
    for secret in ["gone", "changed", "stays"] {
        let mut request = get(&path("events"));
        let bearer = format!("Bearer {secret}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        let mut stream = http.send(request).await.into_body().into_data_stream();
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("event: delta") {
            heard.extend(stream.next().await.unwrap().unwrap());
        }
        streams.push(stream);
    }
    let waits = ask(&http, "gone", post(&path("wait"), &json!({})));
    let (waited, ()) = futures::join!(waits, async {
        sleep_until(Instant::now() + Duration::from_secs(1)).await;
        gate.admit(std::mem::take(&mut changed));
    });
    assert_eq!((waited.0, &waited.1["error"]["code"]), (401, &json!("UNAUTHENTICATED")));
    for stream in &mut streams[..2] {
        let mut heard = Vec::new();
        while let Some(chunk) = timeout(Duration::from_secs(1), stream.next()).await.unwrap() {
            heard.extend(chunk.unwrap());
        }
        assert!(String::from_utf8_lossy(&heard).contains("UNAUTHENTICATED"), "{heard:?}");
    }
    assert_eq!(streams[2].next().await.unwrap().unwrap(), ":\n\n", "others are not concerned");
}

#[tokio::test(start_paused = true)]
async fn however_many_wait_for_turns_one_token_leaves_places_to_others_and_a_turn_can_be_stopped() {
    let desk = Desk::new(vec![vec![Say::Delta("one "), Say::Silence]], vec![]);
    let tokens = vec![token("one", &ALL, None), token("other", &ALL, None)];
    let admission = Admission { requests_max: 4, ..admission() };
    let http = Http::guarded(&desk, admission, tokens).await;
    let session = made(&http, "one").await;
    let path = |end: &str| format!("/v1/sessions/{session}/{end}");
    let go = json!({ "prompt": "go", "wait_ms": 0 });
    assert_eq!(ask(&http, "one", post(&path("turns"), &go)).await.0, 200);
    let waits = |secret| ask(&http, secret, post(&path("wait"), &json!({})));
    let waiting = join_all(["one", "one", "one", "other"].map(waits));
    let (waited, ()) = futures::join!(waiting, async {
        sleep_until(Instant::now() + Duration::from_millis(100)).await;
        for secret in ["one", "other"] {
            let (status, refusal) = ask(&http, secret, get("/v1/sessions")).await;
            assert_eq!((status, &refusal["error"]["code"]), (503, &json!("OVERLOADED")));
        }
        let stopped = ask(&http, "other", post(&path("interrupt"), &json!({}))).await;
        assert_eq!(stopped.0, 200, "{}", stopped.1);
    });
    assert!(waited.iter().all(|(status, _)| *status == 200), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn sessions_outside_the_roots_are_none_whoever_made_them() {
    let desk = Desk::new(vec![vec![Say::Reply(text("a secret word"))]; 2], vec![]);
    let all = Http::guarded(&desk, admission(), vec![token("all", &ALL, None)]).await;
    let mut made = Vec::new();
    for cwd in ["/usr", "/etc"] {
        let create = json!({ "prompt": "say it", "cwd": cwd });
        let (status, answer) = ask(&all, "all", post("/v1/sessions", &create)).await;
        assert_eq!(status, 200, "{answer}");
        made.push(answer["session_id"].as_str().unwrap().to_owned());
    }
    let admission = Admission { roots: [PathBuf::from("/usr")].into(), ..admission() };
    let http = Http::guarded(&desk, admission, vec![token("some", &ALL, None)]).await;
    let (_, page) = ask(&http, "some", get("/v1/sessions?limit=1")).await;
    assert_eq!(page["sessions"][0]["session_id"], json!(made[0]), "{page}");
    assert_eq!((page["sessions"].as_array().unwrap().len(), &page["next"]), (1, &Value::Null));
    let (_, found) = ask(&http, "some", get("/v1/search?query=secret&limit=1")).await;
    assert_eq!(found["hits"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["hits"][0]["session_id"], json!(made[0]));
    for (id, read) in made.iter().zip([200, 404]) {
        assert_eq!(ask(&http, "some", get(&format!("/v1/sessions/{id}"))).await.0, read);
    }
    let turn = post(&format!("/v1/sessions/{}/turns", made[1]), &json!({ "prompt": "go" }));
    assert_eq!(ask(&http, "some", turn).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn whoever_knows_the_hash_of_a_body_neither_gets_it_nor_learns_whether_it_is_there() {
    let desk = Desk::new(vec![vec![Say::Reply(text("nice"))]], vec![]);
    let tokens = vec![token("a", &ALL, Some("acme")), token("b", &ALL, Some("best"))];
    let http = Http::guarded(&desk, admission(), tokens).await;
    let picture = b"\x89PNG\r\n\x1a\nof acme";
    let stored =
        ask(&http, "a", Request::post("/v1/blobs").body(picture[..].into()).unwrap()).await;
    let blob = stored.1["blob"].as_str().unwrap().to_owned();
    let absent = "0".repeat(blob.len());
    let naming = |blob: &str| {
        let image =
            json!({ "type": "image", "media_type": "image/png", "blob": blob, "bytes": 15 });
        json!({ "prompt": [image] })
    };
    let labels = json!({ "initial_turn": "defer", "labels": { "blob": blob } });
    let (_, labelled) = ask(&http, "b", post("/v1/sessions", &labels)).await;
    let theirs = labelled["session_id"].as_str().unwrap();
    let got = get(&format!("/v1/sessions/{theirs}/blobs/{blob}"));
    assert_eq!(ask(&http, "b", got).await.0, 404, "a label is no place for a body");
    for path in ["/v1/sessions".to_owned(), format!("/v1/sessions/{theirs}/turns")] {
        let mut told = Vec::new();
        for blob in [&blob, &absent] {
            let (status, refusal) = ask(&http, "b", post(&path, &naming(blob))).await;
            assert_eq!((status, &refusal["error"]["code"]), (400, &json!("INVALID_REQUEST")));
            told.push(refusal["error"]["message"].as_str().unwrap().replace(blob.as_str(), "BLOB"));
        }
        assert_eq!(told[0], told[1], "{path}");
    }
    let (status, ran) = ask(&http, "a", post("/v1/sessions", &naming(&blob))).await;
    assert_eq!(status, 200, "{ran}");
    let own = format!("/v1/sessions/{}/blobs/{blob}", ran["session_id"].as_str().unwrap());
    let mut request = get(&own);
    request.headers_mut().insert("authorization", "Bearer a".parse().unwrap());
    assert_eq!(http.send(request).await.status(), 200);
}
