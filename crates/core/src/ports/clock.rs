//! Time, identifiers, chance and cancellation.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::ids::{FrameId, NodeId, SessionId, Timestamp};

/// Tells the time and waits for it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment. It never goes back while a process lives.
    fn now(&self) -> Timestamp;

    /// Completes when [`Clock::now`] has reached `moment`. Dropping it is safe at any time.
    fn sleep_until(&self, moment: Timestamp) -> BoxFuture<'static, ()>;
}

/// Draws identifiers and chance.
pub trait Ids: Send + Sync + fmt::Debug {
    /// A fresh session id, a UUIDv7.
    fn session(&self) -> SessionId;
    /// A fresh frame id.
    fn frame(&self) -> FrameId;
    /// A fresh name for this process.
    fn node(&self) -> NodeId;
    /// 64 random bits, for jitter.
    fn random(&self) -> u64;
}

/// The machine's clock: wall time at the start of the process, moved on by its monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    started_at: Timestamp,
}

impl SystemClock {
    /// Reads the wall clock once.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "making one reads the machine's clock, which should be seen"
    )]
    #[expect(clippy::disallowed_methods, reason = "this is the Clock port's own implementation")]
    pub fn new() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let started_at =
            Timestamp::from_unix_ms(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX));
        Self { started: Instant::now(), started_at }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.started_at.after(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the Clock port's own implementation")]
    fn sleep_until(&self, moment: Timestamp) -> BoxFuture<'static, ()> {
        match moment.ms_since(self.now()) {
            // The timer would still take its millisecond.
            0 => Box::pin(std::future::ready(())),
            wait_ms => Box::pin(tokio::time::sleep(Duration::from_millis(wait_ms))),
        }
    }
}

/// Identifiers from the operating system's randomness and clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemIds;

#[expect(clippy::disallowed_methods, reason = "this is the Ids port's own implementation")]
fn uuid_v7() -> String {
    uuid::Uuid::now_v7().hyphenated().to_string()
}

/// A fresh session id, a UUIDv7, for whoever needs one before its session is made.
#[must_use]
pub fn new_session_id() -> SessionId {
    SystemIds.session()
}

impl Ids for SystemIds {
    fn session(&self) -> SessionId {
        SessionId::parse(uuid_v7()).expect("a UUID is a valid id")
    }

    fn frame(&self) -> FrameId {
        FrameId::parse(uuid_v7()).expect("a UUID is a valid id")
    }

    fn node(&self) -> NodeId {
        NodeId::parse(uuid_v7()).expect("a UUID is a valid id")
    }

    #[expect(clippy::disallowed_methods, reason = "this is the Ids port's own implementation")]
    fn random(&self) -> u64 {
        let low = uuid::Uuid::now_v7().as_u64_pair().1;
        low.rotate_left(17).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// A signal to stop, shared by all its clones.
#[derive(Debug, Clone, Default)]
pub struct Cancel(CancellationToken);

impl Cancel {
    /// A signal that nobody has given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal that is given with this one, or alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Gives the signal. Again is the same as once.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether it was given.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes when it is given. Dropping it is safe at any time.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.clone().cancelled_owned()
    }
}
