//! What lists and searches know of a session. Pure; derived from the state, never the other way round.

use crate::event::{Entry, Event, InputAdmitted};
use crate::ids::Seq;
use crate::message::{Content, Part};
use crate::ports::journal::{Activity, IndexedText, Summary};
use crate::session::state::{CallPhase, State};

/// The summary of a session as it stands.
#[must_use]
pub fn summary(state: &State) -> Summary {
    let settings = &state.spec.settings;
    Summary {
        id: state.id.clone(),
        epoch: state.epoch,
        upto: state.tip,
        cwd: state.spec.cwd.clone(),
        roots: state.spec.roots.clone(),
        tenant: state.spec.tenant.clone(),
        title: match &state.forked {
            Some(forked) if !forked.whole => {
                format!("[unfinished fork of {}: delete it]", forked.point.session)
            }
            Some(_) | None => settings.title.clone().unwrap_or_else(|| state.first_words.clone()),
        },
        model: settings.model.to_string(),
        created: state.created,
        updated: state.updated,
        activity: activity(state),
        turns: state.turns,
        usage: state.used.usage,
        cost_micros: (!state.used.cost_unknown).then_some(state.used.cost_micros),
        archived: state.archived,
        comms: state.comms.as_deref().cloned(),
        labels: settings.labels.clone(),
        parent: state.spec.parent.clone().filter(|_| state.spec.depth > 0),
    }
}

/// What it is doing.
pub(crate) fn activity(state: &State) -> Activity {
    let Some(turn) = &state.turn else { return Activity::Idle };
    let mut calls = turn.step.iter().flat_map(|step| &step.calls);
    let waits =
        calls.any(|call| matches!(call.phase, CallPhase::Asked(_) | CallPhase::Requested(_)));
    if waits { Activity::AwaitingInput } else { Activity::Running }
}

/// Whether a summary is to be stored after this event; it also is when the session's activity changes.
#[must_use]
pub fn changes(event: &Event) -> bool {
    matches!(
        event,
        Event::SessionCreated(_)
            | Event::SessionForked(_)
            | Event::SessionConfigured(_)
            | Event::SessionArchived
            | Event::SessionRestored
            | Event::TurnStarted(_)
            | Event::TurnEnded(_)
    )
}

/// What searches look at: what users and models wrote.
#[must_use]
pub fn indexed_text(entry: &Entry) -> Option<IndexedText> {
    let texts: Vec<&str> = match &entry.event {
        Event::InputAdmitted(input) => return input_text(entry.seq, input),
        Event::AssistantMessage(message) => {
            message.blocks.iter().filter_map(|block| content_text(&block.content)).collect()
        }
        _ => return None,
    };
    indexed(entry.seq, &texts)
}

/// The same of the inputs that wait.
pub(crate) fn waiting_texts(state: &State) -> Vec<IndexedText> {
    let texts = state.pending.iter().map(|input| input_text(input.seq, &input.admitted));
    texts.flatten().collect()
}

fn input_text(seq: Seq, input: &InputAdmitted) -> Option<IndexedText> {
    let texts: Vec<&str> = input.content.iter().filter_map(Part::as_text).collect();
    indexed(seq, &texts)
}

fn indexed(seq: Seq, texts: &[&str]) -> Option<IndexedText> {
    let text = texts.join("\n");
    (!text.trim().is_empty()).then_some(IndexedText { seq, text })
}

fn content_text(content: &Content) -> Option<&str> {
    match content {
        Content::Text { text } => Some(text),
        Content::Thinking { .. } | Content::ToolCall { .. } | Content::Opaque { .. } => None,
    }
}
