//! The edges of the runtime: one trait for each kind of effect, and its error. Core has no other way to touch the world.

pub mod bus;
pub mod clock;
pub mod files;
pub mod filter;
pub mod hook;
pub mod http;
pub mod journal;
pub mod model;
pub mod names;
pub mod policy;
pub mod shell;
pub mod tool;
