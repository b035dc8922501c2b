//! The lane of a session towards one client: what the client wants of it, in order of arrival, and what happens to it, in order of the journal.
//!
//! It alone sends updates of its session and answers its prompts, so that no update follows the answer that it belongs before.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::{
    AvailableCommand, AvailableCommandInput, AvailableCommandsUpdate, SessionId, SessionUpdate,
    UnstructuredCommandInput,
};
use futures::future::OptionFuture;
use oarlock_core::event::AgentEvent;
use oarlock_core::ids;
use oarlock_core::ports::tool::Place;
use oarlock_core::prompt::answer;
use oarlock_core::queue::Receiver;
use oarlock_core::session::state::State;
use oarlock_core::spec::SessionSpec;
use oarlock_core::{Command, DefaultSession, Reply, SessionError};

use super::error::{WireError, failed, refused};
use super::following::Following;
use super::opening::{Answer, Wanted};
use super::options::{Options, Setting};
use super::outbound::Outbound;
use super::project::{Projector, View};
use super::prompts::{Prompts, Read, Told};
use super::questions::{Questions, Replied};
use super::replay::Replay;
use super::terminals::{Show, Terminals};
use super::work::Work;
use crate::audience::Seat;
use crate::host::{HostError, Workspace};

/// Orders that a session's lane has not taken; one more is refused.
pub(super) const ORDERS_MAX: usize = 64;

/// What a client wants of a session.
pub(super) enum Order {
    /// Work on this.
    Prompt(super::prompts::Asked),
    /// Stop.
    Cancel,
    /// Change what is chosen of the session.
    Set(Setting),
    /// Open the session once more, which is open here.
    Reopened(Box<Wanted>),
    /// Stop and let go of the session, then say so.
    Close(Option<Answer>),
    /// The client has gone.
    Leave,
}

impl Order {
    /// Says that it cannot be done. A cancellation needs no answer.
    pub(super) fn refuse(self, error: Error) {
        match self {
            Self::Prompt(asked) => asked.refuse(error),
            Self::Set(setting) => setting.refuse(error),
            Self::Reopened(wanted) => wanted.answer.refuse(error),
            Self::Close(Some(answer)) => answer.refuse(error),
            Self::Cancel | Self::Close(None) | Self::Leave => {}
        }
    }
}

/// The end of something that the lane does not wait for.
pub(super) enum Done {
    /// A prompt was read.
    Read(Read),
    /// A slash command was done.
    Told(Told),
    /// A question was answered.
    Replied(Replied),
    /// Somebody withdrew the request of a prompt.
    Withdrawn { prompt: u64 },
    /// Somebody withdrew the request to load the session.
    Unwanted,
    /// The folders were looked at of one who opens the session once more.
    Looked { no: u64, found: Result<(), Error> },
    /// The slash commands of the folder.
    Listed(Result<Vec<answer::Listed>, HostError>),
    /// It is of no use any more.
    Dropped,
}

/// What is next for a lane.
enum Next {
    /// The client wants something; nothing when nobody is left to want anything.
    Wanted(Option<Box<Order>>),
    /// Something has ended.
    Done(Box<Done>),
    /// A terminal is to be shown.
    Show(Show),
    /// The session has said something, and there is room to tell it.
    Come,
    /// Something is to be told although nothing happened.
    Due,
}

pub(super) struct Lane {
    pub(super) out: Arc<Outbound>,
    pub(super) name: SessionId,
    pub(super) session: DefaultSession,
    pub(super) workspace: Arc<dyn Workspace>,
    /// The folders that it works in.
    pub(super) place: Arc<Place>,
    pub(super) following: Following,
    pub(super) project: Projector,
    pub(super) prompts: Prompts,
    pub(super) options: Options,
    pub(super) work: Work,
    pub(super) questions: Questions,
    pub(super) seat: Seat,
    /// Whether all that happened before has been read.
    pub(super) is_caught_up: bool,
    /// How far subagents are known that were at work when the client came.
    pub(super) met: BTreeMap<ids::SessionId, ids::Seq>,
    /// Subagents that were at work at that time.
    pub(super) unmet: Vec<ids::SessionId>,
    pub(super) replay: Replay,
    /// Of a client that has some.
    terminals: Option<Arc<Terminals>>,
    /// Terminals whose calls are not announced yet.
    pub(super) shows_waiting: Vec<Show>,
}

impl Lane {
    pub(super) fn new(
        (out, name): (Arc<Outbound>, SessionId),
        (session, spec, since): (DefaultSession, &SessionSpec, Option<&State>),
        workspace: Arc<dyn Workspace>,
        seat: Seat,
        terminals: Option<Arc<Terminals>>,
    ) -> Self {
        let after = since.map_or(0, |state| state.tip);
        let options = Options::new(spec, after, Arc::clone(&session.core().ports().models));
        let following = Following::of(&session, after);
        let (view, place) = (View::of(&out.client, &session), Arc::new(Place::of(spec)));
        let project = match since {
            Some(state) => Projector::since(view, Arc::clone(&place), state),
            None => Projector::new(view, Arc::clone(&place)),
        };
        Self {
            out,
            name,
            session,
            workspace,
            place,
            following,
            project,
            prompts: Prompts::default(),
            options,
            work: Work::default(),
            questions: Questions::default(),
            seat,
            is_caught_up: false,
            met: BTreeMap::new(),
            unmet: Vec::new(),
            replay: Replay::default(),
            terminals,
            shows_waiting: Vec::new(),
        }
    }

    /// Until the session is closed or the client is gone.
    pub(super) async fn run(mut self: Box<Self>, orders: &mut Receiver<Box<Order>>) {
        loop {
            let next = self.next(orders).await;
            if self.act(next).await.is_break() {
                return;
            }
        }
    }

    /// Waits for what is next. Dropping the future loses nothing.
    async fn next(&mut self, orders: &mut Receiver<Box<Order>>) -> Next {
        let behind = self.behind();
        // Whoever has nothing to say waits for no room.
        let come = async {
            self.following.come(&self.session).await;
            self.out.gauge.room().await;
        };
        tokio::select! {
            biased;
            order = orders.recv() => Next::Wanted(order),
            done = self.work.next() => Next::Done(done),
            Some(show) = OptionFuture::from(self.terminals.as_deref().map(Terminals::to_show)) => {
                Next::Show(show)
            }
            () = come => Next::Come,
            () = behind => Next::Due,
        }
    }

    /// Does what is next, and says whether anything comes after it. What is rarely done is boxed: a lane is small while nothing happens.
    async fn act(&mut self, next: Next) -> ControlFlow<()> {
        match next {
            Next::Wanted(None) => return ControlFlow::Break(()),
            Next::Wanted(Some(order)) => return Box::pin(self.take(*order)).await,
            Next::Done(done) => return Box::pin(self.done(*done)).await,
            Next::Show(show) => self.show_terminal(show),
            Next::Come => {
                self.come().await;
                self.out.gauge.told();
            }
            Next::Due => {
                self.catch_up();
                self.out.gauge.told();
            }
        }
        ControlFlow::Continue(())
    }

    /// Tells what has come of the session.
    async fn come(&mut self) {
        match self.following.take() {
            Some(Ok(event)) => {
                self.tell(&event).await;
                if !self.unmet.is_empty() {
                    Box::pin(self.meet()).await;
                }
            }
            Some(Err(error)) => self.lost(&error),
            None => {}
        }
    }

    /// Does what the client wants, and says whether anything comes after it.
    async fn take(&mut self, order: Order) -> ControlFlow<()> {
        match order {
            Order::Prompt(asked) => self.ask(asked),
            Order::Cancel => self.cancel().await,
            Order::Set(setting) => self.set(setting).await,
            Order::Reopened(wanted) => self.reopen(*wanted),
            Order::Close(answer) => {
                self.close(answer).await;
                return ControlFlow::Break(());
            }
            Order::Leave => {
                self.leave().await;
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Does what the end of something means, and says whether anything comes after it.
    async fn done(&mut self, done: Done) -> ControlFlow<()> {
        match done {
            Done::Read(read) => self.admit(read).await,
            Done::Told(told) => {
                self.following.revive();
                self.told(told);
                self.read_next();
            }
            Done::Withdrawn { prompt } => self.cancel_one(prompt).await,
            Done::Replied(replied) => self.replied(replied).await,
            Done::Looked { no, found } => self.looked(no, found),
            Done::Listed(Ok(listed)) => self.update(commands(listed)),
            Done::Listed(Err(error)) => tracing::warn!(%error, "no commands are listed"),
            Done::Unwanted if self.is_unwanted() => {
                self.leave().await;
                return ControlFlow::Break(());
            }
            Done::Unwanted | Done::Dropped => {}
        }
        ControlFlow::Continue(())
    }

    /// Shows an event, and does what it means to the client's requests.
    pub(super) async fn tell(&mut self, event: &AgentEvent) {
        match event {
            AgentEvent::Entry(entry) => {
                self.show(event).await;
                if self.options.entry(entry) {
                    self.tell_options();
                }
                self.settle(entry);
            }
            AgentEvent::Scoped { scope, event: inner } => {
                if !self.has_met(scope, inner) {
                    self.show(event).await;
                }
            }
            AgentEvent::CaughtUp { .. } => {
                self.show(event).await;
                self.told_all();
                self.is_caught_up = true;
                self.pose_all();
            }
            AgentEvent::Delta(_) => self.show(event).await,
        }
    }

    /// The session has ended by itself: another process has it, or its store fails. Whoever waits for it is told; the next order wakes it again.
    fn lost(&mut self, error: &SessionError) {
        tracing::warn!(session = %self.session.id(), %error, "the session is lost");
        self.questions.forget();
        self.prompts.fail_admitted(&failed(error.to_string()));
        if self.following.is_over() {
            self.replay.refuse_all(&failed(error.to_string()));
            self.answer_done();
        }
    }

    /// Lets go of the session, tells how it ended, and answers then. Others who follow it keep it, and find its turn cancelled; to delete it,
    /// nobody keeps it.
    async fn close(&mut self, answer: Option<Answer>) {
        self.wind_up().await;
        let is_last = self.seat.leave();
        let closed = match is_last || answer.is_none() {
            true => self.session.close().await,
            false => Ok(()),
        };
        self.following.let_go();
        if tokio::time::timeout(CLOSE_WITHIN, self.drain()).await.is_err() {
            tracing::warn!(session = %self.session.id(), "the end of the turn did not come");
        }
        self.prompts.cancel_all();
        self.work.clear();
        OptionFuture::from(self.terminals.as_deref().map(Terminals::released)).await;
        match (answer, closed) {
            (Some(answer), Ok(())) => answer.give(&self.name, self.options.all()),
            (Some(answer), Err(error)) => answer.refuse(WireError::from(error).0),
            (None, closed) => self.not_closed(closed),
        }
    }

    /// The client has gone: the session is let go of unless others follow it, for whom it goes on. Nobody is told how it ends, so that the time
    /// there is goes to its terminals.
    async fn leave(&mut self) {
        if self.seat.leave() {
            self.wind_up().await;
            self.shows_waiting.clear();
            let closed = self.session.close().await;
            self.prompts.cancel_all();
            self.work.clear();
            OptionFuture::from(self.terminals.as_deref().map(Terminals::released)).await;
            self.not_closed(closed);
        }
    }

    /// Ends what was asked for.
    async fn wind_up(&mut self) {
        // As a cancellation does: what no turn has taken yet has no end to wait for.
        self.cancel().await;
        self.replay.refuse_all(&refused(CLOSING));
        // What was asked is withdrawn before the client hears that all is over.
        self.questions.forget();
        // Nobody waits for a terminal to be shown that is about to go.
        self.terminals.iter().for_each(|terminals| terminals.show_none());
    }

    /// Tells what happens until every prompt is answered.
    async fn drain(&mut self) {
        while !self.prompts.is_empty() {
            tokio::select! {
                biased;
                done = self.work.next() => {
                    if let Done::Told(told) = *done {
                        self.told(told);
                    }
                }
                () = self.following.come(&self.session) => match self.following.take() {
                    Some(Ok(event)) => self.tell(&event).await,
                    Some(Err(error)) => return self.lost(&error),
                    None => {}
                },
            }
        }
    }

    fn not_closed(&self, closed: Result<(), SessionError>) {
        if let Err(error) = closed {
            tracing::warn!(session = %self.session.id(), %error, "not closed");
        }
    }

    pub(super) fn update(&self, update: SessionUpdate) {
        self.out.update(&self.name, update);
    }

    pub(super) async fn command(&mut self, command: Command) -> Result<(), SessionError> {
        self.told_session(command).await.map(drop)
    }

    /// Tells the session something. Once it answers it is followed again, though it was lost before.
    pub(super) async fn told_session(&mut self, command: Command) -> Result<Reply, SessionError> {
        let answer = self.session.tell(command).await;
        if matches!(answer, Ok(_) | Err(SessionError::Rejected(_))) {
            self.following.revive();
        }
        answer
    }
}

/// Why a session that is being closed does nothing any more.
pub(super) const CLOSING: &str = "the session is being closed";
/// How long the end of a turn may take to be told when its session is closed.
const CLOSE_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// The commands that a person may type.
fn commands(listed: Vec<answer::Listed>) -> SessionUpdate {
    let commands = listed.into_iter().map(|listed| {
        let input = listed.hint.map(UnstructuredCommandInput::new);
        AvailableCommand::new(listed.name, listed.description.unwrap_or_default())
            .input(input.map(AvailableCommandInput::Unstructured))
    });
    SessionUpdate::AvailableCommandsUpdate(AvailableCommandsUpdate::new(commands.collect()))
}
