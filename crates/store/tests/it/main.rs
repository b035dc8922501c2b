//! Tests of the store on real files, with real processes and real damage.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its own tools")]

mod collect;
mod conformance;
mod crash;
mod damage;
mod mounts;
mod places;
mod site;
mod upgrade;
