//! How a lane follows its session: as long as the session lives by what it says, and then by what its journal has, so that a session that is lost
//! is noticed once.

use oarlock_core::event::AgentEvent;
use oarlock_core::ids::Seq;
use oarlock_core::{DefaultSession, EventStream, SessionError};

pub(super) struct Following {
    events: EventStream,
    /// The last entry of the session that was given out.
    cursor: Seq,
    by: By,
    /// What has come and was not given out.
    come: Option<Result<AgentEvent, SessionError>>,
}

/// What is listened to.
enum By {
    /// The session, until its task ends with an error.
    Session,
    /// The journal, until it cannot be read.
    Journal,
    Nothing,
}

impl Following {
    /// Follows the session after the entry `after`.
    pub(super) fn of(session: &DefaultSession, after: Seq) -> Self {
        Self { events: session.events(after), cursor: after, by: By::Session, come: None }
    }

    /// Waits until there is a next event. Dropping the future loses nothing.
    pub(super) async fn come(&mut self, session: &DefaultSession) {
        if self.come.is_none() {
            self.come = Some(match self.by {
                By::Session => session.next_event(&mut self.events).await,
                By::Journal => self.events.next().await.map_err(SessionError::from),
                By::Nothing => std::future::pending().await,
            });
        }
    }

    /// The event that has come.
    ///
    /// # Errors
    /// Once when the session is lost, and once when its journal cannot be read. After that nothing comes until [`Following::revive`].
    pub(super) fn take(&mut self) -> Option<Result<AgentEvent, SessionError>> {
        let next = self.come.take()?;
        match &next {
            Ok(AgentEvent::Entry(entry)) => self.cursor = entry.seq,
            Ok(_) => {}
            Err(_) => {
                self.by = match self.by {
                    By::Session => By::Journal,
                    By::Journal | By::Nothing => By::Nothing,
                }
            }
        }
        Some(next)
    }

    /// The session is let go of: what it has written is read, and how it ends does not matter.
    pub(super) fn let_go(&mut self) {
        self.forget_error();
        if matches!(self.by, By::Session) {
            self.by = By::Journal;
        }
    }

    /// The session has been heard of.
    pub(super) fn revive(&mut self) {
        self.forget_error();
        self.by = By::Session;
    }

    /// An end that nobody was told of does not matter any more.
    fn forget_error(&mut self) {
        if matches!(self.come, Some(Err(_))) {
            self.come = None;
        }
    }

    /// Whether entries up to this one are still to come.
    pub(super) fn is_before(&self, tip: Seq) -> bool {
        self.cursor < tip && !self.is_over()
    }

    /// Whether nothing comes any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.by, By::Nothing)
    }
}
