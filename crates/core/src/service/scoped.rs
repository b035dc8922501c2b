//! Events under the name of whoever they are of: the session that is followed, or a subagent below it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{AgentEvent, Event, SubagentOpened};
use crate::ids::{CallId, SessionId};
use crate::ports::journal::JournalError;
use crate::session::follow::EventStream;

/// One step on the way to whoever an event is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "scope", rename_all = "snake_case")]
pub enum StreamScopeFrame {
    /// The session that is followed.
    Primary {
        /// It.
        session_id: SessionId,
    },
    /// A subagent of whoever stands before it.
    SubAgent {
        /// Its session.
        agent_id: SessionId,
        /// The call that asked for it; absent for a reader that began after that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tool_call_id: Option<CallId>,
        /// The profile that it works by; absent as the call is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
}

/// Its part of a scope's name.
impl fmt::Display for StreamScopeFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary { .. } => f.write_str("primary"),
            Self::SubAgent { agent_id, .. } => write!(f, "sub:{agent_id}"),
        }
    }
}

/// An event with the place of whoever it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScopedAgentEvent {
    /// The names of the path joined by `/`: `primary`, `primary/sub:…`.
    pub scope_id: String,
    /// The way to whoever it is of, from the outside to it. An empty one means the session that is followed.
    pub scope_path: Vec<StreamScopeFrame>,
    /// What happened there: an entry, a delta, or the mark where the past ends. It is never [`AgentEvent::Scoped`]: the path says that.
    pub event: AgentEvent,
}

impl ScopedAgentEvent {
    /// An event at the end of this path. What of a path the event brings itself comes behind it.
    #[must_use]
    pub fn new(mut scope_path: Vec<StreamScopeFrame>, mut event: AgentEvent) -> Self {
        while let AgentEvent::Scoped { scope, event: inner } = event {
            let frames = scope.into_iter().map(|agent_id| StreamScopeFrame::SubAgent {
                agent_id,
                tool_call_id: None,
                label: None,
            });
            scope_path.extend(frames);
            event = *inner;
        }
        let scope_id = scope_id(&scope_path);
        Self { scope_id, scope_path, event }
    }
}

/// The name of a path.
fn scope_id(path: &[StreamScopeFrame]) -> String {
    match path {
        [] => "primary".to_owned(),
        path => path.iter().map(ToString::to_string).collect::<Vec<_>>().join("/"),
    }
}

/// Gives events of a session their places. It remembers the subagents that are open, so that their frames name the call and the profile.
#[derive(Debug, Clone)]
pub struct Scopes {
    base: Vec<StreamScopeFrame>,
    /// Each under the sessions that lead to it.
    open: Vec<(Vec<SessionId>, SubagentOpened)>,
}

impl Scopes {
    /// Places below the session that is followed.
    #[must_use]
    pub fn of(session: SessionId) -> Self {
        Self::below(vec![StreamScopeFrame::Primary { session_id: session }])
    }

    /// Places below this path, which is that of the session that is followed.
    #[must_use]
    pub fn below(base: Vec<StreamScopeFrame>) -> Self {
        Self { base, open: Vec::new() }
    }

    /// The event with its place. Events are given in the order in which the session's stream gives them.
    pub fn place(&mut self, event: AgentEvent) -> ScopedAgentEvent {
        let (own, of): (&AgentEvent, &[SessionId]) = match &event {
            AgentEvent::Scoped { scope, event } => (event, scope),
            own @ (AgentEvent::Entry(_) | AgentEvent::Delta(_) | AgentEvent::CaughtUp { .. }) => {
                (own, &[])
            }
        };
        let (mut opened, mut closed) = (None, None);
        if let AgentEvent::Entry(entry) = own {
            match &entry.event {
                Event::SubagentOpened(said) => {
                    opened = Some((below(of, &said.child), said.clone()));
                }
                Event::SubagentClosed(said) => closed = Some(below(of, &said.child)),
                _ => {}
            }
        }
        let mut scoped = ScopedAgentEvent::new(self.base.clone(), event);
        self.name(&mut scoped.scope_path);
        if let Some(closed) = closed {
            self.open.retain(|(path, _)| !path.starts_with(&closed));
        }
        self.open.extend(opened);
        scoped
    }

    /// Says of the subagents on a path what is known of them.
    fn name(&self, path: &mut [StreamScopeFrame]) {
        for frame in path.iter_mut().skip(self.base.len()) {
            let StreamScopeFrame::SubAgent { agent_id, tool_call_id, label } = frame else {
                continue;
            };
            if let Some((_, known)) = self.open.iter().find(|(_, known)| known.child == *agent_id) {
                *tool_call_id = Some(known.call.clone());
                *label = Some(known.profile.clone());
            }
        }
    }
}

fn below(path: &[SessionId], child: &SessionId) -> Vec<SessionId> {
    path.iter().chain([child]).cloned().collect()
}

/// The events of a session and its subagents, each with its place: an [`EventStream`] with names.
#[derive(Debug)]
pub struct ScopedEventStream {
    events: EventStream,
    scopes: Scopes,
}

impl ScopedEventStream {
    /// The same events with these places.
    #[must_use]
    pub fn new(events: EventStream, scopes: Scopes) -> Self {
        Self { events, scopes }
    }

    /// As [`EventStream::next`].
    ///
    /// # Errors
    /// As [`EventStream::next`].
    pub async fn next(&mut self) -> Result<ScopedAgentEvent, JournalError> {
        let event = self.events.next().await?;
        Ok(self.scopes.place(event))
    }
}
