//! Development only: what the tests of several crates share, once.

pub mod conformance;
pub mod faulty;
