//! A model that says what a test tells it to, and remembers what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use oarlock_core::event::DeltaItem;
use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, Message, ReplyStop, Usage};
use oarlock_core::ports::model::{
    Accepts, HostedCapabilities, Model, ModelCandidate, ModelError, ModelErrorKind, ModelEvent,
    ModelInfo, ModelRequest, Models, Price, Reply,
};
use oarlock_core::spec::{ModelSelection, ResolvedSessionCapabilities, Sampling};

/// One thing that a scripted call does.
#[derive(Debug, Clone)]
pub enum Say {
    /// Sends a text delta of the first block.
    Delta(&'static str),
    /// Lets time pass.
    Wait(u64),
    /// Proves that it lives.
    Alive,
    /// Answers, and ends.
    Reply(Reply),
    /// Fails, and ends.
    Fail(ModelErrorKind, Option<u64>),
    /// Says that it has not been asked yet, and why.
    Held(&'static str),
    /// Says nothing for ever.
    Silence,
    /// Panics.
    Panic,
}

/// A model that plays one list of [`Say`] for each call. When it has none left it answers `done`. Summaries have a script of their own.
#[derive(Debug)]
pub struct ScriptedModel {
    info: ModelInfo,
    script: Mutex<VecDeque<Vec<Say>>>,
    summaries: Mutex<VecDeque<Vec<Say>>>,
    usage: Count,
    requests: Mutex<Vec<ModelRequest>>,
}

/// What a scripted model says of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// What stands in its replies.
    AsScripted,
    /// A token for each four bytes of the request and of the answer.
    ByBytes,
}

impl ScriptedModel {
    /// A model with this script.
    #[must_use]
    pub fn new(script: impl IntoIterator<Item = Vec<Say>>) -> Arc<Self> {
        Self::of(info(), script)
    }

    /// A model of which this is known.
    #[must_use]
    pub fn of(info: ModelInfo, script: impl IntoIterator<Item = Vec<Say>>) -> Arc<Self> {
        Self::playing(info, script, [], Count::AsScripted)
    }

    /// A model with this script, and another one for the summaries it is asked for.
    #[must_use]
    pub fn summarising(
        script: impl IntoIterator<Item = Vec<Say>>,
        summaries: impl IntoIterator<Item = Vec<Say>>,
        usage: Count,
    ) -> Arc<Self> {
        Self::playing(info(), script, summaries, usage)
    }

    fn playing(
        info: ModelInfo,
        script: impl IntoIterator<Item = Vec<Say>>,
        summaries: impl IntoIterator<Item = Vec<Say>>,
        usage: Count,
    ) -> Arc<Self> {
        Arc::new(Self {
            info,
            script: Mutex::new(script.into_iter().collect()),
            summaries: Mutex::new(summaries.into_iter().collect()),
            usage,
            requests: Mutex::default(),
        })
    }

    /// What it was asked, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<ModelRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of the requests so far.
    pub fn forget(&self) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

type Answer = dyn Fn(&ModelRequest) -> Vec<Say> + Send + Sync;

/// A model that says what follows from the request alone, so that it answers the same after a crash. It is the only one there is.
#[derive(Clone)]
pub struct AnsweringModel {
    info: ModelInfo,
    answer: Arc<Answer>,
}

impl AnsweringModel {
    /// A model that answers so.
    #[must_use]
    pub fn new(answer: impl Fn(&ModelRequest) -> Vec<Say> + Send + Sync + 'static) -> Self {
        Self::of(info(), answer)
    }

    /// A model of which this is known.
    #[must_use]
    pub fn of(
        info: ModelInfo,
        answer: impl Fn(&ModelRequest) -> Vec<Say> + Send + Sync + 'static,
    ) -> Self {
        Self { info, answer: Arc::new(answer) }
    }
}

impl std::fmt::Debug for AnsweringModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AnsweringModel({})", self.info.selection)
    }
}

impl Model for AnsweringModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn call(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        stream::iter((self.answer)(&request)).filter_map(say).boxed()
    }
}

impl Models for AnsweringModel {
    fn resolve(&self, wanted: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        if *wanted == selection() {
            return Ok(Arc::new(self.clone()));
        }
        let message = format!("there is no model {wanted}");
        Err(ModelError { kind: ModelErrorKind::ModelNotFound, message, retry_after_ms: None })
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        vec![self.info.clone().into()]
    }
}

/// The only model there is.
#[derive(Debug)]
pub struct OneModel(pub Arc<ScriptedModel>);

impl Models for OneModel {
    fn resolve(&self, wanted: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        if *wanted == selection() {
            return Ok(Arc::clone(&self.0) as Arc<dyn Model>);
        }
        let message = format!("there is no model {wanted}");
        Err(ModelError { kind: ModelErrorKind::ModelNotFound, message, retry_after_ms: None })
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        vec![self.0.info().clone().into()]
    }
}

/// What is known about the scripted model.
#[must_use]
pub fn info() -> ModelInfo {
    let price = Price { input: 1_000_000, output: 2_000_000, cache_read: 0, cache_write: 0 };
    ModelInfo {
        selection: selection(),
        family: "scripted".to_owned(),
        context_window: Some(100_000),
        output_max: Some(4_000),
        price: Some(price),
        hosted: HostedCapabilities::default(),
        accepts: Accepts::default(),
        takes_output: false,
        drops_thought: false,
    }
}

/// The scripted model's name.
#[must_use]
pub fn selection() -> ModelSelection {
    ModelSelection { provider: "test".to_owned(), model: "scripted".to_owned() }
}

/// A request with this conversation and nothing else.
#[must_use]
pub fn asking(messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        system: String::new(),
        messages: Arc::new(messages),
        tools: Arc::default(),
        bodies: BTreeMap::new(),
        effort: None,
        sampling: Sampling::default(),
        output_max: None,
        capabilities: ResolvedSessionCapabilities::default(),
        output: None,
        cache_key: String::new(),
    }
}

impl Model for ScriptedModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn call(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let script = if request.is_summary() { &self.summaries } else { &self.script };
        let said = script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let mut said = said.unwrap_or_else(|| vec![Say::Reply(text("done"))]);
        if self.usage == Count::ByBytes {
            let input = bytes(&request) / 4;
            for say in &mut said {
                if let Say::Reply(reply) = say {
                    let output = serde_json::to_vec(&reply.blocks).map_or(0, |json| json.len());
                    reply.usage = Usage { input, output: output as u64 / 4, ..Usage::default() };
                }
            }
        }
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        play(said)
    }
}

/// Says these things, one after the other.
pub(crate) fn play(said: Vec<Say>) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
    stream::iter(said).filter_map(say).boxed()
}

fn bytes(request: &ModelRequest) -> u64 {
    let messages = serde_json::to_vec(&request.messages).map_or(0, |json| json.len());
    (request.system.len() + messages) as u64
}

#[expect(
    clippy::disallowed_methods,
    reason = "a scripted model lets time pass on tokio's clock, which tests pause"
)]
async fn say(say: Say) -> Option<Result<ModelEvent, ModelError>> {
    match say {
        Say::Delta(text) => Some(Ok(ModelEvent::Delta {
            item: DeltaItem::Text { block: 0 },
            text: text.to_owned(),
        })),
        Say::Wait(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            None
        }
        Say::Alive => Some(Ok(ModelEvent::Alive)),
        Say::Held(why) => Some(Ok(ModelEvent::Waits { why: why.to_owned() })),
        Say::Reply(reply) => Some(Ok(ModelEvent::Reply(reply))),
        Say::Fail(kind, retry_after_ms) => {
            Some(Err(ModelError { kind, message: format!("scripted {kind:?}"), retry_after_ms }))
        }
        Say::Silence => std::future::pending().await,
        Say::Panic => panic!("scripted panic"),
    }
}

fn reply(blocks: Vec<Content>, stop: ReplyStop) -> Reply {
    let blocks = blocks.into_iter().map(|content| Block { content, native: None }).collect();
    let usage = Usage { input: 10, output: 5, ..Usage::default() };
    Reply { model: "scripted".to_owned(), blocks, stop, usage, warnings: Vec::new() }
}

/// An answer of one text.
#[must_use]
pub fn text(text: &str) -> Reply {
    reply(vec![Content::Text { text: text.to_owned() }], ReplyStop::EndTurn)
}

/// An answer that asks for calls: (id, tool, arguments).
#[must_use]
pub fn calls(calls: &[(&str, &str, &str)]) -> Reply {
    let call = |(id, name, arguments): &(&str, &str, &str)| Content::ToolCall {
        id: CallId((*id).into()),
        name: (*name).to_owned(),
        arguments: (*arguments).to_owned(),
    };
    reply(calls.iter().map(call).collect(), ReplyStop::ToolUse)
}
