//! When a session forgets, and what comes next for it then. Pure.
//!
//! Three things make room, each an entry: results of tools are cleared, a summary made in the background takes the place of the oldest
//! messages, and, when the window is nearly full, the turn waits for such a summary. Nothing is tried twice for the same conversation, and
//! a session whose summaries fail goes on without them.

mod clear;
mod fold;
mod pins;
mod summary;

pub use fold::{OpenSummary, SummaryFailure};
pub use summary::SummaryEnd;
pub(crate) use summary::request;

use crate::command::NOTHING_TO_COMPACT;
use crate::event::{CompactionCause, Event, SummaryFailed, SummaryStarted};
use crate::ids::Timestamp;
use crate::message::Message;
use crate::ports::model::{ModelInfo, Price};
use crate::session::context::{self, message_tokens};
use crate::session::hooks;
use crate::session::plan::{Facts, Step, Work};
use crate::session::state::State;
use crate::spec::{ContextPolicy, Settings};

/// The single flight of a summary: at most one is made at a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum CompactionSlot {
    /// None is under way in this process.
    #[default]
    Free,
    /// One is being made.
    Busy(Flight),
    /// One has ended and waits for the end of the step.
    Ready(Box<SummaryEnd>),
}

/// A summary that is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// When it counts as failed.
    pub until: Timestamp,
    /// The price of its model, where known.
    pub price: Option<Price>,
}

/// What compacting a session by hand did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionReport {
    /// Tokens of the next request before, estimated.
    pub tokens_before: u64,
    /// And after.
    pub tokens_after: u64,
}

/// Tokens of the next request at which something is done; absent where it never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Old results are cleared.
    pub clear: Option<u64>,
    /// A summary is made in the background.
    pub soft: Option<u64>,
    /// The turn waits for a summary.
    pub hard: u64,
    /// Nothing longer can be sent.
    pub window: u64,
}

impl Thresholds {
    /// The thresholds for a window of so many tokens.
    #[must_use]
    pub fn of(policy: &ContextPolicy, window: u64) -> Self {
        let hard = policy.compact_threshold_tokens;
        let hard = hard.unwrap_or_else(|| policy.compact_ratio.of(window)).min(window);
        let below = |tokens: u64| Some(tokens).filter(|tokens| (1..hard).contains(tokens));
        Self {
            clear: below(policy.clear_ratio.of(window)),
            soft: below(policy.soft_ratio.of(window)),
            hard,
            window,
        }
    }
}

/// A session that may forget, with everything that this looks at.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) state: &'a State,
    pub(crate) work: &'a Work,
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) settings: &'a Settings,
    pub(crate) model: &'a ModelInfo,
}

impl Scene<'_> {
    fn tokens(&self) -> u64 {
        context::prompt_tokens(self.state, self.facts.tools)
    }

    fn messages(&self) -> &[Message] {
        &self.state.conversation.messages
    }

    fn thresholds(&self) -> Thresholds {
        let window = context::window(self.settings, Some(self.model));
        let window = window.unwrap_or(self.facts.limits.window_unknown_tokens);
        Thresholds::of(&self.settings.turn.context, window)
    }
}

/// What is to be done before the next step begins; nothing when it may begin.
pub(crate) fn before_step(scene: &Scene<'_>) -> Option<Step> {
    if let Some(step) = go_on(scene) {
        return Some(step);
    }
    let (tokens, at) = (scene.tokens(), scene.thresholds());
    if at.clear.is_some_and(|clear| tokens >= clear)
        && let Some(event) = clear::worthwhile(scene, at.window)
    {
        return Some(record(event));
    }
    let hard = tokens >= at.hard;
    match &scene.work.summary {
        CompactionSlot::Busy(flight) if hard => return Some(Step::Wait(flight.until)),
        CompactionSlot::Busy(_) | CompactionSlot::Ready(_) => return None,
        CompactionSlot::Free => {}
    }
    let cause = if hard { CompactionCause::Hard } else { CompactionCause::Soft };
    if !hard && at.soft.is_none_or(|soft| tokens < soft) {
        return None;
    }
    match begin(scene, cause) {
        Begin::Step(step) => Some(step),
        Begin::Later(at) if hard => Some(Step::Wait(at)),
        Begin::Later(_) => None,
        Begin::Never if tokens >= at.window => clear::by_force(scene).map(record),
        Begin::Never => None,
    }
}

/// What is to be done after a provider said that the request is too long; nothing when nothing more can be left out.
pub(crate) fn after_overflow(scene: &Scene<'_>) -> Option<Step> {
    if let Some(step) = go_on(scene) {
        return Some(step);
    }
    if let CompactionSlot::Busy(flight) = &scene.work.summary {
        return Some(Step::Wait(flight.until));
    }
    match begin(scene, CompactionCause::Overflow) {
        Begin::Step(step) => Some(step),
        Begin::Later(at) => Some(Step::Wait(at)),
        Begin::Never => clear::by_force(scene).map(record),
    }
}

/// What is to be done with the open summary while no turn runs.
pub(crate) fn at_rest(state: &State, work: &Work, facts: &Facts<'_>) -> Option<Step> {
    if work.closing {
        return lost(state, "the session was let go").map(record);
    }
    let settings = &state.spec.settings;
    match facts.model {
        Ok(model) => go_on(&Scene { state, work, facts, settings, model }),
        Err(error) => abandoned(state, &error.message).map(record),
    }
}

/// The end of a summary whose call was begun and whose end nobody saw: its request is counted. Nothing when none is open.
pub(crate) fn lost(state: &State, why: &str) -> Option<Event> {
    let open = state.summary.as_ref()?;
    let why = why.to_owned();
    Some(Event::SummaryFailed(SummaryFailed { why, ..summary::charged(open) }))
}

/// The end of a summary that was never asked for; nothing when none is open.
pub(crate) fn abandoned(state: &State, why: &str) -> Option<Event> {
    let open = state.summary.as_ref()?;
    let why = why.to_owned();
    Some(Event::SummaryFailed(SummaryFailed { why, ..summary::failed(open.cause) }))
}

/// The first event of a summary that somebody asks for, or words for why there is nothing to summarise.
///
/// # Errors
/// Words for a person.
pub(crate) fn by_hand(
    scene: &Scene<'_>,
    instructions: Option<String>,
) -> Result<Event, &'static str> {
    if scene.state.summary.is_some() {
        return Err("a summary is being made");
    }
    let dropped = summary::cut_by_hand(scene.state).ok_or(NOTHING_TO_COMPACT)?;
    Ok(started(scene, CompactionCause::Manual, dropped, instructions))
}

/// Carries an open summary on: it is begun where it is not under way, and recorded when it has ended.
fn go_on(scene: &Scene<'_>) -> Option<Step> {
    let open = scene.state.summary.as_ref()?;
    match &scene.work.summary {
        CompactionSlot::Free if open.refused.is_some() => {
            abandoned(scene.state, open.refused.as_deref().unwrap_or_default()).map(record)
        }
        CompactionSlot::Free if summary::is_affordable(scene, open) => {
            let asked = hooks::before_summary(scene.state, scene.work, scene.facts);
            asked.or(Some(Step::Summarise))
        }
        CompactionSlot::Free => {
            abandoned(scene.state, "the limits leave no room for a summary").map(record)
        }
        CompactionSlot::Busy(_) => None,
        CompactionSlot::Ready(end) => Some(record(summary::conclude(scene, open, end))),
    }
}

enum Begin {
    Step(Step),
    /// The last attempt failed in a way that may pass; not before this.
    Later(Timestamp),
    /// There is nothing to summarise, or it was tried.
    Never,
}

fn begin(scene: &Scene<'_>, cause: CompactionCause) -> Begin {
    let affordable = |dropped: &usize| summary::would_be_affordable(scene, *dropped);
    let Some(dropped) = summary::cut(scene).filter(affordable) else { return Begin::Never };
    if let Some(failure) = &scene.state.summary_failed
        && failure.shape == scene.state.conversation.shape
    {
        let new: u64 = scene.messages().iter().skip(failure.messages).map(message_tokens).sum();
        let grown = new >= (scene.thresholds().window / 16).max(1);
        let may_pass =
            failure.retry_at.is_some() && failure.tries < scene.facts.limits.summary_attempts;
        if !may_pass && !grown {
            return Begin::Never;
        }
        if let Some(at) = failure.retry_at.filter(|at| *at > scene.facts.now) {
            return Begin::Later(at);
        }
    }
    Begin::Step(record(started(scene, cause, dropped, None)))
}

fn started(
    scene: &Scene<'_>,
    cause: CompactionCause,
    dropped: usize,
    instructions: Option<String>,
) -> Event {
    let reserved = summary::reserved(scene, dropped);
    let dropped = u32::try_from(dropped).unwrap_or(u32::MAX);
    Event::SummaryStarted(SummaryStarted { cause, dropped, instructions, reserved })
}

fn record(event: Event) -> Step {
    Step::Record(vec![event])
}
