//! Surfaces: what editors and programs speak, translated into commands and entries of sessions. They decide nothing.

pub mod acp;
mod audience;
mod figures;
mod host;
mod lines;
pub mod operations;
mod place;
pub mod portable;
mod quote;
pub mod rest;
pub mod rpc;
pub mod service;

pub use audience::Audience;
pub use figures::Figures;
pub use host::{Host, HostError, Login, Said, Workspace};
pub use lines::Streams;
