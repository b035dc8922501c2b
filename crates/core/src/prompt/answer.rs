//! Doing a slash command to a session, and what it answers: data for programs, words for people.

use std::fmt::{self, Write};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::background::TaskStatus;
use crate::agent::error::AgentError;
use crate::command::{Command, ContextStatus, NOTHING_TO_COMPACT, Status, Waiting};
use crate::event::PlanItem;
use crate::ids::TaskId;
use crate::message::Usage;
use crate::prompt::slash::{BUILT_IN, PromptFile};
use crate::session::forget::CompactionReport;
use crate::session::goal::GoalState;
use crate::session::tasks::Tasks;
use crate::spec::{Mode, ModelSelection, SettingsChange};
use crate::{DefaultSession, SessionError};

/// What a slash command answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Answer {
    /// All commands: the ones that are always there, then the files.
    Help {
        /// In the order in which people are shown them.
        commands: Vec<Listed>,
    },
    /// How full the window is.
    Context {
        /// As the session counts it.
        context: ContextStatus,
    },
    /// What the session has used.
    Usage {
        /// Turns that ended.
        turns: u32,
        /// Tokens of all turns.
        usage: Usage,
        /// Money in millionths of a US dollar; absent when a price was unknown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_micros: Option<u64>,
    },
    /// Which model answers from the next turn on.
    Model {
        /// The model.
        model: ModelSelection,
        /// Whether this command changed it.
        changed: bool,
    },
    /// What tools may do from the next turn on.
    Mode {
        /// The mode.
        mode: Mode,
        /// Whether this command changed it.
        changed: bool,
    },
    /// What waits for a turn, in order; its number is its place, from 1.
    Queue {
        /// The inputs.
        waiting: Vec<Waiting>,
    },
    /// What the session is to reach, and how far it is.
    Goal {
        /// Absent when it has no goal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        goal: Option<GoalState>,
    },
    /// The plan as the model wrote it last; empty when there is none.
    Plan {
        /// Its items.
        items: Vec<PlanItem>,
    },
    /// What runs in the background, then what ended there last.
    Tasks {
        /// In the order of their beginning, the ended ones of their end.
        tasks: Vec<ListedTask>,
    },
    /// A background task is being ended; without a name all of them.
    CancelTask {
        /// The task.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<TaskId>,
        /// Whether there was anything to end.
        running: bool,
    },
    /// A line was sent to a background task.
    SendToTask {
        /// The task.
        task: TaskId,
    },
    /// An input was taken back.
    Withdraw {
        /// Which one.
        input: Waiting,
    },
    /// What was said is a summary now.
    Compact {
        /// Tokens of the next request before, estimated.
        tokens_before: u64,
        /// And after.
        tokens_after: u64,
    },
}

/// A background task in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListedTask {
    /// Its name.
    pub task: TaskId,
    /// How it stands.
    pub status: TaskStatus,
    /// A few words about it.
    pub label: String,
}

impl ListedTask {
    /// All tasks of a session: those that run, then those that ended last.
    #[must_use]
    pub fn all(tasks: &Tasks) -> Vec<Self> {
        let running = tasks.running.iter().map(|running| Self {
            task: running.started.task.clone(),
            status: TaskStatus::Running,
            label: running.started.label.clone(),
        });
        let ended = tasks.finished.iter().map(|finished| Self {
            task: finished.task.clone(),
            status: finished.outcome.into(),
            label: finished.label.clone(),
        });
        running.chain(ended).collect()
    }
}

/// A command in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// Its name, without the slash.
    pub name: String,
    /// What may follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What it does, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Something that is asked of a session, whoever asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// To say something.
    Question(Question),
    /// To do something.
    Change(Change),
}

/// What a session is asked to say; nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// How full the window is.
    Context,
    /// What was used.
    Usage,
    /// Which model answers.
    Model,
    /// Which mode it is in.
    Mode,
    /// What waits.
    Queue,
    /// How far the goal is.
    Goal,
    /// The plan.
    Plan,
    /// What runs in the background.
    Tasks,
}

/// What a session is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Take this model.
    Model(ModelSelection),
    /// Change to this mode.
    Mode(Mode),
    /// Have no goal any more.
    NoGoal,
    /// Take back what waits, by its number in the list, from 1.
    Withdraw(usize),
    /// End a background task; without a name all of them.
    CancelTask(Option<TaskId>),
    /// Send a background task a line.
    SendToTask(TaskId, String),
    /// Make a summary, paying attention to this.
    Compact(Option<String>),
}

impl From<Question> for Ask {
    fn from(question: Question) -> Self {
        Self::Question(question)
    }
}

impl From<Change> for Ask {
    fn from(change: Change) -> Self {
        Self::Change(change)
    }
}

/// Why a slash command was not done.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The session refused, or has ended.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The summary could not be begun.
    #[error(transparent)]
    Agent(AgentError),
    /// So many do not wait.
    #[error("there is no number {number} in the queue: {waiting} wait; /queue lists them")]
    NoSuchNumber {
        /// The number.
        number: usize,
        /// How many wait.
        waiting: usize,
    },
    /// There is no such task, or it is long ended.
    #[error("there is no background task {}; /tasks lists them", task.as_ref().map_or("", TaskId::as_str))]
    NoSuchTask {
        /// Its name.
        task: Option<TaskId>,
    },
    /// The summary could not be used.
    #[error("nothing was summarised: {why}")]
    Summary {
        /// Why, in words for a person.
        why: String,
    },
}

impl From<AgentError> for AskError {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Compaction { why, .. } => Self::Summary { why },
            AgentError::Rejected(rejection) => Self::Session(rejection.into()),
            other => Self::Agent(other),
        }
    }
}

/// All commands, for lists.
#[must_use]
pub fn listed(files: &[PromptFile]) -> Vec<Listed> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let known = BUILT_IN.iter().map(|known| Listed {
        name: known.name.to_owned(),
        hint: some(known.hint),
        description: some(known.description),
    });
    let files = files.iter().map(|file| Listed {
        name: file.name.clone(),
        hint: file.argument_hint.clone(),
        description: file.description.clone(),
    });
    known.chain(files).collect()
}

/// Asks a session, and waits for what it answers; a summary may take as long as a turn. Dropping the future stops nothing: [`Command::Cancel`] does.
///
/// # Errors
/// [`AskError`]; nothing has changed then.
pub async fn ask(session: &DefaultSession, asked: impl Into<Ask>) -> Result<Answer, AskError> {
    let status = session.status().await?;
    match asked.into() {
        Ask::Question(question) => Ok(told(&status, question)),
        Ask::Change(change) => done(session, status, change).await,
    }
}

async fn done(
    session: &DefaultSession,
    status: Status,
    change: Change,
) -> Result<Answer, AskError> {
    let configure = async |change: SettingsChange| {
        session
            .tell(Command::Configure { change: Box::new(change), expected: None })
            .await
            .map(drop)
    };
    Ok(match change {
        Change::Model(model) => {
            configure(SettingsChange { model: Some(model.clone()), ..Default::default() }).await?;
            let changed = model != status.settings.model;
            Answer::Model { model, changed }
        }
        Change::Mode(mode) => {
            configure(SettingsChange { mode: Some(mode.clone()), ..Default::default() }).await?;
            let changed = mode != status.settings.mode;
            Answer::Mode { mode, changed }
        }
        Change::NoGoal => {
            session.tell(Command::SetGoal { goal: None }).await?;
            Answer::Goal { goal: None }
        }
        Change::Withdraw(number) => {
            let waiting = status.waiting.len();
            let wanted = number.checked_sub(1).and_then(|at| status.waiting.into_iter().nth(at));
            let input = wanted.ok_or(AskError::NoSuchNumber { number, waiting })?;
            session.tell(Command::Withdraw { input: input.input }).await?;
            Answer::Withdraw { input }
        }
        Change::CancelTask(task) => {
            let runs =
                |named: &TaskId| status.tasks.running.iter().any(|r| r.started.task == *named);
            let running = match &task {
                Some(task) => runs(task),
                None => !status.tasks.running.is_empty(),
            };
            match session.cancel_task(task.as_ref()).await? {
                None => return Err(AskError::NoSuchTask { task }),
                Some(_) => Answer::CancelTask { task, running },
            }
        }
        Change::SendToTask(task, line) => {
            session.send_to_task(&task, line).await?;
            Answer::SendToTask { task }
        }
        Change::Compact(instructions) => {
            let nothing = || AskError::Summary { why: NOTHING_TO_COMPACT.to_owned() };
            let report = session.compact(instructions).await?.ok_or_else(nothing)?;
            let CompactionReport { tokens_before, tokens_after } = report;
            Answer::Compact { tokens_before, tokens_after }
        }
    })
}

/// The answer of a session that is doing like this.
#[must_use]
pub fn told(status: &Status, question: Question) -> Answer {
    match question {
        Question::Context => Answer::Context { context: status.context },
        Question::Usage => Answer::Usage {
            turns: status.turns,
            usage: status.usage,
            cost_micros: status.cost_micros,
        },
        Question::Model => Answer::Model { model: status.settings.model.clone(), changed: false },
        Question::Mode => Answer::Mode { mode: status.settings.mode.clone(), changed: false },
        Question::Queue => Answer::Queue { waiting: status.waiting.clone() },
        Question::Goal => Answer::Goal { goal: status.goal.clone() },
        Question::Plan => Answer::Plan { items: status.plan.clone() },
        Question::Tasks => Answer::Tasks { tasks: ListedTask::all(&status.tasks) },
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = |changed: &bool| if *changed { " from the next turn on" } else { "" };
        match self {
            Self::Help { commands } => help(f, commands),
            Self::Context { context } => {
                let used = context.used_tokens;
                match context.context_window {
                    None => write!(f, "context: {used} tokens; the model's window is not known"),
                    Some(window) => {
                        let share = context.ratio().unwrap_or_default() * 100.0;
                        write!(f, "context: {used} of {window} tokens ({share:.0} %)")
                    }
                }
            }
            Self::Usage { turns, usage, cost_micros } => {
                let Usage { input, output, cache_read, cache_write, reasoning } = usage;
                write!(
                    f,
                    "usage: {turns} turns, {} tokens: {input} in, {output} out ({reasoning} thought), {cache_read} read from the cache, {cache_write} written to it; ",
                    usage.total()
                )?;
                match cost_micros {
                    Some(cost) => write!(f, "${}.{:06}", cost / 1_000_000, cost % 1_000_000),
                    None => f.write_str("the price is not known"),
                }
            }
            Self::Model { model, changed } => write!(f, "model: {model}{}", next(changed)),
            Self::Mode { mode, changed } => write!(f, "mode: {mode}{}", next(changed)),
            Self::Queue { waiting } if waiting.is_empty() => f.write_str("nothing waits"),
            Self::Queue { waiting } => {
                for (at, input) in waiting.iter().enumerate() {
                    let line = if at == 0 { "" } else { "\n" };
                    write!(f, "{line}{}  {}", at + 1, input.words)?;
                }
                Ok(())
            }
            Self::Goal { goal: None } => f.write_str("no goal"),
            Self::Goal { goal: Some(goal) } => self::goal(f, goal),
            Self::Plan { items } if items.is_empty() => f.write_str("no plan"),
            Self::Plan { items } => plan(f, items),
            Self::Tasks { tasks } if tasks.is_empty() => f.write_str("no background tasks"),
            Self::Tasks { tasks } => {
                for (at, task) in tasks.iter().enumerate() {
                    let line = if at == 0 { "" } else { "\n" };
                    write!(f, "{line}{}  {}  {}", task.task, task.status.as_str(), task.label)?;
                }
                Ok(())
            }
            Self::CancelTask { running: false, task: None } => {
                f.write_str("no background task runs")
            }
            Self::CancelTask { running: false, task: Some(task) } => write!(f, "{task} has ended"),
            Self::CancelTask { task: None, .. } => {
                f.write_str("all background tasks are being ended")
            }
            Self::CancelTask { task: Some(task), .. } => write!(f, "{task} is being ended"),
            Self::SendToTask { task } => write!(f, "sent to {task}"),
            Self::Withdraw { input } => write!(f, "withdrawn: {}", input.words),
            Self::Compact { tokens_before, tokens_after } => {
                write!(f, "summarised: {tokens_before} tokens before, {tokens_after} after")
            }
        }
    }
}

fn goal(f: &mut fmt::Formatter<'_>, goal: &GoalState) -> fmt::Result {
    writeln!(f, "goal: {}", goal.objective)?;
    let (continuations, max) = (goal.continuations, goal.continuations_max);
    match &goal.reached {
        Some(summary) => write!(f, "reached: {summary}"),
        None => write!(f, "not reached; went on by itself {continuations} of {max} times"),
    }
}

fn plan(f: &mut fmt::Formatter<'_>, items: &[PlanItem]) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        let line = if at == 0 { "" } else { "\n" };
        write!(f, "{line}{} {}", item.status.sign(), item.content)?;
    }
    Ok(())
}

fn help(f: &mut fmt::Formatter<'_>, commands: &[Listed]) -> fmt::Result {
    let left = |listed: &Listed| {
        let hint = listed.hint.as_deref().map_or(String::new(), |hint| format!(" {hint}"));
        format!("/{}{hint}", listed.name)
    };
    let width = commands.iter().map(|listed| left(listed).chars().count()).max().unwrap_or(0);
    for (at, listed) in commands.iter().enumerate() {
        if at > 0 {
            f.write_char('\n')?;
        }
        match &listed.description {
            Some(description) => write!(f, "{:width$}  {description}", left(listed))?,
            None => f.write_str(&left(listed))?,
        }
    }
    Ok(())
}
