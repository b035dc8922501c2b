//! What a program that opens a session brings to it.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::ports::tool::{Tool, ToolContext, ToolError, ToolOutput};
use oarlock_core::service::Checkpoint;
use oarlock_core::spec::ExternalTool;
use oarlock_core::{AgentToolDispatcher, SessionCheckpointer, ToolCall};

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

/// What a checkpointer does when it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Takes so many milliseconds.
    After(u64),
    /// Fails.
    Fail,
    /// Panics.
    Panic,
    /// Never ends.
    Never,
}

/// Remembers what it was told, once the call ended.
#[derive(Debug)]
pub struct TestCheckpointer {
    acts: Mutex<Vec<Keep>>,
    begun: Mutex<u32>,
    kept: Mutex<Vec<Checkpoint>>,
}

impl TestCheckpointer {
    /// One that does these things, one after the other, and takes no time behind them.
    #[must_use]
    pub fn new(mut acts: Vec<Keep>) -> Arc<Self> {
        acts.reverse();
        Arc::new(Self { acts: Mutex::new(acts), begun: Mutex::default(), kept: Mutex::default() })
    }

    /// How often it was told.
    #[must_use]
    pub fn begun(&self) -> u32 {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has kept, in order.
    #[must_use]
    pub fn kept(&self) -> Vec<Checkpoint> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SessionCheckpointer for TestCheckpointer {
    fn checkpoint(
        &self,
        at: Checkpoint,
    ) -> BoxFuture<'_, Result<(), Box<dyn Error + Send + Sync>>> {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let act = self.acts.lock().unwrap_or_else(PoisonError::into_inner).pop();
        async move {
            match act.unwrap_or(Keep::After(0)) {
                Keep::After(ms) => {
                    let nothing = std::future::pending::<()>();
                    drop(tokio::time::timeout(Duration::from_millis(ms), nothing).await);
                }
                Keep::Fail => return Err("as the test wants it".into()),
                Keep::Panic => panic!("scripted panic"),
                Keep::Never => std::future::pending().await,
            }
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(at);
            Ok(())
        }
        .boxed()
    }
}
