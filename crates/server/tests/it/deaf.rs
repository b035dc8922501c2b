//! Clients that do not read: they cost no more than a bound, and keep the program no longer than one that reads.

use std::time::Duration;

use oarlock_testkit::model::Say;
use serde_json::json;
use tokio::time::timeout;

use crate::desk::Desk;

/// What the program may take to end.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn the_program_ends_though_its_answers_are_not_read() {
    for by_signal in [false, true] {
        let desk = Desk::new(vec![], vec![]);
        let mut client = desk.client().await;
        for _ in 0..100 {
            client.request("session/list", json!({})).await;
        }
        let took = client.leave_unread(by_signal).await;
        assert!(took < SOON, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_program_ends_though_its_updates_are_not_read() {
    for by_signal in [false, true] {
        let flood = (0..500).map(|_| Say::Delta("word ")).chain([Say::Silence]).collect();
        let desk = Desk::new(vec![flood], vec![]);
        let mut client = desk.client().await;
        let session = client.session().await;
        client.prompt(&session, "go").await;
        drop(timeout(Duration::from_millis(50), std::future::pending::<()>()).await);
        let took = client.leave_unread(by_signal).await;
        assert!(took < SOON, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_asks_is_taken_a_bounded_number_of_requests_from() {
    let desk = Desk::new(vec![], vec![]);
    let mut client = desk.client().await;
    let mut taken = 0;
    // The connection has ended when nothing is taken any more.
    while taken < 10_000 && client.offer("session/list", json!({})).await {
        taken += 1;
    }
    assert!((1_000..2_000).contains(&taken), "{taken} requests were taken");
}
