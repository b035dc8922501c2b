//! What of a session is shown by its lane, and when.

use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::v1::schema::{ContentChunk, MessageId, SessionUpdate};
use futures::future::BoxFuture;
use futures::{FutureExt, future};
use oarlock_core::event::AgentEvent;
use oarlock_core::ids::BlobId;
use oarlock_core::new_session_id;
use oarlock_core::ports::journal::Blobs;

use super::content::text;
use super::lane::Lane;
use super::project::{Pictures, warning};

/// How long reading the pictures of an entry may take; those that are not read by then are named. Nothing else is done for the session meanwhile,
/// and a cancellation takes a quarter of a second at most.
const PICTURES_WITHIN: Duration = Duration::from_millis(200);

impl Lane {
    /// Shows an event, and takes note of the questions in it.
    pub(super) async fn show(&mut self, event: &AgentEvent) {
        // Hardly any event has pictures, and a deadline has its price.
        let named = Pictures::of(event);
        let pictures = match named.is_empty() {
            true => Pictures::default(),
            false => Box::pin(read(named, self.session.core().ports().blobs.as_ref())).await,
        };
        let now = self.session.core().ports().clock.now();
        for update in self.project.updates(event, &pictures, now) {
            self.update(update);
        }
        self.show_waiting();
        match event {
            AgentEvent::Entry(entry) => {
                let session = self.session.clone();
                self.note(&[], &entry.event, session);
            }
            AgentEvent::Scoped { scope, event } => {
                if let (AgentEvent::Entry(entry), Some(child)) = (&**event, scope.last()) {
                    let session = self.session.child(child);
                    self.note(scope, &entry.event, session);
                }
            }
            AgentEvent::CaughtUp { .. } | AgentEvent::Delta(_) => {}
        }
    }

    /// Completes when something is to be told although nothing happens, and the client has room for it.
    pub(super) fn behind(&self) -> BoxFuture<'static, ()> {
        let Some(due) = self.project.due() else { return future::pending().boxed() };
        let gauge = Arc::clone(&self.out.gauge);
        let due = self.session.core().ports().clock.sleep_until(due);
        async move {
            due.await;
            gauge.room().await;
        }
        .boxed()
    }

    /// Tells what is due.
    pub(super) fn catch_up(&mut self) {
        let now = self.session.core().ports().clock.now();
        for update in self.project.overdue(now) {
            self.update(update);
        }
    }
}

impl Lane {
    /// Says something that is not part of the conversation, as a message of its own.
    pub(super) fn say(&self, words: &str) {
        let name = MessageId::new(format!("s{}", new_session_id()));
        let chunk = ContentChunk::new(text(words)).message_id(name);
        self.update(SessionUpdate::AgentMessageChunk(chunk));
    }

    /// Servers of tools that the client brings. None of them is started here, and the person is told.
    pub(super) fn brought(&mut self, servers: usize) {
        if servers > 0 {
            let words =
                "The MCP servers that this client is configured with are not available yet.";
            tracing::warn!(session = %self.session.id(), count = servers, words);
            self.warn_later(words, "");
        }
    }

    /// What of the folder's configuration is not applied. The person is told.
    pub(super) fn kept_out(&mut self) {
        let kept_out = self.workspace.kept_out();
        if !kept_out.is_empty() {
            let title = "Some of this folder's configuration is not applied.";
            self.warn_later(title, &kept_out.join("\n"));
        }
    }

    /// Warns the person once the client knows the session, where it can show that.
    fn warn_later(&mut self, title: &str, description: &str) {
        if self.out.client.session.as_ref().is_some_and(|session| session.notices.is_some()) {
            self.replay.told_later.push(warning(title, description));
        }
    }
}

async fn read(named: Vec<(BlobId, usize)>, blobs: &dyn Blobs) -> Pictures {
    let mut pictures = Pictures::default();
    let read = async {
        for (blob, bytes) in named {
            match blobs.read(&blob, 0, bytes).await {
                Ok((body, _)) => drop(pictures.0.insert(blob, body)),
                Err(error) => tracing::warn!(%blob, %error, "a picture is not shown"),
            }
        }
    };
    if tokio::time::timeout(PICTURES_WITHIN, read).await.is_err() {
        tracing::warn!("pictures were not read in time");
    }
    pictures
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use oarlock_core::event::{Delivery, Entry, Event, InputAdmitted, InputSource};
    use oarlock_core::ids::Timestamp;
    use oarlock_core::message::Part;
    use oarlock_core::ports::journal::{BlobWriter, JournalError};
    use tokio::time::Instant;

    use super::*;

    /// A store that does not answer.
    #[derive(Debug)]
    struct Silent;

    impl Blobs for Silent {
        fn put(&self, _: Bytes) -> BoxFuture<'_, Result<BlobId, JournalError>> {
            future::pending().boxed()
        }

        fn writer(&self) -> BoxFuture<'_, Result<Box<dyn BlobWriter>, JournalError>> {
            future::pending().boxed()
        }

        fn read<'a>(
            &'a self,
            _: &'a BlobId,
            _: u64,
            _: usize,
        ) -> BoxFuture<'a, Result<(Bytes, u64), JournalError>> {
            future::pending().boxed()
        }

        fn probe(&self) -> BoxFuture<'_, Result<(), JournalError>> {
            future::pending().boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_picture_that_the_store_does_not_give_delays_a_cancellation_by_less_than_its_time() {
        let blob = BlobId::of(b"a picture");
        let content = vec![Part::Image { media_type: "image/png".to_owned(), blob, bytes: 9 }; 8];
        let (key, goal, output) = (None, None, None);
        let (source, delivery) = (InputSource::User, Delivery::Queue);
        let event = Event::InputAdmitted(InputAdmitted {
            key,
            source,
            delivery,
            content,
            goal,
            output,
            peer: None,
        });
        let entry =
            Entry { seq: 1, at: Timestamp::default(), turn: None, scope: Vec::new(), event };
        let begun = Instant::now();
        let named = Pictures::of(&AgentEvent::Entry(Arc::new(entry)));
        assert_eq!(named.len(), 8);
        let pictures = read(named, &Silent).await;
        assert!(pictures.0.is_empty());
        assert!(begun.elapsed() < Duration::from_millis(250), "{:?}", begun.elapsed());
    }
}
