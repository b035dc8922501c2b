//! Looking at sessions. Nothing here wakes one or waits for its turn.

use std::time::Duration;

use bytes::Bytes;
use oarlock_core::event::Entry;
use oarlock_core::ids::{BlobId, SessionId};
use oarlock_core::ports::journal::Filter;
use oarlock_core::service::{
    Cursor, SearchHit, SearchRequest, SessionError, SessionPage, SessionQuery, SessionSummary,
    SessionView, StreamError, UnreadableSession,
};
use oarlock_core::session::tasks::Tasks;
use oarlock_core::{EventStream, agent};

use super::{Scope, Sessions};

/// What the owner of a session may take to say what it waits for; then its journal says it.
const LOOK_WITHIN: Duration = Duration::from_millis(250);
/// Sessions of a page, unless a query says otherwise.
const PAGE: u32 = 50;
/// Sessions of a page at most.
const PAGE_MAX: u32 = 500;
/// Places of a search, unless it says otherwise.
const HITS: u32 = 20;
/// Places of a search at most.
const HITS_MAX: u32 = 100;
/// Bytes of a blob that are given at once.
pub(crate) const BLOB_BYTES_MAX: usize = 16 << 20;

impl Sessions {
    pub(super) async fn view(&self, id: &SessionId) -> Result<SessionView, SessionError> {
        self.allow(Scope::Read)?;
        let workspace = self.workspace(id).await?;
        let core = workspace.core();
        let state = core.state(id).await?;
        let model = core.ports().models.resolve(&state.spec.settings.model).ok();
        let waits = match tokio::time::timeout(LOOK_WITHIN, core.why(id)).await {
            Ok(why) => why?.waits,
            Err(_) => Vec::new(),
        };
        let model = model.as_ref().map(|model| model.info());
        Ok(SessionView::of(&state, model, core.is_awake(id), waits))
    }

    pub(super) async fn page(&self, query: SessionQuery) -> Result<SessionPage, SessionError> {
        self.allow(Scope::Read)?;
        let limit = bounded(query.limit, PAGE, PAGE_MAX, "limit")? as usize;
        let after = query.cursor.as_deref().map(Position::read).transpose()?;
        let filter = Filter { cwd: query.cwd.clone(), archived: true, limit: None };
        let listed = self.host.core().ports().catalog.list(&filter).await?;
        let mut page = SessionPage { sessions: Vec::new(), unreadable: Vec::new(), next: None };
        for row in listed {
            match row.summary {
                Ok(Some(summary)) => page.sessions.push(SessionSummary::from(summary)),
                Ok(None) => {}
                Err(error) => {
                    page.unreadable.push(UnreadableSession { session_id: row.id, error });
                }
            }
        }
        page.sessions.retain(|summary| {
            let is_after = after.as_ref().is_none_or(|after| Position::of(summary) < *after);
            is_after && matches(&query, summary)
        });
        page.sessions.sort_unstable_by_key(|summary| std::cmp::Reverse(Position::of(summary)));
        let has_more = page.sessions.len() > limit;
        page.sessions.truncate(limit);
        page.next =
            page.sessions.last().filter(|_| has_more).map(|last| Position::of(last).cursor());
        Ok(page)
    }

    /// Texts that have all the words of a query, best first.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a query without words, `SESSION_STORE_ERROR`.
    pub async fn search(&self, request: SearchRequest) -> Result<Vec<SearchHit>, SessionError> {
        self.allow(Scope::Read)?;
        let limit = bounded(request.limit, HITS, HITS_MAX, "limit")?;
        if request.query.trim().is_empty() {
            return Err(SessionError::invalid("the query has no words"));
        }
        let hits = self.host.core().ports().catalog.search(&request.query, limit).await?;
        let told = hits.into_iter().map(|hit| SearchHit {
            session_id: hit.session,
            seq: hit.seq,
            snippet: hit.snippet,
        });
        Ok(told.collect())
    }

    /// What a session waits for, its subagents included.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    pub async fn why(&self, id: &SessionId) -> Result<agent::why::Why, SessionError> {
        self.allow(Scope::Read)?;
        Ok(self.workspace(id).await?.core().why(id).await?)
    }

    /// What runs in the background of a session, and what ended there last.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    pub async fn tasks(&self, id: &SessionId) -> Result<Tasks, SessionError> {
        self.allow(Scope::Read)?;
        self.birth(id).await?;
        Ok(self.host.core().state(id).await?.tasks)
    }

    /// Entries after a cursor, about a megabyte of them; none at the end.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_STORE_ERROR`.
    pub async fn entries(&self, id: &SessionId, after: Cursor) -> Result<Vec<Entry>, SessionError> {
        self.allow(Scope::Read)?;
        self.birth(id).await?;
        Ok(self.host.core().entries(id, after.0).await?)
    }

    pub(super) async fn events(
        &self,
        id: &SessionId,
        after: Cursor,
    ) -> Result<EventStream, StreamError> {
        self.allow(Scope::Read)?;
        let workspace = self.workspace(id).await?;
        let core = workspace.core();
        let tail = core.ports().journal.tail(id).await.map_err(SessionError::from)?;
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
                oarlock_core::service::ErrorCode::TooLarge,
                format!("a body has at most {BLOB_BYTES_MAX} bytes; this one has {}", bytes.len()),
            ));
        }
        Ok(self.host.core().ports().blobs.put(bytes).await?)
    }
}

/// A number of the request within its bounds.
fn bounded(asked: Option<u32>, default: u32, max: u32, name: &str) -> Result<u32, SessionError> {
    match asked {
        None => Ok(default),
        Some(number) if (1..=max).contains(&number) => Ok(number),
        Some(number) => {
            Err(SessionError::invalid(format!("`{name}` is {number}; it lies from 1 to {max}")))
        }
    }
}

/// Whether a query means this session.
fn matches(query: &SessionQuery, summary: &SessionSummary) -> bool {
    let has = |(name, value)| summary.labels.get(name) == Some(value);
    query.labels.iter().all(has)
        && query.state.is_none_or(|state| summary.state == state)
        && query.archived.is_none_or(|archived| summary.archived == archived)
        && (query.children || summary.parent.is_none())
}

/// Where a session stands in the list: what was used later is greater and comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    updated_ms: i64,
    id: SessionId,
}

impl Position {
    fn of(summary: &SessionSummary) -> Self {
        Self { updated_ms: summary.updated_at.unix_ms(), id: summary.session_id.clone() }
    }

    /// A cursor that names the last session of a page.
    fn cursor(&self) -> String {
        format!("{}:{}", self.updated_ms, self.id)
    }

    /// Reads a cursor.
    fn read(cursor: &str) -> Result<Self, SessionError> {
        let read = || {
            let (updated_ms, id) = cursor.split_once(':')?;
            Some(Self { updated_ms: updated_ms.parse().ok()?, id: SessionId::parse(id).ok()? })
        };
        read().ok_or_else(|| SessionError::invalid("`cursor` is none that was given out"))
    }
}
