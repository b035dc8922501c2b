//! Subagents of processes that die: within their limits at every entry, nothing lost, nothing done twice.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use oarlock_core::event::{
    AgentEvent, Delivery, Effect, Entry, Event, HookPoint, InputSource, Outcome, StopReason,
};
use oarlock_core::ids::SessionId;
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::journal::{Journal, JournalError};
use oarlock_core::ports::model::ModelRequest;
use oarlock_core::session::children::used_with_children;
use oarlock_core::session::state::State;
use oarlock_core::spec::Bounds;
use oarlock_core::{AgentOrder, DefaultSession, LoadSession, Origin, Recovery};
use oarlock_testkit::gated::{Asked, GatedJournal, stuck, through};
use oarlock_testkit::hooks::{Do, TestHooks};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, tags, wait_for};
use oarlock_testkit::model::{AnsweringModel, Say, calls, text};
use oarlock_testkit::mortal::{LastWrite, MortalJournal};
use oarlock_testkit::tool::{Act, TestTool, order};

use crate::subagents::{answer, child_of, closed, go, limited, opened, tools};

/// Whether at each entry what was used and what is set aside, for open subagents and for the open model call, stay within the limits of the
/// session together.
fn check_limits(entries: &[Entry]) {
    let mut state = State::created(&entries[0]).unwrap();
    let cap = state.spec.settings.limits.session.clone();
    let mut under_way = None;
    for entry in &entries[1..] {
        state.apply(entry).unwrap();
        let [_, used] = used_with_children(&state);
        // A further attempt may have what is left; what the first one may have stands in the journal.
        under_way = match &entry.event {
            Event::StepStarted(started) => Some(started.reserved),
            Event::AssistantMessage(_) | Event::ModelFailed(_) | Event::TurnRecovered(_) => None,
            _ => under_way,
        };
        let reserved = under_way.unwrap_or_default();
        let money = reserved.prompt_micros.unwrap_or(0) + reserved.output_micros.unwrap_or(0);
        let (money, seq) = (used.cost_micros + money, entry.seq);
        assert!(cap.cost_micros.is_none_or(|cap| money <= cap), "{money} at {seq} of {cap:?}");
        assert!(cap.steps.is_none_or(|cap| used.steps <= cap), "{used:?} at {seq} of {cap:?}");
    }
}

/// The session at rest: no turn and no subagent is open, and nothing waits.
async fn until_rest(kit: &Kit, session: &DefaultSession) -> Vec<Entry> {
    let mut events = session.events(0);
    let rest = async {
        loop {
            let state = kit.core.state(session.id()).await.unwrap();
            if state.turn.is_none() && state.pending.is_empty() && state.children.is_empty() {
                return journal(&kit.core, session).await;
            }
            session.next_event(&mut events).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(3_600), rest).await.expect("it comes to rest")
}

#[tokio::test(start_paused = true)]
async fn a_death_at_every_write_of_parent_or_child_loses_nothing_and_does_nothing_twice() {
    let cap = Bounds { steps: Some(20), cost_micros: Some(1 << 20), ..Bounds::default() };
    let (mut deaths, mut went_on) = (0, 0);
    for doom in 0.. {
        let mut lived = false;
        for (last, recovery) in [
            (LastWrite::Stored, Recovery::Continue),
            (LastWrite::Stored, Recovery::Interrupt),
            (LastWrite::Lost, Recovery::Continue),
            (LastWrite::Lost, Recovery::Interrupt),
        ] {
            let store = MemoryStore::new(node("site"));
            let mortal = Arc::new(MortalJournal::new(store.reopen(node("a")), 1, 0));
            let tools = tools(order());
            let models = Some(Arc::new(AnsweringModel::new(answer)) as _);
            let parts = Parts::on(store.clone(), vec![], tools.clone());
            let kit = Kit::of(Parts { models: models.clone(), journal: mortal.clone(), ..parts });
            let session = kit.open_with(limited(cap.clone())).await;
            mortal.doom(doom, last);
            if session.run_turn(go()).await.is_ok() {
                lived = true;
                break;
            }
            deaths += 1;
            drop(kit);
            let parts = Parts::on(store.reopen(node("b")), vec![], tools.clone());
            let kit = Kit::of(Parts { models, name: "b", ..parts });
            let load = LoadSession::new(session.id().clone(), recovery);
            let session = kit.core.open(Origin::Resume(load)).await.unwrap();
            let entries = until_rest(&kit, &session).await;
            let what = format!("{doom} {last:?} {recovery:?}");
            check_limits(&entries);
            let (opened, closed) = (opened(&entries), closed(&entries));
            assert!(opened.len() <= 1 && closed.len() == opened.len(), "{what}: {opened:?}");
            let turns = entries.iter().filter(|e| matches!(e.event, Event::TurnEnded(_))).count();
            if recovery == Recovery::Continue && turns > 0 && !closed.is_empty() {
                assert_eq!(closed[0].stop, Some(StopReason::EndTurn), "{what}");
                went_on += 1;
            }
            assert!(tools[1].runs() <= 1, "{what}: the write is not repeated unasked");
            let Some(child) = opened.first() else { continue };
            let child = kit.core.handle(child.child.clone());
            if kit.core.state(child.id()).await.is_err() {
                assert_eq!((closed[0].steps, closed[0].stop), (0, None), "{what}");
                continue;
            }
            let entries = journal(&kit.core, &child).await;
            check_limits(&entries);
            let tasks = entries.iter().filter(|e| matches!(e.event, Event::InputAdmitted(_)));
            assert!(tasks.count() <= 1, "{what}: the task is given once");
            let used = child.state().await.unwrap().used;
            assert_eq!((closed[0].steps, closed[0].usage), (used.steps, used.usage), "{what}");
        }
        if lived {
            break;
        }
    }
    assert!(deaths >= 50 && went_on >= 20, "{deaths} deaths, {went_on} went on");
}

/// A parent that gives away as many tasks as its input says, all at once, and children that use a tool each.
fn many(request: &ModelRequest) -> Vec<Say> {
    let child = request.system == "child";
    let reply = match (child, request.messages.len(), &request.messages[0]) {
        (false, 1, Message::User { parts }) => {
            let [Part::Text { text }] = &parts[..] else { panic!() };
            let count = text.parse::<u32>().unwrap();
            let ids: Vec<String> = (0..count).map(|at| format!("s{at}")).collect();
            let asked: Vec<_> = ids.iter().map(|id| (id.as_str(), "spawn_agent", "{}")).collect();
            calls(&asked)
        }
        (true, 1, _) => calls(&[("r", "read_file", "{}")]),
        (_, _, _) => text("done"),
    };
    vec![Say::Wait(5), Say::Reply(reply)]
}

/// So many subagents at once under a limit that is too small for all of them at a time, in processes that die again and again.
async fn crowd(count: u32, seed: u64) {
    let each = Bounds { cost_micros: Some(2_000), ..Bounds::default() };
    let cap = Bounds { cost_micros: Some(u64::from(count) * 1_000), ..Bounds::default() };
    let spawn = AgentOrder { bounds: each, tools: None, ..order() };
    let tools = vec![
        TestTool::new("read_file", Effect::Pure, Act::After(3, "contents")),
        TestTool::new("spawn_agent", Effect::Pure, Act::Spawn(Box::new(spawn))),
    ];
    let models: Arc<dyn oarlock_core::ports::model::Models> = Arc::new(AnsweringModel::new(many));
    let limits = RuntimeLimits {
        tools_parallel: count as usize,
        children_open: count as usize,
        crashes_max: u32::MAX,
        ..RuntimeLimits::DEFAULT
    };
    let store = MemoryStore::new(node("site"));
    let mut chance = seed;
    let mut id = None;
    let mut deaths = 0_u32;
    loop {
        let name: &'static str = Box::leak(format!("p{deaths}").into_boxed_str());
        let mortal = Arc::new(MortalJournal::new(store.reopen(node(name)), seed, 0));
        let parts = Parts::on(store.clone(), vec![], tools.clone());
        let (models, journal) = (Some(Arc::clone(&models)), Arc::clone(&mortal) as _);
        let kit = Kit::of(Parts { models, journal, limits, name, ..parts });
        let session = match &id {
            None => {
                let session = kit.open_with(limited(cap.clone())).await;
                send(&session, &count.to_string(), Delivery::Now).await.unwrap();
                session
            }
            Some(id) => {
                let load = LoadSession::new(SessionId::clone(id), Recovery::Continue);
                kit.core.open(Origin::Resume(load)).await.unwrap()
            }
        };
        id = Some(session.id().clone());
        chance =
            chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if deaths < 12 {
            let writes = u32::try_from(chance >> 40).unwrap() % (count / 2);
            let last = if chance & 1 << 39 == 0 { LastWrite::Stored } else { LastWrite::Lost };
            mortal.doom(writes, last);
        }
        let rest = until_rest_or(&kit, &session, &mortal).await;
        deaths += 1;
        let Some(entries) = rest else { continue };
        check_crowd(&kit, &session, &entries, count as usize).await;
        assert!(deaths > 5, "{deaths}");
        return;
    }
}

/// What the journals of a crowd say in the end.
async fn check_crowd(kit: &Kit, session: &DefaultSession, entries: &[Entry], count: usize) {
    check_limits(entries);
    let (opened, closed) = (opened(entries), closed(entries));
    assert_eq!(opened.len(), closed.len());
    let mut sum = 0;
    for (opened, closed) in
        opened.iter().map(|opened| (opened, closed.iter().find(|c| c.child == opened.child)))
    {
        sum += closed.unwrap().cost_micros.unwrap();
        let child = kit.core.handle(opened.child.clone());
        let Ok(state) = child.state().await else { continue };
        assert_eq!(state.used.cost_micros, closed.unwrap().cost_micros.unwrap());
        check_limits(&journal(&kit.core, &child).await);
    }
    let refused = entries.iter().filter(|entry| {
        matches!(&entry.event, Event::ToolSettled(settled) if settled.outcome == Outcome::Failed)
    });
    let refused = refused.count();
    assert_eq!(opened.len() + refused, count, "each call opened one or was told why not");
    assert!(refused > 0 && opened.len() >= count / 3, "{refused} of {count}");
    let state = session.state().await.unwrap();
    assert_eq!((state.last_stop, state.turns), (Some(StopReason::EndTurn), 1));
    assert!(sum < state.used.cost_micros);
}

/// The session's entries when it has come to rest; nothing when its process died before.
async fn until_rest_or(
    kit: &Kit,
    session: &DefaultSession,
    mortal: &MortalJournal,
) -> Option<Vec<Entry>> {
    let mut events = session.events(0);
    let rest = async {
        loop {
            match session.next_event(&mut events).await {
                Ok(AgentEvent::Entry(entry)) if matches!(entry.event, Event::TurnEnded(_)) => {
                    mortal.spare();
                    return Some(until_rest(kit, session).await);
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(3_600), rest).await.expect("it ends or dies")
}

#[tokio::test(start_paused = true)]
async fn sixty_subagents_at_once_keep_within_one_limit_through_deaths() {
    crowd(60, 7).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes long: `just crowd`"]
async fn a_thousand_subagents_at_once_keep_within_one_limit_through_deaths() {
    crowd(1_000, 1).await;
}

/// A parent that lets its child work in the background, and answers again when it hears of its end.
fn in_background(request: &ModelRequest) -> Vec<Say> {
    let child = request.system == "child";
    let reply = match (child, request.messages.len()) {
        (false, 1) => calls(&[("s", "spawn_agent", r#"{"what": "look"}"#)]),
        (false, 3) => text("it works"),
        (false, _) => text("heard"),
        (true, 1) => calls(&[("r", "read_file", "{}")]),
        (true, _) => text("found it"),
    };
    vec![Say::Wait(if child { 40 } else { 1 }), Say::Reply(reply)]
}

fn heard_of(entries: &[Entry]) -> Vec<String> {
    let inputs = entries.iter().filter_map(|entry| match &entry.event {
        Event::InputAdmitted(input) if input.source == InputSource::Background => {
            let Part::Text { text } = &input.content[0] else { panic!() };
            Some(text.clone())
        }
        _ => None,
    });
    inputs.collect()
}

/// Its turns are over, and so is everything in the background.
async fn until_told(kit: &Kit, session: &DefaultSession) -> Vec<Entry> {
    let mut events = session.events(0);
    let told = async {
        loop {
            let entries = until_rest(kit, session).await;
            let state = kit.core.state(session.id()).await.unwrap();
            if state.tasks.running.is_empty() && state.turn.is_none() && state.pending.is_empty() {
                return entries;
            }
            session.next_event(&mut events).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(3_600), told).await.expect("it comes to rest")
}

/// Both turns, when the process lives as long.
async fn whole(session: &DefaultSession) -> Option<()> {
    session.run_turn(go()).await.ok()?;
    let (mut events, mut ends) = (session.events(0), 0);
    while ends < 2 {
        let AgentEvent::Entry(entry) = session.next_event(&mut events).await.ok()? else {
            continue;
        };
        ends += u32::from(matches!(entry.event, Event::TurnEnded(_)));
    }
    Some(())
}

#[tokio::test(start_paused = true)]
async fn a_subagent_in_the_background_goes_on_after_a_death_and_is_told_of_once() {
    let mut deaths = 0;
    for doom in 0.. {
        let mut lived = false;
        for last in [LastWrite::Stored, LastWrite::Lost] {
            let store = MemoryStore::new(node("site"));
            let mortal = Arc::new(MortalJournal::new(store.reopen(node("a")), 1, 0));
            let background = TestTool::new(
                "spawn_agent",
                Effect::Idempotent,
                Act::SpawnInBackground(Box::new(order())),
            );
            let mut tools = tools(order());
            tools[2] = background;
            let models = Some(Arc::new(AnsweringModel::new(in_background)) as _);
            let parts = Parts::on(store.clone(), vec![], tools.clone());
            let kit = Kit::of(Parts { models: models.clone(), journal: mortal.clone(), ..parts });
            let session = kit.open().await;
            mortal.doom(doom, last);
            let alive = tokio::time::timeout(Duration::from_secs(60), whole(&session)).await;
            if matches!(alive, Ok(Some(()))) {
                mortal.spare();
                let entries = journal(&kit.core, &session).await;
                let told = "[background task bg-1 (tester) completed]\nfound it";
                assert_eq!(heard_of(&entries), [told]);
                lived = true;
                break;
            }
            deaths += 1;
            drop(kit);
            let parts = Parts::on(store.reopen(node("b")), vec![], tools.clone());
            let kit = Kit::of(Parts { models, name: "b", ..parts });
            let load = LoadSession::new(session.id().clone(), Recovery::Continue);
            let session = kit.core.open(Origin::Resume(load)).await.unwrap();
            let entries = until_told(&kit, &session).await;
            let what = format!("{doom} {last:?}: {:#?}", tags(&entries));
            let opened = opened(&entries);
            assert_eq!(opened.len(), closed(&entries).len(), "{what}");
            assert!(opened.len() <= 1, "{what}");
            let told = heard_of(&entries);
            assert!(
                told.len() <= 1 && told.iter().all(|told| told.ends_with("found it")),
                "{what}"
            );
            let started = entries.iter().filter(|e| matches!(e.event, Event::TaskStarted(_)));
            assert_eq!(started.count(), told.len(), "{what}");
        }
        if lived {
            break;
        }
    }
    assert!(deaths >= 24, "{deaths}");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_subagent_ended_in_the_background_before_a_death_opens_no_other() {
    let store = MemoryStore::new(node("site"));
    let mortal = Arc::new(MortalJournal::new(store.reopen(node("a")), 1, 0));
    let spawn = Act::SpawnInBackground(Box::new(order()));
    let mut tools = tools(order());
    tools[2] = TestTool::new("spawn_agent", Effect::Idempotent, spawn);
    let models = Some(Arc::new(AnsweringModel::new(in_background)) as _);
    let parts = Parts::on(store.clone(), vec![], tools.clone());
    // The end of the call is held until its subagent has ended.
    let hooks = TestHooks::new([(HookPoint::AfterToolApply, vec![Do::After(4_000)])]);
    let journal = mortal.clone();
    let kit = Kit::of(Parts { models: models.clone(), journal, hooks: Some(hooks), ..parts });
    let session = kit.open().await;
    send(&session, "go", Delivery::Now).await.unwrap();
    let is_over = |event: &Event| matches!(event, Event::SubagentClosed(_));
    wait_for(&session, 0, is_over).await;
    mortal.die();
    drop(kit);
    let parts = Parts::on(store.reopen(node("b")), vec![], tools.clone());
    let kit = Kit::of(Parts { models, name: "b", ..parts });
    let load = LoadSession::new(session.id().clone(), Recovery::Continue);
    let session = kit.core.open(Origin::Resume(load)).await.unwrap();
    let entries = until_told(&kit, &session).await;
    assert_eq!(tools[2].runs(), 2, "the call is run again");
    assert_eq!((opened(&entries).len(), closed(&entries).len()), (1, 1), "{:?}", tags(&entries));
    assert_eq!(heard_of(&entries).len(), 1);
    let given = entries.iter().find_map(|entry| match &entry.event {
        Event::ToolSettled(settled) => Some(settled.content.clone()),
        _ => None,
    });
    assert_eq!(given, Some(vec![Part::text("bg-1")]));
}

/// Who reads a journal that does not answer what one session holds.
#[derive(Debug, Default)]
struct Readers {
    about: Mutex<Option<SessionId>>,
    asked: AtomicUsize,
    waiting: AtomicUsize,
}

struct Waits(Arc<Readers>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

impl Readers {
    /// Keeps one waiting who asks about that session.
    fn keep(
        self: &Arc<Self>,
        asked: Asked,
        session: &SessionId,
    ) -> BoxFuture<'static, Result<(), JournalError>> {
        if asked != Asked::Read || self.about.lock().unwrap().as_ref() != Some(session) {
            return through();
        }
        self.asked.fetch_add(1, SeqCst);
        self.waiting.fetch_add(1, SeqCst);
        let waits = Waits(Arc::clone(self));
        Box::pin(async move {
            let _waits = waits;
            stuck().await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn closing_a_subagent_whose_journal_hangs_is_given_up_in_time_and_left_to_the_next_opening() {
    let store = MemoryStore::new(node("site"));
    let mortal = Arc::new(MortalJournal::new(store.reopen(node("a")), 1, 0));
    let kit = |name, store: MemoryStore, journal: Arc<dyn Journal>| {
        let mut tools = tools(order());
        tools[1] = TestTool::new("write", Effect::Mutating, Act::Hang);
        let models = Some(Arc::new(AnsweringModel::new(answer)) as _);
        Kit::of(Parts { models, journal, name, ..Parts::on(store, vec![], tools) })
    };
    let before = kit("a", store.clone(), mortal.clone());
    let session = before.open().await;
    send(&session, "go", Delivery::Now).await.unwrap();
    let (opened, child) = child_of(&before, &session).await;
    let clock = &before.core.ports().clock;
    clock.sleep_until(clock.now().after(1_000)).await;
    assert!(child.state().await.unwrap().turn.is_some(), "its tool hangs");
    mortal.die();
    let readers = Arc::new(Readers::default());
    *readers.about.lock().unwrap() = Some(opened.child.clone());
    let (data, kept) = (store.reopen(node("b")), Arc::clone(&readers));
    let silent = GatedJournal::new(data.clone(), move |asked, session| kept.keep(asked, session));
    let after = kit("b", data, silent);
    let resume = || Origin::Resume(LoadSession::new(session.id().clone(), Recovery::Interrupt));
    let again = after.core.open(resume()).await.unwrap();
    let clock = &after.core.ports().clock;
    clock.sleep_until(clock.now().after(3 * (RuntimeLimits::DEFAULT.child_close_ms + 1_000))).await;
    let counts = [&readers.asked, &readers.waiting].map(|count| count.load(SeqCst));
    assert_eq!(counts, [3, 0], "each time it is given up");
    assert_eq!(closed(&journal(&after.core, &again).await), vec![]);
    again.close().await.unwrap();

    *readers.about.lock().unwrap() = None;
    let again = after.core.open(resume()).await.unwrap();
    wait_for(&again, 0, |event| matches!(event, Event::SubagentClosed(_))).await;
    assert_eq!(closed(&journal(&after.core, &again).await)[0].child, opened.child);
}
