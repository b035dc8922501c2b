//! The store keeps the contract of the ports.

use oarlock_testkit::conformance::failures;

use crate::site::SqliteSite;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_on_disk_keeps_the_contract() {
    assert_eq!(failures(|| Box::new(SqliteSite::new())).await, Vec::<&str>::new());
}
