//! What a model can do about background tasks: look at them, end them, send them a line.

use std::fmt::Write as _;
use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::event::Effect;
use oarlock_core::ids::TaskId;
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use oarlock_core::{ProgressBlock, TaskSnapshot};
use serde_json::{Value, json};

use crate::arguments::Arguments;

const TIMEOUT_MS: u64 = 10_000;
const RECENT_MAX: u64 = 100;
/// Words in the place of a task's name that mean all of them.
const ALL: &str = "all";

type Answer = Result<ToolOutput, ToolError>;

fn schema(name: &str, description: &str, input: Value) -> ToolSchema {
    let (name, description) = (name.to_owned(), description.to_owned());
    ToolSchema { name, description, input, runs: Runs::Here }
}

fn task_id(text: &str) -> Result<TaskId, String> {
    TaskId::parse(text).map_err(|_| format!("`{text}` is no task id; they look like bg-1"))
}

fn words(text: &str) -> BoxFuture<'_, String> {
    Box::pin(std::future::ready(text.to_owned()))
}

/// What is known of no task here may be in the history of the session all the same.
fn unknown(task: &TaskId) -> ToolError {
    ToolError::failed(format!(
        "no background task {task} runs, and none that ended lately is called so; what it came to was told when it ended"
    ))
}

/// `inspect_background_task`.
#[derive(Debug)]
pub(crate) struct Inspect {
    schema: ToolSchema,
}

impl Inspect {
    pub(crate) fn new() -> Self {
        let input = json!({
            "type": "object",
            "properties": {
                "task_id": {"type": "string", "description": "leave out for a list of all"},
                "recent_blocks": {"type": "integer", "minimum": 1, "maximum": RECENT_MAX, "description": "how much of its latest progress to show"}
            },
            "additionalProperties": false
        });
        let description = "List the background tasks, or show how one stands and its latest output. Their ends are told without asking: do not wait for them by \
            looking again and again.";
        Self { schema: schema("inspect_background_task", description, input) }
    }
}

fn line(task: &TaskSnapshot) -> String {
    format!("{} {}: {}", task.task_id, task.status.as_str(), task.label)
}

fn shown(block: &ProgressBlock) -> String {
    match block.text.trim_end() {
        "" => format!("[{}]", block.kind.as_str()),
        text => format!("[{}]\n{text}", block.kind.as_str()),
    }
}

impl Tool for Inspect {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _: &Place) -> Result<Assessment, String> {
        let arguments = Arguments::new(arguments, &self.schema.input)?;
        let task = arguments.optional_text("task_id")?.map(task_id).transpose()?;
        arguments.number("recent_blocks", (1, RECENT_MAX), 1)?;
        let what = task.as_ref().map_or("all", TaskId::as_str);
        Ok(Assessment {
            effect: Effect::Pure,
            title: crate::text::title("inspect background task", what),
            subject: Subject { parts: vec![what.to_owned()], complete: true },
            timeout_ms: TIMEOUT_MS,
        })
    }

    fn describe<'a>(&'a self, _: &'a Value, _: &'a ToolContext) -> BoxFuture<'a, String> {
        words("look at background tasks")
    }

    fn execute(self: Arc<Self>, arguments: Value, cx: ToolContext) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let arguments =
                Arguments::new(&arguments, &self.schema.input).map_err(ToolError::Arguments)?;
            let task = arguments.optional_text("task_id").map_err(ToolError::Arguments)?;
            let recent = arguments
                .number("recent_blocks", (0, RECENT_MAX), 0)
                .map_err(ToolError::Arguments)?;
            let recent = usize::try_from(recent).ok().filter(|recent| *recent > 0);
            let Some(task) = task else {
                let lines: Vec<String> = cx.reach.tasks.list().iter().map(line).collect();
                let none = "no background task runs or has ended lately";
                return Ok(ToolOutput::text(match lines.is_empty() {
                    true => none.to_owned(),
                    false => lines.join("\n"),
                }));
            };
            let task = task_id(task).map_err(ToolError::Arguments)?;
            let found = cx.reach.tasks.peek(&task, recent).await.ok_or_else(|| unknown(&task))?;
            let mut text = line(&found);
            let (count, last) = (found.block_count, found.recent.len());
            write!(text, "\n{count} blocks of progress, the last {last}:")
                .expect("a string takes all");
            for block in &found.recent {
                write!(text, "\n{}", shown(block)).expect("a string takes all");
            }
            Ok(ToolOutput::text(text))
        })
    }
}

/// `cancel_background_task`.
#[derive(Debug)]
pub(crate) struct CancelTask {
    schema: ToolSchema,
}

impl CancelTask {
    pub(crate) fn new() -> Self {
        let input = json!({
            "type": "object",
            "properties": {
                "task_id": {"type": "string", "description": "the task, or `all`"}
            },
            "required": ["task_id"],
            "additionalProperties": false
        });
        let description =
            "End a background task, or all of them. You are told of the end as of any other.";
        Self { schema: schema("cancel_background_task", description, input) }
    }
}

impl Tool for CancelTask {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _: &Place) -> Result<Assessment, String> {
        let arguments = Arguments::new(arguments, &self.schema.input)?;
        let task = arguments.text("task_id")?;
        if task != ALL {
            task_id(task)?;
        }
        Ok(Assessment {
            // It ends work of the session itself and touches nothing else, as the end of a turn does: nobody has to be asked.
            effect: Effect::Pure,
            title: crate::text::title("cancel background task", task),
            subject: Subject { parts: vec![task.to_owned()], complete: true },
            timeout_ms: TIMEOUT_MS,
        })
    }

    fn describe<'a>(&'a self, _: &'a Value, _: &'a ToolContext) -> BoxFuture<'a, String> {
        words("end background work of this session")
    }

    fn execute(self: Arc<Self>, arguments: Value, cx: ToolContext) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let arguments =
                Arguments::new(&arguments, &self.schema.input).map_err(ToolError::Arguments)?;
            let task = arguments.text("task_id").map_err(ToolError::Arguments)?;
            if task == ALL {
                let count = cx.reach.tasks.cancel_all();
                return Ok(ToolOutput::text(format!("{count} background tasks are being ended")));
            }
            let task = task_id(task).map_err(ToolError::Arguments)?;
            match cx.reach.tasks.cancel_task(&task) {
                Some(true) => Ok(ToolOutput::text(format!("{task} is being ended"))),
                Some(false) => Ok(ToolOutput::text(format!("{task} had ended before"))),
                None => Err(unknown(&task)),
            }
        })
    }
}

/// `send_background_input`.
#[derive(Debug)]
pub(crate) struct SendInput {
    schema: ToolSchema,
}

impl SendInput {
    pub(crate) fn new() -> Self {
        let input = json!({
            "type": "object",
            "properties": {
                "task_id": {"type": "string"},
                "text": {"type": "string", "description": "a line for its stdin; the newline is added. The character U+0004 alone ends the stdin"}
            },
            "required": ["task_id", "text"],
            "additionalProperties": false
        });
        let description = "Send a line to the stdin of a command that runs in the background.";
        Self { schema: schema("send_background_input", description, input) }
    }
}

impl Tool for SendInput {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _: &Place) -> Result<Assessment, String> {
        let arguments = Arguments::new(arguments, &self.schema.input)?;
        let task = task_id(arguments.text("task_id")?)?;
        let text = arguments.text("text")?;
        Ok(Assessment {
            // A line can make a shell or a debugger do anything.
            effect: Effect::Destructive,
            title: crate::text::title(&format!("send to {task}"), text),
            subject: Subject { parts: vec![text.to_owned()], complete: true },
            timeout_ms: TIMEOUT_MS,
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, _: &'a ToolContext) -> BoxFuture<'a, String> {
        words(arguments.get("text").and_then(Value::as_str).unwrap_or_default())
    }

    fn execute(self: Arc<Self>, arguments: Value, cx: ToolContext) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let arguments =
                Arguments::new(&arguments, &self.schema.input).map_err(ToolError::Arguments)?;
            let task = arguments.text("task_id").and_then(task_id);
            let task = task.map_err(ToolError::Arguments)?;
            let text = arguments.text("text").map_err(ToolError::Arguments)?;
            let sent = cx.reach.tasks.send(&task, text.to_owned());
            sent.map_err(|error| ToolError::failed(error.to_string()))?;
            Ok(ToolOutput::text(format!("sent to {task}")))
        })
    }
}
