//! Whether a session can be what it is told to be, with the model that was found for it. Pure.

use crate::agent::error::SessionInitError;
use crate::ports::model::{ModelError, ModelInfo};
use crate::spec::{Settings, SettingsChange};

/// Whether a change has to be held against the model.
#[must_use]
pub fn concerns_model(change: &SettingsChange) -> bool {
    change.model.is_some()
}

/// Checks settings against their model, as it was found just now.
///
/// # Errors
/// Why not, in words that name the remedy.
pub fn check(_: &Settings, found: Result<&ModelInfo, &ModelError>) -> Result<(), SessionInitError> {
    found.map(drop).map_err(|error| SessionInitError::Model(error.clone()))
}
