//! What an operator wants to know: whether the server gets on, whether it takes requests, and its figures.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use oarlock_core::ports::journal::{ArchivedFilter, Filter, JournalError, TenantFilter};
use oarlock_core::service::{ErrorCode, SessionError};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::metrics::Standing;
use super::reply::{Refused, json as answer};
use super::{Rest, Theirs};
use crate::service::{Scope, Sessions, in_time};

/// What the store may take to write and read something, before the server counts as not getting on.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// What a body that is written to see whether writing works holds changes so often; those of before go with others that nobody names.
const PROBE_CHANGES_MS: i64 = 600_000;

/// The paths that want no token: they tell nothing of sessions.
pub(super) fn open(rest: Rest) -> Router {
    Router::new().route("/healthz", get(healthy)).route("/readyz", get(ready)).with_state(rest)
}

/// Whether the server gets on: the store writes and reads within the deadline, and this is told by the thread that sessions run on.
async fn healthy(State(rest): State<Rest>) -> Response {
    let begun = Instant::now();
    let why = match timeout(PROBE_WITHIN, probe(&rest.sessions)).await {
        Ok(Ok(())) => {
            let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            return answer(json!({ "status": "ok", "store_ms": ms }).to_string());
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the store does not work");
            "the store does not work"
        }
        Err(_) => "the store does not answer",
    };
    let mut response = answer(json!({ "status": "failing", "why": why }).to_string());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

async fn probe(sessions: &Sessions) -> Result<(), JournalError> {
    let ports = sessions.core().ports();
    let epoch = ports.clock.now().unix_ms() / PROBE_CHANGES_MS;
    let written = Bytes::from(format!("oarlock probe {epoch}\n"));
    let blob = ports.blobs.put(written.clone()).await?;
    let (read, _) = ports.blobs.read(&blob, 0, written.len()).await?;
    if read != written {
        return Err(JournalError::BlobCorrupt {
            blob,
            why: "what was read is not what was written".to_owned(),
        });
    }
    ports.catalog.list(&Filter { limit: Some(1), ..Filter::default() }).await.map(drop)
}

/// Whether requests are taken.
async fn ready(State(rest): State<Rest>) -> Response {
    match rest.drain.is_begun() {
        false => answer(json!({ "status": "ready" }).to_string()),
        true => {
            let mut response = answer(json!({ "status": "ending" }).to_string());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
}

/// The figures, as Prometheus reads them. They are of all tenants: one tenant's token does not get them.
pub(super) async fn metrics(Theirs(rest, _): Theirs) -> Response {
    let told = async {
        rest.sessions.allow(Scope::Read)?;
        if matches!(rest.sessions.caller().tenant, Some(TenantFilter::Of(_))) {
            let words = "figures are of all tenants; ask with a token that has none";
            return Err(SessionError::new(ErrorCode::Forbidden, words));
        }
        let begun = Instant::now();
        let all = Filter { archived: ArchivedFilter::With, children: true, ..Filter::default() };
        let used = in_time(rest.sessions.core().ports().catalog.usage(&all)).await?;
        let standing = Standing {
            store_took: begun.elapsed(),
            awake: rest.sessions.awake(),
            figures: &rest.figures,
            used,
        };
        Ok(rest.metrics.text(&standing))
    };
    match told.await {
        Ok(text) => {
            let mut response = text.into_response();
            let kind = HeaderValue::from_static("text/plain; version=0.0.4");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(error) => Refused::from(error).into_response(),
    }
}
