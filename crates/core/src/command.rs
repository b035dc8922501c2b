//! What a session can be told, and what it answers. Every surface speaks these and nothing else.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{
    Delivery, Delta, Goal, InputSource, Outcome, Peer, PermissionAsked, PermissionKind, PlanItem,
};
use crate::ids::{CallId, Seq, SessionId, TaskId, TurnNo};
use crate::message::{Message, Part, Usage};
use crate::session::goal::GoalState;
use crate::session::tasks::Tasks;
use crate::session::why::Wait;
use crate::spec::{ModeCatalog, Settings, SettingsChange, StructuredOutput};

/// Why [`Command::Compact`] is refused as invalid when there is nothing that a summary could replace.
pub const NOTHING_TO_COMPACT: &str = "there is nothing to compact";

/// The place after the last message, in [`Command::Edit`].
pub const END: u32 = u32::MAX;

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
    /// End the running turn as `cancelled`; without one, the summary that somebody asked for. Refused as [`Rejection::NotRunning`] when there is
    /// neither.
    Cancel {
        /// The turn that is meant. Another one goes on, and the cancellation is refused: whoever was told late of a turn's end never hits the
        /// next one. Without it, whatever the session does is ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<TurnNo>,
    },
    /// Answer a permission question.
    Answer {
        /// The call in question.
        call: CallId,
        /// The choice; it must be one that was offered.
        choice: PermissionKind,
    },
    /// Answer a permission question by cancelling its turn. Refused when the question is not open, so that it never hits a later turn.
    Dismiss {
        /// The call in question.
        call: CallId,
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
    /// Give the session a goal, or take it away. A running turn that would end goes by it at once, and inputs that wait lose the goals that they
    /// would bring. Refused when archived.
    SetGoal {
        /// The goal from now on, counted from its beginning; without one the session has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        goal: Option<Goal>,
    },
    /// Change settings; the next turn uses them.
    Configure {
        /// What changes.
        change: Box<SettingsChange>,
        /// Only if its settings were changed so often before; otherwise refused as [`Rejection::Stale`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<u64>,
    },
    /// Replace the beginning of what the model sees by a summary. Refused while a turn runs and when archived; its end is an entry.
    Compact {
        /// What the summary should pay attention to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instructions: Option<String>,
    },
    /// Change what the model sees: the messages from `from` to before `to` are replaced. Refused while a turn runs and when archived.
    Edit {
        /// Index of the first message that goes, or [`END`].
        from: u32,
        /// Index of the first message that stays, or [`END`].
        to: u32,
        /// What stands in their place; the conversation must keep the rules of [`Message`].
        messages: Vec<Message>,
    },
    /// Refuse turns from now on, and cancel the running one. Once more is the same.
    Archive,
    /// Take turns again.
    Restore,
    /// Tell a running background task to stop, or all of them. Their end is an entry.
    CancelTask {
        /// The task; without one all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<TaskId>,
    },
    /// Give a running background task words that it waits for, such as a line for a command. They are not journaled.
    SendToTask {
        /// The task.
        task: TaskId,
        /// What it is given.
        text: String,
    },
    /// Tell where the session stands and what is being written this moment.
    Attach,
    /// Tell how the session is doing.
    Look,
    /// Cancel the running turn if there is one, let go of the session and end its task.
    Close,
}

/// An input to be admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Admit {
    /// A second input with the same key gets the first one's answer and changes nothing, as long as the session remembers the key: the last
    /// 4,096 of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Who sends it.
    pub source: InputSource,
    /// When it is to be taken.
    pub delivery: Delivery,
    /// What it says; not empty.
    pub content: Vec<Part>,
    /// A goal that the session has once a turn takes this input, and not before: the model is told of it with the input. An input that is
    /// withdrawn or refused sets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// The form of the answer of the turn that this input begins, in the place of the session's; refused with [`Delivery::Steer`], since the
    /// turn that such an input finds has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<StructuredOutput>>,
    /// Who wrote it, when it is a message of another session or a program. Whether it is silent is for the session to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Box<Peer>>,
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
    /// How the session is doing.
    Status(Box<Status>),
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
    /// Its subagents that are open; absent when nobody owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<SessionId>>,
}

/// How a session is doing: what there is to know without reading its journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The last entry.
    pub tip: Seq,
    /// Its settings as they stand; a running turn uses those it began with.
    pub settings: Arc<Settings>,
    /// Whether it refuses turns.
    pub archived: bool,
    /// The running turn.
    pub turn: Option<TurnNo>,
    /// Turns that ended.
    pub turns: TurnNo,
    /// Inputs that no turn has taken, in order.
    pub waiting: Vec<Waiting>,
    /// Questions that are open.
    pub questions: Vec<PermissionAsked>,
    /// What it is to reach, and how far it is.
    #[serde(default)]
    pub goal: Option<GoalState>,
    /// The plan as the model wrote it last.
    #[serde(default)]
    pub plan: Vec<PlanItem>,
    /// What it waits for; from its owner with the true deadlines, from its journal with what becomes of it.
    #[serde(default)]
    pub waits: Vec<Wait>,
    /// Tokens of all its turns.
    pub usage: Usage,
    /// Money of all its turns in millionths of a US dollar; absent when a price was unknown.
    pub cost_micros: Option<u64>,
    /// How full the model's window is.
    pub context: ContextStatus,
    /// The modes it can be in.
    #[serde(default)]
    pub modes: ModeCatalog,
    /// What runs in the background, and what ended there last.
    #[serde(default)]
    pub tasks: Tasks,
}

/// An input that waits for a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// Names it, for [`Command::Withdraw`].
    pub input: Seq,
    /// When it is to be taken.
    pub delivery: Delivery,
    /// Its first line, cut to 80 characters.
    pub words: String,
}

/// How full the model's window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ContextStatus {
    /// Tokens of the next request: what the provider counted last, and an estimate of what came since.
    pub used_tokens: u64,
    /// Tokens that request and answer may have together, where known.
    pub context_window: Option<u64>,
}

impl ContextStatus {
    /// The share of the window that is used, from 0 to 1 and beyond; absent where the window is not known.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people needs no more than 52 bits")]
    pub fn ratio(&self) -> Option<f64> {
        let window = self.context_window.filter(|window| *window > 0)?;
        Some(self.used_tokens as f64 / window as f64)
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Rejection {
    /// A turn is running and the input asked for `now`.
    #[error("a turn is running; send the input as `queue` or `steer`, or cancel the turn first")]
    Busy,
    /// There is no turn to cancel, or not the one that was meant.
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
    /// There is more in the command than is taken.
    #[error("{what}")]
    TooLarge {
        /// What is too long, in words.
        what: String,
    },
    /// The command makes no sense.
    #[error("{what}")]
    Invalid {
        /// What is wrong with it, in words.
        what: String,
    },
}
