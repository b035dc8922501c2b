//! What a session does, as short lines on stderr.

use std::collections::BTreeMap;

use oarlock_core::event::{
    ContinuedBy, Delta, DeltaItem, Entry, Event, Goal, HookFunds, HookRan, HooksStarted, Outcome,
    PlanItem, PlanStatus, StopReason, TaskOutcome, TaskSettled, ToolSettled, TurnEnded,
};
use oarlock_core::ids::CallId;
use oarlock_core::message::Part;

use super::safe;

/// Longest line, in characters.
const LINE_CHARS_MAX: usize = 160;
/// Longest line that says why something failed: the cause often stands last.
const FAILURE_CHARS_MAX: usize = 600;

/// Open items of a plan that are shown.
const PLAN_ITEMS_MAX: usize = 10;

/// Turns entries into lines. Calls are remembered from `tool_called` to `tool_settled`.
#[derive(Debug, Default)]
pub struct Activity {
    titles: BTreeMap<CallId, String>,
}

impl Activity {
    /// The line for an entry, when it is worth one; a plan has one more for each open item. Subagents' lines are indented.
    pub fn line(&mut self, entry: &Entry) -> Option<String> {
        let told = match &entry.event {
            Event::ToolCalled(called) => {
                self.titles.insert(called.call.clone(), called.title.clone());
                None
            }
            Event::ToolStarted(started) => {
                Some(format!("→ {}", self.titles.get(&started.call).map_or("tool", String::as_str)))
            }
            Event::ToolSettled(settled) => Some(self.settled(settled)),
            // The last one is said by the end of the turn.
            Event::ModelFailed(failed) => failed
                .retry_in_ms
                .map(|ms| format!("! {}; trying again in {}", failed.message, seconds(ms))),
            Event::ModelReplaced(replaced) => {
                Some(format!("! {}; {} answers in its place", replaced.why, replaced.to))
            }
            Event::TurnRecovered(recovered) => {
                Some(format!("! going on after a crash (the {}. time)", recovered.attempt))
            }
            Event::TurnEnded(ended) => end(ended),
            Event::SessionCreated(_)
            | Event::SessionForked(_)
            | Event::SessionConfigured(_)
            | Event::SessionArchived
            | Event::SessionNamed(_)
            | Event::SessionRestored
            | Event::WriterChanged(_)
            | Event::WriterReleased
            | Event::InputWithdrawn(_)
            | Event::TurnStarted(_)
            | Event::StepStarted(_)
            | Event::AssistantMessage(_)
            | Event::PermissionAsked(_)
            | Event::PermissionAnswered(_)
            | Event::InputRequested(_)
            | Event::Spilled(_) => None,
            Event::ContextCleared(cleared) => Some(format!(
                "cleared {} old results: {} to {} tokens",
                cleared.calls.len(),
                cleared.tokens_before,
                cleared.tokens_after
            )),
            Event::ContextCompacted(compacted) => Some(format!(
                "summarised {} messages: {} to {} tokens",
                compacted.dropped, compacted.tokens_before, compacted.tokens_after
            )),
            Event::SummaryStarted(started) => {
                Some(format!("summarising the first {} messages", started.dropped))
            }
            Event::SummaryFailed(failed) => Some(format!("no summary: {}", failed.why)),
            Event::HistoryEdited(_) => Some("the history was edited".to_owned()),
            // An input's goal is told with it; of other inputs the one who sends them knows.
            Event::InputAdmitted(input) => input.goal.as_ref().map(|set| goal(Some(set))),
            Event::GoalSet(set) => Some(goal(set.goal.as_ref())),
            Event::GoalReached(reached) => Some(format!("goal reached: {}", reached.summary)),
            Event::TurnContinued(turn) => Some(continued(turn.by).to_owned()),
            Event::PlanChanged(changed) => return Some(plan(&changed.items, entry.scope.len())),
            Event::SkillLoaded(loaded) => Some(format!("skill {}", loaded.name)),
            Event::TaskStarted(started) => {
                Some(format!("{} in the background: {}", started.task, started.label))
            }
            Event::TaskSettled(settled) => Some(task_end(settled)),
            Event::SubagentOpened(opened) => {
                Some(format!("subagent {} ({})", opened.profile, opened.child))
            }
            Event::SubagentClosed(_) => None,
            Event::HookRan(ran) => hooks(ran),
            Event::HooksStarted(started) => refused(started),
        };
        let indent = "  ".repeat(entry.scope.len());
        let longest = longest(&entry.event);
        told.map(|told| format!("{indent}{}", safe::line(&told, longest)))
    }

    /// The line for a delta, when it is worth one.
    #[must_use]
    pub fn growing(delta: &Delta) -> Option<String> {
        let words = (delta.item == DeltaItem::Wait).then(|| delta.text.trim_end());
        words.map(|words| format!("… {}", safe::line(words, FAILURE_CHARS_MAX)))
    }

    fn settled(&mut self, settled: &ToolSettled) -> String {
        let title = self.titles.remove(&settled.call).unwrap_or_else(|| "tool".into());
        let took = seconds(settled.duration_ms);
        match settled.outcome {
            Outcome::Completed => format!("✓ {title} ({took})"),
            Outcome::Failed => format!("✗ {title} ({took}): {}", first_words(settled)),
            Outcome::Denied => format!("✗ denied: {title}"),
            Outcome::Cancelled => format!("✗ cancelled: {title}"),
            Outcome::Indeterminate => format!("? may have happened: {title}"),
        }
    }
}

/// Characters of a line.
fn longest(event: &Event) -> usize {
    match event {
        Event::TurnEnded(_) | Event::ModelFailed(_) | Event::ModelReplaced(_) => FAILURE_CHARS_MAX,
        _ => LINE_CHARS_MAX,
    }
}

/// The hooks that changed something.
fn hooks(ran: &HookRan) -> Option<String> {
    (!ran.hooks.is_empty()).then(|| format!("hook {}", ran.hooks.join(", ")))
}

/// The hooks that the limits keep from asking their models.
fn refused(started: &HooksStarted) -> Option<String> {
    let refused = started.paying.iter().filter_map(|hook| match &hook.funds {
        HookFunds::Reserved(_) => None,
        HookFunds::Refused(why) => Some(format!("✗ hook {}: {why}", hook.hook)),
    });
    let lines: Vec<String> = refused.collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// How a turn ended, when that is worth a line.
fn end(ended: &TurnEnded) -> Option<String> {
    match ended.stop {
        StopReason::EndTurn => None,
        StopReason::MaxTokens => Some("✗ the answer reached the model's output limit".into()),
        StopReason::Refusal => Some("✗ the model declined".into()),
        StopReason::Cancelled => Some("✗ cancelled".into()),
        StopReason::Limit(kind) => Some(format!("✗ the limit of {} was reached", kind.name())),
        StopReason::Interrupted => Some("✗ interrupted".into()),
        StopReason::Failed(_) => {
            let words = ended.error.as_ref().map_or("no reason given", |e| &e.message);
            Some(format!("✗ failed: {words}"))
        }
    }
}

/// The plan as a short list: what is done is counted, and of what is open the first items are shown.
fn plan(items: &[PlanItem], depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let open: Vec<_> = items.iter().filter(|item| item.status != PlanStatus::Completed).collect();
    let done = items.len() - open.len();
    let mut lines = match items.is_empty() {
        true => format!("{indent}no plan any more"),
        false => format!("{indent}plan: {done} of {} done", items.len()),
    };
    for item in open.iter().take(PLAN_ITEMS_MAX) {
        let words = safe::line(&item.content, LINE_CHARS_MAX);
        lines.push_str(&format!("\n{indent}  {} {words}", item.status.sign()));
    }
    if open.len() > PLAN_ITEMS_MAX {
        lines.push_str(&format!("\n{indent}  and {} more", open.len() - PLAN_ITEMS_MAX));
    }
    lines
}

fn goal(goal: Option<&Goal>) -> String {
    goal.map_or("no goal any more".to_owned(), |goal| format!("goal: {}", goal.objective))
}

fn continued(by: ContinuedBy) -> &'static str {
    match by {
        ContinuedBy::Goal => "the goal is not reached: going on",
        ContinuedBy::Hook => "a hook lets the turn go on",
        ContinuedBy::Output => "the answer is not of the form that was asked for: asking again",
    }
}

fn task_end(settled: &TaskSettled) -> String {
    let end = match settled.outcome {
        TaskOutcome::Completed => "is done",
        TaskOutcome::Failed => "failed",
        TaskOutcome::Canceled => "was cancelled",
        TaskOutcome::Lost => "was lost with its process",
    };
    format!("{} {end}", settled.task)
}

fn first_words(settled: &ToolSettled) -> &str {
    let text = settled.content.iter().find_map(Part::as_text);
    text.and_then(|text| text.lines().find(|line| !line.trim().is_empty())).unwrap_or("failed")
}

/// A duration with one decimal, in the unit that suits it.
fn seconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{}m{:02}s", ms / 60_000, ms % 60_000 / 1_000),
    }
}
