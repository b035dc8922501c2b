//! The program as its users meet it, and the tables it decides by.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod deaths;
mod docs;
mod harm;
mod home;
mod keys;
mod layers;
mod logs;
mod provider;
mod pty;
mod rights;
mod run_args;
mod runs;
mod schema;
mod secrets;
mod selection;
mod setup;
mod shelf;
mod sittings;
mod talks;
mod terminal;
mod trust;
mod usage;
mod wires;
