//! Giving back what nothing needs any more: bodies that no entry names, and room in the database that removed sessions and replaced checkpoints left.
//!
//! Every step is small and a transaction of its own, so that other processes go on beside it, and one that is cut anywhere leaves nothing half done.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oarlock_core::ids::{Seq, SessionId};
use oarlock_core::ports::journal::JournalError;
use rusqlite::{Connection, params};

use super::failure::{Trouble, unavailable};
use super::readers::Reader;
use super::{Inner, SqliteStore, log, schema};

/// Pages that are given back at once.
const PAGES_STEP: u32 = 256;
/// Pages of the index of words that are merged at once.
const INDEX_STEP: u32 = 256;

/// How far a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many frames were looked through for the bodies that they name.
    Frames(u64),
    /// So many pages of the database are still to be given back.
    Pages(u64),
}

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// Bodies that were removed.
    pub bodies: u64,
    /// Their bytes.
    pub bodies_bytes: u64,
    /// Bytes of the database and its WAL before.
    pub database_bytes_before: u64,
    /// The same afterwards.
    pub database_bytes: u64,
}

/// What a session takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Size {
    /// Bytes of its frames.
    pub frames: u64,
    /// The bodies that its frames name, each once, with their bytes. Other sessions, forks of it for example, may name them, too.
    pub bodies: HashMap<Arc<str>, u64>,
}

impl Size {
    /// Bytes of all of it, shared or not.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.frames + self.bodies.values().sum::<u64>()
    }
}

impl SqliteStore {
    /// What each session takes.
    ///
    /// Reads all frames.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn sizes(&self) -> Result<HashMap<SessionId, Size>, JournalError> {
        let inner = Arc::clone(&self.inner);
        let read = move |reader: &mut Reader<'_>| {
            let bodies = inner.blobs.all()?;
            sizes(reader.connection, &bodies).map_err(|error| unavailable(reader.folder, &error))
        };
        self.inner.readers.run(read).await
    }

    /// Removes a session as `purge` does, if it still ends with `tip` and no living process holds it, this one included.
    ///
    /// # Errors
    /// `Conflict` when it went on, `Held`, `NotFound`.
    pub async fn purge_unchanged(&self, session: &SessionId, tip: Seq) -> Result<(), JournalError> {
        let id = session.clone();
        let work = move |desk: &mut super::writer::Desk<'_>| log::purge_unchanged(desk, &id, tip);
        self.inner.writer.change(session.clone(), work).await
    }

    /// Removes the bodies that no entry names and that nobody wrote or counted on within `spared`, and gives back free room in the database. It is safe beside
    /// processes that use the store, which wait for one step of it at most.
    ///
    /// Reads all frames if there are bodies. Dropping the future lets it run on to its end.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn collect(
        &self,
        spared: Duration,
        progress: impl Fn(Progress) + Send + 'static,
    ) -> Result<Collected, JournalError> {
        let inner = Arc::clone(&self.inner);
        let work = tokio::task::spawn_blocking(move || inner.collect(spared, &progress));
        work.await.unwrap_or_else(|error| {
            let why = format!("a collection ended unexpectedly: {error}");
            Err(JournalError::Unavailable { why })
        })
    }
}

impl Inner {
    fn collect(
        &self,
        spared: Duration,
        progress: &dyn Fn(Progress),
    ) -> Result<Collected, JournalError> {
        let fail = |error| unavailable(&self.folder, &error);
        let database_bytes_before = database_bytes(&self.folder);
        // A connection of its own: the writer's is not kept waiting by more than a step.
        let connection = schema::open(&self.folder)?;
        let bodies = self.blobs.all()?;
        let mut unnamed: HashSet<&str> = bodies.keys().map(String::as_str).collect();
        if !unnamed.is_empty() {
            let named = |_: i64, name: &str| {
                unnamed.remove(name);
            };
            each_named(&connection, &bodies, progress, named).map_err(fail)?;
        }
        let (bodies, bodies_bytes) = self.blobs.remove(unnamed.into_iter(), spared)?;
        merge_index(&connection).map_err(fail)?;
        give_back(&connection, progress).map_err(|trouble| trouble.at(&self.folder))?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(fail)?;
        let database_bytes = database_bytes(&self.folder);
        Ok(Collected { bodies, bodies_bytes, database_bytes_before, database_bytes })
    }
}

/// Returns free pages to the file system.
fn give_back(connection: &Connection, progress: &dyn Fn(Progress)) -> Result<(), Trouble> {
    let number =
        |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let mut left = number("freelist_count")?;
    while left > 0 {
        progress(Progress::Pages(left.unsigned_abs()));
        let mut step =
            connection.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES_STEP})"))?;
        // Each page is a row.
        let mut pages = step.query([])?;
        while pages.next()?.is_some() {}
        let still = number("freelist_count")?;
        if still >= left {
            break;
        }
        left = still;
    }
    Ok(())
}

/// Bytes of the database and its WAL.
fn database_bytes(folder: &Path) -> u64 {
    let database = schema::database(folder);
    let files = [database.with_extension("db-wal"), database];
    files.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

/// Forgets in the index of words what was removed, in steps.
fn merge_index(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "INSERT INTO text_index (text_index, rank) VALUES ('merge', ?1)";
    // A negative number begins a merge of everything, positive ones go on; a step that changes fewer than two rows had nothing to do.
    let mut step = -i64::from(INDEX_STEP);
    loop {
        let before = connection.total_changes();
        connection.execute(sql, params![step])?;
        if connection.total_changes() - before < 2 {
            return Ok(());
        }
        step = i64::from(INDEX_STEP);
    }
}

fn sizes(
    connection: &mut Connection,
    bodies: &HashMap<String, u64>,
) -> rusqlite::Result<HashMap<SessionId, Size>> {
    let shared: HashMap<&str, (Arc<str>, u64)> = bodies
        .iter()
        .map(|(name, bytes)| (name.as_str(), (Arc::from(name.as_str()), *bytes)))
        .collect();
    let snapshot = connection.transaction()?;
    let mut named: HashMap<i64, HashMap<Arc<str>, u64>> = HashMap::new();
    each_named(&snapshot, bodies, &|_| {}, |session, name| {
        named.entry(session).or_default().extend(shared.get(name).cloned());
    })?;
    let sql = "SELECT session.no, session.id, total(length(frame.body)) FROM session
        JOIN frame ON frame.session = session.no GROUP BY session.no";
    let mut statement = snapshot.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut sizes = HashMap::new();
    while let Some(row) = rows.next()? {
        let Ok(id) = SessionId::parse(row.get::<_, String>(1)?) else { continue };
        let bodies = named.remove(&row.get(0)?).unwrap_or_default();
        sizes.insert(id, Size { frames: row.get::<_, f64>(2)? as u64, bodies });
    }
    Ok(sizes)
}

/// Calls `found` for each of these bodies that a frame mentions, with the session's number. What looks like a name counts as one: rather a body
/// is kept that nobody needs.
fn each_named<'a>(
    connection: &Connection,
    bodies: &'a HashMap<String, u64>,
    progress: &dyn Fn(Progress),
    mut found: impl FnMut(i64, &'a str),
) -> rusqlite::Result<()> {
    // One statement sees one moment: what is named later was written or counted on later, which spares it. Who names a body otherwise, by its name
    // alone, names one that some session has.
    let mut statement = connection.prepare("SELECT session, body FROM frame")?;
    let mut rows = statement.query([])?;
    let mut frames = 0;
    while let Some(row) = rows.next()? {
        let (session, body) = (row.get(0)?, row.get_ref(1)?.as_blob()?);
        for run in body.split(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            for name in run.windows(64).filter_map(|name| std::str::from_utf8(name).ok()) {
                if let Some((name, _)) = bodies.get_key_value(name) {
                    found(session, name);
                }
            }
        }
        frames += 1;
        if frames % 1024 == 0 {
            progress(Progress::Frames(frames));
        }
    }
    Ok(())
}
