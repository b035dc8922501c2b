//! Bodies as files named by their hash, in 256 folders. A body becomes visible by a rename, after it is on the disk.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use oarlock_core::ids::BlobId;
use oarlock_core::ports::journal::{BlobWriter, JournalError};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
use tempfile::NamedTempFile;

use crate::locked::wait_for;
use crate::sqlite::{make_private, unavailable_file};

/// The most bytes that one body may have (1 GiB). A larger `put` is refused, a longer stream is cut.
pub const BLOB_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Files that crashed writers left behind and one new writer removes.
const SWEEP_MAX: usize = 16;
/// A file that nobody wrote to for so long belongs to no living writer.
const ABANDONED_SECONDS: u64 = 24 * 60 * 60;

/// The folder of bodies.
#[derive(Clone)]
pub(crate) struct BlobFolder {
    root: PathBuf,
}

impl BlobFolder {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { root: folder.join("blobs") }
    }

    pub(crate) async fn put(&self, bytes: Bytes) -> Result<BlobId, JournalError> {
        let size = bytes.len() as u64;
        if size > BLOB_BYTES_MAX {
            let why = format!("a body of {size} bytes is over the limit of {BLOB_BYTES_MAX}");
            return Err(JournalError::Unavailable { why });
        }
        let folder = self.clone();
        blocking(move || {
            let id = BlobId::of(&bytes);
            if folder.keeps(&id, size)? {
                return Ok(id);
            }
            let mut draft = folder.draft()?;
            draft.add(&bytes)?;
            folder.keep(draft).map(|(id, _)| id)
        })
        .await
    }

    pub(crate) async fn writer(&self) -> Result<Box<dyn BlobWriter>, JournalError> {
        let folder = self.clone();
        let draft = blocking(move || folder.draft()).await?;
        Ok(Box::new(Writer { folder: self.clone(), draft: Some(draft) }))
    }

    pub(crate) async fn read(
        &self,
        blob: BlobId,
        offset: u64,
        max_bytes: usize,
    ) -> Result<(Bytes, u64), JournalError> {
        let path = self.path(&blob);
        blocking(move || {
            let mut file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(JournalError::BlobNotFound { blob });
                }
                Err(error) => return Err(unavailable_file(&path, &error)),
            };
            let fail = |error| unavailable_file(&path, &error);
            let size = file.metadata().map_err(fail)?.len();
            let wanted = size.saturating_sub(offset).min(max_bytes as u64);
            let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
            file.seek(SeekFrom::Start(offset.min(size))).map_err(fail)?;
            file.take(wanted).read_to_end(&mut bytes).map_err(fail)?;
            if offset == 0 && wanted == size && BlobId::of(&bytes) != blob {
                let why = "its bytes do not have its hash".to_owned();
                return Err(JournalError::BlobCorrupt { blob, why });
            }
            Ok((bytes.into(), size))
        })
        .await
    }

    fn path(&self, blob: &BlobId) -> PathBuf {
        // A blob id may be any valid id, so it is cut by characters that are there.
        let shard = blob.as_str().get(..2).unwrap_or("00");
        self.root.join(shard).join(blob.as_str())
    }

    fn has(&self, blob: &BlobId, size: u64) -> bool {
        fs::metadata(self.path(blob)).is_ok_and(|file| file.is_file() && file.len() == size)
    }

    /// Whether a body is there already; then it is as young as one that was just written, since an entry is about to name it.
    fn keeps(&self, blob: &BlobId, size: u64) -> Result<bool, JournalError> {
        if !self.has(blob, size) {
            return Ok(false);
        }
        let lock = self.lock()?;
        let path = self.path(blob);
        let fail = |path: &Path, error| unavailable_file(path, &error);
        wait_for(&lock, &self.root, File::try_lock_shared, "collecting bodies")?;
        // A collection may have removed it meanwhile.
        if !self.has(blob, size) {
            return Ok(false);
        }
        let file = File::open(&path).map_err(|error| fail(&path, error))?;
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        futimens(&file, &times).map_err(|error| fail(&path, error.into()))?;
        Ok(true)
    }

    /// What a collection and whoever counts on a body exclude each other by, for as long as the returned file is locked and open.
    fn lock(&self) -> Result<File, JournalError> {
        let path = self.root.join("collect.lock");
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        lock.map_err(|error| unavailable_file(&path, &error))
    }

    /// Sizes of all bodies by their names.
    pub(crate) fn all(&self) -> Result<HashMap<String, u64>, JournalError> {
        let mut all = HashMap::new();
        for shard in entries(&self.root)? {
            let is_shard = shard.file_name().len() == 2;
            for body in if is_shard { entries(&shard.path())? } else { Vec::new() } {
                let name = body.file_name().into_string().unwrap_or_default();
                if let (64, Ok(file)) = (name.len(), body.metadata()) {
                    all.insert(name, file.len());
                }
            }
        }
        Ok(all)
    }

    /// Removes these bodies, but for those that were written or counted on within `spared`; how many went, and their bytes.
    pub(crate) fn remove<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        spared: Duration,
    ) -> Result<(u64, u64), JournalError> {
        // The file system's own clock, since it is the one that dates bodies.
        let fresh = self.draft()?;
        let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        let present = changed(fresh.file.path());
        let (mut count, mut bytes) = (0, 0);
        for name in names {
            let Ok(blob) = BlobId::parse(name) else { continue };
            let path = self.path(&blob);
            let lock = self.lock()?;
            wait_for(&lock, &self.root, File::try_lock, "counting on bodies")?;
            let age = changed(&path).and_then(|then| present?.duration_since(then).ok());
            let Some(file) =
                fs::metadata(&path).ok().filter(|_| age.is_some_and(|age| age >= spared))
            else {
                continue;
            };
            fs::remove_file(&path).map_err(|error| unavailable_file(&path, &error))?;
            (count, bytes) = (count + 1, bytes + file.len());
        }
        Ok((count, bytes))
    }

    fn draft(&self) -> Result<Draft, JournalError> {
        let folder = self.root.join("tmp");
        make_private(&folder)?;
        let file =
            NamedTempFile::new_in(&folder).map_err(|error| unavailable_file(&folder, &error))?;
        sweep(&folder, &file);
        Ok(Draft { file, hasher: blake3::Hasher::new(), size: 0 })
    }

    /// Syncs a draft, gives it its name and syncs the name.
    fn keep(&self, draft: Draft) -> Result<(BlobId, u64), JournalError> {
        let id = BlobId::parse(draft.hasher.finalize().to_hex().as_str())
            .expect("a hash in hexadecimal is a valid id");
        if self.keeps(&id, draft.size)? {
            return Ok((id, draft.size));
        }
        let path = self.path(&id);
        let folder = path.parent().expect("a body has a folder");
        let fail = |error| unavailable_file(&path, &error);
        draft.file.as_file().sync_all().map_err(fail)?;
        let new_folder = !folder.is_dir();
        make_private(folder)?;
        draft.file.persist(&path).map_err(|error| fail(error.error))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
        if new_folder {
            File::open(&self.root).and_then(|root| root.sync_all()).map_err(fail)?;
        }
        Ok((id, draft.size))
    }
}

/// What is in a folder; nothing when it is not there.
fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>, JournalError> {
    match fs::read_dir(folder) {
        Ok(found) => Ok(found.flatten().collect()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(unavailable_file(folder, &error)),
    }
}

/// A body that nobody can see yet. Dropping it removes it.
struct Draft {
    file: NamedTempFile,
    hasher: blake3::Hasher,
    size: u64,
}

impl Draft {
    fn add(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let room = usize::try_from(BLOB_BYTES_MAX - self.size).unwrap_or(usize::MAX);
        let kept = &bytes[..bytes.len().min(room)];
        self.file
            .as_file_mut()
            .write_all(kept)
            .map_err(|error| unavailable_file(self.file.path(), &error))?;
        self.hasher.update(kept);
        self.size += kept.len() as u64;
        Ok(())
    }
}

struct Writer {
    folder: BlobFolder,
    /// Absent after a write that failed or whose future was dropped: such a body cannot be finished.
    draft: Option<Draft>,
}

fn unfinished() -> JournalError {
    let why = "a write of this body was given up before; begin the body again".to_owned();
    JournalError::Unavailable { why }
}

impl BlobWriter for Writer {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), JournalError>> {
        let bytes = bytes.to_vec();
        Box::pin(async move {
            let mut draft = self.draft.take().ok_or_else(unfinished)?;
            let draft = blocking(move || draft.add(&bytes).map(|()| draft)).await?;
            self.draft = Some(draft);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(BlobId, u64), JournalError>> {
        Box::pin(async move {
            let Self { folder, draft } = *self;
            let draft = draft.ok_or_else(unfinished)?;
            blocking(move || folder.keep(draft)).await
        })
    }
}

/// Removes what crashed writers left long before `fresh` was made; its own time is the clock.
fn sweep(folder: &Path, fresh: &NamedTempFile) {
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let (Some(present), Ok(files)) = (changed(fresh.path()), fs::read_dir(folder)) else { return };
    for path in files.flatten().map(|file| file.path()).take(SWEEP_MAX) {
        let age = changed(&path).and_then(|then| present.duration_since(then).ok());
        if age.is_some_and(|age| age.as_secs() > ABANDONED_SECONDS)
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!(path = %path.display(), %error, "an abandoned draft stays behind");
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let why = format!("work on stored bodies ended unexpectedly: {error}");
        Err(JournalError::Unavailable { why })
    })
}
