//! What a session has to do with others of its tenant: its name, and who wrote what they sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{SessionId, Tenant};
use crate::spec::Comms;

/// Body of [`crate::event::Event::SessionNamed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionNamed {
    /// The session's tenant, within which the name is one session's: the store decides by this entry alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// The name, and what goes with it.
    pub comms: Comms,
}

/// Who wrote an input that another session or a program sent to a session, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// The session in whose name it was written; absent when a program wrote it in nobody's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The name of that session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is.
    pub kind: PeerKind,
    /// What a request is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// It is shown to the model with the next turn, and begins none. The session that receives it decides this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
}

/// What a message between sessions is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeerKind {
    /// Words: those that wait are taken together, also by a running turn.
    #[default]
    Message,
    /// Something to be done: each has a turn of its own, unless its intent is a silent one.
    Request,
    /// The answer to a request; it begins no turn.
    Response,
    /// A peer came or went; it begins no turn. Only the service writes one.
    Notice,
}
