//! Files that a crash or a disk left incomplete or changed.

use std::fs;
use std::path::Path;

use oarlock_core::ids::Seq;
use oarlock_core::ports::journal::{Journal, JournalError};
use oarlock_store::SqliteStore;
use oarlock_testkit::conformance::{Damage, Script, Site, session};
use tempfile::TempDir;

use crate::site::{SqliteSite, node};

/// Opens a copy of the data as it would be found after a crash, and reads what is there.
async fn found(database: &[u8], wal: &[u8]) -> Result<Vec<Seq>, JournalError> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("oarlock.db"), database).unwrap();
    fs::write(folder.path().join("oarlock.db-wal"), wal).unwrap();
    let store = SqliteStore::open(folder.path(), node())?;
    let frames = Journal::read(&store, &session("s"), 0, usize::MAX).await;
    store.close().await;
    Ok(frames?.iter().map(|frame| frame.first).collect())
}

async fn files(site: &SqliteSite) -> (Vec<u8>, Vec<u8>) {
    let opened = site.open().await;
    let mut script = Script::create(&opened, "s").await;
    for _ in 0..3 {
        script.say(&["words"]).await;
    }
    let read = |name: &str| fs::read(site.path().join(name)).unwrap();
    (read("oarlock.db"), read("oarlock.db-wal"))
}

#[tokio::test]
async fn a_wal_cut_anywhere_gives_the_last_whole_commit() {
    let (database, wal) = files(&SqliteSite::new()).await;
    assert_eq!(found(&database, &wal).await.unwrap(), [1, 2, 3, 4]);
    let page = 4096 + 24;
    let mut before = 4;
    let last_pages = wal.len().saturating_sub(6 * page);
    let mut cuts: Vec<usize> = (last_pages..wal.len()).step_by(97).collect();
    cuts.extend((0..6).map(|number| wal.len() - number * page));
    cuts.sort_unstable_by(|a, b| b.cmp(a));
    for cut in cuts {
        let seqs = found(&database, &wal[..cut]).await.unwrap();
        let whole: Vec<Seq> = (1..=seqs.len() as Seq).collect();
        assert_eq!(seqs, whole, "cut at {cut}");
        assert!(seqs.len() <= before, "cut at {cut} gave more than a longer file");
        before = seqs.len();
    }
    assert!(before < 4, "no cut hit a commit");
}

#[tokio::test]
async fn a_torn_last_page_gives_the_last_whole_commit() {
    let (database, wal) = files(&SqliteSite::new()).await;
    for torn in (wal.len() - 4096..wal.len()).step_by(61) {
        let mut wal = wal.clone();
        wal[torn..].fill(0xA5);
        assert_eq!(found(&database, &wal).await.unwrap(), [1, 2, 3], "torn at {torn}");
    }
}

#[tokio::test]
async fn a_flipped_byte_names_session_and_entry() {
    let site = SqliteSite::new();
    files(&site).await;
    site.damage(Damage::Frame(session("s"), 3)).await;
    let opened = site.open().await;
    let error = opened.journal.read(&session("s"), 2, 1).await.unwrap_err();
    let words = "journal of s is damaged at entry 3: its bytes do not have its hash";
    assert_eq!(error.to_string(), words);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_with_a_remedy() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("oarlock.db"), vec![b'x'; 8192]).unwrap();
    let error = SqliteStore::open(folder.path(), node()).unwrap_err();
    assert!(matches!(error, JournalError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused() {
    let site = SqliteSite::new();
    site.open().await.close().await;
    set_version(site.path(), 99);
    let error = SqliteStore::open(site.path(), node()).unwrap_err();
    assert!(error.to_string().contains("perhaps a later version made it"), "{error}");
}

fn set_version(folder: &Path, version: i64) {
    let connection = rusqlite::Connection::open(folder.join("oarlock.db")).unwrap();
    connection.pragma_update(None, "user_version", version).unwrap();
}
