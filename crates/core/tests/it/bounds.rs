//! Every queue, buffer and output has a bound, and what happens there is what its documentation says.

use std::sync::Arc;

use futures::FutureExt;
use oarlock_core::command::{Admit, Command, END, Rejection};
use oarlock_core::event::{AgentEvent, Delivery, DeltaItem, Effect, Event, InputSource, Outcome};
use oarlock_core::ids::{CallId, SessionId};
use oarlock_core::limits::RuntimeLimits;
use oarlock_core::message::{Message, Part};
use oarlock_core::ports::bus::{Bus, BusError, Followed, Live};
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::session::feed::{COMMANDS_MAX, QUEUE_MAX};
use oarlock_core::spec::{Answers, Settings, SettingsChange};
use oarlock_core::{DefaultSession, LocalBus, SessionError};
use oarlock_testkit::kit::{Kit, send, settings, wait_for};
use oarlock_testkit::model::{Say, calls};
use oarlock_testkit::tool::{Act, TestTool};

const LIMITS: RuntimeLimits = RuntimeLimits::DEFAULT;

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

fn id() -> SessionId {
    SessionId::parse("s").unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_input_more_than_may_wait_is_refused_and_nothing_is_lost() {
    let kit = Kit::new(vec![vec![Say::Silence]], vec![]);
    let session = kit.open().await;
    session.prompt(go()).await.unwrap();
    for _ in 0..LIMITS.inputs_waiting {
        send(&session, "later", Delivery::Queue).await.unwrap();
    }
    for delivery in [Delivery::Queue, Delivery::Steer] {
        let refused = send(&session, "too many", delivery).await.unwrap_err();
        assert!(matches!(refused, SessionError::Bus(BusError::Overloaded { .. })), "{refused:?}");
    }
    let state = kit.core.state(session.id()).await.unwrap();
    assert_eq!(state.pending.len(), LIMITS.inputs_waiting);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_sends_has_a_size_that_is_refused() {
    let ask = vec![Say::Reply(calls(&[("c", "ask", "{}")]))];
    let kit = Kit::new(vec![ask], vec![TestTool::client("ask")]);
    let session = kit.open_with(Settings { answers: Answers::Somebody, ..settings() }).await;
    session.prompt(go()).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::InputRequested(_))).await;
    let long = "x".repeat(LIMITS.input_bytes + 1);
    let call = CallId("c".into());
    let too_long = [
        Command::Admit(Admit {
            key: Some("k".repeat(LIMITS.key_bytes + 1)),
            source: InputSource::User,
            delivery: Delivery::Queue,
            content: go(),
            goal: None,
            output: None,
            peer: None,
        }),
        Command::Supply { call, outcome: Outcome::Completed, content: vec![Part::text(&long)] },
        Command::Configure {
            change: Box::new(SettingsChange { title: Some(long.clone()), ..Default::default() }),
            expected: None,
        },
    ];
    for command in too_long {
        refuses(&session, command).await;
    }
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let messages = vec![Message::User { parts: vec![Part::text(&long)] }];
    for command in [
        Command::Compact { instructions: Some(long) },
        Command::Edit { from: END, to: END, messages },
    ] {
        refuses(&session, command).await;
    }
}

async fn refuses(session: &DefaultSession, command: Command) {
    let refused = session.tell(command).await.unwrap_err();
    let SessionError::Rejected(Rejection::Invalid { what } | Rejection::TooLarge { what }) =
        refused
    else {
        panic!("{refused:?}")
    };
    assert!(what.contains("at most") || what.contains("longer than"), "{what}");
    assert!(what.len() < 300, "{what}");
}

#[test]
fn a_follower_that_does_not_read_keeps_a_bounded_queue_and_is_told_that_it_lags() {
    let bus = LocalBus::default();
    let mut feed = bus.subscribe(&id());
    let publish = |text: &str| {
        let item = DeltaItem::Text { block: 0 };
        let text = text.to_owned();
        let delta = oarlock_core::Delta { turn: 1, step: 1, attempt: 1, item, offset: 0, text };
        bus.publish(&id(), Live::Delta(Arc::new(delta)));
    };
    (0..=QUEUE_MAX).for_each(|_| publish("old"));
    assert!(matches!(feed.next().now_or_never(), Some(Followed::Lagged)));
    assert!(feed.next().now_or_never().is_none(), "what it missed is gone");
    publish("new");
    assert!(matches!(
        feed.next().now_or_never(),
        Some(Followed::Live(Live::Delta(delta))) if delta.text == "new"
    ));
    (0..QUEUE_MAX).for_each(|_| publish("fits"));
    for _ in 0..QUEUE_MAX {
        assert!(matches!(feed.next().now_or_never(), Some(Followed::Live(_))));
    }
}

#[test]
fn one_command_more_than_may_wait_is_refused() {
    let bus = LocalBus::default();
    let _requests = bus.serve(&id(), 1);
    let mut waiting = Vec::new();
    for _ in 0..COMMANDS_MAX {
        let mut request = bus.request(&id(), Command::Cancel { turn: None });
        assert!((&mut request).now_or_never().is_none());
        waiting.push(request);
    }
    let refused = bus.request(&id(), Command::Cancel { turn: None }).now_or_never();
    assert_eq!(refused, Some(Err(BusError::Overloaded { session: id() })));
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_fails_its_attempt() {
    let megabyte: &'static str = Box::leak("x".repeat(1 << 20).into_boxed_str());
    let endless = (0..100).map(|_| Say::Delta(megabyte)).collect();
    let kit = Kit::new(vec![endless], vec![]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    let failed = wait_for(&session, 0, |event| matches!(event, Event::ModelFailed(_))).await;
    let Event::ModelFailed(failed) = &failed.event else { unreachable!() };
    assert_eq!(failed.class, ModelErrorKind::Transport);
    assert!(failed.message.contains("longer than"), "{}", failed.message);
}

#[tokio::test(start_paused = true)]
async fn many_texts_of_one_result_are_bounded_together() {
    let text: &'static str = Box::leak("0123456789".repeat(100).into_boxed_str());
    let many = TestTool::new("many", Effect::Pure, Act::Parts(1_000, text));
    let kit = Kit::new(vec![vec![Say::Reply(calls(&[("c", "many", "{}")]))]], vec![many]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    let settled = wait_for(&session, 0, |event| matches!(event, Event::ToolSettled(_))).await;
    let Event::ToolSettled(settled) = &settled.event else { unreachable!() };
    let [Part::Text { text }] = settled.content.as_slice() else { panic!("{settled:?}") };
    assert!(text.len() <= LIMITS.inline_bytes + 500, "{} bytes", text.len());
    assert_eq!(settled.blobs[0].bytes, 1_000 * 1_000 + 999, "the whole is kept, a line each");
}

#[tokio::test(start_paused = true)]
async fn of_live_output_only_the_end_is_shown() {
    let shout = TestTool::new("shout", Effect::Pure, Act::Shout(1_000_000));
    let kit = Kit::new(vec![vec![Say::Reply(calls(&[("c", "shout", "{}")]))]], vec![shout]);
    let session = kit.open().await;
    session.prompt(go()).await.unwrap();
    let mut events = session.events(0);
    let shown = loop {
        match events.next().await.unwrap() {
            AgentEvent::Delta(delta) if matches!(delta.item, DeltaItem::Output { .. }) => {
                break delta;
            }
            AgentEvent::Entry(_)
            | AgentEvent::Delta(_)
            | AgentEvent::CaughtUp { .. }
            | AgentEvent::Scoped { .. } => {}
        }
    };
    assert_eq!(shown.text.len(), LIMITS.live_output_bytes);
    assert_eq!(shown.offset as usize, 1_000_000 - LIMITS.live_output_bytes);
}
