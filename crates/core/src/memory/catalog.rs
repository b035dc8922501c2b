//! The catalogue half of the store in memory.

use std::cmp::Reverse;

use bytes::Bytes;

use super::{BTreeSet, Data, Stored};
use crate::ids::SessionId;
use crate::ports::journal::{Filter, Hit, JournalError, Listed, Projection, Summary, UsageRow};

impl Data {
    pub(super) fn put_projection(
        &mut self,
        projection: Projection<'_>,
    ) -> Result<(), JournalError> {
        let Projection { summary, texts, checkpoint } = projection;
        let stored = self.session(&summary.id)?;
        let place = |summary: &Summary| (summary.epoch, summary.upto);
        if stored.summary.as_ref().is_some_and(|stored| place(stored) > place(summary)) {
            return Ok(());
        }
        let texts_bytes: usize = texts.iter().map(|text| text.text.len()).sum();
        self.reserve(texts_bytes + checkpoint.map_or(0, Bytes::len))?;
        let stored = self.sessions.get_mut(&summary.id).expect("the session was found above");
        stored.summary = Some(summary.clone());
        let mut replaced = 0;
        for text in texts {
            replaced += stored.texts.insert(text.seq, text.text.clone()).map_or(0, |old| old.len());
        }
        if let Some(checkpoint) = checkpoint {
            replaced += stored.checkpoint.replace(checkpoint.clone()).map_or(0, |old| old.len());
        }
        self.bytes = self.bytes.saturating_sub(replaced);
        Ok(())
    }

    pub(super) fn list(&self, filter: &Filter) -> Vec<Listed> {
        let mut rows: Vec<_> = self.matching(filter).collect();
        rows.sort_by_key(|(id, stored)| {
            Reverse((stored.summary.as_ref().map(|summary| summary.updated), *id))
        });
        let limit = filter.limit.map_or(usize::MAX, |limit| limit as usize);
        let listed = rows.into_iter().take(limit).map(|(id, stored)| Listed {
            id: id.clone(),
            tail: stored.next() - 1,
            held_by: self.holder(stored).cloned(),
            summary: Ok(stored.summary.clone()),
        });
        listed.collect()
    }

    pub(super) fn search(&self, query: &str, limit: u32) -> Vec<Hit> {
        let wanted: BTreeSet<String> = words(query).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let mut hits = Vec::new();
        for (id, stored) in &self.sessions {
            for (seq, text) in &stored.texts {
                let found: Vec<String> = words(text).collect();
                if !wanted.iter().all(|word| found.contains(word)) {
                    continue;
                }
                let score = found.iter().filter(|word| wanted.contains(*word)).count();
                let snippet = snippet(text, &wanted);
                hits.push((score, Hit { session: id.clone(), seq: *seq, snippet }));
            }
        }
        hits.sort_by_key(|(score, _)| Reverse(*score));
        hits.into_iter().take(limit as usize).map(|(_, hit)| hit).collect()
    }

    pub(super) fn usage(&self, filter: &Filter) -> UsageRow {
        let mut row = UsageRow::default();
        for (_, stored) in self.matching(filter) {
            row.sessions += 1;
            if let Some(summary) = &stored.summary {
                row.usage += summary.usage;
                row.cost_micros =
                    row.cost_micros.saturating_add(summary.cost_micros.unwrap_or_default());
            }
        }
        row
    }

    /// Sessions that a filter lets through. One without a summary is in no folder and not archived.
    fn matching<'a>(
        &'a self,
        filter: &'a Filter,
    ) -> impl Iterator<Item = (&'a SessionId, &'a Stored)> {
        self.sessions.iter().filter(|(_, stored)| match &stored.summary {
            None => filter.cwd.is_none(),
            Some(summary) => {
                (filter.archived || !summary.archived)
                    && filter.cwd.as_ref().is_none_or(|cwd| *cwd == summary.cwd)
            }
        })
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Up to sixteen words of `text`, from a little before the first word found.
fn snippet(text: &str, wanted: &BTreeSet<String>) -> String {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let hit = parts.iter().position(|part| words(part).any(|word| wanted.contains(&word)));
    let start = hit.unwrap_or_default().saturating_sub(4);
    parts[start..].iter().take(16).copied().collect::<Vec<_>>().join(" ")
}
