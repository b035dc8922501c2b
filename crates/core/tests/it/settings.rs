//! What a session is set to is in force, or its turn says why not; nothing is taken and passed over.

use std::collections::BTreeMap;
use std::sync::Arc;

use oarlock_core::command::{Command, Rejection};
use oarlock_core::event::{Effect, Event, FailureClass, Outcome, StopReason, TurnEnded};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::Part;
use oarlock_core::ports::journal::Filter;
use oarlock_core::ports::model::{Model, ModelCandidate, ModelError, ModelErrorKind, Models};
use oarlock_core::spec::{
    Answers, Bounds, ContextPolicy, EffortChange, LimitKind, Limits, Mode, ModelSelection,
    ReasoningEffort, Rules, SettingsChange, TurnConfig,
};
use oarlock_core::{AgentError, LoadSession, Origin, Recovery, SessionError};
use oarlock_testkit::kit::{Kit, Parts, journal, node, settings, spec};
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
    session.tell(Command::Configure { change: Box::new(change), expected: None }).await.unwrap();
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

    let high = ReasoningEffort::High;
    let effort = Some(EffortChange::To(high));
    let asked = ran(SettingsChange { effort, ..same() }).await.kit.model.requests();
    assert!(asked.iter().all(|request| request.effort == Some(high)));

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

#[tokio::test(start_paused = true)]
async fn what_a_session_cannot_be_is_refused_when_it_is_made_and_when_it_is_changed() {
    let context = ContextPolicy { window: Some(0), ..ContextPolicy::default() };
    let turn = TurnConfig { context, ..TurnConfig::default() };
    let rules = Rules { deny: vec!["bash(".to_owned()], ..Rules::default() };
    let table = [
        SettingsChange { turn: Some(turn), ..SettingsChange::default() },
        SettingsChange { rules: Some(rules), ..SettingsChange::default() },
    ];
    for change in table {
        let kit = Kit::new(vec![], vec![]);
        let mut wrong = settings();
        wrong.apply(&change);
        let made = kit.core.open(spec(wrong).into()).await;
        assert!(matches!(made, Err(AgentError::Invalid(_))), "{made:?}");
        let session = kit.open().await;
        let changed =
            session.tell(Command::Configure { change: Box::new(change), expected: None }).await;
        assert!(
            matches!(changed, Err(SessionError::Rejected(Rejection::Invalid { .. }))),
            "{changed:?}"
        );
        assert_eq!(kit.core.state(session.id()).await.unwrap().spec.settings, settings().into());
    }
}

#[tokio::test(start_paused = true)]
async fn an_effort_is_taken_while_the_model_cannot_be_found_and_the_next_turn_says_so() {
    let store = MemoryStore::new(node("a"));
    let session = {
        let kit = Kit::of(Parts::on(store.clone(), vec![], vec![]));
        let session = kit.open().await;
        session.close().await.unwrap();
        session.id().clone()
    };
    let none: Option<Arc<dyn Models>> = Some(Arc::new(NoModels));
    let parts = Parts { name: "b", models: none, ..Parts::on(store, vec![], vec![]) };
    let kit = Kit::of(parts);
    let load = LoadSession::new(session, Recovery::Continue);
    let session = kit.core.open(Origin::Resume(load)).await.unwrap();
    let high = ReasoningEffort::High;
    let effort = Some(EffortChange::To(high));
    let change = SettingsChange { effort, ..SettingsChange::default() };
    session.tell(Command::Configure { change: Box::new(change), expected: None }).await.unwrap();
    assert_eq!(kit.core.state(session.id()).await.unwrap().spec.settings.effort, Some(high));
    let ended = session.run_turn(vec![Part::text("go")]).await.unwrap();
    let missing = FailureClass::Model(ModelErrorKind::ModelNotFound);
    assert_eq!(ended.stop, StopReason::Failed(missing));
}

/// A process without models.
#[derive(Debug)]
struct NoModels;

impl Models for NoModels {
    fn resolve(&self, _: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        let message = "there is no model here".to_owned();
        Err(ModelError { kind: ModelErrorKind::ModelNotFound, message, retry_after_ms: None })
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        Vec::new()
    }
}
