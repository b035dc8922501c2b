//! Processes that are killed in the middle of writing, and processes that share a directory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use oarlock_core::ports::journal::{Fence, Frame, JournalError};
use oarlock_store::SqliteStore;
use oarlock_testkit::conformance::{Script, Site, frame, session};

use crate::site::{SqliteSite, node, opened};

/// Names the data directory to the child; without it the child's part of a test does nothing.
const FOLDER: &str = "OARLOCK_TEST_FOLDER";
/// Sessions that the child writes at the same time.
const SESSIONS: usize = 4;

/// This test executable again, as a process that only writes.
fn writing_child(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::the_child_writes_until_it_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let node = node();
    let store = SqliteStore::open(Path::new(&folder), node.clone()).unwrap();
    let opened = opened(node, store);
    let writers = (0..SESSIONS).map(|number| {
        let opened = &opened;
        async move {
            let name = format!("s{number}");
            let mut script = match Script::claim(opened, &name).await {
                Ok(script) => script,
                Err(JournalError::NotFound { .. }) => Script::create(opened, &name).await,
                Err(error) => panic!("{error}"),
            };
            loop {
                let said = script.say(&["some words to keep", "and some more"]).await;
                println!("acknowledged {name} {} {}", said.first, said.id);
            }
        }
    });
    futures::future::join_all(writers).await;
}

#[tokio::test]
async fn every_acknowledged_frame_survives_kill_nine() {
    let site = SqliteSite::new();
    let mut acknowledged: Vec<(String, u64, String)> = Vec::new();
    for round in 1..=6 {
        let mut child = writing_child(site.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            let Some(at) = line.find("acknowledged ") else { continue };
            let words: Vec<&str> = line[at..].split(' ').collect();
            acknowledged.push((words[1].into(), words[2].parse().unwrap(), words[3].into()));
            seen += 1;
            // The pipe still holds what the child said before it died; that was acknowledged too.
            if seen == 40 * round + 7 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= 40 * round + 7, "the child died early");
    }
    let opened = site.open().await;
    for number in 0..SESSIONS {
        let name = format!("s{number}");
        let log = opened.journal.read(&session(&name), 0, usize::MAX).await.unwrap();
        let kept: Vec<(u64, &str)> =
            log.iter().map(|frame| (frame.first, frame.id.as_str())).collect();
        for (_, first, id) in acknowledged.iter().filter(|(session, ..)| *session == name) {
            assert!(kept.contains(&(*first, id.as_str())), "{name} lost {first}");
        }
        let next = log.iter().fold(1, |next, frame: &Frame| {
            assert_eq!(frame.first, next, "{name} has a gap");
            frame.last() + 1
        });
        assert_eq!(opened.journal.tail(&session(&name)).await.unwrap().next, next);
    }
}

#[tokio::test]
async fn a_session_of_a_living_process_is_held_and_says_by_whom() {
    let site = SqliteSite::new();
    let mut child = writing_child(site.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("acknowledged s0")));
    let ours = site.open().await;
    let refused = Script::claim(&ours, "s0").await;
    let purge = ours.catalog.purge(&session("s0"), &ours.node).await;
    let pid = format!("process {},", child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    for refused in [refused.map(drop), purge] {
        let Err(JournalError::Held { by, .. }) = refused else { panic!("{refused:?}") };
        assert!(by.starts_with(&pid), "{by}");
    }
    let mut taken = Script::claim(&ours, "s0").await.unwrap();
    taken.say(&["after its death"]).await;
    let left = std::fs::read_dir(site.path().join("nodes")).unwrap().count();
    assert_eq!(left, 1, "the dead process's lock file was removed");
}

#[tokio::test]
async fn a_stale_writer_cannot_write_after_another_process_took_over() {
    let site = SqliteSite::new();
    let first = site.open().await;
    let script = Script::create(&first, "s0").await;
    let fence: Fence = script.fence.clone();
    // The lock goes away as if the process had been taken for dead; the handle itself lives on.
    let lock = site.path().join("nodes").join(format!("{}.lock", first.node));
    std::fs::remove_file(lock).unwrap();
    let mut child = writing_child(site.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("acknowledged s0")));
    let refused = first.journal.append(&fence, &frame(&fence, &["zombie"])).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(refused, Err(JournalError::Fenced { found: 2, ours: 1, .. })), "{refused:?}");
}
