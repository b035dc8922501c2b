//! Background tasks in their published form: what they are, how they stand, and how a model is told of their end.

use std::fmt;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{TaskOutcome, TaskStarted};
use crate::ids::TaskId;
use crate::ports::clock::Cancel;
use crate::ports::tool::{ToolError, ToolOutput};
pub use crate::turn::background::{BackgroundTasks, TaskHandle};

/// How much of running and ended tasks is kept to be looked at. It changes nothing about what the model is told at their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackgroundProgressConfig {
    /// Blocks that an inspection shows when it names no number; 0 counts as 1. 10.
    pub default_recent_blocks: usize,
    /// Characters of a block that an inspection shows of what a model or its tools said; with 0 their kinds alone. What a command
    /// prints is shown either way. 0.
    pub block_text_limit: usize,
    /// Ended tasks that can be inspected; of more the oldest is forgotten. 64.
    pub finished_tasks_cap: usize,
}

impl BackgroundProgressConfig {
    /// The documented defaults.
    pub const DEFAULT: Self =
        Self { default_recent_blocks: 10, block_text_limit: 0, finished_tasks_cap: 64 };
}

impl Default for BackgroundProgressConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// It runs.
    Running,
    /// It did what it was to do.
    Completed,
    /// It could not.
    Failed,
    /// It was cancelled.
    Canceled,
    /// Its process died.
    Lost,
}

impl TaskStatus {
    /// The status as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Lost => "lost",
        }
    }
}

impl From<TaskOutcome> for TaskStatus {
    fn from(outcome: TaskOutcome) -> Self {
        match outcome {
            TaskOutcome::Completed => Self::Completed,
            TaskOutcome::Failed => Self::Failed,
            TaskOutcome::Canceled => Self::Canceled,
            TaskOutcome::Lost => Self::Lost,
        }
    }
}

/// What a piece of a task's progress is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// Words of its user's side.
    User,
    /// Words of its model.
    Assistant,
    /// A thought of its model.
    Thought,
    /// A call of a tool.
    ToolUse,
    /// The result of one.
    ToolResult,
    /// What a command printed.
    Output,
    /// Something else.
    Other,
}

impl BlockKind {
    /// The kind as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Thought => "thought",
            Self::ToolUse => "tool_use",
            Self::ToolResult => "tool_result",
            Self::Output => "output",
            Self::Other => "other",
        }
    }

    /// Whether its text is cut to [`BackgroundProgressConfig::block_text_limit`].
    #[must_use]
    pub fn is_cut(self) -> bool {
        !matches!(self, Self::ToolUse | Self::Output | Self::Other)
    }
}

/// A piece of a task's progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressBlock {
    /// What it is.
    pub kind: BlockKind,
    /// What it says; empty where kinds alone are shown.
    pub text: String,
}

/// A task as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSnapshot {
    /// Its name.
    pub task_id: TaskId,
    /// A few words about it.
    pub label: String,
    /// How it stands.
    pub status: TaskStatus,
    /// How many pieces of progress it made.
    pub block_count: usize,
    /// The last of them, oldest first.
    pub recent: Vec<ProgressBlock>,
}

/// What a task came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", content = "text", rename_all = "snake_case")]
pub enum BackgroundResult {
    /// It did what it was to do, and says this.
    Completed(String),
    /// It could not, and says why.
    Failed(String),
    /// It was cancelled, and says this.
    Canceled(String),
    /// Its process died, and nobody knows how far it came.
    Lost(String),
}

impl BackgroundResult {
    /// What ended this way says.
    #[must_use]
    pub fn of(outcome: TaskOutcome, text: String) -> Self {
        match outcome {
            TaskOutcome::Completed => Self::Completed(text),
            TaskOutcome::Failed => Self::Failed(text),
            TaskOutcome::Canceled => Self::Canceled(text),
            TaskOutcome::Lost => Self::Lost(text),
        }
    }

    fn parts(&self) -> (TaskStatus, &str) {
        match self {
            Self::Completed(text) => (TaskStatus::Completed, text),
            Self::Failed(text) => (TaskStatus::Failed, text),
            Self::Canceled(text) => (TaskStatus::Canceled, text),
            Self::Lost(text) => (TaskStatus::Lost, text),
        }
    }
}

/// The end of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackgroundOutcome {
    /// The task.
    pub task_id: TaskId,
    /// A few words about it.
    pub label: String,
    /// What it came to.
    pub result: BackgroundResult,
}

/// The end of a task as its model is told: a line that names it, and what it says.
#[must_use]
pub fn format_background_outcome(outcome: &BackgroundOutcome) -> String {
    let (status, text) = outcome.result.parts();
    let head =
        format!("[background task {} ({}) {}]", outcome.task_id, outcome.label, status.as_str());
    if text.is_empty() { head } else { format!("{head}\n{text}") }
}

/// Why a task was not started, or is not told something. The words go to the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackgroundError {
    /// As many run as may.
    #[error(
        "{max} background tasks run already, which is as many as may; wait for one to end, or cancel one"
    )]
    Full {
        /// How many may run.
        max: usize,
    },
    /// The session has no background: it is a call that is only described, or the session is being closed.
    #[error(
        "nothing can be started in the background here; the session is being closed or has none"
    )]
    Unavailable,
    /// No such task runs.
    #[error("no background task {task} runs")]
    NotRunning {
        /// The task.
        task: TaskId,
    },
    /// It takes no input, or not so much at once.
    #[error("the background task {task} {why}")]
    NoInput {
        /// The task.
        task: TaskId,
        /// Why not.
        why: &'static str,
    },
}

/// The work of a task: given the signal to stop and its handle, it runs to its end.
pub type TaskStart =
    Box<dyn FnOnce(Cancel, TaskHandle) -> BoxFuture<'static, TaskResult> + Send + 'static>;

/// What the work of a task gives. [`ToolError::Cancelled`] settles it as canceled.
pub type TaskResult = Result<ToolOutput, ToolError>;

/// Takes up a task again whose process ended before it did: the door for work that has a journal of its own.
pub trait AttachTask: Send + Sync + fmt::Debug {
    /// The work of a task that was started by another process; nothing when it cannot be taken up, which settles it as lost. It is called
    /// before the session's next turn, and must not wait.
    fn attach(&self, started: &TaskStarted) -> Option<TaskStart>;
}
