//! Who follows which session in this process: what one client's leaving means depends on the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oarlock_core::ids::SessionId;
use tokio::sync::Notify;

/// The clients of a program, by the sessions that they follow. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Audience {
    sessions: Arc<Mutex<HashMap<SessionId, Followers>>>,
    /// Somebody has left.
    left: Arc<Notify>,
}

/// How many follow a session.
#[derive(Debug, Clone, Copy, Default)]
struct Followers {
    all: usize,
    /// Those that can put words to a person and bring the answer.
    asking: usize,
}

/// One client's place in a session's audience, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    audience: Audience,
    session: SessionId,
    asks: bool,
    /// Until it is given up.
    is_held: bool,
}

impl Audience {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Followers>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a client, which can put words to a person or not.
    pub(crate) fn join(&self, session: &SessionId, asks: bool) -> Seat {
        let mut sessions = self.lock();
        let followers = sessions.entry(session.clone()).or_default();
        followers.all += 1;
        followers.asking += usize::from(asks);
        Seat { audience: self.clone(), session: session.clone(), asks, is_held: true }
    }
}

impl Seat {
    /// Waits until none of those who follow the session can put words to a person. Dropping the future loses nothing.
    pub(crate) fn nobody_asks(&self) -> impl Future<Output = ()> + Send + use<> {
        let (audience, session) = (self.audience.clone(), self.session.clone());
        async move {
            loop {
                let mut left = std::pin::pin!(audience.left.notified());
                left.as_mut().enable();
                if audience.lock().get(&session).is_none_or(|followers| followers.asking == 0) {
                    return;
                }
                left.await;
            }
        }
    }

    /// Gives the place up, and tells whether it was the last one: of several who leave at a time exactly one is. Once it is given up, it was none.
    pub(crate) fn leave(&mut self) -> bool {
        self.free()
    }

    fn free(&mut self) -> bool {
        if !std::mem::replace(&mut self.is_held, false) {
            return false;
        }
        let mut sessions = self.audience.lock();
        let Some(followers) = sessions.get_mut(&self.session) else { return true };
        followers.all -= 1;
        followers.asking -= usize::from(self.asks);
        let is_last = followers.all == 0;
        if is_last {
            sessions.remove(&self.session);
        }
        drop(sessions);
        self.audience.left.notify_waiters();
        is_last
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> SessionId {
        SessionId::parse(name).unwrap()
    }

    #[tokio::test]
    async fn whoever_cannot_ask_waits_for_those_who_can() {
        let audience = Audience::default();
        let first = audience.join(&id("one"), false);
        first.nobody_asks().await;
        let second = audience.clone().join(&id("one"), true);
        let mut nobody = std::pin::pin!(first.nobody_asks());
        assert!(futures::poll!(nobody.as_mut()).is_pending());
        drop(audience.join(&id("two"), true));
        assert!(futures::poll!(nobody.as_mut()).is_pending(), "it was another session");
        drop(second);
        nobody.await;
    }

    #[test]
    fn the_last_one_who_leaves_knows_it_and_nothing_is_kept() {
        let audience = Audience::default();
        let (mut first, mut second) =
            (audience.join(&id("one"), true), audience.join(&id("one"), false));
        assert!(!first.leave());
        assert!(second.leave());
        assert!(audience.lock().is_empty());
    }
}
