//! What a session is: the fold of its entries. Pure; the only place where an entry changes anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{
    AnsweredBy, AssistantMessage, Entry, Event, Fingerprint, HookPoint, InputAdmitted,
    InputRequested, ModelFailed, Outcome, PermissionAnswered, PlanItem, Reserved, StepStarted,
    StopReason, ToolCalled, ToolSettled, TurnEnded, TurnRecovered, TurnStarted,
};
use crate::ids::{CallId, Epoch, NodeId, Seq, SessionId, Timestamp, TurnNo};
use crate::message::{Block, Message, Part, ToolResult, Usage};
use crate::ports::model::ModelErrorKind;
pub use crate::session::children::Child;
use crate::session::conversation::{Conversation, Counted, calls_of};
pub use crate::session::forget::{OpenSummary, SummaryFailure};
pub use crate::session::fork::Forked;
pub use crate::session::goal::GoalState;
pub use crate::session::hooks::{Hooked, HookedCall, OpenHooks};
pub use crate::session::open_turn::{Call, CallPhase, OpenStep, OpenTurn};
use crate::session::recent::{RecentCalls, RecentKeys};
pub use crate::session::tasks::{FinishedTask, RunningTask, Tasks};
use crate::spec::{Comms, ModelSelection, ReasoningEffort, Rules, SessionSpec, SettingsChange};

/// A session, folded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The session.
    pub id: SessionId,
    /// What it was made as, with the settings as they stand.
    pub spec: Arc<SessionSpec>,
    /// What it is to others of its tenant, where they may write to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comms: Option<Box<Comms>>,
    /// Where it was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked: Option<Box<Forked>>,
    /// When it was made.
    pub created: Timestamp,
    /// When its last entry was decided.
    pub updated: Timestamp,
    /// The last entry.
    pub tip: Seq,
    /// The writer's epoch.
    pub epoch: Epoch,
    /// The writer's process.
    pub node: NodeId,
    /// Whether the writer let go in good order.
    pub released: bool,
    /// How often its settings were changed.
    #[serde(default)]
    pub configured: u64,
    /// Whether it refuses turns.
    pub archived: bool,
    /// Rules that answers to questions have added.
    pub granted: Rules,
    /// Inputs that no turn has taken, in order.
    pub pending: Vec<PendingInput>,
    /// Which inputs idempotency keys name.
    pub keys: RecentKeys,
    /// What the model sees.
    pub conversation: Conversation,
    /// The open turn.
    pub turn: Option<Box<OpenTurn>>,
    /// Turns that ended.
    pub turns: TurnNo,
    /// Why the last turn ended.
    pub last_stop: Option<StopReason>,
    /// What all turns used, the open one included.
    pub used: Used,
    /// What the last request was made of.
    pub last_request: Option<Box<RequestAuditTracker>>,
    /// The summary that was begun and has not ended.
    pub summary: Option<Box<OpenSummary>>,
    /// The last summary that was tried and could not be used, until something was forgotten otherwise.
    pub summary_failed: Option<SummaryFailure>,
    /// What it is to reach before it stops.
    pub goal: Option<GoalState>,
    /// The plan as the model wrote it last.
    pub plan: Vec<PlanItem>,
    /// The skills that were loaded last, each once.
    pub skills: Vec<String>,
    /// What runs in the background, and what ran there last.
    pub tasks: Tasks,
    /// Subagents that are not closed.
    pub children: Vec<Child>,
    /// Hooks that were begun, may call models, and have not ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<OpenHooks>,
    /// What hooks told the model on entering the session: part of its system prompt.
    pub instructions: Vec<String>,
    /// Tokens before the last summary, until hooks were told of it or another step began.
    pub compacted: Option<u64>,
    /// Call ids that were used.
    pub call_ids: RecentCalls,
    /// The beginning of the first input, for lists.
    pub first_words: String,
    /// The input that was admitted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_input: Option<Seq>,
}

/// An admitted input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PendingInput {
    /// Names it.
    pub seq: Seq,
    /// What was admitted, as hooks have left it.
    pub admitted: InputAdmitted,
    /// Where hooks changed it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hooked: BTreeSet<HookPoint>,
    /// A hook refused it: no model is shown it, and the turn that takes it ends for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<(StopReason, Option<String>)>,
}

/// What was used up, for limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Used {
    /// Answered steps.
    pub steps: u32,
    /// Tokens.
    pub usage: Usage,
    /// Money in millionths of a US dollar.
    pub cost_micros: u64,
    /// Whether some of it had no known price.
    pub cost_unknown: bool,
    /// Milliseconds of open turns, up to the last ended or recovered stretch.
    pub wall_ms: u64,
    /// Started calls.
    pub tool_calls: u32,
}

impl Used {
    /// Counts what a model call may use at most.
    pub(super) fn reserve(&mut self, worst: &Reserved) {
        let usage = &mut self.usage;
        usage.input = usage.input.saturating_add(worst.prompt_tokens);
        usage.output = usage.output.saturating_add(worst.output_tokens.unwrap_or(0));
        let money = [worst.prompt_micros, worst.output_micros].into_iter().flatten();
        self.cost_micros = money.fold(self.cost_micros, u64::saturating_add);
    }

    /// Counts tokens and their price. Tokens without one make the sum unknown; a call that used none cost nothing.
    pub(super) fn spend(&mut self, usage: Usage, cost_micros: Option<u64>) {
        self.usage += usage;
        self.cost_micros = self.cost_micros.saturating_add(cost_micros.unwrap_or(0));
        self.cost_unknown |= cost_micros.is_none() && usage != Usage::default();
    }
}

/// What the last request was made of: whatever differs in the next one's beginning keeps a provider's cache from hitting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestAuditTracker {
    /// Its hashes.
    pub fingerprint: Fingerprint,
    /// How many messages it had.
    pub messages: usize,
    /// [`Conversation::edits`] when it was made.
    pub edits: u32,
    /// How hard the model was to think.
    pub effort: Option<ReasoningEffort>,
}

/// An entry that cannot follow what came before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq} cannot follow what came before: {why}")]
pub struct FoldError {
    /// The entry.
    pub seq: Seq,
    /// Why it cannot.
    pub why: &'static str,
}

impl State {
    /// The state after a session's first entry.
    ///
    /// # Errors
    /// When it is not `session_created` with `seq` 1.
    pub fn created(entry: &Entry) -> Result<Self, FoldError> {
        let Event::SessionCreated(created) = &entry.event else {
            return Err(FoldError { seq: entry.seq, why: "a session begins with session_created" });
        };
        if entry.seq != 1 {
            return Err(FoldError { seq: entry.seq, why: "a session begins with entry 1" });
        }
        Ok(Self {
            id: created.id.clone(),
            spec: Arc::new(created.spec.clone()),
            comms: None,
            forked: created.forked.clone().map(|point| Box::new(Forked { point, whole: false })),
            created: entry.at,
            updated: entry.at,
            tip: 1,
            epoch: 1,
            node: created.node.clone(),
            released: false,
            configured: 0,
            archived: false,
            granted: Rules::default(),
            pending: Vec::new(),
            keys: RecentKeys::default(),
            conversation: Conversation::default(),
            turn: None,
            turns: 0,
            last_stop: None,
            used: Used::default(),
            last_request: None,
            summary: None,
            summary_failed: None,
            goal: None,
            plan: Vec::new(),
            skills: Vec::new(),
            tasks: Tasks::default(),
            children: Vec::new(),
            hooks: Vec::new(),
            instructions: Vec::new(),
            compacted: None,
            call_ids: RecentCalls::default(),
            first_words: String::new(),
            last_input: None,
        })
    }

    /// Folds the next entry.
    ///
    /// # Errors
    /// When it cannot follow; the state is then not to be used any more.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), FoldError> {
        let wrong = |why| FoldError { seq: entry.seq, why };
        if entry.seq != self.tip + 1 {
            return Err(wrong("it is not the next number"));
        }
        if !entry.scope.is_empty() {
            return Err(wrong("a session's own journal has no entries of others"));
        }
        match &entry.event {
            Event::SessionCreated(_) | Event::Spilled(_) => {
                return Err(wrong("it belongs at no place in a fold"));
            }
            Event::SessionNamed(named) => self.be_named(named).map_err(wrong)?,
            Event::SessionForked(point) => self.be_forked(entry, point).map_err(wrong)?,
            Event::SessionConfigured(change) => self.configure(change),
            Event::SessionArchived => self.archived = true,
            Event::SessionRestored => self.archived = false,
            // Writers of the session that is copied.
            Event::WriterChanged(_) | Event::WriterReleased if self.is_being_copied() => {}
            Event::WriterChanged(writer) => {
                if writer.epoch <= self.epoch {
                    return Err(wrong("the epoch does not rise"));
                }
                self.epoch = writer.epoch;
                self.node = writer.node.clone();
                self.released = false;
                self.tasks.quiet = true;
            }
            Event::WriterReleased => self.released = true,
            Event::InputAdmitted(admitted) => self.admit(entry.seq, admitted),
            Event::InputWithdrawn(input) => {
                self.pending.retain(|pending| pending.seq != input.input);
            }
            Event::TurnStarted(started) => self.start_turn(entry, started).map_err(wrong)?,
            Event::TurnRecovered(recovered) => {
                self.recover_turn(entry.at, recovered).map_err(wrong)?;
            }
            Event::TurnEnded(ended) => self.end_turn(entry.at, ended).map_err(wrong)?,
            Event::StepStarted(started) => self.start_step(entry.at, started).map_err(wrong)?,
            Event::ModelFailed(failed) => self.fail_model(entry.at, failed).map_err(wrong)?,
            Event::ModelReplaced(replaced) => {
                self.replace_model(entry.at, replaced).map_err(wrong)?;
            }
            Event::AssistantMessage(message) => self.answer(message).map_err(wrong)?,
            Event::ToolCalled(called) => self.call(called).map_err(wrong)?,
            Event::PermissionAsked(asked) => {
                self.move_call(&asked.call, CallPhase::Asked(asked.clone())).map_err(wrong)?;
            }
            Event::PermissionAnswered(answered) => self.permit(answered).map_err(wrong)?,
            Event::ToolStarted(call) => self.start_call(entry.at, &call.call).map_err(wrong)?,
            Event::ToolSettled(settled) => self.settle(settled).map_err(wrong)?,
            Event::InputRequested(asked) => self.request(asked).map_err(wrong)?,
            Event::ContextCleared(cleared) => self.clear(cleared).map_err(wrong)?,
            Event::ContextCompacted(compacted) => self.compact(compacted).map_err(wrong)?,
            Event::SummaryStarted(started) => self.start_summary(started).map_err(wrong)?,
            Event::SummaryFailed(failed) => self.fail_summary(entry.at, failed),
            Event::HistoryEdited(edited) => self.edit(edited).map_err(wrong)?,
            Event::GoalSet(set) => self.replace_goal(set.goal.as_ref()),
            Event::GoalReached(reached) => self.reach_goal(reached).map_err(wrong)?,
            Event::TurnContinued(continued) => self.continue_turn(continued).map_err(wrong)?,
            Event::PlanChanged(changed) => self.plan.clone_from(&changed.items),
            Event::SkillLoaded(loaded) => self.load_skill(loaded),
            Event::TaskStarted(started) => self.start_task(entry.at, started).map_err(wrong)?,
            Event::TaskSettled(settled) => self.settle_task(settled).map_err(wrong)?,
            Event::SubagentOpened(opened) => self.open_child(entry.at, opened).map_err(wrong)?,
            Event::SubagentClosed(closed) => self.close_child(closed).map_err(wrong)?,
            Event::HooksStarted(started) => self.start_hooks(started).map_err(wrong)?,
            Event::HookRan(ran) => self.run_hook(ran).map_err(wrong)?,
        }
        self.tip = entry.seq;
        self.updated = entry.at;
        Ok(())
    }

    /// Whether a call of this id could be taken for another one: a remembered one, or one that a model is shown.
    #[must_use]
    pub fn has_call(&self, id: &CallId) -> bool {
        let shown =
            || self.conversation.messages.iter().flat_map(calls_of).any(|shown| shown == id);
        self.call_ids.contains(id) || (self.call_ids.is_full() && shown())
    }

    /// The whole system prompt for a model, with what hooks told on entering the session.
    #[must_use]
    pub fn system_for(&self, model: &ModelSelection) -> String {
        let own = self.spec.system_for(model);
        std::iter::once(&own)
            .filter(|own| !own.is_empty())
            .chain(&self.instructions)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n\n")
    }

    /// Milliseconds that the open turn has used by `now`.
    #[must_use]
    pub fn turn_wall_ms(&self, now: Timestamp) -> u64 {
        self.turn.as_ref().map_or(0, |turn| turn.used.wall_ms + now.ms_since(turn.since))
    }

    fn configure(&mut self, change: &SettingsChange) {
        let spec = Arc::make_mut(&mut self.spec);
        Arc::make_mut(&mut spec.settings).apply(change);
        self.configured += 1;
    }

    pub(in crate::session) fn push(&mut self, message: Message) {
        self.conversation.push(message);
    }

    fn start_turn(&mut self, entry: &Entry, started: &TurnStarted) -> Result<(), &'static str> {
        if self.turn.is_some() {
            return Err("a turn is open");
        }
        let no = self.turns + 1;
        if entry.turn != Some(no) {
            return Err("it is not the next turn");
        }
        self.count_autonomous(&started.inputs, true);
        let refused = |pending: &&PendingInput| started.inputs.contains(&pending.seq);
        let refused = self.pending.iter().filter(refused).find_map(|input| input.refused.clone());
        self.take_inputs(&started.inputs)?;
        let settings = started.settings.clone();
        self.turn = Some(Box::new(OpenTurn {
            no,
            settings,
            since: entry.at,
            crashes: 0,
            used: Used::default(),
            step: None,
            overflows: 0,
            shrunk: false,
            made: BTreeSet::new(),
            progress: 0,
            goes_on: false,
            child_steps: 0,
            hook_continues: 0,
            misfits: 0,
            hooked: Hooked { stop: refused, ..Hooked::default() },
            replaced: None,
        }));
        Ok(())
    }

    fn recover_turn(
        &mut self,
        at: Timestamp,
        recovered: &TurnRecovered,
    ) -> Result<(), &'static str> {
        let updated = self.updated;
        let turn = self.turn.as_mut().ok_or("no turn is open")?;
        let stretch = updated.ms_since(turn.since);
        turn.used.wall_ms += stretch;
        turn.since = at;
        turn.crashes = recovered.attempt;
        self.used.wall_ms += stretch;
        self.spend(recovered.usage, recovered.cost_micros);
        let turn = self.turn.as_mut().expect("it was there a moment ago");
        // A question died with the process that asked it; it is asked again.
        for call in turn.step.iter_mut().flat_map(|step| &mut step.calls) {
            if matches!(call.phase, CallPhase::Asked(_)) {
                call.phase = CallPhase::Called;
            }
        }
        Ok(())
    }

    fn end_turn(&mut self, at: Timestamp, ended: &TurnEnded) -> Result<(), &'static str> {
        let turn = self.turn.take().ok_or("no turn is open")?;
        if self.conversation.has_open_calls() {
            return Err("a call of the turn is not settled");
        }
        self.turns = turn.no;
        self.last_stop = Some(ended.stop);
        self.used.wall_ms += at.ms_since(turn.since);
        Ok(())
    }

    fn step_mut(&mut self) -> Result<&mut OpenStep, &'static str> {
        self.turn.as_mut().and_then(|turn| turn.step.as_mut()).ok_or("no step is open")
    }

    fn start_step(&mut self, at: Timestamp, started: &StepStarted) -> Result<(), &'static str> {
        if self.conversation.has_open_calls() {
            return Err("a call of the step before is not settled");
        }
        self.count_autonomous(&started.inputs, false);
        self.take_inputs(&started.inputs)?;
        let (messages, edits) = (self.conversation.messages.len(), self.conversation.edits);
        let turn = self.turn.as_mut().ok_or("no turn is open")?;
        let before = turn.step.as_ref().map_or(0, |step| step.no);
        if started.step != before + 1 {
            return Err("it is not the next step");
        }
        turn.goes_on = false;
        turn.hooked.places.retain(|place| !place.is_before(started.step));
        self.compacted = None;
        turn.step = Some(OpenStep {
            no: started.step,
            since: at,
            failures: 0,
            failures_before: 0,
            model_since: at,
            retry_at: None,
            reserved: started.reserved,
            failure: None,
            stop: None,
            partial: false,
            calls: Vec::new(),
            progressed: false,
        });
        let (fingerprint, effort) = (started.request.clone(), turn.settings.effort);
        let tracker = RequestAuditTracker { fingerprint, messages, edits, effort };
        self.last_request = Some(Box::new(tracker));
        Ok(())
    }

    fn answer(&mut self, message: &AssistantMessage) -> Result<(), &'static str> {
        let step = self.step_mut()?;
        if step.stop.is_some() {
            return Err("the step is answered");
        }
        step.stop = Some(message.stop.clone());
        step.partial = message.partial;
        let turn = self.turn.as_mut().expect("a step has a turn");
        for used in [&mut turn.used, &mut self.used] {
            used.steps += 1;
            used.spend(message.usage, message.cost_micros);
            // An answer has a price also where nobody counted its tokens.
            used.cost_unknown |= message.cost_micros.is_none();
        }
        (turn.overflows, turn.shrunk) = (0, false);
        // An answer without a word is no message: no wire takes an empty one.
        if message.blocks.iter().any(Block::can_be_replayed) {
            self.push(Message::Assistant { blocks: message.blocks.clone() });
        }
        message.blocks.iter().filter_map(Block::call).for_each(|id| self.call_ids.add(id));
        if message.usage.total() > 0 && !message.partial {
            self.conversation.counted = Some(Counted {
                tokens: message.usage.total(),
                messages: self.conversation.messages.len(),
            });
        }
        Ok(())
    }

    fn fail_model(&mut self, at: Timestamp, failed: &ModelFailed) -> Result<(), &'static str> {
        let step = self.step_mut()?;
        step.failures += 1;
        step.retry_at = failed.retry_in_ms.map(|ms| at.after(ms));
        step.failure = Some((failed.class, failed.message.clone()));
        self.spend(failed.usage, failed.cost_micros);
        if failed.class == ModelErrorKind::ContextOverflow {
            let turn = self.turn.as_mut().expect("a step has a turn");
            turn.overflows += 1;
            turn.shrunk = false;
        }
        Ok(())
    }

    fn call(&mut self, called: &ToolCalled) -> Result<(), &'static str> {
        let step = self.step_mut()?;
        if step.stop.is_none() {
            return Err("the step is not answered");
        }
        if step.call_mut(&called.call).is_some() {
            return Err("the call exists");
        }
        step.calls.push(Call::new(called.clone()));
        Ok(())
    }

    pub(in crate::session) fn call_mut(&mut self, id: &CallId) -> Result<&mut Call, &'static str> {
        let call = self.step_mut()?.call_mut(id).ok_or("it names no call of the step")?;
        if call.is_settled() {
            return Err("the call is settled");
        }
        Ok(call)
    }

    fn move_call(&mut self, id: &CallId, phase: CallPhase) -> Result<(), &'static str> {
        self.call_mut(id)?.phase = phase;
        Ok(())
    }

    fn permit(&mut self, answered: &PermissionAnswered) -> Result<(), &'static str> {
        let call = self.call_mut(&answered.call)?;
        let by_hook = answered.by == AnsweredBy::Hook && call.phase == CallPhase::Called;
        if !by_hook && !matches!(call.phase, CallPhase::Asked(_)) {
            return Err("nobody asked about the call");
        }
        let allows = answered.choice.allows();
        call.phase = if allows { CallPhase::Allowed } else { CallPhase::Refused(answered.clone()) };
        match allows {
            true => self.granted.grant(&answered.grants),
            false => self.granted.refuse(&answered.grants),
        }
        Ok(())
    }

    fn start_call(&mut self, at: Timestamp, id: &CallId) -> Result<(), &'static str> {
        let call = self.call_mut(id)?;
        if call.started.is_some() {
            return Err("the call was started before");
        }
        call.started = Some(at);
        call.phase = CallPhase::Started;
        self.count_call();
        Ok(())
    }

    /// Puts a call to the client. A question is none of the calls that count; a tool that the client runs is.
    fn request(&mut self, asked: &InputRequested) -> Result<(), &'static str> {
        let call = self.call_mut(&asked.call)?;
        call.phase = CallPhase::Requested(asked.deadline);
        let name = call.called.name.clone();
        let settings = self.turn.as_ref().map(|turn| &turn.settings);
        if settings.is_some_and(|settings| settings.external_tool(&name).is_some()) {
            self.count_call();
        }
        Ok(())
    }

    fn count_call(&mut self) {
        self.used.tool_calls += 1;
        self.turn.as_mut().expect("a call has a turn").used.tool_calls += 1;
    }

    fn settle(&mut self, settled: &ToolSettled) -> Result<(), &'static str> {
        let call = self.call_mut(&settled.call)?;
        let result = ToolResult {
            call: settled.call.clone(),
            name: call.called.name.clone(),
            parts: settled.content.clone(),
            is_error: settled.outcome != Outcome::Completed,
        };
        let (name, arguments) = (call.called.name.clone(), call.arguments().to_owned());
        call.phase = CallPhase::Settled(result, settled.outcome);
        if let Some(turn) = &mut self.turn {
            turn.note_progress(&name, &arguments, settled.outcome);
        }
        self.finish_step_results();
        Ok(())
    }

    /// Puts the results into the conversation, in call order, once every call that the answer made is settled.
    fn finish_step_results(&mut self) {
        let Some(Message::Assistant { blocks }) = self.conversation.messages.last() else { return };
        let asked = blocks.iter().filter(|block| block.is_call()).count();
        let Some(step) = self.turn.as_ref().and_then(|turn| turn.step.as_ref()) else { return };
        let results = step.calls.iter().map_while(|call| match &call.phase {
            CallPhase::Settled(result, _) => Some(result),
            CallPhase::Called
            | CallPhase::Asked(_)
            | CallPhase::Allowed
            | CallPhase::Refused(_)
            | CallPhase::Requested(_)
            | CallPhase::Started => None,
        });
        if results.clone().count() == asked {
            let mut results: Vec<_> = results.cloned().collect();
            results.shrink_to_fit();
            self.push(Message::Tool { results });
        }
    }
}

/// The first line of the first text, cut to 80 characters.
#[must_use]
pub fn first_words(content: &[Part]) -> String {
    let text = content.iter().find_map(Part::as_text).map(str::trim);
    let line = text.and_then(|text| text.lines().next()).unwrap_or("");
    line.chars().take(80).collect()
}
