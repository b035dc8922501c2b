//! The facade library of Oarlock and the body of its command line: configuration, commands, and what a terminal is shown.

pub mod config;
pub mod selection;
pub mod values;

pub use oarlock_core as core;
