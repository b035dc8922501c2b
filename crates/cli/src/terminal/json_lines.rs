//! Events as lines of JSON, for programs.

use std::io::{self, Write};

use oarlock_core::event::{AgentEvent, TurnEnded};
use oarlock_core::ids::SessionId;
use oarlock_core::prompt::answer::Answer;
use oarlock_core::spec::ModelSelection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// The last line: how it went, in one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The session, to go on with.
    pub session: SessionId,
    /// The model, as `provider/model`.
    pub model: String,
    /// Whether the built-in demonstration answered rather than a language model.
    pub demo: bool,
    /// The final answer.
    pub text: String,
    /// How the turn ended.
    pub ended: TurnEnded,
    /// The code with which the program ends.
    pub exit_code: u8,
}

impl Summary {
    /// The summary of a turn.
    #[must_use]
    pub fn new(
        session: SessionId,
        model: &ModelSelection,
        text: String,
        (ended, exit): (TurnEnded, Exit),
    ) -> Self {
        let demo = model.provider == crate::selection::DEMO;
        Self { session, model: model.to_string(), demo, text, ended, exit_code: exit as u8 }
    }
}

/// What a slash command answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// The session that was asked; absent when none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The command and its answer.
    pub command: Answer,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultLine {
    /// How it went.
    Result(Summary),
    /// What was answered, where the prompt was a slash command.
    Answer(Answered),
}

/// Writes one event as one line, and hands it over at once.
///
/// # Errors
/// The writer's.
pub fn event(out: &mut dyn Write, event: &AgentEvent) -> io::Result<()> {
    write(out, event)
}

/// Writes the last line, `{"result":{…}}`.
///
/// # Errors
/// The writer's.
pub fn summary(out: &mut dyn Write, summary: Summary) -> io::Result<()> {
    write(out, &ResultLine::Result(summary))
}

/// Writes the only line of a slash command, `{"answer":{…}}`.
///
/// # Errors
/// The writer's.
pub fn answered(out: &mut dyn Write, answered: Answered) -> io::Result<()> {
    write(out, &ResultLine::Answer(answered))
}

fn write(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    // A provider's own item may hold line ends between its JSON tokens, and nowhere else.
    line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}
