//! Who follows which session in this process: what one client's leaving means depends on the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oarlock_core::ids::SessionId;

/// The clients of a program, by the sessions that they follow. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Audience {
    sessions: Arc<Mutex<HashMap<SessionId, Followers>>>,
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
    /// Whether words can be put to a person by any of those who follow the session.
    pub(crate) fn someone_asks(&self) -> bool {
        self.audience.lock().get(&self.session).is_some_and(|followers| followers.asking > 0)
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

    #[test]
    fn each_knows_whether_the_others_can_ask_until_they_leave() {
        let audience = Audience::default();
        let first = audience.join(&id("one"), false);
        assert!(!first.someone_asks());
        let second = audience.clone().join(&id("one"), true);
        assert!(first.someone_asks());
        assert!(!audience.join(&id("two"), false).someone_asks(), "it is another session");
        drop(second);
        assert!(!first.someone_asks());
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
