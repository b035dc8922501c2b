//! A machine whose files and commands are a test's, and a tool that lends a test what a running call works with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use oarlock_core::event::Effect;
use oarlock_core::ports::files::{
    DirEntry, Expect, FileError, FileKind, FileStat, Files, Fingerprint,
};
use oarlock_core::ports::shell::{Process, Shell, ShellCommand, ShellError};
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, SessionToolFactory, SessionTools, SessionToolsError, Subject, Tool,
    ToolContext, ToolError, ToolOutput, ToolSchema,
};
use oarlock_core::spec::SessionSpec;
use oarlock_core::{DefaultAgentCore, Ports, StaticToolRegistry};
use oarlock_testkit::kit::{Kit, Parts, node};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Files below `/w`, which is a folder. Everything else is outside.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    files: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
    pub(crate) commands: Mutex<Vec<String>>,
}

impl Machine {
    pub(crate) fn with(files: &[(&str, &[u8])]) -> Arc<Self> {
        let files = files.iter().map(|(path, bytes)| (PathBuf::from(path), bytes.to_vec()));
        Arc::new(Self { files: Mutex::new(files.collect()), commands: Mutex::default() })
    }

    pub(crate) fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.files.lock().expect("nobody panics with it").get(Path::new(path)).cloned()
    }

    fn look(&self, path: &Path) -> Result<FileStat, FileError> {
        if !path.starts_with("/w") {
            return Err(FileError::Outside { path: path.to_owned() });
        }
        let files = self.files.lock().expect("nobody panics with it");
        let (kind, content) = match files.get(path) {
            Some(content) => (FileKind::File, content.as_slice()),
            None if path == Path::new("/w") => (FileKind::Folder, &[][..]),
            None => return Err(FileError::NotFound { path: path.to_owned() }),
        };
        let fingerprint = Fingerprint(format!("here {content:?}"));
        Ok(FileStat { kind, bytes: content.len() as u64, fingerprint })
    }

    fn take(&self, path: &Path, from: u64, max: usize) -> Result<Bytes, FileError> {
        self.look(path)?;
        let files = self.files.lock().expect("nobody panics with it");
        let content = files.get(path).map(Vec::as_slice).unwrap_or_default();
        let from = usize::try_from(from).expect("files are small").min(content.len());
        Ok(Bytes::copy_from_slice(&content[from..content.len().min(from + max)]))
    }

    fn put(&self, path: &Path, bytes: Vec<u8>, expect: &Expect) -> Result<FileStat, FileError> {
        let fits = match (expect, self.look(path)) {
            (_, Err(error @ FileError::Outside { .. })) => return Err(error),
            (Expect::Anything, _) => true,
            (Expect::Absent, now) => now.is_err(),
            (Expect::Unchanged(was), now) => now.is_ok_and(|now| now.fingerprint == *was),
        };
        if !fits {
            return Err(FileError::Conflict { path: path.to_owned() });
        }
        self.files.lock().expect("nobody panics with it").insert(path.to_owned(), bytes);
        self.look(path)
    }
}

impl Files for Machine {
    fn stat<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<FileStat, FileError>> {
        ready(self.look(path)).boxed()
    }

    fn read<'a>(
        &'a self,
        path: &'a Path,
        offset: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Bytes, FileError>> {
        ready(self.take(path, offset, max_bytes)).boxed()
    }

    fn write<'a>(
        &'a self,
        path: &'a Path,
        bytes: Vec<u8>,
        expect: Expect,
    ) -> BoxFuture<'a, Result<FileStat, FileError>> {
        ready(self.put(path, bytes, &expect)).boxed()
    }

    fn list<'a>(
        &'a self,
        _: &'a Path,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<DirEntry>, FileError>> {
        ready(Ok(Vec::new())).boxed()
    }
}

impl Shell for Machine {
    fn spawn(&self, command: ShellCommand) -> BoxFuture<'_, Result<Box<dyn Process>, ShellError>> {
        self.commands.lock().expect("nobody panics with it").push(command.command);
        ready(Err(ShellError::Outside { cwd: command.cwd })).boxed()
    }
}

/// Lends what a call works with to a test, and ends when it is cancelled or given back.
#[derive(Debug)]
struct Lend {
    schema: ToolSchema,
    to: mpsc::Sender<Lent>,
}

/// What a running call works with. The call ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Lent {
    pub(crate) cx: ToolContext,
    _back: mpsc::Sender<()>,
}

impl Tool for Lend {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, _: &Value, _: &Place) -> Result<Assessment, String> {
        Ok(Assessment {
            effect: Effect::Pure,
            title: "lend".to_owned(),
            subject: Subject::default(),
            timeout_ms: 600_000,
        })
    }

    fn describe<'a>(&'a self, _: &'a Value, _: &'a ToolContext) -> BoxFuture<'a, String> {
        ready(String::new()).boxed()
    }

    fn execute(
        self: Arc<Self>,
        _: Value,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        async move {
            let (back, mut is_back) = mpsc::channel(1);
            let cancel = cx.cancel.clone();
            self.to.send(Lent { cx, _back: back }).await.expect("the test borrows it");
            tokio::select! {
                _ = is_back.recv() => Ok(ToolOutput::text("given back")),
                () = cancel.cancelled() => Err(ToolError::Cancelled),
            }
        }
        .boxed()
    }
}

/// The machine and the tool, for every session.
#[derive(Debug)]
struct Equipment {
    machine: Arc<Machine>,
    lend: Arc<Lend>,
}

impl SessionToolFactory for Equipment {
    fn build<'a>(
        &'a self,
        _: &'a SessionSpec,
    ) -> BoxFuture<'a, Result<SessionTools, SessionToolsError>> {
        let tools = StaticToolRegistry::new([Arc::clone(&self.lend) as Arc<dyn Tool>]);
        let (files, shell) = (Arc::clone(&self.machine), Arc::clone(&self.machine));
        ready(Ok(SessionTools { tools: Arc::new(tools), files, shell })).boxed()
    }
}

/// A runtime whose sessions have this machine and the tool `lend`; what it lends comes by the channel.
pub(crate) fn equipped(parts: Parts, machine: Arc<Machine>) -> (Kit, mpsc::Receiver<Lent>) {
    let (to, lent) = mpsc::channel(4);
    let schema = ToolSchema {
        name: "lend".to_owned(),
        description: "lends".to_owned(),
        input: json!({ "type": "object" }),
        runs: Runs::Here,
    };
    let limits = parts.limits;
    let Kit { core, model } = Kit::of(parts);
    let tools = Arc::new(Equipment { machine, lend: Arc::new(Lend { schema, to }) });
    let ports = Ports { tools, ..core.ports().clone() };
    (Kit { core: DefaultAgentCore::new(ports, limits, node("a")), model }, lent)
}
