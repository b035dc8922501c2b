//! A store in memory, for tests and for sessions that nobody wants to keep.
//!
//! It keeps the contract of [`Journal`], [`Catalog`] and [`Blobs`] and forgets everything with its last handle.

mod blobs;
mod catalog;
mod grants;
mod log;
mod names;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::future::{BoxFuture, ready};

pub use grants::MemoryGrants;

use crate::ids::{BlobId, Epoch, FrameId, Hash, NodeId, Seq, SessionId};
use crate::ports::journal::{
    BlobWriter, Blobs, Catalog, Fence, Filter, Frame, Hit, Journal, JournalError, Listed, Name,
    Projection, Resolved, Summary, UsageRow,
};

/// The most bytes that one body may have in memory; [`MemoryStore`] refuses or cuts larger ones.
pub const MEMORY_BLOB_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most bytes that all frames, texts and bodies of one [`MemoryStore`] may have together. Beyond it the store is `Unavailable`.
pub const MEMORY_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// A store in memory and the node that uses it.
///
/// All clones of a handle are one node, which lives until the last of them is dropped. [`MemoryStore::reopen`] gives the same data to
/// another node, as another process would see it. No operation waits, so that dropping a future either did all or nothing.
#[derive(Clone)]
pub struct MemoryStore {
    data: Arc<Mutex<Data>>,
    life: Arc<Life>,
}

/// Keeps a node among the living.
struct Life {
    node: NodeId,
    data: Arc<Mutex<Data>>,
}

/// Everything that is stored.
#[derive(Default)]
struct Data {
    sessions: BTreeMap<SessionId, Stored>,
    /// The sessions that have names.
    names: BTreeMap<Name, SessionId>,
    blobs: HashMap<BlobId, Bytes>,
    /// How many lives each node has: two handles may be opened under one name.
    alive: HashMap<NodeId, usize>,
    bytes: usize,
}

/// One session.
struct Stored {
    epoch: Epoch,
    owner: NodeId,
    held: bool,
    /// Its name, whether it has it or gave it back.
    name: Option<Name>,
    frames: Vec<Frame>,
    ids: HashSet<FrameId>,
    summary: Option<Summary>,
    texts: BTreeMap<Seq, String>,
    checkpoint: Option<Bytes>,
}

impl MemoryStore {
    /// An empty store, used by `node`.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self::join(Arc::default(), node)
    }

    /// The same data, used by another node that lives as long as the returned handle and its clones.
    #[must_use]
    pub fn reopen(&self, node: NodeId) -> Self {
        Self::join(Arc::clone(&self.data), node)
    }

    /// The node of this handle.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.life.node
    }

    fn join(data: Arc<Mutex<Data>>, node: NodeId) -> Self {
        *locked(&data).alive.entry(node.clone()).or_default() += 1;
        Self { life: Arc::new(Life { node, data: Arc::clone(&data) }), data }
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        locked(&self.data)
    }
}

fn locked(data: &Mutex<Data>) -> MutexGuard<'_, Data> {
    data.lock().expect("nothing panics while the data is locked")
}

impl Drop for Life {
    fn drop(&mut self) {
        let mut data = locked(&self.data);
        if let Some(lives) = data.alive.get_mut(&self.node) {
            *lives -= 1;
            if *lives == 0 {
                data.alive.remove(&self.node);
            }
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("node", &self.life.node).finish_non_exhaustive()
    }
}

impl Data {
    fn session(&self, id: &SessionId) -> Result<&Stored, JournalError> {
        self.sessions.get(id).ok_or_else(|| JournalError::NotFound { session: id.clone() })
    }

    /// The living node that holds the session.
    fn holder<'a>(&self, stored: &'a Stored) -> Option<&'a NodeId> {
        (stored.held && self.alive.contains_key(&stored.owner)).then_some(&stored.owner)
    }

    /// Counts `more` bytes, or refuses them.
    fn reserve(&mut self, more: usize) -> Result<(), JournalError> {
        if self.bytes.saturating_add(more) > MEMORY_BYTES_MAX {
            let why = format!(
                "the store in memory is full ({MEMORY_BYTES_MAX} bytes); purge sessions, or keep them on disk"
            );
            return Err(JournalError::Unavailable { why });
        }
        self.bytes += more;
        Ok(())
    }
}

impl Stored {
    fn next(&self) -> Seq {
        self.frames.last().map_or(1, |frame| frame.last() + 1)
    }

    fn head(&self) -> Hash {
        self.frames.last().map_or_else(Hash::default, Frame::hash)
    }
}

impl Journal for MemoryStore {
    fn claim<'a>(
        &'a self,
        observed: &'a Fence,
        claim: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(async move { self.data().claim(observed, claim) })
    }

    fn append<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(async move { self.data().append(fence, frame) })
    }

    fn resolve<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Resolved, JournalError>> {
        Box::pin(async move { Ok(self.data().resolve(fence, frame)) })
    }

    fn read<'a>(
        &'a self,
        session: &'a SessionId,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Frame>, JournalError>> {
        Box::pin(async move { self.data().read(session, after, max_bytes) })
    }

    fn tail<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(async move { self.data().tail(session) })
    }

    fn release<'a>(
        &'a self,
        fence: &'a Fence,
        release: &'a Frame,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move { self.data().release(fence, release) })
    }
}

impl Catalog for MemoryStore {
    fn put_projection<'a>(
        &'a self,
        projection: Projection<'a>,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move { self.data().put_projection(projection) })
    }

    fn checkpoint<'a>(
        &'a self,
        session: &'a SessionId,
    ) -> BoxFuture<'a, Result<Option<Bytes>, JournalError>> {
        Box::pin(async move { Ok(self.data().session(session)?.checkpoint.clone()) })
    }

    fn list<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<Vec<Listed>, JournalError>> {
        Box::pin(async move { Ok(self.data().list(filter)) })
    }

    fn search<'a>(
        &'a self,
        query: &'a str,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Vec<Hit>, JournalError>> {
        Box::pin(async move { Ok(self.data().search(query, filter)) })
    }

    fn usage<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<UsageRow, JournalError>> {
        Box::pin(async move { Ok(self.data().usage(filter)) })
    }

    fn purge<'a>(
        &'a self,
        session: &'a SessionId,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move { self.data().purge(session, node) })
    }
}

impl Blobs for MemoryStore {
    fn put(&self, bytes: Bytes) -> BoxFuture<'_, Result<BlobId, JournalError>> {
        Box::pin(async move { self.data().put_blob(bytes) })
    }

    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, JournalError>> {
        let writer: Box<dyn BlobWriter> = Box::new(blobs::Writer::new(self.clone()));
        Box::pin(ready(Ok(writer)))
    }

    fn read<'a>(
        &'a self,
        blob: &'a BlobId,
        offset: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<(Bytes, u64), JournalError>> {
        Box::pin(async move { self.data().read_blob(blob, offset, max_bytes) })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(ready(Ok(())))
    }
}
