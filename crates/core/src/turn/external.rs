//! External tools as the runtime sees them: they are judged here, and run by the client or by the dispatcher of whoever opened the session.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::Value;

use crate::agent::dispatcher::{AgentToolDispatcher, ToolCall};
use crate::agent::registry::{CompositeRegistry, StaticToolRegistry, ToolRegistry};
use crate::ports::tool::{
    Assessment, Place, Runs, Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use crate::spec::{ExternalTool, OutputSchema, check_external};

/// How long a call of a dispatcher's tool may take that does not say so itself.
const DISPATCH_MS: u64 = 10 * 60 * 1000;

/// What a model is told of an external tool.
pub(crate) fn schema(tool: &ExternalTool) -> ToolSchema {
    ToolSchema {
        name: tool.name.clone(),
        description: tool.description.clone(),
        input: tool.input_schema.clone(),
        runs: Runs::Client,
    }
}

/// What a model is told of these tools: the session's own, then the external ones that do not have a name of those.
pub(crate) fn schemas(own: &[ToolSchema], external: &[ExternalTool]) -> Vec<ToolSchema> {
    let added = external.iter().filter(|tool| own.iter().all(|known| known.name != tool.name));
    own.iter().cloned().chain(added.map(schema)).collect()
}

/// The session's own tools with external ones below them.
pub(crate) fn offer(own: Arc<dyn ToolRegistry>, tools: &[ExternalTool]) -> Arc<dyn ToolRegistry> {
    if tools.is_empty() {
        return own;
    }
    let client = |tool| Arc::new(External::new(tool, Runner::Client)) as Arc<dyn Tool>;
    let external = StaticToolRegistry::new(tools.iter().map(client));
    Arc::new(CompositeRegistry::new(own, Arc::new(external)))
}

/// The session's own tools with those of a dispatcher below them.
///
/// # Errors
/// Words that name the tool that cannot be had.
pub(crate) fn join(
    own: Arc<dyn ToolRegistry>,
    dispatcher: &Arc<dyn AgentToolDispatcher>,
) -> Result<Arc<dyn ToolRegistry>, String> {
    let tools = dispatcher.tools();
    check_external(&tools, &own.schemas().iter().map(|schema| schema.name.as_str()).collect())?;
    let brought = |tool| {
        let runner = Runner::Dispatcher(Arc::clone(dispatcher));
        Arc::new(External::new(tool, runner)) as Arc<dyn Tool>
    };
    let brought = StaticToolRegistry::new(tools.iter().map(brought));
    Ok(Arc::new(CompositeRegistry::new(own, Arc::new(brought))))
}

/// Who runs an external tool.
#[derive(Debug)]
enum Runner {
    Client,
    Dispatcher(Arc<dyn AgentToolDispatcher>),
}

#[derive(Debug)]
struct External {
    schema: ToolSchema,
    form: OutputSchema,
    assessment: Assessment,
    runner: Runner,
}

impl External {
    fn new(tool: &ExternalTool, runner: Runner) -> Self {
        let (runs, timeout_ms) = match runner {
            // The wait for a client has a limit of its own.
            Runner::Client => (Runs::Client, 0),
            Runner::Dispatcher(_) => (Runs::Here, tool.deadline_ms.unwrap_or(DISPATCH_MS)),
        };
        let assessment = Assessment {
            effect: tool.effect(),
            title: tool.name.clone(),
            // Nobody here knows what the arguments name, so no pattern allows a call; the bare name does.
            subject: Subject { parts: Vec::new(), complete: false },
            timeout_ms,
        };
        let schema = ToolSchema { runs, ..schema(tool) };
        Self { schema, form: tool.form(), assessment, runner }
    }
}

impl Tool for External {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _: &Place) -> Result<Assessment, String> {
        self.form.hold(arguments).map_err(|why| {
            format!("the arguments do not fit the schema of `{}`:\n{why}", self.schema.name)
        })?;
        Ok(self.assessment.clone())
    }

    fn describe<'a>(&'a self, arguments: &'a Value, _: &'a ToolContext) -> BoxFuture<'a, String> {
        Box::pin(std::future::ready(format!("{} {arguments}", self.schema.name)))
    }

    fn execute(
        self: Arc<Self>,
        arguments: Value,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        match &self.runner {
            Runner::Client => {
                let refusal = "only the client of the session can run this tool";
                Box::pin(std::future::ready(Err(ToolError::failed(refusal))))
            }
            Runner::Dispatcher(dispatcher) => {
                let call = ToolCall { name: self.schema.name.clone(), arguments };
                Arc::clone(dispatcher).dispatch(call, cx)
            }
        }
    }
}
