//! Telling a program how its session stands after each turn, without the turn's waiting for it.

use std::error::Error;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};

use crate::agent::handle::DefaultSession;
use crate::event::{AgentEvent, Event};
use crate::ids::{Seq, SessionId};
use crate::ports::journal::JournalError;
use crate::service::view::{Cursor, SessionView};

/// How long one call of a checkpointer may take, in milliseconds.
pub const CHECKPOINT_MS: u64 = 30_000;
/// How long a journal that cannot be read is left alone, in milliseconds.
const UNREAD_MS: u64 = 1_000;

/// Is told how a session stands whenever a turn of it has ended. The session is saved by then, and whatever becomes of the call changes nothing of it:
/// this is for copies that a program keeps elsewhere.
pub trait SessionCheckpointer: Send + Sync + fmt::Debug {
    /// A turn has ended. One call is made at a time for a session; of turns that end meanwhile the last one is told afterwards. The call is dropped after
    /// [`CHECKPOINT_MS`], and when the session is archived: none is made of an archived session.
    ///
    /// # Errors
    /// Whatever went wrong; it is logged and counted, as a panic is. The next turn's end is told all the same.
    fn checkpoint(&self, at: Checkpoint)
    -> BoxFuture<'_, Result<(), Box<dyn Error + Send + Sync>>>;
}

/// How a session stands at the end of a turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The session.
    pub session: SessionId,
    /// The last entry that the view knows of: whoever has copied the entries up to here lacks those behind it alone.
    pub cursor: Cursor,
    /// How it stands.
    pub view: SessionView,
}

/// What came of telling a checkpointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckpointFigures {
    /// Calls that ended well.
    pub saved: u64,
    /// Calls that failed, panicked or took too long, and views that could not be made.
    pub failed: u64,
    /// Turns that were not told by themselves: another one had ended before their call was made.
    pub passed_over: u64,
    /// How far the last call that ended well went.
    pub last: Option<Cursor>,
}

/// Tells a checkpointer of one session.
#[derive(Debug)]
pub struct Checkpoints {
    /// The session.
    pub session: DefaultSession,
    /// Who is told.
    pub checkpointer: Arc<dyn SessionCheckpointer>,
    /// Where it is counted.
    pub figures: Arc<Mutex<CheckpointFigures>>,
}

impl Checkpoints {
    /// Tells of every turn that ends behind the entry `after`, until the session is removed. It reads the session's events as everybody does, and wakes
    /// nothing; dropping the future ends it together with the call that is being made.
    pub async fn tell(self, after: Seq) {
        let mut events = self.session.own_events(after);
        let (mut is_due, mut is_archived) = (false, false);
        let mut call: Option<BoxFuture<'_, ()>> = None;
        loop {
            if is_due && call.is_none() {
                is_due = false;
                call = Some(self.call().boxed());
            }
            let next = match &mut call {
                None => Some(events.next().await),
                Some(call) => match select(call, std::pin::pin!(events.next())).await {
                    Either::Left(((), _)) => None,
                    Either::Right((event, _)) => Some(event),
                },
            };
            let Some(event) = next else {
                call = None;
                continue;
            };
            let entry = match event {
                Ok(AgentEvent::Entry(entry)) => entry,
                Ok(
                    AgentEvent::Delta(_) | AgentEvent::CaughtUp { .. } | AgentEvent::Scoped { .. },
                ) => continue,
                Err(JournalError::NotFound { .. }) => return,
                Err(error) => {
                    tracing::warn!(session = %self.session.id(), %error, "a checkpointer cannot be told");
                    let clock = &self.session.core().ports().clock;
                    clock.sleep_until(clock.now().after(UNREAD_MS)).await;
                    continue;
                }
            };
            match &entry.event {
                Event::TurnEnded(_) if !is_archived => {
                    self.count(|figures| figures.passed_over += u64::from(is_due));
                    is_due = true;
                }
                Event::SessionArchived => {
                    (is_due, is_archived) = (false, true);
                    call = None;
                }
                Event::SessionRestored => is_archived = false,
                _ => {}
            }
        }
    }

    /// Makes one call, and counts its end.
    async fn call(&self) {
        let clock = &self.session.core().ports().clock;
        let late = clock.sleep_until(clock.now().after(CHECKPOINT_MS));
        let told = AssertUnwindSafe(self.told()).catch_unwind();
        let told = match select(std::pin::pin!(told), late).await {
            Either::Left((Ok(told), _)) => told,
            Either::Left((Err(_), _)) => Err("it panicked".into()),
            Either::Right(_) => Err(format!("it took more than {CHECKPOINT_MS} ms").into()),
        };
        match told {
            Ok(None) => {}
            Ok(Some(cursor)) => self.count(|figures| {
                figures.saved += 1;
                figures.last = Some(cursor);
            }),
            Err(error) => {
                tracing::warn!(session = %self.session.id(), %error, "a checkpoint failed");
                self.count(|figures| figures.failed += 1);
            }
        }
    }

    /// Tells how the session stands this moment; nothing of one that is archived.
    async fn told(&self) -> Result<Option<Cursor>, Box<dyn Error + Send + Sync>> {
        let state = self.session.state().await?;
        let cursor = Cursor(state.tip);
        let is_known = self.figures().last == Some(cursor);
        if state.archived || is_known {
            return Ok(None);
        }
        let model = self.session.models().resolve(&state.spec.settings.model).ok();
        let is_awake = self.session.core().is_awake(&state.id);
        let info = model.as_ref().map(|model| model.info());
        let view = SessionView::of(&state, info, is_awake, Vec::new());
        let session = state.id.clone();
        self.checkpointer.checkpoint(Checkpoint { session, cursor, view }).await?;
        Ok(Some(cursor))
    }

    fn figures(&self) -> MutexGuard<'_, CheckpointFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut CheckpointFigures)) {
        change(&mut self.figures());
    }
}
