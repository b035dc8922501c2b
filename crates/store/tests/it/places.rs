//! Folders that cannot be used, and who may look into those that can.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use oarlock_core::ports::journal::{Journal, JournalError};
use oarlock_store::SqliteStore;
use oarlock_testkit::conformance::{Script, Site, session};
use tempfile::TempDir;

use crate::site::{SqliteSite, node};

#[tokio::test]
async fn nobody_else_may_look_into_the_store() {
    let site = SqliteSite::new();
    let opened = site.open().await;
    Script::create(&opened, "s").await;
    opened.blobs.put(vec![7; 100].into()).await.unwrap();
    let mut folders = vec![site.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(
            fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
            0o700,
            "{folder:?}"
        );
        for found in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = found.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            assert_eq!(found.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        }
    }
    assert!(files >= 5, "database, WAL, shared memory, lock and body");
}

#[tokio::test]
async fn a_file_in_the_place_of_the_folder_is_named_with_a_remedy() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data");
    fs::write(&path, "x").unwrap();
    for path in [path.clone(), path.join("deeper")] {
        let error = SqliteStore::open(&path, node()).unwrap_err().to_string();
        assert!(
            error.contains(path.to_str().unwrap()) && error.contains("a file stands"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_closed_store_refuses_what_its_clones_ask() {
    let site = SqliteSite::new();
    let store = SqliteStore::open(site.path(), node()).unwrap();
    let clone = store.clone();
    store.close().await;
    let error = clone.tail(&session("s")).await.unwrap_err();
    assert!(matches!(error, JournalError::Unavailable { .. }), "{error:?}");
}
