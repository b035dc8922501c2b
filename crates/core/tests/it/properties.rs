//! Every random life of a session keeps the laws.

use std::collections::BTreeSet;

use futures::executor::block_on;
use oarlock_core::event::Event;
use oarlock_core::replay::replay;
use oarlock_testkit::kit::tag;
use oarlock_testkit::story::draw::{config, stories};
use oarlock_testkit::story::{Story, laws, play};
use proptest::prelude::{Strategy, proptest};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn every_life_of_a_session_keeps_the_laws(story in stories(14)) {
        laws::hold(&story, &play(&story));
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn every_recorded_life_replays_to_the_same_journal(story in stories(14)) {
        let story = Story { faults: 0, ..story };
        for recording in play(&story).recordings {
            if let Err(error) = block_on(replay(recording)) {
                panic!("{error}");
            }
        }
    }
}

/// Events, outcomes and ends by their names.
const KINDS: &str = "session_created session_configured session_archived session_restored \
    writer_changed writer_released input_admitted input_withdrawn turn_started turn_recovered \
    turn_ended step_started model_failed model_replaced assistant_message tool_called permission_asked \
    permission_answered tool_started tool_settled input_requested \
    summary_started summary_failed context_compacted history_edited \
    goal_set goal_reached turn_continued plan_changed \
    Completed Failed Denied Cancelled Indeterminate \
    EndTurn MaxTokens Refusal Interrupted Limit(Steps) Limit(Tokens) Limit(Cost) Limit(Time) \
    Limit(ToolCalls) Failed(Model(Auth)) Failed(CrashLoop)";

/// The lives above would prove little if they were quiet.
#[test]
fn random_lives_meet_every_kind_of_event_and_end() {
    let mut missing: BTreeSet<String> = KINDS.split_whitespace().map(str::to_owned).collect();
    missing.extend(["Person", "Deadline", "Cancel"].map(|by| format!("by {by}")));
    let mut runner = TestRunner::new(config(1));
    for _ in 0..3_000 {
        let story = stories(14).new_tree(&mut runner).unwrap().current();
        for entry in play(&story).entries {
            missing.remove(&tag(&entry.event));
            match entry.event {
                Event::ToolSettled(settled) => missing.remove(&format!("{:?}", settled.outcome)),
                Event::TurnEnded(ended) => missing.remove(&format!("{:?}", ended.stop)),
                Event::PermissionAnswered(answer) => missing.remove(&format!("by {:?}", answer.by)),
                _ => false,
            };
        }
        if missing.is_empty() {
            return;
        }
    }
    panic!("never met: {missing:?}");
}
