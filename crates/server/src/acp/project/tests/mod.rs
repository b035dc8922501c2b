//! What a client is shown, case by case, and for random lives of sessions.

mod agents;
mod calls;
mod lives;
mod talk;

use std::path::PathBuf;
use std::sync::Arc;

use agent_client_protocol::v1::schema::SessionUpdate;
use oarlock_core::event::{AgentEvent, Effect, Entry, Event, Outcome, ToolCalled, ToolSettled};
use oarlock_core::ids::{CallId, Seq, SessionId, Timestamp};
use oarlock_core::message::Part;
use oarlock_core::ports::tool::Place;
use serde_json::{Map, Value, json};

use super::{Pictures, Projector, View};

/// A client that shows everything, in a session that works in `/w` with a model of 1,000 tokens.
fn projector() -> Projector {
    let window = Box::new(|_: &_| Some(1_000));
    let place = Place { cwd: PathBuf::from("/w"), roots: Vec::new() };
    Projector::new(View { notices: true, compaction: true, window }, Arc::new(place))
}

fn entry(seq: Seq, event: Event) -> AgentEvent {
    let (at, turn, scope) = (Timestamp::default(), Some(1), Vec::new());
    AgentEvent::Entry(Arc::new(Entry { seq, at, turn, scope, event }))
}

fn below(scope: &[&str], event: Event) -> AgentEvent {
    let scope = scope.iter().map(|id| SessionId::parse(*id).unwrap()).collect();
    AgentEvent::Scoped { scope, event: Box::new(entry(1, event)) }
}

fn called(name: &str, arguments: &Value) -> Event {
    Event::ToolCalled(ToolCalled {
        call: CallId("c1".into()),
        step: 1,
        name: name.to_owned(),
        arguments: arguments.to_string(),
        effect: Effect::Mutating,
        title: format!("{name} it"),
    })
}

fn settled(outcome: Outcome, words: &str, detail: Value) -> Event {
    Event::ToolSettled(ToolSettled {
        call: CallId("c1".into()),
        outcome,
        content: if words.is_empty() { Vec::new() } else { vec![Part::text(words)] },
        blobs: Vec::new(),
        detail: match detail {
            Value::Object(detail) => detail,
            _ => Map::new(),
        },
        duration_ms: 0,
    })
}

/// What the client is sent, as JSON.
fn shown(projector: &mut Projector, event: &AgentEvent) -> Vec<Value> {
    at(projector, event, 0)
}

/// The same, so many milliseconds after the beginning.
fn at(projector: &mut Projector, event: &AgentEvent, ms: i64) -> Vec<Value> {
    json_of(&projector.updates(event, &Pictures::default(), Timestamp::from_unix_ms(ms)))
}

fn json_of(updates: &[SessionUpdate]) -> Vec<Value> {
    updates.iter().map(|update| serde_json::to_value(update).unwrap()).collect()
}

fn caught_up() -> AgentEvent {
    AgentEvent::CaughtUp { seq: 0 }
}

fn words(text: &str) -> Value {
    json!({ "type": "content", "content": { "type": "text", "text": text } })
}
