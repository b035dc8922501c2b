//! What every told life must hold. Each check names the law it is about and panics where it is broken.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use oarlock_core::event::{Entry, Event, PrefixBreak, StepStarted, StopReason};
use oarlock_core::ids::{CallId, Seq, TurnNo};
use oarlock_core::message::{Block, Content, Message, Part};
use oarlock_core::session::state::State;
use oarlock_core::session::summary::summary;
use oarlock_core::spec::LimitKind;

use crate::story::{Story, Told, goals};

/// Milliseconds from a cancel to the end of its turn.
const CANCEL_MAX_MS: u64 = 250;

/// Every law that a single life can show.
///
/// # Panics
/// Where the life breaks one.
pub fn hold(story: &Story, told: &Told) {
    assert!(told.rested, "law 6: the session does not come to rest by itself");
    one_truth(told);
    told_after_commit(told);
    turns_are_whole(&told.entries);
    calls_are_whole(&told.entries);
    effects_are_announced(told);
    inputs_are_taken_once(&told.entries);
    limits_hold(story, &told.entries);
    summaries_end(&told.entries);
    goals::hold(&told.entries);
    reserves_are_within_limits(&told.entries);
    for request in &told.requests {
        conversation(&request.messages);
    }
    prefixes_are_kept(told);
    if story.faults == 0 {
        cancels_are_quick(told);
        no_crash_of_its_own(told);
    }
}

fn fold(entries: &[Entry]) -> State {
    let mut state = State::created(&entries[0]).expect("a journal begins with its session");
    for entry in &entries[1..] {
        state.apply(entry).expect("law 1: every entry can follow what came before it");
    }
    state
}

/// Law 1: what the session showed while it lived is the fold of its journal: each request to the model, and what lists say.
fn one_truth(told: &Told) {
    let entries = &told.entries;
    let seqs: Vec<Seq> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (1..=entries.len() as Seq).collect::<Vec<_>>(), "law 1: no gaps");
    let mut state = State::created(&entries[0]).expect("a journal begins with its session");
    let mut steps = Vec::new();
    for entry in &entries[1..] {
        state.apply(entry).expect("law 1: every entry can follow what came before it");
        if matches!(entry.event, Event::StepStarted(_)) {
            steps.push(Arc::clone(&state.conversation.messages));
        }
    }
    let mut steps = steps.into_iter().peekable();
    for request in &told.requests {
        while steps.peek().is_some_and(|folded| *folded != request.messages) {
            steps.next();
        }
        assert!(
            steps.peek().is_some(),
            "law 1: a request that no fold gives: {:?}",
            request.messages
        );
    }
    assert_eq!(told.state, state, "law 1: a checkpoint changes nothing");
    if let Some(listed) = &told.summary {
        let upto = usize::try_from(listed.upto).expect("a test has few entries");
        assert_eq!(*listed, summary(&fold(&entries[..upto])), "law 1: lists show the fold");
    }
}

/// Laws 2 and 7: a subscriber gets every entry once, in order, as it is stored, and not before it is stored.
fn told_after_commit(told: &Told) {
    let heard: Vec<&Entry> = told.heard.iter().map(|(entry, _)| entry.as_ref()).collect();
    let stored: Vec<&Entry> = told.entries.iter().collect();
    assert_eq!(heard, stored, "law 7: a subscriber is given the journal");
    for seq in &told.admitted {
        let entry = seq.checked_sub(1).and_then(|at| told.entries.get(at as usize));
        let there = entry.is_some_and(|entry| matches!(entry.event, Event::InputAdmitted(_)));
        assert!(there, "law 2: input {seq} was promised and is not stored");
    }
    for (entry, stored) in &told.heard {
        assert!(entry.seq <= *stored, "law 2: {entry:?} was told before it was stored");
    }
}

/// Law 4: a turn ends once, with its last entry.
fn turns_are_whole(entries: &[Entry]) {
    let (mut open, mut last): (Option<TurnNo>, TurnNo) = (None, 0);
    for entry in entries {
        match &entry.event {
            Event::TurnStarted(_) => {
                assert_eq!(open, None, "law 4: one turn at a time");
                assert_eq!(entry.turn, Some(last + 1), "law 4: turns are numbered");
                (open, last) = (entry.turn, last + 1);
            }
            Event::TurnEnded(_) => {
                assert_eq!(entry.turn, open, "law 4: an end belongs to the open turn");
                open = None;
            }
            _ => assert!(
                entry.turn.is_none() || entry.turn == open,
                "law 4: after its end: {entry:?}"
            ),
        }
    }
    assert_eq!(open, None, "law 4: every turn ends");
}

/// Law 3: called, then maybe asked and answered, then maybe started, then settled: each once.
fn calls_are_whole(entries: &[Entry]) {
    let mut phases: HashMap<&CallId, Vec<&'static str>> = HashMap::new();
    for entry in entries {
        let (call, phase) = match &entry.event {
            Event::ToolCalled(called) => (&called.call, "called"),
            Event::ToolStarted(call) => (&call.call, "started"),
            Event::ToolSettled(settled) => (&settled.call, "settled"),
            Event::PermissionAnswered(answered) if answered.choice.allows() => {
                (&answered.call, "allowed")
            }
            Event::PermissionAnswered(answered) => (&answered.call, "refused"),
            _ => continue,
        };
        phases.entry(call).or_default().push(phase);
    }
    let asked = entries.iter().filter_map(|entry| match &entry.event {
        Event::AssistantMessage(message) => Some(calls_of(&message.blocks)),
        _ => None,
    });
    let mut asked: Vec<CallId> = asked.flatten().collect();
    for (call, phases) in &phases {
        let known: [&[&str]; 5] = [
            &["called", "settled"],
            &["called", "started", "settled"],
            &["called", "allowed", "settled"],
            &["called", "allowed", "started", "settled"],
            &["called", "refused", "settled"],
        ];
        assert!(known.contains(&phases.as_slice()), "law 3: {call} was {phases:?}");
    }
    let mut called: Vec<CallId> = phases.into_keys().cloned().collect();
    called.sort();
    asked.sort();
    assert_eq!(
        called, asked,
        "law 3: every call of an answer is announced, under an id of its own"
    );
}

/// Law 3: nothing was run that the journal does not show as started, and nothing was run twice that must not be.
fn effects_are_announced(told: &Told) {
    let started: HashSet<&CallId> = told
        .entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::ToolStarted(call) => Some(&call.call),
            _ => None,
        })
        .collect();
    let mut ran = HashSet::new();
    for (call, effect) in &told.ran {
        assert!(started.contains(call), "law 3: {call} was run and not announced");
        assert!(
            ran.insert(call) || effect.may_repeat(),
            "law 3: {call} ({effect:?}) was run twice"
        );
    }
}

/// An input is taken by one turn or withdrawn; once each.
fn inputs_are_taken_once(entries: &[Entry]) {
    let mut open: HashSet<Seq> = HashSet::new();
    for entry in entries {
        let gone = match &entry.event {
            Event::InputAdmitted(_) => {
                open.insert(entry.seq);
                continue;
            }
            Event::InputWithdrawn(input) => vec![input.input],
            Event::TurnStarted(started) => started.inputs.clone(),
            Event::StepStarted(started) => started.inputs.clone(),
            _ => continue,
        };
        for input in gone {
            assert!(open.remove(&input), "input {input} is taken twice");
        }
    }
    assert!(open.is_empty(), "inputs are lost: {open:?}");
}

/// What a limit bounds is not exceeded: steps and calls exactly, tokens and money for a model that keeps to its own bound.
fn limits_hold(story: &Story, entries: &[Entry]) {
    let (mut settings, mut steps, mut calls) = (Arc::new(story.settings.clone()), 0_u32, 0_u32);
    for entry in entries {
        match &entry.event {
            Event::TurnStarted(started) => {
                (settings, steps, calls) = (started.settings.clone(), 0, 0);
            }
            Event::AssistantMessage(_) => steps += 1,
            Event::ToolStarted(_) => calls += 1,
            Event::TurnEnded(ended) => {
                let bounds = &settings.limits.turn;
                assert!(bounds.steps.is_none_or(|max| steps <= max), "{steps} steps of {bounds:?}");
                assert!(bounds.tool_calls.is_none_or(|max| calls <= max), "{calls} of {bounds:?}");
                let unbounded = settings.limits == oarlock_core::Limits::default();
                let limited = matches!(ended.stop, StopReason::Limit(LimitKind::Steps));
                assert!(!(unbounded && limited), "a limit that nobody set: {ended:?}");
            }
            _ => {}
        }
    }
}

fn calls_of(blocks: &[Block]) -> Vec<CallId> {
    let calls = blocks.iter().filter_map(|block| match &block.content {
        Content::ToolCall { id, .. } => Some(id.clone()),
        Content::Text { .. } | Content::Thinking { .. } | Content::Opaque { .. } => None,
    });
    calls.collect()
}

/// Law 3, for models: the rules of [`Message`], and nothing empty.
///
/// # Panics
/// When the conversation breaks them.
pub fn conversation(messages: &[Message]) {
    assert!(matches!(messages.first(), Some(Message::User { .. })), "it starts with the user");
    for (at, message) in messages.iter().enumerate() {
        match message {
            Message::User { parts } => assert!(!parts.iter().all(Part::is_blank), "an empty input"),
            Message::Assistant { blocks } => {
                assert!(
                    blocks.iter().any(Block::can_be_replayed),
                    "an answer that says nothing: {blocks:?}"
                );
                let asked = calls_of(blocks);
                let answered = match messages.get(at + 1) {
                    Some(Message::Tool { results }) => {
                        results.iter().map(|result| result.call.clone()).collect()
                    }
                    Some(Message::User { .. } | Message::Assistant { .. }) | None => Vec::new(),
                };
                assert_eq!(answered, asked, "each call is answered right after, in call order");
            }
            Message::Tool { results } => {
                assert!(!results.is_empty(), "results of nothing");
                let before = &messages[at - 1];
                assert!(matches!(before, Message::Assistant { .. }), "results after {before:?}");
            }
        }
    }
}

/// Law 9: each request goes on where the one before ended, unless its step declares what broke the prefix, and why.
fn prefixes_are_kept(told: &Told) {
    let edits = told.entries.iter().filter(|entry| forgets(&entry.event)).count();
    let mut changed = 0;
    for pair in told.requests.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        changed += usize::from(!after.messages.starts_with(&before.messages));
        assert_eq!(before.system, after.system, "law 9: the system prompt was changed");
        assert_eq!(before.tools, after.tools, "law 9: the tools were changed");
    }
    assert!(changed <= edits, "law 9: history was changed and no entry says so");
    let (mut steps, mut edited): (Vec<&StepStarted>, Option<PrefixBreak>) = (Vec::new(), None);
    let mut before: Option<&str> = None;
    for entry in &told.entries {
        edited = breaks(&entry.event).or(edited);
        let (request, declared) = match &entry.event {
            Event::StepStarted(started) => {
                steps.push(started);
                (&started.request, started.prefix_break)
            }
            Event::ModelReplaced(replaced) => match &replaced.request {
                Some(request) => (request, replaced.prefix_break),
                None => continue,
            },
            _ => continue,
        };
        let wanted = before.and_then(|before| {
            let other = before != request.model;
            other.then_some(PrefixBreak::Model).or(edited)
        });
        assert_eq!(declared, wanted, "law 9: a break is declared where one is");
        (before, edited) = (Some(request.model.as_str()), None);
    }
    fingerprints_differ(told, &steps);
}

fn forgets(event: &Event) -> bool {
    breaks(event).is_some()
}

fn breaks(event: &Event) -> Option<PrefixBreak> {
    match event {
        Event::ContextCleared(_) => Some(PrefixBreak::Cleared),
        Event::ContextCompacted(_) => Some(PrefixBreak::Compacted),
        Event::HistoryEdited(_) => Some(PrefixBreak::History),
        _ => None,
    }
}

/// What was settled and what is set aside for the next call are never more than a limit, in tokens and in money.
fn reserves_are_within_limits(entries: &[Entry]) {
    let mut state = State::created(&entries[0]).expect("a journal begins with its session");
    for entry in &entries[1..] {
        state.apply(entry).expect("law 1: every entry can follow what came before it");
        let (reserved, turn) = match (&entry.event, &state.turn) {
            (Event::StepStarted(started), Some(turn)) => (started.reserved, turn),
            (Event::ModelReplaced(replaced), Some(turn)) => (replaced.reserved, turn),
            _ => continue,
        };
        let limits = &turn.settings.limits;
        for (bounds, used) in [(&limits.turn, &turn.used), (&limits.session, &state.used)] {
            let tokens = reserved.prompt_tokens + reserved.output_tokens.unwrap_or(0);
            let summary = state.summary.as_ref().map(|open| open.reserved).unwrap_or_default();
            let tokens = tokens + summary.prompt_tokens + summary.output_tokens.unwrap_or(0);
            let tokens = used.usage.total() + tokens;
            assert!(bounds.tokens.is_none_or(|max| tokens <= max), "{tokens} of {bounds:?}");
            let money = reserved.prompt_micros.unwrap_or(0) + reserved.output_micros.unwrap_or(0);
            let money =
                money + summary.prompt_micros.unwrap_or(0) + summary.output_micros.unwrap_or(0);
            let money = used.cost_micros + money;
            assert!(bounds.cost_micros.is_none_or(|max| money <= max), "{money} of {bounds:?}");
        }
    }
}

/// Laws 3 and 6, for summaries: each is announced before it is asked for, and ends once; what is forgotten makes the request smaller.
fn summaries_end(entries: &[Entry]) {
    let mut open = false;
    for entry in entries {
        match &entry.event {
            Event::SummaryStarted(_) => {
                assert!(!open, "law 3: one summary at a time");
                open = true;
            }
            Event::SummaryFailed(_) => {
                assert!(open, "law 3: a summary failed that was not begun");
                open = false;
            }
            Event::ContextCompacted(compacted) => {
                open = false;
                assert!(compacted.tokens_after < compacted.tokens_before, "{compacted:?}");
            }
            Event::ContextCleared(cleared) => {
                assert!(cleared.tokens_after < cleared.tokens_before, "{cleared:?}");
            }
            _ => {}
        }
    }
    assert!(!open, "law 6: a summary never ends");
}

/// Two requests with different messages have different fingerprints.
fn fingerprints_differ(told: &Told, steps: &[&StepStarted]) {
    let mut state = State::created(&told.entries[0]).expect("a journal begins with its session");
    let mut folded = Vec::new();
    for entry in &told.entries[1..] {
        state.apply(entry).expect("law 1: every entry can follow what came before it");
        if matches!(entry.event, Event::StepStarted(_)) {
            folded.push(Arc::clone(&state.conversation.messages));
        }
    }
    for (pair, steps) in folded.windows(2).zip(steps.windows(2)) {
        let (same, prints) =
            (pair[0] == pair[1], (&steps[0].request.messages, &steps[1].request.messages));
        assert_eq!(same, prints.0 == prints.1, "a fingerprint tells requests apart");
    }
}

/// Law 6: a session that was not let go had its process killed; it never dies of what a model or a tool does.
fn no_crash_of_its_own(told: &Told) {
    let claimed_from_the_dead = told.entries.windows(2).filter(|pair| {
        matches!(pair[1].event, Event::WriterChanged(_))
            && !matches!(pair[0].event, Event::WriterReleased)
    });
    assert!(claimed_from_the_dead.count() <= told.deaths, "law 6: the session's task died");
}

/// Law 6: a cancel ends its turn within the bound, unless its process died meanwhile.
fn cancels_are_quick(told: &Told) {
    for (turn, at) in &told.cancelled {
        let after = told.entries.iter().filter(|entry| entry.at >= *at);
        let mut moved = false;
        for entry in after {
            moved |= matches!(entry.event, Event::WriterChanged(_));
            if entry.turn == Some(*turn) && matches!(entry.event, Event::TurnEnded(_)) && !moved {
                let took = entry.at.ms_since(*at);
                assert!(took <= CANCEL_MAX_MS, "law 6: a cancel took {took} ms");
            }
        }
    }
}
