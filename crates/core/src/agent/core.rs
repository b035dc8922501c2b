//! The core as a program sees it: sessions are made, loaded and found.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::agent::error::AgentError;
use crate::agent::origin::{ForkSession, LoadSession, NewSession, Origin};
use crate::agent::session::Session;
use crate::ids::SessionId;
use crate::runtime::DefaultAgentCore;
use crate::spec::Settings;

/// Makes and loads sessions. Everything goes through [`DefaultAgentCore::open`], whose doors these are.
pub trait AgentCore: Send + Sync + fmt::Debug {
    /// What a session of this core is told to be when nobody says otherwise.
    ///
    /// # Errors
    /// [`crate::SessionInitError::NoModel`] when the core has no default model.
    fn default_settings(&self) -> Result<Settings, AgentError>;

    /// Makes a session. Of two that ask for the same id at the same time one gets it.
    ///
    /// # Errors
    /// [`AgentError`]; no session is made then, unless an observer refused it.
    fn create_session(
        &self,
        new: NewSession,
    ) -> BoxFuture<'_, Result<Arc<dyn Session>, AgentError>>;

    /// Takes a session from the store, or from this process when it is live here: there are never two of one id.
    ///
    /// # Errors
    /// [`AgentError`]; it is checked as a new one is, but for the model it has, which the next turn looks up.
    fn load_session(
        &self,
        load: LoadSession,
    ) -> BoxFuture<'_, Result<Arc<dyn Session>, AgentError>>;

    /// Makes a session that goes on with a copy of another one, which is neither woken nor written. Of two that ask for the same id at the same time
    /// one gets it.
    ///
    /// # Errors
    /// [`AgentError::SessionNotFound`] without its source, [`AgentError::Invalid`] for a place that the source does not have or a subagent; else as
    /// for [`AgentCore::load_session`]. No session is made then, unless an observer refused it, or the store failed while it was copied: opening
    /// what is there of it gives [`AgentError::ForkCut`].
    fn fork_session(
        &self,
        fork: ForkSession,
    ) -> BoxFuture<'_, Result<Arc<dyn Session>, AgentError>>;

    /// The session of this id if it is awake in this process. One that sleeps is loaded.
    fn session(&self, id: &SessionId) -> Option<Arc<dyn Session>>;
}

impl AgentCore for DefaultAgentCore {
    fn default_settings(&self) -> Result<Settings, AgentError> {
        Self::default_settings(self)
    }

    fn create_session(
        &self,
        new: NewSession,
    ) -> BoxFuture<'_, Result<Arc<dyn Session>, AgentError>> {
        self.door(Origin::New(Box::new(new)))
    }

    fn load_session(
        &self,
        load: LoadSession,
    ) -> BoxFuture<'_, Result<Arc<dyn Session>, AgentError>> {
        self.door(Origin::Resume(load))
    }

    fn fork_session(
        &self,
        fork: ForkSession,
    ) -> BoxFuture<'_, Result<Arc<dyn Session>, AgentError>> {
        self.door(Origin::Fork(Box::new(fork)))
    }

    fn session(&self, id: &SessionId) -> Option<Arc<dyn Session>> {
        self.is_awake(id).then(|| Arc::new(self.handle(id.clone())) as Arc<dyn Session>)
    }
}

impl DefaultAgentCore {
    fn door(&self, origin: Origin) -> BoxFuture<'_, Result<Arc<dyn Session>, AgentError>> {
        async { Ok(Arc::new(self.open(origin).await?) as Arc<dyn Session>) }.boxed()
    }
}
