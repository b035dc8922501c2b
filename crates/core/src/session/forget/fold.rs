//! What forgetting does to a session's state: the part of the fold that clears, compacts and edits. Pure.

use serde::{Deserialize, Serialize};

use crate::event::{
    CompactionCause, ContextCleared, ContextCompacted, HistoryEdited, Reserved, SummaryFailed,
    SummaryStarted,
};
use crate::ids::Timestamp;
use crate::message::Usage;
use crate::session::conversation::{CLEARED, TOO_LONG, calls_of};
use crate::session::state::State;

/// A summary that could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryFailure {
    /// [`crate::session::conversation::Conversation::shape`] then.
    pub shape: u32,
    /// How many messages the conversation had.
    pub messages: usize,
    /// How many summaries in a row could not be used.
    pub tries: u32,
    /// When another may be tried; absent when the failure would repeat.
    pub retry_at: Option<Timestamp>,
}

/// A summary that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSummary {
    /// Why.
    pub cause: CompactionCause,
    /// How many messages it replaces.
    pub dropped: usize,
    /// [`crate::session::conversation::Conversation::shape`] when it was begun.
    pub shape: u32,
    /// What it should pay attention to.
    pub instructions: Option<String>,
    /// What its call may use at most.
    pub reserved: Reserved,
    /// Whether hooks changed something before it was made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hooked: bool,
    /// Why a hook wants none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl State {
    pub(in crate::session) fn clear(
        &mut self,
        cleared: &ContextCleared,
    ) -> Result<(), &'static str> {
        self.conversation.clear(&cleared.calls, CLEARED)?;
        self.conversation.clear(&cleared.too_long, TOO_LONG)?;
        self.conversation.count(cleared.tokens_after);
        self.forgot();
        Ok(())
    }

    pub(in crate::session) fn compact(
        &mut self,
        compacted: &ContextCompacted,
    ) -> Result<(), &'static str> {
        if self.conversation.has_open_calls() {
            return Err("a call of the last answer is not settled");
        }
        self.spend(compacted.usage, compacted.cost_micros);
        let content = compacted.content.clone();
        self.conversation.compact(compacted.dropped as usize, content, compacted.pinned)?;
        self.conversation.count(compacted.tokens_after);
        self.compacted = Some(compacted.tokens_before);
        self.summary = None;
        self.forgot();
        Ok(())
    }

    pub(in crate::session) fn start_summary(
        &mut self,
        started: &SummaryStarted,
    ) -> Result<(), &'static str> {
        let dropped = started.dropped as usize;
        if self.summary.is_some() {
            return Err("a summary is being made");
        }
        if dropped > self.conversation.messages.len() {
            return Err("it is about messages that are not there");
        }
        self.summary = Some(Box::new(OpenSummary {
            cause: started.cause,
            dropped,
            shape: self.conversation.shape,
            instructions: started.instructions.clone(),
            reserved: started.reserved,
            hooked: false,
            refused: None,
        }));
        Ok(())
    }

    pub(in crate::session) fn fail_summary(&mut self, at: Timestamp, failed: &SummaryFailed) {
        self.spend(failed.usage, failed.cost_micros);
        self.summary = None;
        let shape = self.conversation.shape;
        let before = self.summary_failed.filter(|before| before.shape == shape);
        self.summary_failed = Some(SummaryFailure {
            shape,
            messages: self.conversation.messages.len(),
            tries: before.map_or(0, |before| before.tries) + 1,
            retry_at: failed.retry_in_ms.map(|ms| at.after(ms)),
        });
    }

    pub(in crate::session) fn edit(&mut self, edited: &HistoryEdited) -> Result<(), &'static str> {
        if self.turn.is_some() {
            return Err("a turn is open");
        }
        let (from, to) = (edited.from as usize, edited.to as usize);
        edited.messages.iter().flat_map(calls_of).for_each(|id| self.call_ids.add(id));
        self.conversation.splice(from, to, edited.messages.clone())?;
        self.forgot();
        Ok(())
    }

    fn forgot(&mut self) {
        self.summary_failed = None;
        if let Some(turn) = &mut self.turn {
            turn.shrunk = true;
        }
    }

    /// Counts a model call that was no step.
    pub(in crate::session) fn spend(&mut self, usage: Usage, cost_micros: Option<u64>) {
        let turn = self.turn.as_mut().map(|turn| &mut turn.used);
        for used in turn.into_iter().chain([&mut self.used]) {
            used.spend(usage, cost_micros);
        }
    }
}
