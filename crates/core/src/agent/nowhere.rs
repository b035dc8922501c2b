//! A machine without files and commands: what a session reaches when nobody gave it more.

use std::io;
use std::path::Path;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use crate::ports::files::{DirEntry, Expect, FileError, FileStat, Files};
use crate::ports::shell::{Process, Shell, ShellCommand, ShellError};

/// Has no file and runs no command; whoever tries is told so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nowhere;

fn nothing<'a, T: Send + 'a>(path: &Path) -> BoxFuture<'a, Result<T, FileError>> {
    ready(Err(FileError::NotFound { path: path.to_owned() })).boxed()
}

impl Files for Nowhere {
    fn stat<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<FileStat, FileError>> {
        nothing(path)
    }

    fn read<'a>(
        &'a self,
        path: &'a Path,
        _: u64,
        _: usize,
    ) -> BoxFuture<'a, Result<Bytes, FileError>> {
        nothing(path)
    }

    fn write<'a>(
        &'a self,
        path: &'a Path,
        _: Vec<u8>,
        _: Expect,
    ) -> BoxFuture<'a, Result<FileStat, FileError>> {
        nothing(path)
    }

    fn list<'a>(
        &'a self,
        path: &'a Path,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<DirEntry>, FileError>> {
        nothing(path)
    }
}

impl Shell for Nowhere {
    fn spawn(&self, command: ShellCommand) -> BoxFuture<'_, Result<Box<dyn Process>, ShellError>> {
        let source = io::Error::other("there are no commands here");
        ready(Err(ShellError::Spawn { cwd: command.cwd, source })).boxed()
    }
}
