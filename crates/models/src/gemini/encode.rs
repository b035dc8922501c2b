//! A request becomes a body whose bytes depend on the request alone and whose contents only ever grow at the end.

use oarlock_core::ports::model::ModelRequest;
use oarlock_core::spec::Decimal;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::contents::Contents;
use super::family::{is_third, thinking_config};
use crate::bodies::Bodies;
use crate::codec::Target;
use crate::conversation::{Role, Turn, turns};
use crate::names::Names;
use crate::quirks::{Documents, HostedCalls};

#[derive(Serialize)]
struct Content {
    role: &'static str,
    parts: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<Value>,
    generation_config: Generation<'a>,
    contents: Vec<Content>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Generation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<Value>,
}

/// The body of a streaming request; the model stands in the address.
pub(super) fn body(request: &ModelRequest, names: &Names, target: &Target) -> Vec<u8> {
    let tools = tools(request, names);
    let bodies = Bodies::new(&request.bodies, Documents::Whole);
    let turns = turns(&Contents::new(target, bodies, names), &request.messages);
    // A search of the provider beside tools has to be asked for, and its items go back with the rest.
    let is_mixed = tools.len() > 1
        && is_third(&target.family)
        && target.quirks.hosted_calls == HostedCalls::Told;
    let body = Body {
        system_instruction: (!request.system.trim().is_empty())
            .then(|| json!({"parts": [{"text": request.system}]})),
        tools,
        tool_config: is_mixed.then(|| json!({"includeServerSideToolInvocations": true})),
        generation_config: generation(request, target),
        contents: turns.into_iter().map(content).collect(),
    };
    serde_json::to_vec(&body).expect("strings, numbers and JSON texts always serialise")
}

/// What one side says, in the words of this wire.
fn content(turn: Turn) -> Content {
    let role = match turn.role {
        Role::User => "user",
        Role::Assistant => "model",
    };
    Content { role, parts: turn.content }
}

fn generation<'a>(request: &'a ModelRequest, target: &Target) -> Generation<'a> {
    let output_max = match (request.output_max, target.output_max) {
        (Some(wanted), Some(most)) => Some(wanted.min(most)),
        (wanted, most) => wanted.or(most),
    };
    let schema = request.output.as_ref().map(|output| &output.schema);
    Generation {
        max_output_tokens: output_max,
        temperature: request.sampling.temperature,
        top_p: request.sampling.top_p,
        top_k: request.sampling.top_k,
        stop_sequences: &request.sampling.stop_sequences,
        response_mime_type: schema.map(|_| "application/json"),
        response_json_schema: schema,
        thinking_config: request
            .effort
            .and_then(|effort| thinking_config(&target.family, effort, output_max)),
    }
}

fn tools(request: &ModelRequest, names: &Names) -> Vec<Value> {
    let declarations: Vec<Value> = request
        .tools
        .iter()
        .map(|tool| json!({"name": names.spelled(&tool.name), "description": tool.description, "parametersJsonSchema": tool.input}))
        .collect();
    let ours = (!declarations.is_empty()).then(|| json!({"functionDeclarations": declarations}));
    let hosted = request.capabilities.web_search.then(|| json!({"googleSearch": {}}));
    ours.into_iter().chain(hosted).collect()
}
