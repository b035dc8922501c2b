//! One session at a terminal or a pipe: its events go out, answers and interrupts come in.

mod background;
pub mod keyboard;
pub mod questions;
pub mod screen;
pub mod slash;

use std::io::Write;

use anyhow::Context;
use oarlock_core::command::Command;
use oarlock_core::event::{AgentEvent, Event, TurnEnded};
use oarlock_core::ids::{Seq, TurnNo};
use oarlock_core::{DefaultSession, EventStream, SessionError};

use crate::console::background::Trail;
use crate::console::keyboard::Keyboard;
use crate::console::questions::Questions;
use crate::console::screen::Screen;

/// Follows a session from a given entry on.
#[derive(Debug)]
pub struct Console {
    /// The session.
    pub session: DefaultSession,
    /// What has been shown.
    pub screen: Screen,
    /// Whether as many inputs wait as may: lines are left unread while it is set, but for those that answer a question.
    pub is_full: bool,
    events: EventStream,
    keyboard: Keyboard,
    questions: Questions,
    trail: Trail,
    /// Whether somebody wanted an end.
    interrupted: bool,
}

/// Something that a console waited for.
#[derive(Debug)]
pub enum Happened {
    /// The session did something.
    Event(AgentEvent),
    /// A person typed a line; `None` at the end of input.
    Line(Option<String>),
    /// A person, or the system, wants an end.
    Interrupt,
}

impl Console {
    /// A console that shows everything after `after`.
    ///
    /// # Errors
    /// When signals cannot be caught.
    pub fn new(
        session: DefaultSession,
        after: Seq,
        screen: Screen,
        keyboard: Keyboard,
    ) -> anyhow::Result<Self> {
        let events = session.events(after);
        let (questions, trail) = (Questions::default(), Trail::after(after));
        let (is_full, interrupted) = (false, false);
        Ok(Self { session, screen, is_full, events, keyboard, questions, trail, interrupted })
    }

    /// Waits for the next thing to happen. An event has been shown when this returns, and a line that answers a question has been given.
    ///
    /// # Errors
    /// When the session has failed or the output is closed.
    pub async fn next(&mut self, out: &mut dyn Write) -> anyhow::Result<Happened> {
        let takes_lines = self.keyboard.lines.are_always_wanted() && !self.is_full;
        let wants_line = !self.questions.is_empty() || takes_lines;
        let happened = tokio::select! {
            biased;
            _ = self.keyboard.interrupts.next() => Happened::Interrupt,
            event = self.session.next_event(&mut self.events) => Happened::Event(event?),
            line = self.keyboard.lines.next(), if wants_line => Happened::Line(line),
        };
        match happened {
            Happened::Event(event) => {
                self.screen.show(out, &event)?;
                let person = self.keyboard.lines.are_of_a_person();
                match &event {
                    AgentEvent::Entry(entry) => {
                        self.trail.take(entry);
                        self.questions.take((self.session.id(), &entry.event), person);
                    }
                    // What a subagent asks is asked of whoever is at the top.
                    AgentEvent::Scoped { scope, event } => {
                        if let (Some(child), AgentEvent::Entry(entry)) = (scope.last(), &**event) {
                            self.questions.take((child, &entry.event), person);
                        }
                    }
                    AgentEvent::Delta(_) | AgentEvent::CaughtUp { .. } => {}
                }
                Ok(Happened::Event(event))
            }
            Happened::Line(line) if !self.questions.is_empty() => {
                self.answer(line).await?;
                Ok(Happened::Line(Some(String::new())))
            }
            other => Ok(other),
        }
    }

    /// Does something that an interrupt cancels, as it cancels a turn; a second one ends the program at once.
    pub async fn cancellable<T>(&mut self, work: impl Future<Output = T>) -> T {
        let (mut work, mut interrupted) = (std::pin::pin!(work), false);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = self.keyboard.interrupts.next() => {}
            }
            if interrupted {
                keyboard::leave_at_once();
            }
            interrupted = true;
            crate::commands::complain("cancelling; once more leaves at once");
            // There may be nothing to cancel any more.
            drop(self.session.tell(Command::Cancel { turn: None }).await);
        }
    }

    /// Gives an answer to the oldest question. One that came too late is told to the person, and is no failure.
    async fn answer(&mut self, line: Option<String>) -> anyhow::Result<()> {
        let Some((asked_by, command)) = self.questions.answer(line) else { return Ok(()) };
        let session = match asked_by == *self.session.id() {
            true => self.session.clone(),
            false => self.session.child(&asked_by),
        };
        match session.tell(command).await {
            Ok(_) => Ok(()),
            Err(SessionError::Rejected(rejection)) => {
                crate::commands::complain(&rejection.to_string());
                Ok(())
            }
            Err(error) => Err(error).context("the answer did not reach the session"),
        }
    }

    /// Follows one turn to its end: that of `input`, or the open one with this number. The first interrupt cancels the turn; a second one
    /// ends the program at once.
    ///
    /// # Errors
    /// When the session has failed or the output is closed; the turn is cancelled then.
    pub async fn follow_turn(
        &mut self,
        out: &mut dyn Write,
        awaited: Awaited,
    ) -> anyhow::Result<TurnEnded> {
        let result = self.follow(out, awaited).await;
        if result.is_err() {
            // The first failure is the one to tell; a session that cannot be told to stop is recovered later.
            drop(self.session.tell(Command::Cancel { turn: None }).await);
        }
        result
    }

    async fn follow(&mut self, out: &mut dyn Write, awaited: Awaited) -> anyhow::Result<TurnEnded> {
        let mut ours = awaited.turn;
        loop {
            let event = match self.next(out).await? {
                Happened::Event(event) => event,
                Happened::Line(_) => continue,
                Happened::Interrupt if self.interrupted => keyboard::leave_at_once(),
                Happened::Interrupt => {
                    self.interrupted = true;
                    crate::commands::complain("cancelling; once more leaves at once");
                    // There may be no turn at this moment; the input is withdrawn by closing then.
                    drop(self.session.tell(Command::Cancel { turn: None }).await);
                    continue;
                }
            };
            let AgentEvent::Entry(entry) = event else { continue };
            match &entry.event {
                Event::TurnStarted(started)
                    if awaited.input.is_some_and(|input| started.inputs.contains(&input)) =>
                {
                    ours = entry.turn;
                }
                Event::TurnEnded(ended) if ours.is_some() && entry.turn == ours => {
                    return Ok(ended.clone());
                }
                _ => {}
            }
        }
    }
}

/// Which turn is followed.
#[derive(Debug, Clone, Copy)]
pub struct Awaited {
    /// The turn that takes this input.
    pub input: Option<Seq>,
    /// The turn with this number.
    pub turn: Option<TurnNo>,
}
