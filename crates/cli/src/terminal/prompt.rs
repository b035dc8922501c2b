//! Where a prompt comes from: the command line, or stdin when it is asked for or piped. Stdin is never read otherwise.

use std::io::Read;

/// A prompt may have this many bytes.
pub const PROMPT_BYTES_MAX: u64 = 1 << 20;

/// Where the prompt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptSource {
    /// It is this text.
    Given(String),
    /// It has to be read from stdin.
    Stdin,
}

/// Why there is no prompt.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// None was given and stdin is a terminal.
    #[error(
        "no prompt was given; write one, for example `oarlock run \"explain this project\"`, or pipe one in"
    )]
    Missing,
    /// It has no words.
    #[error("the prompt is empty; say what is to be done")]
    Empty,
    /// It is not text.
    #[error("the prompt from stdin is not UTF-8")]
    NotText,
    /// It is too long.
    #[error("the prompt from stdin has more than 1 MiB; put it into a file and name the file")]
    TooLong,
    /// The system said no.
    #[error("cannot read the prompt from stdin: {source}")]
    Read {
        /// The system's words.
        source: std::io::Error,
    },
}

/// Decides where the prompt is. `-` means stdin; so does no prompt at all unless stdin is a terminal.
///
/// # Errors
/// [`PromptError::Missing`] or [`PromptError::Empty`].
pub fn source(given: Option<&str>, stdin_is_terminal: bool) -> Result<PromptSource, PromptError> {
    match given {
        Some("-") => Ok(PromptSource::Stdin),
        Some(text) if text.trim().is_empty() => Err(PromptError::Empty),
        Some(text) => Ok(PromptSource::Given(text.to_owned())),
        None if stdin_is_terminal => Err(PromptError::Missing),
        None => Ok(PromptSource::Stdin),
    }
}

/// Reads a prompt to its end, without its last newline. Blocks until the writer closes.
///
/// # Errors
/// When it is empty, not UTF-8, longer than [`PROMPT_BYTES_MAX`], or cannot be read.
pub fn read(stdin: impl Read) -> Result<String, PromptError> {
    let mut bytes = Vec::new();
    let mut bounded = stdin.take(PROMPT_BYTES_MAX + 1);
    bounded.read_to_end(&mut bytes).map_err(|source| PromptError::Read { source })?;
    if bytes.len() as u64 > PROMPT_BYTES_MAX {
        return Err(PromptError::TooLong);
    }
    let text = String::from_utf8(bytes).map_err(|_| PromptError::NotText)?;
    if text.trim().is_empty() {
        return Err(PromptError::Empty);
    }
    Ok(text.strip_suffix('\n').map_or_else(|| text.clone(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdin_is_read_only_when_asked_for_or_piped() {
        let given = |text: &str| Some(PromptSource::Given(text.to_owned()));
        let table = [
            (Some("fix it"), true, given("fix it")),
            (Some("fix it"), false, given("fix it")),
            (Some("-"), true, Some(PromptSource::Stdin)),
            (Some("-"), false, Some(PromptSource::Stdin)),
            (None, false, Some(PromptSource::Stdin)),
            (None, true, None),
            (Some("  "), false, None),
        ];
        for (text, terminal, expected) in table {
            assert_eq!(source(text, terminal).ok(), expected, "{text:?} {terminal}");
        }
    }

    #[test]
    fn a_read_prompt_is_bounded_text() {
        let long = vec![b'x'; usize::try_from(PROMPT_BYTES_MAX).unwrap() + 1];
        assert_eq!(read(&b"a\nb\n"[..]).unwrap(), "a\nb");
        assert!(matches!(read(&b" \n"[..]), Err(PromptError::Empty)));
        assert!(matches!(read(&b"\xff"[..]), Err(PromptError::NotText)));
        assert!(matches!(read(&long[..]), Err(PromptError::TooLong)));
        assert!(read(&long[1..]).is_ok());
    }
}
