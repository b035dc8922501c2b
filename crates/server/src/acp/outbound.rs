//! What goes to a client: in order, and no more of it under way than the client reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use agent_client_protocol::Client;
use agent_client_protocol::v1::ConnectionTo;
use agent_client_protocol::v1::schema::{
    ClientCapabilities, SessionId, SessionNotification, SessionUpdate,
};
use tokio::sync::Notify;

/// Updates that are handed over and not yet written; whoever has more waits.
const UNDER_WAY_MAX: u64 = 64;

/// Counts the updates that are handed over and not yet written. The SDK takes any number of messages at once; this is what keeps a client that
/// does not read from filling the memory.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    handed_over: AtomicU64,
    written: AtomicU64,
    closed: AtomicBool,
    moved: Notify,
}

impl Gauge {
    fn under_way(&self) -> u64 {
        let written = self.written.load(Ordering::Acquire);
        self.handed_over.load(Ordering::Acquire).saturating_sub(written)
    }

    /// Takes note of an update that was written.
    pub(super) fn wrote(&self) {
        self.written.fetch_add(1, Ordering::AcqRel);
        self.told();
    }

    /// Takes note that one who was given room has said all that it had: where room is left, the next one is woken. Nobody else is, since thousands of
    /// sessions may wait.
    pub(super) fn told(&self) {
        if self.under_way() < UNDER_WAY_MAX {
            self.moved.notify_one();
        }
    }

    /// Takes note that nothing more is written: nobody waits any longer.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.moved.notify_waiters();
    }

    /// Whether nothing more is written.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits until there is room for another update; whoever has said it calls [`Gauge::told`]. Dropping the future loses nothing.
    pub(super) async fn room(&self) {
        loop {
            let moved = self.moved.notified();
            if self.under_way() < UNDER_WAY_MAX || self.is_closed() {
                return;
            }
            moved.await;
        }
    }
}

/// The way to a client, one for all of its sessions.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) connection: ConnectionTo<Client>,
    pub(super) gauge: Arc<Gauge>,
    /// What it can do.
    pub(super) client: ClientCapabilities,
}

impl Outbound {
    /// Sends an update of a session. One that cannot be sent any more is dropped: the connection has ended.
    pub(super) fn update(&self, session: &SessionId, update: SessionUpdate) {
        self.gauge.handed_over.fetch_add(1, Ordering::AcqRel);
        let told = SessionNotification::new(session.clone(), update);
        if let Err(error) = self.connection.send_notification(told) {
            tracing::debug!(%session, %error, "the client has gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_more_to_say_waits_until_some_of_it_is_written() {
        let gauge = Gauge::default();
        gauge.handed_over.store(UNDER_WAY_MAX, Ordering::Release);
        let mut room = std::pin::pin!(gauge.room());
        assert!(futures::poll!(room.as_mut()).is_pending());
        gauge.wrote();
        assert!(futures::poll!(room.as_mut()).is_ready());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_client_that_has_gone() {
        let gauge = Gauge::default();
        gauge.handed_over.store(UNDER_WAY_MAX, Ordering::Release);
        gauge.close();
        assert!(futures::poll!(std::pin::pin!(gauge.room())).is_ready());
    }
}
