//! Finds the text that an edit is to replace. Every way of looking compares for equality, the later ones after taking out what models
//! get wrong (indentation, blanks, escapes); nothing is ever replaced because it is merely similar.

use std::ops::Range;

use crate::document::LineEnd;

/// Line numbers that an error names at most.
const LINES_NAMED: usize = 10;

/// How the text was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Byte for byte, apart from the kind of line ends.
    Exact,
    /// Lines that are equal once the common indentation is taken off.
    IndentationFlexible,
    /// Lines that are equal without blanks at their ends.
    LineTrimmed,
    /// Lines that are equal once each run of blanks is one blank.
    WhitespaceNormalised,
    /// Exactly, once `\n`, `\t`, `\"` and the like are read as what they stand for.
    EscapeNormalised,
}

impl Strategy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::IndentationFlexible => "indentation-flexible",
            Self::LineTrimmed => "line-trimmed",
            Self::WhitespaceNormalised => "whitespace-normalised",
            Self::EscapeNormalised => "escape-normalised",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edit<'a> {
    pub(crate) before: &'a str,
    pub(crate) after: &'a str,
    pub(crate) replace_all: bool,
}

/// What is to be done: these ranges of the file become this text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) strategy: Strategy,
    pub(crate) ranges: Vec<Range<usize>>,
    pub(crate) text: String,
}

impl Plan {
    /// The file with the change made.
    pub(crate) fn apply(&self, file: &str) -> String {
        let mut result = String::with_capacity(file.len() + self.text.len());
        let mut from = 0;
        for range in &self.ranges {
            result.push_str(&file[from..range.start]);
            result.push_str(&self.text);
            from = range.end;
        }
        result.push_str(&file[from..]);
        result
    }
}

/// Where the edit goes, or why it cannot be made, in words for the model.
pub(crate) fn plan(file: &str, edit: Edit<'_>) -> Result<Plan, String> {
    let end = LineEnd::of(file.as_bytes()).unwrap_or(LineEnd::Lf);
    let exact = exact(file, edit.before, edit.after, end);
    if !exact.0.is_empty() {
        return chosen(file, Strategy::Exact, exact, edit.replace_all);
    }
    // A text of nothing but blanks is equal to too much once blanks are taken out.
    if edit.before.trim().is_empty() {
        return Err("`old_string` was not found".to_owned());
    }
    let by_line =
        [Strategy::IndentationFlexible, Strategy::LineTrimmed, Strategy::WhitespaceNormalised];
    for strategy in by_line {
        let found = lines_equal(file, edit, strategy, end);
        if !found.0.is_empty() {
            return chosen(file, strategy, found, false);
        }
    }
    let (before, after) = (unescape(edit.before), unescape(edit.after));
    if before != edit.before {
        let found = self::exact(file, &before, &after, end);
        if !found.0.is_empty() {
            return chosen(file, Strategy::EscapeNormalised, found, false);
        }
    }
    Err("`old_string` was not found; read the file again and copy the lines as they are".to_owned())
}

type Found = (Vec<Range<usize>>, String);

fn chosen(file: &str, strategy: Strategy, found: Found, all: bool) -> Result<Plan, String> {
    let (ranges, text) = found;
    if ranges.len() == 1 || all {
        return Ok(Plan { strategy, ranges, text });
    }
    let lines: Vec<String> = ranges
        .iter()
        .take(LINES_NAMED)
        .map(|range| line_number(file, range.start).to_string())
        .collect();
    let more = if ranges.len() > LINES_NAMED { ", …" } else { "" };
    let remedy = match strategy {
        Strategy::Exact => "add lines around it until it is unique, or set replace_all",
        _ => {
            "it does not match exactly; copy the lines as they are and add some until it is unique"
        }
    };
    Err(format!(
        "`old_string` was found {} times, at lines {}{more}: {remedy}",
        ranges.len(),
        lines.join(", ")
    ))
}

/// The number, from 1, of the line that the byte is in.
pub(crate) fn line_number(file: &str, at: usize) -> usize {
    file.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn exact(file: &str, before: &str, after: &str, end: LineEnd) -> Found {
    let as_given: Vec<Range<usize>> = find(file, before);
    if !as_given.is_empty() {
        return (
            as_given,
            if before.contains('\r') { after.to_owned() } else { end_as(after, before, end) },
        );
    }
    let before = end.apply(before);
    (find(file, &before), end.apply(after))
}

/// A replacement of several lines takes the file's line ends; the matched text shows them if it has any.
fn end_as(after: &str, before: &str, end: LineEnd) -> String {
    let end = if before.contains('\n') { LineEnd::Lf } else { end };
    end.apply(after)
}

fn find(file: &str, text: &str) -> Vec<Range<usize>> {
    file.match_indices(text).map(|(at, text)| at..at + text.len()).collect()
}

fn lines_equal(file: &str, edit: Edit<'_>, strategy: Strategy, end: LineEnd) -> Found {
    let wanted: Vec<&str> = edit.before.lines().collect();
    let whole_lines = edit.before.ends_with('\n');
    let lines = lines_of(file);
    let texts: Vec<&str> = lines.iter().map(|line| line.text).collect();
    let key = normalised(&wanted, strategy);
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut indent = "";
    let mut at = 0;
    while at + wanted.len() <= texts.len() {
        let window = &texts[at..at + wanted.len()];
        if !quick_equal(window[0], wanted[0]) || normalised(window, strategy) != key {
            at += 1;
            continue;
        }
        let last = &lines[at + wanted.len() - 1];
        ranges.push(
            lines[at].start..if whole_lines { last.next } else { last.start + last.text.len() },
        );
        indent = common_indent(window);
        at += wanted.len();
    }
    (ranges, end.apply(&reindented(edit.after, common_indent(&wanted), indent)))
}

/// Cheap to say no: equal under every way of comparing lines means equal without any blanks.
fn quick_equal(one: &str, other: &str) -> bool {
    one.split_whitespace().flat_map(str::bytes).eq(other.split_whitespace().flat_map(str::bytes))
}

struct Line<'a> {
    start: usize,
    /// Without its line end.
    text: &'a str,
    /// Where the next line starts.
    next: usize,
}

fn lines_of(file: &str) -> Vec<Line<'_>> {
    let mut next = 0;
    let line = |raw| {
        let start = next;
        next += str::len(raw);
        let text = raw.strip_suffix('\n').unwrap_or(raw);
        Line { start, text: text.strip_suffix('\r').unwrap_or(text), next }
    };
    file.split_inclusive('\n').map(line).collect()
}

fn normalised(lines: &[&str], strategy: Strategy) -> Vec<String> {
    let indent = common_indent(lines).len();
    let normal = |line: &&str| match strategy {
        Strategy::IndentationFlexible => {
            line.get(indent..).unwrap_or_default().trim_end().to_owned()
        }
        Strategy::WhitespaceNormalised => line.split_whitespace().collect::<Vec<_>>().join(" "),
        Strategy::LineTrimmed | Strategy::Exact | Strategy::EscapeNormalised => {
            line.trim().to_owned()
        }
    };
    lines.iter().map(normal).collect()
}

/// The blanks that all lines which are not blank begin with.
fn common_indent<'a>(lines: &[&'a str]) -> &'a str {
    let indents = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| &line[..line.len() - line.trim_start().len()]);
    indents
        .reduce(|one, other| {
            let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
            &one[..one.floor_char_boundary(same)]
        })
        .unwrap_or_default()
}

/// The text with its lines moved from the indentation that the model wrote to the one that the file has.
fn reindented(text: &str, from: &str, to: &str) -> String {
    if from == to {
        return text.to_owned();
    }
    let line = |raw: &str| match raw.strip_prefix(from) {
        Some(rest) if !rest.trim().is_empty() => format!("{to}{rest}"),
        _ => raw.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => result.push('\n'),
            Some('t') => result.push('\t'),
            Some('r') => result.push('\r'),
            Some(quote @ ('"' | '\'' | '`' | '\\' | '$')) => result.push(quote),
            Some(other) => result.extend(['\\', other]),
            None => result.push('\\'),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(file: &str, before: &str, after: &str) -> Result<(&'static str, String), String> {
        let plan = plan(file, Edit { before, after, replace_all: false })?;
        Ok((plan.strategy.name(), plan.apply(file)))
    }

    #[test]
    fn each_way_of_looking_finds_its_case() {
        let cases = [
            ("a b c", "b", "x", "exact", "a x c"),
            ("a\r\nb\r\nc\r\n", "a\nb", "x\ny", "exact", "x\r\ny\r\nc\r\n"),
            ("a\r\nb\r\n", "b", "x\ny", "exact", "a\r\nx\r\ny\r\n"),
            (
                "    if x:\n        y\n",
                "if x:\n    y\n",
                "if z:\n    w\n",
                "indentation-flexible",
                "    if z:\n        w\n",
            ),
            (
                "fn a() {\n  b();\n}\n",
                "fn a() {\n      b();\n}",
                "fn a() {}",
                "line-trimmed",
                "fn a() {}\n",
            ),
            ("x  =   1\ny\n", "x = 1", "x = 2", "whitespace-normalised", "x = 2\ny\n"),
            ("print(\"a\")\nb\n", "print(\\\"a\\\")\\nb", "c", "escape-normalised", "c\n"),
        ];
        for (file, before, after, strategy, expected) in cases {
            assert_eq!(
                edited(file, before, after),
                Ok((strategy, expected.to_owned())),
                "{before:?} in {file:?}"
            );
        }
    }

    #[test]
    fn nothing_is_replaced_because_it_is_merely_similar() {
        let file = "fn a() {\n    keep();\n    this();\n}\n";
        for before in [
            "fn a() {\n    other();\n    lines();\n}",
            "fn a() {\n    keep();\n}",
            "keep(); this();",
            "   \n",
            "keep",
        ] {
            let result = edited(file, before, "x");
            assert!(result.is_err() || before == "keep", "{before:?}: {result:?}");
        }
    }

    #[test]
    fn what_is_found_twice_is_named_with_its_lines() {
        assert_eq!(
            edited("a\nb\na\n", "a", "x").unwrap_err(),
            "`old_string` was found 2 times, at lines 1, 3: add lines around it until it is unique, or set replace_all"
        );
        assert!(
            edited(" a  b\n a   b\n", "a b", "x")
                .unwrap_err()
                .contains("found 2 times, at lines 1, 2")
        );
        let all = plan("a\nb\na\n", Edit { before: "a", after: "x", replace_all: true }).unwrap();
        assert_eq!(all.apply("a\nb\na\n"), "x\nb\nx\n");
    }
}
