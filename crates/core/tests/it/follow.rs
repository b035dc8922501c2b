//! Following a session: entries once and in order, deltas woven in, whoever is slow.

use std::collections::BTreeMap;

use oarlock_core::event::{AgentEvent, DeltaItem, Effect, Event};
use oarlock_core::message::{Content, Part};
use oarlock_core::{DefaultSession, EventStream};
use oarlock_testkit::kit::{Kit, journal, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

/// Reads until the turn has ended; returns the seqs and what the text deltas of block 0 add up to.
async fn read_turn(events: &mut EventStream) -> (Vec<u64>, String, usize) {
    let (mut seqs, mut text, mut marks) = (Vec::new(), String::new(), 0);
    loop {
        match events.next().await.unwrap() {
            AgentEvent::Entry(entry) => {
                seqs.push(entry.seq);
                if matches!(entry.event, Event::TurnEnded(_)) {
                    return (seqs, text, marks);
                }
            }
            AgentEvent::Delta(delta) if delta.item == (DeltaItem::Text { block: 0 }) => {
                assert_eq!(delta.offset as usize, text.len());
                text.push_str(&delta.text);
            }
            AgentEvent::Delta(_) => {}
            AgentEvent::CaughtUp { .. } => marks += 1,
            AgentEvent::Scoped { .. } => panic!("it has no subagents"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_joins_in_the_middle_gets_the_text_so_far_first() {
    let kit = Kit::new(
        vec![vec![
            Say::Delta("one "),
            Say::Delta("two "),
            Say::Wait(10_000),
            Say::Delta("three"),
            Say::Reply(text("one two three")),
        ]],
        vec![],
    );
    let session = kit.open().await;
    session.prompt(go()).await.unwrap();
    let mut first = session.events(0);
    while !matches!(first.next().await.unwrap(), AgentEvent::Delta(delta) if delta.text.ends_with("two "))
    {
    }
    let mut joined = session.events(0);
    let (seqs, text, marks) = read_turn(&mut joined).await;
    assert_eq!((text.as_str(), marks), ("one two three", 1));
    assert_eq!(seqs, (1..=6).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn any_cursor_gives_every_later_entry_once_and_in_order() {
    let tool = TestTool::new("t", Effect::Pure, Act::Give("x".to_owned()));
    let kit = Kit::new(vec![vec![Say::Reply(calls(&[("c", "t", "{}")]))]], vec![tool]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    let last = journal(&kit.core, &session).await.iter().map(|entry| entry.seq).max().unwrap();
    for after in 0..last {
        let (seqs, _, _) = read_turn(&mut session.events(after)).await;
        assert_eq!(seqs, (after + 1..=last).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_never_reads_delays_nobody_and_loses_no_entry() {
    let deltas = (0..5_000).map(|_| Say::Delta("x"));
    let script = vec![deltas.chain([Say::Reply(text("done"))]).collect()];
    let kit = Kit::new(script, vec![]);
    let session = kit.open().await;
    let mut slow = session.events(0);
    slow.next().await.unwrap();
    let before = kit.core.ports().clock.now();
    session.run_turn(go()).await.unwrap();
    assert_eq!(kit.core.ports().clock.now(), before);
    let mut seqs = vec![1];
    while seqs.len() < 6 {
        if let AgentEvent::Entry(entry) = slow.next().await.unwrap() {
            seqs.push(entry.seq);
        }
    }
    assert_eq!(kit.core.ports().clock.now(), before, "it reads at once what it missed");
    assert_eq!(seqs, (1..=6).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn deltas_of_an_answer_that_is_there_are_not_told_again() {
    let kit = Kit::new(
        vec![
            vec![Say::Delta("old"), Say::Reply(text("old"))],
            vec![Say::Delta("new"), Say::Reply(text("new"))],
        ],
        vec![],
    );
    let session = kit.open().await;
    // Subscribed before, read after: its queue holds the deltas, the journal the answer.
    let mut events = session.events(0);
    session.run_turn(go()).await.unwrap();
    session.run_turn(go()).await.unwrap();
    let mut answered = false;
    let mut turns = 0;
    while turns < 2 {
        match events.next().await.unwrap() {
            AgentEvent::Entry(entry) => {
                answered |= matches!(entry.event, Event::AssistantMessage(_));
                turns += u32::from(matches!(entry.event, Event::TurnEnded(_)));
            }
            AgentEvent::Delta(delta) => assert!(!answered, "{delta:?} came after its answer"),
            AgentEvent::CaughtUp { .. } | AgentEvent::Scoped { .. } => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reading_and_following_never_wake_a_session() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    session.close().await.unwrap();
    read_turn(&mut session.events(0)).await;
    kit.core.entries(session.id(), 0).await.unwrap();
    assert_eq!(kit.core.state(session.id()).await.unwrap().epoch, 1);
}

#[tokio::test(start_paused = true)]
async fn tool_output_is_shown_while_it_is_made() {
    let tool = TestTool::new("t", Effect::Pure, Act::After(5_000, "working"));
    let kit = Kit::new(vec![vec![Say::Reply(calls(&[("c", "t", "{}")]))]], vec![tool]);
    let session = kit.open().await;
    session.prompt(go()).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::ToolStarted(_))).await;
    assert_eq!(output(&session).await, "working");
    assert_eq!(output(&session).await, "working", "a later reader gets it, too");
}

async fn output(session: &DefaultSession) -> String {
    let mut events = session.events(0);
    loop {
        match events.next().await.unwrap() {
            AgentEvent::Delta(delta) if matches!(delta.item, DeltaItem::Output { .. }) => {
                return delta.text;
            }
            AgentEvent::Entry(entry) => assert!(!matches!(entry.event, Event::ToolSettled(_))),
            AgentEvent::Delta(_) | AgentEvent::CaughtUp { .. } | AgentEvent::Scoped { .. } => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_item_of_an_answer_is_told_under_its_own_name() {
    let kit =
        Kit::new(vec![vec![Say::Delta("a"), Say::Delta("b"), Say::Reply(text("ab"))]], vec![]);
    let session = kit.open().await;
    let mut events = session.events(0);
    while !matches!(events.next().await.unwrap(), AgentEvent::CaughtUp { .. }) {}
    session.prompt(go()).await.unwrap();
    let mut texts: BTreeMap<DeltaItem, String> = BTreeMap::new();
    let answer = loop {
        match events.next().await.unwrap() {
            AgentEvent::Delta(delta) => texts.entry(delta.item).or_default().push_str(&delta.text),
            AgentEvent::Entry(entry) if matches!(entry.event, Event::AssistantMessage(_)) => {
                break entry;
            }
            AgentEvent::Entry(_) | AgentEvent::CaughtUp { .. } | AgentEvent::Scoped { .. } => {}
        }
    };
    let Event::AssistantMessage(answer) = &answer.event else { unreachable!() };
    let blocks = answer.blocks.iter().enumerate().map(|(block, said)| match &said.content {
        Content::Text { text } => (DeltaItem::Text { block: block as u32 }, text.clone()),
        other => panic!("{other:?}"),
    });
    assert_eq!(texts, blocks.collect());
}
