//! Subscriptions of one client: the events of a session as notifications, in order, after a cursor.

use oarlock_core::EventStream;
use oarlock_core::ids::SessionId;
use oarlock_core::service::{Cursor, SessionError, SessionService};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::message::{Fault, Id, answer, notification};
use crate::lines::Outgoing;
use crate::operations::{Params, contained, session_id};
use crate::service::Sessions;

/// Which events.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SubscribeRequest {
    /// The cursor; the beginning when absent.
    after: Cursor,
}

/// Which subscription.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnsubscribeRequest {
    pub(super) subscription: u64,
}

/// A subscription that begins.
pub(super) struct Subscription {
    /// Its number on this connection.
    pub(super) number: u64,
    /// The request that wants it, unless nobody wants to know.
    pub(super) id: Option<Id>,
    /// Is told the request that ends it, and answers that as its last word.
    pub(super) stop: oneshot::Receiver<Option<Id>>,
    pub(super) out: Outgoing,
}

impl Subscription {
    /// Lives until it is stopped, the client has gone, or there is nothing more to be had.
    pub(super) async fn run(mut self, sessions: Sessions, params: Params) {
        let begun = contained(begin(&sessions, params)).await;
        let told = match &begun {
            Ok(_) => Ok(format!(r#"{{"subscription":{}}}"#, self.number)),
            Err(error) => Err(Fault::from(error.clone())),
        };
        if let Some(id) = &self.id {
            let line = answer(id, told.as_deref());
            if !self.out.send(line).await {
                return;
            }
        }
        let stopped = match begun {
            Ok((session, events)) => self.tell(&session, events).await,
            Err(_) => None,
        };
        // A client that has gone needs no answer.
        if let Some(id) = stopped {
            self.out.send(answer(&id, Ok("{}"))).await;
        } else if let Some(id) = self.too_late() {
            let fault = Fault::no_subscription(self.number);
            self.out.send(answer(&id, Err(&fault))).await;
        }
    }

    /// Tells events until there are no more, or a request ends that: its id.
    async fn tell(&mut self, session: &SessionId, events: EventStream) -> Option<Id> {
        let (stop, out) = (&mut self.stop, &self.out);
        tokio::select! {
            biased;
            stopped = stop => stopped.ok().flatten(),
            () = tell(self.number, session, events, out) => None,
        }
    }

    /// The request that was to end what had ended by itself. Whoever comes later is told by the connection.
    fn too_late(&mut self) -> Option<Id> {
        self.stop.close();
        self.stop.try_recv().ok().flatten()
    }
}

async fn begin(
    sessions: &Sessions,
    mut params: Params,
) -> Result<(SessionId, EventStream), SessionError> {
    let session = session_id(&mut params)?;
    let request: SubscribeRequest = crate::operations::read(params)?;
    let events = sessions.subscribe_session_events(&session, request.after).await?;
    Ok((session, events))
}

/// Tells a client of events until it has gone or there are no more.
async fn tell(number: u64, session: &SessionId, mut events: EventStream, out: &Outgoing) {
    let head = format!(r#""subscription":{number},"session_id":"{session}""#);
    loop {
        let event = match events.next().await {
            Ok(event) => event,
            Err(error) => {
                let why = Fault::from(SessionError::from(error)).json();
                let line = notification("events/ended", &format!(r#"{{{head},"error":{why}}}"#));
                // A client that has gone does not miss it.
                out.send(line).await;
                return;
            }
        };
        let json = serde_json::to_string(&event).expect("an event has string keys");
        let line = notification("session/event", &format!(r#"{{{head},"event":{json}}}"#));
        if !out.send(line).await {
            return;
        }
    }
}
