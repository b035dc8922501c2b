//! What many sessions have alike, kept once: a thousand sessions of one folder are made of the same words.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Things that are remembered, the last that were met.
const KEPT_MAX: usize = 16;

/// Remembers things that are in use at this time, so that who makes an equal one has the same. It keeps none of them.
#[derive(Debug)]
pub struct Alike<T>(Mutex<Vec<Weak<T>>>);

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: PartialEq> Alike<T> {
    /// The thing that is equal to this one, if somebody has it, else this one, to be found by the next.
    #[must_use]
    pub fn one_of(&self, thing: Arc<T>) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.iter().filter_map(Weak::upgrade).find(|known| *known == thing) {
            return known;
        }
        all.retain(|known| known.strong_count() > 0);
        if all.len() >= KEPT_MAX {
            all.remove(0);
        }
        all.push(Arc::downgrade(&thing));
        thing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_is_one_thing_as_long_as_somebody_has_it() {
        let alike = Alike::default();
        let first = alike.one_of(Arc::new("a".to_owned()));
        assert!(Arc::ptr_eq(&first, &alike.one_of(Arc::new("a".to_owned()))));
        assert!(!Arc::ptr_eq(&first, &alike.one_of(Arc::new("b".to_owned()))));
        let weak = Arc::downgrade(&first);
        drop(first);
        assert!(weak.upgrade().is_none());
        assert_eq!(*alike.one_of(Arc::new("a".to_owned())), "a");
    }

    #[test]
    fn no_more_are_remembered_than_a_few() {
        let alike = Alike::default();
        let all: Vec<_> = (0..100).map(|no| alike.one_of(Arc::new(no))).collect();
        assert_eq!((alike.0.lock().unwrap().len(), all.len()), (KEPT_MAX, 100));
        assert!(Arc::ptr_eq(&all[99], &alike.one_of(Arc::new(99))));
    }
}
