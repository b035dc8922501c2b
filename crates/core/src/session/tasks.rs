//! What runs in the background of a session. Pure.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::event::{TaskOutcome, TaskSettled, TaskStarted};
use crate::ids::{TaskId, Timestamp};
use crate::session::state::State;

/// Ended tasks that a session remembers; of more the oldest is forgotten.
pub const FINISHED_TASKS_MAX: usize = 64;

/// The background tasks of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tasks {
    /// Number of the last one that was started.
    pub last: u32,
    /// Those without an end, in the order of their beginning.
    pub running: Vec<RunningTask>,
    /// The last that ended, in the order of their end.
    pub finished: VecDeque<FinishedTask>,
}

/// A background task without an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningTask {
    /// What was started.
    pub started: TaskStarted,
    /// When.
    pub since: Timestamp,
}

/// A background task that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedTask {
    /// Its name.
    pub task: TaskId,
    /// Its label.
    pub label: String,
    /// How it ended.
    pub outcome: TaskOutcome,
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
        let finished = &mut self.tasks.finished;
        if finished.len() == FINISHED_TASKS_MAX {
            finished.pop_front();
        }
        finished.push_back(FinishedTask {
            task: ended.task,
            label: ended.label,
            outcome: settled.outcome,
        });
        Ok(())
    }
}
