//! What a command means for a session as it stands: events, or a refusal. Pure.

use crate::command::{Admit, Command, END, Rejection};
use crate::event::{
    AnsweredBy, CompactionCause, Delivery, Event, GoalSet, HistoryEdited, InputAdmitted, InputRef,
    InputSource, Outcome, PermissionAnswered, PermissionAsked, PermissionKind, ToolSettled,
};
use crate::ids::{CallId, Seq, TaskId, TurnNo};
use crate::limits::RuntimeLimits;
use crate::message::{Message, Part};
use crate::session::state::{Call, CallPhase, PendingInput, State};
use crate::session::{forget, goal, peers};
use crate::spec::rule::check_rules;
use crate::spec::{OutputChange, SettingsChange, TurnConfig};

/// What follows from a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// These events, then the answer "done".
    Record(Vec<Event>),
    /// This input, then its `seq` as the answer.
    Admit(Event),
    /// The input had been admitted before, as this entry.
    Known(Seq),
    /// As many inputs wait as may.
    Overloaded,
    /// The running turn is to be cancelled.
    Cancel,
    /// These events, and the running turn is to be cancelled: no other one begins.
    Archive(Vec<Event>),
    /// The sender wants to know where the session stands.
    Attach,
    /// The sender wants to know how the session is doing.
    Look,
    /// A summary is to be begun.
    Compact {
        /// What it should pay attention to.
        instructions: Option<String>,
    },
    /// A call that waits for its client ends so, by the same hooks as one that ran here; then the answer "done".
    Supply(ToolSettled),
    /// This background task is to be told to stop; without a name all of them.
    CancelTask(Option<TaskId>),
    /// This background task is to be given words.
    SendToTask(TaskId, String),
    /// The session is to be let go.
    Close,
}

/// Decides a command.
///
/// # Errors
/// [`Rejection`] when it cannot be done to this session now; nothing changes then.
pub fn decide(
    state: &State,
    limits: &RuntimeLimits,
    command: Command,
) -> Result<Decision, Rejection> {
    let record = |event| Ok(Decision::Record(vec![event]));
    match command {
        Command::Admit(admit) => decide_admit(state, limits, admit),
        Command::Withdraw { input } => {
            if state.pending.iter().any(|pending| pending.seq == input) {
                return record(Event::InputWithdrawn(InputRef { input }));
            }
            Err(stale(format!(
                "input {input} is not waiting: it was taken by a turn, withdrawn or never admitted"
            )))
        }
        Command::Cancel { turn } => decide_cancel(state, turn),
        Command::Answer { call, choice } => decide_answer(state, call, choice),
        Command::Dismiss { call } => asked(state, &call).map(|_| Decision::Cancel),
        Command::Supply { call, outcome, content } => {
            bounded(content.iter().map(text_bytes).sum(), limits, "the answer to the call")?;
            decide_supply(state, &call, outcome, content)
        }
        Command::SetGoal { .. } if state.archived => Err(Rejection::Archived),
        Command::SetGoal { goal } => {
            goal.as_ref().map_or(Ok(()), goal::check)?;
            record(Event::GoalSet(GoalSet { goal }))
        }
        Command::Configure { expected: Some(expected), .. } if expected != state.configured => {
            let found = state.configured;
            Err(stale(format!(
                "the session was configured {found} times and not {expected}; read it again, and decide anew"
            )))
        }
        Command::Configure { change, .. } if change.is_empty() => Ok(Decision::Record(Vec::new())),
        Command::Configure { change, .. } => decide_configure(state, limits, change),
        Command::Compact { .. } | Command::Edit { .. } if state.turn.is_some() => {
            Err(Rejection::Busy)
        }
        Command::Compact { .. } | Command::Edit { .. } if state.archived => {
            Err(Rejection::Archived)
        }
        Command::Compact { instructions } => {
            bounded(instructions.as_deref().map_or(0, str::len), limits, "the instructions")?;
            Ok(Decision::Compact { instructions })
        }
        Command::Edit { from, to, messages } => decide_edit(state, limits, (from, to), messages),
        Command::Archive => {
            let event = (!state.archived).then_some(Event::SessionArchived);
            Ok(Decision::Archive(Vec::from_iter(event)))
        }
        Command::Restore if state.archived => record(Event::SessionRestored),
        Command::Restore => Ok(Decision::Record(Vec::new())),
        Command::Attach => Ok(Decision::Attach),
        Command::Look => Ok(Decision::Look),
        Command::CancelTask { task: None } => Ok(Decision::CancelTask(None)),
        Command::CancelTask { task: Some(task) } => {
            runs(state, &task).map(|()| Decision::CancelTask(Some(task)))
        }
        Command::SendToTask { task, text } => {
            bounded(text.len(), limits, "the text for the task")?;
            runs(state, &task).map(|()| Decision::SendToTask(task, text))
        }
        Command::Close => Ok(Decision::Close),
    }
}

/// Whether a session can be what it is told to be.
fn decide_configure(
    state: &State,
    limits: &RuntimeLimits,
    change: Box<SettingsChange>,
) -> Result<Decision, Rejection> {
    let mode = change.mode.as_ref().map_or(Ok(()), |m| state.spec.modes.policy(m).map(drop));
    mode.map_err(|error| invalid(error.to_string()))?;
    let rules = change.rules.as_ref().map_or(Ok(()), check_rules);
    rules.map_err(|error| invalid(error.to_string()))?;
    change.turn.as_ref().map_or(Ok(()), TurnConfig::check).map_err(invalid)?;
    if let Some(OutputChange::Structured(output)) = &change.output {
        output.check().map_err(invalid)?;
    }
    let json = serde_json::to_vec(&change).expect("settings have string keys");
    bounded(json.len(), limits, "the change of settings")?;
    Ok(Decision::Record(vec![Event::SessionConfigured(change)]))
}

/// Whether a background task runs.
fn runs(state: &State, task: &TaskId) -> Result<(), Rejection> {
    if state.tasks.running.iter().any(|running| running.started.task == *task) {
        return Ok(());
    }
    Err(stale(format!("no background task {task} runs: it has ended or never was")))
}

fn invalid(what: String) -> Rejection {
    Rejection::Invalid { what }
}

fn stale(what: String) -> Rejection {
    Rejection::Stale { what }
}

fn decide_admit(
    state: &State,
    limits: &RuntimeLimits,
    mut admit: Admit,
) -> Result<Decision, Rejection> {
    if let Some(seq) = admit.key.as_ref().and_then(|key| state.keys.input(key)) {
        // A message of another session is not kept as it came.
        if admit.source != InputSource::User || state.keys.is_same(&admitted(admit)) {
            return Ok(Decision::Known(seq));
        }
        let what = "the key was used for another input; use a new one".to_owned();
        return Err(Rejection::Invalid { what });
    }
    if state.archived {
        return Err(Rejection::Archived);
    }
    if admit.content.iter().all(Part::is_blank) {
        return Err(Rejection::Invalid { what: "the input is empty".to_owned() });
    }
    bounded(admit.content.iter().map(text_bytes).sum(), limits, "the input")?;
    if admit.key.as_ref().is_some_and(|key| key.is_empty() || key.len() > limits.key_bytes) {
        let what = format!("the input's key is empty or longer than {} bytes", limits.key_bytes);
        return Err(Rejection::Invalid { what });
    }
    let peer = admit.peer.take().map(|peer| peers::received(state, *peer)).transpose()?;
    let is_silent = peer.as_ref().is_some_and(|peer| peer.silent);
    if let Some(opposite) = peer.as_ref().and_then(|peer| peers::opposite(state, peer)) {
        return Ok(Decision::Record(vec![Event::InputWithdrawn(InputRef { input: opposite })]));
    }
    if is_silent {
        // It comes with whatever is taken next.
        admit.delivery = Delivery::Steer;
    }
    admit.peer = peer.map(Box::new);
    if admit.delivery == Delivery::Now && state.turn.is_some() {
        return Err(Rejection::Busy);
    }
    // Ends of background tasks are bounded by the number of tasks and take nobody's place. What is silent may wait for long, and takes only that of its kind.
    let alike = |pending: &&PendingInput| {
        pending.is_silent() == is_silent && pending.admitted.source != InputSource::Background
    };
    if state.pending.iter().filter(alike).count() >= limits.inputs_waiting {
        return Ok(Decision::Overloaded);
    }
    admit.goal.as_ref().map_or(Ok(()), goal::check)?;
    admit.output.as_ref().map_or(Ok(()), |output| output.check()).map_err(invalid)?;
    if admit.output.is_some() && admit.delivery == Delivery::Steer {
        return Err(invalid("an input that steers has no output schema: the turn that it finds has its own; send it as `now` or `queue`".to_owned()));
    }
    Ok(Decision::Admit(Event::InputAdmitted(admitted(admit))))
}

/// An input as the journal has it.
fn admitted(admit: Admit) -> InputAdmitted {
    let Admit { key, source, delivery, mut content, goal, output, peer } = admit;
    content.extend(goal.as_ref().and_then(|goal| goal::unsaid(goal, &content)));
    if let Some(peer) = &peer {
        content.insert(0, Part::text(peers::heading(peer)));
    }
    InputAdmitted { key, source, delivery, content, goal, output, peer }
}

fn decide_edit(
    state: &State,
    limits: &RuntimeLimits,
    (from, to): (u32, u32),
    messages: Vec<Message>,
) -> Result<Decision, Rejection> {
    let json = serde_json::to_vec(&messages).expect("messages have string keys");
    bounded(json.len(), limits, "the change of history")?;
    let mut after = state.conversation.clone();
    let end = u32::try_from(after.messages.len()).unwrap_or(END);
    let [from, to] = [from, to].map(|place| if place == END { end } else { place });
    after
        .splice(from as usize, to as usize, messages.clone())
        .map_err(|why| Rejection::Invalid { what: why.to_owned() })?;
    Ok(Decision::Record(vec![Event::HistoryEdited(HistoryEdited { from, to, messages })]))
}

fn bounded(bytes: usize, limits: &RuntimeLimits, what: &str) -> Result<(), Rejection> {
    let max = limits.input_bytes;
    if bytes <= max {
        return Ok(());
    }
    let what = format!(
        "{what} has {bytes} bytes of text and at most {max} are taken; put it into a file and name the file"
    );
    Err(Rejection::TooLarge { what })
}

/// What a part adds to an input's size; a picture or a document counts as its reference, its bytes are in a blob.
fn text_bytes(part: &Part) -> usize {
    match part {
        Part::Text { text } => text.len(),
        Part::Image { media_type, blob, .. } => media_type.len() + blob.as_str().len(),
        Part::Document { media_type, name, blob, .. } => {
            media_type.len() + name.len() + blob.as_str().len()
        }
    }
}

fn open_call<'a>(state: &'a State, id: &CallId) -> Option<&'a Call> {
    state.turn.as_ref()?.step.as_ref()?.calls.iter().find(|call| call.called.call == *id)
}

/// The open question about a call.
fn asked<'a>(state: &'a State, call: &CallId) -> Result<&'a PermissionAsked, Rejection> {
    match open_call(state, call) {
        Some(Call { phase: CallPhase::Asked(asked), .. }) => Ok(asked),
        Some(_) | None => Err(stale(format!(
            "nobody is asked about call {call}: it was answered, its deadline passed, or its turn ended"
        ))),
    }
}

/// Stops the turn that is meant, or whatever the session does.
fn decide_cancel(state: &State, meant: Option<TurnNo>) -> Result<Decision, Rejection> {
    let running = state.turn.as_ref().map(|open| open.no);
    if meant.is_some() && meant != running {
        return Err(Rejection::NotRunning);
    }
    if running.is_some() {
        return Ok(Decision::Cancel);
    }
    let asked_for = state.summary.as_ref().filter(|open| open.cause == CompactionCause::Manual);
    let ended = asked_for.and_then(|_| forget::abandoned(state, "it was cancelled"));
    ended.map(|event| Decision::Record(vec![event])).ok_or(Rejection::NotRunning)
}

fn decide_answer(
    state: &State,
    call: CallId,
    choice: PermissionKind,
) -> Result<Decision, Rejection> {
    let asked = asked(state, &call)?;
    let Some(option) = asked.options.iter().find(|option| option.kind == choice) else {
        return Err(Rejection::Invalid {
            what: format!("that choice was not offered for call {call}"),
        });
    };
    let grants = option.grants.clone();
    let answered = PermissionAnswered { call, choice, by: AnsweredBy::Person, grants };
    Ok(Decision::Record(vec![Event::PermissionAnswered(answered)]))
}

fn decide_supply(
    state: &State,
    id: &CallId,
    outcome: Outcome,
    content: Vec<Part>,
) -> Result<Decision, Rejection> {
    let Some(call @ Call { phase: CallPhase::Requested(_), .. }) = open_call(state, id) else {
        return Err(stale(format!("call {id} does not wait for an answer from outside")));
    };
    match outcome {
        Outcome::Completed | Outcome::Failed | Outcome::Cancelled => {}
        Outcome::Denied | Outcome::Indeterminate => {
            return Err(Rejection::Invalid {
                what: "a client settles a call as completed, failed or cancelled".to_owned(),
            });
        }
    }
    let settled = ToolSettled {
        call: call.called.call.clone(),
        outcome,
        content,
        blobs: Vec::new(),
        detail: serde_json::Map::new(),
        duration_ms: 0,
    };
    Ok(Decision::Supply(settled))
}
