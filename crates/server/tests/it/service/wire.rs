//! What is HTTP's own: forms of refusals, events and how they are taken up again, bodies, the end.

use std::collections::BTreeMap;

use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use hyper::{Request, Response};
use oarlock_testkit::model::{Say, text};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::http::{Http, json as body};
use super::{deferred, done};
use crate::desk::Desk;

/// A message of a stream of events.
#[derive(Debug, Clone, PartialEq, Default)]
struct Message {
    id: Option<String>,
    event: String,
    data: Value,
}

/// Reads server-sent events, of which only whole ones count.
struct Events {
    bytes: BodyDataStream,
    read: Vec<u8>,
}

impl Events {
    async fn open(http: &Http, session: &str, last: Option<&str>) -> Self {
        let request = Request::get(format!("/v1/sessions/{session}/events"));
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let response = http.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { bytes: response.into_body().into_data_stream(), read: Vec::new() }
    }

    /// The next message that is no comment; nothing at the end.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
                let message = self.read.drain(..end + 2).collect::<Vec<_>>();
                let message = parsed(std::str::from_utf8(&message).unwrap());
                if message != Message::default() {
                    return Some(message);
                }
                continue;
            }
            self.read.extend_from_slice(&self.bytes.next().await?.ok()?);
        }
    }

    /// The messages up to and with the first of this kind whose data has it at this place.
    async fn until(&mut self, event: &str, kind: &str) -> Vec<Message> {
        let mut seen = Vec::new();
        loop {
            let message = self.next().await.expect("the stream goes on");
            let is_last = message.event == event
                && (kind.is_empty() || message.data["entry"]["event"]["type"] == kind);
            seen.push(message);
            if is_last {
                return seen;
            }
        }
    }
}

fn parsed(lines: &str) -> Message {
    let mut message = Message::default();
    for line in lines.lines() {
        match line.split_once(':') {
            Some(("id", id)) => message.id = Some(id.trim().to_owned()),
            Some(("event", event)) => event.trim().clone_into(&mut message.event),
            Some(("data", data)) => message.data = serde_json::from_str(data).unwrap(),
            _ => {}
        }
    }
    message
}

/// A model that writes word after word, with time in between.
fn writes(words: &[&'static str]) -> Vec<Say> {
    let mut says = Vec::new();
    for word in words {
        says.extend([Say::Delta(word), Say::Wait(200)]);
    }
    says.push(Say::Reply(text(&words.concat())));
    says
}

async fn begun(http: &Http, session: &str) -> Value {
    let go = json!({ "session_id": session, "prompt": "go", "wait_ms": 0 });
    done(http, "turn/start", go).await
}

async fn refusal(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let refusal = body(response).await;
    (status, refusal["error"]["code"].as_str().unwrap().to_owned())
}

fn of(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(start_paused = true)]
async fn what_http_itself_refuses_has_the_same_form() {
    let http = Http::at(&Desk::new(vec![], vec![])).await;
    let post = |path: &str| Request::post(path.to_owned());
    assert_eq!(refusal(http.get("/v1/nothing").await).await, of(404, "INVALID_REQUEST"));
    let put = Request::put("/v1/sessions").body(Body::empty()).unwrap();
    let put = http.send(put).await;
    assert_eq!(put.headers()["allow"], "POST, GET");
    assert_eq!(refusal(put).await, of(405, "INVALID_REQUEST"));
    let plain = post("/v1/sessions").header("content-type", "text/plain").body("{}".into());
    assert_eq!(refusal(http.send(plain.unwrap()).await).await, of(415, "INVALID_REQUEST"));
    for (sent, answered) in [
        ("[]", of(400, "INVALID_REQUEST")),
        ("{\"prompt\"", of(400, "INVALID_REQUEST")),
        ("{\"prompt\": 3}", of(400, "INVALID_REQUEST")),
    ] {
        let request = post("/v1/sessions").header("content-type", "application/json");
        let request = request.body(sent.into()).unwrap();
        assert_eq!(refusal(http.send(request).await).await, answered, "{sent}");
    }
    let long = vec![b' '; (4 << 20) + 1];
    let long = post("/v1/sessions").header("content-type", "application/json").body(long.into());
    assert_eq!(refusal(http.send(long.unwrap()).await).await, of(413, "TOO_LARGE"));
    for query in
        ["colour=red", "limit=many", "limit=1&limit=2", "archived=1", "label=red", "limit=0"]
    {
        let got = http.get(&format!("/v1/sessions?{query}")).await;
        assert_eq!(refusal(got).await, of(400, "INVALID_REQUEST"), "{query}");
    }
    let with_body = Request::get("/v1/sessions").body("{}".into()).unwrap();
    assert_eq!(refusal(http.send(with_body).await).await, of(400, "INVALID_REQUEST"));
}

#[tokio::test(start_paused = true)]
async fn a_query_is_typed_by_the_schema_and_labels_are_pairs() {
    let http = Http::at(&Desk::new(vec![], vec![])).await;
    for colour in ["red", "blue"] {
        let labels = json!({ "colour": colour, "size": "1=2" });
        done(&http, "session/create", json!({ "initial_turn": "defer", "labels": labels })).await;
    }
    let path = "/v1/sessions?limit=5&archived=false&state=idle&label=colour%3Dred&label=size=1=2";
    let page = body(http.get(path).await).await;
    assert_eq!(page["sessions"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(page["sessions"][0]["labels"]["colour"], "red");
}

#[tokio::test(start_paused = true)]
async fn the_header_of_a_key_is_the_field() {
    let desk = Desk::new(vec![writes(&["once"])], vec![]);
    let http = Http::at(&desk).await;
    let create = |key: &str, sent: Value| {
        let request = Request::post("/v1/sessions").header("content-type", "application/json");
        let request = request.header("idempotency-key", key);
        request.body(Body::from(sent.to_string())).unwrap()
    };
    let first = body(http.send(create("k", json!({ "prompt": "go" }))).await).await;
    let second = json!({ "prompt": "go", "idempotency_key": "k" });
    assert_eq!(first, done(&http, "session/create", second.clone()).await);
    assert_eq!(refusal(http.send(create("other", second)).await).await, of(400, "INVALID_REQUEST"));
    let number = json!({ "prompt": "go", "idempotency_key": 7 });
    assert_eq!(refusal(http.send(create("k", number)).await).await, of(400, "INVALID_REQUEST"));
    let list = Request::get("/v1/sessions").header("idempotency-key", "k").body(Body::empty());
    assert_eq!(refusal(http.send(list.unwrap()).await).await, of(400, "INVALID_REQUEST"));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_joins_in_mid_message_gets_its_text_so_far_and_goes_on() {
    let script = vec![Say::Delta("one "), Say::Delta("two "), Say::Silence];
    let http = Http::at(&Desk::new(vec![script], vec![])).await;
    let session = deferred(&http).await;
    let mut first = Events::open(&http, &session, None).await;
    let past = first.until("caught_up", "").await;
    assert!(past.iter().all(|message| message.id.is_some() == (message.event == "entry")));
    begun(&http, &session).await;
    let mut heard = Known::default();
    while heard.texts.values().next().is_none_or(|text| text != "one two ") {
        heard.take(&first.next().await.unwrap());
    }
    let mut second = Events::open(&http, &session, None).await;
    let past = second.until("caught_up", "").await;
    assert!(past.len() > 2, "{past:?}");
    let joined = second.until("delta", "").await;
    assert_eq!(joined.last().unwrap().data["delta"]["text"], "one two ");
    done(&http, "turn/interrupt", json!({ "session_id": session })).await;
    let entries = |messages: Vec<Message>| -> Vec<Message> {
        messages.into_iter().filter(|message| message.event == "entry").collect()
    };
    let (one, other) =
        (first.until("entry", "turn_ended").await, second.until("entry", "turn_ended").await);
    assert_eq!(entries(one), entries(other), "both are told the same");
    let after = format!("/v1/sessions/{session}/events?after=99");
    assert_eq!(refusal(http.get(&after).await).await, of(400, "INVALID_REQUEST"));
    let unknown = Request::get(format!("/v1/sessions/{session}/events?since=1"));
    let unknown = unknown.header("last-event-id", "1").body(Body::empty()).unwrap();
    assert_eq!(refusal(http.send(unknown).await).await, of(400, "INVALID_REQUEST"));
    let stranger = http.get("/v1/sessions/nobody/events").await;
    assert_eq!(refusal(stranger).await, of(404, "SESSION_NOT_FOUND"));
}

/// What a reader knows: entries by their cursor, and texts as deltas put them together.
#[derive(Debug, Default, PartialEq)]
struct Known {
    entries: Vec<(String, Value)>,
    texts: BTreeMap<String, String>,
}

impl Known {
    fn take(&mut self, message: &Message) {
        let delta = &message.data["delta"];
        if let Some(id) = &message.id {
            self.entries.push((id.clone(), message.data.clone()));
        } else if !delta.is_null() {
            let item = format!(
                "{} {} {} {}",
                delta["turn"], delta["step"], delta["attempt"], delta["item"]
            );
            let text = self.texts.entry(item).or_default();
            let offset = usize::try_from(delta["offset"].as_u64().unwrap()).unwrap();
            assert!(offset <= text.len(), "no gap");
            text.truncate(offset);
            text.push_str(delta["text"].as_str().unwrap());
        }
    }

    fn last(&self) -> Option<&str> {
        self.entries.last().map(|(id, _)| id.as_str())
    }

    fn is_at_end(&self) -> bool {
        self.entries.last().is_some_and(|(_, data)| data["entry"]["event"]["type"] == "turn_ended")
    }
}

const WORDS: [&str; 6] = ["one ", "zwei ", "três ", "四 ", "five ", "sechs "];

/// Reads a turn to its end, cut after so many bytes each time and taken up again.
async fn read_cut(cuts: &[usize]) -> (Known, Known) {
    let http = Http::at(&Desk::new(vec![writes(&WORDS)], vec![])).await;
    let session = deferred(&http).await;
    begun(&http, &session).await;
    let unbroken = async {
        let (mut known, mut events) = (Known::default(), Events::open(&http, &session, None).await);
        while !known.is_at_end() {
            known.take(&events.next().await.unwrap());
        }
        known
    };
    let broken = async {
        let mut known = Known::default();
        let mut cuts = cuts.iter().copied().chain(std::iter::repeat(usize::MAX));
        while !known.is_at_end() {
            let mut left = cuts.next().unwrap();
            let mut events = Events::open(&http, &session, known.last()).await;
            while left > 0 && !known.is_at_end() {
                let mut chunk = events.bytes.next().await.unwrap().unwrap();
                chunk.truncate(left);
                left -= chunk.len();
                events.read.extend_from_slice(&chunk);
                while let Some(end) = events.read.windows(2).position(|two| two == b"\n\n") {
                    let message: Vec<u8> = events.read.drain(..end + 2).collect();
                    known.take(&parsed(std::str::from_utf8(&message).unwrap()));
                }
            }
        }
        known
    };
    futures::join!(unbroken, broken)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn across_any_cuts_a_reader_learns_what_an_unbroken_one_does(
        cuts in prop::collection::vec(1_usize..4000, 0..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
        let (unbroken, broken) = runtime.block_on(read_cut(&cuts));
        prop_assert_eq!(&unbroken.entries, &broken.entries);
        // What was not heard of a text stands in the entry that ends it; what was heard is its beginning.
        for text in unbroken.texts.values().chain(broken.texts.values()) {
            prop_assert!(WORDS.concat().starts_with(text), "{}", text);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_holds_nobody_up_and_misses_no_entry() {
    const LONG: &str = match std::str::from_utf8(&[b'x'; 16 * 1024]) {
        Ok(long) => long,
        Err(_) => panic!("it is ASCII"),
    };
    let turns = (0..3).map(|_| writes(&[LONG; 100])).collect();
    let http = Http::at(&Desk::new(turns, vec![])).await;
    let session = deferred(&http).await;
    let mut slow = Events::open(&http, &session, None).await;
    for _ in 0..3 {
        let go = json!({ "session_id": session, "prompt": "go" });
        assert_eq!(done(&http, "turn/start", go).await["state"], "ended");
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.extend(slow.until("entry", "turn_ended").await);
    }
    let seen: Vec<Value> =
        seen.into_iter().filter(|m| m.event == "entry").map(|m| m.data).collect();
    let numbers: Vec<u64> =
        seen.iter().map(|data| data["entry"]["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_says_that_it_lives() {
    let http = Http::at(&Desk::new(vec![], vec![])).await;
    let session = deferred(&http).await;
    let mut events = Events::open(&http, &session, None).await;
    events.until("caught_up", "").await;
    let begun = tokio::time::Instant::now();
    assert_eq!(events.bytes.next().await.unwrap().unwrap(), ":\n\n");
    assert_eq!(begun.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_readers_are_told_to_come_back_and_connections_are_let_go() {
    let http = Http::at(&Desk::new(vec![writes(&["one"])], vec![])).await;
    let session = deferred(&http).await;
    let mut events = Events::open(&http, &session, None).await;
    events.until("caught_up", "").await;
    let ending = tokio::time::Instant::now();
    let (_, rest) = futures::join!(http.end(), async {
        let mut rest = events.read;
        while let Some(Ok(chunk)) = events.bytes.next().await {
            rest.extend_from_slice(&chunk);
        }
        rest
    });
    let rest = String::from_utf8(rest).unwrap();
    let again = rest.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix("\n\n"));
    let again: u64 = again.unwrap_or_else(|| panic!("{rest}")).parse().unwrap();
    assert!((500..2_500).contains(&again), "{again}");
    assert!(ending.elapsed().as_secs() < 5);
}
