//! The journal half of the store in memory.

use bytes::Bytes;

use super::{BTreeMap, Data, HashSet, Stored};
use crate::event::Event;
use crate::ids::{NodeId, Seq, SessionId};
use crate::ports::journal::{FRAME_BYTES_MAX, Fence, Frame, JournalError, Resolved};

/// Bytes that a frame costs beside its body.
const FRAME_OVERHEAD_BYTES: usize = 160;

impl Data {
    pub(super) fn append(&mut self, fence: &Fence, frame: &Frame) -> Result<Fence, JournalError> {
        fits(fence, frame)?;
        match self.sessions.get(&fence.session) {
            None if fence.next == 1 && fence.epoch == 1 => self.create(fence, frame),
            None => Err(JournalError::NotFound { session: fence.session.clone() }),
            Some(stored) if stored.epoch != frame.epoch => Err(JournalError::Fenced {
                session: fence.session.clone(),
                found: stored.epoch,
                ours: frame.epoch,
            }),
            Some(stored) => {
                stored.continues(fence, frame)?;
                let naming = self.naming(&fence.session, frame)?;
                let after = self.push(fence, frame)?;
                self.set_name(&fence.session, naming);
                Ok(after)
            }
        }
    }

    pub(super) fn claim(&mut self, observed: &Fence, claim: &Frame) -> Result<Fence, JournalError> {
        fits(observed, claim)?;
        let node = claimant(&observed.session, claim)?;
        let stored = self.session(&observed.session)?;
        if let Some(holder) = self.holder(stored).filter(|holder| **holder != node) {
            let by = format!("node {holder}");
            return Err(JournalError::Held { session: observed.session.clone(), by });
        }
        if stored.epoch + 1 != claim.epoch {
            return Err(JournalError::Fenced {
                session: observed.session.clone(),
                found: stored.epoch,
                ours: claim.epoch,
            });
        }
        stored.continues(observed, claim)?;
        let fence = Fence { node: node.clone(), epoch: claim.epoch, ..observed.clone() };
        let fence = self.push(&fence, claim)?;
        let stored =
            self.sessions.get_mut(&observed.session).expect("the frame was pushed to this session");
        (stored.epoch, stored.owner, stored.held) = (claim.epoch, node, true);
        Ok(fence)
    }

    pub(super) fn resolve(&self, fence: &Fence, frame: &Frame) -> Resolved {
        let found = self.sessions.get(&fence.session).and_then(|stored| {
            let at = stored.frames.binary_search_by_key(&frame.first, |frame| frame.first).ok()?;
            Some(&stored.frames[at])
        });
        match found {
            Some(found) if found == frame => {
                Resolved::Committed(fence.after(frame, frame.last() + 1))
            }
            Some(_) | None => Resolved::Absent,
        }
    }

    pub(super) fn read(
        &self,
        session: &SessionId,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Frame>, JournalError> {
        let frames = &self.session(session)?.frames;
        let start = frames.partition_point(|frame| frame.last() <= after);
        let mut bytes = 0;
        let page = frames[start..].iter().take_while(|frame| {
            let first = bytes == 0;
            bytes += frame.body.len();
            first || bytes <= max_bytes
        });
        Ok(page.cloned().collect())
    }

    pub(super) fn tail(&self, session: &SessionId) -> Result<Fence, JournalError> {
        let stored = self.session(session)?;
        Ok(Fence {
            session: session.clone(),
            epoch: stored.epoch,
            node: stored.owner.clone(),
            next: stored.next(),
            head: stored.head(),
            token: stored.next(),
        })
    }

    pub(super) fn release(&mut self, fence: &Fence, release: &Frame) -> Result<(), JournalError> {
        self.append(fence, release)?;
        if let Some(stored) = self.sessions.get_mut(&fence.session) {
            stored.held = false;
        }
        Ok(())
    }

    fn create(&mut self, fence: &Fence, frame: &Frame) -> Result<Fence, JournalError> {
        let stored = Stored {
            epoch: 1,
            owner: fence.node.clone(),
            held: true,
            name: None,
            frames: Vec::new(),
            ids: HashSet::new(),
            summary: None,
            texts: BTreeMap::new(),
            checkpoint: None,
        };
        stored.continues(fence, frame)?;
        let naming = self.naming(&fence.session, frame)?;
        self.sessions.insert(fence.session.clone(), stored);
        let after = self.push(fence, frame).inspect_err(|_| {
            self.sessions.remove(&fence.session);
        })?;
        self.set_name(&fence.session, naming);
        Ok(after)
    }

    /// Adds a frame that was found to continue its session.
    fn push(&mut self, fence: &Fence, frame: &Frame) -> Result<Fence, JournalError> {
        self.reserve(frame.body.len() + FRAME_OVERHEAD_BYTES)?;
        let stored =
            self.sessions.get_mut(&fence.session).expect("the caller has found the session");
        stored.ids.insert(frame.id.clone());
        stored.frames.push(frame.clone());
        Ok(fence.after(frame, frame.last() + 1))
    }

    pub(super) fn purge(&mut self, session: &SessionId, node: &NodeId) -> Result<(), JournalError> {
        let stored = self.session(session)?;
        if let Some(holder) = self.holder(stored).filter(|holder| *holder != node) {
            let by = format!("node {holder}");
            return Err(JournalError::Held { session: session.clone(), by });
        }
        let frames = stored.frames.iter().map(|frame| frame.body.len() + FRAME_OVERHEAD_BYTES);
        let texts = stored.texts.values().map(String::len);
        let checkpoint = stored.checkpoint.as_ref().map_or(0, Bytes::len);
        let freed = frames.sum::<usize>() + texts.sum::<usize>() + checkpoint;
        self.free_name(session);
        self.sessions.remove(session);
        self.bytes = self.bytes.saturating_sub(freed);
        Ok(())
    }
}

impl Stored {
    /// Whether `frame` stands exactly after the last one.
    fn continues(&self, fence: &Fence, frame: &Frame) -> Result<(), JournalError> {
        let placed = fence.next == self.next()
            && frame.first == self.next()
            && frame.prev == self.head()
            && frame.count > 0
            && !self.ids.contains(&frame.id);
        if placed {
            return Ok(());
        }
        Err(JournalError::Conflict {
            session: fence.session.clone(),
            found: self.next(),
            expected: frame.first,
        })
    }
}

fn fits(fence: &Fence, frame: &Frame) -> Result<(), JournalError> {
    if frame.body.len() <= FRAME_BYTES_MAX {
        return Ok(());
    }
    Err(JournalError::TooLarge {
        session: fence.session.clone(),
        bytes: frame.body.len(),
        bytes_max: FRAME_BYTES_MAX,
    })
}

/// The node that a claim names.
fn claimant(session: &SessionId, claim: &Frame) -> Result<NodeId, JournalError> {
    let entries = claim.entries(session)?;
    match entries.as_slice() {
        [entry] => match &entry.event {
            Event::WriterChanged(change) if change.epoch == claim.epoch => Ok(change.node.clone()),
            _ => Err(not_a_claim(session, claim)),
        },
        _ => Err(not_a_claim(session, claim)),
    }
}

fn not_a_claim(session: &SessionId, claim: &Frame) -> JournalError {
    let why = "a claim is one writer_changed of the frame's own epoch".to_owned();
    JournalError::Corrupt { session: session.clone(), seq: claim.first, why }
}
