//! What a session's task does with each thing that reaches it: it decides, and stages what follows.

use std::sync::Arc;

use crate::agent::background::BackgroundError;
use crate::command::{Attached, Command, Rejection, Reply, Status};
use crate::event::{
    Delta, DeltaItem, Event, Outcome, StopReason, SubagentClosed, TaskKind, TaskStarted,
    ToolSettled,
};
use crate::ids::{CallId, SessionId, TaskId};
use crate::message::Usage;
use crate::ports::bus::{BusError, Live};
use crate::ports::model::{ModelError, ModelErrorKind, ModelEvent, Reply as ModelReply};
use crate::ports::tool::SessionNote;
use crate::session::children::{self, Child, ChildWanted};
use crate::session::context::text_tokens;
use crate::session::decide::{Decision, decide};
use crate::session::forget::{self, CompactionSlot, Flight, Scene, SummaryEnd};
use crate::session::inbox::{Asker, Signal};
use crate::session::plan::ChildWork;
use crate::session::state::{CallPhase, State};
use crate::session::status::status;
use crate::session::why::{Runner, why};
use crate::session::{Answer, SessionTask, Source, calls, find_call, plan, tasks, usable};
use crate::spec::check_external;
use crate::turn;
use crate::turn::tools::CallEnd;

/// Until closing a subagent is tried again after it failed.
const CLOSE_AGAIN_MS: u64 = 1_000;

impl SessionTask {
    pub(super) fn take(&mut self, signal: Signal, asker: Asker) {
        self.end_late_hooks();
        match signal {
            Signal::Command(command) => {
                let answer = match asker {
                    Asker::Commander(answer) => Some(answer),
                    Asker::Call(_) | Asker::Nobody => None,
                };
                self.take_command(command, answer);
            }
            Signal::ChildWanted(wanted) => self.take_wish(&wanted, asker),
            Signal::ChildClosed(closed) => self.take_child(closed),
            Signal::ChildNotClosed { child } => {
                if let Some(closing) = self.work.closing_children.get_mut(&child) {
                    closing.again = self.now.after(CLOSE_AGAIN_MS);
                }
            }
            Signal::Model { run, event } if run == self.run && self.work.model.is_some() => {
                // A model that talks without end is heard no longer than one that is silent.
                let talks = !matches!(&event, Ok(ModelEvent::Reply(_)) | Err(_));
                match self.model_timeout().filter(|_| talks) {
                    Some(timeout) => self.take_model(Err(timeout)),
                    None => self.take_model(event),
                }
            }
            Signal::Model { .. } => {}
            Signal::ToolOutput { call, offset, text } => self.take_output(call, offset, text),
            Signal::ToolDone { call, end } => self.take_end(&call, end),
            Signal::Described { call, detail } => {
                if self.work.describing.contains_key(&call) {
                    self.work.described.insert(call, detail);
                }
            }
            Signal::Summarised { run, reply, answer_bytes } if run == self.summaries => {
                self.take_summary(reply, answer_bytes);
            }
            Signal::Summarised { .. } => {}
            Signal::SpawnTask { ticket, label, kind, call } => {
                self.take_spawn(ticket, TaskWords { label, kind, call });
            }
            Signal::TaskOutput { task, offset, text } => {
                if self.work.tasks.contains(&task) {
                    let item = DeltaItem::Task { task };
                    self.tell(Delta { turn: 0, step: 0, attempt: 0, item, offset, text });
                }
            }
            Signal::TaskEnded { task, end } => self.take_task_end(&task, end),
            Signal::Hooked { place, run, end } => {
                self.take_hooks(place, run, end.map(|end| *end));
            }
            Signal::Tick => {
                self.end_late_summary();
                if let Some(timeout) = self.model_timeout() {
                    self.take_model(Err(timeout));
                }
            }
        }
    }

    /// A call wants a subagent: what is set aside for it is committed before anything of the child is.
    fn take_wish(&mut self, wanted: &ChildWanted, asker: Asker) {
        // A call that wants another one is done with the one it had.
        self.close_ended(&wanted.call);
        let limits = &self.around.limits;
        let leased = match self.work.stop {
            None => children::lease(self.log.state(), wanted, (limits, self.now)),
            Some(_) => Err("the turn is being stopped".to_owned()),
        };
        let lease = leased.map(|(opened, lease)| {
            if let Some(opened) = opened {
                self.stage(Event::SubagentOpened(opened));
            }
            lease
        });
        if let Asker::Call(call) = asker {
            self.leases.push((call, lease));
        }
    }

    /// A subagent has ended. While its call or task runs, that is kept for the end of that.
    fn take_child(&mut self, closed: SubagentClosed) {
        let state = self.log.state();
        let is_it = |child: &&Child| child.opened.child == closed.child;
        let Some(child) = state.children.iter().find(is_it) else { return };
        let call = child.opened.call.clone();
        let is_awaited = find_call(state, &call).is_some_and(|call| !call.is_settled())
            || children::task_of(state, &closed.child).is_some();
        if is_awaited {
            self.work.ended_children.insert(call, closed);
        } else {
            self.stage(Event::SubagentClosed(closed));
        }
    }

    /// Closes the subagent of a call that ended before.
    pub(super) fn close_ended(&mut self, call: &CallId) {
        if let Some(closed) = self.work.ended_children.remove(call) {
            self.stage(Event::SubagentClosed(closed));
        }
    }

    /// Ends a subagent that nobody waits for.
    pub(super) fn close_child(&mut self, child: SessionId) {
        // It says itself that it took too long.
        let again = self.now.after(self.around.limits.child_close_ms + CLOSE_AGAIN_MS);
        let first = ChildWork { since: self.now, again, tries: 0 };
        let closing = self.work.closing_children.entry(child.clone()).or_insert(first);
        (closing.tries, closing.again) = (closing.tries + 1, again);
        if let Some(effects) = &mut self.effects {
            effects.close_child(child);
        }
    }

    fn model_timeout(&self) -> Option<ModelError> {
        let why = plan::model_timeout(&self.work, &self.around.limits, self.now)?;
        Some(self.model_error(ModelErrorKind::Timeout, &why))
    }

    fn take_summary(&mut self, reply: Result<ModelReply, ModelError>, answer_bytes: usize) {
        let CompactionSlot::Busy(Flight { price, .. }) = self.work.summary else { return };
        let heard = Usage { output: text_tokens(answer_bytes), ..Usage::default() };
        let usage = reply.as_ref().map_or(heard, |reply| reply.usage);
        let cost_micros = price.map(|price| price.of(&usage));
        self.work.summary =
            CompactionSlot::Ready(Box::new(SummaryEnd { reply, usage, cost_micros }));
    }

    fn end_late_summary(&mut self) {
        let CompactionSlot::Busy(Flight { until, .. }) = self.work.summary else { return };
        if until <= self.now {
            if let Some(effects) = &mut self.effects {
                effects.end_summary();
            }
            let why =
                format!("no summary came within {} s", self.around.limits.summary_total_ms / 1000);
            self.take_summary(Err(self.model_error(ModelErrorKind::Timeout, &why)), 0);
        }
    }

    /// A failure of the model call that the runtime has found.
    fn model_error(&self, kind: ModelErrorKind, why: &str) -> ModelError {
        let name = self.resolved.as_ref().map(|resolved| resolved.selection.to_string());
        let message = format!("{}: {why}", name.unwrap_or_default());
        ModelError { kind, message, retry_after_ms: None }
    }

    fn take_command(&mut self, command: Command, answer: Option<Answer>) {
        if matches!(command, Command::Answer { .. } | Command::Dismiss { .. }) {
            // The clock has passed the deadline, although its tick has not been taken: an answer is late all the same.
            for event in calls::overdue(self.log.state(), self.now) {
                self.stage(event);
            }
        }
        if command == (Command::Cancel { turn: None }) && self.cancel_before_turn() {
            return self.answers.extend(answer.map(|answer| (answer, Ok(Reply::Done))));
        }
        let usable = self.check_settings(&command);
        let usable = usable.and_then(|()| self.check_supply(&command));
        let decided = usable.and_then(|()| decide(self.log.state(), &self.around.limits, command));
        let reply = match decided {
            Err(rejection) => Some(Reply::Rejected(rejection)),
            Ok(Decision::Attach) => Some(Reply::Attached(self.attached())),
            Ok(Decision::Look) => Some(Reply::Status(Box::new(self.status()))),
            Ok(Decision::Compact { instructions }) => Some(self.begin_summary(instructions)),
            Ok(Decision::Known(seq)) => Some(Reply::Admitted(seq)),
            Ok(Decision::Supply(settled)) => return self.supply(settled, answer),
            Ok(Decision::Record(events)) => Some(self.record(events)),
            Ok(Decision::Overloaded) => {
                let session = self.log.state().id.clone();
                self.answers.extend(answer.map(|a| (a, Err(BusError::Overloaded { session }))));
                return;
            }
            Ok(Decision::Admit(_)) if self.work.closing => Some(Reply::Rejected(closing())),
            Ok(Decision::Admit(input)) => Some(Reply::Admitted(self.stage(input))),
            Ok(Decision::Cancel) => {
                self.work.stop = Some(StopReason::Cancelled);
                Some(Reply::Done)
            }
            Ok(Decision::Archive(events)) => {
                self.stop_turn();
                Some(self.record(events))
            }
            Ok(Decision::CancelTask(task)) => {
                if let Some(effects) = &self.effects {
                    match task {
                        // It runs, as its journal says.
                        Some(task) => drop(effects.background().cancel_task(&task)),
                        None => drop(effects.background().cancel_all()),
                    }
                }
                Some(Reply::Done)
            }
            Ok(Decision::SendToTask(task, text)) => {
                let sent = self.effects.as_ref().map(|e| e.background().send(&task, text));
                Some(match sent {
                    Some(Err(error)) => {
                        Reply::Rejected(Rejection::Invalid { what: error.to_string() })
                    }
                    Some(Ok(())) | None => Reply::Done,
                })
            }
            Ok(Decision::Close) => {
                self.work.closing = true;
                self.stop_turn();
                None
            }
        };
        match (reply, answer) {
            (Some(reply), Some(answer)) => self.answers.push((answer, Ok(reply))),
            (None, Some(answer)) => self.closers.push(answer),
            (_, None) => {}
        }
    }

    fn record(&mut self, events: Vec<Event>) -> Reply {
        for event in events {
            self.stage(event);
        }
        Reply::Done
    }

    /// Cancels the running turn, if there is one.
    fn stop_turn(&mut self) {
        if self.log.state().turn.is_some() {
            self.work.stop = Some(StopReason::Cancelled);
        }
    }

    fn begin_summary(&mut self, instructions: Option<String>) -> Reply {
        let invalid = |what: String| Reply::Rejected(Rejection::Invalid { what });
        let found = self.look_up(self.log.state().spec.settings.model.clone());
        let model = match &found.info {
            Ok(model) => model,
            Err(error) => return invalid(error.message.clone()),
        };
        let (state, facts) = (self.log.state(), self.facts());
        let settings = &state.spec.settings;
        let scene = Scene { state, work: &self.work, facts: &facts, settings, model };
        match forget::by_hand(&scene, instructions) {
            Err(what) => invalid(what.to_owned()),
            Ok(event) => {
                self.stage(event);
                Reply::Done
            }
        }
    }

    /// Settings that the model cannot have are refused at once, not when a turn begins.
    fn check_settings(&self, command: &Command) -> Result<(), Rejection> {
        let Command::Configure { change, .. } = command else { return Ok(()) };
        if let Some(tools) = &change.external_tools {
            let own = self.own_schemas.iter().map(|schema| schema.name.as_str()).collect();
            check_external(tools, &own).map_err(|what| Rejection::Invalid { what })?;
        }
        usable::check_change(&self.log.state().spec.settings, change, |selection| {
            self.look_up(selection.clone()).info
        })
    }

    /// A call takes one end: a second one is refused also while hooks look at the first.
    fn check_supply(&self, command: &Command) -> Result<(), Rejection> {
        let Command::Supply { call, .. } = command else { return Ok(()) };
        match self.work.hooks.ends.contains_key(call) {
            true => Err(Rejection::Stale { what: format!("call {call} was answered before") }),
            false => Ok(()),
        }
    }

    /// Takes the end of a call that a client gives, by the same hooks as one that ran here. It is told that it was taken when it is committed.
    fn supply(&mut self, settled: ToolSettled, answer: Option<Answer>) {
        let call = settled.call.clone();
        self.end_call(settled, Vec::new());
        match self.work.hooks.ends.contains_key(&call) {
            true => self.suppliers.extend(answer.map(|answer| (call, answer))),
            false => self.answers.extend(answer.map(|answer| (answer, Ok(Reply::Done)))),
        }
    }

    fn attached(&self) -> Attached {
        let state = self.log.state();
        let children = state.children.iter().map(|child| child.opened.child.clone()).collect();
        Attached { tip: state.tip, growing: self.growing.snapshot(), children: Some(children) }
    }

    /// The model that the next turn would use is looked up for it; a recording needs none, its answers go nowhere.
    fn status(&self) -> Status {
        let state = self.log.state();
        let info = match &self.source {
            Source::Live(_) => self.around.models.resolve(&state.spec.settings.model).ok(),
            Source::Recording(_) => None,
        };
        let waits = why(state, Runner::Here(&self.work), self.now, &self.around.limits);
        let info = info.as_ref().map(|model| model.info());
        Status { waits, ..status(state, &self.tools, info) }
    }

    /// Number of turn, step and attempt of the model call under way.
    fn place(state: &State) -> Option<(u32, u32, u32)> {
        let turn = state.turn.as_ref()?;
        let step = turn.step.as_ref()?;
        Some((turn.no, step.no, step.attempt(turn.crashes)))
    }

    fn take_model(&mut self, event: Result<ModelEvent, ModelError>) {
        let Some((turn, step, attempt)) = Self::place(self.log.state()) else { return };
        let event = self.bounded(event);
        let is_held = matches!(event, Ok(ModelEvent::Waits { .. }));
        let events = match event {
            Ok(ModelEvent::Alive) => None,
            Ok(ModelEvent::Waits { why }) => {
                let (item, text) = (DeltaItem::Wait, format!("{why}\n"));
                let offset = self.growing.length(&item);
                self.tell(Delta { turn, step, attempt, item, offset, text });
                None
            }
            Ok(ModelEvent::Delta { item, text }) => {
                let offset = self.growing.length(&item);
                self.tell(Delta { turn, step, attempt, item, offset, text });
                None
            }
            Ok(ModelEvent::Reply(reply)) => {
                Some(turn::model::answered(self.log.state(), reply, self.price(), attempt))
            }
            Err(error) => {
                let (open, chance) = (self.log.state().turn.as_ref(), self.around.ids.random());
                let heard = (self.growing.answer_bytes(), self.price());
                Some(open.and_then(|open| {
                    turn::model::failed(open, &self.around.limits, error, (self.now, chance), heard)
                }))
            }
        };
        match (events, &mut self.work.model) {
            (None, Some(model)) => (model.heard, model.is_held) = (self.now, is_held),
            (None, None) => {}
            (Some(event), _) => {
                self.end_model();
                if let Some(event) = event {
                    self.stage(event);
                }
            }
        }
    }

    /// A delta that makes the answer longer than it may be is a failure of its attempt.
    fn bounded(&self, event: Result<ModelEvent, ModelError>) -> Result<ModelEvent, ModelError> {
        let max = self.around.limits.answer_bytes;
        match &event {
            Ok(ModelEvent::Delta { text, .. })
                if self.growing.answer_bytes() + text.len() > max =>
            {
                let why = format!("the answer is longer than {max} bytes");
                Err(self.model_error(ModelErrorKind::Transport, &why))
            }
            Ok(_) | Err(_) => event,
        }
    }

    fn end_model(&mut self) {
        self.work.model = None;
        if let Some(effects) = &mut self.effects {
            effects.end_model();
        }
    }

    /// Drops the model call. What had arrived is kept as a partial answer.
    pub(super) fn stop_model(&mut self) {
        let is_held = self.work.model.is_some_and(|call| call.is_held);
        self.end_model();
        let texts = self.growing.answer_texts();
        let state = self.log.state();
        let (place, model) = (
            Self::place(state),
            self.resolved.as_ref().map_or("", |resolved| &resolved.selection.model).to_owned(),
        );
        let step = state.turn.as_ref().and_then(|turn| turn.step.as_ref());
        if let (Some(step), Some((_, _, attempt))) = (step, place) {
            let used = match is_held {
                // It was not sent.
                true => Usage::default(),
                false => turn::model::unsettled(step, self.growing.answer_bytes()),
            };
            let cut = turn::model::cut(step, texts, (attempt, &model), (used, self.price()));
            self.stage(cut);
        }
        self.growing.forget_answer();
    }

    fn tell(&mut self, delta: Delta) {
        self.growing.add(&delta, self.around.limits.live_output_bytes);
        self.around.feed.publish(Live::Delta(Arc::new(delta)));
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

    fn take_spawn(&mut self, ticket: u64, TaskWords { label, kind, call }: TaskWords) {
        let before = call.as_ref().filter(|_| kind == TaskKind::Work);
        let before = before.and_then(|call| self.started_before(call));
        let (max, tasks) = (self.around.limits.tasks_running, &self.log.state().tasks);
        let answer = match (self.work.closing, before) {
            (true, _) => Some(Err(BackgroundError::Unavailable)),
            (false, Some(task)) => Some(Ok(task)),
            (false, None) if tasks.running.len() >= max => Some(Err(BackgroundError::Full { max })),
            (false, None) => None,
        };
        if let Some(answer) = answer {
            if let Some(effects) = &self.effects {
                effects.answer_task(ticket, answer);
            }
            return;
        }
        let task = TaskId::numbered(tasks.last + 1);
        self.work.starting.insert(task.clone(), ticket);
        self.stage(Event::TaskStarted(TaskStarted { task, work: kind, label, call }));
    }

    /// The task that an open call wants to start, when it did so in a process that died: it is run again, and its work is not.
    fn started_before(&mut self, call: &CallId) -> Option<TaskId> {
        let state = self.log.state();
        find_call(state, call).filter(|call| matches!(call.phase, CallPhase::Started))?;
        let spawned = self.work.spawned.entry(call.clone()).or_default();
        let nth = *spawned;
        *spawned += 1;
        state.started_by(call, nth)
    }

    fn take_task_end(&mut self, task: &TaskId, mut end: CallEnd) {
        let notes = std::mem::take(&mut end.notes);
        let events = tasks::settled(self.log.state(), task, end, self.now);
        if events.is_empty() {
            return;
        }
        let has_goal = self.log.state().goal.is_some();
        for note in notes {
            if has_goal || !matches!(note, SessionNote::Goal(_)) {
                self.stage(note.into_event());
            }
        }
        for event in events {
            self.stage(event);
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
        self.end_call(settled, end.notes);
    }
}

/// What is said of work that is to run in the background.
struct TaskWords {
    label: String,
    kind: TaskKind,
    call: Option<CallId>,
}

fn closing() -> Rejection {
    Rejection::Invalid { what: "the session is being closed".to_owned() }
}
