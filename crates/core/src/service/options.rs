//! What a session can be told to be beside its model and prompt: every field does something here or is refused with its reason.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::SessionId;
use crate::service::error::SessionError;
use crate::spec::HookRunOverrides;

/// What a session is made with. What is absent is as configured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionBuildOptions {
    /// The provider of a model that is named without one.
    pub provider: Option<String>,
    /// Which hooks are left out. Hooks cannot be added over a wire: they are commands, and belong into the configuration.
    pub hooks_override: Option<HookRunOverrides>,
    /// Bounds of the whole session.
    pub budget_limits: Option<BudgetLimits>,
    /// The id of the new session, drawn by the caller.
    pub resume_session: Option<SessionId>,
    /// Refused: parameters that only a provider's adapter understands would be ignored by all others; the fields of the request say the same for all.
    pub provider_params: Option<Value>,
}

/// Bounds of a whole session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetLimits {
    /// Tokens, input and output together, each once.
    pub max_tokens: Option<u64>,
    /// Time during which turns are open, in milliseconds.
    pub max_duration_ms: Option<u64>,
    /// Tool calls that are started.
    pub max_tool_calls: Option<u32>,
}

/// What other sessions are told of a session that they can write to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PeerMeta {
    /// What it is for.
    pub description: Option<String>,
    /// Sorted labels.
    pub labels: BTreeMap<String, String>,
}

impl SessionBuildOptions {
    /// Whether all that is asked for can be had.
    ///
    /// # Errors
    /// `INVALID_REQUEST` naming the field, why it is refused, and what to do instead.
    pub fn check(&self) -> Result<(), SessionError> {
        if self.provider_params.is_some() {
            return Err(SessionError::invalid(
                "`build.provider_params` is refused: it would mean something to one provider and nothing to the others; use `effort`, `max_tokens`, or the provider's table of the configuration",
            ));
        }
        Ok(())
    }
}
