//! Walks a path from a root, one folder at a time, each opened by name relative to the one before, so that no link can lead out of the roots.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use oarlock_core::ports::files::FileError;
use oarlock_core::ports::tool::Place;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::hidden::Hidden;

/// Links that one path may lead through.
const LINKS_MAX: u32 = 40;
const NAMES_MAX: usize = 200_000;

/// The folders that a session may use, all but a few files of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roots {
    folders: Vec<PathBuf>,
    hidden: Hidden,
}

/// Something that exists within the roots, held by a descriptor that stays on it whatever is renamed.
#[derive(Debug)]
pub(crate) struct Found {
    node: OwnedFd,
    path: PathBuf,
}

/// A place for a file within the roots: its folder, held by a descriptor, and its name there. A link has been followed.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) folder: OwnedFd,
    pub(super) name: OsString,
}

/// What the walk does about folders that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Refuse,
    Make,
}

/// The end of a walk.
enum End {
    Folder(OwnedFd, PathBuf),
    Slot(Slot, PathBuf),
}

impl Roots {
    /// The working folder and the further folders of `place`.
    pub(crate) fn new(place: &Place) -> Self {
        let folders = std::iter::once(&place.cwd).chain(&place.roots).cloned().collect();
        Self { folders, hidden: Hidden::default() }
    }

    /// One folder by itself.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { folders: vec![folder], hidden: Hidden::default() }
    }

    /// The same without these files.
    pub(crate) fn hiding(self, hidden: Hidden) -> Self {
        Self { hidden, ..self }
    }

    /// Whether `path`, as it is written, lies in one of them.
    pub(super) fn are_named_by(&self, path: &Path) -> bool {
        let tidy = tidy(path);
        self.folders.iter().any(|root| tidy.starts_with(root))
    }

    /// What is at `path`, with all links followed.
    pub(crate) fn find(&self, path: &Path) -> Result<Found, FileError> {
        let failed = |errno: Errno| failed(path, errno);
        match self.walk(path, Missing::Refuse)? {
            End::Folder(node, path) => Ok(Found { node, path }),
            End::Slot(slot, at) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let node = rustix::fs::openat(&slot.folder, &slot.name, flags, Mode::empty())
                    .map_err(failed)?;
                let found = Found { node, path: at };
                self.hidden.check(&found, path)?;
                Ok(found)
            }
        }
    }

    /// The real path of the folder at `path`; `None` when it is not a folder.
    pub(crate) fn folder(&self, path: &Path) -> Result<Option<PathBuf>, FileError> {
        let found = self.find(path)?;
        let meta =
            found.metadata().map_err(|source| FileError::Io { path: path.to_owned(), source })?;
        Ok(meta.is_dir().then_some(found.path))
    }

    /// Where a file at `path` is or would be.
    pub(super) fn slot(&self, path: &Path, missing: Missing) -> Result<Slot, FileError> {
        match self.walk(path, missing)? {
            End::Slot(slot, at) => self.hidden.check_path(&at, path).map(|()| slot),
            End::Folder(..) => {
                Err(FileError::WrongKind { path: path.to_owned(), found: "a folder" })
            }
        }
    }

    fn walk(&self, path: &Path, missing: Missing) -> Result<End, FileError> {
        let mut walk = Walk {
            roots: self.real(),
            given: path,
            missing,
            folders: Vec::new(),
            at: PathBuf::new(),
            ahead: VecDeque::new(),
        };
        walk.enter(&self.spelled(path))?;
        let mut links = 0;
        while let Some(name) = walk.ahead.pop_front() {
            match walk.step(name)? {
                Step::Done => {}
                Step::End(slot) => {
                    let at = walk.at.join(&slot.name);
                    return Ok(End::Slot(slot, at));
                }
                Step::Link(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(failed(path, Errno::LOOP));
                    }
                    walk.follow(&target)?;
                }
            }
        }
        let node =
            walk.folders.pop().ok_or_else(|| FileError::Outside { path: path.to_owned() })?;
        Ok(End::Folder(node, walk.at))
    }

    /// The roots that exist, by their real paths.
    fn real(&self) -> Vec<PathBuf> {
        self.folders.iter().filter_map(|root| root.canonicalize().ok()).collect()
    }

    /// `path` by the real name of its root, when it was written with the name by which the root was given.
    fn spelled(&self, path: &Path) -> PathBuf {
        let under =
            |root: &PathBuf| Some(root.canonicalize().ok()?.join(path.strip_prefix(root).ok()?));
        self.folders.iter().find_map(under).unwrap_or_else(|| path.to_owned())
    }
}

enum Step {
    Done,
    Link(PathBuf),
    End(Slot),
}

/// A walk under way. `folders` holds the open folders from the root to `at`, and is empty before the first root is entered.
struct Walk<'a> {
    roots: Vec<PathBuf>,
    given: &'a Path,
    missing: Missing,
    folders: Vec<OwnedFd>,
    at: PathBuf,
    ahead: VecDeque<OsString>,
}

impl Walk<'_> {
    fn outside(&self) -> FileError {
        FileError::Outside { path: self.given.to_owned() }
    }

    /// Starts again at the root that an absolute path lies in; what was ahead follows after the path.
    fn enter(&mut self, path: &Path) -> Result<(), FileError> {
        let tidy = tidy(path);
        let (root, rest) = self
            .root_of(&tidy)
            .or_else(|| self.root_of(&real_name(&tidy)?))
            .ok_or_else(|| self.outside())?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, &root, flags, Mode::empty())
            .map_err(|errno| failed(self.given, errno))?;
        self.folders = vec![folder];
        self.at = root;
        rest.components().rev().for_each(|name| self.ahead.push_front(name.as_os_str().to_owned()));
        Ok(())
    }

    fn root_of(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        let inside =
            |root: &PathBuf| Some((root.clone(), path.strip_prefix(root).ok()?.to_owned()));
        self.roots.iter().find_map(inside)
    }

    fn follow(&mut self, target: &Path) -> Result<(), FileError> {
        if target.is_absolute() {
            return self.enter(target);
        }
        target
            .components()
            .rev()
            .for_each(|name| self.ahead.push_front(name.as_os_str().to_owned()));
        Ok(())
    }

    fn step(&mut self, name: OsString) -> Result<Step, FileError> {
        if name == "." {
            return Ok(Step::Done);
        }
        if name == ".." {
            return self.up().map(|()| Step::Done);
        }
        let folder = self.folders.last().ok_or_else(|| self.outside())?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(folder, &name, flags, Mode::empty()) {
            Ok(next) => {
                self.folders.push(next);
                self.at.push(name);
                Ok(Step::Done)
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                match rustix::fs::readlinkat(folder, &name, Vec::new()) {
                    Ok(target) => {
                        Ok(Step::Link(PathBuf::from(OsString::from_vec(target.into_bytes()))))
                    }
                    Err(Errno::INVAL) if self.ahead.is_empty() => self.end(name),
                    Err(Errno::INVAL) => Err(failed(self.given, Errno::NOTDIR)),
                    Err(errno) => Err(failed(self.given, errno)),
                }
            }
            Err(Errno::NOENT) if self.ahead.is_empty() => self.end(name),
            Err(Errno::NOENT) if self.missing == Missing::Make => {
                match rustix::fs::mkdirat(folder, &name, Mode::from(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(failed(self.given, errno)),
                }
                self.ahead.push_front(name);
                Ok(Step::Done)
            }
            Err(errno) => Err(failed(self.given, errno)),
        }
    }

    fn up(&mut self) -> Result<(), FileError> {
        if self.folders.len() > 1 {
            self.folders.pop();
            self.at.pop();
            return Ok(());
        }
        // Above this root: perhaps into another one. The path so far is real, so that its parent is what its name says.
        let parent = self.at.parent().ok_or_else(|| self.outside())?.to_owned();
        let mut rest = parent;
        rest.extend(self.ahead.drain(..));
        self.enter(&rest)
    }

    fn end(&mut self, name: OsString) -> Result<Step, FileError> {
        let folder = self.folders.pop().ok_or_else(|| self.outside())?;
        Ok(Step::End(Slot { folder, name }))
    }
}

/// The path with `.` and `..` taken out by name alone.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                tidy.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                tidy.push(component);
            }
        }
    }
    tidy
}

/// The path with the part of it that exists by its real name. Only a hint where to start: the walk from there trusts nothing.
fn real_name(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .find_map(|part| Some(part.canonicalize().ok()?.join(path.strip_prefix(part).ok()?)))
}

/// The error in the port's words.
pub(super) fn failed(path: &Path, errno: Errno) -> FileError {
    let path = path.to_owned();
    match errno {
        Errno::NOENT => FileError::NotFound { path },
        Errno::NOTDIR => FileError::WrongKind { path, found: "below a file, which is no folder" },
        Errno::ISDIR => FileError::WrongKind { path, found: "a folder" },
        errno => FileError::Io { path, source: errno.into() },
    }
}

impl Found {
    /// The real path it had when it was found.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is known of it.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        // The link in /proc stands for the descriptor, whatever has become of the name.
        std::fs::metadata(self.handle())
    }

    /// Opens it for reading, if it is a regular file.
    pub(crate) fn open_file(&self, path: &Path) -> Result<File, FileError> {
        let io = |source| FileError::Io { path: path.to_owned(), source };
        let meta = self.metadata().map_err(io)?;
        if meta.is_dir() {
            return Err(FileError::WrongKind { path: path.to_owned(), found: "a folder" });
        }
        if !meta.is_file() {
            return Err(FileError::WrongKind {
                path: path.to_owned(),
                found: "a device, socket or pipe",
            });
        }
        File::open(self.handle()).map_err(io)
    }

    /// The names in it, if it is a folder; at most 200,000.
    pub(crate) fn names(&self, path: &Path) -> Result<Vec<OsString>, FileError> {
        let io = |source| FileError::Io { path: path.to_owned(), source };
        if !self.metadata().map_err(io)?.is_dir() {
            return Err(FileError::WrongKind { path: path.to_owned(), found: "not a folder" });
        }
        let entries = std::fs::read_dir(self.handle()).map_err(io)?;
        entries
            .take(NAMES_MAX)
            .map(|entry| entry.map(|entry| entry.file_name()).map_err(io))
            .collect()
    }

    fn handle(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.node.as_raw_fd()))
    }
}
