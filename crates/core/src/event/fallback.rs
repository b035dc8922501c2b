//! Another model goes on with a turn.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Fingerprint, PrefixBreak, Reserved};
use crate::ids::StepNo;
use crate::ports::model::ModelErrorKind;
use crate::spec::ModelSelection;

/// Body of [`crate::event::Event::ModelReplaced`]. It holds for the rest of the turn, in which no model is asked again that failed; the next turn begins
/// with the model that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelReplaced {
    /// The step that is asked of it anew; absent where none was open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepNo>,
    /// The model that failed.
    pub from: ModelSelection,
    /// The model that is asked from here on, of the session's `fallback`.
    pub to: ModelSelection,
    /// What kind of failure it was.
    pub class: ModelErrorKind,
    /// In the words of the failure.
    pub why: String,
    /// Models of `fallback` that come before it and cannot take over, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// What the step's request to the new model is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Fingerprint>,
    /// What broke the cached prefix; absent where no step was open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_break: Option<PrefixBreak>,
    /// What the step's first call of the new model may use at most.
    #[serde(default)]
    pub reserved: Reserved,
}
