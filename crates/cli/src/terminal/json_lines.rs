//! Events as lines of JSON, for programs.

use std::io::{self, Write};

use oarlock_core::event::{AgentEvent, TurnEnded};
use serde::Serialize;

use crate::exit::Exit;

/// The last line: how it went, in one object.
#[derive(Debug, Serialize)]
pub struct Summary<'a> {
    /// The session, to go on with.
    pub session: &'a str,
    /// The model, as `provider/model`.
    pub model: &'a str,
    /// Whether the built-in demonstration answered rather than a language model.
    pub demo: bool,
    /// The final answer.
    pub text: &'a str,
    /// How the turn ended.
    pub ended: &'a TurnEnded,
    /// The code with which the program ends.
    pub exit_code: u8,
}

impl<'a> Summary<'a> {
    /// The summary of a turn.
    #[must_use]
    pub fn new(
        session: &'a str,
        model: &'a str,
        text: &'a str,
        ended: (&'a TurnEnded, Exit),
    ) -> Self {
        let demo = model.split('/').next() == Some(crate::selection::DEMO);
        Self { session, model, demo, text, ended: ended.0, exit_code: ended.1 as u8 }
    }
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
pub fn summary(out: &mut dyn Write, summary: &Summary<'_>) -> io::Result<()> {
    write(out, &serde_json::json!({ "result": summary }))
}

fn write(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}
