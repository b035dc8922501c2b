//! The table of a session's background tasks in this process: what runs, what it said, and the way to start, cancel and tell them something.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::agent::background::{
    BackgroundError, BlockKind, ProgressBlock, TaskResult, TaskSnapshot, TaskStart, TaskStatus,
};
use crate::agent::history::History;
use crate::event::TaskKind;
use crate::ids::{CallId, TaskId};
use crate::limits::RuntimeLimits;
use crate::message::{Content, Message, Part};
use crate::ports::clock::Cancel;
use crate::session::inbox::{Outbox, Signal};

/// Characters of a label.
const LABEL_MAX: usize = 120;
/// Bytes of output that are one block.
const BLOCK_BYTES: usize = 4096;
/// Blocks of a task that are kept.
const BLOCKS_MAX: usize = 128;

/// The background tasks of a session, as its tools and programs reach them. Cheap to clone; the default has none and refuses all.
#[derive(Debug, Clone, Default)]
pub struct BackgroundTasks {
    shared: Option<Arc<Shared>>,
    call: Option<CallId>,
}

struct Shared {
    limits: Arc<RuntimeLimits>,
    outbox: Outbox,
    table: Mutex<Table>,
    /// One more has ended.
    ended: Notify,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackgroundTasks")
    }
}

#[derive(Default)]
struct Table {
    tickets: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// In the order of their beginning.
    kept: VecDeque<Kept>,
    /// Whether one has ended.
    has_completed: bool,
    closed: bool,
}

/// Work whose beginning is not yet in the journal.
pub(crate) struct Waiting {
    pub(crate) start: TaskStart,
    pub(crate) answer: oneshot::Sender<Result<TaskId, BackgroundError>>,
}

struct Kept {
    id: TaskId,
    label: String,
    status: TaskStatus,
    cancel: Cancel,
    blocks: VecDeque<ProgressBlock>,
    block_count: usize,
    bytes: usize,
    shown: u64,
    history: Option<Arc<dyn History>>,
    inputs: Option<mpsc::Sender<String>>,
}

/// Gives up work that nobody waits for any more and that has not begun.
struct Ticket<'a>(&'a Shared, u64);

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.0.table().waiting.remove(&self.1);
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BackgroundTasks {
    pub(crate) fn new(limits: Arc<RuntimeLimits>, outbox: Outbox) -> Self {
        let (table, ended) = (Mutex::default(), Notify::new());
        Self { shared: Some(Arc::new(Shared { limits, outbox, table, ended })), call: None }
    }

    /// The same tasks, for a call.
    pub(crate) fn of_call(&self, call: CallId) -> Self {
        Self { shared: self.shared.clone(), call: Some(call) }
    }

    /// Starts work that outlives its call and its turn, and ends with the session at the latest. When it returns, the start is in the journal.
    /// The model is told of its end, exactly once, also when this process dies before. Dropping the future before it returns gives the work up
    /// unless it has begun.
    ///
    /// `start` is called once the start is committed. The work should end soon after the signal to stop; after
    /// [`RuntimeLimits::cancel_grace_ms`] it is dropped. A panic is its own failure.
    ///
    /// # Errors
    /// [`BackgroundError::Full`] and [`BackgroundError::Unavailable`]; nothing was started then.
    pub async fn spawn<F>(
        &self,
        label: &str,
        kind: TaskKind,
        start: impl FnOnce(Cancel, TaskHandle) -> F + Send + 'static,
    ) -> Result<TaskId, BackgroundError>
    where
        F: Future<Output = TaskResult> + Send + 'static,
    {
        let shared = self.shared.as_ref().ok_or(BackgroundError::Unavailable)?;
        let (answer, answered) = oneshot::channel();
        let start: TaskStart = Box::new(|cancel, handle| start(cancel, handle).boxed());
        let ticket = {
            let mut table = shared.table();
            if table.closed {
                return Err(BackgroundError::Unavailable);
            }
            table.tickets += 1;
            let ticket = table.tickets;
            table.waiting.insert(ticket, Waiting { start, answer });
            ticket
        };
        let _given_up = Ticket(shared, ticket);
        let (label, call) = (one_line(label), self.call.clone());
        shared.outbox.send(Signal::SpawnTask { ticket, label, kind, call }).await;
        answered.await.unwrap_or(Err(BackgroundError::Unavailable))
    }

    /// All that run and the last that ended, in the order of their beginning, without their progress.
    #[must_use]
    pub fn list(&self) -> Vec<TaskSnapshot> {
        let Some(shared) = &self.shared else { return Vec::new() };
        shared.table().kept.iter().map(|kept| kept.snapshot(0)).collect()
    }

    /// A task and the last pieces of its progress; as many as configured when `recent` is absent. Nothing when it is not known.
    pub async fn peek(&self, task: &TaskId, recent: Option<usize>) -> Option<TaskSnapshot> {
        let shared = self.shared.as_ref()?;
        let config = shared.limits.background;
        let recent = recent.unwrap_or(config.default_recent_blocks).max(1);
        let (mut snapshot, history) = {
            let table = shared.table();
            let kept = table.kept.iter().find(|kept| kept.id == *task)?;
            (kept.snapshot(recent), kept.history.clone())
        };
        if let Some(history) = history
            && let Ok(messages) = history.snapshot().await
        {
            let said: Vec<ProgressBlock> = messages.iter().flat_map(blocks_of).collect();
            snapshot.block_count += said.len();
            let mut all = said;
            all.append(&mut snapshot.recent);
            snapshot.recent = all.split_off(all.len().saturating_sub(recent));
        }
        for block in snapshot.recent.iter_mut().filter(|block| block.kind.is_cut()) {
            block.text = block.text.chars().take(config.block_text_limit).collect();
        }
        Some(snapshot)
    }

    /// Gives a task the signal to stop: `Some(true)` when it ran, `Some(false)` when it had ended, `None` when it is not known.
    #[must_use]
    pub fn cancel_task(&self, task: &TaskId) -> Option<bool> {
        let shared = self.shared.as_ref()?;
        let table = shared.table();
        let kept = table.kept.iter().find(|kept| kept.id == *task)?;
        let runs = kept.status == TaskStatus::Running;
        if runs {
            kept.cancel.cancel();
        }
        Some(runs)
    }

    /// Gives all running tasks the signal to stop, and says how many there are.
    pub fn cancel_all(&self) -> usize {
        let Some(shared) = &self.shared else { return 0 };
        let table = shared.table();
        let running = table.kept.iter().filter(|kept| kept.status == TaskStatus::Running);
        running.map(|kept| kept.cancel.cancel()).count()
    }

    /// Gives a task words that it waits for, such as a line for a command.
    ///
    /// # Errors
    /// [`BackgroundError::NotRunning`] and [`BackgroundError::NoInput`]; it was not given them then.
    pub fn send(&self, task: &TaskId, text: String) -> Result<(), BackgroundError> {
        let not_running = || BackgroundError::NotRunning { task: task.clone() };
        let shared = self.shared.as_ref().ok_or_else(not_running)?;
        let table = shared.table();
        let kept = table.kept.iter().find(|kept| kept.id == *task);
        let kept = kept.filter(|kept| kept.status == TaskStatus::Running);
        let kept = kept.ok_or_else(not_running)?;
        let refuse = |why| BackgroundError::NoInput { task: task.clone(), why };
        let inputs = kept.inputs.as_ref().ok_or_else(|| refuse("takes no input"))?;
        inputs.try_send(text).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => refuse("has not read what it was sent before"),
            mpsc::error::TrySendError::Closed(_) => refuse("takes no more input"),
        })
    }

    /// How many run.
    #[must_use]
    pub fn running_count(&self) -> usize {
        let Some(shared) = &self.shared else { return 0 };
        let table = shared.table();
        table.kept.iter().filter(|kept| kept.status == TaskStatus::Running).count()
    }

    /// Whether one has ended since the session was opened.
    #[must_use]
    pub fn has_completed(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.table().has_completed)
    }

    /// Waits until one more has ended, and this is in the journal. It does not return when none runs.
    pub async fn wait_for_completion(&self) {
        let Some(shared) = &self.shared else { return std::future::pending().await };
        shared.ended.notified().await;
    }
}

/// What the session's effects do with the table.
impl BackgroundTasks {
    pub(crate) fn take(&self, ticket: u64) -> Option<Waiting> {
        self.shared.as_ref()?.table().waiting.remove(&ticket)
    }

    pub(crate) fn begin(&self, id: &TaskId, label: &str) -> Option<(Cancel, TaskHandle)> {
        let shared = self.shared.as_ref()?;
        let cancel = Cancel::new();
        shared.table().kept.push_back(Kept {
            id: id.clone(),
            label: label.to_owned(),
            status: TaskStatus::Running,
            cancel: cancel.clone(),
            blocks: VecDeque::new(),
            block_count: 0,
            bytes: 0,
            shown: 0,
            history: None,
            inputs: None,
        });
        Some((cancel, TaskHandle { shared: Arc::clone(shared), id: id.clone() }))
    }

    pub(crate) fn settled(&self, id: &TaskId, status: TaskStatus) {
        let Some(shared) = &self.shared else { return };
        let mut table = shared.table();
        let Some(kept) = table.kept.iter_mut().find(|kept| kept.id == *id) else { return };
        kept.status = status;
        kept.inputs = None;
        let ended = |kept: &Kept| kept.status != TaskStatus::Running;
        while table.kept.iter().filter(|kept| ended(kept)).count()
            > shared.limits.background.finished_tasks_cap
        {
            let oldest = table.kept.iter().position(ended).expect("there are some");
            table.kept.remove(oldest);
        }
        table.has_completed = true;
        drop(table);
        shared.ended.notify_waiters();
    }

    /// Gives all the signal to stop, and takes no more.
    pub(crate) fn close(&self) {
        self.cancel_all();
        if let Some(shared) = &self.shared {
            let mut table = shared.table();
            table.closed = true;
            let waiting = std::mem::take(&mut table.waiting);
            let kept = std::mem::take(&mut table.kept);
            // Work that is dropped may hold the table itself.
            drop(table);
            drop((waiting, kept));
        }
    }
}

/// What a running task has of its session.
#[derive(Debug, Clone)]
pub struct TaskHandle {
    shared: Arc<Shared>,
    id: TaskId,
}

impl TaskHandle {
    /// The task's name.
    #[must_use]
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// Keeps progress for whoever inspects the task: the last of it. Never waits.
    pub fn keep(&self, kind: BlockKind, text: &str) {
        let max = self.shared.limits.task_output_bytes;
        self.with(|kept| kept.add(kind, text, max));
    }

    /// Shows to followers at once what the task printed. Never waits: what does not fit is dropped.
    pub fn show(&self, text: &str) {
        let begin = self.with(|kept| {
            kept.shown += text.len() as u64;
            kept.shown - text.len() as u64
        });
        if let Some(begin) = begin {
            // Of what is too long only the end is shown.
            let over = text.len().saturating_sub(self.shared.limits.live_output_bytes);
            let cut = text.ceil_char_boundary(over);
            let (offset, text) = (begin + cut as u64, text[cut..].to_owned());
            self.shared.outbox.offer(Signal::TaskOutput { task: self.id.clone(), offset, text });
        }
    }

    /// Makes this history the task's progress, before what is shown otherwise.
    pub fn attach_history(&self, history: Arc<dyn History>) {
        self.with(|kept| kept.history = Some(history));
    }

    /// What is sent to the task from now on. Before it is asked for, sending is refused.
    #[must_use]
    pub fn inputs(&self) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel(self.shared.limits.task_inputs.max(1));
        self.with(|kept| kept.inputs = Some(sender));
        receiver
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        self.shared.table().kept.iter_mut().find(|kept| kept.id == self.id).map(act)
    }
}

impl Kept {
    fn snapshot(&self, recent: usize) -> TaskSnapshot {
        let before = self.blocks.len().saturating_sub(recent);
        TaskSnapshot {
            task_id: self.id.clone(),
            label: self.label.clone(),
            status: self.status,
            block_count: self.block_count,
            recent: self.blocks.iter().skip(before).cloned().collect(),
        }
    }

    fn add(&mut self, kind: BlockKind, text: &str, bytes_max: usize) {
        let cut = text.ceil_char_boundary(text.len().saturating_sub(bytes_max));
        let text = &text[cut..];
        match self.blocks.back_mut().filter(|last| {
            last.kind == kind && kind == BlockKind::Output && last.text.len() < BLOCK_BYTES
        }) {
            Some(last) => last.text.push_str(text),
            None => {
                self.blocks.push_back(ProgressBlock { kind, text: text.to_owned() });
                self.block_count += 1;
            }
        }
        self.bytes += text.len();
        while self.blocks.len() > 1 && (self.bytes > bytes_max || self.blocks.len() > BLOCKS_MAX) {
            let gone = self.blocks.pop_front().expect("there are two");
            self.bytes -= gone.text.len();
        }
    }
}

fn one_line(label: &str) -> String {
    let line: String = label.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(LABEL_MAX).collect()
}

fn blocks_of(message: &Message) -> Vec<ProgressBlock> {
    let of_parts = |kind: BlockKind, parts: &[Part]| -> Vec<ProgressBlock> {
        let texts = parts.iter().map(|part| part.in_words().into_owned());
        texts.map(|text| ProgressBlock { kind, text }).collect()
    };
    match message {
        Message::User { parts } => of_parts(BlockKind::User, parts),
        Message::Tool { results } => results
            .iter()
            .flat_map(|result| of_parts(BlockKind::ToolResult, &result.parts))
            .collect(),
        Message::Assistant { blocks } => blocks
            .iter()
            .map(|block| match &block.content {
                Content::Text { text } => (BlockKind::Assistant, text.clone()),
                Content::Thinking { text, .. } => (BlockKind::Thought, text.clone()),
                Content::ToolCall { name, arguments, .. } => {
                    (BlockKind::ToolUse, format!("{name} {arguments}"))
                }
                Content::Opaque { .. } => (BlockKind::Other, String::new()),
            })
            .map(|(kind, text)| ProgressBlock { kind, text })
            .collect(),
    }
}
