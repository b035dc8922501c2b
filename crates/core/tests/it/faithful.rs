//! What a model said comes back to it as it said it, and what it is shown says what was done.

use oarlock_core::command::Command;
use oarlock_core::event::{Delivery, Effect, Entry, Event};
use oarlock_core::ids::CallId;
use oarlock_core::memory::MemoryStore;
use oarlock_core::message::{
    Block, Content, Message, Native, Part, RawJson, ReplyStop, ToolResult,
};
use oarlock_core::ports::model::Reply;
use oarlock_core::session::state::{FoldError, State};
use oarlock_testkit::kit::{Kit, Parts, journal, node, send, wait_for};
use oarlock_testkit::model::{Say, calls, text};
use oarlock_testkit::tool::{Act, TestTool};

fn go() -> Vec<Part> {
    vec![Part::text("go")]
}

/// Numbers, blanks, line ends, orders and escapes that a careless round trip through JSON, or a journal of lines, would change.
const ODD: &str = "{\"z\" : 1.0,\n  \"a\":1e3,\r\n \"big\": 12345678901234567890123, \
    \"s\": \"\\u00e9\\/\", \"z\": null}";

fn said() -> Vec<Block> {
    let native = |item: &str| Native {
        wire: "w".to_owned(),
        endpoint: "e".to_owned(),
        model: "m".to_owned(),
        item: RawJson::parse(item.to_owned()).unwrap(),
    };
    vec![
        Block {
            content: Content::Thinking { text: "hm".to_owned() },
            native: Some(native(r#"{"signature":"AbC+/=", "thinking" : "hm"}"#)),
        },
        Block { content: Content::Opaque { kind: "search".to_owned() }, native: Some(native(ODD)) },
        Block { content: Content::Text { text: " spaced \n".to_owned() }, native: None },
        Block {
            content: Content::ToolCall {
                id: CallId("toolu_1".into()),
                name: "t".to_owned(),
                arguments: ODD.to_owned(),
            },
            native: Some(native(ODD)),
        },
    ]
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_back_byte_for_byte_also_after_a_restart() {
    let reply = Reply {
        model: "m".to_owned(),
        blocks: said(),
        stop: ReplyStop::ToolUse,
        usage: oarlock_core::Usage::default(),
        warnings: Vec::new(),
    };
    let tool = TestTool::new("t", Effect::Pure, Act::Give("ok".to_owned()));
    let store = MemoryStore::new(node("a"));
    let kit = Kit::of(Parts::on(store, vec![vec![Say::Reply(reply)]], vec![tool]));
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    session.close().await.unwrap();
    session.run_turn(go()).await.unwrap();
    let requests = kit.model.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests[1..] {
        let Message::Assistant { blocks } = &request.messages[1] else { panic!("{request:?}") };
        assert_eq!(blocks, &said());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_word_leaves_no_message_and_the_next_turn_goes_on() {
    let kit = Kit::new(vec![vec![Say::Reply(text(""))]], vec![]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    session.run_turn(go()).await.unwrap();
    let requests = kit.model.requests();
    assert!(requests[1].messages.iter().all(|message| matches!(message, Message::User { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_id_that_a_provider_took_from_us_is_not_given_twice() {
    let ask = calls(&[("call_1_1_1", "t", "{}"), ("", "t", "{}"), ("call_1_1_1_2", "t", "{}")]);
    let tool = TestTool::new("t", Effect::Pure, Act::Give("ok".to_owned()));
    let kit = Kit::new(vec![vec![Say::Reply(ask)]], vec![tool]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    let Message::Tool { results } = &kit.model.requests()[1].messages[2] else { panic!() };
    let ids: Vec<&str> = results.iter().map(|result| result.call.as_str()).collect();
    assert_eq!(ids, ["call_1_1_1", "call_1_1_1_2", "call_1_1_2"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_gets_an_id_of_its_own_keeps_what_its_provider_wrote() {
    let mut ask = calls(&[("one", "t", "{}"), ("one", "t", "{}"), ("", "t", "{}")]);
    let signed = said().pop().unwrap().native;
    ask.blocks.iter_mut().for_each(|block| block.native.clone_from(&signed));
    let tool = TestTool::new("t", Effect::Pure, Act::Give("ok".to_owned()));
    let kit = Kit::new(vec![vec![Say::Reply(ask)]], vec![tool]);
    kit.open().await.run_turn(go()).await.unwrap();
    let Message::Assistant { blocks } = &kit.model.requests()[1].messages[1] else { panic!() };
    let ids: Vec<&str> = blocks.iter().filter_map(|block| Some(block.call()?.as_str())).collect();
    assert_eq!(ids, ["one", "call_1_1_1", "call_1_1_2"]);
    assert!(blocks.iter().all(|block| block.native == signed), "{blocks:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_with_steering_has_a_fingerprint_of_its_own() {
    let kit = Kit::new(vec![vec![Say::Wait(1_000), Say::Reply(text(""))]], vec![]);
    let session = kit.open().await;
    session.prompt(go()).await.unwrap();
    send(&session, "and this", Delivery::Steer).await.unwrap();
    wait_for(&session, 0, |event| matches!(event, Event::TurnEnded(_))).await;
    let prints =
        journal(&kit.core, &session).await.into_iter().filter_map(|entry| match entry.event {
            Event::StepStarted(started) => Some(started.request.messages),
            _ => None,
        });
    let prints: Vec<String> = prints.collect();
    assert_eq!(prints.len(), 2);
    assert_ne!(prints[0], prints[1]);
}

#[tokio::test(start_paused = true)]
async fn a_journal_in_which_a_call_has_no_result_cannot_be_folded() {
    let tool = TestTool::new("t", Effect::Mutating, Act::Give("ok".to_owned()));
    let ask = calls(&[("1", "t", "{}"), ("2", "t", "{}")]);
    let kit = Kit::new(vec![vec![Say::Reply(ask)]], vec![tool]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    let entries = journal(&kit.core, &session).await;
    // Without the entries of one call, or only without its end, whatever follows.
    for call in ["1", "2"] {
        let drops: [fn(&Event, &str) -> bool; 2] = [is_of, is_end_of];
        for is_dropped in drops {
            let kept = entries.iter().filter(|entry| !is_dropped(&entry.event, call)).cloned();
            let kept = kept.enumerate().map(|(at, entry)| Entry { seq: at as u64 + 1, ..entry });
            let folded = fold(&kept.collect::<Vec<_>>());
            assert!(folded.is_err(), "call {call}");
        }
    }
    fold(&entries).unwrap();
}

fn is_end_of(event: &Event, call: &str) -> bool {
    matches!(event, Event::ToolSettled(settled) if settled.call.as_str() == call)
}

fn is_of(event: &Event, wanted: &str) -> bool {
    match event {
        Event::ToolCalled(called) => called.call.as_str() == wanted,
        Event::ToolStarted(call) => call.call.as_str() == wanted,
        _ => is_end_of(event, wanted),
    }
}

fn fold(entries: &[Entry]) -> Result<State, FoldError> {
    let mut state = State::created(&entries[0])?;
    entries[1..].iter().try_for_each(|entry| state.apply(entry))?;
    Ok(state)
}

#[tokio::test(start_paused = true)]
async fn messages_in_an_edit_come_back_byte_for_byte_also_after_a_restart() {
    let kit = Kit::new(vec![], vec![]);
    let session = kit.open().await;
    session.run_turn(go()).await.unwrap();
    let result = ToolResult {
        call: CallId("toolu_1".into()),
        name: "t".to_owned(),
        parts: vec![Part::text("ok")],
        is_error: false,
    };
    let messages =
        vec![Message::Assistant { blocks: said() }, Message::Tool { results: vec![result] }];
    let edit = Command::Edit { from: 1, to: 2, messages: messages.clone() };
    session.tell(edit).await.unwrap();
    let live = kit.core.state(session.id()).await.unwrap();
    assert_eq!(live.conversation.messages[1..3], messages);
    session.close().await.unwrap();
    session.run_turn(go()).await.unwrap();
    assert_eq!(kit.model.requests()[1].messages[1..3], messages);
}
