//! Bodies over HTTP: stored once, and given out to those who may read a session that names them.

use axum::body::Body;
use axum::extract::{RawPathParams, Request};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use oarlock_core::ids::{BlobId, SessionId};
use oarlock_core::service::SessionError;
use serde_json::json;

use super::events::named;
use super::reply::{Refused, json as answer};
use super::{Theirs, read_body};
use crate::quote::cut;
use crate::service::{BLOB_BYTES_MAX, Sessions};

/// Bytes that are read from the store at a time.
const CHUNK: u64 = 256 * 1024;

pub(super) async fn upload(Theirs(rest, _): Theirs, request: Request) -> Response {
    let stored = async {
        let body = read_body(request.into_body(), BLOB_BYTES_MAX).await?;
        let bytes = body.len();
        let blob = rest.sessions.put_blob(body).await?;
        Ok::<_, SessionError>(json!({ "blob": blob, "bytes": bytes }))
    };
    match stored.await {
        Ok(stored) => answer(stored.to_string()),
        Err(error) => Refused::from(error).into_response(),
    }
}

pub(super) async fn download(
    Theirs(rest, _): Theirs,
    path: RawPathParams,
    headers: HeaderMap,
) -> Response {
    let opened = async {
        let id = named(&path)?;
        let name = path.iter().find(|(name, _)| *name == "blob").map_or("", |(_, blob)| blob);
        let found = match BlobId::parse(name) {
            Ok(blob) => rest.sessions.blob(&id, &blob).await?.map(|bytes| (blob, bytes)),
            // What no body can be called is not there; whether the session is, comes first.
            Err(_) => rest.sessions.exists(&id).await.map(|()| None)?,
        };
        let (blob, bytes) = found.ok_or_else(|| Refused::no_such_blob(&cut(name)))?;
        let range = range(&headers, bytes)?;
        Ok::<_, Refused>(body(&rest.sessions, (id, blob), bytes, range))
    };
    opened.await.unwrap_or_else(IntoResponse::into_response)
}

/// The first byte and the one behind the last, when a part is asked for. Several parts at a time, and what is no range, are as nothing.
fn range(headers: &HeaderMap, bytes: u64) -> Result<Option<(u64, u64)>, Refused> {
    let asked = headers.get(RANGE).and_then(|range| range.to_str().ok());
    let asked = asked.and_then(|range| range.strip_prefix("bytes="));
    let Some((first, last)) = asked.and_then(|range| range.trim().split_once('-')) else {
        return Ok(None);
    };
    let (first, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(bytes)),
        (Ok(first), Err(_)) if last.is_empty() => (first, bytes),
        (Err(_), Ok(tail)) if first.is_empty() => (bytes.saturating_sub(tail), bytes),
        _ => return Ok(None),
    };
    if first >= end { Err(Refused::beyond(bytes)) } else { Ok(Some((first, end))) }
}

fn body(
    sessions: &Sessions,
    (id, blob): (SessionId, BlobId),
    bytes: u64,
    range: Option<(u64, u64)>,
) -> Response {
    let (first, end) = range.unwrap_or((0, bytes));
    let sessions = sessions.clone();
    let name = format!("attachment; filename=\"{blob}\"");
    let chunks = stream::try_unfold(first, move |at| {
        let (sessions, blob) = (sessions.clone(), blob.clone());
        async move {
            if at >= end {
                return Ok(None);
            }
            let most = usize::try_from((end - at).min(CHUNK)).unwrap_or(usize::MAX);
            let chunk: Bytes = sessions.blob_bytes(&blob, at, most).await?;
            match chunk.is_empty() {
                true => Err(SessionError::invalid("the body broke off")),
                false => {
                    let next = at + chunk.len() as u64;
                    Ok(Some((chunk, next)))
                }
            }
        }
    });
    let mut response = Response::new(Body::from_stream(chunks));
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    tracing::trace!(session = %id, "a stored body is given out");
    let headers = response.headers_mut();
    let mut say = |header: HeaderName, value: String| {
        let value = HeaderValue::from_str(&value).expect("it is of numbers and hexadecimals");
        headers.insert(header, value);
    };
    say(CONTENT_LENGTH, (end - first).to_string());
    say(CONTENT_DISPOSITION, name);
    if range.is_some() {
        say(CONTENT_RANGE, format!("bytes {first}-{}/{bytes}", end - 1));
    }
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
