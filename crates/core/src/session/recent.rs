//! What a session remembers of its calls and keys: the last of each, as hashes, so that its memory does not grow with its age. Pure.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::event::InputAdmitted;
use crate::ids::{CallId, Seq};

/// Calls whose ids are remembered; with more, the oldest go. 32 KB.
pub const CALLS_MAX: usize = 4_096;
/// Keyed inputs whose keys are remembered; with more, the oldest go, and an input with such a key is a new one. 160 KB.
pub const KEYS_MAX: usize = 4_096;

/// The ids of the last [`CALLS_MAX`] calls, as 64-bit hashes. That two ids have one hash does no harm: the later one is renamed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecentCalls(VecDeque<u64>);

/// The keys of the last [`KEYS_MAX`] keyed inputs, and what came with them, as 128-bit hashes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecentKeys(VecDeque<KeyedInput>);

/// An input by the hashes of its key and of all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct KeyedInput {
    key: [u64; 2],
    whole: [u64; 2],
    input: Seq,
}

impl RecentCalls {
    /// Whether this may be the id of one of the calls.
    #[must_use]
    pub fn contains(&self, id: &CallId) -> bool {
        let [hash, _] = hash(id.as_str());
        self.0.contains(&hash)
    }

    /// Whether calls may have been forgotten.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= CALLS_MAX
    }

    pub(crate) fn add(&mut self, id: &CallId) {
        let [hash, _] = hash(id.as_str());
        push(&mut self.0, hash, CALLS_MAX);
    }
}

impl RecentKeys {
    /// Which input has this key.
    #[must_use]
    pub fn input(&self, key: &str) -> Option<Seq> {
        self.known(key).map(|known| known.input)
    }

    /// Whether the input that has the key of this one, if any has, says the same.
    pub(crate) fn is_same(&self, admitted: &InputAdmitted) -> bool {
        let known = admitted.key.as_ref().and_then(|key| self.known(key));
        known.is_none_or(|known| known.whole == whole(admitted))
    }

    pub(crate) fn add(&mut self, admitted: &InputAdmitted, input: Seq) {
        if let Some(key) = &admitted.key {
            let keyed = KeyedInput { key: hash(key), whole: whole(admitted), input };
            push(&mut self.0, keyed, KEYS_MAX);
        }
    }

    fn known(&self, key: &str) -> Option<&KeyedInput> {
        let hash = hash(key);
        self.0.iter().rev().find(|known| known.key == hash)
    }
}

fn whole(admitted: &InputAdmitted) -> [u64; 2] {
    hash(&serde_json::to_string(admitted).expect("an input has string keys"))
}

fn push<T>(recent: &mut VecDeque<T>, item: T, max: usize) {
    if recent.len() >= max {
        recent.pop_front();
    }
    recent.push_back(item);
}

fn hash(text: &str) -> [u64; 2] {
    let hash = blake3::hash(text.as_bytes());
    let part = |at: usize| {
        let bytes = hash.as_bytes()[at..at + 8].try_into().expect("a hash has 32 bytes");
        u64::from_le_bytes(bytes)
    };
    [part(0), part(8)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Delivery, InputSource};
    use crate::message::Part;

    fn input(key: &str, words: &str) -> InputAdmitted {
        InputAdmitted {
            key: Some(key.to_owned()),
            source: InputSource::User,
            delivery: Delivery::Now,
            content: vec![Part::text(words)],
            goal: None,
            output: None,
            peer: None,
        }
    }

    #[test]
    fn the_last_calls_and_keys_are_known_and_older_ones_are_not() {
        let (mut calls, mut keys) = (RecentCalls::default(), RecentKeys::default());
        let id = |n: usize| CallId(format!("call-{n}").into());
        for n in 0..CALLS_MAX + 2 {
            calls.add(&id(n));
            keys.add(&input(&format!("key-{n}"), "go"), n as Seq);
        }
        assert!(calls.is_full());
        assert_eq!(
            [0, 1, 2, CALLS_MAX + 1].map(|n| calls.contains(&id(n))),
            [false, false, true, true]
        );
        let oldest = CALLS_MAX + 2 - KEYS_MAX;
        assert_eq!(keys.input(&format!("key-{}", oldest - 1)), None);
        assert_eq!(keys.input(&format!("key-{oldest}")), Some(oldest as Seq));
        assert_eq!((calls.0.len(), keys.0.len()), (CALLS_MAX, KEYS_MAX));
    }

    #[test]
    fn a_key_that_came_again_after_it_was_forgotten_names_the_later_input() {
        let mut keys = RecentKeys::default();
        keys.add(&input("k", "go"), 3);
        keys.add(&input("k", "come"), 9);
        assert!(keys.is_same(&input("k", "come")) && !keys.is_same(&input("k", "go")));
        assert_eq!(keys.input("k"), Some(9));
    }
}
