//! Hooks of a session: where they are run, and what planning waits for. Pure.
//!
//! A place is passed when its hooks ran in this process, or when `hook_ran` says so. What changed nothing is not journaled: after a crash it is
//! run again, so that hooks run at least once.

mod fold;
pub(crate) mod money;
mod take;
mod told;

pub use money::OpenHooks;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::{
    AssistantMessage, ContinuedBy, Effect, Event, HookPoint, InputRef, Outcome, PermissionKind,
    StopReason, ToolSettled, TurnContinued,
};
use crate::ids::{CallId, Seq, StepNo, Timestamp};
use crate::message::{Block, Content, Part, ReplyStop, Usage};
use crate::ports::tool::SessionNote;
use crate::session::plan::{Facts, Step, View, Work};
use crate::session::state::{OpenStep, OpenTurn, State};
use crate::spec::ModelSelection;

/// How often hooks may make a turn go on when its settings do not say.
pub const HOOK_CONTINUES: u32 = 3;

/// One place where hooks are run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HookPlace {
    /// The point.
    pub point: HookPoint,
    /// Its step, where the point has one.
    pub step: Option<StepNo>,
    /// Its call, where the point has one.
    pub call: Option<CallId>,
    /// Its input, where the point is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Seq>,
}

impl HookPlace {
    /// Whether it is of an earlier step, so that nobody comes back to it.
    pub(crate) fn is_before(&self, step: StepNo) -> bool {
        self.step.is_some_and(|own| own < step)
    }
}

/// What hooks did to an open turn.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Hooked {
    /// Where they changed something, so that they are not run there again after a crash.
    pub places: BTreeSet<HookPlace>,
    /// The turn is to end for this reason.
    pub stop: Option<(StopReason, Option<String>)>,
    /// The model of this step.
    pub model: Option<(StepNo, ModelSelection)>,
    /// The answer of this step.
    pub answer: Option<(StepNo, String)>,
    /// What the model is to be told so that the turn goes on.
    pub feedback: Option<Vec<Part>>,
}

/// What hooks did to a call.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HookedCall {
    /// Its arguments in the place of the model's, and what it would do with them.
    pub arguments: Option<(String, Effect)>,
    /// How it ends without being run.
    pub settled: Option<(Outcome, Vec<Part>)>,
    /// Whether it may run, where somebody would be asked.
    pub permission: Option<PermissionKind>,
}

impl HookedCall {
    /// Whether they did nothing.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Hooks of this process; gone after a crash.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HookWork {
    /// Where they run.
    pub running: BTreeMap<HookPlace, HookFlight>,
    /// Where they ran.
    pub ran: BTreeSet<HookPlace>,
    /// Calls that ended and whose hooks have not.
    pub ends: BTreeMap<CallId, HeldEnd>,
    /// What the last answer used.
    pub answered: Option<Usage>,
}

/// Hooks that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookFlight {
    /// Number of the run; what an older one still says is not heard.
    pub run: u64,
    /// When they count as failed.
    pub until: Timestamp,
}

/// The end of a call that its hooks have not seen.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldEnd {
    /// What it tells its session.
    pub notes: Vec<SessionNote>,
    /// How it ended.
    pub settled: ToolSettled,
}

impl HookWork {
    /// What remains when a turn has ended.
    pub(crate) fn after_turn(mut self, state: &State) -> Self {
        let waits = |place: &HookPlace| match (place.point, place.input) {
            (HookPoint::AfterSessionEnter | HookPoint::BeforeCompact, _) => true,
            (_, Some(input)) => state.pending.iter().any(|pending| pending.seq == input),
            (_, None) => false,
        };
        self.ran.retain(waits);
        self.running.retain(|place, _| waits(place));
        Self { ran: self.ran, running: self.running, ..Self::default() }
    }
}

impl HookPoint {
    /// Whether it comes with each summary, so that it is passed anew with the next one.
    pub(crate) fn is_about_summaries(self) -> bool {
        matches!(self, Self::BeforeCompact | Self::AfterCompact)
    }
}

/// What planning does at a place.
pub(crate) enum Gate {
    /// It goes on.
    Open,
    /// What hooks may spend is set aside before they are run.
    Announce(Event),
    /// Hooks are run.
    Run(HookPlace),
    /// Hooks run, until then at most.
    Until(Timestamp),
}

impl Gate {
    /// The step that the gate asks for; nothing when it is open.
    pub(crate) fn step(self) -> Option<Step> {
        match self {
            Self::Open => None,
            Self::Announce(event) => Some(Step::Record(vec![event])),
            Self::Run(place) => Some(Step::Hook(place)),
            Self::Until(until) => Some(Step::Wait(until)),
        }
    }
}

/// Whether a place is passed.
pub(crate) fn gate(state: &State, work: &Work, facts: &Facts<'_>, place: HookPlace) -> Gate {
    if facts.hooks.0.is_empty() {
        return Gate::Open;
    }
    let has_hooks = facts.hooks.at(place.point, &state.spec.settings.hooks).is_some();
    let is_passed = || !has_hooks || work.hooks.ran.contains(&place) || is_journaled(state, &place);
    match !work.hooks.running.contains_key(&place) && is_passed() {
        true => Gate::Open,
        false => begin(state, work, facts, place),
    }
}

/// What is to be done at a place that is not passed.
pub(crate) fn begin(state: &State, work: &Work, facts: &Facts<'_>, place: HookPlace) -> Gate {
    if let Some(flight) = work.hooks.running.get(&place) {
        return Gate::Until(flight.until);
    }
    money::announced(state, facts.hooks, &place).map_or(Gate::Run(place), Gate::Announce)
}

/// Whether the journal says that the hooks of a place ran. What a session is told on entering it is told at each opening, and what its hooks
/// make of a result is journaled with that result.
fn is_journaled(state: &State, place: &HookPlace) -> bool {
    let pending =
        place.input.and_then(|input| state.pending.iter().find(|pending| pending.seq == input));
    match (place.point, pending) {
        (HookPoint::AfterSessionEnter | HookPoint::AfterToolApply, _) => false,
        (HookPoint::BeforeIngest, Some(pending)) => pending.hooked.contains(&place.point),
        (HookPoint::AfterIngest, Some(pending)) => pending.hooked.contains(&place.point),
        (HookPoint::BeforeCompact, _) => state.summary.as_ref().is_none_or(|open| open.hooked),
        (HookPoint::AfterCompact, _) => state.compacted.is_none(),
        _ => state.turn.as_ref().is_some_and(|turn| turn.hooked.places.contains(place)),
    }
}

/// A place of the session, outside its steps.
pub(crate) fn of_session(point: HookPoint) -> HookPlace {
    HookPlace { point, step: None, call: None, input: None }
}

/// A place of a step.
pub(crate) fn of_step(point: HookPoint, step: StepNo) -> HookPlace {
    HookPlace { step: Some(step), ..of_session(point) }
}

/// A place of a call.
pub(crate) fn of_call(point: HookPoint, step: StepNo, call: &CallId) -> HookPlace {
    HookPlace { call: Some(call.clone()), ..of_step(point, step) }
}

fn of_input(point: HookPoint, input: Seq) -> HookPlace {
    HookPlace { input: Some(input), ..of_session(point) }
}

impl View<'_> {
    pub(crate) fn gate(&self, place: HookPlace) -> Gate {
        gate(self.state, self.work, self.facts, place)
    }
}

/// What is to be done before anything else of a session that was opened.
pub(crate) fn on_entering(state: &State, work: &Work, facts: &Facts<'_>) -> Option<Step> {
    let place = of_session(HookPoint::AfterSessionEnter);
    (!work.closing).then(|| gate(state, work, facts, place).step()).flatten()
}

/// What is to be done before a summary is asked for. Whatever needs the summary waits.
pub(crate) fn before_summary(state: &State, work: &Work, facts: &Facts<'_>) -> Option<Step> {
    gate(state, work, facts, of_session(HookPoint::BeforeCompact)).step()
}

/// What is to be done after messages were replaced by a summary.
pub(crate) fn after_compaction(state: &State, work: &Work, facts: &Facts<'_>) -> Option<Step> {
    state.compacted?;
    gate(state, work, facts, of_session(HookPoint::AfterCompact)).step()
}

/// What is to be done before a turn takes these inputs.
fn before_inputs(state: &State, work: &Work, facts: &Facts<'_>, inputs: &[Seq]) -> Option<Step> {
    let at = |point| {
        inputs.iter().find_map(|input| gate(state, work, facts, of_input(point, *input)).step())
    };
    at(HookPoint::BeforeIngest)
}

/// What is to be done before a running turn takes these inputs. Those that a hook refused are withdrawn.
pub(crate) fn before_steering(view: &View<'_>, inputs: &[Seq]) -> Option<Step> {
    if let Some(step) = before_inputs(view.state, view.work, view.facts, inputs) {
        return Some(step);
    }
    let refused = view
        .state
        .pending
        .iter()
        .filter(|pending| pending.refused.is_some() && inputs.contains(&pending.seq));
    let withdrawn: Vec<Event> =
        refused.map(|pending| Event::InputWithdrawn(InputRef { input: pending.seq })).collect();
    if !withdrawn.is_empty() {
        return Some(Step::Record(withdrawn));
    }
    let told = |input: &Seq| view.gate(of_input(HookPoint::AfterIngest, *input)).step();
    inputs.iter().find_map(told)
}

/// What is to be done before the first step of a turn.
pub(crate) fn on_turn(view: &View<'_>) -> Option<Step> {
    let points = [HookPoint::AfterIngest, HookPoint::AfterTurnEnter];
    points.into_iter().find_map(|point| view.gate(of_session(point)).step())
}

/// What is to be done while no turn runs, before one takes these inputs.
pub(crate) fn at_rest(
    state: &State,
    work: &Work,
    facts: &Facts<'_>,
    inputs: &[Seq],
) -> Option<Step> {
    after_compaction(state, work, facts).or_else(|| before_inputs(state, work, facts, inputs))
}

/// The first of these inputs that a hook refused: it has a turn for itself, which ends at once.
pub(crate) fn first_refused(state: &State, inputs: &[Seq]) -> Option<Seq> {
    let refused = state.pending.iter().filter(|pending| pending.refused.is_some());
    refused.map(|pending| pending.seq).find(|seq| inputs.contains(seq))
}

/// What is to be done before the model is called for this step.
pub(crate) fn before_generate(view: &View<'_>, step: StepNo) -> Option<Step> {
    view.gate(of_step(HookPoint::BeforeGenerate, step)).step()
}

/// The same when what those hooks may spend is set aside: the step does not fail for want of what they may leave.
pub(crate) fn open_before_generate(view: &View<'_>, step: StepNo) -> Option<Step> {
    let place = of_step(HookPoint::BeforeGenerate, step);
    view.state.hooks_at(&place)?;
    view.gate(place).step()
}

/// What is to be done once the model answered, or failed for good.
pub(crate) fn after_answer(view: &View<'_>, step: &OpenStep) -> Option<Step> {
    view.gate(of_step(HookPoint::AfterGenerate, step.no)).step()
}

/// What is to be done once all calls of an answer ended.
pub(crate) fn after_batch(view: &View<'_>, step: &OpenStep) -> Option<Step> {
    let asked = !step.calls.is_empty();
    asked.then(|| view.gate(of_step(HookPoint::AfterToolBatch, step.no)).step()).flatten()
}

/// What a hook answers in the place of the model of this step.
pub(crate) fn answer(turn: &OpenTurn, step: StepNo) -> Option<&str> {
    let (_, text) = turn.hooked.answer.as_ref().filter(|(of, _)| *of == step)?;
    Some(text)
}

/// The entry of an answer that a hook gives.
pub(crate) fn answered(step: &OpenStep, crashes: u32, text: &str) -> Event {
    let content = Content::Text { text: text.to_owned() };
    Event::AssistantMessage(AssistantMessage {
        step: step.no,
        attempt: step.attempt(crashes),
        model: "hook".to_owned(),
        blocks: vec![Block { content, native: None }],
        stop: ReplyStop::EndTurn,
        usage: Usage::default(),
        cost_micros: Some(0),
        partial: false,
        schema_warnings: Vec::new(),
    })
}

/// Why a hook ended the turn.
pub(crate) fn why(turn: &OpenTurn) -> Option<String> {
    turn.hooked.stop.as_ref().and_then(|(_, why)| why.clone())
}

/// What is to be done with hooks because the turn stops.
pub(crate) fn stop(work: &Work) -> Option<Step> {
    let running = work.hooks.running.keys().filter(|place| is_of_turn(place)).cloned();
    let mut places: Vec<HookPlace> = running.collect();
    for id in work.hooks.ends.keys() {
        if !places.iter().any(|place| place.call.as_ref() == Some(id)) {
            places.push(HookPlace {
                call: Some(id.clone()),
                ..of_session(HookPoint::AfterToolApply)
            });
        }
    }
    (!places.is_empty()).then_some(Step::StopHooks(places))
}

fn is_of_turn(place: &HookPlace) -> bool {
    match place.point {
        HookPoint::AfterSessionEnter | HookPoint::BeforeCompact | HookPoint::BeforeIngest => false,
        HookPoint::AfterIngest
        | HookPoint::AfterTurnEnter
        | HookPoint::AfterCompact
        | HookPoint::BeforeGenerate
        | HookPoint::AfterGenerate
        | HookPoint::BeforePermission
        | HookPoint::AfterPermission
        | HookPoint::BeforeToolApply
        | HookPoint::AfterToolApply
        | HookPoint::AfterToolBatch
        | HookPoint::BeforeTurnEnd => true,
    }
}

/// What is to be done before a turn ends that cannot be made to go on.
pub(crate) fn look_at_end(view: &View<'_>, step: &OpenStep) -> Option<Step> {
    view.gate(of_step(HookPoint::BeforeTurnEnd, step.no)).step()
}

/// What is to be done before a turn ends because its model is done.
pub(crate) fn before_end(view: &View<'_>, step: &OpenStep) -> Option<Step> {
    let turn = view.turn;
    if turn.hook_continues >= continues_max(turn) {
        return None;
    }
    if let Some(step) = look_at_end(view, step) {
        return Some(step);
    }
    let content = turn.hooked.feedback.clone()?;
    let continued = TurnContinued { by: ContinuedBy::Hook, content };
    Some(Step::Record(vec![Event::TurnContinued(continued)]))
}

/// How often hooks may make a turn go on.
fn continues_max(turn: &OpenTurn) -> u32 {
    turn.settings.turn.max_hook_continues.unwrap_or(HOOK_CONTINUES)
}
