//! What a new session is told to be: configuration, flags and folder as one value.

use std::path::Path;

use anyhow::Context;
use oarlock_core::agent::context::Frontend;
use oarlock_core::ports::tool::Place;
use oarlock_core::prompt::SystemPrompt;
use oarlock_core::spec::{Answers, ModelSelection, SessionSpec, Settings};

use crate::args::ModelArgs;
use oarlock_tools::AgentProfile;

use crate::assembly::Assembled;
use crate::commands::complain;
use crate::commands::overlay::given_keys;
use crate::config::{Config, Loaded, hooks, modes};
use crate::profiled;
use crate::prompting::{profiled_prompt, system_prompt};
use crate::selection::{SCRIPT, Surroundings, select};

/// What new sessions are made from.
#[derive(Debug, Clone, Copy)]
pub struct Maker<'a> {
    /// The configuration, flags included.
    pub loaded: &'a Loaded,
    /// Flags that are no keys of it.
    pub flags: &'a ModelArgs,
    /// The folder that a script's path is relative to.
    pub cwd: &'a Path,
}

impl Maker<'_> {
    /// A session in these canonical folders. What keeps a skill from being told of is told to the person.
    ///
    /// # Errors
    /// When there is no model, or a file of the configuration cannot be used.
    pub async fn spec(
        &self,
        assembled: &Assembled,
        place: Place,
        (surface, frontend): (&str, Frontend),
    ) -> anyhow::Result<SessionSpec> {
        let Place { cwd, roots } = place;
        let profile = self.profile()?;
        let model = self.selected(profile.as_ref())?;
        let config = &self.loaded.config;
        hooks::known(config, &self.flags.hooks_off).map_err(anyhow::Error::msg)?;
        let answers = match frontend {
            Frontend::Cli | Frontend::Acp { .. } => Answers::Somebody,
            Frontend::Headless => Answers::Nobody,
        };
        let settings = Settings {
            fallback: self.chain(&model)?,
            rules: config.rules.clone(),
            effort: config.effort,
            limits: (&config.limits).into(),
            turn: config.turn(),
            capabilities: config.capabilities,
            hooks: self.flags.hooks().unwrap_or_default(),
            ..Settings::new(model, config.mode.clone(), answers)
        };
        let SystemPrompt { system, overlays } =
            self.system_prompt(assembled, (&cwd, frontend), profile.as_ref()).await?;
        let modes = modes::catalog(config)?;
        let new = SessionSpec::new(cwd, surface, settings);
        let mut spec = SessionSpec { roots, system: system.into(), overlays, modes, ..new };
        if let Some(profile) = &profile {
            profiled::apply(profile, self.loaded, &mut spec);
        }
        Ok(spec)
    }

    /// The system prompt of a new session. What keeps a skill from being told of is told to the person.
    async fn system_prompt(
        &self,
        assembled: &Assembled,
        (cwd, frontend): (&Path, Frontend),
        profile: Option<&AgentProfile>,
    ) -> anyhow::Result<SystemPrompt> {
        let appended = self.flags.append_system_prompt.as_deref();
        let place = (cwd, frontend);
        let prompt = match profile {
            None => system_prompt(self.loaded, place, appended).await?,
            Some(profile) => profiled_prompt(self.loaded, place, (profile, appended)).await?,
        };
        if profile.is_some_and(|profile| !profiled::has_skills(profile)) {
            return Ok(prompt);
        }
        let shelved = assembled.skills(cwd).await?;
        shelved.problems.iter().for_each(|line| complain(line));
        Ok(match shelved.skills.manifest() {
            Some(manifest) => prompt.with_section("Skills", &manifest),
            None => prompt,
        })
    }

    /// The model by profile, configuration, environment and flags; a choice that the person did not make is told.
    ///
    /// # Errors
    /// When none can be had.
    pub fn selected(&self, profile: Option<&AgentProfile>) -> anyhow::Result<ModelSelection> {
        let config = profiled::config(profile, self.loaded);
        let selected = select(&config, &Surroundings::of(self.loaded))?;
        if let Some(notice) = &selected.notice {
            complain(notice);
        }
        self.located(selected.model)
    }

    /// The models that take over, by their names. Of a chain that stands in a file, the model that the call itself chose is left out: there it is the
    /// first one asked.
    ///
    /// # Errors
    /// When one of them can be none.
    pub fn chain(&self, chosen: &ModelSelection) -> anyhow::Result<Vec<ModelSelection>> {
        let gave = |wanted: &[&str]| given_keys(self.loaded).any(|key| wanted.contains(&&*key));
        let named =
            |name: &String| self.of_name(name).with_context(|| format!("`fallback` has {name}"));
        let names = self.loaded.config.fallback.iter();
        let mut chain = names.map(named).collect::<anyhow::Result<Vec<_>>>()?;
        let by_call = gave(&["model", "provider"]) || self.flags.profile.is_some();
        if by_call && !gave(&["fallback"]) {
            chain.retain(|model| model != chosen);
        }
        Ok(chain)
    }

    /// A model by the name that a person gave it: it must be one that answers.
    ///
    /// # Errors
    /// When it is none.
    pub fn named(&self, assembled: &Assembled, name: &str) -> anyhow::Result<ModelSelection> {
        let model = self.of_name(name)?;
        assembled.core.ports().models.resolve(&model)?;
        Ok(model)
    }

    fn of_name(&self, name: &str) -> anyhow::Result<ModelSelection> {
        let config = Config { model: Some(name.to_owned()), ..self.loaded.config.clone() };
        self.located(select(&config, &Surroundings::of(self.loaded))?.model)
    }

    /// A script is named by its path, which must mean the same when the session is resumed elsewhere.
    fn located(&self, model: ModelSelection) -> anyhow::Result<ModelSelection> {
        if model.provider != SCRIPT {
            return Ok(model);
        }
        let path = self.cwd.join(&model.model);
        let path = path
            .canonicalize()
            .with_context(|| format!("--model script/{}: no such file", model.model))?;
        Ok(ModelSelection { model: path.to_string_lossy().into_owned(), ..model })
    }
}
