//! What comes next for the calls of an answer: judge, ask, run, settle. Pure.
//!
//! Calls that only read run side by side. Any other call runs alone, in the order in which the model asked.

use crate::event::{
    AnsweredBy, Effect, Event, HookPoint, InputRequested, Outcome, PermissionAnswered,
    PermissionAsked, PermissionKind, ToolCalled, ToolSettled,
};
use crate::ids::{CallId, Timestamp};
use crate::message::{Content, Message, Part, ReplyStop};
use crate::ports::tool::{Assessment, Runs};
use crate::session::children::used_with_children;
use crate::session::hooks::{self, Gate, HookPlace};
use crate::session::plan::{Facts, Step, View, call_ref};
use crate::session::state::{Call, CallPhase, OpenStep, State};
use crate::spec::{Answers, Mode, UnknownMode};
use crate::turn::permission::{Verdict, options};

/// Words that mark a call that a limit stopped.
const LIMIT_WORDS: &str = "not run: the limit of tool calls was reached";

/// The next step for the calls of the answer, or nothing when all are settled.
pub(crate) fn plan(view: &View<'_>, step: &OpenStep) -> Option<Step> {
    let unannounced = announce(view, step);
    if !unannounced.is_empty() {
        return Some(Step::Record(unannounced));
    }
    collect(step.calls.iter().map(|call| next(view, step, call)), view.facts)
}

/// What one call needs.
enum Next {
    /// Nothing; it is settled.
    Nothing,
    /// Nothing until something else ends.
    Blocked,
    /// Nothing until then.
    Until(Timestamp),
    Record(Event),
    Run(CallId),
    Describe(CallId),
    Hook(HookPlace),
    Stop(CallId),
    Abandon(CallId),
}

fn collect(planned: impl Iterator<Item = Next>, facts: &Facts<'_>) -> Option<Step> {
    let (mut events, mut run, mut stop, mut abandon) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut describe, mut hook, mut until, mut open) = (None, None, None::<Timestamp>, false);
    for next in planned {
        open |= !matches!(next, Next::Nothing);
        match next {
            Next::Nothing | Next::Blocked => {}
            Next::Until(moment) => until = Some(until.map_or(moment, |sooner| sooner.min(moment))),
            // One start at a time, so that the next one is planned with this one counted.
            Next::Record(Event::ToolStarted(_))
                if events.iter().any(|event| matches!(event, Event::ToolStarted(_))) => {}
            Next::Record(Event::HooksStarted(_))
                if events.iter().any(|event| matches!(event, Event::HooksStarted(_))) => {}
            Next::Record(event) => events.push(event),
            Next::Run(call) => run.push(call),
            Next::Describe(call) => describe = Some(call),
            Next::Hook(place) => hook = hook.or(Some(place)),
            Next::Stop(call) => stop.push(call),
            Next::Abandon(call) => abandon.push(call),
        }
    }
    if !open {
        return None;
    }
    let step = if !events.is_empty() {
        Step::Record(events)
    } else if !abandon.is_empty() {
        Step::AbandonTools(abandon)
    } else if !stop.is_empty() {
        Step::StopTools(stop)
    } else if !run.is_empty() {
        Step::Run(run)
    } else if let Some(place) = hook {
        Step::Hook(place)
    } else if let Some(call) = describe {
        Step::Describe(call)
    } else {
        Step::Wait(until.unwrap_or_else(|| facts.now.after(facts.limits.idle_sleep_ms)))
    };
    Some(step)
}

/// `tool_called` for each call of the answer that has none.
fn announce(view: &View<'_>, step: &OpenStep) -> Vec<Event> {
    let Some(Message::Assistant { blocks }) = view.state.conversation.messages.last() else {
        return Vec::new();
    };
    let calls = blocks.iter().filter_map(|block| match &block.content {
        Content::ToolCall { id, name, arguments } => Some((id, name, arguments)),
        Content::Text { .. } | Content::Thinking { .. } | Content::Opaque { .. } => None,
    });
    let called = calls.skip(step.calls.len()).map(|(id, name, arguments)| {
        let assessed = view.facts.assessor.assess(name, arguments);
        let (effect, title) = assessed
            .map_or_else(|_| (Effect::Pure, name.clone()), |(call, _)| (call.effect, call.title));
        ToolCalled {
            call: id.clone(),
            step: step.no,
            name: name.clone(),
            arguments: arguments.clone(),
            effect,
            title,
        }
    });
    called.map(Event::ToolCalled).collect()
}

fn next(view: &View<'_>, step: &OpenStep, call: &Call) -> Next {
    let (facts, work, id) = (view.facts, view.work, &call.called.call);
    match &call.phase {
        CallPhase::Settled(..) => Next::Nothing,
        CallPhase::Called => before_call(view, step, call),
        CallPhase::Asked(asked) if asked.deadline <= facts.now => Next::Record(by_deadline(asked)),
        CallPhase::Asked(asked) => match covered(view, call, asked) {
            Some(answered) => Next::Record(answered),
            None => Next::Until(asked.deadline),
        },
        CallPhase::Refused(answered) => deny(view, step, call, refusal_words(answered)),
        CallPhase::Allowed => match facts.assessor.assess(&call.called.name, call.arguments()) {
            Ok((assessment, runs)) => begin(view, step, call, (&assessment, runs)),
            Err(words) => Next::Record(settled(call, Outcome::Failed, words, facts.now)),
        },
        CallPhase::Requested(_) if work.hooks.ends.contains_key(id) => {
            after_apply(view, step, call)
        }
        CallPhase::Requested(deadline) if *deadline <= facts.now => Next::Record(settled(
            call,
            Outcome::Failed,
            "nobody answered in time".to_owned(),
            facts.now,
        )),
        CallPhase::Requested(deadline) => Next::Until(*deadline),
        CallPhase::Started if work.hooks.ends.contains_key(id) => after_apply(view, step, call),
        CallPhase::Started => match work.tools.get(id) {
            None => Next::Run(id.clone()),
            Some(running) => match running.cancelled {
                Some(since) if since.after(facts.limits.cancel_grace_ms) <= facts.now => {
                    Next::Abandon(id.clone())
                }
                Some(since) => Next::Until(since.after(facts.limits.cancel_grace_ms)),
                None if running.deadline <= facts.now => Next::Stop(id.clone()),
                None => Next::Until(running.deadline),
            },
        },
    }
}

/// What is to be done with a call whose end its hooks are to look at.
fn after_apply(view: &View<'_>, step: &OpenStep, call: &Call) -> Next {
    let place = hooks::of_call(HookPoint::AfterToolApply, step.no, &call.called.call);
    gated(hooks::begin(view.state, view.work, view.facts, place)).unwrap_or(Next::Blocked)
}

/// A gate of a call: nothing when it is open.
fn at(view: &View<'_>, step: &OpenStep, call: &Call, point: HookPoint) -> Option<Next> {
    gated(view.gate(hooks::of_call(point, step.no, &call.called.call)))
}

fn gated(gate: Gate) -> Option<Next> {
    match gate {
        Gate::Open => None,
        Gate::Announce(event) => Some(Next::Record(event)),
        Gate::Run(place) => Some(Next::Hook(place)),
        Gate::Until(until) => Some(Next::Until(until)),
    }
}

fn before_call(view: &View<'_>, step: &OpenStep, call: &Call) -> Next {
    let now = view.facts.now;
    if matches!(step.stop, Some(ReplyStop::MaxTokens | ReplyStop::Refusal)) {
        let words = "not run: the answer that asked for it was cut".to_owned();
        return Next::Record(settled(call, Outcome::Cancelled, words, now));
    }
    if let Some(next) = at(view, step, call, HookPoint::BeforeToolApply) {
        return next;
    }
    match &call.hooked.settled {
        Some((outcome, content)) => Next::Record(settled_as(call, *outcome, content.clone(), now)),
        None => judge_call(view, step, call),
    }
}

/// Settles a call that must not run, once its hooks know.
fn deny(view: &View<'_>, step: &OpenStep, call: &Call, words: String) -> Next {
    at(view, step, call, HookPoint::AfterPermission)
        .unwrap_or_else(|| Next::Record(settled(call, Outcome::Denied, words, view.facts.now)))
}

/// Whether a call may run, as far as it is decided.
pub(crate) fn is_granted(view: &View<'_>, call: &Call) -> bool {
    match &call.phase {
        CallPhase::Called => {
            let assessed = view.facts.assessor.assess(&call.called.name, call.arguments());
            let verdict = assessed.ok().and_then(|(known, _)| verdict(view, call, &known).ok());
            verdict == Some(Verdict::Allow)
        }
        CallPhase::Asked(_) | CallPhase::Refused(_) => false,
        CallPhase::Allowed
        | CallPhase::Requested(_)
        | CallPhase::Started
        | CallPhase::Settled(..) => true,
    }
}

fn judge_call(view: &View<'_>, step: &OpenStep, call: &Call) -> Next {
    let facts = view.facts;
    let settle = |outcome, words: String| Next::Record(settled(call, outcome, words, facts.now));
    let (assessment, runs) = match facts.assessor.assess(&call.called.name, call.arguments()) {
        Ok(assessed) => assessed,
        Err(words) => return settle(Outcome::Failed, words),
    };
    let settings = &view.turn.settings;
    let verdict = match verdict(view, call, &assessment) {
        Ok(verdict) => verdict,
        Err(unknown) => return deny(view, step, call, format!("denied: {unknown}")),
    };
    match verdict {
        Verdict::Allow => begin(view, step, call, (&assessment, runs)),
        Verdict::Deny(why) => {
            deny(view, step, call, format!("denied: in mode {} {why}", settings.mode))
        }
        Verdict::Ask => before_question(view, step, call, &assessment),
    }
}

/// A question may be answered by a hook; then nobody is asked.
fn before_question(view: &View<'_>, step: &OpenStep, call: &Call, assessment: &Assessment) -> Next {
    if let Some(next) = at(view, step, call, HookPoint::BeforePermission) {
        return next;
    }
    let settings = &view.turn.settings;
    match call.hooked.permission {
        Some(choice) => Next::Record(Event::PermissionAnswered(PermissionAnswered {
            call: call.called.call.clone(),
            choice,
            by: AnsweredBy::Hook,
            grants: Vec::new(),
        })),
        None if settings.answers == Answers::Nobody => {
            deny(view, step, call, nobody_words(&settings.mode, call))
        }
        None => ask(view, call, assessment),
    }
}

/// What is to be done with a call under the settings of its turn and what was granted since.
fn verdict(view: &View<'_>, call: &Call, assessment: &Assessment) -> Result<Verdict, UnknownMode> {
    let settings = &view.turn.settings;
    let policy = view.state.spec.modes.policy(&settings.mode)?;
    let rules = [&settings.rules, &view.state.granted];
    Ok(policy.classify(&call.called.name, assessment, &rules))
}

fn nobody_words(mode: &Mode, call: &Call) -> String {
    format!(
        "denied: in mode {} this call needs permission, and nobody is here to give it. It can be allowed beforehand with a rule for `{}` or another mode.",
        mode, call.called.name
    )
}

fn ask(view: &View<'_>, call: &Call, assessment: &Assessment) -> Next {
    let (facts, work, id) = (view.facts, view.work, &call.called.call);
    let detail = match (work.described.get(id), work.describing.get(id)) {
        (Some(detail), _) => detail.clone(),
        (None, None) => return Next::Describe(id.clone()),
        (None, Some(deadline)) if *deadline > facts.now => return Next::Until(*deadline),
        (None, Some(_)) => String::new(),
    };
    Next::Record(Event::PermissionAsked(PermissionAsked {
        call: id.clone(),
        detail: if detail.is_empty() { assessment.title.clone() } else { detail },
        options: options(&call.called.name, &assessment.subject, facts.saves),
        deadline: facts.now.after(facts.limits.permission_ms),
        default: PermissionKind::RejectOnce,
    }))
}

/// A call that may run begins when its turn among the calls of the answer has come and the limit of tool calls lets it.
fn begin(
    view: &View<'_>,
    step: &OpenStep,
    call: &Call,
    (assessment, runs): (&Assessment, Runs),
) -> Next {
    let (facts, id, settings) = (view.facts, &call.called.call, &view.turn.settings);
    if let Some(next) = at(view, step, call, HookPoint::AfterPermission) {
        return next;
    }
    let external = settings.external_tool(&call.called.name);
    let asked = external.and_then(|tool| tool.deadline_ms).unwrap_or(facts.limits.client_call_ms);
    let requested = Event::InputRequested(InputRequested {
        call: id.clone(),
        deadline: facts.now.after(asked),
    });
    if runs == Runs::Client && settings.answers == Answers::Nobody {
        let words = "nobody is here to answer; go on without, and say what you assumed".to_owned();
        return Next::Record(settled(call, Outcome::Failed, words, facts.now));
    }
    // A question to a person does nothing; a tool that a client runs is one as any other.
    if runs == Runs::Client && external.is_none() {
        return Next::Record(requested);
    }
    let earlier = step.calls.iter().take_while(|other| other.called.call != *id);
    let open: Vec<&Call> = earlier.filter(|other| !other.is_settled()).collect();
    let alone = assessment.effect != Effect::Pure;
    let waits = open.iter().any(|other| alone || other.effect() != Effect::Pure);
    if waits || step.running() >= tools_parallel(view) {
        return Next::Blocked;
    }
    let over = |bound: Option<u32>, used: u32| bound.is_some_and(|bound| used >= bound);
    let limits = &settings.limits;
    let [turn, session] = used_with_children(view.state);
    if over(limits.turn.tool_calls, turn.tool_calls)
        || over(limits.session.tool_calls, session.tool_calls)
    {
        return Next::Record(settled(call, Outcome::Cancelled, LIMIT_WORDS.to_owned(), facts.now));
    }
    Next::Record(match runs {
        Runs::Client => requested,
        Runs::Here => Event::ToolStarted(call_ref(id)),
    })
}

/// Tools of one answer that run at the same time.
fn tools_parallel(view: &View<'_>) -> usize {
    let own = view.facts.limits.tools_parallel;
    let wanted = view.turn.settings.turn.max_concurrent_tools;
    wanted.map_or(own, |wanted| own.min((wanted as usize).max(1)))
}

/// Whether the limit of tool calls stopped a call of this step.
pub(crate) fn limit_was_hit(step: &OpenStep) -> bool {
    step.calls.iter().any(|call| match &call.phase {
        CallPhase::Settled(result, Outcome::Cancelled) => result.parts == [Part::text(LIMIT_WORDS)],
        CallPhase::Settled(..)
        | CallPhase::Called
        | CallPhase::Asked(_)
        | CallPhase::Allowed
        | CallPhase::Refused(_)
        | CallPhase::Requested(_)
        | CallPhase::Started => false,
    })
}

/// Settles what is open because the turn stops; nothing when all is settled.
pub(crate) fn stop(view: &View<'_>, step: &OpenStep) -> Option<Step> {
    let (facts, work) = (view.facts, view.work);
    let unannounced = announce(view, step);
    if !unannounced.is_empty() {
        return Some(Step::Record(unannounced));
    }
    let planned = step.calls.iter().map(|call| {
        let id = &call.called.call;
        match (&call.phase, work.tools.get(id)) {
            (CallPhase::Settled(..), _) => Next::Nothing,
            (CallPhase::Asked(asked), _) => {
                Next::Record(Event::PermissionAnswered(PermissionAnswered {
                    call: asked.call.clone(),
                    choice: PermissionKind::RejectOnce,
                    by: AnsweredBy::Cancel,
                    grants: Vec::new(),
                }))
            }
            (CallPhase::Started, Some(running)) => match running.cancelled {
                None => Next::Stop(id.clone()),
                Some(since) if since.after(facts.limits.cancel_grace_ms) <= facts.now => {
                    Next::Abandon(id.clone())
                }
                Some(since) => Next::Until(since.after(facts.limits.cancel_grace_ms)),
            },
            (CallPhase::Started, None) => Next::Record(cut(call, facts.now)),
            (
                CallPhase::Called
                | CallPhase::Allowed
                | CallPhase::Refused(_)
                | CallPhase::Requested(_),
                _,
            ) => Next::Record(settled(
                call,
                Outcome::Cancelled,
                "not run: the turn was stopped".to_owned(),
                facts.now,
            )),
        }
    });
    collect(planned, facts)
}

/// Settles a call whose end nobody saw.
pub(crate) fn cut(call: &Call, now: Timestamp) -> Event {
    if call.effect().may_repeat() {
        let why = match call.effect() {
            Effect::Pure => "it changes nothing, so it can be called again",
            Effect::Idempotent | Effect::Mutating | Effect::Destructive | Effect::Network => {
                "it does no harm to call it again"
            }
        };
        let words = format!("stopped before it was done; {why}");
        return settled(call, Outcome::Cancelled, words, now);
    }
    let words = "it is not known what this call did: it was begun, and its end was not seen. Look before you call it again.";
    settled(call, Outcome::Indeterminate, words.to_owned(), now)
}

/// `tool_settled` in plain words.
pub(crate) fn settled(call: &Call, outcome: Outcome, words: String, now: Timestamp) -> Event {
    settled_as(call, outcome, vec![Part::text(words)], now)
}

fn settled_as(call: &Call, outcome: Outcome, content: Vec<Part>, now: Timestamp) -> Event {
    Event::ToolSettled(ToolSettled {
        call: call.called.call.clone(),
        outcome,
        content,
        blobs: Vec::new(),
        detail: serde_json::Map::new(),
        duration_ms: call.started.map_or(0, |since| now.ms_since(since)),
    })
}

/// Answers of the questions whose deadline has passed.
pub(crate) fn overdue(state: &State, now: Timestamp) -> Vec<Event> {
    let calls = state.turn.iter().flat_map(|turn| &turn.step).flat_map(|step| &step.calls);
    let overdue = calls.filter_map(|call| match &call.phase {
        CallPhase::Asked(asked) if asked.deadline <= now => Some(by_deadline(asked)),
        CallPhase::Asked(_)
        | CallPhase::Called
        | CallPhase::Allowed
        | CallPhase::Refused(_)
        | CallPhase::Requested(_)
        | CallPhase::Started
        | CallPhase::Settled(..) => None,
    });
    overdue.collect()
}

/// The answer to an open question that the answer to another one has given as well.
fn covered(view: &View<'_>, call: &Call, asked: &PermissionAsked) -> Option<Event> {
    if view.state.granted.is_empty() {
        return None;
    }
    let facts = view.facts;
    let (assessment, _) = facts.assessor.assess(&call.called.name, call.arguments()).ok()?;
    let choice = match verdict(view, call, &assessment).ok()? {
        Verdict::Allow => PermissionKind::AllowOnce,
        Verdict::Deny(_) => PermissionKind::RejectOnce,
        Verdict::Ask => return None,
    };
    Some(Event::PermissionAnswered(PermissionAnswered {
        call: asked.call.clone(),
        choice,
        by: AnsweredBy::Grant,
        grants: Vec::new(),
    }))
}

fn by_deadline(asked: &PermissionAsked) -> Event {
    Event::PermissionAnswered(PermissionAnswered {
        call: asked.call.clone(),
        choice: asked.default,
        by: AnsweredBy::Deadline,
        grants: Vec::new(),
    })
}

fn refusal_words(answered: &PermissionAnswered) -> String {
    match answered.by {
        AnsweredBy::Person => "denied: the user refused this call".to_owned(),
        AnsweredBy::Hook => "denied: a hook refused this call".to_owned(),
        AnsweredBy::Grant => "denied: the user refused calls like this one".to_owned(),
        AnsweredBy::Deadline => {
            "denied: nobody answered the permission question in time".to_owned()
        }
        AnsweredBy::Cancel => {
            "denied: the turn was stopped before the question was answered".to_owned()
        }
    }
}
