//! A session's events over a WebSocket: one text message of JSON each, as server-sent events have it for `data`.

use axum::extract::RawPathParams;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::{Either, select};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};

use super::Theirs;
use super::events::{Following, Next, after, follow};
use super::reply::{Refusal, Refused};

/// Bytes of what a client may send, which is nothing but control frames.
const RECEIVED_MAX: usize = 4096;

pub(super) async fn open(
    theirs: Theirs,
    path: RawPathParams,
    uri: Uri,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let opened = async {
        let following = follow(&theirs, &path, after(&uri)?).await?;
        let upgrade = upgrade.map_err(|error| Refused::no_upgrade(&error.to_string()))?;
        Ok::<_, Refused>((following, upgrade))
    };
    match opened.await {
        Ok((following, upgrade)) => {
            let upgrade = upgrade.max_message_size(RECEIVED_MAX).max_frame_size(RECEIVED_MAX);
            upgrade.on_upgrade(|socket| serve(socket, following))
        }
        Err(refused) => refused.into_response(),
    }
}

/// Sends until one side ends it.
async fn serve(socket: WebSocket, following: Following) {
    let (sink, stream) = socket.split();
    let sending = std::pin::pin!(send(sink, following));
    let listening = std::pin::pin!(listen(stream));
    match select(sending, listening).await {
        Either::Left(((), _)) | Either::Right(((), _)) => {}
    }
}

async fn send(mut sink: SplitSink<WebSocket, Message>, mut following: Following) {
    loop {
        let message = match following.next().await {
            Next::Silence => Message::Ping(Bytes::new()),
            Next::Event(event) => {
                let json = following.reader.json(&event);
                Message::Text(Utf8Bytes::try_from(json).expect("JSON is UTF-8"))
            }
            Next::Broken(error) => {
                let text = String::from_utf8(Refusal::of(&error).json()).expect("JSON is UTF-8");
                drop(sink.send(Message::Text(text.into())).await);
                return close(sink, (close_code::ERROR, error.code())).await;
            }
            Next::Drained => return close(sink, (close_code::RESTART, "come back")).await,
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

/// Ends the connection in words. Nothing is lost when they are not heard: whoever comes back is told again.
async fn close(mut sink: SplitSink<WebSocket, Message>, (code, words): (u16, &'static str)) {
    let close = CloseFrame { code, reason: words.into() };
    drop(sink.send(Message::Close(Some(close))).await);
}

/// Listens until the client ends it, or says something: it has nothing to say here.
async fn listen(mut stream: SplitStream<WebSocket>) {
    while let Some(Ok(Message::Ping(_) | Message::Pong(_))) = stream.next().await {}
}
