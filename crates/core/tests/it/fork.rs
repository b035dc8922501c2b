//! A fork goes on with a copy: whole by itself, with the same bytes for the model, and nothing of its source's that was its source's alone.

use std::sync::Arc;

use futures::executor::block_on;
use oarlock_core::command::Command;
use oarlock_core::event::{Delivery, Effect, Entry, Event, ForkPoint, PermissionKind, TaskOutcome};
use oarlock_core::ids::{Seq, SessionId};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Block, Content, Native, Part, RawJson, ReplyStop, Usage};
use oarlock_core::ports::journal::{Catalog, Filter, Journal};
use oarlock_core::ports::model::Reply;
use oarlock_core::replay::replay;
use oarlock_core::session::conversation::check;
use oarlock_core::session::state::{State, Used};
use oarlock_core::spec::{Answers, Mode, Settings, SettingsChange};
use oarlock_core::{
    AgentCore, AgentError, DefaultAgentCore, DefaultSession, ForkSession, LoadSession, Origin,
    PermissionResolution, Recovery, Session,
};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings, tags, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use oarlock_testkit::story::draw::{config, stories};
use oarlock_testkit::story::play;
use oarlock_testkit::tool::{Act, TestTool, Work};
use proptest::prelude::proptest;

use crate::replay::Lines;

fn go(words: &str) -> Vec<Part> {
    vec![Part::text(words)]
}

fn say(words: &str) -> Vec<Say> {
    vec![Say::Reply(text(words))]
}

async fn fork(core: &DefaultAgentCore, fork: ForkSession) -> Result<DefaultSession, AgentError> {
    core.open(Origin::Fork(Box::new(fork))).await
}

async fn fork_of(core: &DefaultAgentCore, of: &DefaultSession) -> DefaultSession {
    fork(core, ForkSession::new(of.id().clone())).await.unwrap()
}

fn fold(entries: &[Entry]) -> State {
    let mut state = State::created(&entries[0]).unwrap();
    entries[1..].iter().for_each(|entry| state.apply(entry).unwrap());
    state
}

fn frames(store: &MemoryStore, id: &SessionId) -> Vec<oarlock_core::ports::journal::Frame> {
    block_on(Journal::read(store, id, 0, usize::MAX)).unwrap()
}

/// An answer with a signed thought and a call, as a provider wrote them.
fn thoughtful() -> Vec<Say> {
    let native = |item: &str| Native {
        wire: "w".to_owned(),
        endpoint: "e".to_owned(),
        model: "m".to_owned(),
        item: RawJson::parse(item.to_owned()).unwrap(),
    };
    let call = Content::ToolCall {
        id: oarlock_core::CallId("toolu_1".into()),
        name: "read".to_owned(),
        arguments: "{ \"a\" : 1.0}".to_owned(),
    };
    let blocks = vec![
        Block {
            content: Content::Thinking { text: "hm".to_owned() },
            native: Some(native("{\"signature\":\"AbC+/=\",\r\n \"big\" : 1e3}")),
        },
        Block { content: call, native: None },
    ];
    let usage = Usage { input: 100, output: 20, ..Usage::default() };
    let warnings = Vec::new();
    let stop = ReplyStop::ToolUse;
    vec![Say::Reply(Reply { model: "m".to_owned(), blocks, stop, usage, warnings })]
}

#[tokio::test(start_paused = true)]
async fn a_forks_requests_begin_with_the_bytes_of_its_source_and_break_no_cached_prefix() {
    let store = MemoryStore::new(node("a"));
    let script = vec![thoughtful(), say("one"), say("two"), say("two")];
    // Longer than an entry may be: it lies in a body of its own.
    let tool = TestTool::new("read", Effect::Pure, Act::Give("r".repeat(200_000)));
    let kit = Kit::of(Parts::on(store.clone(), script, vec![tool]));
    let source = kit.open().await;
    source.run_turn(go("first")).await.unwrap();
    let before = frames(&store, source.id());
    let forked = fork_of(&kit.core, &source).await;
    assert_eq!(frames(&store, source.id()), before, "the source is not written");
    assert_eq!(forked.status().await.unwrap().usage, Usage::default());
    source.run_turn(go("second")).await.unwrap();
    forked.run_turn(go("second")).await.unwrap();
    let requests = kit.model.requests();
    assert_eq!(requests.len(), 4);
    let json = |at: usize| serde_json::to_string(&*requests[at].messages).unwrap();
    assert_eq!(json(2), json(3));
    assert!(json(3).contains("AbC+/=\\\",\\r\\n") || json(3).contains("\"big\" : 1e3"));
    assert_eq!(requests[2].system, requests[3].system);
    assert_eq!(requests[2].tools, requests[3].tools);
    assert_eq!(requests[2].cache_key, requests[3].cache_key);
    let entries = journal(&kit.core, &forked).await;
    let breaks = entries.iter().filter_map(|entry| match &entry.event {
        Event::StepStarted(started) => started.prefix_break,
        _ => None,
    });
    assert_eq!(breaks.count(), 0);
    assert_eq!(fold(&entries), kit.core.state(forked.id()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_fork_in_the_middle_of_a_turn_is_made_behind_the_last_that_had_ended() {
    let hang = TestTool::new("hang", Effect::Mutating, Act::Hang);
    let asks = vec![Say::Reply(calls(&[("c", "hang", "{}")]))];
    let kit = Kit::new(vec![say("one"), asks, say("new")], vec![hang]);
    let source = kit.open().await;
    source.run_turn(go("first")).await.unwrap();
    let ended = source.state().await.unwrap().tip;
    send(&source, "second", Delivery::Queue).await.unwrap();
    wait_for(&source, 0, |event| matches!(event, Event::ToolStarted(_))).await;
    let forked = fork_of(&kit.core, &source).await;
    let state = forked.state().await.unwrap();
    let point = ForkPoint { session: source.id().clone(), at: ended, line: source.id().clone() };
    assert_eq!(state.forked.as_ref().map(|forked| &forked.point), Some(&point));
    assert_eq!(state.conversation.messages.len(), 2);
    forked.run_turn(go("third")).await.unwrap();
    let asked = kit.model.requests().pop().unwrap();
    assert!(!format!("{:?}", asked.messages).contains("second"));
    let running = source.state().await.unwrap();
    assert!(running.turn.is_some(), "the source's turn runs on");
    source.cancel_turn().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_not_there_a_source_that_is_not_there_and_an_id_that_is_are_refused() {
    let kit = Kit::new(vec![say("one")], vec![]);
    let source = kit.open().await;
    source.run_turn(go("first")).await.unwrap();
    let tip = source.state().await.unwrap().tip;
    let of = || ForkSession::new(source.id().clone());
    for at in [0, tip + 1] {
        let refused = fork(&kit.core, ForkSession { at: Some(at), ..of() }).await.unwrap_err();
        let words = refused.to_string();
        assert!(
            matches!(refused, AgentError::Invalid(_)) && words.contains(&format!("1 to {tip}"))
        );
    }
    let nowhere = SessionId::parse("nowhere").unwrap();
    let refused = fork(&kit.core, ForkSession::new(nowhere.clone())).await.unwrap_err();
    assert!(matches!(refused, AgentError::SessionNotFound { session } if session == nowhere));
    let taken = ForkSession { id: Some(source.id().clone()), ..of() };
    let refused = fork(&kit.core, taken).await.unwrap_err();
    assert!(matches!(refused, AgentError::DuplicateSessionId { .. }), "{refused}");
    let change =
        SettingsChange { mode: Some(Mode::parse("none").unwrap()), ..SettingsChange::default() };
    let changed = ForkSession { change: Some(Box::new(change)), ..of() };
    assert!(fork(&kit.core, changed).await.is_err());
    let listed = kit.core.ports().catalog.list(&Filter::default()).await.unwrap();
    assert_eq!(listed.len(), 1, "a refused fork leaves nothing");
    fork(&kit.core, ForkSession { at: Some(1), ..of() }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_of_the_source_alone_is_ended_in_the_fork_and_the_rest_stands_as_it_stood() {
    let background = TestTool::new("bg", Effect::Pure, Act::Background(Work::Hang));
    let write = TestTool::new("write", Effect::Mutating, Act::Give("written".to_owned()));
    let script = vec![
        vec![Say::Reply(calls(&[("b", "bg", "{}"), ("w", "write", "{}")]))],
        say("one"),
        vec![Say::Silence],
        vec![Say::Reply(calls(&[("v", "write", "{}")]))],
    ];
    let kit = Kit::new(script, vec![background, write]);
    let asking = Settings { mode: Mode::ASK_WRITES, answers: Answers::Somebody, ..settings() };
    let source = kit.open_with(asking).await;
    source.prompt(go("first")).await.unwrap();
    let asked = wait_for(&source, 0, |event| matches!(event, Event::PermissionAsked(_))).await;
    let Event::PermissionAsked(question) = &asked.event else { unreachable!() };
    // It waits behind the turn, and is not the fork's.
    send(&source, "queued", Delivery::Queue).await.unwrap();
    source
        .resolve_permission(
            &question.call,
            PermissionResolution::Selected(PermissionKind::AllowAlways),
        )
        .await
        .unwrap();
    wait_for(&source, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let own = source.state().await.unwrap();
    assert!(!own.granted.grants.is_empty() && own.used != Used::default());
    let labels = [("team".to_owned(), "a".to_owned())].into();
    let change = SettingsChange { labels: Some(labels), ..SettingsChange::default() };
    let order = ForkSession { change: Some(Box::new(change)), ..ForkSession::new(own.id.clone()) };
    let forked = fork(&kit.core, order).await.unwrap();
    let state = forked.state().await.unwrap();
    assert_eq!(state.used, Used::default());
    assert!(state.granted.grants.is_empty() && state.pending.is_empty() && state.goal.is_none());
    assert!(state.tasks.running.is_empty() && state.keys == Default::default());
    assert_eq!(state.tasks.last, 1, "the model has heard of bg-1");
    assert_eq!(state.spec.settings.title.as_deref(), Some("Fork of first"));
    assert_eq!(state.spec.settings.labels["team"], "a");
    assert_eq!(state.spec.settings.mode, Mode::ASK_WRITES);
    assert_eq!(state.spec.parent.as_ref(), Some(source.id()));
    let entries = journal(&kit.core, &forked).await;
    let at = state.forked.unwrap().point.at as usize;
    assert_eq!(entries[1..at], journal(&kit.core, &source).await[1..at]);
    let lost = entries[at..].iter().any(
        |entry| matches!(&entry.event, Event::TaskSettled(end) if end.outcome == TaskOutcome::Lost),
    );
    assert!(lost, "{:?}", tags(&entries[at..]));
    assert_eq!(
        tags(&entries[at..]),
        ["input_withdrawn", "task_settled", "session_forked", "session_configured"]
    );
    // Asked for, not granted: the word was for the source.
    forked.prompt(go("again")).await.unwrap();
    let asked = wait_for(&forked, at as Seq, |event| matches!(event, Event::PermissionAsked(_)));
    asked.await;
    forked.cancel_turn().await.unwrap();
    source.cancel_turn().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_archived_session_is_forked_a_fork_is_forked_and_each_is_whole_when_its_source_is_gone()
{
    let store = MemoryStore::new(node("a"));
    let kit = Kit::of(Parts::on(store.clone(), vec![say("one"), say("two"), say("three")], vec![]));
    let source = kit.open().await;
    source.run_turn(go("first")).await.unwrap();
    source.tell(Command::Archive).await.unwrap();
    let first = fork_of(&kit.core, &source).await;
    first.run_turn(go("second")).await.unwrap();
    let second = fork_of(&kit.core, &first).await;
    for session in [&source, &first] {
        session.close().await.unwrap();
        store.purge(session.id(), &node("a")).await.unwrap();
    }
    second.close().await.unwrap();
    let again = LoadSession::new(second.id().clone(), Recovery::Continue);
    let second = kit.core.open(Origin::Resume(again)).await.unwrap();
    second.run_turn(go("third")).await.unwrap();
    let asked = kit.model.requests().pop().unwrap();
    assert_eq!(asked.messages.len(), 5);
    assert_eq!(&asked.cache_key, source.id().as_str());
    let state = second.state().await.unwrap();
    assert!(!state.archived);
    assert_eq!(state.spec.settings.title.as_deref(), Some("Fork of first"));
    assert_eq!(state.used.steps, 1);
    let summary = store.list(&Filter::default()).await.unwrap().remove(0).summary.unwrap().unwrap();
    assert_eq!((summary.parent, summary.turns), (None, 3));
    let hits =
        store.search("second", &Filter { limit: Some(10), ..Filter::default() }).await.unwrap();
    assert!(hits.iter().any(|hit| hit.session == *second.id()), "searches find what was copied");
}

#[tokio::test(start_paused = true)]
async fn two_forks_through_the_published_door_go_their_own_ways() {
    let kit = Kit::new(vec![say("one")], vec![]);
    let core: &dyn AgentCore = &kit.core;
    let source = core.create_session(oarlock_testkit::kit::spec(settings()).into()).await.unwrap();
    source.run_turn(go("first")).await.unwrap();
    let of = ForkSession::new(source.id().clone());
    let (left, right) = tokio::join!(core.fork_session(of.clone()), core.fork_session(of));
    let (left, right) = (left.unwrap(), right.unwrap());
    left.run_turn(go("left")).await.unwrap();
    right.run_turn(go("right")).await.unwrap();
    let shown = |session: Arc<dyn Session>| async move {
        format!("{:?}", session.history_snapshot().await.unwrap())
    };
    let (left, right, source) = (shown(left).await, shown(right).await, shown(source).await);
    assert!(left.contains("left") && !left.contains("right"));
    assert!(right.contains("right") && !right.contains("left"));
    assert!(!source.contains("left") && !source.contains("right"));
}

/// A source of several frames of the largest size.
async fn large_source(kit: &Kit) -> DefaultSession {
    let source = kit.open().await;
    for turn in 0..12 {
        let words = format!("{turn} {}", "w".repeat(60_000));
        source.run_turn(go(&words)).await.unwrap();
    }
    source
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_at_any_write_of_a_fork_leaves_nothing_that_looks_whole() {
    let mut done = false;
    for (writes, last) in (0..7).flat_map(|n| [(n, LastWrite::Stored), (n, LastWrite::Lost)]) {
        let store = MemoryStore::new(node("b"));
        let mortal = Arc::new(MortalJournal::new(store.reopen(node("a")), 0, 0));
        let parts = Parts::on(store.clone(), vec![], vec![]);
        let kit = Kit::of(Parts { journal: mortal.clone(), ..parts });
        let source = large_source(&kit).await;
        source.close().await.unwrap();
        let before = frames(&store, source.id());
        mortal.doom(writes, last);
        let id = SessionId::parse("fork").unwrap();
        let order = ForkSession { id: Some(id.clone()), ..ForkSession::new(source.id().clone()) };
        let made = fork(&kit.core, order.clone()).await;
        done = !mortal.is_dead();
        mortal.die();
        assert_eq!(frames(&store, source.id()), before, "{writes} {last:?}");
        let next = Kit::of(Parts { name: "b", ..Parts::on(store.clone(), vec![], vec![]) });
        let again =
            next.core.open(Origin::Resume(LoadSession::new(id.clone(), Recovery::Continue))).await;
        match again {
            Ok(forked) => {
                let whole = next.core.state(source.id()).await.unwrap().conversation.messages;
                assert_eq!(forked.state().await.unwrap().conversation.messages, whole);
                forked.run_turn(go("on")).await.unwrap();
            }
            Err(AgentError::SessionNotFound { .. }) => assert!(made.is_err()),
            Err(error) => {
                assert!(made.is_err() && matches!(error, AgentError::ForkCut { .. }), "{error}");
                let listed = store.list(&Filter::default()).await.unwrap();
                let row = listed.into_iter().find(|row| row.id == id).unwrap();
                assert_eq!(row.summary.unwrap(), None, "no list shows it");
                let cut = fork(&next.core, ForkSession::new(id.clone())).await.unwrap_err();
                assert!(matches!(cut, AgentError::ForkCut { .. }), "{cut}");
                store.purge(&id, &node("b")).await.unwrap();
                fork(&next.core, order).await.unwrap();
            }
        }
    }
    assert!(done, "the sweep goes beyond the last write");
}

#[tokio::test(start_paused = true)]
async fn a_recording_of_a_fork_replays_hash_for_hash() {
    let store = MemoryStore::new(node("a"));
    let kit = Kit::of(Parts::on(store.clone(), vec![say("one")], vec![]));
    let source = kit.open().await;
    source.run_turn(go("first")).await.unwrap();
    let lines = Arc::new(Lines::default());
    let parts = Parts::on(store, vec![say("two")], vec![]);
    let kit = Kit::of(Parts { name: "b", trace: Some(lines.clone()), ..parts });
    let forked = fork_of(&kit.core, &source).await;
    forked.run_turn(go("second")).await.unwrap();
    let tip = forked.state().await.unwrap().tip;
    assert_eq!(replay(lines.read()).await.unwrap().last, tip);
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn every_life_can_be_forked_at_each_of_its_places(story in stories(14)) {
        let told = play(&story);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let before = frames(&told.store, &told.state.id);
            let parts = Parts::on(told.store.clone(), vec![], vec![]);
            let kit = Kit::of(Parts { name: "f", ..parts });
            for at in (1..=told.state.tip).step_by(3) {
                let order = ForkSession { at: Some(at), ..ForkSession::new(told.state.id.clone()) };
                let forked = fork(&kit.core, order).await.unwrap();
                let state = kit.core.state(forked.id()).await.unwrap();
                let point = &state.forked.as_ref().unwrap().point;
                assert!(point.at <= at);
                check(&state.conversation.messages).unwrap();
                let there = fold(&told.entries[..point.at as usize]);
                assert_eq!(state.conversation, there.conversation);
                assert_eq!(state.plan, there.plan);
                assert_eq!((state.used, state.turn, state.pending), (Used::default(), None, vec![]));
                let entries = journal(&kit.core, &forked).await;
                assert_eq!(fold(&entries), kit.core.state(forked.id()).await.unwrap());
                forked.run_turn(go("on")).await.unwrap();
                forked.close().await.unwrap();
            }
            assert_eq!(frames(&told.store, &told.state.id), before);
        });
    }
}
