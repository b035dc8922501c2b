//! The conversation as a model is shown it: its messages, and the edits by which a session forgets. Pure; the transcript in the journal stays.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::CallId;
use crate::message::{Block, Message, Part};

/// What stands in the place of a tool's result that was cleared.
pub const CLEARED: &str =
    "[this result was cleared to make room; call the tool again if it is needed]";

const WRONG_BEGINNING: &str = "a conversation begins with the user";
const LATE_RESULTS: &str = "the results of an answer's calls stand right after it";
const WRONG_RESULTS: &str = "results answer each call of the answer before them once, in its order";

/// What stands in the place of a tool's result that the window has no room for.
pub const TOO_LONG: &str = "[this result is longer than there is room for, and was left out; ask for less of it at a time]";

/// What a model sees of a session.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Conversation {
    /// The messages, by the rules of [`Message`] whenever no call of the last answer is open.
    pub messages: Arc<Vec<Message>>,
    /// How often messages that a model may have seen were changed.
    pub edits: u32,
    /// How they were changed last.
    pub last_edit: Edit,
    /// How often messages were taken away or put between others, so that their numbers changed.
    pub shape: u32,
    /// Whether the first message stands for older ones.
    pub compacted: bool,
    /// How many parts of the first message are pins that a compaction kept.
    pub pinned: u32,
    /// Size of the last request and its answer as the provider counted it.
    pub counted: Option<Counted>,
}

/// How messages that a model may have seen are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// Somebody put others in their place.
    #[default]
    Replaced,
    /// Results were cleared.
    Cleared,
    /// A summary took their place.
    Compacted,
}

/// What a provider counted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Tokens of request and answer.
    pub tokens: u64,
    /// How many messages that covers.
    pub messages: usize,
}

impl Conversation {
    /// Adds a message at the end.
    pub(crate) fn push(&mut self, message: Message) {
        Arc::make_mut(&mut self.messages).push(message);
    }

    /// Adds a message at the end if the rules of [`Message`] let it stand there. The calls of the last answer may be open.
    pub(crate) fn append(&mut self, message: Message) -> Result<(), &'static str> {
        let asked = self.messages.last().map_or_else(Vec::new, |last| calls_of(last).collect());
        match &message {
            Message::Tool { results } => {
                if asked.is_empty() || !results.iter().map(|result| &result.call).eq(asked) {
                    return Err(WRONG_RESULTS);
                }
            }
            Message::User { .. } | Message::Assistant { .. } if !asked.is_empty() => {
                return Err(LATE_RESULTS);
            }
            Message::Assistant { .. } if self.messages.is_empty() => return Err(WRONG_BEGINNING),
            Message::User { .. } | Message::Assistant { .. } => {}
        }
        self.push(message);
        Ok(())
    }

    /// Whether the last answer asked for calls that have no results: no model can be shown such a conversation.
    #[must_use]
    pub fn has_open_calls(&self) -> bool {
        self.messages.last().is_some_and(asks)
    }

    /// Puts `words` in the place of the results of these calls.
    pub(crate) fn clear(&mut self, calls: &[CallId], words: &str) -> Result<(), &'static str> {
        let wanted: HashSet<&CallId> = calls.iter().collect();
        let mut found = 0;
        for message in Arc::make_mut(&mut self.messages) {
            let Message::Tool { results } = message else { continue };
            for result in results.iter_mut().filter(|result| wanted.contains(&result.call)) {
                result.parts = vec![Part::text(words)];
                found += 1;
            }
        }
        if found < wanted.len() {
            return Err("it clears a result that no model is shown");
        }
        self.edited(Edit::Cleared);
        Ok(())
    }

    /// Puts `content` in the place of the first `dropped` messages; its first `pinned` parts are pins.
    pub(crate) fn compact(
        &mut self,
        dropped: usize,
        content: Vec<Part>,
        pinned: u32,
    ) -> Result<(), &'static str> {
        if dropped == 0 || dropped > self.messages.len() {
            return Err("it drops messages that are not there");
        }
        self.splice(0, dropped, vec![Message::User { parts: content }])?;
        self.last_edit = Edit::Compacted;
        self.compacted = true;
        self.pinned = pinned;
        Ok(())
    }

    /// Puts `new` in the place of the messages from `from` to before `to`.
    pub(crate) fn splice(
        &mut self,
        from: usize,
        to: usize,
        new: Vec<Message>,
    ) -> Result<(), &'static str> {
        if from > to || to > self.messages.len() {
            return Err("it changes messages that are not there");
        }
        let mut messages = self.messages.as_ref().clone();
        messages.splice(from..to, new);
        check(&messages)?;
        self.messages = Arc::new(messages);
        if from == 0 && to > 0 {
            self.compacted = false;
            self.pinned = 0;
        }
        self.shape += 1;
        self.edited(Edit::Replaced);
        Ok(())
    }

    /// Takes over what an edit left of the provider's count.
    pub(crate) fn count(&mut self, tokens: u64) {
        self.counted = Some(Counted { tokens, messages: self.messages.len() });
    }

    fn edited(&mut self, how: Edit) {
        self.edits += 1;
        self.last_edit = how;
        self.counted = None;
    }
}

fn asks(message: &Message) -> bool {
    match message {
        Message::Assistant { blocks } => blocks.iter().any(Block::is_call),
        Message::User { .. } | Message::Tool { .. } => false,
    }
}

/// Whether messages keep the rules of [`Message`].
///
/// # Errors
/// The rule that is broken, in words.
pub fn check(messages: &[Message]) -> Result<(), &'static str> {
    if messages.first().is_some_and(|first| !matches!(first, Message::User { .. })) {
        return Err(WRONG_BEGINNING);
    }
    let mut asked: Vec<&CallId> = Vec::new();
    for message in messages {
        let Message::Tool { results } = message else {
            if !asked.is_empty() {
                return Err(LATE_RESULTS);
            }
            asked = calls_of(message).collect();
            continue;
        };
        if asked.is_empty() || !results.iter().map(|result| &result.call).eq(asked.drain(..)) {
            return Err(WRONG_RESULTS);
        }
    }
    if asked.is_empty() { Ok(()) } else { Err("the calls of the last answer have no results") }
}

/// The calls that a message asks for, in order.
pub(crate) fn calls_of(message: &Message) -> impl Iterator<Item = &CallId> {
    let blocks = match message {
        Message::Assistant { blocks } => blocks.as_slice(),
        Message::User { .. } | Message::Tool { .. } => &[],
    };
    blocks.iter().filter_map(Block::call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Content, ToolResult};

    fn user(text: &str) -> Message {
        Message::User { parts: vec![Part::text(text)] }
    }

    fn asking(call: &str) -> Message {
        let id = CallId(call.into());
        let content = Content::ToolCall { id, name: "read".to_owned(), arguments: "{}".to_owned() };
        Message::Assistant { blocks: vec![Block { content, native: None }] }
    }

    fn result(call: &str) -> Message {
        let (call, name) = (CallId(call.into()), "read".to_owned());
        let parts = vec![Part::text("long")];
        Message::Tool { results: vec![ToolResult { call, name, parts, is_error: false }] }
    }

    fn of(messages: Vec<Message>) -> Conversation {
        Conversation { messages: Arc::new(messages), ..Conversation::default() }
    }

    #[test]
    fn an_edit_that_would_break_the_rules_changes_nothing() {
        let whole = of(vec![user("a"), asking("1"), result("1"), user("b")]);
        for (from, to, new) in [
            (0, 1, vec![]),
            (2, 3, vec![]),
            (1, 2, vec![]),
            (2, 3, vec![result("2")]),
            (3, 4, vec![asking("2")]),
            (3, 5, vec![]),
            (2, 1, vec![]),
        ] {
            let mut edited = whole.clone();
            assert!(edited.splice(from, to, new).is_err(), "{from}..{to}");
            assert_eq!(edited, whole);
        }
    }

    #[test]
    fn a_compaction_keeps_the_tail_and_counts_as_an_edit() {
        let mut talk = of(vec![user("a"), asking("1"), result("1"), user("b")]);
        talk.counted = Some(Counted { tokens: 9, messages: 4 });
        talk.compact(3, vec![Part::text("pin"), Part::text("summary")], 1).unwrap();
        assert_eq!(talk.messages.len(), 2);
        assert_eq!((talk.edits, talk.pinned, talk.counted), (1, 1, None));
        assert!(talk.compact(0, vec![Part::text("x")], 0).is_err());
        assert!(talk.compact(3, vec![Part::text("x")], 0).is_err());
    }

    #[test]
    fn clearing_takes_the_content_of_known_results_only() {
        let mut talk = of(vec![user("a"), asking("1"), result("1")]);
        assert!(talk.clear(&[CallId("2".into())], CLEARED).is_err());
        talk.clear(&[CallId("1".into())], CLEARED).unwrap();
        let Message::Tool { results } = &talk.messages[2] else { panic!() };
        assert_eq!(results[0].parts, vec![Part::text(CLEARED)]);
    }
}
