//! How a session is doing, from its state. Pure.

use crate::command::{ContextStatus, Status, Waiting};
use crate::ports::model::ModelInfo;
use crate::session::context::{self, ToolsDigest};
use crate::session::state::{CallPhase, State, first_words};

/// The status of a session as it stands; `model` is the one that its next turn would use, where it is known. What it waits for is for the caller to
/// add, who knows who runs it ([`crate::session::why::why`]).
#[must_use]
pub fn status(state: &State, tools: &ToolsDigest, model: Option<&ModelInfo>) -> Status {
    let calls = state.turn.iter().flat_map(|turn| &turn.step).flat_map(|step| &step.calls);
    let questions = calls.filter_map(|call| match &call.phase {
        CallPhase::Asked(asked) => Some(asked.clone()),
        CallPhase::Called
        | CallPhase::Allowed
        | CallPhase::Refused(_)
        | CallPhase::Requested(_)
        | CallPhase::Started
        | CallPhase::Settled(..) => None,
    });
    let waiting = state.pending.iter().map(|input| Waiting {
        input: input.seq,
        delivery: input.admitted.delivery,
        words: first_words(&input.admitted.content),
    });
    Status {
        tip: state.tip,
        settings: state.spec.settings.clone(),
        archived: state.archived,
        turn: state.turn.as_ref().map(|turn| turn.no),
        turns: state.turns,
        waiting: waiting.collect(),
        questions: questions.collect(),
        goal: state.goal.clone(),
        plan: state.plan.clone(),
        waits: Vec::new(),
        usage: state.used.usage,
        cost_micros: (!state.used.cost_unknown).then_some(state.used.cost_micros),
        context: ContextStatus {
            used_tokens: context::prompt_tokens(state, tools),
            context_window: context::window(&state.spec.settings, model),
        },
        modes: state.spec.modes.clone(),
        tasks: state.tasks.clone(),
    }
}
