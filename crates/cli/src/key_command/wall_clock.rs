//! The machine's wall clock, read for each question: it goes on while the machine is suspended, and is what other processes and endpoints go by.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use oarlock_core::ids::Timestamp;
use oarlock_core::ports::clock::Clock;

/// When the machine's clock is set back, this one stands until that one has caught up.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    latest_unix_ms: AtomicI64,
}

impl WallClock {
    fn told(&self, wall: SystemTime) -> Timestamp {
        let since_1970 = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let unix_ms = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
        let latest = self.latest_unix_ms.fetch_max(unix_ms, Ordering::Relaxed);
        Timestamp::from_unix_ms(latest.max(unix_ms))
    }
}

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "an implementation of the Clock port")]
    fn now(&self) -> Timestamp {
        self.told(SystemTime::now())
    }

    #[expect(clippy::disallowed_methods, reason = "an implementation of the Clock port")]
    fn sleep_until(&self, moment: Timestamp) -> BoxFuture<'static, ()> {
        let wait_ms = moment.ms_since(self.now());
        Box::pin(tokio::time::sleep(Duration::from_millis(wait_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_followed_over_any_leap_and_never_back() {
        let clock = WallClock::default();
        let told =
            |unix_ms| clock.told(SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms)).unix_ms();
        // A suspend of an hour, and a clock that is set back for a moment.
        let found = [1_000, 3_601_000, 3_600_000, 3_602_000].map(told);
        assert_eq!(found, [1_000, 3_601_000, 3_601_000, 3_602_000]);
    }
}
