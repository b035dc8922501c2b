//! The program as its users meet it, and the tables it decides by.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod attached;
mod busy;
mod deaths;
mod docs;
mod embedded_skills;
mod flood;
mod forgets;
mod goals;
mod home;
mod hooks;
mod instructions;
mod interrupts;
mod keys;
mod layers;
mod logs;
mod loopback;
mod modes;
mod outlets;
mod policy;
mod provider;
mod pty;
mod quarrels;
mod replays;
mod rights;
mod run_args;
mod runs;
mod schema;
mod secrets;
mod selection;
mod sessions;
mod setup;
mod sittings;
mod skills;
mod slashes;
mod starved;
mod talks;
mod terminal;
mod through_the_binary;
mod trust;
mod tty;
mod usage;
mod voyage;
mod why;
mod wires;
