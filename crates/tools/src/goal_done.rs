//! `goal_done`: says that the session's goal is reached. Always offered, so that the tools of a session stay the same to its provider's cache
//! whenever it gets a goal; the session itself refuses it where there is none.

use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::event::{Effect, GoalReached};
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, SessionNote, Subject, Tool, ToolContext, ToolError, ToolOutput,
    ToolSchema,
};
use oarlock_core::session::goal::GOAL_DONE;
use serde_json::{Value, json};

use crate::arguments::Arguments;

/// Bytes of a summary; a longer one is refused.
const SUMMARY_BYTES: usize = 8 * 1024;
const TIMEOUT_MS: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct GoalDone {
    schema: ToolSchema,
}

impl GoalDone {
    pub(crate) fn new() -> Self {
        let description = "Say that the goal of this session is reached. Only for a session that was given a goal, and only when everything it asks for is done and checked.";
        let input = json!({
            "type": "object",
            "properties": {
                "summary": {"type": "string", "description": "what was done, and how it was checked"}
            },
            "required": ["summary"],
            "additionalProperties": false
        });
        let name = GOAL_DONE.to_owned();
        let description = description.to_owned();
        Self { schema: ToolSchema { name, description, input, runs: Runs::Here } }
    }

    fn summary<'a>(&self, arguments: &'a Value) -> Result<&'a str, String> {
        let summary = Arguments::new(arguments, &self.schema.input)?.text("summary")?;
        match summary.len() {
            _ if summary.trim().is_empty() => Err("`summary` is empty".to_owned()),
            0..=SUMMARY_BYTES => Ok(summary),
            bytes => {
                Err(format!("`summary` has {bytes} bytes and may have {SUMMARY_BYTES}; be brief"))
            }
        }
    }
}

impl Tool for GoalDone {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _place: &Place) -> Result<Assessment, String> {
        Ok(Assessment {
            effect: Effect::Pure,
            title: self.summary(arguments).map(|_| "say that the goal is reached".to_owned())?,
            subject: Subject { parts: Vec::new(), complete: true },
            timeout_ms: TIMEOUT_MS,
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, _cx: &'a ToolContext) -> BoxFuture<'a, String> {
        Box::pin(std::future::ready(self.summary(arguments).unwrap_or_default().to_owned()))
    }

    fn execute(
        self: Arc<Self>,
        arguments: Value,
        _cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        let output = self.summary(&arguments).map(|summary| {
            let reached = GoalReached { summary: summary.to_owned() };
            let notes = vec![SessionNote::Goal(reached)];
            ToolOutput { notes, ..ToolOutput::text("the goal counts as reached; end your answer") }
        });
        Box::pin(std::future::ready(output.map_err(ToolError::Arguments)))
    }
}
