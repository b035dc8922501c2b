//! The steps of a session in tokens and money, read from its entries one after the other. Pure, and of a size that does not grow with the session.

use std::collections::BTreeMap;

use oarlock_core::event::{
    AssistantMessage, Entry, Event, ForkPoint, ModelFailed, ModelReplaced, PrefixBreak, StepStarted,
};
use oarlock_core::ids::{StepNo, Timestamp, TurnNo};
use oarlock_core::message::Usage;
use oarlock_core::ports::model::Price;
use oarlock_core::spec::ReasoningEffort;
use oarlock_models::cache::{Asked, Predicted, Retention, Rules, Simulator};
use serde::Serialize;

use super::chain::{Chain, changes_messages};

/// What is known of a model.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    /// The rules of its cache, and the least that it keeps.
    pub(super) rules: Option<(&'static Rules, u64)>,
    /// What it costs.
    pub(super) price: Option<Price>,
}

/// An answered step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) turn: TurnNo,
    pub(super) step: StepNo,
    /// When it was begun.
    pub(super) at: Timestamp,
    /// `provider/model`.
    pub(super) model: String,
    /// As the provider told.
    pub(super) usage: Usage,
    /// Millionths of a dollar, where the price was known then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost_micros: Option<u64>,
    /// The answer was cut: its tokens are an estimate.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) partial: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prefix_break: Option<PrefixBreak>,
    /// What the rules of its vendor predict, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) predicted: Option<Forecast>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) waste: Option<Waste>,
}

/// What the rules predict of a call, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Forecast {
    pub(super) cache_read: u64,
    pub(super) cache_write: u64,
    pub(super) input: u64,
    /// At the price that is known of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost_micros: Option<u64>,
}

/// Tokens that were not read from the cache although the request before had them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Waste {
    pub(super) cause: Cause,
    pub(super) tokens: u64,
    /// What they cost more than reading them would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost_micros: Option<u64>,
}

/// Why a cache was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cause {
    /// The step declares a break.
    Break,
    /// More time had passed than the vendor keeps it.
    Expired,
    /// By the rules it should have been read.
    Missed,
}

/// All of it together.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct Total {
    /// Answered steps.
    pub(super) steps: u64,
    /// Calls that failed.
    pub(super) failed_calls: u64,
    /// All tokens of the session: of steps, failed calls, summaries and hooks. Subagents are sessions of their own.
    pub(super) usage: Usage,
    /// Their price as far as it is known.
    pub(super) cost_micros: u64,
    /// Whether some price is not known.
    pub(super) cost_unknown: bool,
    /// The share of summaries and hooks.
    pub(super) beside_steps: Usage,
    /// Of the steps for which there are rules.
    pub(super) predicted: Forecast,
    /// What the provider told of these same steps.
    pub(super) told: Forecast,
    /// How often each break was declared.
    pub(super) breaks: BTreeMap<String, u64>,
    pub(super) waste_tokens: u64,
    pub(super) waste_micros: u64,
}

/// Reads entries.
pub(super) struct Ledger<'a> {
    known: Box<dyn FnMut(&str) -> Known + 'a>,
    models: BTreeMap<String, (Known, Option<Simulator>)>,
    chain: Chain,
    open: Option<Open>,
    effort: Option<ReasoningEffort>,
    /// The last answered request: its tokens, and when it was made.
    before: Option<(u64, Timestamp)>,
    /// Where its own entries begin, while those of the source of a fork are read.
    copied: Option<ForkPoint>,
    total: Total,
}

struct Open {
    step: StepStarted,
    turn: TurnNo,
    at: Timestamp,
    /// When it was asked last: a failed call is made again.
    asked: Timestamp,
}

impl<'a> Ledger<'a> {
    /// An empty one that asks this of models, by `provider/model`.
    pub(super) fn new(known: impl FnMut(&str) -> Known + 'a) -> Self {
        Self {
            known: Box::new(known),
            models: BTreeMap::new(),
            chain: Chain::default(),
            open: None,
            effort: None,
            before: None,
            copied: None,
            total: Total::default(),
        }
    }

    /// Takes the next entry; gives the step that it answers, unless that was one of the source of a fork.
    pub(super) fn take(&mut self, entry: &Entry) -> Option<Line> {
        match &entry.event {
            Event::SessionCreated(created) => self.copied.clone_from(&created.forked),
            Event::SessionForked(point) if self.copied.as_ref() == Some(point) => {
                self.copied = None;
                self.total = Total::default();
            }
            Event::TurnStarted(started) => self.effort = started.settings.effort,
            Event::ModelReplaced(replaced) => self.replaced(entry.at, replaced),
            Event::StepStarted(step) => {
                self.broke(step.prefix_break);
                let (turn, at) = (entry.turn.unwrap_or_default(), entry.at);
                self.open = Some(Open { step: step.clone(), turn, at, asked: at });
            }
            Event::ModelFailed(failed) => self.failed(entry.at, failed),
            Event::AssistantMessage(message) => return self.answered(message),
            Event::ContextCompacted(summary) => self.beside(summary.usage, summary.cost_micros),
            Event::SummaryFailed(summary) => self.beside(summary.usage, summary.cost_micros),
            Event::TurnRecovered(turn) => self.beside(turn.usage, turn.cost_micros),
            Event::HookRan(ran) => {
                self.beside(ran.usage, ran.cost_micros);
                self.total.cost_unknown |= ran.cost_unknown;
            }
            _ => {}
        }
        None
    }

    /// The sums of the session's own entries.
    pub(super) fn total(&self) -> &Total {
        &self.total
    }

    fn beside(&mut self, usage: Usage, cost_micros: Option<u64>) {
        self.total.beside_steps += usage;
        self.total.spend(usage, cost_micros);
    }

    fn broke(&mut self, why: Option<PrefixBreak>) {
        if let Some(why) = why {
            *self.total.breaks.entry(name(why)).or_default() += 1;
        }
    }

    /// The open step is asked of another model.
    fn replaced(&mut self, at: Timestamp, replaced: &ModelReplaced) {
        self.broke(replaced.prefix_break);
        let (Some(open), Some(request)) = (&mut self.open, &replaced.request) else { return };
        open.asked = at;
        open.step.request.clone_from(request);
        open.step.reserved = replaced.reserved;
        // Messages that were edited before are edited for this model, too.
        let edited = open.step.prefix_break.filter(|why| changes_messages(*why));
        open.step.prefix_break = edited.or(replaced.prefix_break);
    }

    fn failed(&mut self, at: Timestamp, failed: &ModelFailed) {
        self.total.failed_calls += 1;
        self.total.spend(failed.usage, failed.cost_micros);
        if let (Some(open), Some(wait)) = (&mut self.open, failed.retry_in_ms) {
            open.asked = at.after(wait);
        }
    }

    fn answered(&mut self, message: &AssistantMessage) -> Option<Line> {
        let Open { step, turn, at, asked } = self.open.take()?;
        let usage = message.usage;
        self.total.steps += 1;
        self.total.spend(usage, message.cost_micros);
        self.total.cost_unknown |= message.cost_micros.is_none();
        let model = step.request.model.clone();
        // An answer that was cut, or that a hook gave, says nothing of a cache.
        let counted = !message.partial && usage.prompt() > 0;
        let (predicted, waste) = match counted {
            true => self.cached(&step, asked, &usage),
            false => (None, None),
        };
        let line = Line {
            turn,
            step: step.step,
            at,
            model,
            usage,
            cost_micros: message.cost_micros,
            partial: message.partial,
            prefix_break: step.prefix_break,
            predicted,
            waste,
        };
        self.copied.is_none().then_some(line)
    }

    fn cached(
        &mut self,
        step: &StepStarted,
        asked: Timestamp,
        usage: &Usage,
    ) -> (Option<Forecast>, Option<Waste>) {
        let placed = self.chain.add(step, self.effort, usage);
        let before = self.before.replace((usage.prompt(), asked));
        let model = &step.request.model;
        let (known, simulator) = match self.models.contains_key(model) {
            true => self.models.get_mut(model).expect("it is there"),
            false => {
                let known = (self.known)(model);
                let new =
                    known.rules.map(|(rules, min)| Simulator::new(rules, min, Retention::Usual));
                self.models.entry(model.clone()).or_insert((known, new))
            }
        };
        let Some(simulator) = simulator else { return (None, None) };
        let (blocks, marks) = (&placed.blocks[..], &placed.marks[..]);
        let Predicted { read, write, input } = simulator.ask(&Asked { at: asked, blocks, marks });
        simulator.answered(placed.answer, asked);
        let cost = |read, write, input| {
            let usage = Predicted { read, write, input }.usage(usage.output);
            known.price.map(|price| price.of(&usage))
        };
        let forecast = |read, write, input| Forecast {
            cache_read: read,
            cache_write: write,
            input,
            cost_micros: cost(read, write, input),
        };
        let predicted = forecast(read, write, input);
        self.total.predicted.add(&predicted);
        self.total.told.add(&forecast(usage.cache_read, usage.cache_write, usage.input));
        let waste = before.and_then(|(prompt, at)| {
            let whole = simulator.readable(prompt.min(usage.prompt()));
            let cause = match step.prefix_break {
                Some(_) => Cause::Break,
                None if !simulator.keeps(at, asked) => Cause::Expired,
                None => Cause::Missed,
            };
            wasted(whole, usage, cause, known.price)
        });
        if let Some(Waste { tokens, cost_micros, .. }) = waste {
            self.total.waste_tokens += tokens;
            self.total.waste_micros += cost_micros.unwrap_or(0);
        }
        (Some(predicted), waste)
    }
}

/// What was not read of so many tokens that could have been.
fn wasted(whole: u64, usage: &Usage, cause: Cause, price: Option<Price>) -> Option<Waste> {
    let tokens = whole.saturating_sub(usage.cache_read);
    let written = tokens.min(usage.cache_write);
    let cost_micros = price.map(|price| {
        let paid = Usage { input: tokens - written, cache_write: written, ..Usage::default() };
        let read = Usage { cache_read: tokens, ..Usage::default() };
        price.of(&paid).saturating_sub(price.of(&read))
    });
    (tokens > 0).then_some(Waste { cause, tokens, cost_micros })
}

impl Forecast {
    fn add(&mut self, other: &Self) {
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
        self.input += other.input;
        let more = other.cost_micros.map(|more| self.cost_micros.unwrap_or(0) + more);
        self.cost_micros = more.or(self.cost_micros);
    }
}

impl Total {
    fn spend(&mut self, usage: Usage, cost_micros: Option<u64>) {
        self.usage += usage;
        self.cost_micros = self.cost_micros.saturating_add(cost_micros.unwrap_or(0));
        self.cost_unknown |= cost_micros.is_none() && usage != Usage::default();
    }
}

/// A break as journals write it.
pub(super) fn name(why: PrefixBreak) -> String {
    let json = serde_json::to_value(why).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}
