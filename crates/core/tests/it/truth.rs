//! What is kept is what happened: a session folded from its journal is the one that lived, whatever was denied, cancelled, cut, forgotten or killed.

use std::sync::Arc;

use oarlock_core::command::Command;
use oarlock_core::event::{
    AgentEvent, Delivery, DeltaItem, Effect, Event, Outcome, PermissionKind, StopReason,
};
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Block, Content, Message, Part, Usage};
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::session::state::State;
use oarlock_core::spec::{Answers, ContextPolicy, Decimal, Mode, Rules, Settings, TurnConfig};
use oarlock_core::{DefaultSession, Recovery};
use oarlock_testkit::kit::{Kit, Parts, journal, node, settings, wait_for};
use oarlock_testkit::model::{Count, Say, calls, text};
use oarlock_testkit::mortal::LastWrite;
use oarlock_testkit::story::{Beat, Story, laws, play};
use oarlock_testkit::tool::{Act, TestTool};

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

fn tools() -> Vec<Arc<TestTool>> {
    vec![
        TestTool::new("read", Effect::Pure, Act::Give("y".repeat(2_000))),
        TestTool::new("write", Effect::Mutating, Act::Give("written".to_owned())),
        TestTool::new("hang", Effect::Mutating, Act::Hang),
    ]
}

fn ask(id: &str, tool: &str) -> Vec<Say> {
    vec![Say::Reply(calls(&[(id, tool, "{}")]))]
}

/// A small window, in which nothing is done in the background.
fn windowed(window: u64) -> Settings {
    let (clear_ratio, soft_ratio) = (Decimal(0), Decimal(0));
    let context =
        ContextPolicy { window: Some(window), clear_ratio, soft_ratio, ..ContextPolicy::default() };
    Settings { turn: TurnConfig { context, ..TurnConfig::default() }, ..settings() }
}

/// What is done to a session beside its turn.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Nothing,
    Cancel,
    Edit,
    Compact,
}

fn json(messages: &[Message]) -> String {
    serde_json::to_string(messages).unwrap()
}

/// Lives a life, and looks whether the journal gives the history that its own task and one that resumed it show the model.
async fn lived_is_kept(name: &str, settings: Settings, script: Vec<Vec<Say>>, then: Then) {
    let store = MemoryStore::new(node("a"));
    let parts = Parts::on(store.clone(), script, tools());
    let kit = Kit::of(Parts { usage: Count::ByBytes, ..parts });
    let session = kit.open_with(settings).await;
    let input = session.prompt(go()).await.unwrap();
    if then == Then::Cancel {
        let clock = &kit.core.ports().clock;
        clock.sleep_until(clock.now().after(1_000)).await;
        session.tell(Command::Cancel { turn: None }).await.unwrap();
    }
    wait_for(&session, input, |event| matches!(event, Event::TurnEnded(_))).await;
    let note = vec![Message::User { parts: vec![Part::text("a note")] }];
    match then {
        Then::Edit => {
            drop(session.tell(Command::Edit { from: 0, to: 0, messages: note }).await.unwrap());
        }
        Then::Compact => {
            drop(session.tell(Command::Compact { instructions: None }).await.unwrap());
            wait_for(&session, 0, |event| matches!(event, Event::ContextCompacted(_))).await;
        }
        Then::Nothing | Then::Cancel => {}
    }
    let entries = journal(&kit.core, &session).await;
    let mut state = State::created(&entries[0]).unwrap();
    entries[1..].iter().for_each(|entry| state.apply(entry).unwrap());
    assert_eq!(kit.core.state(session.id()).await.unwrap(), state, "{name}");
    let kept = json(&state.conversation.messages);
    let kept = kept.strip_suffix(']').unwrap();
    session.run_turn(go()).await.unwrap();
    let asked = |kit: &Kit| {
        kit.model.requests().into_iter().rfind(|request| !request.is_summary()).unwrap().messages
    };
    let live = json(&asked(&kit));
    assert!(live.starts_with(kept), "{name}: {kept} is shown as {live}");
    // Another process goes on with what the first one had.
    session.close().await.unwrap();
    drop(kit);
    let again = Kit::of(Parts { name: "b", ..Parts::on(store.reopen(node("b")), vec![], tools()) });
    again.core.handle(session.id().clone()).run_turn(go()).await.unwrap();
    let resumed = json(&asked(&again));
    let live = live.strip_suffix(']').unwrap();
    assert!(resumed.starts_with(live), "{name}: {live} is resumed as {resumed}");
}

#[tokio::test(start_paused = true)]
async fn w02_the_history_that_is_kept_is_the_one_that_lived() {
    let read_only = Settings { mode: Mode::READ_ONLY, ..settings() };
    let rules = Rules { deny: vec!["write".to_owned()], ..Rules::default() };
    let denied = Settings { rules, ..settings() };
    let cut = || vec![Say::Delta("half"), Say::Fail(ModelErrorKind::Truncated, None)];
    let table: Vec<(&str, Settings, Vec<Vec<Say>>, Then)> = vec![
        ("denied by the mode", read_only, vec![ask("1", "write")], Then::Nothing),
        ("denied by a rule", denied, vec![ask("1", "write"), ask("2", "read")], Then::Nothing),
        ("cancelled in a tool", settings(), vec![ask("1", "hang")], Then::Cancel),
        (
            "cancelled in mid-answer",
            settings(),
            vec![ask("1", "write"), vec![Say::Delta("half a word"), Say::Silence]],
            Then::Cancel,
        ),
        ("cut and tried again", settings(), vec![ask("1", "write"), cut()], Then::Nothing),
        (
            "failed for good",
            settings(),
            vec![ask("1", "write"), vec![Say::Fail(ModelErrorKind::Auth, None)]],
            Then::Nothing,
        ),
        ("edited", settings(), vec![ask("1", "read")], Then::Edit),
        ("compacted by hand", settings(), vec![ask("1", "read")], Then::Compact),
        (
            "compacted in mid-turn",
            windowed(1_500),
            vec![ask("1", "read"), ask("2", "read"), ask("3", "read")],
            Then::Nothing,
        ),
    ];
    for (name, settings, script, then) in table {
        lived_is_kept(name, settings, script, then).await;
    }
}

/// A turn with a refusal, a cut answer, a summary and a cancel, and one after it.
fn eventful() -> Story {
    let settings = Settings { mode: Mode::ASK_WRITES, answers: Answers::Somebody, ..windowed(250) };
    // Words worth a summary, then a provider that counts the window as nearly full.
    let mut wordy = calls(&[("c1", "write", "{}")]);
    let content = Content::Text { text: "I look at it once more. ".repeat(40) };
    wordy.blocks.insert(0, Block { content, native: None });
    let mut full = calls(&[("c2", "read", "{}")]);
    full.usage = Usage { input: 240, ..Usage::default() };
    Story {
        settings,
        replies: vec![
            vec![Say::Reply(wordy)],
            vec![Say::Delta("half"), Say::Fail(ModelErrorKind::Truncated, None)],
            vec![Say::Reply(full)],
            ask("c3", "stuck"),
            vec![Say::Reply(text("done"))],
        ],
        summaries: vec![vec![Say::Reply(text("notes"))]; 9],
        beats: vec![
            (0, Beat::Input(Delivery::Now, None)),
            (20, Beat::Answer(PermissionKind::RejectOnce)),
            (2_000, Beat::Answer(PermissionKind::AllowOnce)),
            (20, Beat::Cancel),
            (300, Beat::Input(Delivery::Queue, None)),
        ],
        faults: 0,
    }
}

#[test]
fn acceptance_02_a_kill_at_every_commit_leaves_the_history_that_lived() {
    let whole = play(&eventful());
    laws::hold(&eventful(), &whole);
    let met = oarlock_testkit::kit::tags(&whole.entries);
    for event in ["permission_answered", "model_failed", "context_compacted"] {
        assert!(met.iter().any(|tag| tag == event), "{event} is missing: {met:?}");
    }
    let mut deaths = 0;
    for writes in 0..30 {
        for last in [LastWrite::Stored, LastWrite::Lost] {
            let mut story = eventful();
            story.beats.insert(0, (0, Beat::Doom(writes, last, Recovery::Continue)));
            let told = play(&story);
            laws::hold(&story, &told);
            deaths += told.deaths;
        }
    }
    assert!(deaths > 20, "{deaths} processes died");
}

#[tokio::test(start_paused = true)]
async fn w06_a_stream_that_breaks_keeps_the_steps_and_repeats_no_side_effect() {
    let tools = tools();
    let script = vec![
        ask("1", "write"),
        vec![Say::Delta("ha"), Say::Fail(ModelErrorKind::Auth, None)],
        vec![Say::Reply(text("I had written it."))],
    ];
    let kit = Kit::new(script, tools.clone());
    let session = kit.open().await;
    let ended = session.run_turn(go()).await.unwrap();
    assert!(matches!(ended.stop, StopReason::Failed(_)), "{ended:?}");
    let state = kit.core.state(session.id()).await.unwrap();
    assert_eq!(state.conversation.messages.len(), 3, "input, call and result stay");
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
    assert_eq!(tools[1].runs(), 1, "the next turn sees what was done");
    let request = kit.model.requests().pop().unwrap();
    let Message::Tool { results } = &request.messages[2] else { panic!("{request:?}") };
    assert_eq!(results[0].parts, [Part::text("written")]);
    let settled = journal(&kit.core, &session).await.into_iter().filter(
        |entry| matches!(&entry.event, Event::ToolSettled(s) if s.outcome == Outcome::Completed),
    );
    assert_eq!(settled.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn w19_a_resumed_session_is_as_small_as_it_was() {
    let store = MemoryStore::new(node("a"));
    let script = (0..12).map(|n| ask(&format!("c{n}"), "read")).collect();
    let parts = Parts::on(store.clone(), script, tools());
    let kit = Kit::of(Parts { usage: Count::ByBytes, ..parts });
    let session = kit.open_with(windowed(3_000)).await;
    session.run_turn(go()).await.unwrap();
    let before = kit.core.state(session.id()).await.unwrap().conversation;
    assert!(before.compacted && before.messages.len() < 12, "{} messages", before.messages.len());
    session.close().await.unwrap();
    let again = Kit::of(Parts { name: "b", ..Parts::on(store.reopen(node("b")), vec![], vec![]) });
    again.core.handle(session.id().clone()).run_turn(go()).await.unwrap();
    let request = again.model.requests().remove(0);
    assert_eq!(request.messages[..before.messages.len()], before.messages[..]);
    assert_eq!(request.messages.len(), before.messages.len() + 1);
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn upto(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What a follower was given of a session: entries in order, no byte of a text twice.
#[derive(Default)]
struct Given {
    entries: Vec<u64>,
    open: Option<u32>,
    ended: u32,
    reached: std::collections::HashMap<(u32, u32, u32, DeltaItem), u64>,
}

impl Given {
    fn take(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::CaughtUp { .. } | AgentEvent::Scoped { .. } => {}
            AgentEvent::Delta(delta) => {
                assert_eq!(Some(delta.turn), self.open, "a delta outside its turn: {delta:?}");
                let name = (delta.turn, delta.step, delta.attempt, delta.item);
                let reached = self.reached.entry(name).or_insert(delta.offset);
                assert_eq!(*reached, delta.offset, "each byte of a text is given once, in order");
                *reached += delta.text.len() as u64;
            }
            AgentEvent::Entry(entry) => {
                self.entries.push(entry.seq);
                match &entry.event {
                    Event::TurnStarted(_) => self.open = entry.turn,
                    Event::TurnEnded(_) => {
                        assert_eq!(entry.turn, self.open, "a turn ends once");
                        self.open = None;
                        self.ended += 1;
                        self.reached.clear();
                    }
                    _ => assert!(entry.turn.is_none() || entry.turn == self.open, "{entry:?}"),
                }
            }
        }
    }
}

/// Follows a session until so many turns have ended, joining anew now and then; a little behind, if it is a slow one.
async fn follow(session: DefaultSession, turns: u32, mut dice: Dice) -> Given {
    let mut given = Given::default();
    let mut events = session.events(0);
    while given.ended < turns {
        given.take(events.next().await.unwrap());
        // Only between turns: a reader that joins in one is given what is being written from its beginning.
        if given.open.is_none() && dice.upto(40) == 0 {
            events = session.events(given.entries.last().copied().unwrap_or(0));
        }
        if dice.upto(7) == 0 {
            tokio::task::yield_now().await;
        }
    }
    given
}

/// One of the ways in which a call of a model goes.
fn said(dice: &mut Dice, number: u64) -> Vec<Say> {
    let mut said = Vec::new();
    for _ in 0..dice.upto(4) {
        said.push(
            [Say::Delta("ab"), Say::Delta("é"), Say::Wait(1), Say::Alive][dice.upto(4) as usize]
                .clone(),
        );
    }
    said.push(match dice.upto(8) {
        0 => Say::Fail(ModelErrorKind::Transport, Some(1)),
        1 => Say::Fail(ModelErrorKind::Auth, None),
        2 | 3 => Say::Reply(calls(&[(&format!("c{number}"), "write", "{}")])),
        _ => Say::Reply(text("done")),
    });
    said
}

#[tokio::test(start_paused = true)]
async fn acceptance_01_updates_come_once_to_each_follower_and_before_the_end_of_their_turn() {
    const SESSIONS: u64 = 1_000;
    const TURNS: u32 = 10;
    for seed in 0..SESSIONS {
        let mut dice = Dice(seed);
        let script = (0..u64::from(TURNS) * 2).map(|number| said(&mut dice, number)).collect();
        let kit = Kit::new(script, tools());
        let session = kit.open().await;
        let mut followers = tokio::task::JoinSet::new();
        for number in 0..3 {
            followers.spawn(follow(session.clone(), TURNS, Dice(seed + 1_000 * number)));
        }
        let mut tip = 0;
        for _ in 0..TURNS {
            let ended = session.run_turn(go()).await.unwrap();
            // The prompt is answered after everything of its turn is there to be read.
            let last = kit.core.entries(session.id(), tip).await.unwrap().pop().unwrap();
            assert_eq!(last.event, Event::TurnEnded(ended));
            tip = last.seq;
        }
        let entries = journal(&kit.core, &session).await;
        let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
        for given in followers.join_all().await {
            assert_eq!(given.entries, seqs, "seed {seed}");
        }
    }
}
