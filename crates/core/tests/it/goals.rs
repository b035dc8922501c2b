//! A session that has a goal goes on towards it by itself, within its limits, and across deaths.

use std::sync::Arc;

use oarlock_core::command::{Admit, Command, Rejection, Reply};
use oarlock_core::event::{
    Delivery, Effect, Entry, Event, Goal, GoalReached, HookChange, HookControl, HookPoint, Outcome,
    PlanChanged, PlanItem, PlanPriority, PlanStatus, SkillLoaded, StopReason, TurnEnded,
};
use oarlock_core::ids::SessionId;
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Message, Part, ReplyStop};
use oarlock_core::ports::journal::Journal;
use oarlock_core::ports::tool::SessionNote;
use oarlock_core::session::goal::{GOAL_DONE, GoalState, OBJECTIVE_BYTES};
use oarlock_core::spec::{Bounds, ContextPolicy, Decimal, LimitKind, Limits, Settings, TurnConfig};
use oarlock_core::{
    AgentEvent, DefaultSession, LoadSession, Origin, Recovery, Session, SessionError,
};
use oarlock_testkit::hooks::{Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, node, pursue, send, settings, tags, wait_for};
use oarlock_testkit::model::{Count, Say, calls, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use oarlock_testkit::tool::{Act, TestTool, Work};

fn say(words: &str) -> Vec<Say> {
    vec![Say::Reply(text(words))]
}

fn done(id: &str) -> Vec<Say> {
    vec![Say::Reply(calls(&[(id, GOAL_DONE, "{}")]))]
}

/// A tool that says the goal is reached.
fn goal_done() -> Arc<TestTool> {
    let reached = GoalReached { summary: "it is built".to_owned() };
    TestTool::new(GOAL_DONE, Effect::Pure, Act::Note(SessionNote::Goal(reached)))
}

async fn ended(session: &DefaultSession) -> TurnEnded {
    let entry = wait_for(session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let Event::TurnEnded(ended) = &entry.event else { unreachable!() };
    ended.clone()
}

fn said(message: &Message) -> String {
    let Message::User { parts } = message else { panic!("{message:?}") };
    let texts = parts.iter().map(Part::in_words);
    texts.collect::<Vec<_>>().join("\n")
}

#[tokio::test(start_paused = true)]
async fn a_turn_goes_on_until_the_goal_is_reached() {
    let script = vec![say("half"), say("nearly"), done("d"), say("all of it")];
    let kit = Kit::new(script, vec![goal_done()]);
    let session = kit.open().await;
    session.tell(pursue("build a boat", 16)).await.unwrap();
    let ended = ended(&session).await;
    assert_eq!((ended.stop, ended.steps), (StopReason::EndTurn, 4));
    let entries = journal(&kit.core, &session).await;
    let wanted = [
        "session_created",
        "input_admitted",
        "turn_started",
        "step_started",
        "assistant_message",
        "turn_continued",
        "step_started",
        "assistant_message",
        "turn_continued",
        "step_started",
        "assistant_message",
        "tool_called",
        "tool_started",
        "goal_reached",
        "tool_settled",
        "step_started",
        "assistant_message",
        "turn_ended",
    ];
    assert_eq!(tags(&entries), wanted);
    let requests = kit.model.requests();
    let first = said(&requests[0].messages[0]);
    assert!(first.starts_with("build a boat\n[What was just said is the goal"), "{first}");
    let asked = said(requests[1].messages.last().unwrap());
    assert!(asked.contains("\n\nbuild a boat\n\n") && asked.contains(GOAL_DONE), "{asked}");
    let status = session.status().await.unwrap();
    let goal = GoalState {
        objective: "build a boat".to_owned(),
        continuations_max: 16,
        continuations: 2,
        reached: Some("it is built".to_owned()),
    };
    assert_eq!(status.goal, Some(goal));
    // A goal that is reached holds no later turn.
    session.run_turn(vec![Part::text("thanks")]).await.unwrap();
    assert_eq!(kit.model.requests().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_goal_and_its_input_are_one_write() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open().await;
    session.tell(pursue("g", 1)).await.unwrap();
    ended(&session).await;
    let frames = kit.core.ports().journal.read(session.id(), 0, usize::MAX).await.unwrap();
    let story: Vec<Vec<String>> =
        frames.iter().map(|frame| tags(&frame.entries(session.id()).unwrap())).collect();
    assert_eq!(story[1], ["input_admitted", "turn_started", "step_started"]);
    assert_eq!(story[2], ["assistant_message", "turn_continued", "step_started"]);
    assert_eq!(story[3], ["assistant_message", "turn_ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_goal_stands_once_a_turn_takes_its_input_and_not_before() {
    let slow = vec![Say::Wait(60_000), Say::Reply(text("here"))];
    let kit = Kit::new(vec![slow, say("half"), say("nearly")], vec![]);
    let session = kit.open().await;
    send(&session, "something else", Delivery::Queue).await.unwrap();
    session.tell(pursue("g", 1)).await.unwrap();
    assert_eq!(session.status().await.unwrap().goal, None);
    let first = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let second = wait_for(&session, first.seq, |event| matches!(event, Event::TurnEnded(_))).await;
    let steps = [first, second].map(|entry| match &entry.event {
        Event::TurnEnded(ended) => ended.steps,
        _ => unreachable!(),
    });
    assert_eq!(steps, [1, 2], "the turn before does not go on towards it");
    let last = kit.model.requests().pop().unwrap();
    let told = last.messages.iter().filter(|message| match message {
        Message::User { .. } => said(message).contains("is the goal of this session."),
        _ => false,
    });
    assert_eq!(told.count(), 1);
    // One that steers is taken by the running turn, which then goes on towards it.
    let tool = TestTool::new("t", Effect::Pure, Act::After(1_000, "x"));
    let script = vec![vec![Say::Reply(calls(&[("c", "t", "{}")]))], say("half"), say("nearly")];
    let kit = Kit::new(script, vec![tool]);
    let session = kit.open().await;
    send(&session, "go", Delivery::Queue).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::ToolStarted(_))).await;
    let Command::Admit(admit) = pursue("g", 1) else { unreachable!() };
    let admit = Admit { delivery: Delivery::Steer, ..admit };
    session.tell(Command::Admit(admit)).await.unwrap();
    assert_eq!(session.status().await.unwrap().goal, None);
    assert_eq!(ended(&session).await.steps, 3);
    assert!(session.status().await.unwrap().goal.is_some());
}

fn ingesting(does: Do, script: Vec<Vec<Say>>) -> Kit {
    let hooks = TestHooks::new([(HookPoint::BeforeIngest, vec![does])]);
    Kit::of(Parts { hooks: Some(hooks), ..Parts::new(script, vec![]) })
}

#[tokio::test(start_paused = true)]
async fn an_input_that_is_withdrawn_or_refused_sets_no_goal() {
    let slow = vec![Say::Wait(60_000), Say::Reply(text("here"))];
    let withdrawn = Kit::new(vec![slow], vec![]);
    let session = withdrawn.open().await;
    send(&session, "something else", Delivery::Queue).await.unwrap();
    let input = session.tell(pursue("g", 1)).await.unwrap();
    let Reply::Admitted(input) = input else { panic!("{input:?}") };
    session.tell(Command::Withdraw { input }).await.unwrap();
    assert_eq!(ended(&session).await.steps, 1);
    assert_eq!(session.status().await.unwrap().goal, None);

    let control = Some(HookControl::Break { stop: None });
    let refusal = HookChange { control, ..HookChange::default() };
    let refused = ingesting(Do::Change(Box::new(refusal)), vec![say("fine")]);
    let session = refused.open().await;
    session.tell(pursue("g", 1)).await.unwrap();
    assert_eq!(ended(&session).await.stop, StopReason::Refusal);
    assert_eq!(session.status().await.unwrap().goal, None);
    assert_eq!(session.run_turn(vec![Part::text("and?")]).await.unwrap().steps, 1);
}

#[tokio::test(start_paused = true)]
async fn words_that_a_hook_puts_in_the_place_of_a_goal_are_the_goal() {
    let replaced =
        |text: &str| HookChange { input: Some(text.to_owned()), ..HookChange::default() };
    let kit = ingesting(Do::Change(Box::new(replaced("build [hidden]"))), vec![]);
    let session = kit.open().await;
    session.tell(pursue("build a hunter2", 1)).await.unwrap();
    assert_eq!(ended(&session).await.steps, 2);
    let goal = session.status().await.unwrap().goal.unwrap();
    assert_eq!(goal.objective, "build [hidden]");
    let requests = kit.model.requests();
    let first = said(&requests[0].messages[0]);
    assert!(first.starts_with("build [hidden]\n[What was just said is the goal"), "{first}");
    assert!(!format!("{requests:?}").contains("hunter2"));
    // Words that can be no goal are none.
    let kit = ingesting(Do::Change(Box::new(replaced(" "))), vec![]);
    let session = kit.open().await;
    session.tell(pursue("build a hunter2", 1)).await.unwrap();
    assert_eq!(ended(&session).await.steps, 1);
    assert_eq!(session.status().await.unwrap().goal, None);
}

#[tokio::test(start_paused = true)]
async fn a_goal_whose_input_waits_when_the_process_dies_stands_when_it_is_taken() {
    let store = MemoryStore::new(node("a"));
    let hooks = TestHooks::new([(HookPoint::BeforeIngest, vec![Do::Hang])]);
    let dying = Arc::new(MortalJournal::new(store.clone(), 1, 0));
    let journal = Arc::clone(&dying) as Arc<dyn Journal>;
    let parts = Parts { journal, hooks: Some(hooks), ..Parts::on(store.clone(), vec![], vec![]) };
    let first = Kit::of(parts);
    let session = first.open().await;
    session.tell(pursue("g", 1)).await.unwrap();
    dying.die();
    // Nobody writes for it any more once it finds that out.
    assert!(session.tell(Command::SetGoal { goal: None }).await.is_err());
    let (id, second) = (session.id().clone(), store.reopen(node("b")));
    drop((session, first, store, dying));
    let kit = Kit::of(Parts { name: "b", ..Parts::on(second, vec![], vec![]) });
    assert_eq!(kit.core.state(&id).await.unwrap().goal, None);
    let load = LoadSession::new(id, Recovery::Continue);
    let session = kit.core.open(Origin::Resume(load)).await.unwrap();
    assert_eq!(ended(&session).await.steps, 2);
    assert_eq!(continued(&kit, &session).await, 1);
}

#[tokio::test(start_paused = true)]
async fn continuations_are_counted_over_turns_and_never_begin_again() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open().await;
    session.tell(pursue("g", 2)).await.unwrap();
    assert_eq!(ended(&session).await.steps, 3);
    let again = session.run_turn(vec![Part::text("and?")]).await.unwrap();
    assert_eq!((again.stop, again.steps), (StopReason::EndTurn, 1));
    // Another goal has its own.
    let goal = Goal { objective: "h".to_owned(), continuations_max: 1 };
    session.tell(Command::SetGoal { goal: Some(goal) }).await.unwrap();
    let again = session.run_turn(vec![Part::text("and?")]).await.unwrap();
    assert_eq!((again.stop, again.steps), (StopReason::EndTurn, 2));
    session.tell(Command::SetGoal { goal: None }).await.unwrap();
    assert_eq!(session.run_turn(vec![Part::text("and?")]).await.unwrap().steps, 1);
}

fn limited(turn: Bounds) -> Settings {
    Settings { limits: Limits { turn, ..Limits::default() }, ..settings() }
}

async fn continued(kit: &Kit, session: &DefaultSession) -> usize {
    let tags = tags(&journal(&kit.core, session).await);
    tags.iter().filter(|tag| *tag == "turn_continued").count()
}

#[tokio::test(start_paused = true)]
async fn no_limit_is_reset_by_going_on() {
    let by_steps = Bounds { steps: Some(3), ..Bounds::default() };
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open_with(limited(by_steps)).await;
    session.tell(pursue("g", 16)).await.unwrap();
    let told = ended(&session).await;
    assert_eq!((told.stop, told.steps), (StopReason::Limit(LimitKind::Steps), 3));
    // The limit is seen before the turn goes on, so that nothing is said in vain.
    assert_eq!(continued(&kit, &session).await, 2);
    let by_time = Bounds { wall_ms: Some(2_500), ..Bounds::default() };
    let slow = || vec![Say::Wait(1_000), Say::Reply(text("on it"))];
    let kit = Kit::new(vec![slow(), slow(), slow(), slow()], vec![]);
    let session = kit.open_with(limited(by_time)).await;
    session.tell(pursue("g", 16)).await.unwrap();
    assert_eq!(ended(&session).await.stop, StopReason::Limit(LimitKind::Time));
    assert_eq!(continued(&kit, &session).await, 2);
}

#[tokio::test(start_paused = true)]
async fn only_a_model_that_stopped_by_itself_is_asked_to_go_on() {
    let mut cut = text("cut");
    cut.stop = ReplyStop::MaxTokens;
    let mut refusal = text("no");
    refusal.stop = ReplyStop::Refusal;
    let failed = Say::Fail(oarlock_core::ProviderErrorKind::Auth, None);
    for last in [Say::Reply(cut), Say::Reply(refusal), failed] {
        let kit = Kit::new(vec![say("half"), vec![last]], vec![]);
        let session = kit.open().await;
        session.tell(pursue("g", 16)).await.unwrap();
        let told = ended(&session).await;
        assert_ne!(told.stop, StopReason::EndTurn);
        assert_eq!(continued(&kit, &session).await, 1, "{:?}", told.stop);
    }
    let kit = Kit::new(vec![say("half"), vec![Say::Silence]], vec![]);
    let session = kit.open().await;
    session.tell(pursue("g", 16)).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TurnContinued(_))).await;
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    assert_eq!(ended(&session).await.stop, StopReason::Cancelled);
    assert_eq!(continued(&kit, &session).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_goal_that_is_taken_away_lets_the_turn_end() {
    let slow = || vec![Say::Wait(60_000), Say::Reply(text("on it"))];
    let kit = Kit::new(vec![slow(), slow(), slow()], vec![]);
    let session = kit.open().await;
    session.tell(pursue("g", 16)).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TurnContinued(_))).await;
    session.tell(Command::SetGoal { goal: None }).await.unwrap();
    let told = ended(&session).await;
    assert_eq!((told.stop, told.steps), (StopReason::EndTurn, 2));
}

#[tokio::test(start_paused = true)]
async fn a_goal_that_is_taken_away_or_replaced_is_not_that_of_an_input_that_still_waits() {
    let other = Goal { objective: "another".to_owned(), continuations_max: 1 };
    for goal in [None, Some(other)] {
        let slow = vec![Say::Wait(60_000), Say::Reply(text("here"))];
        let kit = Kit::new(vec![slow, say("half"), say("nearly"), say("more")], vec![]);
        let session = kit.open().await;
        send(&session, "something else", Delivery::Queue).await.unwrap();
        let Command::Admit(mut admit) = pursue("g", 3) else { unreachable!() };
        admit.content = vec![Part::text("look around")];
        session.tell(Command::Admit(admit)).await.unwrap();
        session.tell(Command::SetGoal { goal: goal.clone() }).await.unwrap();
        let first = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
        wait_for(&session, first.seq, |event| matches!(event, Event::TurnEnded(_))).await;
        let now = session.status().await.unwrap().goal;
        assert_eq!(now.map(|goal| goal.objective), goal.clone().map(|goal| goal.objective));
        let last = kit.model.requests().pop().unwrap();
        let users = last.messages.iter().filter(|said| matches!(said, Message::User { .. }));
        let told: Vec<String> = users.map(said).collect();
        assert!(told.contains(&"look around".to_owned()), "{told:?}");
        assert_eq!(continued(&kit, &session).await, usize::from(goal.is_some()), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_goal_none_is_reached() {
    let kit = Kit::new(vec![done("d")], vec![goal_done()]);
    let session = kit.open().await;
    session.run_turn(vec![Part::text("go")]).await.unwrap();
    let settled = wait_for(&session, 0, |event| matches!(event, Event::ToolSettled(_))).await;
    let Event::ToolSettled(settled) = &settled.event else { unreachable!() };
    assert_eq!(settled.outcome, Outcome::Failed);
    assert!(!tags(&journal(&kit.core, &session).await).contains(&"goal_reached".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_goal_says_something_and_is_short() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open().await;
    for objective in [String::new(), " \n".to_owned(), "x".repeat(OBJECTIVE_BYTES + 1)] {
        let goal = Some(Goal { objective: objective.clone(), continuations_max: 1 });
        for command in [Command::SetGoal { goal }, pursue(&format!("{objective} "), 1)] {
            let refused = session.tell(command).await.unwrap_err();
            let invalid = matches!(refused, SessionError::Rejected(Rejection::Invalid { .. }));
            assert!(invalid, "{refused:?}");
        }
    }
    assert_eq!(tags(&journal(&kit.core, &session).await), ["session_created"]);
    session.tell(Command::Archive).await.unwrap();
    let refused = session.tell(Command::SetGoal { goal: None }).await.unwrap_err();
    assert!(matches!(refused, SessionError::Rejected(Rejection::Archived)));
}

/// A life with everything in it that must not be lost or doubled.
fn voyage() -> Vec<Vec<Say>> {
    let plan = vec![Say::Reply(calls(&[("p", "plan", "{}")]))];
    vec![plan, say("half"), say("nearly"), done("d"), say("all of it")]
}

fn crew() -> Vec<Arc<TestTool>> {
    let plan = PlanChanged { items: vec![item("row", PlanStatus::InProgress)] };
    vec![goal_done(), TestTool::new("plan", Effect::Pure, Act::Note(SessionNote::Plan(plan)))]
}

/// A process that dies with its write number `writes`; `None` when it lived.
async fn crash(writes: u32, last: LastWrite) -> Option<(MemoryStore, SessionId)> {
    let store = MemoryStore::new(node("a"));
    let journal = Arc::new(MortalJournal::new(store.clone(), 1, 0));
    let parts = Parts::on(store.clone(), voyage(), crew());
    let kit = Kit::of(Parts { journal: Arc::clone(&journal) as Arc<dyn Journal>, ..parts });
    let session = kit.open().await;
    journal.doom(writes, last);
    if session.tell(pursue("build a boat", 2)).await.is_ok() {
        let mut events = session.events(0);
        loop {
            match session.next_event(&mut events).await {
                Ok(AgentEvent::Entry(entry)) if matches!(entry.event, Event::TurnEnded(_)) => {
                    return None;
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    assert!(journal.is_dead());
    Some((store.reopen(node("b")), session.id().clone()))
}

/// How often each thing is in the journal of a run that went on: input with its goal, plan, continuations, end.
fn counts(entries: &[Entry]) -> [usize; 5] {
    let tags = tags(entries);
    ["input_admitted", "plan_changed", "turn_continued", "goal_reached", "turn_ended"]
        .map(|wanted| tags.iter().filter(|tag| *tag == wanted).count())
}

#[tokio::test(start_paused = true)]
async fn goal_and_plan_survive_a_death_at_every_write_and_are_counted_once() {
    for last in [LastWrite::Stored, LastWrite::Lost] {
        let mut deaths = 0;
        while let Some((store, id)) = crash(deaths, last).await {
            let core =
                Kit::of(Parts { name: "c", ..Parts::on(store.clone(), vec![], vec![]) }).core;
            let before = core.state(&id).await.unwrap();
            assert_eq!(before.goal.is_some(), !before.first_words.is_empty());
            deaths += 1;
            if before.goal.is_none() {
                continue;
            }
            let answers = before.used.steps as usize;
            let rest = voyage().into_iter().skip(answers).collect();
            let parts = Parts::on(store, rest, crew());
            let kit = Kit::of(Parts { name: "b", ..parts });
            let load = LoadSession::new(id, Recovery::Continue);
            let session = kit.core.open(Origin::Resume(load)).await.unwrap();
            wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
            let entries = journal(&kit.core, &session).await;
            assert_eq!(counts(&entries), [1, 1, 2, 1, 1], "death {deaths}: {:?}", tags(&entries));
            let goal = session.status().await.unwrap().goal.unwrap();
            assert_eq!((goal.continuations, goal.is_reached()), (2, true));
            assert_eq!(session.status().await.unwrap().plan.len(), 1);
        }
        assert!(deaths > 6, "{deaths}");
    }
}

fn item(content: &str, status: PlanStatus) -> PlanItem {
    PlanItem { content: content.to_owned(), status, priority: PlanPriority::Medium }
}

#[tokio::test(start_paused = true)]
async fn goal_open_plan_and_names_of_skills_survive_each_compaction_once_and_word_for_word() {
    let plan = PlanChanged {
        items: vec![
            item("draw the lines", PlanStatus::Completed),
            item("lay the keel", PlanStatus::InProgress),
            item("caulk the seams", PlanStatus::Pending),
        ],
    };
    let planner = TestTool::new("plan", Effect::Pure, Act::Note(SessionNote::Plan(plan.clone())));
    let loaded = SkillLoaded { name: "ships".to_owned(), grants: Vec::new() };
    let skill = TestTool::new("skill", Effect::Pure, Act::Note(SessionNote::Skill(loaded)));
    let both = calls(&[("p", "plan", "{}"), ("s", "skill", "{}"), ("t", "skill", "{}")]);
    let mut script = vec![vec![Say::Reply(both)]];
    script.extend((0..40).map(|_| say(&"x".repeat(900))));
    let summaries = vec![say("kept short"), say("kept short again")];
    let parts =
        Parts { summaries, usage: Count::ByBytes, ..Parts::new(script, vec![planner, skill]) };
    let kit = Kit::of(parts);
    let context = ContextPolicy {
        window: Some(8_000),
        clear_ratio: Decimal(0),
        soft_ratio: Decimal(0),
        ..ContextPolicy::default()
    };
    let turn = TurnConfig { context, ..TurnConfig::default() };
    let session = kit.open_with(Settings { turn, ..settings() }).await;
    session.tell(pursue("build a boat\nof wood", 12)).await.unwrap();
    ended(&session).await;
    for _ in 0..2 {
        session.compact_now().await.unwrap().unwrap();
        session.run_turn(vec![Part::text("on")]).await.unwrap();
        let request = kit.model.requests().pop().unwrap();
        let first = said(&request.messages[0]);
        let stands = "[The goal of this session, which is not reached:]\nbuild a boat\nof wood\n\n[What is open of your plan:]\n- lay the keel (begun)\n- caulk the seams\n\n[Skills that were loaded; load one again whose words are not shown any more and are needed:]\nships";
        assert_eq!(first.matches(stands).count(), 1, "{first}");
        assert!(!first.contains("You stopped") && !first.contains("draw the lines"), "{first}");
        for _ in 0..12 {
            session.run_turn(vec![Part::text("more")]).await.unwrap();
        }
    }
    assert_eq!(session.status().await.unwrap().plan, plan.items);
}

#[tokio::test(start_paused = true)]
async fn a_goal_waits_for_what_runs_in_the_background_and_does_not_spin() {
    let work = |work| TestTool::new("bg", Effect::Mutating, Act::Background(work));
    let begin = || vec![Say::Reply(calls(&[("c", "bg", "{}")]))];
    let forty_two = Work::After(300_000, "forty-two".to_owned());
    let script = vec![begin(), say("it runs"), done("d"), say("done")];
    let kit = Kit::new(script, vec![work(forty_two), goal_done()]);
    let session = kit.open().await;
    session.tell(pursue("g", 16)).await.unwrap();
    let told = ended(&session).await;
    // One turn: the end of the task is what its next step is about.
    assert_eq!((told.stop, told.steps), (StopReason::EndTurn, 4));
    assert_eq!(continued(&kit, &session).await, 0);
    // A task without an end holds each step for a bounded time.
    let kit = Kit::new(vec![begin(), say("it runs"), say("still")], vec![work(Work::Hang)]);
    let session = kit.open().await;
    session.tell(pursue("g", 1)).await.unwrap();
    let on = wait_for(&session, 0, |event| matches!(event, Event::TurnContinued(_))).await;
    let over = wait_for(&session, on.seq, |event| matches!(event, Event::TurnEnded(_))).await;
    let bound = RuntimeLimits::DEFAULT.goal_tasks_ms;
    assert!(
        (bound..bound + 1_000).contains(&over.at.ms_since(on.at)),
        "{} ms",
        over.at.ms_since(on.at)
    );
    // A cancel does not wait for it.
    let kit = Kit::new(vec![begin(), say("it runs")], vec![work(Work::Hang)]);
    let session = kit.open().await;
    session.tell(pursue("g", 1)).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::StepStarted(step) if step.step == 2))
        .await;
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    assert_eq!(ended(&session).await.stop, StopReason::Cancelled);
}
