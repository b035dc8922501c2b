//! Which bodies an input may name: a body's name is its hash, and knowing that is no right to it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use oarlock_core::ids::{BlobId, SessionId, Tenant};
use oarlock_core::message::{Media, Part};
use oarlock_core::ports::journal::{JournalError, TenantFilter};
use oarlock_core::service::{Prompt, SessionError};

use super::{Sessions, in_time};

/// Bodies of a tenant that are remembered; of those before them it is known by the sessions that name them alone.
const REMEMBERED_MAX: usize = 1024;
/// First bytes of a body that tell what it is.
const PROBE_BYTES: usize = 64;

/// Whose bodies were stored by this process, the last of each tenant.
#[derive(Debug, Default)]
pub(super) struct Uploads(Mutex<HashMap<Option<Tenant>, VecDeque<BlobId>>>);

impl Uploads {
    pub(super) fn remember(&self, filter: Option<&TenantFilter>, blob: BlobId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.entry(tenant(filter)).or_default();
        if own.contains(&blob) {
            return;
        }
        if own.len() >= REMEMBERED_MAX {
            own.pop_front();
        }
        own.push_back(blob);
    }

    fn knows(&self, filter: Option<&TenantFilter>, blob: &BlobId) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&tenant(filter)).is_some_and(|own| own.contains(blob))
    }
}

fn tenant(filter: Option<&TenantFilter>) -> Option<Tenant> {
    match filter {
        Some(TenantFilter::Of(tenant)) => Some(tenant.clone()),
        Some(TenantFilter::Nobody) | None => None,
    }
}

impl Sessions {
    /// Whether every body that a prompt names is there for this caller: stored by its tenant a while ago, or named by the session already. One who sees
    /// all sessions may name what is stored. Others are told the same of what is not there and of what is not theirs.
    pub(super) async fn check_bodies(
        &self,
        session: &SessionId,
        prompt: &Prompt,
    ) -> Result<(), SessionError> {
        let Prompt::Parts(parts) = prompt else { return Ok(()) };
        for part in parts {
            let Some((blob, bytes)) = part.body() else { continue };
            let filter = self.caller.tenant.as_ref();
            let is_theirs = filter.is_none()
                || self.uploads.knows(filter, blob)
                || self.is_named(session, blob).await?;
            let stored = if is_theirs { self.stored(blob).await? } else { None };
            let words = match stored {
                Some((first, size)) if size == bytes => match is_as_told(part, &first) {
                    true => continue,
                    false => {
                        format!("the body {blob} is not what its part says by its first bytes")
                    }
                },
                Some((_, size)) => format!("the body {blob} has {size} bytes and not {bytes}"),
                None => format!(
                    "there is no body {blob} to be named here; store it first (`POST /v1/blobs`), shortly before"
                ),
            };
            return Err(SessionError::invalid(words));
        }
        Ok(())
    }

    /// The first bytes of a body that is stored, and its size.
    async fn stored(&self, blob: &BlobId) -> Result<Option<(Bytes, u64)>, SessionError> {
        let found = async {
            match self.host.core().ports().blobs.read(blob, 0, PROBE_BYTES).await {
                Ok(found) => Ok(Some(found)),
                Err(JournalError::BlobNotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        in_time(found).await
    }

    /// Whether an entry of a session names a body; none does of a session that is not there.
    pub(super) async fn is_named(
        &self,
        session: &SessionId,
        blob: &BlobId,
    ) -> Result<bool, SessionError> {
        let mut after = 0;
        loop {
            let read = async {
                match self.host.core().entries(session, after).await {
                    Err(JournalError::NotFound { .. }) => Ok(Vec::new()),
                    read => read,
                }
            };
            let entries = in_time(read).await?;
            let Some(last) = entries.last() else { return Ok(false) };
            after = last.seq;
            if entries.iter().any(|entry| entry.event.bodies().contains(&blob)) {
                return Ok(true);
            }
        }
    }
}

/// Whether a body is of the kind and the type that its part says. A provider refuses every request that has another one in it.
fn is_as_told(part: &Part, first: &[u8]) -> bool {
    match (part, Media::of(first)) {
        (Part::Image { media_type, .. }, Some(Media::Image(found)))
        | (Part::Document { media_type, .. }, Some(Media::Document(found))) => media_type == found,
        _ => false,
    }
}
