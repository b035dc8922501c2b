//! Where sessions are kept: the journal, which is the truth, the catalogue, which is derived from it, and the blobs that entries name.
//!
//! Safety comes from [`Journal::append`] alone: it takes a frame only from the current epoch and only at the next place.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Entry, Event, WriterChanged};
use crate::ids::{BlobId, Epoch, FrameId, Hash, NodeId, Seq, SessionId, Tenant, Timestamp};
use crate::message::Usage;
pub use crate::ports::filter::{
    ArchivedFilter, Filter, InvalidListCursor, InvalidQuery, ListCursor, NameFilter,
    QUERY_WORDS_MAX, TenantFilter, check_query, query_words,
};
pub use crate::ports::names::{Name, Naming};
use crate::spec::Comms;

/// The most bytes that the body of one frame may have.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;

/// Append-only logs of frames, one for each session.
pub trait Journal: Send + Sync + fmt::Debug {
    /// Makes this process the writer of a session that exists. The claim is itself an append: `claim` is a frame with one
    /// `writer_changed` of the next epoch. The new fence is for the frame after it.
    ///
    /// # Errors
    /// `Held` while a living process holds the session; `Conflict` when the tail is not where `observed` says; and those of `append`.
    fn claim<'a>(
        &'a self,
        observed: &'a Fence,
        claim: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>>;

    /// Appends a frame, all or nothing, and returns the fence for the next. When it returns the frame survives a power cut.
    /// With [`Fence::new_session`] it creates the session.
    ///
    /// What the frame does to the session's name ([`Frame::naming`]) is decided with it: of the sessions of a tenant that have not given theirs
    /// back one has a name.
    ///
    /// # Errors
    /// `Fenced`, `Conflict` or `NameTaken`: it did not happen and never will. `Unavailable`, `TooLarge`: it did not happen. `Ambiguous`: ask `resolve`.
    fn append<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>>;

    /// After `Ambiguous`: whether that frame was committed.
    fn resolve<'a>(
        &'a self,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Resolved, JournalError>>;

    /// The frames that have entries after `after`, in order, beginning with the one that holds `after + 1`, until about `max_bytes` of bodies
    /// (at least one frame); empty at the end. Bodies are returned as they were appended; the store has checked each against its hash.
    fn read<'a>(
        &'a self,
        session: &'a SessionId,
        after: Seq,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<Frame>, JournalError>>;

    /// Where the log ends. It may be out of date when it arrives: a hint for `claim`.
    fn tail<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<Fence, JournalError>>;

    /// Appends `release`, a frame with one `writer_released`, and lets go.
    fn release<'a>(
        &'a self,
        fence: &'a Fence,
        release: &'a Frame,
    ) -> BoxFuture<'a, Result<(), JournalError>>;
}

/// The right to append one more frame: who writes and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The session.
    pub session: SessionId,
    /// The writer's epoch.
    pub epoch: Epoch,
    /// The writer's process.
    pub node: NodeId,
    /// The `seq` of the next entry.
    pub next: Seq,
    /// Hash of the last frame.
    pub head: Hash,
    /// The store's own mark of the tail; means nothing to anybody else.
    pub token: u64,
}

impl Fence {
    /// The fence of a session that does not exist yet.
    #[must_use]
    pub fn new_session(session: SessionId, node: NodeId) -> Self {
        Self { session, epoch: 1, node, next: 1, head: Hash::default(), token: 0 }
    }

    /// The fence after `frame` was appended at this one.
    #[must_use]
    pub fn after(&self, frame: &Frame, token: u64) -> Self {
        Self {
            next: frame.last() + 1,
            epoch: frame.epoch,
            head: frame.hash(),
            token,
            ..self.clone()
        }
    }
}

/// One atomic append: 1..k entries, and what links them to the frame before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Drawn by the writer.
    pub id: FrameId,
    /// The writer's epoch.
    pub epoch: Epoch,
    /// The `seq` of its first entry.
    pub first: Seq,
    /// How many entries it has, at least 1.
    pub count: u32,
    /// Hash of the frame before; all zeros for the first.
    pub prev: Hash,
    /// The entries as JSON, each followed by a line feed.
    pub body: Bytes,
}

impl Frame {
    /// Encodes entries for the place that `fence` names. The entries must be numbered from `fence.next` on.
    ///
    /// # Errors
    /// `TooLarge` when the body is over [`FRAME_BYTES_MAX`].
    pub fn encode(id: FrameId, fence: &Fence, entries: &[Entry]) -> Result<Self, JournalError> {
        debug_assert!(
            entries.first().is_some_and(|entry| entry.seq == fence.next),
            "a frame begins where its fence says"
        );
        let mut body = Vec::with_capacity(512 * entries.len());
        for entry in entries {
            entry.encode_into(&mut body);
        }
        Self::of_body(id, fence, body, entries.len())
    }

    /// A frame of entries that are encoded already.
    ///
    /// # Errors
    /// `TooLarge` when the body is over [`FRAME_BYTES_MAX`].
    pub fn of_body(
        id: FrameId,
        fence: &Fence,
        body: Vec<u8>,
        count: usize,
    ) -> Result<Self, JournalError> {
        if body.len() > FRAME_BYTES_MAX {
            return Err(JournalError::TooLarge {
                session: fence.session.clone(),
                bytes: body.len(),
                bytes_max: FRAME_BYTES_MAX,
            });
        }
        let count = u32::try_from(count).expect("a frame of 256 KB has fewer entries");
        Ok(Self {
            id,
            epoch: fence.epoch,
            first: fence.next,
            count,
            prev: fence.head,
            body: body.into(),
        })
    }

    /// The frame by which `node` claims a session whose tail was observed.
    #[must_use]
    pub fn claim(id: FrameId, observed: &Fence, node: NodeId, at: Timestamp) -> Self {
        let epoch = observed.epoch + 1;
        let event = Event::WriterChanged(WriterChanged { epoch, node });
        let entry = Entry { seq: observed.next, at, turn: None, scope: Vec::new(), event };
        let fence = Fence { epoch, ..observed.clone() };
        Self::encode(id, &fence, &[entry]).expect("one small entry fits a frame")
    }

    /// The entries.
    ///
    /// # Errors
    /// `Corrupt` when the body is not what a writer of this format wrote.
    pub fn entries(&self, session: &SessionId) -> Result<Vec<Entry>, JournalError> {
        let corrupt =
            |why: String| JournalError::Corrupt { session: session.clone(), seq: self.first, why };
        let mut entries = Vec::with_capacity(self.count as usize);
        // Not line by line: what a provider wrote is kept byte for byte, line ends between its JSON tokens included.
        for entry in serde_json::Deserializer::from_slice(&self.body).into_iter::<Entry>() {
            let entry = entry.map_err(|error| corrupt(error.to_string()))?;
            if entry.seq != self.first + entries.len() as Seq {
                return Err(corrupt(format!("entry {} stands in the place of another", entry.seq)));
            }
            entries.push(entry);
        }
        if entries.len() != self.count as usize {
            return Err(corrupt(format!(
                "{} entries where {} were written",
                entries.len(),
                self.count
            )));
        }
        Ok(entries)
    }

    /// The `seq` of its last entry.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.first + Seq::from(self.count) - 1
    }

    /// What the next frame is linked to.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.prev.0);
        hasher.update(&(self.id.as_str().len() as u64).to_le_bytes());
        hasher.update(self.id.as_str().as_bytes());
        hasher.update(&self.epoch.to_le_bytes());
        hasher.update(&self.first.to_le_bytes());
        hasher.update(&self.count.to_le_bytes());
        hasher.update(&self.body);
        Hash(*hasher.finalize().as_bytes())
    }
}

/// What `resolve` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// The frame is in the log; this is the fence after it.
    Committed(Fence),
    /// It is not: append the identical frame again.
    Absent,
}

/// Derived views over all sessions. Everything here can be rebuilt from the journals.
pub trait Catalog: Send + Sync + fmt::Debug {
    /// Stores what was derived from a session. An older one (by the summary's epoch, then its `upto`) never replaces a newer one.
    fn put_projection<'a>(
        &'a self,
        projection: Projection<'a>,
    ) -> BoxFuture<'a, Result<(), JournalError>>;

    /// The last checkpoint that was stored of a session, as it was stored; nobody has checked it.
    fn checkpoint<'a>(
        &'a self,
        session: &'a SessionId,
    ) -> BoxFuture<'a, Result<Option<Bytes>, JournalError>>;

    /// Sessions, latest `updated` first, as [`ListCursor`] says. One unreadable session hides no other: its row says so.
    fn list<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<Vec<Listed>, JournalError>>;

    /// Texts of the sessions that `filter` means that have all the words of `query`, best first.
    fn search<'a>(
        &'a self,
        query: &'a str,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Vec<Hit>, JournalError>>;

    /// Tokens and money of the sessions that `list` gives.
    fn usage<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<UsageRow, JournalError>>;

    /// Removes a session whole, its texts and checkpoint too. Blobs that nothing names any more go with the next collection.
    ///
    /// # Errors
    /// `Held` while a living process other than `node` holds it; `NotFound`.
    fn purge<'a>(
        &'a self,
        session: &'a SessionId,
        node: &'a NodeId,
    ) -> BoxFuture<'a, Result<(), JournalError>>;
}

/// What is derived from a session, to be stored together.
#[derive(Debug, Clone, Copy)]
pub struct Projection<'a> {
    /// What lists show.
    pub summary: &'a Summary,
    /// What searches find. A text takes the place of an earlier one of its entry; others stay.
    pub texts: &'a [IndexedText],
    /// What opening the session begins with, for [`crate::session::checkpoint`]; the stored one stays where there is none.
    pub checkpoint: Option<&'a Bytes>,
}

/// What lists show of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The session.
    pub id: SessionId,
    /// The epoch it was derived under.
    pub epoch: Epoch,
    /// The last entry it is derived from.
    pub upto: Seq,
    /// Its working folder.
    pub cwd: PathBuf,
    /// Further folders that its tools may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<PathBuf>,
    /// Whose it is, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// Its title: the configured one, else the beginning of its first input.
    pub title: String,
    /// `provider/model`.
    pub model: String,
    /// When it was made.
    pub created: Timestamp,
    /// When its last entry was written.
    pub updated: Timestamp,
    /// What it is doing.
    pub activity: Activity,
    /// Turns that ended.
    pub turns: u32,
    /// Its tokens.
    pub usage: Usage,
    /// Its money in millionths of a US dollar, where all prices were known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// Whether it is archived.
    #[serde(default)]
    pub archived: bool,
    /// The name by which others of its tenant write to it, and what goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comms: Option<Comms>,
    /// Free labels.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Its parent, when it is a subagent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SessionId>,
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// No turn is open.
    Idle,
    /// A turn is open.
    Running,
    /// A turn is open and waits for an answer from outside.
    AwaitingInput,
}

/// A row of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The session.
    pub id: SessionId,
    /// By what it stands in lists: when its last entry was written, as far as its summary goes; 1970 when none was stored yet.
    pub updated: Timestamp,
    /// The last entry of its journal. A summary that ends before it is out of date.
    pub tail: Seq,
    /// The process that holds it, if one lives.
    pub held_by: Option<NodeId>,
    /// Its summary; absent when none was stored yet, an error in words when it cannot be read.
    pub summary: Result<Option<Summary>, String>,
}

/// Text of an entry that searches look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedText {
    /// The entry.
    pub seq: Seq,
    /// Its words.
    pub text: String,
}

/// A place where a search found its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The session.
    pub session: SessionId,
    /// The entry.
    pub seq: Seq,
    /// The words around it.
    pub snippet: String,
}

/// Sums over sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageRow {
    /// How many sessions.
    pub sessions: u64,
    /// Their tokens.
    pub usage: Usage,
    /// Their money in millionths of a US dollar; what was unknown is not in it.
    pub cost_micros: u64,
}

/// Large bodies by their content.
pub trait Blobs: Send + Sync + fmt::Debug {
    /// Stores a body. It is on the disk when this returns, so that an entry may name it.
    fn put(&self, bytes: Bytes) -> BoxFuture<'_, Result<BlobId, JournalError>>;

    /// Begins a body that is too large for memory.
    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, JournalError>>;

    /// Up to `max_bytes` bytes of a body from `offset`, and the size of the whole.
    ///
    /// # Errors
    /// `BlobNotFound`; `BlobCorrupt` when the bytes do not have the hash that names them (checked when the whole is read).
    fn read<'a>(
        &'a self,
        blob: &'a BlobId,
        offset: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<(Bytes, u64), JournalError>>;

    /// Whether the store that these bodies lie beside takes writes: commits something small there that changes nothing and that nobody reads, as
    /// durably as an entry.
    ///
    /// # Errors
    /// Those with which an append would fail: `Unavailable` for a full or read-only disk.
    fn probe(&self) -> BoxFuture<'_, Result<(), JournalError>>;
}

/// A body being written. Dropping it leaves nothing behind.
pub trait BlobWriter: Send {
    /// Adds bytes. What is beyond the store's limit for one body is dropped and not counted.
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), JournalError>>;

    /// Ends the body: its id and how many bytes were kept.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(BlobId, u64), JournalError>>;
}

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// There is no such session.
    #[error("there is no session {session}")]
    NotFound {
        /// The session.
        session: SessionId,
    },
    /// There is no such blob.
    #[error("there is no stored body {blob}")]
    BlobNotFound {
        /// The blob.
        blob: BlobId,
    },
    /// A living process holds the session.
    #[error(
        "session {session} is open in another process ({by}); close it there, or wait until that process ends"
    )]
    Held {
        /// The session.
        session: SessionId,
        /// Who holds it, in words.
        by: String,
    },
    /// Another writer took over: this one must stop.
    #[error("session {session} was taken over by another writer (epoch {found}, ours is {ours})")]
    Fenced {
        /// The session.
        session: SessionId,
        /// The epoch in the store.
        found: Epoch,
        /// The epoch of the refused frame.
        ours: Epoch,
    },
    /// The log does not end where the writer believes.
    #[error("journal of {session} continues at {found}, expected {expected}")]
    Conflict {
        /// The session.
        session: SessionId,
        /// The next `seq` in the store.
        found: Seq,
        /// The `seq` of the refused frame.
        expected: Seq,
    },
    /// It may have happened.
    #[error("it is not known whether the append to {session} happened: {why}")]
    Ambiguous {
        /// The session.
        session: SessionId,
        /// What went wrong.
        why: String,
    },
    /// The store cannot be used at present: a full disk, a missing folder, a read-only place.
    #[error("{why}")]
    Unavailable {
        /// What is wrong and what to do about it.
        why: String,
    },
    /// Another session of the tenant has the name.
    #[error(
        "session {session} cannot have the name `{name}`: another one has it; archive that one, or choose another name"
    )]
    NameTaken {
        /// The session.
        session: SessionId,
        /// The name.
        name: String,
    },
    /// The frame is over the limit.
    #[error("a frame of {bytes} bytes for {session} is over the limit of {bytes_max}")]
    TooLarge {
        /// The session.
        session: SessionId,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A stored body does not have the hash that names it.
    #[error("stored body {blob} is damaged: {why}; restore it from a backup")]
    BlobCorrupt {
        /// The blob.
        blob: BlobId,
        /// What is wrong.
        why: String,
    },
    /// What was read is not what was written.
    #[error("journal of {session} is damaged at entry {seq}: {why}")]
    Corrupt {
        /// The session.
        session: SessionId,
        /// The first entry that cannot be trusted.
        seq: Seq,
        /// What is wrong.
        why: String,
    },
}
