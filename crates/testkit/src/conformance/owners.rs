//! Cases about who may write.

use oarlock_core::ports::journal::{Fence, JournalError};

use super::Site;
use super::script::{Script, claim_frame, frame, read_all, session};

pub(super) async fn a_claim_raises_the_epoch_and_fences(site: &dyn Site) {
    let first = site.open().await;
    let mut old = Script::create(&first, "s").await;
    let stale = old.fence.clone();
    // A node may claim its own session again: a new writer in the same process.
    let mut new = Script::claim(&first, "s").await.unwrap();
    assert_eq!((new.fence.epoch, new.fence.next, &new.fence.node), (2, 3, &first.node));
    let refused = old.try_say(&["too late"]).await;
    let Err(JournalError::Fenced { found, ours, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((found, ours), (2, 1));
    new.say(&["by the new writer"]).await;
    // The right place does not help a stale epoch.
    let placed = Fence { epoch: stale.epoch, ..new.fence.clone() };
    let refused = first.journal.append(&placed, &frame(&placed, &["x"])).await;
    assert!(matches!(refused, Err(JournalError::Fenced { .. })), "{refused:?}");
    let epochs: Vec<u64> =
        read_all(&first, "s", 1).await.unwrap().iter().map(|frame| frame.epoch).collect();
    assert_eq!(epochs, [1, 2, 2]);
}

pub(super) async fn a_claim_of_a_moved_tail_is_refused(site: &dyn Site) {
    let opened = site.open().await;
    let mut script = Script::create(&opened, "s").await;
    let observed = script.fence.clone();
    script.say(&["moved on"]).await;
    let refused = opened.journal.claim(&observed, &claim_frame(&observed, &opened.node)).await;
    assert!(matches!(refused, Err(JournalError::Conflict { .. })), "{refused:?}");
    script.say(&["the writer stays"]).await;
}

pub(super) async fn a_living_holder_keeps_its_session(site: &dyn Site) {
    let (holder, other) = (site.open().await, site.open().await);
    let mut script = Script::create(&holder, "s").await;
    let refused = Script::claim(&other, "s").await;
    assert!(matches!(refused, Err(JournalError::Held { .. })), "{refused:?}");
    script.say(&["undisturbed"]).await;
    assert_eq!(read_all(&other, "s", 1).await.unwrap().len(), 2, "others may read");
}

pub(super) async fn a_dead_holder_loses_its_session(site: &dyn Site) {
    let (holder, other) = (site.open().await, site.open().await);
    let script = Script::create(&holder, "s").await;
    drop(script);
    holder.crash();
    let taken = Script::claim(&other, "s").await.unwrap();
    assert_eq!((taken.fence.epoch, &taken.fence.node), (2, &other.node));
}

pub(super) async fn a_released_session_is_free(site: &dyn Site) {
    let (holder, other) = (site.open().await, site.open().await);
    let mut script = Script::create(&holder, "s").await;
    script.release().await;
    let tail = holder.journal.tail(&session("s")).await.unwrap();
    assert_eq!((tail.next, tail.epoch), (3, 1), "releasing is an entry");
    let mut taken = Script::claim(&other, "s").await.unwrap();
    taken.say(&["mine"]).await;
    let refused = script.try_say(&["after release"]).await;
    assert!(matches!(refused, Err(JournalError::Fenced { .. })), "{refused:?}");
    let refused = Script::claim(&holder, "s").await;
    assert!(matches!(refused, Err(JournalError::Held { .. })), "{refused:?}");
}

pub(super) async fn racing_claims_have_one_winner(site: &dyn Site) {
    let nodes = futures::future::join_all((0..6).map(|_| site.open())).await;
    Script::create(&nodes[0], "s").await.release().await;
    let observed = nodes[0].journal.tail(&session("s")).await.unwrap();
    let claims = nodes.iter().map(|node| {
        let observed = &observed;
        async move { node.journal.claim(observed, &claim_frame(observed, &node.node)).await }
    });
    let claims = futures::future::join_all(claims).await;
    assert_eq!(claims.iter().filter(|claim| claim.is_ok()).count(), 1, "{claims:?}");
    assert_eq!(read_all(&nodes[0], "s", 1).await.unwrap().len(), 3);
}

pub(super) async fn only_a_claim_claims(site: &dyn Site) {
    let opened = site.open().await;
    let mut script = Script::create(&opened, "s").await;
    let next = Fence { epoch: 2, ..script.fence.clone() };
    let refused = opened.journal.claim(&script.fence, &frame(&next, &["not a claim"])).await;
    assert!(refused.is_err(), "{refused:?}");
    script.say(&["nothing happened"]).await;
}
