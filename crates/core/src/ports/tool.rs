//! Tools: what a model may ask for.

use std::fmt;
use std::path::{Component, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::agent::background::BackgroundTasks;
use crate::agent::registry::ToolRegistry;
use crate::agent::subagent::Agents;
use crate::event::{BlobRef, Effect, Event, GoalReached, PlanChanged, SkillLoaded};
use crate::ids::{CallId, SessionId};
use crate::message::Part;
use crate::ports::clock::{Cancel, Clock};
use crate::ports::files::Files;
use crate::ports::journal::Blobs;
use crate::ports::shell::Shell;
use crate::spec::SessionSpec;

/// Something a model can ask to be run.
pub trait Tool: Send + Sync + fmt::Debug {
    /// What the model is told about it. Always the same for the life of the tool.
    fn schema(&self) -> &ToolSchema;

    /// What a call with these arguments would do. Pure: no I/O, the same answer every time.
    ///
    /// # Errors
    /// When the arguments do not fit; the words go to the model.
    fn assess(&self, arguments: &Value, place: &Place) -> Result<Assessment, String>;

    /// What a person is shown who is asked for permission: the command, the difference. May read, must not change anything, cannot fail.
    fn describe<'a>(&'a self, arguments: &'a Value, cx: &'a ToolContext) -> BoxFuture<'a, String>;

    /// Runs the call. It should end soon after `cx.cancel` is given; if it does not within the grace period it is dropped, and the call
    /// counts as indeterminate. A panic is this call's failure and no other's.
    fn execute(
        self: Arc<Self>,
        arguments: Value,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>>;
}

/// What a model is told about a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSchema {
    /// Its name: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON Schema of its arguments.
    pub input: Value,
    /// Who runs it.
    pub runs: Runs,
}

/// Who runs a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runs {
    /// The runtime, by [`Tool::execute`].
    Here,
    /// The client at the surface: the call waits for its answer ([`crate::Command::Supply`]).
    Client,
}

/// What a call would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// Its effect on the world.
    pub effect: Effect,
    /// One line for a person, for example `bash: cargo test`.
    pub title: String,
    /// What rules are matched against.
    pub subject: Subject,
    /// The call is given the cancel signal after so many milliseconds.
    pub timeout_ms: u64,
}

/// What rules of the form `tool(pattern)` are matched against.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subject {
    /// The things the call acts on: the path, the URL, each command of a shell line. An `allow` must match every one of them, a `deny` any.
    pub parts: Vec<String>,
    /// Whether `parts` is all of it. A pattern never allows what could not be taken apart.
    pub complete: bool,
}

/// Where a session works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The absolute working folder.
    pub cwd: PathBuf,
    /// Further absolute folders.
    pub roots: Vec<PathBuf>,
}

impl Place {
    /// The folders of a session.
    #[must_use]
    pub fn of(spec: &SessionSpec) -> Self {
        Self { cwd: spec.cwd.clone(), roots: spec.roots.clone() }
    }

    /// The absolute path that `text` names, with `.` and `..` taken out by name alone. Links are the business of the [`Files`] port.
    #[must_use]
    pub fn absolute(&self, text: &str) -> PathBuf {
        let mut path = PathBuf::new();
        for component in self.cwd.join(text).components() {
            match component {
                Component::ParentDir => {
                    path.pop();
                }
                Component::CurDir => {}
                Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                    path.push(component);
                }
            }
        }
        path
    }
}

/// What a running call is given.
#[derive(Debug, Clone)]
pub struct ToolContext {
    /// Its session.
    pub session: SessionId,
    /// The call.
    pub call: CallId,
    /// Where the session works.
    pub place: Place,
    /// Files within the session's folders.
    pub files: Arc<dyn Files>,
    /// Commands.
    pub shell: Arc<dyn Shell>,
    /// Stored bodies: large output goes here, handles are read from here.
    pub blobs: Arc<dyn Blobs>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Given when the call is to stop.
    pub cancel: Cancel,
    /// Where output goes while the call runs.
    pub progress: Progress,
    /// What of its own session the call can reach.
    pub reach: Reach,
}

/// What of its own session a call can reach besides giving it an end. The default reaches nothing.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Its background tasks.
    pub tasks: BackgroundTasks,
    /// Sessions below the call's own.
    pub agents: Agents,
}

/// Makes the tools of a session, and its way to files and commands.
pub trait SessionToolFactory: Send + Sync + fmt::Debug {
    /// What a session that is to be `spec` works with. Whatever it starts for that must end when the result is dropped. The runtime waits until
    /// [`crate::limits::RuntimeLimits::tools_ms`]; then it drops the future, and the session is not opened.
    ///
    /// # Errors
    /// [`SessionToolsError`]; the session is not opened then.
    fn build<'a>(
        &'a self,
        spec: &'a SessionSpec,
    ) -> BoxFuture<'a, Result<SessionTools, SessionToolsError>>;
}

/// Why a session has no tools.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionToolsError {
    /// The place cannot be worked in: it does not exist, is not a folder…
    #[error("{why}")]
    Place {
        /// Why not, in words for a person.
        why: String,
    },
    /// A server that has tools did not start.
    #[error("the tools of `{server}` did not start: {why}")]
    Server {
        /// Its configured name.
        server: String,
        /// Why not, in words for a person.
        why: String,
    },
}

/// What a session works with.
#[derive(Debug, Clone)]
pub struct SessionTools {
    /// Its tools.
    pub tools: Arc<dyn ToolRegistry>,
    /// Files within its folders.
    pub files: Arc<dyn Files>,
    /// Commands.
    pub shell: Arc<dyn Shell>,
}

/// Takes output while a call runs. Never blocks: what does not fit is dropped, the result is what counts.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&str) + Send + Sync>);

impl Progress {
    /// Progress that goes to `sink`.
    #[must_use]
    pub fn new(sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Shows `text` to whoever follows.
    pub fn show(&self, text: &str) {
        (self.0)(text);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolOutput {
    /// What the model is given. Text beyond the inline limit is cut to head and tail by the runtime, and the whole is kept as a blob.
    pub content: Vec<Part>,
    /// Whole bodies that `content` shows in part.
    pub blobs: Vec<BlobRef>,
    /// Figures for programs.
    pub detail: Map<String, Value>,
    /// What the session is told besides: it is written together with the call's end, whatever that end is.
    pub notes: Vec<SessionNote>,
}

/// Something that a tool tells its session for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum SessionNote {
    /// The plan stands otherwise.
    Plan(PlanChanged),
    /// The goal is reached. Without a goal it says nothing.
    Goal(GoalReached),
    /// A skill was loaded.
    Skill(SkillLoaded),
}

impl SessionNote {
    pub(crate) fn into_event(self) -> Event {
        match self {
            Self::Plan(changed) => Event::PlanChanged(changed),
            Self::Goal(reached) => Event::GoalReached(reached),
            Self::Skill(loaded) => Event::SkillLoaded(loaded),
        }
    }
}

impl ToolOutput {
    /// Plain text and nothing else.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { content: vec![Part::text(text)], ..Self::default() }
    }
}

/// Why a call did not do what was asked. The words go to the model.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The cancel signal was given and nothing is left running.
    #[error("cancelled")]
    Cancelled,
    /// The arguments do not fit.
    #[error("{0}")]
    Arguments(String),
    /// It tried and could not.
    #[error("{}", message(.0))]
    Failed(Box<ToolOutput>),
}

impl ToolError {
    /// A failure in plain words.
    #[must_use]
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(Box::new(ToolOutput::text(text)))
    }
}

fn message(output: &ToolOutput) -> &str {
    output.content.iter().find_map(Part::as_text).unwrap_or("the tool failed")
}
