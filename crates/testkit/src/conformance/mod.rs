//! What every store must do, as cases that run against any of them.
//!
//! A store brings a [`Site`]; [`failures`] runs all cases, each on a fresh site, and names those that failed.

#![expect(clippy::unwrap_used, reason = "a case fails by panicking, as a test does")]

mod blobs;
mod catalog;
mod filters;
mod log;
mod names;
mod owners;
mod script;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::ids::{BlobId, NodeId, Seq, SessionId};
use oarlock_core::ports::journal::{Blobs, Catalog, Journal};

pub use script::{Script, frame, session, summary};

/// How long one case may take.
const CASE_TIMEOUT: Duration = Duration::from_secs(60);

/// A place with data that can be opened again and again, also by several nodes at once.
pub trait Site: Send + Sync {
    /// Opens it as a process of its own would, under a fresh node.
    fn open(&self) -> BoxFuture<'_, Opened>;

    /// Damages stored data behind the store's back. `Impossible` when the store has nothing that could be damaged.
    fn damage(&self, damage: Damage) -> BoxFuture<'_, Damaged>;
}

/// What to damage.
#[derive(Debug, Clone)]
pub enum Damage {
    /// A byte in the body of the frame that begins at this entry.
    Frame(SessionId, Seq),
    /// A session's summary, beyond reading.
    Summary(SessionId),
    /// A byte of a body.
    Blob(BlobId),
}

/// Whether the damage was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damaged {
    /// It was.
    Done,
    /// There is nothing to damage.
    Impossible,
}

/// One opener's view.
pub struct Opened {
    /// Its name.
    pub node: NodeId,
    /// Its journals.
    pub journal: Arc<dyn Journal>,
    /// Its catalogue.
    pub catalog: Arc<dyn Catalog>,
    /// Its bodies.
    pub blobs: Arc<dyn Blobs>,
    /// Ends it in good order.
    pub end: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send + Sync>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Opened {
    /// Closes it in good order.
    pub async fn close(self) {
        drop((self.journal, self.catalog, self.blobs));
        (self.end)().await;
    }

    /// Drops it without releasing anything, as far as one process can play the death of another.
    pub fn crash(self) {
        drop(self);
    }
}

type Case = for<'a> fn(&'a dyn Site) -> BoxFuture<'a, ()>;

/// Names an async function as a case.
macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$((stringify!($name), (|site| Box::pin($module::$name(site))) as Case)),*]
    };
}

const CASES: &[(&str, Case)] = cases![
    log::frames_come_back_byte_for_byte,
    log::a_log_survives_closing_and_crashing,
    log::pages_cover_the_log_without_gaps,
    log::a_frame_out_of_place_conflicts,
    log::a_frame_that_follows_another_head_conflicts,
    log::one_frame_id_is_taken_once,
    log::a_session_is_created_once,
    log::what_is_not_there_is_not_found,
    log::a_frame_over_the_limit_is_too_large,
    log::a_frame_at_the_limit_fits,
    log::racing_writers_leave_a_log_without_gaps,
    log::sessions_do_not_see_each_other,
    log::resolve_tells_committed_from_absent,
    log::a_lost_answer_is_resolved,
    log::damage_is_found_and_stays_in_its_session,
    owners::a_claim_raises_the_epoch_and_fences,
    owners::a_claim_of_a_moved_tail_is_refused,
    owners::a_living_holder_keeps_its_session,
    owners::a_dead_holder_loses_its_session,
    owners::a_released_session_is_free,
    owners::racing_claims_have_one_winner,
    owners::only_a_claim_claims,
    catalog::a_summary_never_goes_back,
    catalog::a_checkpoint_comes_back_as_it_was_put,
    catalog::lists_filter_and_order,
    catalog::a_session_without_summary_is_listed,
    catalog::a_poisoned_summary_hides_no_other,
    catalog::a_list_says_who_holds,
    catalog::searches_find_words,
    catalog::usage_adds_up,
    catalog::purged_is_gone,
    catalog::purging_what_another_holds_is_refused,
    filters::each_filter_lets_through_what_it_names,
    filters::what_is_not_known_of_a_session_is_not_asked_for,
    filters::a_tenant_sees_its_own,
    filters::d10_pages_do_not_shift_while_sessions_change,
    filters::searches_and_sums_are_filtered_as_lists_are,
    filters::a_filter_follows_its_sessions,
    names::a_name_is_one_sessions_until_it_is_given_back,
    names::each_tenant_has_names_of_its_own,
    names::of_racing_sessions_one_has_the_name,
    blobs::a_body_comes_back,
    blobs::parts_of_a_body_come_back,
    blobs::a_streamed_body_is_the_same_body,
    blobs::an_unfinished_body_leaves_nothing,
    blobs::a_missing_body_is_not_found,
    blobs::a_damaged_body_is_found,
    blobs::bodies_survive_reopening,
    blobs::a_probe_changes_nothing_beside_entries_that_are_written,
];

/// How many cases there are.
#[must_use]
pub fn count() -> usize {
    CASES.len()
}

/// Runs every case on a site of its own; the names of those that failed, in order.
pub async fn failures(site: impl Fn() -> Box<dyn Site>) -> Vec<&'static str> {
    let mut failed = Vec::new();
    for (name, case) in CASES {
        let site = site();
        let run = AssertUnwindSafe(case(site.as_ref())).catch_unwind();
        if !matches!(tokio::time::timeout(CASE_TIMEOUT, run).await, Ok(Ok(()))) {
            failed.push(*name);
        }
    }
    failed
}
