//! Files, wherever they are: this machine's, or an editor's with its unsaved buffers.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::future::BoxFuture;

/// Reads and writes files within the roots it was made for.
///
/// Paths are absolute. No path leaves the roots, through links either: that is [`FileError::Outside`], not a read of somewhere else.
pub trait Files: Send + Sync + std::fmt::Debug {
    /// What is at `path`; links are followed within the roots.
    fn stat<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<FileStat, FileError>>;

    /// Up to `max_bytes` bytes from `offset`; fewer only at the end of the file.
    fn read<'a>(
        &'a self,
        path: &'a Path,
        offset: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Bytes, FileError>>;

    /// Puts `bytes` in the place of the file, whole or not at all: mode and link target are kept, missing folders are made, and the data is
    /// on the disk when it returns. A change by somebody else since `expect` was taken is a [`FileError::Conflict`].
    fn write<'a>(
        &'a self,
        path: &'a Path,
        bytes: Vec<u8>,
        expect: Expect,
    ) -> BoxFuture<'a, Result<FileStat, FileError>>;

    /// The names in a folder, sorted, at most `max`.
    fn list<'a>(
        &'a self,
        path: &'a Path,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<DirEntry>, FileError>>;
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// File, folder or something else.
    pub kind: FileKind,
    /// Size in bytes.
    pub bytes: u64,
    /// Changes when the content does.
    pub fingerprint: Fingerprint,
}

/// Names a state of a file's content; only equality means anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(pub String);

/// What kind of thing a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A device, socket or pipe: never opened.
    Other,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, lossily as text.
    pub name: String,
    /// What it is; a link is what it points to.
    pub kind: FileKind,
    /// Size in bytes of a regular file.
    pub bytes: u64,
}

/// What a write expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Anything,
    /// Nothing.
    Absent,
    /// The content that was fingerprinted.
    Unchanged(Fingerprint),
}

/// Why a file operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Nothing is there.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// It is outside the allowed folders, perhaps through a link.
    #[error("{} is outside the allowed folders", path.display())]
    Outside {
        /// The path as given.
        path: PathBuf,
    },
    /// It is a folder, a device or the like, where a file was expected, or the reverse.
    #[error("{} is {found}", path.display())]
    WrongKind {
        /// The path.
        path: PathBuf,
        /// What it is, for example `a folder`.
        found: &'static str,
    },
    /// Somebody else changed it.
    #[error("{} was changed by somebody else in the meantime", path.display())]
    Conflict {
        /// The path.
        path: PathBuf,
    },
    /// The system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}
