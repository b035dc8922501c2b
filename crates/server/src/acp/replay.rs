//! Telling a client the past of a session before it is told that the session is open, and what it is told right behind that.

use std::sync::Arc;

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::SessionUpdate;

use super::following::Following;
use super::lane::{Done, Lane};
use super::opening::Answer;
use super::project::{Projector, View};
use super::work::Leash;

/// How far a client has come to know a session.
#[derive(Default)]
pub(super) struct Replay {
    /// Those who wait until the folders that they name have been looked at.
    pub(super) looked_for: Vec<LookedFor>,
    count: u64,
    /// Those who wait until the past has been told.
    waiting: Vec<Waiting>,
    /// Whether the client has been told that the session is open.
    is_known: bool,
    /// What is told once the session is known to the client.
    pub(super) told_later: Vec<SessionUpdate>,
}

/// One who is answered once the past has been told.
struct Waiting {
    answer: Box<Answer>,
    /// Listens until then whether it is wanted any more.
    _withdrawal: Option<Leash>,
}

/// One who opens a session once more.
pub(super) struct LookedFor {
    pub(super) no: u64,
    pub(super) answer: Answer,
    /// Whether its folders are there; those that asked before it are answered first.
    pub(super) is_found: bool,
    /// How many servers of tools it brings.
    pub(super) servers: usize,
    pub(super) _look: Leash,
}

impl Replay {
    /// The number of the next look.
    pub(super) fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Says to all who wait for the session or its past that they do not get it.
    pub(super) fn refuse_all(&mut self, error: &Error) {
        for looked_for in std::mem::take(&mut self.looked_for) {
            looked_for.answer.refuse(error.clone());
        }
        for waiting in std::mem::take(&mut self.waiting) {
            waiting.answer.refuse(error.clone());
        }
    }
}

impl Lane {
    /// Answers that the session is open; to one who loads it, after all that happened before.
    pub(super) fn opened(&mut self, answer: Answer) {
        let is_replaying = self.is_replaying();
        if !is_replaying && !matches!(answer, Answer::Load(_)) {
            return self.welcome([answer]);
        }
        // One that follows the session already is told all of it, wanted or not.
        let _withdrawal = match &answer {
            Answer::Load(responder) if !self.replay.is_known => {
                let cancellation = responder.cancellation();
                Some(self.work.leashed(async move {
                    cancellation.cancelled().await;
                    Done::Unwanted
                }))
            }
            _ => None,
        };
        // What is being told to it already is told once, and nobody is answered in the middle of that.
        self.replay.waiting.push(Waiting { answer: Box::new(answer), _withdrawal });
        if !is_replaying {
            self.begin_again();
        }
    }

    /// The folders of one who opens the session once more have been looked at.
    pub(super) fn looked(&mut self, no: u64, found: Result<(), Error>) {
        let all = &mut self.replay.looked_for;
        let Some(at) = all.iter().position(|one| one.no == no) else { return };
        if let Err(error) = found {
            all.remove(at).answer.refuse(error);
            // The one before may have gone meanwhile, and the session was kept for this one.
            self.work.begin(std::future::ready(Done::Unwanted));
        } else {
            all[at].is_found = true;
        }
        while self.replay.looked_for.first().is_some_and(|first| first.is_found) {
            let LookedFor { answer, servers, .. } = self.replay.looked_for.remove(0);
            self.brought(servers);
            self.opened(answer);
        }
    }

    /// Tells the session from its beginning, as if nothing of it had been told.
    fn begin_again(&mut self) {
        let view = View::of(&self.out.client, &self.session);
        self.project = Projector::new(view, Arc::clone(&self.place));
        self.questions.forget();
        self.met.clear();
        self.unmet.clear();
        self.is_caught_up = false;
        self.following = Following::of(&self.session, 0);
    }

    /// The past has been told: whoever waited for that is answered.
    pub(super) fn told_all(&mut self) {
        let waiting = std::mem::take(&mut self.replay.waiting);
        if !waiting.is_empty() {
            self.welcome(waiting.into_iter().map(|waiting| *waiting.answer));
        }
    }

    /// Refuses those who do not want to be told the past any more, and says whether nobody is left who wants the session.
    pub(super) fn is_unwanted(&mut self) -> bool {
        let is_withdrawn = |waiting: &mut Waiting| waiting.answer.is_withdrawn();
        for gone in self.replay.waiting.extract_if(.., is_withdrawn) {
            gone.answer.refuse(Error::request_cancelled());
        }
        let is_wanted = !self.replay.waiting.is_empty() || !self.replay.looked_for.is_empty();
        !self.replay.is_known && !is_wanted
    }

    /// Whether somebody waits to be told the past.
    pub(super) fn is_replaying(&self) -> bool {
        !self.replay.waiting.is_empty()
    }

    /// Answers those who opened the session, and tells what a client is told once it knows it.
    fn welcome(&mut self, answers: impl IntoIterator<Item = Answer>) {
        self.replay.is_known = true;
        for answer in answers {
            answer.give(&self.name, self.options.all());
        }
        for update in std::mem::take(&mut self.replay.told_later) {
            self.update(update);
        }
        let workspace = Arc::clone(&self.workspace);
        let listed = async move { Done::Listed(workspace.commands().await) };
        self.work.begin(listed);
    }
}
