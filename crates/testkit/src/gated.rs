//! A journal with a gate before it: whatever is asked is let through, kept waiting or refused as a test says.

use std::fmt;
use std::sync::Arc;

use futures::future::{BoxFuture, ready};
use futures::{FutureExt, TryFutureExt};
use oarlock_core::ids::{Seq, SessionId};
use oarlock_core::ports::journal::{Fence, Frame, Journal, JournalError, Resolved};

/// What a journal is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To be claimed.
    Claim,
    /// To take a frame.
    Append,
    /// Whether it has a frame.
    Resolve,
    /// What it holds.
    Read,
    /// Where it ends.
    Tail,
    /// To be let go of.
    Release,
}

/// Decides on one question about a session; the journal is asked once it is through.
type Gate = dyn Fn(Asked, &SessionId) -> BoxFuture<'static, Result<(), JournalError>> + Send + Sync;

/// A journal behind a gate.
pub struct GatedJournal {
    inner: Arc<dyn Journal>,
    gate: Box<Gate>,
}

impl fmt::Debug for GatedJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatedJournal").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Lets a question through.
#[must_use]
pub fn through() -> BoxFuture<'static, Result<(), JournalError>> {
    ready(Ok(())).boxed()
}

/// Lets a question wait for ever.
#[must_use]
pub fn stuck() -> BoxFuture<'static, Result<(), JournalError>> {
    futures::future::pending().boxed()
}

impl GatedJournal {
    /// A journal whose questions go through `gate` first.
    pub fn new(
        inner: impl Journal + 'static,
        gate: impl Fn(Asked, &SessionId) -> BoxFuture<'static, Result<(), JournalError>>
        + Send
        + Sync
        + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { inner: Arc::new(inner), gate: Box::new(gate) })
    }

    fn ask<'a, T: 'a>(
        &self,
        asked: Asked,
        session: &SessionId,
        then: impl FnOnce() -> BoxFuture<'a, Result<T, JournalError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, JournalError>> {
        (self.gate)(asked, session).and_then(|()| then()).boxed()
    }
}

impl Journal for GatedJournal {
    fn claim<'a>(
        &'a self,
        observed: &'a Fence,
        claim: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        self.ask(Asked::Claim, &observed.session, || self.inner.claim(observed, claim))
    }

    fn append<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        self.ask(Asked::Append, &fence.session, || self.inner.append(fence, frame))
    }

    fn resolve<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Resolved, JournalError>> {
        self.ask(Asked::Resolve, &fence.session, || self.inner.resolve(fence, frame))
    }

    fn read<'a>(
        &'a self,
        session: &'a SessionId,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Frame>, JournalError>> {
        self.ask(Asked::Read, session, move || self.inner.read(session, after, max_bytes))
    }

    fn tail<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<Fence, JournalError>> {
        self.ask(Asked::Tail, session, || self.inner.tail(session))
    }

    fn release<'a>(
        &'a self,
        fence: &'a Fence,
        release: &'a Frame,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        self.ask(Asked::Release, &fence.session, || self.inner.release(fence, release))
    }
}
