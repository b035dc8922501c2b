//! The subagents of a session: what is set aside for them, and when they are to be closed. Pure.
//!
//! From `subagent_opened` to `subagent_closed` all that a child may use counts as used by its parent, so that what was used and what is set
//! aside never exceed a limit together, whatever dies in between.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::event::{Event, SubagentClosed, SubagentOpened, TaskKind};
use crate::ids::{CallId, SessionId, TaskId, Timestamp, TurnNo};
use crate::limits::RuntimeLimits;
use crate::session::budget::budgets;
use crate::session::plan::{ChildWork, Facts, Step, Work, time_left};
use crate::session::state::{Call, CallPhase, FinishedTask, OpenTurn, RunningTask, State, Used};
use crate::spec::{Bounds, Decimal, LimitKind, Rules, SessionSpec};

/// The share of what is left that is set aside for a subagent which names no bound of its own.
pub const SHARE: Decimal = Decimal(250);

/// How often closing a subagent is tried.
const TRIES_MAX: u32 = 3;

/// A subagent that is not closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// How it was opened.
    pub opened: SubagentOpened,
    /// When.
    pub since: Timestamp,
    /// In which turn: what it uses counts in that turn's limits.
    pub turn: TurnNo,
}

/// What a call wants a subagent for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChildWanted {
    pub(crate) call: CallId,
    /// The id of the child, should it be a new one.
    pub(crate) child: SessionId,
    pub(crate) profile: String,
    /// What it may use at most; of what is absent here it is given a share.
    pub(crate) bounds: Bounds,
    pub(crate) waits: Waits,
}

/// Who waits for a subagent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Waits {
    /// The call that opened it.
    Call,
    /// A background task.
    Task,
}

/// What a subagent is made from: its parent as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) child: SessionId,
    pub(crate) reserved: Bounds,
    /// The parent, with the settings of its turn.
    pub(crate) parent: SessionSpec,
    /// What was granted in the parent.
    pub(crate) granted: Rules,
    /// The background task that runs it already.
    pub(crate) task: Option<TaskId>,
}

/// What follows from the wish for a subagent: the event that opens it, unless the call has one already, and what it is made from.
///
/// # Errors
/// Words for the model.
pub(crate) fn lease(
    state: &State,
    wanted: &ChildWanted,
    facts: (&RuntimeLimits, Timestamp),
) -> Result<(Option<SubagentOpened>, Lease), String> {
    let (limits, now) = facts;
    let is_started =
        |call: &Call| call.called.call == wanted.call && matches!(call.phase, CallPhase::Started);
    let turn = state
        .turn
        .as_ref()
        .filter(|turn| turn.step.as_ref().is_some_and(|step| step.calls.iter().any(is_started)));
    let turn = turn.ok_or("the call that wants the subagent is over")?;
    let leased = |child: &SessionId, reserved: &Bounds| Lease {
        child: child.clone(),
        reserved: reserved.clone(),
        parent: SessionSpec { settings: turn.settings.clone(), ..SessionSpec::clone(&state.spec) },
        granted: state.granted.clone(),
        task: task_of(state, child).map(|task| task.started.task.clone()),
    };
    if let Some(Child { opened, .. }) = state.child_of(&wanted.call) {
        return Ok((None, leased(&opened.child, &opened.reserved)));
    }
    let is_its = |task: &&FinishedTask| task.call.as_ref() == Some(&wanted.call);
    let ended = state.tasks.finished.iter().find(is_its).filter(|_| wanted.waits == Waits::Task);
    if let Some(FinishedTask { task, child: Some(child), .. }) = ended {
        let lease = leased(child, &Bounds::default());
        return Ok((None, Lease { task: Some(task.clone()), ..lease }));
    }
    if wanted.waits == Waits::Task && state.spec.depth > 0 {
        // It ends with its turn, and would never hear of the other's end.
        return Err("a subagent opens no others in the background; open it and wait".to_owned());
    }
    let depth_max = turn.settings.turn.depth_max();
    if state.spec.depth >= depth_max {
        return Err(format!(
            "a session {} below the first opens no subagents (`turn.subagent_max_depth` is {depth_max})",
            state.spec.depth
        ));
    }
    if state.children.len() >= limits.children_open {
        return Err(format!("{} subagents are open, and no more may be", limits.children_open));
    }
    let reserved = reserve(state, turn, &wanted.bounds, now)
        .map_err(|kind| format!("the limit of {} leaves nothing for a subagent", kind.name()))?;
    let opened = SubagentOpened {
        child: wanted.child.clone(),
        call: wanted.call.clone(),
        profile: wanted.profile.clone(),
        reserved: reserved.clone(),
    };
    Ok((Some(opened), leased(&wanted.child, &reserved)))
}

/// `subagent_closed` of a child that stands so.
pub(crate) fn closed(child: &State) -> SubagentClosed {
    // Subagents of its own that it could not close count with all that was set aside for them.
    let [_, used] = used_with_children(child);
    SubagentClosed {
        child: child.id.clone(),
        stop: child.last_stop,
        steps: used.steps,
        tool_calls: used.tool_calls,
        usage: used.usage,
        cost_micros: Some(used.cost_micros),
        cost_unknown: used.cost_unknown,
    }
}

impl State {
    pub(in crate::session) fn open_child(
        &mut self,
        at: Timestamp,
        opened: &SubagentOpened,
    ) -> Result<(), &'static str> {
        if self.children.iter().any(|child| child.opened.child == opened.child) {
            return Err("the subagent is open");
        }
        let turn = self.turn.as_ref().ok_or("no turn is open")?.no;
        self.children.push(Child { opened: opened.clone(), since: at, turn });
        Ok(())
    }

    /// What it used takes the place of what was set aside.
    pub(in crate::session) fn close_child(
        &mut self,
        closed: &SubagentClosed,
    ) -> Result<(), &'static str> {
        let at = self.children.iter().position(|child| child.opened.child == closed.child);
        let child = self.children.remove(at.ok_or("the subagent is not open")?);
        let turn = self.turn.as_mut().filter(|turn| turn.no == child.turn);
        if let Some(turn) = turn {
            turn.child_steps = turn.child_steps.saturating_add(closed.steps);
            turn.used.add(closed);
        }
        self.used.add(closed);
        Ok(())
    }

    /// The open subagent of a call.
    #[must_use]
    pub fn child_of(&self, call: &CallId) -> Option<&Child> {
        self.children.iter().find(|child| child.opened.call == *call)
    }
}

impl Used {
    fn add(&mut self, closed: &SubagentClosed) {
        self.steps = self.steps.saturating_add(closed.steps);
        self.tool_calls = self.tool_calls.saturating_add(closed.tool_calls);
        self.spend(closed.usage, closed.cost_micros);
        self.cost_unknown |= closed.cost_unknown;
    }

    /// Counts everything that is set aside as used.
    fn set_aside(&mut self, reserved: &Bounds) {
        self.steps = self.steps.saturating_add(reserved.steps.unwrap_or(0));
        self.tool_calls = self.tool_calls.saturating_add(reserved.tool_calls.unwrap_or(0));
        self.usage.input = self.usage.input.saturating_add(reserved.tokens.unwrap_or(0));
        self.cost_micros = self.cost_micros.saturating_add(reserved.cost_micros.unwrap_or(0));
    }
}

/// What the open turn and the session have used, with all that is set aside for open subagents.
#[must_use]
pub fn used_with_children(state: &State) -> [Used; 2] {
    let mut turn = state.turn.as_ref().map_or_else(Used::default, |turn| turn.used);
    let mut session = state.used;
    let no = state.turn.as_ref().map(|turn| turn.no);
    for child in &state.children {
        session.set_aside(&child.opened.reserved);
        if Some(child.turn) == no {
            turn.set_aside(&child.opened.reserved);
        }
    }
    [turn, session]
}

/// What a subagent may use that wants these bounds: never more than what is left of the turn and the session.
///
/// # Errors
/// The limit that leaves nothing.
pub(crate) fn reserve(
    state: &State,
    turn: &OpenTurn,
    wanted: &Bounds,
    now: Timestamp,
) -> Result<Bounds, LimitKind> {
    let share = turn.settings.turn.subagent_share.unwrap_or(SHARE);
    let of = budgets(state, &turn.settings).of;
    let small = |kind, wanted: Option<u32>, left: fn(&Bounds, &Used) -> Option<u32>| {
        let left = of.iter().filter_map(|(cap, used)| left(cap, used)).min().map(u64::from);
        let given = portion(kind, wanted.map(u64::from), left, share)?;
        Ok(given.map(|given| u32::try_from(given).unwrap_or(u32::MAX)))
    };
    let large = |kind, wanted, left: fn(&Bounds, &Used) -> Option<u64>| {
        let left = of.iter().filter_map(|(cap, used)| left(cap, used)).min();
        portion(kind, wanted, left, share)
    };
    let wall_ms = match (wanted.wall_ms, time_left(state, turn, now)) {
        (_, Some(0)) => return Err(LimitKind::Time),
        (Some(wanted), Some(left)) => Some(wanted.min(left)),
        (wanted, left) => wanted.or(left),
    };
    Ok(Bounds {
        steps: small(LimitKind::Steps, wanted.steps, |cap, used| {
            cap.steps.map(|cap| cap.saturating_sub(used.steps))
        })?,
        tokens: large(LimitKind::Tokens, wanted.tokens, |cap, used| {
            cap.tokens.map(|cap| cap.saturating_sub(used.usage.total()))
        })?,
        cost_micros: large(LimitKind::Cost, wanted.cost_micros, |cap, used| {
            cap.cost_micros.map(|cap| cap.saturating_sub(used.cost_micros))
        })?,
        wall_ms,
        tool_calls: small(LimitKind::ToolCalls, wanted.tool_calls, |cap, used| {
            cap.tool_calls.map(|cap| cap.saturating_sub(used.tool_calls))
        })?,
    })
}

/// Of `left` what is wanted, or a share when nothing is; at least one where anything is left.
fn portion(
    kind: LimitKind,
    wanted: Option<u64>,
    left: Option<u64>,
    share: Decimal,
) -> Result<Option<u64>, LimitKind> {
    match (wanted, left) {
        (_, Some(0)) => Err(kind),
        (Some(wanted), Some(left)) => Ok(Some(wanted.min(left))),
        (None, Some(left)) => Ok(Some(share.of(left).clamp(1, left))),
        (wanted, None) => Ok(wanted),
    }
}

/// The next step for subagents that nobody waits for any more; nothing when there is none. One that cannot be closed is left to the next opening
/// of the session.
pub(crate) fn close_orphans(state: &State, work: &Work, facts: &Facts<'_>) -> Option<Step> {
    let tries_max = if work.closing { 1 } else { TRIES_MAX };
    let mut until = None::<Timestamp>;
    for child in orphans(state) {
        match work.closing_children.get(&child.opened.child) {
            Some(closing) if closing.again > facts.now => {
                until = Some(until.map_or(closing.again, |sooner| sooner.min(closing.again)));
            }
            Some(closing) if closing.tries >= tries_max => {}
            Some(_) | None => return Some(Step::CloseChild(child.opened.child.clone())),
        }
    }
    until.map(Step::Wait)
}

/// A step that does not rest or wait beyond the moment when closing subagents is looked at again. A turn that would end waits a little for them, so
/// that its end tells what they used.
pub(crate) fn bounded(
    step: Step,
    children: Option<Timestamp>,
    (work, facts): (&Work, &Facts<'_>),
) -> Step {
    let Some(until) = children else { return step };
    match step {
        Step::Rest => Step::Wait(until),
        Step::Wait(moment) => Step::Wait(moment.min(until)),
        Step::Record(events) if matches!(events.last(), Some(Event::TurnEnded(_))) => {
            let grace = |closing: &ChildWork| {
                closing.since.after(facts.limits.cancel_grace_ms).min(closing.again)
            };
            let held = work.closing_children.values().map(grace).max();
            match held.filter(|held| *held > facts.now) {
                Some(held) => Step::Wait(held),
                None => Step::Record(events),
            }
        }
        step => step,
    }
}

/// Subagents that neither a running call nor a background task waits for.
fn orphans(state: &State) -> impl Iterator<Item = &Child> {
    let steps = state.turn.iter().flat_map(|turn| &turn.step);
    let calls = steps.filter(|_| !state.children.is_empty()).flat_map(|step| &step.calls);
    let started = calls.filter(|call| matches!(call.phase, CallPhase::Started));
    let called: HashSet<&CallId> = started.map(|call| &call.called.call).collect();
    state.children.iter().filter(move |Child { opened, .. }| {
        task_of(state, &opened.child).is_none() && !called.contains(&opened.call)
    })
}

/// The call that opened the subagent of a background task.
pub(crate) fn call_of_task(state: &State, task: &TaskId) -> Option<CallId> {
    let task = state.tasks.running.iter().find(|running| running.started.task == *task)?;
    let TaskKind::Subagent { child } = &task.started.work else { return None };
    let child = state.children.iter().find(|open| open.opened.child == *child)?;
    Some(child.opened.call.clone())
}

/// The background task of the session that runs this subagent.
pub(crate) fn task_of<'a>(state: &'a State, child: &SessionId) -> Option<&'a RunningTask> {
    state.tasks.running.iter().find(|task| match &task.started.work {
        TaskKind::Subagent { child: other } => other == child,
        TaskKind::Work => false,
    })
}
