//! Which session has which name.

use super::Data;
use crate::ids::SessionId;
use crate::ports::journal::{Frame, JournalError, Naming};

impl Data {
    /// What a frame does to its session's name, where that can be had.
    pub(super) fn naming(
        &self,
        session: &SessionId,
        frame: &Frame,
    ) -> Result<Option<Naming>, JournalError> {
        let own = self.sessions.get(session).and_then(|stored| stored.name.as_ref());
        if frame.first > 1 && own.is_none() {
            return Ok(None);
        }
        let naming = frame.naming(session)?;
        let wanted = match &naming {
            Some(Naming::Begins(name)) => Some(name),
            Some(Naming::BeginsAgain) => own,
            Some(Naming::Ends) | None => None,
        };
        let taken = wanted.filter(|name| self.names.get(name).is_some_and(|by| by != session));
        match taken {
            None => Ok(naming),
            Some(name) => {
                let (session, name) = (session.clone(), name.name.clone());
                Err(JournalError::NameTaken { session, name })
            }
        }
    }

    /// Does it.
    pub(super) fn set_name(&mut self, session: &SessionId, naming: Option<Naming>) {
        let Some(stored) = self.sessions.get_mut(session) else { return };
        match naming {
            None => {}
            Some(Naming::Begins(name)) => {
                self.names.insert(name.clone(), session.clone());
                stored.name = Some(name);
            }
            Some(Naming::BeginsAgain) => {
                self.names.extend(stored.name.clone().map(|name| (name, session.clone())));
            }
            Some(Naming::Ends) => self.free_name(session),
        }
    }

    /// Makes the name of a session free, where it has it.
    pub(super) fn free_name(&mut self, session: &SessionId) {
        self.names.retain(|_, by| by != session);
    }
}
