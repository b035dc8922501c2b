//! The `oarlock` program: reads the command line, runs one command, ends with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    oarlock::commands::main(std::env::args_os())
}
