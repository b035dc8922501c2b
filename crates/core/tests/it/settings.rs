//! What a session is set to is in force, or its turn says why not; nothing is taken and passed over.

use std::collections::BTreeMap;

use oarlock_core::command::Command;
use oarlock_core::event::{Effect, Event, Outcome, StopReason, TurnEnded};
use oarlock_core::message::Part;
use oarlock_core::ports::journal::Filter;
use oarlock_core::spec::{
    Answers, Bounds, LimitKind, Limits, Mode, ReasoningEffort, Rules, SettingsChange,
};
use oarlock_testkit::kit::{Kit, journal};
use oarlock_testkit::model::{Say, calls};
use oarlock_testkit::tool::{Act, TestTool};

/// What a turn that asks for one call that writes did under a change.
struct Ran {
    ended: TurnEnded,
    outcomes: Vec<Outcome>,
    asked: bool,
    kit: Kit,
}

async fn ran(change: SettingsChange) -> Ran {
    let tool = TestTool::new("write", Effect::Mutating, Act::Give("ok".to_owned()));
    let kit = Kit::new(vec![vec![Say::Reply(calls(&[("c", "write", "{}")]))]], vec![tool]);
    let session = kit.open().await;
    session.tell(Command::Configure { change: Box::new(change) }).await.unwrap();
    // The change is in the journal: a restart does not forget it.
    session.close().await.unwrap();
    let ended = session.run_turn(vec![Part::text("go")]).await.unwrap();
    let (mut outcomes, mut asked) = (Vec::new(), false);
    for entry in journal(&kit.core, &session).await {
        asked |= matches!(entry.event, Event::PermissionAsked(_));
        if let Event::ToolSettled(settled) = entry.event {
            outcomes.push(settled.outcome);
        }
    }
    Ran { ended, outcomes, asked, kit }
}

#[tokio::test(start_paused = true)]
async fn every_changed_setting_is_in_force_with_the_next_turn() {
    let same = SettingsChange::default;
    let plain = ran(same()).await;
    assert_eq!((plain.ended.stop, plain.outcomes), (StopReason::EndTurn, vec![Outcome::Completed]));

    for mode in [Mode::READ_ONLY, Mode::ASK_WRITES, Mode::DENY_ALL] {
        let outcomes = ran(SettingsChange { mode: Some(mode.clone()), ..same() }).await.outcomes;
        assert_eq!(outcomes, [Outcome::Denied], "{mode:?}");
    }
    let rules = Rules { deny: vec!["write".to_owned()], ..Rules::default() };
    let outcomes = ran(SettingsChange { rules: Some(rules), ..same() }).await.outcomes;
    assert_eq!(outcomes, [Outcome::Denied]);

    let effort = Some(ReasoningEffort::High);
    let asked = ran(SettingsChange { effort, ..same() }).await.kit.model.requests();
    assert!(asked.iter().all(|request| request.effort == effort));

    let turn = Bounds { steps: Some(1), ..Bounds::default() };
    let limits = Limits { turn, ..Limits::default() };
    let stop = ran(SettingsChange { limits: Some(limits), ..same() }).await.ended.stop;
    assert_eq!(stop, StopReason::Limit(LimitKind::Steps));
}

#[tokio::test(start_paused = true)]
async fn whether_somebody_answers_decides_whether_a_question_is_asked() {
    for (answers, asks) in [(Answers::Somebody, true), (Answers::Nobody, false)] {
        let mode = Some(Mode::ASK_WRITES);
        let change = SettingsChange { mode, answers: Some(answers), ..SettingsChange::default() };
        let ran = ran(change).await;
        assert_eq!((ran.outcomes, ran.asked), (vec![Outcome::Denied], asks));
    }
}

#[tokio::test(start_paused = true)]
async fn title_and_labels_are_what_lists_show() {
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let title = Some("a title".to_owned());
    let change =
        SettingsChange { title, labels: Some(labels.clone()), ..SettingsChange::default() };
    let ran = ran(change).await;
    let listed = ran.kit.core.ports().catalog.list(&Filter::default()).await.unwrap().remove(0);
    let summary = listed.summary.unwrap().unwrap();
    assert_eq!((summary.title.as_str(), summary.labels), ("a title", labels));
}
