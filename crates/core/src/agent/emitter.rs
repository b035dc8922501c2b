//! The feed of one session: what its task tells, and what followers hear.

use std::sync::Arc;

use crate::ids::SessionId;
use crate::ports::bus::{Bus, Live, LiveFeed};

/// The feed of one session over a [`Bus`]. Whoever is slow costs nobody anything: a full queue is emptied and says so, and
/// [`crate::EventStream`] reads the journal then.
#[derive(Debug, Clone)]
pub struct EventEmitter {
    bus: Arc<dyn Bus>,
    session: SessionId,
}

impl EventEmitter {
    /// The feed of this session.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, session: SessionId) -> Self {
        Self { bus, session }
    }

    /// Sends an entry that the store has taken, or a delta, to all followers. Never waits for one.
    pub fn publish(&self, live: Live) {
        self.bus.publish(&self.session, live);
    }

    /// Follows the session from now on. What happened before is in the journal.
    #[must_use]
    pub fn subscribe(&self) -> Box<dyn LiveFeed> {
        self.bus.subscribe(&self.session)
    }
}
