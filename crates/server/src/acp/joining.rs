//! Coming to a session in the middle of a turn: the past is not told, and yet what runs is announced before it changes, and what is asked is asked here, too.

use std::sync::Arc;

use oarlock_core::event::{AgentEvent, CallRef, Entry, Event, InputRequested};
use oarlock_core::ids::SessionId;
use oarlock_core::session::state::{Call, CallPhase, State};
use oarlock_core::{Recovery, Timestamp};

use super::lane::Lane;

/// Subagents below one another that are looked for.
const DEPTH_MAX: usize = 8;

impl Lane {
    /// Shows what runs in a session whose past is not told. What happens to it is read from `state` on.
    pub(super) async fn join(&mut self, state: &State) {
        self.unmet = children(state);
        for event in running(state) {
            self.show(&AgentEvent::Entry(entry(state, event))).await;
        }
    }

    /// Shows what runs in the subagents that were at work when the client came, once it is known from where their events are told.
    pub(super) async fn meet(&mut self) {
        if !self.is_caught_up {
            return;
        }
        let mut unmet: Vec<Vec<SessionId>> =
            std::mem::take(&mut self.unmet).into_iter().map(|child| vec![child]).collect();
        while let Some(scope) = unmet.pop() {
            let Some(child) = scope.last().cloned() else { continue };
            let state = match self.session.child(&child).state().await {
                Ok(state) => state,
                Err(error) => {
                    tracing::warn!(session = %child, %error, "a subagent is not shown");
                    continue;
                }
            };
            self.met.insert(child, state.tip);
            for event in running(&state) {
                let event = Box::new(AgentEvent::Entry(entry(&state, event)));
                self.show(&AgentEvent::Scoped { scope: scope.clone(), event }).await;
            }
            if scope.len() < DEPTH_MAX {
                unmet.extend(
                    children(&state).into_iter().map(|child| [&scope[..], &[child]].concat()),
                );
            }
        }
    }

    /// Whether an event of a subagent was known when it was met.
    pub(super) fn has_met(&self, scope: &[SessionId], event: &AgentEvent) -> bool {
        let (Some(child), AgentEvent::Entry(entry)) = (scope.last(), event) else { return false };
        self.met.get(child).is_some_and(|tip| entry.seq <= *tip)
    }
}

fn children(state: &State) -> Vec<SessionId> {
    state.children.iter().map(|child| child.opened.child.clone()).collect()
}

fn entry(state: &State, event: Event) -> Arc<Entry> {
    let turn = state.turn.as_ref().map(|turn| turn.no);
    Arc::new(Entry { seq: state.tip, at: state.updated, turn, scope: Vec::new(), event })
}

fn open_calls(state: &State) -> impl Iterator<Item = &Call> {
    let step = state.turn.as_ref().and_then(|turn| turn.step.as_ref());
    step.into_iter().flat_map(|step| &step.calls).filter(|call| !call.is_settled())
}

/// The calls that have not ended, as the entries that brought them where they are.
fn running(state: &State) -> Vec<Event> {
    let reached = |call: &Call| {
        let id = &call.called.call;
        match &call.phase {
            CallPhase::Asked(asked) => Some(Event::PermissionAsked(asked.clone())),
            CallPhase::Requested(deadline) => Some(requested(call, *deadline)),
            CallPhase::Started => Some(Event::ToolStarted(CallRef { call: id.clone() })),
            CallPhase::Called
            | CallPhase::Allowed
            | CallPhase::Refused(_)
            | CallPhase::Settled(..) => None,
        }
    };
    let events =
        |call: &Call| std::iter::once(Event::ToolCalled(call.called.clone())).chain(reached(call));
    open_calls(state).flat_map(events).collect()
}

fn requested(call: &Call, deadline: Timestamp) -> Event {
    Event::InputRequested(InputRequested { call: call.called.call.clone(), deadline })
}

/// What becomes of a turn that a crash left open: one that does nothing but wait for a person waits on, whatever else it did is not done by itself.
pub(super) fn recovery(state: &State) -> Recovery {
    let waits = |call: &Call| matches!(call.phase, CallPhase::Asked(_) | CallPhase::Requested(_));
    let mut calls = open_calls(state).peekable();
    match calls.peek().is_some() && calls.all(waits) {
        true => Recovery::Continue,
        false => Recovery::Interrupt,
    }
}
