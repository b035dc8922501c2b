//! Surfaces: what editors and programs speak, translated into commands and entries of sessions. They decide nothing.

pub mod acp;
mod audience;
mod host;
pub mod operations;
mod place;
pub mod rest;
pub mod service;

pub use audience::Audience;
pub use host::{Host, HostError, Said, Workspace};
