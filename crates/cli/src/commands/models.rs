//! `oarlock models`: what can be named, and what only lacks a key.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use super::{Frame, complain};
use crate::args::ModelsArgs;
use crate::clouds;
use crate::config::Loaded;
use crate::config::secret;
use crate::config::typed::ProviderSection;
use crate::exit::Exit;
use crate::providers::ask_for_models;
use crate::selection::{self, DEMO, Surroundings};
use oarlock_core::ports::model::ModelInfo;
use oarlock_core::registry;
use oarlock_core::spec::ModelSelection;
use oarlock_models::catalog::{self, WELL_KNOWN};

/// How long each endpoint may take to list its models.
const LIST_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
struct Line {
    provider: String,
    model: Option<String>,
    /// `configured`, `known`, `built-in`, or `live` when its endpoint named it.
    origin: &'static str,
    /// Whether it can be called as far as this machine can tell.
    ready: bool,
    needs: Option<String>,
    selected: bool,
}

impl Line {
    /// What a person reads about it. Whether a server of this machine runs is only known when it was asked.
    fn state(&self) -> String {
        match &self.needs {
            Some(needs) => format!("needs {needs}"),
            None if self.origin == "known"
                && catalog::find(&self.provider).is_some_and(|k| k.key_variable.is_none()) =>
            {
                "needs no key; `--live` asks its server".to_owned()
            }
            None => "ready".to_owned(),
        }
    }
}

pub(super) fn run(frame: &Frame, args: ModelsArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let loaded = frame.load(args.overrides.overrides)?;
    let mut lines = list(&loaded);
    if args.live {
        lines = live(&loaded, lines);
    }
    if args.json {
        serde_json::to_writer(&mut *out, &serde_json::json!({ "models": lines }))?;
        writeln!(out)?;
        return Ok(Exit::Done);
    }
    let name =
        |line: &Line| format!("{}/{}", line.provider, line.model.as_deref().unwrap_or("MODEL"));
    let width = lines.iter().map(|line| name(line).chars().count()).max().unwrap_or(0);
    for line in &lines {
        let mark = if line.selected { "*" } else { " " };
        writeln!(out, "{mark} {:width$}  {:10}  {}", name(line), line.origin, line.state())?;
    }
    Ok(Exit::Done)
}

fn list(loaded: &Loaded) -> Vec<Line> {
    let selected = selection::select(&loaded.config, &Surroundings::of(loaded)).ok();
    let names = loaded.config.providers.keys().map(String::as_str);
    let others = WELL_KNOWN.iter().map(|known| known.name);
    let others = others.filter(|name| !loaded.config.providers.contains_key(*name));
    let mut lines: Vec<Line> =
        names.chain(others).flat_map(|name| provider(loaded, name)).collect();
    lines.push(Line {
        provider: DEMO.into(),
        model: Some(DEMO.into()),
        origin: "built-in",
        ready: true,
        needs: None,
        selected: false,
    });
    if let Some(allowed) = &loaded.config.allowed_models {
        for line in &mut lines {
            let Some(model) = line.model.clone() else { continue };
            let selection = ModelSelection { provider: line.provider.clone(), model };
            if !registry::allows(allowed, &selection) {
                (line.ready, line.needs) = (false, Some("a place in `allowed_models`".into()));
            }
        }
    }
    if let Some(selected) = selected {
        select(&mut lines, selected.model);
    }
    lines
}

/// Marks the model that answers; one that no list names stands behind those of its provider.
fn select(lines: &mut Vec<Line>, selection: ModelSelection) {
    let ModelSelection { provider, model } = selection;
    let of_provider = |line: &Line| line.provider == provider;
    let listed = |line: &Line| of_provider(line) && line.model.as_ref() == Some(&model);
    if let Some(line) = lines.iter_mut().find(|line| listed(line)) {
        line.selected = true;
        return;
    }
    let Some(behind) = lines.iter().rposition(of_provider) else { return };
    let (ready, needs) = (lines[behind].ready, lines[behind].needs.clone());
    let (model, origin) = (Some(model), "configured");
    lines.insert(behind + 1, Line { provider, model, origin, ready, needs, selected: true });
}

/// Adds what the endpoints of ready providers say they have. One that is well-known but not configured, and takes no key, is a server that
/// hardly ever runs here: its silence is no complaint, but it is not ready.
fn live(loaded: &Loaded, mut lines: Vec<Line>) -> Vec<Line> {
    let ready = lines.iter().filter(|line| line.ready && line.origin != "built-in");
    let mut names: Vec<String> = ready.map(|line| line.provider.clone()).collect();
    names.dedup();
    for name in names {
        let expected = loaded.config.providers.contains_key(&name)
            || catalog::find(&name).is_some_and(|known| known.key_variable.is_some());
        match ask_for_models(loaded, &name, LIST_WITHIN) {
            Ok(found) => add(&mut lines, &name, found),
            Err(error) if expected => complain(&error.to_string()),
            Err(_) => {
                let address = catalog::find(&name).map_or("its address", |known| known.base_url);
                for line in lines.iter_mut().filter(|line| line.provider == name) {
                    (line.ready, line.needs) = (false, Some(format!("a server at {address}")));
                }
            }
        }
    }
    lines
}

/// Puts the models that an endpoint named behind those of its provider that are listed already.
fn add(lines: &mut Vec<Line>, name: &str, found: Vec<ModelInfo>) {
    let listed = |lines: &[Line], model: &str| {
        lines.iter().any(|l| l.provider == name && l.model.as_deref() == Some(model))
    };
    for info in found {
        let model = info.selection.model;
        if listed(lines, &model) {
            continue;
        }
        let behind = lines.iter().rposition(|line| line.provider == name);
        let line = Line {
            provider: name.to_owned(),
            model: Some(model),
            origin: "live",
            ready: true,
            needs: None,
            selected: false,
        };
        lines.insert(behind.map_or(lines.len(), |at| at + 1), line);
    }
}

fn provider(loaded: &Loaded, name: &str) -> Vec<Line> {
    let none = ProviderSection::default();
    let (section, origin) = match loaded.config.providers.get(name) {
        Some(section) => (section, "configured"),
        None => (&none, "known"),
    };
    let known = catalog::find(name);
    let needs = match secret::key(loaded, name) {
        Ok(Some(_)) => None,
        // Whoever configured it has them, presumably: only a request can tell.
        Ok(None) if origin == "configured" && clouds::stands_in(&loaded.config, name) => None,
        Ok(None) => secret::variable(&loaded.config, name)
            .map(|variable| format!("${variable} or `oarlock login {name}`")),
        Err(error) => Some(error.to_string()),
    };
    let default = section.default_model.clone();
    let default = default.or_else(|| known?.default_model.map(str::to_owned));
    // Of a provider that cannot be called, only what is written down about it matters.
    let candidates = match (&needs, crate::providers::provider(loaded, name)) {
        (None, Ok(config)) => config.candidates(),
        (Some(_), _) | (_, Err(_)) => Vec::new(),
    };
    let declared = section.models.iter().map(|model| model.id.clone());
    let ids: Vec<String> = match candidates.is_empty() {
        true => declared.collect(),
        false => candidates.into_iter().map(|found| found.model.selection.model).collect(),
    };
    let mut models: Vec<Option<String>> = ids.into_iter().map(Some).collect();
    if models.is_empty() || (default.is_some() && !models.contains(&default)) {
        models.insert(0, default);
    }
    let line = |model| Line {
        provider: name.to_owned(),
        model,
        origin,
        ready: needs.is_none(),
        needs: needs.clone(),
        selected: false,
    };
    models.into_iter().map(line).collect()
}
