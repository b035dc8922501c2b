//! Messages between sessions: addressed by name within a tenant, and inputs of whom they are written to.

use std::time::Duration;

use futures::StreamExt;
use oarlock_core::event::{Delivery, InputSource, Peer, PeerKind};
use oarlock_core::ids::{SessionId, Tenant};
use oarlock_core::message::Part;
use oarlock_core::ports::journal::{
    ArchivedFilter, Filter, JournalError, ListCursor, NameFilter, TenantFilter,
};
use oarlock_core::service::{
    ErrorCode, PeerInfo, PeerPage, PeersRequest, RunResult, SendRequest, SessionError,
};
use oarlock_core::spec::Comms;
use oarlock_core::{Admit, Command, DefaultSession, Reply};

use super::reading::{PAGE, PAGE_MAX, bounded};
use super::turns::run;
use super::{Scope, Sessions, in_time};
use crate::quote::cut;

/// Peers that are told of one that comes or goes, those that were used last.
const TOLD_MAX: u32 = 1_000;
/// Peers that are told at the same time.
const TOLD_AT_ONCE: usize = 8;
/// How long telling them may take; whoever made or archived the session waits for it.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// What a session is to its peers, and whose.
pub(super) struct Named {
    pub(super) tenant: Option<Tenant>,
    pub(super) comms: Comms,
}

impl Sessions {
    /// Writes to a session by its name or id. The words are an input of it, whose turn is not waited for.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND` when no session of the caller's tenant has the name, `SESSION_ARCHIVED`, `OVERLOADED` when too many inputs wait,
    /// `INVALID_REQUEST`.
    pub async fn send(&self, request: SendRequest) -> Result<RunResult, SessionError> {
        self.allow(Scope::Turn)?;
        let SendRequest { to, session_id, from, kind, intent, text, idempotency_key } = request;
        if kind == PeerKind::Notice {
            return Err(SessionError::invalid(
                "`kind` is `message`, `request` or `response`; notices are the service's own",
            ));
        }
        if text.trim().is_empty() {
            return Err(SessionError::invalid("the message says nothing; give it text"));
        }
        let sender = match &from {
            None => None,
            Some(name) => Some(self.named(name).await?.ok_or_else(|| {
                SessionError::invalid(format!(
                    "`from` is `{}`, and no session has that name",
                    cut(name)
                ))
            })?),
        };
        let id = match (to, session_id) {
            (Some(to), None) => self.named(&to).await?.ok_or_else(|| {
                SessionError::new(
                    ErrorCode::SessionNotFound,
                    format!("there is no session with the name {}", cut(&to)),
                )
            })?,
            (None, Some(id)) => id,
            (None, None) | (Some(_), Some(_)) => {
                return Err(SessionError::invalid(
                    "say by either `to` or `session_id` whom it is written to",
                ));
            }
        };
        let session = self.session(&id).await?;
        let peer = Peer { session: sender, name: from, kind, intent, silent: false };
        let input = write(&session, idempotency_key, (peer, text)).await?;
        run(&session, input, Some(0), None).await
    }

    /// Sessions of the caller's tenant that have names. One that was made this moment may be missing.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, `SESSION_STORE_ERROR`.
    pub async fn peers(&self, request: PeersRequest) -> Result<PeerPage, SessionError> {
        self.allow(Scope::Read)?;
        let limit = bounded(request.limit, PAGE, PAGE_MAX, "limit")?;
        let after = request.cursor.as_deref().map(ListCursor::parse).transpose();
        let after = after.map_err(|error| SessionError::invalid(error.to_string()))?;
        let filter = Filter { after, ..names(self.tenant(), request.name) };
        let (listed, next) = self.listed(filter, limit).await?;
        let peers = listed.into_iter().filter_map(|row| {
            let summary = row.summary.ok().flatten()?;
            let Comms { name, meta, .. } = summary.comms?;
            Some(PeerInfo { name, session_id: row.id, meta, state: summary.activity })
        });
        Ok(PeerPage { peers: peers.collect(), next })
    }

    /// Tells the other sessions of its tenant, in the folders of the caller, that have names of one that came or went, as far as each wants to know. Whom it does not reach in time is
    /// not told: a notice is no reason for anything to fail.
    pub(super) async fn announce(&self, id: &SessionId, whom: Named, what: &str) {
        let about = whom.comms.meta.description.as_ref();
        let about = about.map_or(String::new(), |about| format!(": {about}"));
        let text = format!("session {} {what}{about}", whom.comms.name);
        let telling = async {
            let (mut others, _) = self.listed(names(whom.tenant, None), TOLD_MAX).await?;
            others.retain(|row| row.id != *id);
            // To each of them the one that came or went counts, and it itself does not.
            let peers = others.len();
            let wanting = others.into_iter().filter(|row| {
                let summary = row.summary.as_ref().ok().and_then(Option::as_ref);
                let comms = summary.and_then(|summary| summary.comms.as_ref());
                comms.is_some_and(|comms| comms.is_told_of(peers))
            });
            let telling = wanting.map(|row| {
                let (session, name) = (Some(id.clone()), Some(whom.comms.name.clone()));
                let kind = PeerKind::Notice;
                let peer = Peer { session, name, kind, intent: None, silent: false };
                self.notify(row.id, (peer, text.clone()))
            });
            let mut told = futures::stream::iter(telling).buffer_unordered(TOLD_AT_ONCE);
            while told.next().await.is_some() {}
            Ok::<(), SessionError>(())
        };
        match tokio::time::timeout(TOLD_WITHIN, telling).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(session = %id, %error, "peers could not be told of a session");
            }
            Err(_) => tracing::warn!(session = %id, "not all peers were told of a session in time"),
        }
    }

    async fn notify(&self, other: SessionId, message: (Peer, String)) {
        let told = async {
            let session = self.session(&other).await?;
            session.tell(admit(None, message)).await.map_err(SessionError::from)
        };
        if let Err(error) = told.await {
            tracing::warn!(session = %other, %error, "a peer could not be told of a session");
        }
    }

    /// What a session is to its peers, where it has its name.
    pub(super) async fn has_name(
        &self,
        session: &DefaultSession,
    ) -> Result<Option<Named>, SessionError> {
        let state = in_time(session.state()).await?;
        let tenant = state.spec.tenant.clone();
        Ok(state.comms.filter(|_| !state.archived).map(|comms| Named { tenant, comms: *comms }))
    }

    /// The session of the caller's tenant and folders that has this name.
    async fn named(&self, name: &str) -> Result<Option<SessionId>, SessionError> {
        let filter = Filter { limit: Some(1), ..names(self.tenant(), Some(name.to_owned())) };
        let listed = in_time(self.host.core().ports().catalog.list(&filter)).await?;
        match listed.into_iter().next() {
            Some(row) if self.may_have(&row).await? => Ok(Some(row.id)),
            Some(_) | None => Ok(None),
        }
    }

    /// Whether an archived session can have its name again.
    pub(super) async fn check_name(&self, session: &DefaultSession) -> Result<(), SessionError> {
        let state = in_time(session.state()).await?;
        let Some(comms) = state.comms.filter(|_| state.archived) else { return Ok(()) };
        let filter = names(state.spec.tenant.clone(), Some(comms.name.clone()));
        let listed = in_time(self.host.core().ports().catalog.list(&filter)).await?;
        match listed.iter().any(|row| row.id != *session.id()) {
            false => Ok(()),
            true => {
                let session = session.id().clone();
                Err(JournalError::NameTaken { session, name: comms.name }.into())
            }
        }
    }

    /// The tenant whose sessions the caller makes.
    pub(super) fn tenant(&self) -> Option<Tenant> {
        match &self.caller.tenant {
            Some(TenantFilter::Of(tenant)) => Some(tenant.clone()),
            Some(TenantFilter::Nobody) | None => None,
        }
    }
}

/// Sessions of a tenant that have a name, or this one. A name says by itself that its session is not archived.
fn names(tenant: Option<Tenant>, name: Option<String>) -> Filter {
    let name = Some(NameFilter { tenant, name });
    Filter { name, archived: ArchivedFilter::With, ..Filter::default() }
}

/// Gives a session a message. With a key that it knows it is the first input of that key.
async fn write(
    session: &DefaultSession,
    key: Option<String>,
    message: (Peer, String),
) -> Result<u64, SessionError> {
    match session.tell(admit(key, message)).await? {
        Reply::Admitted(input) => Ok(input),
        Reply::Done | Reply::Attached(_) | Reply::Status(_) | Reply::Rejected(_) => {
            Err(SessionError::new(ErrorCode::AgentError, "the session gave no answer to a message"))
        }
    }
}

/// The message as an input.
fn admit(key: Option<String>, (peer, text): (Peer, String)) -> Command {
    let delivery = match peer.kind {
        PeerKind::Request => Delivery::Queue,
        PeerKind::Message | PeerKind::Response | PeerKind::Notice => Delivery::Steer,
    };
    let (content, peer) = (vec![Part::text(text)], Some(Box::new(peer)));
    let source = InputSource::External;
    Command::Admit(Admit { key, source, delivery, content, goal: None, output: None, peer })
}
