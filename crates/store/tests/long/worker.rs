//! A model that calls a tool once in each turn and keeps nothing, and that tool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use oarlock_core::agent::registry::StaticToolRegistry;
use oarlock_core::event::Effect;
use oarlock_core::message::{Message, Usage};
use oarlock_core::ports::model::{
    Model, ModelCandidate, ModelError, ModelEvent, ModelInfo, ModelRequest, Models, Reply,
};
use oarlock_core::ports::tool::{
    Assessment, Place, SessionToolFactory, SessionTools, SessionToolsError, Tool, ToolContext,
    ToolError, ToolOutput, ToolSchema,
};
use oarlock_core::spec::{ModelSelection, SessionSpec};
use oarlock_testkit::model::{ScriptedModel, calls, text};
use oarlock_testkit::tool::{Act, SameTools, TestTool};
use serde_json::Value;

/// The only model, under any name.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    calls: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Working {
    info: ModelInfo,
    calls: Arc<AtomicU64>,
}

impl Models for Worker {
    fn resolve(&self, wanted: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        let info = ModelInfo { selection: wanted.clone(), ..ScriptedModel::new([]).info().clone() };
        Ok(Arc::new(Working { info, calls: Arc::clone(&self.calls) }))
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        Vec::new()
    }
}

impl Model for Working {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn call(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let said = match request.messages.last() {
            _ if request.is_summary() => text("Much was done. Go on with the next turn."),
            Some(Message::User { .. }) => {
                let number = self.calls.fetch_add(1, Ordering::Relaxed);
                calls(&[(&format!("toolu_{number:024}"), "look", r#"{"what": "there"}"#)])
            }
            Some(Message::Tool { .. } | Message::Assistant { .. }) | None => text("That is all."),
        };
        let bytes = serde_json::to_vec(&request.messages).map_or(0, |json| json.len());
        let usage = Usage { input: bytes as u64 / 4, output: 20, ..Usage::default() };
        let reply = ModelEvent::Reply(Reply { usage, ..said });
        futures::stream::once(async { Ok(reply) }).boxed()
    }
}

/// Gives each session the tool.
#[derive(Debug)]
pub(crate) struct OneTool;

impl SessionToolFactory for OneTool {
    fn build<'a>(
        &'a self,
        spec: &'a SessionSpec,
    ) -> BoxFuture<'a, Result<SessionTools, SessionToolsError>> {
        async move {
            let look = Look(TestTool::new("look", Effect::Pure, Act::Mute));
            let tools = Arc::new(StaticToolRegistry::new([Arc::new(look) as Arc<dyn Tool>]));
            Ok(SessionTools { tools, ..SameTools(Vec::new()).build(spec).await? })
        }
        .boxed()
    }
}

/// A test tool that does not remember its calls.
#[derive(Debug)]
struct Look(Arc<TestTool>);

impl Tool for Look {
    fn schema(&self) -> &ToolSchema {
        self.0.schema()
    }

    fn assess(&self, arguments: &Value, place: &Place) -> Result<Assessment, String> {
        self.0.assess(arguments, place)
    }

    fn describe<'a>(&'a self, arguments: &'a Value, cx: &'a ToolContext) -> BoxFuture<'a, String> {
        self.0.describe(arguments, cx)
    }

    fn execute(
        self: Arc<Self>,
        _: Value,
        _: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        async { Ok(ToolOutput::text("a line of what is there\n".repeat(40))) }.boxed()
    }
}
