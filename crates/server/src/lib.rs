//! Surfaces: what editors and programs speak, translated into commands and entries of sessions. They decide nothing.

pub mod acp;
mod host;

pub use host::{Host, HostError, Said, Workspace};
