//! Sessions for an editor: a runtime for each folder that it works in, all over one store.

mod folder;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::ids::SessionId;
use oarlock_core::ports::tool::Tool;
use oarlock_core::{DefaultAgentCore, DefaultSession};
use oarlock_models::KeyError;
use oarlock_server::service::peer_tools;
use oarlock_server::{Audience, Figures, Host, HostError, Login, Workspace};
use secrecy::ExposeSecret;

use crate::args::ModelArgs;
use crate::assembly::{Assembled, CliAgentBuilder};
use crate::commands::explained;
use crate::config::{self, Inputs, Loaded, paths, secret, trust};
use crate::credentials::{self, Verdict};
use crate::providers::ListError;
use crate::selection::{self, SelectionError};
use crate::terminal::safe;
use folder::Folder;

/// Projects whose runtimes are kept; of more, those that nobody uses go.
const FOLDERS_MAX: usize = 64;

/// How long a provider may take to say whether it takes a key, with it and once more without.
const CHECK_WITHIN: Duration = Duration::from_secs(10);
/// Characters of its words that are shown.
const WORDS_MAX: usize = 300;

/// Runtimes by their project, and by the state of its configuration and of the keys.
type Known = HashMap<(PathBuf, String), Arc<Folder>>;

/// The folders that an editor works in.
#[derive(Debug)]
pub struct Folders {
    /// The folder that the program was started in; its runtime holds the store.
    home: Arc<Assembled>,
    loaded: Loaded,
    flags: Arc<ModelArgs>,
    known: Mutex<Known>,
    audience: Audience,
    figures: Arc<Figures>,
    /// What sessions of every folder have besides the tools of this machine.
    tools: Vec<Arc<dyn Tool>>,
}

impl Folders {
    /// Opens the store. The folder of `loaded` is where it begins; each session has its own.
    ///
    /// # Errors
    /// When the store cannot be opened or the configuration cannot be used.
    pub fn new(loaded: Loaded, flags: ModelArgs) -> anyhow::Result<Arc<Self>> {
        Self::within(loaded, flags, None)
    }

    /// The same, whose models write to sessions in these folders alone.
    ///
    /// # Errors
    /// As [`Folders::new`].
    pub fn within(
        loaded: Loaded,
        flags: ModelArgs,
        roots: Option<&Arc<[PathBuf]>>,
    ) -> anyhow::Result<Arc<Self>> {
        let figures = Arc::default();
        let home = Arc::new(CliAgentBuilder::new(&loaded).figures(&figures).build()?);
        Ok(Arc::new_cyclic(|folders: &Weak<Self>| Self {
            tools: peer_tools(&(Weak::clone(folders) as Weak<dyn Host>), roots),
            home,
            figures,
            loaded,
            flags: Arc::new(flags),
            known: Mutex::default(),
            audience: Audience::default(),
        }))
    }

    /// What the journal of all folders counted.
    #[must_use]
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Ends the store in good order.
    pub async fn close(&self) {
        self.known().clear();
        self.home.close_store().await;
    }

    /// What the configuration of a folder is read from.
    fn inputs(&self, cwd: &Path) -> Inputs {
        Inputs {
            environment: self.loaded.environment.clone(),
            cwd: paths::project_root(cwd),
            overrides: self.flags.overrides.overrides.clone(),
            flags: self.flags.settings(),
        }
    }

    /// The runtime of a folder as it is configured this moment, with the keys of this moment. Its files may be slow; they keep nobody else waiting.
    async fn folder(&self, cwd: &Path) -> anyhow::Result<Arc<Folder>> {
        let inputs = self.inputs(cwd);
        let read = move || {
            let loaded = config::load(inputs)?;
            let standing = trust::fingerprint(&[Some(loaded.fingerprint()), Some(keys(&loaded))]);
            anyhow::Ok((loaded, standing))
        };
        let (loaded, standing) = tokio::task::spawn_blocking(read).await??;
        let key = (loaded.cwd.clone(), standing);
        if let Some(folder) = self.known().get(&key) {
            return Ok(Arc::clone(folder));
        }
        for ignored in &loaded.stack.ignored {
            tracing::warn!("{ignored}");
        }
        let (home, flags) = (Arc::clone(&self.home), Arc::clone(&self.flags));
        let tools = self.tools.clone();
        let build = move || {
            let assembled = CliAgentBuilder::new(&loaded).beside(&home).tools(tools).build()?;
            anyhow::Ok(Arc::new(Folder { assembled, loaded, flags, told: Mutex::default() }))
        };
        let folder = tokio::task::spawn_blocking(build).await??;
        let mut known = self.known();
        if known.len() >= FOLDERS_MAX {
            known.retain(|_, folder| Arc::strong_count(folder) > 1);
        }
        // Somebody else may have built the same meanwhile; there is one of it.
        Ok(Arc::clone(known.entry(key).or_insert(folder)))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for Folders {
    fn workspace<'a>(
        &'a self,
        cwd: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Workspace>, HostError>> {
        async {
            let folder = self.folder(cwd).await.map_err(|error| failed(&error))?;
            Ok(folder as Arc<dyn Workspace>)
        }
        .boxed()
    }

    fn awake(&self, session: &SessionId) -> Option<Arc<dyn Workspace>> {
        let known = self.known();
        let awake = known.values().find(|folder| folder.assembled.core.is_awake(session));
        Some(Arc::clone(awake?) as Arc<dyn Workspace>)
    }

    fn all_awake(&self) -> Vec<DefaultSession> {
        let known = self.known();
        known.values().flat_map(|folder| folder.assembled.core.all_awake()).collect()
    }

    fn core(&self) -> &DefaultAgentCore {
        &self.home.core
    }

    fn store_name(&self) -> &'static str {
        match self.home.store() {
            Some(_) => "sqlite",
            None => "memory",
        }
    }

    fn audience(&self) -> &Audience {
        &self.audience
    }

    fn authenticate(&self) -> BoxFuture<'_, Result<(), HostError>> {
        self.check_key().boxed()
    }

    fn login(&self) -> BoxFuture<'_, Login> {
        async {
            let Ok(folder) = self.folder(&self.loaded.cwd).await else { return Login::Unknown };
            let model = match folder.selected().map_err(|error| unselected(&error)) {
                Ok(model) => model,
                Err(HostError::Unauthenticated(_)) => return Login::Out,
                Err(HostError::Invalid(_) | HostError::Failed(_)) => return Login::Unknown,
            };
            // The file of a key may be slow; it keeps nobody else waiting.
            let provider = model.provider.clone();
            let found =
                tokio::task::spawn_blocking(move || secret::key(&folder.loaded, &provider)).await;
            match found {
                Ok(Ok(Some((_, place)))) => {
                    Login::In { label: format!("{}: key from {place}", model.provider) }
                }
                Ok(Ok(None)) => Login::Needless,
                Ok(Err(_)) => Login::Out,
                Err(_) => Login::Unknown,
            }
        }
        .boxed()
    }

    fn logout(&self) -> BoxFuture<'_, Result<(), HostError>> {
        let loaded = self.loaded.clone();
        // The file's lock may have to be waited for.
        let removed = tokio::task::spawn_blocking(move || credentials::remove_all(&loaded));
        async {
            match removed.await {
                Ok(removed) => removed.map(drop).map_err(|error| failed(&error.into())),
                Err(ended) => Err(failed(&ended.into())),
            }
        }
        .boxed()
    }
}

impl Folders {
    /// Whether the provider of new sessions takes its key. One that needs none is not asked, and one that cannot tell is believed.
    async fn check_key(&self) -> Result<(), HostError> {
        let folder = self.folder(&self.loaded.cwd).await.map_err(|error| failed(&error))?;
        let model = folder.selected().map_err(|error| unselected(&error))?;
        let (loaded, provider) = (&folder.loaded, &model.provider);
        let found = secret::key(loaded, provider);
        let found = found.map_err(|error| unauthenticated(&error.into()))?;
        let resolved = folder.assembled.core.ports().models.resolve(&model);
        resolved.map_err(|error| unauthenticated(&error.into()))?;
        let Some((key, place)) = found else { return Ok(()) };
        match credentials::verify(loaded, provider, key, CHECK_WITHIN).await {
            Ok(Verdict::Taken { .. } | Verdict::Unproven(_)) => Ok(()),
            Ok(Verdict::Refused(why)) => Err(HostError::Unauthenticated(format!(
                "provider `{provider}` refuses the key from {place}: {}; run `oarlock login {provider}` or set another key",
                safe::line(&why, WORDS_MAX)
            ))),
            Err(ListError::Key(KeyError::Denied(why))) => Err(HostError::Unauthenticated(format!(
                "there is no key for provider `{provider}`: {}",
                safe::line(&why, WORDS_MAX)
            ))),
            Err(error) => Err(failed(&anyhow::Error::from(error).context(format!(
                "whether `{provider}` takes the key from {place} could not be checked"
            )))),
        }
    }
}

/// A hash of all keys that this configuration finds: another one stands for other keys.
fn keys(loaded: &Loaded) -> String {
    let found = selection::names(&loaded.config).map(|name| match secret::key(loaded, name) {
        Ok(Some((source, place))) => Some(match source.fixed() {
            Some(key) => format!("{name} {}", key.expose_secret()),
            // What a command prints may change at any time, and is no other key.
            None => format!("{name} {place}"),
        }),
        Ok(None) => None,
        Err(error) => Some(format!("{name}: {error}")),
    });
    trust::fingerprint(&found.collect::<Vec<_>>())
}

/// Something is wrong with this machine or its configuration.
fn failed(error: &anyhow::Error) -> HostError {
    HostError::Failed(explained(error))
}

/// No model can be called.
fn unauthenticated(error: &anyhow::Error) -> HostError {
    HostError::Unauthenticated(explained(error))
}

/// No model was found for new sessions: somebody has to log in, or to change the configuration.
fn unselected(error: &anyhow::Error) -> HostError {
    match error.downcast_ref::<SelectionError>() {
        Some(
            SelectionError::NoKey { .. }
            | SelectionError::Unusable { .. }
            | SelectionError::NothingInCi,
        ) => unauthenticated(error),
        Some(
            SelectionError::UnknownProvider { .. }
            | SelectionError::NoModel { .. }
            | SelectionError::NoProvider { .. },
        )
        | None => failed(error),
    }
}
