//! What the tools do on a real machine: real files, real processes, real sockets on 127.0.0.1.

mod bash;
mod bench;
mod fetch;
mod files;
mod kit;
mod search;
mod texts;
