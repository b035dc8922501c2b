//! What a call changes of a session that exists: only what the call itself gave, by a flag or `--config`. What else the session was told stays.

use anyhow::bail;
use oarlock_core::spec::{Bounds, EffortChange, Limits, Rules, Settings, SettingsChange};

use crate::args::ModelArgs;
use crate::config::source::join;
use crate::config::{Effective, Layer, Loaded, Source, given, hooks};

/// Beginnings of keys that a session takes in when it is made, and never again.
const OF_NEW_SESSIONS: [&str; 4] = ["turn.", "context.", "prompt.", "modes."];

/// What a call gave.
pub(super) struct Overlay<'a> {
    loaded: &'a Loaded,
    flags: &'a ModelArgs,
}

impl<'a> Overlay<'a> {
    /// What flags and `--config` of this call gave.
    ///
    /// # Errors
    /// When one of them is a matter of new sessions.
    pub(super) fn new(loaded: &'a Loaded, flags: &'a ModelArgs) -> anyhow::Result<Self> {
        hooks::known(&loaded.config, &flags.hooks_off).map_err(anyhow::Error::msg)?;
        let overlay = Self { loaded, flags };
        let fixed = |key: &String| OF_NEW_SESSIONS.iter().any(|start| key.starts_with(start));
        if let Some(key) = overlay.keys().find(fixed) {
            bail!(
                "`{key}` is for new sessions: one that exists keeps what it was made with; leave it out, or begin a new session"
            );
        }
        Ok(overlay)
    }

    fn keys(&self) -> impl Iterator<Item = String> {
        given_keys(self.loaded)
    }

    /// Whether the call gave one of these keys.
    pub(super) fn gave(&self, wanted: &[&str]) -> bool {
        self.keys().any(|key| wanted.contains(&key.as_str()))
    }

    /// The change, but for the model and for who answers.
    ///
    /// # Errors
    /// When a `--config` cannot be read.
    pub(super) fn change(&self, before: &Settings) -> anyhow::Result<SettingsChange> {
        let config = &self.loaded.config;
        let rules = self.rules(&before.rules)?;
        let limits = self.limits(&before.limits);
        Ok(SettingsChange {
            mode: self.gave(&["mode"]).then(|| config.mode.clone()),
            effort: config.effort.map(EffortChange::To).filter(|_| self.gave(&["effort"])),
            capabilities: self
                .gave(&["capabilities.web_search.mode"])
                .then_some(config.capabilities),
            rules: (rules != before.rules).then_some(rules),
            limits: (limits != before.limits).then_some(limits),
            hooks: self.flags.hooks(),
            ..SettingsChange::default()
        })
    }

    /// The session's rules and those of this call.
    fn rules(&self, before: &Rules) -> anyhow::Result<Rules> {
        let mut rules = before.clone();
        let lists = [
            ("allow", &self.flags.allow, &mut rules.allow),
            ("deny", &self.flags.deny, &mut rules.deny),
        ];
        for (name, flags, list) in lists {
            let path = ["rules".to_owned(), name.to_owned()];
            let sources = self.loaded.stack.values.get(&path[..]).into_iter();
            for source in sources.flat_map(|Effective { sources, .. }| sources) {
                let Source::Override(text) = source else { continue };
                let value = given::assignment(text)?.value;
                let texts = value.as_array().into_iter().flatten().filter_map(|v| v.as_str());
                list.extend(texts.map(str::to_owned));
            }
            list.extend(flags.iter().cloned());
            let mut seen = std::collections::HashSet::new();
            list.retain(|rule| seen.insert(rule.clone()));
        }
        Ok(rules)
    }

    /// The session's limits with those of this call in their places.
    fn limits(&self, before: &Limits) -> Limits {
        let config = Limits::from(&self.loaded.config.limits);
        let unknown_prices = self.gave(&["limits.allow_unknown_prices"]);
        let source = if unknown_prices { &config } else { before };
        Limits {
            turn: self.bounds("turn", &config.turn, &before.turn),
            session: self.bounds("session", &config.session, &before.session),
            allow_unknown_prices: source.allow_unknown_prices,
        }
    }

    fn bounds(&self, of: &str, config: &Bounds, before: &Bounds) -> Bounds {
        let place = |name: &str| {
            if self.gave(&[&format!("limits.{of}.{name}")]) { config } else { before }
        };
        Bounds {
            steps: place("steps").steps,
            tokens: place("tokens").tokens,
            cost_micros: place("cost").cost_micros,
            wall_ms: place("time").wall_ms,
            tool_calls: place("tool_calls").tool_calls,
        }
    }
}

/// The keys that a flag or `--config` of this call gave.
pub(crate) fn given_keys(loaded: &Loaded) -> impl Iterator<Item = String> {
    let values = loaded.stack.values.iter();
    values.filter(|(_, value)| value.sources.iter().any(is_given)).map(|(path, _)| join(path))
}

fn is_given(source: &Source) -> bool {
    matches!(source.layer(), Layer::Override | Layer::Flag)
}
