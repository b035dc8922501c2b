//! Virtual time and counted identifiers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use oarlock_core::ids::{FrameId, NodeId, SessionId, Timestamp};
use oarlock_core::ports::clock::{Clock, Ids};

/// A clock that follows tokio's: under `start_paused` a day passes in no time.
#[derive(Debug)]
pub struct VirtualClock {
    started: tokio::time::Instant,
}

impl VirtualClock {
    /// A clock that begins on 2026-01-01.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it reads tokio's clock, which should be seen")]
    pub fn new() -> Self {
        Self { started: tokio::time::Instant::now() }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_unix_ms(1_767_225_600_000).after(elapsed)
    }

    #[expect(clippy::disallowed_methods, reason = "this is a clock's own implementation")]
    fn sleep_until(&self, moment: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(moment.ms_since(self.now()))))
    }
}

/// Lets so much time pass, on a clock that a test has paused.
#[expect(clippy::disallowed_methods, reason = "time passes on tokio's clock, which is paused")]
pub(crate) async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Identifiers that count up, so that two runs of a test draw the same.
#[derive(Debug)]
pub struct CountedIds {
    next: AtomicU64,
    prefix: String,
}

impl CountedIds {
    /// Ids that begin with `prefix`; two stores of one test need different ones.
    #[must_use]
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { next: AtomicU64::new(1), prefix: prefix.into() }
    }

    fn draw(&self, kind: &str) -> String {
        format!("{}-{kind}-{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl Ids for CountedIds {
    fn session(&self) -> SessionId {
        SessionId::parse(self.draw("session")).expect("it is a valid id")
    }

    fn frame(&self) -> FrameId {
        FrameId::parse(self.draw("frame")).expect("it is a valid id")
    }

    fn node(&self) -> NodeId {
        NodeId::parse(self.draw("node")).expect("it is a valid id")
    }

    fn random(&self) -> u64 {
        0
    }
}
