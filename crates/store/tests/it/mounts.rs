//! A full disk and a read-only one, as mounts that only a child of the test sees. Where mounts are refused these tests say so and prove nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use oarlock_core::ports::journal::{Journal, JournalError};
use oarlock_store::SqliteStore;
use oarlock_testkit::conformance::{Script, Site, session};
use tempfile::TempDir;

use crate::site::{SqliteSite, node, opened};

/// Names the mounted folder to the child; without it the child's part of a test does nothing.
const MOUNTED: &str = "OARLOCK_TEST_MOUNTED";

fn mounted() -> Option<PathBuf> {
    std::env::var_os(MOUNTED).map(PathBuf::from)
}

/// Runs `test` of this executable in a mount namespace where `mount` was done.
#[expect(clippy::print_stderr, reason = "a test that proves nothing here must say so")]
fn in_mount(mount: &str, folder: &Path, test: &str) {
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, "sh"]).arg(folder);
        command.arg(std::env::current_exe().unwrap()).arg(test).env(MOUNTED, folder);
        command.output()
    };
    if !namespace(mount).is_ok_and(|tried| tried.status.success()) {
        eprintln!("{test}: skipped, mounts are refused here");
        return;
    }
    let run = format!("{mount} && exec \"$2\" --exact \"$3\" --nocapture");
    let done = namespace(&run).unwrap();
    let out = String::from_utf8_lossy(&done.stdout);
    let ran = done.status.success() && out.contains("1 passed");
    assert!(ran, "{out}{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let folder = TempDir::new().unwrap();
    let mount = "mount -t tmpfs -o size=1m none \"$1\"";
    in_mount(mount, folder.path(), "mounts::the_child_fills_its_disk");
}

#[tokio::test]
async fn the_child_fills_its_disk() {
    let Some(folder) = mounted() else { return };
    let node = node();
    let store = SqliteStore::open(&folder, node.clone()).unwrap();
    let opened = opened(node, store);
    let mut script = Script::create(&opened, "s").await;
    let words = "x".repeat(20_000);
    let (kept, error) = loop {
        let before = script.fence.next - 1;
        if let Err(error) = script.try_say(&[&words]).await {
            break (before, error);
        }
        assert!(before < 1000, "a disk of 1 MB took 20 MB");
    };
    let known = matches!(error, JournalError::Unavailable { .. } | JournalError::Ambiguous { .. });
    assert!(known && error.to_string().contains("disk is full"), "{error:?}");
    let body = vec![1; 4 << 20].into();
    let blob = opened.blobs.put(body).await.unwrap_err().to_string();
    assert!(blob.contains("disk is full"), "{blob}");
    let log = opened.journal.read(&session("s"), 0, usize::MAX).await.unwrap();
    assert_eq!(log.last().unwrap().last(), kept);
    // The last pages go to whoever asks whether there are any.
    let mut left = 0;
    let probed = loop {
        match opened.blobs.probe().await {
            Ok(()) => left += 1,
            Err(error) => break error.to_string(),
        }
        assert!(left < 300, "a disk of 1 MB took more pages than it has");
    };
    assert!(probed.contains("disk is full"), "{probed}");
    opened.close().await;
    let store = SqliteStore::open(&folder, crate::site::node()).unwrap();
    let log = Journal::read(&store, &session("s"), 0, usize::MAX).await.unwrap();
    assert_eq!(log.last().unwrap().last(), kept, "also after reopening");
}

#[tokio::test]
async fn a_read_only_folder_is_named_with_a_remedy() {
    let site = SqliteSite::new();
    Script::create(&site.open().await, "s").await;
    let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"";
    in_mount(mount, site.path(), "mounts::the_child_opens_a_read_only_folder");
}

#[test]
fn the_child_opens_a_read_only_folder() {
    let Some(folder) = mounted() else { return };
    let error = SqliteStore::open(&folder, node()).unwrap_err();
    assert!(matches!(error, JournalError::Unavailable { .. }), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("read-only") && error.contains(folder.to_str().unwrap()), "{error}");
}
