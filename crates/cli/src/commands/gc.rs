//! `oarlock gc`: removes sessions that the configuration does not keep any longer, bodies that no entry names, and room that nothing uses.

use std::collections::{HashMap, HashSet};
use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use oarlock_core::event::Event;
use oarlock_core::ids::{Seq, SessionId, Timestamp};
use oarlock_core::ports::journal::{ArchivedFilter, Filter, JournalError, Listed};
use oarlock_core::session::state::State;
use oarlock_store::{Collected, Progress, Size, SqliteStore};
use serde::Serialize;

use super::Frame;
use crate::args::GcArgs;
use crate::assembly::{Assembled, CliAgentBuilder};
use crate::config::typed::RetentionConfig;
use crate::exit::Exit;
use crate::terminal::safe;
use crate::values::Bytes;

/// A body is put before the entry that names it: one that is younger is left alone.
const BODIES_SPARED: Duration = Duration::from_secs(24 * 60 * 60);
/// Entries at the end of a journal that are looked at first for its last use.
const ENTRIES_BACK: Seq = 64;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What is done, or would be.
#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    sessions: Vec<Old>,
    kept: Vec<Kept>,
    /// Absent when nothing was done.
    #[serde(flatten)]
    freed: Option<Freed>,
}

/// What was given back.
#[derive(Debug, Serialize)]
struct Freed {
    bodies: u64,
    bodies_bytes: u64,
    database_bytes_before: u64,
    database_bytes: u64,
}

impl From<Collected> for Freed {
    fn from(collected: Collected) -> Self {
        let Collected { bodies, bodies_bytes, database_bytes_before, database_bytes } = collected;
        Self { bodies, bodies_bytes, database_bytes_before, database_bytes }
    }
}

/// A session that goes, with its subagents.
#[derive(Debug, Serialize)]
struct Old {
    id: SessionId,
    title: String,
    updated: Timestamp,
    bytes: u64,
    why: &'static str,
    #[serde(skip)]
    members: Vec<(SessionId, Seq)>,
}

/// A session that would go and has to stay.
#[derive(Debug, Serialize)]
struct Kept {
    id: SessionId,
    why: String,
}

pub(super) fn run(frame: &Frame, args: &GcArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let loaded = frame.load(args.config.clone())?;
    let retention = loaded.config.retention.clone();
    super::block_on(async {
        let assembled = CliAgentBuilder::new(&loaded).build()?;
        let result = collect(&assembled, &retention, args, out).await;
        assembled.close().await;
        result
    })
}

async fn collect(
    assembled: &Assembled,
    retention: &RetentionConfig,
    args: &GcArgs,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let store =
        assembled.store().context("sessions are kept in memory alone: nothing to collect")?;
    let mut report = chosen(assembled, store, retention).await?;
    report.dry_run = args.dry_run;
    if !args.dry_run {
        remove(store, &mut report).await?;
        let shown = std::io::stderr().is_terminal();
        let collected = store.collect(BODIES_SPARED, move |progress| show(shown, progress));
        report.freed = Some(collected.await?.into());
    }
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        false => report.tell(out)?,
    }
    Ok(Exit::Done)
}

/// The sessions that are not kept any longer, the oldest first, and what of them has to stay.
async fn chosen(
    assembled: &Assembled,
    store: &SqliteStore,
    retention: &RetentionConfig,
) -> anyhow::Result<Report> {
    let mut report = Report { dry_run: true, sessions: Vec::new(), kept: Vec::new(), freed: None };
    if *retention == RetentionConfig::default() {
        return Ok(report);
    }
    let ports = assembled.core.ports();
    let filter = Filter { archived: ArchivedFilter::With, children: true, ..Filter::default() };
    let rows = ports.catalog.list(&filter).await?;
    let sizes = store.sizes().await?;
    let oldest = retention.age_days.map(|days| {
        let age_ms = i64::try_from(u64::from(days) * DAY_MS).unwrap_or(i64::MAX);
        Timestamp::from_unix_ms(ports.clock.now().unix_ms().saturating_sub(age_ms))
    });
    let mut room = Room::of(&sizes);
    for tree in trees(&rows).into_iter().rev() {
        let updated = tree.iter().map(|row| row.updated).max().unwrap_or_default();
        let is_old = match oldest {
            Some(oldest) => updated < oldest || used(assembled, &tree, oldest).await < oldest,
            None => false,
        };
        let why = match is_old {
            true => "age",
            false if retention.max_bytes.is_some_and(|most| room.bytes > most) => "size",
            false => continue,
        };
        let id = tree[0].id.clone();
        match members(assembled, &tree).await {
            Err(why) => report.kept.push(Kept { id, why }),
            Ok(members) => {
                let bytes = room.without(tree.iter().filter_map(|row| sizes.get(&row.id)));
                let summary = tree[0].summary.as_ref().ok().and_then(Option::as_ref);
                let title = summary.map(|summary| summary.title.clone()).unwrap_or_default();
                report.sessions.push(Old { id, title, updated, bytes, why, members });
            }
        }
    }
    Ok(report)
}

/// When a tree was last used, or a moment after `oldest` that is as good.
async fn used(assembled: &Assembled, tree: &[&Listed], oldest: Timestamp) -> Timestamp {
    let mut used = Timestamp::default();
    for row in tree {
        used = used.max(match last_use(assembled, row).await {
            Ok(moment) => moment,
            // What cannot be read is not taken for unused.
            Err(_) => row.updated,
        });
        if used >= oldest {
            break;
        }
    }
    used
}

/// When the last entry was written that says of a use: others may write silently to a session that nobody uses, for ever, which wakes it and lets it sleep again.
async fn last_use(assembled: &Assembled, row: &Listed) -> Result<Timestamp, JournalError> {
    let mut back = ENTRIES_BACK;
    loop {
        let (mut after, mut last) = (row.tail.saturating_sub(back), None);
        let begins = after == 0;
        loop {
            let entries = assembled.core.entries(&row.id, after).await?;
            let Some(end) = entries.last() else { break };
            after = end.seq;
            let uses = entries.iter().filter(|entry| is_use(&entry.event));
            last = uses.map(|entry| entry.at).next_back().or(last);
        }
        if let Some(last) = last {
            return Ok(last);
        }
        if begins {
            return Ok(row.updated);
        }
        back = back.saturating_mul(8);
    }
}

fn is_use(event: &Event) -> bool {
    match event {
        Event::InputAdmitted(input) => !input.peer.as_ref().is_some_and(|peer| peer.silent),
        Event::InputWithdrawn(_) | Event::WriterChanged(_) | Event::WriterReleased => false,
        _ => true,
    }
}

/// What sessions take together: a body that several name, a fork and its source for example, is there once.
struct Room<'a> {
    bytes: u64,
    /// How many sessions name a body.
    namers: HashMap<&'a str, usize>,
}

impl<'a> Room<'a> {
    fn of(sizes: &'a HashMap<SessionId, Size>) -> Self {
        let mut room = Self { bytes: 0, namers: HashMap::new() };
        for size in sizes.values() {
            room.bytes += size.frames;
            for (name, bytes) in &size.bodies {
                let namers = room.namers.entry(&**name).or_default();
                *namers += 1;
                room.bytes += if *namers == 1 { *bytes } else { 0 };
            }
        }
        room
    }

    /// Takes these sessions out; how many bytes that frees.
    fn without<'b>(&mut self, sizes: impl Iterator<Item = &'b Size>) -> u64 {
        let mut freed = 0;
        for size in sizes {
            freed += size.frames;
            for (name, bytes) in &size.bodies {
                let Some(namers) = self.namers.get_mut(&**name) else { continue };
                *namers = namers.saturating_sub(1);
                freed += if *namers == 0 { *bytes } else { 0 };
            }
        }
        self.bytes = self.bytes.saturating_sub(freed);
        freed
    }
}

/// Each session with its subagents and theirs, in the order of the rows. One whose parent is gone stands for itself; one of which nothing is
/// known is left out.
fn trees(rows: &[Listed]) -> Vec<Vec<&Listed>> {
    let parent = |row: &Listed| row.summary.as_ref().ok()?.as_ref()?.parent.clone();
    let known: HashSet<&SessionId> = rows.iter().map(|row| &row.id).collect();
    let mut below: HashMap<SessionId, Vec<&Listed>> = HashMap::new();
    let mut tops = Vec::new();
    for row in rows.iter().filter(|row| matches!(row.summary, Ok(Some(_)))) {
        match parent(row).filter(|parent| known.contains(parent)) {
            Some(parent) => below.entry(parent).or_default().push(row),
            None => tops.push(row),
        }
    }
    let mut trees = Vec::new();
    for top in tops {
        let mut tree = vec![top];
        let mut at = 0;
        while let Some(row) = tree.get(at).copied() {
            tree.extend(below.remove(&row.id).unwrap_or_default());
            at += 1;
        }
        trees.push(tree);
    }
    trees
}

/// The sessions of a tree and where each ends; an error says why it has to stay.
async fn members(assembled: &Assembled, tree: &[&Listed]) -> Result<Vec<(SessionId, Seq)>, String> {
    let mut members = Vec::new();
    for row in tree {
        if row.held_by.is_some() {
            return Err("a process has it open".to_owned());
        }
        let state = assembled.core.state(&row.id).await.map_err(|error| error.to_string())?;
        if let Some(why) = under_way(&state) {
            return Err(why.to_owned());
        }
        members.push((row.id.clone(), state.tip));
    }
    Ok(members)
}

/// Why a session is not at its end.
fn under_way(state: &State) -> Option<&'static str> {
    let table = [
        (state.turn.is_some(), "a turn is open"),
        // A silent message waits until somebody uses the session, which may be never.
        (state.pending.iter().any(|input| !input.is_silent()), "an input waits"),
        (state.goal.as_ref().is_some_and(|goal| !goal.is_reached()), "it has a goal"),
        (!state.tasks.running.is_empty(), "a background task has no end"),
    ];
    table.into_iter().find_map(|(holds, why)| holds.then_some(why))
}

/// Removes what was chosen. A session that went on meanwhile stays.
async fn remove(store: &SqliteStore, report: &mut Report) -> anyhow::Result<()> {
    let mut removed = Vec::new();
    for old in std::mem::take(&mut report.sessions) {
        match remove_tree(store, &old.members).await {
            Ok(()) => removed.push(old),
            Err(error @ (JournalError::Conflict { .. } | JournalError::Held { .. })) => {
                report.kept.push(Kept { id: old.id, why: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    report.sessions = removed;
    Ok(())
}

/// Parents go first: subagents that are left behind by a kill stand for themselves the next time.
async fn remove_tree(
    store: &SqliteStore,
    members: &[(SessionId, Seq)],
) -> Result<(), JournalError> {
    for (id, tip) in members {
        match store.purge_unchanged(id, *tip).await {
            Ok(()) | Err(JournalError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn show(shown: bool, progress: Progress) {
    let words = match progress {
        Progress::Frames(frames) => format!("{frames} frames looked through"),
        Progress::Pages(pages) => format!("{pages} pages to give back"),
    };
    if shown {
        super::complain(&words);
    }
}

impl Report {
    fn tell(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let verb = if self.dry_run { "would remove" } else { "removed" };
        for Old { id, title, updated, bytes, why, .. } in &self.sessions {
            let title = safe::line(title, 60);
            writeln!(out, "{verb} {id}  {updated}  {}  {why}  {title}", Bytes(*bytes))?;
        }
        for Kept { id, why } in &self.kept {
            writeln!(out, "kept {id}: {}", safe::line(why, 120))?;
        }
        let count = self.sessions.len();
        match &self.freed {
            Some(Freed { bodies, database_bytes_before, database_bytes, .. }) => writeln!(
                out,
                "{count} sessions and {bodies} bodies removed; the database was {} and is {}",
                Bytes(*database_bytes_before),
                Bytes(*database_bytes)
            )?,
            None => writeln!(out, "{count} sessions would be removed; nothing was")?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_a_fork_shares_is_there_once_and_goes_with_the_last_who_names_it() {
        let size = |frames, bodies: &[(&str, u64)]| Size {
            frames,
            bodies: bodies.iter().map(|(name, bytes)| ((*name).into(), *bytes)).collect(),
        };
        let [source, fork, other] =
            ["source", "fork", "other"].map(|id| SessionId::parse(id).unwrap());
        let sizes = HashMap::from([
            (source.clone(), size(10, &[("shared", 1_000), ("own", 100)])),
            (fork.clone(), size(5, &[("shared", 1_000)])),
            (other.clone(), size(1, &[])),
        ]);
        let mut room = Room::of(&sizes);
        assert_eq!(room.bytes, 10 + 5 + 1 + 1_000 + 100);
        assert_eq!(room.without([&sizes[&source]].into_iter()), 10 + 100);
        assert_eq!(room.without([&sizes[&fork]].into_iter()), 5 + 1_000);
        assert_eq!(room.bytes, 1);
    }
}
