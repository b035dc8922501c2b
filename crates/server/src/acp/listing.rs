//! The list of sessions, page by page, and taking sessions out of it.

use std::path::PathBuf;

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::{
    DeleteSessionRequest, DeleteSessionResponse, ListSessionsRequest, ListSessionsResponse,
    SessionId, SessionInfo,
};
use oarlock_core::ids;
use oarlock_core::ports::journal::{Filter, JournalError, ListCursor, Summary};
use oarlock_core::{Command, SessionError};

use super::content::plain;
use super::error::{WireError, invalid};
use super::opening::folder;
use crate::host::Host;

/// Sessions of a page.
const PAGE: u32 = 50;

/// A page of sessions, those that were used last first. One that is used while pages are read moves before them, and the others stay where they
/// are: none of them is left out or comes twice. Subagents are seen with the session that they work for.
pub(super) async fn list(
    host: &dyn Host,
    request: ListSessionsRequest,
) -> Result<ListSessionsResponse, Error> {
    let after = request.cursor.as_deref().map(ListCursor::parse).transpose();
    let after = after.map_err(|error| invalid(error.to_string()))?;
    let cwd = match request.cwd {
        Some(cwd) => Some(named(cwd).await?),
        None => None,
    };
    // One more than is shown says whether there are more.
    let filter = Filter { cwd, after, limit: Some(PAGE + 1), ..Filter::default() };
    let listed = host.core().ports().catalog.list(&filter).await;
    let mut listed = listed.map_err(|error| WireError::from(error).0)?;
    let has_more = listed.len() > PAGE as usize;
    listed.truncate(PAGE as usize);
    let last = listed.last().filter(|_| has_more);
    let next = last.map(|last| ListCursor::of(last).to_string());
    let page = listed.into_iter().filter_map(|row| row.summary.ok()?).map(info).collect();
    Ok(ListSessionsResponse::new(page).next_cursor(next))
}

/// The true name of a folder; one that is not there any more is what it is called.
async fn named(cwd: PathBuf) -> Result<PathBuf, Error> {
    match folder(cwd.clone()).await {
        Err(_) if cwd.is_absolute() => Ok(cwd),
        found => found,
    }
}

fn info(summary: Summary) -> SessionInfo {
    let Summary { id, cwd, roots, title, updated, .. } = summary;
    SessionInfo::new(SessionId::new(id.as_str()), cwd)
        .additional_directories(roots)
        .title(Some(plain(&title)).filter(|title| !title.is_empty()))
        .updated_at(updated.to_string())
}

/// Removes a session for good. One that is not there is removed already, and a subagent is none of the client's sessions.
pub(super) async fn delete(
    host: &dyn Host,
    request: &DeleteSessionRequest,
) -> Result<DeleteSessionResponse, Error> {
    let Ok(id) = ids::SessionId::parse(&*request.session_id.0) else {
        return Ok(DeleteSessionResponse::new());
    };
    let is_subagent = match host.core().state(&id).await {
        Ok(state) => state.spec.depth > 0,
        Err(JournalError::NotFound { .. }) => true,
        // What cannot be read can be removed.
        Err(_) => false,
    };
    if is_subagent {
        return Ok(DeleteSessionResponse::new());
    }
    // Another client of this process may have it open.
    match host.core().handle(id.clone()).tell(Command::Close).await {
        Ok(_) | Err(SessionError::Store(_) | SessionError::Open(_)) => {}
        Err(error) => return Err(WireError::from(error).0),
    }
    match host.core().ports().catalog.purge(&id, host.core().node()).await {
        Ok(()) | Err(JournalError::NotFound { .. }) => Ok(DeleteSessionResponse::new()),
        Err(error) => Err(WireError::from(error).0),
    }
}
