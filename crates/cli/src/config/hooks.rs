//! Hooks of the configuration: lists by their points, and what is left out of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oarlock_core::event::HookPoint;
use oarlock_tools::hooks::{DisableEntry, Hook, HookEntry, point, ready};

use super::Config;

/// What stands below `hooks` and is no point.
const DISABLE: &str = "disable";

/// Checks what stands at `hooks.NAME`.
///
/// # Errors
/// What is wrong with it, in words for who wrote it.
pub fn check(name: &str, value: &toml::Value) -> Result<(), String> {
    if name == DISABLE {
        let entries = read::<Vec<DisableEntry>>(value)?;
        let unknown = entries.iter().filter_map(|entry| entry.event.as_deref());
        return match unknown.into_iter().find(|event| point(event).is_none()) {
            None => Ok(()),
            Some(event) => Err(no_point(event)),
        };
    }
    let point = point(name).ok_or_else(|| no_point(name))?;
    let entries = read::<Vec<HookEntry>>(value)?;
    ready(&BTreeMap::from([(point, entries)]), &[]).map(drop)
}

/// Has the programs of a project's hooks named by their whole paths: `./check` is the one in the folder that the configuration was read in,
/// wherever a session works.
///
/// # Errors
/// When a relative path stands in what is no project's, in words for who wrote it.
pub fn placed(value: &toml::Value, root: Option<&Path>) -> Result<toml::Value, String> {
    let mut value = value.clone();
    for entry in value.as_array_mut().into_iter().flatten() {
        let program = entry.get_mut("command").and_then(|command| command.get_mut(0));
        let Some(program) = program else { continue };
        let path = PathBuf::from(program.as_str().unwrap_or_default());
        if path.is_absolute() || path.components().count() < 2 {
            continue;
        }
        let Some(root) = root else {
            let path = path.display();
            return Err(format!("`{path}` is in no certain folder; write an absolute path"));
        };
        let whole: PathBuf = root.join(path).components().collect();
        *program = toml::Value::String(whole.display().to_string());
    }
    Ok(value)
}

/// The hooks of a configuration.
///
/// # Errors
/// What is wrong with them together, in words for who wrote them.
pub fn hooks(config: &Config) -> Result<BTreeMap<HookPoint, Vec<Hook>>, String> {
    of_values(&config.hooks)
}

/// The hooks of what stands below `hooks`.
///
/// # Errors
/// What is wrong with them together, in words for who wrote them.
pub fn of_values(
    values: &BTreeMap<String, toml::Value>,
) -> Result<BTreeMap<HookPoint, Vec<Hook>>, String> {
    let (mut lists, mut disabled) = (BTreeMap::new(), Vec::new());
    for (name, value) in values {
        match point(name) {
            Some(point) => drop(lists.insert(point, read::<Vec<HookEntry>>(value)?)),
            None if name == DISABLE => disabled = read(value)?,
            None => return Err(no_point(name)),
        }
    }
    ready(&lists, &disabled)
}

/// Refuses names that no hook has.
///
/// # Errors
/// The first of them, with the names that there are.
pub fn known(config: &Config, names: &[String]) -> Result<(), String> {
    let hooks = hooks(config)?;
    let there: Vec<&str> = hooks.values().flatten().map(Hook::name).collect();
    match names.iter().find(|name| !there.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) if there.is_empty() => Err(format!("there is no hook `{name}`, nor any other")),
        Some(name) => Err(format!("there is no hook `{name}`; there are {}", there.join(", "))),
    }
}

fn read<T: serde::de::DeserializeOwned>(value: &toml::Value) -> Result<T, String> {
    value.clone().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

fn no_point(name: &str) -> String {
    let names: Vec<&str> = HookPoint::ALL.iter().map(|point| point.name()).collect();
    format!("`{name}` is no point of hooks; there are {}", names.join(", "))
}
