//! A process that dies at any commit leaves a session that goes on: nothing lost, nothing done twice unasked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures::FutureExt;
use futures::future::ready;
use oarlock_core::event::{Effect, Entry, Event, FailureClass, Outcome, StopReason};
use oarlock_core::ids::SessionId;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Content, Message, Part};
use oarlock_core::ports::journal::JournalError;
use oarlock_core::{DefaultSession, LoadSession, Origin, Recovery};
use oarlock_testkit::gated::{Asked, GatedJournal, through};
use oarlock_testkit::kit::{Kit, Parts, journal, node};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};

/// A journal that takes so many appends and then none: for its session the process is dead.
pub(crate) fn dies_after(appends: usize, store: &MemoryStore) -> Arc<GatedJournal> {
    let left = AtomicUsize::new(appends);
    GatedJournal::new(store.clone(), move |asked, session| {
        let is_alive = || left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if asked != Asked::Append || is_alive() {
            return through();
        }
        let (session, found) = (session.clone(), u64::MAX);
        ready(Err(JournalError::Fenced { session, found, ours: 1 })).boxed()
    })
}

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

fn script() -> Vec<Vec<Say>> {
    vec![
        vec![Say::Reply(calls(&[("r", "read", "{}"), ("w", "write", "{}")]))],
        vec![Say::Reply(text("end"))],
    ]
}

fn tools() -> Vec<Arc<TestTool>> {
    vec![
        TestTool::new("read", Effect::Pure, Act::After(10, "read")),
        TestTool::new("write", Effect::Mutating, Act::After(10, "written")),
    ]
}

/// What is left when a process dies after so many appends: the store's data, the tools as they ran, and the session.
struct Wreck {
    data: MemoryStore,
    tools: Vec<Arc<TestTool>>,
    session: SessionId,
    told: Vec<Entry>,
}

/// Runs the script until its journal dies; `None` when it lived to the end.
async fn crash_after(appends: usize) -> Option<Wreck> {
    let store = MemoryStore::new(node("a"));
    let dies = dies_after(appends, &store);
    let tools = tools();
    let kit = Kit::of(Parts { journal: dies, ..Parts::on(store.clone(), script(), tools.clone()) });
    let session = kit.open().await;
    let ended = session.run_turn(go()).await;
    let told = journal(&kit.core, &session).await;
    let data = store.reopen(node("b"));
    let wreck = Wreck { data, tools, session: session.id().clone(), told };
    ended.is_err().then_some(wreck)
}

/// Opens the session in another process, with the rest of the script that its journal still needs.
async fn resume(wreck: &Wreck, recovery: Recovery) -> (Kit, DefaultSession) {
    let answered =
        wreck.told.iter().filter(|entry| matches!(entry.event, Event::AssistantMessage(_))).count();
    let rest = script().split_off(answered.min(2));
    let kit =
        Kit::of(Parts { name: "b", ..Parts::on(wreck.data.clone(), rest, wreck.tools.clone()) });
    let session = kit
        .core
        .open(Origin::Resume(LoadSession::new(wreck.session.clone(), recovery)))
        .await
        .unwrap();
    (kit, session)
}

async fn until_rest(kit: &Kit, session: &DefaultSession) -> Vec<Entry> {
    let mut events = session.events(0);
    loop {
        let state = kit.core.state(session.id()).await.unwrap();
        if state.turn.is_none() && state.pending.is_empty() {
            return journal(&kit.core, session).await;
        }
        session.next_event(&mut events).await.unwrap();
    }
}

fn check_request(messages: &[Message]) {
    assert!(matches!(messages.first(), Some(Message::User { .. })), "{messages:?}");
    for (at, message) in messages.iter().enumerate() {
        let Message::Assistant { blocks } = message else { continue };
        let asked = blocks.iter().filter_map(|block| match &block.content {
            Content::ToolCall { id, .. } => Some(id.clone()),
            _ => None,
        });
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() {
            continue;
        }
        let Some(Message::Tool { results }) = messages.get(at + 1) else {
            panic!("calls without results: {messages:?}")
        };
        assert_eq!(results.iter().map(|result| result.call.clone()).collect::<Vec<_>>(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_death_at_every_commit_loses_nothing_and_repeats_no_write() {
    let mut deaths = 0;
    for appends in 1..20 {
        if crash_after(appends).await.is_none() {
            break;
        }
        deaths += 1;
        for recovery in [Recovery::Continue, Recovery::Interrupt] {
            let wreck = crash_after(appends).await.unwrap();
            let (kit, session) = resume(&wreck, recovery).await;
            let entries = until_rest(&kit, &session).await;
            assert_eq!(entries[..wreck.told.len()], wreck.told, "what was told is still there");
            let ends =
                entries.iter().filter(|entry| matches!(entry.event, Event::TurnEnded(_))).count();
            let begun =
                entries.iter().filter(|entry| matches!(entry.event, Event::TurnStarted(_))).count();
            assert_eq!(ends, begun, "one end for each turn after {appends} appends");
            assert!(
                wreck.tools[1].runs() <= 1,
                "the write ran {} times after {appends} appends",
                wreck.tools[1].runs()
            );
            for called in entries.iter().filter_map(|entry| match &entry.event {
                Event::ToolCalled(called) => Some(&called.call),
                _ => None,
            }) {
                let settled = entries.iter().filter(
                    |entry| matches!(&entry.event, Event::ToolSettled(s) if s.call == *called),
                );
                assert_eq!(settled.count(), 1, "call {called} after {appends} appends");
            }
            session.run_turn(go()).await.unwrap();
            for request in kit.model.requests() {
                check_request(&request.messages);
            }
        }
    }
    assert!(deaths >= 4, "{deaths} deaths were swept");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_begun_is_indeterminate_and_a_read_is_run_again() {
    // After: created, input+step, answer+started(read), read settled + started(write).
    let wreck = crash_after(4).await.unwrap();
    assert_eq!(wreck.tools[1].runs(), 1);
    let (kit, session) = resume(&wreck, Recovery::Continue).await;
    let entries = until_rest(&kit, &session).await;
    let settled = entries.iter().filter_map(|entry| match &entry.event {
        Event::ToolSettled(settled) => Some((settled.call.as_str().to_owned(), settled.outcome)),
        _ => None,
    });
    assert_eq!(
        settled.collect::<Vec<_>>(),
        [("r".to_owned(), Outcome::Completed), ("w".to_owned(), Outcome::Indeterminate)]
    );
    let wreck = crash_after(3).await.unwrap();
    let (kit, session) = resume(&wreck, Recovery::Continue).await;
    until_rest(&kit, &session).await;
    assert_eq!((wreck.tools[0].runs(), wreck.tools[1].runs()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_crashes_its_process_three_times_is_ended() {
    let mut wreck = crash_after(2).await.unwrap();
    for name in ["b", "c", "d"] {
        let store = wreck.data.reopen(node(name));
        wreck.data = store.clone();
        let dies = dies_after(if name == "d" { 9 } else { 1 }, &store);
        let script = vec![vec![Say::Silence]];
        let parts = Parts { name, journal: dies, ..Parts::on(store, script, tools()) };
        let kit = Kit::of(parts);
        let origin = Origin::Resume(LoadSession::new(wreck.session.clone(), Recovery::Continue));
        let session = kit.core.open(origin).await.unwrap();
        // The next append after recovery kills it.
        drop(session.tell(oarlock_core::Command::Cancel { turn: None }).await);
        let state = kit.core.state(session.id()).await.unwrap();
        if name == "d" {
            assert_eq!(state.last_stop, Some(StopReason::Failed(FailureClass::CrashLoop)));
        } else {
            assert!(state.turn.is_some(), "the turn is open after {name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_let_go_did_not_crash() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open().await;
    for _ in 0..5 {
        session.run_turn(go()).await.unwrap();
        session.close().await.unwrap();
    }
    let recovered = journal(&kit.core, &session)
        .await
        .iter()
        .filter(|e| matches!(e.event, Event::TurnRecovered(_)))
        .count();
    assert_eq!(recovered, 0);
}

#[tokio::test(start_paused = true)]
async fn ambiguous_appends_are_resolved_without_loss_or_repetition() {
    use oarlock_testkit::faulty::{Fault, FaultyJournal};
    for fault in [Fault::LostAnswer, Fault::LostRequest, Fault::Unavailable] {
        for at in 0..6 {
            let store = MemoryStore::new(node("a"));
            let script_of_faults = (0..at).map(|_| None).chain([Some(fault)]);
            let faulty = FaultyJournal::scripted(
                Arc::new(store.clone()),
                script_of_faults.collect::<Vec<_>>(),
            );
            let tools = tools();
            let parts =
                Parts { journal: Arc::new(faulty), ..Parts::on(store, script(), tools.clone()) };
            let kit = Kit::of(parts);
            let session = kit.open().await;
            let ended = session.run_turn(go()).await.unwrap();
            assert_eq!(ended.stop, StopReason::EndTurn, "{fault:?} at {at}");
            let entries = journal(&kit.core, &session).await;
            let seqs: Vec<_> = entries.iter().map(|entry| entry.seq).collect();
            assert_eq!(seqs, (1..=entries.len() as u64).collect::<Vec<_>>());
            assert_eq!((tools[0].runs(), tools[1].runs()), (1, 1), "{fault:?} at {at}");
        }
    }
}

#[test]
fn an_answer_in_several_frames_survives_a_death_between_them() {
    use oarlock_core::event::Delivery;
    use oarlock_testkit::kit::settings;
    use oarlock_testkit::mortal::LastWrite;
    use oarlock_testkit::story::{Beat, Story, laws, play};
    let arguments = format!(r#"{{"pad": "{}"}}"#, "x".repeat(60_000));
    let ids: Vec<String> = (0..6).map(|n| format!("c{n}")).collect();
    let asked: Vec<_> = ids.iter().map(|id| (id.as_str(), "write", arguments.as_str())).collect();
    let (mut cut, stories) =
        (0, (1..5).flat_map(|n| [(n, Recovery::Continue), (n, Recovery::Interrupt)]));
    for (writes, recovery) in stories {
        let story = Story {
            settings: settings(),
            summaries: Vec::new(),
            replies: vec![vec![Say::Reply(calls(&asked))]],
            beats: vec![
                (0, Beat::Doom(writes, LastWrite::Lost, recovery)),
                (0, Beat::Input(Delivery::Now, None)),
                (30, Beat::Input(Delivery::Queue, None)),
            ],
            faults: 0,
        };
        let told = play(&story);
        laws::hold(&story, &told);
        let recovered =
            told.entries.iter().position(|entry| matches!(entry.event, Event::WriterChanged(_)));
        let before = &told.entries[..recovered.unwrap_or(0)];
        let called = before.iter().filter(|entry| matches!(entry.event, Event::ToolCalled(_)));
        cut += usize::from((1..6).contains(&called.count()));
    }
    assert!(cut > 0, "no death fell between two frames of an answer");
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_turn_ends_as_such_and_runs_nothing_more() {
    for appends in 2..5 {
        let wreck = crash_after(appends).await.unwrap();
        let runs = |wreck: &Wreck| wreck.tools.iter().map(|tool| tool.runs()).sum::<u32>();
        let before = runs(&wreck);
        let (kit, session) = resume(&wreck, Recovery::Interrupt).await;
        until_rest(&kit, &session).await;
        let state = kit.core.state(session.id()).await.unwrap();
        assert_eq!(state.last_stop, Some(StopReason::Interrupted), "after {appends} appends");
        assert_eq!((kit.model.requests().len(), runs(&wreck)), (0, before));
    }
}

#[test]
fn a_summary_whose_process_died_has_failed_and_another_can_be_asked_for() {
    use oarlock_core::event::Delivery;
    use oarlock_testkit::kit::{settings, tags};
    use oarlock_testkit::story::{Beat, Story, laws, play};
    let story = Story {
        settings: settings(),
        summaries: vec![vec![Say::Wait(1_000), Say::Reply(text("never heard"))]],
        replies: vec![vec![Say::Reply(text(&"long ".repeat(400)))]],
        beats: vec![
            (0, Beat::Input(Delivery::Now, None)),
            (50, Beat::Compact),
            (50, Beat::Crash(Recovery::Continue)),
            (50, Beat::Compact),
        ],
        faults: 0,
    };
    let told = play(&story);
    laws::hold(&story, &told);
    let tags = tags(&told.entries);
    let about = |tag: &String| {
        ["writer_changed", "summary", "context"].iter().any(|at| tag.starts_with(at))
    };
    let tags: Vec<&str> = tags.iter().filter(|tag| about(tag)).map(String::as_str).collect();
    let wanted = [
        "summary_started",
        "writer_changed",
        "summary_failed",
        "summary_started",
        "context_compacted",
    ];
    assert_eq!(tags, wanted);
}

#[tokio::test(start_paused = true)]
async fn times_in_a_journal_never_go_back_although_the_next_clock_is_behind() {
    let store = MemoryStore::new(node("a"));
    let slow = vec![Say::Wait(50_000), Say::Reply(text("at last"))];
    let before = Kit::of(Parts::on(store.clone(), vec![slow], vec![]));
    let session = before.open().await;
    session.run_turn(go()).await.unwrap();
    session.close().await.unwrap();
    // The clock of a kit begins when it is made.
    let after = Kit::of(Parts { name: "b", ..Parts::on(store, vec![], vec![]) });
    let load = LoadSession::new(session.id().clone(), Recovery::Continue);
    let session = after.core.open(Origin::Resume(load)).await.unwrap();
    session.run_turn(go()).await.unwrap();
    let times: Vec<_> = journal(&after.core, &session).await.iter().map(|e| e.at).collect();
    assert!(times.is_sorted(), "{times:?}");
}
