//! A journal that a process loses when it dies: at once, or with one of its next writes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use oarlock_core::ids::{Seq, SessionId};
use oarlock_core::memory::MemoryStore;
use oarlock_core::ports::journal::{Fence, Frame, Journal, JournalError, Resolved};

use crate::faulty::FaultyJournal;

/// What becomes of the write with which a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastWrite {
    /// It is in the store, and the process never knew.
    Stored,
    /// It is not.
    Lost,
}

/// A node's way to a store in memory. Each write takes a millisecond. Dead, it refuses everything, and the node has let go of its
/// sessions as a killed process does.
#[derive(Debug)]
pub struct MortalJournal {
    life: Mutex<Life>,
}

#[derive(Debug)]
struct Life {
    /// The node's handle and what disturbs it; absent when it is dead.
    store: Option<(MemoryStore, std::sync::Arc<FaultyJournal>)>,
    /// It dies with the write after so many.
    doom: Option<(u32, LastWrite)>,
}

impl MortalJournal {
    /// A journal on the node's own handle, whose writes fail `per_mille` of 1,000 times.
    #[must_use]
    pub fn new(store: MemoryStore, seed: u64, per_mille: u64) -> Self {
        let inner = std::sync::Arc::new(store.clone());
        let faulty = std::sync::Arc::new(FaultyJournal::seeded(inner, seed, per_mille));
        Self { life: Mutex::new(Life { store: Some((store, faulty)), doom: None }) }
    }

    /// Dies.
    pub fn die(&self) {
        self.life().store = None;
    }

    /// Lets it die with the write after `writes` more.
    pub fn doom(&self, writes: u32, last: LastWrite) {
        self.life().doom = Some((writes, last));
    }

    /// Takes the doom away.
    pub fn spare(&self) {
        self.life().doom = None;
    }

    /// Whether it is dead.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.life().store.is_none()
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, session: &SessionId) -> Result<std::sync::Arc<FaultyJournal>, JournalError> {
        let life = self.life();
        life.store.as_ref().map(|(_, journal)| std::sync::Arc::clone(journal)).ok_or_else(|| {
            JournalError::Fenced { session: session.clone(), found: u64::MAX, ours: 0 }
        })
    }

    /// Whether this write is the last one.
    fn count(&self) -> Option<LastWrite> {
        let mut life = self.life();
        let (left, last) = life.doom?;
        life.doom = Some((left.saturating_sub(1), last));
        (left == 0).then_some(last)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a write takes time on tokio's clock, which tests pause"
    )]
    async fn write<'a, T>(
        &'a self,
        session: &'a SessionId,
        write: impl AsyncFnOnce(&FaultyJournal) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let journal = self.open(session)?;
        let last = self.count();
        if last != Some(LastWrite::Lost) {
            let written = write(&journal).await;
            if last.is_none() {
                return written;
            }
        }
        drop(journal);
        self.die();
        Err(JournalError::Fenced { session: session.clone(), found: u64::MAX, ours: 0 })
    }
}

impl Journal for MortalJournal {
    fn claim<'a>(
        &'a self,
        observed: &'a Fence,
        claim: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(self.write(&observed.session, async |journal: &FaultyJournal| {
            journal.claim(observed, claim).await
        }))
    }

    fn append<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(self.write(&fence.session, async |journal: &FaultyJournal| {
            journal.append(fence, frame).await
        }))
    }

    fn resolve<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Resolved, JournalError>> {
        Box::pin(async { self.open(&fence.session)?.resolve(fence, frame).await })
    }

    fn read<'a>(
        &'a self,
        session: &'a SessionId,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Frame>, JournalError>> {
        Box::pin(async move { self.open(session)?.read(session, after, max_bytes).await })
    }

    fn tail<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(async move { self.open(session)?.tail(session).await })
    }

    fn release<'a>(
        &'a self,
        fence: &'a Fence,
        release: &'a Frame,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(self.write(&fence.session, async |journal: &FaultyJournal| {
            journal.release(fence, release).await
        }))
    }
}
