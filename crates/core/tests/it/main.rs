//! Scripted turns on virtual time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its own tools")]

mod asks;
mod background;
mod background_deaths;
mod births;
mod bounds;
mod cancels;
mod capabilities;
mod checkpoint;
mod checkpointer;
mod contract;
mod dispatched;
mod embedding;
#[path = "../../examples/embed.rs"]
mod example;
mod external;
mod faithful;
mod fallback;
mod faults;
mod follow;
mod forget;
mod fork;
mod gate;
mod goals;
mod grants;
mod histories;
mod hooks;
mod http;
mod limits;
mod lists;
mod mentions;
mod models;
mod money;
mod output;
mod output_schema;
mod permission;
mod pictures;
mod prompt;
mod proofs;
mod properties;
mod recovery;
mod registry;
mod replay;
mod scoped;
mod settings;
mod subagent_deaths;
mod subagent_readers;
mod subagents;
mod truth;
mod turn;
mod turns;
mod waits;
mod why;
mod writers;
