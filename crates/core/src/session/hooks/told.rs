//! What hooks are told at each point. Pure.

use serde_json::{Map, Value, json};

use crate::event::{HookPoint, Outcome};
use crate::message::{Part, ReplyStop};
use crate::ports::hook::HookStep;
use crate::session::hooks::{HookPlace, continues_max};
use crate::session::plan::{Facts, View, Work};
use crate::session::state::{Call, CallPhase, OpenStep, State};
use crate::session::{calls, context};
use crate::spec::ModelSelection;

/// What the hooks of a place are told.
pub(super) fn told(
    state: &State,
    work: &Work,
    facts: &Facts<'_>,
    place: &HookPlace,
    is_new: bool,
) -> HookStep {
    let fields = match fields(state, work, facts, (place, is_new)) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    HookStep {
        hook_event: place.point,
        session_id: state.id.clone(),
        cwd: state.spec.cwd.display().to_string(),
        turn: state.turn.as_ref().map(|turn| turn.no),
        is_subagent: state.spec.depth > 0,
        fields,
    }
}

fn fields(
    state: &State,
    work: &Work,
    facts: &Facts<'_>,
    (place, is_new): (&HookPlace, bool),
) -> Value {
    let step = state.turn.as_ref().and_then(|turn| turn.step.as_ref());
    let tokens = || context::prompt_tokens(state, facts.tools);
    match place.point {
        HookPoint::AfterSessionEnter => json!({"source": if is_new { "new" } else { "resume" }}),
        HookPoint::BeforeIngest => of_input(state, place),
        HookPoint::AfterIngest => json!({"committed_len": state.conversation.messages.len()}),
        HookPoint::AfterTurnEnter => json!({"agent_type": state.spec.surface}),
        HookPoint::BeforeCompact => {
            let window = facts
                .model
                .ok()
                .and_then(|model| context::window(&state.spec.settings, Some(model)));
            let cause = state.summary.as_ref().map(|open| open.cause);
            json!({"token_estimate": tokens(), "threshold": window, "cause": cause})
        }
        HookPoint::AfterCompact => {
            json!({"tokens_before": state.compacted, "tokens_after": tokens()})
        }
        HookPoint::BeforeGenerate => json!({
            "model": asked(state, place).map(ToString::to_string),
            "message_count": state.conversation.messages.len(),
            "step": place.step,
        }),
        HookPoint::AfterGenerate => of_answer(state, work, step),
        HookPoint::BeforePermission
        | HookPoint::AfterPermission
        | HookPoint::BeforeToolApply
        | HookPoint::AfterToolApply => {
            let call = step.and_then(|step| {
                step.calls.iter().find(|call| Some(&call.called.call) == place.call.as_ref())
            });
            call.map_or(Value::Null, |call| of_call((state, work, facts), (place.point, call)))
        }
        HookPoint::AfterToolBatch => json!({"results": step.map(results)}),
        HookPoint::BeforeTurnEnd => of_end(state, step),
    }
}

/// The model of a step that no hook has chosen one for.
fn asked<'a>(state: &'a State, place: &HookPlace) -> Option<&'a ModelSelection> {
    Some(state.turn.as_ref()?.model_of(place.step?))
}

fn of_input(state: &State, place: &HookPlace) -> Value {
    let input = state.pending.iter().find(|pending| Some(pending.seq) == place.input);
    let Some(input) = input else { return Value::Null };
    let text = text_of(&input.admitted.content);
    json!({"source": input.admitted.source, "input_len": text.len(), "input": text})
}

fn of_answer(state: &State, work: &Work, step: Option<&OpenStep>) -> Value {
    let model = state.turn.as_ref().zip(step).map(|(turn, step)| turn.model_of(step.no));
    json!({
        "model": model.map(ToString::to_string),
        "usage": work.hooks.answered,
        "stop_reason": step.and_then(|step| step.stop.as_ref()),
        "error": step
            .filter(|step| step.stop.is_none())
            .and_then(|step| step.failure.as_ref())
            .map(|(_, message)| message),
    })
}

fn of_call(
    (state, work, facts): (&State, &Work, &Facts<'_>),
    (point, call): (HookPoint, &Call),
) -> Value {
    let view = state.turn.as_ref().map(|turn| View { state, turn, work, facts });
    let granted = view.is_some_and(|view| calls::is_granted(&view, call));
    let arguments = call.arguments();
    let parsed = crate::turn::registry::parse_arguments(arguments);
    // The effect of a call that nobody could assess when it was announced is what can be said of it now.
    let effect = facts.assessor.assess(&call.called.name, arguments);
    let effect = effect.map_or(call.effect(), |(assessment, _)| assessment.effect);
    let mut told = json!({
        "tool": call.called.name,
        "call": call.called.call,
        "effect": effect,
        "args": parsed.unwrap_or_else(|_| Value::String(arguments.to_owned())),
    });
    let more = match point {
        HookPoint::BeforePermission => json!({"decision": "ask"}),
        HookPoint::AfterPermission => json!({"granted": granted}),
        HookPoint::AfterToolApply => match work.hooks.ends.get(&call.called.call) {
            Some(held) => json!({
                "outcome": held.settled.outcome,
                "is_error": held.settled.outcome != Outcome::Completed,
                "output": text_of(&held.settled.content),
                "duration_ms": held.settled.duration_ms,
            }),
            None => Value::Null,
        },
        _ => Value::Null,
    };
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    told
}

fn results(step: &OpenStep) -> Vec<Value> {
    let settled = step.calls.iter().filter_map(|call| match &call.phase {
        CallPhase::Settled(result, outcome) => Some(json!({
            "tool": result.name,
            "call": result.call,
            "outcome": outcome,
            "is_error": result.is_error,
        })),
        _ => None,
    });
    settled.collect()
}

fn of_end(state: &State, step: Option<&OpenStep>) -> Value {
    let turn = state.turn.as_ref();
    let stop = step.and_then(|step| step.stop.as_ref());
    json!({
        "stop_reason": stop,
        "voluntary": !matches!(stop, Some(ReplyStop::MaxTokens | ReplyStop::Refusal)),
        "continues_so_far": turn.map(|turn| turn.hook_continues),
        "continues_max": turn.map(|turn| continues_max(turn)),
    })
}

fn text_of(content: &[Part]) -> String {
    content.iter().filter_map(Part::as_text).collect::<Vec<_>>().join("\n")
}
