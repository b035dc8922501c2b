//! For tests only: a scripted model, tools that misbehave on demand, virtual time, and whole runtimes made of them.

pub mod clock;
pub mod kit;
pub mod model;
pub mod tool;
