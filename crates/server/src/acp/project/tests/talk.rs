//! What is said, and what is told beside it.

use oarlock_core::event::{
    AgentEvent, AssistantMessage, CompactionCause, ContextCompacted, Delivery, Event, Failure,
    GoalReached, HookChange, HookControl, HookPoint, HookRan, InputAdmitted, InputRef, InputSource,
    ModelFailed, ModelReplaced, Reserved, StepStarted, StopReason, SummaryFailed, SummaryStarted,
    TaskKind, TaskOutcome, TaskSettled, TaskStarted, TurnEnded, TurnStarted,
};
use oarlock_core::ids::{Seq, TaskId};
use oarlock_core::message::{Part, ReplyStop, Usage};
use oarlock_core::ports::model::ModelErrorKind;
use oarlock_core::spec::{LimitKind, ModelSelection, SettingsChange};
use serde_json::{Value, json};

use super::{Projector, caught_up, entry, projector, shown};

fn admitted(source: InputSource, parts: &[&str]) -> Event {
    let content = parts.iter().map(|words| Part::text(*words)).collect();
    let delivery = Delivery::Queue;
    Event::InputAdmitted(InputAdmitted {
        key: None,
        source,
        delivery,
        content,
        goal: None,
        output: None,
        peer: None,
    })
}

fn turn(inputs: Vec<Seq>) -> Event {
    let settings = oarlock_testkit::kit::settings();
    Event::TurnStarted(Box::new(TurnStarted { inputs, settings: settings.into() }))
}

fn user(id: &str, text: &str) -> Value {
    let content = json!({ "type": "text", "text": text });
    json!({ "sessionUpdate": "user_message_chunk", "messageId": id, "content": content })
}

#[test]
fn an_input_is_shown_when_a_turn_takes_it() {
    let mut projector = projector();
    assert!(shown(&mut projector, &entry(5, admitted(InputSource::User, &["hi"]))).is_empty());
    assert!(shown(&mut projector, &entry(6, admitted(InputSource::User, &["and"]))).is_empty());
    assert_eq!(shown(&mut projector, &entry(7, turn(vec![5]))), [user("u5", "hi")]);
    let step = Event::StepStarted(StepStarted {
        step: 1,
        inputs: vec![6],
        request: Default::default(),
        prefix_break: None,
        fixed_tokens: None,
        reserved: Default::default(),
    });
    assert_eq!(shown(&mut projector, &entry(8, step)), [user("u6", "and")]);
}

#[test]
fn what_no_person_wrote_is_not_shown_as_a_persons_words() {
    for (event, kept) in [
        (admitted(InputSource::User, &["hi"]), vec!["hi"]),
        (
            admitted(
                InputSource::User,
                &["see [@a](file:///a)", "<context ref=\"file:///a\">\nx\n</context>"],
            ),
            vec!["see [@a](file:///a)"],
        ),
        (admitted(InputSource::User, &["@a", "File a:\nx", "[hint] y", "z"]), vec!["@a", "z"]),
        (admitted(InputSource::Background, &["done"]), vec![]),
        (admitted(InputSource::Hook, &["do"]), vec![]),
        (admitted(InputSource::External, &["do"]), vec![]),
    ] {
        let mut projector = projector();
        shown(&mut projector, &entry(5, event));
        let kept: Vec<Value> = kept.into_iter().map(|text| user("u5", text)).collect();
        assert_eq!(shown(&mut projector, &entry(6, turn(vec![5]))), kept);
    }
}

#[test]
fn withdrawn_and_own_inputs_are_not_shown() {
    let mut projector = projector();
    shown(&mut projector, &entry(5, admitted(InputSource::User, &["hi"])));
    shown(&mut projector, &entry(6, Event::InputWithdrawn(InputRef { input: 5 })));
    projector.is_own(7);
    shown(&mut projector, &entry(7, admitted(InputSource::User, &["mine"])));
    assert!(shown(&mut projector, &entry(8, turn(vec![5, 7]))).is_empty());
}

fn answered(tokens: u64, cost_micros: Option<u64>) -> Event {
    Event::AssistantMessage(AssistantMessage {
        step: 1,
        attempt: 1,
        model: "m".to_owned(),
        blocks: Vec::new(),
        stop: ReplyStop::EndTurn,
        usage: Usage { input: tokens, output: 10, ..Usage::default() },
        cost_micros,
        partial: false,
        schema_warnings: Vec::new(),
    })
}

#[test]
fn usage_and_title_are_told_live_as_they_change_and_after_loading_once() {
    let title = |title: &str| {
        let (kind, at) = ("session_info_update", "1970-01-01T00:00:00.000Z");
        json!({ "sessionUpdate": kind, "title": title, "updatedAt": at })
    };
    let usage = |used: u64, cost: Option<f64>| {
        let mut usage = json!({ "sessionUpdate": "usage_update", "used": used, "size": 1_000 });
        if let Some(amount) = cost {
            usage["cost"] = json!({ "amount": amount, "currency": "USD" });
        }
        usage
    };
    let renamed = SettingsChange { title: Some("named".to_owned()), ..SettingsChange::default() };
    let events = [
        (admitted(InputSource::User, &["first words\nmore"]), vec![title("first words")]),
        (turn(vec![]), vec![]),
        (answered(100, Some(1_500)), vec![usage(110, Some(0.0015))]),
        (Event::SessionConfigured(Box::new(renamed)), vec![title("named")]),
        (admitted(InputSource::User, &["second"]), vec![]),
        (answered(200, None), vec![usage(210, None)]),
    ];
    let (mut live, mut loaded) = (projector(), projector());
    assert!(shown(&mut live, &caught_up()).is_empty());
    for (seq, (event, told)) in (2..).zip(events) {
        assert_eq!(shown(&mut live, &entry(seq, event.clone())), told);
        assert!(shown(&mut loaded, &entry(seq, event)).is_empty());
    }
    assert_eq!(shown(&mut loaded, &caught_up()), [title("named"), usage(210, None)]);
}

fn ended(stop: StopReason) -> Event {
    let error = Some(Failure { message: "why".to_owned(), output: None });
    Event::TurnEnded(TurnEnded {
        stop,
        usage: Usage::default(),
        cost_micros: None,
        steps: 1,
        error,
        structured_output: None,
    })
}

fn model_failed(retry_in_ms: Option<u64>) -> Event {
    Event::ModelFailed(ModelFailed {
        step: 1,
        attempt: 1,
        class: ModelErrorKind::Overloaded,
        message: "busy".to_owned(),
        retry_in_ms,
        usage: Usage::default(),
        cost_micros: None,
    })
}

fn model_replaced() -> Event {
    let named = |name: &str| ModelSelection { provider: "p".to_owned(), model: name.to_owned() };
    Event::ModelReplaced(Box::new(ModelReplaced {
        step: Some(1),
        from: named("m"),
        to: named("n"),
        class: ModelErrorKind::Overloaded,
        why: "busy".to_owned(),
        skipped: Vec::new(),
        request: None,
        prefix_break: None,
        reserved: Reserved::default(),
    }))
}

fn hook_ran(change: HookChange) -> Event {
    Event::HookRan(Box::new(HookRan {
        point: HookPoint::BeforeIngest,
        step: None,
        call: None,
        input: Some(5),
        hooks: vec!["guard".to_owned()],
        change,
        effect: None,
        usage: Usage::default(),
        cost_micros: None,
        cost_unknown: false,
        lost: false,
    }))
}

fn task(no: u32) -> TaskId {
    TaskId::numbered(no)
}

fn task_ended(outcome: TaskOutcome) -> Event {
    Event::TaskSettled(TaskSettled { task: task(1), outcome, blobs: Vec::new(), duration_ms: 5 })
}

/// What is told beside the conversation, by what happens.
fn notices() -> Vec<(Event, Option<[&'static str; 3]>)> {
    let started = Event::TaskStarted(TaskStarted {
        task: task(1),
        work: TaskKind::Work,
        label: "make".to_owned(),
        call: None,
    });
    let control = Some(HookControl::Break { stop: None });
    let reason = Some("no secrets".to_owned());
    let lost = "bg-1 was lost: its process ended, and nobody knows how far it came";
    let cut = "The turn was cut by the end of its process, and not continued";
    vec![
        (
            model_failed(Some(1_500)),
            Some(["warning", "The model failed; it is asked again in 2 s", "busy"]),
        ),
        (model_failed(None), Some(["error", "The model failed", "busy"])),
        (model_replaced(), Some(["warning", "p/n answers in the place of p/m", "busy"])),
        (
            ended(StopReason::Limit(LimitKind::Steps)),
            Some(["warning", "Stopped: the limit of steps is reached", "why"]),
        ),
        (ended(StopReason::Interrupted), Some(["warning", cut, "why"])),
        (ended(StopReason::EndTurn), None),
        (
            hook_ran(HookChange { control, reason, ..HookChange::default() }),
            Some(["warning", "Hook guard stopped an input", "no secrets"]),
        ),
        (hook_ran(HookChange::default()), None),
        (started.clone(), Some(["info", "bg-1 runs in the background", "make"])),
        (task_ended(TaskOutcome::Completed), Some(["info", "bg-1 is done", "make"])),
        (started.clone(), Some(["info", "bg-1 runs in the background", "make"])),
        (task_ended(TaskOutcome::Failed), Some(["warning", "bg-1 failed", "make"])),
        (started.clone(), Some(["info", "bg-1 runs in the background", "make"])),
        (task_ended(TaskOutcome::Canceled), Some(["info", "bg-1 was cancelled", "make"])),
        (started, Some(["info", "bg-1 runs in the background", "make"])),
        (task_ended(TaskOutcome::Lost), Some(["warning", lost, "make"])),
        (
            Event::GoalReached(GoalReached { summary: "s".to_owned() }),
            Some(["info", "The goal is reached", "s"]),
        ),
        (
            admitted(InputSource::External, &["news"]),
            Some(["info", "A message came from outside", "news"]),
        ),
    ]
}

fn is_notice(update: &Value) -> bool {
    update["sessionUpdate"] == "notice"
}

#[test]
fn what_a_person_should_know_is_told_while_it_happens() {
    let mut projector = projector();
    shown(&mut projector, &caught_up());
    for (seq, (event, told)) in (2..).zip(notices()) {
        let mut updates = shown(&mut projector, &entry(seq, event.clone()));
        updates.retain(is_notice);
        let told = told.map(|[severity, title, description]| {
            let kind = "notice";
            json!({ "sessionUpdate": kind, "severity": severity, "title": title, "description": description })
        });
        assert_eq!(updates, Vec::from_iter(told), "{event:?}");
    }
}

fn summaries() -> [Event; 4] {
    let started = Event::SummaryStarted(SummaryStarted {
        cause: CompactionCause::Hard,
        dropped: 3,
        instructions: None,
        reserved: Default::default(),
    });
    let failed = Event::SummaryFailed(SummaryFailed {
        cause: CompactionCause::Hard,
        why: "too long".to_owned(),
        retry_in_ms: None,
        usage: Usage::default(),
        cost_micros: None,
    });
    let compacted = Event::ContextCompacted(ContextCompacted {
        cause: CompactionCause::Hard,
        dropped: 3,
        content: vec![Part::text("kept"), Part::text("summary")],
        pinned: 1,
        tokens_before: 900,
        tokens_after: 90,
        usage: Usage::default(),
        cost_micros: None,
    });
    [started.clone(), failed, started, compacted]
}

#[test]
fn a_summary_is_shown_from_its_beginning_to_its_end() {
    let mut projector = projector();
    let told: Vec<Value> = (5..)
        .zip(summaries())
        .flat_map(|(seq, event)| shown(&mut projector, &entry(seq, event)))
        .collect();
    let update = |id: &str, status: &str| json!({ "sessionUpdate": "compaction_update", "compactionId": id, "status": status });
    let (mut failed, mut done) = (update("c5", "failed"), update("c7", "completed"));
    failed["error"] = json!("too long");
    done["summary"] = json!([{ "type": "text", "text": "summary" }]);
    assert_eq!(told, [update("c5", "in_progress"), failed, update("c7", "in_progress"), done]);
}

#[test]
fn a_client_that_cannot_show_it_is_sent_neither_notices_nor_summaries() {
    let mut projector = projector();
    (projector.view.notices, projector.view.compaction) = (false, false);
    shown(&mut projector, &caught_up());
    let events = notices().into_iter().map(|(event, _)| event).chain(summaries());
    for (seq, event) in (2..).zip(events) {
        for update in shown(&mut projector, &entry(seq, event)) {
            let kind = update["sessionUpdate"].as_str().unwrap();
            assert!(matches!(kind, "session_info_update" | "usage_update"), "{update}");
        }
    }
}

#[test]
fn what_is_told_once_is_not_told_again_to_who_loads() {
    let mut projector: Projector = projector();
    for (seq, (event, _)) in (2..).zip(notices()) {
        assert!(!shown(&mut projector, &entry(seq, event)).iter().any(is_notice));
    }
}

fn said(attempt: u32, offset: u64, text: &str) -> AgentEvent {
    let item = oarlock_core::event::DeltaItem::Text { block: 0 };
    let text = text.to_owned();
    AgentEvent::Delta(oarlock_core::event::Delta { turn: 1, step: 1, attempt, item, offset, text })
}

#[test]
fn an_attempt_that_failed_is_ended_in_words_where_another_follows() {
    for (retry, told) in [(Some(10), vec!["\n\n[this answer broke off]\n\n"]), (None, vec![])] {
        let mut projector = projector();
        shown(&mut projector, &said(1, 0, "so f"));
        let mut updates = shown(&mut projector, &entry(3, model_failed(retry)));
        updates.retain(|update| update["sessionUpdate"] == "agent_message_chunk");
        let words: Vec<&Value> = updates.iter().map(|update| &update["content"]["text"]).collect();
        assert_eq!(words, told);
        assert!(updates.iter().all(|update| update["messageId"] == "m1.1.1"));
        let again = shown(&mut projector, &said(2, 0, "so far"));
        assert_eq!(
            json!([again[0]["messageId"], again[0]["content"]["text"]]),
            json!(["m1.1.2", "so far"])
        );
    }
}

#[test]
fn an_attempt_is_ended_in_words_where_another_model_takes_over() {
    let mut projector = projector();
    shown(&mut projector, &said(1, 0, "so f"));
    shown(&mut projector, &entry(3, model_failed(None)));
    let mut updates = shown(&mut projector, &entry(4, model_replaced()));
    updates.retain(|update| update["sessionUpdate"] == "agent_message_chunk");
    let told = json!([updates[0]["messageId"], updates[0]["content"]["text"]]);
    assert_eq!(told, json!(["m1.1.1", "\n\n[this answer broke off]\n\n"]));
}
