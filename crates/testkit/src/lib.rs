//! For tests only: a scripted model, tools that misbehave on demand, virtual time, whole runtimes made of them, journals with
//! faults, random lives of sessions with the laws that they must keep, simulated worlds that must come to rest, the vendors' rules for requests and
//! their streams of answers, what every call of a model keeps to, and the suite that every store must pass.

pub mod brought;
pub mod clock;
pub mod conformance;
pub mod faulty;
pub mod files;
pub mod gated;
pub mod heard;
pub mod hooks;
pub mod kit;
pub mod model;
pub mod mortal;
pub mod sim;
pub mod story;
pub mod streams;
pub mod tool;
pub mod wires;
