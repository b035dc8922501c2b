//! Turns whose answer has a form: what becomes of answers. Pure.

use crate::event::{ContinuedBy, Event, FailureClass, OutputFailure, StopReason, TurnContinued};
use crate::message::{Content, Message, Part};
use crate::session::context::text_tokens;
use crate::session::plan::turn_ended;
use crate::session::state::{OpenTurn, State};
use crate::spec::Misfit;

/// Bytes of an answer that the end of its turn quotes.
const LAST_OUTPUT_BYTES: usize = 16 * 1024;
/// How the feedback to a model begins whose answer does not fit.
const FEEDBACK: &str = "[Your answer is not of the form that was asked for:]";

/// What becomes of a turn whose model is done.
pub(in crate::session) enum Verdict {
    /// It ends so.
    Ends(Event),
    /// It goes on, unless a limit forbids it.
    GoesOn(TurnContinued),
}

/// Holds the last answer of a turn against the form that it is to have.
pub(in crate::session) fn judge(state: &State, turn: &OpenTurn) -> Verdict {
    let ended = |stop, error| turn_ended(turn, stop, error);
    let Some(output) = &turn.settings.output else {
        return Verdict::Ends(ended(StopReason::EndTurn, None));
    };
    let answer = last_answer(state);
    let reason = match output.schema.validate(&answer) {
        Err(Misfit::Answer(reason)) => reason,
        Err(Misfit::Unknown(why)) => {
            return Verdict::Ends(ended(StopReason::Failed(FailureClass::Internal), Some(why)));
        }
        Ok(json) => {
            let mut event = ended(StopReason::EndTurn, None);
            if let Event::TurnEnded(end) = &mut event {
                end.structured_output = Some(json.to_owned());
            }
            return Verdict::Ends(event);
        }
    };
    if turn.misfits < output.retries {
        let content = vec![Part::text(feedback(&reason))];
        return Verdict::GoesOn(TurnContinued { by: ContinuedBy::Output, content });
    }
    let attempts = turn.misfits + 1;
    let message = format!(
        "no answer of {attempts} was of the form that was asked for; what is wrong with the last one: {reason}"
    );
    let mut event = ended(StopReason::Failed(FailureClass::StructuredOutput), Some(message));
    if let Event::TurnEnded(end) = &mut event
        && let Some(error) = &mut end.error
    {
        let last_output = answer[..answer.floor_char_boundary(LAST_OUTPUT_BYTES)].to_owned();
        error.output = Some(Box::new(OutputFailure { attempts, reason, last_output }));
    }
    Verdict::Ends(event)
}

fn feedback(reason: &str) -> String {
    format!(
        "{FEEDBACK}\n\n{reason}\n\n[Answer again, with the JSON alone: no other words, no code fence.]"
    )
}

/// Whether a text is such feedback: such words are not the user's.
pub(in crate::session) fn is_feedback(text: &str) -> bool {
    text.starts_with(FEEDBACK)
}

fn last_answer(state: &State) -> String {
    let Some(Message::Assistant { blocks }) = state.conversation.messages.last() else {
        return String::new();
    };
    let texts = blocks.iter().filter_map(|block| match &block.content {
        Content::Text { text } => Some(text.as_str()),
        Content::Thinking { .. } | Content::ToolCall { .. } | Content::Opaque { .. } => None,
    });
    texts.collect()
}

/// Tokens of a schema that no provider has counted: it comes with the first request of a turn.
pub(in crate::session) fn uncounted_tokens(state: &State) -> u64 {
    let settings = match &state.turn {
        Some(turn) if turn.step.is_some() && state.conversation.counted.is_some() => return 0,
        Some(turn) => &turn.settings,
        None => &state.spec.settings,
    };
    settings.output.as_ref().map_or(0, |output| text_tokens(output.schema.text().len() + 256))
}
