//! Where files are: the user's by the XDG rules, the project's by the repository.

use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::given::Environment;

/// The user's folder of one kind: `$<variable>/oarlock`, else `$HOME/<fallback>/oarlock`.
fn user_folder(
    env: &Environment,
    what: &'static str,
    variable: &'static str,
    fallback: &str,
) -> Result<PathBuf, ConfigError> {
    env.folder(variable)
        .or_else(|| env.folder("HOME").map(|home| home.join(fallback)))
        .map(|base| base.join("oarlock"))
        .ok_or(ConfigError::NoHome { what, variable })
}

/// The user's configuration file.
///
/// # Errors
/// [`ConfigError::NoHome`].
pub fn user_config(env: &Environment) -> Result<PathBuf, ConfigError> {
    Ok(user_folder(env, "configuration", "XDG_CONFIG_HOME", ".config")?.join("config.toml"))
}

/// The folder of sessions when the configuration names none.
///
/// # Errors
/// [`ConfigError::NoHome`].
pub fn data_dir(env: &Environment) -> Result<PathBuf, ConfigError> {
    user_folder(env, "data", "XDG_DATA_HOME", ".local/share")
}

/// The file of the keys that `oarlock login` stored.
///
/// # Errors
/// [`ConfigError::NoHome`].
pub fn credentials(env: &Environment) -> Result<PathBuf, ConfigError> {
    Ok(data_dir(env)?.join("credentials.toml"))
}

/// The folder of what this machine remembers.
fn state_dir(env: &Environment) -> Result<PathBuf, ConfigError> {
    match env.folder("OARLOCK_STATE_DIR") {
        Some(folder) => Ok(folder),
        None => user_folder(env, "state", "XDG_STATE_HOME", ".local/state"),
    }
}

/// The file of the trust store.
///
/// # Errors
/// [`ConfigError::NoHome`].
pub fn trust_store(env: &Environment) -> Result<PathBuf, ConfigError> {
    Ok(state_dir(env)?.join("trust.json"))
}

/// The folder of the tokens that commands printed.
///
/// # Errors
/// [`ConfigError::NoHome`].
pub fn key_tokens(env: &Environment) -> Result<PathBuf, ConfigError> {
    Ok(state_dir(env)?.join("tokens"))
}

/// A path of the configuration, with a leading `~/` standing for HOME.
///
/// # Errors
/// [`ConfigError::NoHome`] when it begins with `~/` and there is no HOME.
pub fn expand(env: &Environment, path: &str) -> Result<PathBuf, ConfigError> {
    match path.strip_prefix("~/") {
        None => Ok(PathBuf::from(path)),
        Some(rest) => env
            .folder("HOME")
            .map(|home| home.join(rest))
            .ok_or(ConfigError::NoHome { what: "home", variable: "HOME" }),
    }
}

/// The project of a folder: the nearest ancestor with a `.git`, else the folder itself.
#[must_use]
pub fn project_root(cwd: &Path) -> PathBuf {
    cwd.ancestors().find(|dir| dir.join(".git").exists()).unwrap_or(cwd).to_owned()
}

/// The folder of the project's prompts.
#[must_use]
pub fn project_prompts(root: &Path) -> PathBuf {
    root.join(".oarlock").join("prompts")
}

/// The user's folders of skills, those that count less first: those of other programs, and our own beside the user's configuration file.
#[must_use]
pub fn user_skills(env: &Environment, user_file: &Path) -> Vec<PathBuf> {
    let others = env.folder("HOME").map(|home| [".claude", ".agents"].map(|name| home.join(name)));
    let others = others.into_iter().flatten();
    others.chain(user_file.parent().map(Path::to_owned)).map(|dir| dir.join("skills")).collect()
}

/// The project's folders of skills, those that count less first.
#[must_use]
pub fn project_skills(root: &Path) -> [PathBuf; 3] {
    [".claude", ".agents", ".oarlock"].map(|name| root.join(name).join("skills"))
}

/// The project's two files, lower layer first.
#[must_use]
pub fn project_files(root: &Path) -> [PathBuf; 2] {
    let folder = root.join(".oarlock");
    [folder.join("config.toml"), folder.join("config.local.toml")]
}
