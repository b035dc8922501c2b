//! A journal that fails as networks and disks do: by script, or by a seed that gives the same faults again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::future::BoxFuture;
use oarlock_core::ids::{Seq, SessionId};
use oarlock_core::ports::journal::{Fence, Frame, Journal, JournalError, Resolved};

/// What goes wrong with one `append`, `claim` or `release`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It happens, and the answer is lost: `Ambiguous`.
    LostAnswer,
    /// It does not happen, and nobody can tell: `Ambiguous`.
    LostRequest,
    /// It does not happen, and the store says so: `Unavailable`.
    Unavailable,
}

/// Puts faults between a writer and its journal. Reads, `tail` and `resolve` are never disturbed.
#[derive(Debug)]
pub struct FaultyJournal {
    inner: Arc<dyn Journal>,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
enum Plan {
    /// One for each write; none when it is used up.
    Script(VecDeque<Option<Fault>>),
    /// A state of chance, and how many writes of 1,000 fail.
    Seed { state: u64, per_mille: u64 },
}

impl FaultyJournal {
    /// Takes one element for each write, and disturbs nothing when they are used up.
    pub fn scripted(
        inner: Arc<dyn Journal>,
        faults: impl IntoIterator<Item = Option<Fault>>,
    ) -> Self {
        Self { inner, plan: Mutex::new(Plan::Script(faults.into_iter().collect())) }
    }

    /// Fails about `per_mille` of 1,000 writes, the same ones for the same seed.
    pub fn seeded(inner: Arc<dyn Journal>, seed: u64, per_mille: u64) -> Self {
        Self { inner, plan: Mutex::new(Plan::Seed { state: seed, per_mille }) }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("nothing panics while the plan is locked")
    }

    /// Lets `write` through, or not.
    async fn disturb<T>(
        &self,
        session: &SessionId,
        write: BoxFuture<'_, Result<T, JournalError>>,
    ) -> Result<T, JournalError> {
        let fault = self.plan().next();
        let ambiguous =
            |why: &str| JournalError::Ambiguous { session: session.clone(), why: why.to_owned() };
        match fault {
            None => write.await,
            Some(Fault::LostAnswer) => {
                // What it said is what is lost.
                drop(write.await);
                Err(ambiguous("the connection broke before the answer came"))
            }
            Some(Fault::LostRequest) => Err(ambiguous("the connection broke")),
            Some(Fault::Unavailable) => {
                let why = "the store does not answer; try again".to_owned();
                Err(JournalError::Unavailable { why })
            }
        }
    }
}

impl Plan {
    fn next(&mut self) -> Option<Fault> {
        match self {
            Self::Script(faults) => faults.pop_front().flatten(),
            Self::Seed { state, per_mille } => {
                // SplitMix64.
                *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut drawn = *state;
                drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                drawn ^= drawn >> 31;
                let kinds = [Fault::LostAnswer, Fault::LostRequest, Fault::Unavailable];
                (drawn % 1000 < *per_mille).then(|| kinds[(drawn >> 32) as usize % kinds.len()])
            }
        }
    }
}

impl Journal for FaultyJournal {
    fn claim<'a>(
        &'a self,
        observed: &'a Fence,
        claim: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(self.disturb(&observed.session, self.inner.claim(observed, claim)))
    }

    fn append<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(self.disturb(&fence.session, self.inner.append(fence, frame)))
    }

    fn resolve<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Resolved, JournalError>> {
        self.inner.resolve(fence, frame)
    }

    fn read<'a>(
        &'a self,
        session: &'a SessionId,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Frame>, JournalError>> {
        self.inner.read(session, after, max_bytes)
    }

    fn tail<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<Fence, JournalError>> {
        self.inner.tail(session)
    }

    fn release<'a>(
        &'a self,
        fence: &'a Fence,
        release: &'a Frame,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(self.disturb(&fence.session, self.inner.release(fence, release)))
    }
}
