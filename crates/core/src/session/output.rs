//! Turns whose answer has a form: how a model is told, and what becomes of its answers. Pure.

use crate::event::{ContinuedBy, Event, FailureClass, OutputFailure, StopReason, TurnContinued};
use crate::message::{Content, Message, Part};
use crate::ports::model::{AnswerSchema, ModelInfo};
use crate::session::context::{self, text_tokens};
use crate::session::plan::turn_ended;
use crate::session::state::{OpenTurn, State};
use crate::spec::{AnswerForm, LoweredSchema, SchemaCompat, SchemaWarning, Settings};

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
        Err(reason) => reason,
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

/// How a model is told the form of its answer.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// By a field of the request.
    pub(crate) field: Option<AnswerSchema>,
    /// At the end of its system prompt.
    pub(crate) words: Option<String>,
}

/// How the model of a turn with these settings is told.
pub(crate) fn told(settings: &Settings, model: &ModelInfo) -> Told {
    let Some(output) = &settings.output else { return Told::default() };
    let schema = &output.schema;
    match lowered(settings, model).sent {
        Some(sent) => {
            let name = schema.name.clone().unwrap_or_else(|| "answer".to_owned());
            let field = AnswerSchema { name, strict: schema.strict, schema: sent };
            Told { field: Some(field), words: None }
        }
        None => Told {
            field: None,
            words: Some(format!(
                "# The form of your answer\n\nOnce everything is done, answer with nothing but JSON of this schema: no other words, no code fence.\n\n{}",
                schema.text()
            )),
        },
    }
}

fn lowered(settings: &Settings, model: &ModelInfo) -> LoweredSchema {
    let Some(output) = &settings.output else { return LoweredSchema::default() };
    // A provider that searches by itself quotes its sources within the text, which a field for the form forbids.
    let searches = context::hosted(settings, model).web_search;
    let form = if searches { &AnswerForm::Words } else { &model.answer };
    output.schema.lower(form, &model.selection.provider)
}

/// What of the schema the model's provider is not sent.
pub(in crate::session) fn warnings(settings: &Settings, model: &ModelInfo) -> Vec<SchemaWarning> {
    lowered(settings, model).warnings
}

/// Why the model must not be called: the provider takes the schema in part, and that is not enough.
pub(in crate::session) fn refusal(settings: &Settings, model: &ModelInfo) -> Option<String> {
    let output = settings.output.as_ref()?;
    let is_strict = output.schema.compat == SchemaCompat::Strict;
    let first =
        is_strict.then(|| warnings(settings, model)).and_then(|all| all.into_iter().next())?;
    Some(format!(
        "{} takes the output schema in part, and its `compat` is \"strict\": at `{}`, {}; change the schema, or let `compat` be \"lossy\"",
        model.selection, first.path, first.message
    ))
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
