//! Why a session waits, with what its subagents wait for in turn.

use std::collections::BTreeSet;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{Command, Reply};
use crate::ids::{NodeId, SessionId, TurnNo};
use crate::ports::journal::{Filter, JournalError};
use crate::runtime::DefaultAgentCore;
use crate::session::state::State;
use crate::session::why::{Awaited, Runner, Wait, why};

/// Sessions that are looked at for one answer; of what lies deeper it is only said that it is there.
pub const SESSIONS_LOOKED_AT: usize = 256;

/// What a session waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// The session.
    pub session: SessionId,
    /// Who runs it.
    pub runs: Runs,
    /// The session that it is a child or a fork of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SessionId>,
    /// Its open turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnNo>,
    /// Whether it is archived.
    pub archived: bool,
    /// What it waits for; nothing when it only waits for somebody to want something of it.
    pub waits: Vec<Wait>,
    /// What the sessions that it waits for are doing, in the order in which `waits` names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Below>,
}

/// Who runs a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Runs {
    /// The process that answers: the deadlines are true.
    Here,
    /// Another process. Its journal is all that is known of it: the deadlines are those that stand there.
    Elsewhere {
        /// Which.
        node: NodeId,
    },
    /// Nobody: it sleeps, or its process died.
    Nobody,
}

/// A session that another one waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum Below {
    /// It is there.
    Session {
        /// What it waits for in turn.
        why: Box<Why>,
    },
    /// It waits, by way of others, for itself: nobody in this circle will ever go on. It is not followed further.
    Cycle {
        /// The session that was met before.
        session: SessionId,
    },
    /// It cannot be looked at.
    Unreadable {
        /// Which.
        session: SessionId,
        /// Why not.
        error: String,
    },
}

impl DefaultAgentCore {
    /// Why a session waits: from whoever runs it in this process, else from its journal. Nothing is woken.
    ///
    /// # Errors
    /// When its journal cannot be read. A child that cannot be read is part of the answer.
    pub async fn why(&self, id: &SessionId) -> Result<Why, JournalError> {
        let mut met = BTreeSet::from([id.clone()]);
        self.look(std::slice::from_ref(id), &mut met).await
    }

    /// `path` leads from the session that was asked about to this one; `met` are all that were looked at.
    async fn look(
        &self,
        path: &[SessionId],
        met: &mut BTreeSet<SessionId>,
    ) -> Result<Why, JournalError> {
        let id = path.last().expect("a path leads somewhere");
        let state = self.state(id).await?;
        let (runs, waits) = self.waits(&state).await?;
        let mut children = Vec::new();
        for child in waits.iter().filter_map(child_of) {
            children.push(self.below(path, child.clone(), met).await);
        }
        Ok(Why {
            session: id.clone(),
            runs,
            parent: state.spec.parent.clone().filter(|_| state.spec.depth > 0),
            turn: state.turn.as_ref().map(|turn| turn.no),
            archived: state.archived,
            waits,
            children,
        })
    }

    fn below<'a>(
        &'a self,
        path: &'a [SessionId],
        session: SessionId,
        met: &'a mut BTreeSet<SessionId>,
    ) -> BoxFuture<'a, Below> {
        async move {
            if path.contains(&session) {
                return Below::Cycle { session };
            }
            if !met.insert(session.clone()) || met.len() > SESSIONS_LOOKED_AT {
                let error = "it was looked at before, or is one too many".to_owned();
                return Below::Unreadable { session, error };
            }
            let path: Vec<SessionId> = path.iter().chain([&session]).cloned().collect();
            match self.look(&path, met).await {
                Ok(why) => Below::Session { why: Box::new(why) },
                Err(error) => Below::Unreadable { session, error: error.to_string() },
            }
        }
        .boxed()
    }

    async fn waits(&self, state: &State) -> Result<(Runs, Vec<Wait>), JournalError> {
        if let Ok(Reply::Status(status)) = self.ports().bus.request(&state.id, Command::Look).await
        {
            return Ok((Runs::Here, status.waits));
        }
        let filter = Filter::of(state.id.clone());
        let listed = self.ports().catalog.list(&filter).await?;
        let holder = listed.into_iter().find_map(|row| row.held_by);
        let waits = self.seen_from_here(state, holder.as_ref());
        Ok((holder.map_or(Runs::Nobody, |node| Runs::Elsewhere { node }), waits))
    }

    /// What a session waits for by its journal, with whoever holds it.
    pub(crate) fn seen_from_here(&self, state: &State, holder: Option<&NodeId>) -> Vec<Wait> {
        let runner = if holder.is_some() { Runner::Elsewhere } else { Runner::Nobody };
        why(state, runner, self.ports().clock.now(), self.limits())
    }
}

/// The session that somebody waits for.
fn child_of(wait: &Wait) -> Option<&SessionId> {
    match &wait.on {
        Awaited::Task { child, .. } => child.as_ref(),
        Awaited::Child { child, .. } => Some(child),
        Awaited::Model { .. }
        | Awaited::Retry { .. }
        | Awaited::Describe { .. }
        | Awaited::Permission { .. }
        | Awaited::Client { .. }
        | Awaited::Tool { .. }
        | Awaited::Hooks { .. }
        | Awaited::Summary
        | Awaited::Input { .. }
        | Awaited::Opening { .. } => None,
    }
}
