//! Sessions for an editor: a runtime for each folder that it works in, all over one store.

mod folder;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::DefaultAgentCore;
use oarlock_server::{Audience, Host, HostError, Workspace};

use crate::args::ModelArgs;
use crate::assembly::{Assembled, CliAgentBuilder};
use crate::config::{self, Inputs, Loaded, paths};
use crate::credentials;
use folder::Folder;

/// Projects whose runtimes are kept; of more, those that nobody uses go.
const FOLDERS_MAX: usize = 64;

/// The folders that an editor works in.
#[derive(Debug)]
pub struct Folders {
    /// The folder that the program was started in; its runtime holds the store.
    home: Arc<Assembled>,
    loaded: Loaded,
    flags: Arc<ModelArgs>,
    /// Runtimes by their project and the state of its configuration.
    known: Mutex<HashMap<(PathBuf, String), Arc<Folder>>>,
    audience: Audience,
}

impl Folders {
    /// Opens the store. The folder of `loaded` is where it begins; each session has its own.
    ///
    /// # Errors
    /// When the store cannot be opened or the configuration cannot be used.
    pub fn new(loaded: Loaded, flags: ModelArgs) -> anyhow::Result<Self> {
        let home = Arc::new(CliAgentBuilder::new(&loaded).build()?);
        Ok(Self {
            home,
            loaded,
            flags: Arc::new(flags),
            known: Mutex::default(),
            audience: Audience::default(),
        })
    }

    /// Ends the store in good order.
    pub async fn close(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.home.close_store().await;
    }

    /// The runtime of a folder as it is configured this moment.
    fn folder(&self, cwd: &Path) -> anyhow::Result<Arc<Folder>> {
        let root = paths::project_root(cwd);
        let inputs = Inputs {
            environment: self.loaded.environment.clone(),
            cwd: root.clone(),
            overrides: self.flags.overrides.overrides.clone(),
            flags: self.flags.settings(),
        };
        let loaded = config::load(inputs)?;
        let key = (root, loaded.fingerprint());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = known.get(&key) {
            return Ok(Arc::clone(folder));
        }
        if known.len() >= FOLDERS_MAX {
            known.retain(|_, folder| Arc::strong_count(folder) > 1);
        }
        for ignored in &loaded.stack.ignored {
            tracing::warn!("{ignored}");
        }
        let assembled = CliAgentBuilder::new(&loaded).beside(&self.home).build()?;
        let flags = Arc::clone(&self.flags);
        let folder = Arc::new(Folder { assembled, loaded, flags });
        known.insert(key, Arc::clone(&folder));
        Ok(folder)
    }
}

impl Host for Folders {
    fn workspace<'a>(
        &'a self,
        cwd: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Workspace>, HostError>> {
        async {
            let folder = self.folder(cwd).map_err(|error| failed(&error))?;
            Ok(folder as Arc<dyn Workspace>)
        }
        .boxed()
    }

    fn core(&self) -> &DefaultAgentCore {
        &self.home.core
    }

    fn audience(&self) -> &Audience {
        &self.audience
    }

    fn authenticate(&self) -> BoxFuture<'_, Result<(), HostError>> {
        async {
            let folder = self.folder(&self.loaded.cwd).map_err(|error| failed(&error))?;
            let model = folder.selected().map_err(|error| unauthenticated(&error))?;
            let resolved = folder.assembled.core.ports().models.resolve(&model);
            resolved.map(drop).map_err(|error| unauthenticated(&error.into()))
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

/// Something is wrong with this machine or its configuration.
fn failed(error: &anyhow::Error) -> HostError {
    HostError::Failed(format!("{error:#}"))
}

/// No model can be called.
fn unauthenticated(error: &anyhow::Error) -> HostError {
    HostError::Unauthenticated(format!("{error:#}"))
}
