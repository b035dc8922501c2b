//! Hooks around inputs, turns, model calls, questions and summaries.

use std::sync::Arc;

use oarlock_core::event::{
    AnsweredBy, Delivery, Effect, Event, HookChange, HookControl, HookPoint, HookStop, Outcome,
    PermissionKind, PrefixBreak, StopReason,
};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Part, Usage};
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::hook::{HookEnd, OnError};
use oarlock_core::ports::model::{
    Model, ModelCandidate, ModelError, ModelErrorKind, ModelInfo, Models,
};
use oarlock_core::spec::{Answers, Mode, ModelSelection, Rules, Settings};
use oarlock_core::{Command, DefaultSession, LoadSession, Origin, Recovery};
use oarlock_testkit::clock::VirtualClock;
use oarlock_testkit::hooks::{DEADLINE_MS, Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings, tags, wait_for};
use oarlock_testkit::model::{Say, ScriptedModel, calls, info, text};
use oarlock_testkit::tool::{Act, TestTool, Work};
use serde_json::json;

use super::{Walk, doing, one_call, user_texts, walk};

fn change(of: impl FnOnce(&mut HookChange)) -> HookChange {
    let mut change = HookChange::default();
    of(&mut change);
    change
}

/// Lets virtual time pass.
async fn pass(ms: u64) {
    let clock = VirtualClock::new();
    clock.sleep_until(clock.now().after(ms)).await;
}

fn words(text: &str) -> HookChange {
    change(|change| change.context = vec![text.to_owned()])
}

fn stopping(stop: Option<HookStop>) -> HookChange {
    change(|change| {
        change.control = Some(HookControl::Break { stop });
        change.reason = Some("because".to_owned());
    })
}

fn says(text_: &'static str) -> Vec<Vec<Say>> {
    vec![vec![Say::Reply(text(text_))]]
}

async fn plain(point: HookPoint, change: HookChange) -> Walk {
    walk(settings(), says("hello"), vec![], doing(point, change)).await
}

#[tokio::test(start_paused = true)]
async fn words_on_entering_are_part_of_the_system_prompt_and_stay_after_a_resume() {
    let store = MemoryStore::new(node("a"));
    let hooks = doing(HookPoint::AfterSessionEnter, words("The build is red."));
    let parts = Parts::on(store.clone(), says("one"), vec![]);
    let kit = Kit::of(Parts { hooks: Some(hooks.clone()), ..parts });
    let session = kit.open().await;
    session.run_turn(vec![Part::text("go")]).await.unwrap();
    assert_eq!(kit.model.requests()[0].system, "be brief\n\nThe build is red.");
    assert_eq!(hooks.told()[0].fields["source"], json!("new"));
    session.close().await.unwrap();

    // Without a word of its hooks the resumed session's prompt is what it was, although they used something.
    let usage = Usage { input: 7, ..Usage::default() };
    let used = HookEnd { usage, ..HookEnd::default() };
    let silent = TestHooks::new([(HookPoint::AfterSessionEnter, vec![Do::End(Box::new(used))])]);
    let parts = Parts::on(store.reopen(node("b")), says("two"), vec![]);
    let kit = Kit::of(Parts { hooks: Some(silent.clone()), name: "b", ..parts });
    let load = LoadSession::new(session.id().clone(), Recovery::Continue);
    let session = kit.core.open(Origin::Resume(load)).await.unwrap();
    session.run_turn(vec![Part::text("again")]).await.unwrap();
    assert_eq!(kit.model.requests()[0].system, "be brief\n\nThe build is red.");
    assert_eq!(silent.told()[0].fields["source"], json!("resume"));
    let entries = journal(&kit.core, &session).await;
    assert_eq!(tags(&entries).iter().filter(|tag| *tag == "hook_ran").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_input_reaches_the_model_as_hooks_have_left_it() {
    let replaced = change(|change| {
        change.input = Some("GO".to_owned());
        change.prepend_input = Some("first".to_owned());
        change.context = vec!["last".to_owned()];
    });
    let walked = plain(HookPoint::BeforeIngest, replaced).await;
    assert_eq!(walked.told(), ["first|GO|last"]);
    let told = &walked.hooks.told()[0].fields;
    assert_eq!((&told["input"], &told["source"]), (&json!("go"), &json!("user")));
    assert_eq!(walked.ran().len(), 1);
    // What was admitted stays what it was.
    assert!(walked.entries.iter().any(|entry| match &entry.event {
        Event::InputAdmitted(admitted) => admitted.content == [Part::text("go")],
        _ => false,
    }));
}

#[tokio::test(start_paused = true)]
async fn a_refused_input_ends_its_turn_and_no_model_is_ever_shown_it() {
    let hooks = doing(HookPoint::BeforeIngest, stopping(None));
    let kit = Kit::of(Parts { hooks: Some(hooks), ..Parts::new(says("fine"), vec![]) });
    let session = kit.open().await;
    let ended = session.run_turn(vec![Part::text("a secret")]).await.unwrap();
    assert_eq!((ended.stop, ended.steps), (StopReason::Refusal, 0));
    assert_eq!(ended.error.unwrap().message, "because");
    assert!(kit.model.requests().is_empty());
    session.run_turn(vec![Part::text("a question")]).await.unwrap();
    assert_eq!(user_texts(&kit.model.requests()[0]), ["a question"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_input_that_steers_is_withdrawn_and_the_turn_goes_on() {
    let does = vec![Do::Nothing, Do::Change(Box::new(stopping(None)))];
    let hooks = TestHooks::new([(HookPoint::BeforeIngest, does)]);
    let tool = TestTool::new("t", Effect::Pure, Act::After(100, "x"));
    let script = vec![vec![Say::Reply(calls(&[("c", "t", "{}")]))], vec![Say::Reply(text("end"))]];
    let kit = Kit::of(Parts { hooks: Some(hooks), ..Parts::new(script, vec![tool]) });
    let session = kit.open().await;
    send(&session, "go", Delivery::Queue).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::ToolStarted(_))).await;
    send(&session, "a secret", Delivery::Steer).await.unwrap();
    let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    assert!(matches!(&ended.event, Event::TurnEnded(ended) if ended.stop == StopReason::EndTurn));
    assert_eq!(user_texts(kit.model.requests().last().unwrap()), ["go"]);
    let entries = journal(&kit.core, &session).await;
    assert!(tags(&entries).contains(&"input_withdrawn".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn words_at_a_point_of_the_turn_stand_in_the_next_request() {
    for point in [HookPoint::AfterIngest, HookPoint::AfterTurnEnter, HookPoint::BeforeGenerate] {
        let walked = plain(point, words("note")).await;
        assert_eq!(walked.told(), ["go", "note"], "{point:?}");
        assert_eq!((walked.ran().len(), walked.requests().len()), (1, 1), "{point:?}");
    }
    let tool = TestTool::new("t", Effect::Pure, Act::Echo);
    let walked = one_call(tool, doing(HookPoint::AfterToolBatch, words("note"))).await;
    assert_eq!(walked.told(), ["go", "note"]);
    let results = &walked.hooks.told()[0].fields["results"];
    assert_eq!((&results[0]["tool"], &results[0]["is_error"]), (&json!("t"), &json!(false)));
}

#[tokio::test(start_paused = true)]
async fn a_break_ends_the_turn_for_the_reason_that_the_hook_gives() {
    let points = [
        (HookPoint::AfterTurnEnter, StopReason::EndTurn, 0),
        (HookPoint::BeforeGenerate, StopReason::Refusal, 0),
        (HookPoint::AfterToolBatch, StopReason::EndTurn, 1),
    ];
    for (point, own, steps) in points {
        let reasons = [
            (None, own),
            (Some(HookStop::Refusal), StopReason::Refusal),
            (Some(HookStop::EndTurn), StopReason::EndTurn),
            (Some(HookStop::Cancelled), StopReason::Cancelled),
        ];
        for (stop, wanted) in reasons {
            let tool = TestTool::new("t", Effect::Pure, Act::Echo);
            let walked = one_call(tool, doing(point, stopping(stop))).await;
            assert_eq!((walked.ended.stop, walked.ended.steps), (wanted, steps), "{point:?}");
            assert_eq!(walked.requests().len(), steps as usize, "{point:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_hook_is_one_for_client_model_and_journal_and_costs_nothing() {
    let answer = change(|change| change.assistant = Some("from the hook".to_owned()));
    let hooks = doing(HookPoint::BeforeGenerate, answer);
    let kit = Kit::of(Parts { hooks: Some(hooks), ..Parts::new(says("two"), vec![]) });
    let session = kit.open().await;
    let ended = session.run_turn(vec![Part::text("go")]).await.unwrap();
    assert_eq!(
        (ended.stop, ended.usage.total(), ended.cost_micros),
        (StopReason::EndTurn, 0, Some(0))
    );
    assert!(kit.model.requests().is_empty());
    session.run_turn(vec![Part::text("again")]).await.unwrap();
    let request = serde_json::to_string(&kit.model.requests()[0].messages).unwrap();
    assert!(request.contains("from the hook"), "{request}");
    let said = journal(&kit.core, &session).await.iter().any(|entry| match &entry.event {
        Event::AssistantMessage(message) => message.model == "hook" && !message.partial,
        _ => false,
    });
    assert!(said);
}

/// Two models.
#[derive(Debug)]
struct Two([Arc<ScriptedModel>; 2]);

impl Models for Two {
    fn resolve(&self, wanted: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        let found = self.0.iter().find(|model| model.info().selection == *wanted);
        let message = format!("there is no model {wanted}");
        let kind = ModelErrorKind::ModelNotFound;
        let missing = ModelError { kind, message, retry_after_ms: None };
        found.map(|model| Arc::clone(model) as Arc<dyn Model>).ok_or(missing)
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        self.0.iter().map(|model| model.info().clone().into()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn another_model_answers_that_step_alone() {
    let other = ModelSelection { provider: "test".to_owned(), model: "large".to_owned() };
    let ask = calls(&[("c", "t", "{}")]);
    let large = ModelInfo { selection: other.clone(), ..info() };
    let large = ScriptedModel::of(large, [vec![Say::Reply(ask)]]);
    let small = ScriptedModel::of(info(), says("small"));
    let models = Arc::new(Two([small.clone(), large.clone()]));
    let change = change(|change| change.model = Some(other));
    let tool = TestTool::new("t", Effect::Pure, Act::Echo);
    let does = vec![Do::Change(Box::new(change))];
    let hooks =
        TestHooks::new([(HookPoint::BeforeGenerate, does), (HookPoint::AfterGenerate, vec![])]);
    let kit = Kit::of(Parts {
        hooks: Some(hooks.clone()),
        models: Some(models),
        ..Parts::new(vec![], vec![tool])
    });
    let session = kit.open().await;
    let ended = session.run_turn(vec![Part::text("go")]).await.unwrap();
    assert_eq!((ended.stop, ended.steps), (StopReason::EndTurn, 2));
    assert_eq!((large.requests().len(), small.requests().len()), (1, 1));
    let told = hooks.told();
    let after = told.iter().filter(|step| step.hook_event == HookPoint::AfterGenerate);
    let answered: Vec<_> = after.map(|step| step.fields["model"].clone()).collect();
    assert_eq!(answered, ["test/large", "test/scripted"], "the model that answered");
    let breaks: Vec<_> = journal(&kit.core, &session)
        .await
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::StepStarted(step) => Some((step.request.model.clone(), step.prefix_break)),
            _ => None,
        })
        .collect();
    let wanted =
        [("test/large".to_owned(), None), ("test/scripted".to_owned(), Some(PrefixBreak::Model))];
    assert_eq!(breaks, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_not_there_is_a_failure_of_its_hook() {
    let selection = ModelSelection { provider: "test".to_owned(), model: "nope".to_owned() };
    let other = change(|change| change.model = Some(selection));
    let walked = plain(HookPoint::BeforeGenerate, other).await;
    assert_eq!((walked.ended.stop, walked.requests().len()), (StopReason::Refusal, 0));
    let why = walked.ended.error.unwrap().message;
    assert!(why.contains("nope"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn what_hooks_used_counts_against_the_limits() {
    let usage = Usage { input: 700, output: 50, ..Usage::default() };
    let end = HookEnd { usage, cost_micros: Some(9), ..HookEnd::default() };
    let does = vec![Do::End(Box::new(end))];
    let hooks = TestHooks::new([(HookPoint::AfterGenerate, does)]);
    let walked = walk(settings(), says("hello"), vec![], hooks).await;
    assert_eq!((walked.ended.usage.total(), walked.ended.cost_micros), (765, Some(29)));
    let told = &walked.hooks.told()[0].fields;
    assert_eq!((&told["usage"]["input"], &told["stop_reason"]), (&json!(10), &json!("end_turn")));
    assert_eq!(told["model"], json!("test/scripted"));
}

#[tokio::test(start_paused = true)]
async fn a_hook_answers_in_the_place_of_a_person_but_not_against_a_rule() {
    let allow = || change(|change| change.permission = Some(PermissionKind::AllowOnce));
    let reject = || change(|change| change.permission = Some(PermissionKind::RejectOnce));
    let deny = Rules { deny: vec!["t".to_owned()], ..Rules::default() };
    for (answers, rules, said, outcome) in [
        (Answers::Somebody, Rules::default(), allow(), Outcome::Completed),
        (Answers::Nobody, Rules::default(), allow(), Outcome::Completed),
        (Answers::Somebody, Rules::default(), reject(), Outcome::Denied),
        (Answers::Somebody, deny, allow(), Outcome::Denied),
    ] {
        let hooks = TestHooks::new([
            (HookPoint::BeforePermission, vec![Do::Change(Box::new(said))]),
            (HookPoint::AfterPermission, vec![]),
        ]);
        let by_rule = !rules.is_empty();
        let settings = Settings { mode: Mode::ASK_WRITES, answers, rules, ..settings() };
        let ask = vec![vec![Say::Reply(calls(&[("c", "t", "{}")]))]];
        let tool = TestTool::new("t", Effect::Mutating, Act::Echo);
        let walked = walk(settings, ask, vec![tool.clone()], hooks).await;
        assert_eq!(walked.settled()[0].0, outcome);
        assert_eq!(tool.runs() == 1, outcome == Outcome::Completed);
        let told = walked.hooks.told();
        let after = told.last().unwrap();
        assert_eq!(after.hook_event, HookPoint::AfterPermission);
        assert_eq!(after.fields["granted"], json!(outcome == Outcome::Completed));
        let tags = tags(&walked.entries);
        assert!(!tags.contains(&"permission_asked".to_owned()));
        let by: Vec<AnsweredBy> = walked
            .entries
            .iter()
            .filter_map(|entry| match &entry.event {
                Event::PermissionAnswered(answered) => Some(answered.by),
                _ => None,
            })
            .collect();
        assert_eq!(by, if by_rule { vec![] } else { vec![AnsweredBy::Hook] });
    }
}

/// Sums up a session of three turns by hand, with these hooks, and takes another turn.
async fn summed_up(hooks: Arc<TestHooks>) -> (Kit, Vec<String>) {
    let summaries = vec![vec![Say::Reply(text("the notes"))]];
    let kit = Kit::of(Parts { hooks: Some(hooks), summaries, ..Parts::new(vec![], vec![]) });
    let session = kit.open().await;
    for _ in 0..3 {
        let long = "many words ".repeat(400);
        session.run_turn(vec![Part::text(long)]).await.unwrap();
    }
    session.tell(Command::Compact { instructions: None }).await.unwrap();
    wait_for(&session, 0, |event| {
        matches!(event, Event::ContextCompacted(_) | Event::SummaryFailed(_))
    })
    .await;
    session.run_turn(vec![Part::text("and now")]).await.unwrap();
    let tags = tags(&journal(&kit.core, &session).await);
    (kit, tags)
}

#[tokio::test(start_paused = true)]
async fn a_summary_can_be_refused_and_its_end_be_followed_by_words() {
    let skip = change(|change| {
        change.control = Some(HookControl::Skip);
        change.reason = Some("not now".to_owned());
    });
    let (kit, tags) = summed_up(doing(HookPoint::BeforeCompact, skip)).await;
    assert!(!tags.contains(&"context_compacted".to_owned()));
    assert!(kit.model.requests().iter().all(|request| !request.is_summary()));

    let (kit, tags) = summed_up(doing(HookPoint::AfterCompact, words("remember"))).await;
    assert!(tags.contains(&"context_compacted".to_owned()));
    let told = user_texts(kit.model.requests().last().unwrap());
    let place = told.iter().position(|text| text == "remember").unwrap();
    assert_eq!(told[place + 1], "and now");
}

/// What became of a session whose hooks were stuck at a place that is gone: it takes a turn, and no other process had to take it up.
async fn goes_on(kit: &Kit, session: &DefaultSession) {
    pass(2 * DEADLINE_MS).await;
    let ended = session.run_turn(vec![Part::text("and now")]).await.unwrap();
    assert_eq!(ended.stop, StopReason::EndTurn);
    let entries = journal(&kit.core, session).await;
    let taken = tags(&entries).iter().filter(|tag| *tag == "writer_changed").count();
    assert_eq!(taken, 0, "{:?}", tags(&entries));
}

#[tokio::test(start_paused = true)]
async fn an_input_is_withdrawn_while_its_hooks_run_and_what_they_say_is_not_heard() {
    let hooks = TestHooks::new([(HookPoint::BeforeIngest, vec![Do::Hang])]);
    let kit = Kit::of(Parts { hooks: Some(hooks.clone()), ..Parts::new(says("fine"), vec![]) });
    let session = kit.open().await;
    let input = send(&session, "go", Delivery::Queue).await.unwrap();
    session.tell(Command::Withdraw { input }).await.unwrap();
    assert_eq!(hooks.told().len(), 1, "they ran");
    goes_on(&kit, &session).await;
    assert_eq!(user_texts(&kit.model.requests()[0]), ["and now"]);
}

#[tokio::test(start_paused = true)]
async fn a_summary_is_cancelled_while_its_hooks_run_and_what_they_say_is_not_heard() {
    let hooks = TestHooks::judging([(HookPoint::BeforeCompact, vec![Do::Hang])], |_| OnError::Deny);
    let kit = Kit::of(Parts { hooks: Some(hooks.clone()), ..Parts::new(vec![], vec![]) });
    let session = kit.open().await;
    for _ in 0..3 {
        let long = "many words ".repeat(400);
        session.run_turn(vec![Part::text(long)]).await.unwrap();
    }
    session.tell(Command::Compact { instructions: None }).await.unwrap();
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    assert_eq!(hooks.told().len(), 1, "they ran");
    goes_on(&kit, &session).await;
}

/// A session with a background task that gives `forty-two` in 5 s, and hooks of inputs that do this once the first input is through.
async fn with_task(does: Vec<Do>) -> (Kit, Arc<TestHooks>, DefaultSession) {
    let does = std::iter::once(Do::Nothing).chain(does).collect();
    let hooks = TestHooks::new([(HookPoint::BeforeIngest, does)]);
    let work = Act::Background(Work::After(5_000, "forty-two".to_owned()));
    let tool = TestTool::new("bg", Effect::Mutating, work);
    let ask = vec![Say::Reply(calls(&[("c", "bg", "{}")]))];
    let script = [vec![ask], says("started"), says("thanks")].concat();
    let kit = Kit::of(Parts { hooks: Some(hooks.clone()), ..Parts::new(script, vec![tool]) });
    let session = kit.open().await;
    session.run_turn(vec![Part::text("go")]).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TaskSettled(_))).await;
    (kit, hooks, session)
}

async fn second_turn(session: &DefaultSession) -> StopReason {
    let is_end = |event: &Event| matches!(event, Event::TurnEnded(_));
    let first = wait_for(session, 0, is_end).await.seq;
    match &wait_for(session, first, is_end).await.event {
        Event::TurnEnded(ended) => ended.stop,
        _ => unreachable!("the end of a turn was waited for"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_before_a_turn_is_about_what_somebody_asked_and_not_about_the_end_of_a_task() {
    let (kit, hooks, session) = with_task(vec![Do::After(1_000), Do::Hang]).await;
    // While only the end of the task waits, there is nothing that somebody could cancel.
    assert!(session.tell(Command::Cancel { turn: None }).await.is_err());
    send(&session, "a prompt", Delivery::Queue).await.unwrap();
    while hooks.told().len() < 3 {
        pass(100).await;
    }
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    assert_eq!(second_turn(&session).await, StopReason::Cancelled);
    while kit.model.requests().len() < 3 {
        pass(100).await;
    }
    let told = user_texts(&kit.model.requests()[2]);
    assert_eq!(told, ["go", "[background task bg-1 (test) completed]\nforty-two"]);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_refuses_the_end_of_a_task_withholds_what_it_gave_and_not_that_it_ended() {
    for does in [Do::Change(Box::new(stopping(None))), Do::Panic] {
        let (kit, _, session) = with_task(vec![does]).await;
        assert_eq!(second_turn(&session).await, StopReason::EndTurn);
        let told = user_texts(kit.model.requests().last().unwrap()).pop().unwrap();
        let head = "[background task bg-1 (test) completed]\nwhat it gave is withheld: ";
        assert!(told.starts_with(head) && !told.contains("forty-two"), "{told}");
    }
}
