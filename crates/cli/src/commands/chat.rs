//! `oarlock chat`: one session, prompt after prompt. Lines typed while a turn runs wait for its end, but `/steer` reaches its next step.

use std::io::{IsTerminal, Write};

use oarlock_core::DefaultSession;
use oarlock_core::command::Command;
use oarlock_core::event::{AgentEvent, Delivery, Event};
use oarlock_core::ports::tool::Place;
use oarlock_core::session::recover::Recovery;
use oarlock_core::spec::Answers;

use super::run::{Opening, admit, content};
use super::{Frame, complain};
use crate::args::{ChatArgs, OutputArgs, Resumed};
use crate::assembly::{Assembled, Keep, assemble};
use crate::console::keyboard::{Keyboard, Role};
use crate::console::screen::Screen;
use crate::console::{Console, Happened};
use crate::exit::Exit;

pub(super) fn run(frame: &Frame, args: &ChatArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let loaded = frame.load_with(&args.model)?;
    let person = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let keep = if args.ephemeral { Keep::InMemory } else { Keep::OnDisk };
    super::block_on(async {
        let assembled = assemble(&loaded, keep, None)?;
        let answers = if person { Answers::Somebody } else { Answers::Nobody };
        let opening =
            Opening { frame, loaded: &loaded, model: &args.model, roots: &args.roots, answers };
        let result = talk(&assembled, &opening, (args, person), out).await;
        assembled.close().await;
        result
    })
}

async fn talk(
    assembled: &Assembled,
    opening: &Opening<'_>,
    (args, person): (&ChatArgs, bool),
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let resumed = match args.resume.as_deref() {
        None => Resumed::New,
        Some("") => Resumed::Latest,
        Some(id) => Resumed::Id(id.to_owned()),
    };
    let target = opening.target(assembled, resumed).await?;
    let place = target.place.clone();
    let opened = opening.open(assembled, target, Recovery::Interrupt).await?;
    if person {
        complain(&format!(
            "session {} with {}; /steer WORDS reaches a running turn, /exit or Ctrl-D leaves, Ctrl-C cancels",
            opened.session.id(),
            opened.model
        ));
    }
    let screen = Screen::new(OutputArgs::default());
    let mut console = Console::new(
        opened.session.clone(),
        opened.after,
        screen,
        Keyboard::new(Role::Chat { person })?,
    )?;
    let mut chat = Chat { assembled, place, running: false, waiting: 0, leaving: false, person };
    let result = chat.talk(&mut console, out).await;
    opened.session.close().await?;
    result
}

/// How far a conversation is.
struct Chat<'a> {
    assembled: &'a Assembled,
    place: Place,
    running: bool,
    /// Inputs that no turn has taken.
    waiting: usize,
    leaving: bool,
    person: bool,
}

impl Chat<'_> {
    async fn talk(&mut self, console: &mut Console, out: &mut dyn Write) -> anyhow::Result<Exit> {
        self.invite();
        loop {
            match console.next(out).await? {
                Happened::Event(AgentEvent::Entry(entry)) => self.take(&entry.event),
                Happened::Event(AgentEvent::Delta(_) | AgentEvent::CaughtUp { .. }) => {}
                Happened::Interrupt if self.running => {
                    drop(console.session.tell(Command::Cancel).await);
                }
                Happened::Interrupt => return Ok(Exit::Done),
                Happened::Line(None) => self.leaving = true,
                Happened::Line(Some(line)) if line.trim() == "/exit" => self.leaving = true,
                Happened::Line(Some(line)) if line.trim().is_empty() => {}
                Happened::Line(Some(line)) => self.say(&console.session, &line).await?,
            }
            if self.leaving && !self.running && self.waiting == 0 {
                return Ok(Exit::Done);
            }
        }
    }

    /// Admits a line. Without a turn to steer, steering words begin the next one.
    async fn say(&mut self, session: &DefaultSession, line: &str) -> anyhow::Result<()> {
        let (delivery, words) = match line.trim_start().strip_prefix("/steer") {
            Some(words) if words.trim().is_empty() => {
                complain(
                    "/steer: say what the turn is to do, for example `/steer use the other file`",
                );
                return Ok(());
            }
            Some(words) if words.starts_with(char::is_whitespace) => {
                (Delivery::Steer, words.trim())
            }
            Some(_) | None => (Delivery::Queue, line),
        };
        // Lines are not lost with the chat: one that cannot be taken is refused, and the next may be.
        match content(self.assembled, &self.place, words.to_owned(), &[]).await {
            Ok(content) => admit(session, delivery, content).await?,
            Err(error) => {
                complain(&error.to_string());
                return Ok(());
            }
        };
        self.waiting += 1;
        Ok(())
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::StepStarted(started) => {
                self.waiting = self.waiting.saturating_sub(started.inputs.len());
            }
            Event::TurnStarted(started) => {
                self.running = true;
                self.waiting = self.waiting.saturating_sub(started.inputs.len());
            }
            Event::TurnEnded(_) => {
                self.running = false;
                self.invite();
            }
            _ => {}
        }
    }

    fn invite(&self) {
        if self.person && self.waiting == 0 {
            let mut screen = anstream::stderr();
            // A prompt sign is a courtesy.
            drop(screen.write_all(b"> ").and_then(|()| screen.flush()));
        }
    }
}
