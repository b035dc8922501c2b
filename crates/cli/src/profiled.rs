//! `--profile NAME`: a new session that is what a profile of subagents says, where the command line itself says nothing else.

use std::sync::Arc;

use anyhow::bail;
use oarlock_core::agent::subagent::SUBAGENT_TOOLS;
use oarlock_core::match_tool_allowlist;
use oarlock_core::session::goal::GOAL_DONE;
use oarlock_core::spec::{Bounds, SessionCapabilitiesConfig, SessionSpec};
use oarlock_tools::AgentProfile;
use oarlock_tools::skills::SkillTool;

use crate::commands::complain;
use crate::commands::overlay::given_keys;
use crate::config::agents::Profiles;
use crate::config::{Config, Loaded};
use crate::making::Maker;

impl Maker<'_> {
    /// The profile that a new session is to have.
    ///
    /// # Errors
    /// When there is none of that name; the error names those that there are.
    pub(crate) fn profile(&self) -> anyhow::Result<Option<AgentProfile>> {
        let Some(name) = &self.flags.profile else { return Ok(None) };
        let Profiles { mut usable, problems } =
            Profiles::of(self.loaded, &self.loaded.cwd.canonicalize()?);
        if let Some(found) = usable.remove(name) {
            return Ok(Some(found.profile));
        }
        problems.iter().for_each(|line| complain(line));
        let names: Vec<String> = usable.into_keys().collect();
        match names.is_empty() {
            true => bail!(
                "--profile {name}: there is no profile here; docs/subagents.md says how to write one"
            ),
            false => {
                bail!("--profile {name}: there is no such profile; there are {}", names.join(", "))
            }
        }
    }
}

/// The model of a profile, unless the command line names one.
fn model(profile: &AgentProfile, loaded: &Loaded) -> Option<String> {
    let named = given_keys(loaded).any(|key| key == "model" || key == "provider");
    profile.order.model.as_ref().filter(|_| !named).map(ToString::to_string)
}

/// The configuration with the profile's model in its place.
pub(crate) fn config(profile: Option<&AgentProfile>, loaded: &Loaded) -> Config {
    let model = profile.and_then(|profile| model(profile, loaded));
    let config = loaded.config.clone();
    Config { model: model.or(config.model), ..config }
}

/// Makes a new session what the profile says. A limit that it has as well is the lower of both.
pub(crate) fn apply(profile: &AgentProfile, loaded: &Loaded, spec: &mut SessionSpec) {
    let gave = |start: &str| given_keys(loaded).any(|key| key.starts_with(start));
    let (order, settings) = (&profile.order, Arc::make_mut(&mut spec.settings));
    let configured = loaded.config.model.as_deref();
    let another = model(profile, loaded).is_some_and(|own| configured != Some(own.as_str()));
    // What was configured for one model need not be possible with another.
    if !gave("effort") {
        settings.effort = order.effort.or(settings.effort.filter(|_| !another));
    }
    if another && !gave("capabilities.") {
        settings.capabilities = SessionCapabilitiesConfig::default();
    }
    if let Some(sampling) = order.sampling.as_ref().filter(|_| !gave("turn.sampling.")) {
        settings.turn.sampling = sampling.clone();
    }
    if let Some(limit) = order.request_limit.filter(|_| !gave("turn.request_limit.")) {
        settings.turn.request_limit = limit;
    }
    settings.limits.session = lower(&settings.limits.session, &order.bounds);
    spec.tools = Some(tools(profile));
}

/// The profile's tools. A goal could not be reached without `goal_done`, which does nothing else.
fn tools(profile: &AgentProfile) -> Vec<String> {
    let usual = || SUBAGENT_TOOLS.map(str::to_owned).to_vec();
    let mut tools = profile.order.tools.clone().unwrap_or_else(usual);
    tools.push(GOAL_DONE.to_owned());
    tools
}

/// Whether sessions of this profile can load skills.
pub(crate) fn has_skills(profile: &AgentProfile) -> bool {
    let names = |pattern: &String| {
        match_tool_allowlist(&[SkillTool::NAME], &[pattern])
            .is_ok_and(|found| !found.tools.is_empty())
    };
    tools(profile).iter().any(names)
}

fn lower(one: &Bounds, other: &Bounds) -> Bounds {
    fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
        one.into_iter().chain(other).min()
    }
    Bounds {
        steps: least(one.steps, other.steps),
        tokens: least(one.tokens, other.tokens),
        cost_micros: least(one.cost_micros, other.cost_micros),
        wall_ms: least(one.wall_ms, other.wall_ms),
        tool_calls: least(one.tool_calls, other.tool_calls),
    }
}
