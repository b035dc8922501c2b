//! What hooks may spend: what is set aside for their model calls before they run, and what a run costs whose end nobody heard. Pure.
//!
//! From `hooks_started` to `hook_ran` the worst case of every model call of a place counts as used. A call of a hook is no step: the limits of
//! tokens and money decide about it, and no other.

use serde::{Deserialize, Serialize};

use crate::event::{Event, HookChange, HookFunds, HookRan, HooksStarted, PayingHook, Reserved};
use crate::message::Usage;
use crate::ports::hook::{HookEnd, HookSpend, HookTable};
use crate::session::budget::{Budgets, Exhausted, budgets, reserve};
use crate::session::hooks::HookPlace;
use crate::session::state::State;
use crate::spec::LimitKind;

/// Hooks of which some may call models, from their beginning to their end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenHooks {
    /// Where.
    pub place: HookPlace,
    /// Those that may call models.
    pub paying: Vec<PayingHook>,
}

impl OpenHooks {
    /// What is set aside for each of them.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = &Reserved> {
        self.paying.iter().filter_map(|hook| match &hook.funds {
            HookFunds::Reserved(reserved) => Some(reserved),
            HookFunds::Refused(_) => None,
        })
    }

    /// Those that are not to be run, and why.
    pub(crate) fn unaffordable(&self) -> impl Iterator<Item = (String, String)> {
        self.paying.iter().filter_map(|hook| match &hook.funds {
            HookFunds::Reserved(_) => None,
            HookFunds::Refused(why) => Some((hook.hook.clone(), why.clone())),
        })
    }

    /// An end that nobody heard: the requests are counted, by an estimate.
    pub(crate) fn charged(&self) -> HookEnd {
        let mut end = HookEnd::default();
        for reserved in self.reserved() {
            end.usage += Usage { input: reserved.prompt_tokens, ..Usage::default() };
            end.cost_unknown |= reserved.prompt_micros.is_none();
            if let Some(micros) = reserved.prompt_micros {
                end.cost_micros = Some(end.cost_micros.unwrap_or(0).saturating_add(micros));
            }
        }
        end
    }

    /// The entry of hooks whose end nobody heard, or whose end changes nothing any more.
    pub(crate) fn lost(&self, end: &HookEnd) -> Event {
        let HookPlace { point, step, call, input } = self.place.clone();
        Event::HookRan(Box::new(HookRan {
            point,
            step,
            call,
            input,
            hooks: Vec::new(),
            change: HookChange::default(),
            effect: None,
            usage: end.usage,
            cost_micros: end.cost_micros,
            cost_unknown: end.cost_unknown,
            lost: true,
        }))
    }
}

impl State {
    /// The open hooks of a place.
    pub(crate) fn hooks_at(&self, place: &HookPlace) -> Option<&OpenHooks> {
        self.hooks.iter().find(|open| open.place == *place)
    }

    pub(in crate::session) fn start_hooks(
        &mut self,
        started: &HooksStarted,
    ) -> Result<(), &'static str> {
        let HooksStarted { point, step, call, input, paying } = started.clone();
        let place = HookPlace { point, step, call, input };
        if self.hooks_at(&place).is_some() {
            return Err("the hooks of the place run");
        }
        self.hooks.push(OpenHooks { place, paying });
        Ok(())
    }
}

/// `hooks_started` of a place with hooks that may call models, unless they are announced already.
pub(super) fn announced(state: &State, table: &HookTable, place: &HookPlace) -> Option<Event> {
    if state.hooks_at(place).is_some() {
        return None;
    }
    let settings = state.turn.as_ref().map_or(&state.spec.settings, |turn| &turn.settings);
    let mut budgets = budgets(state, settings);
    let mut funds = |spend: HookSpend| {
        let reserved = reserve(spend.price, spend.prompt_tokens, Some(spend.output_tokens));
        match affords(&budgets, &reserved) {
            Ok(()) => {
                budgets.of.iter_mut().for_each(|(_, used)| used.reserve(&reserved));
                HookFunds::Reserved(reserved)
            }
            Err(why) => HookFunds::Refused(words(&why)),
        }
    };
    let all = table.paying(place.point, &state.spec.settings.hooks);
    let paying: Vec<PayingHook> = all
        .map(|(hook, spend)| PayingHook { hook: hook.to_owned(), funds: funds(spend) })
        .collect();
    let HookPlace { point, step, call, input } = place.clone();
    let started = HooksStarted { point, step, call, input, paying };
    (!started.paying.is_empty()).then_some(Event::HooksStarted(started))
}

/// The ends of all open hooks, when nobody will hear them.
pub(crate) fn lost(state: &State) -> Vec<Event> {
    state.hooks.iter().map(|open| open.lost(&open.charged())).collect()
}

/// Whether a call for which this would be set aside stays within all limits of tokens and money.
fn affords(budgets: &Budgets<'_>, worst: &Reserved) -> Result<(), Exhausted> {
    let is_priced = worst.prompt_micros.is_some() && worst.output_micros.is_some();
    for (bounds, used) in &budgets.of {
        let mut then = *used;
        then.reserve(worst);
        if bounds.tokens.is_some_and(|tokens| then.usage.total() > tokens) {
            return Err(Exhausted::Limit(LimitKind::Tokens));
        }
        let Some(cost) = bounds.cost_micros else { continue };
        match is_priced {
            false if budgets.unknown_prices => {}
            false => return Err(Exhausted::PriceUnknown),
            true if then.cost_micros > cost => return Err(Exhausted::Limit(LimitKind::Cost)),
            true => {}
        }
    }
    Ok(())
}

/// Why a hook may not call its model.
fn words(why: &Exhausted) -> String {
    match why {
        Exhausted::Limit(kind) => {
            format!("the limit of {} leaves no room for its model call", kind.name())
        }
        Exhausted::PriceUnknown => {
            "a cost limit is set but the price of its model is not known".to_owned()
        }
    }
}
