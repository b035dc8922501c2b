//! What SQLite's and the system's errors mean to the caller, and what to do about them.

use std::io;
use std::path::Path;

use oarlock_core::ids::{Seq, SessionId};
use oarlock_core::ports::journal::JournalError;
use rusqlite::ErrorCode;

/// Why a piece of work on a connection was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// SQLite said no.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// The contract said no.
    #[error(transparent)]
    Refused(#[from] JournalError),
}

impl Trouble {
    /// In the words of the port.
    pub(super) fn at(self, folder: &Path) -> JournalError {
        match self {
            Self::Refused(error) => error,
            Self::Sql(error) => unavailable(folder, &error),
        }
    }

    /// As [`Trouble::at`], where a damaged page means that this session's log is damaged.
    pub(super) fn in_session(self, folder: &Path, session: &SessionId, seq: Seq) -> JournalError {
        match self {
            Self::Sql(error) if is_damage(&error) => {
                JournalError::Corrupt { session: session.clone(), seq, why: error.to_string() }
            }
            Self::Sql(_) | Self::Refused(_) => self.at(folder),
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => true,
        other => matches!(
            other.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ),
    }
}

/// What is wrong with the database in `folder`, and the remedy.
pub(super) fn unavailable(folder: &Path, error: &rusqlite::Error) -> JournalError {
    let at = folder.display();
    let remedy = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full: free some space and try again",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "it cannot be written: check that the folder exists, belongs to you and is not mounted read-only"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process keeps it locked: try again, or end that process"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "oarlock.db is damaged: restore it from a backup, or move it away to begin anew"
        }
        Some(ErrorCode::SystemIoFailure) => {
            "the system could not read or write it: check the disk and its free space"
        }
        Some(_) | None if is_damage(error) => {
            "oarlock.db is damaged: restore it from a backup, or move it away to begin anew"
        }
        Some(_) | None => "this was not expected",
    };
    JournalError::Unavailable { why: format!("the store in {at}: {remedy} ({error})") }
}

/// What is wrong with a file or folder, and the remedy.
pub(crate) fn unavailable_file(path: &Path, error: &io::Error) -> JournalError {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: free some space and try again"
        }
        io::ErrorKind::PermissionDenied => "it cannot be written: check that it belongs to you",
        io::ErrorKind::ReadOnlyFilesystem => {
            "its file system is mounted read-only: choose another data directory, or mount it writable"
        }
        io::ErrorKind::NotFound => "it is missing: check the data directory",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file stands where a folder is needed: move it away"
        }
        _ => "the system could not use it",
    };
    JournalError::Unavailable { why: format!("{}: {remedy} ({error})", path.display()) }
}
