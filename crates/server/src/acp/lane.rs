//! The lane of a session towards one client: what the client wants of it, in order of arrival, and what happens to it, in order of the journal.
//!
//! It alone sends updates of its session and answers its prompts, so that no update follows the answer that it belongs before.

use std::collections::HashMap;
use std::sync::Arc;

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::{
    AvailableCommand, AvailableCommandInput, AvailableCommandsUpdate, ContentChunk, McpServer,
    Notice, NoticeSeverity, SessionId, SessionUpdate, UnstructuredCommandInput,
};
use futures::future::{AbortHandle, BoxFuture, abortable};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use oarlock_core::event::{AgentEvent, Event, PermissionAsked};
use oarlock_core::ids;
use oarlock_core::prompt::answer;
use oarlock_core::{Command, DefaultSession, EventStream, PermissionResolution, SessionError};
use tokio::sync::mpsc;

use super::content::text;
use super::error::{WireError, failed};
use super::opening::Answer;
use super::outbound::Outbound;
use super::permission;
use super::project::{Projector, name_of};
use super::prompts::{Prompts, Read};
use crate::host::{HostError, Workspace};

/// Orders that a session's lane has not taken; one more is refused.
pub(super) const ORDERS_MAX: usize = 64;

/// What a client wants of a session.
pub(super) enum Order {
    /// Work on this.
    Prompt(super::prompts::Asked),
    /// Stop.
    Cancel,
    /// Say that the session is open; to one who loads it, after all that happened before.
    Opened(Answer),
    /// Stop and let go of the session, then say so.
    Close(Option<Answer>),
}

impl Order {
    /// Says that it cannot be done. A cancellation needs no answer.
    pub(super) fn refuse(self, error: Error) {
        match self {
            Self::Prompt(asked) => asked.refuse(error),
            Self::Opened(answer) | Self::Close(Some(answer)) => answer.refuse(error),
            Self::Cancel | Self::Close(None) => {}
        }
    }
}

/// The end of something that the lane does not wait for.
pub(super) enum Done {
    /// A prompt was read.
    Read(Read),
    /// A slash command was done.
    Told(Result<answer::Answer, answer::AskError>),
    /// A question was answered.
    Resolved { key: String, session: DefaultSession, call: ids::CallId, how: PermissionResolution },
    /// Somebody withdrew the request of a prompt.
    Withdrawn { prompt: u64 },
    /// The slash commands of the folder.
    Listed(Result<Vec<answer::Listed>, HostError>),
    /// It is of no use any more.
    Dropped,
}

/// An open question.
struct Question {
    session: DefaultSession,
    asked: PermissionAsked,
    /// Withdraws it, once it is asked.
    withdraw: Option<AbortHandle>,
}

pub(super) struct Lane {
    pub(super) out: Outbound,
    pub(super) name: SessionId,
    pub(super) session: DefaultSession,
    pub(super) workspace: Arc<dyn Workspace>,
    pub(super) events: EventStream,
    pub(super) project: Projector,
    pub(super) prompts: Prompts,
    pub(super) work: FuturesUnordered<BoxFuture<'static, Done>>,
    questions: HashMap<String, Question>,
    /// What is answered once the past has been told.
    replaying: Option<Answer>,
    /// What is told once the session is known to the client.
    told_later: Vec<SessionUpdate>,
}

impl Lane {
    pub(super) fn new(
        (out, name): (Outbound, SessionId),
        session: DefaultSession,
        workspace: Arc<dyn Workspace>,
        after: ids::Seq,
    ) -> Self {
        let events = session.events(after);
        Self {
            out,
            name,
            session,
            workspace,
            events,
            project: Projector::default(),
            prompts: Prompts::default(),
            work: FuturesUnordered::new(),
            questions: HashMap::new(),
            replaying: None,
            told_later: Vec::new(),
        }
    }

    /// Until the session is closed or the client is gone.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let gauge = Arc::clone(&self.out.gauge);
            let next = async {
                gauge.room().await;
                self.session.next_event(&mut self.events).await
            };
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    None => return,
                    Some(Order::Close(answer)) => return self.close(answer).await,
                    Some(order) => self.take(order).await,
                },
                Some(done) = self.work.next(), if !self.work.is_empty() => self.done(done).await,
                event = next => match event {
                    Ok(event) => self.tell(&event),
                    Err(error) => self.lost(&error),
                },
            }
        }
    }

    pub(super) async fn take(&mut self, order: Order) {
        match order {
            Order::Prompt(asked) => self.ask(asked),
            Order::Cancel => self.cancel().await,
            Order::Opened(answer @ Answer::Load(_)) => {
                self.project = Projector::default();
                self.events = self.session.events(0);
                self.replaying = Some(answer);
            }
            Order::Opened(answer) => {
                answer.give(&self.name);
                self.after_opening();
            }
            // The loop ends with it.
            Order::Close(_) => {}
        }
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Read(read) => self.admit(read).await,
            Done::Told(told) => self.answered(told),
            Done::Withdrawn { prompt } if self.prompts.has(prompt) => self.cancel().await,
            Done::Resolved { key, session, call, how } => {
                self.questions.remove(&key);
                if let Err(error) = session.permissions().resolve(&call, how).await {
                    tracing::debug!(session = %session.id(), %error, "an answer came too late");
                }
            }
            Done::Listed(Ok(listed)) => self.update(commands(listed)),
            Done::Listed(Err(error)) => tracing::warn!(%error, "no commands are listed"),
            Done::Withdrawn { .. } | Done::Dropped => {}
        }
    }

    /// Shows an event, and does what it means to the client's requests.
    fn tell(&mut self, event: &AgentEvent) {
        for update in self.project.updates(event) {
            self.update(update);
        }
        match event {
            AgentEvent::Entry(entry) => {
                self.settle(entry);
                let session = self.session.clone();
                self.question(&[], &entry.event, session);
            }
            AgentEvent::Scoped { scope, event } => {
                if let (AgentEvent::Entry(entry), Some(child)) = (&**event, scope.last()) {
                    let session = self.session.child(child);
                    self.question(scope, &entry.event, session);
                }
            }
            AgentEvent::CaughtUp { .. } => {
                if let Some(answer) = self.replaying.take() {
                    answer.give(&self.name);
                    self.after_opening();
                }
                let open: Vec<String> = self.questions.keys().cloned().collect();
                open.iter().for_each(|key| self.pose(key));
            }
            AgentEvent::Delta(_) => {}
        }
    }

    /// Takes note of questions and of their ends.
    fn question(&mut self, scope: &[ids::SessionId], event: &Event, session: DefaultSession) {
        match event {
            Event::PermissionAsked(asked) => {
                let key = name_of(scope, &asked.call);
                let asked = asked.clone();
                self.questions.insert(key.clone(), Question { session, asked, withdraw: None });
                if self.replaying.is_none() {
                    self.pose(&key);
                }
            }
            Event::PermissionAnswered(answered) => {
                self.withdraw(|key, _| key == name_of(scope, &answered.call));
            }
            Event::TurnEnded(_) | Event::TurnRecovered(_) => {
                self.withdraw(|_, question| question.session.id() == session.id());
            }
            _ => {}
        }
    }

    /// Asks the person at the client, once.
    fn pose(&mut self, key: &str) {
        let Some(question) = self.questions.get_mut(key) else { return };
        if question.withdraw.is_some() {
            return;
        }
        let (session, asked) = (question.session.clone(), question.asked.clone());
        let call = asked.call.clone();
        let ask = permission::ask(self.out.clone(), self.name.clone(), key.to_owned(), asked);
        let (ask, withdraw) = abortable(ask);
        question.withdraw = Some(withdraw);
        let key = key.to_owned();
        let answer = ask.map(move |how| match how {
            Ok(how) => Done::Resolved { key, session, call, how },
            Err(_) => Done::Dropped,
        });
        self.work.push(answer.boxed());
    }

    fn withdraw(&mut self, which: impl Fn(&str, &Question) -> bool) {
        self.questions.retain(|key, question| {
            let goes = which(key, question);
            if let (true, Some(withdraw)) = (goes, &question.withdraw) {
                withdraw.abort();
            }
            !goes
        });
    }

    /// The session cannot be followed any more: another process has it, or its store fails. Whoever waits is told; the next order tries again.
    fn lost(&mut self, error: &SessionError) {
        tracing::warn!(session = %self.session.id(), %error, "the session is lost");
        self.withdraw(|_, _| true);
        self.prompts.fail_all(&failed(error.to_string()));
        if let Some(answer) = self.replaying.take() {
            answer.refuse(failed(error.to_string()));
        }
    }

    async fn close(mut self, answer: Option<Answer>) {
        let closed = self.session.close().await;
        let drain = async {
            while !self.prompts.is_empty() {
                match self.events.next().await {
                    Ok(event) => self.tell(&event),
                    Err(error) => return self.lost(&error.into()),
                }
            }
        };
        if tokio::time::timeout(CLOSE_WITHIN, drain).await.is_err() {
            tracing::warn!(session = %self.session.id(), "the end of the turn did not come");
        }
        self.prompts.cancel_all();
        match (answer, closed) {
            (Some(answer), Ok(())) => answer.give(&self.name),
            (Some(answer), Err(error)) => answer.refuse(WireError::from(error).0),
            (None, Ok(())) => {}
            (None, Err(error)) => {
                tracing::warn!(session = %self.session.id(), %error, "not closed");
            }
        }
    }

    pub(super) fn update(&self, update: SessionUpdate) {
        self.out.update(&self.name, update);
    }

    /// Says something that is not part of the conversation.
    pub(super) fn say(&self, words: &str) {
        self.update(SessionUpdate::AgentMessageChunk(ContentChunk::new(text(words))));
    }

    /// What a client is told once it knows the session.
    pub(super) fn after_opening(&mut self) {
        for update in std::mem::take(&mut self.told_later) {
            self.update(update);
        }
        let workspace = Arc::clone(&self.workspace);
        let listed = async move { Done::Listed(workspace.commands().await) };
        self.work.push(listed.boxed());
    }

    /// Servers of tools that the client brings. None of them is started here, and the person is told where the client can show it.
    pub(super) fn brought(&mut self, servers: &[McpServer]) {
        if servers.is_empty() {
            return;
        }
        let words = "The MCP servers that this client is configured with are not available yet.";
        tracing::warn!(session = %self.session.id(), count = servers.len(), words);
        if self.out.client.session.as_ref().is_some_and(|session| session.notices.is_some()) {
            let notice = Notice::new(NoticeSeverity::Warning, words);
            self.told_later.push(SessionUpdate::Notice(notice));
        }
    }

    pub(super) async fn command(&mut self, command: Command) -> Result<(), SessionError> {
        self.session.tell(command).await.map(drop)
    }
}

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
