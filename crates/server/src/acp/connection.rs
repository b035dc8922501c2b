//! One client: what it can do, the lanes of its sessions, and its requests. Nothing in here waits while the client's next message does: what takes
//! time is a task of the connection, and what concerns a session goes to its lane.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use agent_client_protocol::v1::schema::{
    ArchiveSessionRequest, ArchiveSessionResponse, AuthenticateRequest, AuthenticateResponse,
    ClientCapabilities, CloseSessionResponse, DeleteSessionRequest, DeleteSessionResponse,
    ForkSessionResponse, LogoutResponse, PromptRequest, PromptResponse, SessionId,
};
use agent_client_protocol::v1::{ConnectionTo, Responder};
use agent_client_protocol::{Agent, Client, ConnectTo, Error, JsonRpcResponse};
use oarlock_core::queue::{Receiver, Sender, Unsent, queue};
use oarlock_core::{ids, new_session_id};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::error::{WireError, id, no_session, refused};
use super::lane::{CLOSING, ORDERS_MAX, Order};
use super::opening::{Answer, Brought, Wanted, open};
use super::outbound::{Gauge, Outbound};
use super::prompts::Asked;
use super::{content, hello, listing, requests};
use crate::host::Host;
use crate::lines::Streams;

/// Sessions that are opened at the same time; the others wait.
const OPENINGS: usize = 8;
/// Kilobytes of prompts that no lane has taken; one that would make them more is refused, unless it is alone.
const PROMPTS_KB: u32 = 65_536;
/// What sessions may take to end in good order when the client has gone.
const GOODBYE: Duration = Duration::from_millis(1_500);
/// Milliseconds that the last words may take to be read by a client that is still there.
const LAST_WORDS_MS: u64 = 300;

type Connected = ConnectionTo<Client>;

/// Serves one client until its stream ends or `until` is there. Its sessions are let go of in good order then, within two seconds.
///
/// # Errors
/// When the connection broke.
pub async fn serve(
    host: Arc<dyn Host>,
    streams: Streams,
    until: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let gauge = Arc::new(Gauge::default());
    let clock = Arc::clone(&host.core().ports().clock);
    let (lines, written) = streams.lines(Arc::clone(&gauge));
    let out = OnceLock::new();
    let (lanes, tasks) = (Mutex::default(), Mutex::default());
    let counted = Arc::clone(&gauge);
    let openings = Arc::new(Semaphore::new(OPENINGS));
    let prompts = Arc::new(Semaphore::new(PROMPTS_KB as usize));
    let editor = Editor { host, gauge: counted, out, lanes, tasks, prompts, openings };
    let editor = Arc::new(editor);
    let (ending, ended) = oneshot::channel();
    // A client that does not read is given its time once all is let go of, and keeps nobody any longer.
    let mut had_its_time = std::pin::pin!(async {
        // Where the connection broke before, it is over as well.
        drop(ended.await);
        clock.sleep_until(clock.now().after(LAST_WORDS_MS)).await;
    });
    let served = tokio::select! {
        biased;
        served = editor.serve(lines, until, ending) => {
            futures::future::select(written, had_its_time).await;
            served
        }
        () = &mut had_its_time => Ok(()),
    };
    // Whoever stops listening does so before or after it stops talking.
    let is_broken = !gauge.is_closed();
    gauge.close();
    match served {
        Err(error) if is_broken => Err(std::io::Error::other(error)),
        _ => Ok(()),
    }
}

/// What is known of one client.
pub(super) struct Editor {
    host: Arc<dyn Host>,
    gauge: Arc<Gauge>,
    /// The way to it, once it has said what it can do.
    out: OnceLock<Arc<Outbound>>,
    lanes: Mutex<HashMap<ids::SessionId, Sender<Box<Order>>>>,
    tasks: Mutex<JoinSet<()>>,
    /// Kilobytes of prompts that no lane has taken yet.
    prompts: Arc<Semaphore>,
    /// Places for sessions that are being opened: what that takes for a moment is never taken a thousand times at once.
    openings: Arc<Semaphore>,
}

/// Takes the lock; who panicked with it left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Editor {
    async fn serve(
        self: Arc<Self>,
        lines: impl ConnectTo<Agent> + 'static,
        until: impl Future<Output = ()>,
        ending: oneshot::Sender<()>,
    ) -> Result<(), Error> {
        let served = Agent
            .v1()
            .name("oarlock")
            .with_connection_builder(requests::of_sessions(&self))
            .with_connection_builder(requests::of_the_list(&self))
            .with_connection_builder(requests::of_prompts(&self))
            .with_connection_builder(requests::of_everything_else(&self));
        served
            .connect_with(lines, async |connection: Connected| {
                let connection = connection.into_raw();
                tokio::select! {
                    () = connection.incoming_closed() => {}
                    () = until => {}
                }
                self.end().await;
                // Whoever waits for it has gone only together with this.
                _ = ending.send(());
                Ok(())
            })
            .await
    }

    /// Lets go of every session, and of what is left to be answered.
    async fn end(&self) {
        let lanes: Vec<_> = lock(&self.lanes).drain().map(|(_, lane)| lane).collect();
        let closing = lanes.iter().map(async |lane| {
            // A lane that has ended has let go already.
            drop(lane.send(Box::new(Order::Leave)).await);
            lane.closed().await;
        });
        let closing = futures::future::join_all(closing);
        if tokio::time::timeout(GOODBYE, closing).await.is_err() {
            tracing::warn!(
                "a session did not end in time; its journal tells the rest when it is opened again"
            );
        }
        lock(&self.tasks).abort_all();
    }

    /// The program around.
    pub(super) fn host(&self) -> Arc<dyn Host> {
        Arc::clone(&self.host)
    }

    /// Takes note of what the client can do. One that says it twice is held to the first.
    pub(super) fn greeted_by(
        &self,
        connection: Connected,
        client: ClientCapabilities,
    ) -> &Arc<Outbound> {
        let gauge = Arc::clone(&self.gauge);
        self.out.get_or_init(|| Arc::new(Outbound { connection, gauge, client }))
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        // Those that ended leave nothing behind.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Answers a request by work that takes its time.
    pub(super) fn answer<T: JsonRpcResponse>(
        &self,
        to: Responder<T>,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) {
        self.spawn(async move {
            let cancellation = to.cancellation();
            let done = tokio::select! {
                done = work => done,
                () = cancellation.cancelled() => Err(Error::request_cancelled()),
            };
            gone(to.respond_with_result(done));
        });
    }

    pub(super) fn authenticate(
        &self,
        request: &AuthenticateRequest,
        to: Responder<AuthenticateResponse>,
    ) {
        let (host, known) = (Arc::clone(&self.host), hello::is_known(request));
        self.answer(to, async move {
            known?;
            host.authenticate().await.map_err(|error| WireError::from(error).0)?;
            Ok(AuthenticateResponse::new())
        });
    }

    pub(super) fn logout(&self, to: Responder<LogoutResponse>) {
        let host = Arc::clone(&self.host);
        self.answer(to, async move {
            host.logout().await.map_err(|error| WireError::from(error).0)?;
            Ok(LogoutResponse::new())
        });
    }

    pub(super) fn reopen(
        self: &Arc<Self>,
        connection: &Connected,
        session: &SessionId,
        brought: Brought,
        answer: Answer,
    ) {
        match id(session) {
            Ok(id) => self.open(connection, id, brought, answer),
            Err(error) => answer.refuse(error),
        }
    }

    /// Gives a fork of a session a lane of its own; the source is neither opened nor changed by it.
    pub(super) fn fork(
        self: &Arc<Self>,
        connection: &Connected,
        source: &SessionId,
        brought: Brought,
        to: Responder<ForkSessionResponse>,
    ) {
        match id(source) {
            Ok(source) => {
                self.open(connection, new_session_id(), brought, Answer::Fork(source, to));
            }
            Err(error) => gone(to.respond_with_error(error)),
        }
    }

    /// Gives a session its lane; one that has a lane is told by it. From now on there is a place for whatever else the client wants of it.
    pub(super) fn open(
        self: &Arc<Self>,
        connection: &Connected,
        id: ids::SessionId,
        brought: Brought,
        answer: Answer,
    ) {
        let wanted = Wanted { id: id.clone(), brought, answer };
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.get(&id).filter(|lane| !lane.is_closed()) {
            return hand(lane, Order::Reopened(Box::new(wanted)));
        }
        let (lane, mut orders) = queue(ORDERS_MAX + 1);
        lanes.insert(id.clone(), lane.clone());
        drop(lanes);
        // One that did not say what it can do can do nothing.
        let out = self.greeted_by(connection.clone(), ClientCapabilities::default());
        let (host, out, way) = (Arc::clone(&self.host), Arc::clone(out), Arc::clone(out));
        let openings = Arc::clone(&self.openings);
        // What opening takes is given back before the lane begins its long life.
        let opened = Box::pin(async move {
            // It is never closed; without a place the session would be opened all the same.
            let _place = openings.acquire().await;
            Box::pin(open(&*host, out, wanted)).await.map(Box::new)
        });
        let editor = Arc::clone(self);
        self.spawn(async move {
            match opened.await {
                Some(lane) => lane.run(&mut orders).await,
                None => refuse_all(&mut orders, &id),
            }
            orders.close();
            editor.forget(&id, &lane);
            while let Some(order) = orders.try_recv() {
                editor.again(&way.connection, &id, *order);
            }
        });
    }

    /// Does what was wanted behind the end of a session's lane.
    fn again(self: &Arc<Self>, connection: &Connected, id: &ids::SessionId, order: Order) {
        let name = SessionId::new(id.as_str());
        match order {
            Order::Reopened(wanted) => {
                let Wanted { id, brought, answer } = *wanted;
                self.open(connection, id, brought, answer);
            }
            Order::Close(Some(Answer::Close(to))) => self.close(&name, to),
            order => self.order(&name, order),
        }
    }

    /// The lane of a session has ended.
    fn forget(&self, id: &ids::SessionId, ended: &Sender<Box<Order>>) {
        let mut lanes = lock(&self.lanes);
        // Another one of its name may have come meanwhile.
        if lanes.get(id).is_some_and(|other| other.is_same(ended)) {
            lanes.remove(id);
        }
    }

    pub(super) fn prompt(&self, request: PromptRequest, responder: Responder<PromptResponse>) {
        let session = request.session_id.clone();
        let kb = u32::try_from(content::kb(&request.prompt)).unwrap_or(PROMPTS_KB).min(PROMPTS_KB);
        let Ok(_room) = Arc::clone(&self.prompts).try_acquire_many_owned(kb) else {
            let words = format!("prompts of {} MB wait already", PROMPTS_KB >> 10);
            return gone(responder.respond_with_error(refused(words)));
        };
        let asked = Asked { request: Box::new(request), responder, _room };
        self.order(&session, Order::Prompt(asked));
    }

    /// Hands an order to the lane of its session.
    pub(super) fn order(&self, session: &SessionId, order: Order) {
        let id = match id(session) {
            Ok(id) => id,
            Err(error) => return order.refuse(error),
        };
        let lane = lock(&self.lanes).get(&id).cloned();
        match lane {
            Some(lane) => hand(&lane, order),
            None => order.refuse(no_session(session)),
        }
    }

    /// Closes a session; one that is not open here is closed already.
    pub(super) fn close(&self, session: &SessionId, to: Responder<CloseSessionResponse>) {
        let known = id(session).ok();
        let lane = known.as_ref().and_then(|id| lock(&self.lanes).get(id).cloned());
        if let Some(lane) = lane.filter(|lane| !lane.is_closed()) {
            return hand(&lane, Order::Close(Some(Answer::Close(to))));
        }
        let (host, session) = (Arc::clone(&self.host), session.clone());
        self.answer(to, async move {
            let Some(id) = known else { return Err(no_session(&session)) };
            host.core().state(&id).await.map_err(|error| WireError::from(error).0)?;
            Ok(CloseSessionResponse::new())
        });
    }

    pub(super) fn delete(
        &self,
        request: DeleteSessionRequest,
        to: Responder<DeleteSessionResponse>,
    ) {
        let (host, closed) = (Arc::clone(&self.host), self.put_down(&request.session_id));
        self.answer(to, async move {
            closed.await;
            listing::delete(&*host, &request).await
        });
    }

    pub(super) fn archive(
        &self,
        request: ArchiveSessionRequest,
        to: Responder<ArchiveSessionResponse>,
    ) {
        let (host, closed) = (Arc::clone(&self.host), self.put_down(&request.session_id));
        self.answer(to, async move {
            closed.await;
            listing::archive(&*host, &request.session_id).await
        });
    }

    /// Takes a session its lane, if it has one; what is returned ends when that has let go of the session.
    fn put_down(&self, session: &SessionId) -> impl Future<Output = ()> + use<> {
        let lane = id(session).ok().and_then(|id| lock(&self.lanes).remove(&id));
        async move {
            if let Some(lane) = lane {
                // A lane that has ended has let go already.
                drop(lane.send(Box::new(Order::Close(None))).await);
                lane.closed().await;
            }
        }
    }
}

/// Hands an order to a lane that may have too many. The last place is kept for a cancellation: one that finds it taken has another one before it,
/// and nothing between them.
fn hand(lane: &Sender<Box<Order>>, order: Order) {
    let is_full = || refused(format!("{ORDERS_MAX} requests of this session wait already"));
    if lane.room() <= 1 && !lane.is_closed() && !matches!(order, Order::Cancel) {
        return order.refuse(is_full());
    }
    match lane.try_send(Box::new(order)) {
        Ok(()) => {}
        Err(Unsent::Full(order)) => order.refuse(is_full()),
        Err(Unsent::Closed(order)) => order.refuse(refused(CLOSING)),
    }
}

/// Refuses what was wanted of a session that was not opened.
fn refuse_all(orders: &mut Receiver<Box<Order>>, id: &ids::SessionId) {
    orders.close();
    while let Some(order) = orders.try_recv() {
        order.refuse(no_session(&SessionId::new(id.as_str())));
    }
}

/// A client that has gone is told nothing.
pub(super) fn gone(sent: Result<(), Error>) {
    if let Err(error) = sent {
        tracing::debug!(%error, "the client has gone");
    }
}
