//! A data directory that ends with its test, and what is done to it behind the store's back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::ids::NodeId;
use oarlock_store::SqliteStore;
use oarlock_testkit::conformance::{Damage, Damaged, Opened, Site};
use rusqlite::{Connection, params};
use tempfile::TempDir;

static DRAWN: AtomicUsize = AtomicUsize::new(0);

/// A node name that this process has not drawn before.
pub(crate) fn node() -> NodeId {
    let number = DRAWN.fetch_add(1, Ordering::Relaxed);
    NodeId::parse(format!("node-{}-{number}", std::process::id())).unwrap()
}

/// A data directory.
pub(crate) struct SqliteSite {
    folder: TempDir,
}

impl SqliteSite {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn blob(&self, id: &str) -> PathBuf {
        self.path().join("blobs").join(&id[..2]).join(id)
    }
}

/// A view of an open store.
pub(crate) fn opened(node: NodeId, store: SqliteStore) -> Opened {
    let shared = Arc::new(store.clone());
    let end = Box::new(move || store.close().boxed());
    Opened { node, journal: shared.clone(), catalog: shared.clone(), blobs: shared, end }
}

impl Site for SqliteSite {
    fn open(&self) -> BoxFuture<'_, Opened> {
        let node = node();
        let store = SqliteStore::open(self.path(), node.clone()).unwrap();
        async { opened(node, store) }.boxed()
    }

    fn damage(&self, damage: Damage) -> BoxFuture<'_, Damaged> {
        if let Damage::Blob(id) = &damage {
            let path = self.blob(id.as_str());
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[7] ^= 1;
            std::fs::write(path, bytes).unwrap();
            return async { Damaged::Done }.boxed();
        }
        let connection = Connection::open(self.path().join("oarlock.db")).unwrap();
        let changed = match damage {
            Damage::Frame(session, first) => connection.execute(
                "UPDATE frame SET body = CAST('x' || substr(CAST(body AS TEXT), 2) AS BLOB)
                    WHERE first = ?2 AND session = (SELECT no FROM session WHERE id = ?1)",
                params![session.as_str(), i64::try_from(first).unwrap()],
            ),
            Damage::Summary(session) => connection.execute(
                "UPDATE session SET summary = '{\"id\": 7' WHERE id = ?1",
                [session.as_str()],
            ),
            Damage::Blob(_) => unreachable!("bodies are files"),
        };
        assert_eq!(changed.unwrap(), 1);
        async { Damaged::Done }.boxed()
    }
}
