//! Hooks that are programs: they read the envelope as one line, and say a verdict.

use std::ffi::OsString;
use std::path::PathBuf;

use oarlock_core::event::HookChange;
use oarlock_core::ports::hook::HookStep;
use oarlock_core::ports::shell::ShellExit;

use super::verdict;
use crate::shell::Environment;
use crate::shell::filter::{Filter, run};

/// A verdict may have this many bytes, and so may what is said on stderr.
const SAID_MAX: usize = 256 * 1024;
/// What is told of an error.
const COMPLAINT_MAX: usize = 2_000;

/// Runs a program.
///
/// # Errors
/// Why it gave no verdict.
pub(super) async fn ask(
    argv: Vec<String>,
    step: &HookStep,
    environment: Environment,
) -> Result<HookChange, String> {
    let mut input = serde_json::to_vec(step).map_err(|error| error.to_string())?;
    input.push(b'\n');
    let tool = step.fields.get("tool").and_then(|tool| tool.as_str()).unwrap_or_default();
    let filter = Filter {
        argv,
        cwd: PathBuf::from(&step.cwd),
        variables: vec![
            ("OARLOCK_SESSION_ID", OsString::from(step.session_id.to_string())),
            ("OARLOCK_CWD", OsString::from(&step.cwd)),
            ("OARLOCK_HOOK_EVENT", OsString::from(step.hook_event.name())),
            ("OARLOCK_TOOL_NAME", OsString::from(tool)),
        ],
        input,
        output_max: SAID_MAX + 1,
    };
    let ended =
        run(filter, environment).await.map_err(|error| format!("it cannot run: {error}"))?;
    let complaint = String::from_utf8_lossy(&ended.complained);
    let complaint = &complaint[..complaint.floor_char_boundary(COMPLAINT_MAX)];
    match ended.exit {
        ShellExit::Code(0) if ended.said.len() > SAID_MAX => {
            Err(format!("it said more than {SAID_MAX} bytes"))
        }
        ShellExit::Code(0) => {
            let said = std::str::from_utf8(&ended.said);
            verdict::read(step.hook_event, said.map_err(|_| "it said no UTF-8")?)
        }
        ShellExit::Code(2) => verdict::refusal(step.hook_event, complaint),
        ShellExit::Code(code) => Err(format!("it ended with {code}: {}", complaint.trim())),
        ShellExit::Signal(signal) => Err(format!("signal {signal} ended it: {}", complaint.trim())),
    }
}
