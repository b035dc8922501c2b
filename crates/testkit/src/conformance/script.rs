//! A writer that says simple things, and what it says them with.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oarlock_core::event::{Delivery, Entry, Event, InputAdmitted, InputSource};
use oarlock_core::ids::{FrameId, NodeId, Seq, SessionId, Timestamp};
use oarlock_core::message::{Part, Usage};
use oarlock_core::ports::journal::{Activity, Fence, Frame, Journal, JournalError, Summary};

use super::Opened;

static DRAWN: AtomicU64 = AtomicU64::new(1);

/// A frame id that no process draws twice.
pub(super) fn frame_id() -> FrameId {
    let number = DRAWN.fetch_add(1, Ordering::Relaxed);
    FrameId::parse(format!("frame-{}-{number}", std::process::id()))
        .expect("letters and digits are a valid id")
}

/// The session of that name.
#[must_use]
pub fn session(name: &str) -> SessionId {
    SessionId::parse(name).expect("test names are valid ids")
}

/// A frame with one input for each text, at the place that the fence names.
#[must_use]
pub fn frame(fence: &Fence, texts: &[&str]) -> Frame {
    let entries: Vec<Entry> = texts
        .iter()
        .zip(fence.next..)
        .map(|(text, seq)| Entry {
            seq,
            at: Timestamp::from_unix_ms(1_763_700_000_000),
            turn: None,
            scope: Vec::new(),
            event: Event::InputAdmitted(InputAdmitted {
                key: None,
                source: InputSource::User,
                delivery: Delivery::Queue,
                content: vec![Part::text(*text)],
                goal: None,
                output: None,
                peer: None,
            }),
        })
        .collect();
    Frame::encode(frame_id(), fence, &entries).expect("test texts are short")
}

/// A summary that says little.
#[must_use]
pub fn summary(id: &SessionId, upto: Seq, updated_ms: i64) -> Summary {
    Summary {
        id: id.clone(),
        epoch: 1,
        upto,
        cwd: PathBuf::from("/work"),
        roots: Vec::new(),
        tenant: None,
        title: format!("title {upto}"),
        model: "scripted/one".to_owned(),
        created: Timestamp::from_unix_ms(1),
        updated: Timestamp::from_unix_ms(updated_ms),
        activity: Activity::Idle,
        turns: 1,
        usage: Usage { input: 10, output: 5, cache_read: 3, cache_write: 2, reasoning: 1 },
        cost_micros: Some(7),
        archived: false,
        comms: None,
        labels: std::collections::BTreeMap::new(),
        parent: None,
    }
}

/// One writer of one session.
#[derive(Debug, Clone)]
pub struct Script {
    journal: Arc<dyn Journal>,
    /// Where it writes next.
    pub fence: Fence,
}

impl Script {
    /// Creates the session with one entry.
    pub async fn create(opened: &Opened, name: &str) -> Self {
        let fence = Fence::new_session(session(name), opened.node.clone());
        let mut script = Self { journal: Arc::clone(&opened.journal), fence };
        script.say(&["created"]).await;
        script
    }

    /// Appends one frame with these texts.
    pub async fn say(&mut self, texts: &[&str]) -> Frame {
        self.try_say(texts).await.expect("the append is lawful")
    }

    /// As [`Script::say`], where it may be refused.
    ///
    /// # Errors
    /// Those of `append`.
    pub async fn try_say(&mut self, texts: &[&str]) -> Result<Frame, JournalError> {
        let frame = frame(&self.fence, texts);
        self.fence = self.journal.append(&self.fence, &frame).await?;
        Ok(frame)
    }

    /// Claims the session of that name at its tail.
    ///
    /// # Errors
    /// Those of `tail` and `claim`.
    pub async fn claim(opened: &Opened, name: &str) -> Result<Self, JournalError> {
        let observed = opened.journal.tail(&session(name)).await?;
        let frame = claim_frame(&observed, &opened.node);
        let fence = opened.journal.claim(&observed, &frame).await?;
        Ok(Self { journal: Arc::clone(&opened.journal), fence })
    }

    /// Lets go.
    pub async fn release(&self) {
        let entry = Entry {
            seq: self.fence.next,
            at: Timestamp::from_unix_ms(1_763_700_000_000),
            turn: None,
            scope: Vec::new(),
            event: Event::WriterReleased,
        };
        let frame = Frame::encode(frame_id(), &self.fence, &[entry]).expect("one entry is short");
        self.journal.release(&self.fence, &frame).await.expect("the release is lawful");
    }
}

/// The frame by which `node` claims.
pub(super) fn claim_frame(observed: &Fence, node: &NodeId) -> Frame {
    Frame::claim(frame_id(), observed, node.clone(), Timestamp::from_unix_ms(1_763_700_000_000))
}

/// All frames of a session, read page by page.
pub(super) async fn read_all(
    opened: &Opened,
    name: &str,
    page_bytes: usize,
) -> Result<Vec<Frame>, JournalError> {
    let mut frames: Vec<Frame> = Vec::new();
    loop {
        let after = frames.last().map_or(0, Frame::last);
        let page = opened.journal.read(&session(name), after, page_bytes).await?;
        if page.is_empty() {
            return Ok(frames);
        }
        assert!(page[0].first == after + 1, "a page begins after the one before");
        frames.extend(page);
    }
}
