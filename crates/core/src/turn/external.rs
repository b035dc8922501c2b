//! External tools as the runtime sees them: they are judged here and run by the client.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::Value;

use crate::agent::registry::{CompositeRegistry, StaticToolRegistry, ToolRegistry};
use crate::ports::tool::{
    Assessment, Place, Runs, Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use crate::spec::{ExternalTool, OutputSchema};

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
    let external = tools.iter().map(|tool| Arc::new(External::new(tool)) as Arc<dyn Tool>);
    Arc::new(CompositeRegistry::new(own, Arc::new(StaticToolRegistry::new(external))))
}

#[derive(Debug)]
struct External {
    schema: ToolSchema,
    form: OutputSchema,
    assessment: Assessment,
}

impl External {
    fn new(tool: &ExternalTool) -> Self {
        let assessment = Assessment {
            effect: tool.effect(),
            title: tool.name.clone(),
            // Nobody here knows what the arguments name, so no pattern allows a call; the bare name does.
            subject: Subject { parts: Vec::new(), complete: false },
            timeout_ms: 0,
        };
        Self { schema: schema(tool), form: tool.form(), assessment }
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
        _: Value,
        _: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        let refusal = "only the client of the session can run this tool";
        Box::pin(std::future::ready(Err(ToolError::failed(refusal))))
    }
}
