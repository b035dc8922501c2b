//! What is special about endpoints that speak the same wire: data, not branches.

use oarlock_core::ports::model::HostedCapabilities;

/// Which field limits the length of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputField {
    /// `max_tokens`.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
}

/// What happens to thought that came as `reasoning_content` or the like, when the history is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThoughtEcho {
    /// It is left out.
    #[default]
    Never,
    /// It is sent back with the messages of the turn that is under way (those after the last user message).
    CurrentTurn,
    /// It is always sent back.
    Always,
}

/// How thought comes over `openai-responses`, where nothing is stored, and how it goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThoughtItems {
    /// It is asked for in encrypted form, of models that think, and sent back as it came.
    #[default]
    Encrypted,
    /// The same, but it is sent back without its id, which the endpoint refuses.
    EncryptedWithoutIds,
    /// It is not asked for, since the endpoint knows no `include`; what comes in full is sent back as it came.
    Plain,
}

impl ThoughtItems {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Encrypted, Self::EncryptedWithoutIds, Self::Plain];

    /// Its name in configurations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::EncryptedWithoutIds => "encrypted-without-ids",
            Self::Plain => "plain",
        }
    }
}

/// Which ids of calls an endpoint takes. An id that does not fit is replaced by one that is made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallIds {
    /// Any of at most 40 characters.
    #[default]
    Any,
    /// Exactly nine letters and digits.
    NineLetters,
}

/// Whether an endpoint has a field for the schema of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerSchemas {
    /// Whether it has one.
    pub taken: bool,
    /// Families of models that take none all the same; a `*` at the end stands for anything.
    pub but: &'static [&'static str],
}

impl AnswerSchemas {
    /// An endpoint that is not known to have it.
    pub const UNKNOWN: Self = Self { taken: false, but: &[] };
    /// An endpoint whose models all take one.
    pub const TAKEN: Self = Self { taken: true, but: &[] };

    /// Whether models of this family take one.
    #[must_use]
    pub fn by(&self, family: &str) -> bool {
        self.taken && !self.but.iter().any(|but| is_of(family, but))
    }
}

/// Whether a family is one of those that a pattern means; a `*` at its end stands for anything.
pub(crate) fn is_of(family: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => family.starts_with(start),
        None => family == pattern,
    }
}

/// Whether an endpoint tells what it does itself while a model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostedCalls {
    /// As calls and results, which are asked for and sent back.
    #[default]
    Told,
    /// It knows no such parts, and refuses to be asked for them.
    Untold,
}

/// What a model is given of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Documents {
    /// Its name, in words.
    #[default]
    Named,
    /// All of it, which its provider reads.
    Whole,
}

/// What is special about an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// The field that limits an answer.
    pub output_field: OutputField,
    /// Whether `stream_options.include_usage` is sent.
    pub stream_usage: bool,
    /// Whether thought is echoed.
    pub thought_echo: ThoughtEcho,
    /// How items of thought come and go, over `openai-responses`.
    pub thought_items: ThoughtItems,
    /// What it does for its models while they answer.
    pub hosted: HostedCapabilities,
    /// How it tells what it does itself, over `gemini`.
    pub hosted_calls: HostedCalls,
    /// Which ids of calls are taken.
    pub call_ids: CallIds,
    /// Whether `reasoning_effort` is understood.
    pub effort: bool,
    /// Whether `prompt_cache_key` is understood.
    pub cache_key: bool,
    /// Whether the schema of an answer is understood.
    pub answer_schemas: AnswerSchemas,
    /// What its models are given of documents. Not asked of `gemini`, which takes them, and of `bedrock-converse`, where it is the model's.
    pub documents: Documents,
}

impl Quirks {
    /// What every compatible endpoint understands.
    pub const PLAIN: Self = Self {
        output_field: OutputField::MaxTokens,
        stream_usage: true,
        thought_echo: ThoughtEcho::Never,
        thought_items: ThoughtItems::Encrypted,
        hosted: HostedCapabilities { web_search: false },
        hosted_calls: HostedCalls::Told,
        call_ids: CallIds::Any,
        effort: false,
        cache_key: false,
        answer_schemas: AnswerSchemas::UNKNOWN,
        documents: Documents::Named,
    };
}
