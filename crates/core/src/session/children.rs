//! The subagents of a session, and what is set aside for them. Pure.

use serde::{Deserialize, Serialize};

use crate::event::{SubagentClosed, SubagentOpened};
use crate::ids::Timestamp;
use crate::session::state::State;

/// A subagent that is not closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// How it was opened.
    pub opened: SubagentOpened,
    /// When.
    pub since: Timestamp,
}

impl State {
    pub(in crate::session) fn open_child(
        &mut self,
        at: Timestamp,
        opened: &SubagentOpened,
    ) -> Result<(), &'static str> {
        if self.children.iter().any(|child| child.opened.child == opened.child) {
            return Err("the subagent is open");
        }
        self.children.push(Child { opened: opened.clone(), since: at });
        Ok(())
    }

    pub(in crate::session) fn close_child(
        &mut self,
        closed: &SubagentClosed,
    ) -> Result<(), &'static str> {
        let at = self.children.iter().position(|child| child.opened.child == closed.child);
        self.children.remove(at.ok_or("the subagent is not open")?);
        self.spend(closed.usage, closed.cost_micros);
        Ok(())
    }
}
