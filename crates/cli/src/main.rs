//! The `oarlock` program: reads the command line, runs one command, ends with its code.

use std::process::ExitCode;

/// It gives memory back that a moment took, and finds room for it in less time. How it is set up stands in `.cargo/config.toml`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    oarlock::commands::main(std::env::args_os())
}
