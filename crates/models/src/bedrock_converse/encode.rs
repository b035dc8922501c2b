//! A request becomes a body whose bytes depend on the request alone and whose messages only ever grow at the end.

use oarlock_core::message::{Block, Content, Message};
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::spec::{Decimal, ReasoningEffort};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::kin::{Kin, Kind};
use super::turns::{Conversation, Role, Turn};
use crate::anthropic::thinking_budget;
use crate::codec::Target;
use crate::item::{Item, raw_of};

/// Tokens that an answer of any Claude that thinks may have.
const CLAUDE_OUTPUT: u64 = 32_000;
/// How many of the last messages of the user end a cached prefix; with the system prompt and the tools the four marks of a request are used.
const MARKED_MESSAGES: usize = 2;
/// The tool of Amazon's own that searches the web.
const GROUNDING: &str = "nova_grounding";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Inference::is_empty")]
    inference_config: Inference<'a>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    additional_model_request_fields: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<Value>,
    messages: Vec<Turn>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inference<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Decimal>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [String],
}

impl Inference<'_> {
    fn is_empty(&self) -> bool {
        let Self { max_tokens, temperature, top_p, stop_sequences } = self;
        max_tokens.is_none()
            && temperature.is_none()
            && top_p.is_none()
            && stop_sequences.is_empty()
    }
}

/// The body of a streaming request.
pub(super) fn body(request: &ModelRequest, target: &Target) -> Vec<u8> {
    let kind = Kind::of(&target.model);
    let mut messages = Conversation::new(target, kind, &request.images).render(&request.messages);
    // Left out it is the model's own maximum.
    let max_tokens =
        request.output_max.map(|wanted| wanted.min(target.output_max.unwrap_or(wanted)));
    let additional =
        Thinking { request, kind, max_tokens, output_max: target.output_max }.fields(&messages);
    if kind.caches() {
        mark_latest(&mut messages);
    }
    let body = Body {
        inference_config: Inference {
            max_tokens,
            temperature: request.sampling.temperature,
            top_p: request.sampling.top_p,
            stop_sequences: &request.sampling.stop_sequences,
        },
        additional_model_request_fields: additional,
        output_config: request.output.as_ref().map(|output| {
            // The schema is a text here.
            let name = output.name.as_deref().unwrap_or("answer");
            let schema = json!({"name": name, "schema": output.schema.to_string()});
            json!({"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}})
        }),
        system: system(request, kind),
        tool_config: tool_config(request, kind),
        messages,
    };
    serde_json::to_vec(&body).expect("strings, numbers and JSON texts always serialise")
}

fn mark() -> Value {
    json!({"cachePoint": {"type": "default"}})
}

fn system(request: &ModelRequest, kind: Kind<'_>) -> Vec<Value> {
    if request.system.trim().is_empty() {
        return Vec::new();
    }
    let mut system = vec![json!({"text": request.system})];
    system.extend(kind.caches().then(mark));
    system
}

/// The tools. A conversation with calls or results in it is refused without any, so one stands in where none is offered.
fn tool_config(request: &ModelRequest, kind: Kind<'_>) -> Option<Value> {
    let hosted = (request.capabilities.web_search && kind.can_be_grounded())
        .then(|| json!({"systemTool": {"name": GROUNDING}}));
    let spec = |name: &str, description: &str, input: &Value| {
        let mut spec = json!({"name": name, "inputSchema": {"json": input}});
        if !description.trim().is_empty() {
            spec["description"] = json!(description);
        }
        json!({ "toolSpec": spec })
    };
    let ours = request.tools.iter().map(|tool| spec(&tool.name, &tool.description, &tool.input));
    let mut tools: Vec<Value> = hosted.into_iter().chain(ours).collect();
    if tools.is_empty() && request.messages.iter().any(has_tools) {
        tools.push(spec(
            "none",
            "No tool can be called now. Do not call this one.",
            &json!({"type": "object", "properties": {}}),
        ));
    }
    if !tools.is_empty() && kind.caches_tools() {
        tools.push(mark());
    }
    (!tools.is_empty()).then(|| json!({ "tools": tools }))
}

fn has_tools(message: &Message) -> bool {
    let is_tool = |block: &Block| match block.content {
        // Calls that the provider ran and their results are kept as they came.
        Content::ToolCall { .. } | Content::Opaque { .. } => true,
        Content::Text { .. } | Content::Thinking { .. } => false,
    };
    match message {
        Message::User { .. } => false,
        Message::Assistant { blocks } => blocks.iter().any(is_tool),
        Message::Tool { .. } => true,
    }
}

/// Ends a cached prefix behind the user's latest messages.
fn mark_latest(turns: &mut [Turn]) {
    let users = turns.iter_mut().rev().filter(|turn| turn.role == Role::User);
    for turn in users.take(MARKED_MESSAGES) {
        turn.content.push(raw_of(mark()));
    }
}

/// What the wire has no fields for, in those of the model's maker.
struct Thinking<'a> {
    request: &'a ModelRequest,
    kind: Kind<'a>,
    max_tokens: Option<u64>,
    output_max: Option<u64>,
}

impl Thinking<'_> {
    fn fields(&self, messages: &[Turn]) -> Map<String, Value> {
        let mut fields = Map::new();
        let effort = self.request.effort;
        match self.kind.kin {
            Kin::Claude => {
                let room = self.max_tokens.or(self.output_max).unwrap_or(CLAUDE_OUTPUT);
                let effort = effort.filter(|_| self.kind.thinks() && may_think(messages));
                if let Some(tokens) = thinking_budget(effort, room) {
                    let thinking = json!({"type": "enabled", "budget_tokens": tokens});
                    fields.insert("thinking".to_owned(), thinking);
                }
            }
            Kin::Nova2 => {
                if let Some(effort) = effort.and_then(|effort| self.of_nova(effort)) {
                    let config = json!({"type": "enabled", "maxReasoningEffort": effort});
                    fields.insert("reasoningConfig".to_owned(), config);
                }
            }
            Kin::Nova => {}
            Kin::Other => {
                if let Some(effort) = effort.and_then(in_three) {
                    fields.insert("reasoning_effort".to_owned(), json!(effort));
                }
            }
        }
        if let Some(top_k) = self.request.sampling.top_k {
            match self.kind.kin {
                Kin::Claude => fields.insert("top_k".to_owned(), json!(top_k)),
                Kin::Nova | Kin::Nova2 => {
                    fields.insert("inferenceConfig".to_owned(), json!({ "topK": top_k }))
                }
                Kin::Other => None,
            };
        }
        fields
    }

    /// Nova refuses a bound on the answer, and `topP`, beside its highest effort; a bound counts for more (Amazon Nova 2, "Extended thinking").
    fn of_nova(&self, effort: ReasoningEffort) -> Option<&'static str> {
        let bound = self.max_tokens.is_some() || self.request.sampling.top_p.is_some();
        in_three(effort).map(|effort| if bound && effort == "high" { "medium" } else { effort })
    }
}

fn in_three(effort: ReasoningEffort) -> Option<&'static str> {
    match effort {
        ReasoningEffort::None => None,
        ReasoningEffort::Minimal | ReasoningEffort::Low => Some("low"),
        ReasoningEffort::Medium => Some("medium"),
        ReasoningEffort::High | ReasoningEffort::Xhigh => Some("high"),
    }
}

/// Whether Claude can be asked to think: not where results answer a message that does not begin with thought, as one by another model.
fn may_think(turns: &[Turn]) -> bool {
    let is = |raw: Option<&Box<RawValue>>, kind: &str| {
        raw.and_then(|raw| Item::parse(raw.get())).is_some_and(|item| item.raw(kind).is_some())
    };
    let [.., assistant, user] = turns else { return true };
    !is(user.content.first(), "toolResult") || is(assistant.content.first(), "reasoningContent")
}
