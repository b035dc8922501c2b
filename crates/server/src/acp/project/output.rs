//! What a call says while it runs, and what it gave in the end.

use agent_client_protocol::v1::schema::{Content, ToolCallContent};
use oarlock_core::event::{Outcome, ToolSettled};
use oarlock_core::message::Part;

use super::pictures::Pictures;
use crate::acp::content::text;

/// Bytes of a running call's output that are shown, the last ones.
const TAIL_MAX: usize = 8 * 1024;
/// Bytes of one text of a result that are shown, the first ones.
const TEXT_MAX: usize = 64 * 1024;
/// What stands for output that is not shown.
const LEFT_OUT: &str = "[…]\n";

/// The end of something that grows.
#[derive(Debug, Default)]
pub(super) struct Tail {
    text: String,
    /// Bytes of the whole so far.
    end: u64,
    /// Whether something of it is missing before `text`.
    is_cut: bool,
}

impl Tail {
    /// Adds what begins at `offset` in the whole; says whether there was anything new in it.
    pub(super) fn add(&mut self, offset: u64, text: &str) -> bool {
        let known = self.end.saturating_sub(offset);
        let new = usize::try_from(known).ok().and_then(|known| text.get(known..));
        let Some(new) = new.filter(|new| !new.is_empty()) else { return false };
        if offset > self.end {
            self.text.clear();
            self.is_cut = true;
        }
        self.end = offset.max(self.end);
        self.append(new)
    }

    /// Adds at the end; says whether there was anything in it.
    pub(super) fn append(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        self.end += text.len() as u64;
        if self.text.len() > 2 * TAIL_MAX {
            self.text.drain(..self.text.ceil_char_boundary(self.text.len() - TAIL_MAX));
            self.is_cut = true;
        }
        !text.is_empty()
    }

    /// What is shown of it.
    pub(super) fn shown(&self) -> String {
        let from = self.text.ceil_char_boundary(self.text.len().saturating_sub(TAIL_MAX));
        let left_out = if self.is_cut || from > 0 { LEFT_OUT } else { "" };
        format!("{left_out}{}", &self.text[from..])
    }
}

/// What a call gave, for a person. One that gave nothing and did not do what was asked says how it ended.
pub(super) fn result(
    tool: &str,
    settled: &ToolSettled,
    pictures: &Pictures,
) -> Vec<ToolCallContent> {
    let is_raw = matches!(tool, "bash" | "read_file" | "search")
        && matches!(settled.outcome, Outcome::Completed | Outcome::Failed);
    let shown = settled.content.iter().filter_map(|part| match part {
        Part::Text { text } if text.is_empty() => None,
        Part::Text { text } if is_raw => Some(words(fenced(&beginning(text)))),
        Part::Text { text } => Some(words(beginning(text))),
        Part::Image { .. } | Part::Document { .. } => {
            Some(ToolCallContent::Content(Content::new(pictures.shown(part)?)))
        }
    });
    let shown: Vec<ToolCallContent> = shown.collect();
    let silent = match settled.outcome {
        Outcome::Completed => None,
        Outcome::Failed => Some("failed"),
        Outcome::Denied => Some("denied"),
        Outcome::Cancelled => Some("cancelled"),
        Outcome::Indeterminate => Some("it is not known whether this was done"),
    };
    match silent {
        Some(how) if shown.is_empty() => vec![words(how)],
        _ => shown,
    }
}

fn beginning(words: &str) -> String {
    let shown = &words[..words.floor_char_boundary(TEXT_MAX)];
    match words.len() - shown.len() {
        0 => shown.to_owned(),
        rest => format!("{shown}\n[{rest} bytes more]"),
    }
}

/// Text as it is, for a client that takes words for Markdown.
pub(super) fn fenced(words: &str) -> String {
    let mut longest = 2;
    let mut run = 0;
    for c in words.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    let end = if words.ends_with('\n') { "" } else { "\n" };
    format!("{fence}\n{words}{end}{fence}")
}

pub(super) fn words(words: impl Into<String>) -> ToolCallContent {
    ToolCallContent::Content(Content::new(text(words)))
}
