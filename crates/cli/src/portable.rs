//! Sessions as files: `session export` writes one, `session import` reads it back, frame by frame and hash by hash.
//!
//! The file is lines of JSON: a header, then blobs and frames in the order in which they were written, and an end; a blob stands before the
//! first frame that names it.

use std::collections::BTreeSet;
use std::io::{BufRead, Read, Write};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use oarlock_core::DefaultAgentCore;
use oarlock_core::event::{Entry, Event};
use oarlock_core::ids::{BlobId, Epoch, FrameId, Hash, NodeId, Seq, SessionId};
use oarlock_core::ports::journal::{Fence, Frame, Projection};
use oarlock_core::session::summary::{indexed_text, summary};
use serde::{Deserialize, Serialize};

/// Version of the file.
const VERSION: u32 = 1;
/// How many bytes of frames are held at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// How many bytes of a blob stand in one line.
const BLOB_CHUNK_BYTES: usize = 768 * 1024;

/// A line is a frame of at most 256 KB, each byte of which may be written as six, or a piece of a blob.
const LINE_BYTES_MAX: u64 = 2 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Export {
        version: u32,
        session: SessionId,
    },
    /// A piece of a blob; the last one says so.
    Blob {
        id: BlobId,
        base64: String,
        last: bool,
    },
    Frame {
        id: FrameId,
        epoch: Epoch,
        first: Seq,
        count: u32,
        prev: Hash,
        body: String,
    },
    /// The last line: what a next frame would be linked to. A file without it is not whole.
    End {
        head: Hash,
    },
}

/// Writes a session.
///
/// # Errors
/// When the session or one of its blobs cannot be read, or `out` not written.
pub async fn export(
    core: &DefaultAgentCore,
    session: &SessionId,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (mut after, mut known, mut head) = (0, BTreeSet::new(), Hash::default());
    loop {
        let frames = core.ports().journal.read(session, after, CHUNK_BYTES).await?;
        let Some(last) = frames.last() else {
            write(out, &Line::End { head })?;
            return Ok(out.flush()?);
        };
        head = last.hash();
        if after == 0 {
            write(out, &Line::Export { version: VERSION, session: session.clone() })?;
        }
        after = last.last();
        for frame in frames {
            for blob in named_blobs(core, &frame, session).await? {
                if known.insert(blob.clone()) {
                    export_blob(core, &blob, out).await?;
                }
            }
            let body = String::from_utf8(frame.body.to_vec()).context("a frame is not text")?;
            let Frame { id, epoch, first, count, prev, .. } = frame;
            write(out, &Line::Frame { id, epoch, first, count, prev, body })?;
        }
    }
}

/// The blobs that a frame's entries name, and those that hold entries themselves.
async fn named_blobs(
    core: &DefaultAgentCore,
    frame: &Frame,
    session: &SessionId,
) -> anyhow::Result<Vec<BlobId>> {
    let mut blobs = Vec::new();
    for entry in frame.entries(session)? {
        if let Event::Spilled(spilled) = &entry.event {
            let size = usize::try_from(spilled.bytes)?;
            let (json, _) = core.ports().blobs.read(&spilled.blob, 0, size).await?;
            let event: Event = serde_json::from_slice(&json)?;
            blobs.extend(event.bodies().into_iter().cloned());
        }
        blobs.extend(entry.event.bodies().into_iter().cloned());
    }
    Ok(blobs)
}

async fn export_blob(
    core: &DefaultAgentCore,
    blob: &BlobId,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut offset = 0;
    loop {
        let (bytes, size) = core.ports().blobs.read(blob, offset, BLOB_CHUNK_BYTES).await?;
        offset += bytes.len() as u64;
        let last = offset >= size;
        ensure!(last || !bytes.is_empty(), "the stored body {blob} ends before its size");
        write(out, &Line::Blob { id: blob.clone(), base64: STANDARD.encode(&bytes), last })?;
        if last {
            return Ok(());
        }
    }
}

fn write(out: &mut dyn Write, line: &Line) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    Ok(out.write_all(b"\n")?)
}

/// Reads a session. It keeps its id, so it must not be in the store already.
///
/// # Errors
/// With the line that is wrong. Nothing of the session is left behind then; blobs that were read stay until they are collected.
pub async fn import(
    core: &DefaultAgentCore,
    node: &NodeId,
    input: &mut dyn BufRead,
) -> anyhow::Result<SessionId> {
    let mut lines = Lines { input, number: 0 };
    let Some(Line::Export { version, session }) = lines.next()? else {
        bail!("line 1: this is no exported session; `oarlock session export ID` writes one");
    };
    ensure!(
        version == VERSION,
        "line 1: the file is of version {version}, and this program reads version {VERSION}"
    );
    ensure!(
        core.ports().journal.tail(&session).await.is_err(),
        "session {session} is here already; delete it first"
    );
    let mut began = false;
    let result = frames(core, (&session, node), &mut lines, &mut began).await;
    if let Err(error) = result {
        if began {
            core.ports()
                .catalog
                .purge(&session, node)
                .await
                .context("half of the session is left behind")?;
        }
        return Err(error.context(format!("line {}", lines.number)));
    }
    let state = core.state(&session).await?;
    let mut texts = Vec::new();
    let mut after = 0;
    loop {
        let entries: Vec<Entry> = core.entries(&session, after).await?;
        let Some(last) = entries.last() else { break };
        after = last.seq;
        texts.extend(entries.iter().filter_map(indexed_text));
    }
    let put = Projection { summary: &summary(&state), texts: &texts, checkpoint: None };
    core.ports().catalog.put_projection(put).await?;
    Ok(session)
}

async fn frames(
    core: &DefaultAgentCore,
    (session, node): (&SessionId, &NodeId),
    lines: &mut Lines<'_>,
    began: &mut bool,
) -> anyhow::Result<()> {
    let journal = &core.ports().journal;
    let mut fence = Fence::new_session(session.clone(), node.clone());
    let mut blob = None;
    while let Some(line) = lines.next()? {
        match line {
            Line::Export { .. } => bail!("a second header"),
            Line::End { head } => {
                ensure!(*began, "the file has no frames");
                ensure!(head == fence.head, "the frames are not those that were written");
                return Ok(());
            }
            Line::Blob { id, base64, last } => {
                let bytes = STANDARD.decode(base64).context("the blob is not base64")?;
                if blob.is_none() {
                    blob = Some(core.ports().blobs.writer().await?);
                }
                let writer = blob.as_mut().expect("it was just made");
                writer.write(&bytes).await?;
                if last {
                    let (written, _) = blob.take().expect("it is being written").finish().await?;
                    ensure!(written == id, "the blob {id} has other content ({written})");
                }
            }
            Line::Frame { id, epoch, first, count, prev, body } => {
                let frame = Frame { id, epoch, first, count, prev, body: Bytes::from(body) };
                ensure!(
                    frame.first == fence.next && frame.prev == fence.head,
                    "the frame at entry {first} does not follow the one before"
                );
                frame.entries(session)?;
                fence = match frame.epoch == fence.epoch {
                    true => journal.append(&fence, &frame).await?,
                    false => journal.claim(&fence, &frame).await?,
                };
                *began = true;
            }
        }
    }
    bail!("the file is not whole: it lacks its last lines");
}

struct Lines<'a> {
    input: &'a mut dyn BufRead,
    number: usize,
}

impl Lines<'_> {
    fn next(&mut self) -> anyhow::Result<Option<Line>> {
        let mut text = String::new();
        self.number += 1;
        let read = (&mut *self.input)
            .take(LINE_BYTES_MAX)
            .read_line(&mut text)
            .with_context(|| format!("line {}: cannot be read", self.number))?;
        ensure!(
            (read as u64) < LINE_BYTES_MAX,
            "line {}: longer than any line of an exported session",
            self.number
        );
        match read {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&text).with_context(|| {
                format!("line {}: not a line of an exported session", self.number)
            })?)),
        }
    }
}
