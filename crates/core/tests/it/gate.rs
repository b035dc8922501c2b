//! The gate of permission questions: early, late, double, foreign and missing answers, several askers, cancels, and all of them at once.

use std::sync::Arc;

use oarlock_core::command::{Command, Rejection};
use oarlock_core::event::{AnsweredBy, Effect, Entry, Event, PermissionKind, StopReason};
use oarlock_core::ids::CallId;
use oarlock_core::message::Part;
use oarlock_core::spec::{Answers, Mode, Settings};
use oarlock_core::{
    DefaultSession, PermissionGate, PermissionResolution as Resolution, SessionError,
};
use oarlock_testkit::kit::{Kit, Parts, journal, settings, wait_for};
use oarlock_testkit::model::{Say, calls};
use oarlock_testkit::mortal::MortalJournal;
use oarlock_testkit::tool::{Act, TestTool};

use PermissionKind::{AllowAlways, AllowOnce, RejectAlways, RejectOnce};

fn asking() -> Settings {
    Settings { mode: Mode::ASK_WRITES, answers: Answers::Somebody, ..settings() }
}

fn tool() -> Arc<TestTool> {
    TestTool::new("write", Effect::Mutating, Act::Give("written".to_owned()))
}

/// One answer that asks for these calls: id and what.
fn wants(wanted: &[(&str, &str)]) -> Vec<Say> {
    let arguments: Vec<String> =
        wanted.iter().map(|(_, what)| format!(r#"{{"what": "{what}"}}"#)).collect();
    let wanted: Vec<(&str, &str, &str)> = wanted
        .iter()
        .zip(&arguments)
        .map(|((id, _), text)| (*id, "write", text.as_str()))
        .collect();
    vec![Say::Reply(calls(&wanted))]
}

fn id(call: &str) -> CallId {
    CallId(call.into())
}

async fn asked(session: &DefaultSession, call: &str) -> Arc<Entry> {
    wait_for(
        session,
        0,
        |event| matches!(event, Event::PermissionAsked(asked) if asked.call.as_str() == call),
    )
    .await
}

async fn ended(session: &DefaultSession) -> StopReason {
    let entry = wait_for(session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let Event::TurnEnded(ended) = &entry.event else { unreachable!() };
    ended.stop
}

fn refusal(result: Result<(), SessionError>) -> &'static str {
    match result {
        Ok(()) => "taken",
        Err(SessionError::Rejected(Rejection::Stale { .. })) => "stale",
        Err(SessionError::Rejected(Rejection::Invalid { .. })) => "invalid",
        Err(other) => panic!("{other:?}"),
    }
}

async fn resolve(gate: &PermissionGate, call: &str, choice: PermissionKind) -> &'static str {
    refusal(gate.resolve(&id(call), Resolution::Selected(choice)).await)
}

/// The answers and ends of a journal's calls: `call: kind by whom` and `call: outcome`.
fn story(entries: &[Entry]) -> Vec<String> {
    let told = entries.iter().filter_map(|entry| match &entry.event {
        Event::PermissionAnswered(answered) => {
            Some(format!("{}: {:?} by {:?}", answered.call, answered.choice, answered.by))
        }
        Event::ToolSettled(settled) => Some(format!("{}: {:?}", settled.call, settled.outcome)),
        _ => None,
    });
    told.collect()
}

#[tokio::test(start_paused = true)]
async fn questions_of_one_answer_are_open_together_and_answered_in_any_order() {
    let kit = Kit::new(vec![wants(&[("a", "x"), ("b", "y")])], vec![tool()]);
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    asked(&session, "b").await;
    let gate = session.permissions();
    let open = gate.questions().await.unwrap();
    let names: Vec<&str> = open.iter().map(|asked| asked.call.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(open.iter().all(|asked| asked.default == RejectOnce && asked.options.len() == 4));
    assert_eq!(resolve(&gate, "b", AllowOnce).await, "taken");
    assert_eq!(resolve(&gate, "a", AllowOnce).await, "taken");
    ended(&session).await;
    assert_eq!(gate.questions().await.unwrap(), []);
    let told = story(&journal(&kit.core, &session).await);
    assert_eq!(
        told,
        ["b: AllowOnce by Person", "a: AllowOnce by Person", "a: Completed", "b: Completed"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_always_answers_the_open_questions_that_it_covers() {
    for (choice, settled) in [(AllowAlways, "Completed"), (RejectAlways, "Denied")] {
        let wanted = [("a", "x"), ("b", "x"), ("c", "y")];
        let kit = Kit::new(vec![wants(&wanted)], vec![tool()]);
        let session = kit.open_with(asking()).await;
        session.prompt(vec![Part::text("go")]).await.unwrap();
        asked(&session, "c").await;
        let gate = session.permissions();
        assert_eq!(resolve(&gate, "a", choice).await, "taken");
        let names: Vec<CallId> =
            gate.questions().await.unwrap().into_iter().map(|asked| asked.call).collect();
        assert_eq!(names, [id("c")], "other arguments are still asked about");
        assert_eq!(resolve(&gate, "c", RejectOnce).await, "taken");
        ended(&session).await;
        let told = story(&journal(&kit.core, &session).await);
        let once = if choice == AllowAlways { AllowOnce } else { RejectOnce };
        assert!(told.contains(&format!("b: {once:?} by Grant")), "{told:?}");
        assert!(told.contains(&format!("b: {settled}")), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_askers_the_first_wins_and_each_gets_one_answer() {
    let kit = Kit::new(vec![wants(&[("a", "x")])], vec![tool()]);
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    asked(&session, "a").await;
    let gate = session.permissions();
    let both = futures::future::join3(
        resolve(&gate, "a", AllowOnce),
        resolve(&gate, "a", RejectOnce),
        resolve(&gate, "a", AllowOnce),
    );
    assert_eq!(both.await, ("taken", "stale", "stale"));
    ended(&session).await;
    assert_eq!(resolve(&gate, "a", AllowOnce).await, "stale");
    assert_eq!(
        story(&journal(&kit.core, &session).await),
        ["a: AllowOnce by Person", "a: Completed"]
    );
}

#[tokio::test(start_paused = true)]
async fn foreign_and_unoffered_answers_change_nothing() {
    let kit = Kit::new(vec![wants(&[("a", "x")]), wants(&[("b", "x")])], vec![tool()]);
    let (one, two) = (kit.open_with(asking()).await, kit.open_with(asking()).await);
    one.prompt(vec![Part::text("go")]).await.unwrap();
    asked(&one, "a").await;
    two.prompt(vec![Part::text("go")]).await.unwrap();
    asked(&two, "b").await;
    let gate = two.permissions();
    assert_eq!(resolve(&gate, "a", AllowOnce).await, "stale");
    assert_eq!(refusal(gate.resolve(&id("a"), Resolution::Cancelled).await), "stale");
    assert_eq!(resolve(&gate, "b", PermissionKind::AllowSaved).await, "invalid");
    assert_eq!(gate.questions().await.unwrap().len(), 1);
    assert_eq!(one.permissions().questions().await.unwrap().len(), 1);
    let asleep = kit.core.handle(oarlock_core::SessionId::parse("nobody").unwrap());
    assert_eq!(asleep.permissions().questions().await.unwrap(), []);
    assert_eq!(resolve(&asleep.permissions(), "a", AllowOnce).await, "stale");
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_question_ends_its_turn_and_never_a_later_one() {
    let kit = Kit::new(vec![wants(&[("a", "x")]), wants(&[("b", "x")])], vec![tool()]);
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    asked(&session, "a").await;
    let gate = session.permissions();
    assert_eq!(refusal(gate.resolve(&id("a"), Resolution::Cancelled).await), "taken");
    assert_eq!(ended(&session).await, StopReason::Cancelled);
    session.prompt(vec![Part::text("again")]).await.unwrap();
    asked(&session, "b").await;
    assert_eq!(refusal(gate.resolve(&id("a"), Resolution::Cancelled).await), "stale");
    assert_eq!(gate.questions().await.unwrap().len(), 1);
}

/// A runtime whose writes take a millisecond each.
fn slow_kit(script: Vec<Vec<Say>>, tool: &Arc<TestTool>) -> Kit {
    let parts = Parts::new(script, vec![Arc::clone(tool)]);
    let journal = Arc::new(MortalJournal::new(parts.store.clone(), 0, 0));
    Kit::of(Parts { journal, ..parts })
}

async fn pause(kit: &Kit, ms: u64) {
    let clock = &kit.core.ports().clock;
    clock.sleep_until(clock.now().after(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn w09_no_answer_is_lost_however_early_it_comes() {
    let (mut early, mut taken) = (0, 0);
    for ms in 0..20 {
        let tool = tool();
        let kit = slow_kit(vec![wants(&[("a", "x")])], &tool);
        let session = kit.open_with(asking()).await;
        session.prompt(vec![Part::text("go")]).await.unwrap();
        pause(&kit, ms).await;
        let gate = session.permissions();
        match resolve(&gate, "a", AllowOnce).await {
            "taken" => taken += 1,
            answer => {
                assert_eq!(answer, "stale");
                early += 1;
                // It did not count, and that was said: the question is still asked, and open from the moment in which it is told.
                asked(&session, "a").await;
                assert_eq!(gate.questions().await.unwrap().len(), 1);
                assert_eq!(resolve(&gate, "a", AllowOnce).await, "taken");
            }
        }
        assert_eq!(ended(&session).await, StopReason::EndTurn);
        let told = story(&journal(&kit.core, &session).await);
        assert_eq!((told.len(), tool.runs()), (2, 1), "after {ms} ms: {told:?}");
    }
    assert!(early > 1 && taken > 1, "{early} were early, {taken} were taken");
}

#[tokio::test(start_paused = true)]
async fn w09_cancel_withdraws_every_question_for_every_waiter_and_settles_its_call() {
    let kit = Kit::new(vec![wants(&[("a", "x"), ("b", "y")])], vec![tool()]);
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    asked(&session, "b").await;
    let gate = session.permissions();
    let (a, b) = (id("a"), id("b"));
    let waiters = futures::future::join4(gate.wait(&a), gate.wait(&b), gate.wait(&b), async {
        pause(&kit, 5).await;
        session.tell(Command::Cancel { turn: None }).await.unwrap();
    });
    let (one, two, three, ()) = waiters.await;
    for resolution in [one, two, three] {
        assert_eq!(resolution.unwrap(), Resolution::Cancelled);
    }
    assert_eq!(gate.questions().await.unwrap(), []);
    assert_eq!(resolve(&gate, "a", AllowOnce).await, "stale");
    assert_eq!(ended(&session).await, StopReason::Cancelled);
    assert_eq!(
        story(&journal(&kit.core, &session).await),
        ["a: RejectOnce by Cancel", "b: RejectOnce by Cancel", "a: Cancelled", "b: Cancelled"]
    );
}

#[tokio::test(start_paused = true)]
async fn w09_questions_have_deadlines_at_which_the_answer_is_no() {
    let kit = Kit::new(vec![wants(&[("a", "x")])], vec![tool()]);
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    let question = asked(&session, "a").await;
    let gate = session.permissions();
    let Event::PermissionAsked(shown) = &question.event else { unreachable!() };
    assert_eq!(gate.wait(&id("a")).await.unwrap(), Resolution::Selected(RejectOnce));
    assert!(kit.core.ports().clock.now() >= shown.deadline);
    assert_eq!(refusal(gate.wait(&id("a")).await.map(drop)), "stale");
    assert_eq!(resolve(&gate, "a", AllowOnce).await, "stale");
    ended(&session).await;
    assert_eq!(
        story(&journal(&kit.core, &session).await),
        ["a: RejectOnce by Deadline", "a: Denied"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_the_deadline_is_late_whatever_arrives_first() {
    let tool = tool();
    let kit = Kit::new(vec![wants(&[("a", "x")])], vec![tool.clone()]);
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    let question = asked(&session, "a").await;
    let Event::PermissionAsked(shown) = &question.event else { unreachable!() };
    kit.core.ports().clock.sleep_until(shown.deadline).await;
    assert_eq!(resolve(&session.permissions(), "a", AllowOnce).await, "stale");
    ended(&session).await;
    assert_eq!(tool.runs(), 0);
}

/// Chance that is the same in each run.
struct Chance(u64);

impl Chance {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from[usize::try_from(self.0 >> 33).unwrap() % from.len()]
    }
}

/// Two calls, three askers and perhaps a cancel, all about the same moment. Gives who won, for the count of all rounds.
async fn round(seed: u64) -> Vec<AnsweredBy> {
    let mut chance = Chance(seed);
    let tool = tool();
    let kit = slow_kit(vec![wants(&[("a", "x"), ("b", chance.pick(&["x", "y"]))])], &tool);
    let session = kit.open_with(asking()).await;
    session.prompt(vec![Part::text("go")]).await.unwrap();
    let question = asked(&session, "b").await;
    let Event::PermissionAsked(shown) = &question.event else { unreachable!() };
    let gate = session.permissions();
    // Most moments lie about the deadline, where all three meet.
    let far = shown.deadline.ms_since(kit.core.ports().clock.now());
    let moments = [3, 4, 5, far - 1, far, far, far + 1];
    let asker = |call: &'static str, at: u64, choice| {
        let (gate, kit) = (&gate, &kit);
        async move {
            pause(kit, at).await;
            resolve(gate, call, choice).await
        }
    };
    let choices = [AllowOnce, AllowAlways, RejectOnce, RejectAlways];
    let askers = futures::future::join3(
        asker("a", chance.pick(&moments), chance.pick(&choices)),
        asker("a", chance.pick(&moments), chance.pick(&choices)),
        asker("b", chance.pick(&moments), chance.pick(&choices)),
    );
    let cancel = async {
        let at = chance.pick(&[3, 4, 5, far - 1, far, far + 1, far * 2]);
        pause(&kit, at).await;
        // There may be nothing left to cancel.
        drop(session.tell(Command::Cancel { turn: None }).await);
    };
    let (a, b) = (id("a"), id("b"));
    let waiters = futures::future::join(gate.wait(&a), gate.wait(&b));
    let ((one, two, three), (), (first, second), _) =
        futures::join!(askers, cancel, waiters, ended(&session));
    let entries = journal(&kit.core, &session).await;
    let mut winners = Vec::new();
    for (call, answers, told) in [("a", vec![one, two], first), ("b", vec![three], second)] {
        let answered: Vec<_> = entries
            .iter()
            .filter_map(|entry| match &entry.event {
                Event::PermissionAnswered(answered) if answered.call.as_str() == call => {
                    Some(answered)
                }
                _ => None,
            })
            .collect();
        let settled = entries.iter().filter(
            |entry| matches!(&entry.event, Event::ToolSettled(end) if end.call.as_str() == call),
        );
        assert_eq!((answered.len(), settled.count()), (1, 1), "round {seed}, call {call}");
        let by = answered[0].by;
        let taken = answers.iter().filter(|answer| **answer == "taken").count();
        assert_eq!(taken, usize::from(by == AnsweredBy::Person), "round {seed}: {answers:?}");
        let heard = match by {
            AnsweredBy::Cancel => Resolution::Cancelled,
            AnsweredBy::Person | AnsweredBy::Deadline | AnsweredBy::Grant | AnsweredBy::Hook => {
                Resolution::Selected(answered[0].choice)
            }
        };
        assert_eq!(told.unwrap(), heard, "round {seed}, call {call}");
        winners.push(by);
    }
    let asked = entries.iter().filter(|entry| matches!(entry.event, Event::PermissionAsked(_)));
    let ends = entries.iter().filter(|entry| matches!(entry.event, Event::TurnEnded(_)));
    assert_eq!((asked.count(), ends.count()), (2, 1), "round {seed}");
    winners
}

#[tokio::test(start_paused = true)]
async fn answers_cancels_and_deadlines_that_meet_leave_one_answer_and_one_end() {
    let mut winners = Vec::new();
    for seed in 0..1_000 {
        winners.extend(round(seed).await);
    }
    for by in [AnsweredBy::Person, AnsweredBy::Deadline, AnsweredBy::Grant, AnsweredBy::Cancel] {
        let won = winners.iter().filter(|winner| **winner == by).count();
        assert!(won > 50, "{by:?} won {won} of {}", winners.len());
    }
}
