//! `bash`: runs a shell line through the shell port, within a time, in flat memory.

mod background;
mod output;
mod subject;

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::event::Effect;
use oarlock_core::ids::Timestamp;
use oarlock_core::message::Part;
use oarlock_core::ports::shell::{Process, ShellCommand, ShellError, ShellExit, Stdin};
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use serde_json::{Map, Value, json};

use crate::arguments::Arguments;
use crate::config::BashConfig;
use crate::place;
use output::{Collected, Live, Output};

/// What the runtime's own deadline leaves the tool to end the command and report.
const SLACK_MS: u64 = 5_000;

#[derive(Debug)]
pub(crate) struct Bash {
    schema: ToolSchema,
    config: BashConfig,
}

/// A call, read from its arguments.
struct Call {
    command: String,
    cwd: PathBuf,
    timeout_ms: u64,
    in_background: bool,
}

impl Bash {
    pub(crate) fn new(config: &BashConfig) -> Self {
        let (default, max) = (config.default_timeout_ms, config.max_timeout_ms);
        let long = config.background_timeout_ms;
        let description = "Run a command line with `sh -c` and return stdout and stderr together, with the exit status. stdin is empty. \
            Nothing survives the call: background processes are ended with it. Long output is cut in the middle and kept as a blob. \
            With `run_in_background` the call returns at once with the id of a task, and you are told when the command ends: for servers, watchers and \
            long builds, while you go on.";
        let input = json!({
            "type": "object",
            "properties": {
                "command": {"type": "string"},
                "workdir": {"type": "string", "description": "folder to run in; default: the working folder"},
                "timeout_ms": {"type": "integer", "minimum": 1, "maximum": max.max(long), "description": format!("default {default}, at most {max}; in the background {long} for both")},
                "run_in_background": {"type": "boolean", "description": "return at once and tell later; stdin is then fed by send_background_input. default: false"}
            },
            "required": ["command"],
            "additionalProperties": false
        });
        let description = description.to_owned();
        let schema = ToolSchema { name: "bash".to_owned(), description, input, runs: Runs::Here };
        Self { schema, config: config.clone() }
    }

    fn call(&self, arguments: &Value, place: &Place) -> Result<Call, String> {
        let arguments = Arguments::new(arguments, &self.schema.input)?;
        let command = arguments.text("command")?;
        if command.trim().is_empty() {
            return Err("`command` is empty".to_owned());
        }
        if command.contains('\0') {
            return Err("`command` holds a NUL character".to_owned());
        }
        let cwd = place.absolute(arguments.optional_text("workdir")?.unwrap_or_default());
        let in_background = arguments.flag("run_in_background", false)?;
        let (most, default) = match in_background {
            true => (self.config.background_timeout_ms, self.config.background_timeout_ms),
            false => (self.config.max_timeout_ms, self.config.default_timeout_ms),
        };
        let timeout_ms = arguments.number("timeout_ms", (1, most), default)?;
        Ok(Call { command: command.to_owned(), cwd, timeout_ms, in_background })
    }
}

impl Tool for Bash {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, place: &Place) -> Result<Assessment, String> {
        let call = self.call(arguments, place)?;
        Ok(Assessment {
            effect: Effect::Destructive,
            title: crate::text::title(
                if call.in_background { "bash in the background" } else { "bash" },
                &call.command,
            ),
            subject: subject::subject(&call.command),
            timeout_ms: if call.in_background { SLACK_MS } else { call.timeout_ms + SLACK_MS },
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, cx: &'a ToolContext) -> BoxFuture<'a, String> {
        let words = match self.call(arguments, &cx.place) {
            Ok(call) => {
                let folder = (call.cwd != cx.place.cwd)
                    .then(|| format!("in {}", place::shown(&call.cwd, &cx.place)));
                let long = call.in_background.then(|| "in the background".to_owned());
                let head: Vec<String> = long.into_iter().chain(folder).collect();
                match head.is_empty() {
                    true => call.command,
                    false => format!("{}:\n{}", head.join(" "), call.command),
                }
            }
            Err(error) => error,
        };
        Box::pin(std::future::ready(words))
    }

    fn execute(
        self: Arc<Self>,
        arguments: Value,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        Box::pin(async move {
            let call = self.call(&arguments, &cx.place).map_err(ToolError::Arguments)?;
            if call.in_background {
                return background::start(call, cx).await;
            }
            let started = cx.clock.now();
            let command = ShellCommand {
                command: call.command,
                cwd: call.cwd,
                env: Vec::new(),
                stdin: Stdin::Null,
                caller: Some((cx.session.clone(), cx.call.clone())),
            };
            let mut process = cx.shell.spawn(command).await.map_err(|error| refused(&error))?;
            let until = started.after(call.timeout_ms);
            let mut output = Output::new(self.config.output_max_bytes);
            let stop = follow(process.as_mut(), &mut output, until, &cx, |_| {}).await;
            if stop != Stop::Ended {
                process.kill().await;
            }
            if stop == Stop::Cancelled {
                return Err(ToolError::Cancelled);
            }
            if stop == Stop::TimedOut {
                // What is left in the pipe of an ended command has a size, so this comes to an end.
                while let Some(bytes) = process.output().await {
                    store(&mut output, &bytes, started.after(call.timeout_ms + SLACK_MS / 2), &cx)
                        .await;
                }
            }
            let exit = process.wait().await.map_err(|error| refused(&error))?;
            let timed_out_ms = (stop == Stop::TimedOut).then_some(call.timeout_ms);
            let duration_ms = cx.clock.now().ms_since(started);
            Ok(report(output.finish().await, exit, timed_out_ms, duration_ms))
        })
    }
}

fn refused(error: &ShellError) -> ToolError {
    ToolError::failed(error.to_string())
}

/// Why following a command came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Ended,
    TimedOut,
    Cancelled,
}

async fn follow(
    process: &mut dyn Process,
    output: &mut Output,
    until: Timestamp,
    cx: &ToolContext,
    mut look: impl FnMut(&[u8]),
) -> Stop {
    let mut deadline = cx.clock.sleep_until(until);
    let mut live = Live::new(cx.progress.clone(), cx.clock.now());
    loop {
        let due = live.due();
        let show = async {
            match due {
                Some(moment) => cx.clock.sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        let bytes = tokio::select! {
            biased;
            () = cx.cancel.cancelled() => return Stop::Cancelled,
            () = &mut deadline => return Stop::TimedOut,
            () = show => {
                live.show(cx.clock.now());
                continue;
            }
            bytes = process.output() => bytes,
        };
        let Some(bytes) = bytes else {
            return Stop::Ended;
        };
        look(&bytes);
        live.take(&bytes);
        live.show(cx.clock.now());
        store(output, &bytes, until, cx).await;
    }
}

/// Keeps the bytes; a store that is still busy with them at `until` is given up.
async fn store(output: &mut Output, bytes: &[u8], until: Timestamp, cx: &ToolContext) {
    let kept = tokio::select! {
        biased;
        () = output.push(bytes, cx.blobs.as_ref()) => true,
        () = cx.clock.sleep_until(until) => false,
        () = cx.cancel.cancelled() => false,
    };
    if !kept {
        output.give_up_spool();
    }
}

fn report(
    output: Collected,
    exit: ShellExit,
    timed_out_ms: Option<u64>,
    duration_ms: u64,
) -> ToolOutput {
    let mut notes = Vec::new();
    if let Some(timeout_ms) = timed_out_ms {
        notes.push(format!(
            "[timed out after {timeout_ms} ms: the command and all it started were ended]"
        ));
    } else {
        match exit {
            ShellExit::Code(0) => {}
            ShellExit::Code(code) => notes.push(format!("[exit status {code}]")),
            ShellExit::Signal(signal) => notes.push(format!("[ended by signal {signal}]")),
        }
    }
    let mut text = output.text;
    if text.is_empty() && notes.is_empty() {
        notes.push("[no output]".to_owned());
    }
    for note in notes {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&note);
    }
    let (exit_code, signal) = match exit {
        ShellExit::Code(code) => (Some(code), None),
        ShellExit::Signal(signal) => (None, Some(signal)),
    };
    let mut detail = Map::new();
    detail.insert("exit_code".to_owned(), json!(exit_code));
    detail.insert("signal".to_owned(), json!(signal));
    detail.insert("timed_out".to_owned(), json!(timed_out_ms.is_some()));
    detail.insert("bytes".to_owned(), json!(output.total));
    detail.insert("truncated_bytes".to_owned(), json!(output.left_out));
    detail.insert("duration_ms".to_owned(), json!(duration_ms));
    ToolOutput {
        content: vec![Part::text(text)],
        blobs: output.blob.into_iter().collect(),
        detail,
        ..ToolOutput::default()
    }
}
