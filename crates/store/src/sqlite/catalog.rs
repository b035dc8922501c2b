//! Lists, searches and sums in SQL.

use std::collections::HashMap;

use bytes::Bytes;
use oarlock_core::ids::{NodeId, SessionId};
use oarlock_core::ports::journal::{
    Filter, Hit, JournalError, Listed, Projection, Summary, UsageRow,
};
use rusqlite::{OptionalExtension, params};

use super::failure::Trouble;
use super::log::int;
use super::readers::Reader;
use super::writer::Desk;

/// Of a longer text only the beginning can be found.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Words of a query beyond these are not looked at.
const QUERY_WORDS_MAX: usize = 32;

/// Sessions that a filter lets through. One without a summary is in no folder and not archived.
const MATCHING: &str = "FROM session WHERE (?1 IS NULL OR cwd = ?1) AND (?2 OR archived = 0)";

pub(super) fn put_projection(
    desk: &mut Desk<'_>,
    projection: Projection<'_>,
) -> Result<(), Trouble> {
    let Projection { summary, texts, checkpoint } = projection;
    let sql = "SELECT no, summary_epoch, summary_upto FROM session WHERE id = ?1";
    let stored: Option<(i64, i64, i64)> = desk
        .connection
        .prepare_cached(sql)?
        .query_row([summary.id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((no, epoch, upto)) = stored else {
        return Err(JournalError::NotFound { session: summary.id.clone() }.into());
    };
    if (epoch, upto) > (int(summary.epoch), int(summary.upto)) {
        return Ok(());
    }
    let json = serde_json::to_string(summary).map_err(|error| JournalError::Unavailable {
        why: format!("the summary of {} cannot be written: {error}", summary.id),
    })?;
    let sql = "UPDATE session SET summary = ?2, summary_epoch = ?3, summary_upto = ?4, cwd = ?5,
        updated = ?6, archived = ?7 WHERE no = ?1";
    desk.connection.prepare_cached(sql)?.execute(params![
        no,
        json,
        int(summary.epoch),
        int(summary.upto),
        summary.cwd.to_string_lossy(),
        summary.updated.unix_ms(),
        summary.archived,
    ])?;
    let sql = "INSERT INTO text (session, seq, text) VALUES (?1, ?2, ?3)
        ON CONFLICT (session, seq) DO UPDATE SET text = excluded.text";
    let mut statement = desk.connection.prepare_cached(sql)?;
    for text in texts {
        let end = text.text.floor_char_boundary(TEXT_BYTES_MAX);
        statement.execute(params![no, int(text.seq), &text.text[..end]])?;
    }
    if let Some(checkpoint) = checkpoint {
        desk.connection
            .prepare_cached("INSERT OR REPLACE INTO checkpoint (session, body) VALUES (?1, ?2)")?
            .execute(params![no, &checkpoint[..]])?;
    }
    Ok(())
}

pub(super) fn checkpoint(
    reader: &mut Reader<'_>,
    session: &SessionId,
) -> Result<Option<Bytes>, Trouble> {
    let sql = "SELECT checkpoint.body FROM session
        LEFT JOIN checkpoint ON checkpoint.session = session.no WHERE session.id = ?1";
    let found = reader
        .connection
        .prepare_cached(sql)?
        .query_row([session.as_str()], |row| row.get::<_, Option<Vec<u8>>>(0))
        .optional()?;
    let body = found.ok_or_else(|| JournalError::NotFound { session: session.clone() })?;
    Ok(body.map(Bytes::from))
}

pub(super) fn list(reader: &mut Reader<'_>, filter: &Filter) -> Result<Vec<Listed>, Trouble> {
    let sql = format!(
        "SELECT id, owner, held, next, summary {MATCHING} ORDER BY updated DESC, id DESC LIMIT ?3"
    );
    let mut statement = reader.connection.prepare_cached(&sql)?;
    let cwd = filter.cwd.as_ref().map(|cwd| cwd.to_string_lossy());
    let limit = filter.limit.map_or(-1, i64::from);
    let mut rows = statement.query(params![cwd, filter.archived, limit])?;
    let mut living = HashMap::new();
    let mut listed = Vec::new();
    while let Some(row) = rows.next()? {
        // A row whose very id cannot be read names nothing that could be shown.
        let Some(id) = row.get::<_, String>(0).ok().and_then(|id| SessionId::parse(id).ok()) else {
            continue;
        };
        let owner = row.get::<_, String>(1).unwrap_or_default();
        let held = row.get(2).unwrap_or(false)
            && *living
                .entry(owner.clone())
                .or_insert_with(|| matches!(reader.nodes.living(&owner), Ok(Some(_))));
        let summary = match row.get::<_, Option<String>>(4) {
            Err(error) => Err(error.to_string()),
            Ok(None) => Ok(None),
            Ok(Some(json)) => serde_json::from_str(&json).map(Some).map_err(|e| e.to_string()),
        };
        listed.push(Listed {
            id,
            tail: row
                .get::<_, i64>(3)
                .ok()
                .and_then(|next| u64::try_from(next - 1).ok())
                .unwrap_or(0),
            held_by: held.then(|| NodeId::parse(owner).ok()).flatten(),
            summary,
        });
    }
    Ok(listed)
}

pub(super) fn search(
    reader: &mut Reader<'_>,
    query: &str,
    limit: u32,
) -> Result<Vec<Hit>, Trouble> {
    // Each word stands in quotes, so that nothing in it is an operator.
    let words = query.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<String> =
        words.take(QUERY_WORDS_MAX).map(|word| format!("\"{word}\"")).collect();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT session.id, text.seq, snippet(text_index, 0, '', '', '…', 16) FROM text_index
        JOIN text ON text.id = text_index.rowid JOIN session ON session.no = text.session
        WHERE text_index MATCH ?1 ORDER BY text_index.rank, text.id DESC LIMIT ?2";
    let mut statement = reader.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![words.join(" "), limit])?;
    let mut hits = Vec::new();
    while let Some(row) = rows.next()? {
        let Ok(session) = SessionId::parse(row.get::<_, String>(0)?) else { continue };
        let seq = u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default();
        hits.push(Hit { session, seq, snippet: row.get(2)? });
    }
    Ok(hits)
}

pub(super) fn usage(reader: &mut Reader<'_>, filter: &Filter) -> Result<UsageRow, Trouble> {
    let mut statement = reader.connection.prepare_cached(&format!("SELECT summary {MATCHING}"))?;
    let cwd = filter.cwd.as_ref().map(|cwd| cwd.to_string_lossy());
    let mut rows = statement.query(params![cwd, filter.archived])?;
    let mut sum = UsageRow::default();
    while let Some(row) = rows.next()? {
        sum.sessions += 1;
        // A summary that is missing or unreadable adds nothing; `list` says which one it is.
        let json = row.get::<_, Option<String>>(0).ok().flatten();
        if let Some(summary) = json.and_then(|json| serde_json::from_str::<Summary>(&json).ok()) {
            sum.usage += summary.usage;
            sum.cost_micros =
                sum.cost_micros.saturating_add(summary.cost_micros.unwrap_or_default());
        }
    }
    Ok(sum)
}
