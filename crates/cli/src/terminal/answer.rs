//! The model's answer as it is written: raw where a program reads, Markdown paragraph by paragraph where a person does.

use std::collections::BTreeMap;
use std::io::{self, Write};

use oarlock_core::event::{AssistantMessage, Delta, DeltaItem, Entry, Event};
use oarlock_core::message::Content;

use super::safe;

/// How text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// Byte for byte: stdout is no terminal.
    Raw,
    /// As text without what could steer the terminal.
    Plain,
    /// As Markdown in so many columns.
    Markdown {
        /// Width of the terminal.
        columns: usize,
    },
}

/// Chooses the rendering from what stdout is. `NO_COLOR` and a dumb terminal get plain text.
#[must_use]
pub fn rendering(terminal_columns: Option<usize>, styled: bool) -> Rendering {
    match (terminal_columns, styled) {
        (None, _) => Rendering::Raw,
        (Some(_), false) => Rendering::Plain,
        (Some(columns), true) => Rendering::Markdown { columns: columns.clamp(20, 120) },
    }
}

/// Writes the answers of a session's own steps: deltas as they come, and with the entry whatever no delta brought.
#[derive(Debug)]
pub struct Answer {
    rendering: Rendering,
    /// Bytes that were taken, by block of the current step.
    taken: BTreeMap<u32, usize>,
    /// Text that waits for the end of its paragraph. Bounded by the model's answer.
    pending: String,
    /// Whether the last thing written was the end of a line.
    at_line_start: bool,
}

impl Answer {
    /// A writer with nothing written.
    #[must_use]
    pub fn new(rendering: Rendering) -> Self {
        Self { rendering, taken: BTreeMap::new(), pending: String::new(), at_line_start: true }
    }

    /// Takes a delta. What was seen before is skipped; after a gap the rest comes with the entry.
    ///
    /// # Errors
    /// The writer's.
    pub fn delta(&mut self, out: &mut dyn Write, delta: &Delta) -> io::Result<()> {
        let DeltaItem::Text { block } = delta.item else {
            return Ok(());
        };
        let taken = self.taken.get(&block).copied().unwrap_or(0);
        let offset = usize::try_from(delta.offset).unwrap_or(usize::MAX);
        match taken.checked_sub(offset).and_then(|seen| delta.text.get(seen..)) {
            Some(news) => self.take(out, block, news),
            None => Ok(()),
        }
    }

    /// Takes an entry: the rest of an answer, or the end of a failed attempt.
    ///
    /// # Errors
    /// The writer's.
    pub fn entry(&mut self, out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
        if !entry.scope.is_empty() {
            return Ok(());
        }
        match &entry.event {
            Event::AssistantMessage(message) => self.message(out, message),
            Event::ModelFailed(_) | Event::TurnEnded(_) => self.end(out),
            Event::SessionCreated(_)
            | Event::SessionForked(_)
            | Event::SessionConfigured(_)
            | Event::SessionArchived
            | Event::SessionNamed(_)
            | Event::SessionRestored
            | Event::WriterChanged(_)
            | Event::WriterReleased
            | Event::InputAdmitted(_)
            | Event::InputWithdrawn(_)
            | Event::TurnStarted(_)
            | Event::TurnRecovered(_)
            | Event::StepStarted(_)
            | Event::ModelReplaced(_)
            | Event::ToolCalled(_)
            | Event::PermissionAsked(_)
            | Event::PermissionAnswered(_)
            | Event::ToolStarted(_)
            | Event::ToolSettled(_)
            | Event::InputRequested(_)
            | Event::ContextCleared(_)
            | Event::ContextCompacted(_)
            | Event::SummaryStarted(_)
            | Event::SummaryFailed(_)
            | Event::HistoryEdited(_)
            | Event::GoalSet(_)
            | Event::GoalReached(_)
            | Event::TurnContinued(_)
            | Event::PlanChanged(_)
            | Event::SkillLoaded(_)
            | Event::TaskStarted(_)
            | Event::TaskSettled(_)
            | Event::SubagentOpened(_)
            | Event::SubagentClosed(_)
            | Event::HooksStarted(_)
            | Event::HookRan(_)
            | Event::Spilled(_) => Ok(()),
        }
    }

    fn message(&mut self, out: &mut dyn Write, message: &AssistantMessage) -> io::Result<()> {
        for (at, block) in (0_u32..).zip(&message.blocks) {
            if let Content::Text { text } = &block.content {
                let taken = self.taken.get(&at).copied().unwrap_or(0);
                self.take(out, at, text.get(taken..).unwrap_or_default())?;
            }
        }
        self.end(out)
    }

    fn take(&mut self, out: &mut dyn Write, block: u32, news: &str) -> io::Result<()> {
        if news.is_empty() {
            return Ok(());
        }
        if !self.taken.contains_key(&block) && !self.taken.is_empty() {
            self.break_line(out)?;
        }
        *self.taken.entry(block).or_default() += news.len();
        match self.rendering {
            Rendering::Raw => self.write(out, news),
            Rendering::Plain => self.write(out, &safe::text(news)),
            Rendering::Markdown { columns } => {
                self.pending.push_str(news);
                let ready = paragraphs_end(&self.pending);
                let paragraphs: String = self.pending.drain(..ready).collect();
                self.markdown(out, &paragraphs, columns)
            }
        }
    }

    /// Writes what is pending and forgets the step.
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.break_line(out)?;
        self.taken.clear();
        out.flush()
    }

    fn break_line(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if let Rendering::Markdown { columns } = self.rendering {
            let rest = std::mem::take(&mut self.pending);
            self.markdown(out, &rest, columns)?;
        }
        if !self.at_line_start {
            self.write(out, "\n")?;
        }
        Ok(())
    }

    fn markdown(&mut self, out: &mut dyn Write, text: &str, columns: usize) -> io::Result<()> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let skin = termimad::MadSkin::default_dark();
        let shown = skin.text(&safe::text(text), Some(columns)).to_string();
        self.write(out, &shown)
    }

    fn write(&mut self, out: &mut dyn Write, text: &str) -> io::Result<()> {
        if let Some(last) = text.chars().next_back() {
            self.at_line_start = last == '\n';
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    }
}

/// Where the last finished paragraph ends: after an empty line that is not inside a fenced block.
fn paragraphs_end(text: &str) -> usize {
    let (mut end, mut at, mut fenced) = (0, 0, false);
    for line in text.split_inclusive('\n') {
        at += line.len();
        let words = line.trim();
        if words.starts_with("```") || words.starts_with("~~~") {
            fenced = !fenced;
        } else if words.is_empty() && line.ends_with('\n') && !fenced {
            end = at;
        }
    }
    end
}

/// The text of an answer, its blocks joined by an empty line.
#[must_use]
pub fn text_of(message: &AssistantMessage) -> String {
    let texts = message.blocks.iter().filter_map(|block| match &block.content {
        Content::Text { text } => Some(text.as_str()),
        Content::Thinking { .. } | Content::ToolCall { .. } | Content::Opaque { .. } => None,
    });
    texts.collect::<Vec<_>>().join("\n\n")
}
