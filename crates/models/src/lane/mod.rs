//! Lanes: the requests of a whole process to one endpoint with one key, so that no session runs into a wall that another one has found.

mod flow;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use oarlock_core::ports::model::{ModelError, ModelErrorKind};
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::key::KeySource;
use crate::lane::flow::{Answer, Flow, Verdict, Why};
use crate::provider::{ProviderConfig, RequestBounds};

/// A wait that is shorter is not worth a word.
const UNTOLD: Duration = Duration::from_millis(500);

/// The lanes of a process. Endpoints of one address and one key have one lane, in whichever registry they are.
#[derive(Debug, Clone, Default)]
pub struct Lanes {
    /// By a hash of address and key; dropped with the last endpoint.
    open: Arc<Mutex<HashMap<[u8; 32], Weak<Lane>>>>,
}

impl Lanes {
    pub(crate) fn of(&self, config: &ProviderConfig) -> Arc<Lane> {
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        };
        part(config.base_url.trim_end_matches('/'));
        match &config.key {
            None => {}
            Some(KeySource::Fixed(key)) => part(key.expose_secret()),
            // Its tokens come and go; whose they are stays.
            Some(KeySource::Asked(_)) => part(&config.name),
            #[cfg(feature = "bedrock")]
            Some(KeySource::Signed(_)) => part(&config.name),
        }
        config.headers.iter().for_each(|(name, value)| {
            part(name);
            part(value);
        });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, lane| lane.strong_count() > 0);
        let known = open.entry(*hasher.finalize().as_bytes()).or_default();
        known.upgrade().unwrap_or_else(|| {
            let lane = Arc::new(Lane { began: Instant::now(), inner: Mutex::default() });
            *known = Arc::downgrade(&lane);
            lane
        })
    }
}

/// The way to one endpoint.
pub(crate) struct Lane {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    flow: Flow,
    tickets: u64,
    /// Who waits, by ticket.
    waiting: HashMap<u64, Arc<Notify>>,
}

impl Inner {
    fn wake_first(&self) {
        if let Some(first) = self.flow.first().and_then(|ticket| self.waiting.get(&ticket)) {
            first.notify_one();
        }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("flow", &self.lock().flow).finish_non_exhaustive()
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A place in the queue.
    pub(crate) fn enter(self: &Arc<Self>, model: &str, bounds: RequestBounds) -> Ticket {
        let mut inner = self.lock();
        inner.tickets += 1;
        let (no, wake) = (inner.tickets, Arc::new(Notify::new()));
        let is_in = inner.flow.arrive(no);
        if is_in {
            inner.waiting.insert(no, Arc::clone(&wake));
        }
        drop(inner);
        let (lane, model) = (Arc::clone(self), model.to_owned());
        Ticket { lane, no, wake, model, bounds, is_in, told: None }
    }
}

/// A call that has not been sent. Dropping it leaves the queue.
#[derive(Debug)]
pub(crate) struct Ticket {
    lane: Arc<Lane>,
    no: u64,
    wake: Arc<Notify>,
    model: String,
    bounds: RequestBounds,
    is_in: bool,
    told: Option<Why>,
}

/// What a call is told next.
#[derive(Debug)]
pub(crate) enum Told {
    /// It is to be sent.
    Go(Pass),
    /// Why it waits, in words that follow the name of the endpoint.
    Waits(String),
    /// It is not to be sent.
    Refused(ModelErrorKind, String, Option<u64>),
}

impl Ticket {
    /// Waits until the call may be sent, or there is something to say. Cancel safe.
    pub(crate) async fn next(&mut self) -> Told {
        if !self.is_in {
            let why = format!("{} calls wait for it already", flow::WAITING_MAX);
            return Told::Refused(ModelErrorKind::Overloaded, why, None);
        }
        loop {
            let (verdict, now) = self.ask();
            let (why, until) = match verdict {
                Verdict::Go(request) => {
                    let (lane, model) = (Arc::clone(&self.lane), self.model.clone());
                    return Told::Go(Pass { lane, request, model });
                }
                Verdict::Closed(ms) => return closed(ms),
                Verdict::Wait(why, until) => (why, until),
            };
            let woken = self.wake.notified();
            let until = until.map(|until| self.lane.began + Duration::from_millis(until));
            if self.told == Some(why) {
                match until {
                    Some(until) => drop(timeout_at(until, woken).await),
                    None => woken.await,
                }
                continue;
            }
            let soon = Instant::now() + UNTOLD;
            let is_over = timeout_at(until.map_or(soon, |until| until.min(soon)), woken).await;
            if is_over.is_err() && until.is_none_or(|until| until > soon) {
                self.told = Some(why);
                return Told::Waits(self.words(why, now));
            }
        }
    }

    /// Whether there was something to say.
    pub(crate) fn has_told(&self) -> bool {
        self.told.is_some()
    }

    fn ask(&self) -> (Verdict, u64) {
        let now = self.lane.now();
        let mut inner = self.lane.lock();
        let verdict = inner.flow.ask((self.no, &self.model), self.bounds, now);
        if matches!(verdict, Verdict::Go(_)) {
            inner.waiting.remove(&self.no);
            // Whoever is next may be allowed to go, too.
            inner.wake_first();
        }
        (verdict, now)
    }

    fn words(&self, why: Why, now: u64) -> String {
        let before = match self.lane.lock().flow.before(self.no) {
            0 => String::new(),
            1 => "; one call is before this one".to_owned(),
            more => format!("; {more} calls are before this one"),
        };
        let why = match why {
            Why::Held(until) => {
                let seconds = until.saturating_sub(now).div_ceil(1_000);
                format!("it asked for no requests for another {seconds} s")
            }
            Why::PerMinute(most) => format!("`requests_per_minute` is {most}"),
            Why::AtATime(most) => format!("`concurrent_requests` is {most}"),
            Why::Probes => "it asked to wait, and a few calls try first".to_owned(),
            Why::Order => "others came first".to_owned(),
        };
        format!("{why}{before}")
    }
}

fn closed(ms: u64) -> Told {
    let seconds = ms.div_ceil(1_000);
    let why = format!("it asked for no requests to this model for another {seconds} s");
    Told::Refused(ModelErrorKind::RateLimited, why, Some(ms))
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.lane.lock();
        inner.waiting.remove(&self.no);
        inner.flow.leave(self.no);
        inner.wake_first();
    }
}

/// A call that may be sent, or was. Dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Pass {
    lane: Arc<Lane>,
    request: u64,
    model: String,
}

impl Pass {
    /// The request was taken; for `spent_ms` no other one will be, where the answer says so.
    pub(crate) fn taken(&self, spent_ms: Option<u64>) {
        self.answered(Answer::Taken(&self.model, spent_ms));
    }

    /// The call failed. What is said of all requests holds for all.
    pub(crate) fn failed(&self, error: &ModelError) {
        let says_so = match error.kind {
            ModelErrorKind::RateLimited => true,
            ModelErrorKind::Overloaded => error.retry_after_ms.is_some(),
            ModelErrorKind::ContextOverflow
            | ModelErrorKind::QuotaExhausted
            | ModelErrorKind::Auth
            | ModelErrorKind::InvalidRequest
            | ModelErrorKind::ContentFilter
            | ModelErrorKind::ModelNotFound
            | ModelErrorKind::Transport
            | ModelErrorKind::Truncated
            | ModelErrorKind::Timeout => false,
        };
        self.answered(match says_so {
            true => Answer::Refused(&self.model, error.retry_after_ms),
            false => Answer::Other,
        });
    }

    fn answered(&self, answer: Answer<'_>) {
        let now = self.lane.now();
        let mut inner = self.lane.lock();
        inner.flow.answered(self.request, answer, now);
        match answer {
            // Calls of a model that has been closed are to hear of it, wherever they stand.
            Answer::Refused(..) => inner.waiting.values().for_each(|wake| wake.notify_one()),
            Answer::Taken(..) | Answer::Other => inner.wake_first(),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inner = self.lane.lock();
        inner.flow.over(self.request);
        inner.wake_first();
    }
}
