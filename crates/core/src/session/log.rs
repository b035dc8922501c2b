//! The only writer of a session: events are staged, committed as one frame, and only then told.
//!
//! Staging folds an event at once, so that planning can go on and everything decided together becomes one append. Nobody sees a staged
//! event: no effect starts and no command is answered before `commit`, and when a commit fails the session task ends and its state with it.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, Either, select};

use crate::event::{BlobRef, Entry, Event};
use crate::ids::{Hash, Seq, SessionId, Timestamp};
use crate::limits::RuntimeLimits;
use crate::ports::clock::{Clock, Ids};
use crate::ports::journal::{
    Blobs, Catalog, FRAME_BYTES_MAX, Fence, Frame, Journal, JournalError, Resolved,
};
use crate::session::fold::Folded;
use crate::session::state::State;

/// How many bytes of frames are read at a time.
pub(crate) const READ_BYTES: usize = 1024 * 1024;

/// Where a log writes, and by which clock. All sessions of a runtime have the same.
#[derive(Debug, Clone)]
pub(crate) struct Store(Arc<Means>);

/// What a [`Store`] is made of.
#[derive(Debug)]
pub(crate) struct Means {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) limits: Arc<RuntimeLimits>,
}

/// How a frame is sent to the store.
#[derive(Debug, Clone, Copy)]
enum Write {
    Append,
    /// The frame lets go of the session.
    Release,
}

/// The journal of one session, held by its writer.
#[derive(Debug)]
pub(crate) struct Log {
    store: Store,
    fence: Fence,
    state: Box<State>,
    staged: Vec<Entry>,
    /// The last entry of the checkpoint that the state was folded from.
    checkpoint: Seq,
}

impl Log {
    /// Takes over a session whose entries have been folded.
    pub(crate) fn new(store: Store, fence: Fence, folded: Folded) -> Self {
        let Folded { state, checkpoint } = folded;
        Self { store, fence, state, staged: Vec::new(), checkpoint }
    }

    /// Creates a session: its first entry and what it begins with besides are committed when this returns, all of it or nothing.
    pub(crate) async fn create(
        store: Store,
        fence: Fence,
        (first, more): (Entry, Vec<Event>),
    ) -> Result<(Self, Vec<Arc<Entry>>), JournalError> {
        let state = Box::new(State::created(&first).expect("the runtime makes the first entry"));
        let at = first.at;
        let mut log = Self { store, fence, state, staged: vec![first], checkpoint: 0 };
        for event in more {
            log.stage(at, event);
        }
        let committed = log.commit().await?;
        Ok((log, committed))
    }

    /// What another log can go on with.
    pub(crate) fn into_parts(self) -> (Fence, Folded) {
        (self.fence, Folded { state: self.state, checkpoint: self.checkpoint })
    }

    /// The last entry of the checkpoint that the state was folded from; 0 without one.
    pub(crate) fn checkpoint(&self) -> Seq {
        self.checkpoint
    }

    /// The fold of everything committed and staged.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Decides an event: it is folded, and will be committed with the others. Returns its `seq`.
    pub(crate) fn stage(&mut self, at: Timestamp, event: Event) -> Seq {
        let turn = match &event {
            Event::TurnStarted(_) => Some(self.state.turns + 1),
            Event::SessionCreated(_)
            | Event::SessionNamed(_)
            | Event::SessionForked(_)
            | Event::SessionConfigured(_)
            | Event::SessionArchived
            | Event::SessionRestored
            | Event::WriterChanged(_)
            | Event::WriterReleased
            | Event::InputAdmitted(_)
            | Event::InputWithdrawn(_)
            | Event::GoalSet(_)
            | Event::TaskSettled(_) => None,
            Event::TurnRecovered(_)
            | Event::TurnEnded(_)
            | Event::StepStarted(_)
            | Event::ModelFailed(_)
            | Event::ModelReplaced(_)
            | Event::AssistantMessage(_)
            | Event::ToolCalled(_)
            | Event::PermissionAsked(_)
            | Event::PermissionAnswered(_)
            | Event::ToolStarted(_)
            | Event::ToolSettled(_)
            | Event::InputRequested(_)
            | Event::ContextCleared(_)
            | Event::ContextCompacted(_)
            | Event::SummaryStarted(_)
            | Event::SummaryFailed(_)
            | Event::HistoryEdited(_)
            | Event::GoalReached(_)
            | Event::TurnContinued(_)
            | Event::PlanChanged(_)
            | Event::SkillLoaded(_)
            | Event::TaskStarted(_)
            | Event::SubagentOpened(_)
            | Event::SubagentClosed(_)
            | Event::HooksStarted(_)
            | Event::HookRan(_)
            | Event::Spilled(_) => self.state.turn.as_ref().map(|turn| turn.no),
        };
        // Entries of a session never go back in time, whatever clock its writers had.
        let at = at.max(self.state.updated);
        let entry = Entry { seq: self.state.tip + 1, at, turn, scope: Vec::new(), event };
        self.state.apply(&entry).expect("decide and plan only name events that can follow");
        self.staged.push(entry);
        self.state.tip
    }

    /// Whether something was decided and is not committed.
    pub(crate) fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Makes everything staged durable and returns it to be told. One frame, or as few as its size allows.
    pub(crate) async fn commit(&mut self) -> Result<Vec<Arc<Entry>>, JournalError> {
        let staged = std::mem::take(&mut self.staged);
        let mut lines = Vec::with_capacity(staged.len());
        for (at, entry) in staged.iter().enumerate() {
            let next = staged.get(at + 1);
            let stays = next.is_some_and(|next| is_one_write(&entry.event, &next.event));
            lines.push((self.encode(entry).await?, stays));
        }
        let sizes: Vec<(usize, bool)> =
            lines.iter().map(|(line, stays)| (line.len(), *stays)).collect();
        let mut lines = lines.into_iter().map(|(line, _)| line);
        for count in frames(&sizes) {
            let body: Vec<Vec<u8>> = lines.by_ref().take(count).collect();
            self.append(body.concat(), count).await?;
        }
        Ok(staged.into_iter().map(Arc::new).collect())
    }

    /// Appends `writer_released` and lets go of the session. Everything staged must have been committed.
    pub(crate) async fn release(&mut self, at: Timestamp) -> Result<Arc<Entry>, JournalError> {
        self.stage(at, Event::WriterReleased);
        let entry = self.staged.pop().expect("one entry was staged");
        let frame =
            Frame::encode(self.store.ids.frame(), &self.fence, std::slice::from_ref(&entry))?;
        self.fence = self.store.write(Write::Release, &self.fence, &frame).await?;
        Ok(Arc::new(entry))
    }

    /// Hash of the last committed frame.
    pub(crate) fn head(&self) -> Hash {
        self.fence.head
    }

    /// One line of JSON; an event beyond the inline limit goes to a blob, which is on the disk before the entry that names it.
    async fn encode(&self, entry: &Entry) -> Result<Vec<u8>, JournalError> {
        let mut line = Vec::with_capacity(512);
        entry.encode_into(&mut line);
        if line.len() > self.store.limits.event_inline_bytes {
            let json = serde_json::to_vec(&entry.event)
                .expect("events have string keys and no failing serialisers");
            let bytes = json.len() as u64;
            let blob = self.store.blobs.put(Bytes::from(json)).await?;
            let event = Event::Spilled(BlobRef { blob, name: "event".to_owned(), bytes });
            line.clear();
            Entry { event, ..entry.clone() }.encode_into(&mut line);
        }
        Ok(line)
    }

    /// Appends lines that are encoded already. They are not folded.
    pub(crate) async fn append(&mut self, body: Vec<u8>, count: usize) -> Result<(), JournalError> {
        let frame = Frame::of_body(self.store.ids.frame(), &self.fence, body, count)?;
        self.fence = self.store.write(Write::Append, &self.fence, &frame).await?;
        Ok(())
    }
}

impl From<Means> for Store {
    fn from(means: Means) -> Self {
        Self(Arc::new(means))
    }
}

impl Deref for Store {
    type Target = Means;

    fn deref(&self) -> &Means {
        &self.0
    }
}

impl Store {
    /// Writes until the outcome is known: an ambiguous write is looked up, an absent frame is sent again as it was, and a store that is
    /// not available is tried again for a bounded time.
    async fn write(
        &self,
        write: Write,
        fence: &Fence,
        frame: &Frame,
    ) -> Result<Fence, JournalError> {
        let give_up = self.clock.now().after(self.limits.append_retry_ms);
        let (mut wait_ms, mut was_ambiguous, mut ask) = (10, false, false);
        // Why the store took nothing when it was last tried: what a person can do something about.
        let mut reason = "the store does not take appends".to_owned();
        loop {
            let result = match ask {
                false => self.in_time(fence, self.send(write, fence, frame)).await,
                true => match self.in_time(fence, self.journal.resolve(fence, frame)).await {
                    Ok(Resolved::Committed(fence)) => Ok(fence),
                    Ok(Resolved::Absent) if self.clock.now() < give_up => {
                        ask = false;
                        continue;
                    }
                    Ok(Resolved::Absent) => return Err(unavailable(&reason)),
                    Err(error) => Err(error),
                },
            };
            let error = match result {
                Ok(fence) => return Ok(fence),
                Err(error) => error,
            };
            match &error {
                JournalError::Ambiguous { why, .. } => {
                    (ask, was_ambiguous) = (true, true);
                    reason.clone_from(why);
                }
                // The lost append may have arrived after all.
                JournalError::Conflict { .. } if was_ambiguous && !ask => ask = true,
                JournalError::Unavailable { .. } => {}
                JournalError::NotFound { .. }
                | JournalError::BlobNotFound { .. }
                | JournalError::BlobCorrupt { .. }
                | JournalError::Held { .. }
                | JournalError::Fenced { .. }
                | JournalError::Conflict { .. }
                | JournalError::NameTaken { .. }
                | JournalError::TooLarge { .. }
                | JournalError::Corrupt { .. } => return Err(error),
            }
            if self.clock.now() >= give_up {
                return Err(error);
            }
            self.clock.sleep_until(self.clock.now().after(wait_ms)).await;
            wait_ms = (wait_ms * 2).min(500);
        }
    }

    fn send<'a>(
        &'a self,
        write: Write,
        fence: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        match write {
            Write::Append => self.journal.append(fence, frame),
            Write::Release => Box::pin(async move {
                self.journal.release(fence, frame).await?;
                Ok(fence.after(frame, fence.token))
            }),
        }
    }

    async fn in_time<T>(
        &self,
        fence: &Fence,
        work: BoxFuture<'_, Result<T, JournalError>>,
    ) -> Result<T, JournalError> {
        let deadline = self.clock.sleep_until(self.clock.now().after(self.limits.append_ms));
        match select(work, deadline).await {
            Either::Left((result, _)) => result,
            Either::Right(((), _)) => {
                let why = format!("the store did not answer within {} ms", self.limits.append_ms);
                Err(JournalError::Ambiguous { session: fence.session.clone(), why })
            }
        }
    }

    /// The entries after `after`, about a megabyte of them; empty at the end.
    pub(crate) async fn read(
        &self,
        session: &SessionId,
        after: Seq,
    ) -> Result<Vec<Entry>, JournalError> {
        let frames = self.journal.read(session, after, READ_BYTES).await?;
        let mut entries = self.entries(session, frames).await?;
        entries.retain(|entry| entry.seq > after);
        Ok(entries)
    }

    pub(crate) async fn entries(
        &self,
        session: &SessionId,
        frames: Vec<Frame>,
    ) -> Result<Vec<Entry>, JournalError> {
        let mut entries = Vec::new();
        for frame in frames {
            for entry in frame.entries(session)? {
                entries.push(self.unspill(session, entry).await?);
            }
        }
        Ok(entries)
    }

    async fn unspill(&self, session: &SessionId, entry: Entry) -> Result<Entry, JournalError> {
        let Event::Spilled(spilled) = &entry.event else { return Ok(entry) };
        let corrupt =
            |why: String| JournalError::Corrupt { session: session.clone(), seq: entry.seq, why };
        let bytes = usize::try_from(spilled.bytes)
            .map_err(|_| corrupt("a body is larger than memory".to_owned()))?;
        let (json, _) = self
            .blobs
            .read(&spilled.blob, 0, bytes)
            .await
            .map_err(|error| corrupt(error.to_string()))?;
        let event = serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
        Ok(Entry { event, ..entry })
    }
}

fn unavailable(why: &str) -> JournalError {
    JournalError::Unavailable { why: why.to_owned() }
}

/// Whether a death between these two entries would leave something half done: the end of a task that no input tells, a subagent that is paid
/// for while its call runs, or a session without the input that it was made for.
fn is_one_write(entry: &Event, next: &Event) -> bool {
    matches!(
        (entry, next),
        (Event::TaskSettled(_), Event::InputAdmitted(_))
            | (Event::SubagentClosed(_), Event::ToolSettled(_))
            | (Event::SessionCreated(_), Event::SessionNamed(_) | Event::InputAdmitted(_))
            | (Event::SessionNamed(_), Event::InputAdmitted(_))
    )
}

/// How many lines each frame has, from the bytes of each line and whether it stays with the next: as few frames as hold them. Two lines that are
/// too long for any frame are not kept together.
fn frames(lines: &[(usize, bool)]) -> Vec<usize> {
    let (mut frames, mut bytes, mut count) = (Vec::new(), 0, 0);
    for (at, (line, stays)) in lines.iter().enumerate() {
        let next = lines.get(at + 1).filter(|_| *stays).map_or(0, |(next, _)| *next);
        let together = line + next;
        let wanted = if together > FRAME_BYTES_MAX { *line } else { together };
        if count > 0 && bytes + wanted > FRAME_BYTES_MAX {
            frames.push(count);
            (bytes, count) = (0, 0);
        }
        bytes += line;
        count += 1;
    }
    frames.extend((count > 0).then_some(count));
    frames
}

#[cfg(test)]
mod tests {
    use super::{FRAME_BYTES_MAX, frames, is_one_write};
    use crate::event::{Delivery, Event, InputAdmitted, InputSource, TaskOutcome, TaskSettled};
    use crate::ids::TaskId;

    #[test]
    fn no_frame_ends_between_two_lines_that_stay_together() {
        const MAX: usize = FRAME_BYTES_MAX;
        for (lines, wanted) in [
            (vec![], vec![]),
            (vec![(MAX, false), (1, false)], vec![1, 1]),
            (vec![(MAX - 2, false), (1, false), (1, false)], vec![3]),
            (vec![(MAX - 2, false), (1, false), (2, false)], vec![2, 1]),
            (vec![(MAX - 2, false), (1, true), (2, false)], vec![1, 2]),
            (vec![(MAX - 2, false), (1, true), (1, false)], vec![3]),
            (vec![(1, false), (2, true), (MAX - 2, false), (1, false)], vec![1, 2, 1]),
            // Too long for one frame.
            (vec![(1, false), (MAX - 1, true), (MAX, false)], vec![2, 1]),
        ] {
            assert_eq!(frames(&lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn the_end_of_a_task_stays_with_the_input_that_tells_it() {
        let ended = Event::TaskSettled(TaskSettled {
            task: TaskId::parse("bg-1").expect("it is one"),
            outcome: TaskOutcome::Completed,
            blobs: Vec::new(),
            duration_ms: 0,
        });
        let told = Event::InputAdmitted(InputAdmitted {
            key: None,
            source: InputSource::Background,
            delivery: Delivery::Steer,
            content: Vec::new(),
            goal: None,
            output: None,
            peer: None,
        });
        assert!(is_one_write(&ended, &told));
        assert!(!is_one_write(&told, &ended));
    }
}
