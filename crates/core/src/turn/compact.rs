//! Asking a model for a summary: one answer, of which nobody sees the beginning before its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{FutureExt, StreamExt};

use crate::ports::model::{Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest};
use crate::session::inbox::{Outbox, Signal};

/// Runs the call to its end and tells the session. The session watches the time; an answer of more than `answer_bytes` is a failure.
pub(crate) async fn summarise(
    model: Arc<dyn Model>,
    request: ModelRequest,
    answer_bytes: usize,
    (run, outbox): (u64, Outbox),
) {
    let failed = |kind, why: &str| {
        let message = format!("{}: {why}", model.info().selection);
        Err(ModelError { kind, message, retry_after_ms: None })
    };
    let heard = AtomicUsize::new(0);
    let answer = async {
        let mut stream = model.call(request);
        while let Some(event) = stream.next().await {
            match event {
                Ok(ModelEvent::Alive | ModelEvent::Waits { .. }) => {}
                Ok(ModelEvent::Delta { text, .. }) => {
                    let before = heard.fetch_add(text.len(), Ordering::Relaxed);
                    if before + text.len() > answer_bytes {
                        let why = format!("the summary is longer than {answer_bytes} bytes");
                        return failed(ModelErrorKind::Transport, &why);
                    }
                }
                Ok(ModelEvent::Reply(reply)) => return Ok(reply),
                Err(error) => return Err(error),
            }
        }
        failed(ModelErrorKind::Truncated, "the answer ended without its last event")
    };
    let reply = AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
        failed(ModelErrorKind::InvalidRequest, "the adapter crashed; this is a defect of Oarlock")
    });
    let answer_bytes = heard.load(Ordering::Relaxed);
    outbox.send(Signal::Summarised { run, reply, answer_bytes }).await;
}
