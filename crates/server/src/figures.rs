//! Figures of this process's journal: how long the store takes to write, and how turns end. They are counted as entries pass, and none of them has
//! a name in it that somebody chose.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use oarlock_core::event::{Event, StopReason};
use oarlock_core::ids::{Seq, SessionId};
use oarlock_core::ports::journal::{Fence, Frame, Journal, JournalError, Resolved};
use tokio::time::Instant;

/// Up to so many microseconds the buckets of appends reach; the last one has no end.
const BUCKETS_US: [u64; 9] =
    [500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 1_000_000, 10_000_000];
/// What an entry with the end of a turn has in its JSON.
const TURN_ENDED: &[u8] = b"\"turn_ended\"";

/// Why turns end, in the words of their entries.
const STOPS: [&str; 7] =
    ["end_turn", "max_tokens", "refusal", "cancelled", "limit", "interrupted", "failed"];

/// What was counted since the process began.
#[derive(Debug, Default)]
pub struct Figures {
    appends: Mutex<Appends>,
    turns: [AtomicU64; STOPS.len()],
}

/// Appends that were answered.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Appends {
    /// By bucket, those of the buckets before not among them.
    buckets: [u64; BUCKETS_US.len() + 1],
    pub(crate) took: Duration,
    pub(crate) failed: u64,
}

impl Appends {
    fn add(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.iter().position(|most| us <= *most).unwrap_or(BUCKETS_US.len());
        self.buckets[bucket] += 1;
        self.took += took;
    }

    /// Seconds that a bucket reaches to, and appends up to there; the last is of all.
    pub(crate) fn cumulated(&self) -> Vec<(String, u64)> {
        let ends = BUCKETS_US.iter().map(|us| Duration::from_micros(*us).as_secs_f64().to_string());
        let sums = self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        ends.chain(["+Inf".to_owned()]).zip(sums).collect()
    }
}

impl Figures {
    /// A journal whose writes are counted here.
    #[must_use]
    pub fn around(self: &Arc<Self>, journal: Arc<dyn Journal>) -> Arc<dyn Journal> {
        Arc::new(Counted { journal, figures: Arc::clone(self) })
    }

    /// Appends so far.
    pub(crate) fn appends(&self) -> Appends {
        *self.appends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns so far, by why they ended.
    pub(crate) fn turns(&self) -> impl Iterator<Item = (&'static str, u64)> {
        STOPS.into_iter().zip(self.turns.iter().map(|count| count.load(Relaxed)))
    }

    fn appended(&self, session: &SessionId, frame: &Frame, took: Duration) {
        self.appends.lock().unwrap_or_else(PoisonError::into_inner).add(took);
        self.ended(session, frame);
    }

    /// Counts the turns whose ends are in this frame.
    fn ended(&self, session: &SessionId, frame: &Frame) {
        if !frame.body.windows(TURN_ENDED.len()).any(|bytes| bytes == TURN_ENDED) {
            return;
        }
        // What cannot be read is told of by whoever reads it.
        for entry in frame.entries(session).unwrap_or_default() {
            if let Event::TurnEnded(ended) = &entry.event {
                self.turns[place(&ended.stop)].fetch_add(1, Relaxed);
            }
        }
    }
}

fn place(stop: &StopReason) -> usize {
    match stop {
        StopReason::EndTurn => 0,
        StopReason::MaxTokens => 1,
        StopReason::Refusal => 2,
        StopReason::Cancelled => 3,
        StopReason::Limit(_) => 4,
        StopReason::Interrupted => 5,
        StopReason::Failed(_) => 6,
    }
}

/// A journal that is counted.
#[derive(Debug)]
struct Counted {
    journal: Arc<dyn Journal>,
    figures: Arc<Figures>,
}

impl Journal for Counted {
    fn claim<'a>(
        &'a self,
        observed: &'a Fence,
        claim: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        self.journal.claim(observed, claim)
    }

    fn append<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(async move {
            let begun = Instant::now();
            let appended = self.journal.append(fence, frame).await;
            match &appended {
                Ok(_) => self.figures.appended(&fence.session, frame, begun.elapsed()),
                Err(_) => {
                    let mut appends =
                        self.figures.appends.lock().unwrap_or_else(PoisonError::into_inner);
                    appends.failed += 1;
                }
            }
            appended
        })
    }

    fn resolve<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Resolved, JournalError>> {
        Box::pin(async move {
            let resolved = self.journal.resolve(fence, frame).await?;
            if matches!(resolved, Resolved::Committed(_)) {
                self.figures.ended(&fence.session, frame);
            }
            Ok(resolved)
        })
    }

    fn read<'a>(
        &'a self,
        session: &'a SessionId,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Frame>, JournalError>> {
        self.journal.read(session, after, max_bytes)
    }

    fn tail<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<Fence, JournalError>> {
        self.journal.tail(session)
    }

    fn release<'a>(
        &'a self,
        fence: &'a Fence,
        release: &'a Frame,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        self.journal.release(fence, release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_what_lies_below_their_ends() {
        let mut appends = Appends::default();
        for us in [1, 500, 501, 60_000, 20_000_000] {
            appends.add(Duration::from_micros(us));
        }
        let counts: Vec<u64> = appends.cumulated().into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 3, 3, 4, 4, 4, 5]);
        assert_eq!(appends.cumulated()[0].0, "0.0005");
    }

    #[test]
    fn every_stop_reason_is_counted_under_its_own_word() {
        let json =
            |stop| serde_json::to_value(stop).unwrap()["reason"].as_str().unwrap().to_owned();
        for stop in [
            StopReason::EndTurn,
            StopReason::MaxTokens,
            StopReason::Refusal,
            StopReason::Cancelled,
            StopReason::Limit(oarlock_core::spec::LimitKind::Tokens),
            StopReason::Interrupted,
            StopReason::Failed(oarlock_core::event::FailureClass::Internal),
        ] {
            assert_eq!(STOPS[place(&stop)], json(stop));
        }
    }
}
