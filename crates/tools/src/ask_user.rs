//! `ask_user`: a question that the client puts to a person. The runtime waits for the answer; nothing is run here.

use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::event::Effect;
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use serde_json::{Value, json};

use crate::arguments::Arguments;

const OPTIONS_MAX: usize = 20;
/// An hour. The deadline that counts is the one of the question itself.
const TIMEOUT_MS: u64 = 3_600_000;

#[derive(Debug)]
pub(crate) struct AskUser {
    schema: ToolSchema,
}

impl AskUser {
    pub(crate) fn new() -> Self {
        let description = "Ask the user one question and wait for the answer. Use it only when you cannot go on without a decision that is theirs.";
        let input = json!({
            "type": "object",
            "properties": {
                "question": {"type": "string"},
                "options": {"type": "array", "items": {"type": "string"}, "description": "answers to choose from, at most 20; leave out for a free answer"}
            },
            "required": ["question"],
            "additionalProperties": false
        });
        let description = description.to_owned();
        Self {
            schema: ToolSchema {
                name: "ask_user".to_owned(),
                description,
                input,
                runs: Runs::Client,
            },
        }
    }
}

impl Tool for AskUser {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _place: &Place) -> Result<Assessment, String> {
        let arguments = Arguments::new(arguments, &self.schema.input)?;
        let question = arguments.text("question")?;
        if question.trim().is_empty() {
            return Err("`question` is empty".to_owned());
        }
        if arguments.texts("options")?.len() > OPTIONS_MAX {
            return Err(format!("`options` may hold {OPTIONS_MAX} answers"));
        }
        Ok(Assessment {
            effect: Effect::Pure,
            title: crate::text::title("ask", question),
            subject: Subject { parts: Vec::new(), complete: true },
            timeout_ms: TIMEOUT_MS,
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, _cx: &'a ToolContext) -> BoxFuture<'a, String> {
        let question = arguments.get("question").and_then(Value::as_str).unwrap_or_default();
        Box::pin(std::future::ready(question.to_owned()))
    }

    fn execute(
        self: Arc<Self>,
        _arguments: Value,
        _cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        let refusal = "only the client can put a question to the user, and this one does not";
        Box::pin(std::future::ready(Err(ToolError::failed(refusal))))
    }
}
