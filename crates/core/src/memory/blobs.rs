//! The bodies of the store in memory.

use bytes::Bytes;
use futures::future::{BoxFuture, ready};

use super::{Data, MEMORY_BLOB_BYTES_MAX, MemoryStore};
use crate::ids::BlobId;
use crate::ports::journal::{BlobWriter, JournalError};

impl Data {
    pub(super) fn put_blob(&mut self, bytes: Bytes) -> Result<BlobId, JournalError> {
        if bytes.len() > MEMORY_BLOB_BYTES_MAX {
            let why = format!(
                "a body of {} bytes is over the limit of {MEMORY_BLOB_BYTES_MAX} of the store in memory",
                bytes.len()
            );
            return Err(JournalError::Unavailable { why });
        }
        let id = BlobId::of(&bytes);
        if !self.blobs.contains_key(&id) {
            self.reserve(bytes.len())?;
            self.blobs.insert(id.clone(), bytes);
        }
        Ok(id)
    }

    pub(super) fn read_blob(
        &self,
        blob: &BlobId,
        offset: u64,
        max_bytes: usize,
    ) -> Result<(Bytes, u64), JournalError> {
        let Some(body) = self.blobs.get(blob) else {
            return Err(JournalError::BlobNotFound { blob: blob.clone() });
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(body.len());
        let end = start.saturating_add(max_bytes).min(body.len());
        Ok((body.slice(start..end), body.len() as u64))
    }
}

/// A body being written; nothing is stored before it is finished.
pub(super) struct Writer {
    store: MemoryStore,
    body: Vec<u8>,
}

impl Writer {
    pub(super) fn new(store: MemoryStore) -> Self {
        Self { store, body: Vec::new() }
    }
}

impl BlobWriter for Writer {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), JournalError>> {
        let room = MEMORY_BLOB_BYTES_MAX - self.body.len();
        self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Box::pin(ready(Ok(())))
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(BlobId, u64), JournalError>> {
        let size = self.body.len() as u64;
        let stored = self.store.data().put_blob(self.body.into());
        Box::pin(ready(stored.map(|id| (id, size))))
    }
}
