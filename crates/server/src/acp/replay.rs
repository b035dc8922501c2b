//! Telling a client the past of a session before it is told that the session is open, and what it is told right behind that.

use std::sync::Arc;

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::SessionUpdate;
use futures::FutureExt;

use super::lane::{Done, Lane, Leash};
use super::opening::Answer;
use super::project::{Projector, View};

/// How far a client has come to know a session.
#[derive(Default)]
pub(super) struct Replay {
    /// What is answered once the past has been told.
    waiting: Vec<Answer>,
    /// Listens until then whether it is wanted any more.
    unwanted: Option<Leash>,
    /// Whether the client has been told that the session is open.
    is_known: bool,
    /// What is told once the session is known to the client.
    pub(super) told_later: Vec<SessionUpdate>,
}

impl Replay {
    /// Says to all who wait for the past that they are not told it.
    pub(super) fn refuse_all(&mut self, error: &Error) {
        for answer in std::mem::take(&mut self.waiting) {
            answer.refuse(error.clone());
        }
    }
}

impl Lane {
    /// Answers that the session is open; to one who loads it, after all that happened before.
    pub(super) fn opened(&mut self, answer: Answer) {
        match answer {
            // What is being told to it already is told once.
            answer @ Answer::Load(_) if !self.replay.waiting.is_empty() => {
                self.replay.waiting.push(answer);
            }
            Answer::Load(responder) => {
                // One that follows the session already is told all of it, wanted or not.
                if !self.replay.is_known {
                    let cancellation = responder.cancellation();
                    self.replay.unwanted = Some(self.leashed(async move {
                        cancellation.cancelled().await;
                        Done::Unwanted
                    }));
                }
                self.project = Projector::new(View::of(&self.out.client, &self.session));
                self.questions.forget();
                self.is_caught_up = false;
                self.events = self.session.events(0);
                self.replay.waiting = vec![Answer::Load(responder)];
            }
            answer => self.welcome(vec![answer]),
        }
    }

    /// The past has been told: whoever waited for that is answered.
    pub(super) fn told_all(&mut self) {
        self.replay.unwanted = None;
        let waiting = std::mem::take(&mut self.replay.waiting);
        if !waiting.is_empty() {
            self.welcome(waiting);
        }
    }

    /// The client does not want to be told any more of a session that it does not follow yet.
    pub(super) async fn unwanted(mut self) {
        for answer in std::mem::take(&mut self.replay.waiting) {
            answer.refuse(Error::request_cancelled());
        }
        self.leave().await;
    }

    /// Whether somebody waits to be told the past.
    pub(super) fn is_replaying(&self) -> bool {
        !self.replay.waiting.is_empty()
    }

    /// Answers those who opened the session, and tells what a client is told once it knows it.
    fn welcome(&mut self, answers: Vec<Answer>) {
        self.replay.is_known = true;
        for answer in answers {
            answer.give(&self.name, self.options.all());
        }
        for update in std::mem::take(&mut self.replay.told_later) {
            self.update(update);
        }
        let workspace = Arc::clone(&self.workspace);
        let listed = async move { Done::Listed(workspace.commands().await) };
        self.work.push(listed.boxed());
    }
}
