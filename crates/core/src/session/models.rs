//! The models that a session's task asks, each looked up once for as long as it is wanted.

use std::sync::Arc;

use crate::ports::model::{Model, ModelError, ModelInfo, Price};
use crate::session::SessionTask;
use crate::session::fallback::{self, Candidate};
use crate::session::trace::Line;
use crate::spec::ModelSelection;

/// The model of the open turn.
pub(super) struct Resolved {
    pub(super) selection: ModelSelection,
    pub(super) info: Result<ModelInfo, ModelError>,
    pub(super) model: Option<Arc<dyn Model>>,
}

impl SessionTask {
    /// Looks up the model of the open turn, or of a summary without a turn, once for each selection.
    pub(super) fn resolve_model(&mut self) {
        let state = self.log.state();
        let selection = match (&state.turn, &state.summary) {
            (Some(turn), _) => turn.model(),
            (None, Some(_)) => &state.spec.settings.model,
            (None, None) => return,
        };
        if self.resolved.as_ref().is_some_and(|resolved| resolved.selection == *selection) {
            return;
        }
        let selection = selection.clone();
        self.resolved = Some(Box::new(self.look_up(selection)));
    }

    /// Looks up the models that may take over once the present one cannot answer, each once.
    pub(super) fn find_chain(&mut self) {
        let info = self.resolved.as_ref().map(|resolved| resolved.info.as_ref());
        let wanted = info.map(|info| fallback::wanted(self.log.state(), info)).unwrap_or_default();
        if !self.chain.iter().map(|candidate| &candidate.selection).eq(&wanted) {
            let look_up = |selection: ModelSelection| {
                let found = self.look_up(selection.clone()).info;
                Candidate { selection, found }
            };
            self.chain = wanted.into_iter().map(look_up).collect();
        }
    }

    /// Looks up a model, and records what was found.
    pub(super) fn look_up(&self, selection: ModelSelection) -> Resolved {
        let found = self.around.models.resolve(&selection);
        let info = found.as_ref().map(|model| model.info().clone()).map_err(Clone::clone);
        self.around
            .trace
            .write(|| Line::Resolved { selection: selection.clone(), found: info.clone() });
        Resolved { selection, info, model: found.ok() }
    }

    /// The price of the turn's model, where known.
    pub(super) fn price(&self) -> Option<Price> {
        self.resolved.as_ref()?.info.as_ref().ok()?.price
    }
}
