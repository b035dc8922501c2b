//! The catalogue half of the store in memory.

use std::cmp::Reverse;

use bytes::Bytes;

use super::{BTreeSet, Data, Stored};
use crate::ids::{SessionId, Timestamp};
use crate::ports::journal::{
    ArchivedFilter, Filter, Hit, JournalError, ListCursor, Listed, Projection, QUERY_WORDS_MAX,
    Summary, TenantFilter, UsageRow, query_words,
};

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
        let listed = self.matching(filter).into_iter().map(|(id, stored)| Listed {
            id: id.clone(),
            updated: stored.updated(),
            tail: stored.next() - 1,
            held_by: self.holder(stored).cloned(),
            summary: Ok(stored.summary.clone()),
        });
        listed.collect()
    }

    pub(super) fn search(&self, query: &str, filter: &Filter) -> Vec<Hit> {
        let wanted: BTreeSet<String> = words(query).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let mut hits = Vec::new();
        let sessions = Filter { limit: None, ..filter.clone() };
        for (id, stored) in self.matching(&sessions) {
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
        hits.into_iter().take(most(filter)).map(|(_, hit)| hit).collect()
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

    /// Sessions that a filter means, in the order of lists.
    fn matching<'a>(&'a self, filter: &Filter) -> Vec<(&'a SessionId, &'a Stored)> {
        let wanted: BTreeSet<String> =
            words(filter.text.as_deref().unwrap_or_default()).take(QUERY_WORDS_MAX).collect();
        let mut rows: Vec<_> = self
            .sessions
            .iter()
            .map(|(id, stored)| (place(id, stored), stored))
            .filter(|(place, stored)| {
                self.is_named(filter, place.1) && means(filter, place, stored)
            })
            .filter(|(_, stored)| wanted.is_empty() || stored.has_all(&wanted))
            .collect();
        rows.sort_by(|(one, _), (other, _)| other.cmp(one));
        let rows = rows.into_iter().map(|((_, id), stored)| (id, stored));
        rows.take(most(filter)).collect()
    }
}

impl Data {
    /// Whether a session has a name that a filter means.
    fn is_named(&self, filter: &Filter, session: &SessionId) -> bool {
        filter.name.as_ref().is_none_or(|meant| {
            let own = self.sessions.get(session).and_then(|stored| stored.name.as_ref());
            own.is_some_and(|own| {
                own.tenant == meant.tenant
                    && meant.name.as_ref().is_none_or(|name| *name == own.name)
                    && self.names.get(own) == Some(session)
            })
        })
    }
}

impl Stored {
    fn updated(&self) -> Timestamp {
        self.summary.as_ref().map(|summary| summary.updated).unwrap_or_default()
    }

    fn has_all(&self, wanted: &BTreeSet<String>) -> bool {
        let title = self.summary.iter().map(|summary| summary.title.as_str());
        let texts = title.chain(self.texts.values().map(String::as_str));
        let found: BTreeSet<String> = texts.flat_map(words).collect();
        wanted.is_subset(&found)
    }
}

type Place<'a> = (Timestamp, &'a SessionId);

/// Where a session stands; what was used later is greater.
fn place<'a>(id: &'a SessionId, stored: &Stored) -> Place<'a> {
    (stored.updated(), id)
}

fn most(filter: &Filter) -> usize {
    filter.limit.map_or(usize::MAX, |limit| limit as usize)
}

/// Whether a filter means this session, but for its words.
fn means(filter: &Filter, place: &Place<'_>, stored: &Stored) -> bool {
    let is_behind = |after: &ListCursor| *place < (after.updated, &after.id);
    if filter.id.as_ref().is_some_and(|id| id != place.1)
        || !filter.after.as_ref().is_none_or(is_behind)
    {
        return false;
    }
    let Some(summary) = &stored.summary else { return asks_for_nothing_known(filter) };
    let archived = match filter.archived {
        ArchivedFilter::Without => !summary.archived,
        ArchivedFilter::With => true,
        ArchivedFilter::Only => summary.archived,
    };
    let tenant = match &filter.tenant {
        None => true,
        Some(TenantFilter::Nobody) => summary.tenant.is_none(),
        Some(TenantFilter::Of(tenant)) => summary.tenant.as_ref() == Some(tenant),
    };
    let is_later = |at: Timestamp, after: Option<Timestamp>| after.is_none_or(|after| at > after);
    let is_earlier =
        |at: Timestamp, before: Option<Timestamp>| before.is_none_or(|before| at < before);
    archived
        && tenant
        && (filter.children || summary.parent.is_none())
        && filter.cwd.as_ref().is_none_or(|cwd| *cwd == summary.cwd)
        && filter.activity.is_none_or(|activity| activity == summary.activity)
        && filter.labels.iter().all(|(name, value)| summary.labels.get(name) == Some(value))
        && is_later(summary.updated, filter.updated_after)
        && is_earlier(summary.updated, filter.updated_before)
        && is_later(summary.created, filter.created_after)
        && is_earlier(summary.created, filter.created_before)
}

/// Whether a filter means a session of which nothing is known but its id.
fn asks_for_nothing_known(filter: &Filter) -> bool {
    let nothing = Filter {
        id: filter.id.clone(),
        archived: filter.archived,
        children: filter.children,
        after: filter.after.clone(),
        limit: filter.limit,
        text: filter.text.clone(),
        name: filter.name.clone(),
        ..Filter::default()
    };
    *filter == nothing && filter.archived != ArchivedFilter::Only
}

fn words(text: &str) -> impl Iterator<Item = String> {
    query_words(text).map(str::to_lowercase)
}

/// Up to sixteen words of `text`, from a little before the first word found.
fn snippet(text: &str, wanted: &BTreeSet<String>) -> String {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let hit = parts.iter().position(|part| words(part).any(|word| wanted.contains(&word)));
    let start = hit.unwrap_or_default().saturating_sub(4);
    parts[start..].iter().take(16).copied().collect::<Vec<_>>().join(" ")
}
