//! What one endpoint says to one session holds for all sessions of the process.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt, stream};
use oarlock_core::DefaultSession;
use oarlock_core::command::Command;
use oarlock_core::event::{AgentEvent, DeltaItem, Event, StopReason};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::message::{Part, Usage};
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::spec::{ModelSelection, Settings};
use oarlock_models::{
    HttpRequest, HttpResponse, Lanes, ProviderConfig, Quirks, Registry, RequestBounds, Transport,
    TransportError, Wire,
};
use oarlock_testkit::kit::{Kit, Parts, journal, settings, wait_for};
use tokio::time::Instant;

const ANSWER: &str = concat!(
    "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n",
    "data: [DONE]\n\n"
);

type Say = dyn Fn(usize, Duration) -> (u16, Vec<(&'static str, String)>) + Send + Sync;

/// An endpoint that answers each request after a while, by its number from 0 and the time since the first one.
struct Endpoint {
    say: Box<Say>,
    takes_ms: u64,
    began: Instant,
    sent: Mutex<Vec<Duration>>,
    at_once: Arc<AtomicUsize>,
    most_at_once: AtomicUsize,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Endpoint")
    }
}

/// Counts an answer until its body is gone.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Endpoint {
    fn new(
        takes_ms: u64,
        say: impl Fn(usize, Duration) -> (u16, Vec<(&'static str, String)>) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            say: Box::new(say),
            takes_ms,
            began: Instant::now(),
            sent: Mutex::default(),
            at_once: Arc::default(),
            most_at_once: AtomicUsize::new(0),
        })
    }

    fn sent(&self) -> Vec<Duration> {
        self.sent.lock().unwrap().clone()
    }
}

/// Lets time pass on tokio's clock, which is paused.
async fn pass(ms: u64) {
    drop(tokio::time::timeout(Duration::from_millis(ms), std::future::pending::<()>()).await);
}

impl Transport for Endpoint {
    fn send(&self, _: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        let mut sent = self.sent.lock().unwrap();
        let at = self.began.elapsed();
        sent.push(at);
        let (status, headers) = (self.say)(sent.len() - 1, at);
        let now = self.at_once.fetch_add(1, SeqCst) + 1;
        self.most_at_once.fetch_max(now, SeqCst);
        let (counted, takes) = (Counted(Arc::clone(&self.at_once)), self.takes_ms);
        async move {
            pass(takes).await;
            let words =
                if status == 200 { ANSWER } else { "{\"error\":{\"message\":\"slow down\"}}" };
            let body = stream::once(async move {
                pass(takes).await;
                let _counted = counted;
                Ok(Bytes::from(words))
            });
            let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value));
            Ok(HttpResponse { status, headers: headers.collect(), body: body.boxed() })
        }
        .boxed()
    }
}

fn provider(bounds: RequestBounds) -> ProviderConfig {
    ProviderConfig {
        name: "here".to_owned(),
        display_name: "Here".to_owned(),
        wire: Wire::OpenAiChat,
        base_url: "http://127.0.0.1:9/v1".to_owned(),
        key: None,
        auth_header: None,
        headers: std::collections::BTreeMap::new(),
        quirks: Quirks::PLAIN,
        bounds,
        models: Vec::new(),
    }
}

fn model(name: &str) -> ModelSelection {
    ModelSelection { provider: "here".to_owned(), model: name.to_owned() }
}

fn kit(endpoint: &Arc<Endpoint>, bounds: RequestBounds, lanes: &Lanes) -> Kit {
    let transport = Arc::clone(endpoint) as Arc<dyn Transport>;
    let models = Registry::new(vec![provider(bounds)], transport, lanes);
    Kit::of(Parts { models: Some(Arc::new(models)), ..Parts::new(vec![], vec![]) })
}

async fn open(kit: &Kit, name: &str) -> DefaultSession {
    kit.open_with(Settings { model: model(name), ..settings() }).await
}

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

async fn failures(kit: &Kit, session: &DefaultSession) -> usize {
    let entries = journal(&kit.core, session).await;
    entries.iter().filter(|entry| matches!(entry.event, Event::ModelFailed(_))).count()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_sessions_make_no_storm_of_an_endpoint_that_asks_to_wait() {
    let endpoint = Endpoint::new(50, |_, at| match at.as_millis() < 2_000 {
        true => (429, vec![("retry-after", "2".to_owned())]),
        false => (200, vec![]),
    });
    let kit = kit(&endpoint, RequestBounds::NONE, &Lanes::default());
    let first = open(&kit, "m").await;
    first.prompt(go()).await.unwrap();
    wait_for(&first, 0, |event| matches!(event, Event::ModelFailed(_))).await;
    let sessions = join_all((0..100).map(|_| open(&kit, "m"))).await;
    let turns = join_all(sessions.iter().map(|session| session.run_turn(go()))).await;
    for (session, turn) in sessions.iter().zip(turns) {
        assert_eq!(turn.unwrap().stop, StopReason::EndTurn);
        assert_eq!(failures(&kit, session).await, 0, "it was held back, and not refused");
    }
    let sent = endpoint.sent();
    let early = sent.iter().filter(|at| at.as_millis() < 2_000).count();
    assert_eq!((early, sent.len()), (1, 102), "one is refused and asks again");
    let again = sent[1].as_millis();
    assert!((2_000..2_200).contains(&again), "{again}");
    let soon = sent.iter().filter(|at| (again..again + 50).contains(&at.as_millis())).count();
    assert!((1..=2).contains(&soon), "{soon} at once after the wait");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_refused_together_come_back_a_few_at_a_time() {
    let endpoint = Endpoint::new(50, |_, at| match at.as_millis() < 4_000 {
        true => (429, vec![("retry-after", "2".to_owned())]),
        false => (200, vec![]),
    });
    let kit = kit(&endpoint, RequestBounds::NONE, &Lanes::default());
    let sessions = join_all((0..100).map(|_| open(&kit, "m"))).await;
    let turns = join_all(sessions.iter().map(|session| session.run_turn(go()))).await;
    assert!(turns.into_iter().all(|turn| turn.unwrap().stop == StopReason::EndTurn));
    let sent = endpoint.sent();
    let early = sent.iter().filter(|at| at.as_millis() < 4_000).count();
    assert!((101..=104).contains(&early), "all at first, then probes: {early}");
    assert_eq!(sent.len() - early, 100);
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_which_nothing_is_left_holds_other_registries_of_the_process_back() {
    let endpoint = Endpoint::new(10, |no, _| match no {
        0 => {
            let spent = ("x-ratelimit-remaining-requests", "0".to_owned());
            (200, vec![spent, ("x-ratelimit-reset-requests", "30s".to_owned())])
        }
        _ => (200, vec![]),
    });
    let lanes = Lanes::default();
    let (one, other) =
        (kit(&endpoint, RequestBounds::NONE, &lanes), kit(&endpoint, RequestBounds::NONE, &lanes));
    open(&one, "m").await.run_turn(go()).await.unwrap();
    open(&other, "m").await.run_turn(go()).await.unwrap();
    let gap = endpoint.sent()[1] - endpoint.sent()[0];
    assert!((30_000..31_000).contains(&gap.as_millis()), "{gap:?}");
}

#[tokio::test(start_paused = true)]
async fn calls_are_sent_in_the_order_in_which_they_came_and_within_the_configured_bounds() {
    let endpoint = Endpoint::new(100, |_, _| (200, vec![]));
    let bounds = RequestBounds { per_minute: Some(20), at_a_time: Some(3) };
    let kit = kit(&endpoint, bounds, &Lanes::default());
    let sessions = join_all((0..50).map(|_| open(&kit, "m"))).await;
    let mut ends = Vec::new();
    for session in &sessions {
        session.prompt(go()).await.unwrap();
    }
    for session in &sessions {
        ends.push(wait_for(session, 0, |event| matches!(event, Event::TurnEnded(_))).await.at);
    }
    assert!(ends.is_sorted(), "who came first is served first");
    assert_eq!(endpoint.most_at_once.load(SeqCst), 3);
    let sent = endpoint.sent();
    assert_eq!(sent.len(), 50);
    for (nth, at) in sent.iter().enumerate().skip(20) {
        assert!((*at - sent[nth - 20]).as_millis() >= 60_000, "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_says_so_and_is_cancelled_at_once_for_nothing() {
    let endpoint = Endpoint::new(10, |_, _| (429, vec![("retry-after", "60".to_owned())]));
    let kit = kit(&endpoint, RequestBounds::NONE, &Lanes::default());
    let first = open(&kit, "m").await;
    first.prompt(go()).await.unwrap();
    wait_for(&first, 0, |event| matches!(event, Event::ModelFailed(_))).await;
    let session = open(&kit, "m").await;
    let mut events = session.events(0);
    session.prompt(go()).await.unwrap();
    let told = loop {
        match events.next().await.unwrap() {
            AgentEvent::Delta(delta) => break delta,
            _ => continue,
        }
    };
    assert_eq!(told.item, DeltaItem::Wait);
    let words = "waiting for here at 127.0.0.1:9: it asked for no requests for another 60 s\n";
    assert_eq!(told.text, words);
    let before = kit.core.ports().clock.now();
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    assert!(ended.at.ms_since(before) <= 250);
    let Event::TurnEnded(ended) = &ended.event else { unreachable!() };
    assert_eq!((ended.stop, ended.usage), (StopReason::Cancelled, Usage::default()));
    assert_eq!(endpoint.sent().len(), 1, "it was never sent");
}

#[tokio::test(start_paused = true)]
async fn waiting_is_no_silence_and_counts_as_time_of_the_call() {
    let endpoint = Endpoint::new(10, |no, _| match no {
        0 => (200, vec![]),
        _ => (429, vec![("retry-after", "100".to_owned())]),
    });
    let limits = RuntimeLimits {
        model_idle_ms: 5_000,
        model_total_ms: 40_000,
        model_attempts: 1,
        ..RuntimeLimits::DEFAULT
    };
    let bounds = RequestBounds { per_minute: Some(1), at_a_time: None };
    let models =
        Registry::new(vec![provider(bounds)], Arc::clone(&endpoint) as _, &Lanes::default());
    let models = Some(Arc::new(models) as _);
    let kit = Kit::of(Parts { models, limits, ..Parts::new(vec![], vec![]) });
    open(&kit, "m").await.run_turn(go()).await.unwrap();
    let session = open(&kit, "m").await;
    session.prompt(go()).await.unwrap();
    let started = wait_for(&session, 0, |event| matches!(event, Event::StepStarted(_))).await;
    let failed = wait_for(&session, 0, |event| matches!(event, Event::ModelFailed(_))).await;
    let Event::ModelFailed(failure) = &failed.event else { unreachable!() };
    assert_eq!(failure.class, ModelErrorKind::Timeout);
    assert_eq!(failed.at.ms_since(started.at), 40_000);
    assert_eq!(failure.usage, Usage::default(), "it was never sent");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_refused_for_long_fails_at_once_and_another_one_does_not() {
    let endpoint = Endpoint::new(10, |no, _| match no {
        0 => (429, vec![("retry-after", "3600".to_owned())]),
        _ => (200, vec![]),
    });
    let kit = kit(&endpoint, RequestBounds::NONE, &Lanes::default());
    for (name, stop) in [("m", false), ("m", false), ("other", true)] {
        let ended = open(&kit, name).await.run_turn(go()).await.unwrap();
        assert_eq!(ended.stop == StopReason::EndTurn, stop, "{name}: {ended:?}");
    }
    assert_eq!(endpoint.sent().len(), 2, "the second call was not sent");
}
