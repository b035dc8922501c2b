//! Tools without some of them, made once for all sessions that want the same: what models are told of tools is tens of kilobytes.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::agent::registry::{StaticToolRegistry, ToolRegistry};

/// Registries that are remembered; those beyond are made for one session each.
const KEPT_MAX: usize = 64;

/// The registries that sessions have at this time.
#[derive(Debug, Default)]
pub(super) struct Narrowed(Mutex<Vec<One>>);

#[derive(Debug)]
struct One {
    of: Weak<dyn ToolRegistry>,
    without: Vec<&'static str>,
    made: Weak<dyn ToolRegistry>,
}

impl Narrowed {
    /// All of these tools but some.
    pub(super) fn without(
        &self,
        tools: &Arc<dyn ToolRegistry>,
        without: Vec<&'static str>,
    ) -> Arc<dyn ToolRegistry> {
        let of = Arc::downgrade(tools);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = all.iter().find(|one| one.without == without && one.of.ptr_eq(&of));
        if let Some(made) = same.and_then(|one| one.made.upgrade()) {
            return made;
        }
        let names = tools.schemas().iter().map(|schema| schema.name.as_str());
        let others =
            names.filter(|name| !without.contains(name)).filter_map(|name| tools.get(name));
        let made: Arc<dyn ToolRegistry> = Arc::new(StaticToolRegistry::new(others.map(Arc::clone)));
        all.retain(|one| one.made.strong_count() > 0);
        if all.len() < KEPT_MAX {
            all.push(One { of, without, made: Arc::downgrade(&made) });
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_want_the_same_tools_have_the_same_registry_as_long_as_one_has_it() {
        let narrowed = Narrowed::default();
        let tools: Arc<dyn ToolRegistry> = Arc::new(StaticToolRegistry::new([]));
        let first = narrowed.without(&tools, vec!["send"]);
        assert!(Arc::ptr_eq(&first, &narrowed.without(&tools, vec!["send"])));
        assert!(!Arc::ptr_eq(&first, &narrowed.without(&tools, vec!["send", "spawn"])));
        drop(first);
        let again = narrowed.without(&tools, vec!["send"]);
        assert_eq!(narrowed.0.lock().unwrap().len(), 1, "nobody has the others");
        drop(again);
    }
}
