//! Files that are nothing but a table: what a test says is there, in folders that a test says may be seen.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::ports::files::{
    DirEntry, Expect, FileError, FileKind, FileStat, Files, Fingerprint,
};

/// Files within one root, for reading.
#[derive(Debug, Clone)]
pub struct TableFiles {
    root: PathBuf,
    nodes: BTreeMap<PathBuf, Node>,
}

/// What is at a path.
#[derive(Debug, Clone)]
pub enum Node {
    /// A file with these bytes.
    Content(Vec<u8>),
    /// A folder.
    Folder,
    /// A link that leads out of the root.
    LinkOut,
    /// A file that may not be read.
    Locked,
}

impl TableFiles {
    /// Files that may be seen below `root`.
    #[must_use]
    pub fn new(root: &str, nodes: &[(&str, Node)]) -> Self {
        let nodes = nodes.iter().map(|(path, node)| (PathBuf::from(path), node.clone()));
        Self { root: PathBuf::from(root), nodes: nodes.collect() }
    }

    /// Text files that may be seen below `root`.
    #[must_use]
    pub fn of_texts(root: &str, texts: &[(&str, &str)]) -> Self {
        let nodes = texts.iter().map(|(path, text)| (*path, Node::text(text)));
        Self::new(root, &nodes.collect::<Vec<_>>())
    }

    fn node(&self, path: &Path) -> Result<&Node, FileError> {
        if !path.starts_with(&self.root) {
            return Err(FileError::Outside { path: path.to_owned() });
        }
        match self.nodes.get(path) {
            Some(Node::LinkOut) => Err(FileError::Outside { path: path.to_owned() }),
            Some(node) => Ok(node),
            None => Err(FileError::NotFound { path: path.to_owned() }),
        }
    }

    fn content(&self, path: &Path) -> Result<&[u8], FileError> {
        match self.node(path)? {
            Node::Content(bytes) => Ok(bytes),
            Node::Folder => Err(FileError::WrongKind { path: path.to_owned(), found: "a folder" }),
            Node::Locked | Node::LinkOut => Err(locked(path)),
        }
    }
}

impl Node {
    /// A text file.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Content(text.as_bytes().to_vec())
    }
}

fn locked(path: &Path) -> FileError {
    FileError::Io { path: path.to_owned(), source: Error::from(ErrorKind::PermissionDenied) }
}

impl Files for TableFiles {
    fn stat<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<FileStat, FileError>> {
        let stat = self.node(path).map(|node| {
            let (kind, bytes) = match node {
                Node::Content(bytes) => (FileKind::File, bytes.len() as u64),
                Node::Folder => (FileKind::Folder, 0),
                Node::Locked | Node::LinkOut => (FileKind::File, 1),
            };
            FileStat { kind, bytes, fingerprint: Fingerprint(bytes.to_string()) }
        });
        async { stat }.boxed()
    }

    fn read<'a>(
        &'a self,
        path: &'a Path,
        offset: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Bytes, FileError>> {
        let read = self.content(path).map(|bytes| {
            let from = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
            let to = from.saturating_add(max_bytes).min(bytes.len());
            Bytes::copy_from_slice(&bytes[from..to])
        });
        async { read }.boxed()
    }

    fn write<'a>(
        &'a self,
        path: &'a Path,
        _: Vec<u8>,
        _: Expect,
    ) -> BoxFuture<'a, Result<FileStat, FileError>> {
        async { Err(locked(path)) }.boxed()
    }

    fn list<'a>(
        &'a self,
        path: &'a Path,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<DirEntry>, FileError>> {
        async { Err(locked(path)) }.boxed()
    }
}
