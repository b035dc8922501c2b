//! What becomes of a turn whose model cannot answer: the next one of its chain takes over, and none is asked again that failed. Pure.

use serde::{Deserialize, Serialize};

use crate::event::{Event, ModelReplaced, PrefixBreak};
use crate::ids::{StepNo, Timestamp};
use crate::ports::model::{ModelError, ModelErrorKind, ModelInfo};
use crate::session::budget::{Exhausted, reserve};
use crate::session::open_turn::OpenTurn;
use crate::session::plan::{Step, View, exhausted, next_allowance};
use crate::session::state::{RequestAuditTracker, State};
use crate::session::{context, usable};
use crate::spec::{ModelSelection, Settings};

/// The models of a turn that failed, and the one that answers in their place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replaced {
    /// Which failed. It only ever grows, so that no model is asked again.
    pub failed: Vec<ModelSelection>,
    /// Which answers for them.
    pub by: ModelSelection,
}

/// A model that may take over, as it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its name.
    pub selection: ModelSelection,
    /// What is known of it, or why it cannot be had.
    pub found: Result<ModelInfo, ModelError>,
}

/// Whether another model may answer where this failure is final. A request that is too long is answered by a larger window alone.
#[must_use]
pub fn heals(kind: ModelErrorKind) -> bool {
    match kind {
        ModelErrorKind::RateLimited
        | ModelErrorKind::Overloaded
        | ModelErrorKind::QuotaExhausted
        | ModelErrorKind::Auth
        | ModelErrorKind::ModelNotFound
        | ModelErrorKind::Transport
        | ModelErrorKind::Truncated
        | ModelErrorKind::Timeout
        | ModelErrorKind::ContextOverflow => true,
        ModelErrorKind::InvalidRequest | ModelErrorKind::ContentFilter => false,
    }
}

/// What is left of the chain when the open turn's model has failed for good, or cannot be had at all: who of it can take over is to be found out.
#[must_use]
pub fn wanted(state: &State, model: Result<&ModelInfo, &ModelError>) -> Vec<ModelSelection> {
    let Some(turn) = &state.turn else { return Vec::new() };
    let failure = match (model, &turn.step) {
        (Err(error), _) => Some(error.kind),
        (Ok(_), Some(step)) if step.stop.is_none() && step.retry_at.is_none() => {
            step.failure.as_ref().map(|(kind, _)| *kind)
        }
        (Ok(_), Some(_) | None) => None,
    };
    match failure.is_some_and(heals) {
        true => turn.chain().cloned().collect(),
        false => Vec::new(),
    }
}

/// Lets the first model of the chain take over that can.
///
/// # Errors
/// Where there is none, or where none could do better: the failure in words, with what keeps each model of the chain from taking over.
pub(super) fn replace(view: &View<'_>, kind: ModelErrorKind, why: &str) -> Result<Step, String> {
    let turn = view.turn;
    let mut skipped = Vec::new();
    for candidate in view.facts.chain.iter().filter(|_| heals(kind)) {
        let selection = &candidate.selection;
        let model = match fit(view, kind, candidate) {
            Ok(model) => model,
            Err(why) => {
                skipped.push(format!("{selection}: {why}"));
                continue;
            }
        };
        let prompt = context::prompt_tokens(view.state, view.facts.tools);
        let output_max = match next_allowance(view, model, prompt) {
            Ok(output_max) => output_max,
            Err(Exhausted::PriceUnknown) => {
                skipped.push(format!("{selection}: its price is not known, and money is bounded"));
                continue;
            }
            Err(why @ Exhausted::Limit(_)) => return Ok(exhausted(turn, model, &why)),
        };
        let step = turn.step.as_ref().filter(|step| step.stop.is_none());
        let reserved = step.map(|_| reserve(model.price, prompt, output_max));
        return Ok(Step::Record(vec![Event::ModelReplaced(Box::new(ModelReplaced {
            step: step.map(|step| step.no),
            from: turn.model().clone(),
            to: selection.clone(),
            class: kind,
            why: why.to_owned(),
            skipped,
            request: step.map(|_| context::fingerprint(view.state, &[], model, view.facts.tools)),
            prefix_break: step.map(|_| PrefixBreak::Model),
            reserved: reserved.unwrap_or_default(),
        }))]));
    }
    Err(match skipped.is_empty() {
        true => why.to_owned(),
        false => format!("{why}; no other model can take over: {}", skipped.join("; ")),
    })
}

/// The model, if it can be what the turn's settings say and may do better.
fn fit<'a>(
    view: &View<'_>,
    kind: ModelErrorKind,
    candidate: &'a Candidate,
) -> Result<&'a ModelInfo, String> {
    let settings = &view.turn.settings;
    let settings = Settings { model: candidate.selection.clone(), ..Settings::clone(settings) };
    usable::check(&settings, candidate.found.as_ref()).map_err(|error| error.to_string())?;
    let model = candidate.found.as_ref().map_err(ToString::to_string)?;
    let window = view.facts.model.ok().and_then(|failed| failed.context_window);
    let is_larger = window.is_some_and(|window| model.context_window > Some(window));
    match kind == ModelErrorKind::ContextOverflow && !is_larger {
        true => Err("its window is not known to be larger".to_owned()),
        false => Ok(model),
    }
}

impl OpenTurn {
    /// The models that may take over from the present one.
    fn chain(&self) -> impl Iterator<Item = &ModelSelection> {
        let is_left = |model: &&ModelSelection| *model != self.model() && !self.has_failed(model);
        self.settings.fallback.iter().filter(is_left)
    }

    fn has_failed(&self, model: &ModelSelection) -> bool {
        self.replaced.as_ref().is_some_and(|replaced| replaced.failed.contains(model))
    }

    /// The model of its open step, or of the next one once that is answered.
    #[must_use]
    pub fn model(&self) -> &ModelSelection {
        let step = self.step.as_ref();
        self.model_of(step.map_or(1, |step| step.no + u32::from(step.stop.is_some())))
    }

    /// The model of this step: the one that a hook chose, else that of the settings; where that one failed, the one that took over.
    pub(crate) fn model_of(&self, no: StepNo) -> &ModelSelection {
        let chosen = match &self.hooked.model {
            Some((of, model)) if *of == no => model,
            Some(_) | None => &self.settings.model,
        };
        match &self.replaced {
            Some(replaced) if replaced.failed.contains(chosen) => &replaced.by,
            Some(_) | None => chosen,
        }
    }

    /// Its open step begins anew with another model: attempts, waits and time are counted from here.
    fn replace_model(
        &mut self,
        at: Timestamp,
        replaced: &ModelReplaced,
    ) -> Result<(), &'static str> {
        if replaced.from != *self.model() {
            return Err("the model that is replaced is not the turn's");
        }
        if !self.chain().any(|model| *model == replaced.to) {
            return Err("the model is none of those that are left");
        }
        let mut failed = self.replaced.take().map(|before| before.failed).unwrap_or_default();
        failed.push(replaced.from.clone());
        self.replaced = Some(Replaced { failed, by: replaced.to.clone() });
        (self.overflows, self.shrunk) = (0, false);
        if let Some(step) = self.step.as_mut().filter(|step| step.stop.is_none()) {
            (step.failure, step.retry_at) = (None, None);
            (step.failures_before, step.model_since) = (step.failures, at);
            step.reserved = replaced.reserved;
        }
        Ok(())
    }
}

impl State {
    pub(super) fn replace_model(
        &mut self,
        at: Timestamp,
        replaced: &ModelReplaced,
    ) -> Result<(), &'static str> {
        let turn = self.turn.as_mut().ok_or("no turn is open")?;
        turn.replace_model(at, replaced)?;
        if let Some(request) = &replaced.request {
            let (fingerprint, effort) = (request.clone(), turn.settings.effort);
            let (messages, edits) = (self.conversation.messages.len(), self.conversation.edits);
            let tracker = RequestAuditTracker { fingerprint, messages, edits, effort };
            self.last_request = Some(Box::new(tracker));
        }
        Ok(())
    }
}
