//! What a fork takes over of its source, and what not. Pure.
//!
//! A fork has the entries of its source up to a place where the conversation is whole. It takes over what the model sees, the settings, the plan, the
//! skills and what hooks told on entering, all as they stood there. What was of the source alone it does not: inputs that waited, answers to
//! questions, background tasks, subagents, the goal, and what was used.

use serde::{Deserialize, Serialize};

use crate::event::{Entry, Event, ForkPoint, InputRef, SubagentClosed, TaskOutcome, TaskSettled};
use crate::ids::{Seq, SessionId, Timestamp};
use crate::message::Usage;
use crate::session::forget;
use crate::session::hooks::money;
use crate::session::recent::RecentKeys;
use crate::session::state::{State, Used};
use crate::session::tasks::Tasks;
use crate::spec::{Rules, SettingsChange};

/// What the title of a fork begins with.
const FORK_OF: &str = "Fork of ";

/// Where a session was forked from, and how far that came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forked {
    /// Where it was forked from.
    pub point: ForkPoint,
    /// Whether all of it is there.
    pub whole: bool,
}

/// Finds where a session may be forked: behind its last ended turn, and what was changed since while nothing waited.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    /// The last entry that a fork has.
    pub(crate) at: Seq,
    open: bool,
    /// Inputs that no turn has taken.
    waiting: Vec<Seq>,
}

impl Cut {
    /// Looks at the next entry.
    pub(crate) fn see(&mut self, entry: &Entry) {
        match &entry.event {
            Event::TurnStarted(_) => self.open = true,
            Event::TurnEnded(_) => {
                self.open = false;
                self.waiting.clear();
                self.at = entry.seq;
            }
            Event::InputAdmitted(_) => self.waiting.push(entry.seq),
            Event::InputWithdrawn(input) => self.waiting.retain(|seq| *seq != input.input),
            Event::SessionCreated(_)
            | Event::SessionForked(_)
            | Event::SessionConfigured(_)
            | Event::ContextCleared(_)
            | Event::ContextCompacted(_)
            | Event::HistoryEdited(_)
            | Event::PlanChanged(_)
            | Event::SkillLoaded(_)
            | Event::HookRan(_)
                if !self.open && self.waiting.is_empty() =>
            {
                self.at = entry.seq;
            }
            _ => {}
        }
    }
}

impl State {
    /// Whether it is the beginning of a fork that was never finished.
    #[must_use]
    pub fn is_being_copied(&self) -> bool {
        self.forked.as_ref().is_some_and(|forked| !forked.whole)
    }

    /// The session whose name requests are cached under.
    #[must_use]
    pub fn line(&self) -> &SessionId {
        self.forked.as_ref().map_or(&self.id, |forked| &forked.point.line)
    }

    pub(in crate::session) fn be_forked(
        &mut self,
        entry: &Entry,
        point: &ForkPoint,
    ) -> Result<(), &'static str> {
        if self.turn.is_some() {
            return Err("a turn is open");
        }
        let forked = self.forked.as_mut().filter(|forked| !forked.whole);
        let forked = forked.ok_or("nothing is being copied")?;
        // The mark of an earlier fork of the line is copied with the rest.
        if forked.point == *point {
            if entry.seq <= point.at {
                return Err("not all was copied");
            }
            forked.whole = true;
        }
        self.created = entry.at;
        self.archived = false;
        // Its name stays with its source.
        self.comms = None;
        self.granted = Rules::default();
        self.pending = Vec::new();
        self.last_input = None;
        self.keys = RecentKeys::default();
        self.used = Used::default();
        (self.summary, self.summary_failed, self.compacted) = (None, None, None);
        self.goal = None;
        // Numbers that the model has heard of are not given again.
        self.tasks = Tasks { last: self.tasks.last, ..Tasks::default() };
        self.children = Vec::new();
        self.hooks = Vec::new();
        Ok(())
    }
}

/// What follows what was copied, as one frame: the end of all that was open in the source, the mark, and what the fork is told to be.
pub(crate) fn ending(
    state: &State,
    change: Option<Box<SettingsChange>>,
    now: Timestamp,
) -> Vec<Event> {
    let withdrawn =
        state.pending.iter().map(|input| Event::InputWithdrawn(InputRef { input: input.seq }));
    let tasks = state.tasks.running.iter().map(|task| {
        Event::TaskSettled(TaskSettled {
            task: task.started.task.clone(),
            outcome: TaskOutcome::Lost,
            blobs: Vec::new(),
            duration_ms: now.ms_since(task.since),
        })
    });
    let children = state.children.iter().map(|child| {
        Event::SubagentClosed(SubagentClosed {
            child: child.opened.child.clone(),
            stop: None,
            steps: 0,
            tool_calls: 0,
            usage: Usage::default(),
            cost_micros: None,
            cost_unknown: false,
        })
    });
    let mut events =
        Vec::from_iter(forget::lost(state, "the session was forked before it was made"));
    events.extend(money::lost(state));
    events.extend(withdrawn.chain(tasks).chain(children));
    events.extend(state.forked.as_ref().map(|forked| Event::SessionForked(forked.point.clone())));
    let mut change = change.unwrap_or_default();
    change.title = change.title.or_else(|| title(state));
    if !change.is_empty() {
        events.push(Event::SessionConfigured(change));
    }
    events
}

/// The title of a fork that is given none.
fn title(state: &State) -> Option<String> {
    let of = state.spec.settings.title.as_deref().unwrap_or(&state.first_words);
    match of.is_empty() || of.starts_with(FORK_OF) {
        true => None,
        false => Some(format!("{FORK_OF}{of}")),
    }
}
