//! What a command prints of a session: the answer to stdout, activity to stderr, or everything as JSON.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use oarlock_core::event::{AgentEvent, Entry, Event, Outcome, TurnEnded};
use oarlock_core::ids::SessionId;
use oarlock_core::spec::ModelSelection;

use crate::args::OutputArgs;
use crate::exit::{Exit, Pursuit};
use crate::terminal::activity::Activity;
use crate::terminal::answer::{Answer, Rendering, rendering, text_of};
use crate::terminal::json_lines::{self, Summary};
use crate::terminal::safe;

/// What is printed.
#[derive(Debug)]
pub struct Screen {
    format: Format,
    activity: Activity,
    /// The same of each subagent that was told of.
    below: BTreeMap<SessionId, Activity>,
    /// The last answer's text.
    text: String,
    last_outcome: Option<Outcome>,
    pursuit: Pursuit,
    stdout: Stdout,
}

/// What of a turn is for stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stdout {
    /// All that the model says.
    Answers,
    /// The same, but nothing except the JSON of a turn whose answer has a form.
    Chosen {
        /// Whether that of this turn has one.
        formed: bool,
    },
}

#[derive(Debug)]
enum Format {
    Text(Answer),
    Json,
    Quiet,
}

impl Screen {
    /// A screen as the flags want it.
    #[must_use]
    pub fn new(output: OutputArgs) -> Self {
        let format = match (output.json, output.quiet) {
            (true, _) => Format::Json,
            (false, true) => Format::Quiet,
            (false, false) => Format::Text(Answer::new(stdout_rendering())),
        };
        let activity = Activity::default();
        let (below, pursuit) = (BTreeMap::new(), Pursuit::default());
        let stdout = Stdout::Answers;
        Self { format, activity, below, text: String::new(), last_outcome: None, pursuit, stdout }
    }

    /// The same, printing nothing but its JSON of a turn whose answer has a form; `formed` says whether the open turn is one.
    #[must_use]
    pub fn of_form(self, formed: bool) -> Self {
        Self { stdout: Stdout::Chosen { formed }, ..self }
    }

    fn is_held_back(&self) -> bool {
        self.stdout == Stdout::Chosen { formed: true }
    }

    /// The same for a session of which it is known whether it has a goal that is not reached.
    #[must_use]
    pub fn towards_a_goal(self, pursuit: Pursuit) -> Self {
        Self { pursuit, ..self }
    }

    /// Whether a person is told on stderr what goes on.
    #[must_use]
    pub fn is_for_people(&self) -> bool {
        matches!(self.format, Format::Text(_))
    }

    /// Shows an event.
    ///
    /// # Errors
    /// The writer's.
    pub fn show(&mut self, out: &mut dyn Write, event: &AgentEvent) -> io::Result<()> {
        if let AgentEvent::Entry(entry) = event
            && entry.scope.is_empty()
        {
            self.pursuit.follow(entry);
            match &entry.event {
                Event::TurnStarted(started) => {
                    self.last_outcome = None;
                    if let Stdout::Chosen { formed } = &mut self.stdout {
                        *formed = started.settings.output.is_some();
                    }
                }
                Event::ToolSettled(settled) => self.last_outcome = Some(settled.outcome),
                Event::AssistantMessage(message) => self.text = text_of(message),
                Event::SubagentClosed(closed) => drop(self.below.remove(&closed.child)),
                _ => {}
            }
        }
        let is_held_back = self.is_held_back();
        match (&mut self.format, event) {
            (Format::Json, event) => json_lines::event(out, event),
            (Format::Quiet, _) | (Format::Text(_), AgentEvent::CaughtUp { .. }) => Ok(()),
            (Format::Text(answer), AgentEvent::Delta(delta)) => {
                if let Some(line) = Activity::growing(delta) {
                    // As below.
                    drop(writeln!(anstream::stderr(), "{line}"));
                }
                if is_held_back { Ok(()) } else { answer.delta(out, delta) }
            }
            (Format::Text(_), AgentEvent::Scoped { scope, event }) => {
                if let (Some(child), AgentEvent::Entry(entry)) = (scope.last(), event.as_ref()) {
                    let names = scope.iter().map(ToString::to_string).collect();
                    let entry = Entry { scope: names, ..Entry::clone(entry) };
                    if let Some(line) = self.below.entry(child.clone()).or_default().line(&entry) {
                        // As above.
                        drop(writeln!(anstream::stderr(), "{line}"));
                    }
                }
                Ok(())
            }
            (Format::Text(answer), AgentEvent::Entry(entry)) => {
                match &entry.event {
                    Event::TurnEnded(ended) if is_held_back => {
                        form(out, ended, stdout_rendering())?;
                    }
                    _ if is_held_back => {}
                    _ => answer.entry(out, entry)?,
                }
                if let Some(line) = self.activity.line(entry) {
                    // Activity is a courtesy: a closed stderr does not stop the work.
                    drop(writeln!(anstream::stderr(), "{line}"));
                }
                Ok(())
            }
        }
    }

    /// Ends the output of a turn and says with which code the program ends.
    ///
    /// # Errors
    /// The writer's.
    pub fn end(
        &mut self,
        out: &mut dyn Write,
        (session, model): (&SessionId, &ModelSelection),
        ended: &TurnEnded,
    ) -> io::Result<Exit> {
        let exit = Exit::of_turn(ended, self.last_outcome, self.pursuit.goes_on());
        match &self.format {
            Format::Json => {
                let text = ended.structured_output.clone().unwrap_or_else(|| self.text.clone());
                let ended = (ended.clone(), exit);
                json_lines::summary(out, Summary::new(session.clone(), model, text, ended))?;
            }
            Format::Quiet => {
                if self.is_held_back() {
                    form(out, ended, Rendering::Raw)?;
                } else if !self.text.is_empty() {
                    writeln!(out, "{}", self.text.strip_suffix('\n').unwrap_or(&self.text))?;
                }
                if let Some(error) = &ended.error {
                    crate::commands::complain(&error.message);
                }
            }
            Format::Text(_) => {}
        }
        out.flush()?;
        Ok(exit)
    }
}

/// The JSON of a turn, if it ended with one.
fn form(out: &mut dyn Write, ended: &TurnEnded, rendering: Rendering) -> io::Result<()> {
    let Some(json) = &ended.structured_output else { return Ok(()) };
    match rendering {
        Rendering::Raw => writeln!(out, "{json}")?,
        Rendering::Plain | Rendering::Markdown { .. } => writeln!(out, "{}", safe::text(json))?,
    }
    out.flush()
}

fn stdout_rendering() -> Rendering {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return Rendering::Raw;
    }
    let columns =
        rustix::termios::tcgetwinsize(&stdout).map_or(80, |size| usize::from(size.ws_col.max(20)));
    let styled = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
    rendering(Some(columns), styled)
}
