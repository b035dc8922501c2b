//! An open turn: its last step, and that step's calls.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Effect, Outcome, PermissionAnswered, PermissionAsked, Reserved, ToolCalled};
use crate::ids::{CallId, StepNo, Timestamp, TurnNo};
use crate::message::{ReplyStop, ToolResult};
use crate::ports::model::ModelErrorKind;
pub use crate::session::fallback::Replaced;
pub use crate::session::hooks::HookPlace;
use crate::session::hooks::{Hooked, HookedCall};
use crate::session::state::Used;
use crate::spec::{Settings, TurnRequestLimit};

/// A turn without its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenTurn {
    /// Its number.
    pub no: TurnNo,
    /// What it uses.
    pub settings: Arc<Settings>,
    /// When it began, or was last recovered.
    pub since: Timestamp,
    /// How often a crash cut it.
    pub crashes: u32,
    /// What it used.
    pub used: Used,
    /// Its last step.
    pub step: Option<OpenStep>,
    /// How often the provider said since the last answer that the request is too long.
    pub overflows: u32,
    /// Whether something was forgotten since it said so, or since the last answer.
    pub shrunk: bool,
    /// Calls that were settled in it, each by a digest of its tool and arguments; kept where progress counts.
    pub made: BTreeSet<u64>,
    /// Steps in which a call completed that it had not made before.
    pub progress: u32,
    /// Whether it goes on although its model stopped.
    pub goes_on: bool,
    /// Of its answered steps those of its subagents.
    pub child_steps: u32,
    /// How often hooks made it go on.
    pub hook_continues: u32,
    /// How many of its answers were not of the form that was asked for.
    pub misfits: u32,
    /// What hooks did to it.
    pub hooked: Hooked,
    /// The model that took over, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
}

/// The last step of an open turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenStep {
    /// Its number.
    pub no: StepNo,
    /// When it began.
    pub since: Timestamp,
    /// Failed attempts.
    pub failures: u32,
    /// Of these, those of models before the present one.
    pub failures_before: u32,
    /// Since when its present model is asked.
    pub model_since: Timestamp,
    /// When the next attempt may start; absent after a failure that is final.
    pub retry_at: Option<Timestamp>,
    /// What its first call may use at most.
    pub reserved: Reserved,
    /// The last failure.
    pub failure: Option<(ModelErrorKind, String)>,
    /// Why the model stopped, once it has answered.
    pub stop: Option<ReplyStop>,
    /// Whether the answer was cut.
    pub partial: bool,
    /// The calls of the answer, in order.
    pub calls: Vec<Call>,
    /// Whether one of them completed that the turn had not made before.
    pub progressed: bool,
}

/// A call of the last step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// What was asked for.
    pub called: ToolCalled,
    /// How far it has come.
    pub phase: CallPhase,
    /// Whether `tool_started` was written, and when.
    pub started: Option<Timestamp>,
    /// What hooks did to it.
    #[serde(default, skip_serializing_if = "HookedCall::is_empty")]
    pub hooked: HookedCall,
}

/// How far a call has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CallPhase {
    /// Nobody has decided whether it may run.
    Called,
    /// Somebody is being asked.
    Asked(PermissionAsked),
    /// It may run.
    Allowed,
    /// It must not run, by this choice.
    Refused(PermissionAnswered),
    /// The client is to answer it until then.
    Requested(Timestamp),
    /// It runs, or ran when the process died.
    Started,
    /// It is over.
    Settled(ToolResult, Outcome),
}

impl Call {
    /// A call that was just announced.
    #[must_use]
    pub fn new(called: ToolCalled) -> Self {
        let (phase, hooked) = (CallPhase::Called, HookedCall::default());
        Self { called, phase, started: None, hooked }
    }

    /// Its arguments, as hooks have left them.
    #[must_use]
    pub fn arguments(&self) -> &str {
        self.hooked.arguments.as_ref().map_or(&self.called.arguments, |(text, _)| text)
    }

    /// What repeating it would do.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.hooked.arguments.as_ref().map_or(self.called.effect, |(_, effect)| *effect)
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self.phase, CallPhase::Settled(..))
    }
}

impl OpenTurn {
    /// Answered steps of its own.
    #[must_use]
    pub fn own_steps(&self) -> u32 {
        self.used.steps.saturating_sub(self.child_steps)
    }

    /// Answered steps that it may have by its configuration, as it stands.
    #[must_use]
    pub fn steps_max(&self) -> Option<u32> {
        match self.settings.turn.request_limit {
            TurnRequestLimit::Unbounded => None,
            TurnRequestLimit::Fixed { steps } => Some(steps),
            TurnRequestLimit::Adaptive { initial } => {
                Some(initial.saturating_add(self.progress).min(initial.saturating_mul(4)))
            }
        }
    }

    /// A step makes progress when a call completes that the turn has not made before: the same call again is none.
    pub(super) fn note_progress(&mut self, name: &str, arguments: &str, outcome: Outcome) {
        let Some(step) = &mut self.step else { return };
        if !matches!(self.settings.turn.request_limit, TurnRequestLimit::Adaptive { .. }) {
            return;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(name.as_bytes()).update(&[0]).update(arguments.as_bytes());
        let digest = *hasher.finalize().as_bytes();
        let first = <[u8; 8]>::try_from(&digest[..8]).expect("a digest is longer");
        let is_new = self.made.insert(u64::from_le_bytes(first));
        if is_new && outcome == Outcome::Completed && !step.progressed {
            step.progressed = true;
            self.progress += 1;
        }
    }
}

impl OpenStep {
    /// The attempt that is next or under way, from 1. Each crash counts as one, so that no two attempts share a number.
    #[must_use]
    pub fn attempt(&self, crashes: u32) -> u32 {
        self.failures + crashes + 1
    }

    /// Failed attempts of its present model.
    #[must_use]
    pub fn model_failures(&self) -> u32 {
        self.failures - self.failures_before
    }

    /// Calls that have been started and are not settled.
    #[must_use]
    pub fn running(&self) -> usize {
        self.calls.iter().filter(|call| call.started.is_some() && !call.is_settled()).count()
    }

    pub(super) fn call_mut(&mut self, id: &CallId) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| call.called.call == *id)
    }
}
