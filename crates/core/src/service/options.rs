//! What a session can be told to be beside its model and prompt: every field does something here or is refused with its reason.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::SessionId;
use crate::service::asked;
use crate::service::error::SessionError;
use crate::spec::{Comms, ExternalTool, HookRunOverrides, OutputSchema, PeerMeta};

/// What a session is made with. What is absent is as configured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(transform = asked::form, transform = asked::comms)]
pub struct SessionBuildOptions {
    /// The provider of a model that is named without one.
    pub provider: Option<String>,
    /// The JSON schema that the answers of the session's turns keep to, raw or in its wrapper.
    #[schemars(schema_with = "asked::output_schema")]
    pub output_schema: Option<OutputSchema>,
    /// How often the model is asked again whose answer does not keep to it, up to 16; 2 when absent. Refused without `output_schema`.
    #[schemars(range(max = 16))]
    pub structured_output_retries: Option<u32>,
    /// Tools that the client runs: a call waits as `input_requested` until it is answered or its deadline passes.
    #[schemars(length(max = 128))]
    pub external_tools: Vec<ExternalTool>,
    /// Which hooks are left out. Hooks cannot be added over a wire: they are commands, and belong into the configuration.
    pub hooks_override: Option<HooksOverride>,
    /// Bounds of the whole session.
    pub budget_limits: Option<BudgetLimits>,
    /// The id of the new session, drawn by the caller.
    pub resume_session: Option<SessionId>,
    /// `false` takes the built-in tools away and leaves those of the client; `true` is refused where the configuration gives none. As configured when
    /// absent.
    pub override_builtins: Option<bool>,
    /// `false` takes the shell away; `true` is refused where the configuration gives none.
    pub override_shell: Option<bool>,
    /// `false` takes subagents away; `true` is refused where the configuration gives none.
    pub override_subagents: Option<bool>,
    /// Only `false`: there is no memory index; what a session said is found by `session/search`.
    #[schemars(schema_with = "asked::false_alone")]
    pub override_memory: Option<bool>,
    /// Only `false`: there are no mobs; subagents do their work.
    #[schemars(schema_with = "asked::false_alone")]
    pub override_mob: Option<bool>,
    /// Skills whose words stand in the session's system prompt, by name. One that is not there keeps the session from being made.
    pub preload_skills: Vec<String>,
    /// The name by which others of its tenant write to it (`session/send`): of the sessions that are not archived one has it.
    #[schemars(regex(pattern = asked::NAME))]
    pub comms_name: Option<String>,
    /// What others are told of it; needs `comms_name`.
    pub peer_meta: Option<PeerMeta>,
    /// Requests with one of these intents are shown to the model with the session's next turn, and begin none; needs `comms_name`.
    #[schemars(length(max = 64), inner(regex(pattern = asked::NAME)))]
    pub silent_comms_intents: Vec<String>,
    /// It is told of peers that come and go while there are at most so many besides itself: 50 when absent, 0 never, -1 always; needs `comms_name`.
    #[schemars(range(min = -1))]
    pub max_inline_peer_notifications: Option<i32>,
    /// The tenant that the session belongs to: the caller's own, or it is refused.
    pub realm_id: Option<String>,
    /// The node that is to make the session: the one that is asked, or it is refused.
    pub instance_id: Option<String>,
    /// The store that is to keep the session: the service's own (`sqlite` or `memory`), or it is refused.
    pub backend: Option<String>,
    /// How often the new session was configured, by whoever makes it: 0, or it is refused. See [`crate::service::ConfigureRequest::expected_generation`].
    #[schemars(range(max = 0))]
    pub config_generation: Option<u64>,
    /// Refused: parameters that only a provider's adapter understands would be ignored by all others; the fields of the request say the same for all.
    #[schemars(with = "()")]
    pub provider_params: Option<Value>,
    /// Refused: it is code, which no wire carries; a program that embeds the service brings it in `SessionParts::model`.
    #[serde(skip_serializing)]
    #[schemars(with = "()")]
    pub llm_client_override: Option<Value>,
    /// Refused: it is code, which no wire carries; a program that embeds the service brings it in `SessionParts::checkpointer`.
    #[serde(skip_serializing)]
    #[schemars(with = "()")]
    pub checkpointer: Option<Value>,
    /// Refused: events are read from a stream; a program that embeds the service does so by `subscribe_scoped_events`.
    #[serde(skip_serializing)]
    #[schemars(with = "()")]
    pub scoped_event_tx: Option<Value>,
    /// Refused: it is named where the stream is begun, as `path` of `subscribe_scoped_events`.
    #[serde(skip_serializing)]
    #[schemars(with = "()")]
    pub scoped_event_path: Option<Value>,
}

/// Which hooks of the configuration a session leaves out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HooksOverride {
    /// All of them.
    pub none: bool,
    /// These, by name.
    pub off: Vec<String>,
    /// Refused: hooks are commands, and whoever may make sessions may not make this machine run commands.
    #[schemars(length(max = 0))]
    pub entries: Vec<Value>,
}

impl From<HooksOverride> for HookRunOverrides {
    fn from(hooks: HooksOverride) -> Self {
        Self { none: hooks.none, off: hooks.off }
    }
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
        if self.hooks_override.as_ref().is_some_and(|hooks| !hooks.entries.is_empty()) {
            return Err(SessionError::invalid(
                "`build.hooks_override.entries` is refused: hooks are commands, and no request makes this machine run commands; put them into the configuration",
            ));
        }
        if self.override_memory == Some(true) {
            return Err(SessionError::invalid(
                "`build.override_memory` is refused: there is no memory index; find what sessions said by `session/search`, and leave the field out",
            ));
        }
        if self.override_mob == Some(true) {
            return Err(SessionError::invalid(
                "`build.override_mob` is refused: there are no mobs; use subagents or messages between sessions, and leave the field out",
            ));
        }
        self.check_code()?;
        self.comms()?;
        match self.config_generation {
            None | Some(0) => Ok(()),
            Some(other) => Err(SessionError::invalid(format!(
                "`build.config_generation` is {other}, and a new session was never configured: it is 0"
            ))),
        }
    }

    /// Whether nothing is asked for that only a program in this process can bring.
    fn check_code(&self) -> Result<(), SessionError> {
        let code = [
            ("llm_client_override", &self.llm_client_override),
            ("checkpointer", &self.checkpointer),
            ("scoped_event_tx", &self.scoped_event_tx),
            ("scoped_event_path", &self.scoped_event_path),
        ];
        let asked = code.iter().find(|(_, asked)| asked.is_some());
        asked.map_or(Ok(()), |(field, _)| {
            Err(SessionError::invalid(format!(
                "`build.{field}` is refused: it is code or its part, which no wire carries; a program that embeds the service brings it in `SessionParts`, and reads events by `subscribe_scoped_events`; leave the field out"
            )))
        })
    }

    /// What the session is to others of its tenant.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for what cannot be had, and for what makes no sense without a name.
    pub fn comms(&self) -> Result<Option<Comms>, SessionError> {
        let Self { comms_name, peer_meta, silent_comms_intents, .. } = self;
        let inline_peers_max = self.max_inline_peer_notifications;
        let Some(name) = comms_name.clone() else {
            let says_more = peer_meta.is_some()
                || !silent_comms_intents.is_empty()
                || inline_peers_max.is_some();
            return match says_more {
                false => Ok(None),
                true => Err(SessionError::invalid(
                    "`build.peer_meta`, `build.silent_comms_intents` and `build.max_inline_peer_notifications` are about a session that others write to; give it a `build.comms_name`, or leave them out",
                )),
            };
        };
        let (meta, silent_intents) =
            (peer_meta.clone().unwrap_or_default(), silent_comms_intents.clone());
        let comms = Comms { name, meta, silent_intents, inline_peers_max };
        comms.check().map_err(|why| SessionError::invalid(format!("`build`: {why}")))?;
        Ok(Some(comms))
    }
}
