//! The difference between two texts, as `diff -u` writes it.
//!
//! One algorithm is named here by its function: a choice at run time would put all that the library knows into the program, half a megabyte.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};

use similar::algorithms::{Capture, Compact, Replace, myers};
use similar::udiff::UnifiedHunkHeader;
use similar::{DiffOp, DiffTag, group_diff_ops};

const DIFF_BYTES_MAX: usize = 16 * 1024;
const DIFFED_BYTES_MAX: usize = 512 * 1024;
/// How long the shortest difference is looked for; after it a longer one does.
const SEARCHED: Duration = Duration::from_millis(100);
/// Lines around a change that did not change.
const AROUND: usize = 3;

/// The difference between two texts for a person, cut at 16 KiB.
pub(crate) fn diff(name: &str, before: &str, after: &str) -> String {
    if before.len().max(after.len()) > DIFFED_BYTES_MAX {
        return format!(
            "{name}: {} bytes become {} bytes; too long to be compared here",
            before.len(),
            after.len()
        );
    }
    let text = unified(name, before, after);
    if text.len() <= DIFF_BYTES_MAX {
        return text;
    }
    format!("{}\n[… the difference goes on]", crate::text::head(&text, DIFF_BYTES_MAX))
}

fn unified(name: &str, before: &str, after: &str) -> String {
    let before: Vec<&str> = before.split_inclusive('\n').collect();
    let after: Vec<&str> = after.split_inclusive('\n').collect();
    let mut text = String::new();
    for hunk in group_diff_ops(operations(&before, &after), AROUND) {
        if text.is_empty() {
            text = format!("--- {name}\n+++ {name}\n");
        }
        writeln!(text, "{}", UnifiedHunkHeader::new(&hunk)).expect("a string takes all");
        for operation in hunk {
            let (tag, old, new) = operation.as_tag_tuple();
            match tag {
                DiffTag::Equal => lines(&mut text, ' ', &before, old),
                DiffTag::Delete | DiffTag::Insert | DiffTag::Replace => {
                    lines(&mut text, '-', &before, old);
                    lines(&mut text, '+', &after, new);
                }
            }
        }
    }
    text
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long computing may take has no meaning in simulated time"
)]
fn operations(before: &[&str], after: &[&str]) -> Vec<DiffOp> {
    let mut found = Compact::new(Replace::new(Capture::new()), before, after);
    let (old, new) = (0..before.len(), 0..after.len());
    let until = Some(Instant::now() + SEARCHED);
    myers::diff_deadline(&mut found, before, old, after, new, until)
        .expect("what only remembers does not fail");
    found.into_inner().into_inner().into_ops()
}

fn lines(text: &mut String, sign: char, of: &[&str], range: Range<usize>) {
    for line in &of[range] {
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use similar::{Algorithm, TextDiff};

    #[test]
    fn a_long_difference_is_cut() {
        let long: String = (0..5000).map(|n| format!("line {n}\n")).collect();
        assert!(diff("f", "", &long).len() < DIFF_BYTES_MAX + 100);
    }

    proptest::proptest! {
        #[test]
        fn it_is_written_as_the_library_writes_it(
            before in "([ab]\r?\n){0,12}a?", after in "([ab]\r?\n){0,12}a?",
        ) {
            let theirs = TextDiff::configure()
                .algorithm(Algorithm::Myers)
                .diff_lines(before.as_str(), after.as_str())
                .unified_diff()
                .header("f", "f")
                .to_string();
            proptest::prop_assert_eq!(diff("f", &before, &after), theirs);
        }
    }
}
