//! Every wait ends: soon when the turn is cancelled, by itself otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::command::Command;
use oarlock_core::event::{Effect, Event, Outcome, StopReason};
use oarlock_core::ids::{NodeId, SessionId};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::Part;
use oarlock_core::ports::journal::{
    Catalog, Filter, Hit, JournalError, Listed, Projection, UsageRow,
};
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::spec::{Answers, Mode, Settings};
use oarlock_core::{
    DefaultAgentCore, DefaultSession, LoadSession, Origin, Ports, Recovery, SessionError,
};
use oarlock_testkit::gated::{Asked, GatedJournal, stuck, through};
use oarlock_testkit::kit::{Kit, Parts, journal, node, settings, spec, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};
use tokio::time::timeout;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

fn tools() -> Vec<Arc<TestTool>> {
    vec![
        TestTool::new("hang", Effect::Pure, Act::Hang),
        TestTool::new("stuck", Effect::Mutating, Act::Hang),
        TestTool::new("mute", Effect::Mutating, Act::Mute),
        TestTool::client("ask"),
    ]
}

/// Everything that a turn can wait for, each by what the model says and by the mode.
fn every_wait() -> Vec<(&'static str, Vec<Say>, Mode)> {
    let call = |tool| vec![Say::Reply(calls(&[("c", tool, "{}")]))];
    vec![
        ("a silent model", vec![Say::Silence], Mode::OPEN),
        ("a model that stops in its words", vec![Say::Delta("so"), Say::Silence], Mode::OPEN),
        ("the next attempt", vec![Say::Fail(ModelErrorKind::Overloaded, Some(60_000))], Mode::OPEN),
        ("a tool", call("hang"), Mode::OPEN),
        ("a tool that writes", call("stuck"), Mode::OPEN),
        ("what to show of a call", call("mute"), Mode::ASK_WRITES),
        ("a person's permission", call("stuck"), Mode::ASK_WRITES),
        ("the client's answer", call("ask"), Mode::OPEN),
    ]
}

async fn begin(kit: &Kit, mode: Mode) -> DefaultSession {
    let session = kit.open_with(Settings { mode, answers: Answers::Somebody, ..settings() }).await;
    session.prompt(go()).await.unwrap();
    let short = kit.core.ports().clock.now().after(1_000);
    kit.core.ports().clock.sleep_until(short).await;
    session
}

#[tokio::test(start_paused = true)]
async fn a_cancel_ends_every_wait_within_250_ms() {
    for (wait, said, mode) in every_wait() {
        let kit = Kit::new(vec![said], tools());
        let session = begin(&kit, mode).await;
        assert!(kit.core.state(session.id()).await.unwrap().turn.is_some(), "no wait for {wait}");
        let before = kit.core.ports().clock.now();
        session.tell(Command::Cancel { turn: None }).await.unwrap();
        let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
        let took = ended.at.ms_since(before);
        assert!(took <= 250, "{wait}: {took} ms");
        let Event::TurnEnded(ended) = &ended.event else { unreachable!() };
        assert_eq!(ended.stop, StopReason::Cancelled, "{wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_wait_ends_by_itself() {
    for (wait, said, mode) in every_wait() {
        let kit = Kit::new(vec![said], tools());
        let session = begin(&kit, mode).await;
        let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_)));
        let ended = timeout(DAY, ended).await;
        assert!(ended.is_ok(), "{wait} has no end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_talks_for_ever_is_stopped() {
    let talk = (0..20).flat_map(|_| [Say::Wait(250_000), Say::Alive]);
    let kit = Kit::new(vec![talk.chain([Say::Silence]).collect()], vec![]);
    let session = kit.open().await;
    let before = kit.core.ports().clock.now();
    session.run_turn(go()).await.unwrap();
    let failed = wait_for(&session, 0, |event| matches!(event, Event::ModelFailed(_))).await;
    let Event::ModelFailed(failure) = &failed.event else { unreachable!() };
    assert_eq!(failure.class, ModelErrorKind::Timeout);
    assert!(failed.at.ms_since(before) <= RuntimeLimits::DEFAULT.model_total_ms);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_drips_lives_until_the_deadline_of_the_call_and_dies_of_too_long_a_silence() {
    let limits = RuntimeLimits {
        model_idle_ms: 20_000,
        model_total_ms: 120_000,
        retry_total_ms: 0,
        ..RuntimeLimits::DEFAULT
    };
    // Each drop comes a moment before the silence is too long, or a moment after it.
    for (gap, ends_at, why) in [
        (19_999, 120_000, "it did not end within 120 s"),
        (20_001, 20_000, "nothing was heard of it for 20 s"),
    ] {
        let drips = (0..40).flat_map(|_| [Say::Wait(gap), Say::Delta("x")]).collect();
        let kit = Kit::of(Parts { limits, ..Parts::new(vec![drips], vec![]) });
        let session = kit.open().await;
        session.prompt(go()).await.unwrap();
        let started = wait_for(&session, 0, |event| matches!(event, Event::StepStarted(_))).await;
        let failed = wait_for(&session, 0, |event| matches!(event, Event::ModelFailed(_))).await;
        let Event::ModelFailed(failure) = &failed.event else { unreachable!() };
        assert_eq!((failure.class, failure.retry_in_ms), (ModelErrorKind::Timeout, None));
        assert!(failure.message.ends_with(why), "{}", failure.message);
        assert_eq!(failed.at.ms_since(started.at), ends_at, "{gap}");
        let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
        assert_eq!(ended.at, failed.at);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_panics_over_its_arguments_fails_its_call_alone() {
    let early = TestTool::new("early", Effect::Mutating, Act::PanicEarly);
    let ask = calls(&[("1", "early", "{}"), ("2", "early", "{}")]);
    let kit = Kit::new(vec![vec![Say::Reply(ask)]], vec![early]);
    let session = kit.open().await;
    let ended = session.run_turn(go()).await.unwrap();
    assert_eq!((ended.stop, ended.steps), (StopReason::EndTurn, 2));
    let failed = journal(&kit.core, &session).await.into_iter().filter(
        |entry| matches!(&entry.event, Event::ToolSettled(s) if s.outcome == Outcome::Failed),
    );
    assert_eq!(failed.count(), 2);
}

/// A catalogue that takes summaries and never says so.
#[derive(Debug)]
struct HungCatalog;

impl Catalog for HungCatalog {
    fn put_projection<'a>(&'a self, _: Projection<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        std::future::pending().boxed()
    }
    fn checkpoint<'a>(
        &'a self,
        _: &'a SessionId,
    ) -> BoxFuture<'a, Result<Option<Bytes>, JournalError>> {
        std::future::pending().boxed()
    }
    fn list<'a>(&'a self, _: &'a Filter) -> BoxFuture<'a, Result<Vec<Listed>, JournalError>> {
        std::future::pending().boxed()
    }
    fn search<'a>(
        &'a self,
        _: &'a str,
        _: &'a Filter,
    ) -> BoxFuture<'a, Result<Vec<Hit>, JournalError>> {
        std::future::pending().boxed()
    }
    fn usage<'a>(&'a self, _: &'a Filter) -> BoxFuture<'a, Result<UsageRow, JournalError>> {
        std::future::pending().boxed()
    }
    fn purge<'a>(
        &'a self,
        _: &'a SessionId,
        _: &'a NodeId,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        std::future::pending().boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_catalogue_that_hangs_costs_a_session_its_place_in_lists_and_nothing_else() {
    let kit = Kit::new(vec![vec![Say::Silence]], vec![]);
    let ports = Ports { catalog: Arc::new(HungCatalog), ..kit.core.ports().clone() };
    let core = DefaultAgentCore::new(ports, RuntimeLimits::DEFAULT, node("a"));
    let session = core.open(spec(settings()).into()).await.unwrap();
    session.prompt(go()).await.unwrap();
    let clock = &core.ports().clock;
    clock.sleep_until(clock.now().after(1_000)).await;
    let before = clock.now();
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    assert!(ended.at.ms_since(before) <= 250);
    session.run_turn(go()).await.unwrap();
    session.close().await.unwrap();
    let before = clock.now();
    session.run_turn(go()).await.unwrap();
    assert!(clock.now().ms_since(before) <= 2_100, "opening does not wait for a checkpoint");
}

/// A runtime whose journal answers nothing after so many appends, or does not say where it ends.
fn hung(appends: usize, tail: bool) -> Kit {
    let (store, left) = (MemoryStore::new(node("a")), AtomicUsize::new(appends));
    let journal = GatedJournal::new(store.clone(), move |asked, _| match asked {
        Asked::Append | Asked::Release => {
            match left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
                Ok(_) => through(),
                Err(_) => stuck(),
            }
        }
        Asked::Tail if !tail => stuck(),
        Asked::Claim | Asked::Resolve | Asked::Read | Asked::Tail => through(),
    });
    let script = vec![vec![Say::Reply(text("hi"))]];
    Kit::of(Parts { journal, ..Parts::on(store, script, vec![]) })
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_closes_the_session_with_its_error() {
    for appends in 1..4 {
        let kit = hung(appends, true);
        let session = kit.open().await;
        let ended = timeout(DAY, session.run_turn(go())).await.unwrap();
        match appends {
            3 => assert_eq!(ended.unwrap().stop, StopReason::EndTurn),
            _ => assert!(matches!(ended, Err(SessionError::Store(_))), "{ended:?}"),
        }
        // Letting go hangs, too; the session ends all the same.
        let closed = timeout(DAY, session.close()).await.unwrap();
        assert!(closed.is_err() || appends < 3, "{closed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn opening_ends_although_the_store_hangs() {
    let kit = hung(9, false);
    let session = kit.open().await;
    session.close().await.unwrap();
    let origin = Origin::Resume(LoadSession::new(session.id().clone(), Recovery::Continue));
    let opened = timeout(DAY, kit.core.open(origin)).await.expect("it ends");
    assert!(opened.is_err());
}
