//! How a fork comes to live: its place is found, what it will be is folded and checked, and only then are the entries copied.
//!
//! The source is read and nothing else: it is neither woken nor written, and may go on or be purged meanwhile. A crash while copying leaves a beginning
//! without its mark, which says so to whoever opens it.

use std::sync::Arc;

use super::{DefaultAgentCore, Started};
use crate::agent::error::AgentError;
use crate::agent::observer::SessionCreateInfo;
use crate::agent::origin::ForkSession;
use crate::event::{Entry, Event, ForkPoint, SessionCreated};
use crate::ids::{Seq, SessionId};
use crate::ports::journal::{FRAME_BYTES_MAX, Frame, IndexedText, JournalError, Projection};
use crate::session::fold::Folded;
use crate::session::fork::{Cut, ending};
use crate::session::log::{Log, READ_BYTES};
use crate::session::state::State;
use crate::session::summary::{indexed_text, summary};
use crate::session::trace::Trace;
use crate::session::{told, usable};

/// A source, and the place in it.
struct Found {
    tip: Seq,
    cut: Seq,
    first: Entry,
    /// Whether it is no fork whose making was cut.
    whole: bool,
}

impl DefaultAgentCore {
    pub(super) async fn fork(
        &self,
        id: &SessionId,
        order: ForkSession,
    ) -> Result<Started, AgentError> {
        let ForkSession { from, at, change, backends, .. } = order;
        let unread = |source| match source {
            JournalError::NotFound { session } => AgentError::SessionNotFound { session },
            source => AgentError::Restore { session: from.clone(), source },
        };
        let found = self.find_cut(&from, at).await.map_err(unread)?;
        let (cut, first) = begin(id, &from, at, found)?;
        let state = self.fold_until(&from, &first, cut).await.map_err(unread)?;
        let mut spec = state.spec.clone();
        if let Some(change) = &change {
            // An archived session refuses changes, and its fork is not archived.
            let open = State { archived: false, ..state.clone() };
            let models = backends.models(&self.shared.ports.models);
            usable::check_load(&open, (&self.shared.limits, models.as_ref()), change)?;
            let spec = Arc::make_mut(&mut spec);
            Arc::make_mut(&mut spec.settings).apply(change);
        }
        let toolbox = self.toolbox(&spec, None, &backends).await?;
        let (log, _) = self.create_log(id, (first, Vec::new())).await?;
        let mut log = self.copy(&from, log, (cut, state)).await.map_err(unread)?;
        let now = self.shared.ports.clock.now();
        for event in ending(log.state(), change, now) {
            log.stage(now, event);
        }
        for entry in log.commit().await? {
            self.emitter(id).publish(told((*entry).clone()));
        }
        let (fence, folded) = log.into_parts();
        self.index(&folded.state).await;
        let info = SessionCreateInfo { is_new: true, ..SessionCreateInfo::of(&folded.state) };
        Ok((self.start(fence, folded, (toolbox, Vec::new())).await?, info))
    }

    /// Reads the whole source for the last place at or before `at` where it may be forked.
    async fn find_cut(&self, from: &SessionId, at: Option<Seq>) -> Result<Found, JournalError> {
        let store = self.store(Trace::default());
        let tip = self.in_time(from, store.journal.tail(from)).await?.next.saturating_sub(1);
        let (mut cut, mut first, mut after) = (Cut::default(), None, 0);
        let mut open = None;
        while after < tip {
            let page = self.in_time(from, store.read(from, after)).await?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            for entry in page.into_iter().filter(|entry| entry.seq <= tip) {
                if at.is_none_or(|at| entry.seq <= at) {
                    cut.see(&entry);
                }
                match &entry.event {
                    Event::SessionCreated(created) => {
                        open.clone_from(&created.forked);
                        first = Some(entry);
                    }
                    Event::SessionForked(point) if open.as_ref() == Some(point) => open = None,
                    _ => {}
                }
            }
        }
        let gone = || JournalError::NotFound { session: from.clone() };
        Ok(Found { tip, cut: cut.at, first: first.ok_or_else(gone)?, whole: open.is_none() })
    }

    /// What the copied entries fold into.
    async fn fold_until(
        &self,
        from: &SessionId,
        first: &Entry,
        cut: Seq,
    ) -> Result<State, JournalError> {
        let store = self.store(Trace::default());
        let mut state = State::created(first).expect("the runtime makes the first entry");
        while state.tip < cut {
            let page = self.in_time(from, store.read(from, state.tip)).await?;
            if page.is_empty() {
                return Err(JournalError::NotFound { session: from.clone() });
            }
            for entry in page.iter().filter(|entry| entry.seq <= cut) {
                state.apply(entry).map_err(|error| JournalError::Corrupt {
                    session: from.clone(),
                    seq: entry.seq,
                    why: error.to_string(),
                })?;
            }
        }
        Ok(state)
    }

    /// Copies the entries behind the first as they are written, in as few frames as hold them. Large bodies are named and not copied.
    async fn copy(
        &self,
        from: &SessionId,
        mut log: Log,
        (cut, state): (Seq, State),
    ) -> Result<Log, JournalError> {
        let store = self.store(Trace::default());
        let (mut body, mut count, mut after) = (Vec::new(), 0, 0);
        while after < cut {
            let page = self.in_time(from, store.journal.read(from, after, READ_BYTES)).await?;
            let Some(last) = page.last().map(Frame::last) else {
                return Err(JournalError::NotFound { session: from.clone() });
            };
            after = last;
            for frame in page {
                let (more, entries) = part(&frame, from, cut)?;
                if count > 0 && body.len() + more.len() > FRAME_BYTES_MAX {
                    log.append(std::mem::take(&mut body), std::mem::take(&mut count)).await?;
                }
                body.extend(more);
                count += entries;
            }
        }
        if count > 0 {
            log.append(body, count).await?;
        }
        let (fence, _) = log.into_parts();
        Ok(Log::new(
            self.store(Trace::default()),
            fence,
            Folded { state: Box::new(state), checkpoint: 0 },
        ))
    }

    /// Searches find the fork, too. Without it they find its source alone.
    async fn index(&self, state: &State) {
        if let Err(error) = self.index_texts(state).await {
            tracing::debug!(session = %state.id, %error, "a fork is not found by searches");
        }
    }

    /// Page by page, so that no more than a page of texts is held.
    async fn index_texts(&self, state: &State) -> Result<(), JournalError> {
        let (store, summary) = (self.store(Trace::default()), summary(state));
        let mut after = 0;
        while after < state.tip {
            let page = self.in_time(&state.id, store.read(&state.id, after)).await?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            let texts: Vec<IndexedText> = page.iter().filter_map(indexed_text).collect();
            let put = Projection { summary: &summary, texts: &texts, checkpoint: None };
            self.in_time(&state.id, self.shared.ports.catalog.put_projection(put)).await?;
        }
        Ok(())
    }
}

/// The place of a fork and its first entry, which is its source's but for the name.
fn begin(
    id: &SessionId,
    from: &SessionId,
    at: Option<Seq>,
    found: Found,
) -> Result<(Seq, Entry), AgentError> {
    let Found { tip, cut, first, whole } = found;
    if at.is_some_and(|at| at == 0 || at > tip) {
        return Err(AgentError::Invalid(format!(
            "session {from} has the entries 1 to {tip}; name one of them to fork it there"
        )));
    }
    let Event::SessionCreated(source) = first.event else {
        return Err(AgentError::SessionNotFound { session: from.clone() });
    };
    if !whole {
        let from = source.forked.map_or_else(|| from.clone(), |forked| forked.session);
        return Err(AgentError::ForkCut { session: source.id, from });
    }
    if source.spec.depth > 0 {
        return Err(AgentError::Invalid(format!(
            "session {from} is a subagent and is not forked; fork the session that it works for"
        )));
    }
    let line = source.forked.map_or_else(|| from.clone(), |forked| forked.line);
    let forked = Some(ForkPoint { session: from.clone(), at: cut, line });
    let mut spec = source.spec;
    spec.parent = Some(from.clone());
    // Whoever repeats the request that made the source wants the source.
    spec.request = None;
    let created = SessionCreated { id: id.clone(), spec, forked, ..*source };
    Ok((cut, Entry { event: Event::SessionCreated(Box::new(created)), ..first }))
}

/// Of a frame what a fork has: nearly always all of it, as it lies there.
fn part(frame: &Frame, from: &SessionId, cut: Seq) -> Result<(bytes::Bytes, usize), JournalError> {
    if frame.first > 1 && frame.last() <= cut {
        return Ok((frame.body.clone(), frame.count as usize));
    }
    let (mut body, mut count) = (Vec::new(), 0);
    for entry in frame.entries(from)? {
        if (2..=cut).contains(&entry.seq) {
            entry.encode_into(&mut body);
            count += 1;
        }
    }
    Ok((body.into(), count))
}
