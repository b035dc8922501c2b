//! Tools that a program brings to a session as one: it says which there are, and runs their calls.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::Value;

use crate::ports::tool::{ToolContext, ToolError, ToolOutput};
use crate::spec::ExternalTool;

/// Tools of whoever opens a session, run in its process. They are offered beside the session's own, and their calls are as all calls are: in the
/// journal before they run, judged by the mode and the rules, within [`ExternalTool::deadline_ms`], and settled once.
///
/// It is no part of the session: a program that is started again brings it again. Until then its tools are not offered, and the model is told of a call
/// of one that there is no such tool.
pub trait AgentToolDispatcher: Send + Sync + fmt::Debug {
    /// What it runs; no name that the session has otherwise. Asked whenever a session is opened with it, and to be the same each time.
    fn tools(&self) -> Vec<ExternalTool>;

    /// Runs a call whose arguments keep to the tool's schema. It should end soon after `cx.cancel` is given; if it does not within the grace period it is
    /// dropped, and the call counts as indeterminate. A panic is this call's failure and no other's.
    fn dispatch(
        self: Arc<Self>,
        call: ToolCall,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>>;
}

/// A call for a dispatcher. Its id is that of the context.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// The tool.
    pub name: String,
    /// A JSON object that keeps to the tool's schema.
    pub arguments: Value,
}
