//! What a session is to reach, and how its turns go on by themselves. Pure.

use serde::{Deserialize, Serialize};

use crate::event::{ContinuedBy, GoalReached, GoalSet, TurnContinued};
use crate::message::Message;
use crate::session::state::State;

/// The goal of a session, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl State {
    pub(in crate::session) fn set_goal(&mut self, set: &GoalSet) {
        self.goal = set.goal.as_ref().map(|goal| GoalState {
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
            ContinuedBy::Hook => turn.hook_continues += 1,
        }
        self.push(Message::User { parts: continued.content.clone() });
        Ok(())
    }
}
