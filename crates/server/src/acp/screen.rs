//! What is new on a client's terminal. A client gives its whole output again and again, and drops the beginning of what is too long.

/// Said in the place of what was dropped before anybody saw it.
const LOST: &str = "\n[… output was lost here: there was more than the editor keeps]\n";

/// A terminal's output as it was last seen.
#[derive(Debug, Default)]
pub(super) struct Screen {
    seen: String,
}

impl Screen {
    /// What `output` has beyond what was seen. Lines that were written over since, as a progress bar does, are given again. Of an output that repeats
    /// itself at its limit no more than what is certainly new is given.
    pub(super) fn new_in(&mut self, output: String, is_truncated: bool) -> String {
        let new = if let Some(new) = output.strip_prefix(&self.seen) {
            new.to_owned()
        } else if is_truncated {
            match overlap(&self.seen, &output) {
                0 => format!("{LOST}{output}"),
                known => output[known..].to_owned(),
            }
        } else {
            written_over(&self.seen, &output)
        };
        self.seen = output;
        new
    }
}

/// Bytes at the end of `seen` with which `output` begins, as many as possible.
fn overlap(seen: &str, output: &str) -> usize {
    let (seen, output) = (seen.as_bytes(), output.as_bytes());
    if output.is_empty() {
        return 0;
    }
    // For each beginning of the output, how much of it also ends it.
    let mut borders = vec![0; output.len()];
    let mut matched = 0;
    for at in 1..output.len() {
        while matched > 0 && output[matched] != output[at] {
            matched = borders[matched - 1];
        }
        matched += usize::from(output[matched] == output[at]);
        borders[at] = matched;
    }
    matched = 0;
    for byte in seen {
        if matched == output.len() {
            matched = borders[matched - 1];
        }
        while matched > 0 && output[matched] != *byte {
            matched = borders[matched - 1];
        }
        matched += usize::from(output[matched] == *byte);
    }
    matched
}

/// The lines of `output` from the first one that differs.
fn written_over(seen: &str, output: &str) -> String {
    let same = seen.bytes().zip(output.bytes()).take_while(|(a, b)| a == b).count();
    let from =
        output.as_bytes()[..same].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    match &output[from..] {
        "" => String::new(),
        lines if seen.is_empty() || seen.ends_with('\n') => lines.to_owned(),
        lines => format!("\n{lines}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_given() {
        let cases: [(&str, &str, bool, &str); 11] = [
            ("", "", false, ""),
            ("", "a\n", false, "a\n"),
            ("a\n", "a\nb", false, "b"),
            ("a\nb", "a\nb", false, ""),
            ("abcdef", "defgh", true, "gh"),
            ("aaaa", "aaaa", true, ""),
            ("größe", "ßex", true, "x"),
            (
                "abc",
                "xyz",
                true,
                "\n[… output was lost here: there was more than the editor keeps]\nxyz",
            ),
            ("one\n10 %", "one\n20 %", false, "\n20 %"),
            ("one\ntwo\n", "", false, ""),
            ("one", "", true, "\n[… output was lost here: there was more than the editor keeps]\n"),
        ];
        for (seen, output, is_truncated, expected) in cases {
            let mut screen = Screen { seen: seen.to_owned() };
            assert_eq!(
                screen.new_in(output.to_owned(), is_truncated),
                expected,
                "{seen:?} {output:?}"
            );
            assert_eq!(screen.seen, output);
        }
    }

    #[test]
    fn a_long_output_whose_beginning_is_dropped_loses_and_repeats_nothing() {
        let all: String = (0..500).map(|n| format!("line {n}\n")).collect();
        let (mut screen, mut got) = (Screen::default(), String::new());
        for end in (0..=all.len()).step_by(97).chain([all.len()]) {
            let start = end.saturating_sub(1000);
            got.push_str(&screen.new_in(all[start..end].to_owned(), start > 0));
        }
        assert_eq!(got, all);
    }
}
