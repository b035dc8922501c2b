//! Who comes in: hosts and origins that are expected, tokens that are known, rates and numbers that can be served.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    AUTHORIZATION, HOST, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use oarlock_core::ids::Tenant;
use oarlock_core::ports::journal::TenantFilter;
use oarlock_core::service::{ErrorCode, SessionError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

use super::listen::{Drain, Drainer};
use super::metrics::{Metrics, Named};
use super::reply::{Coded, Refused};
use crate::operations::{Operation, operations};
use crate::quote::cut;
use crate::service::{Caller, Scope};

/// That there is no session is said at a multiple of this after the request began, whatever was looked at to find it out.
const ABSENCE_TOLD_EVERY: Duration = Duration::from_millis(50);
/// Places beside the others for requests that stop a turn or let one go on.
const URGENT_MAX: usize = 64;
/// One token has at most so many quarters of the places at a time.
const QUARTERS_OF_ONE: usize = 3;
/// Bytes of a token at most.
const TOKEN_BYTES_MAX: usize = 256;

/// A token as the server keeps it: not the secret, but its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Who has it, for lists and logs.
    pub name: String,
    /// The hash of the secret.
    pub hash: blake3::Hash,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// Whose sessions it is for; those of no tenant when absent.
    pub tenant: Option<Tenant>,
}

/// What a gate lets in.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Names by which the server may be asked for, without ports; every one when absent, as behind a Unix socket.
    pub hosts: Option<Vec<String>>,
    /// Origins of pages that may ask, for example `https://example.org`; no page may when there is none.
    pub origins: Vec<String>,
    /// Requests of one token in a second.
    pub rate_per_second: NonZeroU32,
    /// Requests that are worked on at a time, three quarters of them of one token; one more is refused, unless it stops a turn or lets one go on:
    /// there are places for those beside.
    pub requests_max: usize,
    /// Folders that sessions may work in, by their true names.
    pub roots: Arc<[std::path::PathBuf]>,
}

/// Checks every request before anything is done for it.
#[derive(Debug)]
pub struct Gate {
    admission: Admission,
    known: Mutex<HashMap<blake3::Hash, Arc<Known>>>,
    working: Semaphore,
    urgent: Semaphore,
    drain: Drain,
    /// How often is asked for what wants no token.
    open: DefaultDirectRateLimiter,
}

/// A token that comes in, and how often it did.
#[derive(Debug)]
struct Known {
    token: Token,
    rate: DefaultDirectRateLimiter,
    /// Its part of the places.
    working: Semaphore,
    revoked: (Drainer, Drain),
}

/// Somebody who was let in, until the token is taken back.
#[derive(Debug, Clone)]
pub(super) struct Admitted {
    pub(super) caller: Caller,
    pub(super) revoked: Drain,
}

/// What is told when it is.
pub(super) fn revoked() -> SessionError {
    let words = "the token was removed or changed; send one that is valid";
    SessionError::new(ErrorCode::Unauthenticated, words)
}

impl Known {
    fn of(token: Token, admission: &Admission) -> Self {
        let rate = RateLimiter::direct(Quota::per_second(admission.rate_per_second));
        let share = (admission.requests_max.saturating_mul(QUARTERS_OF_ONE) / 4).max(1);
        let working = Semaphore::new(share.min(Semaphore::MAX_PERMITS));
        Self { token, rate, working, revoked: Drain::new() }
    }
}

/// A place that a request takes: of the token's, and of all.
type Place<'a> = (SemaphorePermit<'a>, Option<SemaphorePermit<'a>>);

impl Gate {
    /// A gate that lets these tokens in until `drain` begins.
    #[must_use]
    pub fn new(admission: Admission, tokens: Vec<Token>, drain: Drain) -> Arc<Self> {
        let working = Semaphore::new(admission.requests_max);
        let urgent = Semaphore::new(URGENT_MAX);
        let open = RateLimiter::direct(Quota::per_second(admission.rate_per_second));
        let gate = Self { admission, known: Mutex::default(), working, urgent, drain, open };
        gate.admit(tokens);
        Arc::new(gate)
    }

    /// Lets these tokens in from now on, and no others: whoever is being answered for another one hears no more.
    pub fn admit(&self, tokens: Vec<Token>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *known);
        for token in tokens {
            let is_same = before.get(&token.hash).is_some_and(|before| before.token == token);
            let same = if is_same { before.remove(&token.hash) } else { None };
            let admitted = same.unwrap_or_else(|| Arc::new(Known::of(token, &self.admission)));
            known.insert(admitted.token.hash, admitted);
        }
        for gone in before.values() {
            gone.revoked.0.begin();
        }
    }

    /// Whoever asks, if that is allowed.
    fn known(&self, headers: &HeaderMap) -> Result<Arc<Known>, SessionError> {
        let none = || {
            let words = "no valid token; send one as `Authorization: Bearer TOKEN` (`oarlock serve token add NAME`)";
            SessionError::new(ErrorCode::Unauthenticated, words)
        };
        let sent = headers.get(AUTHORIZATION).and_then(|sent| sent.to_str().ok());
        let secret = sent.and_then(|sent| {
            let (scheme, secret) = sent.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
        });
        let secret = secret.filter(|secret| secret.len() <= TOKEN_BYTES_MAX).ok_or_else(none)?;
        // Found by a hash that nobody can choose; hashes are compared in constant time.
        let hash = blake3::hash(secret.as_bytes());
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.values().find(|known| known.token.hash == hash).cloned();
        let known = known.ok_or_else(none)?;
        in_rate(&known.rate, || format!("token `{}` asks", known.token.name))?;
        Ok(known)
    }

    /// Whether whoever asks without a token may be answered.
    fn is_open_to(&self, headers: &HeaderMap) -> Result<(), SessionError> {
        self.is_expected(headers)?;
        in_rate(&self.open, || "this path is asked for".to_owned())
    }

    /// Whoever has a token.
    fn admitted(&self, known: &Known) -> Admitted {
        let Token { scopes, tenant, .. } = known.token.clone();
        let caller = Caller {
            surface: "rest",
            scopes,
            tenant: Some(tenant.map_or(TenantFilter::Nobody, TenantFilter::Of)),
            within: Some(Arc::clone(&self.admission.roots)),
        };
        Admitted { caller, revoked: known.revoked.1.clone() }
    }

    /// A place for a request, if there is one.
    fn place<'a>(&'a self, known: &'a Known, request: &Request) -> Option<Place<'a>> {
        let own = known.working.try_acquire().ok();
        let plain = own.and_then(|own| Some((own, Some(self.working.try_acquire().ok()?))));
        let urgent = || is_urgent(request).then(|| self.urgent.try_acquire().ok()).flatten();
        plain.or_else(|| urgent().map(|place| (place, None)))
    }

    /// Whether a browser was led here by a name that is not this server's, or by a page that may not ask.
    fn is_expected(&self, headers: &HeaderMap) -> Result<(), SessionError> {
        let forbidden = |words: String| Err(SessionError::new(ErrorCode::Forbidden, words));
        let cut = |value: &HeaderValue| cut(value.to_str().unwrap_or("?"));
        if let Some(hosts) = &self.admission.hosts {
            let mut asked = headers.get_all(HOST).iter();
            let host = asked.next().map(cut).unwrap_or_default();
            let is_known =
                hosts.iter().any(|known| known.eq_ignore_ascii_case(without_port(&host)));
            if !is_known || asked.next().is_some() {
                return forbidden(format!(
                    "this server is not called `{host}`; allow the name with --allow-host"
                ));
            }
        }
        match headers.get(ORIGIN).map(cut) {
            Some(origin) if !self.admission.origins.contains(&origin) => forbidden(format!(
                "pages of `{origin}` may not ask; allow them with --allow-origin"
            )),
            _ => Ok(()),
        }
    }

    async fn answer(&self, mut request: Request, next: Next) -> Result<Response, SessionError> {
        self.is_expected(request.headers())?;
        let is_preflight =
            request.headers().contains_key(ORIGIN) && request.method() == Method::OPTIONS;
        if is_preflight {
            return Ok(preflight());
        }
        let known = self.known(request.headers())?;
        let busy = |words: &str| {
            let error = SessionError::new(ErrorCode::Overloaded, words);
            SessionError { retry_after_ms: Some(1_000), ..error }
        };
        if self.drain.is_begun() {
            return Err(busy("the server is ending; try again in a moment"));
        }
        let Some(_place) = self.place(&known, &request) else {
            let words = "the server has as much to do as it may, for this token or for all; try again in a moment";
            return Err(busy(words));
        };
        let mut taken_back = known.revoked.1.clone();
        request.extensions_mut().insert(self.admitted(&known));
        tokio::select! {
            biased;
            response = next.run(request) => Ok(response),
            () = taken_back.begun() => Err(revoked()),
        }
    }
}

/// Whether one more request keeps to the rate.
fn in_rate(
    rate: &DefaultDirectRateLimiter,
    who: impl FnOnce() -> String,
) -> Result<(), SessionError> {
    let Err(until) = rate.check() else { return Ok(()) };
    let wait = until.wait_time_from(DefaultClock::default().now());
    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
    let words = format!("{} too often; try again in {ms} ms", who());
    let error = SessionError::new(ErrorCode::RateLimited, words);
    Err(SessionError { retry_after_ms: Some(ms), ..error })
}

/// Stands before the paths that want no token.
pub(super) async fn look(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.is_open_to(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => Refused::from(error).into_response(),
    }
}

/// Whether a request stops a turn or lets one go on.
fn is_urgent(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let is_asked = |operation: &&Operation| {
        Some(operation.path) == path && request.method() == operation.verb.name()
    };
    operations().iter().find(is_asked).is_some_and(|operation| operation.is_urgent)
}

/// Stands before all paths that need a token.
pub(super) async fn pass(
    State((gate, metrics)): State<(Arc<Gate>, Arc<Metrics>)>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = match gate.answer(request, next).await {
        Ok(response) => response,
        Err(error) => Refused::from(error).into_response(),
    };
    let code = response.extensions().get::<Coded>().map(|coded| coded.0);
    if code == Some(ErrorCode::SessionNotFound.row().code) {
        let every = ABSENCE_TOLD_EVERY.as_millis();
        let times = begun.elapsed().as_millis() / every + 1;
        let after = ABSENCE_TOLD_EVERY.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX));
        sleep_until(begun + after).await;
    }
    let named = response.extensions().get::<Named>().map_or("other", |named| named.0);
    metrics.answered(named, code.unwrap_or("OK"), begun.elapsed());
    // Without an origin that was allowed nothing came as far as an answer that a page could read.
    if let Some(origin) = origin.filter(|_| code != Some(ErrorCode::Forbidden.row().code)) {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// What a page of an origin that is allowed may send.
fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, PATCH, DELETE");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed = "authorization, content-type, idempotency-key, last-event-id, range";
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
    response
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_a_name() {
        for (host, name) in [
            ("localhost", "localhost"),
            ("localhost:7350", "localhost"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:7350", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
