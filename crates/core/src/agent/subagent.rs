//! Subagents: a tool's door to sessions below its own.
//!
//! A subagent is a session with a journal of its own. What is set aside for it is committed by its parent before its first entry is written,
//! and a call that is run again after a crash finds the same child and goes on with it.

use std::sync::Arc;

use crate::agent::registry::ToolRegistry;
use crate::event::StopReason;
use crate::ids::{CallId, SessionId};
use crate::message::{Part, Usage};
use crate::ports::clock::Cancel;
use crate::ports::files::Files;
use crate::ports::shell::Shell;
use crate::prompt::SystemPrompt;
use crate::runtime::WeakCore;
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
#[derive(Debug)]
pub(crate) struct AgentsDoor {
    pub(crate) core: WeakCore,
    pub(crate) of: SessionId,
    pub(crate) call: CallId,
    pub(crate) outbox: Outbox,
    pub(crate) tools: Arc<dyn ToolRegistry>,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) shell: Arc<dyn Shell>,
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
        let Some(door) = &self.0 else {
            return Err(SubagentError::Refused("no subagents can be opened here".to_owned()));
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(SubagentError::Cancelled),
            report = door.run(order) => report,
        }
    }
}
