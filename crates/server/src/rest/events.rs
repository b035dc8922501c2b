//! A session's events as server-sent events: the past from a cursor on, a mark where it ends, then what comes.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::RawPathParams;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use oarlock_core::EventStream;
use oarlock_core::event::AgentEvent;
use oarlock_core::ids::SessionId;
use oarlock_core::service::{Cursor, SessionError};

use super::encode::Reader;
use super::gate::revoked;
use super::metrics::Reading;
use super::reply::{Refusal, Refused};
use super::{Drain, HEARTBEAT, Theirs};
use crate::operations::session_id;
use crate::quote::cut;

/// Where a browser says what it got last.
const LAST: HeaderName = HeaderName::from_static("last-event-id");

pub(super) async fn stream(
    theirs: Theirs,
    path: RawPathParams,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let opened = async {
        let begun = after(&uri)?;
        let after = match headers.get(&LAST) {
            // A reader that comes back has been given more than what it began with.
            Some(last) => cursor(last.to_str().unwrap_or("?"))?,
            None => begun,
        };
        follow(&theirs, &path, after).await
    };
    match opened.await {
        Ok(following) => sent(following),
        Err(error) => Refused::from(error).into_response(),
    }
}

/// Milliseconds after which the first readers come back when the program has ended, and over how many the others are spread: thousands that come at
/// once would be held to the rate.
const AGAIN_MS: (u64, u64) = (500, 2_000);

/// A session that is followed, and how its events are encoded.
pub(super) struct Following {
    pub(super) events: EventStream,
    pub(super) reader: Reader,
    drain: Drain,
    revoked: Drain,
    /// When to come back, should the program end.
    again_ms: u64,
    _reading: Reading,
}

/// What comes next for a reader.
pub(super) enum Next {
    Event(AgentEvent),
    /// Nothing for a while.
    Silence,
    /// The session cannot be read, or not by this reader any more; whoever comes back finds out what is the matter.
    Broken(SessionError),
    /// The program ends; whoever comes back finds the next one.
    Drained,
}

impl Following {
    /// What comes next. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Next {
        tokio::select! {
            biased;
            () = self.drain.begun() => Next::Drained,
            () = self.revoked.begun() => Next::Broken(revoked()),
            event = tokio::time::timeout(HEARTBEAT, self.events.next()) => match event {
                Err(_) => Next::Silence,
                Ok(Ok(event)) => Next::Event(event),
                Ok(Err(error)) => Next::Broken(error.into()),
            },
        }
    }
}

/// Follows the session of a path.
pub(super) async fn follow(
    Theirs(rest, revoked): &Theirs,
    path: &RawPathParams,
    after: Cursor,
) -> Result<Following, SessionError> {
    let id = named(path)?;
    use oarlock_core::service::SessionService;
    let events = rest.sessions.subscribe_session_events(&id, after).await?;
    let reader = rest.encoders.join(&id);
    Ok(Following {
        events,
        reader,
        drain: rest.drain.clone(),
        revoked: revoked.clone(),
        again_ms: AGAIN_MS.0 + rest.sessions.core().ports().ids.random() % AGAIN_MS.1,
        _reading: rest.metrics.reading(),
    })
}

/// The session of a path.
pub(super) fn named(path: &RawPathParams) -> Result<SessionId, SessionError> {
    let mut params = path
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect::<crate::operations::Params>();
    session_id(&mut params)
}

/// The cursor of a query; the beginning when it has none.
pub(super) fn after(uri: &Uri) -> Result<Cursor, SessionError> {
    let mut after = None;
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "after" if after.is_none() => after = Some(cursor(&value)?),
            "after" => return Err(SessionError::invalid("`after` is given twice")),
            _ => {
                let words = format!("unknown field `{}`, expected `after`", cut(&name));
                return Err(SessionError::invalid(words));
            }
        }
    }
    Ok(after.unwrap_or_default())
}

fn cursor(text: &str) -> Result<Cursor, SessionError> {
    text.parse().map_err(SessionError::invalid)
}

/// The response, which goes on until one side ends it.
fn sent(following: Following) -> Response {
    let messages = stream::unfold(Some(following), |following| async {
        let mut following = following?;
        match following.next().await {
            Next::Silence => Some((Bytes::from_static(b":\n\n"), Some(following))),
            Next::Event(event) => {
                Some((message(&event, &following.reader.json(&event)), Some(following)))
            }
            Next::Broken(error) => Some((broken(&error), None)),
            // The last message: come back, with the cursor.
            Next::Drained => Some((format!("retry: {}\n\n", following.again_ms).into(), None)),
        }
    });
    let messages = futures::StreamExt::map(messages, Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(messages));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // For proxies that would collect a stream before they pass it on.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    response
}

/// An event as a message: only entries have a cursor.
fn message(event: &AgentEvent, json: &[u8]) -> Bytes {
    let kind = match event {
        AgentEvent::Entry(_) => "entry",
        AgentEvent::Delta(_) => "delta",
        AgentEvent::CaughtUp { .. } => "caught_up",
        AgentEvent::Scoped { .. } => "scoped",
    };
    let mut message = BytesMut::with_capacity(json.len() + 64);
    if let AgentEvent::Entry(entry) = event {
        message.put_slice(format!("id: {}\n", Cursor(entry.seq)).as_bytes());
    }
    message.put_slice(format!("event: {kind}\ndata: ").as_bytes());
    message.put_slice(json);
    message.put_slice(b"\n\n");
    message.freeze()
}

/// The last message of a stream that cannot go on.
fn broken(error: &SessionError) -> Bytes {
    let json = Refusal::of(error).json();
    [b"event: error\ndata: ".as_slice(), &json, b"\n\n"].concat().into()
}
