//! Subagents: a tool's door to sessions below its own.
//!
//! A subagent is a session with a journal of its own. What is set aside for it is committed by its parent before its first entry is written,
//! and a call that is run again after a crash finds the same child and goes on with it.

use std::sync::Arc;

use serde_json::{Map, json};

use crate::agent::background::{BackgroundTasks, TaskHandle};
use crate::agent::handle::DefaultSession;
use crate::agent::registry::ToolRegistry;
use crate::agent::session::Session;
use crate::event::{StopReason, TaskKind};
use crate::ids::{CallId, Seq, SessionId, TaskId};
use crate::message::{Part, Usage};
use crate::ports::clock::Cancel;
use crate::ports::files::Files;
use crate::ports::model::Model;
use crate::ports::shell::Shell;
use crate::ports::tool::{ToolError, ToolOutput};
use crate::prompt::SystemPrompt;
use crate::runtime::WeakCore;
use crate::session::children::Waits;
use crate::session::inbox::Outbox;
use crate::spec::{Bounds, ModelSelection, ReasoningEffort, Sampling, TurnRequestLimit};

/// Tools of a subagent whose order names none; of them those that its parent has.
pub const SUBAGENT_TOOLS: [&str; 2] = ["read_file", "search"];

/// What a subagent is to be and to do. What is absent is as in its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentOrder {
    /// The profile it works by, for people.
    pub profile: String,
    /// Its task.
    pub task: Vec<Part>,
    /// Its system prompt.
    pub prompt: SystemPrompt,
    /// Its model.
    pub model: Option<ModelSelection>,
    /// How hard it should think; as in its parent where it has the same model, else the provider's default.
    pub effort: Option<ReasoningEffort>,
    /// Patterns of its tools, of those that its parent has; [`SUBAGENT_TOOLS`] when absent.
    pub tools: Option<Vec<String>>,
    /// How its model draws its words.
    pub sampling: Option<Sampling>,
    /// How many answered steps its turn may have.
    pub request_limit: Option<TurnRequestLimit>,
    /// What it may use at most. Of a limit of its parent that is absent here it is given a share of what is left.
    pub bounds: Bounds,
}

impl AgentOrder {
    /// An order by the profile of this name that says nothing else.
    #[must_use]
    pub fn of(profile: &str) -> Self {
        Self {
            profile: profile.to_owned(),
            task: Vec::new(),
            prompt: SystemPrompt::default(),
            model: None,
            effort: None,
            tools: None,
            sampling: None,
            request_limit: None,
            bounds: Bounds::default(),
        }
    }
}

/// How a subagent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentReport {
    /// Its session.
    pub child: SessionId,
    /// Why its turn ended.
    pub stop: StopReason,
    /// What went wrong, when it is known in words.
    pub error: Option<String>,
    /// What its model said last; empty when it said nothing.
    pub text: String,
    /// Answered steps of it and of its own subagents.
    pub steps: u32,
    /// Their tokens.
    pub usage: Usage,
    /// Their money in millionths of a US dollar; absent when a price was unknown.
    pub cost_micros: Option<u64>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum SubagentError {
    /// The cancel signal was given. The child is being ended, and its parent's journal says what it used.
    #[error("cancelled")]
    Cancelled,
    /// No subagent may be opened, for a reason that the model can be told.
    #[error("{0}")]
    Refused(String),
    /// The subagent could not be opened or followed.
    #[error("the subagent could not be run: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A running call's door to subagents. The default has none.
#[derive(Debug, Clone, Default)]
pub struct Agents(pub(crate) Option<Arc<AgentsDoor>>);

/// What a call opens subagents with.
#[derive(Debug, Clone)]
pub(crate) struct AgentsDoor {
    pub(crate) core: WeakCore,
    pub(crate) of: SessionId,
    pub(crate) call: CallId,
    pub(crate) outbox: Outbox,
    pub(crate) tools: Arc<dyn ToolRegistry>,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) shell: Arc<dyn Shell>,
    pub(crate) model: Option<Arc<dyn Model>>,
}

/// A subagent that has its task.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) child: DefaultSession,
    pub(crate) input: Seq,
    /// The background task that runs it already.
    pub(crate) task: Option<TaskId>,
}

/// A background task that runs a subagent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentTask {
    /// The child's session.
    pub child: SessionId,
    /// The task.
    pub task: TaskId,
}

impl Agents {
    /// Runs a subagent to the end of its turn. A call has one subagent at a time; run again after a crash, it goes on with the one it had. When
    /// `cancel` is given, or the future is dropped, the session ends the child.
    ///
    /// # Errors
    /// [`SubagentError`]: a limit leaves nothing for it, it would stand too deep, a pattern matches no tool, or its model cannot be used.
    pub async fn run(
        &self,
        order: AgentOrder,
        cancel: &Cancel,
    ) -> Result<AgentReport, SubagentError> {
        or_cancelled(cancel, self.door()?.run(order)).await
    }

    /// Opens a subagent and lets it work as a background task of the session. When this returns, both are in the journal; after a crash the
    /// task goes on. The model is told of its end as of any task's.
    ///
    /// # Errors
    /// As [`Agents::run`], and when no further task may run.
    pub async fn start(
        &self,
        order: AgentOrder,
        (tasks, label): (&BackgroundTasks, &str),
        cancel: &Cancel,
    ) -> Result<AgentTask, SubagentError> {
        let door = self.door()?.clone();
        let Begun { child, input, task } =
            or_cancelled(cancel, door.begin(order, Waits::Task)).await?;
        let id = child.id().clone();
        if let Some(task) = task {
            return Ok(AgentTask { child: id, task });
        }
        let kind = TaskKind::Subagent { child: id.clone() };
        let work = move |cancel: Cancel, handle: TaskHandle| async move {
            handle.attach_history(child.history());
            or_cancelled(&cancel, door.finish(&child, input)).await?.outcome()
        };
        let task = tasks.spawn(label, kind, work).await;
        let task = task.map_err(|error| SubagentError::Refused(error.to_string()))?;
        Ok(AgentTask { child: id, task })
    }

    fn door(&self) -> Result<&AgentsDoor, SubagentError> {
        let none = || SubagentError::Refused("no subagents can be opened here".to_owned());
        self.0.as_deref().ok_or_else(none)
    }
}

/// Waits for the end of this work, unless the cancel signal comes first.
pub(crate) async fn or_cancelled<T>(
    cancel: &Cancel,
    work: impl Future<Output = Result<T, SubagentError>>,
) -> Result<T, SubagentError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(SubagentError::Cancelled),
        done = work => done,
    }
}

impl AgentReport {
    /// What the parent's model is told: a child that did not come to the end of its turn has failed, and it is said why.
    ///
    /// # Errors
    /// [`ToolError::Failed`] then.
    pub fn outcome(self) -> Result<ToolOutput, ToolError> {
        let mut detail = Map::new();
        detail.insert("session".to_owned(), json!(self.child));
        detail.insert("stop".to_owned(), json!(self.stop));
        detail.insert("steps".to_owned(), json!(self.steps));
        detail.insert("usage".to_owned(), json!(self.usage));
        detail.insert("cost_micros".to_owned(), json!(self.cost_micros));
        let said = match self.text.is_empty() {
            true => "The subagent said nothing.",
            false => self.text.as_str(),
        };
        if self.stop == StopReason::EndTurn {
            return Ok(ToolOutput { detail, ..ToolOutput::text(said) });
        }
        let why = self.error.map(|error| format!(" ({error})")).unwrap_or_default();
        let stopped = stop_words(self.stop);
        let words = format!("The subagent {stopped}{why}. It said last:\n{said}");
        Err(ToolError::Failed(Box::new(ToolOutput { detail, ..ToolOutput::text(words) })))
    }
}

impl From<SubagentError> for ToolError {
    fn from(error: SubagentError) -> Self {
        match error {
            SubagentError::Cancelled => Self::Cancelled,
            SubagentError::Refused(words) => Self::failed(words),
            SubagentError::Failed(_) => Self::failed(error.to_string()),
        }
    }
}

/// Why a subagent stopped, for its parent's model.
fn stop_words(stop: StopReason) -> String {
    match stop {
        StopReason::EndTurn => "is done".to_owned(),
        StopReason::MaxTokens => "was cut off: its answer reached the most tokens".to_owned(),
        StopReason::Refusal => "declined".to_owned(),
        StopReason::Cancelled => "was cancelled".to_owned(),
        StopReason::Limit(kind) => format!("stopped at its limit of {}", kind.name()),
        StopReason::Interrupted => "was interrupted".to_owned(),
        StopReason::Failed(_) => "failed".to_owned(),
    }
}
