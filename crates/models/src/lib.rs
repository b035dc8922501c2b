//! Models: pure codecs for the wires, one transport, and the built-in models that need neither.

mod anthropic;
mod codec;
mod quirks;

#[doc(hidden)]
pub use anthropic::{decode_anthropic, decode_anthropic_whole, encode_anthropic};
pub use quirks::{OutputField, Quirks, ThoughtEcho};
