//! What a session asks a person, put to the one at the client. Whoever follows the session is asked; the first answer counts, and the others' questions
//! are withdrawn.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::event::{Event, Outcome, PermissionAsked};
use oarlock_core::ids::{CallId, SessionId};
use oarlock_core::message::Part;
use oarlock_core::{Command, DefaultSession, PermissionResolution, Rejection, SessionError};

use super::elicitation::{self, Supplied};
use super::lane::{Done, Lane};
use super::permission;
use super::project::name_of;
use super::work::Leash;

/// The open questions of a session and of its subagents, oldest first. Each is known by the name that the client has for its call.
#[derive(Default)]
pub(super) struct Questions {
    open: Vec<(String, Question)>,
}

/// An open question.
struct Question {
    session: DefaultSession,
    call: CallId,
    what: What,
    /// Once it is put to the person; dropping it withdraws it.
    put: Option<Leash>,
}

/// What is asked.
#[derive(Clone)]
enum What {
    /// Whether the call may run.
    Permission(PermissionAsked),
    /// What its answer is.
    Words,
}

/// How the question of a call was answered.
pub(super) struct Replied {
    key: String,
    session: DefaultSession,
    call: CallId,
    how: Reply,
}

enum Reply {
    Permission(PermissionResolution),
    Words(Supplied),
}

impl Questions {
    /// Forgets all of them, as for a client that is told the whole session once more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn withdraw(&mut self, which: impl Fn(&str, &Question) -> bool) {
        self.open.retain(|(key, question)| !which(key, question));
    }
}

impl Lane {
    /// Takes note of the questions of calls, and of the ends of both.
    pub(super) fn note(&mut self, scope: &[SessionId], event: &Event, session: DefaultSession) {
        match event {
            Event::PermissionAsked(asked) => {
                let what = What::Permission(asked.clone());
                self.arisen(name_of(scope, &asked.call), (session, &asked.call), what);
            }
            Event::InputRequested(asked) => {
                self.arisen(name_of(scope, &asked.call), (session, &asked.call), What::Words);
            }
            Event::PermissionAnswered(answered) => {
                self.questions.withdraw(|key, _| key == name_of(scope, &answered.call));
            }
            Event::ToolSettled(settled) => {
                self.questions.withdraw(|key, _| key == name_of(scope, &settled.call));
            }
            // A crash voids the questions of its turn; they are asked again. What words are waited for is waited for on.
            Event::TurnRecovered(_) => self.questions.withdraw(|_, question| {
                question.session.id() == session.id()
                    && matches!(question.what, What::Permission(_))
            }),
            Event::TurnEnded(_) => {
                self.questions.withdraw(|_, question| question.session.id() == session.id());
            }
            _ => {}
        }
    }

    fn arisen(&mut self, key: String, (session, call): (DefaultSession, &CallId), what: What) {
        let question = Question { session, call: call.clone(), what, put: None };
        self.questions.open.retain(|(other, _)| *other != key);
        self.questions.open.push((key, question));
        if self.is_caught_up {
            self.pose_all();
        }
    }

    /// Puts to the person what was not put to them.
    pub(super) fn pose_all(&mut self) {
        for at in 0..self.questions.open.len() {
            if self.questions.open[at].1.put.is_none() {
                let asked =
                    self.asking(at).map(|replied| replied.map_or(Done::Dropped, Done::Replied));
                self.questions.open[at].1.put = Some(self.work.leashed(asked));
            }
        }
    }

    /// The asking of a question. Words that this client cannot ask for are left to those who can, as long as there are any.
    fn asking(&self, at: usize) -> BoxFuture<'static, Option<Replied>> {
        let (key, question) = &self.questions.open[at];
        let (out, name, key) = (Arc::clone(&self.out), self.name.clone(), key.clone());
        let (session, call) = (question.session.clone(), question.call.clone());
        let named = key.clone();
        let replied = move |how| Replied { key: named, session, call, how };
        match question.what.clone() {
            What::Permission(asked) => {
                let ask = permission::ask(out, name, self.project.call(&key), asked);
                ask.map(|how| how.map(Reply::Permission).map(replied)).boxed()
            }
            What::Words if elicitation::is_possible(&self.out) => {
                let ask = elicitation::ask(out, name, self.project.call(&key));
                ask.map(|how| how.map(Reply::Words).map(replied)).boxed()
            }
            What::Words => {
                let nobody = Reply::Words((Outcome::Failed, elicitation::NOBODY.to_owned()));
                self.seat.nobody_asks().map(|()| Some(replied(nobody))).boxed()
            }
        }
    }

    /// Hands an answer to the session that asked. One that comes too late changes nothing.
    pub(super) async fn replied(&mut self, replied: Replied) {
        let Replied { key, session, call, how } = replied;
        self.questions.open.retain(|(other, _)| *other != key);
        let handed = match how {
            Reply::Permission(how) => self.resolve(&session, &call, how).await,
            Reply::Words((outcome, words)) => {
                let supply = Command::Supply { call, outcome, content: vec![Part::text(words)] };
                session.tell(supply).await.map(drop)
            }
        };
        match handed {
            Ok(()) => {}
            Err(SessionError::Rejected(Rejection::Stale { what })) => {
                tracing::debug!(session = %session.id(), what, "an answer came too late");
            }
            Err(error) => tracing::warn!(session = %session.id(), %error, "an answer was lost"),
        }
    }

    /// A question that the client dismisses without having cancelled anything stops the turn, that of a subagent with its parent's.
    async fn resolve(
        &mut self,
        session: &DefaultSession,
        call: &CallId,
        how: PermissionResolution,
    ) -> Result<(), SessionError> {
        session.permissions().resolve(call, how).await?;
        if how == PermissionResolution::Cancelled && session.id() != self.session.id() {
            match self.command(Command::Cancel { turn: None }).await {
                Ok(()) | Err(SessionError::Rejected(Rejection::NotRunning)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
