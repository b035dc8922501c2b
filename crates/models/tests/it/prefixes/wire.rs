//! Models that keep what they are sent, wire by wire, and what of it a provider caches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use oarlock_core::message::{Block, ReplyStop, Usage};
use oarlock_core::ports::model::{
    HostedCapabilities, Model, ModelCandidate, ModelError, ModelErrorKind, ModelEvent, ModelInfo,
    ModelRequest, Models,
};
use oarlock_core::spec::ModelSelection;
use oarlock_models::Quirks;
use oarlock_models::ThoughtEcho::{Always, CurrentTurn};
use oarlock_models::Wire::{
    AnthropicMessages, BedrockConverse, Gemini, OpenAiChat, OpenAiResponses,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::switching::{Place, encoded, reply};

const PLAIN: Quirks = Quirks { effort: true, cache_key: true, ..Quirks::PLAIN };

/// Every wire, with what departs from it.
pub(super) const PLACES: [Place; 9] = [
    Place { wire: AnthropicMessages, endpoint: "anthropic", family: "claude", quirks: PLAIN },
    Place { wire: OpenAiChat, endpoint: "openai", family: "gpt", quirks: PLAIN },
    Place {
        wire: OpenAiChat,
        endpoint: "deepseek",
        family: "thinker",
        quirks: Quirks { thought_echo: CurrentTurn, ..PLAIN },
    },
    Place {
        wire: OpenAiChat,
        endpoint: "router",
        family: "any",
        quirks: Quirks { thought_echo: Always, ..PLAIN },
    },
    Place { wire: OpenAiResponses, endpoint: "openai-r", family: "gpt-x", quirks: PLAIN },
    Place { wire: Gemini, endpoint: "google", family: "gemini-3-flash", quirks: PLAIN },
    Place { wire: Gemini, endpoint: "google", family: "gemini-2.5-flash", quirks: PLAIN },
    Place { wire: BedrockConverse, endpoint: "bedrock", family: CLAUDE, quirks: PLAIN },
    Place { wire: BedrockConverse, endpoint: "bedrock", family: NOVA, quirks: PLAIN },
];

const CLAUDE: &str = "anthropic.claude-sonnet-4-5";
const NOVA: &str = "amazon.nova-2-lite";

/// How a model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Calls,
    Words,
    Breaks,
}

/// All models, what they are going to say, and what they were sent.
#[derive(Debug, Default, Clone)]
pub(super) struct Wires(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    says: VecDeque<Says>,
    sent: Vec<Prefix>,
    answers: usize,
}

impl Wires {
    /// What they say next; words when nothing is left.
    pub(super) fn say(&self, says: impl IntoIterator<Item = Says>) {
        self.0.lock().unwrap().says = says.into_iter().collect();
    }

    /// What they were sent since it was asked last; what was sent again after a failure stands there once.
    pub(super) fn sent(&self) -> Vec<Prefix> {
        let mut sent = std::mem::take(&mut self.0.lock().unwrap().sent);
        sent.dedup();
        sent
    }
}

/// The name of the model of a place.
pub(super) fn selection(place: Place) -> ModelSelection {
    ModelSelection { provider: place.endpoint.to_owned(), model: place.family.to_owned() }
}

impl Models for Wires {
    fn resolve(&self, wanted: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        let place = PLACES.into_iter().find(|place| selection(*place) == *wanted).unwrap();
        let searches = !matches!(place.wire, OpenAiChat | BedrockConverse)
            && !place.family.starts_with("gemini-2");
        let info = ModelInfo {
            family: place.family.to_owned(),
            context_window: Some(8_000),
            output_max: Some(64_000),
            hosted: HostedCapabilities { web_search: searches },
            takes_output: true,
            drops_thought: place.quirks.thought_echo == CurrentTurn,
            ..ModelInfo::named(wanted.clone())
        };
        Ok(Arc::new(Wired { info, place, wires: self.clone() }))
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        Vec::new()
    }
}

#[derive(Debug)]
struct Wired {
    info: ModelInfo,
    place: Place,
    wires: Wires,
}

impl Model for Wired {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn call(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let mut wires = self.wires.0.lock().unwrap();
        let body = encoded(self.place, &request);
        let mut says = Says::Words;
        if !request.is_summary() {
            wires.sent.push(Prefix::of(self.place, &body));
            says = wires.says.pop_front().unwrap_or(says);
        }
        wires.answers += 1;
        let mut reply = reply(self.place, wires.answers);
        reply.usage = Usage { input: body.len() as u64 / 4, output: 50, ..Usage::default() };
        if says != Says::Calls {
            reply.blocks.retain(|block: &Block| !block.is_call());
            reply.stop = ReplyStop::EndTurn;
        }
        let event = match says {
            Says::Calls | Says::Words => Ok(ModelEvent::Reply(reply)),
            Says::Breaks => Err(ModelError {
                kind: ModelErrorKind::Overloaded,
                message: "not now".to_owned(),
                retry_after_ms: None,
            }),
        };
        stream::iter([event]).boxed()
    }
}

/// What of a request a provider caches, byte for byte, in the order in which a change of one part loses those after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) place: Place,
    pub(super) system: String,
    pub(super) tools: String,
    pub(super) output: String,
    pub(super) effort: String,
    /// The blocks of all messages, each with its role. Where a breakpoint stands is not part of what is cached.
    pub(super) blocks: Vec<String>,
}

/// The members of an object, byte for byte.
type Members = BTreeMap<String, Box<RawValue>>;

const MARK: &str = r#","cache_control":{"type":"ephemeral"}"#;

const POINT: &str = r#"{"cachePoint":{"type":"default"}}"#;

impl Prefix {
    fn of(place: Place, body: &str) -> Self {
        let members: Members = serde_json::from_str(body).unwrap();
        let raw =
            |name: &str| members.get(name).map(|raw| raw.get().to_owned()).unwrap_or_default();
        let prefix = |system, output: &str, effort, blocks| Self {
            place,
            system,
            tools: raw("tools"),
            output: raw(output),
            effort,
            blocks,
        };
        match place.wire {
            AnthropicMessages => {
                let blocks = blocks(&raw("messages"), "content");
                let marks = body.matches(MARK).count();
                assert!((2..=4).contains(&marks), "a request has 4 breakpoints at most: {body}");
                let last = blocks.last().unwrap();
                assert!(last.contains(MARK), "the last block ends a cached prefix: {body}");
                let blocks = blocks.iter().map(|block| block.replace(MARK, "")).collect();
                let config = raw("output_config");
                let config: Members = match config.is_empty() {
                    true => Members::new(),
                    false => serde_json::from_str(&config).unwrap(),
                };
                let told = |name: &str| {
                    config.get(name).map(|raw| raw.get().to_owned()).unwrap_or_default()
                };
                let effort = raw("thinking") + &told("effort");
                Self { output: told("format"), ..prefix(raw("system"), "", effort, blocks) }
            }
            OpenAiChat => {
                let messages: Vec<Box<RawValue>> = serde_json::from_str(&raw("messages")).unwrap();
                let mut messages: Vec<String> =
                    messages.iter().map(|message| message.get().to_owned()).collect();
                let system = messages.remove(0);
                assert!(system.starts_with(r#"{"role":"system""#), "{body}");
                prefix(system, "response_format", raw("reasoning_effort"), messages)
            }
            OpenAiResponses => {
                let items: Vec<Box<RawValue>> = serde_json::from_str(&raw("input")).unwrap();
                let items = items.iter().map(|item| item.get().to_owned()).collect();
                prefix(raw("instructions"), "text", raw("reasoning"), items)
            }
            BedrockConverse => {
                let blocks = blocks(&raw("messages"), "content");
                let is_mark = |block: &&String| block.ends_with(POINT);
                let marks = body.matches(POINT).count();
                assert!((2..=4).contains(&marks), "a request has 4 checkpoints at most: {body}");
                // Nova takes none beside results.
                let ends = blocks.last().is_some_and(|last| is_mark(&last));
                assert!(ends || place.family == NOVA, "{body}");
                let blocks = blocks.iter().filter(|block| !is_mark(block)).cloned().collect();
                let (output, effort) = ("outputConfig", raw("additionalModelRequestFields"));
                Self { tools: raw("toolConfig"), ..prefix(raw("system"), output, effort, blocks) }
            }
            Gemini => {
                let config: Value = serde_json::from_str(&raw("generationConfig")).unwrap();
                let effort = config["thinkingConfig"].to_string();
                prefix(raw("systemInstruction"), "", effort, blocks(&raw("contents"), "parts"))
            }
        }
    }
}

/// The blocks of messages that have a role and a list of them.
fn blocks(messages: &str, list: &str) -> Vec<String> {
    let messages: Vec<Members> = serde_json::from_str(messages).unwrap();
    let of = |message: &Members| -> Vec<String> {
        let blocks: Vec<Box<RawValue>> = serde_json::from_str(message[list].get()).unwrap();
        blocks.iter().map(|block| format!("{} {}", message["role"], block.get())).collect()
    };
    messages.iter().flat_map(of).collect()
}

/// An answer schema is of no interest here, and neither is the place's name in a body.
#[test]
fn a_breakpoint_is_no_part_of_what_is_cached() {
    let body = |marked: &str| {
        json!({"system": "s", "tools": [], "thinking": null, "messages": [{"role": "user", "content": []}]})
            .to_string()
            .replace("[]}]", &format!(r#"[{{"type":"text","text":"a"{marked}}},{{"type":"text","text":"b"{MARK}}}]}}],"x":[{{"y":1{MARK}}}]"#))
    };
    let [without, with] = ["", MARK].map(|marked| Prefix::of(PLACES[0], &body(marked)));
    assert_eq!(without, with);
}
