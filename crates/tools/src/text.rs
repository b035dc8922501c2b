//! Cuts text to a size without breaking a character.

/// One line for a person: what is done, to what.
pub(crate) fn title(verb: &str, what: &str) -> String {
    let line = what.trim().lines().next().unwrap_or_default();
    let more = if line.len() < what.trim().len() || line.len() > 160 { "…" } else { "" };
    format!("{verb}: {}{more}", head(line, 160))
}

/// The longest beginning of `text` with at most `bytes_max` bytes.
pub(crate) fn head(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_falls_between_characters() {
        assert_eq!((head("aéz", 2), head("aé", 9)), ("a", "aé"));
    }

    #[test]
    fn a_title_is_one_line_and_says_when_there_is_more() {
        assert_eq!(title("bash", "ls"), "bash: ls");
        assert_eq!(title("bash", "ls\nrm x"), "bash: ls…");
    }
}
