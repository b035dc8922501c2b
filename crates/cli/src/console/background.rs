//! What a command does about background tasks: it waits for them and for the turns that their ends start, or ends them.

use std::collections::BTreeSet;
use std::io::Write;
use std::pin::pin;

use oarlock_core::command::Status;
use oarlock_core::event::{AgentEvent, Entry, Event, InputSource, TurnEnded};
use oarlock_core::ids::{Seq, TurnNo};
use oarlock_core::session::why::Awaited;

use super::{Console, Happened, keyboard};
use crate::commands::complain;

/// What has been seen of a session, as far as its background tasks are concerned.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// The last entry.
    seen: Seq,
    /// Ends of tasks that no turn has taken.
    outcomes: BTreeSet<Seq>,
    /// The running turn, when nothing but ends of tasks started it.
    own: Option<TurnNo>,
    released: bool,
}

impl Trail {
    /// What is seen of a session after an entry.
    pub(super) fn after(seen: Seq) -> Self {
        Self { seen, ..Self::default() }
    }

    pub(super) fn take(&mut self, entry: &Entry) {
        self.seen = entry.seq;
        self.released = matches!(entry.event, Event::WriterReleased);
        match &entry.event {
            Event::InputAdmitted(input) if input.source == InputSource::Background => {
                self.outcomes.insert(entry.seq);
            }
            Event::TurnStarted(started) => {
                let own = started.inputs.iter().all(|input| self.outcomes.contains(input));
                self.own = entry.turn.filter(|_| own);
                self.outcomes.retain(|input| !started.inputs.contains(input));
            }
            Event::TurnEnded(_) => self.own = None,
            _ => {}
        }
    }

    /// Whether a session that is doing like this, all of which was seen, has nothing under way in the background.
    fn is_quiet(&self, status: &Status) -> bool {
        // The turn that an end starts begins when its hooks have ended.
        let hooked = status.waits.iter().any(|wait| matches!(wait.on, Awaited::Hooks { .. }));
        let begins = hooked && !self.outcomes.is_empty();
        status.tasks.running.is_empty() && self.own.is_none() && !begins
    }
}

impl Console {
    /// After a turn: waits for the background tasks and the turns that their ends start, unless they are not to be waited for, and then ends what
    /// is left of them. Returns the end of the last turn. The first interrupt ends them, too; a second one the program.
    ///
    /// # Errors
    /// When the session has failed or the output is closed.
    pub async fn finish_background(
        &mut self,
        out: &mut dyn Write,
        last: TurnEnded,
        waits: bool,
    ) -> anyhow::Result<TurnEnded> {
        let last = match waits && !self.interrupted {
            true => self.wait_for_background(out, last).await?,
            false => last,
        };
        self.catch_up(out).await?;
        match self.trail.is_quiet(&self.session.status().await?) {
            true => Ok(last),
            false => self.end_background(out, last).await,
        }
    }

    /// Whether all that is committed has been shown, and nothing is under way in the background.
    ///
    /// # Errors
    /// When the session does not say.
    pub async fn is_quiet(&self) -> anyhow::Result<bool> {
        let status = self.session.status().await?;
        Ok(self.trail.seen >= status.tip && self.trail.is_quiet(&status))
    }

    /// Shows what is committed.
    async fn catch_up(&mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        let tip = self.session.status().await?.tip;
        while self.trail.seen < tip {
            if let Happened::Interrupt = self.next(out).await? {
                self.interrupted = true;
                return Ok(());
            }
        }
        Ok(())
    }

    async fn wait_for_background(
        &mut self,
        out: &mut dyn Write,
        mut last: TurnEnded,
    ) -> anyhow::Result<TurnEnded> {
        let (mut status, mut told) = (self.session.status().await?, false);
        loop {
            if self.trail.seen >= status.tip {
                if self.trail.is_quiet(&status) {
                    return Ok(last);
                }
                let running = status.tasks.running.len();
                if self.screen.is_for_people() && running > 0 && !told {
                    complain(&format!(
                        "background tasks that run: {running}; waiting for them, Ctrl-C ends them"
                    ));
                }
                told = running > 0;
            }
            let entry = match self.next(out).await? {
                Happened::Event(AgentEvent::Entry(entry)) => entry,
                Happened::Interrupt => {
                    self.interrupted = true;
                    complain("ending background tasks; once more leaves at once");
                    return Ok(last);
                }
                Happened::Event(_) | Happened::Line(_) => continue,
            };
            match &entry.event {
                Event::TurnEnded(ended) => last = ended.clone(),
                Event::TurnStarted(_) | Event::TaskSettled(_) => {}
                _ => continue,
            }
            status = self.session.status().await?;
        }
    }

    /// Closes the session, which ends its tasks, and shows how they end.
    async fn end_background(
        &mut self,
        out: &mut dyn Write,
        mut last: TurnEnded,
    ) -> anyhow::Result<TurnEnded> {
        let session = self.session.clone();
        let (mut close, mut closed) = (pin!(session.close()), false);
        while !(closed && self.trail.released) {
            let own = self.trail.own.is_some();
            let happened = tokio::select! {
                biased;
                ended = &mut close, if !closed => {
                    ended?;
                    closed = true;
                    continue;
                }
                happened = self.next(out) => happened?,
            };
            match happened {
                Happened::Event(AgentEvent::Entry(entry)) => {
                    if let (Event::TurnEnded(ended), true) = (&entry.event, own) {
                        last = ended.clone();
                    }
                }
                Happened::Interrupt if self.interrupted => keyboard::leave_at_once(),
                Happened::Interrupt => self.interrupted = true,
                Happened::Event(_) | Happened::Line(_) => {}
            }
        }
        Ok(last)
    }
}
