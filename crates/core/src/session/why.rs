//! What a session waits for: on what, since when, who has it in hand, until when, and what happens then. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{HookPoint, TaskKind};
use crate::ids::{CallId, Seq, SessionId, TaskId, Timestamp};
use crate::limits::RuntimeLimits;
use crate::session::forget::CompactionSlot;
use crate::session::plan::{Work, time_limit};
use crate::session::state::{Call, CallPhase, OpenStep, OpenTurn, State, first_words};

/// Something that a session waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wait {
    /// What it waits for.
    pub on: Awaited,
    /// Since when, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Who has it in hand.
    pub owner: Owner,
    /// Until when; absent when nobody says so, or only another process knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// What happens then, or, where there is no deadline, what ends the wait.
    pub default: String,
}

/// What a session waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Awaited {
    /// The answer of a model.
    Model {
        /// Step of the turn.
        step: u32,
        /// Attempt at it.
        attempt: u32,
    },
    /// The moment of the next attempt.
    Retry {
        /// Step of the turn.
        step: u32,
        /// The attempt that is next.
        attempt: u32,
        /// Why the last one failed.
        why: String,
    },
    /// What to show a person about a call.
    Describe {
        /// The call.
        call: CallId,
        /// What it is, in words.
        title: String,
    },
    /// A permission.
    Permission {
        /// The call in question.
        call: CallId,
        /// What it is, in words.
        title: String,
    },
    /// An answer of the client.
    Client {
        /// The call that it is to answer.
        call: CallId,
        /// What it is, in words.
        title: String,
    },
    /// The end of a call.
    Tool {
        /// The call.
        call: CallId,
        /// What it is, in words.
        title: String,
    },
    /// Hooks.
    Hooks {
        /// Where they run.
        point: HookPoint,
    },
    /// A summary of older messages.
    Summary,
    /// The end of a background task.
    Task {
        /// The task.
        task: TaskId,
        /// What it is, in words.
        label: String,
        /// The session of the subagent that it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child: Option<SessionId>,
    },
    /// The end of a subagent.
    Child {
        /// Its session.
        child: SessionId,
        /// The profile that it works by.
        profile: String,
    },
    /// The turn of an input that has none.
    Input {
        /// The input.
        input: Seq,
        /// Its first line, cut to 80 characters.
        words: String,
    },
    /// Somebody who goes on with a turn that a dead process left open.
    Opening {
        /// The turn.
        turn: u32,
    },
}

/// Who has something in hand that a session waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Owner {
    /// The session's own process.
    Session,
    /// The provider of its model.
    Provider {
        /// Its name.
        name: String,
    },
    /// A tool.
    Tool {
        /// Its name.
        name: String,
    },
    /// The session's hooks.
    Hooks,
    /// Whoever answers permission questions.
    Person,
    /// The client at the surface.
    Client,
    /// Another session.
    Child {
        /// Which.
        session: SessionId,
    },
    /// Nobody: the process that had it is dead or has let go.
    Nobody,
}

/// Who runs a session, seen from here.
#[derive(Debug, Clone, Copy)]
pub enum Runner<'a> {
    /// This process, which has this under way.
    Here(&'a Work),
    /// Another process; only the journal is known of it.
    Elsewhere,
    /// Nobody.
    Nobody,
}

/// What the session waits for, the most particular first; nothing when it only waits for somebody to want something of it.
#[must_use]
pub fn why(state: &State, runner: Runner<'_>, now: Timestamp, limits: &RuntimeLimits) -> Vec<Wait> {
    let view = Seen { state, runner, now, limits };
    let mut waits = Vec::new();
    if let Some(turn) = &state.turn {
        waits.extend(turn.step.iter().flat_map(|step| view.step(turn, step)));
    }
    waits.extend(view.hooks());
    let is_made = state.summary.is_some();
    waits.extend(is_made.then(|| view.summary()));
    waits.extend(view.tasks());
    waits.extend(view.children());
    if let (Some(limit), Some(turn)) =
        (state.turn.as_ref().and_then(|turn| time_limit(state, turn)), &state.turn)
        && !matches!(runner, Runner::Nobody)
    {
        let of_turn = waits.iter_mut().filter(|wait| wait.is_of_turn());
        for wait in of_turn.filter(|wait| wait.deadline.is_none_or(|own| limit < own)) {
            wait.deadline = Some(limit);
            wait.default = format!("turn {} ends: its limit of time is reached", turn.no);
        }
    }
    waits.extend(view.opening());
    waits.extend(view.inputs());
    waits
}

impl Wait {
    /// Whether it ends with its turn.
    fn is_of_turn(&self) -> bool {
        match self.on {
            Awaited::Model { .. }
            | Awaited::Retry { .. }
            | Awaited::Describe { .. }
            | Awaited::Permission { .. }
            | Awaited::Client { .. }
            | Awaited::Tool { .. }
            | Awaited::Hooks { .. } => true,
            Awaited::Summary
            | Awaited::Task { .. }
            | Awaited::Child { .. }
            | Awaited::Input { .. }
            | Awaited::Opening { .. } => false,
        }
    }
}

/// A session and who looks at it.
#[derive(Clone, Copy)]
struct Seen<'a> {
    state: &'a State,
    runner: Runner<'a>,
    now: Timestamp,
    limits: &'a RuntimeLimits,
}

impl<'a> Seen<'a> {
    fn work(&self) -> Option<&'a Work> {
        match self.runner {
            Runner::Here(work) => Some(work),
            Runner::Elsewhere | Runner::Nobody => None,
        }
    }

    /// The owner while somebody runs the session.
    fn held(&self, owner: Owner) -> Owner {
        match self.runner {
            Runner::Here(_) | Runner::Elsewhere => owner,
            Runner::Nobody => Owner::Nobody,
        }
    }

    /// What happens at the deadline while somebody runs the session, and what becomes of it otherwise.
    fn default(&self, running: &str, left: &str) -> String {
        match self.runner {
            Runner::Here(_) | Runner::Elsewhere => running.to_owned(),
            Runner::Nobody => format!("whoever opens the session: {left}"),
        }
    }

    fn step(&self, turn: &'a OpenTurn, step: &'a OpenStep) -> Vec<Wait> {
        if step.stop.is_none() {
            return self.model(turn, step).into_iter().collect();
        }
        step.calls.iter().filter_map(|call| self.call(step, call)).collect()
    }

    fn model(&self, turn: &OpenTurn, step: &OpenStep) -> Option<Wait> {
        let (no, attempt) = (step.no, step.attempt(turn.crashes));
        let name = turn.model().provider.clone();
        if let (Some((_, why)), Some(at)) = (&step.failure, step.retry_at)
            && at > self.now
        {
            let why = why.clone();
            return Some(Wait {
                on: Awaited::Retry { step: no, attempt, why },
                since: Some(step.since),
                owner: self.held(Owner::Session),
                deadline: Some(at),
                default: self.default("the model is asked again", "asks the model again"),
            });
        }
        let under_way = self.work().map(|work| work.model);
        let call = match under_way {
            Some(Some(call)) => Some(call),
            // The process runs the session and no model is asked: planning is about to say what is next.
            Some(None) => return None,
            None => None,
        };
        let deadline = call.map(|call| call.deadline(self.limits));
        Some(Wait {
            on: Awaited::Model { step: no, attempt },
            since: Some(call.map_or(step.since, |call| call.since)),
            owner: self.held(Owner::Provider { name }),
            deadline,
            default: self.default(
                "the attempt fails as too slow, and is made again while attempts are left",
                "asks the model again, or ends the turn as interrupted",
            ),
        })
    }

    fn call(&self, step: &OpenStep, call: &Call) -> Option<Wait> {
        let (id, title) = (call.called.call.clone(), call.called.title.clone());
        match &call.phase {
            CallPhase::Asked(asked) => Some(Wait {
                on: Awaited::Permission { call: id, title },
                since: Some(before(asked.deadline, self.limits.permission_ms).max(step.since)),
                owner: self.held(Owner::Person),
                deadline: Some(asked.deadline),
                default: self.default(
                    "the call is denied, and the model is told",
                    "asks again, or ends the turn as interrupted",
                ),
            }),
            CallPhase::Requested(deadline) => Some(Wait {
                on: Awaited::Client { call: id, title },
                since: Some(before(*deadline, self.limits.client_call_ms).max(step.since)),
                owner: self.held(Owner::Client),
                deadline: Some(*deadline),
                default: self.default(
                    "the call fails, and the model is told",
                    "goes on waiting, or ends the turn as interrupted",
                ),
            }),
            CallPhase::Started if self.state.child_of(&id).is_some() => None,
            CallPhase::Started => Some(self.running(call)),
            CallPhase::Called | CallPhase::Allowed | CallPhase::Refused(_) => {
                let until = *self.work()?.describing.get(&id)?;
                (until > self.now && !self.work()?.described.contains_key(&id)).then(|| Wait {
                    on: Awaited::Describe { call: id, title },
                    since: Some(before(until, self.limits.describe_ms)),
                    owner: Owner::Tool { name: call.called.name.clone() },
                    deadline: Some(until),
                    default: "the question is asked without it".to_owned(),
                })
            }
            CallPhase::Settled(..) => None,
        }
    }

    fn running(&self, call: &Call) -> Wait {
        let (id, title) = (call.called.call.clone(), call.called.title.clone());
        let work = self.work().and_then(|work| work.tools.get(&id));
        let stopped = work.and_then(|work| work.cancelled);
        let deadline = match (work, stopped) {
            (Some(_), Some(since)) => Some(since.after(self.limits.cancel_grace_ms)),
            (Some(work), None) => Some(work.deadline),
            (None, _) => None,
        };
        let running = match stopped {
            Some(_) => "it was told to stop; it is dropped, and nobody knows what it did",
            None => "it is told to stop, and counts as failed",
        };
        let left = match call.called.effect.may_repeat() {
            true => "runs it again, or ends the turn as interrupted",
            false => "takes it that nobody knows what it did, and the model is told",
        };
        Wait {
            on: Awaited::Tool { call: id, title },
            since: call.started,
            owner: self.held(Owner::Tool { name: call.called.name.clone() }),
            deadline,
            default: self.default(running, left),
        }
    }

    fn hooks(&self) -> impl Iterator<Item = Wait> {
        let running = self.work().into_iter().flat_map(|work| &work.hooks.running);
        running.map(|(place, flight)| Wait {
            on: Awaited::Hooks { point: place.point },
            since: None,
            owner: Owner::Hooks,
            deadline: Some(flight.until),
            default: "they count as failed: each one's `on_error` says what that means".to_owned(),
        })
    }

    fn summary(&self) -> Wait {
        let slot = self.work().map(|work| &work.summary);
        let deadline = match slot {
            Some(CompactionSlot::Busy(flight)) => Some(flight.until),
            Some(CompactionSlot::Free | CompactionSlot::Ready(_)) | None => None,
        };
        let chosen = &self.state.spec.settings.model;
        let model = self.state.turn.as_ref().map_or(chosen, |turn| turn.model());
        Wait {
            on: Awaited::Summary,
            since: deadline.map(|until| before(until, self.limits.summary_total_ms)),
            owner: self.held(Owner::Provider { name: model.provider.clone() }),
            deadline,
            default: self.default(
                "the summary counts as failed, and the session goes on without it",
                "counts it as failed",
            ),
        }
    }

    fn tasks(&self) -> impl Iterator<Item = Wait> {
        self.state.tasks.running.iter().map(|task| {
            let (child, running, left) = match &task.started.work {
                TaskKind::Work => (None, "it is told to stop, and has failed", "counts it as lost"),
                TaskKind::Subagent { child } => (
                    Some(child.clone()),
                    "the subagent is told to stop; else it ends within its own limits",
                    "takes it up again",
                ),
            };
            // A subagent's time begins anew when it is taken up again.
            let bounded = self.work().is_some() && child.is_none();
            let deadline = bounded.then(|| task.since.after(self.limits.task_total_ms));
            let owner = child.clone().map_or(Owner::Session, |session| Owner::Child { session });
            let (task_id, label) = (task.started.task.clone(), task.started.label.clone());
            Wait {
                on: Awaited::Task { task: task_id, label, child },
                since: Some(task.since),
                owner: self.held(owner),
                deadline,
                default: self.default(running, left),
            }
        })
    }

    /// Subagents that no running task stands for.
    fn children(&self) -> impl Iterator<Item = Wait> {
        let tasks = &self.state.tasks.running;
        let is_task = move |session: &SessionId| {
            tasks.iter().any(|task| match &task.started.work {
                TaskKind::Subagent { child } => child == session,
                TaskKind::Work => false,
            })
        };
        let children = self.state.children.iter();
        children.filter(move |child| !is_task(&child.opened.child)).map(|child| {
            let session = child.opened.child.clone();
            let call = self.work().and_then(|work| work.tools.get(&child.opened.call));
            Wait {
                on: Awaited::Child {
                    child: session.clone(),
                    profile: child.opened.profile.clone(),
                },
                since: Some(child.since),
                owner: self.held(Owner::Child { session }),
                deadline: call.map(|call| call.deadline),
                default: self.default(
                    "the call that waits for it is told to stop; else it ends within its own limits",
                    "goes on with it, or ends it",
                ),
            }
        })
    }

    /// A turn that nobody runs.
    fn opening(&self) -> Option<Wait> {
        let turn = self.state.turn.as_ref().filter(|_| matches!(self.runner, Runner::Nobody))?;
        Some(Wait {
            on: Awaited::Opening { turn: turn.no },
            since: Some(self.state.updated),
            owner: Owner::Nobody,
            deadline: None,
            default:
                "`oarlock session resume` goes on with the turn; a new input ends it as interrupted"
                    .to_owned(),
        })
    }

    fn inputs(&self) -> impl Iterator<Item = Wait> {
        let (state, limits) = (self.state, self.limits);
        let all: Vec<Seq> = state.pending.iter().map(|input| input.seq).collect();
        let is_held_back = state.only_outcomes(&state.loud(&all))
            && (state.tasks.quiet || state.tasks.autonomous >= limits.autonomous_turns_max);
        let default = match (&state.turn, self.runner) {
            _ if state.archived => "nothing, until the session is restored".to_owned(),
            (Some(turn), Runner::Here(_) | Runner::Elsewhere) => {
                format!("it is taken at the next step or after the end of turn {}", turn.no)
            }
            (None, _) if state.loud(&all).is_empty() => "it is taken with the next turn".to_owned(),
            _ if is_held_back => {
                "nothing, until somebody gives the session an input: no further turn begins by itself"
                    .to_owned()
            }
            (Some(_), Runner::Nobody) => "it is taken after the open turn".to_owned(),
            (None, Runner::Nobody) => "its turn begins when the session is opened".to_owned(),
            (None, Runner::Here(_) | Runner::Elsewhere) => "its turn begins".to_owned(),
        };
        state.pending.iter().map(move |input| Wait {
            on: Awaited::Input { input: input.seq, words: first_words(&input.admitted.content) },
            since: None,
            owner: match self.runner {
                Runner::Here(_) | Runner::Elsewhere if !state.archived => Owner::Session,
                Runner::Here(_) | Runner::Elsewhere | Runner::Nobody => Owner::Nobody,
            },
            deadline: None,
            default: default.clone(),
        })
    }
}

/// The moment so many milliseconds before another one.
fn before(moment: Timestamp, ms: u64) -> Timestamp {
    Timestamp::from_unix_ms(moment.unix_ms().saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)))
}
