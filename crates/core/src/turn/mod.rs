//! The effects of a turn: model calls and tools, each a task that this module owns and ends.

pub(crate) mod agents;
pub(crate) mod background;
pub(crate) mod compact;
pub(crate) mod external;
pub(crate) mod grants;
pub(crate) mod hooks;
pub(crate) mod model;
pub mod permission;
pub mod registry;
mod spawned;
pub(crate) mod tasks;
pub(crate) mod tools;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::AbortHandle;

use crate::agent::background::{
    AttachTask, BackgroundError, BackgroundTasks, TaskStart, TaskStatus,
};
use crate::agent::subagent::{Agents, AgentsDoor};
use crate::event::{TaskSettled, TaskStarted};
use crate::ids::{CallId, SessionId, TaskId};
use crate::limits::RuntimeLimits;
use crate::ports::clock::{Cancel, Clock};
use crate::ports::hook::{HookCall, HookEngine, NoopHookEngine};
use crate::ports::journal::Blobs;
use crate::ports::model::{Model, ModelRequest};
use crate::ports::policy::Grants;
use crate::ports::tool::{Progress, Reach, Tool, ToolContext, ToolSchema};
use crate::runtime::WeakCore;
use crate::session::context::{self, ToolsDigest};
use crate::session::hooks::HookPlace;
use crate::session::inbox::{Outbox, Signal};
use crate::session::state::{Call, State};
use crate::spec::{ExternalTool, Sampling};
use crate::turn::registry::Toolbox;
use crate::turn::spawned::Spawned;

/// What acts for one session: it calls models and runs tools as planning says, one task each. Only the session's task has one, and dropping
/// it drops every task.
#[derive(Debug)]
pub struct TurnRunner {
    session: SessionId,
    toolbox: Arc<Toolbox>,
    /// The toolbox with what its client runs beside it.
    offered: Arc<Toolbox>,
    blobs: Arc<dyn Blobs>,
    clock: Arc<dyn Clock>,
    limits: Arc<RuntimeLimits>,
    outbox: Outbox,
    tasks: Spawned,
    /// Who keeps grants, where anybody does, and what is being saved.
    grants: Option<Arc<dyn Grants>>,
    savings: Spawned,
    model: Option<AbortHandle>,
    summary: Option<AbortHandle>,
    calls: BTreeMap<CallId, (Cancel, AbortHandle)>,
    background: BackgroundTasks,
    attach: Option<Arc<dyn AttachTask>>,
    /// Where subagents are opened; absent in a runtime that has ended.
    core: Option<WeakCore>,
    closings: BTreeMap<SessionId, AbortHandle>,
    engine: Arc<dyn HookEngine>,
    hooks: BTreeMap<HookPlace, AbortHandle>,
}

impl TurnRunner {
    pub(crate) fn new(
        session: SessionId,
        toolbox: Arc<Toolbox>,
        blobs: Arc<dyn Blobs>,
        clock: Arc<dyn Clock>,
        around: (Arc<RuntimeLimits>, Outbox),
    ) -> Self {
        let (limits, outbox) = around;
        let background = BackgroundTasks::new(Arc::clone(&limits), outbox.clone());
        Self {
            session,
            offered: Arc::clone(&toolbox),
            toolbox,
            blobs,
            clock,
            limits,
            outbox,
            tasks: Spawned::default(),
            grants: None,
            savings: Spawned::default(),
            model: None,
            summary: None,
            calls: BTreeMap::new(),
            background,
            attach: None,
            core: None,
            closings: BTreeMap::new(),
            engine: Arc::new(NoopHookEngine),
            hooks: BTreeMap::new(),
        }
    }

    /// The same effects, with somebody who takes up tasks of an earlier process.
    pub(crate) fn with_attach(mut self, attach: Option<Arc<dyn AttachTask>>) -> Self {
        self.attach = attach;
        self
    }

    /// The same effects, with somebody who keeps grants.
    pub(crate) fn with_grants(mut self, grants: Option<Arc<dyn Grants>>) -> Self {
        self.grants = grants;
        self
    }

    /// The same effects, with a runtime to open subagents in.
    pub(crate) fn with_core(mut self, core: WeakCore) -> Self {
        self.core = Some(core);
        self
    }

    /// Ends a subagent, and tells what it used. An attempt that is under way is given up.
    pub(crate) fn close_child(&mut self, child: SessionId) {
        self.reap();
        let Some(core) = self.core.clone() else { return };
        let closing = agents::close(core, child.clone(), self.outbox.clone());
        let closing = self.tasks.spawn(closing);
        if let Some(before) = self.closings.insert(child, closing) {
            before.abort();
        }
    }

    /// The same effects, with this engine of hooks.
    pub(crate) fn with_hooks(mut self, engine: Arc<dyn HookEngine>) -> Self {
        self.engine = engine;
        self
    }

    /// Runs the hooks of a place.
    pub(crate) fn run_hooks(&mut self, place: HookPlace, call: HookCall, run: u64) {
        self.reap();
        let told = (run, self.outbox.clone());
        let work = hooks::run(Arc::clone(&self.engine), (place.clone(), call), told);
        let task = self.tasks.spawn(work);
        self.hooks.insert(place, task);
    }

    /// Drops the hooks of a place; they are over, or nobody wants their end.
    pub(crate) fn end_hooks(&mut self, place: &HookPlace) {
        if let Some(task) = self.hooks.remove(place) {
            task.abort();
        }
    }

    /// Hands grants that a person saved to whoever keeps them.
    pub(crate) fn save_grants(&mut self, rules: Vec<String>) {
        self.savings.reap();
        let Some(grants) = &self.grants else { return };
        let place = (self.session.clone(), self.toolbox.place.cwd.clone());
        let until = self.clock.now().after(self.limits.grants_ms);
        let clock = Arc::clone(&self.clock);
        self.savings.spawn(grants::save(Arc::clone(grants), place, rules, clock, until));
    }

    /// Waits until everything that was to be saved is, or took too long.
    pub(crate) async fn saved(&mut self) {
        self.savings.join_all().await;
    }

    pub(crate) fn tools(&self) -> ToolsDigest {
        self.offered.registry.digest()
    }

    /// What models are told of the session's own tools.
    pub(crate) fn own_schemas(&self) -> Arc<Vec<ToolSchema>> {
        Arc::clone(self.toolbox.registry.schemas())
    }

    /// Offers the tools that the client runs, and no others of that kind.
    pub(crate) fn offer(&mut self, tools: &[ExternalTool]) -> &Arc<Toolbox> {
        let registry = external::offer(Arc::clone(&self.toolbox.registry), tools);
        self.offered = Arc::new(Toolbox { registry, ..Toolbox::clone(&self.toolbox) });
        &self.offered
    }

    fn schemas(&self) -> &Arc<Vec<ToolSchema>> {
        self.offered.registry.schemas()
    }

    /// Starts a model call for the open step.
    pub(crate) fn call_model(
        &mut self,
        state: &State,
        model: Arc<dyn Model>,
        output_max: Option<u64>,
        run: u64,
    ) {
        self.reap();
        let mut system = state.system_for(&model.info().selection);
        let mut output = state.turn.as_ref().and_then(|turn| turn.settings.output.clone());
        if let Some(output) = output.take_if(|_| !model.info().takes_output) {
            output.schema.tell(&mut system);
        }
        let request = ModelRequest {
            system,
            messages: context::render(state),
            tools: Arc::clone(self.schemas()),
            bodies: BTreeMap::new(),
            effort: state.turn.as_ref().and_then(|turn| turn.settings.effort),
            sampling: state
                .turn
                .as_ref()
                .map_or_else(Sampling::default, |turn| turn.settings.turn.sampling.clone()),
            capabilities: state.turn.as_ref().map_or_else(Default::default, |turn| {
                context::hosted(&turn.settings, model.info())
            }),
            output: output.map(|output| output.schema),
            output_max,
            cache_key: state.line().to_string(),
        };
        let call = model::call(model, request, Arc::clone(&self.blobs), (run, self.outbox.clone()));
        self.model = Some(self.tasks.spawn(call));
    }

    /// Drops the model call; it is over, or nobody wants its end.
    pub(crate) fn end_model(&mut self) {
        if let Some(model) = self.model.take() {
            model.abort();
        }
    }

    /// Asks for a summary.
    pub(crate) fn summarise(&mut self, model: Arc<dyn Model>, request: ModelRequest, run: u64) {
        self.reap();
        let told = (run, self.outbox.clone());
        let summary = compact::summarise(model, request, self.limits.answer_bytes, told);
        self.summary = Some(self.tasks.spawn(summary));
    }

    /// Drops the summary; it is over, or nobody wants its end.
    pub(crate) fn end_summary(&mut self) {
        if let Some(summary) = self.summary.take() {
            summary.abort();
        }
    }

    /// Runs a call.
    pub(crate) fn run(&mut self, call: &Call) {
        self.reap();
        let Some((tool, cx)) = self.context(call) else { return };
        let cancel = cx.cancel.clone();
        let run = tools::run(
            tool,
            call.arguments().to_owned(),
            cx,
            (self.limits.inline_bytes, self.outbox.clone()),
        );
        let task = self.tasks.spawn(run);
        self.calls.insert(call.called.call.clone(), (cancel, task));
    }

    /// Finds out what to show about a call.
    pub(crate) fn describe(&mut self, call: &Call) {
        let Some((tool, cx)) = self.context(call) else { return };
        self.tasks.spawn(tools::describe(
            tool,
            call.arguments().to_owned(),
            cx,
            self.clock.now().after(self.limits.describe_ms),
            (self.limits.inline_bytes, self.outbox.clone()),
        ));
    }

    /// Tells a call to stop.
    pub(crate) fn cancel(&mut self, call: &CallId) {
        if let Some((cancel, _)) = self.calls.get(call) {
            cancel.cancel();
        }
    }

    /// Drops a call that did not stop.
    pub(crate) fn abandon(&mut self, call: &CallId) {
        if let Some((cancel, task)) = self.calls.remove(call) {
            cancel.cancel();
            task.abort();
        }
    }

    /// Forgets a call that is over.
    pub(crate) fn ended(&mut self, call: &CallId) {
        self.calls.remove(call);
    }

    /// Begins a background task: the work that waits under `ticket`, or without one that of an earlier process.
    pub(crate) fn begin_task(&mut self, started: &TaskStarted, ticket: Option<u64>) {
        self.reap();
        let limits = Arc::clone(&self.limits);
        let with = (Arc::clone(&self.clock), Arc::clone(&self.blobs), limits);
        let waiting = match ticket {
            Some(ticket) => self.background.take(ticket).map(|w| (w.start, Some(w.answer))),
            None => self.attach(started).map(|start| (start, None)),
        };
        let begun = self.background.begin(&started.task, &started.label);
        let (Some((start, answer)), Some((cancel, handle))) = (waiting, begun) else {
            let gone = tasks::gone(started.task.clone(), ticket.is_some(), self.outbox.clone());
            self.tasks.spawn(gone);
            return;
        };
        self.tasks.spawn(tasks::run(start, (cancel, handle), with, self.outbox.clone()));
        if let Some(answer) = answer {
            // Whoever started it may be gone; the task is in the journal and runs.
            drop(answer.send(Ok(started.task.clone())));
        }
    }

    /// Answers that a task is not begun.
    /// Answers whoever wants a task, and starts none.
    pub(crate) fn answer_task(&self, ticket: u64, answer: Result<TaskId, BackgroundError>) {
        if let Some(waiting) = self.background.take(ticket) {
            // Whoever wanted it may be gone.
            drop(waiting.answer.send(answer));
        }
    }

    /// The background tasks.
    pub(crate) fn background(&self) -> &BackgroundTasks {
        &self.background
    }

    /// Takes note of a task's end, which is in the journal.
    pub(crate) fn task_settled(&self, settled: &TaskSettled) {
        self.background.settled(&settled.task, TaskStatus::from(settled.outcome));
    }

    /// Ends everything.
    pub(crate) fn end(&mut self) {
        self.background.close();
        self.end_model();
        for (cancel, _) in std::mem::take(&mut self.calls).into_values() {
            cancel.cancel();
        }
        self.tasks.abort_all();
    }

    /// Gives back what a turn took: no turn runs.
    pub(crate) fn rest(&mut self) {
        self.reap();
    }

    /// Lets go of tasks that have ended.
    fn reap(&mut self) {
        self.tasks.reap();
    }

    /// The work of a task of an earlier process, where it can be taken up.
    fn attach(&self, started: &TaskStarted) -> Option<TaskStart> {
        let call = started.call.clone().unwrap_or_else(|| CallId("".into()));
        let own = self.door(call).and_then(|door| door.attach(started));
        own.or_else(|| self.attach.as_ref()?.attach(started))
    }

    /// The way to subagents for a call.
    fn door(&self, call: CallId) -> Option<AgentsDoor> {
        Some(AgentsDoor {
            core: self.core.clone()?,
            of: self.session.clone(),
            call,
            outbox: self.outbox.clone(),
            tools: Arc::clone(&self.toolbox.registry),
            files: Arc::clone(&self.toolbox.files),
            shell: Arc::clone(&self.toolbox.shell),
            model: self.toolbox.model.clone(),
        })
    }

    fn context(&self, call: &Call) -> Option<(Arc<dyn Tool>, ToolContext)> {
        let tool = Arc::clone(self.offered.registry.get(&call.called.name)?);
        let (id, outbox, said) = (call.called.call.clone(), self.outbox.clone(), AtomicU64::new(0));
        let shown_max = self.limits.live_output_bytes;
        let progress = Progress::new(move |text| {
            let begin = said.fetch_add(text.len() as u64, Ordering::Relaxed);
            // Of what is too long only the end is shown.
            let cut = text.ceil_char_boundary(text.len().saturating_sub(shown_max));
            let (offset, text) = (begin + cut as u64, text[cut..].to_owned());
            outbox.offer(Signal::ToolOutput { call: id.clone(), offset, text });
        });
        let cx = ToolContext {
            session: self.session.clone(),
            call: call.called.call.clone(),
            place: self.toolbox.place.clone(),
            files: Arc::clone(&self.toolbox.files),
            shell: Arc::clone(&self.toolbox.shell),
            blobs: Arc::clone(&self.blobs),
            clock: Arc::clone(&self.clock),
            cancel: Cancel::new(),
            progress,
            reach: Reach {
                tasks: self.background.of_call(call.called.call.clone()),
                agents: Agents(self.door(call.called.call.clone()).map(Arc::new)),
            },
        };
        Some((tool, cx))
    }
}

impl Drop for TurnRunner {
    fn drop(&mut self) {
        // What waits in the table may hold the table.
        self.background.close();
    }
}
