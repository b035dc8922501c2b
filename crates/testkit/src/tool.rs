//! Tools that do what a test tells them to, and count how often.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use oarlock_core::event::{Effect, TaskKind};
use oarlock_core::ids::CallId;
use oarlock_core::message::Part;
use oarlock_core::ports::clock::{Cancel, Clock};
use oarlock_core::ports::tool::{
    Assessment, Place, Runs, SessionNote, SessionToolFactory, SessionTools, SessionToolsError,
    Subject, Tool, ToolContext, ToolError, ToolOutput, ToolSchema,
};
use oarlock_core::prompt::SystemPrompt;
use oarlock_core::spec::SessionSpec;
use oarlock_core::{
    AgentOrder, AgentReport, BackgroundTasks, BlockKind, Nowhere, StaticToolRegistry,
    SubagentError, TaskHandle,
};
use serde_json::{Value, json};

/// What a call does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Gives this text.
    Give(String),
    /// Gives its arguments as JSON.
    Echo,
    /// Shows the text, lets so many milliseconds pass, then gives it; stops at once when cancelled.
    After(u64, &'static str),
    /// Never ends, cancelled or not.
    Hang,
    /// Tells its session this, and gives a word.
    Note(SessionNote),
    /// Fails with this text.
    Fail(&'static str),
    /// Panics.
    Panic,
    /// Panics over its arguments, before it is run.
    PanicEarly,
    /// Never says what it would do; run, it gives nothing.
    Mute,
    /// Gives so many texts.
    Parts(usize, &'static str),
    /// Runs a subagent by this order, its task the argument, and gives why it stopped and what it said.
    Spawn(Box<AgentOrder>),
    /// Lets a subagent work in the background by this order, its task the argument.
    SpawnInBackground(Box<AgentOrder>),
    /// Shows so many bytes at once, and is done a second later.
    Shout(usize),
    /// Starts this in the background and gives the name of the task.
    Background(Work),
}

/// What a background task does.
#[derive(Debug, Clone)]
pub enum Work {
    /// Prints `begun`, lets so many milliseconds pass, then gives this text; stops at once when cancelled.
    After(u64, String),
    /// Never ends, cancelled or not.
    Hang,
    /// Tells its session this, and gives a word.
    Note(SessionNote),
    /// Fails with this text.
    Fail(&'static str),
    /// Panics.
    Panic,
    /// Gives the first words that it is sent.
    Echo,
}

/// A tool of a test. Its arguments are `{"what": text}`, which rules are matched against.
#[derive(Debug)]
pub struct TestTool {
    schema: ToolSchema,
    effect: Effect,
    act: Act,
    runs: AtomicU32,
    ran: Mutex<Vec<CallId>>,
    /// The background tasks of the session that ran it last, and the handle of the task it started last.
    tasks: Mutex<BackgroundTasks>,
    handle: Mutex<Option<TaskHandle>>,
}

impl TestTool {
    /// A tool of that name.
    #[must_use]
    pub fn new(name: &str, effect: Effect, act: Act) -> Arc<Self> {
        let schema = ToolSchema {
            name: name.to_owned(),
            description: format!("test tool {name}"),
            input: json!({"type": "object", "properties": {"what": {"type": "string"}}}),
            runs: Runs::Here,
        };
        Arc::new(Self::of(schema, effect, act))
    }

    /// A tool whose calls the client answers.
    #[must_use]
    pub fn client(name: &str) -> Arc<Self> {
        let tool = Self::new(name, Effect::Pure, Act::Hang);
        let schema = ToolSchema { runs: Runs::Client, ..tool.schema.clone() };
        Arc::new(Self::of(schema, Effect::Pure, Act::Hang))
    }

    fn of(schema: ToolSchema, effect: Effect, act: Act) -> Self {
        let (runs, ran) = (AtomicU32::new(0), Mutex::default());
        let (tasks, handle) = (Mutex::default(), Mutex::default());
        Self { schema, effect, act, runs, ran, tasks, handle }
    }

    /// The background tasks of the session that ran it last.
    #[must_use]
    pub fn tasks(&self) -> BackgroundTasks {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The handle of the background task that it started last.
    ///
    /// # Panics
    /// When it started none.
    #[must_use]
    pub fn handle(&self) -> TaskHandle {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).clone();
        handle.expect("it started a task")
    }

    /// The calls that were run, in order, each as often as it was run.
    #[must_use]
    pub fn ran(&self) -> Vec<CallId> {
        self.ran.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What running it does.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// How often it was run.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }
}

impl Tool for TestTool {
    fn schema(&self) -> &ToolSchema {
        &self.schema
    }

    fn assess(&self, arguments: &Value, _: &Place) -> Result<Assessment, String> {
        assert!(!matches!(self.act, Act::PanicEarly), "scripted panic");
        let what = match &arguments["what"] {
            Value::Null => "nothing",
            Value::String(what) => what,
            _ => return Err("`what` must be a string".to_owned()),
        };
        let subject = Subject { parts: vec![what.to_owned()], complete: true };
        Ok(Assessment {
            effect: self.effect,
            title: format!("{} {what}", self.schema.name),
            subject,
            timeout_ms: 60_000,
        })
    }

    fn describe<'a>(&'a self, arguments: &'a Value, _: &'a ToolContext) -> BoxFuture<'a, String> {
        async move {
            if matches!(self.act, Act::Mute) {
                return std::future::pending().await;
            }
            format!("would {}", arguments["what"])
        }
        .boxed()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test tool lets time pass on tokio's clock, which tests pause"
    )]
    fn execute(
        self: Arc<Self>,
        arguments: Value,
        cx: ToolContext,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.ran.lock().unwrap_or_else(PoisonError::into_inner).push(cx.call.clone());
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&cx.reach.tasks);
        let act = self.act.clone();
        async move {
            match act {
                Act::Give(text) => Ok(ToolOutput::text(text)),
                Act::Echo => Ok(ToolOutput::text(arguments.to_string())),
                Act::After(ms, text) => {
                    cx.progress.show(text);
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(ms)) => Ok(ToolOutput::text(text)),
                        () = cx.cancel.cancelled() => Err(ToolError::Cancelled),
                    }
                }
                Act::Background(work) => {
                    let tasks = cx.reach.tasks;
                    let clock = cx.clock;
                    let spawned = tasks.spawn("test", TaskKind::Work, move |cancel, handle| {
                        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle.clone());
                        work_on(work, clock, cancel, handle)
                    });
                    let task = spawned.await.map_err(|e| ToolError::failed(e.to_string()))?;
                    Ok(ToolOutput::text(format!("started {task}")))
                }
                Act::Hang => std::future::pending().await,
                Act::Note(note) => {
                    Ok(ToolOutput { notes: vec![note], ..ToolOutput::text("noted") })
                }
                Act::Fail(text) => Err(ToolError::failed(text)),
                Act::Panic | Act::PanicEarly => panic!("scripted panic"),
                Act::Mute => Ok(ToolOutput::default()),
                Act::Parts(count, text) => {
                    let content = vec![Part::text(text); count];
                    Ok(ToolOutput { content, ..ToolOutput::default() })
                }
                Act::Spawn(order) => {
                    let task = arguments["what"].as_str().unwrap_or("work");
                    let order = AgentOrder { task: vec![Part::text(task)], ..*order };
                    let report = cx.reach.agents.run(order, &cx.cancel).await;
                    match report {
                        Ok(AgentReport { stop, text, .. }) => {
                            Ok(ToolOutput::text(format!("{stop:?}: {text}")))
                        }
                        Err(SubagentError::Cancelled) => Err(ToolError::Cancelled),
                        Err(error) => Err(ToolError::failed(error.to_string())),
                    }
                }
                Act::SpawnInBackground(order) => {
                    let task = arguments["what"].as_str().unwrap_or("work");
                    let order = AgentOrder { task: vec![Part::text(task)], ..*order };
                    let with = (&cx.reach.tasks, order.profile.clone());
                    let with = (with.0, with.1.as_str());
                    let started = cx.reach.agents.start(order, with, &cx.cancel).await?;
                    Ok(ToolOutput::text(started.task.to_string()))
                }
                Act::Shout(bytes) => {
                    cx.progress.show(&"x".repeat(bytes));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Ok(ToolOutput::default())
                }
            }
        }
        .boxed()
    }
}

async fn work_on(
    work: Work,
    clock: Arc<dyn Clock>,
    cancel: Cancel,
    handle: TaskHandle,
) -> Result<ToolOutput, ToolError> {
    match work {
        Work::After(ms, text) => {
            handle.keep(BlockKind::Output, "begun");
            handle.show("begun");
            tokio::select! {
                () = clock.sleep_until(clock.now().after(ms)) => Ok(ToolOutput::text(text)),
                () = cancel.cancelled() => Err(ToolError::Cancelled),
            }
        }
        Work::Hang => std::future::pending().await,
        Work::Note(note) => Ok(ToolOutput { notes: vec![note], ..ToolOutput::text("noted") }),
        Work::Fail(text) => Err(ToolError::failed(text)),
        Work::Panic => panic!("scripted panic"),
        Work::Echo => {
            let mut inputs = handle.inputs();
            let heard = inputs.recv().await.unwrap_or_default();
            Ok(ToolOutput::text(heard))
        }
    }
}

/// An order for a subagent whose system prompt is `child`, with every tool of its parent.
#[must_use]
pub fn order() -> AgentOrder {
    AgentOrder {
        prompt: SystemPrompt { system: "child".to_owned(), ..SystemPrompt::default() },
        tools: Some(vec!["*".to_owned()]),
        ..AgentOrder::of("tester")
    }
}

/// Gives every session the same tools, no files and no commands.
#[derive(Debug)]
pub struct SameTools(pub Vec<Arc<TestTool>>);

impl SessionToolFactory for SameTools {
    fn build<'a>(
        &'a self,
        _: &'a SessionSpec,
    ) -> BoxFuture<'a, Result<SessionTools, SessionToolsError>> {
        let tools = self.0.iter().map(|tool| Arc::clone(tool) as Arc<dyn Tool>);
        let tools = Arc::new(StaticToolRegistry::new(tools));
        let built = SessionTools { tools, files: Arc::new(Nowhere), shell: Arc::new(Nowhere) };
        async { Ok(built) }.boxed()
    }
}
