//! Which skills were loaded: what the fold makes of it, and what a model is told when their words are gone.

use crate::event::SkillLoaded;
use crate::session::state::State;

/// Loaded skills that are remembered, the last ones.
const SKILLS_MAX: usize = 100;

impl State {
    pub(in crate::session) fn load_skill(&mut self, loaded: &SkillLoaded) {
        self.granted.grant(&loaded.grants);
        self.skills.retain(|name| *name != loaded.name);
        self.skills.push(loaded.name.clone());
        if self.skills.len() > SKILLS_MAX {
            self.skills.remove(0);
        }
    }
}

/// The names of the loaded skills, for a conversation that was shortened.
pub(in crate::session) fn standing(state: &State) -> Option<String> {
    (!state.skills.is_empty()).then(|| {
        format!(
            "[Skills that were loaded; load one again whose words are not shown any more and are needed:]\n{}",
            state.skills.join(", ")
        )
    })
}
