//! What runs in the background of a session. Pure.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::background::{BackgroundOutcome, BackgroundResult, format_background_outcome};
use crate::event::{
    Delivery, Event, InputAdmitted, InputSource, Outcome, TaskKind, TaskOutcome, TaskSettled,
    TaskStarted,
};
use crate::ids::{CallId, Seq, SessionId, TaskId, Timestamp};
use crate::message::Part;
use crate::session::plan::{Facts, Step, Work};
use crate::session::state::State;
use crate::turn::tools::CallEnd;

/// Ended tasks that a session remembers; of more the oldest is forgotten.
pub const FINISHED_TASKS_MAX: usize = 64;

/// The background tasks of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Tasks {
    /// Number of the last one that was started.
    pub last: u32,
    /// Those without an end, in the order of their beginning.
    pub running: Vec<RunningTask>,
    /// The last that ended, in the order of their end.
    pub finished: VecDeque<FinishedTask>,
    /// Turns in a row that took nothing but ends of tasks.
    pub autonomous: u32,
    /// The session was opened, and no task has ended nor turn begun since: ends that wait start no turn of their own.
    pub quiet: bool,
}

/// A background task without an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunningTask {
    /// What was started.
    pub started: TaskStarted,
    /// When.
    pub since: Timestamp,
}

/// A background task that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FinishedTask {
    /// Its name.
    pub task: TaskId,
    /// Its label.
    pub label: String,
    /// How it ended.
    pub outcome: TaskOutcome,
    /// The call that started it: run again after a crash, the call starts no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// The subagent that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<SessionId>,
}

impl State {
    pub(in crate::session) fn start_task(
        &mut self,
        at: Timestamp,
        started: &TaskStarted,
    ) -> Result<(), &'static str> {
        if started.task != TaskId::numbered(self.tasks.last + 1) {
            return Err("it is not the next task");
        }
        self.tasks.last += 1;
        self.tasks.running.push(RunningTask { started: started.clone(), since: at });
        Ok(())
    }

    pub(in crate::session) fn settle_task(
        &mut self,
        settled: &TaskSettled,
    ) -> Result<(), &'static str> {
        let running = &mut self.tasks.running;
        let at = running.iter().position(|task| task.started.task == settled.task);
        let ended = running.remove(at.ok_or("the task does not run")?).started;
        self.tasks.quiet &= settled.outcome == TaskOutcome::Lost;
        let finished = &mut self.tasks.finished;
        if finished.len() == FINISHED_TASKS_MAX {
            finished.pop_front();
        }
        finished.push_back(FinishedTask {
            task: ended.task,
            label: ended.label,
            outcome: settled.outcome,
            call: ended.call,
            child: match ended.work {
                TaskKind::Subagent { child } => Some(child),
                TaskKind::Work => None,
            },
        });
        Ok(())
    }

    /// Counts turns that nobody but ended tasks asked for.
    pub(in crate::session) fn count_autonomous(&mut self, inputs: &[Seq], begins: bool) {
        let own = self.only_outcomes(&self.loud(inputs));
        self.tasks.quiet = false;
        match (own, begins) {
            (true, true) => self.tasks.autonomous += 1,
            (true, false) => {}
            (false, _) => self.tasks.autonomous = 0,
        }
    }

    /// Whether these pending inputs are ends of tasks and nothing else.
    #[must_use]
    pub fn only_outcomes(&self, inputs: &[Seq]) -> bool {
        let named = self.pending.iter().filter(|pending| inputs.contains(&pending.seq));
        named.into_iter().all(|pending| pending.admitted.source == InputSource::Background)
    }

    /// The task that is the `nth` which a call started, from 0 and in whichever process; of work that is no subagent.
    pub(in crate::session) fn started_by(&self, call: &CallId, nth: usize) -> Option<TaskId> {
        let ended = self.tasks.finished.iter().filter(|task| task.child.is_none());
        let ended = ended.map(|task| (task.call.as_ref(), &task.task));
        let running = self.tasks.running.iter().map(|running| &running.started);
        let running = running.filter(|started| started.work == TaskKind::Work);
        let all = ended.chain(running.map(|started| (started.call.as_ref(), &started.task)));
        let mut its: Vec<&TaskId> =
            all.filter(|(by, _)| *by == Some(call)).map(|(_, task)| task).collect();
        // In the order of their numbers.
        its.sort_by_key(|task| (task.as_str().len(), *task));
        its.get(nth).copied().cloned()
    }

    fn running_task(&self, task: &TaskId) -> Option<&RunningTask> {
        self.tasks.running.iter().find(|running| running.started.task == *task)
    }
}

/// The next step for the background tasks, before anything else is done.
pub(crate) fn plan(state: &State, work: &Work, facts: &Facts<'_>) -> Option<Step> {
    let running = state.tasks.running.iter().map(|running| &running.started.task);
    let begin: Vec<TaskId> = running.filter(|task| !work.tasks.contains(task)).cloned().collect();
    if !begin.is_empty() {
        return Some(Step::BeginTasks(begin));
    }
    if !work.closing || state.tasks.running.is_empty() {
        return None;
    }
    match work.tasks_until {
        None => Some(Step::CancelTasks),
        Some(until) if until <= facts.now => {
            let end = |task: &RunningTask| {
                let end = CallEnd::of(Outcome::Cancelled, crate::ports::tool::ToolOutput::text(""));
                settled(state, &task.started.task, end, facts.now)
            };
            Some(Step::Record(state.tasks.running.iter().flat_map(end).collect()))
        }
        Some(_) => None,
    }
}

/// A step that does not rest or wait beyond the moment when cancelled tasks are given up.
pub(crate) fn bounded(step: Step, work: &Work, state: &State) -> Step {
    match (step, work.tasks_until.filter(|_| !state.tasks.running.is_empty())) {
        (Step::Rest, Some(until)) => Step::Wait(until),
        (Step::Wait(moment), Some(until)) => Step::Wait(moment.min(until)),
        (step, _) => step,
    }
}

/// Whether ends of tasks that wait may start a turn of their own.
pub(crate) fn may_start_turn(state: &State, facts: &Facts<'_>) -> bool {
    !state.tasks.quiet && state.tasks.autonomous < facts.limits.autonomous_turns_max
}

/// The end of a task and what the model is told of it: one frame. Nothing when it does not run.
pub(crate) fn settled(state: &State, task: &TaskId, end: CallEnd, now: Timestamp) -> Vec<Event> {
    let Some(running) = state.running_task(task) else { return Vec::new() };
    let outcome = match end.outcome {
        Outcome::Completed => TaskOutcome::Completed,
        Outcome::Failed | Outcome::Denied => TaskOutcome::Failed,
        Outcome::Cancelled => TaskOutcome::Canceled,
        Outcome::Indeterminate => TaskOutcome::Lost,
    };
    let (mut texts, mut parts) = (Vec::new(), Vec::new());
    for part in end.content {
        match part {
            Part::Text { text } => texts.push(text),
            part => parts.push(part),
        }
    }
    let told = BackgroundOutcome {
        task_id: task.clone(),
        label: running.started.label.clone(),
        result: BackgroundResult::of(outcome, texts.join("\n")),
    };
    parts.insert(0, Part::text(format_background_outcome(&told)));
    let ended = TaskSettled {
        task: task.clone(),
        outcome,
        blobs: end.blobs,
        duration_ms: now.ms_since(running.since),
    };
    let admitted = InputAdmitted {
        key: None,
        source: InputSource::Background,
        delivery: Delivery::Steer,
        content: parts,
        goal: None,
        output: None,
        peer: None,
    };
    vec![Event::TaskSettled(ended), Event::InputAdmitted(admitted)]
}

/// The ends of tasks whose process died; those that have a journal of their own may be taken up again.
pub(crate) fn lost(state: &State, now: Timestamp) -> Vec<Event> {
    let work = state.tasks.running.iter().filter(|task| task.started.work == TaskKind::Work);
    work.flat_map(|task| settled(state, &task.started.task, CallEnd::lost(), now)).collect()
}
