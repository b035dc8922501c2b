//! The published interface of the agent core: what a program that embeds it names. Each name is the part that does the job, or a door to it.

pub mod background;
pub mod builder;
pub mod context;
pub mod core;
pub mod dispatcher;
pub mod emitter;
pub mod error;
pub mod handle;
pub mod history;
pub mod loader;
pub mod nowhere;
pub mod observer;
pub mod origin;
pub mod registry;
pub mod session;
pub mod subagent;
pub mod why;
