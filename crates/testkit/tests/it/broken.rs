//! The suite can fail: stores with one defect each, and the case that finds it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::ids::{BlobId, NodeId, Seq, SessionId};
use oarlock_core::ports::journal::{
    BlobWriter, Blobs, Catalog, Fence, Filter, Frame, Hit, Journal, JournalError, Listed,
    NameFilter, Projection, Resolved, Summary, UsageRow,
};
use oarlock_testkit::conformance::{Damage, Damaged, Opened, Site, failures};

use crate::memory::MemorySite;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    AcceptsStaleEpoch,
    SkipsConflictCheck,
    IgnoresTheLimit,
    CreatesMissingSessions,
    LosesTheLastFrameOnReopen,
    Reorders,
    AltersBytes,
    IgnoresThePageSize,
    SkipsAFrameBetweenPages,
    ForgetsCommittedFrames,
    InventsCommittedFrames,
    ClaimsWhatIsHeld,
    ClaimsAMovedTail,
    KeepsTheEpochOnClaim,
    ForgetsToRelease,
    KeepsTheLatestPutSummary,
    KeepsTheLatestPutCheckpoint,
    DropsCheckpointsWithSummaries,
    KeepsPurgedCheckpoints,
    ForgetsARow,
    GivesNamesTwice,
    FindsNamesOfNobody,
    ListsBackwards,
    HidesHolders,
    IgnoresFilters,
    PagesByCount,
    ShowsEveryTenant,
    SearchesEveryTenant,
    FindsNothing,
    FindsPurgedTexts,
    CountsTwice,
    PurgesNothing,
    PurgesWhatIsHeld,
    CutsBodies,
    InventsBodies,
    LosesStreams,
}

/// Each defect, and a case that must find it. Others may find it too.
const FOUND_BY: &[(Defect, &str)] = &[
    (Defect::AcceptsStaleEpoch, "a_claim_raises_the_epoch_and_fences"),
    (Defect::SkipsConflictCheck, "a_frame_out_of_place_conflicts"),
    (Defect::SkipsConflictCheck, "racing_writers_leave_a_log_without_gaps"),
    (Defect::IgnoresTheLimit, "a_frame_over_the_limit_is_too_large"),
    (Defect::CreatesMissingSessions, "what_is_not_there_is_not_found"),
    (Defect::LosesTheLastFrameOnReopen, "a_log_survives_closing_and_crashing"),
    (Defect::Reorders, "frames_come_back_byte_for_byte"),
    (Defect::AltersBytes, "frames_come_back_byte_for_byte"),
    (Defect::IgnoresThePageSize, "pages_cover_the_log_without_gaps"),
    (Defect::SkipsAFrameBetweenPages, "pages_cover_the_log_without_gaps"),
    (Defect::ForgetsCommittedFrames, "resolve_tells_committed_from_absent"),
    (Defect::ForgetsCommittedFrames, "a_lost_answer_is_resolved"),
    (Defect::InventsCommittedFrames, "resolve_tells_committed_from_absent"),
    (Defect::InventsCommittedFrames, "a_lost_answer_is_resolved"),
    (Defect::ClaimsWhatIsHeld, "a_living_holder_keeps_its_session"),
    (Defect::ClaimsAMovedTail, "a_claim_of_a_moved_tail_is_refused"),
    (Defect::KeepsTheEpochOnClaim, "a_claim_raises_the_epoch_and_fences"),
    (Defect::ForgetsToRelease, "a_released_session_is_free"),
    (Defect::KeepsTheLatestPutSummary, "a_summary_never_goes_back"),
    (Defect::KeepsTheLatestPutCheckpoint, "a_checkpoint_comes_back_as_it_was_put"),
    (Defect::DropsCheckpointsWithSummaries, "a_checkpoint_comes_back_as_it_was_put"),
    (Defect::KeepsPurgedCheckpoints, "purged_is_gone"),
    (Defect::ForgetsARow, "lists_filter_and_order"),
    (Defect::GivesNamesTwice, "a_name_is_one_sessions_until_it_is_given_back"),
    (Defect::GivesNamesTwice, "of_racing_sessions_one_has_the_name"),
    (Defect::FindsNamesOfNobody, "each_tenant_has_names_of_its_own"),
    (Defect::IgnoresFilters, "each_tenant_has_names_of_its_own"),
    (Defect::ListsBackwards, "lists_filter_and_order"),
    (Defect::HidesHolders, "a_list_says_who_holds"),
    (Defect::IgnoresFilters, "each_filter_lets_through_what_it_names"),
    (Defect::IgnoresFilters, "what_is_not_known_of_a_session_is_not_asked_for"),
    (Defect::IgnoresFilters, "a_filter_follows_its_sessions"),
    (Defect::PagesByCount, "d10_pages_do_not_shift_while_sessions_change"),
    (Defect::ShowsEveryTenant, "a_tenant_sees_its_own"),
    (Defect::SearchesEveryTenant, "a_tenant_sees_its_own"),
    (Defect::SearchesEveryTenant, "searches_and_sums_are_filtered_as_lists_are"),
    (Defect::FindsNothing, "searches_find_words"),
    (Defect::FindsPurgedTexts, "purged_is_gone"),
    (Defect::CountsTwice, "usage_adds_up"),
    (Defect::PurgesNothing, "purged_is_gone"),
    (Defect::PurgesWhatIsHeld, "purging_what_another_holds_is_refused"),
    (Defect::CutsBodies, "a_body_comes_back"),
    (Defect::InventsBodies, "a_missing_body_is_not_found"),
    (Defect::LosesStreams, "a_streamed_body_is_the_same_body"),
];

#[tokio::test]
async fn every_defect_is_found_by_its_case() {
    for (defect, case) in FOUND_BY {
        let failed = failures(|| Box::new(BrokenSite::new(*defect))).await;
        assert!(failed.contains(case), "{defect:?} was found by {failed:?} and not by {case}");
    }
}

struct BrokenSite {
    inner: MemorySite,
    defect: Defect,
    opened: AtomicUsize,
    seen: Arc<Mutex<Seen>>,
}

/// What a defect remembers where it should not.
#[derive(Debug, Default)]
struct Seen {
    summaries: HashMap<SessionId, Summary>,
    checkpoints: HashMap<SessionId, Option<Bytes>>,
    hits: Vec<Hit>,
    listed: usize,
}

impl BrokenSite {
    fn new(defect: Defect) -> Self {
        let (opened, seen) = (AtomicUsize::new(0), Arc::default());
        Self { inner: MemorySite::new(), defect, opened, seen }
    }
}

impl Site for BrokenSite {
    fn open(&self) -> BoxFuture<'_, Opened> {
        async {
            let Opened { node, journal, catalog, blobs, end } = self.inner.open().await;
            let opens = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
            let seen = Arc::clone(&self.seen);
            let broken = Broken { journal, catalog, blobs, defect: self.defect, opens, seen };
            let broken = Arc::new(broken);
            let (journal, catalog, blobs) = (broken.clone(), broken.clone(), broken);
            Opened { node, journal, catalog, blobs, end }
        }
        .boxed()
    }

    fn damage(&self, damage: Damage) -> BoxFuture<'_, Damaged> {
        self.inner.damage(damage)
    }
}

#[derive(Debug)]
struct Broken {
    journal: Arc<dyn Journal>,
    catalog: Arc<dyn Catalog>,
    blobs: Arc<dyn Blobs>,
    defect: Defect,
    opens: usize,
    seen: Arc<Mutex<Seen>>,
}

impl Broken {
    fn has(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    /// A page that begins so many rows behind the front as were shown.
    async fn page_by_count(&self, filter: &Filter) -> Result<Vec<Listed>, JournalError> {
        let all = Filter { after: None, limit: None, ..filter.clone() };
        let rows = self.catalog.list(&all).await?;
        let mut seen = self.seen.lock().unwrap();
        let skipped = if filter.after.is_some() { seen.listed } else { 0 };
        let most = filter.limit.map_or(usize::MAX, |limit| limit as usize);
        let page: Vec<Listed> = rows.into_iter().skip(skipped).take(most).collect();
        seen.listed = skipped + page.len();
        Ok(page)
    }
}

impl Journal for Broken {
    fn claim<'a>(
        &'a self,
        observed: &'a Fence,
        claim: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        async move {
            let claimed = self.journal.claim(observed, claim).await;
            match (claimed, self.defect) {
                (Err(JournalError::Held { .. }), Defect::ClaimsWhatIsHeld)
                | (Err(JournalError::Conflict { .. }), Defect::ClaimsAMovedTail) => {
                    Ok(observed.after(claim, 0))
                }
                (Ok(fence), Defect::KeepsTheEpochOnClaim) => {
                    Ok(Fence { epoch: observed.epoch, ..fence })
                }
                (claimed, _) => claimed,
            }
        }
        .boxed()
    }

    fn append<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        async move {
            match (self.journal.append(fence, frame).await, self.defect) {
                (Err(JournalError::Fenced { .. }), Defect::AcceptsStaleEpoch)
                | (Err(JournalError::Conflict { .. }), Defect::SkipsConflictCheck)
                | (Err(JournalError::NotFound { .. }), Defect::CreatesMissingSessions)
                | (Err(JournalError::NameTaken { .. }), Defect::GivesNamesTwice)
                | (Err(JournalError::TooLarge { .. }), Defect::IgnoresTheLimit) => {
                    Ok(fence.after(frame, 0))
                }
                (appended, _) => appended,
            }
        }
        .boxed()
    }

    fn resolve<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Resolved, JournalError>> {
        async move {
            match self.defect {
                Defect::ForgetsCommittedFrames => Ok(Resolved::Absent),
                Defect::InventsCommittedFrames => Ok(Resolved::Committed(fence.after(frame, 0))),
                _ => self.journal.resolve(fence, frame).await,
            }
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        session: &'a SessionId,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Frame>, JournalError>> {
        let max_bytes = if self.has(Defect::IgnoresThePageSize) { usize::MAX } else { max_bytes };
        async move {
            let mut frames = self.journal.read(session, after, max_bytes).await?;
            match self.defect {
                Defect::Reorders => frames.reverse(),
                Defect::LosesTheLastFrameOnReopen if self.opens > 1 => drop(frames.pop()),
                Defect::SkipsAFrameBetweenPages if after > 0 && !frames.is_empty() => {
                    drop(frames.remove(0));
                }
                Defect::AltersBytes => {
                    for frame in &mut frames {
                        frame.body = frame.body.iter().map(|byte| byte & 0x7F).collect();
                    }
                }
                _ => {}
            }
            Ok(frames)
        }
        .boxed()
    }

    fn tail<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<Fence, JournalError>> {
        self.journal.tail(session)
    }

    fn release<'a>(
        &'a self,
        fence: &'a Fence,
        release: &'a Frame,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        if self.has(Defect::ForgetsToRelease) {
            return self.journal.append(fence, release).map(|done| done.map(drop)).boxed();
        }
        self.journal.release(fence, release)
    }
}

impl Catalog for Broken {
    fn put_projection<'a>(
        &'a self,
        projection: Projection<'a>,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        let Projection { summary, checkpoint, .. } = projection;
        let mut seen = self.seen.lock().unwrap();
        seen.summaries.insert(summary.id.clone(), summary.clone());
        let kept = seen.checkpoints.insert(summary.id.clone(), checkpoint.cloned());
        if checkpoint.is_none() && !self.has(Defect::DropsCheckpointsWithSummaries) {
            seen.checkpoints.insert(summary.id.clone(), kept.flatten());
        }
        self.catalog.put_projection(projection)
    }

    fn checkpoint<'a>(
        &'a self,
        session: &'a SessionId,
    ) -> BoxFuture<'a, Result<Option<Bytes>, JournalError>> {
        async move {
            let found = self.catalog.checkpoint(session).await?;
            let seen = self.seen.lock().unwrap().checkpoints.get(session).cloned().flatten();
            Ok(match self.defect {
                Defect::DropsCheckpointsWithSummaries => seen,
                Defect::KeepsTheLatestPutCheckpoint if found.is_some() => seen,
                Defect::KeepsPurgedCheckpoints => found.or(seen),
                _ => found,
            })
        }
        .boxed()
    }

    fn list<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<Vec<Listed>, JournalError>> {
        async move {
            let Filter { limit, archived, .. } = *filter;
            let mut rows = match self.defect {
                Defect::IgnoresFilters => {
                    let filter = Filter { limit, archived, ..Filter::default() };
                    self.catalog.list(&filter).await?
                }
                Defect::FindsNamesOfNobody => {
                    let named = filter.name.clone();
                    let name = named.map(|name| NameFilter { tenant: None, ..name });
                    self.catalog.list(&Filter { name, ..filter.clone() }).await?
                }
                Defect::PagesByCount => self.page_by_count(filter).await?,
                Defect::ShowsEveryTenant => {
                    self.catalog.list(&Filter { tenant: None, ..filter.clone() }).await?
                }
                _ => self.catalog.list(filter).await?,
            };
            match self.defect {
                Defect::ForgetsARow => drop(rows.pop()),
                Defect::ListsBackwards => rows.reverse(),
                Defect::HidesHolders => rows.iter_mut().for_each(|row| row.held_by = None),
                Defect::KeepsTheLatestPutSummary => {
                    let seen = self.seen.lock().unwrap();
                    for row in &mut rows {
                        row.summary = Ok(seen.summaries.get(&row.id).cloned());
                    }
                }
                _ => {}
            }
            Ok(rows)
        }
        .boxed()
    }

    fn search<'a>(
        &'a self,
        query: &'a str,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Vec<Hit>, JournalError>> {
        async move {
            let every = Filter { tenant: None, ..filter.clone() };
            let asked = if self.has(Defect::SearchesEveryTenant) { &every } else { filter };
            let hits = self.catalog.search(query, asked).await?;
            match self.defect {
                Defect::FindsNothing => Ok(Vec::new()),
                Defect::FindsPurgedTexts => {
                    let mut seen = self.seen.lock().unwrap();
                    if !hits.is_empty() {
                        seen.hits = hits;
                    }
                    Ok(seen.hits.clone())
                }
                _ => Ok(hits),
            }
        }
        .boxed()
    }

    fn usage<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<UsageRow, JournalError>> {
        async move {
            let mut row = self.catalog.usage(filter).await?;
            if self.has(Defect::CountsTwice) {
                row.usage += row.usage;
            }
            Ok(row)
        }
        .boxed()
    }

    fn purge<'a>(
        &'a self,
        session: &'a SessionId,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        async move {
            match (self.defect, node) {
                (Defect::PurgesNothing, _) => self.journal.tail(session).await.map(drop),
                (Defect::PurgesWhatIsHeld, _) => {
                    let owner = self.journal.tail(session).await?.node;
                    self.catalog.purge(session, &owner).await
                }
                (_, node) => self.catalog.purge(session, node).await,
            }
        }
        .boxed()
    }
}

impl Blobs for Broken {
    fn put(&self, bytes: Bytes) -> BoxFuture<'_, Result<BlobId, JournalError>> {
        self.blobs.put(bytes)
    }

    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, JournalError>> {
        async move {
            let inner = self.blobs.writer().await?;
            let writer: Box<dyn BlobWriter> = match self.defect {
                Defect::LosesStreams => Box::new(Forgetful(inner)),
                _ => inner,
            };
            Ok(writer)
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        blob: &'a BlobId,
        offset: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<(Bytes, u64), JournalError>> {
        async move {
            match (self.blobs.read(blob, offset, max_bytes).await, self.defect) {
                (Ok((bytes, size)), Defect::CutsBodies) => {
                    Ok((bytes.slice(..bytes.len().saturating_sub(1)), size))
                }
                (Err(JournalError::BlobNotFound { .. }), Defect::InventsBodies) => {
                    Ok((Bytes::new(), 0))
                }
                (read, _) => read,
            }
        }
        .boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        self.blobs.probe()
    }
}

/// Takes bytes and keeps none.
struct Forgetful(Box<dyn BlobWriter>);

impl BlobWriter for Forgetful {
    fn write<'a>(&'a mut self, _: &'a [u8]) -> BoxFuture<'a, Result<(), JournalError>> {
        async { Ok(()) }.boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(BlobId, u64), JournalError>> {
        self.0.finish()
    }
}
