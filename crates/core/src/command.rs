//! What a session can be told, and what it answers. Every surface speaks these and nothing else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Delivery, Delta, InputSource, Outcome, PermissionKind};
use crate::ids::{CallId, Seq};
use crate::message::Part;
use crate::spec::SettingsChange;

/// Something a live session is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Accept an input.
    Admit(Admit),
    /// Take back an input that no turn has taken.
    Withdraw {
        /// The `seq` of its `input_admitted`.
        input: Seq,
    },
    /// End the running turn as `cancelled`.
    Cancel,
    /// Answer a permission question.
    Answer {
        /// The call in question.
        call: CallId,
        /// The choice; it must be one that was offered.
        choice: PermissionKind,
    },
    /// Answer a call that the client was asked to answer.
    Supply {
        /// The call.
        call: CallId,
        /// How it went: `completed`, `failed` or `cancelled`.
        outcome: Outcome,
        /// What the model is given.
        content: Vec<Part>,
    },
    /// Change settings; the next turn uses them.
    Configure {
        /// What changes.
        change: Box<SettingsChange>,
    },
    /// Refuse turns from now on.
    Archive,
    /// Take turns again.
    Restore,
    /// Tell where the session stands and what is being written this moment.
    Attach,
    /// Cancel the running turn if there is one, let go of the session and end its task.
    Close,
}

/// An input to be admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Admit {
    /// A second input with the same key gets the first one's answer and changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Who sends it.
    pub source: InputSource,
    /// When it is to be taken.
    pub delivery: Delivery,
    /// What it says; not empty.
    pub content: Vec<Part>,
}

/// The answer to a [`Command`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The input was admitted as the entry of this `seq`.
    Admitted(Seq),
    /// It was done.
    Done,
    /// Where the session stands.
    Attached(Attached),
    /// It was refused; nothing changed.
    Rejected(Rejection),
}

/// Where a live session stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The last committed entry.
    pub tip: Seq,
    /// What is being written, each item from its beginning (tool output: its last part), in order of appearance.
    pub growing: Vec<Delta>,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Rejection {
    /// A turn is running and the input asked for `now`.
    #[error("a turn is running; send the input as `queue` or `steer`, or cancel the turn first")]
    Busy,
    /// There is no turn to cancel.
    #[error("no turn is running")]
    NotRunning,
    /// The session is archived.
    #[error("the session is archived; restore it first")]
    Archived,
    /// The named thing is not there to be acted on (any more).
    #[error("{what}")]
    Stale {
        /// What was not there, in words.
        what: String,
    },
    /// The command makes no sense.
    #[error("{what}")]
    Invalid {
        /// What is wrong with it, in words.
        what: String,
    },
}
