//! What a session is to reach, and how its turns go on by themselves. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::Rejection;
use crate::event::{ContinuedBy, Goal, GoalReached, TurnContinued};
use crate::ids::Timestamp;
use crate::message::{Message, Part};
use crate::session::plan::Facts;
use crate::session::state::{OpenStep, State};

/// The tool by which a model says that the goal is reached.
pub const GOAL_DONE: &str = "goal_done";
/// How often a session goes on by itself towards its goal, unless somebody says otherwise.
pub const CONTINUATIONS_MAX: u32 = 16;
/// Bytes that a goal may have; a longer one is refused. 8 KB.
pub const OBJECTIVE_BYTES: usize = 8 * 1024;
/// How the feedback to a model begins that stopped too early.
const FEEDBACK: &str = "[You stopped, and the goal of this session is not reached: ";
/// How a goal begins that its input does not say in its own words.
const UNSAID: &str = "[The goal of this session:]";
/// What a model is given that says a goal is reached where there is none.
pub(in crate::session) const NO_GOAL: &str =
    "this session has no goal, so there is none to be reached; just end your answer";

/// The goal of a session, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoalState {
    /// What is to be reached, in the user's words.
    pub objective: String,
    /// How often the session may go on by itself.
    pub continuations_max: u32,
    /// How often it did.
    pub continuations: u32,
    /// What was done, once the model says that it is reached.
    pub reached: Option<String>,
}

impl GoalState {
    /// Whether it is reached.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.reached.is_some()
    }

    /// Whether the session goes on by itself once more when its model stops.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        !self.is_reached() && self.continuations < self.continuations_max
    }

    /// What the model is told that stopped before the goal was reached.
    #[must_use]
    pub fn feedback(&self) -> String {
        format!(
            "{FEEDBACK}`{GOAL_DONE}` was not called. The goal:]\n\n{}\n\n[Go on with what is missing. Call `{GOAL_DONE}` as soon as everything is done and checked.]",
            self.objective
        )
    }
}

/// Whether a text is feedback of the gate: such words are not the user's.
pub(in crate::session) fn is_feedback(text: &str) -> bool {
    text.starts_with(FEEDBACK)
}

/// What becomes of a turn whose model stopped by itself.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::session) enum Gate {
    /// It ends.
    Open,
    /// It waits, until this moment, for a background task to end.
    Waits(Timestamp),
    /// It goes on.
    GoesOn(TurnContinued),
}

/// Decides what becomes of the turn whose last step is `step`.
pub(in crate::session) fn at_end(state: &State, step: &OpenStep, facts: &Facts<'_>) -> Gate {
    let Some(goal) = state.goal.as_ref().filter(|goal| !goal.is_reached()) else {
        return Gate::Open;
    };
    let until = step.since.after(facts.limits.goal_tasks_ms);
    if !state.tasks.running.is_empty() && facts.now < until {
        return Gate::Waits(until);
    }
    if !goal.goes_on() {
        return Gate::Open;
    }
    let content = vec![Part::text(goal.feedback())];
    Gate::GoesOn(TurnContinued { by: ContinuedBy::Goal, content })
}

/// Whether a session can have this goal.
///
/// # Errors
/// [`Rejection::Invalid`] when it is empty or has more than [`OBJECTIVE_BYTES`].
pub fn check(goal: &Goal) -> Result<(), Rejection> {
    let bytes = goal.objective.len();
    let what = match bytes {
        _ if goal.objective.trim().is_empty() => "the goal is empty".to_owned(),
        0..=OBJECTIVE_BYTES => return Ok(()),
        _ => format!(
            "the goal has {bytes} bytes and may have {OBJECTIVE_BYTES}; put it into a file and name the file"
        ),
    };
    Err(Rejection::Invalid { what })
}

/// The goal that comes with the input `content`, as words of it, where those do not say it.
pub(in crate::session) fn unsaid(goal: &Goal, content: &[Part]) -> Option<Part> {
    let is_said = |text: &str| text.contains(&goal.objective);
    (!texts(content).any(is_said)).then(|| Part::text(format!("{UNSAID}\n\n{}", goal.objective)))
}

/// What the model is told that is given the input `content` with a goal.
pub(in crate::session) fn told(content: &[Part]) -> Part {
    let which = match texts(content).any(is_unsaid) {
        true => "",
        false => "What was just said is the goal of this session. ",
    };
    Part::text(format!(
        "[{which}Work until everything is done and checked, then call `{GOAL_DONE}`. When you stop before, you are asked to go on.]"
    ))
}

fn is_unsaid(text: &str) -> bool {
    text.starts_with(UNSAID)
}

fn texts(content: &[Part]) -> impl Iterator<Item = &str> {
    content.iter().filter_map(Part::as_text)
}

impl State {
    /// Sets or takes away the goal. Inputs that wait keep their words and lose their goals: those were given before this.
    pub(in crate::session) fn replace_goal(&mut self, goal: Option<&Goal>) {
        for waiting in self.pending.iter_mut().map(|pending| &mut pending.admitted) {
            if waiting.goal.take().is_some() {
                let tells = |part: &Part| texts(std::slice::from_ref(part)).any(is_unsaid);
                waiting.content.retain(|part| !tells(part));
            }
        }
        self.set_goal(goal);
    }

    pub(in crate::session) fn set_goal(&mut self, goal: Option<&Goal>) {
        self.goal = goal.map(|goal| GoalState {
            objective: goal.objective.clone(),
            continuations_max: goal.continuations_max,
            continuations: 0,
            reached: None,
        });
    }

    pub(in crate::session) fn reach_goal(
        &mut self,
        reached: &GoalReached,
    ) -> Result<(), &'static str> {
        let goal = self.goal.as_mut().ok_or("the session has no goal")?;
        goal.reached = Some(reached.summary.clone());
        Ok(())
    }

    pub(in crate::session) fn continue_turn(
        &mut self,
        continued: &TurnContinued,
    ) -> Result<(), &'static str> {
        let turn = self.turn.as_mut().ok_or("no turn is open")?;
        turn.goes_on = true;
        match continued.by {
            ContinuedBy::Goal => {
                let goal = self.goal.as_mut().ok_or("the session has no goal")?;
                goal.continuations += 1;
            }
            ContinuedBy::Output => turn.misfits += 1,
            ContinuedBy::Hook => {
                turn.hook_continues += 1;
                turn.hooked.feedback = None;
            }
        }
        self.push(Message::User { parts: continued.content.clone() });
        Ok(())
    }
}
