//! Sessions as files: `session export` writes one, which `session import` reads back, frame by frame and hash by hash.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oarlock_core::DefaultAgentCore;
use oarlock_core::event::Event;
use oarlock_core::ids::{BlobId, Hash, SessionId};
use oarlock_core::ports::journal::Frame;
use oarlock_server::portable::{Line, VERSION};

/// How many bytes of frames are held at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// How many bytes of a blob stand in one line.
const BLOB_CHUNK_BYTES: usize = 768 * 1024;

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
