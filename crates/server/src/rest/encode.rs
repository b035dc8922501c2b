//! Events as JSON, each made once for all who read the same session at the time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use oarlock_core::event::AgentEvent;
use oarlock_core::ids::SessionId;

/// Events that are kept of a session with several readers; a reader that is further behind makes them itself.
const KEPT_MAX: usize = 32;
/// Bytes of an event beyond which it is not kept.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// The encoders of all sessions that somebody reads.
#[derive(Debug, Default)]
pub(super) struct Encoders {
    sessions: Mutex<HashMap<SessionId, Weak<Encoder>>>,
}

/// Makes the JSON of one session's events.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    kept: Mutex<VecDeque<(AgentEvent, Bytes)>>,
}

/// A reader's hold on its session's encoder.
#[derive(Debug)]
pub(super) struct Reader {
    encoders: Arc<Encoders>,
    session: SessionId,
    encoder: Arc<Encoder>,
}

impl Encoders {
    /// Joins the readers of a session.
    pub(super) fn join(self: &Arc<Self>, session: &SessionId) -> Reader {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sessions.get(session).and_then(Weak::upgrade);
        let encoder = known.unwrap_or_else(|| {
            let encoder = Arc::new(Encoder::default());
            sessions.insert(session.clone(), Arc::downgrade(&encoder));
            encoder
        });
        Reader { encoders: Arc::clone(self), session: session.clone(), encoder }
    }

    /// How many sessions are read.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut sessions = self.encoders.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody joins while the lock is held: the one hold that is left is this one.
        if Arc::strong_count(&self.encoder) == 1 {
            sessions.remove(&self.session);
        }
    }
}

impl Reader {
    /// An event as one line of JSON.
    pub(super) fn json(&self, event: &AgentEvent) -> Bytes {
        let is_alone = Arc::strong_count(&self.encoder) == 1;
        if is_alone || matches!(event, AgentEvent::CaughtUp { .. }) {
            return encoded(event);
        }
        let mut kept = self.encoder.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, json)) = kept.iter().rev().find(|(other, _)| is_same(other, event)) {
            return json.clone();
        }
        // Made under the lock: whoever wants the same waits for it instead of making it again.
        let json = encoded(event);
        if json.len() <= KEPT_BYTES_MAX {
            if kept.len() >= KEPT_MAX {
                kept.pop_front();
            }
            kept.push_back((event.clone(), json.clone()));
        }
        json
    }
}

fn encoded(event: &AgentEvent) -> Bytes {
    serde_json::to_vec(event).expect("an event has strings for keys").into()
}

/// Whether two events have the same JSON, found out without making it. Entries that were read separately count as different.
fn is_same(one: &AgentEvent, other: &AgentEvent) -> bool {
    match (one, other) {
        (AgentEvent::Entry(one), AgentEvent::Entry(other)) => Arc::ptr_eq(one, other),
        (AgentEvent::Delta(one), AgentEvent::Delta(other)) => one == other,
        (
            AgentEvent::Scoped { scope: one, event: first },
            AgentEvent::Scoped { scope: other, event: second },
        ) => one == other && is_same(first, second),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use oarlock_core::event::{Delta, DeltaItem};

    use super::*;

    fn delta(offset: u64) -> AgentEvent {
        let item = DeltaItem::Text { block: 0 };
        let text = "word".to_owned();
        AgentEvent::Delta(Delta { turn: 1, step: 1, attempt: 1, item, offset, text })
    }

    #[test]
    fn readers_of_one_session_share_the_bytes_of_an_event() {
        let encoders = Arc::new(Encoders::default());
        let id = SessionId::parse("one").unwrap();
        let (first, second) = (encoders.join(&id), encoders.join(&id));
        let (one, other) = (first.json(&delta(0)), second.json(&delta(0)));
        assert_eq!(one.as_ptr(), other.as_ptr(), "they are the same bytes");
        assert_ne!(first.json(&delta(4)), one);
        assert_eq!(one, encoded(&delta(0)));
    }

    #[test]
    fn nothing_is_kept_for_a_reader_that_is_alone_or_after_the_last_one_left() {
        let encoders = Arc::new(Encoders::default());
        let id = SessionId::parse("one").unwrap();
        let alone = encoders.join(&id);
        alone.json(&delta(0));
        assert!(alone.encoder.kept.lock().unwrap().is_empty());
        let second = encoders.join(&id);
        for offset in 0..100 {
            second.json(&delta(offset));
        }
        assert_eq!(alone.encoder.kept.lock().unwrap().len(), KEPT_MAX);
        drop((alone, second));
        assert_eq!(encoders.len(), 0);
    }
}
