//! The program as its users meet it, and the tables it decides by.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod deaths;
mod docs;
mod home;
mod interrupts;
mod keys;
mod layers;
mod provider;
<<<<<<< HEAD
mod quarrels;
=======
mod pty;
>>>>>>> walk
mod rights;
mod run_args;
mod runs;
mod schema;
mod secrets;
mod selection;
mod setup;
mod sittings;
<<<<<<< HEAD
mod starved;
=======
mod talks;
>>>>>>> walk
mod terminal;
mod trust;
mod usage;
mod voyage;
mod wires;
