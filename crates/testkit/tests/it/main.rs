//! Tests of the testkit: the conformance suite passes on the store in memory, and fails on stores with a defect.

mod broken;
mod memory;
