//! What one value alone cannot show: values that contradict each other, providers that lack something.

use std::path::{Component, Path};

use super::error::ConfigError;
use super::hooks;
use super::source::Source;
use super::stack::Stack;
use super::typed::Config;
use crate::logging;
use crate::values::Millis;
use oarlock_core::spec::InvalidMode;
use oarlock_models::catalog;

/// The shortest deadline of a model call.
const CALL_MIN: Millis = Millis(1_000);

/// Looks for values that do not go together.
///
/// # Errors
/// [`ConfigError::Unusable`] with the place of the value to change.
pub fn check(config: &Config, stack: &Stack) -> Result<(), ConfigError> {
    bounds(config, stack)?;
    deadlines(config, stack)?;
    modes(config, stack)?;
    project_file(config, stack)?;
    if let Err(what) = hooks::hooks(config) {
        let mut values = stack.values.iter().rev();
        let hooks = values.find(|(path, _)| path.first().is_some_and(|first| first == "hooks"));
        let source = hooks.and_then(|(_, found)| found.sources.last().cloned());
        let remedy = "see docs/hooks.md, and `oarlock doctor --config` for all layers".into();
        return Err(unusable(what, source.unwrap_or(Source::BuiltIn), remedy));
    }
    if let Err(what) = config.turn().check() {
        return Err(unusable(
            what,
            place(stack, &["context", "compact_ratio"]),
            "correct the values of `context`".into(),
        ));
    }
    if let Err(error) = logging::filter(&config.log.filter) {
        return Err(unusable(
            format!("`log.filter` is no filter ({error})"),
            place(stack, &["log", "filter"]),
            "write a level such as \"info\", or \"oarlock_core=debug,warn\"".into(),
        ));
    }
    if config.turn.request_limit.limit().is_none() {
        return Err(unusable(
            "`turn.request_limit.mode` and `turn.request_limit.steps` do not go together".into(),
            place(stack, &["turn", "request_limit", "mode"]),
            "give `steps` with \"fixed\" and \"adaptive\", and none with \"unbounded\"".into(),
        ));
    }
    for (name, section) in &config.providers {
        let known = catalog::find(name);
        let missing = match (known, &section.wire, &section.base_url) {
            (None, None, _) => Some("wire"),
            (None, _, None) => Some("base_url"),
            _ => None,
        };
        if let Some(key) = missing {
            return Err(unusable(
                format!("provider `{name}` is not a well-known one and has no `{key}`"),
                place_of_section(stack, ["providers", name]),
                format!("set `providers.{name}.{key}`"),
            ));
        }
        if let Some(url) = &section.base_url
            && !is_endpoint(url)
        {
            return Err(unusable(
                format!("`providers.{name}.base_url` is no http or https address without credentials"),
                place(stack, &["providers", name, "base_url"]),
                "write for example \"https://host/v1\", and the key into `api_key_env` or `api_key_file`".into(),
            ));
        }
    }
    keys(config, stack)
}

/// A key comes from one place, and what is said about a command is said of one that is there.
fn keys(config: &Config, stack: &Stack) -> Result<(), ConfigError> {
    for (name, section) in &config.providers {
        let of = |key: &str| format!("`providers.{name}.{key}`");
        let at = |key: &str| place(stack, &["providers", name, key]);
        let (what, key, remedy) = match (&section.api_key_command, &section.api_key_file) {
            (Some(argv), _) if argv.is_empty() => (
                format!("{} names no program", of("api_key_command")),
                "api_key_command",
                "write for example [\"pass\", \"show\", \"key\"]",
            ),
            (Some(_), Some(_)) => (
                format!("{} stands beside {}", of("api_key_command"), of("api_key_file")),
                "api_key_command",
                "take one of them out",
            ),
            (None, _) if section.api_key_refresh.is_some() => (
                format!("{} stands without {}", of("api_key_refresh"), of("api_key_command")),
                "api_key_refresh",
                "name the command or take it out",
            ),
            (Some(_) | None, _) => continue,
        };
        return Err(unusable(what, at(key), remedy.into()));
    }
    Ok(())
}

/// Each mode has a base, unless a folder set it and may not; and the mode in force is one of them.
fn modes(config: &Config, stack: &Stack) -> Result<(), ConfigError> {
    for (name, section) in &config.modes {
        let path = ["modes", name, "base"];
        let kept_out = stack.ignored.iter().any(|ignored| ignored.setting.path == path);
        if section.base.is_none() && !kept_out {
            return Err(unusable(
                format!("the mode `{name}` has no `base`"),
                place_of_section(stack, ["modes", name]),
                format!("set `modes.{name}.base`"),
            ));
        }
    }
    let catalog = super::modes::catalog(config).map_err(|invalid| {
        let named = config.modes.keys().find(|name| match &invalid {
            InvalidMode::Name { name: wrong } => name.starts_with(wrong),
            InvalidMode::Twice { mode } | InvalidMode::Rule { mode, .. } => *name == mode.name(),
            InvalidMode::Count { .. } => true,
        });
        let name = named.map_or("", String::as_str);
        let source = place_of_section(stack, ["modes", name]);
        unusable(invalid.to_string(), source, format!("change the section `modes.{name}`"))
    })?;
    catalog.policy(&config.mode).map(drop).map_err(|unknown| {
        let remedy = "name one of them, or add a section `modes.NAME`".to_owned();
        unusable(unknown.to_string(), place(stack, &["mode"]), remedy)
    })
}

/// A folder may name a file of its repository, and no other.
fn project_file(config: &Config, stack: &Stack) -> Result<(), ConfigError> {
    let source = place(stack, &["prompt", "file"]);
    let below = Path::new(&config.prompt.file)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if source.layer().is_project() && (!below || config.prompt.file.starts_with("~/")) {
        return Err(unusable(
            format!("`prompt.file` = \"{}\" does not stay below the folder", config.prompt.file),
            source,
            "name a file of the project, or set it in your own configuration".into(),
        ));
    }
    Ok(())
}

/// A deadline that no answer can keep would be an end of all calls.
fn deadlines(config: &Config, stack: &Stack) -> Result<(), ConfigError> {
    let limits = &config.limits.model;
    let short = [("idle", limits.idle), ("time", limits.time)];
    let short = short.into_iter().find(|(_, limit)| *limit < CALL_MIN);
    short.map_or(Ok(()), |(key, limit)| {
        Err(unusable(
            format!("`limits.model.{key}` ({limit}) is shorter than {CALL_MIN}"),
            place(stack, &["limits", "model", key]),
            "write for example \"2m\"".into(),
        ))
    })
}

fn bounds(config: &Config, stack: &Stack) -> Result<(), ConfigError> {
    let tools = &config.tools;
    let pairs = [
        (
            ["bash", "default_timeout_ms", "max_timeout_ms"],
            tools.bash.default_timeout_ms,
            tools.bash.max_timeout_ms,
        ),
        (
            ["fs", "read_default_limit", "read_max_limit"],
            tools.fs.read_default_limit as u64,
            tools.fs.read_max_limit as u64,
        ),
        (
            ["fetch", "default_timeout_secs", "max_timeout_secs"],
            tools.fetch.default_timeout_secs,
            tools.fetch.max_timeout_secs,
        ),
        (
            ["search", "default_head_limit", "max_head_limit"],
            tools.search.default_head_limit as u64,
            tools.search.max_head_limit as u64,
        ),
    ];
    for ([tool, key, max_key], value, max) in pairs {
        if value > max {
            let (of_value, of_max) =
                (place(stack, &["tools", tool, key]), place(stack, &["tools", tool, max_key]));
            let source = if of_value.layer() >= of_max.layer() { of_value } else { of_max };
            return Err(unusable(
                format!(
                    "`tools.{tool}.{key}` ({value}) is more than `tools.{tool}.{max_key}` ({max})"
                ),
                source,
                "lower the one or raise the other".into(),
            ));
        }
    }
    Ok(())
}

fn is_endpoint(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    host.is_some_and(|host| !host.is_empty() && !host.contains(['@', ' ']))
}

fn place(stack: &Stack, path: &[&str]) -> Source {
    stack.source(path).cloned().unwrap_or(Source::BuiltIn)
}

fn place_of_section(stack: &Stack, section: [&str; 2]) -> Source {
    let mut values = stack.values.iter();
    let first = values.find(|(path, _)| path.len() > 2 && path[..2] == section);
    first.and_then(|(_, found)| found.sources.last().cloned()).unwrap_or(Source::BuiltIn)
}

fn unusable(what: String, source: Source, remedy: String) -> ConfigError {
    ConfigError::Unusable { what, source_place: Box::new(source), remedy }
}
