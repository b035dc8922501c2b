//! What hooks do to a session. Pure.

use serde::{Deserialize, Serialize};

use crate::event::{HookPoint, HookRan};
use crate::ids::{CallId, StepNo};
use crate::session::state::State;

/// One place in a turn where hooks are run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HookPlace {
    /// The point.
    pub point: HookPoint,
    /// Its step, where the point has one.
    pub step: Option<StepNo>,
    /// Its call, where the point has one.
    pub call: Option<CallId>,
}

impl State {
    pub(in crate::session) fn run_hook(&mut self, ran: &HookRan) -> Result<(), &'static str> {
        let place = HookPlace { point: ran.point, step: ran.step, call: ran.call.clone() };
        if let Some(turn) = &mut self.turn {
            turn.hooked.insert(place);
        }
        Ok(())
    }
}
