//! What a model call may use under the limits of its turn and session. Pure.

use crate::event::Reserved;
use crate::message::Usage;
use crate::ports::model::{ModelInfo, Price};
use crate::session::children::used_with_children;
use crate::session::hooks::OpenHooks;
use crate::session::state::{State, Used};
use crate::spec::{Bounds, LimitKind, Settings};

/// Why no further model call is allowed.
pub(crate) enum Exhausted {
    Limit(LimitKind),
    PriceUnknown,
}

/// What a call is taken to use at most.
pub(crate) fn reserve(
    price: Option<Price>,
    prompt_tokens: u64,
    output_tokens: Option<u64>,
) -> Reserved {
    let prompt = Usage { input: prompt_tokens, ..Usage::default() };
    let output = output_tokens.map(|output| Usage { output, ..Usage::default() });
    Reserved {
        prompt_tokens,
        prompt_micros: price.map(|price| price.dearest().of(&prompt)),
        output_tokens,
        output_micros: price.zip(output).map(|(price, output)| price.of(&output)),
    }
}

/// The bounds of turn and session with what was used of them.
pub(crate) struct Budgets<'a> {
    pub(crate) of: [(&'a Bounds, Used); 2],
    pub(crate) unknown_prices: bool,
}

pub(crate) fn budgets<'a>(state: &State, settings: &'a Settings) -> Budgets<'a> {
    // A summary under way may still use what was set aside for it.
    let reserved = state.summary.as_ref().map(|open| open.reserved).unwrap_or_default();
    let mut budgets = budgets_without_summary(state, settings);
    budgets.of.iter_mut().for_each(|(_, used)| used.reserve(&reserved));
    budgets
}

pub(crate) fn budgets_without_summary<'a>(state: &State, settings: &'a Settings) -> Budgets<'a> {
    let [turn, session] = used_with_children(state);
    let limits = &settings.limits;
    let mut of = [(&limits.turn, turn), (&limits.session, session)];
    // So may hooks that run.
    let reserved = || state.hooks.iter().flat_map(OpenHooks::reserved);
    of.iter_mut().for_each(|(_, used)| reserved().for_each(|hook| used.reserve(hook)));
    Budgets { of, unknown_prices: limits.allow_unknown_prices }
}

/// Tokens that an answer to so long a request may have under all limits. The worst case is reserved: the whole request, and that answer.
pub(crate) fn allowance(
    budgets: &Budgets<'_>,
    model: &ModelInfo,
    prompt: u64,
) -> Result<Option<u64>, Exhausted> {
    let mut output_max = model.output_max;
    for (bounds, used) in &budgets.of {
        if bounds.steps.is_some_and(|steps| used.steps >= steps) {
            return Err(Exhausted::Limit(LimitKind::Steps));
        }
        if let Some(left) = tokens_left(bounds, used) {
            output_max = tighten(output_max, left.checked_sub(prompt), LimitKind::Tokens)?;
        }
        if model.price.is_none() && budgets.unknown_prices {
            continue;
        }
        if let Some(cost) = bounds.cost_micros {
            let price = model.price.ok_or(Exhausted::PriceUnknown)?;
            let request = price.dearest().of(&Usage { input: prompt, ..Usage::default() });
            let left = cost.saturating_sub(used.cost_micros).checked_sub(request);
            let tokens =
                left.map(|left| u128::from(left) * 1_000_000 / u128::from(price.output.max(1)));
            output_max = tighten(
                output_max,
                tokens.map(|tokens| u64::try_from(tokens).unwrap_or(u64::MAX)),
                LimitKind::Cost,
            )?;
        }
    }
    Ok(output_max)
}

fn tokens_left(bounds: &Bounds, used: &Used) -> Option<u64> {
    bounds.tokens.map(|tokens| tokens.saturating_sub(used.usage.total()))
}

fn tighten(
    output_max: Option<u64>,
    left: Option<u64>,
    kind: LimitKind,
) -> Result<Option<u64>, Exhausted> {
    match left {
        None | Some(0) => Err(Exhausted::Limit(kind)),
        Some(left) => Ok(Some(output_max.map_or(left, |max| max.min(left)))),
    }
}
