//! The `oarlock` program.

fn main() {}
