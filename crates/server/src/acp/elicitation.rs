//! Putting an agent's question to the person at the client, as a form with one field. It asks for no secrets, and what comes back is words for the model.

use std::sync::Arc;

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::{
    CreateElicitationRequest, CreateElicitationResponse, ElicitationAcceptAction,
    ElicitationAction, ElicitationCapabilities, ElicitationContentValue, ElicitationFormMode,
    ElicitationSchema, ElicitationSessionScope, EnumOption, SessionId, StringPropertySchema,
    ToolCall,
};
use oarlock_core::event::Outcome;
use serde_json::Value;

use super::outbound::Outbound;

/// The field of the form.
const ANSWER: &str = "answer";
/// Bytes of an answer that the model is given.
const ANSWER_MAX: usize = 32 * 1024;
/// What a person is asked when the call does not say.
const NO_QUESTION: &str = "The agent asks for an answer.";

/// What the model is told where nobody can be asked.
pub(super) const NOBODY: &str = "the person cannot be asked here in the middle of a turn; go on with what you know, or end your answer with the question: they will answer it with their next message";

/// How a question was answered: the outcome of its call, and words for the model.
pub(super) type Supplied = (Outcome, String);

/// Whether the person at the client can be asked.
pub(super) fn is_possible(out: &Outbound) -> bool {
    out.client.elicitation.as_ref().is_some_and(ElicitationCapabilities::supports_form)
}

/// Asks, and waits for the answer; nothing when the connection ended before. Dropping the future withdraws the question.
pub(super) async fn ask(
    out: Arc<Outbound>,
    session: SessionId,
    call: ToolCall,
) -> Option<Supplied> {
    let asked = form(session, call);
    let answer = out.connection.send_request(asked).block_task().await;
    match answer {
        Err(error) if agent_client_protocol::is_incoming_transport_closed(&error) => None,
        answer => Some(read(answer)),
    }
}

/// The form that the arguments of `ask_user` describe.
fn form(session: SessionId, call: ToolCall) -> CreateElicitationRequest {
    let arguments = call.raw_input.unwrap_or_default();
    let question = arguments["question"].as_str().unwrap_or(NO_QUESTION);
    let options = arguments["options"].as_array().into_iter().flatten();
    let options: Vec<EnumOption> =
        options.filter_map(Value::as_str).map(|option| EnumOption::new(option, option)).collect();
    let field = StringPropertySchema::new().title("Answer".to_owned());
    let field = match options.is_empty() {
        true => field.min_length(1),
        false => field.one_of(options),
    };
    let form = ElicitationSchema::new().property(ANSWER, field, true);
    let scope = ElicitationSessionScope::new(session).tool_call_id(call.tool_call_id);
    CreateElicitationRequest::new(ElicitationFormMode::new(scope, form), question)
}

fn read(answer: Result<CreateElicitationResponse, Error>) -> Supplied {
    match answer.map(|answer| answer.action) {
        Ok(ElicitationAction::Accept(accepted)) => match words(accepted) {
            Some(words) => (Outcome::Completed, words),
            None => (Outcome::Failed, "the user's client sent a form without an answer".to_owned()),
        },
        Ok(ElicitationAction::Decline) => {
            (Outcome::Failed, "the user declined to answer".to_owned())
        }
        Ok(ElicitationAction::Cancel) => (Outcome::Cancelled, "the user gave no answer".to_owned()),
        Ok(other) => {
            tracing::debug!(?other, "the client answered a question in an unknown way");
            (Outcome::Failed, NOBODY.to_owned())
        }
        Err(error) => {
            tracing::debug!(%error, "the client did not answer a question");
            (Outcome::Failed, NOBODY.to_owned())
        }
    }
}

/// What the person wrote or chose.
fn words(accepted: ElicitationAcceptAction) -> Option<String> {
    let mut words = match accepted.content?.remove(ANSWER)? {
        ElicitationContentValue::String(words) => words,
        other => serde_json::to_string(&other).ok()?,
    };
    words.truncate(words.floor_char_boundary(ANSWER_MAX));
    Some(words).filter(|words| !words.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(arguments: Value) -> Value {
        let call = ToolCall::new("c1", "ask: …").raw_input(arguments);
        serde_json::to_value(form(SessionId::new("s"), call)).unwrap()
    }

    #[test]
    fn a_question_becomes_a_form_with_one_field() {
        let free = asked(json!({ "question": "Which port?" }));
        let field = json!({ "type": "string", "title": "Answer", "minLength": 1 });
        let schema =
            json!({ "type": "object", "properties": { "answer": field }, "required": ["answer"] });
        let expected = json!({
            "mode": "form", "sessionId": "s", "toolCallId": "c1",
            "message": "Which port?", "requestedSchema": schema,
        });
        assert_eq!(free, expected);
        let chosen = asked(json!({ "question": "Which?", "options": ["a", "b"] }));
        let options = json!([{ "const": "a", "title": "a" }, { "const": "b", "title": "b" }]);
        assert_eq!(chosen["requestedSchema"]["properties"]["answer"]["oneOf"], options);
        assert_eq!(asked(Value::from("no json"))["message"], NO_QUESTION);
    }

    #[test]
    fn every_answer_settles_the_call() {
        let cases = [
            (json!({ "action": "accept", "content": { "answer": "8080" } }), Outcome::Completed),
            (json!({ "action": "accept", "content": { "answer": 7 } }), Outcome::Completed),
            (json!({ "action": "accept", "content": { "answer": " " } }), Outcome::Failed),
            (json!({ "action": "accept", "content": { "other": "x" } }), Outcome::Failed),
            (json!({ "action": "accept" }), Outcome::Failed),
            (json!({ "action": "decline" }), Outcome::Failed),
            (json!({ "action": "cancel" }), Outcome::Cancelled),
            (json!({ "action": "postpone" }), Outcome::Failed),
        ];
        for (answer, outcome) in cases {
            let read = read(Ok(serde_json::from_value(answer.clone()).unwrap()));
            assert_eq!(read.0, outcome, "{answer}");
            assert!(!read.1.is_empty(), "{answer}");
        }
        assert_eq!(read(Err(Error::method_not_found())).0, Outcome::Failed);
    }

    #[test]
    fn an_answer_is_cut_to_what_the_model_is_given() {
        let answer = json!({ "action": "accept", "content": { "answer": "ä".repeat(ANSWER_MAX) } });
        let (_, words) = read(Ok(serde_json::from_value(answer).unwrap()));
        assert_eq!(words.len(), ANSWER_MAX);
    }
}
