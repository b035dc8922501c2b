//! The store's handle: one writer thread, a few read-only connections, and the ports over them.

mod catalog;
mod collect;
mod failure;
mod log;
mod matching;
mod names;
mod readers;
mod schema;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use oarlock_core::ids::{BlobId, NodeId, Seq, SessionId};
use oarlock_core::ports::journal::{
    BlobWriter, Blobs, Catalog, FRAME_BYTES_MAX, Fence, Filter, Frame, Hit, Journal, JournalError,
    Listed, Projection, Resolved, UsageRow,
};

pub use collect::{Collected, Progress, Size};
pub(crate) use failure::unavailable_file;
pub(crate) use schema::make_private;

use crate::blobs::BlobFolder;
use crate::nodes::Nodes;
use readers::Readers;
use writer::Writer;

/// Sessions in one data directory, used by one node. Clones are the same handle.
///
/// Several processes may use one directory at once. All work happens off the async runtime: writes on one thread that commits whatever waits
/// together, reads on at most four connections. At most 256 writes wait; the next one waits up to 10 s for a place and is then
/// `Unavailable`. Dropping the future of a write does not undo it.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    nodes: Arc<Nodes>,
    readers: Readers,
    blobs: BlobFolder,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the store in `folder`, making it (mode 0700) when it is missing. `node` must be a name that no other process uses.
    ///
    /// Blocks for some milliseconds: two files are opened, and a new database is given its tables.
    ///
    /// # Errors
    /// `Unavailable` when the folder cannot be made or written, when the database is damaged or newer than this program, and when the SQLite
    /// library is older than 3.51.3.
    pub fn open(folder: &Path, node: NodeId) -> Result<Self, JournalError> {
        let connection = schema::open(folder)?;
        let nodes = Arc::new(Nodes::new(folder, node));
        let inner = Inner {
            folder: folder.to_owned(),
            readers: Readers::new(folder, Arc::clone(&nodes)),
            blobs: BlobFolder::new(folder),
            writer: Writer::start(folder, connection, Arc::clone(&nodes))?,
            nodes,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Finishes what waits, syncs it, ends the writer thread and lets go of the node's lock. What is asked afterwards, through any clone, is
    /// `Unavailable`. Dropping the last handle does the same, and blocks until it is done.
    pub async fn close(self) {
        let inner = self.inner;
        let end = tokio::task::spawn_blocking(move || {
            inner.writer.stop();
            inner.readers.close();
            inner.nodes.let_go();
        });
        if let Err(error) = end.await {
            tracing::error!(%error, "the store's threads did not end in good order");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.writer.stop();
        self.nodes.let_go();
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("folder", &self.inner.folder).finish_non_exhaustive()
    }
}

fn fits(session: &SessionId, frame: &Frame) -> Result<(), JournalError> {
    let (bytes, bytes_max) = (frame.body.len(), FRAME_BYTES_MAX);
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(JournalError::TooLarge { session: session.clone(), bytes, bytes_max })
}

impl Journal for SqliteStore {
    fn claim<'a>(
        &'a self,
        observed: &'a Fence,
        claim: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(async move {
            fits(&observed.session, claim)?;
            let (observed, claim) = (observed.clone(), claim.clone());
            let session = observed.session.clone();
            let work = move |desk: &mut writer::Desk<'_>| log::claim(desk, &observed, &claim);
            self.inner.writer.change(session, work).await
        })
    }

    fn append<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(async move {
            fits(&fence.session, frame)?;
            let (fence, frame) = (fence.clone(), frame.clone());
            let session = fence.session.clone();
            let work = move |desk: &mut writer::Desk<'_>| log::append(desk, &fence, &frame);
            self.inner.writer.change(session, work).await
        })
    }

    fn resolve<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Resolved, JournalError>> {
        let (fence, frame) = (fence.clone(), frame.clone());
        // It stands in the writer's queue, behind the append whose fate it asks for.
        Box::pin(async move {
            let work = move |desk: &mut writer::Desk<'_>| log::resolve(desk, &fence, &frame);
            self.inner.writer.ask(work).await
        })
    }

    fn read<'a>(
        &'a self,
        session: &'a SessionId,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Frame>, JournalError>> {
        let session = session.clone();
        Box::pin(self.inner.readers.run(move |reader| {
            log::read(reader.connection, &session, after, max_bytes)
                .map_err(|trouble| trouble.in_session(reader.folder, &session, after + 1))
        }))
    }

    fn tail<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<Fence, JournalError>> {
        let session = session.clone();
        Box::pin(self.inner.readers.run(move |reader| {
            log::tail(reader.connection, &session).map_err(|trouble| trouble.at(reader.folder))
        }))
    }

    fn release<'a>(
        &'a self,
        fence: &'a Fence,
        release: &'a Frame,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            fits(&fence.session, release)?;
            let (fence, release) = (fence.clone(), release.clone());
            let session = fence.session.clone();
            let work = move |desk: &mut writer::Desk<'_>| log::release(desk, &fence, &release);
            self.inner.writer.change(session, work).await
        })
    }
}

impl Catalog for SqliteStore {
    fn put_projection<'a>(
        &'a self,
        projection: Projection<'a>,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        let (summary, texts) = (projection.summary.clone(), projection.texts.to_vec());
        let checkpoint = projection.checkpoint.cloned();
        Box::pin(async move {
            let work = move |desk: &mut writer::Desk<'_>| {
                let (summary, texts, checkpoint) = (&summary, &texts[..], checkpoint.as_ref());
                catalog::put_projection(desk, Projection { summary, texts, checkpoint })
            };
            self.inner.writer.ask(work).await
        })
    }

    fn checkpoint<'a>(
        &'a self,
        session: &'a SessionId,
    ) -> BoxFuture<'a, Result<Option<Bytes>, JournalError>> {
        let session = session.clone();
        Box::pin(self.inner.readers.run(move |reader| {
            catalog::checkpoint(reader, &session).map_err(|trouble| trouble.at(reader.folder))
        }))
    }

    fn list<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<Vec<Listed>, JournalError>> {
        let filter = filter.clone();
        Box::pin(self.inner.readers.run(move |reader| {
            catalog::list(reader, &filter).map_err(|trouble| trouble.at(reader.folder))
        }))
    }

    fn search<'a>(
        &'a self,
        query: &'a str,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Vec<Hit>, JournalError>> {
        let (query, filter) = (query.to_owned(), filter.clone());
        Box::pin(self.inner.readers.run(move |reader| {
            catalog::search(reader, &query, &filter).map_err(|trouble| trouble.at(reader.folder))
        }))
    }

    fn usage<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<UsageRow, JournalError>> {
        let filter = filter.clone();
        Box::pin(self.inner.readers.run(move |reader| {
            catalog::usage(reader, &filter).map_err(|trouble| trouble.at(reader.folder))
        }))
    }

    fn purge<'a>(
        &'a self,
        session: &'a SessionId,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        let (session, node) = (session.clone(), node.clone());
        Box::pin(async move {
            let id = session.clone();
            let work = move |desk: &mut writer::Desk<'_>| log::purge(desk, &id, &node);
            self.inner.writer.change(session, work).await
        })
    }
}

impl Blobs for SqliteStore {
    fn put(&self, bytes: Bytes) -> BoxFuture<'_, Result<BlobId, JournalError>> {
        Box::pin(self.inner.blobs.put(bytes))
    }

    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, JournalError>> {
        Box::pin(self.inner.blobs.writer())
    }

    fn read<'a>(
        &'a self,
        blob: &'a BlobId,
        offset: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<(Bytes, u64), JournalError>> {
        Box::pin(self.inner.blobs.read(blob.clone(), offset, max_bytes))
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(self.inner.writer.ask(|desk| Ok(schema::touch(desk.connection)?)))
    }
}
