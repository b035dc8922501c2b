//! Sessions as files: lines of JSON, a header, then bodies and frames in the order in which they were written, and an end; a body stands before the first frame that
//! names it. They are read back frame by frame and hash by hash.

use std::collections::BTreeSet;
use std::io::{BufRead, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use oarlock_core::DefaultAgentCore;
use oarlock_core::event::{Entry, Event};
use oarlock_core::ids::{BlobId, Epoch, FrameId, Hash, Seq, SessionId, Tenant};
use oarlock_core::ports::journal::{BlobWriter, Fence, Frame, JournalError, Projection};
use oarlock_core::ports::tool::Place;
use oarlock_core::session::summary::{indexed_text, summary};
use oarlock_core::spec::SessionSpec;
use serde::{Deserialize, Serialize};

/// Version of the file.
pub const VERSION: u32 = 1;
/// A line is a frame of at most 256 KB, each byte of which may be written as six, or a piece of a body.
const LINE_BYTES_MAX: u64 = 2 << 20;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// The first one.
    Export {
        /// The version of the file.
        version: u32,
        /// The session.
        session: SessionId,
    },
    /// A piece of a body; the last one says so.
    Blob {
        /// The body.
        id: BlobId,
        /// The piece.
        base64: String,
        /// Whether it is the last.
        last: bool,
    },
    /// A frame.
    Frame {
        /// Its id.
        id: FrameId,
        /// Its epoch.
        epoch: Epoch,
        /// Its first entry.
        first: Seq,
        /// How many entries it has.
        count: u32,
        /// The hash of the frame before.
        prev: Hash,
        /// Its entries.
        body: String,
    },
    /// The last line: what a next frame would be linked to. A file without it is not whole.
    End {
        /// The hash of the last frame.
        head: Hash,
    },
}

/// Why a session was not read. Nothing of it is left behind; bodies that were read stay until they are collected.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not one, or not whole.
    #[error("line {line}: {why}")]
    Wrong {
        /// The line.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// It is there already.
    #[error("session {session} is here already; delete it first")]
    Here {
        /// The session.
        session: SessionId,
    },
    /// The store did not take it.
    #[error("line {line}: {source}")]
    Store {
        /// The line.
        line: usize,
        /// Why not.
        source: JournalError,
    },
    /// Nor did it remove what it had taken.
    #[error("half of the session is left behind: {source}")]
    Half {
        /// Why not.
        source: JournalError,
    },
}

/// Whose a session is from then on. It must not have been able to name a body that the file does not bring.
#[derive(Debug, Clone)]
pub struct Landing {
    /// Its id; that of the file when absent.
    pub id: Option<SessionId>,
    /// Its tenant.
    pub tenant: Option<Tenant>,
    /// Where it works.
    pub place: Place,
}

impl Landing {
    fn land(&self, entry: &mut Entry) {
        match &mut entry.event {
            Event::SessionCreated(created) => {
                if let Some(id) = &self.id {
                    created.id.clone_from(id);
                }
                let spec = &mut created.spec;
                spec.tenant.clone_from(&self.tenant);
                // Whoever repeats the request that made it there means another one here.
                spec.request = None;
                spec.cwd.clone_from(&self.place.cwd);
                spec.roots.clone_from(&self.place.roots);
            }
            Event::SessionNamed(named) => named.tenant.clone_from(&self.tenant),
            _ => {}
        }
    }

    /// The frame as it stands here: the first one says whose the session is, and each follows the one before.
    fn landed(&self, prev: Hash, frame: Frame, mut entries: Vec<Entry>) -> Frame {
        if frame.first > 1 {
            return Frame { prev, ..frame };
        }
        entries.iter_mut().for_each(|entry| self.land(entry));
        let mut body = Vec::with_capacity(frame.body.len());
        entries.iter().for_each(|entry| entry.encode_into(&mut body));
        Frame { prev, body: body.into(), ..frame }
    }
}

/// What a session was made as, by the first frame of a file that is held in memory; nothing when that does not say so in itself.
pub(crate) fn born(file: &str) -> Option<SessionSpec> {
    let lines = file.lines().map_while(|line| serde_json::from_str::<Line>(line).ok());
    let mut session = None;
    for line in lines {
        match line {
            Line::Export { session: id, .. } => session = Some(id),
            Line::Blob { .. } => {}
            Line::End { .. } => return None,
            Line::Frame { id, epoch, first, count, prev, body } => {
                let frame = Frame { id, epoch, first, count, prev, body: Bytes::from(body) };
                let entry = frame.entries(&session?).ok()?.into_iter().next()?;
                let Event::SessionCreated(created) = entry.event else { return None };
                return Some(created.spec);
            }
        }
    }
    None
}

/// Reads a session. It keeps its id, unless it is to be somebody's; it must not be in the store already.
///
/// # Errors
/// [`ImportError`].
pub async fn import(
    core: &DefaultAgentCore,
    input: &mut (dyn BufRead + Send),
    landing: Option<Landing>,
) -> Result<SessionId, ImportError> {
    let mut lines = Lines { input, number: 0 };
    let header = lines.next()?;
    let Some(Line::Export { version, session }) = header else {
        let why = "this is no exported session; `oarlock session export ID` writes one";
        return Err(lines.wrong(why));
    };
    if version != VERSION {
        return Err(lines.wrong(format!(
            "the file is of version {version}, and this program reads version {VERSION}"
        )));
    }
    let id = landing.as_ref().and_then(|landing| landing.id.clone());
    let id = id.unwrap_or_else(|| session.clone());
    let ports = core.ports();
    if ports.journal.tail(&id).await.is_ok() {
        return Err(ImportError::Here { session: id });
    }
    let fence = Fence::new_session(id.clone(), core.node().clone());
    let mut arrival = Arrival {
        core,
        landing,
        session,
        fence,
        head: Hash::default(),
        brought: BTreeSet::new(),
        body: None,
    };
    let read = async {
        while let Some(line) = lines.next()? {
            let is_end = matches!(line, Line::End { .. });
            arrival.take(line).await.map_err(|trouble| match trouble {
                Trouble::Wrong(why) => lines.wrong(why),
                Trouble::Store(source) => ImportError::Store { line: lines.number, source },
            })?;
            if is_end {
                let listed = list(core, &id).await;
                return listed.map_err(|source| ImportError::Store { line: lines.number, source });
            }
        }
        Err(lines.wrong("the file is not whole: it lacks its last lines"))
    };
    let read = read.await;
    if let (Err(error), true) = (&read, arrival.fence.next > 1) {
        tracing::debug!(%error, "a session was not read to its end");
        let purged = ports.catalog.purge(&id, core.node()).await;
        purged.map_err(|source| ImportError::Half { source })?;
    }
    read.map(|()| id)
}

/// Puts a session that was read on the list, and its words where searches find them.
async fn list(core: &DefaultAgentCore, id: &SessionId) -> Result<(), JournalError> {
    let state = core.state(id).await?;
    let (mut texts, mut after) = (Vec::new(), 0);
    loop {
        let entries: Vec<Entry> = core.entries(id, after).await?;
        let Some(last) = entries.last() else { break };
        after = last.seq;
        texts.extend(entries.iter().filter_map(indexed_text));
    }
    let put = Projection { summary: &summary(&state), texts: &texts, checkpoint: None };
    core.ports().catalog.put_projection(put).await
}

/// What is wrong with a line.
enum Trouble {
    Wrong(String),
    Store(JournalError),
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        Self::Store(error)
    }
}

fn wrong<T>(why: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Wrong(why.into()))
}

/// A session that is being read.
struct Arrival<'a> {
    core: &'a DefaultAgentCore,
    landing: Option<Landing>,
    /// Its id in the file.
    session: SessionId,
    /// Where it ends here.
    fence: Fence,
    /// Where it ends in the file.
    head: Hash,
    /// The bodies that the file brought.
    brought: BTreeSet<BlobId>,
    body: Option<Box<dyn BlobWriter>>,
}

impl Arrival<'_> {
    async fn take(&mut self, line: Line) -> Result<(), Trouble> {
        match line {
            Line::Export { .. } => wrong("a second header"),
            Line::End { .. } if self.fence.next == 1 => wrong("the file has no frames"),
            Line::End { head } if head == self.head => Ok(()),
            Line::End { .. } => wrong("the frames are not those that were written"),
            Line::Blob { id, base64, last } => {
                let Ok(bytes) = STANDARD.decode(base64) else {
                    return wrong("the blob is not base64");
                };
                let mut writer = match self.body.take() {
                    Some(writer) => writer,
                    None => self.core.ports().blobs.writer().await?,
                };
                writer.write(&bytes).await?;
                if !last {
                    self.body = Some(writer);
                    return Ok(());
                }
                let (written, _) = writer.finish().await?;
                if written != id {
                    return wrong(format!("the blob {id} has other content ({written})"));
                }
                self.brought.insert(id);
                Ok(())
            }
            Line::Frame { id, epoch, first, count, prev, body } => {
                let body = Bytes::from(body);
                self.append(Frame { id, epoch, first, count, prev, body }).await
            }
        }
    }

    async fn append(&mut self, frame: Frame) -> Result<(), Trouble> {
        if frame.first != self.fence.next || frame.prev != self.head {
            let first = frame.first;
            return wrong(format!("the frame at entry {first} does not follow the one before"));
        }
        let entries = frame.entries(&self.session)?;
        let head = frame.hash();
        let frame = match &self.landing {
            None => frame,
            Some(landing) => {
                check_bodies(self.core, &self.brought, &entries).await?;
                landing.landed(self.fence.head, frame, entries)
            }
        };
        let journal = &self.core.ports().journal;
        self.fence = match frame.epoch == self.fence.epoch {
            true => journal.append(&self.fence, &frame).await?,
            false => journal.claim(&self.fence, &frame).await?,
        };
        self.head = head;
        Ok(())
    }
}

/// Whether the file brought every body that these entries name: knowing the name of one is no right to it.
async fn check_bodies(
    core: &DefaultAgentCore,
    brought: &BTreeSet<BlobId>,
    entries: &[Entry],
) -> Result<(), Trouble> {
    for entry in entries {
        let mut named: Vec<BlobId> = entry.event.bodies().into_iter().cloned().collect();
        if let Event::Spilled(spilled) = &entry.event
            && brought.contains(&spilled.blob)
        {
            let bytes = usize::try_from(spilled.bytes).unwrap_or(usize::MAX).min(SPILLED_BYTES_MAX);
            let (json, _) = core.ports().blobs.read(&spilled.blob, 0, bytes).await?;
            let Ok(event) = serde_json::from_slice::<Event>(&json) else {
                return wrong(format!("entry {} lies in a body that is none", entry.seq));
            };
            named.extend(event.bodies().into_iter().cloned());
        }
        if let Some(absent) = named.iter().find(|named| !brought.contains(*named)) {
            let seq = entry.seq;
            return wrong(format!("entry {seq} names the body {absent}, which the file lacks"));
        }
    }
    Ok(())
}

/// Bytes of an entry that lies in a body, as far as it is looked into.
const SPILLED_BYTES_MAX: usize = 16 << 20;

struct Lines<'a> {
    input: &'a mut (dyn BufRead + Send),
    number: usize,
}

impl Lines<'_> {
    fn wrong(&self, why: impl Into<String>) -> ImportError {
        ImportError::Wrong { line: self.number, why: why.into() }
    }

    fn next(&mut self) -> Result<Option<Line>, ImportError> {
        let mut text = String::new();
        self.number += 1;
        let read = (&mut *self.input).take(LINE_BYTES_MAX).read_line(&mut text);
        match read {
            Err(error) => Err(self.wrong(format!("cannot be read: {error}"))),
            Ok(read) if read as u64 >= LINE_BYTES_MAX => {
                Err(self.wrong("longer than any line of an exported session"))
            }
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| self.wrong(format!("not a line of an exported session: {error}"))),
        }
    }
}
