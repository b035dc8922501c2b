//! How inputs that wait become part of the conversation, and the goals that they carry the session's. Pure.

use std::collections::BTreeSet;

use crate::event::InputAdmitted;
use crate::ids::Seq;
use crate::message::{Message, Part};
use crate::session::goal;
use crate::session::state::{PendingInput, State, first_words};

impl State {
    pub(in crate::session) fn admit(&mut self, seq: Seq, admitted: &InputAdmitted) {
        self.keys.add(admitted, seq);
        // Nobody waits for the turn of what begins none.
        if !admitted.peer.as_ref().is_some_and(|peer| peer.silent) {
            self.last_input = Some(seq);
        }
        if self.first_words.is_empty() {
            self.first_words = first_words(&admitted.content);
        }
        self.pending.push(PendingInput {
            seq,
            admitted: admitted.clone(),
            hooked: BTreeSet::new(),
            refused: None,
        });
    }

    /// Moves the named inputs from `pending` into the conversation, as one message. The goal of the last that has one is the session's.
    pub(in crate::session) fn take_inputs(&mut self, inputs: &[Seq]) -> Result<(), &'static str> {
        let is_waiting = |input: &Seq| self.pending.iter().any(|pending| pending.seq == *input);
        if !inputs.iter().all(is_waiting) {
            return Err("it takes an input that is not pending");
        }
        if let Some(message) = self.message_of(inputs) {
            self.push(message);
        }
        let shown = self.shown(inputs);
        if let Some(goal) = shown.filter_map(|pending| pending.admitted.goal.clone()).last() {
            self.set_goal(Some(&goal));
        }
        self.pending.retain(|pending| !inputs.contains(&pending.seq));
        self.pending.shrink_to_fit();
        Ok(())
    }

    /// What the named pending inputs say, as one message; nothing when none is named.
    #[must_use]
    pub fn message_of(&self, inputs: &[Seq]) -> Option<Message> {
        let mut parts: Vec<Part> = self
            .shown(inputs)
            .flat_map(|pending| {
                let InputAdmitted { content, goal, .. } = &pending.admitted;
                content.iter().cloned().chain(goal.as_ref().map(|_| goal::told(content)))
            })
            .collect();
        // It stays for as long as the session does.
        parts.shrink_to_fit();
        (!parts.is_empty()).then_some(Message::User { parts })
    }

    /// The named pending inputs that no hook refused.
    fn shown(&self, inputs: &[Seq]) -> impl Iterator<Item = &PendingInput> {
        let named = inputs
            .iter()
            .filter_map(|input| self.pending.iter().find(|pending| pending.seq == *input));
        named.filter(|pending| pending.refused.is_none())
    }
}
