//! Cases about stored bodies.

use bytes::Bytes;
use futures::future::join;
use oarlock_core::ids::BlobId;
use oarlock_core::ports::journal::{Filter, JournalError};

use super::{Damage, Damaged, Script, Site, session};

fn body(bytes: usize) -> Bytes {
    (0..bytes).map(|at| u8::try_from(at * 7 % 251).expect("below 251")).collect()
}

pub(super) async fn a_body_comes_back(site: &dyn Site) {
    let opened = site.open().await;
    for size in [0, 1, 4096, 300_000] {
        let id = opened.blobs.put(body(size)).await.unwrap();
        assert_eq!(id, BlobId::of(&body(size)));
        assert_eq!(opened.blobs.put(body(size)).await.unwrap(), id, "the same body is stored once");
        let (read, whole) = opened.blobs.read(&id, 0, size + 1).await.unwrap();
        assert_eq!((read, whole), (body(size), size as u64));
    }
}

pub(super) async fn parts_of_a_body_come_back(site: &dyn Site) {
    let opened = site.open().await;
    let id = opened.blobs.put(body(1000)).await.unwrap();
    for (offset, max_bytes, expected) in
        [(0, 10, 0..10), (990, 10, 990..1000), (990, 99, 990..1000), (5, 0, 5..5), (1000, 5, 0..0)]
    {
        let (read, whole) = opened.blobs.read(&id, offset, max_bytes).await.unwrap();
        assert_eq!((read, whole), (body(1000).slice(expected), 1000), "{offset} {max_bytes}");
    }
    assert_eq!(opened.blobs.read(&id, u64::MAX, 5).await.unwrap(), (Bytes::new(), 1000));
}

pub(super) async fn a_streamed_body_is_the_same_body(site: &dyn Site) {
    let opened = site.open().await;
    let mut writer = opened.blobs.writer().await.unwrap();
    for part in body(100_000).chunks(777) {
        writer.write(part).await.unwrap();
    }
    let (id, kept) = writer.finish().await.unwrap();
    assert_eq!((&id, kept), (&BlobId::of(&body(100_000)), 100_000));
    assert_eq!(opened.blobs.read(&id, 0, 100_000).await.unwrap().0, body(100_000));
}

pub(super) async fn an_unfinished_body_leaves_nothing(site: &dyn Site) {
    let opened = site.open().await;
    let mut writer = opened.blobs.writer().await.unwrap();
    writer.write(&body(5000)).await.unwrap();
    drop(writer);
    let read = opened.blobs.read(&BlobId::of(&body(5000)), 0, 1).await;
    assert!(matches!(read, Err(JournalError::BlobNotFound { .. })), "{read:?}");
}

pub(super) async fn a_missing_body_is_not_found(site: &dyn Site) {
    let opened = site.open().await;
    for id in [BlobId::of(b"nothing"), BlobId::parse("x").expect("a letter is a valid id")] {
        let read = opened.blobs.read(&id, 0, 1).await;
        assert!(matches!(read, Err(JournalError::BlobNotFound { .. })), "{read:?}");
    }
}

pub(super) async fn a_damaged_body_is_found(site: &dyn Site) {
    let opened = site.open().await;
    let id = opened.blobs.put(body(5000)).await.unwrap();
    if site.damage(Damage::Blob(id.clone())).await == Damaged::Impossible {
        return;
    }
    let read = opened.blobs.read(&id, 0, 5000).await;
    assert!(matches!(read, Err(JournalError::BlobCorrupt { .. })), "{read:?}");
}

pub(super) async fn bodies_survive_reopening(site: &dyn Site) {
    let opened = site.open().await;
    let id = opened.blobs.put(body(5000)).await.unwrap();
    opened.close().await;
    let opened = site.open().await;
    assert_eq!(opened.blobs.read(&id, 0, 5000).await.unwrap().0, body(5000));
    opened.crash();
    assert_eq!(site.open().await.blobs.read(&id, 0, 5000).await.unwrap().0, body(5000));
}

pub(super) async fn a_probe_changes_nothing_beside_entries_that_are_written(site: &dyn Site) {
    let opened = site.open().await;
    let mut script = Script::create(&opened, "s").await;
    for _ in 0..3 {
        let (written, probed) = join(script.try_say(&["word"]), opened.blobs.probe()).await;
        written.unwrap();
        probed.unwrap();
    }
    let log = opened.journal.read(&session("s"), 0, usize::MAX).await.unwrap();
    assert_eq!(log.last().unwrap().last() + 1, script.fence.next);
    let listed = opened.catalog.list(&Filter::default()).await.unwrap();
    assert_eq!(listed.len(), 1);
}
