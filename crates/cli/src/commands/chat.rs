//! `oarlock chat`: one session, prompt after prompt. Lines typed while a turn runs wait for its end, but `/steer` reaches its next step.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};

use oarlock_core::DefaultSession;
use oarlock_core::command::Command;
use oarlock_core::event::{AgentEvent, Delivery, Entry, Event, Goal, InputSource};
use oarlock_core::ids::Seq;
use oarlock_core::ports::tool::Place;
use oarlock_core::prompt::answer::{Answer, Ask, Change, ask};
use oarlock_core::prompt::slash::Typed;
use oarlock_core::session::goal::CONTINUATIONS_MAX;
use oarlock_core::session::recover::Recovery;
use oarlock_core::spec::Answers;

use super::mentioned::Rights;
use super::run::{Opening, admit, content};
use super::{Frame, complain};
use crate::args::{ChatArgs, OutputArgs, Resumed};
use crate::assembly::{Assembled, CliAgentBuilder, Keep};
use crate::console::keyboard::{Keyboard, Role};
use crate::console::screen::Screen;
use crate::console::slash::{self, Wanted};
use crate::console::{Console, Happened};
use crate::exit::Exit;
use crate::terminal::safe;

pub(super) fn run(frame: &Frame, args: &ChatArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let loaded = frame.load_with(&args.model)?;
    let person = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let keep = if args.ephemeral { Keep::InMemory } else { Keep::OnDisk };
    super::block_on(async {
        let assembled = CliAgentBuilder::new(&loaded).keep(keep).build()?;
        let answers = if person { Answers::Somebody } else { Answers::Nobody };
        let opening = Opening {
            frame,
            loaded: &loaded,
            model: &args.model,
            roots: &args.roots,
            answers,
            output: None,
        };
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
    let pending = target.before.iter().flat_map(|before| &before.pending);
    let (outcomes, waiting): (Vec<_>, Vec<_>) =
        pending.partition(|input| input.admitted.source == InputSource::Background);
    let outcomes = outcomes.iter().map(|input| input.seq).collect();
    let waiting = waiting.len();
    let opened = opening.open(assembled, target, Recovery::Interrupt).await?;
    if person {
        complain(&format!(
            "session {} with {}; /help lists commands, /exit or Ctrl-D leaves, Ctrl-C cancels",
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
    let mut chat = Chat {
        assembled,
        opening,
        place,
        running: false,
        waiting,
        outcomes,
        leaving: None,
        person,
    };
    let result = chat.talk(&mut console, out).await;
    opened.session.close().await?;
    result
}

/// Inputs that wait for a turn; further lines are left unread until there are fewer. A session takes 256.
const WAITING_MAX: usize = 128;

/// How far a conversation is.
struct Chat<'a> {
    assembled: &'a Assembled,
    opening: &'a Opening<'a>,
    place: Place,
    running: bool,
    /// Inputs that no turn has taken.
    waiting: usize,
    /// Ends of background tasks that no turn has taken.
    outcomes: BTreeSet<Seq>,
    leaving: Option<Leaving>,
    person: bool,
}

/// How a conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// Somebody left: when nothing waits for a turn. Background tasks end with the session.
    Now,
    /// There are no more lines: when all work is done.
    WhenDone,
}

impl Chat<'_> {
    async fn talk(&mut self, console: &mut Console, out: &mut dyn Write) -> anyhow::Result<Exit> {
        self.invite();
        loop {
            match console.next(out).await? {
                Happened::Event(AgentEvent::Entry(entry)) => self.take(&entry),
                Happened::Event(
                    AgentEvent::Delta(_) | AgentEvent::CaughtUp { .. } | AgentEvent::Scoped { .. },
                ) => {}
                Happened::Interrupt if self.running => {
                    drop(console.session.tell(Command::Cancel { turn: None }).await);
                }
                Happened::Interrupt => return Ok(Exit::Done),
                Happened::Line(None) => {
                    let how = if self.person { Leaving::Now } else { Leaving::WhenDone };
                    self.leaving.get_or_insert(how);
                }
                Happened::Line(Some(line)) if line.trim() == "/exit" => {
                    self.leaving = Some(Leaving::Now);
                }
                Happened::Line(Some(line)) if line.trim().is_empty() => {}
                Happened::Line(Some(line)) => self.say(console, &line, out).await?,
            }
            console.is_full = self.waiting >= WAITING_MAX;
            if self.leaving.is_some() && !self.running && self.waiting == 0 {
                let now = self.leaving == Some(Leaving::Now);
                if now || console.is_quiet().await? {
                    return Ok(Exit::Done);
                }
            }
        }
    }

    /// Does what a line says. One that cannot be done is refused, and the next may be.
    async fn say(
        &mut self,
        console: &mut Console,
        line: &str,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        match self.perform(console, line, out).await {
            Err(error) if error.is::<std::io::Error>() => return Err(error),
            Err(error) => complain(&error.to_string()),
            Ok(()) => {}
        }
        self.invite();
        Ok(())
    }

    async fn perform(
        &mut self,
        console: &mut Console,
        line: &str,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let slash = match slash::read(self.opening.loaded, line)? {
            Typed::Words(words) => {
                return self.admit(&console.session, (Delivery::Queue, None), words).await;
            }
            Typed::Slash(slash) => slash,
        };
        let model = |name: &str| self.opening.maker().named(self.assembled, name);
        let answer = match slash::wanted(slash, model)? {
            Wanted::Help => {
                slash::help(self.opening.loaded, &[("exit", "leave; the session stays")])?
            }
            // Without a turn to steer, the words begin the next one.
            Wanted::Steer(words) => {
                return self.admit(&console.session, (Delivery::Steer, None), words).await;
            }
            Wanted::Pursue(words) => {
                let goal = Goal { objective: words.clone(), continuations_max: CONTINUATIONS_MAX };
                return self.admit(&console.session, (Delivery::Queue, Some(goal)), words).await;
            }
            Wanted::Ask(asked) => {
                if matches!(asked, Ask::Change(Change::Compact(_))) {
                    complain("summarising; Ctrl-C cancels");
                }
                let session = console.session.clone();
                let answer = console.cancellable(ask(&session, asked)).await?;
                if matches!(answer, Answer::Withdraw { .. }) {
                    self.waiting = self.waiting.saturating_sub(1);
                }
                answer
            }
        };
        writeln!(out, "{}", safe::text(&answer.to_string()))?;
        Ok(out.flush()?)
    }

    async fn admit(
        &mut self,
        session: &DefaultSession,
        (delivery, goal): (Delivery, Option<Goal>),
        words: String,
    ) -> anyhow::Result<()> {
        let spec = session.state().await?.spec;
        let rights = Rights { modes: spec.modes.clone(), settings: spec.settings.clone() };
        rights.check(&words, &self.place).await?;
        let content = content(self.assembled, &self.place, (words, true), &[]).await?;
        admit(session, (delivery, goal), content).await?;
        self.waiting += 1;
        Ok(())
    }

    fn take(&mut self, entry: &Entry) {
        match &entry.event {
            Event::InputAdmitted(input) if input.source == InputSource::Background => {
                self.outcomes.insert(entry.seq);
            }
            Event::StepStarted(started) => self.taken(&started.inputs),
            Event::TurnStarted(started) => {
                self.running = true;
                self.taken(&started.inputs);
            }
            Event::TurnEnded(_) => {
                self.running = false;
                self.invite();
            }
            _ => {}
        }
    }

    fn taken(&mut self, inputs: &[Seq]) {
        let of_people = inputs.iter().filter(|input| !self.outcomes.remove(input)).count();
        self.waiting = self.waiting.saturating_sub(of_people);
    }

    fn invite(&self) {
        if self.person && self.waiting == 0 && !self.running {
            let mut screen = anstream::stderr();
            // A prompt sign is a courtesy.
            drop(screen.write_all(b"> ").and_then(|()| screen.flush()));
        }
    }
}
