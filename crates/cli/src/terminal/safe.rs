//! Text from models and tools, made safe for a terminal.

/// Removes what could steer a terminal or reorder what is read: control characters but newline and tab, and Unicode's direction marks.
#[must_use]
pub fn text(raw: &str) -> String {
    raw.chars().filter(|c| matches!(c, '\n' | '\t') || !steers(*c)).collect()
}

/// The same in one line of at most `chars_max` characters, an ellipsis included.
#[must_use]
pub fn line(raw: &str, chars_max: usize) -> String {
    let mut shown = String::new();
    let words = raw.split_whitespace().flat_map(|word| [" ", word]).skip(1);
    let mut chars = words.flat_map(str::chars).filter(|c| !steers(*c));
    shown.extend(chars.by_ref().take(chars_max));
    if chars.next().is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        assert_eq!(text("a\x1b[2Jb\r\n\tc\u{202e}d\u{9b}"), "a[2Jb\n\tcd");
    }

    #[test]
    fn a_line_is_one_line_of_bounded_length() {
        let table = [
            ("a  b\nc", 10, "a b c"),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("", 5, ""),
        ];
        for (raw, max, expected) in table {
            assert_eq!(line(raw, max), expected, "{raw:?}");
        }
    }
}
