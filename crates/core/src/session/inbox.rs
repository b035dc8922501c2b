//! Everything that reaches a session's task, in the order in which it is taken. Recorded, this order is all that a replay needs.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::command::{Command, Reply};
use crate::event::{SubagentClosed, TaskKind};
use crate::ids::{CallId, SessionId, TaskId, Timestamp};
use crate::ports::bus::{BusError, Requests};
use crate::ports::clock::Clock;
use crate::ports::hook::HookEnd;
use crate::ports::model::{self, ModelError, ModelEvent};
use crate::queue::{Receiver, Sender, queue};
use crate::session::children::{ChildWanted, Lease};
use crate::session::hooks::HookPlace;
use crate::turn::tools::CallEnd;

/// Signals of effects that wait to be taken; the effects wait when it is full.
const SIGNALS_MAX: usize = 256;

/// Something that a session's task takes in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Signal {
    /// A command came.
    Command(Command),
    /// A model call gave something.
    Model {
        /// Which call of this process.
        run: u64,
        /// What.
        event: Result<ModelEvent, ModelError>,
    },
    /// A summary was made, or was not.
    Summarised {
        /// Which model call of this process.
        run: u64,
        /// What the model gave.
        reply: Result<model::Reply, ModelError>,
        /// What had arrived when it broke, in bytes.
        #[serde(default)]
        answer_bytes: usize,
    },
    /// A call said something.
    ToolOutput {
        /// Which.
        call: CallId,
        /// Where `text` begins in its output, in bytes.
        offset: u64,
        /// What.
        text: String,
    },
    /// A call ended.
    ToolDone {
        /// Which.
        call: CallId,
        /// How.
        end: CallEnd,
    },
    /// It is known what to show about a call.
    Described {
        /// Which.
        call: CallId,
        /// What.
        detail: String,
    },
    /// Something is to run in the background.
    SpawnTask {
        /// Names the work in this process.
        ticket: u64,
        /// A few words about it.
        label: String,
        /// What it is.
        kind: TaskKind,
        /// The call that wants it.
        call: Option<CallId>,
    },
    /// A background task printed something.
    TaskOutput {
        /// Which.
        task: TaskId,
        /// Where `text` begins in its output, in bytes.
        offset: u64,
        /// What.
        text: String,
    },
    /// A background task ended.
    TaskEnded {
        /// Which.
        task: TaskId,
        /// How.
        end: CallEnd,
    },
    /// A call wants a subagent.
    ChildWanted(ChildWanted),
    /// A subagent was ended, and this is what it used.
    ChildClosed(SubagentClosed),
    /// A subagent could not be ended.
    ChildNotClosed {
        /// Which.
        child: SessionId,
    },
    /// Hooks ended.
    Hooked {
        /// Where.
        place: HookPlace,
        /// Which run of this process.
        run: u64,
        /// How; absent when their engine crashed.
        end: Option<Box<HookEnd>>,
    },
    /// The moment has come that was waited for.
    Tick,
}

/// A signal, when it was taken, and who waits for an answer.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) at: Timestamp,
    pub(crate) what: Posted,
}

impl Arrived {
    /// A signal that nobody waits on.
    pub(crate) fn new(at: Timestamp, signal: Signal) -> Self {
        Self { at, what: Box::new((signal, Asker::Nobody)) }
    }
}

/// What a subagent is made from, or words for the model about why there is none.
pub(crate) type Leased = Result<Lease, String>;

/// Who waits for the answer to a signal; it is given after what follows from the signal is committed.
#[derive(Debug)]
pub(crate) enum Asker {
    /// Nobody.
    Nobody,
    /// The sender of a command.
    Commander(oneshot::Sender<Result<Reply, BusError>>),
    /// A call that wants a subagent.
    Call(oneshot::Sender<Leased>),
}

/// A signal and who waits for its answer, boxed, since a queue keeps a few places and thousands of sessions have one.
pub(crate) type Posted = Box<(Signal, Asker)>;

/// Where effects put their signals.
#[derive(Debug, Clone)]
pub(crate) struct Outbox(Sender<Posted>);

impl Outbox {
    /// Waits for room. When the session is gone, so is the signal.
    pub(crate) async fn send(&self, signal: Signal) {
        // A session that is gone needs no signals.
        drop(self.0.send(Box::new((signal, Asker::Nobody))).await);
    }

    /// Waits for room, and for the answer; nothing when the session is gone.
    pub(crate) async fn ask(&self, wanted: ChildWanted) -> Option<Leased> {
        let (asker, answer) = oneshot::channel();
        let posted = Box::new((Signal::ChildWanted(wanted), Asker::Call(asker)));
        self.0.send(posted).await.ok()?;
        answer.await.ok()
    }

    /// Drops the signal when there is no room.
    pub(crate) fn offer(&self, signal: Signal) {
        // What does not fit is only shown live; the result carries it whole.
        drop(self.0.try_send(Box::new((signal, Asker::Nobody))));
    }
}

/// The two queues of a session's task.
#[derive(Debug)]
pub(crate) struct Inbox {
    requests: Requests,
    signals: Receiver<Posted>,
}

impl Inbox {
    pub(crate) fn new(requests: Requests) -> (Self, Outbox) {
        let (outbox, signals) = queue(SIGNALS_MAX);
        (Self { requests, signals }, Outbox(outbox))
    }

    /// The next signal, or a tick at `until`. Commands go first, so that a cancel never waits behind a talkative model.
    pub(crate) async fn next(&mut self, clock: &dyn Clock, until: Timestamp) -> Arrived {
        let what = tokio::select! {
            biased;
            Some(request) = self.requests.recv() => {
                Box::new((Signal::Command(*request.command), Asker::Commander(request.reply)))
            }
            Some(posted) = self.signals.recv() => posted,
            () = clock.sleep_until(until) => Box::new((Signal::Tick, Asker::Nobody)),
        };
        Arrived { at: clock.now(), what }
    }

    /// Ends the queue of commands. What had come in is told that nobody owns the session, so that it can be sent again.
    pub(crate) fn close(&mut self, session: &SessionId) {
        self.requests.close();
        while let Some(request) = self.requests.try_recv() {
            // A sender that went away needs no answer.
            drop(request.reply.send(Err(BusError::NoOwner { session: session.clone() })));
        }
    }
}
