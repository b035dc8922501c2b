//! Putting the runtime together: the one place that knows every crate.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::alike::Alike;
use oarlock_core::ids::NodeId;
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::ports::bus::Bus;
use oarlock_core::ports::clock::{Clock, Ids, SystemClock, SystemIds};
use oarlock_core::ports::hook::{HookEngine, NoopHookEngine};
use oarlock_core::ports::journal::{Blobs, Catalog, Journal};
use oarlock_core::ports::model::{Model, ModelCandidate, ModelError, ModelErrorKind, Models};
use oarlock_core::ports::tool::{Place, SessionToolFactory, SessionTools, SessionToolsError, Tool};
use oarlock_core::registry::ModelSource;
use oarlock_core::session::trace::TraceSink;
use oarlock_core::spec::{ModelSelection, SessionSpec};
use oarlock_core::{
    DefaultAgentCore, LocalBus, Ports, ProviderRegistry, StaticToolRegistry, ToolRegistry,
};
use oarlock_models::{DemoModel, HttpTransport, Lanes, Registry, Scripts, Transport};
use oarlock_server::Figures;
use oarlock_store::SqliteStore;
use oarlock_tools::hooks::Hooks;
use oarlock_tools::skills::{SkillTool, Skills};
use oarlock_tools::{
    AgentProfile, ComposePrompt, LocalFiles, LocalShell, SpawnAgent, ToolsConfig, default_tools,
};

use crate::commands::open_files;
use crate::config::agents::Profiles;
use crate::config::skills::{Shelf, Shelved};
use crate::config::{self, Loaded, paths};
use crate::features::{DefaultFeatureSet, Feature};
use crate::grants::FileGrants;
use crate::prompting::subagent_prompt;
use crate::providers;
use crate::selection::SCRIPT;

/// How long a call waits for a subagent when nobody says otherwise: half an hour.
const AGENT_MS: u64 = 30 * 60 * 1000;

/// Where sessions are kept while a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// In the data directory.
    OnDisk,
    /// Nowhere: they are gone with the command.
    InMemory,
}

/// The runtime of one command.
#[derive(Debug)]
pub struct Assembled {
    /// The runtime.
    pub core: DefaultAgentCore,
    /// Its name towards the store.
    pub node: NodeId,
    shelf: Arc<Shelf>,
    key_files: Vec<PathBuf>,
    store: Option<SqliteStore>,
    /// The ways to the endpoints, for every runtime beside this one.
    lanes: Lanes,
}

impl Assembled {
    /// The skills of sessions in this canonical folder.
    ///
    /// # Errors
    /// When the thread that reads them ended.
    pub async fn skills(&self, cwd: &Path) -> anyhow::Result<Shelved> {
        let (shelf, cwd) = (Arc::clone(&self.shelf), cwd.to_owned());
        let looked = tokio::task::spawn_blocking(move || shelf.of(&cwd));
        looked.await.context("the skills could not be read")
    }

    /// The files of sessions there, as their tools see them, but for skills.
    #[must_use]
    pub fn files(&self, place: &Place) -> LocalFiles {
        LocalFiles::new(place).hiding(&self.key_files)
    }

    /// The store on disk, if sessions are kept there.
    pub(crate) fn store(&self) -> Option<&SqliteStore> {
        self.store.as_ref()
    }

    /// Ends the store in good order.
    pub async fn close(self) {
        drop(self.core);
        if let Some(store) = self.store {
            store.close().await;
        }
    }

    /// The same for one that others still hold: its sessions cannot be written any more.
    pub(crate) async fn close_store(&self) {
        if let Some(store) = &self.store {
            store.clone().close().await;
        }
    }
}

/// The folder of the sessions.
///
/// # Errors
/// When the configuration names none and there is no home.
pub fn data_dir(loaded: &Loaded) -> anyhow::Result<PathBuf> {
    Ok(match &loaded.config.storage.data_dir {
        Some(path) => paths::expand(&loaded.environment, path)?,
        None => paths::data_dir(&loaded.environment)?,
    })
}

/// Puts the runtime together that the command line has, for a program that wants the same with parts taken out or put in.
#[derive(Debug)]
pub struct CliAgentBuilder<'a> {
    loaded: &'a Loaded,
    features: DefaultFeatureSet,
    trace: Option<Arc<dyn TraceSink>>,
    hooks: Option<Arc<dyn HookEngine>>,
    tools: Vec<Arc<dyn Tool>>,
    beside: Option<&'a Assembled>,
    figures: Option<Arc<Figures>>,
    http: Option<Arc<dyn Transport>>,
}

impl<'a> CliAgentBuilder<'a> {
    /// Everything that this configuration asks for, and nothing else.
    #[must_use]
    pub fn new(loaded: &'a Loaded) -> Self {
        let features = DefaultFeatureSet::default();
        let tools = Vec::new();
        let (trace, hooks, beside, figures, http) = (None, None, None, None, None);
        Self { loaded, features, trace, hooks, tools, beside, figures, http }
    }

    /// These parts.
    #[must_use]
    pub fn features(self, features: DefaultFeatureSet) -> Self {
        Self { features, ..self }
    }

    /// All parts but that one.
    #[must_use]
    pub fn without(self, feature: Feature) -> Self {
        let features = self.features.clone().without(feature);
        Self { features, ..self }
    }

    /// Sessions are kept there.
    #[must_use]
    pub fn keep(self, keep: Keep) -> Self {
        match keep {
            Keep::OnDisk => self,
            Keep::InMemory => self.without(Feature::Storage),
        }
    }

    /// Takes a recording of every session.
    #[must_use]
    pub fn trace(self, trace: Option<Arc<dyn TraceSink>>) -> Self {
        Self { trace, ..self }
    }

    /// Reaches the endpoints of models this way instead of over the network.
    #[must_use]
    pub fn http(self, http: Option<Arc<dyn Transport>>) -> Self {
        Self { http, ..self }
    }

    /// Runs these hooks in the place of those of the configuration.
    #[must_use]
    pub fn hook_engine(self, hooks: Arc<dyn HookEngine>) -> Self {
        Self { hooks: Some(hooks), ..self }
    }

    /// Counts there what its journal takes.
    #[must_use]
    pub fn figures(self, figures: &Arc<Figures>) -> Self {
        Self { figures: Some(Arc::clone(figures)), ..self }
    }

    /// Tools of the program, after the built-in ones.
    #[must_use]
    pub fn tools(self, tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        Self { tools: tools.into_iter().collect(), ..self }
    }

    /// Works over the store of another runtime of this process, and reaches its sessions. It must not be used when that one was closed.
    #[must_use]
    pub fn beside(self, other: &'a Assembled) -> Self {
        Self { beside: Some(other), ..self }
    }

    /// The runtime.
    ///
    /// # Errors
    /// When the store cannot be opened or the configuration names something that cannot be used.
    pub fn build(self) -> anyhow::Result<Assembled> {
        let Self { loaded, features, trace, hooks: own_hooks, tools: own_tools, http, .. } = self;
        let (ids, clock) = (SystemIds, Arc::new(SystemClock::new()));
        let (node, stores) = match self.beside {
            Some(other) => (other.node.clone(), Stores::beside(other)),
            None => {
                let on_disk = features.has(Feature::Storage);
                let keep = if on_disk { Keep::OnDisk } else { Keep::InMemory };
                let node = ids.node();
                (node.clone(), Stores::open(loaded, keep, &node)?)
            }
        };
        let shelf = Arc::new(shelf(loaded)?);
        let time = || Arc::clone(&clock) as Arc<dyn Clock>;
        let http = http.map_or_else(|| transport(loaded), Ok)?;
        let lanes = self.beside.map(|other| other.lanes.clone()).unwrap_or_default();
        let models: Arc<dyn Models> = Arc::new(models(loaded, (time(), http), &lanes)?);
        let hooks = match own_hooks {
            Some(hooks) => hooks,
            None if features.has(Feature::Hooks) => hooks(loaded, Arc::clone(&models), time())?,
            None => Arc::new(NoopHookEngine),
        };
        let saves = features.has(Feature::Grants);
        let tools = LocalTools::new(loaded, Arc::clone(&shelf), (features, own_tools))?;
        // Without a home there is nowhere to save, and saving is not offered.
        let grants = data_dir(loaded).ok().filter(|_| saves);
        let journal = match self.figures {
            Some(figures) => figures.around(stores.journal),
            None => stores.journal,
        };
        let ports = Ports {
            hooks,
            journal,
            catalog: stores.catalog,
            blobs: stores.blobs,
            bus: stores.bus,
            models,
            tools: Arc::new(tools),
            grants: grants.map(|dir| Arc::new(FileGrants::within(&dir)) as _),
            clock,
            ids: Arc::new(ids),
            trace,
        };
        let background = loaded.config.tools.background;
        let config::typed::CallConfig { idle, time } = loaded.config.limits.model;
        let (model_idle_ms, model_total_ms) = (idle.0, time.0);
        let limits =
            RuntimeLimits { background, model_idle_ms, model_total_ms, ..RuntimeLimits::DEFAULT };
        Ok(Assembled {
            core: DefaultAgentCore::new(ports, limits, node.clone()),
            node,
            shelf,
            key_files: loaded.key_files.clone(),
            store: stores.sqlite,
            lanes,
        })
    }
}

/// The hooks of the configuration, for every session of this process.
///
/// # Errors
/// When the configuration cannot be used.
fn hooks(
    loaded: &Loaded,
    models: Arc<dyn Models>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Arc<dyn HookEngine>> {
    let hooks = config::hooks::hooks(&loaded.config).map_err(anyhow::Error::msg)?;
    let elsewhere =
        config::hooks::of_values(&loaded.hooks_elsewhere).map_err(anyhow::Error::msg)?;
    if hooks.is_empty() && elsewhere.is_empty() {
        return Ok(Arc::new(NoopHookEngine));
    }
    let hooks = Hooks::new(hooks, inherited(loaded)?, models, clock);
    Ok(Arc::new(hooks.within(loaded.project.root.clone(), elsewhere)))
}

/// What commands of tools and hooks inherit of the environment.
fn inherited(loaded: &Loaded) -> anyhow::Result<oarlock_tools::Environment> {
    // Whatever variable holds a provider's key is kept from commands, however it is named.
    let keys = providers::key_variables(&loaded.config);
    let environment = oarlock_tools::Environment::without_secrets(loaded.environment.all(), &keys)?;
    Ok(environment.opening(open_files::of_commands()))
}

/// The storage ports, all of one store, and the way to the sessions that are live over it.
struct Stores {
    /// What has to be closed, when it is on disk.
    sqlite: Option<SqliteStore>,
    journal: Arc<dyn Journal>,
    catalog: Arc<dyn Catalog>,
    blobs: Arc<dyn Blobs>,
    bus: Arc<dyn Bus>,
}

impl Stores {
    /// Those of a runtime that keeps and closes them.
    fn beside(other: &Assembled) -> Self {
        let ports = other.core.ports();
        Self {
            sqlite: None,
            journal: Arc::clone(&ports.journal),
            catalog: Arc::clone(&ports.catalog),
            blobs: Arc::clone(&ports.blobs),
            bus: Arc::clone(&ports.bus),
        }
    }

    fn open(loaded: &Loaded, keep: Keep, node: &NodeId) -> anyhow::Result<Self> {
        match keep {
            Keep::OnDisk => {
                let folder = data_dir(loaded)?;
                tracing::debug!(folder = %folder.display(), "opening the store");
                let store = SqliteStore::open(&folder, node.clone())
                    .with_context(|| format!("cannot open the sessions in {}", folder.display()))?;
                Ok(Self { sqlite: Some(store.clone()), ..Self::of(store) })
            }
            Keep::InMemory => Ok(Self::of(MemoryStore::new(node.clone()))),
        }
    }

    fn of(store: impl Journal + Catalog + Blobs + Clone + 'static) -> Self {
        Self {
            sqlite: None,
            journal: Arc::new(store.clone()),
            catalog: Arc::new(store.clone()),
            blobs: Arc::new(store),
            bus: Arc::new(LocalBus::default()),
        }
    }
}

/// The way over the network to the endpoints of models, as it is configured.
///
/// # Errors
/// When the path of the certificate file cannot be told.
pub fn transport(loaded: &Loaded) -> anyhow::Result<Arc<dyn Transport>> {
    Ok(Arc::new(HttpTransport::new(providers::http_settings(loaded)?)))
}

/// Every model that can be named here, as far as the configuration lets it be chosen.
///
/// # Errors
/// When a provider cannot be used as it is configured, or no model is left to choose.
pub fn models(
    loaded: &Loaded,
    (clock, http): (Arc<dyn Clock>, Arc<dyn Transport>),
    lanes: &Lanes,
) -> anyhow::Result<ProviderRegistry> {
    let registry =
        Registry::new(providers::configured(loaded)?, http, lanes).with(Arc::new(DemoModel::new()));
    let sources = vec![
        ModelSource::Many(Arc::new(ScriptPaths { clock, scripts: Scripts::default() })),
        ModelSource::Many(Arc::new(registry)),
    ];
    let allowed = loaded.config.allowed_models.clone();
    ProviderRegistry::new(sources, None, allowed).context("`allowed_models` and `providers`")
}

/// Scripts by their path.
#[derive(Debug)]
struct ScriptPaths {
    clock: Arc<dyn Clock>,
    scripts: Scripts,
}

impl Models for ScriptPaths {
    fn resolve(&self, selection: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        let failed = |kind, message| ModelError { kind, message, retry_after_ms: None };
        if selection.provider != SCRIPT {
            let words = format!("{selection} is no script; write {SCRIPT}/PATH");
            return Err(failed(ModelErrorKind::ModelNotFound, words));
        }
        let loaded = self.scripts.load(Path::new(&selection.model), Arc::clone(&self.clock));
        let script = loaded.map_err(|error| {
            failed(ModelErrorKind::InvalidRequest, format!("{:#}", anyhow::Error::from(error)))
        })?;
        Ok(Arc::new(script))
    }

    /// None: a script is any file.
    fn candidates(&self) -> Vec<ModelCandidate> {
        Vec::new()
    }
}

/// The skills of sessions that work with the built-in tools.
///
/// # Errors
/// When the configuration cannot be used.
pub fn shelf(loaded: &Loaded) -> anyhow::Result<Shelf> {
    Ok(Shelf::new(loaded, tool_names(&loaded.config.tools)?)?)
}

/// The names of the tools that sessions work with.
///
/// # Errors
/// When the configuration cannot be used.
pub fn tool_names(config: &ToolsConfig) -> anyhow::Result<Vec<String>> {
    let tools = default_tools(config)?;
    let names = tools.iter().map(|tool| tool.schema().name.clone());
    Ok(names.chain([SkillTool::NAME, SpawnAgent::NAME].map(str::to_owned)).collect())
}

/// This machine's tools, files and shell for every session.
#[derive(Debug)]
struct LocalTools {
    tools: Vec<Arc<dyn Tool>>,
    /// All tools but those for skills and subagents, for sessions without any.
    registry: Arc<dyn ToolRegistry>,
    environment: oarlock_tools::Environment,
    shelf: Arc<Shelf>,
    loaded: Arc<Loaded>,
    features: DefaultFeatureSet,
    files: Alike<LocalFiles>,
    shells: Alike<LocalShell>,
}

impl LocalTools {
    fn new(
        loaded: &Loaded,
        shelf: Arc<Shelf>,
        (features, own): (DefaultFeatureSet, Vec<Arc<dyn Tool>>),
    ) -> anyhow::Result<Self> {
        let environment = inherited(loaded)?;
        let mut tools = match features.has(Feature::ProcessTools) {
            true => {
                let hidden_files = loaded.key_files.clone();
                default_tools(&ToolsConfig { hidden_files, ..loaded.config.tools.clone() })?
            }
            false => Vec::new(),
        };
        tools.extend(own);
        let registry = Arc::new(StaticToolRegistry::new(tools.clone()));
        Ok(Self {
            tools,
            registry,
            environment,
            shelf,
            loaded: Arc::new(loaded.clone()),
            features,
            files: Alike::default(),
            shells: Alike::default(),
        })
    }

    /// Whether sessions have this, which works with the built-in tools.
    fn has(&self, feature: Feature) -> bool {
        self.features.has(Feature::ProcessTools) && self.features.has(feature)
    }

    fn registry(
        &self,
        skills: &Arc<Skills>,
        mut profiles: Vec<AgentProfile>,
    ) -> Arc<dyn ToolRegistry> {
        if !self.has(Feature::Subagents) {
            profiles.clear();
        }
        let no_skills = skills.is_empty() || !self.has(Feature::Skills);
        if no_skills && profiles.is_empty() {
            return Arc::clone(&self.registry);
        }
        let mut tools = self.tools.clone();
        if !no_skills {
            tools.push(Arc::new(SkillTool::new(Arc::clone(skills))));
        }
        if !profiles.is_empty() {
            let loaded = Arc::clone(&self.loaded);
            let compose: ComposePrompt = Arc::new(move |profile, place| {
                subagent_prompt(Arc::clone(&loaded), profile.clone(), place.cwd.clone()).boxed()
            });
            let timeout = self.loaded.config.turn.subagent_timeout.map_or(AGENT_MS, |ms| ms.0);
            // First of all, since nothing of it changes while a session lives, and it is what the others are given away by.
            tools.insert(0, Arc::new(SpawnAgent::new(profiles, compose, timeout)));
        }
        Arc::new(StaticToolRegistry::new(tools))
    }
}

impl SessionToolFactory for LocalTools {
    fn build<'a>(
        &'a self,
        spec: &'a SessionSpec,
    ) -> BoxFuture<'a, Result<SessionTools, SessionToolsError>> {
        async {
            let place = &Place::of(spec);
            let (folders, shelf) = (place.clone(), Arc::clone(&self.shelf));
            let loaded = Arc::clone(&self.loaded);
            // A folder may be on a disk that does not answer.
            let looked = tokio::task::spawn_blocking(move || {
                check_folders(&folders)?;
                let profiles = Profiles::of(&loaded, &folders.cwd).usable.into_values();
                let profiles = profiles.map(|profile| profile.profile).collect();
                Ok((shelf.of(&folders.cwd).skills, profiles))
            });
            let looked = looked.await.unwrap_or_else(|error| Err(error.to_string()));
            let (skills, profiles) = looked.map_err(place_error)?;
            let readable = skills.iter().map(|skill| skill.folder.clone());
            let files = LocalFiles::new(place).reading(readable);
            let shell = LocalShell::new(place, self.environment.clone());
            // They know nothing of a session but its folders.
            let files = Arc::new(files.hiding(&self.loaded.key_files));
            Ok(SessionTools {
                tools: self.registry(&skills, profiles),
                files: self.files.one_of(files),
                shell: self.shells.one_of(Arc::new(shell)),
            })
        }
        .boxed()
    }
}

fn place_error(why: String) -> SessionToolsError {
    SessionToolsError::Place { why }
}

fn check_folders(place: &Place) -> Result<(), String> {
    for folder in std::iter::once(&place.cwd).chain(&place.roots) {
        match std::fs::metadata(folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(format!("{} is not a folder", folder.display())),
            Err(error) => return Err(format!("{}: {error}", folder.display())),
        }
    }
    Ok(())
}
