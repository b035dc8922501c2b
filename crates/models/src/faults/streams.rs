//! Streams that are whole, cut, silent, broken or not streams at all.

use super::*;

#[tokio::test]
async fn a_stream_is_read_to_its_end_and_its_deltas_are_told() {
    let acts = vec![
        chunked_head(),
        chunk(": a comment\n\ndata: say a"),
        chunk("b\n\ndata: ping\n\ndata: say c\n\n"),
        chunk("data: end\n\n"),
        send("0\r\n\r\n"),
    ];
    let called = answered(acts).await;
    assert_eq!((called.deltas.concat(), called.end), ("abc".into(), Ok("abc".into())));
}

#[tokio::test]
async fn one_json_body_is_read_whatever_it_is_labelled() {
    for label in ["application/json", "text/event-stream", "text/plain"] {
        let head = format!("content-type: {label}\r\n");
        let called = answered(vec![answer("200 OK", &head, " {\"text\":\"whole\"}")]).await;
        assert_eq!(called.end, Ok("whole".into()));
    }
}

#[tokio::test]
async fn events_labelled_as_json_are_read_as_events() {
    let head = "content-type: application/json\r\n";
    let called = answered(vec![answer("200 OK", head, "data: say x\n\ndata: end\n\n")]).await;
    assert_eq!(called.end, Ok("x".into()));
}

#[tokio::test]
async fn compressed_answers_are_read() {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        ZIPPED.len()
    );
    let called = answered(vec![send(&head), Act::Send(ZIPPED.to_vec())]).await;
    assert_eq!(called.end, Ok("zipped".into()));
}

#[tokio::test]
async fn a_stream_that_ends_cleanly_before_its_terminal_event_is_truncated() {
    let called = answered(vec![stream_head(), send("data: say a\n\n")]).await;
    assert_eq!(called.deltas, ["a"]);
    assert_eq!(
        called.failure(),
        (
            ModelErrorKind::Truncated,
            format!("{}: the stream ended early", told_name(called.failure().1)).as_str()
        )
    );
}

/// The part of a message that names endpoint and model; the port differs from run to run.
fn told_name(message: &str) -> String {
    let (name, _) = message.split_once(", model m-1").unwrap();
    assert!(name.starts_with("here at 127.0.0.1:"), "{message}");
    format!("{name}, model m-1")
}

#[tokio::test]
async fn cut_chunks_and_resets_are_failures_of_the_transport() {
    let cut = vec![chunked_head(), chunk("data: say a\n\n"), send("ff\r\ndata: sa")];
    let bad_framing = vec![chunked_head(), chunk("data: say a\n\n"), send("zz\r\nwhat\r\n")];
    let short = vec![send("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\ndata: say a\n\n")];
    for acts in [cut, bad_framing, short] {
        let called = answered(acts).await;
        assert_eq!(called.deltas, ["a"]);
        assert_eq!(called.failure().0, ModelErrorKind::Transport, "{called:?}");
    }
    let reset = answered(vec![Act::Reset]).await;
    assert_eq!(reset.failure().0, ModelErrorKind::Transport, "{reset:?}");
}

#[tokio::test]
async fn a_break_after_the_terminal_event_does_not_matter() {
    let acts = vec![chunked_head(), chunk("data: say a\n\ndata: end\n\n"), send("zz\r\n")];
    assert_eq!(answered(acts).await.end, Ok("a".into()));
}

#[tokio::test]
async fn garbage_instead_of_http_is_a_failure_of_the_transport() {
    let called = answered(vec![Act::Send((128..=255).cycle().take(4_000).collect())]).await;
    assert_eq!(called.failure().0, ModelErrorKind::Transport, "{called:?}");
}

#[tokio::test]
async fn garbage_in_a_stream_ends_it_as_truncated() {
    let garbage = (128..=255).cycle().take(4_000).collect();
    let called = answered(vec![stream_head(), send("data: say a\n\n"), Act::Send(garbage)]).await;
    assert_eq!(called.failure().0, ModelErrorKind::Truncated, "{called:?}");
}

#[tokio::test]
async fn an_event_that_is_not_of_the_protocol_or_an_error_inside_ends_the_call() {
    let bad = answered(vec![stream_head(), send("data: say a\n\ndata: {\"cut\n\n")]).await;
    assert_eq!(bad.failure().0, ModelErrorKind::Transport);
    let broken = format!("data: say a\n\ndata: broken no capacity for {KEY}\n\ndata: end\n\n");
    let inside = answered(vec![stream_head(), send(&broken)]).await;
    let (kind, message) = inside.failure();
    assert_eq!(kind, ModelErrorKind::Overloaded);
    assert!(message.ends_with("no capacity for (hidden)"), "{message}");
}

#[tokio::test]
async fn a_web_page_is_said_to_be_one() {
    let page = "<!doctype html><html><head><title>Sign in\nto Wi-Fi</title>";
    let called = answered(vec![answer("200 OK", "content-type: text/html\r\n", page)]).await;
    let (kind, message) = called.failure();
    assert_eq!(kind, ModelErrorKind::Transport);
    assert!(message.contains("HTTP 200 with a web page titled \"Sign in to Wi-Fi\""), "{message}");
}

#[tokio::test]
async fn an_event_without_end_is_refused_at_its_limit() {
    let endless = format!("data: {}", "x".repeat(crate::sse::EVENT_BYTES_MAX + 1));
    let called = answered(vec![stream_head(), send(&endless)]).await;
    assert_eq!(called.failure().0, ModelErrorKind::Transport);
    assert!(called.failure().1.contains("larger than 10 MiB"), "{called:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn silence_gives_no_events_and_dropping_the_call_closes_its_connection() {
    let server = Server::start(vec![vec![chunked_head(), chunk("data: say a\n\n"), Act::Hold]]);
    let model = model_with(&server.base_url, settings());
    let mut stream = model.call(request());
    let mut seen = Vec::new();
    while seen.last() != Some(&"a".to_owned()) {
        match stream.next().await {
            Some(Ok(ModelEvent::Delta { text, .. })) => seen.push(text),
            Some(Ok(ModelEvent::Alive)) => {}
            other => panic!("{other:?}"),
        }
    }
    let silent = tokio::time::timeout(Duration::from_millis(50), stream.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    assert!(server.request().is_some());
    drop(stream);
    assert!(server.is_closed_by_client());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn silence_before_the_answer_is_ended_by_dropping_the_call() {
    let server = Server::start(vec![vec![Act::Hold]]);
    let model = model_with(&server.base_url, settings());
    let mut stream = model.call(request());
    let silent = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    assert!(server.request().is_some());
    drop(stream);
    assert!(server.is_closed_by_client());
}
