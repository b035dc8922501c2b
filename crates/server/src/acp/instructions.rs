//! What a client tells the model of its sessions, as instructions of the session at the end of the system prompt. They are part of the session from its
//! beginning, so that a provider's cache of what follows holds: whoever opens it later names the same ones or none.
//!
//! The unstable part of the protocol's schema that says so: `systemPrompt` of the requests that open sessions.

use agent_client_protocol::Error;
use agent_client_protocol::v1::schema::{ContentBlock, SystemPrompt, SystemPromptMode};
use oarlock_core::limits::PROMPT_FILE_BYTES;
use oarlock_core::prompt::Overlays;

use super::error::invalid;

/// The words; none when none were sent.
///
/// # Errors
/// Invalid parameters: they are to stand instead of what this agent says, are none or too long, or are no text.
pub(super) fn read(system: Option<SystemPrompt>) -> Result<Option<String>, Error> {
    let Some(SystemPrompt { mode, content, .. }) = system else { return Ok(None) };
    if mode != SystemPromptMode::Append {
        return Err(invalid("systemPrompt: `append` is the one mode that is known here"));
    }
    let texts = content.into_iter().map(|block| match block {
        ContentBlock::Text(text) => Ok(text.text),
        _ => Err(invalid("systemPrompt: its content is text and nothing else")),
    });
    let words = texts.collect::<Result<Vec<_>, _>>()?.join("\n\n");
    match words.trim() {
        "" => Err(invalid("systemPrompt: it says nothing; leave it out")),
        words if words.len() > PROMPT_FILE_BYTES => Err(invalid(format!(
            "systemPrompt: it has {} bytes and at most {PROMPT_FILE_BYTES} are taken",
            words.len()
        ))),
        words => Ok(Some(words.to_owned())),
    }
}

/// What stands before the client's words, so that they can be told from the person's own, and compared whole.
const HEAD: &str = "From the editor:\n\n";

/// Adds the words to what a new session's model is told, behind what the person says.
pub(super) fn add(told: Option<&str>, overlays: &mut Overlays) {
    let Some(told) = told else { return };
    overlays.session = Some(match overlays.session.take() {
        Some(own) => format!("{own}\n\n{HEAD}{told}"),
        None => format!("{HEAD}{told}"),
    });
}

/// Whether a session that was made before has been told the same.
///
/// # Errors
/// Invalid parameters when it has been told something else: what it was told stays.
pub(super) fn check(told: Option<&str>, overlays: &Overlays) -> Result<(), Error> {
    let own = overlays.session.as_deref().unwrap_or_default();
    let is_told = |told: &str| {
        let before = own.strip_suffix(told).and_then(|rest| rest.strip_suffix(HEAD));
        before.is_some_and(|before| before.is_empty() || before.ends_with("\n\n"))
    };
    match told.is_none_or(is_told) {
        true => Ok(()),
        false => Err(invalid(
            "systemPrompt: the session keeps the one that it was made with; name that one, or none",
        )),
    }
}
