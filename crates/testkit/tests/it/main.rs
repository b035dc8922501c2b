//! Tests of the testkit: the conformance suite passes on the store in memory, and fails on stores with a defect.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its own tools")]

mod broken;
mod memory;
mod worlds;
