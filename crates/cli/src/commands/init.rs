//! `oarlock init`: finds keys in the environment and stored ones, and writes the user's configuration. Keys themselves stay where they are.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use super::{Frame, complain};
use crate::args::InitArgs;
use crate::config::{credentials::Stored, paths, trust::write_private};
use crate::exit::Exit;
use crate::providers::ask_for_models;
use oarlock_models::catalog::{self, WELL_KNOWN, WellKnown};
use oarlock_models::family;

/// How long the provider may take to list its models.
const LIST_WITHIN: Duration = Duration::from_secs(5);
/// Names of models that are shown before the question.
const NAMES_SHOWN_MAX: usize = 20;

pub(super) fn run(frame: &Frame, args: &InitArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let path = paths::user_config(&frame.environment)?;
    if path.exists() && !args.force {
        bail!(
            "{} exists already; edit it, or replace it with `oarlock init --force`",
            path.display()
        );
    }
    let keys = Keys { frame, stored: Stored::read(&frame.environment) };
    let found: Vec<&WellKnown> =
        WELL_KNOWN.iter().filter(|known| keys.place(known).is_some()).collect();
    for known in &found {
        writeln!(out, "found {} for {}", keys.place(known).unwrap_or_default(), known.name)?;
    }
    out.flush()?;
    let asks = !args.yes && args.default_provider.is_none();
    if asks && !std::io::stdin().is_terminal() {
        bail!(
            "nobody can be asked: stdin is no terminal; use `oarlock init --yes`, with --default-provider and --default-model if you like"
        );
    }
    let provider = provider(args, &found)?;
    let lacks_key = provider.key_variable.is_some() && keys.place(provider).is_none();
    if lacks_key {
        let WellKnown { name, key_variable, .. } = provider;
        let variable = key_variable.unwrap_or_default();
        complain(&format!("{variable} is not set yet; {name} needs it, or `oarlock login {name}`"));
    }
    let asked = !args.offline && !lacks_key;
    let found = if asked { models_of(frame, provider) } else { Vec::new() };
    let model = model(args, provider, &found)?;
    let variable = keys.variable(provider).or(provider.key_variable);
    write(&path, (provider, variable), model.as_deref())?;
    writeln!(out, "wrote {}", path.display())?;
    writeln!(out, "{}", next(provider, model.as_deref()))?;
    Ok(Exit::Done)
}

/// What was set up, and what to do with it.
fn next(provider: &WellKnown, model: Option<&str>) -> String {
    match model {
        Some(model) => format!(
            "now {}/{model} answers; try `oarlock run \"what is in this folder?\"`",
            provider.name
        ),
        None => format!(
            "now choose a model of {}: `oarlock models --live` lists them, `--model NAME` or the key `model` takes one",
            provider.name
        ),
    }
}

/// Where keys may be without any configuration.
struct Keys<'a> {
    frame: &'a Frame,
    stored: Stored,
}

impl Keys<'_> {
    /// Where the key of a provider is, in words.
    fn place(&self, known: &WellKnown) -> Option<&'static str> {
        // A file that cannot be used has its complaint as soon as a key of it is needed.
        let is_stored = || self.stored.key(known.name).is_ok_and(|key| key.is_some());
        self.variable(known).or_else(|| is_stored().then_some("a stored key"))
    }

    /// The variable that holds it.
    fn variable(&self, known: &WellKnown) -> Option<&'static str> {
        let is_set =
            |name: &str| self.frame.environment.text(name).is_some_and(|v| !v.trim().is_empty());
        known.key_variables().find(|name| is_set(name))
    }
}

fn provider(args: &InitArgs, found: &[&'static WellKnown]) -> anyhow::Result<&'static WellKnown> {
    if let Some(name) = &args.default_provider {
        let names = WELL_KNOWN.iter().map(|known| known.name);
        let nearest = catalog::nearest(name, names).map_or_else(
            || "configure it by hand, see docs/configuration.md".to_owned(),
            |n| format!("did you mean `{n}`?"),
        );
        return catalog::find(name)
            .with_context(|| format!("unknown provider `{name}`; {nearest}"));
    }
    let Some(first) = found.first() else {
        let variables: Vec<_> = WELL_KNOWN.iter().filter_map(|known| known.key_variable).collect();
        bail!(
            "no key is in the environment or stored; run `oarlock login`, set one of {}, or name a server of this machine with --default-provider ollama",
            variables.join(", ")
        );
    };
    if args.yes || found.len() == 1 {
        return Ok(first);
    }
    let answer = ask(&format!("Provider [{}]", first.name), first.name)?;
    found
        .iter()
        .find(|known| known.name == answer)
        .copied()
        .with_context(|| format!("no key was found for `{answer}`; name one of those listed above"))
}

/// What the provider says it has; nothing when it cannot be asked, which is told.
fn models_of(frame: &Frame, provider: &WellKnown) -> Vec<String> {
    let Ok(loaded) = frame.load_silently(Vec::new()) else { return Vec::new() };
    match ask_for_models(&loaded, provider.name, LIST_WITHIN) {
        Ok(found) => found.into_iter().map(|info| info.selection.model).collect(),
        Err(error) => {
            complain(&format!("could not ask for models: {error}"));
            Vec::new()
        }
    }
}

/// The given model, else the default when the provider has it or did not say, else the first that it has.
fn model(
    args: &InitArgs,
    provider: &WellKnown,
    found: &[String],
) -> anyhow::Result<Option<String>> {
    let known = provider.default_model.map(str::to_owned);
    // A list may name only dated releases of a default that is an alias.
    let has = |model: &String| {
        found.is_empty() || found.iter().any(|f| f == model || family(f) == family(model))
    };
    let default = args.default_model.clone();
    let default = default.or(known.filter(has)).or_else(|| found.first().cloned());
    if args.yes || args.default_model.is_some() || !std::io::stdin().is_terminal() {
        return Ok(default);
    }
    if !found.is_empty() {
        let names: Vec<&str> = found.iter().take(NAMES_SHOWN_MAX).map(String::as_str).collect();
        complain(&format!("{} has {} models: {}", provider.name, found.len(), names.join(", ")));
    }
    let shown = default.clone().unwrap_or_default();
    let answer = ask(&format!("Model of {} [{shown}]", provider.name), &shown)?;
    Ok(Some(answer).filter(|model| !model.is_empty()))
}

fn ask(question: &str, default: &str) -> anyhow::Result<String> {
    write!(anstream::stderr(), "{question}: ")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let answer = answer.trim();
    Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
}

fn write(
    path: &Path,
    (provider, variable): (&WellKnown, Option<&str>),
    model: Option<&str>,
) -> anyhow::Result<()> {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut lines =
        vec!["# Written by `oarlock init`. All keys: `oarlock doctor --config`.".to_owned()];
    lines.push(format!("provider = {}", quoted(provider.name)));
    if let Some(model) = model {
        lines.push(format!("model = {}", quoted(model)));
    }
    if let Some(variable) = variable {
        lines.push(format!("\n[providers.{}]\napi_key_env = {}", provider.name, quoted(variable)));
    }
    lines.push(String::new());
    write_private(path, lines.join("\n").as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}
