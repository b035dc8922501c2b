//! Running a recorded session again: the same task, fed with what the recording took in, on a journal in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;

use crate::agent::emitter::EventEmitter;
use crate::event::Entry;
use crate::ids::{FrameId, Hash, Seq, SessionId, Timestamp};
use crate::memory::MemoryStore;
use crate::ports::clock::Clock;
use crate::ports::journal::{Fence, Frame, Journal, JournalError};
use crate::ports::model::{
    Model, ModelCandidate, ModelError, ModelErrorKind, ModelEvent, ModelInfo, ModelRequest, Models,
};
use crate::session::feed::LocalBus;
use crate::session::fold::Folded;
use crate::session::log::{Log, Means, Store};
use crate::session::state::State;
use crate::session::trace::{
    AssessmentSource, Assessments, Line, Opened, ReplayedIds, Trace, TraceLine,
};
use crate::session::{SessionTask, Source, Surroundings};
use crate::spec::ModelSelection;

/// Version of the recording's lines.
pub(crate) const VERSION: u32 = 1;

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayReport {
    /// The session.
    pub session: SessionId,
    /// Frames that the recording committed and the replay committed alike.
    pub frames: usize,
    /// The last entry.
    pub last: Seq,
    /// Hash of the last frame.
    pub head: Hash,
}

/// Why a recording was not replayed to the same journal.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The lines are not a recording of this version.
    #[error("this is not a recording that this version can replay: {0}")]
    Unusable(String),
    /// The replay decided otherwise.
    #[error("the replay of {session} differs from the recording at entry {seq}: {why}")]
    Differs {
        /// The session.
        session: SessionId,
        /// The last entry of the frame that differs.
        seq: Seq,
        /// How.
        why: String,
    },
    /// The journal in memory.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Everything of a recording that belongs to one opening of a session.
#[derive(Default)]
struct Recording {
    signals: VecDeque<(Timestamp, crate::session::inbox::Signal)>,
    models: Lookups,
    assessed: HashMap<(String, String), crate::session::trace::Assessed>,
    frames: VecDeque<FrameId>,
    chances: VecDeque<u64>,
    committed: Vec<(Seq, Hash)>,
}

/// Runs a recording again, without network or processes, and compares each frame by its hash.
///
/// # Errors
/// [`ReplayError`]; `Differs` names the first difference.
pub async fn replay(lines: Vec<TraceLine>) -> Result<ReplayReport, ReplayError> {
    let mut opened = None;
    let mut recording = Recording::default();
    for TraceLine(line) in lines {
        match line {
            Line::Opened(_) if opened.is_some() => {
                return Err(ReplayError::Unusable("it holds more than one session".to_owned()));
            }
            Line::Opened(first) => opened = Some(*first),
            Line::Took { at, signal } => recording.signals.push_back((at, signal)),
            Line::Resolved { selection, found } => {
                recording.models.entry(selection).or_default().push_back(found);
            }
            Line::Assessed { name, arguments, found } => {
                drop(recording.assessed.insert((name, arguments), found));
            }
            Line::Frame(id) => recording.frames.push_back(id),
            Line::Chance(chance) => recording.chances.push_back(chance),
            Line::Committed { last, hash } => recording.committed.push((last, hash)),
        }
    }
    let opened = opened.ok_or_else(|| ReplayError::Unusable("it has no beginning".to_owned()))?;
    if opened.version != VERSION {
        return Err(ReplayError::Unusable(format!(
            "it is of version {}, not {VERSION}",
            opened.version
        )));
    }
    run(opened, recording).await
}

async fn run(opened: Opened, recording: Recording) -> Result<ReplayReport, ReplayError> {
    let session = opened.session.clone();
    let state = fold(&opened.entries).map_err(ReplayError::Unusable)?;
    let began = (state.tip, opened.head);
    let store = MemoryStore::new(opened.node.clone());
    let fence = Fence {
        session: session.clone(),
        epoch: opened.epoch,
        node: opened.node.clone(),
        next: state.tip + 1,
        head: opened.head,
        token: 0,
    };
    let journal = Arc::new(Tail { fence: Mutex::new(fence.clone()), frames: Mutex::default() });
    let ids = Arc::new(ReplayedIds {
        frames: Mutex::new(recording.frames),
        chances: Mutex::new(recording.chances),
        session: session.clone(),
        node: opened.node,
    });
    let clock = Arc::new(StoppedClock);
    let around = Surroundings {
        feed: EventEmitter::new(Arc::new(LocalBus::default()), session.clone()),
        catalog: Arc::new(store.clone()),
        clock: clock.clone(),
        ids: ids.clone(),
        models: Arc::new(RecordedModels(Mutex::new(recording.models))),
        limits: opened.limits.into(),
        saves: opened.saves,
        trace: Trace::default(),
    };
    let log_store = Store::from(Means {
        journal: journal.clone(),
        catalog: Arc::new(store.clone()),
        blobs: Arc::new(store),
        clock,
        ids,
        limits: opened.limits.into(),
    });
    let assessments =
        Assessments::new(AssessmentSource::Recording, recording.assessed, Trace::default());
    let log = Log::new(log_store, fence, Folded { state: Box::new(state), checkpoint: 0 });
    let task =
        SessionTask::new(around, log, Source::Recording(recording.signals), None, assessments)
            .with_schemas(&opened.schemas)
            .with_hooks(opened.hooks);
    Box::new(task).live(opened.at, opened.recovery).await?;
    let frames = journal.frames.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    compare(&session, began, &recording.committed, &frames)
}

fn fold(entries: &[Entry]) -> Result<State, String> {
    let (first, rest) = entries.split_first().ok_or("it has no entries")?;
    let mut state = State::created(first).map_err(|error| error.to_string())?;
    rest.iter().try_for_each(|entry| state.apply(entry)).map_err(|error| error.to_string())?;
    Ok(state)
}

/// A recording in which nothing was committed ends where it began. It marks the last frame of each commit; every mark must be met by a frame of the replay.
fn compare(
    session: &SessionId,
    began: (Seq, Hash),
    recorded: &[(Seq, Hash)],
    frames: &[Frame],
) -> Result<ReplayReport, ReplayError> {
    let differs = |seq, why: &str| ReplayError::Differs {
        session: session.clone(),
        seq,
        why: why.to_owned(),
    };
    for (last, hash) in recorded {
        let frame = frames
            .iter()
            .find(|frame| frame.last() == *last)
            .ok_or_else(|| differs(*last, "the replay did not commit there"))?;
        if frame.hash() != *hash {
            return Err(differs(*last, "the frame has another hash"));
        }
    }
    let (last, head) = recorded.last().copied().unwrap_or(began);
    if let Some(extra) = frames.iter().find(|frame| frame.last() > last && !is_release(frame)) {
        return Err(differs(extra.last(), "the replay went on where the recording ended"));
    }
    Ok(ReplayReport { session: session.clone(), frames: recorded.len(), last, head })
}

/// Letting go is no decision of the session and is not marked.
fn is_release(frame: &Frame) -> bool {
    frame.body.windows(b"writer_released".len()).any(|window| window == b"writer_released")
}

/// A journal that takes what comes after a given tail.
#[derive(Debug)]
struct Tail {
    fence: Mutex<Fence>,
    frames: Mutex<Vec<Frame>>,
}

impl Tail {
    fn push(&self, frame: &Frame) -> Fence {
        let mut fence = self.fence.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *fence = fence.after(frame, 0);
        self.frames.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(frame.clone());
        fence.clone()
    }
}

impl Journal for Tail {
    fn claim<'a>(
        &'a self,
        _: &'a Fence,
        claim: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(async { Ok(self.push(claim)) })
    }

    fn append<'a>(
        &'a self,
        _: &'a Fence,
        frame: &'a Frame,
    ) -> BoxFuture<'a, Result<Fence, JournalError>> {
        Box::pin(async { Ok(self.push(frame)) })
    }

    fn resolve<'a>(
        &'a self,
        fence: &'a Fence,
        _: &'a Frame,
    ) -> BoxFuture<'a, Result<crate::ports::journal::Resolved, JournalError>> {
        Box::pin(async { Ok(crate::ports::journal::Resolved::Committed(fence.clone())) })
    }

    fn read<'a>(
        &'a self,
        _: &'a SessionId,
        _: Seq,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<Frame>, JournalError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn tail<'a>(&'a self, _: &'a SessionId) -> BoxFuture<'a, Result<Fence, JournalError>> {
        let fence = self.fence.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Box::pin(async { Ok(fence) })
    }

    fn release<'a>(
        &'a self,
        _: &'a Fence,
        release: &'a Frame,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async {
            self.push(release);
            Ok(())
        })
    }
}

/// A clock that nobody waits for: a replay takes its times from the recording.
#[derive(Debug)]
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn sleep_until(&self, _: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(futures::future::pending())
    }
}

/// What looking models up gave, in order.
type Lookups = HashMap<ModelSelection, VecDeque<Result<ModelInfo, ModelError>>>;

/// Models as they were looked up; none is ever called.
#[derive(Debug)]
struct RecordedModels(Mutex<Lookups>);

impl Models for RecordedModels {
    fn resolve(&self, selection: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        let mut lookups = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let found = lookups.get_mut(selection).and_then(VecDeque::pop_front);
        let info = found.unwrap_or_else(|| Err(unrecorded(selection)))?;
        Ok(Arc::new(RecordedModel(info)))
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        Vec::new()
    }
}

fn unrecorded(selection: &ModelSelection) -> ModelError {
    let message = format!("the recording does not have the model {selection}");
    ModelError { kind: ModelErrorKind::ModelNotFound, message, retry_after_ms: None }
}

#[derive(Debug)]
struct RecordedModel(ModelInfo);

impl Model for RecordedModel {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn call(
        &self,
        _: ModelRequest,
    ) -> futures::stream::BoxStream<'static, Result<ModelEvent, ModelError>> {
        let error = unrecorded(&self.0.selection);
        Box::pin(futures::stream::once(async { Err(error) }))
    }
}
