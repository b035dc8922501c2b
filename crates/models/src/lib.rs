//! Models: pure codecs for the wires, one transport, and the built-in models that need neither.

mod alone;
mod answers;
mod anthropic;
#[cfg(feature = "bedrock")]
mod aws;
mod bedrock_converse;
mod bodies;
pub mod cache;
mod canned;
pub mod catalog;
mod classify;
mod claude;
mod codec;
mod conversation;
mod demo;
mod endpoint;
mod eventstream;
#[cfg(test)]
mod faults;
mod gemini;
mod http;
mod item;
mod key;
mod lane;
mod listing;
mod lower;
mod names;
mod openai_chat;
mod openai_responses;
mod outgoing;
mod provider;
mod quirks;
mod registry;
mod remote;
mod script;
mod secrets;
mod sending;
mod spent;
mod sse;
mod tape;
mod transport;

#[doc(hidden)]
pub use anthropic::{decode_anthropic, decode_anthropic_whole, encode_anthropic};
#[cfg(feature = "bedrock")]
pub use aws::{AwsRegion, AwsSigner};
pub use bedrock_converse::address::bedrock_address;
#[doc(hidden)]
pub use bedrock_converse::{decode_converse, decode_converse_whole, encode_converse};
pub use canned::{CannedAnswer, CannedTransport};
pub use catalog::{KnownModel, WELL_KNOWN, WellKnown};
pub use demo::DemoModel;
pub use endpoint::is_vertex;
#[doc(hidden)]
pub use gemini::{decode_gemini, decode_gemini_whole, encode_gemini};
pub use http::{HttpSettings, HttpTransport, Proxies};
pub use key::{KeyError, KeySource, Token, TokenSource, Tokens};
pub use lane::Lanes;
pub use listing::list_models;
#[doc(hidden)]
pub use openai_chat::{decode_chat, decode_chat_whole, encode_chat};
#[doc(hidden)]
pub use openai_responses::{decode_responses, decode_responses_whole, encode_responses};
pub use provider::{ModelConfig, ProviderConfig, RequestBounds, UnknownWire, Wire, family};
pub use quirks::{
    AnswerSchemas, CallIds, Documents, HostedCalls, OutputField, Quirks, ThoughtEcho, ThoughtItems,
};
pub use registry::Registry;
pub use remote::HttpModel;
pub use script::{ScriptError, ScriptModel, Scripts};
pub use secrets::without_secrets;
pub use tape::{TapeError, TapePlayer, TapeRecorder};
pub use transport::{HttpRequest, HttpResponse, Method, Transport, TransportError};
