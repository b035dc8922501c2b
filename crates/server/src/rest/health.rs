//! What an operator wants to know: whether the server gets on, whether it takes requests, and its figures.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use oarlock_core::ports::journal::{ArchivedFilter, Filter, JournalError, TenantFilter};
use oarlock_core::service::{ErrorCode, SessionError};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::metrics::Standing;
use super::reply::{Refused, json as answer};
use super::{Rest, Theirs};
use crate::service::{Scope, Sessions, in_time};

/// What the store may take to write and read something, before the server counts as not getting on.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// How long what a probe found holds: however many ask, the store writes no more often.
const PROBE_HOLDS: Duration = Duration::from_secs(1);

/// The paths that want no token: they tell nothing of sessions.
pub(super) fn open(rest: Rest) -> Router {
    let ready = get(ready).with_state(rest.clone());
    let probed = Arc::new(Probed { sessions: rest.sessions, last: Mutex::default() });
    Router::new().route("/healthz", get(healthy).with_state(probed)).route("/readyz", ready)
}

/// The last probe of the store. There is one at a time.
#[derive(Debug)]
struct Probed {
    sessions: Sessions,
    /// When it was begun, and what it found: nothing, when nobody waited for its end.
    last: Mutex<Option<(Instant, Option<Found>)>>,
}

/// The milliseconds that the store took, or why it does not get on.
type Found = Result<u64, &'static str>;

impl Probed {
    async fn found(&self) -> Found {
        let mut last = self.last.lock().await;
        match *last {
            Some((begun, Some(found))) if begun.elapsed() < PROBE_HOLDS => return found,
            Some((begun, None)) => sleep_until(begun + PROBE_HOLDS).await,
            Some((_, Some(_))) | None => {}
        }
        let begun = Instant::now();
        *last = Some((begun, None));
        let found = match timeout(PROBE_WITHIN, probe(&self.sessions)).await {
            Ok(Ok(())) => Ok(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)),
            Ok(Err(error)) => {
                tracing::error!(%error, "the store does not work");
                Err("the store does not work")
            }
            Err(_) => Err("the store does not answer"),
        };
        *last = Some((begun, Some(found)));
        found
    }
}

/// Whether the server gets on: the store writes and reads within the deadline, and this is told by the thread that sessions run on.
async fn healthy(State(probed): State<Arc<Probed>>) -> Response {
    match probed.found().await {
        Ok(ms) => answer(json!({ "status": "ok", "store_ms": ms }).to_string()),
        Err(why) => {
            let mut response = answer(json!({ "status": "failing", "why": why }).to_string());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
}

async fn probe(sessions: &Sessions) -> Result<(), JournalError> {
    let ports = sessions.core().ports();
    ports.blobs.probe().await?;
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
