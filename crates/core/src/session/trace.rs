//! A recorded run: everything that a session's task took in from outside, so that the same task can be run again without the outside.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::event::Entry;
use crate::ids::{FrameId, Hash, NodeId, Seq, SessionId, Timestamp};
use crate::limits::RuntimeLimits;
use crate::ports::clock::Ids;
use crate::ports::hook::HookTable;
use crate::ports::model::{ModelError, ModelInfo};
use crate::ports::tool::{Assessment, Runs, ToolSchema};
use crate::session::inbox::Signal;
use crate::spec::ModelSelection;
use crate::turn::permission::Saves;
use crate::turn::registry::Assessor;

/// One line of a recording. Lines are opaque to everybody else; a recording is read by the version that wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TraceLine(pub(crate) Line);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// What the task began with: the entries so far, and what it knew.
    Opened(Box<Opened>),
    /// A signal was taken.
    Took { at: Timestamp, signal: Signal },
    /// A model was looked up.
    Resolved { selection: ModelSelection, found: Result<ModelInfo, ModelError> },
    /// A call was assessed.
    Assessed { name: String, arguments: String, found: Result<(Assessment, Runs), String> },
    /// A frame id was drawn.
    Frame(FrameId),
    /// Chance was drawn.
    Chance(u64),
    /// A frame was committed.
    Committed { last: Seq, hash: Hash },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) version: u32,
    pub(crate) session: SessionId,
    pub(crate) node: NodeId,
    pub(crate) epoch: u64,
    pub(crate) head: Hash,
    pub(crate) at: Timestamp,
    pub(crate) recovery: Vec<crate::event::Event>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) schemas: Vec<ToolSchema>,
    pub(crate) limits: RuntimeLimits,
    #[serde(default)]
    pub(crate) saves: Saves,
    #[serde(default)]
    pub(crate) hooks: HookTable,
}

/// Takes the lines of a recording, in order. It must not block for long and cannot fail: a sink that loses lines says so itself.
pub trait TraceSink: Send + Sync + std::fmt::Debug {
    /// Takes a line.
    fn write(&self, line: &TraceLine);
}

/// Where a task records, if it does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace(pub(crate) Option<Arc<dyn TraceSink>>);

impl Trace {
    pub(crate) fn write(&self, line: impl FnOnce() -> Line) {
        if let Some(sink) = &self.0 {
            sink.write(&TraceLine(line()));
        }
    }
}

/// Identifiers that are recorded as they are drawn.
#[derive(Debug)]
pub(crate) struct RecordedIds {
    pub(crate) inner: Arc<dyn Ids>,
    pub(crate) trace: Trace,
}

impl Ids for RecordedIds {
    fn session(&self) -> SessionId {
        self.inner.session()
    }

    fn frame(&self) -> FrameId {
        let frame = self.inner.frame();
        self.trace.write(|| Line::Frame(frame.clone()));
        frame
    }

    fn node(&self) -> NodeId {
        self.inner.node()
    }

    fn random(&self) -> u64 {
        let chance = self.inner.random();
        self.trace.write(|| Line::Chance(chance));
        chance
    }
}

/// Identifiers that were recorded.
#[derive(Debug)]
pub(crate) struct ReplayedIds {
    pub(crate) frames: Mutex<VecDeque<FrameId>>,
    pub(crate) chances: Mutex<VecDeque<u64>>,
    pub(crate) session: SessionId,
    pub(crate) node: NodeId,
}

impl Ids for ReplayedIds {
    fn session(&self) -> SessionId {
        self.session.clone()
    }

    fn frame(&self) -> FrameId {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        // A replay that commits more often than the recording did is found out by its hashes.
        frames
            .pop_front()
            .unwrap_or_else(|| FrameId::parse("beyond-the-recording").expect("it is a valid id"))
    }

    fn node(&self) -> NodeId {
        self.node.clone()
    }

    fn random(&self) -> u64 {
        self.chances.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(0)
    }
}

/// What assessing a call gave.
pub(crate) type Assessed = Result<(Assessment, Runs), String>;

/// Assessments of the calls of a step, each made once; recorded, or taken from a recording.
#[derive(Debug)]
pub(crate) struct Assessments {
    known: Mutex<HashMap<(String, String), Assessed>>,
    trace: Trace,
    source: AssessmentSource,
}

#[derive(Debug)]
pub(crate) enum AssessmentSource {
    Toolbox(Arc<crate::turn::registry::Toolbox>),
    Recording,
}

impl Assessments {
    pub(crate) fn new(
        source: AssessmentSource,
        known: HashMap<(String, String), Assessed>,
        trace: Trace,
    ) -> Self {
        Self { known: Mutex::new(known), trace, source }
    }

    /// Assesses with these tools from here on.
    pub(crate) fn offer(&mut self, toolbox: Arc<crate::turn::registry::Toolbox>) {
        self.source = AssessmentSource::Toolbox(toolbox);
        self.forget();
    }

    /// Forgets what was known, so that a long session does not grow.
    pub(crate) fn forget(&self) {
        if matches!(self.source, AssessmentSource::Toolbox(_)) {
            // Its room is given back, too.
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = HashMap::new();
        }
    }
}

impl Assessor for Assessments {
    fn assess(&self, name: &str, arguments: &str) -> Assessed {
        let key = (name.to_owned(), arguments.to_owned());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&key) {
            return found.clone();
        }
        let found = match &self.source {
            AssessmentSource::Toolbox(toolbox) => toolbox.assess(name, arguments),
            AssessmentSource::Recording => Err("the recording does not have this call".to_owned()),
        };
        self.trace.write(|| Line::Assessed {
            name: key.0.clone(),
            arguments: key.1.clone(),
            found: found.clone(),
        });
        known.insert(key, found.clone());
        found
    }
}
