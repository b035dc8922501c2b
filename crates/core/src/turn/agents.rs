//! Ending subagents that nobody waits for.

use std::pin::pin;

use futures::future::{Either, select};

use crate::ids::SessionId;
#[cfg(doc)]
use crate::limits::RuntimeLimits;
use crate::runtime::WeakCore;
use crate::session::inbox::{Outbox, Signal};

/// Ends a subagent and tells its parent what it used, or that it could not within [`RuntimeLimits::child_close_ms`].
pub(crate) async fn close(core: WeakCore, child: SessionId, outbox: Outbox) {
    let Some(core) = core.upgrade() else { return };
    let clock = &core.ports().clock;
    let deadline = clock.sleep_until(clock.now().after(core.limits().child_close_ms));
    let ended = match select(pin!(core.end_child(&child)), deadline).await {
        Either::Left((ended, _)) => Some(ended),
        Either::Right(((), _)) => None,
    };
    let signal = match ended {
        Some(Ok(closed)) => Signal::ChildClosed(closed),
        Some(Err(error)) => {
            tracing::warn!(session = %child, %error, "a subagent was not closed");
            Signal::ChildNotClosed { child }
        }
        None => {
            tracing::warn!(session = %child, "a subagent was not closed in time");
            Signal::ChildNotClosed { child }
        }
    };
    outbox.send(signal).await;
}
