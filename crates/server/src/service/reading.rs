//! Looking at sessions. Nothing here wakes one or waits for its turn.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use oarlock_core::event::Entry;
use oarlock_core::ids::{BlobId, SessionId};
use oarlock_core::ports::journal::{
    Activity, ArchivedFilter, Filter, Hit, ListCursor, Listed, check_query,
};
use oarlock_core::service::{
    Cursor, ErrorCode, SearchHit, SearchRequest, SessionError, SessionPage, SessionQuery,
    SessionSummary, SessionView, StreamError, UnreadableSession,
};
use oarlock_core::session::tasks::Tasks;
use oarlock_core::{EventStream, agent};

use super::{Scope, Sessions, in_time};

/// What the owner of a session may take to say what it waits for; then its journal says it.
const LOOK_WITHIN: Duration = Duration::from_millis(250);
/// Sessions of a page, unless a query says otherwise.
pub(super) const PAGE: u32 = 50;
/// Sessions of a page at most.
pub(super) const PAGE_MAX: u32 = 500;
/// How often the store is asked for one page, where sessions lie in folders that the caller has no part in.
const READS_OF_PAGE: u32 = 20;
/// Places of a search, unless it says otherwise.
const HITS: u32 = 20;
/// Places of a search at most.
const HITS_MAX: u32 = 100;
/// Milliseconds between two looks at whether turns run.
const LOOK_AGAIN_MS: u64 = 50;
/// Sessions that are looked at for it.
const RUNNING_MAX: u32 = 1000;
/// Bytes of a blob that are given at once.
pub(crate) const BLOB_BYTES_MAX: usize = 16 << 20;

impl Sessions {
    /// How a session stands, to whoever may read it or has just changed it.
    pub(super) async fn view(&self, id: &SessionId) -> Result<SessionView, SessionError> {
        let session = self.present(id).await?;
        let core = session.core();
        let state = in_time(core.state(id)).await?;
        let model = session.models().resolve(&state.spec.settings.model).ok();
        let waits = match tokio::time::timeout(LOOK_WITHIN, core.why(id)).await {
            Ok(why) => why?.waits,
            Err(_) => Vec::new(),
        };
        let model = model.as_ref().map(|model| model.info());
        Ok(SessionView::of(&state, model, core.is_awake(id), waits))
    }

    pub(super) async fn page(&self, query: SessionQuery) -> Result<SessionPage, SessionError> {
        self.allow(Scope::Read)?;
        let limit = bounded(query.limit, PAGE, PAGE_MAX, "limit")?;
        let filter = Filter { tenant: self.caller.tenant.clone(), ..meant(query)? };
        let (listed, next) = self.listed(filter, limit).await?;
        let mut page = SessionPage { sessions: Vec::new(), unreadable: Vec::new(), next };
        for row in listed {
            match row.summary {
                Ok(Some(summary)) => page.sessions.push(SessionSummary::from(summary)),
                Ok(None) => {}
                Err(error) => {
                    page.unreadable.push(UnreadableSession { session_id: row.id, error });
                }
            }
        }
        Ok(page)
    }

    /// So many sessions of a filter that the caller may have, and where the next ones begin. Where most are not its own there may be fewer.
    pub(super) async fn listed(
        &self,
        mut filter: Filter,
        limit: u32,
    ) -> Result<(Vec<Listed>, Option<String>), SessionError> {
        let mut kept = Vec::new();
        for _ in 0..READS_OF_PAGE {
            // One more than is shown says whether there are more.
            filter.limit = Some(limit + 1);
            let rows = in_time(self.host.core().ports().catalog.list(&filter)).await?;
            let is_last = rows.len() <= limit as usize;
            let seen = rows.last().map(ListCursor::of);
            for row in rows {
                if self.may_have(&row).await? {
                    kept.push(row);
                }
            }
            if kept.len() > limit as usize {
                kept.truncate(limit as usize);
                let next = kept.last().map(|last| ListCursor::of(last).to_string());
                return Ok((kept, next));
            }
            if is_last {
                return Ok((kept, None));
            }
            filter.after = seen;
        }
        let next = filter.after.map(|after| after.to_string());
        Ok((kept, next))
    }

    /// Whether a session of the caller's tenant lies in its folders, too.
    pub(super) async fn may_have(&self, row: &Listed) -> Result<bool, SessionError> {
        match &row.summary {
            Ok(Some(summary)) => Ok(self.caller.is_within(&summary.cwd, &summary.roots)),
            Ok(None) | Err(_) => match self.birth(&row.id).await {
                Err(error) if error.kind == ErrorCode::SessionNotFound => Ok(false),
                // What cannot be read is listed as that.
                Ok(_) | Err(_) => Ok(true),
            },
        }
    }

    /// Texts that have all the words of a query, best first.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a query without words, `SESSION_STORE_ERROR`.
    pub async fn search(&self, request: SearchRequest) -> Result<Vec<SearchHit>, SessionError> {
        self.allow(Scope::Read)?;
        let limit = bounded(request.limit, HITS, HITS_MAX, "limit")?;
        check_query(&request.query).map_err(|error| SessionError::invalid(error.to_string()))?;
        let (archived, children) = (ArchivedFilter::With, true);
        let tenant = self.caller.tenant.clone();
        // Some of them may lie in folders of others.
        let most = if self.caller.within.is_some() { HITS_MAX } else { limit };
        let filter = Filter { archived, children, limit: Some(most), tenant, ..Filter::default() };
        let hits =
            in_time(self.host.core().ports().catalog.search(&request.query, &filter)).await?;
        let (mut told, mut known) = (Vec::new(), BTreeMap::new());
        for Hit { session, seq, snippet } in hits {
            let is_theirs = match known.get(&session) {
                Some(is_theirs) => *is_theirs,
                None => self.birth(&session).await.is_ok(),
            };
            known.insert(session.clone(), is_theirs);
            if is_theirs && told.len() < limit as usize {
                told.push(SearchHit { session_id: session, seq, snippet });
            }
        }
        Ok(told)
    }

    /// What a session waits for, its subagents included.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    pub async fn why(&self, id: &SessionId) -> Result<agent::why::Why, SessionError> {
        self.allow(Scope::Read)?;
        in_time(self.present(id).await?.core().why(id)).await
    }

    /// What runs in the background of a session, and what ended there last.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    pub async fn tasks(&self, id: &SessionId) -> Result<Tasks, SessionError> {
        self.allow(Scope::Read)?;
        self.birth(id).await?;
        Ok(in_time(self.host.core().state(id)).await?.tasks)
    }

    /// Entries after a cursor, about a megabyte of them; none at the end.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    pub async fn entries(&self, id: &SessionId, after: Cursor) -> Result<Vec<Entry>, SessionError> {
        self.allow(Scope::Read)?;
        self.birth(id).await?;
        in_time(self.host.core().entries(id, after.0)).await
    }

    pub(super) async fn events(
        &self,
        id: &SessionId,
        after: Cursor,
    ) -> Result<EventStream, StreamError> {
        self.allow(Scope::Read)?;
        let session = self.present(id).await?;
        let core = session.core();
        let tail = in_time(core.ports().journal.tail(id)).await?;
        if after.0 >= tail.next {
            return Err(StreamError::InvalidCursor(format!(
                "the cursor {after} lies beyond the end of session {id}, which is {}",
                tail.next - 1
            )));
        }
        Ok(core.events(id, after.0))
    }

    /// Keeps a body, to be named by a prompt.
    ///
    /// # Errors
    /// `TOO_LARGE` over 16 MiB, `SESSION_STORE_ERROR`.
    pub async fn put_blob(&self, bytes: Bytes) -> Result<BlobId, SessionError> {
        self.allow(Scope::Turn)?;
        if bytes.len() > BLOB_BYTES_MAX {
            return Err(SessionError::new(
                ErrorCode::TooLarge,
                format!("a body has at most {BLOB_BYTES_MAX} bytes; this one has {}", bytes.len()),
            ));
        }
        let blob = in_time(self.host.core().ports().blobs.put(bytes)).await?;
        self.uploads.remember(self.caller.tenant.as_ref(), blob.clone());
        Ok(blob)
    }
}

impl Sessions {
    /// Waits until no turn runs in this process, as far as the store tells. Dropping the future loses nothing.
    pub async fn at_rest(&self) {
        let core = self.host.core();
        let (archived, children) = (ArchivedFilter::With, true);
        let running = Filter {
            activity: Some(Activity::Running),
            archived,
            children,
            limit: Some(RUNNING_MAX),
            ..Filter::default()
        };
        loop {
            match in_time(core.ports().catalog.list(&running)).await {
                Ok(listed) if listed.iter().any(|row| self.host.awake(&row.id).is_some()) => {}
                // A store that does not answer has nothing to wait for.
                Ok(_) | Err(_) => return,
            }
            let clock = &core.ports().clock;
            clock.sleep_until(clock.now().after(LOOK_AGAIN_MS)).await;
        }
    }

    /// Nothing, where there is such a session.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    pub(crate) async fn exists(&self, id: &SessionId) -> Result<(), SessionError> {
        self.allow(Scope::Read)?;
        self.birth(id).await.map(drop)
    }

    /// How many bytes a stored body has, if an entry of the session names it.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    pub(crate) async fn blob(
        &self,
        id: &SessionId,
        blob: &BlobId,
    ) -> Result<Option<u64>, SessionError> {
        self.exists(id).await?;
        if !self.is_named(id, blob).await? {
            return Ok(None);
        }
        Ok(Some(in_time(self.host.core().ports().blobs.read(blob, 0, 1)).await?.1))
    }

    /// Bytes of a stored body that [`Sessions::blob`] has found.
    pub(crate) async fn blob_bytes(
        &self,
        blob: &BlobId,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Bytes, SessionError> {
        Ok(in_time(self.host.core().ports().blobs.read(blob, offset, max_bytes)).await?.0)
    }
}

/// A number of the request within its bounds.
pub(super) fn bounded(
    asked: Option<u32>,
    default: u32,
    max: u32,
    name: &str,
) -> Result<u32, SessionError> {
    match asked {
        None => Ok(default),
        Some(number) if (1..=max).contains(&number) => Ok(number),
        Some(number) => {
            Err(SessionError::invalid(format!("`{name}` is {number}; it lies from 1 to {max}")))
        }
    }
}

/// The sessions that a query means.
fn meant(query: SessionQuery) -> Result<Filter, SessionError> {
    let after = query.cursor.as_deref().map(ListCursor::parse).transpose();
    if let Some(text) = &query.text {
        check_query(text).map_err(|error| SessionError::invalid(error.to_string()))?;
    }
    Ok(Filter {
        cwd: query.cwd,
        labels: query.labels,
        activity: query.state,
        archived: match query.archived {
            None => ArchivedFilter::With,
            Some(true) => ArchivedFilter::Only,
            Some(false) => ArchivedFilter::Without,
        },
        children: query.children,
        text: query.text,
        updated_after: query.updated_after,
        updated_before: query.updated_before,
        created_after: query.created_after,
        created_before: query.created_before,
        after: after.map_err(|error| SessionError::invalid(error.to_string()))?,
        ..Filter::default()
    })
}
