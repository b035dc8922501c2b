//! The program as its users meet it, and the tables it decides by.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod deaths;
mod docs;
mod home;
mod interrupts;
mod keys;
mod layers;
mod quarrels;
mod replays;
mod run_args;
mod secrets;
mod selection;
mod setup;
mod starved;
mod terminal;
mod through_the_binary;
mod trust;
mod usage;
mod voyage;
