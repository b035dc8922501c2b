//! What of the batteries a program takes.

use std::collections::BTreeSet;

/// A part that a runtime of [`crate::CliAgentBuilder`] has unless it is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// The built-in tools; skills and subagents come with them.
    ProcessTools,
    /// `spawn_agent` with the profiles of user and project.
    Subagents,
    /// `skill` with the skills of user and project.
    Skills,
    /// The hooks of the configuration.
    Hooks,
    /// Sessions on disk; without it they are gone with the process.
    Storage,
    /// Grants that are kept for later sessions of a folder.
    Grants,
}

/// The parts that a runtime has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultFeatureSet(BTreeSet<Feature>);

impl Default for DefaultFeatureSet {
    /// All of them.
    fn default() -> Self {
        use Feature as F;
        let all = [F::ProcessTools, F::Subagents, F::Skills, F::Hooks, F::Storage, F::Grants];
        Self(all.into())
    }
}

impl DefaultFeatureSet {
    /// None of them.
    #[must_use]
    pub fn empty() -> Self {
        Self(BTreeSet::new())
    }

    /// These and that one.
    #[must_use]
    pub fn with(mut self, feature: Feature) -> Self {
        self.0.insert(feature);
        self
    }

    /// These but that one.
    #[must_use]
    pub fn without(mut self, feature: Feature) -> Self {
        self.0.remove(&feature);
        self
    }

    /// Whether it is among them.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        self.0.contains(&feature)
    }
}
