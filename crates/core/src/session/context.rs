//! What the model is given: the request of the next step, what it is made of, and how large it is. Pure.
//!
//! Rendering is append-only: a later request begins with the messages of an earlier one, unless a declared break says why not.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event::{Fingerprint, PrefixBreak};
use crate::ids::{BlobId, Seq};
use crate::message::{Block, Content, Message, Native, Part};
use crate::ports::model::ModelInfo;
use crate::ports::tool::ToolSchema;
use crate::session::conversation::{Counted, Edit};
use crate::session::output;
use crate::session::state::{RequestAuditTracker, State};
use crate::spec::{ResolvedSessionCapabilities, Settings};

/// The most bytes of all pictures of a request together; of older ones that do not fit, words take the place.
pub(crate) const BODIES_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Tokens that an image is taken for, until a provider has counted it.
const IMAGE_TOKENS: u64 = 2_000;
/// Tokens of a document's first page, and the most that one is taken for. Between lies its size: a page has between 10 and 300 KB, and 1,500 to 3,000 tokens
/// (<https://platform.claude.com/docs/en/build-with-claude/pdf-support>). The provider's count corrects it.
const DOCUMENT_TOKENS: u64 = 2_000;
const DOCUMENT_TOKENS_MAX: u64 = 100_000;

/// What requests need to know of a session's tools: their schemas do not change while it lives, so this is worked out once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolsDigest {
    /// Hash of the schemas in order.
    hash: String,
    /// Their size as JSON.
    bytes: usize,
}

impl ToolsDigest {
    /// The digest of these tools.
    #[must_use]
    pub fn of(tools: &[ToolSchema]) -> Self {
        let texts: Vec<Vec<u8>> = tools.iter().map(tool_bytes).collect();
        Self { hash: short_hash(&texts), bytes: texts.iter().map(Vec::len).sum() }
    }
}

/// What the request for the next step is made of, the steering inputs that the step takes included.
#[must_use]
pub fn fingerprint(
    state: &State,
    steering: &[Seq],
    model: &ModelInfo,
    tools: &ToolsDigest,
) -> Fingerprint {
    let shown = &state.conversation.messages;
    let (before, hashed) = match &state.last_request {
        Some(last) if last.edits == state.conversation.edits => {
            (last.fingerprint.messages.as_str(), last.messages)
        }
        Some(_) | None => ("", 0),
    };
    Fingerprint {
        model: model.selection.to_string(),
        system: short_hash(&[state.system_for(&model.selection).as_bytes()]),
        tools: match state.turn.as_ref().is_some_and(|t| hosted(&t.settings, model).web_search) {
            true => short_hash(&[tools.hash.as_bytes(), b"web_search"]),
            false => tools.hash.clone(),
        },
        output: match state.turn.as_ref().and_then(|turn| turn.settings.output.as_ref()) {
            Some(output) => short_hash(&[serde_json::to_vec(&output.schema)
                .expect("schemas have string keys and no failing serialisers")]),
            None => String::new(),
        },
        messages: shown[hashed.min(shown.len())..].iter().chain(&state.message_of(steering)).fold(
            before.to_owned(),
            |chain, message| {
                let json = serde_json::to_vec(message)
                    .expect("messages have string keys and no failing serialisers");
                short_hash(&[chain.as_bytes(), &json])
            },
        ),
    }
}

impl RequestAuditTracker {
    /// What makes the beginning of a request differ from this one's, when the session stands so and the step takes these steering inputs. Where
    /// several things do, the one that stands first in a request, or concerns most of it.
    #[must_use]
    pub fn prefix_break(
        &self,
        request: &Fingerprint,
        (state, steering): (&State, &[Seq]),
        model: &ModelInfo,
    ) -> Option<PrefixBreak> {
        let last = &self.fingerprint;
        let effort = state.turn.as_ref().and_then(|turn| turn.settings.effort);
        if last.model != request.model {
            return Some(PrefixBreak::Model);
        }
        if last.system != request.system {
            return Some(PrefixBreak::System);
        }
        if last.tools != request.tools {
            return Some(PrefixBreak::Tools);
        }
        if last.output != request.output {
            return Some(PrefixBreak::Output);
        }
        if self.effort != effort {
            return Some(PrefixBreak::Effort);
        }
        if self.edits != state.conversation.edits {
            return Some(match state.conversation.last_edit {
                Edit::Replaced => PrefixBreak::History,
                Edit::Cleared => PrefixBreak::Cleared,
                Edit::Compacted => PrefixBreak::Compacted,
            });
        }
        let shown = &state.conversation.messages;
        let (before, after) = shown.split_at(self.messages.min(shown.len()));
        let taken = state.message_of(steering);
        let new: Vec<&Message> = after.iter().chain(&taken).collect();
        if gives_way(before, &new) {
            return Some(PrefixBreak::Pictures);
        }
        (model.drops_thought && loses_thought(before, &new, model)).then_some(PrefixBreak::Thought)
    }
}

/// Whether a picture that was shown is left out for newer ones.
fn gives_way(before: &[Message], new: &[&Message]) -> bool {
    let shown = |messages: &mut dyn Iterator<Item = &Message>| -> BTreeSet<BlobId> {
        let all: Vec<_> = messages.flat_map(bodies_of).collect();
        let left_out = left_out(all.iter().copied());
        all.iter().map(|(blob, _)| *blob).filter(|blob| !left_out.contains(blob)).cloned().collect()
    };
    let was = shown(&mut before.iter());
    !was.is_empty() && !was.is_subset(&shown(&mut before.iter().chain(new.iter().copied())))
}

/// Whether thought of the model's own was given back within a turn that is over.
fn loses_thought(before: &[Message], new: &[&Message], model: &ModelInfo) -> bool {
    let is_user = |message: &Message| matches!(message, Message::User { .. });
    let own = |block: &Block| {
        let native = block.native.as_ref();
        let is_own = |native: &Native| {
            native.endpoint == model.selection.provider && native.model == model.family
        };
        matches!(block.content, Content::Thinking { .. }) && native.is_some_and(is_own)
    };
    let turn = before.iter().rposition(is_user).map_or(0, |at| at + 1);
    new.iter().any(|message| is_user(message))
        && before[turn..].iter().any(|message| match message {
            Message::Assistant { blocks } => blocks.iter().any(own),
            Message::User { .. } | Message::Tool { .. } => false,
        })
}

/// What makes this request's beginning differ from the last one's.
#[must_use]
pub fn prefix_break(
    state: &State,
    steering: &[Seq],
    model: &ModelInfo,
    request: &Fingerprint,
) -> Option<PrefixBreak> {
    state.last_request.as_ref()?.prefix_break(request, (state, steering), model)
}

/// Tokens of what a request has before its messages, estimated.
#[must_use]
pub fn fixed_tokens(state: &State, model: &ModelInfo, tools: &ToolsDigest) -> u64 {
    text_tokens(state.system_for(&model.selection).len() + tools.bytes)
}

/// Tokens of the next request by an estimate of all of it.
pub(crate) fn estimate(state: &State, tools: &ToolsDigest) -> u64 {
    let told: usize = state.instructions.iter().map(String::len).sum();
    let system = state.spec.system.len() + told;
    let fixed = text_tokens(system + tools.bytes);
    fixed
        .saturating_add(output::uncounted_tokens(state))
        .saturating_add(state.conversation.messages.iter().map(message_tokens).sum())
}

/// Tokens of the next request: what the provider counted last, and an estimate of what came since.
#[must_use]
pub fn prompt_tokens(state: &State, tools: &ToolsDigest) -> u64 {
    let shown = &state.conversation.messages;
    let (counted, covered) = match state.conversation.counted {
        Some(Counted { tokens, messages }) => (tokens, messages),
        None => {
            let system = state.system_for(&state.spec.settings.model);
            (text_tokens(system.len() + tools.bytes), 0)
        }
    };
    let rest = &shown[covered.min(shown.len())..];
    counted
        .saturating_add(output::uncounted_tokens(state))
        .saturating_add(rest.iter().map(message_tokens).sum())
}

/// Tokens that request and answer may have together: as the session is told, else as is known of the model.
#[must_use]
pub fn window(settings: &Settings, model: Option<&ModelInfo>) -> Option<u64> {
    settings.turn.context.window.or_else(|| model?.context_window)
}

/// What the provider is to do itself. A model that does not do it was refused when the settings were made.
#[must_use]
pub fn hosted(settings: &Settings, model: &ModelInfo) -> ResolvedSessionCapabilities {
    let provider = &model.selection.provider;
    ResolvedSessionCapabilities::resolve(&settings.capabilities, model.hosted, provider)
        .unwrap_or_default()
}

/// The pictures and documents that a conversation names, in order, with their sizes in bytes.
pub fn bodies(messages: &[Message]) -> impl Iterator<Item = (&BlobId, u64)> {
    messages.iter().flat_map(bodies_of)
}

fn bodies_of(message: &Message) -> impl Iterator<Item = (&BlobId, u64)> {
    let parts: Box<dyn Iterator<Item = &Part>> = match message {
        Message::User { parts } => Box::new(parts.iter()),
        Message::Assistant { .. } => Box::new(std::iter::empty()),
        Message::Tool { results } => Box::new(results.iter().flat_map(|result| &result.parts)),
    };
    parts.filter_map(Part::body)
}

/// Of these bodies, in the order of their messages, the ones that a request has no room for: from the newest back, each has its place that still fits
/// into [`BODIES_BYTES_MAX`].
pub(crate) fn left_out<'a>(
    bodies: impl DoubleEndedIterator<Item = (&'a BlobId, u64)>,
) -> BTreeSet<&'a BlobId> {
    let (mut seen, mut out, mut left) = (BTreeSet::new(), BTreeSet::new(), BODIES_BYTES_MAX);
    for (blob, bytes) in bodies.rev() {
        if !seen.insert(blob) {
            continue;
        }
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => {
                out.insert(blob);
            }
        }
    }
    out
}

/// The conversation for a request. It holds the rules of [`Message`] whenever no call of the last answer is open.
#[must_use]
pub fn render(state: &State) -> Arc<Vec<Message>> {
    Arc::clone(&state.conversation.messages)
}

fn tool_bytes(tool: &ToolSchema) -> Vec<u8> {
    serde_json::to_vec(&(&tool.name, &tool.description, &tool.input)).expect("a schema is JSON")
}

fn short_hash<T: AsRef<[u8]>>(parts: &[T]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.as_ref().len() as u64).to_le_bytes());
        hasher.update(part.as_ref());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Three bytes a token is on the safe side for code and for most languages.
#[must_use]
pub fn text_tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(3)
}

pub(crate) fn part_tokens(part: &Part) -> u64 {
    match part {
        Part::Text { text } => text_tokens(text.len()),
        Part::Image { .. } => IMAGE_TOKENS,
        Part::Document { bytes, .. } => {
            DOCUMENT_TOKENS.saturating_add(bytes / 100).min(DOCUMENT_TOKENS_MAX)
        }
    }
}

pub(crate) fn message_tokens(message: &Message) -> u64 {
    let content = match message {
        Message::User { parts } => parts.iter().map(part_tokens).sum(),
        Message::Assistant { blocks } => {
            blocks.iter().map(|block| content_tokens(&block.content)).sum()
        }
        Message::Tool { results } => {
            results.iter().flat_map(|result| &result.parts).map(part_tokens).sum::<u64>()
        }
    };
    content + 8
}

fn content_tokens(content: &Content) -> u64 {
    match content {
        Content::Text { text } | Content::Thinking { text } => text_tokens(text.len()),
        Content::ToolCall { name, arguments, .. } => text_tokens(name.len() + arguments.len()),
        Content::Opaque { .. } => 0,
    }
}
