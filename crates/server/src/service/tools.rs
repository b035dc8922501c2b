//! Which tools of the configuration a new session has.

use oarlock_core::service::{SessionBuildOptions, SessionError};
use oarlock_core::spec::SessionSpec;
use oarlock_core::{SPAWN_AGENT, match_tool_allowlist};

use crate::host::Workspace;

/// The tool that runs commands.
const SHELL: &str = "bash";

/// The session with the tools that its request leaves it. Without overrides nothing is looked up, and it has what its folder is configured with.
pub(super) async fn overridden(
    workspace: &dyn Workspace,
    spec: SessionSpec,
    build: &SessionBuildOptions,
) -> Result<SessionSpec, SessionError> {
    let SessionBuildOptions { override_builtins, override_shell, override_subagents, .. } = build;
    let overrides = [*override_builtins, *override_shell, *override_subagents];
    if overrides == [None; 3] {
        return Ok(spec);
    }
    if let (Some(false), true) = (override_builtins, overrides[1..].contains(&Some(true))) {
        return Err(SessionError::invalid(
            "`build.override_builtins` takes all tools away and another override wants one; leave one of them out",
        ));
    }
    let there = names(workspace, &spec).await?;
    let has = |name: &str| there.iter().any(|there| there == name);
    let wanted = [
        ("override_builtins", overrides[0], !there.is_empty()),
        ("override_shell", overrides[1], has(SHELL)),
        ("override_subagents", overrides[2], has(SPAWN_AGENT)),
    ];
    if let Some((field, ..)) = wanted.iter().find(|(_, wanted, is)| *wanted == Some(true) && !is) {
        return Err(SessionError::invalid(format!(
            "`build.{field}` is refused: the configuration gives sessions in {} none; change it there, or leave the field out",
            spec.cwd.display()
        )));
    }
    let stays = |name: &str| {
        overrides[0] != Some(false)
            && !(overrides[1] == Some(false) && name == SHELL)
            && !(overrides[2] == Some(false) && name == SPAWN_AGENT)
    };
    let tools = there.into_iter().filter(|name| stays(name)).collect();
    Ok(SessionSpec { tools: Some(tools), ..spec })
}

/// The tools that a session of this kind has.
async fn names(workspace: &dyn Workspace, spec: &SessionSpec) -> Result<Vec<String>, SessionError> {
    let factory = &workspace.core().ports().tools;
    let built = factory.build(spec).await;
    let built = built.map_err(|error| SessionError::invalid(error.to_string()))?;
    let all: Vec<&str> = built.tools.schemas().iter().map(|tool| tool.name.as_str()).collect();
    match &spec.tools {
        None => Ok(all.into_iter().map(str::to_owned).collect()),
        Some(patterns) => {
            let found = match_tool_allowlist(&all, patterns);
            Ok(found.map_err(|error| SessionError::invalid(error.to_string()))?.tools)
        }
    }
}
