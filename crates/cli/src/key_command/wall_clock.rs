//! The machine's wall clock, read for each question: it goes on while the machine is suspended, and is what other processes and endpoints go by.

use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::BoxFuture;
use oarlock_core::ids::Timestamp;
use oarlock_core::ports::clock::{Clock, SystemClock};

/// When the machine's clock is set back, this one stands until that one has caught up.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    latest_unix_ms: AtomicI64,
}

impl WallClock {
    fn told(&self, wall: Timestamp) -> Timestamp {
        let latest = self.latest_unix_ms.fetch_max(wall.unix_ms(), Ordering::Relaxed);
        Timestamp::from_unix_ms(latest.max(wall.unix_ms()))
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        // One that is made this moment begins with the wall clock of this moment.
        self.told(SystemClock::new().now())
    }

    fn sleep_until(&self, moment: Timestamp) -> BoxFuture<'static, ()> {
        let machine = SystemClock::new();
        machine.sleep_until(machine.now().after(moment.ms_since(self.now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_followed_over_any_leap_and_never_back() {
        let clock = WallClock::default();
        let told = |unix_ms| clock.told(Timestamp::from_unix_ms(unix_ms)).unix_ms();
        // A suspend of an hour, and a clock that is set back for a moment.
        let found = [1_000, 3_601_000, 3_600_000, 3_602_000].map(told);
        assert_eq!(found, [1_000, 3_601_000, 3_601_000, 3_602_000]);
    }
}
