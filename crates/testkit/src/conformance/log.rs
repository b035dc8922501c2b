//! Cases about frames: what may be appended, and what is read again.

use std::sync::Arc;

use bytes::Bytes;
use oarlock_core::ports::journal::{
    FRAME_BYTES_MAX, Fence, Frame, Journal, JournalError, Resolved,
};

use super::script::{Script, frame, frame_id, read_all, session};
use super::{Damage, Damaged, Site};
use crate::faulty::{Fault, FaultyJournal};

const PAGE: usize = 1 << 20;

pub(super) async fn frames_come_back_byte_for_byte(site: &dyn Site) {
    let opened = site.open().await;
    let fence = Fence::new_session(session("s"), opened.node.clone());
    let first = frame(&fence, &["plain", "ünïcode \u{1F6F6}", "quote \" back \\ nul \u{0}"]);
    let fence = opened.journal.append(&fence, &first).await.unwrap();
    // The store keeps bytes: what is no JSON at all comes back too.
    let body = Bytes::from((0..=255u8).cycle().take(5000).collect::<Vec<u8>>());
    let second =
        Frame { id: frame_id(), epoch: 1, first: fence.next, count: 2, prev: fence.head, body };
    let after = opened.journal.append(&fence, &second).await.unwrap();
    assert_eq!(after.next, 6);
    assert_eq!(after.head, second.hash());
    assert_eq!(opened.journal.tail(&session("s")).await.unwrap(), after);
    assert_eq!(read_all(&opened, "s", PAGE).await.unwrap(), [first, second]);
}

pub(super) async fn a_log_survives_closing_and_crashing(site: &dyn Site) {
    let opened = site.open().await;
    let mut script = Script::create(&opened, "s").await;
    script.say(&["kept"]).await;
    let written = read_all(&opened, "s", PAGE).await.unwrap();
    drop(script);
    opened.close().await;
    let opened = site.open().await;
    assert_eq!(read_all(&opened, "s", PAGE).await.unwrap(), written);
    let mut script = Script::claim(&opened, "s").await.unwrap();
    script.say(&["kept as well"]).await;
    let written = read_all(&opened, "s", PAGE).await.unwrap();
    drop(script);
    opened.crash();
    let opened = site.open().await;
    assert_eq!(read_all(&opened, "s", PAGE).await.unwrap(), written);
    assert_eq!(opened.journal.tail(&session("s")).await.unwrap().next, 5);
}

pub(super) async fn pages_cover_the_log_without_gaps(site: &dyn Site) {
    let opened = site.open().await;
    let mut script = Script::create(&opened, "s").await;
    for number in 0..40 {
        script.say(&vec!["some words"; number % 4 + 1]).await;
    }
    let whole = read_all(&opened, "s", PAGE).await.unwrap();
    assert_eq!(whole.len(), 41);
    assert_eq!(read_all(&opened, "s", 1).await.unwrap(), whole, "at least one frame a page");
    assert_eq!(read_all(&opened, "s", 700).await.unwrap(), whole);
    for after in 0..whole[40].last() {
        let page = opened.journal.read(&session("s"), after, 1).await.unwrap();
        let holds = page[0].first <= after + 1 && after < page[0].last();
        assert!(holds && page.len() == 1, "the page after {after} begins elsewhere");
    }
    for beyond in [whole[40].last(), whole[40].last() + 9, u64::MAX] {
        assert_eq!(opened.journal.read(&session("s"), beyond, PAGE).await.unwrap(), []);
    }
}

pub(super) async fn a_frame_out_of_place_conflicts(site: &dyn Site) {
    let opened = site.open().await;
    let mut script = Script::create(&opened, "s").await;
    let stale = script.fence.clone();
    script.say(&["taken"]).await;
    let ahead = Fence { next: 9, ..script.fence.clone() };
    for (fence, expected) in [(&stale, 2), (&ahead, 9)] {
        let refused = opened.journal.append(fence, &frame(fence, &["late"])).await;
        let Err(JournalError::Conflict { found, expected: said, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((found, said), (3, expected));
    }
    assert_eq!(read_all(&opened, "s", PAGE).await.unwrap().len(), 2);
}

pub(super) async fn a_frame_that_follows_another_head_conflicts(site: &dyn Site) {
    let opened = site.open().await;
    let script = Script::create(&opened, "s").await;
    let elsewhere = Fence { head: oarlock_core::ids::Hash([7; 32]), ..script.fence.clone() };
    let refused = opened.journal.append(&elsewhere, &frame(&elsewhere, &["x"])).await;
    assert!(matches!(refused, Err(JournalError::Conflict { .. })), "{refused:?}");
    assert_eq!(read_all(&opened, "s", PAGE).await.unwrap().len(), 1);
}

pub(super) async fn one_frame_id_is_taken_once(site: &dyn Site) {
    let opened = site.open().await;
    let mut script = Script::create(&opened, "s").await;
    let said = script.say(&["once"]).await;
    let again = Frame { id: said.id, ..frame(&script.fence, &["twice"]) };
    let refused = opened.journal.append(&script.fence, &again).await;
    assert!(matches!(refused, Err(JournalError::Conflict { .. })), "{refused:?}");
    script.say(&["the log goes on"]).await;
    assert_eq!(read_all(&opened, "s", PAGE).await.unwrap().len(), 3);
}

pub(super) async fn a_session_is_created_once(site: &dyn Site) {
    let opened = site.open().await;
    Script::create(&opened, "s").await;
    let fence = Fence::new_session(session("s"), opened.node.clone());
    let refused = opened.journal.append(&fence, &frame(&fence, &["again"])).await;
    assert!(matches!(refused, Err(JournalError::Conflict { .. })), "{refused:?}");
}

pub(super) async fn what_is_not_there_is_not_found(site: &dyn Site) {
    let opened = site.open().await;
    let gone = session("nowhere");
    let fence = Fence { next: 5, ..Fence::new_session(gone.clone(), opened.node.clone()) };
    let lost = frame(&fence, &["lost"]);
    for found in [
        opened.journal.read(&gone, 0, PAGE).await.map(drop),
        opened.journal.tail(&gone).await.map(drop),
        opened.journal.append(&fence, &lost).await.map(drop),
        opened.journal.release(&fence, &lost).await,
        opened.catalog.purge(&gone, &opened.node).await,
        super::catalog::put(&opened, &super::summary(&gone, 1, 1), &[]).await,
        Script::claim(&opened, "nowhere").await.map(drop),
    ] {
        assert!(matches!(found, Err(JournalError::NotFound { .. })), "{found:?}");
    }
}

fn sized(fence: &Fence, bytes: usize) -> Frame {
    let body = Bytes::from(vec![b'x'; bytes]);
    Frame {
        id: frame_id(),
        epoch: fence.epoch,
        first: fence.next,
        count: 1,
        prev: fence.head,
        body,
    }
}

pub(super) async fn a_frame_over_the_limit_is_too_large(site: &dyn Site) {
    let opened = site.open().await;
    let mut script = Script::create(&opened, "s").await;
    let refused =
        opened.journal.append(&script.fence, &sized(&script.fence, FRAME_BYTES_MAX + 1)).await;
    assert!(matches!(refused, Err(JournalError::TooLarge { .. })), "{refused:?}");
    script.say(&["it did not happen"]).await;
}

pub(super) async fn a_frame_at_the_limit_fits(site: &dyn Site) {
    let opened = site.open().await;
    let script = Script::create(&opened, "s").await;
    let large = sized(&script.fence, FRAME_BYTES_MAX);
    opened.journal.append(&script.fence, &large).await.unwrap();
    assert_eq!(read_all(&opened, "s", 1).await.unwrap()[1], large);
}

pub(super) async fn racing_writers_leave_a_log_without_gaps(site: &dyn Site) {
    const WRITERS: usize = 16;
    const FRAMES: usize = 8;
    let opened = site.open().await;
    Script::create(&opened, "s").await;
    let racers = (0..WRITERS).map(|racer| {
        let journal = Arc::clone(&opened.journal);
        async move {
            let mut won = Vec::new();
            while won.len() < FRAMES {
                let fence = journal.tail(&session("s")).await.unwrap();
                // Others see the same tail, also in a store that never waits.
                tokio::task::yield_now().await;
                let mine = frame(&fence, &[&format!("writer {racer} frame {}", won.len())]);
                match journal.append(&fence, &mine).await {
                    Ok(_) => won.push(mine),
                    Err(JournalError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            won
        }
    });
    let mut won: Vec<Frame> =
        futures::future::join_all(racers).await.into_iter().flatten().collect();
    won.sort_by_key(|frame| frame.first);
    let log = read_all(&opened, "s", PAGE).await.unwrap();
    assert_eq!(log[1..], won[..], "what was acknowledged is what is there");
    let seqs: Vec<u64> = log.iter().map(|frame| frame.first).collect();
    assert_eq!(seqs, (1..=(WRITERS * FRAMES + 1) as u64).collect::<Vec<_>>());
}

pub(super) async fn sessions_do_not_see_each_other(site: &dyn Site) {
    let opened = site.open().await;
    let mut one = Script::create(&opened, "one").await;
    let mut two = Script::create(&opened, "two").await;
    let (a, b) = futures::future::join(one.say(&["a"]), two.say(&["b"])).await;
    assert_eq!(read_all(&opened, "one", PAGE).await.unwrap()[1..], [a]);
    assert_eq!(read_all(&opened, "two", PAGE).await.unwrap()[1..], [b]);
}

pub(super) async fn resolve_tells_committed_from_absent(site: &dyn Site) {
    let opened = site.open().await;
    let script = Script::create(&opened, "s").await;
    let (here, there) = (frame(&script.fence, &["here"]), frame(&script.fence, &["there"]));
    let resolve = async |frame| opened.journal.resolve(&script.fence, frame).await.unwrap();
    assert_eq!(resolve(&here).await, Resolved::Absent);
    let after = opened.journal.append(&script.fence, &here).await.unwrap();
    assert_eq!(resolve(&here).await, Resolved::Committed(after.clone()));
    assert_eq!(resolve(&there).await, Resolved::Absent, "another frame has its place");
    opened.journal.append(&after, &frame(&after, &["more"])).await.unwrap();
    assert_eq!(resolve(&here).await, Resolved::Committed(after), "also when the log went on");
    let fence = Fence::new_session(session("never"), opened.node.clone());
    let unborn = frame(&fence, &["unborn"]);
    assert_eq!(opened.journal.resolve(&fence, &unborn).await.unwrap(), Resolved::Absent);
}

pub(super) async fn a_lost_answer_is_resolved(site: &dyn Site) {
    let opened = site.open().await;
    let script = Script::create(&opened, "s").await;
    // Each fault that keeps an append from happening is followed by an append that succeeds.
    let faults =
        [Some(Fault::LostAnswer), Some(Fault::LostRequest), None, Some(Fault::Unavailable), None];
    let journal = FaultyJournal::scripted(Arc::clone(&opened.journal), faults);
    let mut fence = script.fence.clone();
    let mut said = Vec::new();
    for (fault, committed) in [(0, true), (1, false), (2, false)] {
        let mine = frame(&fence, &[&format!("fault {fault}")]);
        let answer = journal.append(&fence, &mine).await;
        assert!(answer.is_err(), "fault {fault} shows");
        fence = match journal.resolve(&fence, &mine).await.unwrap() {
            Resolved::Committed(after) => {
                assert!(committed);
                after
            }
            Resolved::Absent => {
                assert!(!committed);
                journal.append(&fence, &mine).await.unwrap()
            }
        };
        said.push(mine);
    }
    assert_eq!(read_all(&opened, "s", PAGE).await.unwrap()[1..], said);
}

pub(super) async fn damage_is_found_and_stays_in_its_session(site: &dyn Site) {
    let opened = site.open().await;
    for name in ["hurt", "whole"] {
        let mut script = Script::create(&opened, name).await;
        script.say(&["two", "three"]).await;
        script.say(&["four"]).await;
        script.release().await;
    }
    opened.close().await;
    if site.damage(Damage::Frame(session("hurt"), 2)).await == Damaged::Impossible {
        return;
    }
    let opened = site.open().await;
    let Err(JournalError::Corrupt { session: found, seq, .. }) =
        read_all(&opened, "hurt", PAGE).await
    else {
        panic!("a damaged frame was read")
    };
    assert_eq!((found, seq), (session("hurt"), 2));
    let sound = opened.journal.read(&session("hurt"), 0, PAGE).await.unwrap();
    assert_eq!(sound.len(), 1, "what is before the damage can be read");
    assert_eq!(read_all(&opened, "whole", PAGE).await.unwrap().len(), 4);
    assert_eq!(opened.catalog.list(&Default::default()).await.unwrap().len(), 2);
}
