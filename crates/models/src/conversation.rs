//! The order in which a conversation is told over the wires that have two speakers in turn: `anthropic-messages`, `bedrock-converse` and `gemini`.

use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Message, Part, ToolResult};
use serde::Serialize;
use serde_json::value::RawValue;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    User,
    Assistant,
}

/// What one side says.
#[derive(Debug, Serialize)]
pub(crate) struct Turn {
    pub(crate) role: Role,
    pub(crate) content: Vec<Box<RawValue>>,
}

/// An answer as it is sent, and its calls.
pub(crate) struct Answer<C> {
    pub(crate) said: Vec<Box<RawValue>>,
    pub(crate) calls: Vec<C>,
}

/// How a wire says what is said.
pub(crate) trait Dialect {
    /// A call that was sent and waits for its result.
    type Call<'b>;

    /// The id that the runtime knows a call by.
    fn id<'c>(call: &'c Self::Call<'_>) -> &'c CallId;

    fn text(words: &str) -> Box<RawValue>;

    /// Parts of the user's side; none for those that say nothing.
    fn parts(&self, parts: &[Part]) -> Vec<Box<RawValue>>;

    fn answer<'b>(&self, blocks: &'b [Block]) -> Answer<Self::Call<'b>>;

    /// The result of a call, or that none is known. What cannot stand in it is added to `after`, which follows all results.
    fn result(
        &self,
        call: &Self::Call<'_>,
        result: Option<&ToolResult>,
        after: &mut Vec<Box<RawValue>>,
    ) -> Box<RawValue>;
}

/// The turns of a conversation: the user's first, never two of one side behind each other, each call answered once and before anything else is said.
pub(crate) fn turns<D: Dialect>(dialect: &D, messages: &[Message]) -> Vec<Turn> {
    let mut turns = Vec::new();
    let mut open: Vec<D::Call<'_>> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        match message {
            Message::User { parts } => push::<D>(&mut turns, Role::User, dialect.parts(parts)),
            Message::Assistant { blocks } => {
                let Answer { said, calls } = dialect.answer(blocks);
                push::<D>(&mut turns, Role::Assistant, said);
                open = calls;
                let answered = matches!(messages.get(at + 1), Some(Message::Tool { .. }));
                if !open.is_empty() && !answered {
                    let results = results(dialect, &std::mem::take(&mut open), &[]);
                    push::<D>(&mut turns, Role::User, results);
                }
            }
            Message::Tool { results: given } => {
                let results = results(dialect, &std::mem::take(&mut open), given);
                push::<D>(&mut turns, Role::User, results);
            }
        }
    }
    if turns.is_empty() {
        turns.push(continued::<D>());
    }
    turns
}

/// Stands first where the user said nothing before.
fn continued<D: Dialect>() -> Turn {
    Turn { role: Role::User, content: vec![D::text("(continued)")] }
}

fn push<D: Dialect>(turns: &mut Vec<Turn>, role: Role, mut content: Vec<Box<RawValue>>) {
    if content.is_empty() {
        return;
    }
    if turns.is_empty() && role == Role::Assistant {
        turns.push(continued::<D>());
    }
    match turns.last_mut() {
        Some(last) if last.role == role => last.content.append(&mut content),
        _ => turns.push(Turn { role, content }),
    }
}

/// The results of these calls, in their order; one that belongs to none becomes text.
fn results<D: Dialect>(
    dialect: &D,
    calls: &[D::Call<'_>],
    results: &[ToolResult],
) -> Vec<Box<RawValue>> {
    let (mut said, mut after) = (Vec::new(), Vec::new());
    for call in calls {
        let result = results.iter().find(|result| result.call == *D::id(call));
        said.push(dialect.result(call, result, &mut after));
    }
    let is_stray = |result: &&ToolResult| calls.iter().all(|call| result.call != *D::id(call));
    for stray in results.iter().filter(is_stray) {
        after.push(D::text(&format!("Result of an earlier call of {}:", stray.name)));
        after.extend(dialect.parts(&stray.parts));
    }
    said.append(&mut after);
    said
}
