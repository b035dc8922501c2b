//! Models of several providers under one roof: which pairs of provider and model there are, which may be chosen, and which answers by default.

use std::collections::HashSet;
use std::sync::Arc;

use crate::ports::model::{Model, ModelCandidate, ModelError, ModelErrorKind, Models};
use crate::spec::ModelSelection;
use crate::spec::rule::glob;

/// Names of candidates that a message shows at most.
const NAMES_SHOWN: usize = 5;

/// Where models come from.
#[derive(Debug, Clone)]
pub enum ModelSource {
    /// One model, under the name that its [`info`](Model::info) says.
    One(Arc<dyn Model>),
    /// Everything that these find.
    Many(Arc<dyn Models>),
}

impl ModelSource {
    fn candidates(&self) -> Vec<ModelCandidate> {
        match self {
            Self::One(model) => vec![model.info().clone().into()],
            Self::Many(models) => models.candidates(),
        }
    }
}

/// Whether one of these patterns over `provider/model` fits; `*` stands for any text.
#[must_use]
pub fn allows(patterns: &[String], selection: &ModelSelection) -> bool {
    let name = selection.to_string();
    patterns.iter().any(|pattern| glob(pattern, &name))
}

/// Why models cannot be put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// There is nowhere to look for models.
    #[error(
        "no source of models is given; give the registry a model or something that finds models"
    )]
    Empty,
    /// Two sources have a model of this name.
    #[error("the model {0} comes from two sources; give one of its providers another name")]
    DuplicateSelection(ModelSelection),
    /// The model that should answer by default is not there, or may not be chosen.
    #[error("the default model {selection} cannot be used: {why}")]
    UnknownDefaultModel {
        /// Which it was.
        selection: ModelSelection,
        /// Why not, with the remedy.
        why: String,
    },
}

/// Models of several sources, as one [`Models`]. Choosing never reaches for the network.
#[derive(Debug, Clone)]
pub struct ProviderRegistry {
    sources: Vec<ModelSource>,
    /// Is found and allowed, unless only its key is missing.
    default: Option<ModelSelection>,
    allowed: Option<Vec<String>>,
}

impl ProviderRegistry {
    /// A registry of these sources, of which the first candidate that may be chosen answers when `default` names none. `allowed` lists what
    /// may be chosen, as patterns over `provider/model` in which `*` stands for any text; without it everything may.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn new(
        sources: Vec<ModelSource>,
        default: Option<ModelSelection>,
        allowed: Option<Vec<String>>,
    ) -> Result<Self, RegistryError> {
        if sources.is_empty() {
            return Err(RegistryError::Empty);
        }
        let mut registry = Self { sources, default: None, allowed };
        let mut seen = HashSet::new();
        for source in &registry.sources {
            let names = source.candidates().into_iter().map(|found| found.model.selection);
            // Within one source a name may stand twice: the first one counts there.
            let names: HashSet<ModelSelection> = names.collect();
            if let Some(twice) = names.iter().find(|name| seen.contains(*name)) {
                return Err(RegistryError::DuplicateSelection(twice.clone()));
            }
            seen.extend(names);
        }
        let first = || registry.candidates().into_iter().next().map(|found| found.model.selection);
        let selection = default.or_else(first);
        if let Some(selection) = &selection
            && let Err(error) = registry.resolve(selection)
            && error.kind == ModelErrorKind::ModelNotFound
        {
            let (selection, why) = (selection.clone(), error.message);
            return Err(RegistryError::UnknownDefaultModel { selection, why });
        }
        registry.default = selection;
        Ok(registry)
    }

    /// The model that answers when none is named; none when nothing is listed.
    #[must_use]
    pub fn default_selection(&self) -> Option<&ModelSelection> {
        self.default.as_ref()
    }

    /// The first candidate with this model id, whoever provides it.
    #[must_use]
    pub fn first_of_model(&self, model: &str) -> Option<ModelCandidate> {
        self.candidates().into_iter().find(|found| found.model.selection.model == model)
    }

    /// Whether this model may be chosen.
    #[must_use]
    pub fn is_allowed(&self, selection: &ModelSelection) -> bool {
        self.allowed.as_ref().is_none_or(|patterns| allows(patterns, selection))
    }

    fn refusal(&self, selection: &ModelSelection) -> ModelError {
        let names: Vec<String> =
            self.candidates().iter().map(|found| found.model.selection.to_string()).collect();
        let shown = names[..names.len().min(NAMES_SHOWN)].join(", ");
        let choice = match names.len() {
            0 => String::new(),
            1..=NAMES_SHOWN => format!("; choose {shown}"),
            _ => format!("; choose for example {shown}"),
        };
        not_found(format!(
            "the model {selection} is not among the allowed models{choice}, or add it to `allowed_models`"
        ))
    }
}

impl Models for ProviderRegistry {
    /// The source that lists the model has it; else the first one that finds it. Of sources that do not, the first tells why that knows its
    /// provider.
    fn resolve(&self, selection: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        if !self.is_allowed(selection) {
            return Err(self.refusal(selection));
        }
        let mut why: Option<ModelError> = None;
        for source in &self.sources {
            match source {
                ModelSource::One(model) if model.info().selection == *selection => {
                    return Ok(Arc::clone(model));
                }
                ModelSource::One(_) => {}
                ModelSource::Many(models) => match models.resolve(selection) {
                    Ok(model) => return Ok(model),
                    Err(error) if why.as_ref().is_none_or(is_not_found) => why = Some(error),
                    Err(_) => {}
                },
            }
        }
        Err(why.unwrap_or_else(|| {
            not_found(format!("there is no model {selection}; choose one of those that are listed"))
        }))
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        let all = self.sources.iter().flat_map(ModelSource::candidates);
        all.filter(|found| self.is_allowed(&found.model.selection)).collect()
    }
}

/// The models of a session: its own, if it has one, before those of its runtime. It is allowed wherever its program brings it.
pub(crate) fn with_own(own: Option<&Arc<dyn Model>>, others: &Arc<dyn Models>) -> Arc<dyn Models> {
    match own {
        None => Arc::clone(others),
        Some(own) => Arc::new(WithOwn { own: Arc::clone(own), others: Arc::clone(others) }),
    }
}

#[derive(Debug)]
struct WithOwn {
    own: Arc<dyn Model>,
    others: Arc<dyn Models>,
}

impl Models for WithOwn {
    fn resolve(&self, selection: &ModelSelection) -> Result<Arc<dyn Model>, ModelError> {
        match self.own.info().selection == *selection {
            true => Ok(Arc::clone(&self.own)),
            false => self.others.resolve(selection),
        }
    }

    fn candidates(&self) -> Vec<ModelCandidate> {
        let own = self.own.info();
        let others = self.others.candidates().into_iter();
        let others = others.filter(|found| found.model.selection != own.selection);
        std::iter::once(own.clone().into()).chain(others).collect()
    }
}

fn is_not_found(error: &ModelError) -> bool {
    error.kind == ModelErrorKind::ModelNotFound
}

fn not_found(message: String) -> ModelError {
    ModelError { kind: ModelErrorKind::ModelNotFound, message, retry_after_ms: None }
}
