//! The list of sessions, page by page, and taking sessions out of it.

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::{
    DeleteSessionRequest, DeleteSessionResponse, ListSessionsRequest, ListSessionsResponse,
    SessionId, SessionInfo,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oarlock_core::ids;
use oarlock_core::ports::journal::{Filter, JournalError};

use super::error::{WireError, invalid};
use crate::host::Host;

/// Sessions of a page.
const PAGE: usize = 50;

/// A page of sessions, those that were used last first. A cursor names the last session of the page before.
pub(super) async fn list(
    host: &dyn Host,
    request: ListSessionsRequest,
) -> Result<ListSessionsResponse, Error> {
    let after = request.cursor.as_deref().map(position).transpose()?;
    let filter = Filter { cwd: request.cwd, archived: false, limit: None };
    let listed = host.core().ports().catalog.list(&filter).await;
    let listed = listed.map_err(|error| WireError::from(error).0)?;
    // Subagents are seen with the session that they work for.
    let shown = listed.into_iter().filter_map(|listed| listed.summary.ok()?);
    let mut rest = shown.filter(|shown| shown.parent.is_none()).skip(after.unwrap_or(0));
    let page: Vec<SessionInfo> = rest
        .by_ref()
        .take(PAGE)
        .map(|shown| {
            SessionInfo::new(SessionId::new(shown.id.as_str()), shown.cwd)
                .title(shown.title)
                .updated_at(shown.updated.to_string())
        })
        .collect();
    let next = rest.next().map(|_| cursor(after.unwrap_or(0) + page.len()));
    Ok(ListSessionsResponse::new(page).next_cursor(next))
}

fn cursor(position: usize) -> String {
    URL_SAFE_NO_PAD.encode(format!("p{position}"))
}

fn position(cursor: &str) -> Result<usize, Error> {
    let wrong = || invalid("the cursor is none that this agent gave");
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    text.strip_prefix('p').and_then(|position| position.parse().ok()).ok_or_else(wrong)
}

/// Removes a session for good. One that is not there is removed already.
pub(super) async fn delete(
    host: &dyn Host,
    request: &DeleteSessionRequest,
) -> Result<DeleteSessionResponse, Error> {
    let Ok(id) = ids::SessionId::parse(&*request.session_id.0) else {
        return Ok(DeleteSessionResponse::new());
    };
    match host.core().ports().catalog.purge(&id, host.core().node()).await {
        Ok(_) | Err(JournalError::NotFound { .. }) => Ok(DeleteSessionResponse::new()),
        Err(error) => Err(WireError::from(error).0),
    }
}
