//! Ending subagents that nobody waits for.

use crate::ids::SessionId;
use crate::runtime::WeakCore;
use crate::session::inbox::{Outbox, Signal};

/// Ends a subagent and tells its parent what it used, or that it could not.
pub(crate) async fn close(core: WeakCore, child: SessionId, outbox: Outbox) {
    let Some(core) = core.upgrade() else { return };
    let signal = match core.end_child(&child).await {
        Ok(closed) => Signal::ChildClosed(closed),
        Err(error) => {
            tracing::warn!(session = %child, %error, "a subagent was not closed");
            Signal::ChildNotClosed { child }
        }
    };
    outbox.send(signal).await;
}
