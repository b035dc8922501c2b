//! A folder, its ports, and a store in memory: what every tool needs to run.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use oarlock_core::ids::{BlobId, CallId, SessionId};
use oarlock_core::message::Part;
use oarlock_core::ports::clock::{Cancel, SystemClock};
use oarlock_core::ports::journal::{BlobWriter, Blobs, JournalError};
use oarlock_core::ports::tool::{Place, Progress, Reach, Tool, ToolContext, ToolError, ToolOutput};
use oarlock_tools::{Environment, LocalFiles, LocalShell, ToolsConfig, default_tools};
use serde_json::Value;
use tempfile::TempDir;

/// Bodies in memory, none longer than 64 KiB is kept whole: of the rest the hash is of what was kept.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemoryBlobs(Arc<Mutex<HashMap<BlobId, Bytes>>>);

const KEPT_BYTES: usize = 64 * 1024;

struct Writer {
    blobs: MemoryBlobs,
    bytes: Vec<u8>,
}

impl Blobs for MemoryBlobs {
    fn put(&self, bytes: Bytes) -> BoxFuture<'_, Result<BlobId, JournalError>> {
        let blob = BlobId::of(&bytes);
        self.0.lock().unwrap().insert(blob.clone(), bytes);
        Box::pin(std::future::ready(Ok(blob)))
    }

    fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, JournalError>> {
        let writer: Box<dyn BlobWriter> =
            Box::new(Writer { blobs: self.clone(), bytes: Vec::new() });
        Box::pin(std::future::ready(Ok(writer)))
    }

    fn read<'a>(
        &'a self,
        blob: &'a BlobId,
        offset: u64,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<(Bytes, u64), JournalError>> {
        let found = self.0.lock().unwrap().get(blob).cloned();
        let found = found.ok_or_else(|| JournalError::BlobNotFound { blob: blob.clone() });
        let part = found.map(|bytes| {
            let start = usize::try_from(offset).unwrap().min(bytes.len());
            let end = bytes.len().min(start.saturating_add(max_bytes));
            (bytes.slice(start..end), bytes.len() as u64)
        });
        Box::pin(std::future::ready(part))
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl BlobWriter for Writer {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), JournalError>> {
        let room = KEPT_BYTES - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Box::pin(std::future::ready(Ok(())))
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(BlobId, u64), JournalError>> {
        Box::pin(async move {
            let bytes = self.bytes.len() as u64;
            Ok((self.blobs.put(self.bytes.into()).await?, bytes))
        })
    }
}

/// A session's folder and all that belongs to it.
pub(crate) struct Kit {
    folder: TempDir,
    pub(crate) place: Place,
    pub(crate) files: LocalFiles,
    pub(crate) blobs: MemoryBlobs,
    pub(crate) shown: Arc<Mutex<Vec<String>>>,
    tools: Vec<Arc<dyn Tool>>,
    environment: Vec<(OsString, OsString)>,
    open_files: Option<u64>,
}

impl Kit {
    pub(crate) fn new() -> Self {
        Self::with(&ToolsConfig::default())
    }

    pub(crate) fn with(config: &ToolsConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cwd = folder.path().canonicalize().unwrap().join("work");
        std::fs::create_dir(&cwd).unwrap();
        let place = Place { cwd, roots: Vec::new() };
        let tools = default_tools(config).unwrap();
        let files = LocalFiles::new(&place);
        let path = OsString::from("/usr/local/bin:/usr/bin:/bin");
        let environment = vec![(OsString::from("PATH"), path)];
        Self {
            folder,
            place,
            files,
            blobs: MemoryBlobs::default(),
            shown: Arc::default(),
            tools,
            environment,
            open_files: None,
        }
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn opening(self, files: u64) -> Self {
        Self { open_files: Some(files), ..self }
    }

    pub(crate) fn shell(&self) -> LocalShell {
        let environment = Environment::without_secrets(self.environment.clone(), &[]).unwrap();
        LocalShell::new(&self.place, environment.opening(self.open_files))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.cwd.join(name)
    }

    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// A path beside the session's folder, which no tool may reach.
    pub(crate) fn outside(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn tool(&self, name: &str) -> Arc<dyn Tool> {
        Arc::clone(self.tools.iter().find(|tool| tool.schema().name == name).unwrap())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.tools.iter().map(|tool| tool.schema().name.clone()).collect()
    }

    pub(crate) fn context(&self, cancel: &Cancel) -> ToolContext {
        let shown = Arc::clone(&self.shown);
        ToolContext {
            session: SessionId::parse("s").unwrap(),
            call: CallId("c".into()),
            place: self.place.clone(),
            files: Arc::new(self.files.clone()),
            shell: Arc::new(self.shell()),
            blobs: Arc::new(self.blobs.clone()),
            clock: Arc::new(SystemClock::new()),
            cancel: cancel.clone(),
            progress: Progress::new(move |text| shown.lock().unwrap().push(text.to_owned())),
            reach: Reach::default(),
        }
    }

    pub(crate) async fn run(&self, tool: &str, arguments: Value) -> Result<ToolOutput, ToolError> {
        self.tool(tool).execute(arguments, self.context(&Cancel::new())).await
    }

    /// Runs a call that must succeed.
    pub(crate) async fn done(&self, tool: &str, arguments: Value) -> ToolOutput {
        self.run(tool, arguments).await.unwrap()
    }

    /// Runs a call that must fail, and gives its words.
    pub(crate) async fn refused(&self, tool: &str, arguments: Value) -> String {
        self.run(tool, arguments).await.unwrap_err().to_string()
    }
}

/// The text of a result.
pub(crate) fn text(output: &ToolOutput) -> &str {
    match &output.content[..] {
        [Part::Text { text }] => text,
        other => panic!("not one text: {other:?}"),
    }
}
