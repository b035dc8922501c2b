//! What becomes of messages that other sessions or programs write to a session. Pure.

use crate::command::Rejection;
use crate::event::{Peer, PeerKind, SessionNamed};
use crate::ids::Seq;
use crate::session::state::{PendingInput, State};
use crate::spec::{COMMS_NAME_MAX, is_comms_name};

/// A message as the session takes it, which alone says what is silent.
pub(crate) fn received(state: &State, peer: Peer) -> Result<Peer, Rejection> {
    let invalid = |what: &str| Rejection::Invalid { what: what.to_owned() };
    if peer.intent.is_some() && peer.kind != PeerKind::Request {
        return Err(invalid("a message has an `intent` when it is a `request`; leave it out"));
    }
    if ![&peer.intent, &peer.name].into_iter().flatten().all(|word| is_comms_name(word)) {
        return Err(Rejection::Invalid {
            what: format!(
                "a name or intent has 1 to {COMMS_NAME_MAX} letters, digits, `_`, `-` and `.`"
            ),
        });
    }
    let own = state.comms.as_ref().map_or(&[][..], |comms| &comms.silent_intents);
    let silent = match peer.kind {
        PeerKind::Message => false,
        PeerKind::Request => peer.intent.as_ref().is_some_and(|intent| own.contains(intent)),
        PeerKind::Response | PeerKind::Notice => true,
    };
    Ok(Peer { silent, ..peer })
}

/// The waiting notice of this peer, if this is a notice, too: it came and went, or went and came, and the model need not know.
pub(crate) fn opposite(state: &State, notice: &Peer) -> Option<Seq> {
    let is_opposite = |waiting: &Peer| {
        waiting.kind == PeerKind::Notice
            && notice.kind == PeerKind::Notice
            && waiting.session == notice.session
    };
    let mut waiting = state.pending.iter();
    let found = waiting.find(|pending| pending.admitted.peer.as_deref().is_some_and(is_opposite));
    found.map(|pending| pending.seq)
}

/// What the model is told of who wrote a message, before its words.
pub(crate) fn heading(peer: &Peer) -> String {
    let kind = match peer.kind {
        PeerKind::Message => "message",
        PeerKind::Request => "request",
        PeerKind::Response => "response",
        PeerKind::Notice => "notice",
    };
    let from = match (&peer.name, &peer.session) {
        (Some(name), _) => format!(" from session {name}"),
        (None, Some(session)) => format!(" from session {session}"),
        (None, None) => String::new(),
    };
    let intent = peer.intent.as_ref().map_or(String::new(), |intent| format!(", intent {intent}"));
    format!("[{kind}{from}{intent}]")
}

impl State {
    pub(in crate::session) fn be_named(
        &mut self,
        named: &SessionNamed,
    ) -> Result<(), &'static str> {
        if self.tip > 1 {
            return Err("a session is named when it is made");
        }
        self.comms = Some(Box::new(named.comms.clone()));
        Ok(())
    }

    /// Of these pending inputs those that are not silent: they alone begin a turn, or keep one going.
    #[must_use]
    pub fn loud(&self, inputs: &[Seq]) -> Vec<Seq> {
        let named = self.pending.iter().filter(|pending| inputs.contains(&pending.seq));
        named.filter(|pending| !pending.is_silent()).map(|pending| pending.seq).collect()
    }
}

impl PendingInput {
    /// Whether it begins no turn, and waits for one.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.admitted.peer.as_ref().is_some_and(|peer| peer.silent)
    }
}
