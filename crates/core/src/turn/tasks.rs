//! Running background tasks: one task each, told to stop and then dropped, its output bounded, its panic its own failure.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::{Either, select};

use crate::agent::background::{TaskHandle, TaskStart};
use crate::ids::TaskId;
use crate::limits::RuntimeLimits;
use crate::ports::clock::{Cancel, Clock};
use crate::ports::journal::Blobs;
use crate::ports::tool::{ToolError, ToolOutput};
use crate::session::inbox::{Outbox, Signal};
use crate::turn::tools::{CallEnd, end_of, panic_words};

/// What a task needs to end well.
type With = (Arc<dyn Clock>, Arc<dyn Blobs>, Arc<RuntimeLimits>);

/// Runs a task to its end and tells the session.
pub(crate) async fn run(
    start: TaskStart,
    (cancel, handle): (Cancel, TaskHandle),
    (clock, blobs, limits): With,
    outbox: Outbox,
) {
    let task = handle.id().clone();
    let (told, stop, is_late) = (cancel.cancelled(), cancel.clone(), AtomicBool::new(false));
    let work = AssertUnwindSafe(async { start(cancel, handle).await }).catch_unwind();
    let grace = async {
        let late = clock.sleep_until(clock.now().after(limits.task_total_ms));
        if let Either::Right(_) = select(pin!(told), late).await {
            is_late.store(true, Ordering::Relaxed);
            stop.cancel();
        }
        clock.sleep_until(clock.now().after(limits.cancel_grace_ms)).await;
    };
    let result = match select(pin!(work), pin!(grace)).await {
        Either::Left((result, _)) => result.unwrap_or_else(|panic| {
            let words = panic_words(panic.as_ref());
            Err(ToolError::failed(format!("the background task crashed: {words}")))
        }),
        Either::Right(((), _)) => Err(ToolError::Cancelled),
    };
    let result = match (result, is_late.into_inner()) {
        (Err(ToolError::Cancelled), true) => {
            let hours = limits.task_total_ms / 3_600_000;
            Err(ToolError::failed(format!("it did not end within {hours} h and was stopped")))
        }
        (result, _) => result,
    };
    let end = end_of(result, blobs.as_ref(), limits.task_inline_bytes).await;
    outbox.send(Signal::TaskEnded { task, end }).await;
}

/// Tells the session that there is no work for a task: whoever `started` it gave it up, or it was that of an earlier process.
pub(crate) async fn gone(task: TaskId, started: bool, outbox: Outbox) {
    let end = match started {
        true => CallEnd::canceled("it was given up before it began"),
        false => CallEnd::lost(),
    };
    outbox.send(Signal::TaskEnded { task, end }).await;
}

impl CallEnd {
    fn canceled(words: &str) -> Self {
        Self::of(crate::event::Outcome::Cancelled, ToolOutput::text(words))
    }

    /// The end of a task whose process died.
    pub(crate) fn lost() -> Self {
        let words = "the process that ran it ended, and it cannot be taken up again";
        Self::of(crate::event::Outcome::Indeterminate, ToolOutput::text(words))
    }
}
