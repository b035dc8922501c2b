//! Inputs and the turns that take them.

use std::time::Duration;

use futures::future::{Either, select};
use oarlock_core::event::{AgentEvent, Delivery, Event, FailureClass, InputSource, StopReason};
use oarlock_core::ids::{Seq, SessionId};
use oarlock_core::service::{
    AnswerRequest, ErrorCode, InputDelivery, InputRequest, InterruptRequest, Prompt, Run,
    RunResult, RunState, SessionError, StartTurnRequest, WaitRequest, WithdrawRequest,
};
use oarlock_core::spec::{OutputSchema, StructuredOutput};
use oarlock_core::{
    Admit, AgentError, Command, DefaultSession, LoadSession, Origin, Recovery, Reply,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::create::check_key;
use super::{Scope, Sessions, WAIT_MAX, in_time, skills};

/// What a sink of events may take to be given the last of them, once its turn has ended.
const SINK_GRACE: Duration = Duration::from_secs(2);

impl Sessions {
    pub(super) async fn start(
        &self,
        id: &SessionId,
        request: StartTurnRequest,
    ) -> Result<RunResult, SessionError> {
        self.allow(Scope::Turn)?;
        let (workspace, birth) = (self.workspace(id).await?, self.birth(id).await?);
        let session = self.handle(&*workspace, id);
        let StartTurnRequest { prompt, event_tx, idempotency_key, wait_ms, .. } = request;
        self.check_bodies(id, &prompt).await?;
        let named = (&request.skill_references[..], prompt);
        let prompt = skills::prompt(&*workspace, &birth.cwd, named).await?;
        let output = form(request.output_schema, request.structured_output_retries)?;
        let told = Told { delivery: Delivery::Now, key: idempotency_key, output };
        let input = admit(&session, input_of(prompt, told)?).await?;
        run(&session, input, wait_ms, event_tx).await
    }

    /// Gives an input without waiting for its turn.
    ///
    /// # Errors
    /// `SESSION_NOT_FOUND`, `SESSION_ARCHIVED`, `OVERLOADED` when too many wait.
    pub async fn input(
        &self,
        id: &SessionId,
        request: InputRequest,
    ) -> Result<RunResult, SessionError> {
        self.allow(Scope::Turn)?;
        let session = self.session(id).await?;
        let delivery = match request.delivery {
            InputDelivery::Steer => Delivery::Steer,
            InputDelivery::Queue => Delivery::Queue,
        };
        self.check_bodies(id, &request.prompt).await?;
        let told = Told { delivery, key: request.idempotency_key, output: None };
        let input = admit(&session, input_of(request.prompt, told)?).await?;
        run(&session, input, Some(0), None).await
    }

    /// Takes back an input that no turn has taken.
    ///
    /// # Errors
    /// `INVALID_REQUEST` when it does not wait.
    pub async fn withdraw(
        &self,
        id: &SessionId,
        request: WithdrawRequest,
    ) -> Result<(), SessionError> {
        self.allow(Scope::Turn)?;
        let session = self.session(id).await?;
        session.tell(Command::Withdraw { input: request.input }).await?;
        Ok(())
    }

    /// Ends the running turn. One that a dead process left open is ended as `interrupted` by that.
    ///
    /// # Errors
    /// `SESSION_NOT_RUNNING` when none runs, or another one than was named; `SESSION_MOVED` when it runs in another process.
    pub async fn interrupt_turn(
        &self,
        id: &SessionId,
        request: InterruptRequest,
    ) -> Result<(), SessionError> {
        self.allow(Scope::Turn)?;
        let session = self.awake_where_open(id).await?;
        session.tell(Command::Cancel { turn: request.turn }).await?;
        Ok(())
    }

    /// Waits for the turn of an input: the last one when none is named.
    ///
    /// # Errors
    /// `INVALID_REQUEST` when there is no such input; `AGENT_ERROR` when its turn failed.
    pub async fn wait(
        &self,
        id: &SessionId,
        request: WaitRequest,
    ) -> Result<RunResult, SessionError> {
        self.allow(Scope::Read)?;
        let session = self.awake_where_open(id).await?;
        let input = match request.input {
            Some(input) => admitted(&session, input).await?,
            None => last_input(&session).await?,
        };
        run(&session, input, request.wait_ms, None).await
    }

    /// Answers what a turn waits for.
    ///
    /// # Errors
    /// `INVALID_REQUEST` when the question is not open, or offers no such choice.
    pub async fn answer(&self, id: &SessionId, request: AnswerRequest) -> Result<(), SessionError> {
        self.allow(Scope::Turn)?;
        let session = self.awake_where_open(id).await?;
        let command = match request {
            AnswerRequest::Permission { call, choice } => Command::Answer { call, choice },
            AnswerRequest::ExternalTool { call, outcome, content } => {
                self.check_bodies(id, &content).await?;
                Command::Supply { call, outcome, content: content.into_parts() }
            }
        };
        session.tell(command).await?;
        Ok(())
    }

    /// The session; one that a dead process left in the middle of a turn is taken up where it can be, so that its turn has an end.
    async fn awake_where_open(&self, id: &SessionId) -> Result<DefaultSession, SessionError> {
        let session = self.session(id).await?;
        if session.core().is_awake(id) {
            return Ok(session);
        }
        let state = in_time(session.state()).await?;
        if state.turn.is_none() && state.pending.is_empty() {
            return Ok(session);
        }
        let backends = self.brought.parts(id).backends();
        let load = LoadSession { backends, ..LoadSession::new(id.clone(), Recovery::Interrupt) };
        match session.core().open(Origin::Resume(load)).await {
            Ok(session) => Ok(session),
            Err(AgentError::LiveElsewhere { .. }) => Ok(session),
            Err(error) => Err(error.into()),
        }
    }
}

/// How an input is given.
pub(super) struct Told {
    pub(super) delivery: Delivery,
    pub(super) key: Option<String>,
    pub(super) output: Option<StructuredOutput>,
}

/// The form of answers that a request asks for.
pub(super) fn form(
    schema: Option<OutputSchema>,
    retries: Option<u32>,
) -> Result<Option<StructuredOutput>, SessionError> {
    match (schema, retries) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(SessionError::invalid(
            "`structured_output_retries` says how often an `output_schema` is tried, and there is none; give it, or leave this out",
        )),
        (Some(schema), retries) => {
            let form = StructuredOutput::new(schema);
            let form = StructuredOutput { retries: retries.unwrap_or(form.retries), ..form };
            form.check().map_err(SessionError::invalid)?;
            Ok(Some(form))
        }
    }
}

/// A prompt as a session is told it.
pub(super) fn input_of(prompt: Prompt, told: Told) -> Result<Admit, SessionError> {
    if prompt.is_empty() {
        return Err(SessionError::invalid("the prompt says nothing; give it text"));
    }
    told.key.as_deref().map_or(Ok(()), check_key)?;
    let (Told { delivery, key, output }, content) = (told, prompt.into_parts());
    let output = output.map(Box::new);
    Ok(Admit { key, source: InputSource::User, delivery, content, goal: None, output, peer: None })
}

/// Admits an input. With a key that the session knows it is the first input of that key.
pub(super) async fn admit(session: &DefaultSession, input: Admit) -> Result<Seq, SessionError> {
    match session.tell(Command::Admit(input)).await? {
        Reply::Admitted(input) => Ok(input),
        Reply::Done | Reply::Attached(_) | Reply::Status(_) | Reply::Rejected(_) => {
            Err(SessionError::new(ErrorCode::AgentError, "the session gave no answer to an input"))
        }
    }
}

/// Follows an input to the end of its turn, or until the turn waits for answers, or `wait_ms` have passed.
pub(super) async fn run(
    session: &DefaultSession,
    input: Seq,
    wait_ms: Option<u64>,
    sink: Option<mpsc::Sender<AgentEvent>>,
) -> Result<RunResult, SessionError> {
    let following = follow(session, input, wait_ms);
    let run = match sink {
        None => following.await?,
        Some(sink) => {
            let forwarding = std::pin::pin!(forward(session, input, sink));
            match select(std::pin::pin!(following), forwarding).await {
                Either::Left((run, forwarding)) => {
                    // Whoever does not read gets no more of it.
                    drop(timeout(SINK_GRACE, forwarding).await);
                    run?
                }
                Either::Right(((), following)) => following.await?,
            }
        }
    };
    let usage = in_time(session.state()).await?.used.usage;
    let result = run.result(usage);
    let Some((stop, failure)) = run.failure() else { return Ok(result) };
    let (kind, class) = match stop {
        StopReason::Failed(FailureClass::Model(kind)) => (ErrorCode::ProviderError, json!(kind)),
        StopReason::Failed(class) => (ErrorCode::AgentError, json!(class)),
        _ => (ErrorCode::AgentError, json!(stop)),
    };
    let words = failure.map_or("the turn failed", |failure| failure.message.as_str());
    let details = json!({ "class": class, "session_id": session.id(), "run": result });
    Err(SessionError::new(kind, words).with_details(details))
}

/// Reads until the turn of an input has ended, waits for answers, or the time is over.
async fn follow(
    session: &DefaultSession,
    input: Seq,
    wait_ms: Option<u64>,
) -> Result<Run, SessionError> {
    let mut run = Run::new(session.id().clone(), input);
    let mut events = session.events(input);
    let within = wait_ms.map_or(WAIT_MAX, Duration::from_millis).min(WAIT_MAX);
    // The past is read in any case, however little time there is to wait.
    let until = tokio::time::Instant::now() + within;
    let mut is_caught_up = false;
    loop {
        let next = session.next_event(&mut events);
        let event = match is_caught_up {
            false => in_time(next).await?,
            true => match tokio::time::timeout_at(until, next).await {
                Ok(event) => event?,
                Err(_) => return Ok(run),
            },
        };
        match event {
            AgentEvent::Entry(entry) => run.take(&entry),
            AgentEvent::CaughtUp { .. } => is_caught_up = true,
            AgentEvent::Delta(_) | AgentEvent::Scoped { .. } => {}
        }
        match run.state() {
            RunState::Ended | RunState::Withdrawn => return Ok(run),
            RunState::AwaitingInput if is_caught_up => return Ok(run),
            RunState::Deferred | RunState::Queued | RunState::Running | RunState::AwaitingInput => {
            }
        }
    }
}

/// Gives a sink the events from an input on until its turn has ended. It waits for nobody but the sink.
async fn forward(session: &DefaultSession, input: Seq, sink: mpsc::Sender<AgentEvent>) {
    let mut run = Run::new(session.id().clone(), input);
    let mut events = session.events(input);
    while let Ok(event) = session.next_event(&mut events).await {
        if let AgentEvent::Entry(entry) = &event {
            run.take(entry);
        }
        if sink.send(event).await.is_err() {
            tracing::debug!(session = %session.id(), "nobody takes the events of a turn any more");
            return;
        }
        if matches!(run.state(), RunState::Ended | RunState::Withdrawn) {
            return;
        }
    }
}

/// An input that the session has, for otherwise nobody would ever hear of its turn.
async fn admitted(session: &DefaultSession, input: Seq) -> Result<Seq, SessionError> {
    let mut events = session.events(input.saturating_sub(1));
    let is_one = match in_time(session.next_event(&mut events)).await? {
        AgentEvent::Entry(entry) => {
            entry.seq == input && matches!(entry.event, Event::InputAdmitted(_))
        }
        AgentEvent::CaughtUp { .. } | AgentEvent::Delta(_) | AgentEvent::Scoped { .. } => false,
    };
    let none =
        || SessionError::invalid(format!("entry {input} of session {} is no input", session.id()));
    is_one.then_some(input).ok_or_else(none)
}

/// The input that was admitted last.
async fn last_input(session: &DefaultSession) -> Result<Seq, SessionError> {
    let none = || SessionError::invalid(format!("session {} has no input yet", session.id()));
    let state = in_time(session.state()).await?;
    if let Some(input) = state.pending.iter().rev().find(|input| !input.is_silent()) {
        return Ok(input.seq);
    }
    state.last_input.ok_or_else(none)
}
