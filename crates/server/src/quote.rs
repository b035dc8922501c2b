//! A client's words in what is told of them.

/// Characters of them that are repeated.
const CHARS_MAX: usize = 80;

/// The beginning of a client's words, so that they fit a message.
pub(crate) fn cut(words: &str) -> String {
    words.chars().take(CHARS_MAX).collect()
}
