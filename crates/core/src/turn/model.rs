//! Model calls: starting one, and what its end means for the session.

use std::collections::{BTreeMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};

use crate::event::{AssistantMessage, Event, ModelFailed};
use crate::ids::{BlobId, CallId, Timestamp};
use crate::limits::RuntimeLimits;
use crate::message::{Block, Content, Message, Part, ReplyStop, Usage};
use crate::ports::journal::{Blobs, JournalError};
use crate::ports::model::{
    Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, Price, Reply,
};
use crate::session::context::{self, BODIES_BYTES_MAX};
use crate::session::inbox::{Outbox, Signal};
use crate::session::state::{OpenStep, OpenTurn, State};

/// Runs a model call to its end. Everything it gives goes to the session; the last signal is a reply or an error, a panic included.
pub(crate) async fn call(
    model: Arc<dyn Model>,
    mut request: ModelRequest,
    blobs: Arc<dyn Blobs>,
    (run, outbox): (u64, Outbox),
) {
    let failed = |kind, message| ModelError { kind, message, retry_after_ms: None };
    let name = model.info().selection.to_string();
    if let Err(error) = load_bodies(&mut request, blobs.as_ref()).await {
        let error = failed(
            ModelErrorKind::InvalidRequest,
            format!("a picture or document of the conversation cannot be read: {error}"),
        );
        return outbox.send(Signal::Model { run, event: Err(error) }).await;
    }
    let forward = async {
        let mut stream = model.call(request);
        while let Some(event) = stream.next().await {
            let last = matches!(event, Ok(ModelEvent::Reply(_)) | Err(_));
            outbox.send(Signal::Model { run, event }).await;
            if last {
                return;
            }
        }
        let error = failed(
            ModelErrorKind::Truncated,
            format!("the answer of {name} ended without its last event"),
        );
        outbox.send(Signal::Model { run, event: Err(error) }).await;
    };
    if AssertUnwindSafe(forward).catch_unwind().await.is_err() {
        let error = failed(
            ModelErrorKind::InvalidRequest,
            format!("the adapter of {name} crashed; this is a defect of Oarlock"),
        );
        outbox.send(Signal::Model { run, event: Err(error) }).await;
    }
}

/// Loads the pictures and documents of a request, up to [`BODIES_BYTES_MAX`] together. In place of one that does not fit, or is gone for good, the model is told
/// so: a conversation with many of them goes on.
async fn load_bodies(request: &mut ModelRequest, blobs: &dyn Blobs) -> Result<(), JournalError> {
    let wanted: Vec<_> = context::bodies(&request.messages).collect();
    let no_room = context::left_out(wanted.iter().copied());
    let mut bodies = BTreeMap::new();
    let mut missing: BTreeMap<BlobId, Missing> =
        no_room.into_iter().map(|blob| (blob.clone(), Missing::NoRoom)).collect();
    for (blob, bytes) in wanted {
        if bodies.contains_key(blob) || missing.contains_key(blob) {
            continue;
        }
        let most = usize::try_from(bytes).unwrap_or(usize::MAX);
        match blobs.read(blob, 0, most).await {
            Ok((body, size)) if body.len() as u64 == size => {
                bodies.insert(blob.clone(), body);
            }
            // Its message says that it is smaller than it is.
            Ok(_) => {
                missing.insert(blob.clone(), Missing::NoRoom);
            }
            Err(JournalError::BlobNotFound { .. } | JournalError::BlobCorrupt { .. }) => {
                missing.insert(blob.clone(), Missing::Gone);
            }
            Err(error) => return Err(error),
        }
    }
    if !missing.is_empty() {
        leave_out(Arc::<Vec<Message>>::make_mut(&mut request.messages), &missing);
    }
    request.bodies = bodies;
    Ok(())
}

/// Why a request goes without a picture or a document.
#[derive(Clone, Copy)]
enum Missing {
    NoRoom,
    Gone,
}

impl Missing {
    fn words(self, part: &Part, bytes: u64) -> String {
        let what = match part {
            Part::Document { name, .. } => format!("{name}, a document of {bytes} bytes,"),
            Part::Image { .. } | Part::Text { .. } => format!("a picture of {bytes} bytes"),
        };
        let why = match self {
            Self::NoRoom => format!(
                "a request takes {BODIES_BYTES_MAX} bytes of them, and newer ones have them"
            ),
            Self::Gone => "its bytes are not kept any more".to_owned(),
        };
        format!("[{what} was left out: {why}]")
    }
}

/// Puts words in the place of what was not loaded.
fn leave_out(messages: &mut [Message], missing: &BTreeMap<BlobId, Missing>) {
    for message in messages {
        let parts: Vec<&mut Part> = match message {
            Message::User { parts } => parts.iter_mut().collect(),
            Message::Assistant { .. } => Vec::new(),
            Message::Tool { results } => {
                results.iter_mut().flat_map(|result| &mut result.parts).collect()
            }
        };
        for part in parts {
            let Some((blob, bytes)) = part.body() else { continue };
            if let Some(missing) = missing.get(blob) {
                *part = Part::text(missing.words(part, bytes));
            }
        }
    }
}

/// The entry for an answer. Calls get ids that are unique in the session. Their native forms stay, signatures and all: a codec sends them back under
/// the new ids.
pub(crate) fn answered(
    state: &State,
    reply: Reply,
    price: Option<Price>,
    attempt: u32,
) -> Option<Event> {
    let turn = state.turn.as_ref()?;
    let step = turn.step.as_ref()?;
    let cost_micros = price.map(|price| price.of(&reply.usage));
    let is_news = turn.own_steps() == 0 || *turn.model() != turn.settings.model;
    let mut blocks = reply.blocks;
    let mut seen = HashSet::new();
    for (index, block) in blocks.iter_mut().enumerate() {
        let Content::ToolCall { id, .. } = &mut block.content else { continue };
        let taken = |id: &CallId| state.has_call(id) || seen.contains(id);
        if id.as_str().is_empty() || taken(id) {
            *id = free_id(&format!("call_{}_{}_{index}", turn.no, step.no), taken);
        }
        seen.insert(id.clone());
    }
    Some(Event::AssistantMessage(AssistantMessage {
        step: step.no,
        attempt,
        model: reply.model,
        blocks,
        stop: reply.stop,
        usage: reply.usage,
        cost_micros,
        partial: false,
        schema_warnings: if is_news { reply.warnings } else { Vec::new() },
    }))
}

/// The id, or the first free one that begins with it: a provider may have given such an id itself.
fn free_id(wanted: &str, taken: impl Fn(&CallId) -> bool) -> CallId {
    let numbered = (2_u64..).map(|n| format!("{wanted}_{n}"));
    let mut ids = std::iter::once(wanted.to_owned()).chain(numbered).map(|id| CallId(id.into()));
    ids.find(|id| !taken(id)).expect("a session has fewer ids than there are numbers")
}

/// Tokens of a call whose end nobody saw: its request, and what had arrived of its answer.
pub(crate) fn unsettled(step: &OpenStep, answer_bytes: usize) -> Usage {
    let (input, output) = (step.reserved.prompt_tokens, context::text_tokens(answer_bytes));
    Usage { input, output, ..Usage::default() }
}

/// The entry for an answer that was cut by us: the texts that had arrived, and what the call is taken to have used.
pub(crate) fn cut(
    step: &OpenStep,
    texts: Vec<String>,
    (attempt, model): (u32, &str),
    (usage, price): (Usage, Option<Price>),
) -> Event {
    let block = |text| Block { content: Content::Text { text }, native: None };
    Event::AssistantMessage(AssistantMessage {
        step: step.no,
        attempt,
        model: model.to_owned(),
        blocks: texts.into_iter().map(block).collect(),
        stop: ReplyStop::Cut,
        usage,
        cost_micros: price.map(|price| price.dearest().of(&usage)),
        partial: true,
        schema_warnings: Vec::new(),
    })
}

/// The entry for a failed attempt, with the decision whether there will be another.
pub(crate) fn failed(
    turn: &OpenTurn,
    limits: &RuntimeLimits,
    error: ModelError,
    (now, chance): (Timestamp, u64),
    (answer_bytes, price): (usize, Option<Price>),
) -> Option<Event> {
    let step = turn.step.as_ref()?;
    let retries = turn.settings.turn.max_llm_retries;
    let model_attempts = retries.map_or(limits.model_attempts, |retries| retries.saturating_add(1));
    let limits = &RuntimeLimits { model_attempts, ..*limits };
    let usage = if answer_bytes > 0 { unsettled(step, answer_bytes) } else { Usage::default() };
    Some(Event::ModelFailed(ModelFailed {
        step: step.no,
        attempt: step.attempt(turn.crashes),
        class: error.kind,
        retry_in_ms: retry_in_ms(step, limits, &error, (now, chance)),
        message: error.message,
        usage,
        cost_micros: price.filter(|_| answer_bytes > 0).map(|price| price.dearest().of(&usage)),
    }))
}

/// What the provider asks for, else a doubling wait; with up to a quarter of it on top, so that many sessions do not return at once.
fn retry_in_ms(
    step: &OpenStep,
    limits: &RuntimeLimits,
    error: &ModelError,
    (now, chance): (Timestamp, u64),
) -> Option<u64> {
    let failures = step.model_failures();
    if !error.kind.may_retry() || failures + 1 >= limits.model_attempts {
        return None;
    }
    let doubled = limits.retry_first_ms.saturating_mul(1 << failures.min(16));
    let base = error.retry_after_ms.unwrap_or(doubled.min(limits.retry_wait_max_ms));
    if base > limits.retry_wait_max_ms {
        return None;
    }
    let wait = base + chance % (base / 4 + 1);
    (now.after(wait).ms_since(step.model_since) <= limits.retry_total_ms).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(failures: u32) -> OpenStep {
        OpenStep {
            no: 1,
            since: Timestamp::from_unix_ms(0),
            failures,
            failures_before: 0,
            model_since: Timestamp::from_unix_ms(0),
            retry_at: None,
            reserved: crate::event::Reserved::default(),
            failure: None,
            stop: None,
            partial: false,
            calls: Vec::new(),
            progressed: false,
        }
    }

    #[test]
    fn waits_double_follow_the_provider_and_end() {
        use ModelErrorKind::{Auth, Overloaded, QuotaExhausted, RateLimited};
        let table = [
            (0, Overloaded, None, 0, Some(500)),
            (2, Overloaded, None, 0, Some(2_000)),
            (4, Overloaded, None, 0, None),
            (0, Auth, None, 0, None),
            (0, QuotaExhausted, Some(1), 0, None),
            (0, RateLimited, Some(7_000), 0, Some(7_000)),
            (0, RateLimited, Some(130_000), 0, None),
            (1, RateLimited, Some(100_000), 550_000, None),
        ];
        for (failures, kind, retry_after_ms, now, wanted) in table {
            let error = ModelError { kind, message: String::new(), retry_after_ms };
            let wait = retry_in_ms(
                &step(failures),
                &RuntimeLimits::DEFAULT,
                &error,
                (Timestamp::from_unix_ms(now), 0),
            );
            assert_eq!(wait, wanted, "{kind:?} after {failures} failures");
        }
    }

    #[test]
    fn chance_adds_at_most_a_quarter() {
        let error = ModelError {
            kind: ModelErrorKind::Overloaded,
            message: String::new(),
            retry_after_ms: None,
        };
        for chance in [0, 1, 125, 126, u64::MAX] {
            let wait = retry_in_ms(
                &step(0),
                &RuntimeLimits::DEFAULT,
                &error,
                (Timestamp::from_unix_ms(0), chance),
            );
            assert!(wait.is_some_and(|wait| (500..=625).contains(&wait)), "{wait:?}");
        }
    }
}
