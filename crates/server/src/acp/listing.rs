//! The list of sessions, page by page, and what becomes of a session that nobody has to open for it.

use std::path::PathBuf;

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::{
    ArchiveSessionResponse, DeleteSessionRequest, DeleteSessionResponse, ListSessionsRequest,
    ListSessionsResponse, SessionArchiveFilter, SessionId, SessionInfo, SessionStatus,
    SessionStatusResponse, SetSessionTitleResponse, UnarchiveSessionResponse,
};
use oarlock_core::ids;
use oarlock_core::ports::journal::{ArchivedFilter, Filter, JournalError, ListCursor, Summary};
use oarlock_core::spec::SettingsChange;
use oarlock_core::{Command, DefaultSession, Rejection, SessionError};

use super::content::plain;
use super::error::{WireError, id, invalid, no_session};
use crate::host::Host;
use crate::place::{PlaceError, folder};

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
        Some(cwd) => Some(named(cwd).await.map_err(|error| WireError::from(error).0)?),
        None => None,
    };
    // One more than is shown says whether there are more.
    let archived = match request.archived {
        None | Some(SessionArchiveFilter::Exclude) => ArchivedFilter::Without,
        Some(SessionArchiveFilter::Include) => ArchivedFilter::With,
        Some(SessionArchiveFilter::Only) => ArchivedFilter::Only,
        Some(_) => return Err(invalid("`archived` is `exclude`, `include` or `only`")),
    };
    let filter = Filter { cwd, after, archived, limit: Some(PAGE + 1), ..Filter::default() };
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
async fn named(cwd: PathBuf) -> Result<PathBuf, PlaceError> {
    match folder(cwd.clone()).await {
        Err(_) if cwd.is_absolute() => Ok(cwd),
        found => found,
    }
}

fn info(summary: Summary) -> SessionInfo {
    let Summary { id, cwd, roots, title, updated, archived, .. } = summary;
    SessionInfo::new(SessionId::new(id.as_str()), cwd)
        .additional_directories(roots)
        .title(Some(plain(&title)).filter(|title| !title.is_empty()))
        .updated_at(updated.to_string())
        .archived(archived)
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
    match handle(host, &id).tell(Command::Close).await {
        Ok(_) | Err(SessionError::Store(_) | SessionError::Open(_)) => {}
        Err(error) => return Err(WireError::from(error).0),
    }
    match host.core().ports().catalog.purge(&id, host.core().node()).await {
        Ok(()) | Err(JournalError::NotFound { .. }) => Ok(DeleteSessionResponse::new()),
        Err(error) => Err(WireError::from(error).0),
    }
}

/// The session where it is awake; one that sleeps is woken by the program's own runtime.
fn handle(host: &dyn Host, id: &ids::SessionId) -> DefaultSession {
    match host.awake(id) {
        Some(workspace) => workspace.core().handle(id.clone()),
        None => host.core().handle(id.clone()),
    }
}

/// The id of a session that a client may name: one that is there, and no subagent.
///
/// # Errors
/// That there is none.
async fn known(host: &dyn Host, session: &SessionId) -> Result<ids::SessionId, Error> {
    let id = id(session)?;
    let state = host.core().state(&id).await.map_err(|error| WireError::from(error).0)?;
    match state.spec.depth {
        0 => Ok(id),
        _ => Err(no_session(session)),
    }
}

/// Tells a session something, whether it is open or not; one that sleeps goes to sleep again.
async fn tell(host: &dyn Host, session: &SessionId, command: Command) -> Result<(), Error> {
    let id = known(host, session).await?;
    let (session, sleeps) = (handle(host, &id), host.awake(&id).is_none());
    let done = session.tell(command).await.map(drop);
    if sleeps {
        drop(session.tell(Command::Close).await);
    }
    done.map_err(|error| match error {
        SessionError::Rejected(Rejection::Invalid { what }) => invalid(what),
        error => WireError::from(error).0,
    })
}

/// Stops a session, whoever has it open, and takes it out of the list. One that is archived already stays so.
pub(super) async fn archive(
    host: &dyn Host,
    session: &SessionId,
) -> Result<ArchiveSessionResponse, Error> {
    tell(host, session, Command::Archive).await?;
    tell(host, session, Command::Close).await?;
    Ok(ArchiveSessionResponse::new())
}

/// Puts a session back into the list.
pub(super) async fn unarchive(
    host: &dyn Host,
    session: &SessionId,
) -> Result<UnarchiveSessionResponse, Error> {
    tell(host, session, Command::Restore).await?;
    Ok(UnarchiveSessionResponse::new())
}

/// Gives a session a title, which is what it is called from then on.
pub(super) async fn set_title(
    host: &dyn Host,
    session: &SessionId,
    title: &str,
) -> Result<SetSessionTitleResponse, Error> {
    let title = plain(title).split_whitespace().collect::<Vec<_>>().join(" ");
    if title.is_empty() {
        return Err(invalid("a title has at least one character that can be seen"));
    }
    let change = SettingsChange { title: Some(title.clone()), ..SettingsChange::default() };
    let change = Command::Configure { change: Box::new(change), expected: None };
    tell(host, session, change).await?;
    Ok(SetSessionTitleResponse::new(title))
}

/// Whether a session is awake in this process, for whichever client. Nothing becomes of it by being asked after.
pub(super) async fn status(
    host: &dyn Host,
    session: &SessionId,
) -> Result<SessionStatusResponse, Error> {
    let id = known(host, session).await?;
    let status = match host.awake(&id) {
        Some(_) => SessionStatus::Open,
        None => SessionStatus::Saved,
    };
    Ok(SessionStatusResponse::new(status))
}
