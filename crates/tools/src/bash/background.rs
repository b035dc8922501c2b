//! A command in the background: it outlives its call, keeps its output within reach, and takes lines on its stdin.

use futures::future::{Either, select};
use oarlock_core::event::TaskKind;
use oarlock_core::ports::shell::{Input, ShellCommand, Stdin};
use oarlock_core::ports::tool::{Progress, ToolContext, ToolError, ToolOutput};
use oarlock_core::{BlockKind, TaskHandle};
use serde_json::{Map, json};
use std::pin::pin;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::output::{Output, whole_characters_before_cut};
use super::{Call, Stop, refused, report};

/// Bytes of output that the model is told at the end; the whole of a longer one is a blob.
const TOLD_BYTES: usize = 6 * 1024;
/// What ends a command's stdin when it is sent alone: the character that a terminal takes for that.
const END_OF_INPUT: &str = "\u{4}";

/// Starts the command, and says how the model hears of it.
pub(super) async fn start(call: Call, cx: ToolContext) -> Result<ToolOutput, ToolError> {
    let tasks = cx.reach.tasks.clone();
    let label = call.command.clone();
    let started = tasks
        .spawn(&label, TaskKind::Work, move |cancel, handle| {
            let progress = handle.clone();
            let progress = Progress::new(move |text| progress.show(text));
            run(call, handle, ToolContext { cancel, progress, ..cx })
        })
        .await;
    let task = started.map_err(|error| ToolError::failed(error.to_string()))?;
    let text = format!(
        "started as background task {task}; you will be told when it ends. Look at it with inspect_background_task, end it with cancel_background_task"
    );
    let mut detail = Map::new();
    detail.insert("task".to_owned(), json!(task));
    Ok(ToolOutput { detail, ..ToolOutput::text(text) })
}

async fn run(call: Call, handle: TaskHandle, cx: ToolContext) -> Result<ToolOutput, ToolError> {
    let started = cx.clock.now();
    let until = started.after(call.timeout_ms);
    let lines = handle.inputs();
    let command = ShellCommand {
        command: call.command,
        cwd: call.cwd,
        env: Vec::new(),
        stdin: Stdin::Piped,
        caller: Some((cx.session.clone(), cx.call.clone())),
    };
    let mut process = cx.shell.spawn(command).await.map_err(|error| refused(&error))?;
    let input = process.input();
    let mut output = Output::new(TOLD_BYTES);
    let mut kept = Kept { handle, rest: Vec::new() };
    let stop = {
        let follow = super::follow(process.as_mut(), &mut output, until, &cx, |bytes| {
            kept.take(bytes);
        });
        let feed = async {
            feed(input, lines).await;
            std::future::pending::<()>().await;
        };
        match select(pin!(follow), pin!(feed)).await {
            Either::Left((stop, _)) => stop,
            Either::Right(((), _)) => Stop::Ended,
        }
    };
    if stop != Stop::Ended {
        process.kill().await;
    }
    if stop == Stop::Cancelled {
        return Err(ToolError::Cancelled);
    }
    let exit = process.wait().await.map_err(|error| refused(&error))?;
    let timed_out_ms = (stop == Stop::TimedOut).then_some(call.timeout_ms);
    Ok(report(output.finish().await, exit, timed_out_ms, cx.clock.now().ms_since(started)))
}

/// Gives the command what it is sent, line by line, until its stdin is closed or nobody sends any more.
async fn feed(input: Option<Input>, mut lines: mpsc::Receiver<String>) {
    let Some(mut input) = input else { return };
    while let Some(mut line) = lines.recv().await {
        if line == END_OF_INPUT {
            return;
        }
        if !line.ends_with('\n') {
            line.push('\n');
        }
        if input.write_all(line.as_bytes()).await.is_err() || input.flush().await.is_err() {
            return;
        }
    }
}

/// What is kept of the output to be looked at, in whole characters.
struct Kept {
    handle: TaskHandle,
    rest: Vec<u8>,
}

impl Kept {
    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let whole = whole_characters_before_cut(&self.rest).len();
        let text = String::from_utf8_lossy(&self.rest[..whole]).into_owned();
        self.handle.keep(BlockKind::Output, &text);
        self.rest.drain(..whole);
    }
}
