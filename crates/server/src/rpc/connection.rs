//! One client: its requests under way at the same time, its subscriptions, and its end. Nothing in here waits while the client's next line does.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use oarlock_core::service::SessionError;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::events::{Subscription, UnsubscribeRequest};
use super::message::{Call, Fault, Id, answer, read};
use crate::lines::{Incoming, Outgoing, Streams};
use crate::operations::{self, Operation, Params, REQUEST_BYTES, named};
use crate::service::Sessions;

/// Requests under way at the same time; one more is refused.
const UNDER_WAY_MAX: usize = 64;
/// Places beside them for requests that stop a turn or let one go on.
const URGENT_MAX: usize = 16;
/// Subscriptions of one client at the same time.
const SUBSCRIPTIONS_MAX: usize = 256;
/// Answers that are made or wait to be written. With so many the client's next line waits, too.
const ANSWERS_MAX: usize = 256;
/// How long it waits for the client to read one of them; then the connection ends.
const UNREAD_FOR: Duration = Duration::from_secs(1);

/// What requests under way may take to be answered when the client has gone.
const ANSWERING: Duration = Duration::from_millis(1_300);
/// What sessions may take to end in good order after that; what waits for their turns is answered meanwhile.
const CLOSING: Duration = Duration::from_millis(350);
/// What the last lines may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Serves one client until its stream ends or `until` is there. What is under way then is answered for up to 1.3 seconds; turns that still run are
/// cancelled, and all is over within two seconds.
///
/// # Errors
/// When a line cannot be read, or the client reads no answers.
pub async fn serve(
    sessions: Sessions,
    streams: Streams,
    until: impl Future<Output = ()>,
) -> io::Result<()> {
    let Streams { mut incoming, outgoing, written } = streams;
    let mut connection = Connection {
        sessions,
        out: outgoing,
        under_way: HashMap::new(),
        places: Places::default(),
        answers: JoinSet::new(),
        subscriptions: HashMap::new(),
        streams: JoinSet::new(),
        number: 0,
    };
    let served = connection.listen(&mut incoming, until).await;
    connection.end().await;
    drop(connection);
    // A client that does not read has had its time.
    drop(timeout(LAST_WORDS, written).await);
    served
}

/// Which places requests take.
#[derive(Debug, Default)]
struct Places {
    plain: usize,
    urgent: usize,
}

/// What a request under way leaves when it has ended.
#[derive(Debug)]
struct Ended {
    id: Option<Id>,
    place: Place,
}

/// What a request takes while it is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Plain,
    Urgent,
    /// It only tells something.
    Nothing,
}

struct Connection {
    sessions: Sessions,
    out: Outgoing,
    /// What cancels the requests under way, by their ids.
    under_way: HashMap<Id, oneshot::Sender<()>>,
    places: Places,
    answers: JoinSet<Ended>,
    /// What stops the subscriptions, by their numbers.
    subscriptions: HashMap<u64, oneshot::Sender<Option<Id>>>,
    streams: JoinSet<u64>,
    /// The number of the last subscription.
    number: u64,
}

/// What the client or its requests did.
enum Next {
    Line(Option<io::Result<String>>),
    Answered(Ended),
    Unfollowed(u64),
    /// Nothing for long, with as many answers waiting as may.
    Unread,
    End,
}

/// The request whose answer nobody wants any longer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelRequest {
    id: Box<RawValue>,
}

impl Connection {
    async fn listen(
        &mut self,
        incoming: &mut Incoming,
        until: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut until = pin!(until);
        loop {
            let is_full = self.answers.len() >= ANSWERS_MAX;
            let patience = timeout(UNREAD_FOR, std::future::pending::<()>());
            let next = tokio::select! {
                biased;
                () = &mut until => Next::End,
                Some(Ok(ended)) = self.answers.join_next() => Next::Answered(ended),
                Some(Ok(number)) = self.streams.join_next() => Next::Unfollowed(number),
                line = incoming.next(), if !is_full => Next::Line(line),
                _ = patience, if is_full => Next::Unread,
            };
            match next {
                Next::End | Next::Line(None) => return Ok(()),
                Next::Line(Some(Err(error))) => return Err(error),
                Next::Line(Some(Ok(line))) => self.take(&line),
                Next::Answered(ended) => self.ended(&ended),
                Next::Unfollowed(number) => {
                    self.subscriptions.remove(&number);
                }
                Next::Unread => {
                    let why = "the client sends requests and reads no answer";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
            }
        }
    }

    /// Takes a line: a request begins, or is refused.
    fn take(&mut self, line: &str) {
        let Call { id, method, params } = match read(line) {
            Ok(call) => call,
            Err((id, fault)) => return self.say(Some(id), Err(&fault)),
        };
        if line.len() > REQUEST_BYTES {
            return self.say(id, Err(&Fault::too_large(line.len())));
        }
        if let Some(id) = id.as_ref().filter(|id| self.under_way.contains_key(id)) {
            return self.say(Some(id.clone()), Err(&Fault::same_id(id)));
        }
        match (method.as_str(), named(&method)) {
            ("events/subscribe", _) => self.subscribe(id, params),
            ("events/unsubscribe", _) => self.unsubscribe(id, params),
            ("rpc/cancel", _) => self.cancel(id, params),
            (_, Some(operation)) => self.begin(id, operation, params),
            (name, None) => self.say(id, Err(&Fault::no_method(name))),
        }
    }

    /// Tells an answer that is known. A notification has none.
    fn say(&mut self, id: Option<Id>, told: Result<&str, &Fault>) {
        let Some(id) = id else { return };
        let (out, line) = (self.out.clone(), answer(&id, told));
        self.answers.spawn(async move {
            // A client that has gone needs no answer.
            out.send(line).await;
            Ended { id: None, place: Place::Nothing }
        });
    }

    /// Begins an operation, if there is a place for it.
    fn begin(&mut self, id: Option<Id>, operation: &'static Operation, params: Params) {
        let Some(place) = self.places.take(operation) else {
            return self.say(id, Err(&Fault::overloaded(UNDER_WAY_MAX, "requests")));
        };
        let (cancel, mut cancelled) = oneshot::channel();
        // What has no id is never named.
        if let Some(id) = &id {
            self.under_way.insert(id.clone(), cancel);
        }
        let (out, work) = (self.out.clone(), operation.call(self.sessions.clone(), params));
        self.answers.spawn(async move {
            let told = tokio::select! {
                biased;
                Ok(()) = &mut cancelled => Err(Fault::cancelled()),
                done = work => done.map_err(Fault::from),
            };
            if let Some(id) = &id {
                let line = answer(id, told.as_ref().map(text));
                // A client that has gone needs no answer.
                out.send(line).await;
            }
            Ended { id, place }
        });
    }
}

impl Connection {
    /// Begins a subscription, whose first word is the answer.
    fn subscribe(&mut self, id: Option<Id>, params: Params) {
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return self.say(id, Err(&Fault::overloaded(SUBSCRIPTIONS_MAX, "subscriptions")));
        }
        self.number += 1;
        let (number, out, sessions) = (self.number, self.out.clone(), self.sessions.clone());
        let (stop, stopped) = oneshot::channel();
        self.subscriptions.insert(number, stop);
        let subscription = Subscription { number, id, stop: stopped, out };
        self.streams.spawn(async move {
            subscription.run(sessions, params).await;
            number
        });
    }

    /// Ends a subscription. It answers itself, behind the last event that it told.
    fn unsubscribe(&mut self, id: Option<Id>, params: Params) {
        let asked: Result<UnsubscribeRequest, SessionError> = operations::read(params);
        let number = match asked {
            Ok(UnsubscribeRequest { subscription }) => subscription,
            Err(error) => return self.say(id, Err(&Fault::from(error))),
        };
        let stop = self.subscriptions.remove(&number).ok_or_else(|| id.clone());
        if let Err(id) = stop.and_then(|stop| stop.send(id)) {
            self.say(id, Err(&Fault::no_subscription(number)));
        }
    }

    /// Answers a request before its time. Whatever it began goes on.
    fn cancel(&mut self, id: Option<Id>, params: Params) {
        let asked: Result<CancelRequest, SessionError> = operations::read(params);
        let meant = match asked {
            Ok(CancelRequest { id }) => id,
            Err(error) => return self.say(id, Err(&Fault::from(error))),
        };
        let cancel = Id::read(&meant).and_then(|meant| self.under_way.remove(&meant));
        let is_cancelled = cancel.is_some_and(|cancel| cancel.send(()).is_ok());
        self.say(id, Ok(&format!(r#"{{"cancelled":{is_cancelled}}}"#)));
    }

    /// A request was answered.
    fn ended(&mut self, ended: &Ended) {
        self.places.give_back(ended.place);
        if let Some(id) = &ended.id {
            self.under_way.remove(id);
        }
    }

    /// Answers what is under way, and lets go of the sessions.
    async fn end(&mut self) {
        let answered = async { while self.answers.join_next().await.is_some() {} };
        if timeout(ANSWERING, answered).await.is_ok() && self.sessions.are_asleep() {
            return;
        }
        let sessions = self.sessions.clone();
        let answered = async { while self.answers.join_next().await.is_some() {} };
        let ended = futures::future::join(sessions.let_go_of_all(), answered);
        if timeout(CLOSING, ended).await.is_err() {
            tracing::warn!(
                "a session did not end in time; its journal tells the rest when it is opened again"
            );
        }
    }
}

impl Places {
    /// A place for a request, if there is one.
    fn take(&mut self, operation: &Operation) -> Option<Place> {
        if self.plain < UNDER_WAY_MAX {
            self.plain += 1;
            return Some(Place::Plain);
        }
        let is_urgent = operation.is_urgent && self.urgent < URGENT_MAX;
        is_urgent.then(|| {
            self.urgent += 1;
            Place::Urgent
        })
    }

    fn give_back(&mut self, place: Place) {
        match place {
            Place::Plain => self.plain -= 1,
            Place::Urgent => self.urgent -= 1,
            Place::Nothing => {}
        }
    }
}

/// An answer of the table is JSON, and JSON is UTF-8.
fn text(json: &Bytes) -> &str {
    std::str::from_utf8(json).expect("what serde_json writes is UTF-8")
}
