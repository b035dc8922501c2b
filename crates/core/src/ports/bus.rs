//! The way to whoever owns a session, and from it to whoever follows it.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::command::{Command, Reply};
use crate::event::{Delta, Entry};
use crate::ids::{Epoch, SessionId};
use crate::queue::Receiver;

/// Carries commands to owners and live events to followers. At most once, ordered for each publisher; never proof of anything: what was
/// missed is read from the journal.
pub trait Bus: Send + Sync + std::fmt::Debug {
    /// Sends a committed entry or a delta to all followers. Never waits for one.
    fn publish(&self, session: &SessionId, live: Live);

    /// Follows a session, whether anybody owns it or not.
    fn subscribe(&self, session: &SessionId) -> Box<dyn LiveFeed>;

    /// Asks the owner. It answers after what it did is committed.
    fn request(
        &self,
        session: &SessionId,
        command: Command,
    ) -> BoxFuture<'_, Result<Reply, BusError>>;

    /// Whether anybody takes the session's commands. A hint: it may have changed when the answer arrives.
    fn has_owner(&self, session: &SessionId) -> bool;

    /// Takes the commands of a session from now on. An older owner's queue ends.
    fn serve(&self, session: &SessionId, epoch: Epoch) -> Requests;
}

/// Something that followers are sent.
#[derive(Debug, Clone)]
pub enum Live {
    /// A committed entry.
    Entry(Arc<Entry>),
    /// A delta.
    Delta(Arc<Delta>),
}

/// A follower's bounded queue.
pub trait LiveFeed: Send {
    /// The next event. Dropping the future loses nothing.
    fn next(&mut self) -> BoxFuture<'_, Followed>;
}

/// What a follower finds in its queue.
#[derive(Debug, Clone)]
pub enum Followed {
    /// An event.
    Live(Live),
    /// The queue overflowed and was emptied: the journal has what was missed.
    Lagged,
}

/// A command and the place for its answer.
#[derive(Debug)]
pub struct Request {
    /// The command, boxed, since a queue keeps a few places.
    pub command: Box<Command>,
    /// Where the answer goes. Dropping it tells the sender [`BusError::Lost`].
    pub reply: oneshot::Sender<Result<Reply, BusError>>,
}

/// An owner's queue of commands.
pub type Requests = Receiver<Request>;

/// Why a command got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Nobody owns the session at this moment; it is certain that nothing happened.
    #[error("nobody owns session {session}")]
    NoOwner {
        /// The session.
        session: SessionId,
    },
    /// The owner went away before it answered; the command may have been done.
    #[error("the owner of session {session} went away before it answered")]
    Lost {
        /// The session.
        session: SessionId,
    },
    /// The owner has as many commands, or inputs without a turn, as it may; nothing happened.
    #[error("session {session} has too many commands or inputs waiting; send it again later")]
    Overloaded {
        /// The session.
        session: SessionId,
    },
}
