//! What comes next for a session as it stands. Pure: it reads the state, what is under way and the time, and names one step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::event::{
    CallRef, Delivery, Event, Failure, FailureClass, Reserved, StepStarted, StopReason,
    SubagentClosed, TurnContinued, TurnEnded, TurnStarted,
};
use crate::ids::{CallId, Seq, SessionId, TaskId, Timestamp};
use crate::limits::RuntimeLimits;
use crate::message::ReplyStop;
use crate::ports::hook::HookTable;
use crate::ports::model::{ModelError, ModelErrorKind, ModelInfo};
use crate::session::budget::{Exhausted, allowance, budgets, reserve};
use crate::session::children;
use crate::session::context::ToolsDigest;
use crate::session::fallback::Candidate;
use crate::session::forget::{CompactionSlot, Scene};
use crate::session::goal::Gate;
use crate::session::hooks::{HookPlace, HookWork, money};
use crate::session::output::{self, Verdict};
use crate::session::state::{OpenStep, OpenTurn, State, Used};
use crate::session::{calls, context, fallback, forget, goal, hooks, tasks, usable};
use crate::spec::LimitKind;
use crate::turn::permission::Saves;
use crate::turn::registry::Assessor;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing, until a command comes.
    Rest,
    /// Nothing, until a command or a result comes, or this moment.
    Wait(Timestamp),
    /// These events have been decided.
    Record(Vec<Event>),
    /// The model is to be called for the open step.
    CallModel {
        /// Number of the attempt.
        attempt: u32,
        /// Tokens that the answer may have.
        output_max: Option<u64>,
    },
    /// The model call under way is to be dropped.
    StopModel,
    /// The hooks of this place are to be run.
    Hook(HookPlace),
    /// The hooks of these places are to be dropped.
    StopHooks(Vec<HookPlace>),
    /// The model is to be asked for the summary that was begun.
    Summarise,
    /// These calls are to be run.
    Run(Vec<CallId>),
    /// Somebody will be asked about this call: find out what to show.
    Describe(CallId),
    /// These running calls are to be told to stop.
    StopTools(Vec<CallId>),
    /// These running calls did not stop: they are to be dropped.
    AbandonTools(Vec<CallId>),
    /// These background tasks are to be begun, or taken up again.
    BeginTasks(Vec<TaskId>),
    /// All background tasks are to be told to stop.
    CancelTasks,
    /// Nobody waits for this subagent any more: it is to be ended, and what it used found out.
    CloseChild(SessionId),
}

/// What is under way in this process; gone after a crash.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Work {
    /// The model call.
    pub model: Option<ModelWork>,
    /// Running calls.
    pub tools: BTreeMap<CallId, ToolWork>,
    /// Until when a call is being described.
    pub describing: BTreeMap<CallId, Timestamp>,
    /// What to show about calls.
    pub described: BTreeMap<CallId, String>,
    /// The summary.
    pub summary: CompactionSlot,
    /// Hooks.
    pub hooks: HookWork,
    /// Why the turn is to stop, if it is.
    pub stop: Option<StopReason>,
    /// The session is to be let go.
    pub closing: bool,
    /// Running background tasks.
    pub tasks: BTreeSet<TaskId>,
    /// Where the work of tasks is that are to be begun.
    pub starting: BTreeMap<TaskId, u64>,
    /// How many tasks the calls under way wanted to start.
    pub spawned: BTreeMap<CallId, usize>,
    /// When tasks that were told to stop are given up.
    pub tasks_until: Option<Timestamp>,
    /// Subagents that have ended, by the calls that opened them: they are closed together with the end of the call, or of its task, so that a crash
    /// in between does not make it open another one.
    pub ended_children: BTreeMap<CallId, SubagentClosed>,
    /// Subagents that are being closed.
    pub closing_children: BTreeMap<SessionId, ChildWork>,
}

/// A subagent that is being closed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChildWork {
    /// When it was begun.
    pub since: Timestamp,
    /// When it is tried again.
    pub again: Timestamp,
    /// How often it was tried.
    pub tries: u32,
}

/// A model call under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelWork {
    /// When it began.
    pub since: Timestamp,
    /// When something was heard of it last.
    pub heard: Timestamp,
    /// Whether it waits to be sent: then nobody can be silent.
    pub is_held: bool,
}

impl ModelWork {
    /// When it has been silent for too long, unless something is heard.
    #[must_use]
    pub fn silent_at(&self, limits: &RuntimeLimits) -> Option<Timestamp> {
        (!self.is_held).then(|| self.heard.after(limits.model_idle_ms))
    }

    /// When it ends at the latest, unless something is heard.
    #[must_use]
    pub fn deadline(&self, limits: &RuntimeLimits) -> Timestamp {
        let whole = self.since.after(limits.model_total_ms);
        self.silent_at(limits).map_or(whole, |silent| silent.min(whole))
    }
}

/// A running call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ToolWork {
    /// When it will be told to stop.
    pub deadline: Timestamp,
    /// When it was told to stop.
    pub cancelled: Option<Timestamp>,
}

/// What planning knows besides the state.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Bounds.
    pub limits: &'a RuntimeLimits,
    /// The model of the open turn.
    pub model: Result<&'a ModelInfo, &'a ModelError>,
    /// The models that may take over, where one is wanted.
    pub chain: &'a [Candidate],
    /// What requests need to know of the session's tools.
    pub tools: &'a ToolsDigest,
    /// The hooks of the session.
    pub hooks: &'a HookTable,
    /// Says what calls would do.
    pub assessor: &'a dyn Assessor,
    /// Whether a grant can be kept for later sessions.
    pub saves: Saves,
    /// The present moment.
    pub now: Timestamp,
}

/// An open turn with everything that planning looks at.
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) turn: &'a OpenTurn,
    pub(crate) work: &'a Work,
    pub(crate) facts: &'a Facts<'a>,
}

/// Names the next step.
#[must_use]
pub fn plan(state: &State, work: &Work, facts: &Facts<'_>) -> Step {
    if let Some(step) = tasks::plan(state, work, facts) {
        return step;
    }
    if work.closing && state.turn.is_none() && !state.hooks.is_empty() {
        return Step::Record(money::lost(state));
    }
    let children = match children::close_orphans(state, work, facts) {
        Some(Step::Wait(until)) => Some(until),
        Some(step) => return step,
        None => None,
    };
    let step = match &state.turn {
        None => plan_idle(state, work, facts),
        Some(turn) => plan_turn(state, turn, work, facts),
    };
    tasks::bounded(children::bounded(step, children, (work, facts)), work, state)
}

fn plan_turn(state: &State, turn: &OpenTurn, work: &Work, facts: &Facts<'_>) -> Step {
    let view = View { state, turn, work, facts };
    let stop = work.stop.or_else(|| time_is_up(state, turn, facts.now));
    if let Some(stop) = stop.or_else(|| turn.hooked.stop.as_ref().map(|(stop, _)| *stop)) {
        return plan_stop(&view, stop);
    }
    let step = hooks::on_entering(state, work, facts).unwrap_or_else(|| plan_steps(&view));
    match (step, time_limit(state, turn)) {
        (Step::Wait(until), Some(limit)) => Step::Wait(until.min(limit)),
        (step, _) => step,
    }
}

fn plan_steps(view: &View<'_>) -> Step {
    match &view.turn.step {
        None => hooks::on_turn(view).unwrap_or_else(|| next_step(view)),
        Some(step) => match &step.stop {
            None => plan_model(view, step),
            Some(stop) => hooks::after_answer(view, step)
                .or_else(|| calls::plan(view, step))
                .or_else(|| hooks::after_batch(view, step))
                .unwrap_or_else(|| after_calls(view, step, stop)),
        },
    }
}

fn plan_idle(state: &State, work: &Work, facts: &Facts<'_>) -> Step {
    let inputs = inputs_of_turn(state);
    if let Some(refused) =
        hooks::first_refused(state, &inputs).filter(|_| !work.closing && !state.archived)
    {
        return start_turn(state, vec![refused]);
    }
    if let Some(step) = hooks::on_entering(state, work, facts) {
        return step;
    }
    if state.summary.is_some()
        && let Some(step) = forget::at_rest(state, work, facts)
    {
        return step;
    }
    let loud = state.loud(&inputs);
    let waits =
        state.only_outcomes(&loud) && (loud.is_empty() || !tasks::may_start_turn(state, facts));
    if inputs.is_empty() || waits || work.closing || state.archived {
        return match &work.summary {
            CompactionSlot::Busy(flight) if !work.closing => Step::Wait(flight.until),
            CompactionSlot::Busy(_) | CompactionSlot::Free | CompactionSlot::Ready(_) => Step::Rest,
        };
    }
    hooks::at_rest(state, work, facts, &inputs).unwrap_or_else(|| start_turn(state, inputs))
}

fn start_turn(state: &State, inputs: Vec<Seq>) -> Step {
    let mut settings = state.spec.settings.clone();
    let taken = state.pending.iter().filter(|pending| inputs.contains(&pending.seq));
    if let Some(output) = taken.rev().find_map(|pending| pending.admitted.output.as_deref()) {
        Arc::make_mut(&mut settings).output = Some(output.clone());
    }
    Step::Record(vec![Event::TurnStarted(Box::new(TurnStarted { inputs, settings }))])
}

/// A turn takes one queued input, and every steering one that has not found a turn.
pub(crate) fn inputs_of_turn(state: &State) -> Vec<Seq> {
    let mut queued =
        state.pending.iter().filter(|input| input.admitted.delivery != Delivery::Steer);
    let first = queued.next().map(|input| input.seq);
    let takes = |input: &&crate::session::state::PendingInput| {
        input.admitted.delivery == Delivery::Steer || Some(input.seq) == first
    };
    state.pending.iter().filter(takes).map(|input| input.seq).collect()
}

fn steering(state: &State) -> Vec<Seq> {
    let steers = state.pending.iter().filter(|input| input.admitted.delivery == Delivery::Steer);
    steers.map(|input| input.seq).collect()
}

/// The moment when the tighter of both time limits is reached.
pub(crate) fn time_limit(state: &State, turn: &OpenTurn) -> Option<Timestamp> {
    let left =
        |bound: Option<u64>, used: &Used| bound.map(|bound| bound.saturating_sub(used.wall_ms));
    let limits = &turn.settings.limits;
    let both = [left(limits.turn.wall_ms, &turn.used), left(limits.session.wall_ms, &state.used)];
    both.into_iter().flatten().min().map(|left| turn.since.after(left))
}

/// Milliseconds until then.
pub(crate) fn time_left(state: &State, turn: &OpenTurn, now: Timestamp) -> Option<u64> {
    time_limit(state, turn).map(|limit| limit.ms_since(now))
}

fn time_is_up(state: &State, turn: &OpenTurn, now: Timestamp) -> Option<StopReason> {
    time_limit(state, turn)
        .filter(|limit| *limit <= now)
        .map(|_| StopReason::Limit(LimitKind::Time))
}

/// Ends the turn as soon as nothing of it is left open.
fn plan_stop(view: &View<'_>, stop: StopReason) -> Step {
    if view.work.model.is_some() {
        return Step::StopModel;
    }
    if let Some(step) = hooks::stop(view.work) {
        return step;
    }
    let answered = view.turn.step.as_ref().filter(|step| step.stop.is_some());
    answered.and_then(|step| calls::stop(view, step)).unwrap_or_else(|| {
        let error = match stop {
            StopReason::Limit(kind) => Some(limit_message(kind)),
            StopReason::Refusal => hooks::why(view.turn),
            StopReason::EndTurn
            | StopReason::MaxTokens
            | StopReason::Cancelled
            | StopReason::Interrupted
            | StopReason::Failed(_) => None,
        };
        end_turn(view.turn, stop, error)
    })
}

fn end_turn(turn: &OpenTurn, stop: StopReason, error: Option<String>) -> Step {
    Step::Record(vec![turn_ended(turn, stop, error)])
}

/// The last entry of a turn.
#[must_use]
pub fn turn_ended(turn: &OpenTurn, stop: StopReason, error: Option<String>) -> Event {
    Event::TurnEnded(TurnEnded {
        stop,
        usage: turn.used.usage,
        cost_micros: (!turn.used.cost_unknown).then_some(turn.used.cost_micros),
        steps: turn.used.steps,
        error: error.map(|message| Failure { message, output: None }),
        structured_output: None,
    })
}

fn failed(turn: &OpenTurn, kind: ModelErrorKind, message: &str) -> Step {
    end_turn(turn, StopReason::Failed(FailureClass::Model(kind)), Some(message.to_owned()))
}

/// The model cannot be called: another one takes over, or the turn ends.
fn cannot_answer(view: &View<'_>, kind: ModelErrorKind, message: &str) -> Step {
    fallback::replace(view, kind, message).unwrap_or_else(|why| failed(view.turn, kind, &why))
}

fn next_step(view: &View<'_>) -> Step {
    let (state, turn, facts) = (view.state, view.turn, view.facts);
    let model = match facts.model {
        Ok(model) => model,
        Err(error) => return cannot_answer(view, error.kind, &error.message),
    };
    if let Err(error) = usable::check(&turn.settings, Ok(model)) {
        return failed(turn, ModelErrorKind::InvalidRequest, &error.to_string());
    }
    let inputs = steering(state);
    if let Some(step) = hooks::before_steering(view, &inputs) {
        return step;
    }
    let scene = Scene { state, work: view.work, facts, settings: &turn.settings, model };
    let forgets = forget::before_step(&scene);
    if let Some(step) = forgets.or_else(|| hooks::after_compaction(state, view.work, facts)) {
        return step;
    }
    let step = turn.step.as_ref().map_or(0, |step| step.no) + 1;
    if let Some(step) = hooks::open_before_generate(view, step) {
        return step;
    }
    let taken = state.message_of(&inputs).as_ref().map_or(0, context::message_tokens);
    let prompt = context::prompt_tokens(state, facts.tools).saturating_add(taken);
    let output_max = match next_allowance(view, model, prompt) {
        Ok(output_max) => output_max,
        Err(why) => return exhausted(turn, model, &why),
    };
    if let Some(step) = hooks::before_generate(view, step) {
        return step;
    }
    let request = context::fingerprint(state, &inputs, model, facts.tools);
    let prefix_break = context::prefix_break(state, &inputs, model, &request);
    let fixed_tokens = Some(context::fixed_tokens(state, model, facts.tools));
    let reserved = match hooks::answer(turn, step) {
        None => reserve(model.price, prompt, output_max),
        Some(_) => Reserved::default(),
    };
    let started = StepStarted { step, inputs, request, prefix_break, fixed_tokens, reserved };
    Step::Record(vec![Event::StepStarted(started)])
}

fn limit_message(kind: LimitKind) -> String {
    format!("the limit of {} was reached", kind.name())
}

fn price_message(model: &ModelInfo) -> String {
    format!(
        "a cost limit is set but the price of {} is not known; configure its price, remove the limit, or allow unknown prices (`limits.allow_unknown_prices`, --allow-unknown-cost)",
        model.selection
    )
}

pub(super) fn exhausted(turn: &OpenTurn, model: &ModelInfo, why: &Exhausted) -> Step {
    match why {
        Exhausted::Limit(kind) => {
            end_turn(turn, StopReason::Limit(*kind), Some(limit_message(*kind)))
        }
        Exhausted::PriceUnknown => {
            failed(turn, ModelErrorKind::InvalidRequest, &price_message(model))
        }
    }
}

pub(super) fn next_allowance(
    view: &View<'_>,
    model: &ModelInfo,
    prompt: u64,
) -> Result<Option<u64>, Exhausted> {
    if view.turn.steps_max().is_some_and(|steps| view.turn.own_steps() >= steps) {
        return Err(Exhausted::Limit(LimitKind::Steps));
    }
    let most = allowance(&budgets(view.state, &view.turn.settings), model, prompt)?;
    let wanted = view.turn.settings.turn.sampling.max_tokens;
    Ok(most.map_or(wanted, |most| Some(wanted.map_or(most, |wanted| wanted.min(most)))))
}

fn plan_model(view: &View<'_>, step: &OpenStep) -> Step {
    let (turn, work, facts) = (view.turn, view.work, view.facts);
    if let Some(call) = work.model {
        return Step::Wait(call.deadline(facts.limits));
    }
    if let Some(message) = hooks::answer(turn, step.no) {
        return Step::Record(vec![hooks::answered(step, turn.crashes, message)]);
    }
    match (&step.failure, step.retry_at) {
        (Some((ModelErrorKind::ContextOverflow, message)), None) => overflowed(view, message),
        (Some((kind, message)), None) => {
            fallback::replace(view, *kind, message).unwrap_or_else(|why| {
                hooks::after_answer(view, step).unwrap_or_else(|| failed(turn, *kind, &why))
            })
        }
        (Some(_), Some(at)) if at > facts.now => Step::Wait(at),
        (Some(_) | None, _) => match facts.model {
            Err(error) => cannot_answer(view, error.kind, &error.message),
            Ok(model) => {
                let prompt = context::prompt_tokens(view.state, facts.tools);
                match next_allowance(view, model, prompt) {
                    Ok(output_max) => {
                        Step::CallModel { attempt: step.attempt(turn.crashes), output_max }
                    }
                    Err(why) => exhausted(turn, model, &why),
                }
            }
        },
    }
}

/// The provider said that the request is too long: room is made once, and another step begun; where that does not help, a larger window takes over.
fn overflowed(view: &View<'_>, message: &str) -> Step {
    let (state, turn, facts) = (view.state, view.turn, view.facts);
    let kind = ModelErrorKind::ContextOverflow;
    let model = match facts.model {
        Ok(model) if turn.overflows < 2 => model,
        Ok(_) | Err(_) => return cannot_answer(view, kind, message),
    };
    if turn.shrunk {
        return next_step(view);
    }
    let scene = Scene { state, work: view.work, facts, settings: &turn.settings, model };
    forget::after_overflow(&scene).unwrap_or_else(|| cannot_answer(view, kind, message))
}

/// Whether a model call under way has been silent, or has run, for too long.
#[must_use]
pub fn model_timeout(work: &Work, limits: &RuntimeLimits, now: Timestamp) -> Option<String> {
    let call = work.model?;
    if call.silent_at(limits).is_some_and(|silent| now >= silent) {
        return Some(format!("nothing was heard of it for {} s", limits.model_idle_ms / 1000));
    }
    (now >= call.since.after(limits.model_total_ms))
        .then(|| format!("it did not end within {} s", limits.model_total_ms / 1000))
}

/// The answer is there and its calls are settled: another step, or the end.
fn after_calls(view: &View<'_>, step: &OpenStep, stop: &ReplyStop) -> Step {
    let turn = view.turn;
    match stop {
        ReplyStop::MaxTokens => return stopped(view, step, StopReason::MaxTokens),
        ReplyStop::Refusal => return stopped(view, step, StopReason::Refusal),
        ReplyStop::Cut => return end_turn(turn, StopReason::Cancelled, None),
        ReplyStop::EndTurn
        | ReplyStop::ToolUse
        | ReplyStop::StopSequence
        | ReplyStop::Pause
        | ReplyStop::Other(_) => {}
    }
    if calls::limit_was_hit(step) {
        return end_turn(
            turn,
            StopReason::Limit(LimitKind::ToolCalls),
            Some(limit_message(LimitKind::ToolCalls)),
        );
    }
    let goes_on = turn.goes_on
        || !step.calls.is_empty()
        || *stop == ReplyStop::Pause
        || !view.state.loud(&steering(view.state)).is_empty();
    if goes_on {
        return next_step(view);
    }
    hooks::before_end(view, step).unwrap_or_else(|| at_end(view, step))
}

/// The model stopped in a way that no hook can make it go on from.
fn stopped(view: &View<'_>, step: &OpenStep, stop: StopReason) -> Step {
    hooks::look_at_end(view, step).unwrap_or_else(|| end_turn(view.turn, stop, None))
}

/// The model stopped by itself: the end, unless the goal wants more, or else the form of the answer. A limit that forbids another step goes
/// before both.
fn at_end(view: &View<'_>, step: &OpenStep) -> Step {
    match goal::at_end(view.state, step, view.facts) {
        Gate::Open => match output::judge(view.state, view.turn) {
            Verdict::Ends(ended) => Step::Record(vec![ended]),
            Verdict::GoesOn(continued) => go_on(view, continued),
        },
        Gate::Waits(until) => Step::Wait(until),
        Gate::GoesOn(continued) => go_on(view, continued),
    }
}

fn go_on(view: &View<'_>, continued: TurnContinued) -> Step {
    match next_step(view) {
        Step::Record(events) if matches!(events[..], [Event::TurnEnded(_)]) => Step::Record(events),
        _ => Step::Record(vec![Event::TurnContinued(continued)]),
    }
}

/// Names a call in an event.
#[must_use]
pub fn call_ref(call: &CallId) -> CallRef {
    CallRef { call: call.clone() }
}
