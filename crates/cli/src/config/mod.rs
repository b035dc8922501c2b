//! The configuration: layers of TOML, each value with its source, none from a folder that was not trusted to set it.
//!
//! Lowest first: built in, the user's file, the project's, the project's of this machine, the environment, `--config`, flags.
//! Tables are merged key by key; values and lists replace, except `rules.*` and `hooks.*`, to which every layer adds.

pub mod agents;
pub mod consistency;
pub mod credentials;
pub mod error;
pub mod file;
pub mod given;
pub mod hooks;
pub mod keys;
pub mod kind;
mod lookup;
pub mod modes;
pub mod paths;
pub mod private;
pub mod prompts;
pub mod secret;
mod shapes;
pub mod skills;
pub mod source;
pub mod stack;
mod table;
pub mod trust;
pub mod typed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use error::ConfigError;
pub use given::Environment;
pub use source::{Layer, Setting, Source};
pub use stack::{Effective, Ignored, Stack, Standing};
pub use trust::{TrustError, TrustStore};
pub use typed::Config;

/// What the configuration is made from.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The environment.
    pub environment: Environment,
    /// The absolute working folder.
    pub cwd: PathBuf,
    /// Texts of `--config`, in order.
    pub overrides: Vec<String>,
    /// Settings of flags, see [`flag`].
    pub flags: Vec<Setting>,
}

/// The configuration with everything that explains it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values, typed.
    pub config: Config,
    /// The same values with their sources, and what was kept out.
    pub stack: Stack,
    /// The environment it was made in, for keys and paths.
    pub environment: Environment,
    /// The stored keys, as they were then.
    pub stored: credentials::Stored,
    /// Every file that may hold a key, there or not: no tool opens one.
    pub key_files: Vec<PathBuf>,
    /// The folder it was made for.
    pub cwd: PathBuf,
    /// The user's file, whether it exists or not.
    pub user_file: PathBuf,
    /// The folder and its standing.
    pub project: Project,
    /// What would stand below `hooks` without the folder's files: for sessions that work elsewhere.
    pub hooks_elsewhere: BTreeMap<String, toml::Value>,
}

/// A folder with its configuration files.
#[derive(Debug, Clone)]
pub struct Project {
    /// The canonical root.
    pub root: PathBuf,
    /// What its files set, shared file first.
    pub settings: Vec<Setting>,
    /// Its prompts, used only when it is trusted.
    pub prompts: Vec<prompts::Found>,
    /// Its skills, used only when it is trusted.
    pub skills: Vec<oarlock_tools::skills::Found>,
    /// Its profiles of subagents, used only when it is trusted.
    pub agents: Vec<agents::Found>,
    /// Hash of its files.
    pub fingerprint: String,
    /// Whether the user vouches for it.
    pub standing: Standing,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Something in it is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The trust store cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// A setting given by a flag of its own.
#[must_use]
pub fn flag(name: &'static str, key: &str, value: impl Into<toml::Value>) -> Setting {
    Setting {
        path: key.split('.').map(str::to_owned).collect(),
        value: value.into(),
        source: Source::Flag(name),
    }
}

/// Reads the project of a folder and how it stands.
///
/// # Errors
/// When one of its files is not valid, or the trust store cannot be read.
pub fn project(environment: &Environment, cwd: &Path) -> Result<Project, LoadError> {
    let root = paths::project_root(cwd);
    let root = root.canonicalize().unwrap_or(root);
    let layers = [Layer::Project, Layer::ProjectLocal];
    let mut texts = Vec::new();
    let mut settings = Vec::new();
    for (path, layer) in paths::project_files(&root).into_iter().zip(layers) {
        let text = file::read(&path)?;
        if let Some(text) = &text {
            settings.extend(file::parse(layer, &path, text)?);
        }
        texts.push(text);
    }
    let prompts = prompts::find(&paths::project_prompts(&root), prompts::Links::Refused);
    for prompt in &prompts {
        texts.push(Some(prompt.path.to_string_lossy().into_owned()));
        texts.push(prompt.text.clone().ok());
    }
    let skills = skills::of_project(environment, &root);
    for skill in &skills {
        texts.push(Some(format!("skill {} {}", skill.name, skill.folder.display())));
        texts.push(skill.text.clone().ok());
    }
    let agents = agents::of_project(environment, &root);
    for agent in &agents {
        texts.push(Some(format!("agent {} {}", agent.name, agent.path.display())));
        let (own, system) = agent.texts.clone().unwrap_or_default();
        texts.extend([Some(own), system]);
    }
    let fingerprint = trust::fingerprint(&texts);
    let nothing =
        settings.is_empty() && prompts.is_empty() && skills.is_empty() && agents.is_empty();
    let standing = if nothing {
        Standing::Nothing
    } else {
        TrustStore::at(paths::trust_store(environment)?).standing(&root, &fingerprint)?
    };
    Ok(Project { root, settings, prompts, skills, agents, fingerprint, standing })
}

/// Reads all layers.
///
/// # Errors
/// The first thing that is wrong in any of them.
pub fn load(inputs: Inputs) -> Result<Loaded, LoadError> {
    let Inputs { environment, cwd, overrides, flags } = inputs;
    let user_file = paths::user_config(&environment)?;
    let mut stack = Stack::built_in();
    if let Some(text) = file::read(&user_file)? {
        stack.lay(file::parse(Layer::User, &user_file, &text)?, Standing::Trusted);
    }
    let project = project(&environment, &cwd)?;
    let mut elsewhere = stack.clone();
    stack.lay(project.settings.clone(), project.standing);
    let overrides = overrides.iter().map(|text| given::assignment(text));
    let overrides: Vec<Setting> = overrides.collect::<Result<_, _>>()?;
    for stack in [&mut stack, &mut elsewhere] {
        stack.lay(environment.settings()?, Standing::Trusted);
        stack.lay(overrides.clone(), Standing::Trusted);
    }
    for setting in &flags {
        let keys::Found::Key(key) = keys::find(&setting.path) else {
            unreachable!("flags name keys of the table: a test runs each of them");
        };
        file::check(key, &setting.path, &setting.value, &setting.source)?;
    }
    stack.lay(flags, Standing::Trusted);
    let config = typed(&stack)?;
    consistency::check(&config, &stack)?;
    let hooks_elsewhere = elsewhere.below("hooks");
    let stored = credentials::Stored::read(&environment);
    let key_files = secret::files(&environment, &config)?;
    Ok(Loaded {
        config,
        stack,
        environment,
        stored,
        key_files,
        cwd,
        user_file,
        project,
        hooks_elsewhere,
    })
}

impl Loaded {
    /// A hash of everything that decides what sessions of this folder work with, stored keys included: a folder whose hash is another one is configured otherwise.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let values = self.stack.table().to_string();
        let standing = format!("{:?}", self.project.standing);
        let keys = self.stored.fingerprint();
        let project = self.project.fingerprint.clone();
        trust::fingerprint(&[Some(values), Some(standing), Some(project), Some(keys)])
    }

    /// The same with the stored keys as they are by this moment, for a program that outlives a login of its person elsewhere.
    #[must_use]
    pub fn with_keys_read_anew(&self) -> Self {
        Self { stored: credentials::Stored::read(&self.environment), ..self.clone() }
    }

    /// What to say of a session that works in this canonical folder, when a project there has hooks that this configuration does not know.
    #[must_use]
    pub fn hooks_left_out(&self, cwd: &Path) -> Option<String> {
        if cwd.starts_with(&self.project.root) {
            return None;
        }
        // A file there that cannot be read is a matter of whoever works there.
        let there = project(&self.environment, cwd).ok()?;
        let hooked = there.settings.iter().any(|setting| setting.path[0] == "hooks");
        hooked.then(|| {
            let root = there.root.display();
            format!(
                "the hooks of {root} are not loaded here; to have them, start the session there"
            )
        })
    }
}

/// The typed form of checked values.
fn typed(stack: &Stack) -> Result<Config, ConfigError> {
    Config::deserialize_from(stack.table()).map_err(|error| ConfigError::Malformed {
        what: format!("the configuration does not fit together: {}", error.message()),
        remedy: "see `oarlock doctor --config`",
    })
}

impl Config {
    fn deserialize_from(table: toml::Table) -> Result<Self, toml::de::Error> {
        toml::Value::Table(table).try_into()
    }
}
