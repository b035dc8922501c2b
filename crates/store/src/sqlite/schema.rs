//! Opening the database: folder, file modes, pragmas and tables.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oarlock_core::ports::journal::JournalError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

use super::failure::{unavailable, unavailable_file};
use crate::locked::wait_for;

/// Older libraries can lose commits when several connections write and checkpoint one WAL at once.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// How long a connection waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Says in the database's head whose it is: `oarl`.
const APPLICATION: i32 = 0x6f61_726c;

const TABLES: &[M<'static>] = &[
    M::up(SESSIONS),
    M::up("CREATE TABLE checkpoint (session INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;"),
    M::up(FILTERS),
    M::up(NAMES),
];

const SESSIONS: &str = "CREATE TABLE session (
        no INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        held INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        next INTEGER NOT NULL,
        head BLOB NOT NULL,
        summary TEXT,
        summary_epoch INTEGER NOT NULL DEFAULT 0,
        summary_upto INTEGER NOT NULL DEFAULT 0,
        cwd TEXT,
        updated INTEGER,
        archived INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX session_updated ON session (updated DESC, id DESC);
    CREATE TABLE frame (
        session INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        frame_id TEXT NOT NULL,
        prev BLOB NOT NULL,
        hash BLOB NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (session, first),
        UNIQUE (session, frame_id)
    ) STRICT;
    CREATE TABLE text (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        text TEXT NOT NULL,
        UNIQUE (session, seq)
    ) STRICT;
    CREATE VIRTUAL TABLE text_index USING fts5 (text, content = 'text', content_rowid = 'id');
    CREATE TRIGGER text_added AFTER INSERT ON text BEGIN
        INSERT INTO text_index (rowid, text) VALUES (new.id, new.text);
    END;
    CREATE TRIGGER text_removed AFTER DELETE ON text BEGIN
        INSERT INTO text_index (text_index, rowid, text) VALUES ('delete', old.id, old.text);
    END;
    CREATE TRIGGER text_changed AFTER UPDATE ON text BEGIN
        INSERT INTO text_index (text_index, rowid, text) VALUES ('delete', old.id, old.text);
        INSERT INTO text_index (rowid, text) VALUES (new.id, new.text);
    END;";

/// What filters look at, in columns of their own, and indexes in the order of lists. What a summary that cannot be read would say stays empty.
const FILTERS: &str = "ALTER TABLE session ADD COLUMN tenant TEXT;
    ALTER TABLE session ADD COLUMN child INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE session ADD COLUMN created INTEGER;
    ALTER TABLE session ADD COLUMN activity TEXT;
    CREATE TABLE label (
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        updated INTEGER NOT NULL,
        id TEXT NOT NULL,
        session INTEGER NOT NULL,
        PRIMARY KEY (name, value, updated DESC, id DESC)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX label_session ON label (session);
    UPDATE session SET updated = 0 WHERE updated IS NULL;
    UPDATE session SET
        tenant = summary ->> '$.tenant',
        child = (summary ->> '$.parent') IS NOT NULL,
        created = CAST(round(unixepoch(summary ->> '$.created', 'subsec') * 1000) AS INTEGER),
        activity = summary ->> '$.activity'
        WHERE json_valid(summary);
    INSERT INTO label (name, value, updated, id, session)
        SELECT given.key, given.value, session.updated, session.id, session.no
        FROM session, json_each(iif(json_valid(summary), summary, '{}'), '$.labels') AS given;
    INSERT INTO text (session, seq, text)
        SELECT no, 0, summary ->> '$.title' FROM session
        WHERE json_valid(summary) AND summary ->> '$.title' <> '';
    DROP INDEX session_updated;
    CREATE INDEX session_updated ON session (updated DESC, id DESC, child, archived, tenant);
    CREATE INDEX session_cwd ON session (cwd, updated DESC, id DESC, child, archived);
    CREATE INDEX session_tenant ON session (tenant, updated DESC, id DESC, child, archived)
        WHERE tenant IS NOT NULL;";

/// A session keeps its name when it gives it back, so that it can have it again; of those that have one in a tenant (none is '') each is another.
const NAMES: &str = "ALTER TABLE session ADD COLUMN name TEXT;
    ALTER TABLE session ADD COLUMN name_tenant TEXT;
    ALTER TABLE session ADD COLUMN has_name INTEGER NOT NULL DEFAULT 0;
    CREATE UNIQUE INDEX session_name ON session (name_tenant, name) WHERE has_name = 1;
    CREATE INDEX session_named ON session (name_tenant, updated DESC, id DESC) WHERE has_name = 1;";

/// The database file of a data directory.
pub(super) fn database(folder: &Path) -> PathBuf {
    folder.join("oarlock.db")
}

/// Opens the connection that writes, and makes folder, file and tables where they are missing.
pub(super) fn open(folder: &Path) -> Result<Connection, JournalError> {
    let found = rusqlite::version_number();
    if found < SQLITE_VERSION_MIN {
        let why = format!(
            "the SQLite library is {}, which can lose commits; 3.51.3 or later is needed",
            rusqlite::version()
        );
        return Err(JournalError::Unavailable { why });
    }
    make_private(folder)?;
    let path = database(folder);
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    made.map_err(|error| unavailable_file(&path, &error))?;
    let mut connection = Connection::open_with_flags(
        &path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| unavailable(folder, &error))?;
    let version: i64 = connection
        .busy_timeout(BUSY_TIMEOUT)
        .and_then(|()| connection.pragma_query_value(None, "user_version", |row| row.get(0)))
        .map_err(|error| unavailable(folder, &error))?;
    if version != TABLES.len() as i64 {
        make_tables(folder, &mut connection)?;
    }
    tune(&connection).map_err(|error| unavailable(folder, &error))?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(folder: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        database(folder),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.set_prepared_statement_cache_capacity(16);
    Ok(connection)
}

/// Every commit is synced before it is acknowledged. The last connection leaves a short WAL where it is: the next opener reads it faster
/// than the closer could move it into the database.
fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Kilobytes. What lies above the sessions' own pages fits, and those are too many for any cache that could be afforded.
    connection.pragma_update(None, "cache_size", -512)?;
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Makes the tables; one opener at a time, because switching a new file to WAL does not wait for others.
fn make_tables(folder: &Path, connection: &mut Connection) -> Result<(), JournalError> {
    let path = folder.join("setup.lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let lock = lock.map_err(|error| unavailable_file(&path, &error))?;
    wait_for(&lock, &path, File::try_lock, "making the store's tables")?;
    // Only a file without tables takes this: room that was given up can then be returned little by little.
    connection
        .pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .and_then(|()| connection.pragma_update(None, "journal_mode", "WAL"))
        .map_err(|error| unavailable(folder, &error))?;
    Migrations::from_slice(TABLES).to_latest(connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => unavailable(folder, &err),
        other => JournalError::Unavailable {
            why: format!(
                "the database in {} is not one that this version can use, perhaps a later version made it ({other}): update, or \
                 choose another data directory",
                folder.display()
            ),
        },
    })
}

/// Writes the first page of the database as it is: the smallest change that is committed as others are.
pub(super) fn touch(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION)
}

/// Makes a folder that nobody else may look into.
pub(crate) fn make_private(folder: &Path) -> Result<(), JournalError> {
    let fail = |error| unavailable_file(folder, &error);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
    let mode = fs::metadata(folder).map_err(fail)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(fail)?;
    }
    Ok(())
}
