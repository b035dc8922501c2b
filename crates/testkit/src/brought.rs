//! What a program that opens a session brings to it.

use std::sync::Arc;

use futures::future::BoxFuture;
use oarlock_core::ports::tool::{Tool, ToolContext, ToolError, ToolOutput};
use oarlock_core::spec::ExternalTool;
use oarlock_core::{AgentToolDispatcher, ToolCall};

use crate::tool::TestTool;

/// Runs the calls of these tools.
#[derive(Debug)]
pub struct TestDispatcher(pub Vec<Arc<TestTool>>);

impl AgentToolDispatcher for TestDispatcher {
    fn tools(&self) -> Vec<ExternalTool> {
        let data = |tool: &Arc<TestTool>| ExternalTool {
            name: tool.schema().name.clone(),
            description: tool.schema().description.clone(),
            input_schema: tool.schema().input.clone(),
            effect: Some(tool.effect()),
            deadline_ms: Some(60_000),
        };
        self.0.iter().map(data).collect()
    }

    fn dispatch(
        self: Arc<Self>,
        call: ToolCall,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        let found = self.0.iter().find(|tool| tool.schema().name == call.name);
        let tool = Arc::clone(found.expect("only its own tools are dispatched"));
        tool.execute(call.arguments, cx)
    }
}
