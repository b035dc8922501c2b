//! Puts a core together for a program that embeds it: whatever is not given has a default, and what does not fit together is an error.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use crate::agent::background::BackgroundProgressConfig;
use crate::agent::nowhere::Nowhere;
use crate::agent::observer::SessionObserver;
use crate::agent::registry::{
    CompositeRegistry, StaticToolRegistry, ToolRegistry, UnmatchedPattern,
    filter_registry_by_allowlist,
};
use crate::limits::RuntimeLimits;
use crate::memory::MemoryStore;
use crate::ports::clock::{Ids, SystemClock, SystemIds};
use crate::ports::hook::{HookEngine, NoopHookEngine};
use crate::ports::journal::{Blobs, Catalog, Journal};
use crate::ports::model::{Model, ModelCandidate, ModelError, ModelErrorKind, Models};
use crate::ports::policy::Grants;
use crate::ports::tool::{SessionToolFactory, SessionTools, SessionToolsError};
use crate::runtime::{DefaultAgentCore, Embedding, Ports};
use crate::session::feed::LocalBus;
use crate::spec::{Answers, Mode, ModelSelection, SessionSpec, Settings};

/// Collects what a [`DefaultAgentCore`] is made of. Models are the one thing that it must be given.
#[derive(Debug, Default)]
pub struct DefaultAgentCoreBuilder {
    models: Option<Arc<dyn Models>>,
    default_model: Option<ModelSelection>,
    settings: Option<Settings>,
    store: Option<Stored>,
    process_tools: Option<Arc<dyn ToolRegistry>>,
    session_tools: Option<Arc<dyn SessionToolFactory>>,
    tool_allow: Option<Vec<String>>,
    observers: Vec<Arc<dyn SessionObserver>>,
    grants: Option<Arc<dyn Grants>>,
    hooks: Option<Arc<dyn HookEngine>>,
    limits: Option<RuntimeLimits>,
    background: Option<BackgroundProgressConfig>,
}

/// A store by its three sides.
#[derive(Debug)]
struct Stored {
    journal: Arc<dyn Journal>,
    catalog: Arc<dyn Catalog>,
    blobs: Arc<dyn Blobs>,
}

/// Why no core came out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No model was given.
    #[error("a core needs a model: give it one, or a registry of them")]
    NoModels,
    /// The default model cannot be had.
    #[error("the default model cannot be used")]
    DefaultModel(#[source] ModelError),
    /// The allow-list names a tool that the process does not have.
    #[error(transparent)]
    ToolAllow(#[from] UnmatchedPattern),
}

impl DefaultAgentCoreBuilder {
    /// One model, which is the default, too. In the place of a registry.
    #[must_use]
    pub fn model(self, model: Arc<dyn Model>) -> Self {
        let selection = model.info().selection.clone();
        Self { models: Some(Arc::new(SingleModel(model))), ..self }.default_model(selection)
    }

    /// Models of any number of providers. In the place of one model.
    #[must_use]
    pub fn registry(self, models: Arc<dyn Models>) -> Self {
        Self { models: Some(models), ..self }
    }

    /// The model of sessions that name none.
    #[must_use]
    pub fn default_model(self, selection: ModelSelection) -> Self {
        Self { default_model: Some(selection), ..self }
    }

    /// What sessions are that say nothing else. Without it: the default model, mode `ask-writes`, somebody who answers questions, no limits.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings: Some(settings), ..self }
    }

    /// Where sessions are kept. Without it: in memory, and gone with the core.
    #[must_use]
    pub fn store(self, store: impl Journal + Catalog + Blobs + Clone + 'static) -> Self {
        let (journal, catalog) = (Arc::new(store.clone()), Arc::new(store.clone()));
        Self { store: Some(Stored { journal, catalog, blobs: Arc::new(store) }), ..self }
    }

    /// Tools of all sessions. Without it: none.
    #[must_use]
    pub fn process_tools(self, tools: Arc<dyn ToolRegistry>) -> Self {
        Self { process_tools: Some(tools), ..self }
    }

    /// Tools, files and commands of each session; its tools come before those of the process. Without it: no more tools, no files, no commands.
    #[must_use]
    pub fn session_tool_factory(self, factory: Arc<dyn SessionToolFactory>) -> Self {
        Self { session_tools: Some(factory), ..self }
    }

    /// Of the process's tools only those that match, as [`crate::match_tool_allowlist`] says.
    #[must_use]
    pub fn tool_allow(self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { tool_allow: Some(patterns.into_iter().map(Into::into).collect()), ..self }
    }

    /// Hears of each session. Several are told in the order in which they were given.
    #[must_use]
    pub fn observe_session(mut self, observer: Arc<dyn SessionObserver>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Keeps grants for later sessions of a folder. Without it: they end with their session.
    #[must_use]
    pub fn grants(self, grants: Arc<dyn Grants>) -> Self {
        Self { grants: Some(grants), ..self }
    }

    /// Runs hooks. Without it: there are none.
    #[must_use]
    pub fn hook_engine(self, hooks: Arc<dyn HookEngine>) -> Self {
        Self { hooks: Some(hooks), ..self }
    }

    /// Bounds of the process. Without it: [`RuntimeLimits::DEFAULT`].
    #[must_use]
    pub fn limits(self, limits: RuntimeLimits) -> Self {
        Self { limits: Some(limits), ..self }
    }

    /// What of background tasks is kept to be looked at. Without it: what the limits say.
    #[must_use]
    pub fn background_progress(self, config: BackgroundProgressConfig) -> Self {
        Self { background: Some(config), ..self }
    }

    /// The core.
    ///
    /// # Errors
    /// [`BuildError`] when something is missing or does not fit together.
    pub fn build(self) -> Result<DefaultAgentCore, BuildError> {
        let models = self.models.ok_or(BuildError::NoModels)?;
        let settings = self.settings.or_else(|| {
            self.default_model
                .map(|model| Settings::new(model, Mode::ASK_WRITES, Answers::Somebody))
        });
        if let Some(settings) = &settings {
            models.resolve(&settings.model).map_err(BuildError::DefaultModel)?;
        }
        let mut process: Arc<dyn ToolRegistry> =
            self.process_tools.unwrap_or_else(|| Arc::new(StaticToolRegistry::new([])));
        if let Some(patterns) = &self.tool_allow {
            process = Arc::new(filter_registry_by_allowlist(process.as_ref(), patterns)?);
        }
        let node = SystemIds.node();
        let store = self.store.unwrap_or_else(|| {
            let memory = MemoryStore::new(node.clone());
            let (journal, catalog) = (Arc::new(memory.clone()), Arc::new(memory.clone()));
            Stored { journal, catalog, blobs: Arc::new(memory) }
        });
        let ports = Ports {
            journal: store.journal,
            catalog: store.catalog,
            blobs: store.blobs,
            bus: Arc::new(LocalBus::default()),
            models,
            tools: Arc::new(BothTools { process, session: self.session_tools }),
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(SystemIds),
            grants: self.grants,
            hooks: self.hooks.unwrap_or_else(|| Arc::new(NoopHookEngine)),
            trace: None,
        };
        let mut limits = self.limits.unwrap_or(RuntimeLimits::DEFAULT);
        limits.background = self.background.unwrap_or(limits.background);
        let embedding = Embedding { observers: self.observers, settings };
        Ok(DefaultAgentCore::embedded(ports, limits, node, embedding))
    }
}

/// One model, by its own name.
#[derive(Debug)]
struct SingleModel(Arc<dyn Model>);

impl Models for SingleModel {
    fn resolve(&self, selection: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        let known = &self.0.info().selection;
        if selection == known {
            return Ok(Arc::clone(&self.0));
        }
        let message = format!("there is no model {selection}; there is {known}");
        Err(ModelError { kind: ModelErrorKind::ModelNotFound, message, retry_after_ms: None })
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        vec![self.0.info().clone().into()]
    }
}

/// The tools of the process below those of a session.
#[derive(Debug)]
struct BothTools {
    process: Arc<dyn ToolRegistry>,
    session: Option<Arc<dyn SessionToolFactory>>,
}

impl SessionToolFactory for BothTools {
    fn build<'a>(
        &'a self,
        spec: &'a SessionSpec,
    ) -> BoxFuture<'a, Result<SessionTools, SessionToolsError>> {
        let process = Arc::clone(&self.process);
        let Some(session) = &self.session else {
            let (files, shell) = (Arc::new(Nowhere), Arc::new(Nowhere));
            return ready(Ok(SessionTools { tools: process, files, shell })).boxed();
        };
        async move {
            let built = session.build(spec).await?;
            // Sessions that share all their tools share what is worked out of them, too.
            let tools = match (built.tools.schemas().is_empty(), process.schemas().is_empty()) {
                (true, _) => process,
                (false, true) => built.tools,
                (false, false) => Arc::new(CompositeRegistry::new(built.tools, process)),
            };
            Ok(SessionTools { tools, ..built })
        }
        .boxed()
    }
}
