//! Chance that a seed decides.

use std::sync::{Mutex, PoisonError};

/// A stream of numbers, the same for the same seed.
#[derive(Debug)]
pub(super) struct Chance(Mutex<u64>);

impl Chance {
    /// The stream of this seed; streams of other names are independent of it.
    pub(super) fn new(seed: u64, name: &str) -> Self {
        let name = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(Mutex::new(seed ^ name))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether something happens that does so `percent` times of 100.
    pub(super) fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which are not none.
    pub(super) fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        let count = u64::try_from(choices.len()).expect("a test has few choices");
        let at = usize::try_from(self.below(count)).expect("it is below a length");
        &choices[at]
    }
}
