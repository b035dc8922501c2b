//! What the tools do on a real machine: real files, real processes, real sockets on 127.0.0.1.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod background;
mod bash;
mod bench;
mod fetch;
mod files;
mod hooks;
mod http;
mod kit;
mod notes;
mod search;
mod skills;
mod texts;
