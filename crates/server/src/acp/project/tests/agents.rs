//! Subagents.

use oarlock_core::event::{
    AssistantMessage, CallRef, Event, Outcome, SubagentClosed, SubagentOpened,
};
use oarlock_core::ids::{CallId, SessionId};
use oarlock_core::message::{Block, Content, ReplyStop, Usage};
use oarlock_core::spec::Bounds;
use serde_json::{Value, json};

use super::{below, called, caught_up, entry, projector, settled, shown, words};

fn opened(child: &str) -> Event {
    Event::SubagentOpened(SubagentOpened {
        child: SessionId::parse(child).unwrap(),
        call: CallId("c1".into()),
        profile: format!("the {child}"),
        reserved: Bounds::default(),
    })
}

fn closed(child: &str) -> Event {
    Event::SubagentClosed(SubagentClosed {
        child: SessionId::parse(child).unwrap(),
        stop: None,
        steps: 1,
        tool_calls: 1,
        usage: Usage::default(),
        cost_micros: None,
        cost_unknown: false,
    })
}

fn says(text: &str) -> Event {
    Event::AssistantMessage(AssistantMessage {
        step: 1,
        attempt: 1,
        model: "m".to_owned(),
        blocks: vec![Block { content: Content::Text { text: text.to_owned() }, native: None }],
        stop: ReplyStop::EndTurn,
        usage: Usage::default(),
        cost_micros: None,
        partial: false,
        schema_warnings: Vec::new(),
    })
}

#[test]
fn a_subagent_is_shown_by_its_calls_and_what_it_says_by_the_call_of_its_parent() {
    let mut projector = projector();
    shown(&mut projector, &caught_up());
    shown(&mut projector, &entry(1, called("spawn_agent", &json!({"task": "t"}))));
    shown(&mut projector, &entry(2, opened("scout")));
    let call =
        shown(&mut projector, &below(&["scout"], called("read_file", &json!({"path": "a"}))));
    assert_eq!(call[0]["toolCallId"], "scout/c1");
    assert_eq!(call[0]["title"], "the scout: read_file it");
    assert_eq!(call[0]["_meta"], json!({"oarlock/scope": ["scout"]}));
    assert_eq!(call[0]["locations"], json!([{"path": "/w/a"}]));
    let said = shown(&mut projector, &below(&["scout"], says("found it")));
    assert_eq!(
        said,
        [
            json!({"sessionUpdate": "tool_call_update", "toolCallId": "c1", "content": [words("found it\n\n")]})
        ]
    );
    shown(&mut projector, &below(&["scout"], opened("mate")));
    let deeper = shown(&mut projector, &below(&["scout", "mate"], called("bash", &json!({}))));
    assert_eq!(deeper[0]["title"], "the scout › the mate: bash it");
    assert_eq!(deeper[0]["toolCallId"], "scout/mate/c1");
}

#[test]
fn calls_of_a_subagent_end_with_it_at_the_latest_and_not_with_the_turn_of_its_parent() {
    let mut projector = projector();
    shown(&mut projector, &entry(1, opened("scout")));
    shown(&mut projector, &below(&["scout"], called("bash", &json!({"command": "ls"}))));
    shown(&mut projector, &below(&["scout"], opened("mate")));
    shown(&mut projector, &below(&["scout", "mate"], called("bash", &json!({}))));
    let end = oarlock_core::event::TurnEnded {
        stop: oarlock_core::event::StopReason::EndTurn,
        usage: Usage::default(),
        cost_micros: None,
        steps: 1,
        error: None,
        structured_output: None,
    };
    assert!(shown(&mut projector, &entry(2, Event::TurnEnded(end))).is_empty(), "it goes on");
    let started = Event::ToolStarted(CallRef { call: CallId("c1".into()) });
    assert_eq!(shown(&mut projector, &below(&["scout"], started))[0]["status"], "in_progress");
    let gone = shown(&mut projector, &entry(3, closed("scout")));
    let ended: Vec<&Value> = gone.iter().map(|update| &update["toolCallId"]).collect();
    assert_eq!(ended, ["scout/c1", "scout/mate/c1"]);
    assert!(gone.iter().all(|update| update["status"] == "failed"));
    let late = below(&["scout"], settled(Outcome::Completed, "x", Value::Null));
    assert!(shown(&mut projector, &late).is_empty());
}
