//! Faults of the reference's implementation that must not come back, by their numbers there. Others stand with the part that they are about.

use std::sync::Arc;

use oarlock_core::command::Command;
use oarlock_core::event::{AgentEvent, Delivery, Effect, Event, FailureClass, Outcome, StopReason};
use oarlock_core::ids::CallId;
use oarlock_core::message::{Block, Message, Part, ReplyStop};
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::spec::{Answers, Bounds, Limits, Mode, Settings};
use oarlock_testkit::kit::{Kit, journal, send, settings, tags, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};

fn tools() -> Vec<Arc<TestTool>> {
    vec![
        TestTool::new("slow", Effect::Pure, Act::After(300, "slow")),
        TestTool::new("quick", Effect::Pure, Act::After(10, "quick")),
        TestTool::new("burst", Effect::Pure, Act::Panic),
        TestTool::new("write", Effect::Mutating, Act::Give("written".to_owned())),
        TestTool::new("hang", Effect::Mutating, Act::Hang),
    ]
}

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

fn asks(tools: &[&str]) -> Vec<Say> {
    let ids: Vec<String> = (0..tools.len()).map(|n| format!("c{n}")).collect();
    let asked: Vec<_> =
        ids.iter().zip(tools).map(|(id, tool)| (id.as_str(), *tool, "{}")).collect();
    vec![Say::Reply(calls(&asked))]
}

#[tokio::test(start_paused = true)]
async fn w08_every_turn_has_one_beginning_and_one_end_and_no_open_call() {
    let steps = |steps| Limits {
        turn: Bounds { steps: Some(steps), ..Bounds::default() },
        ..Limits::default()
    };
    let asking = Settings { mode: Mode::ASK_WRITES, answers: Answers::Somebody, ..settings() };
    let table: Vec<(&str, Vec<Vec<Say>>, Settings, bool)> = vec![
        ("the model is done", vec![], settings(), false),
        ("the model fails", vec![vec![Say::Fail(ModelErrorKind::Auth, None)]], settings(), false),
        ("the model panics", vec![vec![Say::Panic]], settings(), false),
        ("a tool panics", vec![asks(&["burst", "quick"])], settings(), false),
        (
            "a limit is reached",
            vec![asks(&["quick"])],
            Settings { limits: steps(1), ..settings() },
            false,
        ),
        ("no step is allowed", vec![], Settings { limits: steps(0), ..settings() }, false),
        ("it is cancelled in the model", vec![vec![Say::Silence]], settings(), true),
        ("it is cancelled in a tool", vec![asks(&["hang", "write"])], settings(), true),
        ("it is cancelled at a question", vec![asks(&["write", "quick"])], asking, true),
    ];
    for (name, script, settings, cancel) in table {
        let kit = Kit::new(script, tools());
        let session = kit.open_with(settings).await;
        let input = send(&session, "go", Delivery::Now).await.unwrap();
        if cancel {
            let clock = &kit.core.ports().clock;
            clock.sleep_until(clock.now().after(500)).await;
            session.tell(Command::Cancel { turn: None }).await.unwrap();
        }
        wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
        let entries = journal(&kit.core, &session).await;
        let of = |tag: &str| tags(&entries).iter().filter(|found| *found == tag).count();
        assert_eq!((of("turn_started"), of("turn_ended")), (1, 1), "{name}");
        assert_eq!(of("tool_called"), of("tool_settled"), "{name}");
        assert_eq!(of("permission_asked"), of("permission_answered"), "{name}");
        let begun = entries.iter().position(|e| matches!(e.event, Event::TurnStarted(_))).unwrap();
        let Event::TurnStarted(started) = &entries[begun].event else { panic!() };
        assert_eq!(started.inputs, [input], "{name}");
        let last = entries.iter().rposition(|entry| entry.turn == Some(1)).unwrap();
        assert!(matches!(entries[last].event, Event::TurnEnded(_)), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn w13_a_stream_that_falls_silent_or_never_ends_ends_by_itself() {
    let talks = (0..400).flat_map(|_| [Say::Wait(100_000), Say::Alive]).collect::<Vec<_>>();
    for (name, hostile) in [("silent", vec![Say::Delta("half"), Say::Silence]), ("endless", talks)]
    {
        let kit = Kit::new(vec![hostile; 9], tools());
        let session = kit.open().await;
        let ended = session.run_turn(go()).await.unwrap();
        assert!(matches!(ended.stop, StopReason::Failed(_)), "{name}: {:?}", ended.stop);
        assert!(ended.error.is_some(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn w23_results_keep_their_order_their_ids_and_the_reason_of_a_refusal() {
    let kit = Kit::new(vec![asks(&["slow", "burst", "quick", "write"])], tools());
    let session = kit.open_with(Settings { mode: Mode::READ_ONLY, ..settings() }).await;
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
    let request = kit.model.requests().pop().unwrap();
    let Some(Message::Tool { results }) = request.messages.last() else { panic!() };
    let ids: Vec<&str> = results.iter().map(|result| result.call.as_str()).collect();
    assert_eq!(ids, ["c0", "c1", "c2", "c3"]);
    let words = |at: usize| serde_json::to_string(&results[at].parts).unwrap();
    assert!(results[1].is_error && words(1).contains("crashed"), "{}", words(1));
    assert!(results[3].is_error && words(3).contains("read-only"), "{}", words(3));
    assert!(!results[0].is_error && !results[2].is_error);
}

#[tokio::test(start_paused = true)]
async fn w25_followers_that_never_read_stall_nobody_and_miss_nothing() {
    let script = (0..200).map(|n| {
        let id = format!("c{n}");
        vec![Say::Delta("x"), Say::Reply(calls(&[(id.as_str(), "quick", "{}")]))]
    });
    let kit = Kit::new(script.collect(), tools());
    let session = kit.open().await;
    // One follows from before the first entry and reads when all is over; two never read.
    let mut late = session.events(0);
    let stuck = [session.events(0), session.events(0)];
    let begun = tokio::time::Instant::now();
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
    assert!(begun.elapsed().as_millis() < 200 * 10 + 1_000, "{:?}", begun.elapsed());
    let entries = journal(&kit.core, &session).await;
    let mut heard = Vec::new();
    while heard.len() < entries.len() {
        if let AgentEvent::Entry(entry) = late.next().await.unwrap() {
            heard.push(entry.seq);
        }
    }
    assert_eq!(heard, (1..=entries.len() as u64).collect::<Vec<_>>());
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn acceptance_09_steps_that_were_done_stay_done_when_the_stream_breaks() {
    let script = vec![
        asks(&["write"]),
        vec![Say::Delta("ha"), Say::Fail(ModelErrorKind::Truncated, None)],
        vec![Say::Delta("half"), Say::Silence],
        vec![Say::Reply(text("whole"))],
    ];
    let tools = tools();
    let kit = Kit::new(script, tools.clone());
    let session = kit.open().await;
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
    assert_eq!(tools[3].ran(), [CallId("c0".into())], "the write ran once");
    let entries = journal(&kit.core, &session).await;
    let failed = entries.iter().filter(|entry| matches!(entry.event, Event::ModelFailed(_)));
    assert_eq!(failed.count(), 2);
    let settled = entries.iter().filter(|entry| match &entry.event {
        Event::ToolSettled(settled) => settled.outcome == Outcome::Completed,
        _ => false,
    });
    assert_eq!(settled.count(), 1);
    // Each request after the step goes on from it.
    for request in &kit.model.requests()[1..] {
        assert!(matches!(request.messages.last(), Some(Message::Tool { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn w24_tool_calls_run_although_the_answer_says_stop() {
    let mut answer = calls(&[("c0", "quick", "{}")]);
    answer.stop = ReplyStop::EndTurn;
    let kit = Kit::new(vec![vec![Say::Reply(answer)]], tools());
    let session = kit.open().await;
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
    let asked = kit.model.requests();
    assert_eq!(asked.len(), 2);
    let Some(Message::Tool { results }) = asked[1].messages.last() else { panic!() };
    assert_eq!(results[0].parts, [Part::text("quick")]);
}

#[tokio::test(start_paused = true)]
async fn w24_a_call_without_an_id_gets_one() {
    let answer = calls(&[("", "quick", "{}"), ("", "slow", "{}")]);
    let kit = Kit::new(vec![vec![Say::Reply(answer)]], tools());
    let session = kit.open().await;
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
    let request = kit.model.requests().pop().unwrap();
    let [.., Message::Assistant { blocks }, Message::Tool { results }] = &request.messages[..]
    else {
        panic!()
    };
    let asked: Vec<&CallId> = blocks.iter().filter_map(Block::call).collect();
    assert!(asked.iter().all(|id| !id.as_str().is_empty()) && asked[0] != asked[1], "{asked:?}");
    assert!(results.iter().map(|result| &result.call).eq(asked), "{results:?}");
    let words: Vec<_> = results.iter().map(|result| result.parts.clone()).collect();
    assert_eq!(words, [[Part::text("quick")], [Part::text("slow")]]);
}

#[tokio::test(start_paused = true)]
async fn w11_an_exhausted_quota_a_wrong_key_and_an_overflow_are_sent_once() {
    for kind in
        [ModelErrorKind::QuotaExhausted, ModelErrorKind::Auth, ModelErrorKind::ContextOverflow]
    {
        let kit = Kit::new(vec![vec![Say::Fail(kind, None)]; 9], tools());
        let session = kit.open().await;
        let ended = session.run_turn(go()).await.unwrap();
        assert_eq!(ended.stop, StopReason::Failed(FailureClass::Model(kind)));
        assert_eq!(kit.model.requests().len(), 1, "{kind:?}");
    }
    // What may pass is sent again: a fault that is retried at all is told from one that is not.
    let kit = Kit::new(vec![vec![Say::Fail(ModelErrorKind::Overloaded, None)]], tools());
    let session = kit.open().await;
    assert_eq!(session.run_turn(go()).await.unwrap().stop, StopReason::EndTurn);
    assert_eq!(kit.model.requests().len(), 2);
}
