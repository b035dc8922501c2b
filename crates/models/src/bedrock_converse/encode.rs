//! A request becomes a body whose bytes depend on the request alone and whose messages only ever grow at the end.

use oarlock_core::message::{Block, Content, Message};
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::spec::{Decimal, ReasoningEffort};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::kin::{Kin, Kind};
use super::schema;
use super::turns::Messages;
use crate::claude::ask;
use crate::codec::Target;
use crate::conversation::{Role, Turn, turns};
use crate::item::{Item, raw_of};
use crate::names::Names;

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
pub(super) fn body(request: &ModelRequest, names: &Names, target: &Target) -> Vec<u8> {
    let kind = Kind::of(&target.model);
    let said = Messages::new(request, target, kind, names);
    let mut messages = turns(&said, &request.messages);
    let wanted = request.output_max.map(|wanted| wanted.min(target.output_max.unwrap_or(wanted)));
    let known = kind.output_default().map(|default| target.output_max.unwrap_or(default));
    let max_tokens = wanted.or(known);
    let additional = Additional { request, kind, max_tokens }.fields(&messages);
    if kind.caches() {
        mark_latest(&mut messages, kind);
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
        tool_config: tool_config(request, names, kind),
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
fn tool_config(request: &ModelRequest, names: &Names, kind: Kind<'_>) -> Option<Value> {
    let hosted = (request.capabilities.web_search && kind.can_be_grounded())
        .then(|| json!({"systemTool": {"name": GROUNDING}}));
    let spec = |name: &str, description: &str, input: &Value| {
        let mut spec = json!({"name": name, "inputSchema": {"json": schema::input(kind, input)}});
        if !description.trim().is_empty() {
            spec["description"] = json!(description);
        }
        json!({ "toolSpec": spec })
    };
    let ours = request
        .tools
        .iter()
        .map(|tool| spec(&names.spelled(&tool.name), &tool.description, &tool.input));
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

/// Ends a cached prefix behind the user's latest messages in which a mark may stand.
fn mark_latest(turns: &mut [Turn], kind: Kind<'_>) {
    let takes = |turn: &&mut Turn| {
        let results = || turn.content.iter().any(|block| holds(block, "toolResult"));
        turn.role == Role::User && (kind.caches_results() || !results())
    };
    let users = turns.iter_mut().rev().filter(takes);
    for turn in users.take(MARKED_MESSAGES) {
        turn.content.push(raw_of(mark()));
    }
}

/// What the wire has no fields for, in those of the model's maker.
struct Additional<'a> {
    request: &'a ModelRequest,
    kind: Kind<'a>,
    max_tokens: Option<u64>,
}

impl Additional<'_> {
    fn fields(&self, messages: &[Turn]) -> Map<String, Value> {
        let mut fields = Map::new();
        let effort = self.request.effort;
        match self.kind.kin {
            Kin::Claude => {
                let asked =
                    ask(self.kind.id(), effort, self.max_tokens.unwrap_or_default(), || {
                        may_think(messages)
                    });
                let config = asked.effort.map(|effort| json!({ "effort": effort }));
                let named = [("thinking", asked.thinking), ("output_config", config)];
                let told = named.into_iter().filter_map(|(name, told)| Some((name, told?)));
                fields.extend(told.map(|(name, told)| (name.to_owned(), told)));
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

/// Whether Claude can be given a budget: not where results answer a message that does not begin with thought, as one by another model.
fn may_think(turns: &[Turn]) -> bool {
    let begins = |turn: &Turn, kind: &str| turn.content.first().is_some_and(|raw| holds(raw, kind));
    let [.., assistant, user] = turns else { return true };
    !begins(user, "toolResult") || begins(assistant, "reasoningContent")
}

/// Whether a block is of this kind.
fn holds(block: &RawValue, kind: &str) -> bool {
    Item::parse(block.get()).is_some_and(|item| item.raw(kind).is_some())
}
