//! What a turn does, step by step.

use oarlock_core::Command;
use oarlock_core::command::{Admit, Rejection, Reply};
use oarlock_core::event::{
    Delivery, Effect, Event, FailureClass, InputSource, Outcome, StopReason,
};
use oarlock_core::message::{Content, Message, Part};
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::{AgentEvent, SessionError};
use oarlock_testkit::kit::{Kit, admit, journal, send, tags, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};

fn say(text_: &'static str) -> Vec<Say> {
    vec![Say::Delta(text_), Say::Reply(text(text_))]
}

fn prompt(text: &str) -> Vec<Part> {
    vec![Part::text(text)]
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_one_step_leaves_its_whole_story() {
    let kit = Kit::new(vec![say("hello")], vec![]);
    let session = kit.open().await;
    let ended = session.run_turn(prompt("hi")).await.unwrap();
    assert_eq!(ended.stop, StopReason::EndTurn);
    assert_eq!((ended.steps, ended.usage.total(), ended.cost_micros), (1, 15, Some(20)));
    session.close().await.unwrap();
    let entries = journal(&kit.core, &session).await;
    let wanted = [
        "session_created",
        "input_admitted",
        "turn_started",
        "step_started",
        "assistant_message",
        "turn_ended",
        "writer_released",
    ];
    assert_eq!(tags(&entries), wanted);
    let turns: Vec<_> = entries.iter().map(|entry| entry.turn).collect();
    assert_eq!(turns, [None, None, Some(1), Some(1), Some(1), Some(1), None]);
}

#[tokio::test(start_paused = true)]
async fn results_go_back_in_call_order_each_right_after_its_call() {
    let slow = TestTool::new("slow", Effect::Pure, Act::After(50, "slow done"));
    let fast = TestTool::new("fast", Effect::Pure, Act::After(5, "fast done"));
    let ask = calls(&[("c1", "slow", "{}"), ("c2", "fast", "{}"), ("c3", "nope", "{}")]);
    let kit = Kit::new(vec![vec![Say::Reply(ask)], say("bye")], vec![slow.clone(), fast.clone()]);
    let session = kit.open().await;
    let ended = session.run_turn(prompt("go")).await.unwrap();
    assert_eq!((ended.stop, ended.steps), (StopReason::EndTurn, 2));
    let request = kit.model.requests().pop().unwrap();
    let [Message::User { .. }, Message::Assistant { .. }, Message::Tool { results }] =
        request.messages.as_slice()
    else {
        panic!("{:?}", request.messages);
    };
    let order: Vec<_> =
        results.iter().map(|result| (result.call.as_str(), result.is_error)).collect();
    assert_eq!(order, [("c1", false), ("c2", false), ("c3", true)]);
    assert_eq!((slow.runs(), fast.runs()), (1, 1));
    // The fast one was durable before the slow one was done.
    let entries = journal(&kit.core, &session).await;
    let settled = entries.iter().filter_map(|entry| match &entry.event {
        Event::ToolSettled(settled) => Some(settled.call.as_str().to_owned()),
        _ => None,
    });
    assert_eq!(settled.collect::<Vec<_>>(), ["c3", "c2", "c1"]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_change_something_run_alone_and_in_order() {
    let write = TestTool::new("write", Effect::Mutating, Act::After(50, "written"));
    let read = TestTool::new("read", Effect::Pure, Act::After(5, "read"));
    let ask = calls(&[("w1", "write", "{}"), ("r1", "read", "{}"), ("w2", "write", "{}")]);
    let kit = Kit::new(vec![vec![Say::Reply(ask)]], vec![write, read]);
    let session = kit.open().await;
    session.run_turn(prompt("go")).await.unwrap();
    let mut story = Vec::new();
    for entry in journal(&kit.core, &session).await {
        match entry.event {
            Event::ToolStarted(call) => story.push(format!("+{}", call.call)),
            Event::ToolSettled(settled) => story.push(format!("-{}", settled.call)),
            _ => {}
        }
    }
    assert_eq!(story, ["+w1", "-w1", "+r1", "-r1", "+w2", "-w2"]);
}

#[tokio::test(start_paused = true)]
async fn one_tool_round_takes_two_commits() {
    let tool = TestTool::new("t", Effect::Pure, Act::Give("x".to_owned()));
    let kit = Kit::new(vec![vec![Say::Reply(calls(&[("c", "t", "{}")]))], say("end")], vec![tool]);
    let session = kit.open().await;
    session.run_turn(prompt("go")).await.unwrap();
    let frames = kit.core.ports().journal.read(session.id(), 0, usize::MAX).await.unwrap();
    let story: Vec<Vec<String>> =
        frames.iter().map(|frame| tags(&frame.entries(session.id()).unwrap())).collect();
    assert_eq!(story[1], ["input_admitted", "turn_started", "step_started"]);
    assert_eq!(story[2], ["assistant_message", "tool_called", "tool_started"]);
    assert_eq!(story[3], ["tool_settled", "step_started"]);
    assert_eq!(story[4], ["assistant_message", "turn_ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_tool_is_that_calls_failure() {
    let bad = TestTool::new("bad", Effect::Mutating, Act::Panic);
    let good = TestTool::new("good", Effect::Pure, Act::Give("fine".to_owned()));
    let ask = calls(&[("b", "bad", "{}"), ("g", "good", "{}")]);
    let kit = Kit::new(vec![vec![Say::Reply(ask)], say("ok")], vec![bad, good]);
    let session = kit.open().await;
    let ended = session.run_turn(prompt("go")).await.unwrap();
    assert_eq!(ended.stop, StopReason::EndTurn);
    let outcomes = outcomes(&kit, &session).await;
    assert_eq!(outcomes, [("b".to_owned(), Outcome::Failed), ("g".to_owned(), Outcome::Completed)]);
}

async fn outcomes(kit: &Kit, session: &oarlock_core::DefaultSession) -> Vec<(String, Outcome)> {
    let entries = journal(&kit.core, session).await;
    let settled = entries.iter().filter_map(|entry| match &entry.event {
        Event::ToolSettled(settled) => Some((settled.call.as_str().to_owned(), settled.outcome)),
        _ => None,
    });
    settled.collect()
}

#[tokio::test(start_paused = true)]
async fn arguments_that_are_no_json_fail_the_call_and_not_the_turn() {
    let tool = TestTool::new("t", Effect::Pure, Act::Give(String::new()));
    let ask = calls(&[
        ("1", "t", "{oops"),
        ("2", "t", "[]"),
        ("3", "t", ""),
        ("4", "t", r#"{"what": 5}"#),
    ]);
    let kit = Kit::new(vec![vec![Say::Reply(ask)]], vec![tool.clone()]);
    let session = kit.open().await;
    session.run_turn(prompt("go")).await.unwrap();
    let outcomes: Vec<_> = outcomes(&kit, &session)
        .await
        .into_iter()
        .map(|(call, outcome)| format!("{call} {outcome:?}"))
        .collect();
    assert!(outcomes.contains(&"3 Completed".to_owned()), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| outcome.ends_with("Failed")).count(), 3);
    assert_eq!(tool.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn repeated_and_missing_call_ids_become_unique() {
    let tool = TestTool::new("t", Effect::Pure, Act::Give(String::new()));
    let ask =
        || vec![Say::Reply(calls(&[("same", "t", "{}"), ("same", "t", "{}"), ("", "t", "{}")]))];
    let kit = Kit::new(vec![ask(), ask()], vec![tool]);
    let session = kit.open().await;
    session.run_turn(prompt("go")).await.unwrap();
    let request = kit.model.requests().pop().unwrap();
    let mut ids = Vec::new();
    for message in request.messages.iter() {
        if let Message::Assistant { blocks } = message {
            ids.extend(blocks.iter().filter_map(|block| match &block.content {
                Content::ToolCall { id, .. } => Some(id.as_str().to_owned()),
                _ => None,
            }));
        }
    }
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), unique.len()), (6, 6), "{ids:?}");
    assert_eq!(ids[0], "same");
}

#[tokio::test(start_paused = true)]
async fn retries_are_events_and_void_their_deltas() {
    let kit = Kit::new(
        vec![
            vec![Say::Delta("bro"), Say::Fail(ModelErrorKind::Overloaded, None)],
            vec![Say::Fail(ModelErrorKind::RateLimited, Some(7_000))],
            say("whole"),
        ],
        vec![],
    );
    let session = kit.open().await;
    let ended = session.run_turn(prompt("hi")).await.unwrap();
    assert_eq!(ended.stop, StopReason::EndTurn);
    let failed =
        journal(&kit.core, &session).await.into_iter().filter_map(|entry| match entry.event {
            Event::ModelFailed(failed) => Some((failed.attempt, failed.class, failed.retry_in_ms)),
            _ => None,
        });
    let failed: Vec<_> = failed.collect();
    assert_eq!(
        failed,
        [(1, ModelErrorKind::Overloaded, Some(500)), (2, ModelErrorKind::RateLimited, Some(7_000))]
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_cannot_be_retried_ends_the_turn_and_keeps_what_was_done() {
    let tool = TestTool::new("t", Effect::Mutating, Act::Give("done".to_owned()));
    for kind in [
        ModelErrorKind::Auth,
        ModelErrorKind::QuotaExhausted,
        ModelErrorKind::InvalidRequest,
        ModelErrorKind::ContextOverflow,
        ModelErrorKind::ContentFilter,
        ModelErrorKind::ModelNotFound,
    ] {
        let script = vec![
            vec![Say::Reply(calls(&[("c", "t", "{}")]))],
            vec![Say::Fail(kind, None)],
            say("after"),
        ];
        let kit = Kit::new(script, vec![tool.clone()]);
        let session = kit.open().await;
        let ended = session.run_turn(prompt("go")).await.unwrap();
        assert_eq!(ended.stop, StopReason::Failed(FailureClass::Model(kind)));
        assert!(ended.error.unwrap().message.contains("scripted"));
        // The next turn still knows of the call: nothing was rolled back.
        session.run_turn(prompt("again")).await.unwrap();
        let request = kit.model.requests().pop().unwrap();
        assert!(request.messages.iter().any(|message| matches!(message, Message::Tool { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_model_and_an_endless_one_time_out() {
    let drip = (0..100_000).flat_map(|_| [Say::Wait(60_000), Say::Alive]).collect();
    for script in [vec![Say::Silence], drip] {
        let kit = Kit::new(
            vec![script.clone(), script.clone(), script.clone(), script.clone(), script],
            vec![],
        );
        let session = kit.open().await;
        let ended = session.run_turn(prompt("hi")).await.unwrap();
        assert_eq!(ended.stop, StopReason::Failed(FailureClass::Model(ModelErrorKind::Timeout)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_adapter_that_panics_fails_the_turn() {
    let kit = Kit::new(vec![vec![Say::Panic]], vec![]);
    let session = kit.open().await;
    let ended = session.run_turn(prompt("hi")).await.unwrap();
    assert!(matches!(ended.stop, StopReason::Failed(_)), "{ended:?}");
    assert_eq!(session.run_turn(prompt("again")).await.unwrap().stop, StopReason::EndTurn);
}

#[tokio::test(start_paused = true)]
async fn a_second_prompt_is_refused_at_once_while_a_turn_runs() {
    let kit = Kit::new(vec![vec![Say::Silence]], vec![]);
    let session = kit.open().await;
    session.prompt(prompt("one")).await.unwrap();
    let refused = session.prompt(prompt("two")).await.unwrap_err();
    assert!(matches!(refused, SessionError::Rejected(Rejection::Busy)), "{refused:?}");
    session.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn steering_is_taken_at_the_next_step_and_a_queued_input_by_the_next_turn() {
    let tool = TestTool::new("t", Effect::Pure, Act::After(100, "x"));
    let kit = Kit::new(
        vec![vec![Say::Reply(calls(&[("c", "t", "{}")]))], say("steered"), say("second")],
        vec![tool],
    );
    let session = kit.open().await;
    session.prompt(prompt("first")).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::ToolStarted(_))).await;
    let queued = send(&session, "queued", Delivery::Queue).await.unwrap();
    let steered = send(&session, "steer", Delivery::Steer).await.unwrap();
    let second = wait_for(&session, steered, |event| matches!(event, Event::TurnStarted(_))).await;
    let Event::TurnStarted(started) = &second.event else { unreachable!() };
    assert_eq!(started.inputs, [queued]);
    wait_for(&session, second.seq, |event| matches!(event, Event::TurnEnded(_))).await;
    let requests = kit.model.requests();
    assert!(
        matches!(&requests[1].messages[3], Message::User { parts } if *parts == prompt("steer"))
    );
    assert_eq!(requests.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn steering_that_comes_with_the_last_answer_gets_a_step_of_its_own() {
    let kit =
        Kit::new(vec![vec![Say::Wait(1_000), Say::Reply(text("first"))], say("second")], vec![]);
    let session = kit.open().await;
    session.prompt(prompt("go")).await.unwrap();
    send(&session, "and this", Delivery::Steer).await.unwrap();
    let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let Event::TurnEnded(ended) = &ended.event else { unreachable!() };
    assert_eq!(ended.steps, 2);
}

#[tokio::test(start_paused = true)]
async fn a_queued_input_can_be_withdrawn_and_a_taken_one_cannot() {
    let kit = Kit::new(vec![vec![Say::Wait(1_000), Say::Reply(text("one"))]], vec![]);
    let session = kit.open().await;
    let first = session.prompt(prompt("go")).await.unwrap();
    let queued = send(&session, "later", Delivery::Queue).await.unwrap();
    assert_eq!(session.tell(Command::Withdraw { input: queued }).await.unwrap(), Reply::Done);
    for input in [first, queued, 999] {
        let refused = session.tell(Command::Withdraw { input }).await.unwrap_err();
        assert!(matches!(refused, SessionError::Rejected(Rejection::Stale { .. })), "{refused:?}");
    }
    session.close().await.unwrap();
    assert_eq!(kit.model.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_input_with_a_known_key_is_the_same_input() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open().await;
    let admit = || {
        Command::Admit(Admit {
            key: Some("k1".to_owned()),
            source: InputSource::User,
            delivery: Delivery::Queue,
            content: prompt("once"),
            goal: None,
            output: None,
            peer: None,
        })
    };
    let first = session.tell(admit()).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(session.tell(admit()).await.unwrap(), first);
    session.close().await.unwrap();
    let admitted = tags(&journal(&kit.core, &session).await)
        .into_iter()
        .filter(|tag| tag == "input_admitted")
        .count();
    assert_eq!(admitted, 1);
}

#[tokio::test(start_paused = true)]
async fn cancel_keeps_the_text_so_far_and_ends_within_the_bound() {
    let kit = Kit::new(vec![vec![Say::Delta("half an ans"), Say::Silence]], vec![]);
    let session = kit.open().await;
    session.prompt(prompt("go")).await.unwrap();
    let mut events = session.events(0);
    while !matches!(events.next().await.unwrap(), AgentEvent::Delta(_)) {}
    let before = kit.core.ports().clock.now();
    session.tell(Command::Cancel { turn: None }).await.unwrap();
    let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    assert!(ended.at.ms_since(before) <= 250);
    assert!(matches!(&ended.event, Event::TurnEnded(ended) if ended.stop == StopReason::Cancelled));
    let partial = wait_for(&session, 0, |event| matches!(event, Event::AssistantMessage(_))).await;
    let Event::AssistantMessage(message) = &partial.event else { unreachable!() };
    assert!(message.partial);
    assert_eq!(message.blocks[0].content, Content::Text { text: "half an ans".to_owned() });
    let refused = session.tell(Command::Cancel { turn: None }).await.unwrap_err();
    assert!(matches!(refused, SessionError::Rejected(Rejection::NotRunning)));
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_that_names_a_turn_stops_that_turn_and_no_later_one() {
    let endless = || vec![Say::Delta("and"), Say::Silence];
    let kit = Kit::new(vec![say("one"), endless()], vec![]);
    let session = kit.open().await;
    session.run_turn(prompt("go")).await.unwrap();
    session.prompt(prompt("on")).await.unwrap();
    let mut events = session.events(0);
    while session.status().await.unwrap().turn != Some(2) {
        events.next().await.unwrap();
    }
    for stale in [1, 3] {
        let refused = session.tell(Command::Cancel { turn: Some(stale) }).await.unwrap_err();
        assert!(matches!(refused, SessionError::Rejected(Rejection::NotRunning)), "{refused}");
    }
    assert_eq!(session.status().await.unwrap().turn, Some(2));
    session.tell(Command::Cancel { turn: Some(2) }).await.unwrap();
    let is_cancelled = |event: &Event| matches!(event, Event::TurnEnded(ended) if ended.stop == StopReason::Cancelled);
    assert_eq!(wait_for(&session, 0, is_cancelled).await.turn, Some(2));
    let refused = session.tell(Command::Cancel { turn: Some(2) }).await.unwrap_err();
    assert!(matches!(refused, SessionError::Rejected(Rejection::NotRunning)));
}

#[tokio::test(start_paused = true)]
async fn cancel_during_a_tool_settles_every_call_and_a_tool_that_hangs_is_indeterminate() {
    let polite = TestTool::new("polite", Effect::Pure, Act::After(60_000, "x"));
    let hung = TestTool::new("hung", Effect::Mutating, Act::Hang);
    for (tools, id, wanted) in
        [(vec![polite], "polite", Outcome::Cancelled), (vec![hung], "hung", Outcome::Indeterminate)]
    {
        let ask = calls(&[("1", id, "{}"), ("2", "nope", "{}"), ("3", id, "{}")]);
        let kit = Kit::new(vec![vec![Say::Reply(ask)]], tools);
        let session = kit.open().await;
        session.prompt(prompt("go")).await.unwrap();
        wait_for(&session, 0, |event| matches!(event, Event::ToolStarted(_))).await;
        let before = kit.core.ports().clock.now();
        session.tell(Command::Cancel { turn: None }).await.unwrap();
        let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
        assert!(ended.at.ms_since(before) <= 250, "{} ms", ended.at.ms_since(before));
        let outcomes = outcomes(&kit, &session).await;
        assert_eq!(outcomes.len(), 3);
        assert!(outcomes.contains(&("1".to_owned(), wanted)), "{outcomes:?}");
        // The next turn's request is valid: every call is answered.
        session.run_turn(prompt("next")).await.unwrap();
        let request = kit.model.requests().pop().unwrap();
        assert!(
            request
                .messages
                .iter()
                .any(|message| matches!(message, Message::Tool { results } if results.len() == 3))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_end_in_time_fails_and_the_turn_goes_on() {
    let slow = TestTool::new("slow", Effect::Mutating, Act::After(10_000_000, "x"));
    let kit =
        Kit::new(vec![vec![Say::Reply(calls(&[("1", "slow", "{}")]))], say("went on")], vec![slow]);
    let session = kit.open().await;
    let ended = session.run_turn(prompt("go")).await.unwrap();
    assert_eq!((ended.stop, ended.steps), (StopReason::EndTurn, 2));
    assert_eq!(outcomes(&kit, &session).await, [("1".to_owned(), Outcome::Failed)]);
}

#[tokio::test(start_paused = true)]
async fn long_results_keep_head_and_tail_and_the_whole_is_a_blob() {
    let big = TestTool::new("big", Effect::Pure, Act::Give("0123456789".repeat(100_000)));
    let kit = Kit::new(vec![vec![Say::Reply(calls(&[("1", "big", "{}")]))]], vec![big]);
    let session = kit.open().await;
    session.run_turn(prompt("go")).await.unwrap();
    let settled = wait_for(&session, 0, |event| matches!(event, Event::ToolSettled(_))).await;
    let Event::ToolSettled(settled) = &settled.event else { unreachable!() };
    let Part::Text { text } = &settled.content[0] else { panic!("{:?}", settled.content) };
    assert!(text.len() < 34 * 1024 && text.contains("left out"), "{} bytes", text.len());
    let (bytes, size) =
        kit.core.ports().blobs.read(&settled.blobs[0].blob, 999_990, 100).await.unwrap();
    assert_eq!((bytes.as_ref(), size), (b"0123456789".as_slice(), 1_000_000));
}

#[tokio::test(start_paused = true)]
async fn an_event_larger_than_a_frame_survives() {
    let answer: &'static str = Box::leak("long answer ".repeat(50_000).into_boxed_str());
    let kit = Kit::new(vec![vec![Say::Reply(text(answer))]], vec![]);
    let session = kit.open().await;
    session.run_turn(prompt("go")).await.unwrap();
    session.close().await.unwrap();
    let state = kit.core.state(session.id()).await.unwrap();
    let Message::Assistant { blocks } = &state.conversation.messages[1] else { panic!() };
    assert_eq!(blocks[0].content, Content::Text { text: answer.to_owned() });
}

#[tokio::test(start_paused = true)]
async fn max_tokens_and_refusal_are_told_and_their_calls_are_not_run() {
    use oarlock_core::message::ReplyStop;
    let tool = TestTool::new("t", Effect::Mutating, Act::Give(String::new()));
    for (stop, wanted) in
        [(ReplyStop::MaxTokens, StopReason::MaxTokens), (ReplyStop::Refusal, StopReason::Refusal)]
    {
        let mut reply = calls(&[("c", "t", "{}")]);
        reply.stop = stop;
        let kit = Kit::new(vec![vec![Say::Reply(reply)]], vec![tool.clone()]);
        let session = kit.open().await;
        assert_eq!(session.run_turn(prompt("go")).await.unwrap().stop, wanted);
        assert_eq!(outcomes(&kit, &session).await[0].1, Outcome::Cancelled);
    }
    assert_eq!(tool.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn calls_are_run_whatever_the_stop_reason_says_and_a_pause_goes_on() {
    use oarlock_core::message::ReplyStop;
    let tool = TestTool::new("t", Effect::Pure, Act::Give(String::new()));
    let mut ask = calls(&[("c", "t", "{}")]);
    ask.stop = ReplyStop::EndTurn;
    let mut pause = text("thinking on");
    pause.stop = ReplyStop::Pause;
    let kit = Kit::new(
        vec![vec![Say::Reply(ask)], vec![Say::Reply(pause)], say("end")],
        vec![tool.clone()],
    );
    let session = kit.open().await;
    let ended = session.run_turn(prompt("go")).await.unwrap();
    assert_eq!((ended.stop, ended.steps, tool.runs()), (StopReason::EndTurn, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_sleeps_and_the_next_command_wakes_it() {
    let kit = Kit::new(vec![say("one"), say("two")], vec![]);
    let session = kit.open().await;
    session.run_turn(prompt("hi")).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::WriterReleased)).await;
    session.run_turn(prompt("hi again")).await.unwrap();
    let state = kit.core.state(session.id()).await.unwrap();
    assert_eq!((state.epoch, state.turns, state.conversation.messages.len()), (2, 2, 4));
}

#[tokio::test(start_paused = true)]
async fn an_archived_session_refuses_turns_until_it_is_restored() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open().await;
    session.tell(Command::Archive).await.unwrap();
    let refused = session.prompt(prompt("hi")).await.unwrap_err();
    assert!(matches!(refused, SessionError::Rejected(Rejection::Archived)));
    session.tell(Command::Restore).await.unwrap();
    session.run_turn(prompt("hi")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn archiving_cancels_the_running_turn_and_no_other_one_begins() {
    let kit = Kit::new(vec![vec![Say::Wait(60_000), Say::Reply(text("too late"))]], vec![]);
    let session = kit.open().await;
    session.prompt(prompt("go")).await.unwrap();
    session.tell(admit("queued", Delivery::Queue)).await.unwrap();
    for _ in 0..2 {
        session.tell(Command::Archive).await.unwrap();
    }
    let ended = wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    assert!(matches!(&ended.event, Event::TurnEnded(end) if end.stop == StopReason::Cancelled));
    let state = kit.core.state(session.id()).await.unwrap();
    assert_eq!((state.archived, state.turns, state.pending.len()), (true, 1, 1));
    assert_eq!(kit.model.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn empty_and_oversized_inputs_are_refused() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open().await;
    for (content, is_too_large) in
        [(vec![], false), (prompt(" \n"), false), (prompt(&"x".repeat(2_000_000)), true)]
    {
        let refused = session.prompt(content).await.unwrap_err();
        let SessionError::Rejected(rejection) = refused else { panic!("{refused:?}") };
        match is_too_large {
            true => assert!(matches!(rejection, Rejection::TooLarge { .. }), "{rejection:?}"),
            false => assert!(matches!(rejection, Rejection::Invalid { .. }), "{rejection:?}"),
        }
    }
}
