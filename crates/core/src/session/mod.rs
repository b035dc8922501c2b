//! A live session: one task that takes signals, decides, plans, commits, and only then acts and tells.
//!
//! The loop is the same for a new session, a resumed one and a replayed one. Nothing in it waits for anything but the next signal and
//! the store.

pub(crate) mod birth;
pub(crate) mod budget;
pub mod calls;
pub mod checkpoint;
pub mod children;
mod commit;
pub mod context;
pub mod conversation;
pub mod decide;
pub mod fallback;
pub mod feed;
pub(crate) mod fold;
pub mod follow;
pub mod forget;
pub mod fork;
pub mod gate;
pub mod goal;
pub mod hooks;
pub(crate) mod inbox;
mod inputs;
pub(crate) mod log;
mod logged;
mod models;
pub mod open_turn;
pub(crate) mod output;
pub(crate) mod peers;
pub mod plan;
mod projection;
pub mod recent;
pub mod recover;
mod signals;
mod skills;
pub mod state;
pub mod status;
pub mod summary;
pub mod tasks;
pub mod trace;
pub mod usable;
pub mod why;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::agent::emitter::EventEmitter;
use crate::command::Reply;
use crate::event::{Entry, Event};
use crate::ids::{CallId, Seq, TaskId, Timestamp};
use crate::limits::RuntimeLimits;
use crate::ports::bus::{BusError, Live};
use crate::ports::clock::Clock;
use crate::ports::hook::HookTable;
use crate::ports::journal::{Activity, Catalog, IndexedText, JournalError};
use crate::ports::model::{ModelError, ModelErrorKind, Models};
use crate::ports::tool::ToolSchema;
use crate::session::context::ToolsDigest;
use crate::session::fallback::Candidate;
use crate::session::feed::Growing;
use crate::session::forget::{CompactionSlot, Flight, Scene};
use crate::session::inbox::{Arrived, Inbox, Leased, Signal};
use crate::session::log::Log;
use crate::session::models::Resolved;
use crate::session::plan::{Facts, ModelWork, Step, ToolWork, Work, plan};
use crate::session::state::{Call, State};
use crate::session::trace::{Assessments, Line, Trace};
use crate::spec::ExternalTool;
use crate::turn::TurnRunner;
use crate::turn::external;
use crate::turn::permission::Saves;
use crate::turn::registry::Assessor;

/// Decisions that one signal may lead to before something is wrong with planning.
const DECISIONS_MAX: u32 = 100_000;

type Answer = oneshot::Sender<Result<Reply, BusError>>;

/// What a task needs besides its log.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) feed: EventEmitter,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn crate::ports::clock::Ids>,
    pub(crate) models: Arc<dyn Models>,
    pub(crate) limits: Arc<RuntimeLimits>,
    pub(crate) saves: Saves,
    pub(crate) trace: Trace,
}

/// Where a task's signals come from.
pub(crate) enum Source {
    /// From commands, effects and the clock.
    Live(Inbox),
    /// From a recording; the task ends with it.
    Recording(VecDeque<(Timestamp, Signal)>),
}

/// A live session.
pub(crate) struct SessionTask {
    around: Surroundings,
    log: Log,
    work: Work,
    source: Source,
    /// Absent in a replay: then nothing is acted out.
    effects: Option<TurnRunner>,
    assessments: Assessments,
    tools: ToolsDigest,
    /// What models are told of the session's own tools.
    own_schemas: Arc<Vec<ToolSchema>>,
    /// The tools of the client that are offered beside them.
    external_tools: Vec<ExternalTool>,
    /// Clients that gave the ends of calls, while hooks look at those.
    suppliers: BTreeMap<CallId, Answer>,
    /// The hooks of the session, those that are left out included.
    hooks: HookTable,
    /// Number of the last run of hooks.
    hook_runs: u64,
    /// Whether the session was made, not taken up again.
    is_new: bool,
    resolved: Option<Box<Resolved>>,
    /// The models that may take over from it, once one is wanted.
    chain: Vec<Candidate>,
    growing: Growing,
    /// Number of the model call under way; what an older one still says is not heard.
    run: u64,
    /// Number of the last summary that was asked for.
    summaries: u64,
    answers: Vec<(Answer, Result<Reply, BusError>)>,
    /// Answers to calls that want subagents.
    leases: Vec<(oneshot::Sender<Leased>, Leased)>,
    closers: Vec<Answer>,
    /// Texts that the catalogue has not taken.
    texts: Vec<IndexedText>,
    /// What the session does by the summary that the catalogue has; absent when that is not known.
    listed: Option<Activity>,
    /// The last entry of the last checkpoint that was tried.
    checkpoint: Seq,
    now: Timestamp,
}

/// What is next after everything decided is committed.
enum Next {
    Signal(Timestamp),
    Sleep,
}

impl SessionTask {
    pub(crate) fn new(
        around: Surroundings,
        log: Log,
        source: Source,
        effects: Option<TurnRunner>,
        assessments: Assessments,
    ) -> Self {
        let (now, checkpoint) = (log.state().updated, log.checkpoint());
        let is_new = log.state().epoch == 1;
        // Of one that was left in the middle of something, nobody knows what the catalogue has.
        let is_listed = !is_new && log.state().turn.is_none();
        let listed = is_listed.then(|| summary::activity(log.state()));
        // An input that came with the session is searched for as others are.
        let texts = if is_new { summary::waiting_texts(log.state()) } else { Vec::new() };
        let tools = effects.as_ref().map_or_else(|| ToolsDigest::of(&[]), TurnRunner::tools);
        let own_schemas = effects.as_ref().map(TurnRunner::own_schemas).unwrap_or_default();
        Self {
            around,
            log,
            work: Work::default(),
            source,
            effects,
            assessments,
            tools,
            own_schemas,
            external_tools: Vec::new(),
            suppliers: BTreeMap::new(),
            hooks: HookTable::default(),
            hook_runs: 0,
            is_new,
            resolved: None,
            chain: Vec::new(),
            growing: Growing::default(),
            run: 0,
            summaries: 0,
            answers: Vec::new(),
            leases: Vec::new(),
            closers: Vec::new(),
            texts,
            listed,
            checkpoint,
            now,
        }
    }

    /// Gives a replayed task what the recorded one knew of its tools.
    pub(crate) fn with_schemas(mut self, schemas: &[ToolSchema]) -> Self {
        self.tools = ToolsDigest::of(schemas);
        self.own_schemas = Arc::new(schemas.to_vec());
        self
    }

    /// Gives a task the hooks of its session.
    pub(crate) fn with_hooks(mut self, hooks: HookTable) -> Self {
        self.hooks = hooks;
        self
    }

    /// Lives until it is closed, idle for long, or loses its store. `events` were decided on opening.
    ///
    /// # Errors
    /// When the store takes no more appends, or gave the session to another writer. What was told before is committed; nothing else happened.
    pub(crate) async fn live(
        mut self: Box<Self>,
        at: Timestamp,
        events: Vec<Event>,
    ) -> Result<(), JournalError> {
        self.now = at;
        for event in events {
            self.stage(event);
        }
        let result = self.turn_around().await;
        if let (Err(_), Source::Live(inbox)) = (&result, &mut self.source) {
            inbox.close(&self.log.state().id);
        }
        result
    }

    async fn turn_around(&mut self) -> Result<(), JournalError> {
        loop {
            let until = match self.advance().await? {
                Next::Signal(until) => until,
                Next::Sleep => return Box::pin(self.let_go()).await,
            };
            let arrived = match &mut self.source {
                Source::Live(inbox) => inbox.next(self.around.clock.as_ref(), until).await,
                Source::Recording(signals) => match signals.pop_front() {
                    Some((at, signal)) => Arrived::new(at, signal),
                    None => return Ok(()),
                },
            };
            let Arrived { at, what } = arrived;
            let idle = until <= at && self.is_idle();
            self.around.trace.write(|| Line::Took { at, signal: what.0.clone() });
            self.now = at.max(self.now);
            if idle && what.0 == Signal::Tick {
                return Box::pin(self.let_go()).await;
            }
            let (signal, asker) = *what;
            self.take(signal, asker);
        }
    }

    fn is_idle(&self) -> bool {
        let state = self.log.state();
        state.turn.is_none()
            && state.summary.is_none()
            && state.tasks.running.is_empty()
            && self.work.closing_children.values().all(|closing| closing.again <= self.now)
            && self.work.hooks.running.is_empty()
    }

    /// Decides, commits and acts until there is nothing to do but wait.
    async fn advance(&mut self) -> Result<Next, JournalError> {
        for _ in 0..DECISIONS_MAX {
            self.resolve_model();
            self.find_chain();
            self.offer_tools();
            let step = plan(self.log.state(), &self.work, &self.facts());
            match step {
                Step::Record(events) => {
                    for event in events {
                        self.stage(event);
                    }
                }
                Step::Rest if self.work.closing => {
                    self.commit().await?;
                    return Ok(Next::Sleep);
                }
                Step::Rest => {
                    self.commit().await?;
                    self.rest();
                    return Ok(Next::Signal(self.now.after(self.around.limits.idle_sleep_ms)));
                }
                Step::Wait(until) => {
                    self.commit().await?;
                    return Ok(Next::Signal(until));
                }
                Step::StopModel => self.stop_model(),
                Step::StopHooks(places) => self.stop_hooks(places),
                Step::CallModel { .. }
                | Step::Summarise
                | Step::Hook(_)
                | Step::Run(_)
                | Step::Describe(_)
                | Step::StopTools(_)
                | Step::AbandonTools(_)
                | Step::BeginTasks(_)
                | Step::CancelTasks
                | Step::CloseChild(_) => {
                    self.commit().await?;
                    self.perform(step);
                }
            }
        }
        let why = "planning does not come to rest; this is a defect of Oarlock".to_owned();
        Err(JournalError::Unavailable { why })
    }

    fn facts(&self) -> Facts<'_> {
        static UNRESOLVED: ModelError = ModelError {
            kind: ModelErrorKind::ModelNotFound,
            message: String::new(),
            retry_after_ms: None,
        };
        let resolved = self.resolved.as_deref();
        Facts {
            limits: &self.around.limits,
            model: resolved.map_or(Err(&UNRESOLVED), |resolved| resolved.info.as_ref()),
            chain: &self.chain,
            tools: &self.tools,
            hooks: &self.hooks,
            assessor: &self.assessments,
            saves: self.around.saves,
            now: self.now,
        }
    }

    /// Offers the tools of the client that the open turn began with, else those that the next one will.
    fn offer_tools(&mut self) {
        let state = self.log.state();
        let settings = state.turn.as_ref().map_or(&state.spec.settings, |turn| &turn.settings);
        if settings.external_tools == self.external_tools {
            return;
        }
        self.external_tools.clone_from(&settings.external_tools);
        match &mut self.effects {
            Some(effects) => {
                let offered = Arc::clone(effects.offer(&self.external_tools));
                self.assessments.offer(offered);
                self.tools = effects.tools();
            }
            None => {
                let schemas = external::schemas(&self.own_schemas, &self.external_tools);
                self.tools = ToolsDigest::of(&schemas);
            }
        }
    }

    fn stage(&mut self, event: Event) -> Seq {
        match &event {
            Event::ToolSettled(settled) => self.close_ended(&settled.call),
            Event::TaskSettled(settled) => {
                if let Some(call) = children::call_of_task(self.log.state(), &settled.task) {
                    self.close_ended(&call);
                }
            }
            _ => {}
        }
        match &event {
            Event::TurnEnded(_) => {
                self.assessments.forget();
                let summary = std::mem::take(&mut self.work.summary);
                let was = std::mem::take(&mut self.work);
                self.work = Work {
                    closing: was.closing,
                    summary,
                    tasks: was.tasks,
                    starting: was.starting,
                    tasks_until: was.tasks_until,
                    ended_children: was.ended_children,
                    closing_children: was.closing_children,
                    hooks: was.hooks.after_turn(self.log.state()),
                    ..Work::default()
                };
            }
            Event::SubagentClosed(closed) => {
                self.work.closing_children.remove(&closed.child);
            }
            Event::TaskSettled(settled) => {
                self.work.tasks.remove(&settled.task);
                self.growing.forget_task(&settled.task);
            }
            Event::StepStarted(started) => {
                self.work.hooks.ran.retain(|place| !place.is_before(started.step));
                self.assessments.forget();
            }
            Event::AssistantMessage(message) => {
                self.work.hooks.answered = Some(message.usage);
                self.growing.forget_answer();
            }
            Event::ModelFailed(_) | Event::ModelReplaced(_) => self.growing.forget_answer(),
            Event::ContextCompacted(_) | Event::SummaryFailed(_) => {
                self.work.hooks.ran.retain(|place| !place.point.is_about_summaries());
                self.drop_hooks(|place| place.point.is_about_summaries());
                self.end_summary();
            }
            Event::HookRan(ran) if ran.lost => self.forget_hooks(&ran.place()),
            Event::InputWithdrawn(withdrawn) => {
                self.drop_hooks(|place| place.input == Some(withdrawn.input));
            }
            Event::ToolSettled(settled) => {
                self.work.tools.remove(&settled.call);
                self.growing.forget_call(&settled.call);
            }
            Event::PermissionAsked(asked) => {
                self.work.describing.remove(&asked.call);
                self.work.described.remove(&asked.call);
            }
            _ => {}
        }
        if matches!(event, Event::TurnEnded(_) | Event::TurnStarted(_)) {
            self.resolved = None;
        }
        self.log.stage(self.now, event)
    }

    fn end_summary(&mut self) {
        self.work.summary = CompactionSlot::Free;
        if let Some(effects) = &mut self.effects {
            effects.end_summary();
        }
    }

    /// Asks the model for the open summary.
    fn summarise(&mut self) {
        self.summaries += 1;
        let Some(model) = self.resolved.as_ref().and_then(|resolved| resolved.model.clone()) else {
            return;
        };
        let (state, facts) = (self.log.state(), self.facts());
        let settings = state.turn.as_ref().map_or(&state.spec.settings, |turn| &turn.settings);
        let info = model.info();
        let scene = Scene { state, work: &self.work, facts: &facts, settings, model: info };
        let request = state.summary.as_ref().map(|open| forget::request(&scene, open));
        let until = self.now.after(self.around.limits.summary_total_ms);
        self.work.summary = CompactionSlot::Busy(Flight { until, price: info.price });
        if let (Some(effects), Some(request)) = (&mut self.effects, request) {
            effects.summarise(model, request, self.summaries);
        }
    }

    /// Acts. Everything decided is committed.
    fn perform(&mut self, step: Step) {
        let (now, limits) = (self.now, Arc::clone(&self.around.limits));
        match step {
            Step::CallModel { output_max, .. } => {
                self.run += 1;
                self.work.model = Some(ModelWork { since: now, heard: now, is_held: false });
                let model = self.resolved.as_ref().and_then(|resolved| resolved.model.clone());
                if let (Some(effects), Some(model)) = (&mut self.effects, model) {
                    effects.call_model(self.log.state(), model, output_max, self.run);
                }
            }
            Step::Summarise => self.summarise(),
            Step::Run(calls) => {
                for id in calls {
                    let Some(call) = find_call(self.log.state(), &id) else { continue };
                    let timeout_ms = self
                        .assessments
                        .assess(&call.called.name, call.arguments())
                        .map_or(0, |(call, _)| call.timeout_ms);
                    let deadline = now.after(timeout_ms.saturating_add(limits.tool_slack_ms));
                    if let Some(effects) = &mut self.effects {
                        effects.run(call);
                    }
                    self.work.tools.insert(id, ToolWork { deadline, cancelled: None });
                }
            }
            Step::Describe(id) => {
                self.work.describing.insert(id.clone(), now.after(limits.describe_ms));
                if let (Some(effects), Some(call)) =
                    (&mut self.effects, find_call(self.log.state(), &id))
                {
                    effects.describe(call);
                }
            }
            Step::StopTools(calls) => {
                for id in calls {
                    if let Some(running) = self.work.tools.get_mut(&id) {
                        running.cancelled = Some(now);
                    }
                    if let Some(effects) = &mut self.effects {
                        effects.cancel(&id);
                    }
                }
            }
            Step::AbandonTools(calls) => {
                for id in calls {
                    if let Some(effects) = &mut self.effects {
                        effects.abandon(&id);
                    }
                    let event = find_call(self.log.state(), &id).map(|call| calls::cut(call, now));
                    if let Some(event) = event {
                        self.stage(event);
                    }
                }
            }
            Step::BeginTasks(tasks) => tasks.into_iter().for_each(|task| self.begin_task(task)),
            Step::CancelTasks => {
                let grace = limits.cancel_grace_ms;
                // A task that does not stop is dropped after the grace, and says so a moment later.
                self.work.tasks_until = Some(now.after(grace + grace / 4));
                if let Some(effects) = &self.effects {
                    effects.background().cancel_all();
                }
            }
            Step::CloseChild(child) => self.close_child(child),
            Step::Hook(place) => self.start_hooks(place),
            Step::Rest | Step::Wait(_) | Step::Record(_) | Step::StopModel | Step::StopHooks(_) => {
            }
        }
    }

    fn begin_task(&mut self, task: TaskId) {
        let ticket = self.work.starting.remove(&task);
        let running = &self.log.state().tasks.running;
        let started = running.iter().find(|running| running.started.task == task);
        if let (Some(effects), Some(running)) = (&mut self.effects, started) {
            effects.begin_task(&running.started, ticket);
        }
        self.work.tasks.insert(task);
    }
}

fn find_call<'a>(state: &'a State, id: &CallId) -> Option<&'a Call> {
    state.turn.as_ref()?.step.as_ref()?.calls.iter().find(|call| call.called.call == *id)
}

/// An entry as followers are sent it.
pub(crate) fn told(entry: Entry) -> Live {
    Live::Entry(Arc::new(entry))
}
