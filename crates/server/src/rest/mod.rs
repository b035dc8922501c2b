//! Sessions over HTTP: the operations as REST, their events as server-sent events and over a WebSocket.

mod blobs;
mod encode;
mod events;
mod gate;
mod health;
mod listen;
mod metrics;
pub mod openapi;
mod params;
mod reply;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use oarlock_core::service::{ErrorCode, SessionError};

use crate::figures::Figures;
use crate::operations::{Operation, Params, REQUEST_BYTES, Verb, operations};
use crate::service::Sessions;
use encode::Encoders;
use gate::Admitted;
pub use gate::{Admission, Gate, Token};
pub use listen::{DRAIN_WITHIN, Drain, Drainer, Listener, serve};
use metrics::{Metrics, Named};
use params::Fields;
use reply::{Refused, json};

/// What a request's body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// How long a stream of events says nothing before it says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What handlers share.
#[derive(Debug, Clone)]
struct Rest {
    sessions: Sessions,
    encoders: Arc<Encoders>,
    drain: Drain,
    metrics: Arc<Metrics>,
    figures: Arc<Figures>,
}

/// The same as the caller may have it who was let in, until that is taken back.
struct Theirs(Rest, Drain);

impl FromRequestParts<Rest> for Theirs {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Self, Refused> {
        let Some(Admitted { caller, revoked }) = parts.extensions.get::<Admitted>().cloned() else {
            let words = "nobody let this request in";
            return Err(SessionError::new(ErrorCode::Unauthenticated, words).into());
        };
        let sessions = rest.sessions.with_caller(caller);
        Ok(Self(Rest { sessions, ..rest.clone() }, revoked))
    }
}

/// All paths over the sessions of one caller, whose streams of events end when `drain` begins.
pub fn router(sessions: &Sessions, drain: Drain) -> Router {
    let (_, revoked) = Drain::new();
    let admitted = Admitted { caller: sessions.caller().clone(), revoked };
    router_of(Rest::new(sessions, drain, Arc::default())).layer(Extension(admitted))
}

impl Rest {
    fn new(sessions: &Sessions, drain: Drain, figures: Arc<Figures>) -> Self {
        let (encoders, metrics) = (Arc::default(), Arc::default());
        Self { sessions: sessions.clone(), encoders, drain, metrics, figures }
    }
}

fn router_of(rest: Rest) -> Router {
    let mut paths: Vec<(&str, MethodRouter<Rest>, Vec<&str>)> = Vec::new();
    for operation in operations() {
        let verb = operation.verb.name();
        let filter = match operation.verb {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Patch => MethodFilter::PATCH,
            Verb::Delete => MethodFilter::DELETE,
        };
        let fields = Arc::new(Fields::of(operation));
        let handler = move |Theirs(rest, _): Theirs, asked: Asked| async move {
            let answered = answer(operation, &fields, &rest, asked).await;
            let mut response = answered.unwrap_or_else(IntoResponse::into_response);
            response.extensions_mut().insert(Named(operation.name));
            response
        };
        match paths.iter_mut().find(|(path, ..)| *path == operation.path) {
            Some((_, methods, verbs)) => {
                *methods = std::mem::take(methods).on(filter, handler);
                verbs.push(verb);
            }
            None => {
                paths.push((operation.path, MethodRouter::new().on(filter, handler), vec![verb]));
            }
        }
    }
    paths.push(("/v1/sessions/{session_id}/events", get(events::stream), vec!["GET"]));
    paths.push(("/v1/sessions/{session_id}/ws", get(socket::open), vec!["GET"]));
    paths.push(("/v1/sessions/{session_id}/blobs/{blob}", get(blobs::download), vec!["GET"]));
    paths.push(("/metrics", get(health::metrics), vec!["GET"]));
    paths.push(("/v1/openapi.json", get(describe), vec!["GET"]));
    paths.push(("/v1/blobs", post(blobs::upload), vec!["POST"]));
    let routes = paths.into_iter().fold(Router::new(), |router, (path, methods, verbs)| {
        let allow = verbs.join(", ");
        let refuse = move |uri: Uri| async move { Refused::no_such_method(uri.path(), &allow) };
        router.route(path, methods.fallback(refuse))
    });
    routes.fallback(nothing).with_state(rest)
}

/// The same for whoever comes through the gate, each as what its token says; `figures` are those of the sessions' journal.
pub fn guarded(
    sessions: &Sessions,
    gate: &Arc<Gate>,
    drain: Drain,
    figures: Arc<Figures>,
) -> Router {
    let rest = Rest::new(sessions, drain, figures);
    let passing = (Arc::clone(gate), Arc::clone(&rest.metrics));
    let guarded = router_of(rest.clone()).layer(from_fn_with_state(passing, gate::pass));
    let looked_at = from_fn_with_state(Arc::clone(gate), gate::look);
    health::open(rest).route_layer(looked_at).fallback_service(guarded)
}

async fn describe() -> Response {
    json(openapi::agreed())
}

async fn nothing(uri: Uri) -> Refused {
    let mut segments = uri.path().split('/').skip(1);
    let begins = [segments.next(), segments.next(), segments.next()];
    match begins {
        // An empty name is one that no session has.
        [Some("v1"), Some("sessions"), Some("")] => SessionError::not_found("").into(),
        _ => Refused::no_such_path(uri.path()),
    }
}

/// A request to an operation.
#[derive(Debug)]
struct Asked {
    path: RawPathParams,
    query: Option<String>,
    method: Method,
    headers: HeaderMap,
    body: Body,
}

impl axum::extract::FromRequest<Rest> for Asked {
    type Rejection = Refused;

    async fn from_request(request: axum::extract::Request, rest: &Rest) -> Result<Self, Refused> {
        let (mut parts, body) = request.into_parts();
        let path = path(&mut parts, rest).await?;
        let query = parts.uri.query().map(str::to_owned);
        Ok(Self { path, query, method: parts.method, headers: parts.headers, body })
    }
}

/// What stands in the path.
async fn path(parts: &mut Parts, rest: &Rest) -> Result<RawPathParams, Refused> {
    let path = RawPathParams::from_request_parts(parts, rest).await;
    path.map_err(|_| SessionError::invalid("the path is no UTF-8").into())
}

async fn answer(
    operation: &Operation,
    fields: &Fields,
    rest: &Rest,
    asked: Asked,
) -> Result<Response, Refused> {
    let mut params = Params::new();
    for (name, value) in &asked.path {
        fields.add(&mut params, name, value)?;
    }
    params::query(fields, &mut params, asked.query.as_deref().unwrap_or_default())?;
    let body = read_body(asked.body, REQUEST_BYTES).await?;
    let takes_body = asked.method == Method::POST || asked.method == Method::PATCH;
    if !body.is_empty() && !takes_body {
        return Err(SessionError::invalid(format!("{} takes no body", asked.method)).into());
    }
    if !body.is_empty() && !is_json(&asked.headers) {
        return Err(Refused::not_json());
    }
    params::body(&mut params, &body)?;
    keyed(fields, &mut params, &asked.headers)?;
    Ok(json(operation.call(rest.sessions.clone(), params).await?))
}

/// The header says the same as the field.
fn keyed(fields: &Fields, params: &mut Params, headers: &HeaderMap) -> Result<(), SessionError> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(()) };
    let key = key.to_str().map_err(|_| SessionError::invalid("`Idempotency-Key` is no text"))?;
    if !fields.has("idempotency_key") {
        return Err(SessionError::invalid(
            "this operation takes no `Idempotency-Key`; leave it out",
        ));
    }
    match params.insert("idempotency_key".to_owned(), key.into()) {
        Some(other) if !other.is_null() && other != key => Err(SessionError::invalid(
            "`Idempotency-Key` and `idempotency_key` differ; send one of them",
        )),
        _ => Ok(()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = media.and_then(|value| value.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

/// A body that is not too long and arrives in time.
async fn read_body(body: Body, bytes_max: usize) -> Result<Bytes, SessionError> {
    let read = tokio::time::timeout(BODY_WITHIN, to_bytes(body, bytes_max)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(SessionError::new(
            ErrorCode::TooLarge,
            format!("the body has more than {bytes_max} bytes"),
        )),
        Ok(Err(_)) => Err(SessionError::invalid("the body broke off")),
        Err(_) => Err(SessionError::invalid("the body did not arrive in time")),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(|source| source.to_string().contains("length limit exceeded"))
}
