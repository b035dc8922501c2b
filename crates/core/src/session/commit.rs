//! What a session's task has decided becomes durable and is told; and what it gives back when it rests or lets go.

use std::sync::Arc;

use crate::command::Reply;
use crate::event::Event;
use crate::ports::bus::Live;
use crate::ports::journal::JournalError;
use crate::session::trace::Line;
use crate::session::{SessionTask, Source, logged, summary};

impl SessionTask {
    /// Makes everything decided durable, then tells it and answers for it.
    pub(super) async fn commit(&mut self) -> Result<(), JournalError> {
        let is_nothing = !self.log.has_staged()
            && self.answers.is_empty()
            && self.leases.is_empty()
            && self.texts.is_empty();
        match is_nothing {
            true => Ok(()),
            // Boxed: a task that waits for the next signal has no room for it.
            false => Box::pin(self.commit_all()).await,
        }
    }

    async fn commit_all(&mut self) -> Result<(), JournalError> {
        let entries = self.log.commit().await?;
        for entry in &entries {
            logged::log(&self.log.state().id, entry);
            self.texts.extend(summary::indexed_text(entry));
            self.around.feed.publish(Live::Entry(Arc::clone(entry)));
            if let (Event::PermissionAnswered(answered), Some(effects)) =
                (&entry.event, &mut self.effects)
                && !answered.saves().is_empty()
            {
                effects.save_grants(answered.saves().to_vec());
            }
            if let (Event::TaskSettled(settled), Some(effects)) = (&entry.event, &self.effects) {
                effects.task_settled(settled);
            }
        }
        for (answer, reply) in std::mem::take(&mut self.answers) {
            // A sender that went away needs no answer.
            drop(answer.send(reply));
        }
        for (call, lease) in std::mem::take(&mut self.leases) {
            // A call that was dropped needs none.
            drop(call.send(lease));
        }
        if let Some(last) = entries.last() {
            let (last, hash) = (last.seq, self.log.head());
            self.around.trace.write(|| Line::Committed { last, hash });
        }
        self.project(&entries).await;
        Ok(())
    }

    pub(super) async fn let_go(&mut self) -> Result<(), JournalError> {
        if let Some(effects) = &mut self.effects {
            effects.end();
            effects.saved().await;
        }
        if let Source::Live(inbox) = &mut self.source {
            inbox.close(&self.log.state().id);
        }
        self.project_last().await;
        let entry = self.log.release(self.now).await?;
        self.around.feed.publish(Live::Entry(entry));
        for closer in self.closers.drain(..) {
            // A sender that went away needs no answer.
            drop(closer.send(Ok(Reply::Done)));
        }
        Ok(())
    }

    /// Gives back what a turn took: thousands of sessions may rest at a time, and for long.
    pub(super) fn rest(&mut self) {
        self.growing.rest();
        if let Some(effects) = &mut self.effects {
            effects.rest();
        }
    }
}
