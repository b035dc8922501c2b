//! Models: pure codecs for the wires, one transport, and the built-in models that need neither.

mod codec;
mod quirks;
mod script;

pub use quirks::{OutputField, Quirks, ThoughtEcho};
pub use script::{ScriptError, ScriptModel};
