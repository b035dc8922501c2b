//! What a frame does to the name of its session: the part of an append that a store decides over all sessions, so that of two that want a name one has it.

use crate::event::Event;
use crate::ids::{SessionId, Tenant};
use crate::ports::journal::{Frame, JournalError};

/// A name by which a session is addressed within its tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The tenant; absent for sessions of nobody.
    pub tenant: Option<Tenant>,
    /// The name.
    pub name: String,
}

/// What a frame does to the name of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// The session begins with this name.
    Begins(Name),
    /// It is archived: the name is free.
    Ends,
    /// It is restored, and has its name again.
    BeginsAgain,
}

impl Frame {
    /// What this frame does to its session's name. Only the first frame gives one; the others are worth a look where the session has one.
    ///
    /// # Errors
    /// `Corrupt` when a body that speaks of names cannot be read.
    pub fn naming(&self, session: &SessionId) -> Result<Option<Naming>, JournalError> {
        let words: &[&str] = match self.first {
            1 => &["session_named"],
            _ => &["session_archived", "session_restored"],
        };
        // Nearly no frame speaks of names. One that only quotes the words is read, too, and says nothing.
        let speaks =
            |word: &&str| self.body.windows(word.len()).any(|part| part == word.as_bytes());
        if !words.iter().any(speaks) {
            return Ok(None);
        }
        let entries = self.entries(session)?;
        Ok(entries.into_iter().rev().find_map(|entry| match entry.event {
            Event::SessionNamed(named) if self.first == 1 => {
                Some(Naming::Begins(Name { tenant: named.tenant, name: named.comms.name }))
            }
            Event::SessionArchived if self.first > 1 => Some(Naming::Ends),
            Event::SessionRestored if self.first > 1 => Some(Naming::BeginsAgain),
            _ => None,
        }))
    }
}
