//! Exchanges that are written down, and served back as they were.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use oarlock_models::{
    CannedAnswer, CannedTransport, HttpRequest, HttpResponse, Method, TapeError, TapePlayer,
    TapeRecorder, Transport, TransportError,
};
use tokio::time::{Instant, sleep_until};

const KEY: &str = "canary-key-0123456789";

fn request(path: &str, body: &str) -> HttpRequest {
    let headers = [("Authorization", KEY), ("x-own", KEY), ("Content-Type", "application/json")];
    HttpRequest {
        method: Method::Post,
        url: format!("https://host.example/v1/{path}?sig={KEY}"),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn canned(status: u16, chunks: &[&'static [u8]]) -> CannedAnswer {
    let headers = [("content-type", "text/event-stream"), ("set-cookie", KEY)];
    CannedAnswer {
        status,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        chunks: chunks.iter().map(|chunk| Bytes::from_static(chunk)).collect(),
    }
}

/// The status, and what came with the time at which it came; how it ended.
async fn read(
    transport: &dyn Transport,
    request: HttpRequest,
) -> (u16, Vec<(u64, Bytes)>, Option<String>) {
    let begun = Instant::now();
    let answer = match transport.send(request).await {
        Ok(answer) => answer,
        Err(error) => return (0, Vec::new(), Some(error.to_string())),
    };
    let (status, mut body, mut chunks) = (answer.status, answer.body, Vec::new());
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(bytes) => chunks.push((begun.elapsed().as_millis() as u64, bytes)),
            Err(error) => return (status, chunks, Some(error.to_string())),
        }
    }
    (status, chunks, None)
}

/// A slow endpoint: the head after 100 ms, a piece each second, and the connection breaks.
#[derive(Debug)]
struct Slow;

impl Transport for Slow {
    fn send(&self, _: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        async {
            sleep_until(Instant::now() + Duration::from_millis(100)).await;
            let pieces = stream::iter([b"one".as_slice(), b"\xff\x00two"]).then(async |piece| {
                sleep_until(Instant::now() + Duration::from_secs(1)).await;
                Ok(Bytes::from_static(piece))
            });
            let broken = stream::once(async {
                Err(TransportError::Broken { source: "the peer has gone".into() })
            });
            Ok(HttpResponse { status: 200, headers: vec![], body: pieces.chain(broken).boxed() })
        }
        .boxed()
    }
}

fn begun(folder: &Path, inner: impl Transport + 'static) -> TapeRecorder {
    TapeRecorder::begin(folder, Arc::new(inner)).unwrap()
}

fn file(folder: &Path, number: u32) -> String {
    std::fs::read_to_string(folder.join(format!("{number:06}.jsonl"))).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_came_comes_again_at_the_same_moments_and_breaks_as_it_broke() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("http");
    let recorder = begun(&folder, Slow);
    let live = read(&recorder, request("messages", "{}")).await;
    assert_eq!((live.0, live.1.len(), live.2.as_deref()), (200, 2, Some("the connection broke")));
    recorder.end().unwrap();
    let player = TapePlayer::open(&folder).unwrap();
    assert_eq!(read(&player, request("messages", "{}")).await, live);
    let (_, _, refused) = read(&player, request("messages", "{}")).await;
    let words =
        "the request cannot be sent: the recording has no answer left for POST /v1/messages";
    assert_eq!(refused.as_deref(), Some(words));
}

#[tokio::test(start_paused = true)]
async fn no_key_is_written_and_nobody_else_reads_the_files() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("http");
    let recorder = begun(&folder, CannedTransport::new([canned(200, &[b"data: {}\n\n"])]));
    read(&recorder, request("messages", "{\"a\":1}")).await;
    let text = file(&folder, 1);
    assert!(!text.contains(KEY), "{text}");
    for kept in
        ["https://host.example/v1/messages\"", "x-own", "{\\\"a\\\":1}", "data: {}", "\"end\""]
    {
        assert!(text.contains(kept), "{kept}: {text}");
    }
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("000001.jsonl"))), (0o700, 0o600));
    let again = TapeRecorder::begin(&folder, Arc::new(CannedTransport::default()));
    assert!(again.is_err(), "a recording is not written over");
}

#[tokio::test(start_paused = true)]
async fn a_request_gets_its_own_answer_before_another_one_of_its_kind() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("http");
    let answers = [b"1".as_slice(), b"2", b"3"].map(|chunk| canned(200, &[chunk]));
    let recorder = begun(&folder, CannedTransport::new(answers));
    for (path, body) in [("messages", "first"), ("models", "second"), ("messages", "third")] {
        read(&recorder, request(path, body)).await;
    }
    let player = TapePlayer::open(&folder).unwrap();
    let said = async |path: &str, body: &str| {
        let mut asked = request(path, body);
        asked.url = asked.url.replace("host.example", "127.0.0.1:1");
        read(&player, asked).await.1.pop().map(|(_, bytes)| bytes)
    };
    assert_eq!(said("messages", "third").await.unwrap(), "3");
    assert_eq!(said("messages", "on another day").await.unwrap(), "1");
    assert_eq!(said("messages", "first").await, None);
    assert_eq!(said("models", "").await.unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_left_is_served_as_far_as_it_goes() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("http");
    let recorder = begun(&folder, CannedTransport::new([canned(200, &[b"one", b"two"])]));
    read(&recorder, request("messages", "{}")).await;
    let text = file(&folder, 1);
    let mut seen = Vec::new();
    for length in 0..=text.len() {
        std::fs::write(folder.join("000001.jsonl"), &text[..length]).unwrap();
        let player = TapePlayer::open(&folder).unwrap();
        seen.push(read(&player, request("messages", "{}")).await.1.len());
    }
    assert!(seen.is_sorted() && seen[0] == 0 && seen.last() == Some(&2), "{seen:?}");
}

#[test]
fn what_is_no_recording_is_named_with_its_line() {
    let home = tempfile::tempdir().unwrap();
    let missing = TapePlayer::open(&home.path().join("nowhere")).unwrap_err();
    assert!(matches!(missing, TapeError::Read { .. }), "{missing}");
    let path = home.path().join("000001.jsonl");
    for (text, line) in [
        ("{\"end\":{\"after_ms\":1}}\n", 1),
        ("{}\n", 1),
        (
            "{\"request\":{\"method\":\"POST\",\"url\":\"u\",\"headers\":[],\"body\":{\"text\":\"\"}}}\nrow\n",
            2,
        ),
        (
            "{\"request\":{\"method\":\"POST\",\"url\":\"u\",\"headers\":[],\"body\":{\"base64\":\"?\"}}}\n",
            1,
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = TapePlayer::open(home.path()).unwrap_err();
        assert!(matches!(error, TapeError::Format { line: at, .. } if at == line), "{text}{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_is_told_at_the_end_and_keeps_no_request_from_going() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("http");
    let answers = [b"1".as_slice(), b"2"].map(|chunk| canned(200, &[chunk]));
    let recorder = begun(&folder, CannedTransport::new(answers));
    // A name that is taken stands for whatever keeps a file from being written.
    std::fs::create_dir(folder.join("000001.jsonl")).unwrap();
    for _ in 0..2 {
        assert_eq!(read(&recorder, request("messages", "{}")).await.1.len(), 1);
    }
    assert!(recorder.end().is_err());
    assert!(file(&folder, 2).contains("\"end\""));
}
