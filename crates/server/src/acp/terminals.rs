//! The terminals that a client runs a session's commands in. Each has a keeper, which asks for it, shows it in its call, ends it and releases it,
//! whatever becomes of who wanted it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use agent_client_protocol::v1::schema::{
    CreateTerminalRequest, KillTerminalRequest, ReleaseTerminalRequest, TerminalId,
};
use futures::task::AtomicWaker;
use oarlock_core::{CallId, SessionId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::client::{ANSWER_WITHIN, Client, Unanswered};
use super::lane::Lane;

/// How long a terminal is waited for after its command was given up, to release it when it comes after all.
const LATE: Duration = Duration::from_secs(50);
/// How long showing a terminal may hold up its release.
const SHOW_WITHIN: Duration = Duration::from_millis(500);
/// How long the terminals of a session may take to be released when it is closed.
const RELEASE_WITHIN: Duration = Duration::from_millis(800);
/// Terminals that are to be shown and are not yet; of more the oldest is not shown.
const SHOWS_MAX: usize = 16;

/// The keepers of a session's terminals.
#[derive(Debug)]
pub(super) struct Terminals {
    /// Absent until the first one is asked for.
    keepers: Mutex<Option<JoinSet<()>>>,
    shows: Arc<Shows>,
}

/// The terminals that wait to be shown. A channel would be a tenth of what an idle session takes.
#[derive(Debug)]
struct Shows {
    /// Absent when none is shown any more.
    waiting: Mutex<Option<VecDeque<Show>>>,
    /// Wakes the lane.
    come: AtomicWaker,
}

impl Shows {
    fn waiting(&self) -> MutexGuard<'_, Option<VecDeque<Show>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self) -> Option<Show> {
        self.waiting().as_mut()?.pop_front()
    }

    /// Has a terminal shown. One that cannot be is dropped.
    fn push(&self, show: Show) {
        if let Some(waiting) = &mut *self.waiting() {
            if waiting.len() == SHOWS_MAX {
                waiting.pop_front();
            }
            waiting.push_back(show);
        }
        self.come.wake();
    }
}

/// A terminal that is to be shown in its call.
#[derive(Debug)]
pub(super) struct Show {
    pub(super) caller: (SessionId, CallId),
    pub(super) terminal: TerminalId,
    /// Told when it is; dropped when it cannot be.
    pub(super) done: oneshot::Sender<()>,
}

/// A terminal that is kept: it is released when this is dropped.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) id: TerminalId,
    kills: mpsc::Sender<oneshot::Sender<()>>,
}

impl Kept {
    /// Asks for the end of its command, and waits until the client says that it has heard. Dropping the future withdraws nothing.
    pub(super) async fn kill(&self) {
        let (done, heard) = oneshot::channel();
        // Two that wait are as good as three.
        if self.kills.try_send(done).is_ok() {
            // A keeper that has ended has released it.
            drop(heard.await);
        }
    }

    /// Asks for the end of its command without waiting.
    pub(super) fn give_up(&self) {
        // A keeper that was asked twice already will do it; one that has ended has released it.
        drop(self.kills.try_send(oneshot::channel().0));
    }
}

impl Terminals {
    /// The terminals of a session.
    pub(super) fn new() -> Arc<Self> {
        let shows = Shows { waiting: Mutex::new(Some(VecDeque::new())), come: AtomicWaker::new() };
        Arc::new(Self { keepers: Mutex::default(), shows: Arc::new(shows) })
    }

    /// The next terminal that is to be shown. Dropping the future loses none. Of several who wait, the last one is told.
    pub(super) fn to_show(&self) -> impl Future<Output = Show> {
        poll_fn(|cx| {
            self.shows.come.register(cx.waker());
            self.shows.pop().map_or(Poll::Pending, Poll::Ready)
        })
    }

    /// Shows none any more; nobody waits for that.
    pub(super) fn show_none(&self) {
        *self.shows.waiting() = None;
    }

    /// Asks the client for a terminal. Dropping the future gives it up.
    pub(super) async fn make(
        &self,
        client: &Arc<Client>,
        request: CreateTerminalRequest,
        caller: Option<(SessionId, CallId)>,
    ) -> Result<Kept, Unanswered> {
        let (made, making) = oneshot::channel();
        let keeper = Keeper { client: Arc::clone(client), shows: Arc::clone(&self.shows), caller };
        self.spawn(keeper.keep(request, made));
        making.await.unwrap_or(Err(Unanswered::Gone))
    }

    fn spawn(&self, keeper: impl Future<Output = ()> + Send + 'static) {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        let keepers = keepers.get_or_insert_default();
        // Those that ended leave nothing behind.
        while keepers.try_join_next().is_some() {}
        keepers.spawn(keeper);
    }

    /// Waits until every terminal is released that nobody uses any more, and gives up the rest.
    pub(super) async fn released(&self) {
        let keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut keepers) = keepers else { return };
        let all = async { while keepers.join_next().await.is_some() {} };
        if tokio::time::timeout(RELEASE_WITHIN, all).await.is_err() {
            tracing::warn!("a terminal was not released in time");
        }
    }
}

struct Keeper {
    client: Arc<Client>,
    shows: Arc<Shows>,
    caller: Option<(SessionId, CallId)>,
}

impl Keeper {
    async fn keep(
        self,
        request: CreateTerminalRequest,
        made: oneshot::Sender<Result<Kept, Unanswered>>,
    ) {
        let mut asked = std::pin::pin!(self.client.ask_at_length(request));
        let id = match tokio::time::timeout(ANSWER_WITHIN, &mut asked).await {
            Ok(Ok(answer)) => answer.terminal_id,
            Ok(Err(error)) => return drop(made.send(Err(error))),
            Err(_) => {
                // Whoever wanted it may have gone meanwhile.
                drop(made.send(Err(Unanswered::Silent)));
                if let Ok(Ok(late)) = tokio::time::timeout(LATE, asked).await {
                    self.release(&late.terminal_id).await;
                }
                return;
            }
        };
        let (kills, mut orders) = mpsc::channel(2);
        // Who does not want it any more drops it here.
        drop(made.send(Ok(Kept { id: id.clone(), kills })));
        let until_dropped = async {
            while let Some(done) = orders.recv().await {
                self.kill(&id).await;
                // It may have stopped listening.
                _ = done.send(());
            }
        };
        let (mut show, mut until_dropped) =
            (std::pin::pin!(self.show(&id)), std::pin::pin!(until_dropped));
        let is_shown = tokio::select! {
            () = &mut show => true,
            () = &mut until_dropped => false,
        };
        match is_shown {
            true => until_dropped.await,
            // A client can show in a call only what it has not let go of.
            false => drop(tokio::time::timeout(SHOW_WITHIN, show).await),
        }
        self.release(&id).await;
    }

    async fn show(&self, id: &TerminalId) {
        let Some(caller) = self.caller.clone() else { return };
        let (done, shown) = oneshot::channel();
        self.shows.push(Show { caller, terminal: id.clone(), done });
        // A lane that has ended shows nothing any more.
        drop(shown.await);
    }

    async fn kill(&self, id: &TerminalId) {
        let request = KillTerminalRequest::new(self.client.session.clone(), id.clone());
        if let Err(error) = self.client.ask(request).await {
            tracing::debug!(%error, terminal = %id, "a command was not ended");
        }
    }

    async fn release(&self, id: &TerminalId) {
        let request = ReleaseTerminalRequest::new(self.client.session.clone(), id.clone());
        if let Err(error) = self.client.ask(request).await {
            tracing::debug!(%error, terminal = %id, "a terminal was not released");
        }
    }
}

impl Lane {
    /// Shows a terminal in its call, as soon as the call is announced.
    pub(super) fn show_terminal(&mut self, show: Show) {
        if self.shows_waiting.len() == SHOWS_MAX {
            self.shows_waiting.remove(0);
        }
        self.shows_waiting.push(show);
        self.show_waiting();
    }

    /// Shows the terminals whose calls were announced meanwhile.
    pub(super) fn show_waiting(&mut self) {
        for show in std::mem::take(&mut self.shows_waiting) {
            let (session, call) = &show.caller;
            let of = (session != self.session.id()).then_some(session);
            match self.project.embed(of, call, &show.terminal) {
                Some(update) => {
                    self.update(update);
                    // Its keeper may have stopped waiting.
                    _ = show.done.send(());
                }
                None => self.shows_waiting.push(show),
            }
        }
    }
}
