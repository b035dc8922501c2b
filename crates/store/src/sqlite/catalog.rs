//! Lists, searches and sums in SQL.

use std::collections::HashMap;

use bytes::Bytes;
use oarlock_core::ids::{NodeId, SessionId, Tenant, Timestamp};
use oarlock_core::ports::journal::{
    Filter, Hit, JournalError, Listed, Projection, Summary, UsageRow,
};
use rusqlite::{OptionalExtension, params};

use super::failure::Trouble;
use super::log::int;
use super::matching::{Matching, activity_name, words};
use super::readers::Reader;
use super::writer::Desk;

/// Of a longer text only the beginning can be found.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Where a title stands among the texts of its session; entries begin at 1.
const TITLE: i64 = 0;
const PUT_TEXT: &str = "INSERT INTO text (session, seq, text) VALUES (?1, ?2, ?3)
    ON CONFLICT (session, seq) DO UPDATE SET text = excluded.text";

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
        updated = ?6, archived = ?7, tenant = ?8, child = ?9, created = ?10, activity = ?11
        WHERE no = ?1";
    desk.connection.prepare_cached(sql)?.execute(params![
        no,
        json,
        int(summary.epoch),
        int(summary.upto),
        summary.cwd.to_string_lossy(),
        summary.updated.unix_ms(),
        summary.archived,
        summary.tenant.as_ref().map(Tenant::as_str),
        summary.parent.is_some(),
        summary.created.unix_ms(),
        activity_name(summary.activity),
    ])?;
    put_labels(desk, no, summary)?;
    put_title(desk, no, &summary.title)?;
    let mut statement = desk.connection.prepare_cached(PUT_TEXT)?;
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

/// Labels stand in the order of lists, so that they move with their session.
fn put_labels(desk: &Desk<'_>, no: i64, summary: &Summary) -> Result<(), Trouble> {
    let sql = "DELETE FROM label WHERE session = ?1";
    desk.connection.prepare_cached(sql)?.execute([no])?;
    let sql = "INSERT INTO label (name, value, updated, id, session) VALUES (?1, ?2, ?3, ?4, ?5)";
    for (name, value) in &summary.labels {
        let (updated, id) = (summary.updated.unix_ms(), summary.id.as_str());
        let label = params![name, value, updated, id, no];
        desk.connection.prepare_cached(sql)?.execute(label)?;
    }
    Ok(())
}

/// A title can be found as a text in the place of no entry.
fn put_title(desk: &Desk<'_>, no: i64, title: &str) -> Result<(), Trouble> {
    let title = &title[..title.floor_char_boundary(TEXT_BYTES_MAX)];
    let sql = "SELECT text FROM text WHERE session = ?1 AND seq = ?2";
    let stored: Option<String> =
        desk.connection.prepare_cached(sql)?.query_row([no, TITLE], |row| row.get(0)).optional()?;
    if stored.as_deref().unwrap_or_default() != title {
        desk.connection.prepare_cached(PUT_TEXT)?.execute(params![no, TITLE, title])?;
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
    let matching = Matching::in_order(filter);
    let columns =
        "session.id, session.owner, session.held, session.next, session.summary, session.updated";
    let (sql, parameters) = matching.listed(columns);
    let mut statement = reader.connection.prepare_cached(&sql)?;
    let mut rows = statement.query(&parameters[..])?;
    let mut living = HashMap::new();
    let mut listed = Vec::new();
    while listed.len() < most(filter)
        && let Some(row) = rows.next()?
    {
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
            updated: Timestamp::from_unix_ms(row.get(5).unwrap_or_default()),
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

/// How many are wanted at most.
fn most(filter: &Filter) -> usize {
    filter.limit.map_or(usize::MAX, |limit| limit as usize)
}

pub(super) fn search(
    reader: &mut Reader<'_>,
    query: &str,
    filter: &Filter,
) -> Result<Vec<Hit>, Trouble> {
    let query = words(query).collect::<Vec<_>>().join(" ");
    if query.is_empty() {
        return Ok(Vec::new());
    }
    let matching = Matching::of_hits(filter);
    let (conditions, mut parameters) = matching.conditions();
    let sql = format!(
        "SELECT session.id, text.seq, snippet(text_index, 0, '', '', '…', 16) FROM text_index
        CROSS JOIN text ON text.id = text_index.rowid
        CROSS JOIN session ON session.no = text.session
        WHERE text_index MATCH ? AND text.seq > {TITLE} AND {conditions}
        ORDER BY text_index.rank, text.id DESC LIMIT ?"
    );
    let limit = filter.limit.map_or(-1, i64::from);
    parameters.insert(0, &query);
    parameters.push(&limit);
    let mut statement = reader.connection.prepare_cached(&sql)?;
    let mut rows = statement.query(&parameters[..])?;
    let mut hits = Vec::new();
    while let Some(row) = rows.next()? {
        let Ok(session) = SessionId::parse(row.get::<_, String>(0)?) else { continue };
        let seq = u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default();
        hits.push(Hit { session, seq, snippet: row.get(2)? });
    }
    Ok(hits)
}

pub(super) fn usage(reader: &mut Reader<'_>, filter: &Filter) -> Result<UsageRow, Trouble> {
    let matching = Matching::in_order(filter);
    let (sql, parameters) = matching.listed("session.summary");
    let mut statement = reader.connection.prepare_cached(&sql)?;
    let mut rows = statement.query(&parameters[..])?;
    let mut sum = UsageRow::default();
    while sum.sessions < most(filter) as u64
        && let Some(row) = rows.next()?
    {
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
