//! A program over a store on the disk, on virtual time: while the disk works, no time passes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use futures::future::BoxFuture;
use oarlock_core::ids::{NodeId, Seq, SessionId};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::ports::journal::{
    Catalog, Fence, Filter, Frame, Hit, Journal, JournalError, Listed, Projection, Resolved,
    UsageRow,
};
use oarlock_core::spec::Mode;
use oarlock_core::{DefaultAgentCore, Ports};
use oarlock_store::SqliteStore;
use oarlock_testkit::clock::CountedIds;
use oarlock_testkit::kit::{Kit, Parts};
use oarlock_testkit::model::Say;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::desk::Desk;

static DRAWN: AtomicUsize = AtomicUsize::new(0);

/// A name that no other node of any process has.
pub(crate) fn node() -> NodeId {
    let number = DRAWN.fetch_add(1, Relaxed);
    NodeId::parse(format!("node-{}-{number}", std::process::id())).expect("it is a valid id")
}

/// A program in mode `open` whose sessions lie in a folder that ends with it.
pub(crate) fn desk(script: Vec<Vec<Say>>) -> Desk {
    let folder = TempDir::new().expect("there is room for a folder");
    let at = folder.path().to_owned();
    on(&at, Some(folder), script)
}

/// The same on a folder of the test's, which a second program may have, too.
pub(crate) fn on(folder: &Path, ends: Option<TempDir>, script: Vec<Vec<Say>>) -> Desk {
    let node = node();
    let store = SqliteStore::open(folder, node.clone()).expect("the folder takes a store");
    let Kit { core, model } = Kit::of(Parts::new(script, vec![]));
    let journal = Arc::new(Stored { store: store.clone(), _folder: ends });
    // Two programs on one folder draw different ids.
    let ids = Arc::new(CountedIds::new(node.as_str()));
    let (catalog, blobs) = (journal.clone(), Arc::new(store));
    let ports = Ports { catalog, journal, blobs, ids, ..core.ports().clone() };
    let core = DefaultAgentCore::new(ports, RuntimeLimits::DEFAULT, node);
    Desk::with(Kit { core, model }, Mode::OPEN)
}

/// The store. Its writer is a thread that tokio's paused clock does not know; a blocking task of tokio's keeps the clock where it is.
#[derive(Debug)]
struct Stored {
    store: SqliteStore,
    /// After the store: it ends last.
    _folder: Option<TempDir>,
}

impl Stored {
    /// Does this write while no time passes.
    fn write<T: Send + 'static>(
        &self,
        write: impl AsyncFnOnce(SqliteStore) -> T + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let store = self.store.clone();
        let work = move || Handle::current().block_on(write(store));
        Box::pin(async { spawn_blocking(work).await.expect("a write does not panic") })
    }
}

impl Journal for Stored {
    fn claim<'a>(
        &'a self,
        observed: &'a Fence,
        claim: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        let (observed, claim) = (observed.clone(), claim.clone());
        self.write(async move |store| store.claim(&observed, &claim).await)
    }

    fn append<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        let (fence, frame) = (fence.clone(), frame.clone());
        self.write(async move |store| store.append(&fence, &frame).await)
    }

    fn resolve<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Resolved, JournalError>> {
        let (fence, frame) = (fence.clone(), frame.clone());
        self.write(async move |store| store.resolve(&fence, &frame).await)
    }

    fn read<'a>(
        &'a self,
        session: &'a SessionId,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Frame>, JournalError>> {
        Journal::read(&self.store, session, after, max_bytes)
    }

    fn tail<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<Fence, JournalError>> {
        self.store.tail(session)
    }

    fn release<'a>(
        &'a self,
        fence: &'a Fence,
        release: &'a Frame,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        let (fence, release) = (fence.clone(), release.clone());
        self.write(async move |store| store.release(&fence, &release).await)
    }
}

impl Catalog for Stored {
    fn put_projection<'a>(
        &'a self,
        projection: Projection<'a>,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        let (summary, texts) = (projection.summary.clone(), projection.texts.to_vec());
        let checkpoint = projection.checkpoint.cloned();
        self.write(async move |store| {
            let (summary, texts, checkpoint) = (&summary, &texts[..], checkpoint.as_ref());
            store.put_projection(Projection { summary, texts, checkpoint }).await
        })
    }

    fn checkpoint<'a>(
        &'a self,
        session: &'a SessionId,
    ) -> BoxFuture<'a, Result<Option<Bytes>, JournalError>> {
        self.store.checkpoint(session)
    }

    fn list<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<Vec<Listed>, JournalError>> {
        self.store.list(filter)
    }

    fn search<'a>(
        &'a self,
        query: &'a str,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Vec<Hit>, JournalError>> {
        self.store.search(query, filter)
    }

    fn usage<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<UsageRow, JournalError>> {
        self.store.usage(filter)
    }

    fn purge<'a>(
        &'a self,
        session: &'a SessionId,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        let (session, node) = (session.clone(), node.clone());
        self.write(async move |store| store.purge(&session, &node).await)
    }
}
