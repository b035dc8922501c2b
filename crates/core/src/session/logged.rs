//! What the program's log tells of a session as its entries pass: turns and what they met, in numbers and fixed words. What was said stays in the
//! journal.

use serde_json::Value;

use crate::event::{Entry, Event};
use crate::ids::SessionId;

/// Tells of an entry that is in the store.
pub(super) fn log(session: &SessionId, entry: &Entry) {
    let turn = entry.turn;
    match &entry.event {
        Event::TurnStarted(_) => tracing::info!(%session, turn, "a turn begins"),
        Event::TurnRecovered(_) => tracing::info!(%session, turn, "a turn is taken up again"),
        Event::ModelFailed(failed) => tracing::info!(
            %session,
            turn,
            step = failed.step,
            attempt = failed.attempt,
            class = ?failed.class,
            retry_in_ms = failed.retry_in_ms,
            "a model call failed"
        ),
        Event::ModelReplaced(replaced) => tracing::info!(
            %session,
            turn,
            from = %replaced.from,
            to = %replaced.to,
            class = ?replaced.class,
            "another model takes over"
        ),
        Event::TurnEnded(ended) if tracing::enabled!(tracing::Level::INFO) => {
            let stop = serde_json::to_value(ended.stop).unwrap_or_default();
            let stop = stop.get("reason").and_then(Value::as_str);
            let (tokens, cost_micros) = (ended.usage.total(), ended.cost_micros);
            tracing::info!(%session, turn, stop, steps = ended.steps, tokens, cost_micros, "a turn ended");
        }
        _ => {}
    }
}
