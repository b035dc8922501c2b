//! Which results of tools are cleared, and what is left out by force when no summary can be had.

use crate::event::{CompactionCause, ContextCleared, ContextCompacted, Event};
use crate::ids::CallId;
use crate::message::{Message, Part, Usage};
use crate::session::context::{self, message_tokens, part_tokens};
use crate::session::conversation::TOO_LONG;
use crate::session::forget::{Scene, pins, summary};

/// A result that is no longer than so many tokens stays.
const RESULT_TOKENS_MIN: u64 = 512;

/// Clears results outside the newest fifth of the window, when that frees a twentieth of it: less is not worth a cached prefix.
pub(super) fn worthwhile(scene: &Scene<'_>, window: u64) -> Option<Event> {
    cleared(scene, window / 5, window / 20)
}

/// Makes room without a summary: the oldest messages go and only what the user said is kept; where none can go, results are cleared,
/// and those that the model has not seen last.
pub(super) fn by_force(scene: &Scene<'_>) -> Option<Event> {
    let clearing = || cleared(scene, 0, 1).or_else(|| left_out(scene));
    let Some(dropped) = summary::cut(scene) else { return clearing() };
    let mut content = pins::of(scene, dropped);
    let pinned = u32::try_from(content.len()).unwrap_or(u32::MAX);
    content.push(Part::text(pins::without_summary(dropped)));
    content.extend(pins::standing(scene));
    let (before, after) = (scene.tokens(), sizes(scene, dropped, &content));
    Some(Event::ContextCompacted(ContextCompacted {
        cause: CompactionCause::Hard,
        dropped: u32::try_from(dropped).unwrap_or(u32::MAX),
        content,
        pinned,
        tokens_before: before,
        tokens_after: after,
        usage: Usage::default(),
        cost_micros: Some(0),
    }))
    .filter(|_| after < before)
    .or_else(clearing)
}

/// Tokens of the next request when `content` stands in the place of the first `dropped` messages.
pub(super) fn sizes(scene: &Scene<'_>, dropped: usize, content: &[Part]) -> u64 {
    let gone: u64 = scene.messages()[..dropped].iter().map(message_tokens).sum();
    let new: u64 = content.iter().map(part_tokens).sum();
    scaled(scene, gone, new)
}

/// The size of the next request after so much of it goes and so much comes: both are estimates, and the provider's count of the whole is
/// scaled by them.
fn scaled(scene: &Scene<'_>, gone: u64, new: u64) -> u64 {
    let estimate = context::estimate(scene.state, scene.facts.tools).max(1);
    let left = estimate.saturating_sub(gone).saturating_add(new);
    let tokens = u128::from(scene.tokens()) * u128::from(left) / u128::from(estimate);
    u64::try_from(tokens).unwrap_or(u64::MAX)
}

/// Clears the long results before the newest `kept` tokens, when that frees `gain_min` tokens. What the model has not seen stays.
fn cleared(scene: &Scene<'_>, kept: u64, gain_min: u64) -> Option<Event> {
    let seen = last_answer(scene.messages())?;
    let mut newest = 0;
    let mut long = Vec::new();
    for (at, message) in scene.messages().iter().enumerate().rev() {
        let is_old = newest >= kept && at < seen;
        newest += message_tokens(message);
        if is_old {
            long.extend(long_results(message));
        }
    }
    long.reverse();
    let gone: u64 = long.iter().map(|(_, tokens)| tokens).sum();
    let calls: Vec<CallId> = long.into_iter().map(|(call, _)| call).collect();
    forgetting(scene, (calls, Vec::new()), gone, gain_min)
}

/// Leaves out results that the model has not seen: nothing else makes room for them.
fn left_out(scene: &Scene<'_>) -> Option<Event> {
    let seen = last_answer(scene.messages())?;
    let long: Vec<(CallId, u64)> = scene.messages()[seen..].iter().flat_map(long_results).collect();
    let gone = long.iter().map(|(_, tokens)| tokens).sum();
    let calls = long.into_iter().map(|(call, _)| call).collect();
    forgetting(scene, (Vec::new(), calls), gone, 1)
}

fn last_answer(messages: &[Message]) -> Option<usize> {
    messages.iter().rposition(|message| matches!(message, Message::Assistant { .. }))
}

/// The long results of a message, the last one first, with their tokens.
fn long_results(message: &Message) -> Vec<(CallId, u64)> {
    let Message::Tool { results } = message else { return Vec::new() };
    let sized = results
        .iter()
        .rev()
        .map(|result| (result.call.clone(), result.parts.iter().map(part_tokens).sum::<u64>()));
    sized.filter(|(_, tokens)| *tokens > RESULT_TOKENS_MIN).collect()
}

fn forgetting(
    scene: &Scene<'_>,
    (calls, too_long): (Vec<CallId>, Vec<CallId>),
    gone: u64,
    gain_min: u64,
) -> Option<Event> {
    let count = (calls.len() + too_long.len()) as u64;
    let new = count * part_tokens(&Part::text(TOO_LONG));
    if count == 0 || gone.saturating_sub(new) < gain_min {
        return None;
    }
    let (tokens_before, tokens_after) = (scene.tokens(), scaled(scene, gone, new));
    Some(Event::ContextCleared(ContextCleared { calls, too_long, tokens_before, tokens_after }))
}
