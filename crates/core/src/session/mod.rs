//! A live session: one task that takes signals, decides, plans, commits, and only then acts and tells.
//!
//! The loop is the same for a new session, a resumed one and a replayed one. Nothing in it waits for anything but the next signal and
//! the store.

pub mod calls;
pub mod context;
pub mod decide;
pub mod feed;
pub(crate) mod inbox;
pub(crate) mod log;
pub mod plan;
pub mod recover;
pub mod state;
pub mod summary;
pub mod trace;

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::command::{Attached, Command, Rejection, Reply};
use crate::event::{Delta, DeltaItem, Entry, Event, Outcome, StopReason, ToolSettled};
use crate::ids::{CallId, Seq, Timestamp};
use crate::limits::RuntimeLimits;
use crate::ports::bus::{Bus, BusError, Live};
use crate::ports::clock::Clock;
use crate::ports::journal::{Catalog, IndexedText, JournalError};
use crate::ports::model::{Model, ModelError, ModelErrorKind, ModelEvent, ModelInfo, Models};
use crate::ports::tool::ToolSchema;
use crate::session::decide::{Decision, decide};
use crate::session::feed::Growing;
use crate::session::inbox::{Arrived, Inbox, Signal};
use crate::session::log::Log;
use crate::session::plan::{Facts, ModelWork, Step, ToolWork, Work, plan};
use crate::session::state::{Call, State};
use crate::session::trace::{Assessments, Line, Trace};
use crate::spec::ModelSelection;
use crate::turn;
use crate::turn::Effects;
use crate::turn::registry::Assessor;
use crate::turn::tools::CallEnd;

/// Decisions that one signal may lead to before something is wrong with planning.
const DECISIONS_MAX: u32 = 100_000;

type Answer = oneshot::Sender<Result<Reply, BusError>>;

/// What a task needs besides its log.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn crate::ports::clock::Ids>,
    pub(crate) models: Arc<dyn Models>,
    pub(crate) limits: RuntimeLimits,
    pub(crate) trace: Trace,
}

/// Where a task's signals come from.
pub(crate) enum Source {
    /// From commands, effects and the clock.
    Live(Inbox),
    /// From a recording; the task ends with it.
    Recording(VecDeque<(Timestamp, Signal)>),
}

/// The model of the open turn.
struct Resolved {
    selection: ModelSelection,
    info: Result<ModelInfo, ModelError>,
    model: Option<Arc<dyn Model>>,
}

/// A live session.
pub(crate) struct SessionTask {
    around: Surroundings,
    log: Log,
    work: Work,
    source: Source,
    /// Absent in a replay: then nothing is acted out.
    effects: Option<Effects>,
    assessments: Assessments,
    schemas: Arc<Vec<ToolSchema>>,
    resolved: Option<Resolved>,
    growing: Growing,
    /// Number of the model call under way; what an older one still says is not heard.
    run: u64,
    answers: Vec<(Answer, Reply)>,
    closers: Vec<Answer>,
    texts: Vec<IndexedText>,
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
        effects: Option<Effects>,
        assessments: Assessments,
    ) -> Self {
        let now = log.state().updated;
        let schemas =
            effects.as_ref().map_or_else(Arc::default, |effects| Arc::clone(effects.schemas()));
        Self {
            around,
            log,
            work: Work::default(),
            source,
            effects,
            assessments,
            schemas,
            resolved: None,
            growing: Growing::default(),
            run: 0,
            answers: Vec::new(),
            closers: Vec::new(),
            texts: Vec::new(),
            now,
        }
    }

    /// Gives a replayed task what the recorded one knew of its tools.
    pub(crate) fn with_schemas(mut self, schemas: Vec<ToolSchema>) -> Self {
        self.schemas = Arc::new(schemas);
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
                Next::Sleep => return self.let_go().await,
            };
            let arrived = match &mut self.source {
                Source::Live(inbox) => inbox.next(self.around.clock.as_ref(), until).await,
                Source::Recording(signals) => match signals.pop_front() {
                    Some((at, signal)) => Arrived { at, signal, reply: None },
                    None => return Ok(()),
                },
            };
            let idle = until <= arrived.at && self.is_idle();
            self.around
                .trace
                .write(|| Line::Took { at: arrived.at, signal: arrived.signal.clone() });
            self.now = arrived.at.max(self.now);
            if idle && arrived.signal == Signal::Tick {
                return self.let_go().await;
            }
            self.take(arrived.signal, arrived.reply);
        }
    }

    fn is_idle(&self) -> bool {
        self.log.state().turn.is_none()
    }

    /// Decides, commits and acts until there is nothing to do but wait.
    async fn advance(&mut self) -> Result<Next, JournalError> {
        for _ in 0..DECISIONS_MAX {
            self.resolve_model();
            let step = self.plan();
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
                    return Ok(Next::Signal(self.now.after(self.around.limits.idle_sleep_ms)));
                }
                Step::Wait(until) => {
                    self.commit().await?;
                    return Ok(Next::Signal(until));
                }
                Step::StopModel => self.stop_model(),
                Step::CallModel { .. }
                | Step::Run(_)
                | Step::Describe(_)
                | Step::StopTools(_)
                | Step::AbandonTools(_) => {
                    self.commit().await?;
                    self.perform(step);
                }
            }
        }
        let why = "planning does not come to rest; this is a defect of Oarlock".to_owned();
        Err(JournalError::Unavailable { why })
    }

    fn plan(&self) -> Step {
        let unresolved = ModelError {
            kind: ModelErrorKind::ModelNotFound,
            message: String::new(),
            retry_after_ms: None,
        };
        let model =
            self.resolved.as_ref().map_or(Err(&unresolved), |resolved| resolved.info.as_ref());
        let facts = Facts {
            limits: &self.around.limits,
            model,
            schemas: &self.schemas,
            assessor: &self.assessments,
            now: self.now,
        };
        plan(self.log.state(), &self.work, &facts)
    }

    /// Looks up the open turn's model, once for each selection.
    fn resolve_model(&mut self) {
        let Some(turn) = &self.log.state().turn else { return };
        let selection = &turn.settings.model;
        if self.resolved.as_ref().is_some_and(|resolved| resolved.selection == *selection) {
            return;
        }
        let (selection, found) = (selection.clone(), self.around.models.resolve(selection));
        let info = found.as_ref().map(|model| model.info().clone()).map_err(Clone::clone);
        self.around
            .trace
            .write(|| Line::Resolved { selection: selection.clone(), found: info.clone() });
        self.resolved = Some(Resolved { selection, info, model: found.ok() });
    }

    fn stage(&mut self, event: Event) -> Seq {
        match &event {
            Event::TurnEnded(_) => {
                self.work = Work { closing: self.work.closing, ..Work::default() }
            }
            Event::StepStarted(_) => self.assessments.forget(),
            Event::AssistantMessage(_) | Event::ModelFailed(_) => self.growing.forget_answer(),
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

    /// Makes everything decided durable, then tells it and answers for it.
    async fn commit(&mut self) -> Result<(), JournalError> {
        let entries = self.log.commit().await?;
        let state = self.log.state();
        for entry in &entries {
            self.texts.extend(summary::indexed_text(entry));
            self.around.bus.publish(&state.id, Live::Entry(Arc::clone(entry)));
        }
        for (answer, reply) in self.answers.drain(..) {
            // A sender that went away needs no answer.
            drop(answer.send(Ok(reply)));
        }
        if let Some(last) = entries.last() {
            let (last, hash) = (last.seq, self.log.head());
            self.around.trace.write(|| Line::Committed { last, hash });
        }
        if entries.iter().any(|entry| summary::changes(&entry.event)) {
            self.put_summary().await;
        }
        Ok(())
    }

    /// A list that is out of date is put right by the next summary; it never stops a session.
    async fn put_summary(&mut self) {
        let texts = std::mem::take(&mut self.texts);
        let summary = summary::summary(self.log.state());
        if let Err(error) = self.around.catalog.put_summary(&summary, &texts).await {
            tracing::warn!(session = %summary.id, %error, "the session list is out of date");
            self.texts = texts;
        }
    }

    async fn let_go(&mut self) -> Result<(), JournalError> {
        if let Some(effects) = &mut self.effects {
            effects.end();
        }
        if let Source::Live(inbox) = &mut self.source {
            inbox.close(&self.log.state().id);
        }
        let entry = self.log.release(self.now).await?;
        self.around.bus.publish(&self.log.state().id, Live::Entry(entry));
        for closer in self.closers.drain(..) {
            // A sender that went away needs no answer.
            drop(closer.send(Ok(Reply::Done)));
        }
        Ok(())
    }

    fn take(&mut self, signal: Signal, answer: Option<Answer>) {
        match signal {
            Signal::Command(command) => self.take_command(command, answer),
            Signal::Model { run, event } if run == self.run && self.work.model.is_some() => {
                self.take_model(event);
            }
            Signal::Model { .. } => {}
            Signal::ToolOutput { call, offset, text } => self.take_output(call, offset, text),
            Signal::ToolDone { call, end } => self.take_end(&call, end),
            Signal::Described { call, detail } => {
                if self.work.describing.contains_key(&call) {
                    self.work.described.insert(call, detail);
                }
            }
            Signal::Tick => {
                if let Some(why) = plan::model_timeout(&self.work, &self.around.limits, self.now) {
                    let name = self
                        .resolved
                        .as_ref()
                        .map_or_else(String::new, |resolved| resolved.selection.to_string());
                    let message = format!("{name}: {why}");
                    self.take_model(Err(ModelError {
                        kind: ModelErrorKind::Timeout,
                        message,
                        retry_after_ms: None,
                    }));
                }
            }
        }
    }

    fn take_command(&mut self, command: Command, answer: Option<Answer>) {
        let reply = match decide(self.log.state(), &self.around.limits, command) {
            Err(rejection) => Some(Reply::Rejected(rejection)),
            Ok(Decision::Attach) => Some(Reply::Attached(self.attached())),
            Ok(Decision::Known(seq)) => Some(Reply::Admitted(seq)),
            Ok(Decision::Record(events)) => {
                for event in events {
                    self.stage(event);
                }
                Some(Reply::Done)
            }
            Ok(Decision::Admit(_)) if self.work.closing => Some(Reply::Rejected(closing())),
            Ok(Decision::Admit(event)) => Some(Reply::Admitted(self.stage(event))),
            Ok(Decision::Cancel) => {
                self.work.stop = Some(StopReason::Cancelled);
                Some(Reply::Done)
            }
            Ok(Decision::Close) => {
                self.work.closing = true;
                if self.log.state().turn.is_some() {
                    self.work.stop = Some(StopReason::Cancelled);
                }
                None
            }
        };
        match (reply, answer) {
            (Some(reply), Some(answer)) => self.answers.push((answer, reply)),
            (None, Some(answer)) => self.closers.push(answer),
            (_, None) => {}
        }
    }

    fn attached(&self) -> Attached {
        Attached { tip: self.log.state().tip, growing: self.growing.snapshot() }
    }

    /// Number of turn, step and attempt of the model call under way.
    fn place(state: &State) -> Option<(u32, u32, u32)> {
        let turn = state.turn.as_ref()?;
        let step = turn.step.as_ref()?;
        Some((turn.no, step.no, step.attempt(turn.crashes)))
    }

    fn take_model(&mut self, event: Result<ModelEvent, ModelError>) {
        let Some((turn, step, attempt)) = Self::place(self.log.state()) else { return };
        let events = match event {
            Ok(ModelEvent::Alive) => None,
            Ok(ModelEvent::Delta { item, text }) => {
                let offset = self.growing.length(&item);
                self.tell(Delta { turn, step, attempt, item, offset, text });
                None
            }
            Ok(ModelEvent::Reply(reply)) => {
                let price = self
                    .resolved
                    .as_ref()
                    .and_then(|resolved| resolved.info.as_ref().ok())
                    .and_then(|info| info.price);
                Some(turn::model::answered(self.log.state(), reply, price, attempt))
            }
            Err(error) => {
                let (open, chance) = (self.log.state().turn.as_ref(), self.around.ids.random());
                Some(open.and_then(|open| {
                    turn::model::failed(open, &self.around.limits, error, (self.now, chance))
                }))
            }
        };
        match (events, &mut self.work.model) {
            (None, Some(model)) => model.heard = self.now,
            (None, None) => {}
            (Some(event), _) => {
                self.end_model();
                if let Some(event) = event {
                    self.stage(event);
                }
            }
        }
    }

    fn end_model(&mut self) {
        self.work.model = None;
        if let Some(effects) = &mut self.effects {
            effects.end_model();
        }
    }

    /// Drops the model call. What had arrived is kept as a partial answer.
    fn stop_model(&mut self) {
        self.end_model();
        let texts = self.growing.answer_texts();
        let state = self.log.state();
        let (place, model) = (
            Self::place(state),
            self.resolved.as_ref().map_or("", |resolved| &resolved.selection.model).to_owned(),
        );
        let step = state.turn.as_ref().and_then(|turn| turn.step.as_ref());
        if let (Some(step), Some((_, _, attempt))) = (step, place)
            && let Some(event) = turn::model::cut(step, texts, attempt, &model)
        {
            self.stage(event);
        }
        self.growing.forget_answer();
    }

    fn tell(&mut self, delta: Delta) {
        self.growing.add(&delta, self.around.limits.live_output_bytes);
        self.around.bus.publish(&self.log.state().id, Live::Delta(Arc::new(delta)));
    }

    fn take_output(&mut self, call: CallId, offset: u64, text: String) {
        let Some((turn, step, _)) = Self::place(self.log.state()) else { return };
        if self.work.tools.contains_key(&call) {
            self.tell(Delta {
                turn,
                step,
                attempt: 0,
                item: DeltaItem::Output { call },
                offset,
                text,
            });
        }
    }

    fn take_end(&mut self, id: &CallId, end: CallEnd) {
        let Some(running) = self.work.tools.get(id).copied() else { return };
        let Some(call) = find_call(self.log.state(), id) else { return };
        // Told to stop because its time was up, not because the turn stops: that is the call's failure.
        let timed_out = running.cancelled.is_some()
            && self.work.stop.is_none()
            && end.outcome == Outcome::Cancelled;
        let mut settled = ToolSettled {
            call: id.clone(),
            outcome: end.outcome,
            content: end.content,
            blobs: end.blobs,
            detail: end.detail,
            duration_ms: call.started.map_or(0, |since| self.now.ms_since(since)),
        };
        if timed_out {
            settled.outcome = Outcome::Failed;
            settled.content =
                vec![crate::message::Part::text("it did not end in time and was stopped")];
        }
        if let Some(effects) = &mut self.effects {
            effects.ended(id);
        }
        self.stage(Event::ToolSettled(settled));
    }

    /// Acts. Everything decided is committed.
    fn perform(&mut self, step: Step) {
        let (now, limits) = (self.now, self.around.limits);
        match step {
            Step::CallModel { output_max, .. } => {
                self.run += 1;
                self.work.model = Some(ModelWork { since: now, heard: now });
                let model = self.resolved.as_ref().and_then(|resolved| resolved.model.clone());
                if let (Some(effects), Some(model)) = (&mut self.effects, model) {
                    effects.call_model(self.log.state(), model, output_max, self.run);
                }
            }
            Step::Run(calls) => {
                for id in calls {
                    let Some(call) = find_call(self.log.state(), &id) else { continue };
                    let timeout_ms = self
                        .assessments
                        .assess(&call.called.name, &call.called.arguments)
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
            Step::Rest | Step::Wait(_) | Step::Record(_) | Step::StopModel => {}
        }
    }
}

fn closing() -> Rejection {
    Rejection::Invalid { what: "the session is being closed".to_owned() }
}

fn find_call<'a>(state: &'a State, id: &CallId) -> Option<&'a Call> {
    state.turn.as_ref()?.step.as_ref()?.calls.iter().find(|call| call.called.call == *id)
}

/// An entry as followers are sent it.
pub(crate) fn told(entry: Entry) -> Live {
    Live::Entry(Arc::new(entry))
}
