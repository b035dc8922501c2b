//! Draws stories.

use oarlock_core::Recovery;
use oarlock_core::event::{Delivery, Outcome, PermissionKind};
use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Content, ReplyStop, Usage};
use oarlock_core::ports::model::{ModelErrorKind, Reply};
use oarlock_core::session::goal::GOAL_DONE;
use oarlock_core::spec::{
    Answers, Bounds, ContextPolicy, Limits, Mode, ModelSelection, Rules, Settings, SettingsChange,
    TurnConfig,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config as ProptestConfig, RngSeed};

use crate::kit::settings;
use crate::model::Say;
use crate::mortal::LastWrite;
use crate::story::{Beat, Story};

/// Proptest's own number of cases.
const DEFAULT_CASES: u32 = 256;
/// Names of the tools of a story, and one that is none of them.
const TOOLS: [&str; 13] = [
    "read", "slow", "hang", "burst", "fail", "write", "stuck", "boom", "fetch", "ask", "plan",
    GOAL_DONE, "nothing",
];
/// Ids as providers give them: none, the same again, and such as the runtime makes itself.
const IDS: [&str; 8] = ["", "c1", "c2", "c3", "call_1_1_0", "call_1_1_1", "c.4", "c_4"];
const ARGUMENTS: [&str; 5] = ["", "{}", r#"{"what": "x"}"#, r#"{"what": 3}"#, "{"];
const TEXTS: [&str; 5] = ["", " \n", "a", "Hello, wörld", "two\nlines "];

/// The same `cases` stories in every run, unless proptest's own variables ask for more of them or others.
#[must_use]
pub fn config(cases: u32) -> ProptestConfig {
    let given = ProptestConfig::default();
    ProptestConfig {
        cases: if given.cases == DEFAULT_CASES { cases } else { given.cases },
        rng_seed: match given.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            fixed @ RngSeed::Fixed(_) => fixed,
        },
        failure_persistence: None,
        ..given
    }
}

/// Stories of less than `scenes_max` scenes, in which writes to the store may fail.
pub fn stories(scenes_max: usize) -> impl Strategy<Value = Story> {
    let faults = prop_oneof![3 => Just(0_u64), 1 => Just(80)];
    let beats = vec(scenes(), 1..scenes_max).prop_map(|scenes| scenes.concat());
    (sessions(), vec(replies(), 0..8), vec(replies(), 0..4), beats, faults).prop_map(
        |(settings, replies, summaries, beats, faults)| Story {
            settings,
            replies,
            summaries,
            beats,
            faults,
        },
    )
}

/// One beat, or a turn that kills process after process.
fn scenes() -> impl Strategy<Value = Vec<(u64, Beat)>> {
    let input = (0, Beat::Input(Delivery::Queue, None));
    let kill = |writes| (2, Beat::Doom(writes, LastWrite::Lost, Recovery::Continue));
    let killer = vec![
        input,
        kill(0),
        (5, Beat::Restore),
        kill(1),
        (2_000, Beat::Restore),
        kill(1),
        (2_000, Beat::Restore),
    ];
    prop_oneof![
        40 => (waits(), beats()).prop_map(|beat| vec![beat]),
        2 => Just(killer),
    ]
}

fn waits() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => select(vec![0_u64, 1, 2, 3, 5, 20, 60, 120, 210]),
        2 => select(vec![1_000_u64, 5_000, 61_000]),
        1 => Just(700_000),
    ]
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![4 => Just(Mode::OPEN), 4 => Just(Mode::ASK_WRITES), 1 => Just(Mode::READ_ONLY), 1 => Just(Mode::DENY_ALL)]
}

fn answers() -> impl Strategy<Value = Answers> {
    prop_oneof![3 => Just(Answers::Somebody), 1 => Just(Answers::Nobody)]
}

fn rules() -> impl Strategy<Value = Rules> {
    let rule = select(vec!["write", "write(x)", "fetch", "read", "stuck(*)"]);
    (vec(rule.clone(), 0..2), vec(rule, 0..2)).prop_map(|(allow, deny)| Rules {
        allow: allow.into_iter().map(str::to_owned).collect(),
        deny: deny.into_iter().map(str::to_owned).collect(),
        ..Rules::default()
    })
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let rare = |figures: Vec<u64>| option::weighted(0.1, select(figures));
    (
        rare(vec![1, 2, 3]),
        rare(vec![200, 2_000]),
        rare(vec![60, 500]),
        rare(vec![150, 90_000]),
        option::weighted(0.2, select(vec![1, 3])),
    )
        .prop_map(|(steps, tokens, cost_micros, wall_ms, tool_calls)| Bounds {
            steps: steps.map(|steps| steps as u32),
            tokens,
            cost_micros,
            wall_ms,
            tool_calls: tool_calls.map(|calls| calls as u32),
        })
}

fn limits() -> impl Strategy<Value = Limits> {
    (bounds(), bounds()).prop_map(|(turn, session)| Limits { turn, session, ..Limits::default() })
}

fn models() -> impl Strategy<Value = ModelSelection> {
    select(vec!["scripted", "other", "missing"])
        .prop_map(|model| ModelSelection { provider: "test".to_owned(), model: model.to_owned() })
}

/// Models that take over.
fn chains() -> impl Strategy<Value = Vec<ModelSelection>> {
    let names = select(vec![&[][..], &["spare"], &["spare", "other"]]);
    names.prop_map(|names| {
        let named =
            |name: &&str| ModelSelection { provider: "test".to_owned(), model: (*name).to_owned() };
        names.iter().map(named).collect()
    })
}

fn sessions() -> impl Strategy<Value = Settings> {
    (chains(), modes(), answers(), rules(), limits(), windows()).prop_map(
        |(fallback, mode, answers, rules, limits, turn)| Settings {
            fallback,
            mode,
            answers,
            rules,
            limits,
            turn,
            ..settings()
        },
    )
}

/// Most windows are so wide that nothing is forgotten.
fn windows() -> impl Strategy<Value = TurnConfig> {
    let window = prop_oneof![2 => Just(None), 1 => select(vec![40_u64, 100, 400]).prop_map(Some)];
    window.prop_map(|window| {
        let context = ContextPolicy { window, ..ContextPolicy::default() };
        TurnConfig { context, ..TurnConfig::default() }
    })
}

fn changes() -> impl Strategy<Value = Box<SettingsChange>> {
    let (model, mode) = (option::weighted(0.3, models()), option::weighted(0.5, modes()));
    (model, mode, option::of(rules()), option::of(limits()), option::of(answers())).prop_map(
        |(model, mode, rules, limits, answers)| {
            Box::new(SettingsChange {
                model,
                mode,
                rules,
                limits,
                answers,
                ..SettingsChange::default()
            })
        },
    )
}

fn recoveries() -> impl Strategy<Value = Recovery> {
    select(vec![Recovery::Continue, Recovery::Continue, Recovery::Interrupt])
}

fn beats() -> impl Strategy<Value = Beat> {
    let delivery = select(vec![Delivery::Now, Delivery::Queue, Delivery::Steer]);
    let key = option::weighted(0.2, select(vec!["k1", "k2"]));
    let choice = select(vec![
        PermissionKind::AllowOnce,
        PermissionKind::AllowOnce,
        PermissionKind::AllowAlways,
        PermissionKind::AllowSaved,
        PermissionKind::RejectOnce,
        PermissionKind::RejectAlways,
    ]);
    let outcome = select(vec![
        Outcome::Completed,
        Outcome::Failed,
        Outcome::Cancelled,
        Outcome::Denied,
        Outcome::Indeterminate,
    ]);
    let last = select(vec![LastWrite::Stored, LastWrite::Lost]);
    prop_oneof![
        12 => (delivery, key).prop_map(|(delivery, key)| Beat::Input(delivery, key)),
        2 => (0_u32..4).prop_map(Beat::Pursue),
        1 => option::of(0_u32..3).prop_map(Beat::Goal),
        1 => Just(Beat::Withdraw),
        2 => Just(Beat::Cancel),
        4 => choice.prop_map(Beat::Answer),
        2 => outcome.prop_map(Beat::Supply),
        2 => changes().prop_map(Beat::Configure),
        1 => Just(Beat::Compact),
        1 => Just(Beat::Edit),
        1 => Just(Beat::Archive),
        1 => Just(Beat::Restore),
        1 => Just(Beat::Close),
        2 => recoveries().prop_map(Beat::Crash),
        4 => (0_u32..6, last, recoveries()).prop_map(|(n, last, recovery)| Beat::Doom(n, last, recovery)),
    ]
}

fn blocks() -> BoxedStrategy<Content> {
    let call = (select(IDS.to_vec()), select(TOOLS.to_vec()), select(ARGUMENTS.to_vec()));
    prop_oneof![
        3 => select(TEXTS.to_vec()).prop_map(|text| Content::Text { text: text.to_owned() }),
        1 => Just(Content::Thinking { text: "hm".to_owned() }),
        1 => Just(Content::Opaque { kind: "web_search".to_owned() }),
        6 => call.prop_map(|(id, name, arguments)| Content::ToolCall {
            id: CallId(id.into()),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        }),
    ]
    .boxed()
}

fn stops() -> impl Strategy<Value = ReplyStop> {
    prop_oneof![
        4 => Just(ReplyStop::EndTurn),
        8 => Just(ReplyStop::ToolUse),
        1 => Just(ReplyStop::MaxTokens),
        1 => Just(ReplyStop::Refusal),
        1 => Just(ReplyStop::Pause),
        1 => Just(ReplyStop::StopSequence),
        1 => Just(ReplyStop::Other("odd".to_owned())),
    ]
}

/// Whole answers, sensible and otherwise.
pub fn answered() -> impl Strategy<Value = Reply> {
    let usage = (0_u64..60, 0_u64..30);
    (vec(blocks(), 0..5), stops(), usage).prop_map(|(blocks, stop, (input, output))| Reply {
        model: "scripted".to_owned(),
        blocks: blocks.into_iter().map(|content| Block { content, native: None }).collect(),
        stop,
        usage: Usage { input, output, ..Usage::default() },
        warnings: Vec::new(),
    })
}

fn failures() -> impl Strategy<Value = Say> {
    let kind = select(vec![
        ModelErrorKind::RateLimited,
        ModelErrorKind::Overloaded,
        ModelErrorKind::Transport,
        ModelErrorKind::Truncated,
        ModelErrorKind::Auth,
        ModelErrorKind::ContextOverflow,
    ]);
    (kind, option::weighted(0.3, select(vec![1_u64, 3_000, 500_000])))
        .prop_map(|(kind, after)| Say::Fail(kind, after))
}

/// What one call of the model says.
fn replies() -> impl Strategy<Value = Vec<Say>> {
    let before = prop_oneof![
        2 => select(vec!["a", "bc", " "]).prop_map(Say::Delta),
        1 => select(vec![1_u64, 30, 4_000, 310_000]).prop_map(Say::Wait),
        1 => Just(Say::Alive),
    ];
    let last = prop_oneof![
        12 => answered().prop_map(|reply| Some(Say::Reply(reply))),
        3 => failures().prop_map(Some),
        1 => Just(Some(Say::Silence)),
        1 => Just(Some(Say::Panic)),
        1 => Just(None),
    ];
    (vec(before, 0..3), last).prop_map(|(mut said, last)| {
        said.extend(last);
        said
    })
}
