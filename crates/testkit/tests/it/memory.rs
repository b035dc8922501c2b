//! The store in memory keeps the contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::ids::NodeId;
use oarlock_core::memory::MemoryStore;
use oarlock_testkit::conformance::{Damage, Damaged, Opened, Site, count, failures};

/// Data in memory that nodes come to and go from.
pub(crate) struct MemorySite {
    store: MemoryStore,
    opened: AtomicUsize,
}

impl MemorySite {
    pub(crate) fn new() -> Self {
        let ground = NodeId::parse("ground").unwrap();
        Self { store: MemoryStore::new(ground), opened: AtomicUsize::new(0) }
    }
}

impl Site for MemorySite {
    fn open(&self) -> BoxFuture<'_, Opened> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let node = NodeId::parse(format!("node-{number}")).unwrap();
        let store = Arc::new(self.store.reopen(node.clone()));
        let (journal, catalog, blobs) = (store.clone(), store.clone(), store);
        let end = Box::new(|| async {}.boxed());
        async { Opened { node, journal, catalog, blobs, end } }.boxed()
    }

    fn damage(&self, _: Damage) -> BoxFuture<'_, Damaged> {
        async { Damaged::Impossible }.boxed()
    }
}

#[tokio::test]
async fn the_store_in_memory_keeps_the_contract() {
    assert!(count() > 30);
    assert_eq!(failures(|| Box::new(MemorySite::new())).await, Vec::<&str>::new());
}
