//! Exit codes, and the one line that goes with a failure.

use oarlock_core::event::{Entry, Event, Goal, HookPoint, HookRan, Outcome, StopReason, TurnEnded};
use oarlock_core::ids::Seq;
use oarlock_core::service::ErrorCode;
use oarlock_core::session::goal;
use oarlock_core::session::state::State;

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
    /// The code for a row of the error table.
    #[must_use]
    pub fn of_error(kind: ErrorCode) -> Self {
        match kind.row().exit {
            2 => Self::Usage,
            _ => Self::Error,
        }
    }

    /// The code for a turn, from how it ended, how its last tool call was settled, and whether its session has a goal that is not reached. A turn
    /// that did not end by itself tells why it ended, goal or not.
    #[must_use]
    pub fn of_turn(ended: &TurnEnded, last_outcome: Option<Outcome>, is_pursued: bool) -> Self {
        match ended.stop {
            StopReason::EndTurn if is_pursued => Self::GoalNotReached,
            StopReason::EndTurn if last_outcome == Some(Outcome::Denied) => Self::Denied,
            stop => Self::of_stop(stop),
        }
    }

    /// The code for a turn of which nothing else is known than why it ended.
    #[must_use]
    pub fn of_stop(stop: StopReason) -> Self {
        match stop {
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
        let (mut last_outcome, mut exit, mut pursuit) = (None, None, Pursuit::default());
        for entry in entries.into_iter().filter(|entry| entry.scope.is_empty()) {
            pursuit.follow(entry);
            match &entry.event {
                Event::TurnStarted(_) => (last_outcome, exit) = (None, None),
                Event::ToolSettled(settled) => last_outcome = Some(settled.outcome),
                Event::TurnEnded(ended) => {
                    exit = Some(Self::of_turn(ended, last_outcome, pursuit.goes_on()));
                }
                Event::SessionCreated(_)
                | Event::SessionForked(_)
                | Event::SessionConfigured(_)
                | Event::SessionArchived
                | Event::SessionNamed(_)
                | Event::SessionRestored
                | Event::WriterChanged(_)
                | Event::WriterReleased
                | Event::InputAdmitted(_)
                | Event::InputWithdrawn(_)
                | Event::TurnRecovered(_)
                | Event::StepStarted(_)
                | Event::ModelFailed(_)
                | Event::ModelReplaced(_)
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
                | Event::GoalSet(_)
                | Event::GoalReached(_)
                | Event::TurnContinued(_)
                | Event::PlanChanged(_)
                | Event::SkillLoaded(_)
                | Event::TaskStarted(_)
                | Event::TaskSettled(_)
                | Event::SubagentOpened(_)
                | Event::SubagentClosed(_)
                | Event::HooksStarted(_)
                | Event::HookRan(_)
                | Event::Spilled(_) => {}
            }
        }
        exit
    }
}

/// Whether a session has a goal that is not reached, followed entry by entry.
#[derive(Debug, Default)]
pub struct Pursuit {
    goes_on: bool,
    /// Inputs with a goal that no turn has taken.
    waiting: Vec<Seq>,
}

impl Pursuit {
    /// The pursuit of a session that stands so.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let waiting = state.pending.iter();
        let waiting =
            waiting.filter(|input| input.refused.is_none() && input.admitted.goal.is_some());
        Self {
            goes_on: state.goal.as_ref().is_some_and(|goal| !goal.is_reached()),
            waiting: waiting.map(|input| input.seq).collect(),
        }
    }

    /// Whether there is a goal that is not reached.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Takes the session's next own entry.
    pub fn follow(&mut self, entry: &Entry) {
        match &entry.event {
            Event::InputAdmitted(input) if input.goal.is_some() => self.waiting.push(entry.seq),
            Event::InputWithdrawn(withdrawn) => self.drop_input(withdrawn.input),
            Event::HookRan(ran) => {
                if let Some(input) = refused(ran) {
                    self.drop_input(input);
                }
            }
            Event::TurnStarted(started) => self.take(&started.inputs),
            Event::StepStarted(started) => self.take(&started.inputs),
            Event::GoalSet(set) => {
                self.waiting.clear();
                self.goes_on = set.goal.is_some();
            }
            Event::GoalReached(_) => self.goes_on = false,
            _ => {}
        }
    }

    fn take(&mut self, inputs: &[Seq]) {
        let before = self.waiting.len();
        self.waiting.retain(|input| !inputs.contains(input));
        self.goes_on |= self.waiting.len() < before;
    }

    fn drop_input(&mut self, dropped: Seq) {
        self.waiting.retain(|input| *input != dropped);
    }
}

/// The input whose goal hooks took away: they refused it, or put words in its place that are no goal.
fn refused(ran: &HookRan) -> Option<Seq> {
    let is_empty = ran.change.input.as_ref().is_some_and(|text| {
        goal::check(&Goal { objective: text.clone(), continuations_max: 0 }).is_err()
    });
    let is_refused =
        ran.point == HookPoint::BeforeIngest && (ran.change.control.is_some() || is_empty);
    ran.input.filter(|_| is_refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_error_table_ends_a_command_with_its_code() {
        for kind in ErrorCode::ALL {
            let row = kind.row();
            assert_eq!(Exit::of_error(kind) as u8, row.exit, "{}", row.code);
        }
    }
}
