//! A session's state from its journal: from the last checkpoint on where one fits, else from the beginning.

use std::task::Poll;

use futures::future::{BoxFuture, Either, select};

use crate::event::Entry;
use crate::ids::{Hash, Seq, SessionId};
use crate::ports::journal::{Frame, JournalError};
use crate::session::checkpoint::Checkpoint;
use crate::session::log::{READ_BYTES, Store};
use crate::session::state::{FoldError, State};

/// A session, folded.
#[derive(Debug)]
pub(crate) struct Folded {
    /// In its place for good: what opens a session passes it through many hands.
    pub(crate) state: Box<State>,
    /// The last entry of the checkpoint that it began with; 0 when it was folded whole.
    pub(crate) checkpoint: Seq,
}

impl Store {
    /// Folds a session. The journal alone decides: whatever is wrong with a checkpoint, the state is that of all entries.
    ///
    /// Boxed, since whoever may have to look at a session that sleeps would have room for all of it otherwise.
    pub(crate) fn fold<'a>(
        &'a self,
        session: &'a SessionId,
    ) -> BoxFuture<'a, Result<Folded, JournalError>> {
        Box::pin(self.folded(session))
    }

    async fn folded(&self, session: &SessionId) -> Result<Folded, JournalError> {
        if let Some(Checkpoint { head, state }) = self.checkpoint(session).await {
            let checkpoint = state.tip;
            match self.fold_after(session, Some(Box::new(state)), head).await {
                Ok(state) => return Ok(Folded { state, checkpoint }),
                Err(error) => {
                    tracing::debug!(%session, %error, "a checkpoint does not fit its journal");
                }
            }
        }
        let state = self.fold_after(session, None, Hash::default()).await?;
        Ok(Folded { state, checkpoint: 0 })
    }

    /// The stored checkpoint, if there is one that this program can use.
    async fn checkpoint(&self, session: &SessionId) -> Option<Checkpoint> {
        let clock = &self.clock;
        let deadline = clock.sleep_until(clock.now().after(self.limits.checkpoint_read_ms));
        let found = match select(self.catalog.checkpoint(session), deadline).await {
            Either::Left((found, _)) => found,
            Either::Right(((), _)) => {
                tracing::debug!(%session, "the checkpoint does not arrive");
                return None;
            }
        };
        match found {
            Ok(bytes) => bytes.and_then(|bytes| Checkpoint::decode(session, &bytes)),
            Err(error) => {
                tracing::debug!(%session, %error, "the checkpoint cannot be read");
                None
            }
        }
    }

    /// Folds what the journal has after `state`, which ends with the frame that has the hash `head`.
    async fn fold_after(
        &self,
        session: &SessionId,
        mut state: Option<Box<State>>,
        head: Hash,
    ) -> Result<Box<State>, JournalError> {
        let after = state.as_ref().map_or(0, |state| state.tip);
        let mut frames = self.journal.read(session, after, READ_BYTES).await?;
        let begin = match frames.first() {
            Some(first) => (first.first, first.prev),
            None => {
                let tail = self.journal.tail(session).await?;
                (tail.next, tail.head)
            }
        };
        let expected = after.saturating_add(1);
        if begin != (expected, head) {
            let why = "it does not follow what came before it".to_owned();
            return Err(JournalError::Corrupt { session: session.clone(), seq: expected, why });
        }
        while let Some(last) = frames.last().map(Frame::last) {
            // Asked for before this page is folded: the store reads on while this thread works.
            let mut following = self.journal.read(session, last, READ_BYTES);
            let early = futures::poll!(following.as_mut());
            for entry in self.entries(session, frames).await? {
                apply(&mut state, &entry).map_err(|error| JournalError::Corrupt {
                    session: session.clone(),
                    seq: entry.seq,
                    why: error.to_string(),
                })?;
            }
            frames = match early {
                Poll::Ready(page) => page?,
                Poll::Pending => following.await?,
            };
        }
        state.ok_or_else(|| JournalError::NotFound { session: session.clone() })
    }
}

/// The first entry makes the state, the others change it.
fn apply(state: &mut Option<Box<State>>, entry: &Entry) -> Result<(), FoldError> {
    match state {
        None => *state = Some(Box::new(State::created(entry)?)),
        Some(state) => state.apply(entry)?,
    }
    Ok(())
}
