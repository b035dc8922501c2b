//! Collections: what goes, what stays, and processes that die in the middle of one.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use oarlock_core::ids::BlobId;
use oarlock_core::ports::journal::{Blobs, JournalError, Projection};
use oarlock_store::{Collected, SqliteStore};
use oarlock_testkit::conformance::{Script, Site, session, summary};
use rusqlite::Connection;

use crate::site::{SqliteSite, node, opened};

/// Names the data directory to the child; without it the child's part of a test does nothing.
const FOLDER: &str = "OARLOCK_TEST_COLLECT_FOLDER";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn put(store: &SqliteStore, text: &str) -> BlobId {
    Blobs::put(store, Bytes::from(text.repeat(4096))).await.unwrap()
}

fn age(site: &SqliteSite, blob: &BlobId, by: Duration) {
    let file = File::options().write(true).open(site.blob(blob.as_str())).unwrap();
    let present = file.metadata().unwrap().modified().unwrap();
    file.set_modified(present - by).unwrap();
}

async fn collect(store: &SqliteStore) -> Collected {
    store.collect(DAY, |_| {}).await.unwrap()
}

#[tokio::test]
async fn a_body_that_no_entry_names_goes_when_it_is_old_and_nobody_counts_on_it() {
    let site = SqliteSite::new();
    let node = node();
    let store = SqliteStore::open(site.path(), node.clone()).unwrap();
    let opened = opened(node, store.clone());
    let mut script = Script::create(&opened, "s").await;
    let (named, unnamed) = (put(&store, "named").await, put(&store, "unnamed").await);
    let (young, wanted) = (put(&store, "young").await, put(&store, "wanted").await);
    script.say(&[&format!("the body \"{named}\" is mine")]).await;
    for blob in [&named, &unnamed, &wanted] {
        age(&site, blob, DAY * 2);
    }
    // Whoever puts it again is about to name it.
    assert_eq!(put(&store, "wanted").await, wanted);
    let sizes = store.sizes().await.unwrap();
    let size = &sizes[&session("s")];
    assert!(size.bytes() > 5 * 4096 && size.bytes() < 6 * 4096, "{size:?}");
    assert_eq!(size.bodies.keys().map(|name| &**name).collect::<Vec<_>>(), [named.as_str()]);
    let done = collect(&store).await;
    assert_eq!((done.bodies, done.bodies_bytes), (1, 7 * 4096));
    for (blob, stays) in [(&named, true), (&unnamed, false), (&young, true), (&wanted, true)] {
        let read = Blobs::read(&store, blob, 0, usize::MAX).await;
        match stays {
            true => assert!(read.is_ok(), "{read:?}"),
            false => assert!(matches!(read, Err(JournalError::BlobNotFound { .. })), "{read:?}"),
        }
    }
    assert_eq!(put(&store, "unnamed").await, unnamed, "it can be written again");
    assert!(Blobs::read(&store, &unnamed, 0, usize::MAX).await.is_ok());
    assert_eq!(collect(&store).await.bodies, 0);
}

/// Sessions with checkpoints that were replaced many times; every second one is purged.
async fn used(site: &SqliteSite) {
    let opened = site.open().await;
    for number in 0..20 {
        let name = format!("s{number}");
        let mut script = Script::create(&opened, &name).await;
        let words = "words that are kept ".repeat(2000);
        script.say(&[&words]).await;
        for upto in 1..10 {
            let checkpoint = Bytes::from(vec![b'c'; 10_000 * (10 - upto)]);
            let summary = summary(&session(&name), upto as u64, 5);
            let checkpoint = Some(&checkpoint);
            let put = Projection { summary: &summary, texts: &[], checkpoint };
            opened.catalog.put_projection(put).await.unwrap();
        }
        script.release().await;
        if number % 2 == 1 {
            opened.catalog.purge(&session(&name), &opened.node).await.unwrap();
        }
    }
    opened.close().await;
}

/// What is there of the sessions that were kept.
async fn whole(site: &SqliteSite) {
    let opened = site.open().await;
    for number in (0..20).step_by(2) {
        let id = session(&format!("s{number}"));
        let frames = opened.journal.read(&id, 0, usize::MAX).await.unwrap();
        assert_eq!(frames.len(), 3, "{id}");
        assert_eq!(opened.catalog.checkpoint(&id).await.unwrap().unwrap().len(), 10_000);
    }
    opened.close().await;
    let database = Connection::open(site.path().join("oarlock.db")).unwrap();
    let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    // The index of words and what it indexes still agree.
    let sql = "INSERT INTO text_index (text_index, rank) VALUES ('integrity-check', 1)";
    database.execute(sql, []).unwrap();
}

fn database_bytes(folder: &Path) -> u64 {
    let files = ["oarlock.db", "oarlock.db-wal"].map(|name| fs::metadata(folder.join(name)));
    files.into_iter().flatten().map(|file| file.len()).sum()
}

#[tokio::test]
async fn room_that_was_given_up_is_returned_beside_a_writer() {
    let site = SqliteSite::new();
    used(&site).await;
    let other = site.open().await;
    let mut script = Script::create(&other, "other").await;
    let store = SqliteStore::open(site.path(), node()).unwrap();
    let (done, ()) = futures::future::join(collect(&store), async {
        for _ in 0..50 {
            script.say(&["a word"]).await;
        }
    })
    .await;
    let unique = 10 * (40_000 + 10_000);
    assert!(done.database_bytes_before * 2 > unique * 3, "{done:?}");
    script.release().await;
    other.close().await;
    let done = collect(&store).await;
    assert_eq!(done.database_bytes, database_bytes(site.path()));
    assert!(done.database_bytes * 10 < unique * 13, "{done:?}, of {unique}");
    store.close().await;
    whole(&site).await;
}

#[tokio::test]
async fn the_child_collects_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = SqliteStore::open(Path::new(&folder), node()).unwrap();
    loop {
        store.collect(Duration::ZERO, |_| {}).await.unwrap();
    }
}

#[tokio::test]
async fn a_collection_that_is_killed_anywhere_loses_nothing() {
    let site = SqliteSite::new();
    used(&site).await;
    let store = SqliteStore::open(site.path(), node()).unwrap();
    let mut named = Vec::new();
    let opened = site.open().await;
    for number in 0..200 {
        let blob = put(&store, &format!("body {number}")).await;
        if number % 2 == 0 {
            let name = format!("n{number}");
            Script::create(&opened, &name).await.say(&[&format!("\"{blob}\"")]).await;
            named.push(blob);
        }
    }
    opened.close().await;
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "collect::the_child_collects_until_it_is_killed", "--nocapture"])
            .env(FOLDER, site.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The store is asked until the child has begun, each time a little further on.
        let left = |blobs: &Path| walk(blobs);
        while left(&site.path().join("blobs")) > 200 - 12 * (round + 1) {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            tokio::task::yield_now().await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    store.collect(Duration::ZERO, |_| {}).await.unwrap();
    for blob in &named {
        Blobs::read(&store, blob, 0, usize::MAX).await.unwrap();
    }
    assert_eq!(walk(&site.path().join("blobs")), named.len());
    store.close().await;
    whole(&site).await;
}

/// How many bodies there are.
fn walk(blobs: &Path) -> usize {
    let folders = fs::read_dir(blobs).unwrap().flatten();
    let shards = folders.filter(|folder| folder.file_name().len() == 2);
    shards.map(|shard| fs::read_dir(shard.path()).unwrap().count()).sum()
}
