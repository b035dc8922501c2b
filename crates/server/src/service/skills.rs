//! Skills that a request names: their words are found before anything is done.

use std::path::Path;

use oarlock_core::message::Part;
use oarlock_core::service::{Prompt, SessionError};

use super::refused;
use crate::host::Workspace;

/// Skills that one request may name.
const SKILLS_MAX: usize = 32;

/// The words of skills, in the order in which they are named, each once.
pub(super) async fn words(
    workspace: &dyn Workspace,
    cwd: &Path,
    (field, names): (&str, &[String]),
) -> Result<Vec<String>, SessionError> {
    if names.len() > SKILLS_MAX {
        return Err(SessionError::invalid(format!(
            "`{field}` names {} skills; at most {SKILLS_MAX} are taken",
            names.len()
        )));
    }
    let mut words = Vec::new();
    for (at, name) in names.iter().enumerate() {
        if !names[..at].contains(name) {
            words.push(workspace.skill(cwd, name).await.map_err(|error| refused(&error))?);
        }
    }
    Ok(words)
}

/// A prompt with the words of skills after it, so that lists go on showing the prompt.
pub(super) async fn prompt(
    workspace: &dyn Workspace,
    cwd: &Path,
    (names, prompt): (&[String], Prompt),
) -> Result<Prompt, SessionError> {
    if names.is_empty() || prompt.is_empty() {
        return Ok(prompt);
    }
    let words = words(workspace, cwd, ("skill_references", names)).await?;
    let words = words.into_iter().map(Part::text);
    Ok(Prompt::Parts(prompt.into_parts().into_iter().chain(words).collect()))
}
