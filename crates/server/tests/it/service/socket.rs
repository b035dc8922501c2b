//! The events over a WebSocket.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use oarlock_testkit::model::{Say, text};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::http::{CONNECTIONS, Http, json as body};
use super::{deferred, done};
use crate::desk::Desk;

async fn open(http: &Http, path: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(&http.address).await.unwrap();
    client_async(format!("ws://{}{path}", http.address), stream).await.unwrap().0
}

/// The events up to the first entry of this type.
async fn until(socket: &mut WebSocketStream<TcpStream>, kind: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    loop {
        let Message::Text(text) = socket.next().await.unwrap().unwrap() else { continue };
        let event: Value = serde_json::from_str(&text).unwrap();
        let is_last = event["entry"]["event"]["type"] == kind;
        seen.push(event);
        if is_last {
            return seen;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_web_socket_has_the_same_events_and_goes_on_from_a_cursor() {
    let desk = Desk::new(vec![vec![Say::Delta("yes"), Say::Reply(text("yes"))]], vec![]);
    let http = Http::at(&desk).await;
    let session = deferred(&http).await;
    let path = format!("/v1/sessions/{session}/ws");
    let mut socket = open(&http, &path).await;
    done(&http, "turn/start", json!({ "session_id": session, "prompt": "go" })).await;
    let all = until(&mut socket, "turn_ended").await;
    assert!(all.iter().any(|event| event["delta"]["text"] == "yes"), "{all:?}");
    let entries: Vec<&Value> = all.iter().filter(|event| !event["entry"].is_null()).collect();
    let mut again = open(&http, &format!("{path}?after=1")).await;
    let rest = until(&mut again, "turn_ended").await;
    assert_eq!(rest.iter().collect::<Vec<_>>(), entries[1..]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_speaks_and_a_server_that_ends_close_it() {
    let http = Http::at(&Desk::new(vec![], vec![])).await;
    let session = deferred(&http).await;
    let path = format!("/v1/sessions/{session}/ws");
    let mut speaks = open(&http, &path).await;
    speaks.send(Message::text("hello")).await.unwrap();
    while let Some(Ok(_)) = speaks.next().await {}
    let plain = body(http.get(&path).await).await;
    assert_eq!(plain["error"]["code"], "INVALID_REQUEST", "{plain}");
    let mut listens = open(&http, &path).await;
    until(&mut listens, "session_created").await;
    let (_, code) = futures::join!(http.end(), async {
        loop {
            match listens.next().await {
                Some(Ok(Message::Close(Some(close)))) => return u16::from(close.code),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(code, 1012, "come back");
}

#[tokio::test(start_paused = true)]
async fn a_web_socket_is_a_connection_for_as_long_as_it_is_open() {
    let http = Http::at(&Desk::new(vec![], vec![])).await;
    let session = deferred(&http).await;
    let path = format!("/v1/sessions/{session}/ws");
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS {
        sockets.push(open(&http, &path).await);
    }
    let one_more = timeout(Duration::from_secs(5), http.get("/v1/sessions"));
    assert!(one_more.await.is_err(), "it waits to be accepted");
    drop(sockets.pop());
    assert_eq!(http.get("/v1/sessions").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_waits_for_readers_of_web_sockets_to_be_told() {
    let long = "x".repeat(1_000_000);
    let http =
        Http::at(&Desk::new((0..12).map(|_| vec![Say::Reply(text("yes"))]).collect(), vec![]))
            .await;
    let session = deferred(&http).await;
    for _ in 0..12 {
        done(&http, "turn/start", json!({ "session_id": session, "prompt": long })).await;
    }
    let mut socket = open(&http, &format!("/v1/sessions/{session}/ws")).await;
    until(&mut socket, "session_created").await;
    let begun = Instant::now();
    let (ended, code) = futures::join!(
        async {
            http.end().await;
            begun.elapsed()
        },
        async {
            sleep_until(Instant::now() + Duration::from_secs(1)).await;
            loop {
                match socket.next().await {
                    Some(Ok(Message::Close(Some(close)))) => return u16::from(close.code),
                    Some(Ok(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    );
    assert_eq!(code, 1012, "come back");
    assert!(ended >= Duration::from_secs(1), "{ended:?}");
}
