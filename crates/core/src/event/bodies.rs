//! Which stored bodies an entry names.

use super::Event;
use crate::ids::BlobId;
use crate::message::{Message, Part};

impl Event {
    /// The stored bodies that it names, in order: pictures of what was said, and whole bodies of what is shown in part. What text or labels happen to spell is none.
    #[must_use]
    pub fn bodies(&self) -> Vec<&BlobId> {
        match self {
            Self::InputAdmitted(input) => bodies(&input.content),
            Self::ToolSettled(settled) => {
                let whole = settled.blobs.iter().map(|body| &body.blob);
                bodies(&settled.content).into_iter().chain(whole).collect()
            }
            Self::ContextCompacted(compacted) => bodies(&compacted.content),
            Self::HistoryEdited(edited) => edited.messages.iter().flat_map(of_message).collect(),
            Self::TurnContinued(continued) => bodies(&continued.content),
            Self::HookRan(ran) => {
                ran.change.result.as_ref().map_or_else(Vec::new, |result| bodies(&result.content))
            }
            Self::Spilled(spilled) => vec![&spilled.blob],
            Self::SessionCreated(_)
            | Self::SessionForked(_)
            | Self::SessionConfigured(_)
            | Self::SessionArchived
            | Self::SessionNamed(_)
            | Self::SessionRestored
            | Self::WriterChanged(_)
            | Self::WriterReleased
            | Self::InputWithdrawn(_)
            | Self::TurnStarted(_)
            | Self::TurnRecovered(_)
            | Self::TurnEnded(_)
            | Self::StepStarted(_)
            | Self::ModelFailed(_)
            | Self::ModelReplaced(_)
            | Self::AssistantMessage(_)
            | Self::ToolCalled(_)
            | Self::PermissionAsked(_)
            | Self::PermissionAnswered(_)
            | Self::ToolStarted(_)
            | Self::InputRequested(_)
            | Self::ContextCleared(_)
            | Self::SummaryStarted(_)
            | Self::SummaryFailed(_)
            | Self::GoalSet(_)
            | Self::GoalReached(_)
            | Self::PlanChanged(_)
            | Self::SkillLoaded(_)
            | Self::TaskStarted(_)
            | Self::TaskSettled(_)
            | Self::SubagentOpened(_)
            | Self::SubagentClosed(_)
            | Self::HooksStarted(_) => Vec::new(),
        }
    }
}

/// The bodies of the parts of something.
fn bodies(parts: &[Part]) -> Vec<&BlobId> {
    parts.iter().filter_map(Part::body).map(|(blob, _)| blob).collect()
}

fn of_message(message: &Message) -> Vec<&BlobId> {
    match message {
        Message::User { parts } => bodies(parts),
        Message::Assistant { .. } => Vec::new(),
        Message::Tool { results } => {
            results.iter().flat_map(|result| bodies(&result.parts)).collect()
        }
    }
}
