//! Random lives of sessions: who follows one sees what who loads it sees, and both see the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_client_protocol::v1::schema::{ContentBlock, ContentChunk, SessionUpdate};
use agent_client_protocol::v1::schema::{ToolCallStatus, ToolCallUpdate};
use oarlock_core::event::{AgentEvent, Delta, DeltaItem, Entry, Event, InputSource};
use oarlock_core::ids::{Seq, Timestamp};
use oarlock_core::message::{Content, Part};
use oarlock_testkit::story::draw::{config, stories};
use oarlock_testkit::story::play;
use proptest::prelude::{any, proptest};

use super::{caught_up, projector};
use crate::acp::project::Pictures;

/// Messages by their names, in the order of their beginnings.
type Messages = Vec<(String, String)>;

fn add(messages: &mut Messages, name: String, words: &str) {
    match messages.iter_mut().find(|(known, _)| *known == name) {
        Some((_, text)) => text.push_str(words),
        None => messages.push((name, words.to_owned())),
    }
}

/// What was said, as the journal has it.
fn said(entries: &[Entry]) -> Messages {
    let (mut messages, mut inputs) = (Messages::new(), BTreeMap::new());
    for entry in entries {
        let taken: &[Seq] = match &entry.event {
            Event::InputAdmitted(input) if input.source == InputSource::User => {
                inputs.insert(entry.seq, &input.content);
                &[]
            }
            Event::TurnStarted(started) => &started.inputs,
            Event::StepStarted(started) => &started.inputs,
            Event::AssistantMessage(message) => {
                let turn = entry.turn.unwrap();
                for block in &message.blocks {
                    let (kind, text) = match &block.content {
                        Content::Text { text } => ('m', text),
                        Content::Thinking { text } => ('t', text),
                        Content::ToolCall { .. } | Content::Opaque { .. } => continue,
                    };
                    let name = format!("{kind}{turn}.{}.{}", message.step, message.attempt);
                    if !text.is_empty() {
                        add(&mut messages, name, text);
                    }
                }
                &[]
            }
            _ => &[],
        };
        for seq in taken {
            for part in inputs.get(seq).into_iter().copied().flatten() {
                if let Part::Text { text } = part {
                    add(&mut messages, format!("u{seq}"), text);
                }
            }
        }
    }
    messages
}

/// What a client makes of its updates.
#[derive(Default)]
struct Client {
    messages: Messages,
    announced: BTreeSet<String>,
    ended: BTreeSet<String>,
    /// The prices that were told, of which each may be unknown.
    prices: Vec<Option<f64>>,
}

impl Client {
    fn take(&mut self, update: SessionUpdate) {
        match update {
            SessionUpdate::UserMessageChunk(chunk)
            | SessionUpdate::AgentMessageChunk(chunk)
            | SessionUpdate::AgentThoughtChunk(chunk) => self.chunk(&chunk),
            SessionUpdate::ToolCall(call) => {
                let id = call.tool_call_id.0.to_string();
                assert!(self.announced.insert(id), "announced once");
            }
            SessionUpdate::ToolCallUpdate(ToolCallUpdate { tool_call_id, fields, .. }) => {
                let id = tool_call_id.0.to_string();
                assert!(self.announced.contains(&id), "announced first");
                assert!(!self.ended.contains(&id), "nothing follows the end");
                if matches!(fields.status, Some(ToolCallStatus::Completed | ToolCallStatus::Failed))
                {
                    self.ended.insert(id);
                }
            }
            SessionUpdate::UsageUpdate(usage) => {
                self.prices.push(usage.cost.map(|cost| cost.amount));
            }
            _ => {}
        }
    }

    fn chunk(&mut self, chunk: &ContentChunk) {
        let ContentBlock::Text(text) = &chunk.content else { panic!("{chunk:?}") };
        let name = chunk.message_id.as_ref().expect("messages have names");
        add(&mut self.messages, name.0.to_string(), &text.text);
    }
}

fn follow(events: &[AgentEvent]) -> Client {
    let (mut projector, mut client) = (projector(), Client::default());
    for event in events {
        let updates = projector.updates(event, &Pictures::default(), Timestamp::default());
        updates.into_iter().for_each(|update| client.take(update));
    }
    client
}

/// Chance of its own, so that one number tells a whole case.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// The deltas of an answer: cut anywhere, some of them missing or come twice.
fn deltas(
    (turn, step, attempt): (u32, u32, u32),
    texts: &[(DeltaItem, &str)],
    chance: &mut Chance,
) -> Vec<AgentEvent> {
    let (mut all, mut is_lost) = (Vec::new(), false);
    for (item, text) in texts {
        let mut from = 0;
        while from < text.len() {
            let to = text.ceil_char_boundary((from + 1 + chance.below(5)).min(text.len()));
            // Where something is lost, that is known from what follows: the first piece of another block does not tell.
            is_lost = chance.below(6) == 0 || (is_lost && from == 0);
            let delta = Delta {
                turn,
                step,
                attempt,
                item: item.clone(),
                offset: from as u64,
                text: text[from..to].to_owned(),
            };
            let times = if is_lost { 0 } else { 1 + usize::from(chance.below(8) == 0) };
            all.extend(std::iter::repeat_n(AgentEvent::Delta(delta), times));
            from = to;
        }
    }
    all
}

/// The journal as a follower is given it: each answer after its deltas, each failure after some that are void.
fn live(entries: &[Entry], chance: &mut Chance) -> Vec<AgentEvent> {
    let mut events = vec![caught_up()];
    for entry in entries {
        let turn = entry.turn.unwrap_or(0);
        match &entry.event {
            Event::AssistantMessage(message) => {
                let texts =
                    message.blocks.iter().zip(0..).filter_map(|(block, at)| match &block.content {
                        Content::Text { text } => {
                            Some((DeltaItem::Text { block: at }, text.as_str()))
                        }
                        Content::Thinking { text } => {
                            Some((DeltaItem::Thinking { block: at }, text.as_str()))
                        }
                        Content::ToolCall { .. } | Content::Opaque { .. } => None,
                    });
                let attempt = (turn, message.step, message.attempt);
                events.extend(deltas(attempt, &texts.collect::<Vec<_>>(), chance));
            }
            Event::ModelFailed(failed) => {
                let void = [(DeltaItem::Text { block: 0 }, "this comes to nothing")];
                events.extend(deltas((turn, failed.step, failed.attempt), &void, chance));
            }
            _ => {}
        }
        events.push(AgentEvent::Entry(Arc::new(entry.clone())));
    }
    events
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn who_follows_a_session_sees_what_who_loads_it_sees(story in stories(14), seed in any::<u64>()) {
        let told = play(&story);
        let journal = said(&told.entries);
        let past = told.entries.iter().cloned().map(|entry| AgentEvent::Entry(Arc::new(entry)));
        let loaded = follow(&past.chain([caught_up()]).collect::<Vec<_>>());
        assert_eq!(loaded.messages, journal);
        let mut followed = follow(&live(&told.entries, &mut Chance(seed)));
        // What came of failed attempts stands under names of its own.
        followed.messages.retain(|(name, _)| journal.iter().any(|(known, _)| known == name));
        assert_eq!(followed.messages, journal);
        let calls = |entry: &Entry| match &entry.event {
            Event::ToolCalled(called) => Some(called.call.to_string()),
            _ => None,
        };
        let calls: BTreeSet<String> = told.entries.iter().filter_map(calls).collect();
        let is_open = told.state.turn.is_some();
        let used = &told.state.used;
        let micros = u32::try_from(used.cost_micros).unwrap();
        let price = (!used.cost_unknown).then_some(f64::from(micros) / 1e6);
        for client in [loaded, followed] {
            assert!(client.prices.last().is_none_or(|told| *told == price), "{:?}", client.prices);
            assert_eq!(client.announced, calls);
            assert!(is_open || client.ended == calls, "every call ends with its turn");
        }
    }
}
