//! What a program that embeds the service brings to a session beside its request: code, which no wire carries.

use std::sync::Arc;

use crate::agent::dispatcher::AgentToolDispatcher;
use crate::agent::origin::Backends;
use crate::ports::model::Model;
use crate::service::checkpointer::SessionCheckpointer;

/// Parts of a session that are code. They last as long as the service that they were given to, through the session's sleep; after a restart the program
/// brings them again.
#[derive(Debug, Clone, Default)]
pub struct SessionParts {
    /// Runs further tools of the session in this process. Published as `external_tools`.
    pub tools: Option<Arc<dyn AgentToolDispatcher>>,
    /// The session's model, by the name that it says: without `model` in the request the session has that one. Published as `llm_client_override`.
    pub model: Option<Arc<dyn Model>>,
    /// Is told how the session stands after each turn.
    pub checkpointer: Option<Arc<dyn SessionCheckpointer>>,
}

impl SessionParts {
    /// Whether nothing is brought.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { tools, model, checkpointer } = self;
        tools.is_none() && model.is_none() && checkpointer.is_none()
    }

    /// What of it the session works with.
    #[must_use]
    pub fn backends(&self) -> Backends {
        let (dispatcher, model) = (self.tools.clone(), self.model.clone());
        Backends { dispatcher, model, ..Backends::default() }
    }
}
