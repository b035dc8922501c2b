//! Whether a session can be what it is told to be, with the model that was found for it. Pure.

use crate::agent::error::{AgentError, SessionInitError};
use crate::command::{Command, Rejection};
use crate::limits::RuntimeLimits;
use crate::ports::model::{ModelError, ModelErrorKind, ModelInfo, Models};
use crate::session::decide::decide;
use crate::session::state::State;
use crate::spec::{
    FALLBACK_MAX, ModelSelection, ResolvedSessionCapabilities, Settings, SettingsChange,
};

/// Whether a change has to be held against the model.
fn concerns_model(change: &SettingsChange) -> bool {
    change.model.is_some()
        || change.turn.is_some()
        || change.effort.is_some()
        || change.capabilities.is_some()
}

/// Checks settings against their model, as it was found just now.
///
/// # Errors
/// Why not, in words that name the remedy.
pub fn check(
    settings: &Settings,
    found: Result<&ModelInfo, &ModelError>,
) -> Result<(), SessionInitError> {
    let model = found.map_err(|error| SessionInitError::Model(error.clone()))?;
    let (hosted, provider) = (model.hosted, model.selection.provider.as_str());
    ResolvedSessionCapabilities::resolve(&settings.capabilities, hosted, provider)?;
    match model.refusal(settings.effort, &settings.turn.sampling) {
        None => Ok(()),
        Some(message) => {
            let kind = ModelErrorKind::InvalidRequest;
            Err(SessionInitError::Model(ModelError { kind, message, retry_after_ms: None }))
        }
    }
}

/// Checks the models that may take over, as `look_up` finds them.
///
/// # Errors
/// Of the first one that is named twice, is the chosen one, is not there, or cannot be what the settings say, in words that name the remedy.
pub fn check_fallback(
    settings: &Settings,
    mut look_up: impl FnMut(&ModelSelection) -> Result<ModelInfo, ModelError>,
) -> Result<(), SessionInitError> {
    let refused = |words: String| Err(SessionInitError::Fallback(words));
    if settings.fallback.len() > FALLBACK_MAX {
        return refused(format!("`fallback` has more than {FALLBACK_MAX} models; leave some out"));
    }
    for (at, model) in settings.fallback.iter().enumerate() {
        if settings.fallback[..at].contains(model) {
            return refused(format!("`fallback` has {model} twice; leave it out"));
        }
        if *model == settings.model {
            return refused(format!(
                "`fallback` has {model}, which is the session's model; leave it out"
            ));
        }
        let as_chosen = Settings { model: model.clone(), ..settings.clone() };
        if let Err(error) = check(&as_chosen, look_up(model).as_ref()) {
            return refused(format!("`fallback` has {model}: {error}"));
        }
    }
    Ok(())
}

/// Checks a change against the model that the changed settings name, which `look_up` finds when it has to be known.
///
/// # Errors
/// [`Rejection::Invalid`] with words that name the remedy.
pub fn check_change(
    before: &Settings,
    change: &SettingsChange,
    mut look_up: impl FnMut(&ModelSelection) -> Result<ModelInfo, ModelError>,
) -> Result<(), Rejection> {
    let invalid = |error: SessionInitError| Rejection::Invalid { what: error.to_string() };
    let mut settings = before.clone();
    settings.apply(change);
    if change.fallback.is_some() {
        check_fallback(&settings, &mut look_up).map_err(invalid)?;
    }
    if !concerns_model(change) {
        return Ok(());
    }
    let found = look_up(&settings.model);
    if change.model.is_none() && found.is_err() {
        // That is what the next turn will say; it is no reason to keep the other settings as they are.
        return Ok(());
    }
    check(&settings, found.as_ref()).map_err(invalid)
}

/// Checks a change of a session that sleeps as its task would.
///
/// # Errors
/// [`AgentError::Rejected`].
pub fn check_load(
    state: &State,
    (limits, models): (&RuntimeLimits, &dyn Models),
    change: &SettingsChange,
) -> Result<(), AgentError> {
    let configure = Command::Configure { change: Box::new(change.clone()), expected: None };
    decide(state, limits, configure).map_err(AgentError::Rejected)?;
    let look_up =
        |selection: &ModelSelection| models.resolve(selection).map(|model| model.info().clone());
    check_change(&state.spec.settings, change, look_up).map_err(AgentError::Rejected)
}
