//! `script`: a model that plays a JSON file, for trying a runtime without a provider. The format is described in `docs/script.md`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use futures::stream::{self, BoxStream, StreamExt};
use oarlock_core::event::DeltaItem;
use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Message, ReplyStop, Usage};
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::model::{
    Accepts, HostedCapabilities, Model, ModelError, ModelErrorKind, ModelEvent, ModelInfo,
    ModelRequest, Price, Reply,
};
use oarlock_core::spec::ModelSelection;
use serde::Deserialize;

const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Scripts that are remembered; beyond it those that nobody plays are forgotten.
const KEPT_MAX: usize = 64;

/// Why a script cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("script {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than 1 MiB.
    #[error("script {} is longer than 1 MiB", path.display())]
    Long {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a script; the source names line and column.
    #[error("script {} is not in order", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What does not fit, and where.
        source: serde_json::Error,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    steps: Vec<Step>,
    #[serde(default)]
    repeat_last: bool,
    /// What is said when a summary is asked for.
    #[serde(default)]
    summary: Step,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default)]
    text: String,
    #[serde(default)]
    thinking: String,
    #[serde(default)]
    calls: Vec<Call>,
    stop: Option<ReplyStop>,
    #[serde(default)]
    usage: Tokens,
    #[serde(default)]
    delay_ms: u64,
    chunk_bytes: Option<std::num::NonZeroUsize>,
    #[serde(default)]
    errors: Vec<Failure>,
    #[serde(default)]
    silence: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    #[serde(default)]
    id: String,
    name: String,
    arguments: serde_json::Value,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tokens {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    reasoning: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    kind: ModelErrorKind,
    retry_after_ms: Option<u64>,
    #[serde(default)]
    after_text: String,
}

/// Scripts that are being played: each is in memory once, for as long as its file stays as it is.
#[derive(Debug, Default)]
pub struct Scripts(Mutex<HashMap<PathBuf, (Stamp, Weak<Script>)>>);

/// What changes with a file: a copy keeps the time and the length of another, and no copy its number and the time of its last change.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    #[cfg(unix)]
    inode: (u64, u64),
    #[cfg(unix)]
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            modified: meta.modified().ok(),
            bytes: meta.len(),
            #[cfg(unix)]
            inode: (meta.dev(), meta.ino()),
            #[cfg(unix)]
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl Scripts {
    /// A model that plays this script from its beginning, as [`ScriptModel::load`] makes one.
    ///
    /// # Errors
    /// [`ScriptError`] when the file cannot be read, is too long, or is not a script.
    pub fn load(&self, path: &Path, clock: Arc<dyn Clock>) -> Result<ScriptModel, ScriptError> {
        let unread = |source| ScriptError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(unread)?;
        let meta = file.metadata().map_err(unread)?;
        let stamp = Stamp::of(&meta);
        let known = self.kept(|kept| {
            let (of, script) = kept.get(path)?;
            script.upgrade().filter(|_| *of == stamp)
        });
        let script = match known {
            Some(script) => script,
            None => Arc::new(read(path, file)?),
        };
        self.kept(|kept| {
            if kept.len() >= KEPT_MAX {
                kept.retain(|_, (_, script)| script.strong_count() > 0);
            }
            kept.insert(path.to_owned(), (stamp, Arc::downgrade(&script)));
        });
        Ok(ScriptModel::of(path, script, clock))
    }

    fn kept<T>(&self, with: impl FnOnce(&mut HashMap<PathBuf, (Stamp, Weak<Script>)>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(path: &Path, file: File) -> Result<Script, ScriptError> {
    let mut text = Vec::new();
    let length = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text);
    let length = length.map_err(|source| ScriptError::Read { path: path.to_owned(), source })?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(ScriptError::Long { path: path.to_owned() });
    }
    serde_json::from_slice(&text)
        .map_err(|source| ScriptError::Format { path: path.to_owned(), source })
}

/// Plays the step whose number is the number of assistant messages in the request, so that a resumed session goes on where it was.
#[derive(Debug)]
pub struct ScriptModel {
    info: ModelInfo,
    script: Arc<Script>,
    clock: Arc<dyn Clock>,
    /// Errors of each step that this process has already played.
    failed: Mutex<BTreeMap<usize, usize>>,
}

impl ScriptModel {
    /// Reads a script of at most 1 MiB. Blocks while it reads. The model is named after the file, without its extension.
    ///
    /// # Errors
    /// [`ScriptError`] when the file cannot be read, is too long, or is not a script.
    pub fn load(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, ScriptError> {
        Scripts::default().load(path, clock)
    }

    fn of(path: &Path, script: Arc<Script>, clock: Arc<dyn Clock>) -> Self {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("script").to_owned();
        let selection = ModelSelection { provider: "script".to_owned(), model: name };
        let info = ModelInfo {
            selection,
            family: "script".to_owned(),
            context_window: None,
            output_max: None,
            price: Some(Price::default()),
            hosted: HostedCapabilities::default(),
            accepts: Accepts::default(),
            takes_output: false,
            drops_thought: false,
        };
        Self { info, script, clock, failed: Mutex::default() }
    }

    fn step(&self, position: usize) -> Result<&Step, ModelError> {
        let steps = &self.script.steps;
        let last = steps.last().filter(|_| self.script.repeat_last);
        steps.get(position).or(last).ok_or_else(|| {
            let (name, count) = (&self.info.selection, steps.len());
            let message = format!(
                "{name} has {count} steps and was asked for step {}; add steps or set `repeat_last`",
                position + 1
            );
            ModelError { kind: ModelErrorKind::InvalidRequest, message, retry_after_ms: None }
        })
    }

    fn next_failure(&self, position: usize, step: &Step) -> Option<Failure> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let played = failed.entry(position).or_default();
        let failure = step.errors.get(*played).cloned()?;
        *played += 1;
        Some(failure)
    }
}

impl Model for ScriptModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn call(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let assistant = |message: &&Message| matches!(message, Message::Assistant { .. });
        let position = request.messages.iter().filter(assistant).count();
        let step = match self.step(position) {
            _ if request.is_summary() => self.script.summary.clone(),
            Ok(step) => step.clone(),
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let position = if request.is_summary() { usize::MAX } else { position };
        let items = match self.next_failure(position, &step) {
            Some(failure) => failing(&failure, &step, &self.info.selection),
            None if step.silence => VecDeque::new(),
            None => answer(&step, &self.info.selection.model),
        };
        let (silent, delay_ms) = (items.is_empty(), step.delay_ms);
        let clock = Arc::clone(&self.clock);
        let wait = async move {
            clock.sleep_until(clock.now().after(delay_ms)).await;
            if silent {
                std::future::pending::<()>().await;
            }
            stream::iter(items)
        };
        stream::once(wait).flatten().boxed()
    }
}

type Items = VecDeque<Result<ModelEvent, ModelError>>;

fn failing(failure: &Failure, step: &Step, name: &ModelSelection) -> Items {
    let mut items = deltas(&failure.after_text, &DeltaItem::Text { block: 0 }, step);
    let message = format!("{name}: a scripted error ({:?})", failure.kind);
    let retry_after_ms = failure.retry_after_ms;
    items.push_back(Err(ModelError { kind: failure.kind, message, retry_after_ms }));
    items
}

fn answer(step: &Step, model: &str) -> Items {
    let (mut items, mut blocks) = (Items::new(), Vec::new());
    let mut add = |content: Content, text: &str, item: fn(u32) -> DeltaItem| {
        let block = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
        items.extend(deltas(text, &item(block), step));
        blocks.push(Block { content, native: None });
    };
    if !step.thinking.is_empty() {
        let content = Content::Thinking { text: step.thinking.clone() };
        add(content, &step.thinking, |block| DeltaItem::Thinking { block });
    }
    if !step.text.is_empty() {
        let content = Content::Text { text: step.text.clone() };
        add(content, &step.text, |block| DeltaItem::Text { block });
    }
    for call in &step.calls {
        let arguments = match &call.arguments {
            serde_json::Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let (id, name) = (CallId(call.id.as_str().into()), call.name.clone());
        let content = Content::ToolCall { id, name, arguments: arguments.clone() };
        add(content, &arguments, |block| DeltaItem::Arguments { block });
    }
    let natural = if step.calls.is_empty() { ReplyStop::EndTurn } else { ReplyStop::ToolUse };
    let Tokens { input, output, cache_read, cache_write, reasoning } = step.usage;
    let usage = Usage { input, output, cache_read, cache_write, reasoning };
    let stop = step.stop.clone().unwrap_or(natural);
    items.push_back(Ok(ModelEvent::Reply(Reply {
        model: model.to_owned(),
        blocks,
        stop,
        usage,
        warnings: Vec::new(),
    })));
    items
}

/// Cuts a text into deltas of at most `chunk_bytes`, never within a character; without that setting it is one delta.
fn deltas(text: &str, item: &DeltaItem, step: &Step) -> Items {
    let max = step.chunk_bytes.map_or(usize::MAX, std::num::NonZeroUsize::get);
    let mut items = Items::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let cut = rest.floor_char_boundary(max.min(rest.len())).max(first.len_utf8());
        let (head, tail) = rest.split_at(cut);
        items.push_back(Ok(ModelEvent::Delta { item: item.clone(), text: head.to_owned() }));
        rest = tail;
    }
    items
}
