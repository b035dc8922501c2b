//! This machine's files, within a session's folders and nowhere else.

mod hidden;
mod roots;
mod write;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::future::BoxFuture;
use oarlock_core::ports::files::{
    DirEntry, Expect, FileError, FileKind, FileStat, Files, Fingerprint,
};
use oarlock_core::ports::tool::Place;

pub(crate) use hidden::Hidden;
pub(crate) use roots::{Found, Roots};

/// Up to this size the content itself is part of the fingerprint, because a file's times are coarser than two quick writes.
const HASHED_BYTES: u64 = 1024 * 1024;

/// Reads and writes this machine's files in the working folder and the further folders of one session.
///
/// Every path is walked folder by folder from a root, links included, so that no link leads out, not even one that is swapped during
/// the walk. Devices, sockets and pipes are never opened. All work is done on the blocking pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFiles {
    roots: Roots,
    /// Roots of which each is by itself: no link leads from one of them anywhere else.
    readable: Vec<Roots>,
}

impl LocalFiles {
    /// Files of the working folder and the further folders of `place`.
    #[must_use]
    pub fn new(place: &Place) -> Self {
        Self { roots: Roots::new(place), readable: Vec::new() }
    }

    /// The same with further canonical folders whose files may be read and never written, each as if it were alone. Where one lies in the
    /// session's own folders, these decide.
    #[must_use]
    pub fn reading(mut self, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        self.readable.extend(folders.into_iter().map(Roots::of));
        self
    }

    /// The same without these files and all files below these folders, which need not exist: whatever folders the session has and by whatever name, none is read or written.
    #[must_use]
    pub fn hiding(self, files: &[PathBuf]) -> Self {
        let hidden = Hidden::of(files);
        let without = |roots: Roots| roots.hiding(hidden.clone());
        Self {
            roots: without(self.roots),
            readable: self.readable.into_iter().map(without).collect(),
        }
    }

    /// As [`Self::run`], for work that changes nothing.
    fn look<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce(&Roots, &Path) -> Result<T, FileError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, FileError>> {
        let alone = self.readable.iter().find(|roots| roots.are_named_by(path));
        let roots = alone.filter(|_| !self.roots.are_named_by(path)).unwrap_or(&self.roots);
        Self::aside(roots.clone(), path, work)
    }

    fn run<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce(&Roots, &Path) -> Result<T, FileError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, FileError>> {
        Self::aside(self.roots.clone(), path, work)
    }

    fn aside<T: Send + 'static>(
        roots: Roots,
        path: &Path,
        work: impl FnOnce(&Roots, &Path) -> Result<T, FileError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, FileError>> {
        let path = path.to_owned();
        Box::pin(async move {
            let kept = path.clone();
            match tokio::task::spawn_blocking(move || work(&roots, &path)).await {
                Ok(done) => done,
                Err(ended) => Err(FileError::Io { path: kept, source: io::Error::other(ended) }),
            }
        })
    }
}

impl Files for LocalFiles {
    fn stat<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<FileStat, FileError>> {
        self.look(path, |roots, path| stat(&roots.find(path)?, path))
    }

    fn read<'a>(
        &'a self,
        path: &'a Path,
        offset: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Bytes, FileError>> {
        self.look(path, move |roots, path| {
            let file = roots.find(path)?.open_file(path)?;
            read(&file, offset, max_bytes)
                .map_err(|source| FileError::Io { path: path.to_owned(), source })
        })
    }

    fn write<'a>(
        &'a self,
        path: &'a Path,
        bytes: Vec<u8>,
        expect: Expect,
    ) -> BoxFuture<'a, Result<FileStat, FileError>> {
        self.run(path, move |roots, path| write::replace(roots, path, &bytes, &expect))
    }

    fn list<'a>(
        &'a self,
        path: &'a Path,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<DirEntry>, FileError>> {
        self.look(path, move |roots, path| list(roots, path, max))
    }
}

fn stat(found: &Found, path: &Path) -> Result<FileStat, FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let meta = found.metadata().map_err(io)?;
    let kind = kind(&meta);
    let fingerprint = match kind {
        FileKind::File => {
            // A file that may be seen but not read still has a size.
            let file = found.open_file(path).ok().filter(|_| meta.len() <= HASHED_BYTES);
            fingerprint(&meta, file.as_ref()).map_err(io)?
        }
        FileKind::Folder | FileKind::Other => fingerprint(&meta, None).map_err(io)?,
    };
    Ok(FileStat { kind, bytes: if kind == FileKind::File { meta.len() } else { 0 }, fingerprint })
}

fn fingerprint(meta: &std::fs::Metadata, file: Option<&File>) -> io::Result<Fingerprint> {
    let mut text =
        format!("{}-{}-{}.{:09}", meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
    if let Some(file) = file {
        let content = read(file, 0, usize::try_from(HASHED_BYTES).unwrap_or(usize::MAX))?;
        text.push('-');
        text.push_str(&blake3::hash(&content).to_hex());
    }
    Ok(Fingerprint(text))
}

fn kind(meta: &std::fs::Metadata) -> FileKind {
    match (meta.is_file(), meta.is_dir()) {
        (true, _) => FileKind::File,
        (_, true) => FileKind::Folder,
        (false, false) => FileKind::Other,
    }
}

fn read(file: &File, offset: u64, max_bytes: usize) -> io::Result<Bytes> {
    let size = file.metadata()?.len().saturating_sub(offset);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(max_bytes).min(max_bytes));
    let from = At { file, offset };
    from.take(max_bytes as u64).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Reads on from an offset without moving the file's own position.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

fn list(roots: &Roots, path: &Path, max: usize) -> Result<Vec<DirEntry>, FileError> {
    let found = roots.find(path)?;
    let mut names = found.names(path)?;
    names.sort();
    names.truncate(max);
    let entry = |name: std::ffi::OsString| {
        // A link that leads out or nowhere is shown as something that cannot be opened.
        let target: PathBuf = found.path().join(&name);
        let meta = roots.find(&target).ok().and_then(|found| found.metadata().ok());
        let kind = meta.as_ref().map_or(FileKind::Other, kind);
        let bytes = meta.filter(|_| kind == FileKind::File).map_or(0, |meta| meta.len());
        DirEntry { name: name.to_string_lossy().into_owned(), kind, bytes }
    };
    Ok(names.into_iter().map(entry).collect())
}
