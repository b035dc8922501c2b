//! What entries and deltas look like on a terminal, and the code a turn ends with.

use oarlock::core::event::{
    AgentEvent, AssistantMessage, CallRef, Delta, DeltaItem, Effect, Entry, Event, FailureClass,
    ModelFailed, Outcome, PermissionAsked, PermissionKind, PermissionOption, StopReason,
    ToolCalled, ToolSettled, TurnEnded,
};
use oarlock::core::ids::{CallId, Timestamp};
use oarlock::core::message::{Block, Content, Part, ReplyStop, Usage};
use oarlock::core::ports::clock::{Ids, SystemIds};
use oarlock::core::ports::model::ModelErrorKind;
use oarlock::core::spec::{LimitKind, ModelSelection};
use oarlock::exit::Exit;
use oarlock::terminal::activity::Activity;
use oarlock::terminal::answer::{Answer, Rendering, rendering};
use oarlock::terminal::{json_lines, permission};

fn entry(event: Event) -> Entry {
    Entry { seq: 1, at: Timestamp::from_unix_ms(0), turn: Some(1), scope: vec![], event }
}

fn ended(stop: StopReason) -> TurnEnded {
    TurnEnded {
        stop,
        usage: Usage::default(),
        cost_micros: None,
        steps: 1,
        error: None,
        structured_output: None,
    }
}

fn call() -> CallId {
    CallId("c1".into())
}

fn called(title: &str) -> Entry {
    let (name, arguments) = ("bash".to_owned(), "{}".to_owned());
    let effect = Effect::Destructive;
    entry(Event::ToolCalled(ToolCalled {
        call: call(),
        step: 1,
        name,
        arguments,
        effect,
        title: title.into(),
    }))
}

fn settled(outcome: Outcome, text: &str, duration_ms: u64) -> Entry {
    let content = vec![Part::text(text)];
    let detail = serde_json::Map::new();
    entry(Event::ToolSettled(ToolSettled {
        call: call(),
        outcome,
        content,
        blobs: vec![],
        detail,
        duration_ms,
    }))
}

fn message(texts: &[&str]) -> Entry {
    let block =
        |text: &&str| Block { content: Content::Text { text: (*text).into() }, native: None };
    entry(Event::AssistantMessage(AssistantMessage {
        step: 1,
        attempt: 1,
        model: "m".into(),
        blocks: texts.iter().map(block).collect(),
        stop: ReplyStop::EndTurn,
        usage: Usage::default(),
        cost_micros: None,
        partial: false,
        schema_warnings: Vec::new(),
    }))
}

fn failed_attempt() -> Entry {
    let class = ModelErrorKind::RateLimited;
    entry(Event::ModelFailed(ModelFailed {
        step: 1,
        attempt: 1,
        class,
        message: "slow down".into(),
        retry_in_ms: Some(1_500),
        usage: Usage::default(),
        cost_micros: None,
    }))
}

fn delta(block: u32, offset: u64, text: &str) -> Delta {
    Delta {
        turn: 1,
        step: 1,
        attempt: 1,
        item: DeltaItem::Text { block },
        offset,
        text: text.into(),
    }
}

#[test]
fn a_turn_ends_with_the_code_of_its_end_and_4_only_when_denied_last() {
    let settles = |outcome| settled(outcome, "", 0);
    let end = |stop| entry(Event::TurnEnded(ended(stop)));
    let table = [
        (vec![end(StopReason::EndTurn)], Some(Exit::Done)),
        (vec![settles(Outcome::Denied), end(StopReason::EndTurn)], Some(Exit::Denied)),
        (
            vec![settles(Outcome::Denied), settles(Outcome::Completed), end(StopReason::EndTurn)],
            Some(Exit::Done),
        ),
        (
            vec![settles(Outcome::Denied), end(StopReason::Limit(LimitKind::Steps))],
            Some(Exit::Limit),
        ),
        (vec![end(StopReason::MaxTokens)], Some(Exit::MaxTokens)),
        (vec![end(StopReason::Refusal)], Some(Exit::Refusal)),
        (vec![end(StopReason::Cancelled)], Some(Exit::Cancelled)),
        (vec![end(StopReason::Interrupted)], Some(Exit::Error)),
        (vec![end(StopReason::Failed(FailureClass::Internal))], Some(Exit::Error)),
        (vec![settles(Outcome::Denied)], None),
    ];
    for (entries, expected) in table {
        assert_eq!(Exit::of_entries(&entries), expected, "{entries:?}");
    }
    let mut child = settles(Outcome::Denied);
    child.scope = vec!["helper".into()];
    assert_eq!(Exit::of_entries(&[child, end(StopReason::EndTurn)]), Some(Exit::Done));
}

#[test]
fn tools_are_told_in_short_lines_that_cannot_steer_the_terminal() {
    let started = entry(Event::ToolStarted(CallRef { call: call() }));
    let table = [
        (settled(Outcome::Completed, "", 1_234), "✓ bash: [31mrm (1.2s)"),
        (settled(Outcome::Completed, "", 12), "✓ bash: [31mrm (12ms)"),
        (settled(Outcome::Completed, "", 61_000), "✓ bash: [31mrm (1m01s)"),
        (settled(Outcome::Failed, "\nno such file\nmore", 1), "✗ bash: [31mrm (1ms): no such file"),
        (settled(Outcome::Denied, "", 0), "✗ denied: bash: [31mrm"),
        (settled(Outcome::Cancelled, "", 0), "✗ cancelled: bash: [31mrm"),
        (settled(Outcome::Indeterminate, "", 0), "? may have happened: bash: [31mrm"),
        (started, "→ bash: [31mrm"),
        (failed_attempt(), "! slow down; trying again in 1.5s"),
        (
            entry(Event::TurnEnded(ended(StopReason::Limit(LimitKind::Cost)))),
            "✗ the limit of cost was reached",
        ),
    ];
    for (event, expected) in table {
        let mut activity = Activity::default();
        assert_eq!(activity.line(&called("bash: \x1b[31mrm")), None);
        assert_eq!(activity.line(&event).as_deref(), Some(expected));
    }
    let mut nested = settled(Outcome::Completed, "", 1);
    nested.scope = vec!["helper".into()];
    assert_eq!(Activity::default().line(&nested).as_deref(), Some("  ✓ tool (1ms)"));
}

enum Seen {
    Delta(Delta),
    Entry(Entry),
}

fn written(rendering: Rendering, events: &[Seen]) -> String {
    let (mut answer, mut out) = (Answer::new(rendering), Vec::new());
    for event in events {
        match event {
            Seen::Delta(delta) => answer.delta(&mut out, delta).unwrap(),
            Seen::Entry(entry) => answer.entry(&mut out, entry).unwrap(),
        }
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn an_answer_is_written_once_whatever_deltas_arrive() {
    let whole = || Seen::Entry(message(&["héllo world", "bye"]));
    let table: [Vec<Seen>; 5] = [
        vec![whole()],
        vec![Seen::Delta(delta(0, 0, "hé")), Seen::Delta(delta(0, 3, "llo")), whole()],
        vec![Seen::Delta(delta(0, 0, "hé")), Seen::Delta(delta(0, 0, "héll")), whole()],
        vec![Seen::Delta(delta(0, 0, "hé")), Seen::Delta(delta(0, 7, "world")), whole()],
        vec![Seen::Delta(delta(0, 0, "héllo world")), Seen::Delta(delta(1, 0, "b")), whole()],
    ];
    for events in table {
        assert_eq!(written(Rendering::Raw, &events), "héllo world\nbye\n");
    }
}

#[test]
fn a_failed_attempt_ends_its_line_and_the_next_starts_anew() {
    let events = [
        Seen::Delta(delta(0, 0, "half an")),
        Seen::Entry(failed_attempt()),
        Seen::Delta(delta(0, 0, "all")),
        Seen::Entry(message(&["all"])),
    ];
    assert_eq!(written(Rendering::Raw, &events), "half an\nall\n");
}

#[test]
fn raw_is_faithful_and_a_terminal_is_not_steered() {
    let events = [Seen::Entry(message(&["a\x1b[2Jb"]))];
    assert_eq!(written(Rendering::Raw, &events), "a\x1b[2Jb\n");
    assert_eq!(written(Rendering::Plain, &events), "a[2Jb\n");
}

#[test]
fn markdown_waits_for_the_end_of_a_paragraph_and_of_a_fence() {
    let markdown = Rendering::Markdown { columns: 40 };
    let half = [Seen::Delta(delta(0, 0, "one **bo"))];
    assert_eq!(written(markdown, &half), "");
    let fence = [Seen::Delta(delta(0, 0, "done\n\n```\ncode\n\nmore"))];
    let shown = written(markdown, &fence);
    assert!(shown.contains("done") && !shown.contains("code"), "{shown:?}");
    let all =
        [Seen::Delta(delta(0, 0, "one **bo")), Seen::Entry(message(&["one **bold**\n\ntwo"]))];
    let shown = written(markdown, &all);
    assert!(shown.contains("bold") && !shown.contains("**") && shown.contains("two"), "{shown:?}");
}

#[test]
fn the_rendering_follows_the_terminal() {
    let table = [
        (None, true, Rendering::Raw),
        (Some(80), false, Rendering::Plain),
        (Some(80), true, Rendering::Markdown { columns: 80 }),
        (Some(3), true, Rendering::Markdown { columns: 20 }),
    ];
    for (columns, styled, expected) in table {
        assert_eq!(rendering(columns, styled), expected);
    }
}

fn asked(default: PermissionKind) -> PermissionAsked {
    let option = |kind, label: &str, grants: &[&str]| PermissionOption {
        kind,
        label: label.into(),
        grants: grants.iter().map(|g| (*g).to_owned()).collect(),
    };
    PermissionAsked {
        call: call(),
        detail: "rm -rf build\x1b[8m".into(),
        options: vec![
            option(PermissionKind::AllowOnce, "once", &[]),
            option(PermissionKind::AllowAlways, "in this session", &["bash(rm *)"]),
            option(PermissionKind::RejectOnce, "no", &[]),
        ],
        deadline: Timestamp::from_unix_ms(0),
        default,
    }
}

#[test]
fn a_person_is_asked_until_the_answer_makes_sense_and_silence_is_no() {
    use PermissionKind::{AllowAlways, AllowOnce, RejectOnce};
    let table = [
        ("y\n", AllowOnce),
        ("YES\n", AllowOnce),
        ("a\n", AllowAlways),
        ("n\n", RejectOnce),
        ("what?\n\ny\n", AllowOnce),
        ("1\n2\n3\ny\n", RejectOnce),
        ("d\n", RejectOnce),
        ("", RejectOnce),
    ];
    for (typed, expected) in table {
        for default in [RejectOnce, AllowOnce] {
            let mut screen = Vec::new();
            let choice =
                permission::ask(&asked(default), &mut typed.as_bytes(), &mut screen).unwrap();
            assert_eq!(choice, expected, "{typed:?}");
        }
    }
    let shown = permission::question(&asked(RejectOnce));
    assert_eq!(
        shown,
        "\nrm -rf build[8m\n\n  y  once\n  a  in this session\n       bash(rm *)\n  n  no\n"
    );
}

#[test]
fn each_event_is_one_line_of_json_and_the_summary_says_demo() {
    let mut out = Vec::new();
    json_lines::event(&mut out, &AgentEvent::Delta(delta(0, 0, "a\nb"))).unwrap();
    json_lines::event(&mut out, &AgentEvent::CaughtUp { seq: 3 }).unwrap();
    let end = ended(StopReason::EndTurn);
    let model = ModelSelection { provider: "demo".to_owned(), model: "demo".to_owned() };
    let session = SystemIds.session();
    let summary = json_lines::Summary::new(session, &model, "text".to_owned(), (end, Exit::Done));
    json_lines::summary(&mut out, summary).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1], serde_json::json!({"caught_up": {"seq": 3}}));
    let result = &lines[2]["result"];
    assert_eq!((&result["demo"], &result["exit_code"]), (&true.into(), &0.into()));
}
