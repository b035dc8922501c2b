//! Events under the name of whoever they are of: the session that is followed, or a subagent below it.

use std::collections::VecDeque;
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

/// Subagents whose call and profile are remembered while they are open; of the oldest of more than these the frames name neither.
const OPEN_MAX: usize = 1024;

/// Gives events of a session their places. It remembers the subagents that are open, so that their frames name the call and the profile.
#[derive(Debug, Clone)]
pub struct Scopes {
    base: Vec<StreamScopeFrame>,
    open: VecDeque<SubagentOpened>,
}

impl Scopes {
    /// Places below this path, which is that of the session; it is the primary one where the path is empty.
    #[must_use]
    pub fn new(session: &SessionId, path: Vec<StreamScopeFrame>) -> Self {
        let base = match path.is_empty() {
            true => vec![StreamScopeFrame::Primary { session_id: session.clone() }],
            false => path,
        };
        Self { base, open: VecDeque::new() }
    }

    /// The event with its place. Events are given in the order in which the session's stream gives them.
    pub fn place(&mut self, event: AgentEvent) -> ScopedAgentEvent {
        let mut scoped = ScopedAgentEvent::new(self.base.clone(), event);
        scoped.scope_path[self.base.len()..].iter_mut().for_each(|frame| self.name(frame));
        if let AgentEvent::Entry(entry) = &scoped.event {
            match &entry.event {
                Event::SubagentOpened(opened) => {
                    self.open.truncate(OPEN_MAX - 1);
                    self.open.push_front(opened.clone());
                }
                Event::SubagentClosed(closed) => {
                    self.open.retain(|known| known.child != closed.child);
                }
                _ => {}
            }
        }
        scoped
    }

    /// Says of a subagent what is known of it.
    fn name(&self, frame: &mut StreamScopeFrame) {
        if let StreamScopeFrame::SubAgent { agent_id, tool_call_id, label } = frame
            && let Some(known) = self.open.iter().find(|known| known.child == *agent_id)
        {
            *tool_call_id = Some(known.call.clone());
            *label = Some(known.profile.clone());
        }
    }
}

/// The events of a session and its subagents, each with its place: an [`EventStream`] with names.
#[derive(Debug)]
pub struct ScopedEventStream {
    /// The events.
    pub events: EventStream,
    /// Their places.
    pub scopes: Scopes,
}

impl ScopedEventStream {
    /// As [`EventStream::next`].
    ///
    /// # Errors
    /// As [`EventStream::next`].
    pub async fn next(&mut self) -> Result<ScopedAgentEvent, JournalError> {
        let event = self.events.next().await?;
        Ok(self.scopes.place(event))
    }
}
