//! Looks for lines that match, file by file, up to a number of matches and bytes.

use std::fmt::Write;
use std::io;

use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkMatch};

use super::walk::{Next, Seen, walk};
use super::{Findings, Job, Refusal};

const LINE_BYTES_MAX: usize = 4 * 1024;
const REGEX_BYTES_MAX: usize = 10 * 1024 * 1024;
/// What a search across lines may hold of a file.
const HEAP_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) fn search(job: &Job) -> Result<Findings, Refusal> {
    let query = &job.query;
    let mut matcher = RegexMatcherBuilder::new();
    matcher.case_insensitive(query.case_insensitive).multi_line(true).size_limit(REGEX_BYTES_MAX);
    matcher.dfa_size_limit(REGEX_BYTES_MAX);
    if !query.multiline {
        matcher.line_terminator(Some(b'\n'));
    }
    let matcher = matcher
        .build(&query.pattern)
        .map_err(|error| Refusal::Words(format!("`pattern`: {error}")))?;
    let mut searcher = SearcherBuilder::new()
        .binary_detection(BinaryDetection::quit(0))
        .line_number(true)
        .multi_line(query.multiline)
        .before_context(query.before)
        .after_context(query.after)
        .heap_limit(Some(HEAP_BYTES_MAX))
        .build();
    let mut page = Page {
        job,
        text: String::new(),
        count: 0,
        cut: None,
        heading: String::new(),
        headed: false,
    };
    let walked = walk(job, |seen| page.file(&seen, &mut searcher, &matcher))?;
    if job.cancel.is_cancelled() {
        return Err(Refusal::Cancelled);
    }
    let cut = page.cut.or(walked.cut.then_some("the walk was stopped; give a path"));
    Ok(Findings { text: page.text, count: page.count, files_seen: walked.entries, cut })
}

/// The result so far. As a sink it takes the lines of one file.
struct Page<'a> {
    job: &'a Job,
    text: String,
    count: usize,
    cut: Option<&'static str>,
    heading: String,
    headed: bool,
}

impl Page<'_> {
    fn file(&mut self, seen: &Seen, searcher: &mut Searcher, matcher: &RegexMatcher) -> Next {
        if seen.entry.metadata().is_ok_and(|meta| meta.len() > self.job.limits.max_file_size_bytes)
        {
            return Next::Continue;
        }
        // Opened by a walk of our own, so that a link put in the way meanwhile leads nowhere.
        let opened = self.job.roots.find(&seen.path).and_then(|found| found.open_file(&seen.path));
        let Ok(file) = opened else { return Next::Continue };
        self.heading.clone_from(&seen.shown);
        self.headed = false;
        // A file that cannot be read to its end gives what was read.
        searcher.search_file(matcher, &file, &mut *self).ok();
        if self.cut.is_some() || self.job.cancel.is_cancelled() {
            Next::Stop
        } else {
            Next::Continue
        }
    }

    fn line(&mut self, number: Option<u64>, mark: char, bytes: &[u8]) -> bool {
        if !self.headed {
            let gap = if self.text.is_empty() { "" } else { "\n" };
            self.text.push_str(gap);
            self.text.push_str(&self.heading);
            self.text.push('\n');
            self.headed = true;
        }
        for (index, line) in
            (0..).zip(bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n'))
        {
            let cut = &line[..line.len().min(LINE_BYTES_MAX)];
            let more = if cut.len() < line.len() { " […]" } else { "" };
            let number = number.map_or(0, |number| number + index);
            // Writing to a text cannot fail.
            writeln!(
                self.text,
                "{number}{mark}{}{more}",
                String::from_utf8_lossy(cut).trim_end_matches('\r')
            )
            .ok();
            if self.text.len() > self.job.limits.max_result_bytes {
                self.cut = Some("the result is as long as it may be");
                return false;
            }
        }
        true
    }
}

impl Sink for Page<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        if self.count == self.job.query.head_limit {
            self.cut = Some("the limit is reached");
            return Ok(false);
        }
        self.count += 1;
        Ok(self.line(found.line_number(), ':', found.bytes()) && !self.job.cancel.is_cancelled())
    }

    fn context(&mut self, _: &Searcher, context: &SinkContext<'_>) -> Result<bool, io::Error> {
        Ok(self.line(context.line_number(), '-', context.bytes()))
    }

    fn context_break(&mut self, _: &Searcher) -> Result<bool, io::Error> {
        self.text.push_str("--\n");
        Ok(true)
    }
}
