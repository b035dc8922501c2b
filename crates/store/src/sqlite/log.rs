//! Journals in SQL: what a frame may follow, and whether what is read is what was written.

use oarlock_core::event::Event;
use oarlock_core::ids::{Epoch, FrameId, Hash, NodeId, Seq, SessionId};
use oarlock_core::ports::journal::{Fence, Frame, JournalError, Resolved};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::failure::Trouble;
use super::names;
use super::writer::Desk;

/// A session's row: where its log ends and who writes it.
struct Tail {
    no: i64,
    owner: String,
    held: bool,
    /// Whether it was given a name, which it may have given back.
    named: bool,
    epoch: Epoch,
    next: Seq,
    head: Hash,
}

/// SQLite's integers are signed; no count here comes near 2^63.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn natural(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

pub(super) fn append(desk: &mut Desk<'_>, fence: &Fence, frame: &Frame) -> Result<Fence, Trouble> {
    let session = &fence.session;
    let tail = match find(desk.connection, session)? {
        None if fence.next == 1 && fence.epoch == 1 => create(desk, fence, frame)?,
        None => return Err(JournalError::NotFound { session: session.clone() }.into()),
        Some(tail) if tail.epoch != frame.epoch => {
            let (found, ours) = (tail.epoch, frame.epoch);
            return Err(JournalError::Fenced { session: session.clone(), found, ours }.into());
        }
        Some(tail) => tail,
    };
    let after = push(desk.connection, &tail, fence, frame)?;
    if frame.first == 1 || tail.named {
        names::apply(desk.connection, (tail.no, session), frame)?;
    }
    Ok(after)
}

pub(super) fn claim(
    desk: &mut Desk<'_>,
    observed: &Fence,
    claim: &Frame,
) -> Result<Fence, Trouble> {
    let session = &observed.session;
    let node = claimant(session, claim)?;
    let tail = existing(desk.connection, session)?;
    refuse_held(desk, session, &tail, &node)?;
    if tail.epoch + 1 != claim.epoch {
        let (found, ours) = (tail.epoch, claim.epoch);
        return Err(JournalError::Fenced { session: session.clone(), found, ours }.into());
    }
    desk.nodes.hold()?;
    let fence = Fence { node: node.clone(), epoch: claim.epoch, ..observed.clone() };
    let fence = push(desk.connection, &tail, &fence, claim)?;
    desk.connection
        .prepare_cached("UPDATE session SET owner = ?2, held = 1, epoch = ?3 WHERE no = ?1")?
        .execute(params![tail.no, node.as_str(), int(claim.epoch)])?;
    Ok(fence)
}

pub(super) fn release(desk: &mut Desk<'_>, fence: &Fence, release: &Frame) -> Result<(), Trouble> {
    append(desk, fence, release)?;
    desk.connection
        .prepare_cached("UPDATE session SET held = 0 WHERE id = ?1")?
        .execute([fence.session.as_str()])?;
    Ok(())
}

pub(super) fn purge(
    desk: &mut Desk<'_>,
    session: &SessionId,
    node: &NodeId,
) -> Result<(), Trouble> {
    let tail = existing(desk.connection, session)?;
    refuse_held(desk, session, &tail, node)?;
    remove(desk, tail.no)
}

/// As [`purge`], for a session that ends with `tip` and that no living process holds.
pub(super) fn purge_unchanged(
    desk: &Desk<'_>,
    session: &SessionId,
    tip: Seq,
) -> Result<(), Trouble> {
    let tail = existing(desk.connection, session)?;
    if let Some(by) = desk.nodes.living(&tail.owner)?.filter(|_| tail.held) {
        return Err(JournalError::Held { session: session.clone(), by }.into());
    }
    if tail.next != tip + 1 {
        let (found, expected) = (tail.next, tip + 1);
        return Err(JournalError::Conflict { session: session.clone(), found, expected }.into());
    }
    remove(desk, tail.no)
}

fn remove(desk: &Desk<'_>, no: i64) -> Result<(), Trouble> {
    for sql in [
        "DELETE FROM frame WHERE session = ?1",
        "DELETE FROM text WHERE session = ?1",
        "DELETE FROM label WHERE session = ?1",
        "DELETE FROM checkpoint WHERE session = ?1",
        "DELETE FROM session WHERE no = ?1",
    ] {
        desk.connection.prepare_cached(sql)?.execute([no])?;
    }
    Ok(())
}

pub(super) fn resolve(
    desk: &mut Desk<'_>,
    fence: &Fence,
    frame: &Frame,
) -> Result<Resolved, Trouble> {
    let sql = "SELECT frame.hash FROM frame JOIN session ON session.no = frame.session
        WHERE session.id = ?1 AND frame.first = ?2 AND frame.frame_id = ?3";
    let found: Option<[u8; 32]> = desk
        .connection
        .prepare_cached(sql)?
        .query_row(params![fence.session.as_str(), int(frame.first), frame.id.as_str()], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(match found {
        Some(hash) if hash == frame.hash().0 => {
            Resolved::Committed(fence.after(frame, frame.last() + 1))
        }
        Some(_) | None => Resolved::Absent,
    })
}

pub(super) fn tail(connection: &Connection, session: &SessionId) -> Result<Fence, Trouble> {
    let tail = existing(connection, session)?;
    let node = NodeId::parse(tail.owner).map_err(|error| JournalError::Corrupt {
        session: session.clone(),
        seq: tail.next,
        why: error.to_string(),
    })?;
    let session = session.clone();
    let (epoch, next, head) = (tail.epoch, tail.next, tail.head);
    Ok(Fence { session, epoch, node, next, head, token: next })
}

/// Frames from the one with `after + 1` on. When a later frame of the page is damaged, the page ends before it: the next read says so.
pub(super) fn read(
    connection: &mut Connection,
    session: &SessionId,
    after: Seq,
    max_bytes: usize,
) -> Result<Vec<Frame>, Trouble> {
    // One transaction, so that the tail and the frames are of one moment.
    let snapshot = connection.transaction()?;
    let tail = existing(&snapshot, session)?;
    let mut expected = place(&snapshot, &tail, after)?;
    let sql = "SELECT frame_id, epoch, first, last, prev, hash, body FROM frame
        WHERE session = ?1 AND first >= ?2 ORDER BY first";
    let mut statement = snapshot.prepare_cached(sql)?;
    let mut rows = statement.query(params![tail.no, int(expected.0)])?;
    let mut frames = Vec::new();
    let mut bytes = 0;
    while expected.0 < tail.next {
        let checked = match rows.next() {
            Ok(Some(row)) => check(row, session, expected),
            Ok(None) => Err(damaged(session, expected.0, "it is missing")),
            Err(error) => Err(error.into()),
        };
        let frame = match checked {
            Err(error) if frames.is_empty() => return Err(error),
            Err(_) => return Ok(frames),
            Ok(frame) => frame,
        };
        bytes += frame.body.len();
        if bytes > max_bytes && !frames.is_empty() {
            return Ok(frames);
        }
        expected = (frame.last() + 1, frame.hash());
        frames.push(frame);
    }
    if expected != (tail.next, tail.head)
        && let Some(last) = frames.pop()
        && frames.is_empty()
    {
        return Err(damaged(session, last.first, "it is not the last frame that was written"));
    }
    Ok(frames)
}

/// Where the frame with `after + 1` begins, and the hash of the frame before it.
fn place(connection: &Connection, tail: &Tail, after: Seq) -> rusqlite::Result<(Seq, Hash)> {
    if after.saturating_add(1) >= tail.next {
        return Ok((tail.next, tail.head));
    }
    let sql = "SELECT first FROM frame WHERE session = ?1 AND first <= ?2
        ORDER BY first DESC LIMIT 1";
    let first = connection
        .prepare_cached(sql)?
        .query_row(params![tail.no, int(after + 1)], |row| natural(row, 0))
        .optional()?;
    let Some(first) = first else { return Ok((1, Hash::default())) };
    let sql = "SELECT last, hash FROM frame WHERE session = ?1 AND first < ?2
        ORDER BY first DESC LIMIT 1";
    let before = connection
        .prepare_cached(sql)?
        .query_row(params![tail.no, int(first)], |row| Ok((natural(row, 0)?, row.get(1)?)))
        .optional()?;
    Ok(match before {
        Some((last, hash)) => (last + 1, Hash(hash)),
        None => (1, Hash::default()),
    })
}

/// The frame in `row`, if it is the one that was written at this place.
fn check(row: &Row<'_>, session: &SessionId, expected: (Seq, Hash)) -> Result<Frame, Trouble> {
    let seq = expected.0;
    let (first, last) = (natural(row, 2)?, natural(row, 3)?);
    if first != seq || last < first {
        return Err(damaged(session, seq, "it is missing"));
    }
    let id = FrameId::parse(row.get::<_, String>(0)?)
        .map_err(|error| damaged(session, seq, &error.to_string()))?;
    let count = u32::try_from(last - first + 1)
        .map_err(|_| damaged(session, seq, "it has too many entries"))?;
    let body = row.get_ref(6)?.as_blob().map_err(rusqlite::Error::from)?.to_vec().into();
    let frame = Frame { id, epoch: natural(row, 1)?, first, count, prev: Hash(row.get(4)?), body };
    if frame.prev != expected.1 {
        return Err(damaged(session, seq, "it does not follow the frame before it"));
    }
    if frame.hash().0 != row.get::<_, [u8; 32]>(5)? {
        return Err(damaged(session, seq, "its bytes do not have its hash"));
    }
    Ok(frame)
}

fn damaged(session: &SessionId, seq: Seq, why: &str) -> Trouble {
    JournalError::Corrupt { session: session.clone(), seq, why: why.to_owned() }.into()
}

fn find(connection: &Connection, session: &SessionId) -> rusqlite::Result<Option<Tail>> {
    connection
        .prepare_cached("SELECT no, owner, held, epoch, next, head, name IS NOT NULL FROM session WHERE id = ?1")?
        .query_row([session.as_str()], |row| {
            Ok(Tail {
                no: row.get(0)?,
                owner: row.get(1)?,
                held: row.get(2)?,
                epoch: natural(row, 3)?,
                next: natural(row, 4)?,
                head: Hash(row.get(5)?),
                named: row.get(6)?,
            })
        })
        .optional()
}

fn existing(connection: &Connection, session: &SessionId) -> Result<Tail, Trouble> {
    let tail = find(connection, session)?;
    Ok(tail.ok_or_else(|| JournalError::NotFound { session: session.clone() })?)
}

fn create(desk: &mut Desk<'_>, fence: &Fence, frame: &Frame) -> Result<Tail, Trouble> {
    follows(&fence.session, (1, Hash::default()), fence, frame)?;
    desk.nodes.hold()?;
    let sql = "INSERT INTO session (id, owner, held, epoch, next, head, updated) VALUES (?1, ?2, 1, 1, 1, ?3, 0)";
    let head = Hash::default();
    let owner = fence.node.to_string();
    desk.connection.prepare_cached(sql)?.execute(params![fence.session.as_str(), owner, head.0])?;
    let no = desk.connection.last_insert_rowid();
    Ok(Tail { no, owner, held: true, named: false, epoch: 1, next: 1, head })
}

/// Adds a frame at the tail.
fn push(
    connection: &Connection,
    tail: &Tail,
    fence: &Fence,
    frame: &Frame,
) -> Result<Fence, Trouble> {
    follows(&fence.session, (tail.next, tail.head), fence, frame)?;
    let next = frame.last() + 1;
    let fence_after = fence.after(frame, next);
    let sql = "INSERT INTO frame (session, first, last, epoch, frame_id, prev, hash, body)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let added = connection.prepare_cached(sql)?.execute(params![
        tail.no,
        int(frame.first),
        int(frame.last()),
        int(frame.epoch),
        frame.id.as_str(),
        frame.prev.0,
        fence_after.head.0,
        &frame.body[..],
    ]);
    match added {
        // The place is free, so it is the frame's id that is there already.
        Err(error)
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
        {
            return Err(conflict(&fence.session, tail.next, frame).into());
        }
        added => added?,
    };
    connection
        .prepare_cached("UPDATE session SET next = ?2, head = ?3 WHERE no = ?1")?
        .execute(params![tail.no, int(next), fence_after.head.0])?;
    Ok(fence_after)
}

/// Whether `frame` stands exactly at `place`.
fn follows(
    session: &SessionId,
    place: (Seq, Hash),
    fence: &Fence,
    frame: &Frame,
) -> Result<(), JournalError> {
    let (next, head) = place;
    if fence.next == next && frame.first == next && frame.prev == head && frame.count > 0 {
        return Ok(());
    }
    Err(conflict(session, next, frame))
}

fn conflict(session: &SessionId, found: Seq, frame: &Frame) -> JournalError {
    JournalError::Conflict { session: session.clone(), found, expected: frame.first }
}

fn refuse_held(
    desk: &Desk<'_>,
    session: &SessionId,
    tail: &Tail,
    node: &NodeId,
) -> Result<(), JournalError> {
    if !tail.held || tail.owner == node.as_str() {
        return Ok(());
    }
    match desk.nodes.living(&tail.owner)? {
        None => Ok(()),
        Some(by) => Err(JournalError::Held { session: session.clone(), by }),
    }
}

/// The node that a claim names.
fn claimant(session: &SessionId, claim: &Frame) -> Result<NodeId, JournalError> {
    let mut entries = claim.entries(session)?;
    match (entries.pop().map(|entry| entry.event), entries.is_empty()) {
        (Some(Event::WriterChanged(change)), true) if change.epoch == claim.epoch => {
            Ok(change.node)
        }
        _ => {
            let why = "a claim is one writer_changed of the frame's own epoch".to_owned();
            Err(JournalError::Corrupt { session: session.clone(), seq: claim.first, why })
        }
    }
}
