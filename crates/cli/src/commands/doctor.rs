//! `oarlock doctor`: what works here and what does not, each with its remedy.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::{Frame, explained};
use crate::args::DoctorArgs;
use crate::config::keys::{KEYS, Key};
use crate::config::secret::{self, SecretError};
use crate::config::{Loaded, Standing, paths};
use crate::exit::Exit;
use crate::providers::{ListError, ask_for_models};
use crate::selection::{self, Surroundings};
use crate::values::Bytes;
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::spec::ModelSelection;

/// Less free space than this is a warning.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// How long the provider may take to list its models.
const REACH_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Ok, found: found.into(), remedy: None }
}

fn warn(name: &'static str, found: impl Into<String>, remedy: &str) -> Check {
    Check { name, verdict: Verdict::Warn, found: found.into(), remedy: Some(remedy.into()) }
}

fn fail(name: &'static str, found: impl Into<String>, remedy: &str) -> Check {
    Check { name, verdict: Verdict::Fail, found: found.into(), remedy: Some(remedy.into()) }
}

pub(super) fn run(frame: &Frame, args: DoctorArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let shows_config = !args.config.is_empty();
    let overrides = args.config.into_iter().filter(|text| !text.is_empty()).collect();
    if shows_config {
        return show_config(&frame.load(overrides)?, args.json, out);
    }
    let mut checks = vec![program(frame, "git"), program(frame, "sh"), landlock(), terminal()];
    match frame.load_silently(overrides) {
        Err(error) => {
            checks.push(fail(
                "configuration",
                explained(&error),
                "correct it; docs/configuration.md lists all keys",
            ));
        }
        Ok(loaded) => {
            checks.push(ok("configuration", "valid"));
            checks.push(trust(&loaded));
            checks.push(storage(&loaded));
            checks.extend(keys(&loaded));
            checks.extend(model(&loaded, args.offline));
        }
    }
    report(&checks, args.json, out)?;
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { Exit::Error } else { Exit::Done })
}

fn report(checks: &[Check], json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, &json!({ "checks": checks }))?;
        writeln!(out)?;
        return Ok(());
    }
    for Check { name, verdict, found, remedy } in checks {
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let remedy = remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        writeln!(out, "{word:4}  {name:13}  {found}{remedy}")?;
    }
    Ok(())
}

fn show_config(loaded: &Loaded, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let places = |sources: &[crate::config::Source]| {
        sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    if json {
        let values: Vec<_> = loaded.stack.lines().map(|(key, effective)| {
            json!({ "key": key, "value": shown(&key, &effective.value), "source": places(&effective.sources) })
        }).collect();
        let ignored: Vec<_> = loaded.stack.ignored.iter().map(ToString::to_string).collect();
        serde_json::to_writer(&mut *out, &json!({ "values": values, "ignored": ignored }))?;
        writeln!(out)?;
        return Ok(Exit::Done);
    }
    for (key, effective) in loaded.stack.lines() {
        writeln!(
            out,
            "{key} = {}   # {}",
            shown(&key, &effective.value),
            places(&effective.sources)
        )?;
    }
    let set = |key: &Key| !key.has_wildcard() && loaded.stack.lines().any(|(k, _)| k == key.path);
    for key in KEYS.iter().filter(|key| !set(key)) {
        writeln!(out, "# {} is not set: {}", key.path, key.doc)?;
    }
    Ok(Exit::Done)
}

/// A value for the eye. Headers may carry a credential, so only their names are shown, and of a command for a key the program.
fn shown(key: &str, value: &toml::Value) -> toml::Value {
    if key.starts_with("providers.") && key.ends_with(".api_key_command") {
        let argv = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let arguments = argv.get(1).map(|_| toml::Value::String("(hidden)".into()));
        return toml::Value::Array(argv.first().cloned().into_iter().chain(arguments).collect());
    }
    if key.starts_with("providers.") && key.contains(".headers.") {
        return toml::Value::String("(hidden)".into());
    }
    value.clone()
}

fn program(frame: &Frame, name: &'static str) -> Check {
    use std::os::unix::fs::PermissionsExt;
    let runs = |path: &Path| {
        path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    let path = frame.environment.text("PATH").unwrap_or("/usr/bin:/bin");
    match std::env::split_paths(path).map(|dir| dir.join(name)).find(|path| runs(path)) {
        Some(path) => ok(name, path.display().to_string()),
        None if name == "sh" => fail(
            name,
            "not in PATH",
            "the tool `bash` runs commands with it: add its folder to PATH",
        ),
        None => warn(name, "not in PATH", "install it: agents look at history and changes with it"),
    }
}

fn landlock() -> Check {
    let list = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if list.split(',').any(|module| module.trim() == "landlock") {
        return ok("sandbox", "the kernel has Landlock");
    }
    warn(
        "sandbox",
        "the kernel shows no Landlock",
        "commands are confined by questions alone: keep the mode ask-writes, or use a container",
    )
}

fn terminal() -> Check {
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        return ok("terminal", "questions can be asked");
    }
    ok("terminal", "none: questions are answered with no, at once")
}

fn trust(loaded: &Loaded) -> Check {
    let root = loaded.project.root.display();
    let kept_out = loaded.stack.ignored.len();
    match loaded.project.standing {
        Standing::Nothing => ok("trust", format!("{root} has no configuration of its own")),
        Standing::Trusted => ok("trust", format!("{root} is trusted")),
        Standing::Untrusted | Standing::Changed if kept_out == 0 => {
            ok("trust", format!("{root} is not trusted and asks for nothing that needs it"))
        }
        Standing::Untrusted => warn(
            "trust",
            format!("{root} is not trusted: {kept_out} of its values are not applied"),
            "see `oarlock trust --show`",
        ),
        Standing::Changed => warn(
            "trust",
            format!(
                "{root} has changed since it was trusted: {kept_out} of its values are not applied"
            ),
            "see `oarlock trust --show`",
        ),
    }
}

fn data_dir(loaded: &Loaded) -> anyhow::Result<PathBuf> {
    Ok(match &loaded.config.storage.data_dir {
        Some(dir) => paths::expand(&loaded.environment, dir)?,
        None => paths::data_dir(&loaded.environment)?,
    })
}

fn storage(loaded: &Loaded) -> Check {
    let dir = match data_dir(loaded) {
        Ok(dir) => dir,
        Err(error) => return fail("storage", error.to_string(), "set `storage.data_dir`"),
    };
    // The folder is made by the first session; until then its nearest existing ancestor tells.
    let Some(there) = dir.ancestors().find(|dir| dir.exists()) else {
        return fail(
            "storage",
            format!("{} cannot exist", dir.display()),
            "set `storage.data_dir`",
        );
    };
    if let Err(error) = tempfile::tempfile_in(there) {
        return fail(
            "storage",
            format!("cannot write to {}: {error}", there.display()),
            "make it writable or set `storage.data_dir`",
        );
    }
    let free = rustix::fs::statvfs(there).map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    match free {
        Ok(free) if free < FREE_BYTES_MIN => {
            warn("storage", format!("{}: only {} MiB free", dir.display(), free >> 20), "make room")
        }
        Ok(free) => ok("storage", format!("{}: {} free", dir.display(), Bytes(free >> 30 << 30))),
        Err(_) => ok("storage", dir.display().to_string()),
    }
}

fn keys(loaded: &Loaded) -> Vec<Check> {
    let mut checks = Vec::new();
    let around = Surroundings::of(loaded);
    if let Some(why) = &around.unusable {
        checks.push(fail("key", why.clone(), "see `Secrets` in docs/configuration.md"));
    }
    for name in loaded.config.providers.keys() {
        match secret::key(loaded, name) {
            // Told once above, not for each provider.
            Ok(_) | Err(SecretError::Stored(_)) => {}
            Err(error) => checks.push(fail(
                "key",
                error.to_string(),
                "see `providers` in docs/configuration.md",
            )),
        }
    }
    let stored = around.stored.iter().map(|name| format!("stored for {name}"));
    let printed = loaded.config.providers.iter().filter_map(|(name, section)| {
        let program = section.api_key_command.as_ref()?.first()?;
        Some(format!("the command `{program}` for {name}"))
    });
    let variables = around.key_variables.iter().cloned();
    let found: Vec<String> = variables.chain(stored).chain(printed).collect();
    checks.push(match found.is_empty() {
        true => warn(
            "keys",
            "none in the environment, and none stored",
            "run `oarlock login`, set for example ANTHROPIC_API_KEY, or use a server of this machine",
        ),
        false => ok("keys", found.join(", ")),
    });
    checks
}

fn model(loaded: &Loaded, offline: bool) -> Vec<Check> {
    let selected = match selection::select(&loaded.config, &Surroundings::of(loaded)) {
        Err(error) => return vec![fail("model", error.to_string(), "see `oarlock models`")],
        Ok(selected) if selected.model.provider == selection::DEMO => {
            return vec![warn(
                "model",
                "demo, the built-in demonstration",
                "run `oarlock login` or `oarlock init` to use a language model",
            )];
        }
        Ok(selected) => selected,
    };
    let mut checks = vec![ok("model", selected.model.to_string())];
    if !offline && selected.model.provider != selection::SCRIPT {
        checks.push(provider(loaded, &selected.model));
    }
    checks
}

/// Asks the endpoint for its models, which proves address, proxy, certificates and key at once.
fn provider(loaded: &Loaded, selected: &ModelSelection) -> Check {
    let ModelSelection { provider, model } = selected;
    let error = match ask_for_models(loaded, provider, REACH_WITHIN) {
        Ok(found) if found.is_empty() || found.iter().any(|info| info.selection == *selected) => {
            return ok("provider", format!("{provider} answers and has {} models", found.len()));
        }
        Ok(_) => {
            return warn(
                "provider",
                format!("{provider} answers, but does not list `{model}`"),
                "an alias may be missing from its list; see `oarlock models --live`",
            );
        }
        Err(error) => error,
    };
    // Not every server has a list; a refusal in the words of the protocol shows that it is there.
    if let ListError::Endpoint(told) = &error
        && matches!(told.kind, ModelErrorKind::InvalidRequest | ModelErrorKind::ModelNotFound)
    {
        return warn("provider", told.message.clone(), "it answers, but lists no models");
    }
    fail(
        "provider",
        error.to_string(),
        "check the network, `base_url` and the key, or use --offline",
    )
}
