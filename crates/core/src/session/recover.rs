//! What opening a session does about a turn that a crash left open. Pure.

use crate::event::{
    AnsweredBy, Event, FailureClass, PermissionAnswered, PermissionKind, StopReason, TurnRecovered,
};
use crate::ids::Timestamp;
use crate::limits::RuntimeLimits;
use crate::message::{Content, Message, Usage};
use crate::session::calls::{cut, settled};
use crate::session::hooks::money;
use crate::session::plan::turn_ended;
use crate::session::state::{Call, CallPhase, OpenStep, OpenTurn, State};
use crate::session::{forget, tasks};

/// What to do with a turn that is open when its session is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Go on with it.
    Continue,
    /// End it as `interrupted`. One that waits for its client to run a tool, and does nothing else, goes on waiting.
    Interrupt,
}

/// The events that put an open turn in order; none when there is no open turn.
///
/// A started call that may not be repeated is settled as `indeterminate`; one that may be is run again when the turn goes on. Questions are
/// asked again. A turn that crashed its process too often is ended as `failed`, one of an archived session as `interrupted`. A writer that let go in good order did not crash.
#[must_use]
pub fn recover(
    state: &State,
    recovery: Recovery,
    limits: &RuntimeLimits,
    now: Timestamp,
) -> Vec<Event> {
    let summary = forget::lost(state, "the process ended before it was made");
    let lost_hooks = money::lost(state);
    let lost_tasks = tasks::lost(state, now);
    let Some(turn) = &state.turn else {
        return summary.into_iter().chain(lost_hooks).chain(lost_tasks).collect();
    };
    let crashed = !state.released;
    // While nothing runs but clocks, nothing could have brought the process down.
    let waits = waits_for_client(turn);
    let attempt = turn.crashes + u32::from(crashed && !waits);
    let mut events = Vec::from_iter(summary);
    // The end tells what the crash is taken to have cost, too.
    let mut ended = turn.clone();
    if let Some(Event::SummaryFailed(failed)) = events.first() {
        ended.used.spend(failed.usage, failed.cost_micros);
    }
    for event in &lost_hooks {
        if let Event::HookRan(ran) = event {
            ended.used.spend(ran.usage, ran.cost_micros);
            ended.used.cost_unknown |= ran.cost_unknown;
        }
    }
    events.extend(lost_hooks);
    events.extend(lost_tasks);
    if crashed {
        let recovered = lost(turn, attempt, now);
        ended.used.spend(recovered.usage, recovered.cost_micros);
        events.push(Event::TurnRecovered(recovered));
    }
    let crash_loop = crashed && attempt >= limits.crashes_max;
    let ends = crash_loop || state.archived || (recovery == Recovery::Interrupt && !waits);
    let calls = turn.step.iter().flat_map(|step| &step.calls).filter(|call| !call.is_settled());
    for call in calls {
        match (&call.phase, ends) {
            (CallPhase::Started, true) => events.push(cut(call, now)),
            (CallPhase::Started, false) if !call.effect().may_repeat() => {
                events.push(cut(call, now));
            }
            (CallPhase::Started, false) => {}
            (_, true) => events.extend(never_ran(call, crashed, now)),
            (_, false) => {}
        }
    }
    if ends {
        events.extend(unannounced(state, now));
        let (stop, error) = match crash_loop {
            true => (
                StopReason::Failed(FailureClass::CrashLoop),
                Some(format!("the turn crashed its process {attempt} times")),
            ),
            false => (StopReason::Interrupted, None),
        };
        events.push(turn_ended(&ended, stop, error));
    }
    events
}

/// Whether the turn waits for its client to run a tool, and runs none itself: then no death of a process is news to it, and its deadline ends the wait.
fn waits_for_client(turn: &OpenTurn) -> bool {
    let is_external = |call: &Call| turn.settings.external_tool(&call.called.name).is_some();
    let calls = || turn.step.iter().flat_map(|step| &step.calls);
    calls().any(|call| is_external(call) && matches!(call.phase, CallPhase::Requested(_)))
        && !calls().any(|call| matches!(call.phase, CallPhase::Started))
}

/// The crash may have lost an answer; its request is counted.
fn lost(turn: &OpenTurn, attempt: u32, now: Timestamp) -> TurnRecovered {
    let under_way = |step: &&OpenStep| {
        let again = step.retry_at.is_some_and(|at| at <= now);
        step.stop.is_none() && (step.failure.is_none() || again)
    };
    let step = turn.step.as_ref().filter(under_way);
    let reserved = step.map(|step| step.reserved).unwrap_or_default();
    let usage = Usage { input: reserved.prompt_tokens, ..Usage::default() };
    TurnRecovered { attempt, usage, cost_micros: reserved.prompt_micros }
}

fn never_ran(call: &Call, crashed: bool, now: Timestamp) -> Vec<Event> {
    let words = "not run: the process ended before it was begun".to_owned();
    let mut events = Vec::new();
    // Recovering from a crash has voided the question already.
    if let (CallPhase::Asked(asked), false) = (&call.phase, crashed) {
        events.push(Event::PermissionAnswered(PermissionAnswered {
            call: asked.call.clone(),
            choice: PermissionKind::RejectOnce,
            by: AnsweredBy::Cancel,
            grants: Vec::new(),
        }));
    }
    events.push(settled(call, crate::event::Outcome::Cancelled, words, now));
    events
}

/// Calls of the answer that a crash kept from being announced: announced and settled, so that the history stays valid.
fn unannounced(state: &State, now: Timestamp) -> Vec<Event> {
    let Some(step) =
        state.turn.as_ref().and_then(|turn| turn.step.as_ref()).filter(|step| step.stop.is_some())
    else {
        return Vec::new();
    };
    let Some(Message::Assistant { blocks }) = state.conversation.messages.last() else {
        return Vec::new();
    };
    let calls = blocks.iter().filter_map(|block| match &block.content {
        Content::ToolCall { id, name, arguments } => Some((id, name, arguments)),
        Content::Text { .. } | Content::Thinking { .. } | Content::Opaque { .. } => None,
    });
    let mut events = Vec::new();
    for (id, name, arguments) in calls.skip(step.calls.len()) {
        let called = crate::event::ToolCalled {
            call: id.clone(),
            step: step.no,
            name: name.clone(),
            arguments: arguments.clone(),
            effect: crate::event::Effect::Pure,
            title: name.clone(),
        };
        let call = Call::new(called.clone());
        events.push(Event::ToolCalled(called));
        events.extend(never_ran(&call, true, now));
    }
    events
}
