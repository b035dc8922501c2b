//! Random lives of sessions on every wire: each request begins with the bytes of the one before, unless its step declares a break, and then for the
//! reason for which it is one.

mod wire;

use std::sync::Arc;

use oarlock_core::command::{Command, END};
use oarlock_core::event::{Delivery, Effect, Entry, Event, PrefixBreak};
use oarlock_core::ids::Seq;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{Message, Part};
use oarlock_core::spec::{
    ContextPolicy, Decimal, EffortChange, Mode, ReasoningEffort, SessionCapabilitiesConfig,
    Settings, SettingsChange, TurnConfig, WebSearchCapabilityConfig, WebSearchCapabilityMode,
};
use oarlock_core::{DefaultSession, ForkSession, LoadSession, Origin, Recovery};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, settings, wait_for};
use oarlock_testkit::tool::{Act, TestTool};
use proptest::prelude::*;

use crate::switching::Place;
use wire::{PLACES, Prefix, Says, Wires, selection};

/// Something that happens to a session.
#[derive(Debug, Clone)]
enum Beat {
    /// A turn of so many rounds of tools; its first call fails at first, and words are put in while the first tool runs.
    Turn { rounds: usize, breaks: bool, steered: bool },
    /// Its process ends; another one has these tools.
    Resume { tools: usize },
    /// A fork of it goes on, in a process with the same tools.
    Fork,
    /// A summary is asked for.
    Compact,
    /// Its first message is replaced.
    Edit,
    /// It gets another model.
    Model(usize),
    /// It is to think so hard.
    Effort(Option<ReasoningEffort>),
    /// It gets another mode.
    Mode(bool),
    /// Its provider searches the web, or does not.
    Search(bool),
}

fn beat() -> impl Strategy<Value = Beat> {
    use ReasoningEffort::{High, Low};
    let turn = (0..3_usize, any::<bool>(), any::<bool>())
        .prop_map(|(rounds, breaks, steered)| Beat::Turn { rounds, breaks, steered });
    prop_oneof![
        8 => turn,
        2 => (0..TOOLS).prop_map(|tools| Beat::Resume { tools }),
        1 => Just(Beat::Fork),
        1 => Just(Beat::Compact),
        1 => Just(Beat::Edit),
        2 => (0..PLACES.len()).prop_map(Beat::Model),
        1 => prop::sample::select(vec![None, Some(Low), Some(High)]).prop_map(Beat::Effort),
        1 => any::<bool>().prop_map(Beat::Mode),
        1 => any::<bool>().prop_map(Beat::Search),
    ]
}

/// How many sets of tools there are.
const TOOLS: usize = 4;

/// Tools of a process. The first two sets differ by nothing that a model is told of.
fn tools(set: usize) -> Vec<Arc<TestTool>> {
    let tool = |name| TestTool::new(name, Effect::Pure, Act::After(10, RESULT));
    let sets: [&[&str]; TOOLS] = [&["bash"], &["bash"], &["bash", "read"], &["find", "bash"]];
    sets[set].iter().map(|name| tool(name)).collect()
}

const RESULT: &str = {
    static BYTES: [u8; 2_500] = [b'r'; 2_500];
    match std::str::from_utf8(&BYTES) {
        Ok(words) => words,
        Err(_) => panic!("letters are text"),
    }
};

/// Names of processes, which their ids begin with.
const PROCESSES: [&str; 26] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
    "t", "u", "v", "w", "x", "y", "z",
];

struct Life {
    store: MemoryStore,
    wires: Wires,
    kit: Kit,
    session: DefaultSession,
    processes: usize,
    tools: usize,
    /// What is known of entries up to here.
    seen: Seq,
    last: Option<Prefix>,
    /// How the conversation was edited since.
    edited: Option<PrefixBreak>,
    /// The breaks that were declared, for the test that all of them happen.
    breaks: Vec<PrefixBreak>,
}

fn begin(store: &MemoryStore, wires: &Wires, process: usize, set: usize) -> Kit {
    Kit::of(Parts {
        models: Some(Arc::new(wires.clone())),
        name: PROCESSES[process],
        ..Parts::on(store.clone(), Vec::new(), tools(set))
    })
}

impl Life {
    async fn begin(place: Place) -> Self {
        let (store, wires) = (MemoryStore::new(node("store")), Wires::default());
        let kit = begin(&store, &wires, 0, 0);
        let context = ContextPolicy { soft_ratio: Decimal(0), ..ContextPolicy::default() };
        let turn = TurnConfig { context, ..TurnConfig::default() };
        let settings = Settings { model: selection(place), turn, ..settings() };
        let session = kit.open_with(settings).await;
        let (seen, last, edited, breaks) = (0, None, None, Vec::new());
        Self { store, wires, kit, session, processes: 1, tools: 0, seen, last, edited, breaks }
    }

    async fn live(&mut self, beat: &Beat) {
        match beat {
            Beat::Turn { rounds, breaks, steered } => self.turn(*rounds, *breaks, *steered).await,
            Beat::Resume { tools } if self.processes < PROCESSES.len() => {
                self.session.close().await.unwrap();
                self.tools = *tools;
                self.kit = begin(&self.store, &self.wires, self.processes, self.tools);
                self.processes += 1;
                let load = LoadSession::new(self.session.id().clone(), Recovery::Interrupt);
                self.session = self.kit.core.open(Origin::Resume(load)).await.unwrap();
            }
            Beat::Resume { .. } => {}
            Beat::Fork => {
                let fork = ForkSession::new(self.session.id().clone());
                self.session = self.kit.core.open(Origin::Fork(Box::new(fork))).await.unwrap();
                // What was copied is known; what of it a model saw was sent by the source.
                self.seen = journal(&self.kit.core, &self.session).await.last().unwrap().seq;
            }
            Beat::Compact => {
                let before = self.seen;
                if self.session.tell(Command::Compact { instructions: None }).await.is_ok() {
                    let is_end = |event: &Event| {
                        matches!(event, Event::ContextCompacted(_) | Event::SummaryFailed(_))
                    };
                    wait_for(&self.session, before, is_end).await;
                }
            }
            Beat::Edit => {
                let words = format!("edited {}", self.seen);
                let messages = vec![Message::User { parts: vec![Part::text(words)] }];
                let (from, to) = if self.last.is_some() { (0, 1) } else { (END, END) };
                self.session.tell(Command::Edit { from, to, messages }).await.unwrap();
            }
            Beat::Model(at) => {
                self.change(SettingsChange {
                    model: Some(selection(PLACES[*at])),
                    ..SettingsChange::default()
                })
                .await;
            }
            Beat::Effort(effort) => {
                let effort = effort.map_or(EffortChange::Default, EffortChange::To);
                self.change(SettingsChange { effort: Some(effort), ..SettingsChange::default() })
                    .await;
            }
            Beat::Mode(open) => {
                let mode = if *open { Mode::OPEN } else { Mode::READ_ONLY };
                self.change(SettingsChange { mode: Some(mode), ..SettingsChange::default() }).await;
            }
            Beat::Search(on) => {
                let mode = match on {
                    true => WebSearchCapabilityMode::Delegate,
                    false => WebSearchCapabilityMode::Disabled,
                };
                let web_search = WebSearchCapabilityConfig { mode };
                self.change(SettingsChange {
                    capabilities: Some(SessionCapabilitiesConfig { web_search }),
                    ..SettingsChange::default()
                })
                .await;
            }
        }
        self.look().await;
    }

    /// A change that a model cannot take is refused, and nothing comes of it.
    async fn change(&self, change: SettingsChange) {
        let change = Box::new(change);
        let _refused = self.session.tell(Command::Configure { change, expected: None }).await;
    }

    async fn turn(&mut self, rounds: usize, breaks: bool, steered: bool) {
        let first = breaks.then_some(Says::Breaks);
        self.wires.say(first.into_iter().chain(std::iter::repeat_n(Says::Calls, rounds)));
        let before = self.seen;
        let words = format!("words {before}");
        send(&self.session, &words, Delivery::Queue).await.unwrap();
        if steered && rounds > 0 {
            let goes_on =
                |event: &Event| matches!(event, Event::ToolStarted(_) | Event::TurnEnded(_));
            wait_for(&self.session, before, goes_on).await;
            send(&self.session, "and this", Delivery::Steer).await.unwrap();
        }
        wait_for(&self.session, before, |event| matches!(event, Event::TurnEnded(_))).await;
        // Words that came too late have a turn of their own.
        while !self.session.state().await.unwrap().pending.is_empty()
            || self.session.state().await.unwrap().turn.is_some()
        {
            tokio::task::yield_now().await;
        }
    }

    /// Holds each request that was sent to the one before, and to what its step declares.
    async fn look(&mut self) {
        let entries = journal(&self.kit.core, &self.session).await;
        let new: Vec<&Entry> = entries.iter().filter(|entry| entry.seq > self.seen).collect();
        self.seen = entries.last().unwrap().seq;
        let mut sent = self.wires.sent().into_iter();
        for entry in new {
            match &entry.event {
                Event::ContextCleared(_) => self.edited = Some(PrefixBreak::Cleared),
                Event::ContextCompacted(_) => self.edited = Some(PrefixBreak::Compacted),
                Event::HistoryEdited(_) => self.edited = Some(PrefixBreak::History),
                Event::StepStarted(step) => {
                    let Some(request) = sent.next() else { continue };
                    let wanted = self.last.as_ref().and_then(|last| self.broken(last, &request));
                    assert_eq!(
                        step.prefix_break, wanted,
                        "declared, then found: {:#?}\n{request:#?}",
                        self.last
                    );
                    self.breaks.extend(wanted);
                    self.edited = None;
                    self.last = Some(request);
                }
                _ => {}
            }
        }
        assert_eq!(sent.count(), 0, "a request that no step has made");
    }

    /// What is different in the bytes of this request's beginning, and why.
    fn broken(&self, last: &Prefix, next: &Prefix) -> Option<PrefixBreak> {
        let table = [
            (last.place != next.place, PrefixBreak::Model),
            (last.system != next.system, PrefixBreak::System),
            (last.tools != next.tools, PrefixBreak::Tools),
            (last.output != next.output, PrefixBreak::Output),
            (last.effort != next.effort, PrefixBreak::Effort),
            (!next.blocks.starts_with(&last.blocks), self.edited.unwrap_or(PrefixBreak::Thought)),
        ];
        table.into_iter().find(|(differs, _)| *differs).map(|(_, why)| why)
    }
}

fn live(place: Place, beats: &[Beat]) -> Vec<PrefixBreak> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut life = Life::begin(place).await;
        for beat in beats {
            life.live(beat).await;
        }
        life.breaks
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_request_begins_with_the_one_before_or_its_step_says_why_not(
        place in prop::sample::select(PLACES.to_vec()),
        beats in prop::collection::vec(beat(), 1..16),
    ) {
        live(place, &beats);
    }
}

#[test]
fn each_reason_is_met_on_its_wire() {
    let turn = |rounds| Beat::Turn { rounds, breaks: false, steered: false };
    let high = Beat::Effort(Some(ReasoningEffort::High));
    let (compact, search) = (Beat::Compact, Beat::Search(true));
    let resume = |tools| Beat::Resume { tools };
    let table: [(usize, Vec<Beat>, &[PrefixBreak]); 12] = [
        (0, vec![turn(1), Beat::Fork, turn(1), resume(1), turn(1)], &[]),
        (0, vec![turn(1), Beat::Mode(false), turn(0)], &[]),
        (0, vec![turn(1), high.clone(), turn(1)], &[PrefixBreak::Effort]),
        (7, vec![turn(1), high, Beat::Fork, turn(0), turn(0)], &[PrefixBreak::Effort]),
        (8, vec![turn(1), resume(3), turn(0), turn(0)], &[PrefixBreak::Tools]),
        (
            1,
            vec![turn(0), Beat::Model(4), turn(0), Beat::Model(1), turn(0)],
            &[PrefixBreak::Model; 2],
        ),
        (2, vec![turn(1), turn(0), turn(0)], &[PrefixBreak::Thought]),
        (3, vec![turn(1), resume(2), turn(0)], &[PrefixBreak::Tools]),
        (4, vec![turn(0), search, turn(0)], &[PrefixBreak::Tools]),
        (5, vec![turn(2), turn(0), compact, turn(0)], &[PrefixBreak::Compacted]),
        (6, vec![turn(0), Beat::Edit, turn(0)], &[PrefixBreak::History]),
        (1, vec![turn(2), turn(2), turn(2)], &[PrefixBreak::Cleared; 2]),
    ];
    for (place, beats, wanted) in table {
        assert_eq!(live(PLACES[place], &beats), wanted, "{:?}: {beats:?}", PLACES[place]);
    }
}
