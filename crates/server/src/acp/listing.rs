//! The list of sessions, page by page, and taking sessions out of it.

use std::path::PathBuf;

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::{
    DeleteSessionRequest, DeleteSessionResponse, ListSessionsRequest, ListSessionsResponse,
    SessionId, SessionInfo,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oarlock_core::ids;
use oarlock_core::ports::journal::{Filter, JournalError, Summary};
use oarlock_core::{Command, SessionError};

use super::content::plain;
use super::error::{WireError, invalid};
use super::opening::folder;
use crate::host::Host;

/// Sessions of a page.
const PAGE: usize = 50;

/// A page of sessions, those that were used last first. One that is used while pages are read moves before them, and the others stay where they
/// are: none of them is left out or comes twice.
pub(super) async fn list(
    host: &dyn Host,
    request: ListSessionsRequest,
) -> Result<ListSessionsResponse, Error> {
    let after = request.cursor.as_deref().map(Position::read).transpose()?;
    let cwd = match request.cwd {
        Some(cwd) => Some(named(cwd).await?),
        None => None,
    };
    let filter = Filter { cwd, archived: false, limit: None };
    let listed = host.core().ports().catalog.list(&filter).await;
    let listed = listed.map_err(|error| WireError::from(error).0)?;
    let mut shown: Vec<(Position, Summary)> = listed
        .into_iter()
        .filter_map(|listed| listed.summary.ok()?)
        // Subagents are seen with the session that they work for.
        .filter(|summary| summary.parent.is_none())
        .map(|summary| (Position::of(&summary), summary))
        .filter(|(position, _)| after.as_ref().is_none_or(|after| position < after))
        .collect();
    shown.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    let has_more = shown.len() > PAGE;
    shown.truncate(PAGE);
    let next = shown.last().filter(|_| has_more).map(|(last, _)| last.cursor());
    let page = shown.into_iter().map(|(_, summary)| info(summary)).collect();
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

/// Where a session stands in the list: what was used later is greater and comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    updated_ms: i64,
    id: ids::SessionId,
}

impl Position {
    fn of(summary: &Summary) -> Self {
        Self { updated_ms: summary.updated.unix_ms(), id: summary.id.clone() }
    }

    /// A cursor that names the last session of a page.
    fn cursor(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{} {}", self.updated_ms, self.id))
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// Invalid parameters when it is none that was given out.
    fn read(cursor: &str) -> Result<Self, Error> {
        let read = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
            let (updated_ms, id) = text.split_once(' ')?;
            let id = ids::SessionId::parse(id).ok()?;
            Some(Self { updated_ms: updated_ms.parse().ok()?, id })
        };
        read().ok_or_else(|| invalid("the cursor is none that this agent gave"))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_given_and_nothing_else_is_one() {
        let id = ids::SessionId::parse("01a1ffa1-0c86-70c2-afd9-4e292c035691").unwrap();
        let position = Position { updated_ms: 1_700_000_000_000, id };
        assert_eq!(Position::read(&position.cursor()).unwrap(), position);
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let table = ["", "x", "%%%", &encoded("17"), &encoded("x y"), &encoded("17 ../../etc")];
        for wrong in table {
            assert_eq!(i32::from(Position::read(wrong).unwrap_err().code), -32602, "{wrong}");
        }
    }
}
