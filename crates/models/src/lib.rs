//! Models: pure codecs for the wires, one transport, and the built-in models that need neither.

mod codec;
mod quirks;

pub use quirks::{OutputField, Quirks, ThoughtEcho};
