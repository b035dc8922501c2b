//! The Agent Client Protocol, version 1: an editor drives sessions over a pair of streams.
//!
//! The types of the protocol's SDK stay in here. What the protocol asks of an agent: <https://agentclientprotocol.com/protocol/v1/overview>.

mod backends;
mod client;
mod connection;
mod content;
mod elicitation;
mod error;
mod files;
mod following;
mod hello;
mod instructions;
mod joining;
mod lane;
mod listing;
mod opening;
mod options;
mod outbound;
mod permission;
mod project;
mod prompts;
mod questions;
mod received;
mod replay;
mod requests;
mod screen;
mod shell;
mod showing;
mod streams;
mod terminals;
mod work;

pub use crate::lines::Streams;
pub use connection::serve;
