//! Tests of the models crate through its public interface.
#![expect(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test that meets the unexpected should panic"
)]

mod answers;
mod anthropic;
mod anthropic_corpus;
mod any_bytes;
mod caches;
mod chat_corpus;
mod converse;
mod converse_corpus;
mod counting;
mod documents;
mod estimates;
mod framing;
mod gemini;
mod gemini_corpus;
mod key_sources;
mod lanes;
mod openai_chat;
mod prefixes;
mod recorded;
mod responses;
mod responses_corpus;
mod sampling;
mod script;
mod switching;
mod tapes;
mod tool_names;
