//! What a person should know of that is not part of the conversation, for a client that shows such words. It is told while it happens, and not again.

use std::collections::BTreeMap;

use agent_client_protocol::v1::schema::{Notice, NoticeSeverity, SessionUpdate};
use oarlock_core::event::{
    ContinuedBy, Event, HookControl, HookRan, InputSource, ModelFailed, StopReason, TaskOutcome,
    TurnEnded,
};
use oarlock_core::ids::TaskId;
use oarlock_core::message::Part;

use super::give_back;

/// Characters of a description.
const DESCRIPTION_MAX: usize = 2_000;

/// The background tasks that run, with their labels.
#[derive(Debug, Default)]
pub(super) struct Notices {
    tasks: BTreeMap<TaskId, String>,
}

impl Notices {
    /// Background tasks that began before.
    pub(super) fn runs(&mut self, task: TaskId, label: String) {
        self.tasks.insert(task, label);
    }

    /// What this entry is worth telling.
    pub(super) fn entry(&mut self, event: &Event) -> Option<SessionUpdate> {
        match event {
            Event::ModelFailed(failed) => Some(model_failed(failed)),
            Event::ModelReplaced(replaced) => {
                let title = format!("{} answers in the place of {}", replaced.to, replaced.from);
                Some(warning(title, &replaced.why))
            }
            Event::TurnEnded(ended) => turn_ended(ended),
            Event::HookRan(ran) => hook_ran(ran),
            Event::TaskStarted(started) => {
                self.runs(started.task.clone(), started.label.clone());
                Some(info(format!("{} runs in the background", started.task), &started.label))
            }
            Event::TaskSettled(settled) => {
                let label = self.tasks.remove(&settled.task).unwrap_or_default();
                give_back(&mut self.tasks);
                let task = &settled.task;
                Some(match settled.outcome {
                    TaskOutcome::Completed => info(format!("{task} is done"), &label),
                    TaskOutcome::Canceled => info(format!("{task} was cancelled"), &label),
                    TaskOutcome::Failed => warning(format!("{task} failed"), &label),
                    TaskOutcome::Lost => {
                        let title = format!(
                            "{task} was lost: its process ended, and nobody knows how far it came"
                        );
                        warning(title, &label)
                    }
                })
            }
            Event::GoalReached(reached) => Some(info("The goal is reached", &reached.summary)),
            Event::TurnContinued(continued) => match continued.by {
                ContinuedBy::Goal => Some(info("The goal is not reached: the turn goes on", "")),
                ContinuedBy::Hook => Some(info("A hook makes the turn go on", "")),
                ContinuedBy::Output => {
                    Some(info("The answer is not of the form that was asked for", ""))
                }
            },
            Event::InputAdmitted(input) if input.source == InputSource::External => {
                let words = input.content.iter().find_map(Part::as_text);
                Some(info("A message came from outside", words.unwrap_or_default()))
            }
            _ => None,
        }
    }
}

/// Why the model's call has not been sent.
pub(super) fn waits(words: &str) -> SessionUpdate {
    info("The model is not asked yet", words.trim_end())
}

fn model_failed(failed: &ModelFailed) -> SessionUpdate {
    match failed.retry_in_ms {
        Some(ms) => {
            let seconds = ms.div_ceil(1_000);
            let title = format!("The model failed; it is asked again in {seconds} s");
            warning(title, &failed.message)
        }
        None => notice(NoticeSeverity::Error, "The model failed", &failed.message),
    }
}

fn turn_ended(ended: &TurnEnded) -> Option<SessionUpdate> {
    let why = ended.error.as_ref().map_or("", |error| error.message.as_str());
    match ended.stop {
        StopReason::Limit(kind) => {
            Some(warning(format!("Stopped: the limit of {} is reached", kind.name()), why))
        }
        StopReason::Interrupted => {
            Some(warning("The turn was cut by the end of its process, and not continued", why))
        }
        StopReason::Failed(_)
        | StopReason::EndTurn
        | StopReason::MaxTokens
        | StopReason::Refusal
        | StopReason::Cancelled => None,
    }
}

/// Of hooks, those are told that stop or refuse something.
fn hook_ran(ran: &HookRan) -> Option<SessionUpdate> {
    let change = &ran.change;
    let refuses = change.permission.is_some_and(|kind| !kind.allows());
    let does = match change.control {
        Some(HookControl::Break { .. }) => "stopped",
        Some(HookControl::Skip) => "left out",
        Some(HookControl::Continue) | None if refuses => "refused",
        Some(HookControl::Continue) | None => return None,
    };
    let what = match (&ran.call, ran.input) {
        (Some(_), _) => "a call",
        (None, Some(_)) => "an input",
        (None, None) if ran.step.is_some() => "a step",
        (None, None) => "what was about to happen",
    };
    let title = format!("Hook {} {does} {what}", ran.hooks.join(", "));
    Some(warning(title, change.reason.as_deref().unwrap_or_default()))
}

fn info(title: impl Into<String>, description: &str) -> SessionUpdate {
    notice(NoticeSeverity::Info, title, description)
}

/// A warning of these words.
pub(in crate::acp) fn warning(title: impl Into<String>, description: &str) -> SessionUpdate {
    notice(NoticeSeverity::Warning, title, description)
}

fn notice(severity: NoticeSeverity, title: impl Into<String>, description: &str) -> SessionUpdate {
    let description: String = description.chars().take(DESCRIPTION_MAX).collect();
    let description = Some(description).filter(|words| !words.is_empty());
    SessionUpdate::Notice(Notice::new(severity, title).description(description))
}
