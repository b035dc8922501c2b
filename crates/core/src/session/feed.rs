//! From a session's task to whoever follows it: a bus inside one process, and the stream that a subscriber reads.
//!
//! A subscriber that is slow costs nobody anything: its bounded queue is emptied, and it reads what it missed from the journal.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use tokio::sync::{Notify, oneshot};

use crate::command::{Attached, Command, Reply};
use crate::event::{AgentEvent, AssistantMessage, Delta, DeltaItem, Entry, Event, ModelFailed};
use crate::ids::{CallId, Epoch, Seq, SessionId, StepNo, TaskId, TurnNo};
use crate::ports::bus::{Bus, BusError, Followed, Live, LiveFeed, Request, Requests};
use crate::ports::journal::JournalError;
use crate::queue::{Sender, Unsent, queue};
use crate::session::follow::Whom;
use crate::session::log::Store;

/// Events that a follower's queue holds; one more empties it.
pub const QUEUE_MAX: usize = 256;
/// Events that an empty queue keeps room for.
const QUEUE_KEPT: usize = 4;
/// Commands that wait for an owner; one more is refused.
pub const COMMANDS_MAX: usize = 256;
/// Until a subscriber looks again for entries that must be there and are not yet.
const READ_AGAIN_MS: u64 = 20;
/// How long a subscriber waits to be told what is being written, before it goes on without.
const ATTACH_MS: u64 = 2_000;

/// The bus of a process that is alone with its store.
#[derive(Debug, Default)]
pub struct LocalBus {
    sessions: Arc<Hubs>,
}

type Hubs = Mutex<HashMap<SessionId, Hub>>;

#[derive(Debug, Default)]
struct Hub {
    followers: Vec<Weak<Queue>>,
    owner: Option<(Epoch, Sender<Request>)>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Live>,
    lagged: bool,
}

/// Acts on a session's hub. One that nobody needs any more goes.
fn with<T>(sessions: &Hubs, session: &SessionId, act: impl FnOnce(&mut Hub) -> T) -> T {
    let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
    let hub = sessions.entry(session.clone()).or_default();
    let result = act(hub);
    hub.followers.retain(|follower| follower.strong_count() > 0);
    if hub.followers.is_empty() && hub.owner.as_ref().is_none_or(|(_, owner)| owner.is_closed()) {
        sessions.remove(session);
    }
    result
}

impl LocalBus {
    fn with<T>(&self, session: &SessionId, act: impl FnOnce(&mut Hub) -> T) -> T {
        with(&self.sessions, session, act)
    }
}

impl Bus for LocalBus {
    fn publish(&self, session: &SessionId, live: Live) {
        self.with(session, |hub| {
            for follower in hub.followers.iter().filter_map(Weak::upgrade) {
                follower.push(live.clone());
            }
        });
    }

    fn subscribe(&self, session: &SessionId) -> Box<dyn LiveFeed> {
        let queue = Arc::new(Queue::default());
        self.with(session, |hub| hub.followers.push(Arc::downgrade(&queue)));
        let sessions = Arc::downgrade(&self.sessions);
        Box::new(LocalFeed { queue, sessions, session: session.clone() })
    }

    fn request(
        &self,
        session: &SessionId,
        command: Command,
    ) -> BoxFuture<'_, Result<Reply, BusError>> {
        let owner = self.with(session, |hub| hub.owner.as_ref().map(|(_, owner)| owner.clone()));
        let session = session.clone();
        async move {
            let Some(owner) = owner else { return Err(BusError::NoOwner { session }) };
            let (reply, answer) = oneshot::channel();
            match owner.try_send(Request { command: Box::new(command), reply }) {
                Ok(()) => answer.await.unwrap_or(Err(BusError::Lost { session })),
                Err(Unsent::Full(_)) => Err(BusError::Overloaded { session }),
                Err(Unsent::Closed(_)) => Err(BusError::NoOwner { session }),
            }
        }
        .boxed()
    }

    fn has_owner(&self, session: &SessionId) -> bool {
        self.with(session, |hub| hub.owner.as_ref().is_some_and(|(_, owner)| !owner.is_closed()))
    }

    fn serve(&self, session: &SessionId, epoch: Epoch) -> Requests {
        let (owner, requests) = queue(COMMANDS_MAX);
        self.with(session, |hub| hub.owner = Some((epoch, owner)));
        requests
    }
}

impl Queue {
    fn push(&self, live: Live) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.events.len() >= QUEUE_MAX {
            waiting.events.clear();
            waiting.lagged = true;
        }
        if !waiting.lagged {
            waiting.events.push_back(live);
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    fn pop(&self) -> Option<Followed> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut waiting.lagged) {
            return Some(Followed::Lagged);
        }
        let next = waiting.events.pop_front();
        if next.is_none() && waiting.events.capacity() > QUEUE_KEPT {
            waiting.events = VecDeque::new();
        }
        next.map(Followed::Live)
    }
}

struct LocalFeed {
    queue: Arc<Queue>,
    sessions: Weak<Hubs>,
    session: SessionId,
}

impl Drop for LocalFeed {
    fn drop(&mut self) {
        if let Some(sessions) = self.sessions.upgrade() {
            let gone = Arc::downgrade(&self.queue);
            let stays = |follower: &Weak<Queue>| !follower.ptr_eq(&gone);
            with(&sessions, &self.session, |hub| hub.followers.retain(stays));
        }
    }
}

impl LiveFeed for LocalFeed {
    fn next(&mut self) -> BoxFuture<'_, Followed> {
        async {
            loop {
                if let Some(followed) = self.queue.pop() {
                    return followed;
                }
                self.queue.arrived.notified().await;
            }
        }
        .boxed()
    }
}

/// Whether something is output of work, not part of an answer.
fn is_output(item: &DeltaItem) -> bool {
    matches!(item, DeltaItem::Output { .. } | DeltaItem::Task { .. })
}

/// The texts that are being written, each from its beginning, for readers that join.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    items: Vec<Delta>,
}

impl Growing {
    /// Where the next byte of an item goes.
    pub(crate) fn length(&self, item: &DeltaItem) -> u64 {
        self.items
            .iter()
            .find(|delta| delta.item == *item)
            .map_or(0, |delta| delta.offset + delta.text.len() as u64)
    }

    /// Adds a delta. Of tool output only the last `output_max` bytes are kept.
    pub(crate) fn add(&mut self, delta: &Delta, output_max: usize) {
        let Some(growing) = self.items.iter_mut().find(|growing| growing.item == delta.item) else {
            self.items.push(delta.clone());
            return;
        };
        if delta.offset != growing.offset + growing.text.len() as u64 {
            growing.offset = delta.offset;
            growing.text.clear();
        }
        growing.text.push_str(&delta.text);
        if is_output(&growing.item) && growing.text.len() > 2 * output_max {
            let mut cut = growing.text.len() - output_max;
            while !growing.text.is_char_boundary(cut) {
                cut += 1;
            }
            growing.text.drain(..cut);
            growing.offset += cut as u64;
        }
    }

    /// Bytes of the answer so far.
    pub(crate) fn answer_bytes(&self) -> usize {
        let is_said = |item: &DeltaItem| !is_output(item) && *item != DeltaItem::Wait;
        let answer = self.items.iter().filter(|delta| is_said(&delta.item));
        answer.map(|delta| delta.text.len()).sum()
    }

    /// Forgets what the model was writing: it was committed, or its attempt failed.
    pub(crate) fn forget_answer(&mut self) {
        self.items.retain(|delta| is_output(&delta.item));
    }

    /// Forgets a call's output.
    pub(crate) fn forget_call(&mut self, call: &CallId) {
        self.items.retain(
            |delta| !matches!(&delta.item, DeltaItem::Output { call: other } if other == call),
        );
    }

    /// Gives back the room of what was forgotten.
    pub(crate) fn rest(&mut self) {
        self.items.shrink_to_fit();
    }

    /// Forgets a background task's output.
    pub(crate) fn forget_task(&mut self, task: &TaskId) {
        self.items.retain(
            |delta| !matches!(&delta.item, DeltaItem::Task { task: other } if other == task),
        );
    }

    /// The texts of the answer so far, in order of their blocks.
    pub(crate) fn answer_texts(&self) -> Vec<String> {
        let mut texts: Vec<(u32, String)> = Vec::new();
        for delta in &self.items {
            if let DeltaItem::Text { block } = delta.item {
                texts.push((block, delta.text.clone()));
            }
        }
        texts.sort_by_key(|(block, _)| *block);
        texts.into_iter().map(|(_, text)| text).filter(|text| !text.is_empty()).collect()
    }

    pub(crate) fn snapshot(&self) -> Vec<Delta> {
        self.items.clone()
    }
}

/// Everything that happens to one session after a cursor: entries once and in order, a mark where the past ends, then entries and deltas as
/// they come. Dropping it, or a future of [`OwnEvents::next`], is safe at any time.
pub(crate) struct OwnEvents {
    pub(super) store: Store,
    pub(super) bus: Arc<dyn Bus>,
    session: SessionId,
    feed: Box<dyn LiveFeed>,
    phase: Phase,
    /// Asked for and not there yet. Kept while others are heard, so that a session and its store are asked once.
    attaching: Option<BoxFuture<'static, Result<Attached, JournalError>>>,
    reading: Option<BoxFuture<'static, Result<Vec<Entry>, JournalError>>>,
    /// The last entry that was given out or is in `ready`.
    cursor: Seq,
    marked: bool,
    whom: Whom,
    /// Subagents that were open when the past ended.
    children: Vec<SessionId>,
    ready: VecDeque<AgentEvent>,
    /// How far each growing item was given out.
    given: HashMap<(TurnNo, StepNo, u32, DeltaItem), u64>,
    /// The last attempt whose end was given out; deltas of it and of earlier ones are void.
    answered: (TurnNo, StepNo, u32),
    /// The last step that was given out.
    stepped: (TurnNo, StepNo),
    /// Its settled calls.
    settled: BTreeSet<CallId>,
}

enum Phase {
    /// A subagent that was opened a moment ago: its first entry will be told.
    Unborn,
    Attach,
    Read {
        tip: Seq,
        growing: Vec<Delta>,
    },
    Live,
}

impl std::fmt::Debug for OwnEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnEvents({} after {})", self.session, self.cursor)
    }
}

impl OwnEvents {
    pub(crate) fn new(
        store: Store,
        bus: Arc<dyn Bus>,
        (session, after): (SessionId, Seq),
        whom: Whom,
    ) -> Self {
        let feed = bus.subscribe(&session);
        Self {
            store,
            bus,
            session,
            feed,
            phase: Phase::Attach,
            attaching: None,
            reading: None,
            cursor: after,
            marked: false,
            whom,
            children: Vec::new(),
            ready: VecDeque::new(),
            given: HashMap::new(),
            answered: (0, 0, 0),
            stepped: (0, 0),
            settled: BTreeSet::new(),
        }
    }

    /// The last entry that was given out or is about to be.
    pub(crate) fn cursor(&self) -> Seq {
        self.cursor
    }

    /// Whether something is about to be given out.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn has_children(&self) -> bool {
        !self.children.is_empty()
    }

    /// Subagents that were open when the past ended.
    pub(crate) fn open_children(&self) -> Vec<SessionId> {
        self.children.clone()
    }

    /// The next event. It waits for as long as nothing happens; it never ends by itself.
    ///
    /// # Errors
    /// When the journal cannot be read. Calling again tries again from the same place.
    pub(crate) async fn next(&mut self) -> Result<AgentEvent, JournalError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match &self.phase {
                Phase::Unborn => {
                    self.feed.next().await;
                    self.phase = Phase::Attach;
                }
                Phase::Attach => {
                    let folds = !self.marked && self.whom != Whom::Alone && self.cursor > 0;
                    let (store, bus) = (self.store.clone(), Arc::clone(&self.bus));
                    let session = self.session.clone();
                    // Boxed, as reading is: a stream is small while nothing happens.
                    let begin = || attach(store, bus, session, folds).boxed();
                    let Attached { tip, growing, children } =
                        match Box::pin(kept(&mut self.attaching, begin)).await {
                            Err(JournalError::NotFound { .. }) if self.is_of_parent() => {
                                self.phase = Phase::Unborn;
                                continue;
                            }
                            attached => attached?,
                        };
                    if !self.marked {
                        self.children = children.unwrap_or_default();
                    }
                    self.phase = Phase::Read { tip, growing };
                }
                Phase::Read { tip, .. } if self.cursor < *tip => {
                    let (tip, after) = (*tip, self.cursor);
                    let (store, session) = (self.store.clone(), self.session.clone());
                    let begin = || read_on(store, session, after).boxed();
                    let entries = Box::pin(kept(&mut self.reading, begin)).await?;
                    for entry in entries.into_iter().filter(|entry| entry.seq <= tip) {
                        self.give_entry(Arc::new(entry));
                    }
                }
                Phase::Read { .. } => self.catch_up(),
                Phase::Live => match self.live().await {
                    Followed::Lagged => self.phase = Phase::Attach,
                    Followed::Live(Live::Delta(delta)) => self.give_delta((*delta).clone()),
                    Followed::Live(Live::Entry(entry)) if entry.seq <= self.cursor => {}
                    Followed::Live(Live::Entry(entry)) if entry.seq == self.cursor + 1 => {
                        self.give_entry(entry);
                    }
                    Followed::Live(Live::Entry(entry)) => {
                        self.phase = Phase::Read { tip: entry.seq, growing: Vec::new() }
                    }
                },
            }
        }
    }

    /// What comes next. It may be long until then, so that no room is kept for it.
    async fn live(&mut self) -> Followed {
        self.ready = VecDeque::new();
        self.feed.next().await
    }

    fn is_of_parent(&self) -> bool {
        matches!(self.whom, Whom::ChildOf)
    }

    fn catch_up(&mut self) {
        let Phase::Read { growing, .. } = std::mem::replace(&mut self.phase, Phase::Live) else {
            return;
        };
        if !std::mem::replace(&mut self.marked, true) {
            self.ready.push_back(AgentEvent::CaughtUp { seq: self.cursor });
        }
        for delta in growing {
            self.give_delta(delta);
        }
    }

    fn give_entry(&mut self, entry: Arc<Entry>) {
        let turn = entry.turn.unwrap_or(0);
        if let Event::AssistantMessage(AssistantMessage { step, attempt, .. })
        | Event::ModelFailed(ModelFailed { step, attempt, .. }) = &entry.event
        {
            self.answered = (turn, *step, *attempt);
            self.given.retain(|(_, _, _, item), _| is_output(item));
        }
        if let Event::StepStarted(started) = &entry.event {
            self.settled.clear();
            self.given.retain(|(_, _, _, item), _| matches!(item, DeltaItem::Task { .. }));
            self.stepped = (turn, started.step);
        }
        if let Event::ToolSettled(settled) = &entry.event {
            self.settled.insert(settled.call.clone());
        }
        if let Event::TurnEnded(_) = &entry.event {
            // Nothing of it comes any more.
            self.answered = (turn, StepNo::MAX, u32::MAX);
            self.stepped = (turn, StepNo::MAX);
            self.settled = BTreeSet::new();
            self.given.retain(|(_, _, _, item), _| matches!(item, DeltaItem::Task { .. }));
            self.given.shrink_to_fit();
        }
        if let Event::TaskSettled(settled) = &entry.event {
            let ended = DeltaItem::Task { task: settled.task.clone() };
            self.given.retain(|(_, _, _, item), _| *item != ended);
        }
        self.cursor = entry.seq;
        self.ready.push_back(AgentEvent::Entry(entry));
    }

    /// Whether the entry that this delta announced was given out, or its attempt is void.
    fn is_void(&self, delta: &Delta) -> bool {
        match &delta.item {
            DeltaItem::Output { call } => {
                (delta.turn, delta.step) < self.stepped || self.settled.contains(call)
            }
            // The session's task sends none of a task that has ended.
            DeltaItem::Task { .. } => false,
            DeltaItem::Text { .. }
            | DeltaItem::Thinking { .. }
            | DeltaItem::Arguments { .. }
            | DeltaItem::Wait => (delta.turn, delta.step, delta.attempt) <= self.answered,
        }
    }

    /// Gives out what of a delta is new.
    fn give_delta(&mut self, mut delta: Delta) {
        if self.is_void(&delta) {
            return;
        }
        let given = self
            .given
            .entry((delta.turn, delta.step, delta.attempt, delta.item.clone()))
            .or_insert(0);
        let end = delta.offset + delta.text.len() as u64;
        if end <= *given {
            return;
        }
        if delta.offset < *given {
            let known = usize::try_from(*given - delta.offset).expect("it is within the text");
            let Some(rest) = delta.text.get(known..) else { return };
            delta = Delta { offset: *given, text: rest.to_owned(), ..delta };
        }
        *given = end;
        self.ready.push_back(AgentEvent::Delta(delta));
    }
}

/// The open subagents of a session that nobody owns.
async fn sleeping_children(
    store: &Store,
    session: &SessionId,
) -> Result<Vec<SessionId>, JournalError> {
    let state = store.fold(session).await?.state;
    Ok(state.children.into_iter().map(|child| child.opened.child).collect())
}

/// Goes on with a future that was begun before, or begins it.
async fn kept<T>(
    begun: &mut Option<BoxFuture<'static, T>>,
    begin: impl FnOnce() -> BoxFuture<'static, T>,
) -> T {
    let result = begun.get_or_insert_with(begin).await;
    *begun = None;
    result
}

/// Where the session stands: from its owner when it has one, else from the journal; the latter is folded for its open subagents when `folds`.
async fn attach(
    store: Store,
    bus: Arc<dyn Bus>,
    session: SessionId,
    folds: bool,
) -> Result<Attached, JournalError> {
    let ask = bus.request(&session, Command::Attach);
    let deadline = store.clock.sleep_until(store.clock.now().after(ATTACH_MS));
    match select(ask, deadline).await {
        Either::Left((Ok(Reply::Attached(attached)), _)) => Ok(attached),
        Either::Left((
            Ok(Reply::Admitted(_) | Reply::Done | Reply::Status(_) | Reply::Rejected(_)) | Err(_),
            _,
        ))
        | Either::Right(_) => {
            let tail = store.journal.tail(&session).await?;
            let children = match folds {
                true => Some(sleeping_children(&store, &session).await?),
                false => None,
            };
            Ok(Attached { tip: tail.next - 1, growing: Vec::new(), children })
        }
    }
}

/// Entries after `after`. With none, a reader of another place may be behind the writer for a moment.
async fn read_on(store: Store, session: SessionId, after: Seq) -> Result<Vec<Entry>, JournalError> {
    let entries = store.read(&session, after).await?;
    if entries.is_empty() {
        store.clock.sleep_until(store.clock.now().after(READ_AGAIN_MS)).await;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_nobody_follows_or_owns_leaves_nothing_on_the_bus() {
        let (bus, session) = (LocalBus::default(), SessionId::parse("s").expect("it is an id"));
        let (first, second) = (bus.subscribe(&session), bus.subscribe(&session));
        drop(first);
        assert_eq!(bus.with(&session, |hub| hub.followers.len()), 1);
        drop(second);
        assert!(bus.sessions.lock().expect("nobody panics").is_empty());
        let requests = bus.serve(&session, 1);
        assert!(bus.has_owner(&session));
        drop(requests);
        assert!(!bus.has_owner(&session));
        assert!(bus.sessions.lock().expect("nobody panics").is_empty());
    }
}
