//! Summaries that take the place of a conversation's beginning, for a client that shows them.

use agent_client_protocol::v1::schema::{CompactionStatus, CompactionUpdate, SessionUpdate};
use oarlock_core::event::Event;
use oarlock_core::ids::Seq;
use oarlock_core::message::Part;

use crate::acp::content::text;

/// Bytes of a summary that are shown, the first ones.
const SUMMARY_MAX: usize = 64 * 1024;

/// The summary that is being made.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    /// Its name: that of the entry that says it was begun.
    open: Option<Seq>,
}

impl Compaction {
    pub(super) fn entry(&mut self, seq: Seq, event: &Event) -> Vec<SessionUpdate> {
        match event {
            Event::SummaryStarted(_) => {
                let before = self.open.replace(seq);
                let before = before.map(|seq| update(seq, CompactionStatus::Cancelled));
                let begun = update(seq, CompactionStatus::InProgress);
                before.into_iter().chain([begun]).map(SessionUpdate::CompactionUpdate).collect()
            }
            Event::ContextCompacted(compacted) => {
                let summary = compacted.content.iter().skip(compacted.pinned as usize);
                let summary = summary
                    .filter_map(Part::as_text)
                    .map(|words| text(&words[..words.floor_char_boundary(SUMMARY_MAX)]));
                let done = update(self.open.take().unwrap_or(seq), CompactionStatus::Completed);
                vec![SessionUpdate::CompactionUpdate(done.summary(summary.collect::<Vec<_>>()))]
            }
            Event::SummaryFailed(failed) => {
                let ended = update(self.open.take().unwrap_or(seq), CompactionStatus::Failed);
                vec![SessionUpdate::CompactionUpdate(ended.error(failed.why.clone()))]
            }
            _ => Vec::new(),
        }
    }
}

fn update(seq: Seq, status: CompactionStatus) -> CompactionUpdate {
    CompactionUpdate::new(format!("c{seq}"), status)
}
