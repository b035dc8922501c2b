//! What a session's task stores beside the journal: its place in lists, texts for searches, and now and then a checkpoint. None of it ever stops a session.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, Either, select};

use crate::event::{Entry, Event};
use crate::ids::Seq;
use crate::ports::journal::{JournalError, Projection, Summary};
use crate::session::checkpoint::Checkpoint;
use crate::session::{SessionTask, summary};

impl SessionTask {
    /// After a commit.
    pub(super) async fn project(&mut self, entries: &[Arc<Entry>]) {
        let is = |what: fn(&Event) -> bool| entries.iter().any(|entry| what(&entry.event));
        let many = self.since_checkpoint() >= self.around.limits.checkpoint_entries;
        let checkpoint = (many && is(|event| matches!(event, Event::TurnEnded(_))))
            || is(|event| matches!(event, Event::ContextCompacted(_)));
        let texts_bytes: usize = self.texts.iter().map(|text| text.text.len()).sum();
        let activity = summary::activity(self.log.state());
        let is_listed = self.listed.is_none_or(|listed| listed == activity);
        let texts_are_long = texts_bytes > self.around.limits.summary_bytes / 2;
        if checkpoint || is(summary::changes) || texts_are_long || !is_listed {
            self.put_projection(self.around.limits.summary_ms, checkpoint).await;
        }
    }

    /// Whether the list is known to have the session as it is.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.is_some()
    }

    /// When the session begins, and when it is let go, everything being committed.
    pub(crate) async fn project_last(&mut self) {
        let checkpoint = self.since_checkpoint() >= self.around.limits.checkpoint_last_entries;
        if self.listed.is_none() || checkpoint {
            self.put_projection(self.around.limits.summary_last_ms, checkpoint).await;
        }
    }

    fn since_checkpoint(&self) -> Seq {
        self.log.state().tip - self.checkpoint
    }

    /// A list that is out of date is put right by the next summary, and a checkpoint that is missing costs time on opening.
    async fn put_projection(&mut self, within_ms: u64, checkpoint: bool) {
        let clock = &self.around.clock;
        let mut deadline = clock.sleep_until(clock.now().after(within_ms));
        let summary = summary::summary(self.log.state());
        let texts = std::mem::take(&mut self.texts);
        let put = Projection { summary: &summary, texts: &texts, checkpoint: None };
        let listed = in_time(self.around.catalog.put_projection(put), &mut deadline).await;
        self.listed = listed.is_ok().then_some(summary.activity);
        if let Err(error) = &listed {
            tracing::debug!(session = %summary.id, %error, "the session list is out of date");
            let bytes: usize = texts.iter().map(|text| text.text.len()).sum();
            if bytes <= self.around.limits.summary_bytes {
                self.texts = texts;
            }
        }
        // A replay acts nothing out, and a checkpoint is for the next opening.
        if !checkpoint || self.effects.is_none() {
            return;
        }
        // Whatever becomes of it, the next one is as far away: a store that does not take them is not asked at every turn.
        self.checkpoint = self.log.state().tip;
        if listed.is_ok()
            && let Err(error) = in_time(self.put_checkpoint(&summary), &mut deadline).await
        {
            tracing::debug!(session = %summary.id, %error, "no checkpoint was written");
        }
    }

    fn put_checkpoint<'a>(
        &'a self,
        summary: &'a Summary,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        let bytes_max = self.around.limits.checkpoint_bytes;
        let checkpoint = Checkpoint { head: self.log.head(), state: self.log.state().clone() };
        Box::pin(async move {
            let encode = move || checkpoint.encode(bytes_max);
            // Dropped at the deadline, it runs on to its end and nobody hears of it.
            let encoded = tokio::task::spawn_blocking(encode).await;
            let Ok(Some(bytes)) = encoded else {
                let why = format!("its state is not to be written within {bytes_max} bytes");
                return Err(JournalError::Unavailable { why });
            };
            let bytes = Bytes::from(bytes);
            let put = Projection { summary, texts: &[], checkpoint: Some(&bytes) };
            self.around.catalog.put_projection(put).await
        })
    }
}

async fn in_time(
    put: BoxFuture<'_, Result<(), JournalError>>,
    deadline: &mut BoxFuture<'static, ()>,
) -> Result<(), JournalError> {
    match select(put, deadline).await {
        Either::Left((result, _)) => result,
        Either::Right(((), _)) => {
            let why = "the catalogue does not answer".to_owned();
            Err(JournalError::Unavailable { why })
        }
    }
}
