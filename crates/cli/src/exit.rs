//! Exit codes, and the one line that goes with a failure.

use oarlock_core::event::{Entry, Event, Outcome, StopReason, TurnEnded};

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It was done.
    Done = 0,
    /// It failed.
    Error = 1,
    /// The command line was wrong.
    Usage = 2,
    /// The model declined.
    Refusal = 3,
    /// The turn's last tool call was denied.
    Denied = 4,
    /// Somebody cancelled.
    Cancelled = 5,
    /// The goal was not reached.
    GoalNotReached = 6,
    /// A limit was reached.
    Limit = 7,
    /// The model ran into its output limit.
    MaxTokens = 8,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The code for a turn, from how it ended, how its last tool call was settled, and whether its session has a goal that is not reached. A turn
    /// that did not end by itself tells why it ended, goal or not.
    #[must_use]
    pub fn of_turn(ended: &TurnEnded, last_outcome: Option<Outcome>, is_pursued: bool) -> Self {
        match ended.stop {
            StopReason::EndTurn if is_pursued => Self::GoalNotReached,
            StopReason::EndTurn if last_outcome == Some(Outcome::Denied) => Self::Denied,
            StopReason::EndTurn => Self::Done,
            StopReason::MaxTokens => Self::MaxTokens,
            StopReason::Refusal => Self::Refusal,
            StopReason::Cancelled => Self::Cancelled,
            StopReason::Limit(_) => Self::Limit,
            StopReason::Interrupted | StopReason::Failed(_) => Self::Error,
        }
    }

    /// The code for the last turn of a session's own entries; `None` while it has not ended.
    #[must_use]
    pub fn of_entries<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Option<Self> {
        let (mut last_outcome, mut exit, mut is_pursued) = (None, None, false);
        for entry in entries.into_iter().filter(|entry| entry.scope.is_empty()) {
            match &entry.event {
                Event::TurnStarted(_) => (last_outcome, exit) = (None, None),
                Event::ToolSettled(settled) => last_outcome = Some(settled.outcome),
                Event::TurnEnded(ended) => {
                    exit = Some(Self::of_turn(ended, last_outcome, is_pursued));
                }
                Event::GoalSet(set) => is_pursued = set.goal.is_some(),
                Event::GoalReached(_) => is_pursued = false,
                Event::SessionCreated(_)
                | Event::SessionConfigured(_)
                | Event::SessionArchived
                | Event::SessionRestored
                | Event::WriterChanged(_)
                | Event::WriterReleased
                | Event::InputAdmitted(_)
                | Event::InputWithdrawn(_)
                | Event::TurnRecovered(_)
                | Event::StepStarted(_)
                | Event::ModelFailed(_)
                | Event::AssistantMessage(_)
                | Event::ToolCalled(_)
                | Event::PermissionAsked(_)
                | Event::PermissionAnswered(_)
                | Event::ToolStarted(_)
                | Event::InputRequested(_)
                | Event::ContextCleared(_)
                | Event::ContextCompacted(_)
                | Event::SummaryStarted(_)
                | Event::SummaryFailed(_)
                | Event::HistoryEdited(_)
                | Event::TurnContinued(_)
                | Event::PlanChanged(_)
                | Event::SkillLoaded(_)
                | Event::TaskStarted(_)
                | Event::TaskSettled(_)
                | Event::SubagentOpened(_)
                | Event::SubagentClosed(_)
                | Event::HookRan(_)
                | Event::Spilled(_) => {}
            }
        }
        exit
    }
}
