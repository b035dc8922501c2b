//! What was said: inputs when a turn takes them, answers and thoughts as they are made and as they were in the end.
//!
//! A message is named by where it stands in the journal, so that it has the same name whenever it is shown.

use std::collections::BTreeMap;

use agent_client_protocol::v1::schema::{ContentBlock, ContentChunk, MessageId, SessionUpdate};
use oarlock_core::event::{AssistantMessage, Delta, DeltaItem, InputAdmitted, InputSource};
use oarlock_core::ids::{Seq, StepNo, TurnNo};
use oarlock_core::message::{Content, Part};
use oarlock_core::prompt::mention::is_added;

use super::give_back;
use super::pictures::Pictures;
use crate::acp::content::{is_embedded, text};

/// What ends the words of an answer that will not be finished.
const CUT: &str = "\n\n[this answer broke off]\n\n";

/// Turn, step and attempt of an answer.
type Attempt = (TurnNo, StepNo, u32);

/// The inputs that wait, and the answer under way.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// What a client is shown of inputs that no turn has taken.
    waiting: BTreeMap<Seq, Vec<ContentBlock>>,
    attempt: Attempt,
    /// Bytes of each of its blocks that were shown, the latest block last.
    shown: Vec<(DeltaItem, usize)>,
    /// Deltas were missing: what follows them comes with the entry, in order.
    has_gap: bool,
}

impl Talk {
    /// An input waits. What did not come from a person is not shown as a person's words.
    pub(super) fn admitted(&mut self, seq: Seq, input: &InputAdmitted, pictures: &Pictures) {
        if input.source != InputSource::User {
            return;
        }
        // The first part is what the person wrote; it mentions what was added.
        let shown = input.content.iter().enumerate().filter_map(|(at, part)| match part {
            Part::Text { text: words } if at > 0 && (is_added(words) || is_embedded(words)) => None,
            Part::Text { text: words } => Some(text(words)),
            Part::Image { .. } | Part::Document { .. } => pictures.shown(part),
        });
        self.waiting.insert(seq, shown.collect());
    }

    /// It is not shown: nobody will take it.
    pub(super) fn leave_out(&mut self, seq: Seq) {
        self.waiting.remove(&seq);
    }

    /// A turn took these inputs.
    pub(super) fn taken(&mut self, inputs: &[Seq], updates: &mut Vec<SessionUpdate>) {
        for seq in inputs {
            for block in self.waiting.remove(seq).into_iter().flatten() {
                let chunk = ContentChunk::new(block).message_id(MessageId::new(format!("u{seq}")));
                updates.push(SessionUpdate::UserMessageChunk(chunk));
            }
        }
        give_back(&mut self.waiting);
    }

    fn begin(&mut self, attempt: Attempt) {
        if self.attempt != attempt {
            self.shown = Vec::new();
            self.has_gap = false;
            self.attempt = attempt;
        }
    }

    /// A piece of text or of a thought. What was shown is not shown twice.
    pub(super) fn grows(&mut self, delta: &Delta) -> Option<SessionUpdate> {
        self.begin((delta.turn, delta.step, delta.attempt));
        let shown = bytes_of(&delta.item, &mut self.shown);
        let offset = usize::try_from(delta.offset).ok()?;
        self.has_gap |= offset > *shown;
        if self.has_gap {
            return None;
        }
        let new = delta.text.get(*shown - offset..).filter(|new| !new.is_empty())?;
        *shown += new.len();
        Some(said(&delta.item, self.attempt, new))
    }

    /// What of an answer was not shown while it was made.
    pub(super) fn answered(
        &mut self,
        turn: TurnNo,
        message: &AssistantMessage,
        updates: &mut Vec<SessionUpdate>,
    ) {
        self.begin((turn, message.step, message.attempt));
        for (block, at) in message.blocks.iter().zip(0..) {
            let (item, words) = match &block.content {
                Content::Text { text } => (DeltaItem::Text { block: at }, text),
                Content::Thinking { text } => (DeltaItem::Thinking { block: at }, text),
                Content::ToolCall { .. } | Content::Opaque { .. } => continue,
            };
            let shown = self.shown.iter().find(|(known, _)| *known == item);
            let shown = shown.map_or(0, |(_, bytes)| *bytes);
            if let Some(rest) = words.get(shown..).filter(|rest| !rest.is_empty()) {
                updates.push(said(&item, self.attempt, rest));
            }
        }
        self.shown = Vec::new();
    }

    /// The answer under way is void. What was shown of it cannot be taken back; where another one follows, it
    /// is to be said that it ends there.
    pub(super) fn broke_off(&mut self) -> Option<SessionUpdate> {
        let mut shown = std::mem::take(&mut self.shown).into_iter().filter(|(_, bytes)| *bytes > 0);
        let text = shown.find(|(item, _)| matches!(item, DeltaItem::Text { .. }));
        text.map(|(item, _)| said(&item, self.attempt, CUT))
    }
}

/// Bytes of a block that were shown.
fn bytes_of<'a>(item: &DeltaItem, shown: &'a mut Vec<(DeltaItem, usize)>) -> &'a mut usize {
    let at = shown.iter().rposition(|(known, _)| known == item).unwrap_or_else(|| {
        shown.push((item.clone(), 0));
        shown.len() - 1
    });
    &mut shown[at].1
}

fn said(item: &DeltaItem, (turn, step, attempt): Attempt, words: &str) -> SessionUpdate {
    let chunk = ContentChunk::new(text(words));
    let named = |kind: char| MessageId::new(format!("{kind}{turn}.{step}.{attempt}"));
    match item {
        DeltaItem::Thinking { .. } => {
            SessionUpdate::AgentThoughtChunk(chunk.message_id(named('t')))
        }
        _ => SessionUpdate::AgentMessageChunk(chunk.message_id(named('m'))),
    }
}
