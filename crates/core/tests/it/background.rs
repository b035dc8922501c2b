//! Background tasks: what they give reaches the model exactly once, whatever becomes of their turn, their session and their process.

use std::sync::Arc;

use oarlock_core::command::Command;
use oarlock_core::event::{
    AgentEvent, Delivery, DeltaItem, Effect, Entry, Event, GoalReached, HookPoint, InputSource,
    StopReason, TaskOutcome,
};
use oarlock_core::ids::TaskId;
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::clock::Clock;
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::ports::tool::SessionNote;
use oarlock_core::spec::{Bounds, LimitKind, Limits, Mode, Settings};
use oarlock_core::{
    BackgroundOutcome, BackgroundProgressConfig, BackgroundResult, BlockKind, DefaultSession,
    EventStream, LoadSession, Origin, ProgressBlock, Recovery, Rejection, SessionError, TaskStatus,
    VecHistory, format_background_outcome,
};
use oarlock_testkit::clock::VirtualClock;
use oarlock_testkit::hooks::{Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings, tags, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::mortal::MortalJournal;
use oarlock_testkit::tool::{Act, TestTool, Work};

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

fn tool(name: &str, work: Work) -> Arc<TestTool> {
    TestTool::new(name, Effect::Mutating, Act::Background(work))
}

fn after(ms: u64, text: &str) -> Work {
    Work::After(ms, text.to_owned())
}

fn one_call(name: &str) -> Vec<Say> {
    vec![Say::Reply(calls(&[("c", name, "{}")]))]
}

fn say(words: &str) -> Vec<Say> {
    vec![Say::Reply(text(words))]
}

fn task(no: u32) -> TaskId {
    TaskId::numbered(no)
}

/// The ends of tasks, in order.
fn settled(entries: &[Entry]) -> Vec<(String, TaskOutcome)> {
    let ends = entries.iter().filter_map(|entry| match &entry.event {
        Event::TaskSettled(settled) => Some((settled.task.to_string(), settled.outcome)),
        _ => None,
    });
    ends.collect()
}

/// The texts of the inputs that ends of tasks became.
fn outcomes(entries: &[Entry]) -> Vec<String> {
    let inputs = entries.iter().filter_map(|entry| match &entry.event {
        Event::InputAdmitted(input) if input.source == InputSource::Background => {
            Some(said(&input.content))
        }
        _ => None,
    });
    inputs.collect()
}

fn said(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(Part::as_text);
    texts.collect::<Vec<_>>().join("\n")
}

/// How often words stand in what the user's side says in a request.
fn told(request: &ModelRequest, words: &str) -> usize {
    let users = request.messages.iter().filter_map(|message| match message {
        Message::User { parts } => Some(said(parts)),
        Message::Assistant { .. } | Message::Tool { .. } => None,
    });
    users.map(|text| text.matches(words).count()).sum()
}

/// Lets virtual time pass.
async fn pass(ms: u64) {
    let clock = VirtualClock::new();
    clock.sleep_until(clock.now().after(ms)).await;
}

async fn turn_ends(session: &DefaultSession, count: u32) -> Vec<StopReason> {
    let mut stops = Vec::new();
    let mut after = 0;
    while stops.len() < count as usize {
        let entry = wait_for(session, after, |event| matches!(event, Event::TurnEnded(_))).await;
        after = entry.seq;
        if let Event::TurnEnded(ended) = &entry.event {
            stops.push(ended.stop);
        }
    }
    stops
}

#[tokio::test(start_paused = true)]
async fn a_task_outlives_its_turn_and_its_end_starts_one_of_its_own() {
    let script = vec![one_call("bg"), say("started"), say("thanks")];
    let kit = Kit::new(script, vec![tool("bg", after(5_000, "forty-two"))]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    let tasks = session.background_tasks().await.unwrap();
    assert_eq!(tasks.running.len(), 1);
    assert_eq!(turn_ends(&session, 2).await, [StopReason::EndTurn; 2]);
    let entries = journal(&kit.core, &session).await;
    let end = tags(&entries);
    let at = end.iter().position(|tag| tag == "task_settled").unwrap();
    assert_eq!(end[at..at + 3], ["task_settled", "input_admitted", "turn_started"]);
    let started = entries.iter().position(|e| matches!(e.event, Event::TaskStarted(_))).unwrap();
    let call = entries.iter().position(|e| matches!(e.event, Event::ToolSettled(_))).unwrap();
    assert!(started < call, "the start is in the journal before anybody is told of it");
    let expected = format_background_outcome(&BackgroundOutcome {
        task_id: task(1),
        label: "test".to_owned(),
        result: BackgroundResult::Completed("forty-two".to_owned()),
    });
    assert_eq!(outcomes(&entries), std::slice::from_ref(&expected));
    let requests = kit.model.requests();
    assert_eq!(requests.iter().map(|r| told(r, &expected)).collect::<Vec<_>>(), [0, 0, 1]);
    let tasks = session.background_tasks().await.unwrap();
    assert!(tasks.running.is_empty() && tasks.finished[0].outcome == TaskOutcome::Completed);
}

#[tokio::test(start_paused = true)]
async fn an_end_rides_on_the_turn_that_runs() {
    let slow = vec![Say::Wait(10_000), Say::Reply(calls(&[("d", "quick", "{}")]))];
    let script = vec![one_call("bg"), slow, say("seen")];
    let quick = TestTool::new("quick", Effect::Pure, Act::Give("q".to_owned()));
    let kit = Kit::new(script, vec![tool("bg", after(5_000, "forty-two")), quick]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    let requests = kit.model.requests();
    assert_eq!(requests.iter().map(|r| told(r, "forty-two")).collect::<Vec<_>>(), [0, 0, 1]);
    let entries = journal(&kit.core, &session).await;
    assert_eq!(tags(&entries).iter().filter(|tag| *tag == "turn_started").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_way_to_end_is_told_as_what_it_is() {
    let long = "x".repeat(100_000);
    let script = vec![
        vec![Say::Reply(calls(&[
            ("a", "fails", "{}"),
            ("b", "panics", "{}"),
            ("c", "long", "{}"),
            ("d", "hangs", "{}"),
        ]))],
        say("started"),
    ];
    let tools = vec![
        tool("fails", Work::Fail("no luck")),
        tool("panics", Work::Panic),
        tool("long", Work::After(10, long.clone())),
        tool("hangs", Work::Hang),
    ];
    let kit = Kit::new(script, tools);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TaskSettled(end) if end.task == task(3)))
        .await;
    assert_eq!(session.cancel_task(Some(&task(4))).await.unwrap(), Some(true));
    wait_for(&session, 0, |event| matches!(event, Event::TaskSettled(end) if end.task == task(4)))
        .await;
    assert_eq!(session.cancel_task(Some(&task(4))).await.unwrap(), Some(false));
    assert_eq!(session.cancel_task(Some(&task(9))).await.unwrap(), None);
    let entries = journal(&kit.core, &session).await;
    let mut ends = settled(&entries);
    ends.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("bg-1".to_owned(), TaskOutcome::Failed),
        ("bg-2".to_owned(), TaskOutcome::Failed),
        ("bg-3".to_owned(), TaskOutcome::Completed),
        ("bg-4".to_owned(), TaskOutcome::Canceled),
    ];
    assert_eq!(ends, expected);
    let texts = outcomes(&entries).join("\n");
    assert!(texts.contains("no luck") && texts.contains("scripted panic"), "{texts}");
    assert!(texts.len() < 12_000 && texts.contains("blob:"), "a long end is cut");
    let whole = entries.iter().find_map(|entry| match &entry.event {
        Event::TaskSettled(end) if end.task == task(3) => Some(end.blobs[0].bytes),
        _ => None,
    });
    assert_eq!(whole, Some(long.len() as u64));
}

#[tokio::test(start_paused = true)]
async fn one_task_more_than_may_run_is_refused_in_words() {
    let limits = RuntimeLimits { tasks_running: 1, ..RuntimeLimits::DEFAULT };
    let script = vec![
        vec![Say::Reply(calls(&[("a", "hangs", "{}"), ("b", "hangs", "{}")]))],
        say("started"),
    ];
    let parts = Parts::new(script, vec![tool("hangs", Work::Hang)]);
    let kit = Kit::of(Parts { limits, ..parts });
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    let Message::Tool { results } = kit.model.requests()[1].messages.last().unwrap().clone() else {
        panic!("results follow calls")
    };
    assert_eq!(said(&results[0].parts), "started bg-1");
    assert!(said(&results[1].parts).contains("1 background tasks run already"));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_never_ends_is_stopped_and_has_failed() {
    let limits = RuntimeLimits { task_total_ms: 7_200_000, ..RuntimeLimits::DEFAULT };
    let script = vec![
        vec![Say::Reply(calls(&[("a", "hangs", "{}"), ("b", "waits", "{}")]))],
        say("started"),
    ];
    let tools = vec![tool("hangs", Work::Hang), tool("waits", after(9_000_000, "never"))];
    let kit = Kit::of(Parts { limits, ..Parts::new(script, tools) });
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    for no in [1, 2] {
        let ends = |event: &Event| matches!(event, Event::TaskSettled(end) if end.task == task(no));
        wait_for(&session, 0, ends).await;
    }
    let entries = journal(&kit.core, &session).await;
    let ends = settled(&entries);
    assert!(ends.len() == 2 && ends.iter().all(|(_, end)| *end == TaskOutcome::Failed), "{ends:?}");
    assert!(outcomes(&entries).iter().all(|told| told.contains("did not end within 2 h")));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_says_a_goal_is_reached_where_there_is_none_says_nothing() {
    let reached = SessionNote::Goal(GoalReached { summary: "all done".to_owned() });
    let script = vec![vec![Say::Reply(calls(&[("a", "notes", "{}")]))], say("started")];
    let kit = Kit::new(script, vec![tool("notes", Work::Note(reached))]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    let ends = |event: &Event| matches!(event, Event::TaskSettled(_));
    wait_for(&session, 0, ends).await;
    assert!(!tags(&journal(&kit.core, &session).await).contains(&"goal_reached".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn closing_a_session_cancels_its_tasks_and_the_next_turn_is_told() {
    let store = MemoryStore::new(node("a"));
    let script = vec![
        vec![Say::Reply(calls(&[("a", "waits", "{}"), ("b", "hangs", "{}")]))],
        say("started"),
        say("told"),
    ];
    let tools = vec![tool("waits", after(3_600_000, "never")), tool("hangs", Work::Hang)];
    let kit = Kit::of(Parts::on(store, script, tools));
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    session.close().await.unwrap();
    let entries = journal(&kit.core, &session).await;
    assert_eq!(settled(&entries).len(), 2);
    assert!(settled(&entries).iter().all(|(_, outcome)| *outcome == TaskOutcome::Canceled));
    assert_eq!(tags(&entries).last().unwrap(), "writer_released");
    assert_eq!(kit.model.requests().len(), 2, "a session that is being closed begins no turn");
    let status = session.status().await.unwrap();
    assert_eq!((status.waiting.len(), status.turns), (2, 1));
    // Waking it starts nothing by itself: they ride on the next turn.
    session.tell(Command::Look).await.unwrap();
    session.run_turn(go()).await.unwrap();
    let requests = kit.model.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(told(&requests[2], "canceled]"), 2);
    let entries = journal(&kit.core, &session).await;
    assert_eq!(tags(&entries).iter().filter(|tag| *tag == "turn_started").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_with_a_running_task_is_not_put_to_sleep() {
    let script = vec![one_call("bg"), say("started"), say("thanks")];
    let kit = Kit::new(script, vec![tool("bg", after(3_600_000, "an hour later"))]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    turn_ends(&session, 2).await;
    let entries = journal(&kit.core, &session).await;
    let released = |entry: &&Entry| matches!(entry.event, Event::WriterReleased);
    assert_eq!(entries.iter().filter(released).count(), 0);
    assert!(outcomes(&entries)[0].contains("an hour later"));
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_process_died_is_lost_and_the_model_is_told_once() {
    let store = MemoryStore::new(node("world"));
    let script = vec![one_call("bg"), say("started")];
    let tools = vec![tool("bg", after(5_000, "forty-two"))];
    let journal_a = Arc::new(MortalJournal::new(store.reopen(node("a")), 1, 0));
    let a = Kit::of(Parts {
        journal: journal_a.clone(),
        ..Parts::on(store.clone(), script, tools.clone())
    });
    let session = a.open().await;
    session.run_turn(go()).await.unwrap();
    journal_a.die();
    for name in ["b", "c"] {
        let journal_of = Arc::new(MortalJournal::new(store.reopen(node(name)), 1, 0));
        let parts = Parts::on(store.clone(), vec![], tools.clone());
        let kit = Kit::of(Parts { name, journal: journal_of, ..parts });
        let load = LoadSession::new(session.id().clone(), Recovery::Continue);
        let again = kit.core.open(Origin::Resume(load)).await.unwrap();
        again.run_turn(go()).await.unwrap();
        let requests = kit.model.requests();
        assert_eq!(requests.len(), 1, "opening starts no turn for what was lost");
        assert_eq!(told(&requests[0], "[background task bg-1 (test) lost]"), 1);
        again.close().await.unwrap();
        let entries = journal(&kit.core, &again).await;
        assert_eq!(settled(&entries), [("bg-1".to_owned(), TaskOutcome::Lost)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_run_again_after_a_death_starts_its_task_no_second_time() {
    // When the process dies, the task has ended, or it runs.
    for (work_ms, outcome) in [(500, TaskOutcome::Completed), (9_000, TaskOutcome::Lost)] {
        let store = MemoryStore::new(node("world"));
        let journal_a = Arc::new(MortalJournal::new(store.reopen(node("a")), 1, 0));
        let act = Act::Background(after(work_ms, "forty-two"));
        let tools = vec![TestTool::new("bg", Effect::Idempotent, act)];
        // The end of the call is held.
        let hooks = TestHooks::new([(HookPoint::AfterToolApply, vec![Do::After(4_000)])]);
        let a = Kit::of(Parts {
            journal: journal_a.clone(),
            hooks: Some(hooks),
            ..Parts::on(store.clone(), vec![one_call("bg")], tools.clone())
        });
        let session = a.open().await;
        send(&session, "go", Delivery::Now).await.unwrap();
        pass(1_000).await;
        journal_a.die();
        drop(a);
        let script = vec![say("started"), one_call("bg"), say("another"), say("thanks")];
        let parts = Parts::on(store.reopen(node("b")), script, tools.clone());
        let kit = Kit::of(Parts { name: "b", ..parts });
        let load = LoadSession::new(session.id().clone(), Recovery::Continue);
        let again = kit.core.open(Origin::Resume(load)).await.unwrap();
        wait_for(&again, 0, |event| matches!(event, Event::TurnEnded(_))).await;
        let entries = journal(&kit.core, &again).await;
        assert_eq!(tools[0].runs(), 2, "the call is run again");
        assert_eq!(settled(&entries), [("bg-1".to_owned(), outcome)]);
        let given = entries.iter().find_map(|entry| match &entry.event {
            Event::ToolSettled(settled) => Some(said(&settled.content)),
            _ => None,
        });
        assert_eq!(given.as_deref(), Some("started bg-1"));
        // Another call starts one of its own.
        again.run_turn(go()).await.unwrap();
        let entries = journal(&kit.core, &again).await;
        assert_eq!(tags(&entries).iter().filter(|tag| *tag == "task_started").count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn ends_start_only_so_many_turns_in_a_row_and_then_wait_for_somebody() {
    let limits = RuntimeLimits { autonomous_turns_max: 3, ..RuntimeLimits::DEFAULT };
    // Each turn, those by themselves included, starts the next task.
    let script = (0..20).flat_map(|_| [one_call("bg"), say("on it")]).collect();
    let parts = Parts::new(script, vec![tool("bg", after(60_000, "tick"))]);
    let kit = Kit::of(Parts { limits, ..parts });
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    turn_ends(&session, 4).await;
    wait_for(&session, 0, |event| matches!(event, Event::TaskSettled(end) if end.task == task(4)))
        .await;
    pass(86_400_000).await;
    let status = session.status().await.unwrap();
    assert_eq!((status.turns, status.waiting.len()), (4, 1));
    // Somebody's word takes what waited, and the count begins again.
    session.run_turn(go()).await.unwrap();
    assert_eq!(told(kit.model.requests().last().unwrap(), "tick"), 4);
    turn_ends(&session, 8).await;
}

#[tokio::test(start_paused = true)]
async fn an_archived_session_keeps_the_end_and_starts_no_turn() {
    let script = vec![one_call("bg"), say("started"), say("thanks")];
    let kit = Kit::new(script, vec![tool("bg", after(5_000, "forty-two"))]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    session.tell(Command::Archive).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TaskSettled(_))).await;
    let status = session.status().await.unwrap();
    assert_eq!((status.turns, status.waiting.len()), (1, 1));
    session.tell(Command::Restore).await.unwrap();
    turn_ends(&session, 2).await;
    assert_eq!(told(&kit.model.requests()[2], "forty-two"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_limit_ends_a_turn_that_an_end_started_like_any_other() {
    let script = vec![one_call("bg"), say("started"), one_call("bg"), say("unheard")];
    let kit = Kit::new(script, vec![tool("bg", after(5_000, "forty-two"))]);
    let limits =
        Limits { session: Bounds { steps: Some(3), ..Bounds::default() }, ..Limits::default() };
    let session = kit.open_with(Settings { limits, ..settings() }).await;
    session.run_turn(go()).await.unwrap();
    let stops = turn_ends(&session, 3).await;
    let steps = StopReason::Limit(LimitKind::Steps);
    assert_eq!(stops, [StopReason::EndTurn, steps, steps]);
    assert_eq!(kit.model.requests().len(), 3);
    let entries = journal(&kit.core, &session).await;
    assert_eq!(outcomes(&entries).len(), 2, "the second end is in the journal all the same");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_turn_leaves_its_tasks_and_a_turn_of_its_own_can_be_cancelled() {
    let script = vec![one_call("bg"), vec![Say::Silence], vec![Say::Silence]];
    let kit = Kit::new(script, vec![tool("bg", after(60_000, "forty-two"))]);
    let session = kit.open().await;
    send(&session, "go", Delivery::Now).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::StepStarted(step) if step.step == 2))
        .await;
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    assert_eq!(turn_ends(&session, 1).await, [StopReason::Cancelled]);
    assert_eq!(session.background_tasks().await.unwrap().running.len(), 1);
    wait_for(&session, 0, |event| matches!(event, Event::TaskSettled(_))).await;
    let began = wait_for(
        &session,
        0,
        |event| matches!(event, Event::TurnStarted(turn) if turn.inputs.len() == 1),
    );
    began.await;
    wait_for(&session, 0, |event| matches!(event, Event::InputAdmitted(input) if input.source == InputSource::Background)).await;
    pass(10).await;
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    assert_eq!(turn_ends(&session, 2).await, [StopReason::Cancelled; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_mode_that_denies_a_call_starts_nothing_in_the_background() {
    let script = vec![one_call("bg"), say("so be it")];
    let bg = tool("bg", after(5_000, "forty-two"));
    let kit = Kit::new(script, vec![bg.clone()]);
    let session = kit.open_with(Settings { mode: Mode::READ_ONLY, ..settings() }).await;
    session.run_turn(go()).await.unwrap();
    assert_eq!(bg.runs(), 0);
    assert!(!tags(&journal(&kit.core, &session).await).contains(&"task_started".to_owned()));
}

/// Reads until the second turn has ended: the entries, and what the first task printed.
async fn follow(mut events: EventStream) -> (Vec<Arc<Entry>>, String) {
    let (mut entries, mut output, mut ends) = (Vec::new(), String::new(), 0);
    while ends < 2 {
        match events.next().await.unwrap() {
            AgentEvent::Entry(entry) => {
                ends += u32::from(matches!(entry.event, Event::TurnEnded(_)));
                entries.push(entry);
            }
            AgentEvent::Delta(delta) if delta.item == (DeltaItem::Task { task: task(1) }) => {
                output.push_str(&delta.text);
            }
            AgentEvent::Delta(_) | AgentEvent::CaughtUp { .. } | AgentEvent::Scoped { .. } => {}
        }
    }
    (entries, output)
}

#[tokio::test(start_paused = true)]
async fn every_subscriber_sees_the_same_of_a_task_and_its_output_while_it_runs() {
    let script = vec![one_call("bg"), say("started"), say("thanks")];
    let kit = Kit::new(script, vec![tool("bg", after(5_000, "forty-two"))]);
    let session = kit.open().await;
    let run = async {
        session.run_turn(go()).await.unwrap();
        turn_ends(&session, 2).await;
    };
    let (early, late, ()) = tokio::join!(follow(session.events(0)), follow(session.events(0)), run);
    assert_eq!(early.0, late.0);
    assert_eq!((early.1.as_str(), late.1.as_str()), ("begun", "begun"));
}

#[tokio::test(start_paused = true)]
async fn a_task_can_be_sent_words_if_it_takes_any() {
    let script = vec![
        vec![Say::Reply(calls(&[("a", "echo", "{}"), ("b", "hangs", "{}")]))],
        say("started"),
        say("thanks"),
    ];
    let kit = Kit::new(script, vec![tool("echo", Work::Echo), tool("hangs", Work::Hang)]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    session.send_to_task(&task(1), "hello".to_owned()).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TaskSettled(_))).await;
    assert!(outcomes(&journal(&kit.core, &session).await)[0].ends_with("completed]\nhello"));
    let refused = session.send_to_task(&task(2), "hello".to_owned()).await.unwrap_err();
    assert!(
        matches!(&refused, SessionError::Rejected(Rejection::Invalid { what }) if what.contains("takes no input"))
    );
    let gone = session.send_to_task(&task(1), "hello".to_owned()).await.unwrap_err();
    assert!(matches!(gone, SessionError::Rejected(Rejection::Stale { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_task_is_inspected_by_its_last_blocks() {
    let script = vec![one_call("watched"), say("started"), say("thanks")];
    let watched = tool("watched", after(5_000, "done"));
    let background = BackgroundProgressConfig { default_recent_blocks: 2, ..Default::default() };
    let limits = RuntimeLimits { background, ..RuntimeLimits::DEFAULT };
    let kit = Kit::of(Parts { limits, ..Parts::new(script, vec![watched.clone()]) });
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    // Whoever holds a call's way to the tasks has it for the life of the session.
    let tasks = watched.tasks();
    assert_eq!((tasks.running_count(), tasks.has_completed()), (1, false));
    let history = VecHistory::from_messages(vec![
        Message::User { parts: vec![Part::text("look around")] },
        Message::Assistant { blocks: text("I see").blocks },
    ]);
    watched.handle().attach_history(Arc::new(history.unwrap()));
    let peek = tasks.peek(&task(1), None).await.unwrap();
    let block = |kind, text: &str| ProgressBlock { kind, text: text.to_owned() };
    // The limit for texts is 0: of what a model says the kind alone is shown.
    let expected = [block(BlockKind::Assistant, ""), block(BlockKind::Output, "begun")];
    assert_eq!((peek.status, peek.block_count), (TaskStatus::Running, 3));
    assert_eq!(peek.recent, expected);
    let all = tasks.peek(&task(1), Some(9)).await.unwrap();
    assert_eq!(all.recent[0], block(BlockKind::User, ""));
    assert!(tasks.list()[0].recent.is_empty());
    tasks.wait_for_completion().await;
    assert_eq!(tasks.peek(&task(1), None).await.unwrap().status, TaskStatus::Completed);
    assert_eq!(tasks.cancel_task(&task(1)), Some(false));
    assert_eq!(tasks.cancel_task(&task(2)), None);
    assert!(tasks.peek(&task(2), None).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_cancel_at_each_moment_of_a_start_leaves_a_task_that_ends_once_or_none() {
    let (mut none, mut between) = (0, 0);
    for at_ms in 0..16 {
        let store = MemoryStore::new(node("world"));
        // Each write takes a millisecond, so that a cancel arrives between a start in the journal and the beginning of its work, too.
        let slow = Arc::new(MortalJournal::new(store.reopen(node("a")), 1, 0));
        let script = vec![one_call("bg"), say("started"), say("thanks")];
        let parts = Parts::on(store.reopen(node("a")), script, vec![tool("bg", after(500, "42"))]);
        let kit = Kit::of(Parts { journal: slow, ..parts });
        let session = kit.open().await;
        let cancel = async {
            pass(at_ms).await;
            // The turn may not have begun, or be over.
            drop(session.tell(Command::Cancel { turn: None }).await);
        };
        let (_, ()) = tokio::join!(session.run_turn(go()), cancel);
        pass(10_000).await;
        let entries = journal(&kit.core, &session).await;
        let tags = tags(&entries);
        let count = |wanted: &str| tags.iter().filter(|tag| *tag == wanted).count();
        let started = count("task_started");
        assert_eq!(settled(&entries).len(), started, "{at_ms} ms: {tags:?}");
        assert_eq!(outcomes(&entries).len(), started, "{at_ms} ms: {tags:?}");
        assert_eq!(count("tool_called"), count("tool_settled"), "{at_ms} ms: {tags:?}");
        none += usize::from(started == 0);
        // The turn was cancelled with its task started and its call not told to the model.
        between += usize::from(started == 1 && count("step_started") == count("turn_started"));
        session.close().await.unwrap();
    }
    assert!(none > 0 && between > 0, "{none} without a task, {between} cut");
}
