//! How the turn of an input stands, from the entries of its session. Pure.

use serde_json::value::RawValue;

use crate::event::{Entry, Event, Failure, StopReason, TurnEnded};
use crate::ids::{CallId, Seq, SessionId, TurnNo};
use crate::message::Usage;
use crate::service::view::{Cursor, Pending, RunResult, RunState, text_of};
use crate::spec::SchemaWarning;

/// The turn of one input, told entry by entry.
#[derive(Debug, Clone)]
pub struct Run {
    session: SessionId,
    input: Seq,
    turn: Option<TurnNo>,
    state: RunState,
    text: String,
    tool_calls: u32,
    warnings: Vec<SchemaWarning>,
    /// Calls of the turn that are open: their tools and arguments.
    called: Vec<Called>,
    ended: Option<TurnEnded>,
    cursor: Seq,
}

/// A call that may have to be answered from outside.
#[derive(Debug, Clone)]
struct Called {
    call: CallId,
    tool: String,
    arguments: String,
    pending: Option<Pending>,
}

impl Run {
    /// The run of an input that was admitted and of which nothing else is known. It is to be told the entries after it.
    #[must_use]
    pub fn new(session: SessionId, input: Seq) -> Self {
        Self {
            session,
            input,
            turn: None,
            state: RunState::Queued,
            text: String::new(),
            tool_calls: 0,
            warnings: Vec::new(),
            called: Vec::new(),
            ended: None,
            cursor: input,
        }
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> RunState {
        match self.state {
            RunState::Running if self.called.iter().any(|called| called.pending.is_some()) => {
                RunState::AwaitingInput
            }
            state => state,
        }
    }

    /// The session's own next entry.
    pub fn take(&mut self, entry: &Entry) {
        if entry.seq <= self.cursor || self.ended.is_some() || self.state == RunState::Withdrawn {
            return;
        }
        self.cursor = entry.seq;
        match &entry.event {
            Event::TurnStarted(started) if started.inputs.contains(&self.input) => {
                self.begin(entry);
            }
            Event::StepStarted(step) if step.inputs.contains(&self.input) => self.begin(entry),
            Event::InputWithdrawn(gone) if gone.input == self.input => {
                self.state = RunState::Withdrawn;
            }
            _ if self.turn.is_none() || entry.turn != self.turn => {}
            Event::AssistantMessage(message) => {
                self.text = text_of(&message.blocks);
                for warning in &message.schema_warnings {
                    if !self.warnings.contains(warning) {
                        self.warnings.push(warning.clone());
                    }
                }
            }
            Event::ToolCalled(called) => {
                self.tool_calls += 1;
                self.called.push(Called {
                    call: called.call.clone(),
                    tool: called.name.clone(),
                    arguments: called.arguments.clone(),
                    pending: None,
                });
            }
            Event::PermissionAsked(asked) => self.pend(&asked.call, |called| {
                Some(Pending::Permission { tool: called.tool.clone(), asked: asked.clone() })
            }),
            Event::InputRequested(asked) => self.pend(&asked.call, |called| {
                Some(Pending::ExternalTool {
                    tool: called.tool.clone(),
                    call: called.call.clone(),
                    arguments: called.arguments.clone(),
                    deadline: asked.deadline,
                })
            }),
            Event::PermissionAnswered(answered) => self.pend(&answered.call, |_| None),
            Event::ToolSettled(settled) => {
                self.called.retain(|called| called.call != settled.call);
            }
            Event::TurnEnded(ended) => {
                self.state = RunState::Ended;
                self.called.clear();
                self.ended = Some(ended.clone());
            }
            _ => {}
        }
    }

    fn begin(&mut self, entry: &Entry) {
        if self.turn.is_none() {
            self.turn = entry.turn;
            self.state = RunState::Running;
        }
    }

    fn pend(&mut self, call: &CallId, pending: impl FnOnce(&Called) -> Option<Pending>) {
        if let Some(called) = self.called.iter_mut().find(|called| called.call == *call) {
            called.pending = pending(called);
        }
    }

    /// The failure that ended its turn.
    #[must_use]
    pub fn failure(&self) -> Option<(StopReason, Option<&Failure>)> {
        let ended = self.ended.as_ref()?;
        matches!(ended.stop, StopReason::Failed(_)).then_some((ended.stop, ended.error.as_ref()))
    }

    /// What whoever asked for it is told; `session_usage` are all tokens of the session.
    #[must_use]
    pub fn result(&self, session_usage: Usage) -> RunResult {
        let ended = self.ended.as_ref();
        let structured = ended.and_then(|ended| ended.structured_output.clone());
        RunResult {
            session_id: self.session.clone(),
            input: Some(self.input),
            turn: self.turn,
            state: self.state(),
            stop_reason: ended.map(|ended| ended.stop),
            text: structured.clone().unwrap_or_else(|| self.text.clone()),
            usage: ended.map(|ended| ended.usage).unwrap_or_default(),
            cost_micros: ended.and_then(|ended| ended.cost_micros),
            session_usage,
            turns: ended.map_or(0, |ended| ended.steps),
            tool_calls: self.tool_calls,
            structured_output: structured.and_then(|json| RawValue::from_string(json).ok()),
            schema_warnings: self.warnings.clone(),
            pending: self.called.iter().filter_map(|called| called.pending.clone()).collect(),
            cursor: Cursor(self.cursor),
        }
    }
}
