//! Running the hooks of a place: one task, whose panic is no more than their failure.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;

use crate::ports::hook::{HookCall, HookEnd, HookEngine};
use crate::session::hooks::HookPlace;
use crate::session::inbox::{Outbox, Signal};

/// Runs hooks to their end and tells the session. When the engine itself panics there is no end, and what holds is what the point says of failures.
pub(crate) async fn run(
    engine: Arc<dyn HookEngine>,
    (place, call): (HookPlace, HookCall),
    (run, outbox): (u64, Outbox),
) {
    let point = place.point.name();
    let work = AssertUnwindSafe(async { engine.run(call).await }).catch_unwind();
    let end: Option<HookEnd> = work.await.ok();
    if end.is_none() {
        tracing::error!(point, "the hook engine panicked");
    }
    outbox.send(Signal::Hooked { place, run, end: end.map(Box::new) }).await;
}
