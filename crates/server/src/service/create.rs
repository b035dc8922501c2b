//! New sessions.

use std::path::PathBuf;
use std::sync::Arc;

use oarlock_core::event::Delivery;
use oarlock_core::ids::{Seq, SessionId, Tenant};
use oarlock_core::limits::KEY_BYTES;
use oarlock_core::ports::tool::Place;
use oarlock_core::prompt::Overlays;
use oarlock_core::service::{
    CreateSessionRequest, Cursor, ErrorCode, InitialTurnPolicy, RunResult, RunState,
    SessionBuildOptions, SessionError, SessionParts,
};
use oarlock_core::spec::{Keyed, ModelSelection, SessionSpec};
use oarlock_core::{
    AgentError, DefaultSession, Frontend, NewSession, Origin, Usage, new_session_id,
};

use super::peers::Named;
use super::turns::{Told, admit, form, input_of, run};
use super::{Scope, Sessions, in_time, refused, skills, tools};
use crate::host::Workspace;
use crate::place::{PlaceError, folder, folders};
use crate::quote::cut;

impl Sessions {
    pub(super) async fn create(
        &self,
        request: CreateSessionRequest,
        parts: SessionParts,
    ) -> Result<RunResult, SessionError> {
        self.allow(Scope::Manage)?;
        check(&request)?;
        self.brought.check(&parts)?;
        let tenant = self.tenant();
        if self.caller.tenant.is_some() && request.build.resume_session.is_some() {
            return Err(SessionError::invalid(
                "`build.resume_session` is refused here: whether an id is taken would tell of the sessions of others; leave it out, and use `idempotency_key` to make one session only",
            ));
        }
        self.check_place(&request.build)?;
        let keyed =
            request.idempotency_key.as_deref().map(|key| keyed(key, &request)).transpose()?;
        let id = match (&keyed, request.build.resume_session.clone()) {
            (Some(_), Some(_)) => {
                return Err(SessionError::invalid(
                    "`idempotency_key` and `build.resume_session` both name the session; leave one out",
                ));
            }
            (Some(keyed), None) => id_of(keyed, tenant.as_ref()),
            (None, Some(id)) => id,
            (None, None) => new_session_id(),
        };
        self.check_bodies(&id, &request.prompt).await?;
        let CreateSessionRequest { event_tx, wait_ms, .. } = request.clone();
        let this = self.clone();
        let begin = async move { this.made((id, tenant), keyed, (&request, parts)).await };
        match self.makers.finish(begin).await? {
            (session, None) => deferred(&session).await,
            (session, Some(input)) => run(&session, input, wait_ms, event_tx).await,
        }
    }

    /// Whether the session belongs to where it is asked for.
    fn check_place(&self, build: &SessionBuildOptions) -> Result<(), SessionError> {
        let realm = self.tenant();
        let realm = realm.as_ref().map(Tenant::as_str);
        let own = [
            ("realm_id", &build.realm_id, realm),
            ("instance_id", &build.instance_id, Some(self.host.core().node().as_str())),
            ("backend", &build.backend, Some(self.host.store_name())),
        ];
        for (field, asked, own) in own {
            let Some(asked) = asked.as_deref().filter(|asked| Some(*asked) != own) else {
                continue;
            };
            let asked = cut(asked);
            let here = own.map_or("none".to_owned(), |own| format!("`{own}`"));
            return Err(SessionError::invalid(format!(
                "`build.{field}` is `{asked}`, and here it is {here}; ask there, or leave the field out"
            )));
        }
        Ok(())
    }

    /// Makes the session with its first prompt, if it has one, or finds those that the same request made before.
    async fn made(
        &self,
        (id, tenant): (SessionId, Option<Tenant>),
        keyed: Option<Keyed>,
        (request, parts): (&CreateSessionRequest, SessionParts),
    ) -> Result<(DefaultSession, Option<Seq>), SessionError> {
        let cwd = request.cwd.clone().unwrap_or_else(|| PathBuf::clone(&self.cwd));
        let place = self.place(cwd, request.roots.clone()).await?;
        let workspace = self.folder(&place.cwd).await?;
        let named = (&request.skill_references[..], request.prompt.clone());
        let prompt = skills::prompt(&*workspace, &place.cwd, named).await?;
        let spec = self.spec(&*workspace, place, (request, &parts)).await?;
        let spec = SessionSpec { request: keyed.clone(), tenant, ..spec };
        let comms = request.build.comms()?;
        let input = match request.initial_turn {
            InitialTurnPolicy::Defer => None,
            InitialTurnPolicy::RunImmediately => {
                let key = request.idempotency_key.clone();
                let told = Told { delivery: Delivery::Now, key, output: None };
                Some(input_of(prompt, told)?)
            }
        };
        let new = NewSession {
            id: Some(id.clone()),
            comms: comms.clone(),
            input: input.clone().map(Box::new),
            backends: parts.backends(),
            ..NewSession::from(spec)
        };
        let first = new.first_input();
        match (workspace.core().open(Origin::New(Box::new(new))).await, keyed) {
            (Ok(session), _) => {
                self.brought.keep(&session, parts, 0);
                if let Some(comms) = comms {
                    let named = Named { tenant: self.tenant(), comms };
                    self.announce(session.id(), named, "is here").await;
                }
                Ok((session, first))
            }
            (Err(AgentError::DuplicateSessionId { .. }), Some(keyed)) => {
                match self.birth(&id).await?.request {
                    Some(known) if known == keyed => {
                        let session = match parts.is_empty() {
                            true => self.session(&id).await?,
                            false => self.taken_up(&id, parts).await?,
                        };
                        let input = match input {
                            Some(input) => Some(admit(&session, input).await?),
                            None => None,
                        };
                        Ok((session, input))
                    }
                    _ => Err(SessionError::invalid(format!(
                        "the idempotency key `{}` was used for another request; use a new one",
                        keyed.key
                    ))),
                }
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// The folders by their true names. A caller that is kept within some is told the same of all others, whether they are there or not.
    pub(super) async fn place(
        &self,
        cwd: PathBuf,
        roots: Vec<PathBuf>,
    ) -> Result<Place, SessionError> {
        let (asked, all) = (cwd.clone(), roots.clone());
        let found = async { Ok(Place { cwd: folder(cwd).await?, roots: folders(roots).await? }) };
        let found = found.await.map_err(|error: PlaceError| misplaced(&error));
        if self.caller.within.is_none() {
            return found;
        }
        let outside = || {
            let paths = [&asked].into_iter().chain(&all).map(|path| path.display().to_string());
            let words = paths.collect::<Vec<_>>().join(", ");
            let words: String = words.chars().take(400).collect();
            SessionError::new(
                ErrorCode::Forbidden,
                format!(
                    "sessions may not work in {words}; the server lets them into its roots (--root) alone"
                ),
            )
        };
        match found {
            Ok(place) if self.caller.is_within(&place.cwd, &place.roots) => Ok(place),
            Ok(_) => Err(outside()),
            Err(error) if error.kind == ErrorCode::InvalidRequest => Err(outside()),
            Err(error) => Err(error),
        }
    }

    /// What the session is to be: as its folder is configured, but for what the request says.
    async fn spec(
        &self,
        workspace: &dyn Workspace,
        place: Place,
        (request, parts): (&CreateSessionRequest, &SessionParts),
    ) -> Result<SessionSpec, SessionError> {
        let mut spec = workspace
            .spec(place, self.caller.surface, Frontend::Headless)
            .await
            .map_err(|error| refused(&error))?;
        Arc::make_mut(&mut spec.settings).answers = oarlock_core::spec::Answers::Somebody;
        if let Some(system) = &request.system_prompt {
            spec.system = system.as_str().into();
            spec.overlays = Overlays::default();
        }
        let preloaded = ("build.preload_skills", &request.build.preload_skills[..]);
        for words in skills::words(workspace, &spec.cwd, preloaded).await? {
            let said = match spec.system.is_empty() {
                true => words,
                false => format!("{}\n\n{words}", spec.system),
            };
            spec.system = said.into();
        }
        let settings = Arc::make_mut(&mut spec.settings);
        let own = parts.model.as_ref().map(|model| &model.info().selection);
        match (named_model(request)?, own) {
            (Some(model), None) => {
                settings.model = workspace.model(&model).map_err(|error| refused(&error))?;
            }
            (Some(model), Some(own)) if model != own.to_string() => {
                return Err(SessionError::invalid(format!(
                    "`model` is `{}`, and the model that was brought is `{own}`; name that, or leave `model` out",
                    cut(&model)
                )));
            }
            (_, Some(own)) => settings.model = own.clone(),
            (None, None) => {}
        }
        match &request.fallback {
            Some(names) => settings.fallback = chain(workspace, names)?,
            // Of a configured chain the model that was asked for is left out: it is the first one asked.
            None if request.model.is_some() => {
                let chosen = settings.model.clone();
                settings.fallback.retain(|model| *model != chosen);
            }
            None => {}
        }
        if let Some(mode) = &request.mode {
            settings.mode = mode.clone();
        }
        if request.effort.is_some() {
            settings.effort = request.effort;
        }
        if let Some(limits) = &request.limits {
            settings.limits = limits.clone();
        }
        if let Some(budget) = &request.build.budget_limits {
            let bounds = &mut settings.limits.session;
            bounds.tokens = budget.max_tokens.or(bounds.tokens);
            bounds.wall_ms = budget.max_duration_ms.or(bounds.wall_ms);
            bounds.tool_calls = budget.max_tool_calls.or(bounds.tool_calls);
        }
        if request.max_tokens.is_some() {
            settings.turn.sampling.max_tokens = request.max_tokens;
        }
        if let Some(hooks) = &request.build.hooks_override {
            settings.hooks = hooks.clone().into();
        }
        settings.external_tools.clone_from(&request.build.external_tools);
        let build = &request.build;
        let output = form(build.output_schema.clone(), build.structured_output_retries)?;
        settings.output = output.or(settings.output.take());
        settings.title.clone_from(&request.title);
        settings.labels.clone_from(&request.labels);
        tools::overridden(workspace, spec, &request.build).await
    }
}

/// The models of these names.
pub(super) fn chain(
    workspace: &dyn Workspace,
    names: &[String],
) -> Result<Vec<ModelSelection>, SessionError> {
    let named = |name: &String| workspace.model(name).map_err(|error| refused(&error));
    names.iter().map(named).collect()
}

/// The model by the name that the request gives it.
fn named_model(request: &CreateSessionRequest) -> Result<Option<String>, SessionError> {
    match (&request.model, &request.build.provider) {
        (None, Some(_)) => Err(SessionError::invalid(
            "`build.provider` says whose a model is and `model` names none; name it, or leave `build.provider` out",
        )),
        (Some(model), Some(provider)) if !model.starts_with(&format!("{provider}/")) => {
            Ok(Some(format!("{provider}/{model}")))
        }
        (model, _) => Ok(model.clone()),
    }
}

/// Whether a request makes sense, before anything is done.
fn check(request: &CreateSessionRequest) -> Result<(), SessionError> {
    request.build.check()?;
    if request.initial_turn == InitialTurnPolicy::Defer && !request.skill_references.is_empty() {
        return Err(SessionError::invalid(
            "a deferred session takes no `skill_references`: they go with a prompt; name them when a turn is started, or use `build.preload_skills`",
        ));
    }
    match (request.initial_turn, request.prompt.is_empty()) {
        (InitialTurnPolicy::Defer, false) => Err(SessionError::invalid(
            "a deferred session takes no prompt: it would be lost; start a turn with it later, or leave `initial_turn` out",
        )),
        (InitialTurnPolicy::RunImmediately, true) => Err(SessionError::invalid(
            "the prompt says nothing; give it text, or make the session with `initial_turn`: `defer`",
        )),
        _ => Ok(()),
    }
}

/// Whether a key can be one on every surface: it may be a header of HTTP.
pub(super) fn check_key(key: &str) -> Result<(), SessionError> {
    let is_plain = key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if (1..=KEY_BYTES).contains(&key.len()) && is_plain && key.trim_ascii().len() == key.len() {
        return Ok(());
    }
    Err(SessionError::invalid(format!(
        "an idempotency key has 1 to {KEY_BYTES} characters of ASCII that can be seen, spaces only between them; this one has {} bytes",
        key.len()
    )))
}

/// The request under its key.
fn keyed(key: &str, request: &CreateSessionRequest) -> Result<Keyed, SessionError> {
    check_key(key)?;
    // How long somebody waits for the answer changes nothing of what is done.
    let asked = CreateSessionRequest { wait_ms: None, ..request.clone() };
    let json =
        serde_json::to_vec(&asked).map_err(|error| SessionError::invalid(error.to_string()))?;
    Ok(Keyed { key: key.to_owned(), asked: blake3::hash(&json).to_hex().to_string() })
}

/// The id of the session that a key of a tenant names, the same after a restart.
fn id_of(keyed: &Keyed, tenant: Option<&Tenant>) -> SessionId {
    // No tenant has a name with a NUL: keys of two of them never meet.
    let name = match tenant {
        Some(tenant) => format!("{tenant}\0{}", keyed.key),
        None => format!("\0{}", keyed.key),
    };
    let hash =
        blake3::derive_key("oarlock 2026-11-21 session id of an idempotency key", name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    let id = uuid::Builder::from_custom_bytes(bytes).into_uuid();
    SessionId::parse(id.to_string()).expect("a UUID is an id")
}

/// What is told of a session that waits for its first input.
async fn deferred(session: &DefaultSession) -> Result<RunResult, SessionError> {
    let state = in_time(session.state()).await?;
    Ok(RunResult {
        session_id: session.id().clone(),
        input: None,
        turn: None,
        state: RunState::Deferred,
        stop_reason: None,
        text: String::new(),
        usage: Usage::default(),
        cost_micros: None,
        session_usage: state.used.usage,
        turns: 0,
        tool_calls: 0,
        structured_output: None,
        schema_warnings: Vec::new(),
        pending: Vec::new(),
        cursor: Cursor(state.tip),
    })
}

fn misplaced(error: &PlaceError) -> SessionError {
    let kind = match error {
        PlaceError::Invalid(_) => ErrorCode::InvalidRequest,
        PlaceError::Silent(_) => ErrorCode::AgentError,
    };
    SessionError::new(kind, error.to_string())
}
