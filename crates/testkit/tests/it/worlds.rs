//! Simulated worlds come to rest, and a seed is always the same world.

use std::collections::BTreeSet;

use oarlock_testkit::sim::live;

/// The slice of seeds that every run of the tests lives; `just simulate` lives many more.
const SEEDS: u64 = 150;

#[test]
fn every_world_comes_to_rest_within_its_bound() {
    let (mut kinds, mut deaths) = (BTreeSet::new(), 0);
    for seed in 0..SEEDS {
        let rest = live(seed).unwrap_or_else(|stuck| panic!("{stuck}"));
        kinds.extend(rest.kinds);
        deaths += rest.deaths;
    }
    // Quiet worlds would prove little.
    assert!(deaths > 50, "{deaths} deaths");
    for kind in [
        "permission_asked",
        "input_requested",
        "model_failed",
        "turn_recovered",
        "task_settled",
        "subagent_closed",
        "hook_ran",
        "turn_continued",
        "tool_settled",
    ] {
        assert!(kinds.contains(kind), "no {kind} in {kinds:?}");
    }
}

#[test]
fn a_seed_is_the_same_world_each_time() {
    for seed in [1, 8, 21, 34, 55, 89] {
        assert_eq!(live(seed).unwrap(), live(seed).unwrap());
    }
}
