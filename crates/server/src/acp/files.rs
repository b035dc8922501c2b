//! Files as a client has them: a text that is open in an editor is read and written with its unsaved changes. Everything else is this machine's.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use agent_client_protocol::v1::schema::{ReadTextFileRequest, WriteTextFileRequest};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::BlobId;
use oarlock_core::ids::Timestamp;
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::files::{
    DirEntry, Expect, FileError, FileKind, FileStat, Files, Fingerprint,
};

use super::client::{Client, Unanswered};

/// The largest text that a client is asked for, in bytes. A larger file is read from this machine.
const TEXT_MAX: usize = 10 * 1024 * 1024;
/// Bytes at the beginning in which a NUL means that this is no text.
const PROBE_BYTES: usize = 8 * 1024;
/// How long the parts of one look at a file are taken from one answer of the client.
const LOOK_MS: u64 = 2_000;
/// Texts that are kept for that.
const LOOKS_MAX: usize = 4;
/// Bytes of them all.
const LOOKS_BYTES: usize = 16 * 1024 * 1024;

/// Files of a session's folders, through its client as far as that offers it.
///
/// What is a text is the client's to read, with what is not saved yet; pictures and other bytes, files above 10 MiB, folders and whatever lies outside of the
/// session's folders are this machine's, and so is what the client does not know although it is there. Where the session may not go is this
/// machine's to say, before the client is asked. A write is preceded by a look at what is there; between the two the person may type, which the
/// client has to sort out.
#[derive(Debug)]
pub(super) struct ClientFiles {
    client: Arc<Client>,
    here: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    looks: Mutex<VecDeque<Look>>,
}

/// What was found at a path, for a short time.
#[derive(Debug)]
struct Look {
    path: PathBuf,
    at: Timestamp,
    content: Content,
}

/// Whose content is read.
#[derive(Debug, Clone)]
enum Content {
    /// This machine's.
    Here,
    /// The client's.
    There(Bytes),
}

impl Content {
    fn bytes(&self) -> usize {
        match self {
            Self::Here => 0,
            Self::There(text) => text.len(),
        }
    }
}

/// What is at a path.
enum Found {
    /// Something of this machine.
    Here(FileStat),
    /// A text of the client's.
    There(Bytes),
}

impl Found {
    fn stat(&self) -> FileStat {
        match self {
            Self::Here(stat) => stat.clone(),
            Self::There(text) => stat_of(text),
        }
    }

    fn content(&self) -> Content {
        match self {
            Self::Here(_) => Content::Here,
            Self::There(text) => Content::There(text.clone()),
        }
    }
}

fn stat_of(text: &[u8]) -> FileStat {
    let fingerprint = Fingerprint(format!("text-{}", BlobId::of(text)));
    FileStat { kind: FileKind::File, bytes: text.len() as u64, fingerprint }
}

fn is_text(bytes: &[u8]) -> bool {
    !bytes[..bytes.len().min(PROBE_BYTES)].contains(&0) && std::str::from_utf8(bytes).is_ok()
}

fn failed(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> FileError {
    FileError::Io { path: path.to_owned(), source: io::Error::other(source) }
}

impl ClientFiles {
    /// Files of the session's folders through `client`; `here` are this machine's.
    pub(super) fn new(client: Arc<Client>, here: Arc<dyn Files>, clock: Arc<dyn Clock>) -> Self {
        Self { client, here, clock, looks: Mutex::default() }
    }

    fn reads(&self) -> bool {
        self.client.out.client.fs.read_text_file
    }

    fn writes(&self) -> bool {
        self.client.out.client.fs.write_text_file
    }

    /// What is at a path now.
    async fn find(&self, path: &Path) -> Result<Found, FileError> {
        let named = self.client.path(path).filter(|_| self.reads());
        let stat = match self.here.stat(path).await {
            Ok(stat) => Some(stat),
            Err(FileError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(named) = named else {
            return stat.map(Found::Here).ok_or_else(|| not_found(path));
        };
        if let Some(stat) = &stat
            && !self.is_text(path, stat).await?
        {
            return Ok(Found::Here(stat.clone()));
        }
        let request = ReadTextFileRequest::new(self.client.session.clone(), named);
        match (self.client.ask(request).await, stat) {
            (Ok(answer), _) if answer.content.len() > TEXT_MAX => {
                Err(failed(path, "it is larger than 10 MiB in the editor"))
            }
            (Ok(answer), _) => Ok(Found::There(answer.content.into())),
            // Others may follow the session and work on when the client has gone, and with it what was not saved.
            (Err(Unanswered::Gone), Some(stat)) => Ok(Found::Here(stat)),
            // The client may not have noticed yet that it was made.
            (Err(error), Some(stat)) if error.is_not_found() => Ok(Found::Here(stat)),
            // What is neither here nor can be had there does not exist, whatever words a client has for that.
            (Err(Unanswered::Refused(_) | Unanswered::Gone), None) => Err(not_found(path)),
            (Err(error), _) => Err(failed(path, error)),
        }
    }

    async fn is_text(&self, path: &Path, stat: &FileStat) -> Result<bool, FileError> {
        if stat.kind != FileKind::File || stat.bytes > TEXT_MAX as u64 {
            return Ok(false);
        }
        Ok(is_text(&self.here.read(path, 0, TEXT_MAX).await?))
    }

    /// Looks at a path anew, and keeps what was found for the parts of it that are read next.
    async fn look(&self, path: &Path) -> Result<Found, FileError> {
        let found = self.find(path).await;
        self.forget(path);
        if let Ok(found) = &found {
            let (path, content) = (path.to_owned(), found.content());
            self.keep(Look { path, at: self.clock.now(), content });
        }
        found
    }

    fn keep(&self, look: Look) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |look: &Look| look.content.bytes();
        looks.retain(|look| self.is_fresh(look));
        let mut kept = bytes(&look) + looks.iter().map(bytes).sum::<usize>();
        while looks.len() >= LOOKS_MAX || (kept > LOOKS_BYTES && !looks.is_empty()) {
            kept -= looks.pop_front().as_ref().map_or(0, bytes);
        }
        looks.push_back(look);
    }

    fn is_fresh(&self, look: &Look) -> bool {
        self.clock.now().ms_since(look.at) <= LOOK_MS
    }

    fn forget(&self, path: &Path) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|look| look.path != path);
    }

    /// What the last look found, if that was just now.
    fn kept(&self, path: &Path) -> Option<Content> {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let look = looks.iter().find(|look| look.path == path && self.is_fresh(look))?;
        Some(look.content.clone())
    }

    async fn put(
        &self,
        path: &Path,
        bytes: Vec<u8>,
        expect: Expect,
    ) -> Result<FileStat, FileError> {
        let (reads, writes) = (self.reads(), self.writes());
        let Some(named) = self.client.path(path).filter(|_| reads || writes) else {
            return self.here.write(path, bytes, expect).await;
        };
        let found = match self.find(path).await {
            Ok(Found::Here(stat)) if stat.kind != FileKind::File => {
                return self.here.write(path, bytes, expect).await;
            }
            Ok(found) => Some(found),
            Err(FileError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let is_expected = match (&expect, &found) {
            (Expect::Anything, _) => true,
            (Expect::Absent, found) => found.is_none(),
            (Expect::Unchanged(_), None) => false,
            (Expect::Unchanged(was), Some(found)) => found.stat().fingerprint == *was,
        };
        if !is_expected {
            return Err(FileError::Conflict { path: path.to_owned() });
        }
        self.forget(path);
        let written = stat_of(&bytes);
        let writes = writes && !self.client.is_gone();
        match String::from_utf8(bytes) {
            Ok(text) if writes => self.put_there((path, named), text, found.is_none()).await?,
            Ok(text) => self.put_here(path, text.into_bytes(), expect).await?,
            Err(bytes) => self.put_here(path, bytes.into_bytes(), expect).await?,
        }
        // An editor may have formatted it. That it cannot be looked at does not undo the write.
        Ok(self.look(path).await.map_or(written, |found| found.stat()))
    }

    /// Writes a text through the client. A file that is nowhere is made by this machine first, which has a say in where files are made and makes
    /// their folders.
    async fn put_there(
        &self,
        (path, named): (&Path, PathBuf),
        text: String,
        is_new: bool,
    ) -> Result<(), FileError> {
        if is_new {
            self.here.write(path, Vec::new(), Expect::Absent).await?;
        }
        let request = WriteTextFileRequest::new(self.client.session.clone(), named, text);
        self.client.ask(request).await.map(drop).map_err(|error| {
            let left = if is_new { "; the file may be there and empty" } else { "" };
            match error {
                Unanswered::Refused(_) => failed(path, format!("{error}{left}")),
                error => {
                    failed(path, format!("{error}; it may have been written all the same{left}"))
                }
            }
        })
    }

    /// Writes to this machine what was found as expected a moment ago, there or at the client.
    async fn put_here(&self, path: &Path, bytes: Vec<u8>, expect: Expect) -> Result<(), FileError> {
        let expect = match (expect, self.here.stat(path).await) {
            (Expect::Anything, _) => Expect::Anything,
            (Expect::Absent, _) | (_, Err(FileError::NotFound { .. })) => Expect::Absent,
            (Expect::Unchanged(was), Ok(stat)) if stat.fingerprint == was => Expect::Unchanged(was),
            (Expect::Unchanged(_), Ok(stat)) => Expect::Unchanged(stat.fingerprint),
            (Expect::Unchanged(_), Err(error)) => return Err(error),
        };
        self.here.write(path, bytes, expect).await.map(drop)
    }
}

fn not_found(path: &Path) -> FileError {
    FileError::NotFound { path: path.to_owned() }
}

impl Files for ClientFiles {
    fn stat<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<FileStat, FileError>> {
        async move { Ok(self.look(path).await?.stat()) }.boxed()
    }

    fn read<'a>(
        &'a self,
        path: &'a Path,
        offset: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Bytes, FileError>> {
        async move {
            let content = match self.kept(path) {
                Some(content) => content,
                None => self.look(path).await?.content(),
            };
            let text = match content {
                Content::Here => return self.here.read(path, offset, max_bytes).await,
                Content::There(text) => text,
            };
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
            let to = from.saturating_add(max_bytes).min(text.len());
            Ok(text.slice(from..to))
        }
        .boxed()
    }

    fn write<'a>(
        &'a self,
        path: &'a Path,
        bytes: Vec<u8>,
        expect: Expect,
    ) -> BoxFuture<'a, Result<FileStat, FileError>> {
        self.put(path, bytes, expect).boxed()
    }

    fn list<'a>(
        &'a self,
        path: &'a Path,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<DirEntry>, FileError>> {
        self.here.list(path, max)
    }
}
